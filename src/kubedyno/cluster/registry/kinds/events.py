"""Events of core/v1, served as events.k8s.io/v1 too: one table, two spellings."""

from typing import Any

import msgspec

from kubedyno.cluster.registry.cells import UNKNOWN, since
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import qualified, unchanged, unchanged_struct
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.names import problems_of_dns1123_subdomain, problems_of_path_segment
from kubedyno.kube.status import Cause, invalid_value, required
from kubedyno.statedb.records import Index

_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
# core/v1 member → events.k8s.io/v1 member.
_RENAMED = {
    "involvedObject": "regarding",
    "message": "note",
    "reportingComponent": "reportingController",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
}
_TO_CORE = {new: old for old, new in _RENAMED.items()}
_MAX_NOTE, _MAX_TEXT = 1024, 128


class EventFacts(msgspec.Struct, frozen=True, gc=False):
    """What events are looked up by."""

    involved_uid: str
    involved_kind: str
    involved_name: str
    involved_namespace: str
    reason: str
    type: str


def _involved_keys(obj: StoredObject) -> tuple[str, ...]:
    uid = obj.facts.involved_uid
    return (uid,) if uid else ()


def to_events_v1(event: Object) -> Object:
    """Return a core/v1 event in events.k8s.io/v1's spelling."""
    renamed = {_RENAMED.get(name, name): value for name, value in event.items()}
    for name in ("reportingController", "reportingInstance"):
        # Written out in core/v1 only.
        if not renamed.get(name, True):
            del renamed[name]
    return renamed


def to_core(event: Object) -> Object:
    """Return an events.k8s.io/v1 event in core/v1's spelling."""
    return {_TO_CORE.get(name, name): value for name, value in event.items()}


class Events(Kind):
    """core/v1 Event."""

    name_problems = staticmethod(problems_of_path_segment)
    metadata_last = True
    metadata_checks = ""
    standard_finalizers = False
    collectable = False
    # By what name it is told who reports.
    reporter = "reportingComponent"
    legacy_fields = True
    create_on_update = True
    field_paths = (
        *(f"involvedObject.{name}" for name in _INVOLVED), "reason", "type", "source", "reportingComponent",
    )  # fmt: skip
    indexes = (Index("involved", _involved_keys),)

    def default(self, obj: Object) -> None:
        obj.setdefault("source", {})
        for name in ("firstTimestamp", "lastTimestamp", "eventTime"):
            obj.setdefault(name, None)
        for name in ("reportingComponent", "reportingInstance"):
            obj.setdefault(name, "")
        obj.setdefault("involvedObject", {})

    def validate(self, obj: Object) -> list[Cause]:
        involved, namespace = obj["involvedObject"].get("namespace", ""), obj["metadata"].get("namespace", "")
        if obj.get("eventTime"):
            wrong = not involved and namespace not in {"default", "kube-system"}
        else:
            wrong = namespace != (involved or "default")
        text = "does not match event.namespace"
        causes = [invalid_value("involvedObject.namespace", involved, text)] if wrong else []
        return causes + self._new_form_causes(obj) if obj.get("eventTime") else causes

    def _new_form_causes(self, obj: Object) -> list[Cause]:
        """Return what is wrong with an event that has the time of the new form."""
        reporter = obj.get("reportingComponent", "")
        causes = [] if reporter else [required(self.reporter)]
        causes += qualified(self.reporter, reporter)
        for name in ("reportingInstance", "action", "reason"):
            text = obj.get(name, "")
            if not text:
                causes.append(required(name))
            elif len(text.encode()) > _MAX_TEXT:
                causes.append(invalid_value(name, "", f"can have at most {_MAX_TEXT} characters"))
        if len(obj.get("message", "").encode()) > _MAX_NOTE:
            causes.append(invalid_value("message", "", f"can have at most {_MAX_NOTE} characters"))
        return causes

    def facts(self, obj: Object) -> EventFacts:
        involved = obj.get("involvedObject") or {}
        return EventFacts(
            involved.get("uid", ""),
            involved.get("kind", ""),
            involved.get("name", ""),
            involved.get("namespace", ""),
            obj.get("reason", ""),
            obj.get("type", ""),
        )

    def field(self, record: ObjectRecord, name: str) -> str | None:
        facts: EventFacts = record.obj.facts
        match name:
            case "involvedObject.uid":
                return facts.involved_uid
            case "involvedObject.kind":
                return facts.involved_kind
            case "involvedObject.name":
                return facts.involved_name
            case "involvedObject.namespace":
                return facts.involved_namespace
            case "reason":
                return facts.reason
            case "type":
                return facts.type
        return super().field(record, name)

    def field_of(self, obj: Object, name: str) -> str:
        if name == "source":
            return str((obj.get("source") or {}).get("component") or obj.get("reportingComponent", ""))
        return super().field_of(obj, name)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        involved, source, series = obj.get("involvedObject", {}), obj.get("source") or {}, obj.get("series")
        first = since(obj.get("firstTimestamp"), now_s) if obj.get("firstTimestamp") else UNKNOWN
        if first == UNKNOWN and obj.get("eventTime"):
            first = since(obj["eventTime"], now_s)
        last = since(obj["lastTimestamp"], now_s) if obj.get("lastTimestamp") else first
        count = obj.get("count", 0)
        if series:
            last, count = since(series.get("lastObservedTime"), now_s), series.get("count", 0)
        elif not count:
            count = 1
        kind, name = involved.get("kind", "").lower(), involved.get("name", "")
        component, host = source.get("component") or obj.get("reportingComponent", ""), source.get("host")
        instance = host or obj.get("reportingInstance", "")
        return [
            last,
            obj.get("type", ""),
            obj.get("reason", ""),
            f"{kind}/{name}" if name else kind,
            involved.get("fieldPath", ""),
            f"{component}, {instance}" if instance else component,
            obj.get("message", "").strip(),
            first,
            count,
            obj["metadata"]["name"],
        ]


