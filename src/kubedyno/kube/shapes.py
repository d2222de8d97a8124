"""Shapes of types: what one owner has as a whole, and what is made of parts that have owners of their own.

Parts are the fields of a struct, the keys of a map, the elements of a set or of a list with keys. Shapes of built-in
kinds come from the vocabulary, those of custom resources from their schemas.
"""

from enum import Enum
from functools import cache
from typing import Any

from kubedyno.kube.gostructs import zero
from kubedyno.kube.resources import vocabulary

# Keys of list elements that have a default.
_KEY_DEFAULTS = {
    "core.v1.ContainerPort": {"protocol": "TCP"},
    "core.v1.ServicePort": {"protocol": "TCP"},
}
_SCALARS = {"string": "string", "integer": "numeric", "number": "numeric", "boolean": "boolean"}
_NAMED_SCALARS = {
    "api.resource.Quantity": "untyped",
    "util.intstr.IntOrString": "untyped",
    "meta.v1.Time": "string",
    "meta.v1.MicroTime": "string",
}
_UNTYPED = frozenset({"meta.v1.FieldsV1", "runtime.RawExtension", "pkg.runtime.RawExtension"})


class Form(Enum):
    """What a value is made of."""

    SCALAR = 0
    STRUCT = 1
    MAP = 2
    LIST = 3
    SET = 4
    KEYED = 5
    ANY = 6
    DEDUCED = 7


class Shape:
    """One type's shape.

    Attributes:
        form: See `Form`; LIST is an atomic one, ANY has no schema and one owner, DEDUCED has no schema, but its
            mappings have many.
        atomic: A struct or map that has one owner.
        scalar: Of SCALAR: "string", "numeric", "boolean" or "untyped".
        element: Of maps and lists: the shape of what is in them. Of structs: of fields that no type names, None when
            there may be none.
        keys: Of KEYED: the fields that tell elements apart.
        defaults: Of KEYED: the value of a key that an element leaves out.
    """

    __slots__ = ("_descents", "_fields", "_type", "atomic", "defaults", "element", "form", "keys", "scalar")

    def __init__(
        self,
        form: Form,
        *,
        atomic: bool = False,
        scalar: str = "",
        element: "Shape | None" = None,
        keys: tuple[str, ...] = (),
        defaults: dict[str, Any] | None = None,
        fields: "dict[str, Shape] | None" = None,
        type_name: str = "",
    ) -> None:
        self.form = form
        self.atomic = atomic
        self.scalar = scalar
        self.element = element
        self.keys = keys
        self.defaults = defaults or {}
        self._fields = fields
        self._type = type_name
        self._descents: dict[tuple[str, ...], tuple[tuple[str, Shape], ...]] = {}

    @property
    def fields(self) -> "dict[str, Shape]":
        """Of a struct: its fields. Made when first asked for: types may hold themselves."""
        if self._fields is None:
            entry = vocabulary()["types"][self._type]
            self._fields = {name: _shape_of_field(field) for name, field in entry["f"].items()}
        return self._fields

    @property
    def leaf(self) -> bool:
        """True for what has one owner."""
        return self.atomic or self.form in _LEAVES

    def inside(self, name: str) -> "Shape":
        """Return the shape of a struct's field or of a map's value."""
        if self.form is Form.STRUCT and name in self.fields:
            return self.fields[name]
        return self.element or ANY

    def of(self, *values: Any) -> "Shape":
        """Return the shape that values have where the schema leaves it open."""
        if self.form is not Form.DEDUCED:
            return self
        return DEDUCED_MAP if any(isinstance(value, dict) for value in values) else ANY

    def descents(self, names: tuple[str, ...]) -> "tuple[tuple[str, Shape], ...]":
        """Return those of a struct's or map's members that are no leaves."""
        found = self._descents.get(names)
        if found is None:
            if len(self._descents) > _MAX_DESCENTS:
                self._descents.clear()
            pairs = ((name, self.inside(name)) for name in names)
            found = self._descents[names] = tuple((name, shape) for name, shape in pairs if not shape.leaf)
        return found


_MAX_DESCENTS = 256
_LEAVES = frozenset({Form.SCALAR, Form.LIST, Form.ANY})
ANY = Shape(Form.ANY)
DEDUCED = Shape(Form.DEDUCED)
DEDUCED_MAP = Shape(Form.MAP, element=DEDUCED)


def scalar(kind: str) -> Shape:
    """Return the shape of a scalar: "string", "numeric", "boolean" or "untyped"."""
    return Shape(Form.SCALAR, scalar=kind)


# --- shapes of built-in types ----------------------------------------------------------------------------------


