"""A pod on its node: stages and containers' states; `podstatus` shows them.

A simple pod that started at once is a row without containers: what they are follows from its plan.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from kubedyno.cluster.kubelet.images import WantedImage
from kubedyno.cluster.kubelet.plan import ContainerPlan, PodPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubedyno.cluster.kubelet.rows import NodeRow
    from kubedyno.cluster.pump import Timer

CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
_NO_CONDITIONS: dict[str, list[Any]] = {}


class Stage(IntEnum):
    """Where a pod is in its life on the node; it only ever goes on, as NEXT_STAGES says."""

    SANDBOX = 0
    WAITING_ADDRESS = 1
    INITIALIZING = 2
    STARTING = 3
    RUNNING = 4
    COMPLETED = 5
    TERMINATING = 6
    GONE = 7


NEXT_STAGES: dict[Stage, frozenset[Stage]] = {
    # Only the wait for an address has a way back: another sandbox is tried.
    Stage.SANDBOX: frozenset(
        {Stage.WAITING_ADDRESS, Stage.INITIALIZING, Stage.STARTING, Stage.RUNNING, Stage.TERMINATING, Stage.GONE}
    ),
    Stage.WAITING_ADDRESS: frozenset({Stage.SANDBOX, Stage.TERMINATING, Stage.GONE}),
    Stage.INITIALIZING: frozenset({Stage.STARTING, Stage.COMPLETED, Stage.TERMINATING, Stage.GONE}),
    Stage.STARTING: frozenset({Stage.RUNNING, Stage.COMPLETED, Stage.TERMINATING, Stage.GONE}),
    Stage.RUNNING: frozenset({Stage.COMPLETED, Stage.TERMINATING, Stage.GONE}),
    Stage.COMPLETED: frozenset({Stage.TERMINATING, Stage.GONE}),
    Stage.TERMINATING: frozenset({Stage.GONE}),
    Stage.GONE: frozenset(),
}


class State(Enum):
    """A container's."""

    WAITING = "waiting"
    RUNNING = "running"
    TERMINATED = "terminated"


@dataclass(slots=True)
class ContainerRun:
    """A container.

    Attributes:
        plan: What it is.
        state: Its state.
        reason: Why it waits, or how it ended.
        message: More of that.
        begun: Its start was asked for: it is the turn of the next one.
        restarts: restartCount.
        exit_code: Of its last end.
        started_s: Epoch seconds of its last start.
        finished_s: Epoch seconds of its last end.
        ready: Its readiness.
        started: It passed its startup probe, if it has one.
        last: lastState.
        backoff_s: The next pause before a restart; 0 when the first restart is still to come.
        wanted: Its image, as long as that is the same.
        awaits_volume: An image volume that it mounts has not come.
        shown: It was created at least once: its image has an id.
    """

    plan: ContainerPlan
    state: State = State.WAITING
    reason: str = "ContainerCreating"
    message: str = ""
    begun: bool = False
    restarts: int = 0
    exit_code: int = 0
    started_s: float = 0.0
    finished_s: float = 0.0
    ready: bool = False
    started: bool = False
    last: dict[str, Any] = field(default_factory=dict)
    backoff_s: float = 0.0
    wanted: WantedImage | None = None
    awaits_volume: bool = False
    shown: bool = False

    def runs_as(self, attempt: int) -> bool:
        """Say whether it runs, and has not been started again since it had so many restarts."""
        return self.state is State.RUNNING and self.restarts == attempt


@dataclass(slots=True)
class VolumeRun:
    """An image volume.

    Attributes:
        ready: Its image has come.
        reason: Why not.
        message: More of that.
    """

    ready: bool = False
    reason: str = "ContainerCreating"
    message: str = ""


_NO_VOLUMES: dict[str, VolumeRun] = {}


