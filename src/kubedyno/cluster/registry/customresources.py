"""Custom resources: one kind a version of a definition, ruled by its schema.

What comes in is pruned, given defaults and judged by the schema; status and scale are as the definition has them; the
columns are its JSONPaths. All versions of a definition share a table, and differ by their apiVersion only.
"""

import copy
from dataclasses import replace
from typing import Any

import orjson

from kubedyno.base.times import epoch_of, human_duration
from kubedyno.cluster.registry import customresourcepaths as paths
from kubedyno.cluster.registry import schemacel, schemavalidation
from kubedyno.cluster.registry.conversion import Conversion
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.schema import Schema
from kubedyno.cluster.registry.structure import DecodeError, decode_embedded, decode_metadata
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.apiversions import priority
from kubedyno.kube.resources import Resource, Subresource
from kubedyno.kube.shapes import Shape, shape_of_schema
from kubedyno.kube.status import BadRequest, Cause, StatusError, invalid, invalid_value

# In the order in which the real server lists them.
VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_PART_VERBS = ("get", "patch", "update")
_NOT_SPEC = frozenset({"kind", "apiVersion", "metadata", "status"})
_NOT_SPEC_WITHOUT_STATUS = frozenset({"kind", "apiVersion", "metadata"})
# So much of a body is shown of one that is none.
_SHOWN_START = 30
_MAX_REPLICAS = (1 << 31) - 1
NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a "
    "client to request the generation of an appropriate name automatically. Name is primarily intended for creation "
    "idempotence and configuration definition. Cannot be updated. More info: "
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
AGE_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed "
    "to be set in happens-before order across separate operations. Clients may not set this value. It is represented "
    "in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: "
    "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)
NAME_COLUMN = {"name": "Name", "type": "string", "format": "name", "description": NAME_TEXT, "priority": 0}
_AGE = {"name": "Age", "type": "date", "description": AGE_TEXT, "jsonPath": ".metadata.creationTimestamp"}


def resource_of(spec: Object, names: Object, version: Object) -> Resource:
    """Return what a version of a definition is served as.

    Args:
        spec: The definition's.
        names: The names that were accepted.
        version: One of the spec's versions.
    """
    group, api_version = spec["group"], f"{spec['group']}/{version['name']}"
    given = version.get("subresources") or {}
    parts = []
    if "status" in given:
        parts.append(Subresource("status", api_version, names["kind"], _PART_VERBS))
    if "scale" in given:
        parts.append(Subresource("scale", "autoscaling/v1", "Scale", _PART_VERBS))
    return Resource(
        group,
        version["name"],
        names["plural"],
        names["kind"],
        spec["scope"] == "Namespaced",
        tuple(names.get("shortNames", ())),
        tuple(names.get("categories", ())),
        VERBS,
        tuple(parts),
    )


