"""The life of pods on nodes: admission, sandbox, images, containers, readiness, restarts, stop.

A pod goes through `runs.Stage` by calls that follow each other after modelled durations. At speed 0 they follow at
once; a simple pod (no init containers, programs that run until they are stopped, images that exist) then even takes
one step: its Running status is a format filled in, written once. A real kubelet writes Pending with ContainerCreating
before; both have the same second there, and nothing that is measured (transition times, events) lies between.
"""

from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base.random import Random
from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.kubelet.containers import Containers
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.plan import ContainerPlan, Need, Plans, StartForm, suffix_of
from kubedyno.cluster.kubelet.resumption import is_as_started
from kubedyno.cluster.kubelet.rows import NodeRow, StaticPod
from kubedyno.cluster.kubelet.runs import (
    OBSERVED_GENERATION,
    PodRun,
    Stage,
    State,
    container_id,
    status_of,
    template_of,
)
from kubedyno.cluster.kubelet.started import Started
from kubedyno.cluster.kubelet.texts import NETWORK_NOT_READY, pulled, rejected
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import PodFacts, PodSpecFacts
from kubedyno.cluster.registry.leanpod import LeanPod
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.runtime import Place, Runtime
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import EVENTS, PODS

_BOUND = (
    b'{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"True","lastProbeTime":null,'
    b'"lastTransitionTime":"'
)
_STAMP_LENGTH = len("2026-11-24T15:04:05Z")
_GRACE = b'"deletionGracePeriodSeconds":'
_DONE = frozenset({"Succeeded", "Failed"})
_SANDBOX_DIGITS = 64
_WITH_SANDBOX = frozenset({Stage.INITIALIZING, Stage.STARTING, Stage.RUNNING})