# Members that the new form does without.
_OLD_FORM = ("firstTimestamp", "lastTimestamp", "count", "source")
# What may not change through the new form, and by what name it is told: some is looked at twice.
_IMMUTABLE = (
    *((name, name) for name in (
        "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reason", "type",
        "eventTime", "action", "related",
    )),
    ("reportingComponent", "reportingController"),
    ("reportingInstance", "reportingInstance"),
)  # fmt: skip
_STRUCTS = {
    "involvedObject": "core.v1.ObjectReference",
    "source": "core.v1.EventSource",
    "related": "core.v1.ObjectReference",
}
_ABSENT: dict[str, Any] = {
    "count": 0, "related": None, "firstTimestamp": None, "lastTimestamp": None, "source": {}, "eventTime": None,
}  # fmt: skip


def _series(series: Object | None) -> list[Cause]:
    if series is None:
        return []
    causes = []
    if series.get("count", 0) < 2:
        causes.append(invalid_value("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        causes.append(required("series.lastObservedTime"))
    return causes


class EventsV1(Events):
    """events.k8s.io/v1 Event: the same objects. Objects reach its functions in core/v1's spelling."""

    metadata_checks = "u"
    name_problems = staticmethod(problems_of_dns1123_subdomain)
    standard_finalizers = True
    reporter = "reportingController"
    field_paths = (
        *(f"regarding.{name}" for name in _INVOLVED), "reason", "type", "reportingController",
    )  # fmt: skip

    def default(self, obj: Object) -> None:
        core = to_core(obj)
        obj.clear()
        obj.update(core)
        super().default(obj)

    def validate(self, obj: Object) -> list[Cause]:
        causes = super().validate(obj) + _series(obj.get("series"))
        if not obj.get("eventTime"):
            causes.append(required("eventTime"))
        if obj.get("type") not in {"Normal", "Warning"}:
            causes.append(invalid_value("type", "", f"has invalid value: {obj.get('type', '')}"))
        causes += [invalid_value(name, "", "needs to be unset") for name in _OLD_FORM if obj.get(name)]
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = super().validate(obj)
        if obj.get("series") != old.get("series"):
            causes += _series(obj.get("series"))
        for name, field in _IMMUTABLE:
            struct, empty = _STRUCTS.get(name, ""), _ABSENT.get(name, "")
            new, before = obj.get(name, empty), old.get(name, empty)
            causes += unchanged_struct(field, struct, new, before) if struct else unchanged(field, new, before)
        return causes

    def from_stored(self, obj: Object) -> Object:
        return to_events_v1(obj)

    def field(self, record: ObjectRecord, name: str) -> str | None:
        return super().field(record, _core_field(name))

    def field_of(self, obj: Object, name: str) -> str:
        return super().field_of(to_core(obj), _core_field(name))

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return super().cells(to_core(obj), now_s)


def _core_field(name: str) -> str:
    return name.replace("regarding.", "involvedObject.", 1).replace("reportingController", "reportingComponent")
