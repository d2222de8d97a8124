"""The one step of a simple pod at speed 0: its Running status is a format filled in, written once with its events."""

from kubedyno.base.times import rfc3339
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.plan import ContainerPlan, StartForm
from kubedyno.cluster.kubelet.podstatus import template_of
from kubedyno.cluster.kubelet.pullrecords import NEVER, NEVER_PRELOADED
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.cluster.kubelet.runs import PodRun, Stage
from kubedyno.cluster.kubelet.started import Started
from kubedyno.cluster.kubelet.texts import present, pulled
from kubedyno.cluster.registry.featuregates import ENSURE_SECRET_PULLED_IMAGES
from kubedyno.cluster.registry.kinds.podfacts import PodFacts
from kubedyno.cluster.registry.leanpod import LeanPod
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import EVENTS, PODS

_BOUND = (
    b'{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"True","lastProbeTime":null,'
    b'"lastTransitionTime":"'
)
# Policies that let everybody have an image that came with the node.
_LENIENT = frozenset({NEVER, NEVER_PRELOADED})
_STAMP_LENGTH = len("2026-11-24T15:04:05Z")


class QuickStart:
    """Starts simple pods.

    Args:
        desk: Events and statuses.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._stamp = b""
        self._together = desk.trusted.store.together(PODS, EVENTS)

    def start(self, run: PodRun, record: ObjectRecord) -> bool:
        """Start a simple pod at speed 0; False when it has to go the long way."""
        obj, node, plan = record.obj, run.node, run.plan
        status = obj.status
        spec = plan.facts
        host_network = spec.host_network
        if node.pool is None and not host_network:
            return False
        if plan.volumes and self._desk.missing_volume(run) is not None:
            return False
        if not self._gives_images(run):
            return False
        start = self._stamp
        if start != (now := rfc3339(run.start_s).encode()):
            # One for all pods of a second.
            start = self._stamp = now
        if status.startswith(_BOUND):
            bound = status[len(_BOUND) : len(_BOUND) + _STAMP_LENGTH]
        elif b'"conditions"' in status:
            return False
        else:
            bound = start
        address = node.address
        if not host_network:
            assert node.pool is not None
            address = node.pool.allocate()
            if not address:
                return False
            run.address = address
        if plan.starts is None:
            names = tuple(container.name for container in plan.containers)
            plan.starts = StartForm(template_of(plan, self._desk.minor, stopped=False), names)
        started = Started(plan.starts, node.address, address, start if bound == start else bound, start, obj.generation)
        run.go(Stage.RUNNING)
        # Nothing is waited for.
        node.starts.add(0.0)
        old: PodFacts = obj.facts
        facts = PodFacts(old.node_name, "Running", True, address, old.spec, old.pinned_node)
        with self._together:
            for container in plan.containers:
                self._say_started(record, node, container)
            if run.id_base == obj.uid and isinstance(obj, LeanPod):
                written = self._desk.trusted.form_status(record, started, facts)
            else:
                written = self._desk.trusted.replace_status(PODS, record, started.text(run.id_base, run.suffix), facts)
            run.written = written.revision
        return True

    def _gives_images(self, run: PodRun) -> bool:
        """Say whether anybody may have the images, so that nothing needs looking at."""
        desk, plan = self._desk, run.plan
        if run.node.config.verification.policy not in _LENIENT or desk.missing_pull_secrets(run):
            return False
        return not desk.registries or not any(desk.registries.is_private(c.image) for c in plan.containers)

    def _say_started(self, record: ObjectRecord, node: NodeRow, container: ContainerPlan) -> None:
        say, texts, images = self._desk.event_of, self._desk.texts, node.images
        image, path = container.image, container.field_path
        if container.pull_policy == "Always" or not images.has(image):
            say(record, node, "Normal", "Pulling", f'Pulling image "{container.reference}"', path)
            text = pulled(container.reference, 0.0, 0.0, image.size_bytes)
            images.add(image)
        else:
            text = present(container.reference, verified=ENSURE_SECRET_PULLED_IMAGES in node.config.gates)
            if image.preloaded:
                images.add(image)
        say(record, node, "Normal", "Pulled", text, path)
        say(record, node, "Normal", "Created", texts.created(container.name), path)
        say(record, node, "Normal", "Started", texts.started(container.name), path)