class PodRun:
    """A pod; `containers` is None while all of it follows from the plan (see the module)."""

    __slots__ = (
        "address", "conditions", "containers", "disrupted", "ephemeral", "epoch", "forced_phase", "generation", "grace_s", "id_base", "init", "key", "node", "note", "plan",
        "publish_timer", "real", "resize", "resizes", "stage", "start_s", "static", "suffix", "uid", "verdict", "volumes", "written",
    )  # fmt: skip

    def __init__(self, key: str, uid: str, node: "NodeRow", plan: PodPlan, start_s: float, suffix: bytes) -> None:
        self.key = key
        self.uid = uid
        # What container ids are made of; a mirror pod's uid changes, its containers' ids don't.
        self.id_base = uid
        self.node = node
        self.plan = plan
        self.stage = Stage.SANDBOX
        self.address = ""
        self.start_s = start_s
        self.suffix = suffix
        self.static = False
        # It is run by the runtime: its containers are processes.
        self.real = False
        # What a runtime has to say of it, as (status, reason, message) of the condition PROCESSES.
        self.note: tuple[str, str, str] | None = None
        self.containers: list[ContainerRun] | None = None
        self.init: Sequence[ContainerRun] = ()
        # Added for debugging, in the order in which they began; never restarted, and no part of the pod's phase.
        self.ephemeral: tuple[ContainerRun, ...] = ()
        # Condition → [status, epoch seconds of its last transition]; only with containers.
        self.conditions: dict[str, list[Any]] = _NO_CONDITIONS
        # Why the pod as a whole has failed, as (reason, message).
        self.verdict: tuple[str, str] | None = None
        # Its kubelet ended it, with the message of its condition DisruptionTarget; "" while it did not.
        self.disrupted = ""
        # Why a resize has to wait, as (reason, message).
        self.resize: tuple[str, str] | None = None
        # A resize that fits is being done, since then (epoch seconds); 0: none is.
        self.resizes = 0.0
        # Image volumes by name; none while the pod has not begun.
        self.volumes: dict[str, VolumeRun] = _NO_VOLUMES
        # "Succeeded" or "Failed" once the pod as a whole is over.
        self.forced_phase = ""
        # Revision of the status that was written last: that change is no news.
        self.written = 0
        # metadata.generation of the version that was acted on: a written status may lie over news (a deletion too).
        self.generation = 0
        # Timers of earlier epochs are void.
        self.epoch = 0
        self.publish_timer: Timer | None = None
        # The grace period that it was asked to stop within.
        self.grace_s = 0

    def go(self, stage: Stage) -> None:
        """Enter a stage."""
        assert stage in NEXT_STAGES[self.stage], f"{self.key}: {self.stage.name} -> {stage.name}"
        self.stage = stage

    def expand(self) -> None:
        """Make the containers that the plan stands for: none started, or (a simple pod) all running."""
        if self.containers is not None:
            return
        running = self.stage is Stage.RUNNING
        self.init = [ContainerRun(plan, reason="PodInitializing") for plan in self.plan.init]
        self.conditions = {}
        reason = "PodInitializing" if self.init else "ContainerCreating"
        self.containers = [ContainerRun(plan, reason=reason) for plan in self.plan.containers]
        if running:
            for container in self.containers:
                container.state, container.reason = State.RUNNING, ""
                container.begun = container.ready = container.started = container.shown = True
                container.started_s = self.start_s
            # PodScheduled is older: its time is in the stored status.
            self.conditions = {name: ["True", self.start_s] for name in CONDITIONS[:-1]}

    def running(self) -> list[ContainerRun]:
        """Return the containers that run."""
        return [c for c in (*self.init, *(self.containers or ()), *self.ephemeral) if c.state is State.RUNNING]

    @property
    def initialized(self) -> bool:
        """All init containers are done, and the sidecars started."""
        return all(c.started if c.plan.sidecar else c.state is State.TERMINATED and c.exit_code == 0 for c in self.init)

    def end_all(self, now_s: float, finished: dict[str, float] | None = None) -> None:
        """Have all running containers stopped; sets the phase that the pod ends in.

        Args:
            now_s: Epoch seconds.
            finished: Container → when it ended, where that was earlier.
        """
        self.expand()
        assert self.containers is not None
        for container in self.running():
            container.state = State.TERMINATED
            container.exit_code = container.plan.stopped_code
            container.reason = "Error" if container.exit_code else "Completed"
            container.finished_s = min((finished or {}).get(container.plan.name, now_s), now_s)
            container.ready = container.started = False
        if not self.forced_phase and any(c.state is State.TERMINATED for c in self.containers):
            failed = any(c.state is not State.TERMINATED or c.exit_code for c in self.containers)
            self.forced_phase = "Failed" if failed else "Succeeded"


def container_id(base: str, name: str, attempt: int) -> str:
    """Return a container's id: it follows from its pod, name and number of restarts, so that it needs no storing."""
    return sha256(f"{base}/{name}/{attempt}".encode()).hexdigest()


def phase_of(run: PodRun) -> str:
    """Return the phase (kubelet_pods.go: getPhase)."""
    if run.forced_phase:
        return run.forced_phase
    containers = run.containers or ()
    never_ran = [c for c in containers if c.state is State.WAITING and not c.last]
    if never_ran or not containers:
        return "Pending"
    return "Running"
