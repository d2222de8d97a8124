"""Probes of containers that are processes: done for real, at the pace that their specs say, by a kubelet's thresholds."""

from collections.abc import Callable
from dataclasses import dataclass

from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.plan import Probe
from kubedyno.cluster.kubelet.runs import ContainerRun, PodRun

_STARTUP, _READINESS, _LIVENESS = "Startup", "Readiness", "Liveness"
_MEMBERS = {_STARTUP: "startupProbe", _READINESS: "readinessProbe", _LIVENESS: "livenessProbe"}


@dataclass(slots=True)
class _Worker:
    """One probe of one container: prober/worker.go's counters."""

    run: PodRun
    container: ContainerRun
    probe: Probe
    kind: str
    good: int = 0
    bad: int = 0


class RealProbes:
    """Probes of all containers that are processes.

    Args:
        desk: Timers, events, statuses, the runtime.
        started: Called when a startup probe has succeeded.
        unhealthy: Called with the probe, and its kind in small letters, when a container is to be killed for it.
    """

    def __init__(
        self,
        desk: Desk,
        started: Callable[[PodRun, ContainerRun], None],
        unhealthy: Callable[[PodRun, ContainerRun, Probe, str], None],
    ) -> None:
        self._desk = desk
        self._on_started = started
        self._on_unhealthy = unhealthy

    def begin(self, run: PodRun, container: ContainerRun) -> None:
        """Begin with a container that has just been started, and is no regular init container."""
        probe = container.plan.startup
        container.started = probe is None
        if probe is None:
            self._go_on(run, container)
        else:
            self._after(_Worker(run, container, probe, _STARTUP), probe.initial_delay_s)

    def _go_on(self, run: PodRun, container: ContainerRun) -> None:
        plan = container.plan
        if plan.readiness is None:
            container.ready = container not in run.ephemeral
        else:
            self._after(_Worker(run, container, plan.readiness, _READINESS), plan.readiness.initial_delay_s)
        if plan.liveness is not None:
            self._after(_Worker(run, container, plan.liveness, _LIVENESS), plan.liveness.initial_delay_s)

    def _after(self, worker: _Worker, delay_s: float) -> None:
        """Probe after a while, if the container runs then as it does now."""
        container, attempt = worker.container, worker.container.restarts
        runtime = self._desk.runtime
        assert runtime is not None

        def due(run: PodRun) -> None:
            epoch = run.epoch

            def done(failure: str | None) -> None:
                if run.epoch == epoch and container.runs_as(attempt):
                    self._judge(worker, failure)
                    self._desk.flush()

            if container.runs_as(attempt):
                runtime.act(run.uid, container.plan.name, _MEMBERS[worker.kind], done)

        self._desk.after(worker.run, delay_s, due)

    def _judge(self, worker: _Worker, failure: str | None) -> None:
        """Count a result, act on a threshold, and go on unless the container is to be killed or the probe has done its work."""
        run, container, probe, kind = worker.run, worker.container, worker.probe, worker.kind
        if failure is not None:
            worker.good, worker.bad = 0, worker.bad + 1
            text = f"{kind} probe failed: {failure}"
            self._desk.event(run, "Warning", "Unhealthy", text, container.plan.field_path)
        else:
            worker.good, worker.bad = worker.good + 1, 0
        failed, succeeded = worker.bad >= probe.failures, worker.good >= probe.successes
        if kind == _READINESS:
            if container.ready is not succeeded and (failed or succeeded):
                container.ready = succeeded
                self._desk.request_publish(run)
        elif failed:
            self._on_unhealthy(run, container, probe, kind.lower())
            return
        elif kind == _STARTUP and succeeded:
            container.started = True
            self._go_on(run, container)
            self._on_started(run, container)
            return
        self._after(worker, probe.period_s)
