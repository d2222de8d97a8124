"""What the registry asks of a kind: a strategy with a default for everything, made concrete under `kinds/`."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson

from kubedyno.cluster.registry.fieldmanager import FieldManager
from kubedyno.cluster.registry.structure import decode
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.resources import Resource
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.shapes import Shape, skeleton
from kubedyno.kube.status import BadRequest, Cause
from kubedyno.statedb.records import Index

Object = dict[str, Any]
_COLUMNS = Path(__file__).parent / "data" / "columns.json"


@cache
def _column_file() -> dict[str, list[dict[str, Any]]]:
    return dict(orjson.loads(_COLUMNS.read_bytes()))


def filled(given: Object, zero: Object) -> Object:
    """Return an object with the members that a zero one has, at any depth."""
    result = dict(given)
    for name, value in zero.items():
        if name not in result:
            result[name] = dict(value) if isinstance(value, dict) else value
        elif isinstance(value, dict) and isinstance(result[name], dict):
            result[name] = filled(result[name], value)
    return result


class Kind:
    """One kind's rules. Objects given to its functions are decoded (see `structure`); the "default" ones change them.

    Attributes:
        resource: What it is served as.
        converts: `to_stored` has something to do.
        has_status: Status is written through the subresource only, and empty on creation.
        has_generation: metadata.generation counts changes of the spec.
        born_with_generation: It is 1 from the beginning, not only from the first change on.
        graceful: Deletion may wait for a grace period.
        create_on_update: PUT of an absent object creates it.
        returns_deleted: A deletion is answered with the object even when it is gone at once.
        indexes: Of its table, beyond "owner".
        field_paths: Field selectors beyond metadata.name and metadata.namespace, as paths into the object.
        legacy_fields: The core group's way to refuse an unknown field selector.
        status_keeps: Members of the metadata that a write of the status leaves as they are.
        status_optional: An object without status is stored without one.
        unowned: See `FieldManager`.
        unconditional_update: PUT without a resourceVersion replaces whatever is there.
        metadata_checks: How the kind looks at an update's metadata beyond what is done for every kind: "u" at what is new,
            "w" at the whole, in this order; "|" before what `validate_update` has in its own order.
        standard_finalizers: A finalizer without a domain has to be one of Kubernetes' own.
        strategic: Strategic merge patches are understood.
        deletion_finalizers: What a deletion adds, so that something can be done before the object goes.
        deletion_noted: What is being deleted has a grace period, and a new generation where it has one.
        selects_namespace: A field selector may name metadata.namespace, even of what has none.
        rows_null: The rows of an empty Table are null: whoever prints them fills no list.
        orphans: What such an object owns stays when it is deleted, unless the client says otherwise.
        collectable: Deletions have propagation policies.
        deprecation: What each request for the kind is warned of, "" for nothing.
        versioned_annotations: Which a version of the API shows fields by that it has not: no part of the metadata alone.
        told_members: What a client writes where empty lists and maps show in what is said against them.
        undeletable: Names of objects that nobody may delete → why.
        names_itself: An object without a name gets a uid for one.
        cells_of_stored: Its cells are those of the version in which it is stored.
        checks_prefix: What is wrong with the generateName is said beside what is wrong with the name.
        metadata_last: What is wrong with a new object's metadata is only said where nothing else is.
        deletion_warning: What who deletes is warned of where no propagation policy is asked for, "" for nothing.
        stored_as: The resource whose table and rules these objects have; None: their own. Such a kind's `default`
            brings an object into the stored form first, and all its other functions get it in that form.
    """

    converts = False
    has_status = False
    has_generation = False
    born_with_generation = True
    graceful = False
    returns_deleted = False
    create_on_update = False
    status_keeps: tuple[str, ...] = ()
    metadata_checks = "u"
    standard_finalizers = True
    selects_namespace = True
    rows_null = False
    status_optional = False
    unowned: Mapping[str, Any] = MappingProxyType({})
    unconditional_update = True
    strategic = True
    deletion_finalizers: tuple[str, ...] = ()
    deletion_noted = True
    orphans = False
    collectable = True
    legacy_fields = False
    deprecation = ""
    versioned_annotations: tuple[str, ...] = ()
    indexes: Sequence[Index[StoredObject]] = ()
    field_paths: tuple[str, ...] = ()
    undeletable: Mapping[str, str] = MappingProxyType({})
    names_itself = False
    cells_of_stored = False
    checks_prefix = True
    metadata_last = False
    deletion_warning = ""
    told_members: tuple[str, ...] = ("spec",)
    name_problems: Callable[[str], list[str]] = staticmethod(problems_of_dns1123_subdomain)

    def __init__(self, resource: Resource, stored_as: Resource | None = None) -> None:
        self.resource = resource
        self.stored_as = stored_as
        self.has_facts = type(self).facts is not Kind.facts
        self.stamped = type(self).stamp is not Kind.stamp
        self.completed = type(self).complete is not Kind.complete
        self.signed = type(self).sign is not Kind.sign

    # --- ownership of fields -----------------------------------------------------------------------------------

    @cached_property
    def fields(self) -> FieldManager:
        """Who keeps the managedFields of these objects."""
        return FieldManager(
            self.resource,
            has_status=self.has_status,
            status_keeps=self.status_keeps,
            unowned=self.unowned,
            shape=self.shape(),
        )

    def shape(self) -> Shape | None:
        """Return the shape of a kind that is not built in, None for the others."""
        return None

    # --- writes ----------------------------------------------------------------------------------------------

    def decode(self, obj: Any, field_validation: str = "Warn", warnings: list[str] | None = None) -> Object:
        """Return a fresh dict of what the real server would have after decoding; see `structure.decode`."""
        return decode(self.resource, obj, field_validation, warnings)

    def check_patched(self, obj: Object, subresource: str) -> None:
        """Look at what a patch made of an object before it is decoded."""

    def default(self, obj: Object) -> None:
        """Fill in what the client left out."""

    def prepare_create(self, obj: Object) -> None:
        """Reset what a client may not set."""
        if self.has_status:
            obj["status"] = {}

    def prepare_update(self, obj: Object, old: Object) -> None:
        """Take over what a client may not change."""
        if self.has_status:
            obj["status"] = old.get("status", {})

    def prepare_status(self, obj: Object, old: Object) -> Object:
        """Return what a write of the status subresource stores."""
        metadata = dict(obj["metadata"])
        for name in self.status_keeps:
            metadata.pop(name, None)
            if name in old["metadata"]:
                metadata[name] = old["metadata"][name]
        return {**old, "metadata": metadata, "status": filled(obj.get("status", {}), self._zero_status)}

    @cached_property
    def _zero_status(self) -> Object:
        """What is in every status, however empty."""
        return dict(skeleton(self.resource.api_version, self.resource.kind).get("status") or {})

    def prepare_part(self, subresource: str, obj: Object, old: Object) -> Object:
        """Return what a write of another subresource stores, where the kind has one that is written as a whole."""
        raise NotImplementedError

    def stamp(self, obj: Object, old: Object, now: str) -> None:
        """Give a new version, made by any subresource, the times that it lacks."""

    def complete(self, obj: Object) -> None:
        """Fill in what is not there while an object is validated, but in whatever is read."""

    def sign(self, obj: Object, user: str, uid: str, groups: list[str], extra: dict[str, list[str]]) -> None:
        """Write into an object to be created who asked for it, where its kind has a place for that."""

    def validate(self, obj: Object) -> list[Cause]:
        """Return what is wrong with an object to be created."""
        _ = obj
        return []

    def validate_stored(self, obj: Object) -> list[Cause]:
        """Return what is wrong with an object that may have come about by several writes."""
        return self.validate(obj)

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        """Return what is wrong with a new version."""
        _ = old
        return self.validate(obj)

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        """Return what is wrong with a new status."""
        _ = obj, old
        return []

    def validate_part(self, subresource: str, obj: Object, old: Object) -> list[Cause]:
        """Return what is wrong with what `prepare_part` made."""
        raise NotImplementedError

    def warnings(self, obj: Object) -> list[str]:
        """Return what a client should know though the object is accepted."""
        _ = obj
        return []

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        """Return what a client should know of a new version."""
        _ = old
        return self.warnings(obj)

    def warnings_of_status(self, obj: Object, old: Object) -> list[str]:
        """Return what a client should know of a new status."""
        _ = obj, old
        return []

    def spec_of(self, obj: Object) -> Any:
        """Return the part whose changes bump the generation."""
        return obj.get("spec")

    # --- scale -----------------------------------------------------------------------------------------------

    def scale(self, obj: Object) -> tuple[int, int, str]:
        """Return an object's wanted and present replicas, and the text of its selector."""
        spec = obj["spec"]
        selector = str(LabelSelector.of(spec.get("selector")))
        return spec.get("replicas", 0), obj.get("status", {}).get("replicas", 0), selector

    def scale_path(self) -> tuple[str, ...]:
        """Return the path of the wanted replicas."""
        return ("spec", "replicas")

    def rescaled(self, obj: Object, replicas: int) -> Object:
        """Return an object with another number of wanted replicas."""
        return {**obj, "spec": {**obj["spec"], "replicas": replicas}}

    # --- reads -----------------------------------------------------------------------------------------------

    def to_stored(self, obj: Object) -> Object:
        """Return a valid object in the version in which it is stored, where `converts` says so."""
        return obj

    def from_stored(self, obj: Object) -> Object:
        """Return a stored object in this version's form; may change its argument."""
        return obj

    def facts(self, obj: Object) -> Any:
        """Return the kind's facts of an object, None when it has none."""
        _ = obj
        return None

    def supports_field(self, name: str) -> bool:
        if name == "metadata.namespace":
            return self.selects_namespace
        return name == "metadata.name" or name in self.field_paths

    def check_field(self, name: str) -> None:
        """Check a field selector's label.

        Raises:
            BadRequest: The kind has no such field selector.
        """
        if self.supports_field(name):
            return
        if self.legacy_fields:
            raise BadRequest(f"field label not supported: {name}")
        raise BadRequest(f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"')

    def field(self, record: ObjectRecord, name: str) -> str | None:
        """Return a field's text without parsing the object, None when it must be parsed."""
        if name == "metadata.name":
            return record.obj.name
        return record.obj.namespace if name == "metadata.namespace" else None

    def field_of(self, obj: Object, name: str) -> str:
        """Return a field's text from the parsed object, "" when it is absent."""
        value: Any = obj
        for part in name.split("."):
            value = value.get(part, "") if isinstance(value, dict) else ""
        return ("true" if value else "false") if isinstance(value, bool) else str(value)

    def columns(self) -> list[dict[str, Any]]:
        """Return the definitions of kubectl's columns."""
        columns = _column_file()
        names = [f"{r.api_version}/{r.plural}" for r in (self.resource, self.stored_as) if r is not None]
        return next(columns[name] for name in names if name in columns)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        """Return an object's cells, one a column."""
        raise NotImplementedError

    def row_conditions(self, obj: Object) -> list[Object]:
        """Return the conditions of an object's row in a Table: what kubectl may leave out a row for."""
        _ = obj
        return []