def deprecation_of(spec: Object, kind: str, version: Object) -> str:
    """Return what requests for a version of a definition are warned of, "" for nothing."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning"):
        return str(version["deprecationWarning"])
    group, own = spec["group"], priority(version["name"])
    better = [
        v["name"] for v in spec["versions"] if v["served"] and not v.get("deprecated") and priority(v["name"]) < own
    ]
    text = f"{group}/{version['name']} {kind} is deprecated"
    return f"{text}; use {group}/{min(better, key=priority)} {kind}" if better else text


class CustomResource(Kind):
    """One version of a definition.

    Args:
        resource: As `resource_of` gives it.
        version: The definition's entry.
        list_kind: Of lists.

    Attributes:
        schema: Of its objects.
        terminating: Its definition is being deleted: nothing is created any more.
    """

    standard_finalizers = False
    status_keeps = METADATA
    has_status = True
    status_optional = True
    has_generation = True
    unconditional_update = False
    strategic = False
    legacy_fields = True

    def __init__(
        self, resource: Resource, version: Object, list_kind: str, conversion: Conversion | None = None
    ) -> None:
        super().__init__(resource)
        self.conversion = conversion
        self.converts = conversion is not None
        self.list_kind = list_kind
        self.schema = Schema((version.get("schema") or {}).get("openAPIV3Schema") or {}, resource=True)
        self.terminating = False
        self._embeds = self.schema.embeds
        given = version.get("subresources") or {}
        self._with_status = "status" in given
        self._scale: Object | None = given.get("scale")
        self._columns = version.get("additionalPrinterColumns") or [_AGE]
        self.field_paths = tuple(f["jsonPath"].removeprefix(".") for f in version.get("selectableFields", ()))

    def shape(self) -> Shape:
        return shape_of_schema(self.schema.raw, resource=True)

    # --- writes ----------------------------------------------------------------------------------------------

    def decode(self, obj: Any, field_validation: str = "Warn", warnings: list[str] | None = None) -> Object:
        resource = self.resource
        what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
        if type(obj) is not dict:
            raise BadRequest(f"the object provided is unrecognized (must be of type {resource.kind})")
        self._check_type(obj)
        new: Object = copy.deepcopy(obj)
        unknown: list[str] = []
        given = new.get("metadata")
        new["metadata"] = decode_metadata(what, given if given is not None else {}, unknown)
        pruned: list[str] = []
        self.schema.prune(new, "", pruned)
        if self._embeds:
            self._decode_embedded(self.schema, new, "", what, pruned)
        unknown = sorted(pruned) + unknown
        if unknown:
            texts = [f'unknown field "{path}"' for path in dict.fromkeys(unknown)]
            if field_validation == "Strict":
                raise DecodeError(what, f"strict decoding error: {', '.join(texts)}")
            if field_validation == "Warn" and warnings is not None:
                warnings += texts
        return new

    def _decode_embedded(self, schema: Schema, value: Any, path: str, what: str, unknown: list[str]) -> None:
        """Decode the type and the metadata of the resources within a value, in place.

        Raises:
            BadRequest: They are none.
        """
        if isinstance(value, list) and schema.items is not None:
            for i, item in enumerate(value):
                self._decode_embedded(schema.items, item, f"{path}[{i}]", what, unknown)
        if not isinstance(value, dict):
            return
        if schema.embedded:
            for name in ("apiVersion", "kind"):
                if name in value and not isinstance(value[name], str):
                    shown = orjson.dumps(value[name]).decode()
                    raise BadRequest(f"{what}{path}.{name}: Invalid value: {shown}: must be a string")
            if value.get("metadata") is not None:
                try:
                    value["metadata"] = decode_embedded(value["metadata"], f"{path}.metadata", unknown)
                except ValueError as error:
                    shown = orjson.dumps(value["metadata"], option=orjson.OPT_SORT_KEYS).decode()
                    raise BadRequest(f"{what}{path}.metadata: Invalid value: {shown}: {error}") from None
        for name, member in value.items():
            node = schema.properties.get(name) or schema.additional
            if isinstance(node, Schema) and not (schema.resource and name == "metadata"):
                self._decode_embedded(node, member, f"{path}.{name}" if path else name, what, unknown)

    def _check_type(self, obj: Object) -> None:
        """Refuse an object that does not say what it is, or says that it is something else.

        Raises:
            BadRequest: It is so.
        """
        resource = self.resource
        if not obj.get("kind"):
            raise self.no_kind(orjson.dumps(obj).decode())
        version = obj.get("apiVersion") or ""
        if version != resource.api_version:
            raise BadRequest(
                f"the API version in the data ({version}) does not match the expected API version "
                f"({resource.api_version})"
            )
        self._check_named(obj)

    def check_patched(self, obj: Object, subresource: str) -> None:
        if not (obj.get("kind") and obj.get("apiVersion")):
            return
        if subresource:
            # A subresource takes nothing of it.
            obj |= {"kind": self.resource.kind, "apiVersion": self.resource.api_version}
        else:
            self._check_named(obj)

    def _check_named(self, obj: Object) -> None:
        """Refuse an object of another type, as one of that.

        Raises:
            StatusError: It is so.
        """
        own, kind, version = self.resource, str(obj["kind"]), str(obj["apiVersion"])
        causes = [
            invalid_value(name, given, f"must be {wanted}")
            for name, given, wanted in (("kind", kind, own.kind), ("apiVersion", version, own.api_version))
            if given != wanted
        ]
        if causes:
            group = version.rpartition("/")[0]
            given_name = (obj.get("metadata") or {}).get("name", "")
            raise invalid(replace(own, group=group, kind=kind), given_name, causes)

    def no_kind(self, shown: str) -> BadRequest:
        """Return the error of an object that does not say what it is; `shown` is its text."""
        start = shown if len(shown) <= _SHOWN_START else f"{shown[:_SHOWN_START]} ..."
        return BadRequest(
            f"the object provided is unrecognized (must be of type {self.resource.kind}): Object 'Kind' is missing in "
            f"'{shown}' ({start})"
        )

    def default(self, obj: Object) -> None:
        self.schema.fill(obj)

    def prepare_create(self, obj: Object) -> None:
        if self.terminating:
            raise StatusError(
                "create not allowed while custom resource definition is terminating",
                {"group": self.resource.group, "kind": self.resource.plural},
                code=405,
                reason="MethodNotAllowed",
            )
        if self._with_status:
            obj.pop("status", None)

    def prepare_update(self, obj: Object, old: Object) -> None:
        if self._with_status:
            obj.pop("status", None)
            if "status" in old:
                obj["status"] = old["status"]

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = {**old, "metadata": dict(old["metadata"])}
        new.pop("status", None)
        if "status" in obj:
            new["status"] = obj["status"]
        return new

    def validate(self, obj: Object) -> list[Cause]:
        return self._causes(obj, None)

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return self._causes(obj, old)

    def _causes(self, obj: Object, old: Object | None) -> list[Cause]:
        causes = schemavalidation.validate(self.schema, obj, old)
        if self._scale is not None:
            causes += self._scale_causes(obj, ("specReplicasPath", "statusReplicasPath"))
        causes += schemavalidation.validate_lists(self.schema, obj)
        if self.schema.ruled:
            causes += schemavalidation.unchecked_rules(causes) or schemacel.evaluate(self.schema, obj, old)
        return causes

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        causes: list[Cause] = []
        node = self.schema.properties.get("status")
        if node is not None and "status" in obj:
            causes = schemavalidation.validate_part(node, obj["status"], "status", old.get("status"))
        if self._scale is not None:
            causes += self._scale_causes(obj, ("statusReplicasPath",))
        if node is not None and "status" in obj:
            causes += schemavalidation.validate_lists(node, obj["status"], "status")
        if self.schema.ruled:
            causes += schemavalidation.unchecked_rules(causes) or schemacel.evaluate(self.schema, obj, old)
        return causes

    def _scale_causes(self, obj: Object, which: tuple[str, ...]) -> list[Cause]:
        """Return what is wrong with the numbers that the scale subresource reads."""
        causes = []
        for name in which:
            assert self._scale is not None
            path = self._scale[name]
            found = paths.find(path, obj)
            if not found:
                continue
            value = found[0]
            if not isinstance(value, int) or isinstance(value, bool):
                kind = {str: "string", float: "float64", bool: "bool", list: "[]interface {}"}.get(type(value), "map")
                shown = str(value).lower() if isinstance(value, bool) else value
                text = f"{path} accessor error: {shown} is of the type {kind}, expected int64"
                causes.append(invalid_value(path, 0, text))
            elif value < 0:
                causes.append(invalid_value(path, value, "should be a non-negative integer"))
            elif value > _MAX_REPLICAS:
                causes.append(invalid_value(path, value, "should be less than or equal to 2147483647"))
        return causes

    def spec_of(self, obj: Object) -> Any:
        left_out = _NOT_SPEC if self._with_status else _NOT_SPEC_WITHOUT_STATUS
        return {name: value for name, value in obj.items() if name not in left_out}

    # --- scale -----------------------------------------------------------------------------------------------

    def scale(self, obj: Object) -> tuple[int, int, str]:
        assert self._scale is not None
        selector_path = self._scale.get("labelSelectorPath")
        selector = paths.find(selector_path, obj) if selector_path else []
        wanted, present = (paths.find(self._scale[n], obj) for n in ("specReplicasPath", "statusReplicasPath"))
        return (
            wanted[0] if wanted else 0,
            present[0] if present else 0,
            selector[0] if selector and isinstance(selector[0], str) else "",
        )

    def scale_path(self) -> tuple[str, ...]:
        assert self._scale is not None
        return tuple(paths.members(self._scale["specReplicasPath"]))

    def rescaled(self, obj: Object, replicas: int) -> Object:
        assert self._scale is not None
        new: Object = copy.deepcopy(obj)
        *way, last = paths.members(self._scale["specReplicasPath"])
        place = new
        for name in way:
            place = place.setdefault(name, {})
        place[last] = replicas
        return new

    # --- reads -----------------------------------------------------------------------------------------------

    def check_readable(self, store: Store) -> None:
        """Check that all objects can be read in this version, before a list begins or a watch.

        Raises:
            ConversionNeeded: Some are not converted yet.
        """
        if self.conversion is not None:
            resource = self.resource
            records = store.table(resource).all()
            self.conversion.check(records, lambda record: store.dict_of(resource, record.obj), resource.api_version)

    def to_stored(self, obj: Object) -> Object:
        return obj if self.conversion is None else self.conversion.write(obj, self.resource.api_version)

    def from_stored(self, obj: Object) -> Object:
        if self.conversion is not None:
            obj = self.conversion.read(obj, self.resource.api_version)
        self.schema.prune(obj, "", [])
        self.schema.fill(obj)
        return obj

    def columns(self) -> list[Object]:
        return [
            NAME_COLUMN,
            *(
                {
                    "name": column["name"],
                    "type": column["type"],
                    "format": column.get("format", ""),
                    "description": column.get("description")
                    or f"Custom resource definition column (in JSONPath format): {column['jsonPath']}",
                    "priority": column.get("priority", 0),
                }
                for column in self._columns
            ),
        ]

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        shown = [_cell(column["type"], paths.find(column["jsonPath"], obj), now_s) for column in self._columns]
        return [obj["metadata"]["name"], *shown]


_INT64 = 1 << 63
# From here on Go prints a float with an exponent.
_EXPONENT = 1e21


def _cell(kind: str, found: list[Any], now_s: float) -> Any:
    if not found:
        return None
    value = found[0]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "integer":
        # Of a number that is too large Go's conversion leaves the smallest.
        return (int(value) if -_INT64 <= value < _INT64 else -_INT64) if number else None
    if kind == "number":
        # As Go prints a float: 5, not 5.0.
        return (int(value) if float(value).is_integer() and abs(value) < _EXPONENT else value) if number else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if kind == "date":
        if not isinstance(value, str):
            return None
        try:
            return human_duration(now_s - epoch_of(value))
        except ValueError:
            return "<invalid>"
    if isinstance(value, str):
        return value
    return "" if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
