"""Events of the cluster's own parts, counted and thinned out as client-go's recorders do.

Two forms. Parts that name an action (the scheduler) write events.k8s.io's: a repetition becomes a series. The
others write core/v1's: a repetition raises `count`, many similar ones are combined, and one object's events from one
component are limited to a burst and a trickle.
"""

from collections import OrderedDict, deque
from typing import Any, TypeVar, cast

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.cluster.registry.recordedevent import Origin, RecordedEvent
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import EVENTS, Resource

# client-go's: tools/record/events_cache.go.
_CACHE_SIZE = 4096
_SIMILAR_EVENTS = 10
_SIMILAR_WINDOW_S = 600.0
_BURST = 25
_REFILL_S = 300.0
_COMBINED = "(combined from similar events): "
# A series that goes on is written again after this time (tools/events/event_broadcaster.go: refreshTime).
_SERIES_REFRESH_S = 1800.0
# Of these many events it is known that they were written before: more than pods wait for a node, or each of their
# retries would be a new event.
_SERIES_SIZE = 65_536
# kube-apiserver's --event-ttl.
EVENT_TTL_S = 3600.0
_SALT_DIGITS = 32
_ORIGINS = 16_384
# Times are floats: a difference of two is off by less.
_ROUNDING_S = 1e-3

V = TypeVar("V")


class _Bounded(OrderedDict[Any, V]):
    """A cache that forgets what was used longest ago."""

    def __init__(self, size: int = _CACHE_SIZE) -> None:
        super().__init__()
        self._size = size

    def touch(self, key: Any) -> V | None:
        value = self.get(key)
        if value is not None:
            self.move_to_end(key)
        return value

    def keep(self, key: Any, value: V) -> None:
        self[key] = value
        if len(self) > self._size:
            self.popitem(last=False)


class _Seen:
    """An event that was written, and how often it was seen: more often than it was written."""

    __slots__ = ("count", "event", "written_s")

    def __init__(self, event: RecordedEvent, now_s: float) -> None:
        self.event = event
        self.count = 1
        self.written_s = now_s


class _Similar:
    """Messages of events that differ in nothing else; one alone is kept bare, as most are."""

    __slots__ = ("last_s", "messages")

    def __init__(self, message: str, now_s: float) -> None:
        self.messages: str | dict[str, None] = message
        self.last_s = now_s


