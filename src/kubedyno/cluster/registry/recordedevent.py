"""An event of the cluster's own parts in its smallest form: four for each pod make them most of what is stored.

It holds what tells it from other events and works out the rest when somebody asks. To readers it is a
`StoredObject` (and its own `EventFacts`); a write by a client puts a real one in its place.
"""

from typing import ClassVar

import msgspec
import orjson

from kubedyno.base.random import derived_uid
from kubedyno.base.times import rfc3339, rfc3339_micro
from kubedyno.kube.resources import Resource

_NO_LABELS: dict[str, str] = {}
_SECOND_NS = 1_000_000_000


class Origin(msgspec.Struct, frozen=True, gc=False, eq=False):
    """What many events share: compared by identity, so that it is a quick part of keys.

    Attributes:
        resource: What the events are about.
        type: "Normal" or "Warning".
        reason: E.g. "Scheduled".
        component: Who says it.
        action: E.g. "Binding", in events of the events.k8s.io form; "" in those of core/v1's.
        field_path: E.g. "spec.containers{web}".
        salt: Of the recorder, makes the events' uids.
    """

    resource: Resource
    type: str
    reason: str
    component: str
    action: str
    field_path: str
    salt: bytes


class RecordedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event.

    Attributes:
        key: "ns/name"; the name is the involved object's, a dot, and when it was first seen in hexadecimal nanoseconds.
        origin: What it shares with others.
        involved_uid: As it stands in the event.
        revision: The involved object's.
        host: The node that the component runs on, "" for none.
        message: For people.
        count: How often it was seen.
        last_s: Epoch seconds of the last time where that was not the first.
    """

    key: str
    origin: Origin
    involved_uid: str
    revision: int
    host: str
    message: str
    count: int = 1
    last_s: float | None = None

    generation: ClassVar[int] = 0
    labels: ClassVar[dict[str, str]] = _NO_LABELS
    owners: ClassVar[tuple[str, ...]] = ()
    deletion_s: ClassVar[float] = 0.0
    finalizers: ClassVar[tuple[str, ...]] = ()
    managed: ClassVar[bytes] = b""
    status: ClassVar[bytes] = b""

    # --- as a stored object --------------------------------------------------------------------------------------

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]

    @property
    def name(self) -> str:
        return self.key.partition("/")[2]

    @property
    def uid(self) -> str:
        return derived_uid(self.origin.salt, self.first_ns)

    @property
    def meta(self) -> bytes:
        namespace, _, name = self.key.partition("/")
        created = rfc3339(self.first_ns // _SECOND_NS)
        return (
            f'"name":"{name}","namespace":"{namespace}","uid":"{self.uid}","creationTimestamp":"{created}"'
        ).encode()

    @property
    def body(self) -> bytes:
        origin = self.origin
        if origin.action:
            return b'%b,"reason":"%b","message":%b%b' % (
                self._involved(), origin.reason.encode(), orjson.dumps(self.message), self._series().encode()
            )  # fmt: skip
        return b'%b,"reason":"%b","message":%b%b' % (
            self._involved(), origin.reason.encode(), orjson.dumps(self.message), self._counted().encode()
        )  # fmt: skip

    @property
    def facts(self) -> "RecordedEvent":
        return self

    # --- as its facts --------------------------------------------------------------------------------------------

    @property
    def involved_kind(self) -> str:
        return self.origin.resource.kind

    @property
    def involved_name(self) -> str:
        return self.key.partition("/")[2].rpartition(".")[0]

    @property
    def involved_namespace(self) -> str:
        return self.namespace if self.origin.resource.namespaced else ""

    @property
    def reason(self) -> str:
        return self.origin.reason

    @property
    def type(self) -> str:
        return self.origin.type

    # --- its parts -----------------------------------------------------------------------------------------------

    @property
    def first_ns(self) -> int:
        """Epoch nanoseconds when it was first seen."""
        return int(self.key.rpartition(".")[2], 16)

    def again(self, message: str, count: int, last_s: float) -> "RecordedEvent":
        """Return the version that says it was seen again."""
        return RecordedEvent(self.key, self.origin, self.involved_uid, self.revision, self.host, message, count, last_s)

    def _involved(self) -> bytes:
        resource, path = self.origin.resource, self.origin.field_path
        namespace, _, name = self.key.partition("/")
        inside = f'"namespace":"{namespace}",' if resource.namespaced else ""
        tail = f',"fieldPath":"{path}"' if path else ""
        return (
            f'"involvedObject":{{"kind":"{resource.kind}",{inside}"name":"{name.rpartition(".")[0]}",'
            f'"uid":"{self.involved_uid}","apiVersion":"{resource.api_version}","resourceVersion":"{self.revision}"'
            f"{tail}}}"
        ).encode()

    def _counted(self) -> str:
        """Return what follows the message in core/v1's form."""
        component, host = self.origin.component, self.host
        source = f'"component":"{component}"' + (f',"host":"{host}"' if host else "")
        first = rfc3339(self.first_ns // _SECOND_NS)
        last = first if self.last_s is None else rfc3339(self.last_s)
        return (
            f',"source":{{{source}}},"firstTimestamp":"{first}","lastTimestamp":"{last}","count":{self.count},'
            f'"type":"{self.type}","eventTime":null,"reportingComponent":"{component}","reportingInstance":"{host}"'
        )

    def _series(self) -> str:
        """Return what follows the message in events.k8s.io's form."""
        component, host = self.origin.component, self.host
        instance = f"{component}-{host}" if host else component
        text = (
            f',"source":{{}},"firstTimestamp":null,"lastTimestamp":null,"type":"{self.type}",'
            f'"eventTime":"{rfc3339_micro(self.first_ns / 1e9)}","action":"{self.origin.action}",'
            f'"reportingComponent":"{component}","reportingInstance":"{instance}"'
        )
        if self.last_s is not None:
            text += f',"series":{{"count":{self.count},"lastObservedTime":"{rfc3339_micro(self.last_s)}"}}'
        return text
