"""Probes of running containers: they succeed when their time has come, unless the pod's annotations say otherwise."""

from collections.abc import Callable
from math import inf

from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.plan import Probe
from kubedyno.cluster.kubelet.runs import ContainerRun, PodRun

# What is due comes a moment after the call that asked for it: an endless loop of restarts has to end a call.
_SOON_S = 1e-3


class Probes:
    """Probes of all containers.

    Args:
        desk: Timers, events, statuses.
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
        self._latency = desk.latency
        self._on_started = started
        self._on_unhealthy = unhealthy

    def begin(self, run: PodRun, container: ContainerRun) -> None:
        """Begin with a container that has just been started, and is no regular init container."""
        probe = container.plan.startup
        container.started = probe is None
        if probe is None:
            self._go_on(run, container)
        else:
            self._await_startup(run, container, probe)

    def resume(self, run: PodRun, container: ContainerRun) -> None:
        """Go on with a container that ran before the cluster was started again."""
        probe = container.plan.startup
        if probe is not None and not container.started:
            self._await_startup(run, container, probe)
        elif not container.ready:
            self._go_on(run, container)
        else:
            self._watch(run, container)

    def _after(self, run: PodRun, container: ContainerRun, delay_s: float, step: Callable[[PodRun], None]) -> None:
        """Go on after a while, if the container runs then as it does now."""
        attempt = container.restarts

        def due(run: PodRun) -> None:
            if container.runs_as(attempt):
                step(run)

        self._desk.after(run, delay_s, due)

    def _await_startup(self, run: PodRun, container: ContainerRun, probe: Probe) -> None:
        if run.plan.wishes.fail_startup:
            delay_s = self._latency.paced(probe.initial_delay_s) + _SOON_S
            self._after(run, container, delay_s, lambda run: self._fail(run, container, probe, "Startup", 1))
            return

        def started(run: PodRun) -> None:
            container.started = True
            self._go_on(run, container)
            self._on_started(run, container)

        delay_s = self._latency.probe(probe.initial_delay_s, probe.period_s, probe.successes)
        self._after(run, container, delay_s, started)

    def _go_on(self, run: PodRun, container: ContainerRun) -> None:
        self._await_ready(run, container)
        self._watch(run, container)

    def _await_ready(self, run: PodRun, container: ContainerRun) -> None:
        probe, wishes = container.plan.readiness, run.plan.wishes
        if container in run.ephemeral:
            return
        if wishes.not_ready:
            if probe is not None:
                self._tell(run, container, probe, "Readiness")
            return
        if probe is None:
            container.ready = True
            return
        since_s, until_s = wishes.unready_s
        if since_s > 0:
            delay_s = self._latency.probe(probe.initial_delay_s, probe.period_s, probe.successes)
            self._after(run, container, delay_s, lambda run: self._set_ready(run, container, ready=True))
        if since_s != inf:
            delay_s = self._latency.paced(since_s)
            self._after(run, container, delay_s, lambda run: self._tell(run, container, probe, "Readiness"))
            delay_s += self._latency.paced(probe.period_s * (probe.failures - 1))
            self._after(run, container, delay_s + _SOON_S, lambda run: self._set_ready(run, container, ready=False))
        if until_s != inf:
            delay_s = self._latency.paced(until_s + probe.period_s * (probe.successes - 1)) + _SOON_S
            self._after(run, container, delay_s, lambda run: self._set_ready(run, container, ready=True))

    def _set_ready(self, run: PodRun, container: ContainerRun, *, ready: bool) -> None:
        container.ready = ready
        self._desk.request_publish(run)

    def _watch(self, run: PodRun, container: ContainerRun) -> None:
        """Have a liveness probe fail when the pod asks for it."""
        probe, since_s = container.plan.liveness, run.plan.wishes.liveness_s
        if probe is not None and since_s != inf:
            delay_s = self._latency.paced(max(since_s, probe.initial_delay_s)) + _SOON_S
            self._after(run, container, delay_s, lambda run: self._fail(run, container, probe, "Liveness", 1))

    def _fail(self, run: PodRun, container: ContainerRun, probe: Probe, kind: str, count: int) -> None:
        self._tell(run, container, probe, kind)
        if count >= probe.failures:
            self._on_unhealthy(run, container, probe, kind.lower())
            return
        delay_s = self._latency.paced(probe.period_s)
        self._after(run, container, delay_s, lambda run: self._fail(run, container, probe, kind, count + 1))

    def _tell(self, run: PodRun, container: ContainerRun, probe: Probe, kind: str) -> None:
        text = f"{kind} probe failed: {probe.failure}"
        self._desk.event(run, "Warning", "Unhealthy", text, container.plan.field_path)
