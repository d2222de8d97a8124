"""The life of containers in a pod: image, creation, start, readiness, end, restart.

A kubelet's sync begins one container after the other, each with its image; init containers have to be done before the
others begin.
"""

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.images import WantedImage
from kubedyno.cluster.kubelet.imagevolumes import CREATE_FAILED, ImageVolumes
from kubedyno.cluster.kubelet.latency import BACKOFF_RESET_S, BACKOFF_S
from kubedyno.cluster.kubelet.plan import Probe
from kubedyno.cluster.kubelet.podstatus import terminated
from kubedyno.cluster.kubelet.probes import Probes
from kubedyno.cluster.kubelet.pulls import BACK_OFF, FAILED, NEVER, Pulls
from kubedyno.cluster.kubelet.realprobes import RealProbes
from kubedyno.cluster.kubelet.restarts import comes_again
from kubedyno.cluster.kubelet.resumption import CRASH_LOOP, take_up
from kubedyno.cluster.kubelet.runs import ContainerRun, PodRun, Stage, State
from kubedyno.cluster.kubelet.texts import crash_back_off, crash_waiting

# A container that ended is started anew after this at the soonest, at speed 0 too: an endless loop has to end a call.
_MIN_RESTART_S = 1e-3
# A container whose program cannot be executed has this exit code (kuberuntime: StartError).
_START_FAILED = 128
# A hook that never ends is not waited for longer.
_LONGEST_S = 1e9
_CONFIG_ERROR = "CreateContainerConfigError"
_START_FAILURES = frozenset({FAILED, BACK_OFF, NEVER, _CONFIG_ERROR, CREATE_FAILED})