class Pods:
    """All pods that are on nodes.

    Args:
        trusted: Door to the registry.
        pump: Timers.
        settings: The cluster's.
        random: Latencies and ids.
        runtime: Runs the pods that it knows; None: all are modelled.
    """

    def __init__(
        self,
        trusted: Trusted,
        pump: Pump,
        settings: ClusterSettings,
        random: Random,
        runtime: Runtime | None = None,
    ) -> None:
        self._trusted = trusted
        self._stamp = b""
        self._together = trusted.store.together(PODS, EVENTS)
        self._random = random
        self._desk = Desk(trusted, pump, settings, random, runtime)
        self._clock = self._desk.clock
        self._minor = settings.minor
        self._table = self._desk.pods
        self._latency = self._desk.latency
        self._texts = self._desk.texts
        self._containers = Containers(self._desk, self._container_over)
        self._plans = Plans()
        self.runs: dict[str, PodRun] = {}

    # --- news ------------------------------------------------------------------------------------------------

    def changed(self, record: ObjectRecord, node: NodeRow) -> None:
        """Take note of a live pod that is bound to a node."""
        obj = record.obj
        run = self.runs.get(record.key)
        if run is not None:
            if run.written == record.revision and run.generation == obj.generation:
                return
            if run.uid != obj.uid:
                self._gone(run)
                run = None
        if node.failed:
            return
        if run is not None:
            run.generation = obj.generation
        if run is None:
            self._added(record, node)
        elif obj.deletion_s:
            if run.stage is not Stage.TERMINATING or _grace_of(record) < run.grace_s:
                self._terminate(run, record)
        elif run.containers is not None or self._plans.of(obj) is not run.plan or _is_contradicted(run, obj):
            self._updated(run, record)
        self._desk.flush()

    def again(self, record: ObjectRecord, node: NodeRow) -> None:
        """Take a pod on after an attempt that failed: its status is written anew, its end tried again.

        Of a pod whose step was left half done nothing is kept: its containers are killed and it begins anew.
        """
        run = self.runs.get(record.key)
        broken = record.key in self._desk.broken and not node.failed
        if broken:
            self._desk.broken.discard(record.key)
        if run is not None and broken and run.stage < Stage.COMPLETED and not record.obj.deletion_s:
            if run.static:
                # What it has goes with it: else its next mirror would take over a pod that does not go on.
                node.static[run.key].run, run.static = None, False
            self._gone(run)
            run = None
        if run is None or run.uid != record.obj.uid or node.failed:
            self.changed(record, node)
            return
        run.generation = record.obj.generation
        if record.obj.deletion_s:
            if broken and run.stage is Stage.RUNNING:
                # Its status may never have been written: no format is filled in from it.
                run.expand()
            self._terminate(run, record)
        else:
            self._updated(run, record)
        self._desk.flush()

    def abandon(self, key: str) -> None:
        """Say that what `changed` or `again` began with a pod has failed, so that the next attempt begins anew."""
        if key in self.runs:
            self._desk.broken.add(key)

    def on_failure(self, call: Callable[[str, Exception], None]) -> None:
        """Have a function called with the key of each pod that failed in its own time, and why."""
        self._desk.on_failure = call

    def removed(self, key: str, uid: str) -> None:
        """Take note of a pod that is gone: what still runs of it is killed."""
        run = self.runs.get(key)
        if run is not None and run.uid == uid:
            self._gone(run)
            self._desk.flush()

    def resync(self, node: NodeRow) -> None:
        """Look at all pods of a node again: its kubelet was down."""
        due, node.paused = node.paused, []
        for call in due:
            call()
        for record in self._table.by_index("node", node.name):
            self.changed(record, node)
        for run in [run for run in self.runs.values() if run.node is node and run.containers is not None]:
            self._desk.publish(run)
        self._desk.flush()

    def network_ready(self, node: NodeRow) -> None:
        """Try the pods again that waited for the network or an address."""
        self._wake_waiting(node, len(node.waiting))
        self._desk.flush()

    def _added(self, record: ObjectRecord, node: NodeRow) -> None:
        obj = record.obj
        facts: PodFacts = obj.facts
        static = node.static.get(record.key)
        if obj.deletion_s:
            self._trusted.finish_delete(PODS, record.key, uid=obj.uid)
            return
        if facts.phase in _DONE:
            return
        if static is not None and static.run is not None:
            self._adopt(static.run, record)
            return
        if static is None and not self._admit(record, node, facts.spec):
            return
        run = self._enter(record, node, static, self._clock.now())
        plan = run.plan
        if self._desk.runtime is not None:
            self._choose(self._desk.runtime, run, record)
        elif plan.simple and self._latency.instant and self._start_at_once(run, record):
            return
        run.expand()
        if not self._latency.instant:
            self._desk.publish(run)
        self._mount(run)

    def _enter(self, record: ObjectRecord, node: NodeRow, static: StaticPod | None, start_s: float) -> PodRun:
        """Return the row of a pod that its node takes."""
        obj, spec = record.obj, record.obj.facts.spec
        run = PodRun(record.key, obj.uid, node, self._plans.of(obj), start_s, suffix_of(obj))
        run.generation = obj.generation
        self.runs[record.key] = run
        node.pods += 1
        node.cpu_milli += spec.cpu_milli
        node.memory_bytes += spec.memory_bytes
        if static is not None:
            self._make_static(run, static)
        return run

    def restore(self, record: ObjectRecord, node: NodeRow) -> None:
        """Take up a pod that had its sandbox when the cluster ended: it goes on as its status says.

        Others begin anew when the kubelet first looks at them, and so do processes: those are gone.
        """
        obj = record.obj
        facts: PodFacts = obj.facts
        own_network = not facts.spec.host_network
        # In the host's network a pod has an address before it has anything.
        begun = facts.phase == "Running" or (facts.phase == "Pending" and own_network and facts.pod_ip)
        if self._desk.runtime is not None or obj.deletion_s or not begun:
            return
        status = orjson.loads(obj.status)
        shown = status.get("containerStatuses", ())
        if "startTime" not in status or {c["name"] for c in shown} != {c[0] for c in facts.spec.containers}:
            # Not a kubelet's word.
            return
        if own_network and (node.pool is None or not node.pool.take(facts.pod_ip)):
            return
        run = self._enter(record, node, node.static.get(record.key), epoch_of(status["startTime"]))
        run.address = facts.pod_ip if own_network else ""
        run.written = record.revision
        for container in run.plan.containers:
            node.images.add(container.image)
        if run.plan.simple and all(is_as_started(one, status["startTime"]) for one in shown):
            run.go(Stage.RUNNING)
            return
        self._containers.resume(run, status)
        self._desk.flush()

    def _admit(self, record: ObjectRecord, node: NodeRow, spec: PodSpecFacts) -> bool:
        """Refuse a pod that doesn't fit (lifecycle/predicate.go, PodFitsResources)."""
        settings = node.settings
        lacking = next(
            (
                wanted
                for wanted in (
                    ("pods", 1, node.pods, node.config.max_pods),
                    ("cpu", spec.cpu_milli, node.cpu_milli, settings.cpu_milli),
                    ("memory", spec.memory_bytes, node.memory_bytes, settings.memory_bytes),
                )
                if wanted[1] and wanted[1] + wanted[2] > wanted[3]
            ),
            None,
        )
        if lacking is None:
            return True
        reason, message = f"OutOf{lacking[0]}", rejected(*lacking)
        status: dict[str, Any] = {}
        if self._minor >= OBSERVED_GENERATION:
            status["observedGeneration"] = record.obj.generation
        status |= {
            "phase": "Failed",
            "message": f"Pod was rejected: {message}",
            "reason": reason,
            "startTime": rfc3339(self._clock.now()),
            "qosClass": self._plans.of(record.obj).qos,
        }
        self._desk.event_of(record, node, "Warning", reason, message)
        old: PodFacts = record.obj.facts
        facts = PodFacts(old.node_name, "Failed", False, "", old.spec, old.pinned_node)
        self._trusted.replace_status(PODS, record, status, facts)
        return False

    def _updated(self, run: PodRun, record: ObjectRecord) -> None:
        """A pod's spec or another's part of its status changed."""
        plan = self._plans.of(record.obj)
        run.expand()
        if plan is not run.plan and len(plan.containers) == len(run.plan.containers):
            run.plan = plan
            assert run.containers is not None
            for container, wanted in zip(run.containers, plan.containers, strict=True):
                changed = container.plan.image is not wanted.image
                container.plan = wanted
                if changed and container.state is State.RUNNING:
                    name = wanted.name
                    text = f"Container {name} definition changed, will be restarted"
                    self._desk.event(run, "Normal", "Killing", text, wanted.field_path)
                    self._containers.end(container, 0)
                    self._containers.restart(run, container)
            if run.stage in _WITH_SANDBOX:
                self._containers.begin_ephemeral(run)
        self._desk.request_publish(run)

    # --- start -----------------------------------------------------------------------------------------------

    def _start_at_once(self, run: PodRun, record: ObjectRecord) -> bool:
        """Start a simple pod at speed 0; False when it has to go the long way."""
        obj, node, plan = record.obj, run.node, run.plan
        status = obj.status
        spec = plan.facts
        host_network = spec.host_network
        if node.pool is None and not host_network:
            return False
        if plan.volumes and self._missing_volume(run) is not None:
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
            plan.starts = StartForm(template_of(plan, self._minor, stopped=False), names)
        started = Started(plan.starts, node.address, address, start if bound == start else bound, start, obj.generation)
        run.go(Stage.RUNNING)
        old: PodFacts = obj.facts
        facts = PodFacts(old.node_name, "Running", True, address, old.spec, old.pinned_node)
        with self._together:
            for container in plan.containers:
                self._say_started(record, node, container)
            if run.id_base == obj.uid and isinstance(obj, LeanPod):
                written = self._trusted.form_status(record, started, facts)
            else:
                written = self._trusted.replace_status(PODS, record, started.text(run.id_base, run.suffix), facts)
            run.written = written.revision
        return True

    def _say_started(self, record: ObjectRecord, node: NodeRow, container: ContainerPlan) -> None:
        say, texts, images = self._desk.event_of, self._texts, node.images
        image, path = container.image, container.field_path
        if container.pull_policy == "Always" or not images.has(image):
            say(record, node, "Normal", "Pulling", f'Pulling image "{container.reference}"', path)
            text = pulled(container.reference, 0.0, 0.0, image.size_bytes)
            images.add(image)
        else:
            text = texts.present(container.reference)
            if image.preloaded:
                images.add(image)
        say(record, node, "Normal", "Pulled", text, path)
        say(record, node, "Normal", "Created", texts.created(container.name), path)
        say(record, node, "Normal", "Started", texts.started(container.name), path)

    def _missing_volume(self, run: PodRun) -> tuple[str, Need] | None:
        return next((v for v in run.plan.volumes if self._desk.missing(run, (v[1],)) is not None), None)

    def _mount(self, run: PodRun, failures: int = 0) -> None:
        """Mount the volumes: what they are made of has to be there."""
        lacking = self._missing_volume(run)
        if lacking is None:
            self._desk.after(run, 0.0 if run.real else self._latency.sandbox(), self._sandbox)
            return
        volume, (kind, name) = lacking
        text = f'MountVolume.SetUp failed for volume "{volume}" : {kind} "{name}" not found'
        self._desk.event(run, "Warning", "FailedMount", text)
        self._desk.request_publish(run)
        self._desk.after(run, self._latency.mount_retry(failures), lambda run: self._mount(run, failures + 1))

    def _sandbox(self, run: PodRun) -> None:
        """Make the sandbox: it needs an address."""
        node = run.node
        own_network = not run.plan.facts.host_network
        if own_network or run.real:
            pool = node.pool
            if pool is None:
                text = f"network is not ready: {NETWORK_NOT_READY}"
                self._desk.event(run, "Warning", "NetworkNotReady", text)
                self._wait(run)
                return
            if own_network:
                run.address = pool.allocate()
            if own_network and not run.address:
                text = pool.exhausted(self._random.hex(_SANDBOX_DIGITS))
                self._desk.event(run, "Warning", "FailedCreatePodSandBox", text)
                self._wait(run)
                return
        if run.real:
            self._make_real(run)
            return
        self._begin(run)

    def _begin(self, run: PodRun) -> None:
        run.go(Stage.INITIALIZING if run.init else Stage.STARTING)
        self._containers.begin_next(run)
        self._containers.begin_ephemeral(run)

    def _choose(self, runtime: Runtime, run: PodRun, record: ObjectRecord) -> None:
        """Let the runtime have a pod that it knows, and note on the pod what is real of it."""
        pod = self._trusted.store.encode_dict(PODS, record)
        refusal = "static pods are modelled" if run.static else runtime.refusal(pod)
        run.real = not refusal
        if refusal:
            run.note = ("False", "Modelled", f"no process runs for this pod: {refusal}")
            if not run.static:
                self._desk.event_of(record, run.node, "Normal", "Modelled", run.note[2])
        else:
            run.note = ("True", "Processes", runtime.note(pod))

    def _make_real(self, run: PodRun) -> None:
        """Have the runtime make a pod's sandbox."""
        runtime, record, pool, node, epoch = (
            self._desk.runtime,
            self._table.get(run.key),
            run.node.pool,
            run.node,
            run.epoch,
        )
        if record is None or record.obj.uid != run.uid:
            return
        assert runtime is not None
        assert pool is not None

        def done(failure: str) -> None:
            if run.epoch != epoch:
                return
            if failure:
                text = f"Failed to create pod sandbox: rpc error: code = Unknown desc = {failure}"
                self._desk.event(run, "Warning", "FailedCreatePodSandBox", text)
                runtime.remove(run.uid)
                self._release_address(run)
                run.address = ""
                self._wait(run)
            else:
                self._begin(run)
            self._desk.flush()

        pod = self._trusted.store.encode_dict(PODS, record)
        runtime.create(pod, Place(node.name, node.address, pool.cidr), run.address or node.address, done)

    def _wait(self, run: PodRun) -> None:
        run.go(Stage.WAITING_ADDRESS)
        run.node.waiting[run.key] = run
        self._desk.request_publish(run)
        self._desk.after(run, self._latency.retry(), self._retry)

    def _retry(self, run: PodRun) -> None:
        run.node.waiting.pop(run.key, None)
        run.go(Stage.SANDBOX)
        self._sandbox(run)

    def _wake_waiting(self, node: NodeRow, count: int) -> None:
        """Give the first waiting pods another try now."""
        for run in list(node.waiting.values())[:count]:
            run.epoch += 1
            try:
                self._retry(run)
            except Exception as error:  # noqa: BLE001 - told with its pod: whoever gave it the try is another
                self._desk.broken.add(run.key)
                self._desk.failed(run, error)

    # --- ends ------------------------------------------------------------------------------------------------

    def _container_over(self, run: PodRun, fatal: bool) -> None:
        """A container won't run again: the pod may be over."""
        if fatal:
            run.forced_phase = "Failed"
            self._complete(run)
            return
        assert run.containers is not None
        policy = run.plan.facts.restart_policy
        for container in run.containers:
            if container.state is not State.TERMINATED:
                return
            if policy == "OnFailure" and container.exit_code:
                return
        failed = any(c.exit_code for c in run.containers)
        run.forced_phase = "Failed" if failed else "Succeeded"
        self._complete(run)

    def _complete(self, run: PodRun) -> None:
        """A pod is over: its sidecars stop, its sandbox goes, it counts no more."""
        run.go(Stage.COMPLETED)
        run.epoch += 1
        for container in run.running():
            plan = container.plan
            self._desk.event(run, "Normal", "Killing", f"Stopping container {plan.name}", plan.field_path)
        run.end_all(self._clock.now())
        self._release(run)

    def _release(self, run: PodRun) -> None:
        """Give back what a pod holds on its node."""
        node, facts = run.node, run.plan.facts
        node.pods -= 1
        node.cpu_milli -= facts.cpu_milli
        node.memory_bytes -= facts.memory_bytes
        node.waiting.pop(run.key, None)
        if run.real and self._desk.runtime is not None:
            # Before its address is another's.
            self._desk.runtime.remove(run.uid)
        self._release_address(run)

    def _release_address(self, run: PodRun) -> None:
        node = run.node
        if run.address and not run.plan.facts.host_network and node.pool is not None:
            node.pool.release(run.address)
            # Else the waiting pods find it when they try again, at their own pace.
            if self._latency.instant:
                self._wake_waiting(node, 1)

    # --- deletion --------------------------------------------------------------------------------------------

    def _terminate(self, run: PodRun, record: ObjectRecord) -> None:
        """A pod is to go: stop its containers within its grace period, then have it removed."""
        if run.static:
            # The mirror goes at once; the containers stay.
            self._trusted.finish_delete(PODS, record.key, uid=run.uid)
            return
        first = run.stage is not Stage.TERMINATING
        over = run.stage is Stage.COMPLETED
        running = run.stage is Stage.RUNNING
        run.grace_s = grace_s = _grace_of(record)
        run.epoch += 1
        run.node.waiting.pop(run.key, None)
        if over:
            run.go(Stage.TERMINATING)
            self._finish(run, record)
            return
        plans = run.plan.containers if run.containers is None else tuple(c.plan for c in run.running())
        compact = run.containers is None and running
        if first:
            # The row's containers follow from RUNNING: made before the stage goes on, where they are needed.
            if not compact or not self._latency.instant:
                run.expand()
            run.go(Stage.TERMINATING)
            for plan in plans:
                text = f"Stopping container {plan.name}"
                self._desk.event_of(record, run.node, "Normal", "Killing", text, plan.field_path)
        if run.real and self._desk.runtime is not None:
            epoch = run.epoch

            def stopped() -> None:
                if run.epoch == epoch:
                    self._stopped(run)
                    self._desk.flush()

            self._desk.runtime.stop(run.uid, grace_s, stopped)
            return
        stops_s = max(
            (self._latency.stop(grace_s, hook_s=plan.pre_stop_s, ignores_term=plan.ignores_term) for plan in plans),
            default=0.0,
        )
        self._desk.after(run, stops_s, self._stopped)

    def _stopped(self, run: PodRun) -> None:
        record = self._table.get(run.key)
        if record is None or record.obj.uid != run.uid:
            return
        now_s = self._clock.now()
        obj = record.obj
        facts: PodFacts = obj.facts
        if run.containers is None:
            if not run.plan.stops:
                run.plan.stops = template_of(run.plan, self._minor, stopped=True)
            status = run.plan.stops % self._holes(run, record, now_s)
            ignored = any(c.ignores_term for c in run.plan.containers)
            phase = "Failed" if ignored else "Succeeded"
        else:
            run.end_all(now_s)
            whole = status_of(run, now_s, self._minor, obj.generation, orjson.loads(obj.status))
            status, phase = orjson.dumps(whole), whole["phase"]
        address = run.node.address if run.plan.facts.host_network else run.address
        new = PodFacts(facts.node_name, phase, False, address, facts.spec, facts.pinned_node)
        record = self._trusted.replace_status(PODS, record, status, new)
        run.written = record.revision
        # The address is free before the pod is gone: the sandbox goes first. Nothing before this may come twice.
        self._release(run)
        self._finish(run, record)

    def _holes(self, run: PodRun, record: ObjectRecord, now_s: float) -> dict[bytes, object]:
        obj, node = record.obj, run.node
        start = rfc3339(run.start_s).encode()
        address = node.address if run.plan.facts.host_network else run.address
        at = obj.status.find(b'"type":"PodScheduled"')
        at = obj.status.find(b'"lastTransitionTime":"', at) + len(b'"lastTransitionTime":"')
        holes: dict[bytes, object] = {
            b"host": node.address.encode(), b"ip": address.encode(), b"bound": obj.status[at : at + _STAMP_LENGTH],
            b"start": start, b"now": rfc3339(now_s).encode(), b"suffix": run.suffix,
            b"generation": b"%d" % obj.generation,
        }  # fmt: skip
        for i, container in enumerate(run.plan.containers):
            holes[b"id%d" % i] = container_id(run.id_base, container.name, 0).encode()
        return holes

    def _finish(self, run: PodRun, record: ObjectRecord) -> None:
        self._forget(run)
        run.go(Stage.GONE)
        run.epoch += 1
        del self.runs[run.key]
        self._trusted.finish_delete(PODS, record.key, uid=run.uid)

    def _gone(self, run: PodRun) -> None:
        """A pod's object went before its containers: they are killed, without another word to the API."""
        del self.runs[run.key]
        if run.static:
            return
        released = run.stage is Stage.COMPLETED
        run.go(Stage.GONE)
        run.epoch += 1
        if not released:
            self._release(run)
        self._forget(run)

    def _forget(self, run: PodRun) -> None:
        if run.real and self._desk.runtime is not None:
            self._desk.runtime.forget(run.uid)

    # --- static pods -----------------------------------------------------------------------------------------

    def _make_static(self, run: PodRun, static: StaticPod) -> None:
        run.static = True
        run.id_base = static.mirror["metadata"]["annotations"]["kubernetes.io/config.hash"]
        static.run = run

    def _adopt(self, run: PodRun, record: ObjectRecord) -> None:
        """A mirror pod was made again for containers that run."""
        run.uid, run.generation = record.obj.uid, record.obj.generation
        run.suffix = suffix_of(record.obj)
        run.expand()
        self.runs[record.key] = run
        self._desk.publish(run)


def _is_contradicted(run: PodRun, obj: StoredObject) -> bool:
    """Say whether somebody else (the node lifecycle controller) called a pod not ready that is."""
    return run.stage is Stage.RUNNING and not obj.facts.ready


def _grace_of(record: ObjectRecord) -> int:
    """Return metadata.deletionGracePeriodSeconds."""
    meta = record.obj.meta
    at = meta.find(_GRACE)
    if at < 0:
        return 0
    digits = meta[at + len(_GRACE) : at + len(_GRACE) + 20].partition(b",")[0].partition(b"}")[0]
    return int(digits)
