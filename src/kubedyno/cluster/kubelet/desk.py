"""What a pod's way waits for and writes: timers, events, statuses.

The one idea: statuses are asked for and written later, once for many changes. At speed 0 later is the end of the
call; else it is the next time that the kubelet looks at its runtime.
"""

from collections import deque
from collections.abc import Callable, Iterable

import orjson

from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.cluster.kubelet.credentials import Credential, Source, auths_of, is_for
from kubedyno.cluster.kubelet.images import Image
from kubedyno.cluster.kubelet.latency import Latency
from kubedyno.cluster.kubelet.plan import Need
from kubedyno.cluster.kubelet.podspans import PodSpans
from kubedyno.cluster.kubelet.podstatus import status_of
from kubedyno.cluster.kubelet.registries import Registries
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.cluster.kubelet.runs import PodRun, Stage
from kubedyno.cluster.kubelet.texts import Texts
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.featuregates import TOKENS_FOR_CREDENTIAL_PROVIDERS
from kubedyno.cluster.registry.kinds.podfacts import PodFacts, is_ready
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.runtime import Runtime
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import CONFIGMAPS, PODS, SECRETS, SERVICEACCOUNTS

Step = Callable[[PodRun], None]


class Desk:
    """Timers, events and statuses of pods.

    Args:
        trusted: Door to the registry.
        pump: Timers.
        settings: The cluster's.
        random: Latencies.
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
        self.runtime = runtime
        self.trusted = trusted
        self.pump = pump
        self.clock = trusted.registry.clock
        self.minor = settings.minor
        self.pods = trusted.store.table(PODS)
        self.latency = Latency(random, settings.speed)
        self.texts = Texts(settings.minor)
        self.spans = PodSpans(random)
        self._sources = {"configmap": trusted.store.table(CONFIGMAPS), "secret": trusted.store.table(SECRETS)}
        self._accounts = trusted.store.table(SERVICEACCOUNTS)
        self.registries = Registries(trusted.store)
        self._dirty: deque[PodRun] = deque()
        # Told of each pod whose step or status failed; it is to come again.
        self.on_failure: Callable[[str, Exception], None] = _ignore
        # Keys of pods of which a step was left half done.
        self.broken: set[str] = set()

    def after(self, run: PodRun, delay_s: float, step: Step) -> None:
        """Go on with a pod after a while, unless it has taken another course by then."""
        epoch = run.epoch
        if delay_s <= 0:
            step(run)
            return

        def due() -> None:
            if run.epoch != epoch:
                return
            if run.node.failed:
                run.node.paused.append(due)
                return
            try:
                step(run)
            except Exception as error:  # noqa: BLE001 - told with its pod; the others go on
                self.broken.add(run.key)
                self.failed(run, error)
            self.flush()

        self.pump.call_later(delay_s * run.node.slowness, due)

    def missing_pull_secrets(self, run: PodRun) -> list[str]:
        """Return the names of a pod's pull secrets that are not there."""
        if not run.plan.pull_secrets:
            return []
        namespace = run.key.partition("/")[0]
        secrets = self._sources["secret"]
        return [name for name in run.plan.pull_secrets if secrets.get(f"{namespace}/{name}") is None]

    def credentials(self, run: PodRun, image: Image) -> list[Credential]:
        """Return what a pod can show for an image: its pull secrets', then its service account's token.

        A token is there where a credential provider of the node is set up for the registry, which is the case for those
        that take tokens.
        """
        namespace = run.key.partition("/")[0]
        found: list[tuple[str, Credential]] = []
        for name in run.plan.pull_secrets:
            record = self._sources["secret"].get(f"{namespace}/{name}")
            if record is None:
                continue
            source = Source("Secret", namespace, name, record.obj.uid)
            data = orjson.loads(b"{" + record.obj.body + b"}").get("data") or {}
            found += [(key, Credential(source, user, password)) for key, user, password in auths_of(data)]
        found.sort(key=lambda one: one[0], reverse=True)
        shown = [credential for key, credential in found if is_for(key, image.repository)]
        if TOKENS_FOR_CREDENTIAL_PROVIDERS in run.node.config.gates and self.registries.tokens_taken(image):
            name = run.plan.facts.service_account
            account = self._accounts.get(f"{namespace}/{name}")
            if account is not None:
                shown.append(Credential(Source("ServiceAccount", namespace, name, account.obj.uid)))
        return shown

    def missing(self, run: PodRun, needs: Iterable[Need]) -> Need | None:
        """Return the first ConfigMap or Secret that isn't there."""
        namespace = run.key.partition("/")[0]
        for need in needs:
            if self._sources[need[0]].get(f"{namespace}/{need[1]}") is None:
                return need
        return None

    def missing_volume(self, run: PodRun) -> tuple[str, Need] | None:
        return next((v for v in run.plan.volumes if self.missing(run, (v[1],)) is not None), None)

    def event(self, run: PodRun, type_: str, reason: str, message: str, path: str = "") -> None:
        """Say something about a pod, if its object is still there."""
        record = self.pods.get(run.key)
        if record is not None:
            self.event_of(record, run.node, type_, reason, message, path)

    def event_of(
        self, record: ObjectRecord, node: NodeRow, type_: str, reason: str, message: str, path: str = ""
    ) -> None:
        """Say something about a pod whose record is at hand."""
        if node.config.tracing is not None:
            self.spans.said(record.key, node, reason, path, self.clock.now())
        self.trusted.event(
            PODS, record, type=type_, reason=reason, message=message, component="kubelet", host=node.name,
            field_path=path,
        )  # fmt: skip

    def hook_failed(self, run: PodRun, path: str) -> None:
        """Say that a container's preStop hook failed."""
        self.event(run, "Warning", "FailedPreStopHook", "PreStopHook failed", path)

    def request_publish(self, run: PodRun) -> None:
        """Have a pod's status written: at the end of this call at speed 0, else with the next relist."""
        if self.latency.instant:
            self._dirty.append(run)
        elif run.publish_timer is None:

            def due() -> None:
                run.publish_timer = None
                if run.node.failed:
                    # The restart writes all statuses.
                    return
                self.try_publish(run)

            run.publish_timer = self.pump.call_later(self.latency.relist() * run.node.slowness, due)

    def flush(self) -> None:
        """Write the statuses that are due."""
        while self._dirty:
            self.try_publish(self._dirty.popleft())

    def try_publish(self, run: PodRun) -> None:
        """Write a pod's status as it is now; what is refused is tried again."""
        try:
            self.publish(run)
        except Exception as error:  # noqa: BLE001 - told with its pod; the others go on
            self.failed(run, error)

    def failed(self, run: PodRun, error: Exception) -> None:
        """Say that something about a pod has failed: it is tried again."""
        logger(__name__).error("pod %s: %s failed", run.key, run.stage.name, exc_info=error)
        self.on_failure(run.key, error)

    def publish(self, run: PodRun) -> None:
        """Write a pod's status as it is now."""
        record = self.pods.get(run.key)
        if run.stage >= Stage.TERMINATING or record is None or record.obj.uid != run.uid or run.containers is None:
            return
        obj = record.obj
        now_s = self.clock.now()
        status = status_of(run, now_s, self.minor, obj.generation, orjson.loads(obj.status or b"{}"))
        old: PodFacts = obj.facts
        facts = PodFacts(
            old.node_name, status["phase"], is_ready(status), status.get("podIP", ""), old.spec, old.pinned_node
        )
        written = self.trusted.replace_status(PODS, record, status, facts)
        run.written = written.revision


def _ignore(key: str, error: Exception) -> None:
    _ = key, error