class Containers:
    """The containers of all pods.

    Args:
        desk: Timers, events, statuses.
        over: Called when a container of a pod has ended for good; with True when that ends the pod at once.
    """

    def __init__(self, desk: Desk, over: Callable[[PodRun, bool], None]) -> None:
        self._desk = desk
        self._latency = desk.latency
        self._texts = desk.texts
        self._clock = desk.clock
        self._over = over
        self._probes = Probes(desk, self._on_started, self._on_unhealthy)
        self._real_probes = RealProbes(desk, self._on_started, self._on_unhealthy)
        self.pulls = Pulls(desk)
        self.volumes = ImageVolumes(self.pulls, self._volume_changed)

    def resume(self, run: PodRun, status: dict[str, Any]) -> None:
        """Go on with the containers of a pod as its status says; nothing of what was is said again."""
        run.expand()
        take_up(run, status)
        run.go(Stage.INITIALIZING if run.init else Stage.STARTING)
        assert run.containers is not None
        for container in (*run.init, *run.containers, *run.ephemeral):
            if container.state is State.RUNNING:
                self._go_on(run, container)
            elif container.state is State.WAITING and container.begun:
                crashed = container.reason == CRASH_LOOP
                step = self._again if crashed else self._pull
                delay_s = max(self._latency.paced(BACKOFF_S) if crashed else 0.0, _MIN_RESTART_S)
                self._desk.after(run, delay_s, partial(_call, step, container))
            elif container.state is State.TERMINATED and comes_again(run, container):
                self.restart(run, container)
        self.begin_next(run)
        self.begin_ephemeral(run)

    def _go_on(self, run: PodRun, container: ContainerRun) -> None:
        """Have what a running container still has before it."""
        plan = container.plan
        regular_init = container in run.init and not plan.sidecar
        if not regular_init:
            self._probes.resume(run, container)
        if plan.run_s != inf:
            completes = regular_init or (run.plan.completes and not plan.sidecar)
            left_s = self._latency.program(plan.run_s, completes=completes)
            self._exit_after(run, container, max(left_s - (self._clock.now() - container.started_s), _MIN_RESTART_S))

    def _exit_after(self, run: PodRun, container: ContainerRun, delay_s: float) -> None:
        attempt = container.restarts

        def exited(run: PodRun) -> None:
            if container.runs_as(attempt):
                self._ended(run, container, container.plan.exit_code, container.plan.exit_reason)

        self._desk.after(run, delay_s, exited)

    def begin_next(self, run: PodRun) -> None:
        """Begin the next container, in the order of a kubelet's sync: init containers, then the others."""
        for container in run.init:
            done = container.started if container.plan.sidecar else _succeeded(container)
            if done:
                continue
            if not container.begun:
                container.begun = True
                self._pull(run, container)
            return
        if run.stage is Stage.INITIALIZING:
            run.go(Stage.STARTING)
        assert run.containers is not None
        for container in run.containers:
            if not container.begun:
                container.begun = True
                self._pull(run, container)
                return
            if not container.shown:
                # Its image is being pulled, or it is being created; a failing pull doesn't hold up the others.
                if container.reason in _START_FAILURES:
                    continue
                return
        if run.stage is Stage.STARTING and all(c.shown for c in run.containers):
            run.go(Stage.RUNNING)
            run.node.starts.add(max(0.0, self._clock.now() - run.start_s))

    def begin_ephemeral(self, run: PodRun) -> None:
        """Begin the containers that were added for debugging, as soon as there is a sandbox for them."""
        known = {container.plan.name for container in run.ephemeral}
        for plan in run.plan.ephemeral:
            if plan.name not in known:
                container = ContainerRun(plan, begun=True)
                run.ephemeral = (*run.ephemeral, container)
                self._pull(run, container)

    def _pull(self, run: PodRun, container: ContainerRun) -> None:
        wanted, plan = container.wanted, container.plan
        if wanted is None or wanted.image is not plan.image:
            wanted = WantedImage(plan.image, plan.reference, plan.pull_policy, plan.field_path)
            container.wanted = wanted

        def held(run: PodRun, reason: str, message: str) -> None:
            self._hold(run, container, reason, message, f"Error: {reason}")

        self.pulls.ensure(run, wanted, lambda run: self._create(run, container), held)

    def _hold(self, run: PodRun, container: ContainerRun, reason: str, message: str, said: str) -> None:
        """Note that a container cannot be started for now; that doesn't hold up the others."""
        self._desk.event(run, "Warning", "Failed", said, container.plan.field_path)
        container.state, container.reason, container.message = State.WAITING, reason, message
        self._desk.request_publish(run)
        self.begin_next(run)

    def _volume_changed(self, run: PodRun) -> None:
        """Try the containers again that wait for an image volume."""
        for container in (*run.init, *(run.containers or ())):
            if container.awaits_volume:
                container.awaits_volume = False
                self._create(run, container)

    def _create(self, run: PodRun, container: ContainerRun) -> None:
        plan = container.plan
        lacking = self._desk.missing(run, plan.needs)
        if lacking is not None:
            text = f'{lacking[0]} "{lacking[1]}" not found'
            self._hold(run, container, _CONFIG_ERROR, text, f"Error: {text}")
            self._desk.after(run, self._latency.retry(), lambda run: self._pull(run, container))
            return
        problem = self.volumes.problem(run, plan) if plan.image_mounts else None
        if problem is not None:
            reason, message = problem
            if reason in {CREATE_FAILED, _CONFIG_ERROR}:
                self._hold(run, container, reason, message, f"Error: {message}")
                self._desk.after(run, self._latency.retry(), lambda run: self._pull(run, container))
            else:
                container.awaits_volume = True
                self._hold(run, container, reason, message, f"Error: {reason}")
            return
        if run.real:
            breach = self._desk.runtime.breach(run.uid, plan.name) if self._desk.runtime is not None else ""
            if breach:
                self._hold(run, container, _CONFIG_ERROR, breach, f"Error: {breach}")
                self._desk.after(run, self._latency.retry(), lambda run: self._pull(run, container))
            else:
                self._run(run, container)
            return

        def created(run: PodRun) -> None:
            self._desk.event(run, "Normal", "Created", self._texts.created(plan.name), plan.field_path)
            self._desk.after(run, self._latency.start(), lambda run: self._start(run, container))

        self._desk.after(run, self._latency.create(), created)

    def _run(self, run: PodRun, container: ContainerRun) -> None:
        """Have a container's process started."""
        runtime, plan, attempt, epoch = self._desk.runtime, container.plan, container.restarts, run.epoch
        assert runtime is not None
        self._desk.event(run, "Normal", "Created", self._texts.created(plan.name), plan.field_path)

        def started(failure: str) -> None:
            if run.epoch != epoch or container.restarts != attempt:
                return
            if failure:
                self._desk.event(run, "Warning", "Failed", f"Error: {failure}", plan.field_path)
                container.started_s, container.shown = self._clock.now(), True
                self._ended(run, container, _START_FAILED, "StartError", failure)
                self.begin_next(run)
            else:
                self._start(run, container)
            self._desk.flush()

        def ended(code: int, reason: str) -> None:
            if not container.runs_as(attempt):
                return
            if run.stage >= Stage.COMPLETED:
                # It was told to: only how it ended is still of interest.
                self.end(container, code, reason)
                return
            self._ended(run, container, code, reason)
            self._desk.flush()

        runtime.start(run.uid, plan.name, started, ended)

    def _start(self, run: PodRun, container: ContainerRun) -> None:
        plan = container.plan
        self._desk.event(run, "Normal", "Started", self._texts.started(plan.name), plan.field_path)
        container.started_s, container.shown = self._clock.now(), True
        if plan.post_start_s is None:
            self._runs_now(run, container)
            return
        # The kubelet waits for the hook, and tells nothing before.
        attempt = container.restarts

        def done(run: PodRun, *, failed: bool) -> None:
            if container.restarts != attempt:
                return
            if not failed:
                self._runs_now(run, container)
                return
            self._desk.event(run, "Warning", "FailedPostStartHook", "PostStartHook failed", plan.field_path)
            self._desk.event(run, "Normal", "Killing", "FailedPostStartHook", plan.field_path)
            if run.real:
                container.state = State.RUNNING
                self.stop(run, container, run.plan.facts.grace_s)
            else:
                self._ended(run, container, plan.stopped_code)
            self.begin_next(run)

        if run.real and self._desk.runtime is not None:
            epoch = run.epoch

            def told(failure: str | None) -> None:
                if run.epoch == epoch:
                    done(run, failed=failure is not None)
                    self._desk.flush()

            self._desk.runtime.act(run.uid, plan.name, "postStart", told)
            return
        fails = "postStart" in run.plan.wishes.fail_hooks
        delay_s = self._latency.scaled(min(plan.post_start_s, _LONGEST_S))
        self._desk.after(run, delay_s, partial(done, failed=fails))

    def _runs_now(self, run: PodRun, container: ContainerRun) -> None:
        plan = container.plan
        container.state, container.reason, container.message = State.RUNNING, "", ""
        regular_init = container in run.init and not plan.sidecar
        if regular_init:
            container.started = True
        else:
            (self._real_probes if run.real else self._probes).begin(run, container)
        if plan.run_s != inf and not run.real:
            completes = regular_init or (run.plan.completes and not plan.sidecar)
            self._exit_after(run, container, self._latency.program(plan.run_s, completes=completes))
        self._desk.request_publish(run)
        if not regular_init:
            self.begin_next(run)

    def _on_started(self, run: PodRun, container: ContainerRun) -> None:
        _ = container
        self._desk.request_publish(run)
        self.begin_next(run)

    def _on_unhealthy(self, run: PodRun, container: ContainerRun, probe: Probe, kind: str) -> None:
        """Kill a container for a probe, within the probe's grace period or the pod's."""
        plan = container.plan
        # What it ends with is known only then; it counts for OnFailure.
        container.exit_code = plan.stopped_code
        again = ", will be restarted" if comes_again(run, container) else ""
        text = f"Container {plan.name} failed {kind} probe{again}"
        self._desk.event(run, "Normal", "Killing", text, plan.field_path)
        grace_s = run.plan.facts.grace_s if probe.grace_s is None else probe.grace_s
        self.stop(run, container, grace_s)

    def stop(self, run: PodRun, container: ContainerRun, grace_s: float) -> None:
        """Stop one container of a pod that goes on; it is started again by the rules for its end."""
        plan, attempt = container.plan, container.restarts
        if run.real and self._desk.runtime is not None:
            # Its end comes from the process.
            self._desk.runtime.stop_container(
                run.uid, plan.name, grace_s, lambda _: self._desk.hook_failed(run, plan.field_path)
            )
            return
        if plan.pre_stop_s is not None and "preStop" in run.plan.wishes.fail_hooks:
            self._desk.hook_failed(run, plan.field_path)

        def ended(run: PodRun) -> None:
            if container.runs_as(attempt):
                self._ended(run, container, plan.stopped_code)

        stops_s = self._latency.stop(grace_s, hook_s=plan.pre_stop_s or 0.0, ignores_term=plan.ignores_term)
        self._desk.after(run, max(stops_s, _MIN_RESTART_S), ended)

    def end_program(self, run: PodRun, name: str, code: int) -> None:
        """Let a container's program end of itself that would have waited for ever."""
        run.expand()
        for container in run.running():
            if container.plan.name == name and container.plan.run_s == inf:
                self._ended(run, container, code)

    def _ended(self, run: PodRun, container: ContainerRun, code: int, reason: str = "", message: str = "") -> None:
        """A container has ended: it is started again, or the pod may be over."""
        self.end(container, code, reason)
        if message:
            container.message = message
        if container in run.ephemeral:
            self._desk.request_publish(run)
            return
        regular_init = container in run.init and not container.plan.sidecar
        if regular_init and code == 0:
            # The next one begins when the kubelet sees that this one is done.
            self._desk.after(run, self._latency.relist(), self.begin_next)
            self._desk.request_publish(run)
            return
        if comes_again(run, container):
            self.restart(run, container)
        else:
            self._over(run, regular_init)
        self._desk.request_publish(run)

    def end(self, container: ContainerRun, code: int, reason: str = "") -> None:
        """Note that a container ended, and why if it was not of itself."""
        container.state = State.TERMINATED
        container.exit_code = code
        container.reason = reason or ("Error" if code else "Completed")
        container.finished_s = self._clock.now()
        container.ready = container.started = False

    def restart(self, run: PodRun, container: ContainerRun) -> None:
        """Start a container again: at once the first time, then after a pause that doubles."""
        if container.finished_s - container.started_s > BACKOFF_RESET_S:
            container.backoff_s = 0.0
        pause_s = container.backoff_s
        if not pause_s:
            container.backoff_s = run.node.config.crash_backoff_s
            # Seen by the next relist; never in the same call, which could go on for ever.
            self._desk.after(run, max(self._latency.relist(), _MIN_RESTART_S), lambda run: self._again(run, container))
            return
        container.backoff_s = min(pause_s * 2, run.node.config.crash_backoff_max_s)
        pause_s = min(pause_s, run.node.config.crash_backoff_max_s)
        namespace, _, name = run.key.partition("/")
        plan = container.plan
        text = crash_back_off(plan.name, name, namespace, run.uid)
        self._desk.event(run, "Warning", "BackOff", text, plan.field_path)
        container.last = terminated(run, container)
        container.state, container.reason = State.WAITING, CRASH_LOOP
        container.message = crash_waiting(plan.name, name, namespace, run.uid, pause_s)
        self._desk.after(run, self._latency.paced(pause_s), lambda run: self._again(run, container))

    def _again(self, run: PodRun, container: ContainerRun) -> None:
        if container.state is State.TERMINATED:
            container.last = terminated(run, container)
            container.state, container.reason = State.WAITING, "ContainerCreating"
        container.restarts += 1
        self._pull(run, container)


def _call(step: Callable[[PodRun, ContainerRun], None], container: ContainerRun, run: PodRun) -> None:
    step(run, container)


def _succeeded(container: ContainerRun) -> bool:
    return container.state is State.TERMINATED and container.exit_code == 0
