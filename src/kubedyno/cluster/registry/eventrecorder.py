"""Events of the cluster's own parts, counted and thinned out as client-go's recorders do.

Two forms. Parts that name an action (the scheduler) write events.k8s.io's: a repetition becomes a series. The
others write core/v1's: a repetition raises `count`, many similar ones are combined, and one object's events from one
component are limited to a burst and a trickle.
"""

from collections import OrderedDict, deque
from typing import Any, TypeVar

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339, rfc3339_micro
from kubedyno.cluster.registry.kinds.events import EventFacts
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
_NO_LABELS: dict[str, str] = {}

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
    """An event that was written: what its next version is made of."""

    __slots__ = ("count", "first", "key", "stored", "written_s")

    def __init__(self, stored: StoredObject, first: str, now_s: float) -> None:
        self.key = stored.key
        self.stored = stored
        self.first = first
        self.count = 1
        self.written_s = now_s


class _Similar:
    """Messages of events that differ in nothing else."""

    __slots__ = ("last_s", "messages")

    def __init__(self) -> None:
        self.messages: dict[str, None] = {}
        self.last_s = 0.0


class EventRecorder:
    """Writes events.

    Args:
        store: Where to.
        clock: Stamps them.
        random: Makes uids.
    """

    def __init__(self, store: Store, clock: Clock, random: Random) -> None:
        self._store = store
        self._clock = clock
        self._random = random
        self._seen: _Bounded[_Seen] = _Bounded()
        self._similar: _Bounded[_Similar] = _Bounded()
        # (component, host, object uid) → [tokens, when they were counted].
        self._tokens: _Bounded[list[float]] = _Bounded()
        self._series: _Bounded[_Seen] = _Bounded(_SERIES_SIZE)
        self._last_ns = 0
        self._due: deque[tuple[float, str, str]] = deque()

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
        obj = about.obj
        uid = uid or obj.uid
        if action:
            return self._record_series(resource, about, type, reason, message, component, host, action, uid, now_s)
        similar = (uid, field_path, component, host, type, reason)
        message = self._combined(similar, message, now_s)
        seen_key = (*similar, "" if message.startswith(_COMBINED) else message)
        if not self._take_token((component, host, uid), now_s):
            return None
        seen = self._seen.touch(seen_key)
        stamp = rfc3339(now_s)
        if seen is not None and self._store.get(EVENTS, seen.key) is not None:
            seen.count += 1
            head, _, _ = seen.stored.body.partition(b',"message":')
            body = head + _tail(message, component, host, seen.first, stamp, seen.count, type)
            return self._store.put(EVENTS, _with_body(seen.stored, body))
        head = _involved(resource, about, uid, field_path) + b',"reason":"%b"' % reason.encode()
        body = head + _tail(message, component, host, stamp, stamp, 1, type)
        stored = self._new(resource, about, uid, type, reason, body, now_s)
        self._seen.keep(seen_key, _Seen(stored, stamp, now_s))
        return self._put(stored, now_s)

    def _record_series(
        self,
        resource: Resource,
        about: ObjectRecord,
        type: str,
        reason: str,
        message: str,
        component: str,
        host: str,
        action: str,
        uid: str,
        now_s: float,
    ) -> ObjectRecord | None:
        # A new version of the object starts a new event, as its resourceVersion is part of what the event regards.
        key = (uid, about.revision, type, action, reason, component, host)
        seen = self._series.touch(key)
        if seen is not None and self._store.get(EVENTS, seen.key) is not None:
            seen.count += 1
            # The second one starts the series; later ones are only counted until the next refresh.
            if seen.count > 2 and now_s - seen.written_s < _SERIES_REFRESH_S:
                return None
            seen.written_s = now_s
            series = b',"series":{"count":%d,"lastObservedTime":"%b"}' % (seen.count, rfc3339_micro(now_s).encode())
            return self._store.put(EVENTS, _with_body(seen.stored, seen.stored.body + series))
        instance = f"{component}-{host}" if host else component
        body = (
            b'%b,"reason":"%b","message":%b,"source":{},"firstTimestamp":null,"lastTimestamp":null,"type":"%b",'
            b'"eventTime":"%b","action":"%b","reportingComponent":"%b","reportingInstance":"%b"'
            % (
                _involved(resource, about, uid, ""), reason.encode(), orjson.dumps(message), type.encode(),
                rfc3339_micro(now_s).encode(), action.encode(), component.encode(), instance.encode(),
            )
        )  # fmt: skip
        stored = self._new(resource, about, uid, type, reason, body, now_s)
        if type != "Normal":
            # What went well is said once of a version, so nothing need be kept of it.
            self._series.keep(key, _Seen(stored, "", now_s))
        return self._put(stored, now_s)

    def expire(self, limit: int) -> bool:
        """Delete events that were first written over an hour ago, at most `limit`; True when more are due."""
        now_s = self._clock.now()
        due = self._due
        while due and due[0][0] <= now_s and limit > 0:
            _, key, uid = due.popleft()
            record = self._store.get(EVENTS, key)
            if record is not None and record.obj.uid == uid:
                self._store.remove(EVENTS, key)
            limit -= 1
        return bool(due) and due[0][0] <= now_s

    @property
    def next_expiry_s(self) -> float | None:
        """Epoch seconds when the next event is due to be deleted, None when there is none."""
        return self._due[0][0] if self._due else None

    def _put(self, stored: StoredObject, now_s: float) -> ObjectRecord:
        self._due.append((now_s + EVENT_TTL_S, stored.key, stored.uid))
        return self._store.put(EVENTS, stored)

    def _new(
        self, resource: Resource, about: ObjectRecord, uid: str, type: str, reason: str, body: bytes, now_s: float
    ) -> StoredObject:
        obj = about.obj
        # Names are the object's and the time in nanoseconds, which must differ from one event to the next.
        self._last_ns = nanoseconds = max(int(now_s * 1e9), self._last_ns + 1)
        name, namespace = f"{obj.name}.{nanoseconds:x}", obj.namespace or "default"
        event_uid = self._random.uid()
        meta = (
            f'"name":"{name}","namespace":"{namespace}","uid":"{event_uid}","creationTimestamp":"{rfc3339(now_s)}"'
        ).encode()
        facts = EventFacts(uid, resource.kind, obj.name, obj.namespace, reason, type)
        return StoredObject(
            f"{namespace}/{name}", namespace, name, event_uid, 0, _NO_LABELS, (), 0.0, (), meta, b"", body, b"", facts
        )

    def _combined(self, key: tuple[str, ...], message: str, now_s: float) -> str:
        """Return the message to write: its own, or that of an aggregate once ten differ within ten minutes."""
        similar = self._similar.touch(key)
        if similar is None:
            similar = _Similar()
            self._similar.keep(key, similar)
        elif now_s - similar.last_s > _SIMILAR_WINDOW_S:
            similar.messages.clear()
        similar.last_s = now_s
        similar.messages[message] = None
        if len(similar.messages) < _SIMILAR_EVENTS:
            return message
        del similar.messages[next(iter(similar.messages))]
        return _COMBINED + message

    def _take_token(self, key: tuple[str, str, str], now_s: float) -> bool:
        bucket = self._tokens.touch(key)
        if bucket is None:
            self._tokens.keep(key, [_BURST - 1.0, now_s])
            return True
        tokens = min(bucket[0] + (now_s - bucket[1]) / _REFILL_S, float(_BURST))
        bucket[1] = now_s
        bucket[0] = tokens - 1.0 if tokens >= 1.0 else tokens
        return tokens >= 1.0