@cache
def shape_of_type(name: str) -> Shape:
    """Return the shape of a vocabulary's type."""
    if name in _NAMED_SCALARS:
        return scalar(_NAMED_SCALARS[name])
    entry = vocabulary()["types"].get(name)
    if entry is None or name in _UNTYPED:
        return ANY
    return Shape(Form.STRUCT, atomic=bool(entry.get("a")), type_name=name)


@cache
def shape_of_kind(api_version: str, kind: str) -> Shape:
    """Return the shape of a built-in kind.

    Raises:
        KeyError: There is none.
    """
    return shape_of_type(vocabulary()["kinds"][f"{api_version}/{kind}"])


def _shape_of_base(base: Any) -> Shape:
    if isinstance(base, list):
        return _shape_of_field(base)
    if base.startswith("#"):
        return shape_of_type(base[1:])
    if base in _SCALARS:
        return scalar(_SCALARS[base])
    return ANY


def _shape_of_field(field: list[Any]) -> Shape:
    container, base = field[0], field[1]
    extra = field[2] if len(field) > 2 else {}
    element = _shape_of_base(base)
    if container == "m":
        return Shape(Form.MAP, atomic=extra.get("mt") == "atomic", element=element)
    if container == "l":
        kind = extra.get("lt")
        if kind == "set":
            return Shape(Form.SET, element=element)
        if kind == "map":
            defaults = _KEY_DEFAULTS.get(base[1:] if isinstance(base, str) else "", {})
            return Shape(Form.KEYED, element=element, keys=tuple(extra["lk"]), defaults=defaults)
        return Shape(Form.LIST, element=element)
    if extra.get("mt") == "granular" and element.form is Form.STRUCT:
        return Shape(Form.STRUCT, type_name=element._type)
    return element


# --- shapes of custom resources ----------------------------------------------------------------------------------


def shape_of_schema(schema: dict[str, Any], *, resource: bool = False) -> Shape:
    """Return the shape of a structural schema, as a CustomResourceDefinition has it.

    Args:
        schema: An openAPIV3Schema.
        resource: It is the schema of a whole object.
    """
    if resource or schema.get("x-kubernetes-embedded-resource"):
        plain = {name: value for name, value in schema.items() if name != "x-kubernetes-embedded-resource"}
        found = shape_of_schema({**plain, "type": "object"})
        text = scalar("string")
        fields = {
            **(found.fields if found.form is Form.STRUCT else {}),
            "apiVersion": text,
            "kind": text,
            "metadata": shape_of_type("meta.v1.ObjectMeta"),
        }
        return Shape(Form.STRUCT, atomic=found.atomic, element=found.element, fields=fields)
    if schema.get("x-kubernetes-int-or-string"):
        return scalar("untyped")
    kind = schema.get("type")
    if kind == "object":
        return _shape_of_object(schema)
    if kind == "array":
        items = schema.get("items") or {}
        element = shape_of_schema(items)
        relation = schema.get("x-kubernetes-list-type")
        if relation == "set":
            return Shape(Form.SET, element=element)
        if relation == "map":
            keys = tuple(schema.get("x-kubernetes-list-map-keys") or ())
            given = {name: (items.get("properties") or {}).get(name, {}).get("default") for name in keys}
            defaults = {name: value for name, value in given.items() if value is not None}
            return Shape(Form.KEYED, element=element, keys=keys, defaults=defaults)
        return Shape(Form.LIST, element=element)
    if kind in _SCALARS:
        return scalar(_SCALARS[kind])
    return DEDUCED if schema.get("x-kubernetes-preserve-unknown-fields") else ANY


def _shape_of_object(schema: dict[str, Any]) -> Shape:
    atomic = schema.get("x-kubernetes-map-type") == "atomic"
    open_ended = DEDUCED if schema.get("x-kubernetes-preserve-unknown-fields") else None
    properties, more = schema.get("properties"), schema.get("additionalProperties")
    if properties is None and more:
        return Shape(Form.MAP, atomic=atomic, element=shape_of_schema(more) if isinstance(more, dict) else DEDUCED)
    if properties is None:
        return Shape(Form.MAP, atomic=atomic, element=open_ended or ANY)
    fields = {name: shape_of_schema(below) for name, below in properties.items()}
    return Shape(Form.STRUCT, atomic=atomic, element=open_ended, fields=fields)


# --- what is there when nothing is set -----------------------------------------------------------------------------


def skeleton(api_version: str, kind: str) -> Any:
    """Return the object of a kind in which nothing is set, as Go holds it."""
    return zero(vocabulary()["kinds"][f"{api_version}/{kind}"])