class EventRecorder:
    """Writes events.

    Args:
        store: Where to.
        clock: Stamps them.
        random: Makes uids.

    Attributes:
        written: How many each component has written, by the method that its client would have used.
    """

    def __init__(self, store: Store, clock: Clock, random: Random) -> None:
        self.written: dict[tuple[str, str], int] = {}
        self._store = store
        self._table = store.table(EVENTS)
        self._clock = clock
        self._salt = random.hex(_SALT_DIGITS).encode()
        self._origins: dict[tuple[int, str, str, str, str, str], Origin] = {}
        self._seen: _Bounded[RecordedEvent] = _Bounded()
        self._similar: _Bounded[_Similar] = _Bounded()
        # (component, host, object uid) → when its bucket of tokens will be full again.
        self._full_s: _Bounded[float] = _Bounded()
        self._series: _Bounded[_Seen] = _Bounded(_SERIES_SIZE)
        self._last_ns = 0
        self._due: deque[RecordedEvent] = deque()

    def record(
        self,
        resource: Resource,
        about: ObjectRecord,
        *,
        type: str,
        reason: str,
        message: str,
        component: str,
        host: str = "",
        action: str = "",
        field_path: str = "",
        uid: str = "",
    ) -> ObjectRecord | None:
        """Write an event, or count it.

        Args:
            resource: What the event is about.
            about: Its record.
            type: "Normal" or "Warning".
            reason: E.g. "Scheduled".
            message: For people.
            component: Who says it, e.g. "kubelet".
            host: The node it runs on; for events with an action the reportingInstance.
            action: E.g. "Binding"; chooses the events.k8s.io form.
            field_path: E.g. "spec.containers{web}".
            uid: Instead of the object's own (a kubelet's events about its node have the node's name here).

        Returns:
            The event's record; None when it was only counted or held back.
        """
        now_s = self._clock.now()
        uid = uid or about.obj.uid
        origin = self._origins.get((id(resource), type, reason, component, action, field_path))
        if origin is None:
            origin = self._new_origin(resource, type, reason, component, action, field_path)
        if action:
            return self._record_series(origin, about, uid, host, message, now_s)
        similar = (uid, host, origin)
        message = self._combined(similar, message, now_s)
        seen_key = (similar, "" if message.startswith(_COMBINED) else message)
        if not self._take_token((uid, host, component), now_s):
            return None
        seen = self._seen.touch(seen_key)
        if seen is not None and self._store.get(EVENTS, seen.key) is not None:
            event = seen.again(message, seen.count + 1, now_s)
            self._seen.keep(seen_key, event)
            return self._write(event, "PATCH")
        event = self._new(origin, about, uid, host, message, now_s)
        self._seen.keep(seen_key, event)
        return self._put(event)

    def _new_origin(
        self, resource: Resource, type: str, reason: str, component: str, action: str, field_path: str
    ) -> Origin:
        if len(self._origins) >= _ORIGINS:
            # Counts begin anew then; the resources in the keys live as long as the process.
            self._origins.clear()
        origin = Origin(resource, type, reason, component, action, field_path, self._salt)
        self._origins[id(resource), type, reason, component, action, field_path] = origin
        return origin

    def _record_series(
        self, origin: Origin, about: ObjectRecord, uid: str, host: str, message: str, now_s: float
    ) -> ObjectRecord | None:
        # What went well is said once of a version, so nothing need be kept of it.
        if origin.type == "Normal":
            return self._put(self._new(origin, about, uid, host, message, now_s))
        # A new version of the object starts a new event, as its resourceVersion is part of what the event regards.
        key = (uid, about.revision, host, origin)
        seen = self._series.touch(key)
        if seen is not None and self._store.get(EVENTS, seen.event.key) is not None:
            seen.count += 1
            # The second one starts the series; later ones are only counted until the next refresh.
            if seen.count > 2 and now_s - seen.written_s < _SERIES_REFRESH_S:
                return None
            seen.written_s = now_s
            return self._write(seen.event.again(seen.event.message, seen.count, now_s), "PATCH")
        event = self._new(origin, about, uid, host, message, now_s)
        self._series.keep(key, _Seen(event, now_s))
        return self._put(event)

    def expire(self, limit: int) -> bool:
        """Delete events that were first written over an hour ago, at most `limit`; True when more are due."""
        until_ns = int((self._clock.now() - EVENT_TTL_S) * 1e9)
        due = self._due
        while due and due[0].first_ns <= until_ns and limit > 0:
            event = due.popleft()
            record = self._store.get(EVENTS, event.key)
            if record is not None and record.obj.uid == event.uid:
                self._store.remove(EVENTS, event.key)
            limit -= 1
        return bool(due) and due[0].first_ns <= until_ns

    @property
    def next_expiry_s(self) -> float | None:
        """Epoch seconds when the next event is due to be deleted, None when there is none."""
        return self._due[0].first_ns / 1e9 + EVENT_TTL_S if self._due else None

    def _put(self, event: RecordedEvent) -> ObjectRecord:
        self._due.append(event)
        return self._write(event, "POST")

    def _write(self, event: RecordedEvent, method: str) -> ObjectRecord:
        written, by = self.written, (event.origin.component, method)
        written[by] = written.get(by, 0) + 1
        # To all who read it, it is one.
        return self._store.put_in(self._table, cast("StoredObject", event))

    def _new(
        self, origin: Origin, about: ObjectRecord, uid: str, host: str, message: str, now_s: float
    ) -> RecordedEvent:
        obj = about.obj
        # Names are the object's and the time in nanoseconds, which must differ from one event to the next.
        self._last_ns = nanoseconds = max(int(now_s * 1e9), self._last_ns + 1)
        key = f"{obj.namespace or 'default'}/{obj.name}.{nanoseconds:x}"
        return RecordedEvent(key, origin, uid, about.revision, host, message)

    def _combined(self, key: tuple[str, str, Origin], message: str, now_s: float) -> str:
        """Return the message to write: its own, or that of an aggregate once ten differ within ten minutes."""
        similar = self._similar.touch(key)
        if similar is None:
            self._similar.keep(key, _Similar(message, now_s))
            return message
        messages, last_s = similar.messages, similar.last_s
        similar.last_s = now_s
        if now_s - last_s > _SIMILAR_WINDOW_S:
            similar.messages = message
            return message
        if isinstance(messages, str):
            if messages == message:
                return message
            messages = similar.messages = {messages: None}
        messages[message] = None
        if len(messages) < _SIMILAR_EVENTS:
            return message
        del messages[next(iter(messages))]
        return _COMBINED + message

    def _take_token(self, key: tuple[str, str, str], now_s: float) -> bool:
        full_s = max(self._full_s.touch(key) or 0.0, now_s)
        if full_s - now_s > (_BURST - 1) * _REFILL_S + _ROUNDING_S:
            return False
        self._full_s.keep(key, full_s + _REFILL_S)
        return True