def _involved(resource: Resource, about: ObjectRecord, uid: str, field_path: str) -> bytes:
    obj = about.obj
    namespace = f'"namespace":"{obj.namespace}",' if obj.namespace else ""
    path = f',"fieldPath":"{field_path}"' if field_path else ""
    return (
        f'"involvedObject":{{"kind":"{resource.kind}",{namespace}"name":"{obj.name}","uid":"{uid}",'
        f'"apiVersion":"{resource.api_version}","resourceVersion":"{about.revision}"{path}}}'
    ).encode()


def _tail(message: str, component: str, host: str, first: str, last: str, count: int, type: str) -> bytes:
    source = f'"component":"{component}"' + (f',"host":"{host}"' if host else "")
    return b',"message":%b%b' % (
        orjson.dumps(message),
        (
            f',"source":{{{source}}},"firstTimestamp":"{first}","lastTimestamp":"{last}","count":{count},'
            f'"type":"{type}","eventTime":null,"reportingComponent":"{component}","reportingInstance":"{host}"'
        ).encode(),
    )


def _with_body(obj: StoredObject, body: bytes) -> StoredObject:
    return StoredObject(
        obj.key, obj.namespace, obj.name, obj.uid, 0, _NO_LABELS, (), 0.0, (), obj.meta, b"", body, b"", obj.facts
    )
