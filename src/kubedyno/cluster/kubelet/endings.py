"""How pods end: completion, deletion within a grace period, and what a node gets back of them."""

from collections.abc import Callable
from math import inf

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.plan import ContainerPlan
from kubedyno.cluster.kubelet.podstatus import status_of, template_of
from kubedyno.cluster.kubelet.restarts import comes_again
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.cluster.kubelet.runs import PodRun, Stage, State, container_id
from kubedyno.cluster.registry.kinds.podfacts import PodFacts
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import PODS

_STAMP_LENGTH = len("2026-11-24T15:04:05Z")
DEADLINE_EXCEEDED = "DeadlineExceeded"
_TOO_LONG = "Pod was active on the node longer than the specified deadline"
_LEAST_GRACE_S = 2.0
_GRACE = b'"deletionGracePeriodSeconds":'


class Endings:
    """Ends of all pods.

    Args:
        desk: Timers, events, statuses.
        runs: Key → pod on a node; one that ends is taken out.
        on_free: Told of a node that an address has come back to.
        on_release: Told of a node that a pod has left, whose resizes may wait for that.
    """

    def __init__(
        self,
        desk: Desk,
        runs: dict[str, PodRun],
        on_free: Callable[[NodeRow], None],
        on_release: Callable[[NodeRow], None],
    ) -> None:
        self._desk = desk
        self._runs = runs
        self._on_free = on_free
        self._on_release = on_release

    def container_over(self, run: PodRun, fatal: bool) -> None:
        """A container won't run again: the pod may be over."""
        if fatal:
            run.forced_phase = "Failed"
            self._complete(run)
            return
        assert run.containers is not None
        for container in run.containers:
            if container.state is not State.TERMINATED or comes_again(run, container):
                return
        failed = any(c.exit_code for c in run.containers)
        run.forced_phase = "Failed" if failed else "Succeeded"
        self._complete(run)

    def fail(self, run: PodRun, reason: str, message: str) -> None:
        """End a pod as a whole, whatever its containers do."""
        run.expand()
        run.forced_phase, run.verdict = "Failed", (reason, message)
        self._complete(run)
        self._desk.request_publish(run)

    def await_deadline(self, run: PodRun) -> None:
        """Have a pod fail when it has been on its node longer than it may."""
        deadline_s = run.plan.deadline_s
        if deadline_s == inf:
            return
        left_s = max(run.start_s + self._desk.latency.paced(deadline_s) - self._desk.clock.now(), 0.0)

        def due() -> None:
            if self._runs.get(run.key) is not run or run.stage >= Stage.COMPLETED or run.plan.deadline_s != deadline_s:
                return
            if run.node.failed:
                run.node.paused.append(due)
                return
            self._desk.event(run, "Normal", DEADLINE_EXCEEDED, _TOO_LONG)
            self.fail(run, DEADLINE_EXCEEDED, _TOO_LONG)
            self._desk.flush()

        self._desk.pump.call_later(left_s, due)

    def _complete(self, run: PodRun) -> None:
        """A pod is over: its sidecars stop, its sandbox goes, it counts no more."""
        run.go(Stage.COMPLETED)
        run.epoch += 1
        for container in run.running():
            plan = container.plan
            self._desk.event(run, "Normal", "Killing", f"Stopping container {plan.name}", plan.field_path)
        run.end_all(self._desk.clock.now())
        self._release(run)

    def _release(self, run: PodRun) -> None:
        """Give back what a pod holds on its node."""
        node, facts = run.node, run.plan.facts
        node.pods -= 1
        node.cpu_milli -= facts.cpu_milli
        node.memory_bytes -= facts.memory_bytes
        node.waiting.pop(run.key, None)
        if node.resizing:
            node.resizing.pop(run.key, None)
            self._on_release(node)
        if run.real and self._desk.runtime is not None:
            # Before its address is another's.
            self._desk.runtime.remove(run.uid)
        self.release_address(run)

    def release_address(self, run: PodRun) -> None:
        node = run.node
        if run.address and not run.plan.facts.host_network and node.pool is not None:
            node.pool.release(run.address)
            # Else the waiting pods find it when they try again, at their own pace.
            if self._desk.latency.instant:
                self._on_free(node)

    def terminate(self, run: PodRun, record: ObjectRecord) -> None:
        """A pod is to go: stop its containers within its grace period, then have it removed."""
        if run.static:
            # The mirror goes at once; the containers stay.
            self._desk.trusted.finish_delete(PODS, record.key, uid=run.uid)
            return
        first = run.stage is not Stage.TERMINATING
        over = run.stage is Stage.COMPLETED
        running = run.stage is Stage.RUNNING
        run.grace_s = grace_s = grace_of(record)
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
            if not compact or not self._desk.latency.instant:
                run.expand()
            run.go(Stage.TERMINATING)
            hook_fails = "preStop" in run.plan.wishes.fail_hooks
            for plan in plans:
                text = f"Stopping container {plan.name}"
                self._desk.event_of(record, run.node, "Normal", "Killing", text, plan.field_path)
                if hook_fails and plan.pre_stop_s is not None:
                    path = plan.field_path
                    self._desk.event_of(record, run.node, "Warning", "FailedPreStopHook", "PreStopHook failed", path)
        if run.real and self._desk.runtime is not None:
            epoch = run.epoch

            def stopped() -> None:
                if run.epoch == epoch:
                    self._stopped(run)
                    self._desk.flush()

            paths = {plan.name: plan.field_path for plan in plans}
            self._desk.runtime.stop(
                run.uid, grace_s, stopped, lambda name: self._desk.hook_failed(run, paths.get(name, ""))
            )
            return
        stops = self._stops_s(plans, grace_s)
        begun_s, slowness = self._desk.clock.now(), run.node.slowness
        finished = {name: begun_s + slowness * stop_s for name, stop_s in stops.items()}
        self._desk.after(run, max(stops.values(), default=0.0), lambda run: self._stopped(run, finished))

    def _stops_s(self, plans: tuple[ContainerPlan, ...], grace_s: int) -> dict[str, float]:
        """Return after how long each container has stopped: sidecars after all others, the last that began first.

        All preStop hooks begin at once; for their signals sidecars wait until it is their turn.
        """
        latency = self._desk.latency
        grace = latency.scaled(grace_s)
        stops: dict[str, float] = {}
        turn_s = 0.0
        for plan in (plan for plan in plans if not plan.sidecar):
            hook_s = plan.pre_stop_s or 0.0
            stops[plan.name] = latency.stop(grace_s, hook_s=hook_s, ignores_term=plan.ignores_term)
            turn_s = max(turn_s, stops[plan.name])
        for plan in reversed([plan for plan in plans if plan.sidecar]):
            turn_s = max(turn_s, min(grace, latency.scaled(plan.pre_stop_s or 0.0)))
            own_s = latency.stop(grace_s, hook_s=0.0, ignores_term=plan.ignores_term)
            # When the time is over, so much is left to each (minimumGracePeriodInSeconds).
            turn_s += min(own_s, max(grace - turn_s, min(grace, latency.scaled(_LEAST_GRACE_S))))
            stops[plan.name] = turn_s
        return stops

    def _stopped(self, run: PodRun, finished: dict[str, float] | None = None) -> None:
        record = self._desk.pods.get(run.key)
        if record is None or record.obj.uid != run.uid:
            return
        now_s = self._desk.clock.now()
        obj = record.obj
        facts: PodFacts = obj.facts
        if run.containers is None:
            if not run.plan.stops:
                run.plan.stops = template_of(run.plan, self._desk.minor, stopped=True)
            status = run.plan.stops % self._holes(run, record, now_s)
            ignored = any(c.stopped_code for c in run.plan.containers)
            phase = "Failed" if ignored else "Succeeded"
        else:
            run.end_all(now_s, finished)
            whole = status_of(run, now_s, self._desk.minor, obj.generation, orjson.loads(obj.status))
            status, phase = orjson.dumps(whole), whole["phase"]
        address = run.node.address if run.plan.facts.host_network else run.address
        new = PodFacts(facts.node_name, phase, False, address, facts.spec, facts.pinned_node)
        record = self._desk.trusted.replace_status(PODS, record, status, new)
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
        del self._runs[run.key]
        self._desk.trusted.finish_delete(PODS, record.key, uid=run.uid)

    def gone(self, run: PodRun) -> None:
        """A pod's object went before its containers: they are killed, without another word to the API."""
        del self._runs[run.key]
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


def grace_of(record: ObjectRecord) -> int:
    """Return metadata.deletionGracePeriodSeconds."""
    meta = record.obj.meta
    at = meta.find(_GRACE)
    if at < 0:
        return 0
    digits = meta[at + len(_GRACE) : at + len(_GRACE) + 20].partition(b",")[0].partition(b"}")[0]
    return int(digits)
