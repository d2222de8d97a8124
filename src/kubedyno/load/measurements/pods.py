"""Pods of a run as its watch sees them: phases over time, and the moments of each pod's start.

One watch feeds everything that needs pods: the progress line, the report's timeline and `podLatency`. Events
are decoded only as far as these need. A condition or event that is absent counts as absent, never as failure.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from kubedyno.base.times import epoch_of

# Condition types in the order in which a pod passes them.
CONDITIONS = ("PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")


class _Condition(msgspec.Struct):
    type: str
    status: str
    lastTransitionTime: str | None = None
    reason: str | None = None


class _Metadata(msgspec.Struct):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    creationTimestamp: str | None = None
    deletionTimestamp: str | None = None
    labels: dict[str, str] | None = None


class _Spec(msgspec.Struct):
    nodeName: str = ""


class _Status(msgspec.Struct):
    phase: str = "Pending"
    conditions: list[_Condition] | None = None


class _Pod(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Regarded(msgspec.Struct):
    uid: str = ""


class _Named(msgspec.Struct):
    name: str = ""


class _Event(msgspec.Struct):
    """What is read of an Event."""

    reason: str = ""
    involvedObject: _Regarded = msgspec.field(default_factory=_Regarded)
    metadata: _Named = msgspec.field(default_factory=_Named)
    eventTime: str | None = None
    lastTimestamp: str | None = None
    firstTimestamp: str | None = None


_decode_pod = msgspec.json.Decoder(_Pod).decode
_decode_event = msgspec.json.Decoder(_Event).decode


@dataclass(slots=True)
class PodStart:
    """What is known of one pod; times are epoch seconds.

    Attributes:
        created_s: creationTimestamp (whole seconds, the API's precision).
        seen_created_s: When the watch showed the pod first (local clock).
        server_s: Condition type → lastTransitionTime of its first True (whole seconds).
        seen_s: Condition type → local time at which the watch first showed it True.
        scheduled_event_s: `eventTime` of the Scheduled event (microseconds), None when not seen.
        started_event_s: Time of the last `Started` event (nanoseconds), None when not seen.
        gone_s: When the watch showed that it was deleted (local clock), None when it did not.
    """

    namespace: str
    name: str
    uid: str
    job: str
    iteration: int
    replica: int
    created_s: float
    seen_created_s: float
    server_s: dict[str, float]
    seen_s: dict[str, float]
    node: str = ""
    phase: str = "Pending"
    ready: bool = False
    deleted: bool = False
    scheduled_event_s: float | None = None
    started_event_s: float | None = None
    gone_s: float | None = None


class PodTracker:
    """Folds watch events into `PodStart`s and live counts.

    `phases` counts live pods as "Running" (ready), "Starting" (bound, not ready), "Pending" (not bound),
    "Succeeded", "Failed" and "Terminating".
    """

    def __init__(self) -> None:
        # Told of each pod when it is seen first.
        self.on_first: Callable[[PodStart], None] | None = None
        # Of what is followed; empty: all.
        self.namespaces: frozenset[str] = frozenset()
        self.pods: dict[str, PodStart] = {}
        self.phases: Counter[str] = Counter()
        self.changes = 0
        self._state: dict[str, str] = {}
        # Events can arrive before their pod: kept by uid until it does.
        self._early: dict[str, list[tuple[str, float]]] = {}

    @property
    def ready(self) -> int:
        return self.phases["Running"]

    @property
    def came_up(self) -> int:
        """How many pods are Ready, have succeeded, or were Ready until they were deleted (churn, clean-up)."""
        return sum(self._came_up(uid, pod) for uid, pod in self.pods.items())

    def _came_up(self, uid: str, pod: PodStart) -> bool:
        if pod.deleted or self._state.get(uid) == "Terminating":
            return "Ready" in pod.seen_s or pod.phase == "Succeeded"
        return pod.ready or pod.phase == "Succeeded"

    def pod_event(self, kind: str, raw: bytes | memoryview, now_s: float, *, new: bool = True) -> None:
        """Take one watch event of a pod.

        Args:
            kind: ADDED, MODIFIED or DELETED.
            raw: JSON of the pod.
            now_s: Local epoch seconds.
            new: Also of a pod that was not seen before.

        Raises:
            msgspec.DecodeError: `raw` is no pod.
        """
        pod = _decode_pod(raw)
        meta = pod.metadata
        start = self.pods.get(meta.uid)
        if start is None:
            if kind == "DELETED" or not new or (self.namespaces and meta.namespace not in self.namespaces):
                return
            labels = meta.labels or {}
            start = PodStart(
                meta.namespace,
                meta.name,
                meta.uid,
                labels.get("kube-burner.io/job") or labels.get("kube-burner-job", ""),
                _number(labels.get("kube-burner.io/job-iteration")),
                _number(labels.get("kube-burner.io/replica")),
                epoch_of(meta.creationTimestamp) if meta.creationTimestamp else now_s,
                now_s,
                {},
                {},
            )
            self.pods[meta.uid] = start
            if self.on_first is not None:
                self.on_first(start)
            for reason, at_s in self._early.pop(meta.uid, ()):
                self._moment(start, reason, at_s)
        self.changes += 1
        if kind == "DELETED":
            start.deleted = True
            start.gone_s = now_s
            self._count(meta.uid, None)
            return
        start.node = pod.spec.nodeName
        start.phase = pod.status.phase
        ready = False
        for condition in pod.status.conditions or ():
            if condition.status != "True":
                continue
            name = condition.type
            if name == "Ready":
                ready = True
            if name not in start.seen_s:
                start.seen_s[name] = now_s
                if condition.lastTransitionTime:
                    start.server_s[name] = epoch_of(condition.lastTransitionTime)
        start.ready = ready
        self._count(meta.uid, _state_of(pod, ready))

    def event_event(self, raw: bytes) -> None:
        """Take the JSON of an Event that regards a pod: `Scheduled` and `Started` are moments of its start.

        Raises:
            msgspec.DecodeError: `raw` is no event.
        """
        event = _decode_event(raw)
        if event.reason not in {"Scheduled", "Started"}:
            return
        at_s = _event_time_s(event)
        if at_s is None:
            return
        uid = event.involvedObject.uid
        start = self.pods.get(uid)
        if start is None:
            self._early.setdefault(uid, []).append((event.reason, at_s))
        else:
            self._moment(start, event.reason, at_s)

    @staticmethod
    def _moment(start: PodStart, reason: str, at_s: float) -> None:
        if reason == "Scheduled":
            start.scheduled_event_s = at_s
        else:
            # A pod's containers are started when the last of them is.
            start.started_event_s = max(at_s, start.started_event_s or 0.0)

    def _count(self, uid: str, state: str | None) -> None:
        old = self._state.get(uid)
        if old == state:
            return
        if old is not None:
            self.phases[old] -= 1
        if state is None:
            self._state.pop(uid, None)
        else:
            self._state[uid] = state
            self.phases[state] += 1


def _state_of(pod: _Pod, ready: bool) -> str:
    if pod.metadata.deletionTimestamp:
        return "Terminating"
    if pod.status.phase in {"Succeeded", "Failed"}:
        return pod.status.phase
    if ready:
        return "Running"
    return "Starting" if pod.spec.nodeName else "Pending"


def _event_time_s(event: _Event) -> float | None:
    """Return the moment of an event as precisely as it tells.

    kube-burner reads `Started` from the event's name: its suffix is the time in hexadecimal nanoseconds.
    """
    if event.eventTime:
        return epoch_of(event.eventTime)
    if event.reason == "Started":
        try:
            return int(event.metadata.name.rpartition(".")[2], 16) / 1e9
        except ValueError:
            pass
    text = event.lastTimestamp or event.firstTimestamp
    return epoch_of(text) if text else None


def _number(text: str | None) -> int:
    try:
        return int(text or 0)
    except ValueError:
        return 0
