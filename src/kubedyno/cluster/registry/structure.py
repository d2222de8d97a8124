"""Typed decoding of a client's JSON: unknown fields out, wrong types refused with Go's texts, empties dropped.

The types come from the vocabulary. The result is a fresh dict, so that defaulting may change it in place.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from kubedyno.base.times import epoch_of, rfc3339, rfc3339_micro
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.resources import Resource, vocabulary
from kubedyno.kube.status import BadRequest, Invalid

# Go's int64 fields; all other integers are int32.
_INT64 = frozenset({
    "terminationGracePeriodSeconds", "activeDeadlineSeconds", "runAsUser", "runAsGroup", "fsGroup", "expirationSeconds",
    "tolerationSeconds", "generation", "observedGeneration", "deletionGracePeriodSeconds", "supplementalGroups",
    "seconds", "revision", "sizeBytes",
})  # fmt: skip
# Fields that are plain values in Go with omitempty: false and 0 are absent there. Other ones are pointers.
_PLAIN_BOOLS = frozenset({
    "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty", "paused", "unschedulable",
    "publishNotReadyAddresses", "readOnly",
})  # fmt: skip
_PLAIN_INTS = frozenset({
    "hostPort", "nodePort", "minReadySeconds", "initialDelaySeconds", "timeoutSeconds", "periodSeconds",
    "successThreshold", "failureThreshold", "observedGeneration", "generation", "healthCheckNodePort",
})  # fmt: skip
_POINTER_STRINGS = frozenset({
    "storageClassName", "appProtocol", "loadBalancerClass", "holderIdentity", "preferredHolder", "volumeMode",
    "timeZone", "managedBy", "ingressClassName",
})  # fmt: skip
_INT_RANGE = {"int32": 2**31, "int64": 2**63}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z")
_SIX_DIGITS = re.compile(r"\.\d{6}(?!\d)")
_UTC_LENGTH = len("2006-01-02T15:04:05Z")
_GO_INDEX = re.compile(r"\[\d+\]")
_JSON_NAMES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}
_RAW = frozenset({"meta.v1.FieldsV1", "runtime.RawExtension", "pkg.runtime.RawExtension"})

Decode = Callable[[Any, str, list[str]], Any]


class DecodeError(BadRequest):
    """The object does not fit its type; `why` is the message without what it could not be handled as."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what + why)
        self.why = why


STRICT = "strict decoding error: "


def invalid_patch(wanted: dict[str, Any], why: str) -> Invalid:
    """Return the error of a patch whose result does not fit the type: a 422 about nothing in particular."""
    text = f"Invalid value: {orjson.dumps(orjson.dumps(wanted).decode()).decode()}: {why}"
    causes = [{"reason": "FieldValueInvalid", "message": text, "field": "patch"}]
    return Invalid(f' "" is invalid: patch: {text}', {"causes": causes})


class _MismatchError(Exception):
    """The JSON does not fit the type; the text is what follows "cannot be handled as a X: "."""


@lru_cache(maxsize=4096)
def _canonical_quantity(text: str) -> str:
    return str(Quantity.parse(text))


def _quantity(value: Any, _path: str, _unknown: list[str]) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        value = ""
    try:
        return _canonical_quantity(str(value))
    except ValueError as error:
        raise _MismatchError(str(error)) from None


def _time(value: Any, _path: str, _unknown: list[str]) -> Any:
    """Return a time as Go writes it: in UTC, of whole seconds."""
    text = _text_of_time(value)
    if len(text) == _UTC_LENGTH and text[-1] == "Z":
        return text
    return rfc3339(_moment(text, "2006-01-02T15:04:05Z07:00"))


def _micro_time(value: Any, _path: str, _unknown: list[str]) -> Any:
    """Return a time as Go writes it: in UTC, with six digits after the point, which it also has to come with."""
    text = _text_of_time(value)
    layout = "2006-01-02T15:04:05.000000Z07:00"
    if not _SIX_DIGITS.match(text, _UTC_LENGTH - 1):
        rest = text[_UTC_LENGTH - 1 :]
        raise _MismatchError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as ".000000"')
    if text[-1] == "Z":
        return text
    return rfc3339_micro(_moment(text, layout))


def _text_of_time(value: Any) -> str:
    if not isinstance(value, str):
        raise _MismatchError(
            f"json: cannot unmarshal {_JSON_NAMES.get(type(value), 'object')} into Go value of type string"
        )
    if not _TIME.match(value):
        raise _MismatchError(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"')
    return value


def _moment(text: str, layout: str) -> float:
    try:
        return epoch_of(text)
    except ValueError as error:
        raise _MismatchError(f'parsing time "{text}" as "{layout}": {error}') from None


def _raw(value: Any, _path: str, _unknown: list[str]) -> Any:
    return value


def _mismatch(value: Any, struct: str, path: str, go_type: str) -> _MismatchError:
    found = _JSON_NAMES.get(type(value), "object")
    if found == "number" and go_type.startswith("int"):
        found = f"number {value}"
    where = _GO_INDEX.sub("", path)
    return _MismatchError(f"json: cannot unmarshal {found} into Go struct field {struct}.{where} of type {go_type}")


class _Struct:
    """Decoder of one struct type."""

    __slots__ = ("fields", "go_name", "times")

    def __init__(self, go_name: str) -> None:
        self.go_name = go_name
        # Times that are no pointers: Go writes null where there is none, omitempty or not.
        self.times: tuple[str, ...] = ()
        # JSON name → decoder(value, path, unknown) → value, or `_DROP`.
        self.fields: dict[str, Decode] = {}

    def decode(self, value: Any, path: str, unknown: list[str]) -> dict[str, Any]:
        fields = self.fields
        decoded: dict[str, Any] = {}
        for name, member in value.items():
            if member is None:
                continue
            decode = fields.get(name)
            if decode is None:
                unknown.append(path + name)
                continue
            result = decode(member, path + name, unknown)
            if result is not _DROP:
                decoded[name] = result
        for name in self.times:
            decoded.setdefault(name, None)
        return decoded


class _Drop:
    """Says that a member is Go's zero value and omitted."""


_DROP = _Drop()
_STRUCTS: dict[str, _Struct] = {}
# Types that hold times themselves, not pointers to them; all conditions do.
_WITH_TIMES = frozenset({"ContainerStateRunning", "ContainerStateTerminated", "VolumeError"})


def _struct(type_name: str) -> _Struct:
    struct = _STRUCTS.get(type_name)
    if struct is not None:
        return struct
    entry = vocabulary()["types"][type_name]
    go_name = type_name.rpartition(".")[2]
    struct = _STRUCTS[type_name] = _Struct(go_name)
    required = frozenset(entry.get("r", ()))
    for name, field in entry["f"].items():
        struct.fields[name] = _field(type_name, go_name, name, field, required=name in required)
    if go_name.endswith("Condition") or go_name in _WITH_TIMES:
        struct.times = tuple(sorted(name for name, field in entry["f"].items() if field[1] == "#meta.v1.Time"))
    return struct


def _scalar(struct: str, name: str, base: str, *, plain: bool) -> Decode:
    """Return the decoder of a scalar; `plain`: its zero value is omitted."""
    if base == "string":

        def decode_string(value: Any, path: str, _unknown: list[str]) -> Any:
            if type(value) is not str:
                raise _mismatch(value, struct, path, "string")
            return value if value or not plain else _DROP

        return decode_string
    if base == "boolean":

        def decode_bool(value: Any, path: str, _unknown: list[str]) -> Any:
            if type(value) is not bool:
                raise _mismatch(value, struct, path, "bool")
            return value if value or not plain else _DROP

        return decode_bool
    if base == "integer":
        go_type = "int64" if name in _INT64 else "int32"
        bound = _INT_RANGE[go_type]

        def decode_int(value: Any, path: str, _unknown: list[str]) -> Any:
            if type(value) is not int:
                if type(value) is float and value.is_integer() and abs(value) < bound:
                    return int(value)
                if isinstance(value, float):
                    raise _mismatch(value, struct, path, go_type)
                raise _mismatch(value, struct, path, go_type)
            if not -bound <= value < bound:
                raise _mismatch(value, struct, path, go_type)
            return value if value or not plain else _DROP

        return decode_int
    return _raw


def _reference(struct: str, base: str) -> Decode:
    """Return the decoder of a named type."""
    if base == "api.resource.Quantity":
        return _quantity
    if base == "meta.v1.Time":
        return _time
    if base == "meta.v1.MicroTime":
        return _micro_time
    if base == "util.intstr.IntOrString":

        def decode_int_or_string(value: Any, path: str, _unknown: list[str]) -> Any:
            if type(value) not in {str, int}:
                raise _mismatch(value, struct, path, "intstr.IntOrString")
            return value

        return decode_int_or_string
    if base in _RAW or base not in vocabulary()["types"]:
        return _raw
    inner: list[_Struct] = []
    go_type = "v1." + base.rpartition(".")[2]

    def decode_struct(value: Any, path: str, unknown: list[str]) -> Any:
        if type(value) is not dict:
            raise _mismatch(value, struct, path, go_type)
        if not inner:
            inner.append(_struct(base))
        return inner[0].decode(value, path + ".", unknown)

    return decode_struct


def _field(type_name: str, go_name: str, name: str, field: list[Any], *, required: bool) -> Decode:
    container, base = field[0], field[1]
    if isinstance(base, list):  # a map of lists: only Secrets-like raw data of kinds that are not served
        return _raw
    reference = base.startswith("#")
    if not container:
        if reference:
            return _reference(go_name, base[1:])
        plain = not required and (
            (base == "string" and name not in _POINTER_STRINGS)
            or (base == "boolean" and name in _PLAIN_BOOLS)
            or (
                base == "integer"
                and ((name in _PLAIN_INTS and go_name != "ClientIPConfig") or type_name.endswith("Status"))
            )
        )
        return _scalar(go_name, name, base, plain=plain)
    item = _reference(go_name, base[1:]) if reference else _scalar(go_name, name, base, plain=False)
    if container == "l":
        go_list = "[]" + ("v1." + base.rpartition(".")[2] if reference else base)

        def decode_list(value: Any, path: str, unknown: list[str]) -> Any:
            if type(value) is not list:
                raise _mismatch(value, go_name, path, go_list)
            if not value:
                return _DROP
            if reference:
                return [
                    item({} if member is None else member, f"{path}[{i}]", unknown) for i, member in enumerate(value)
                ]
            return [item("" if member is None else member, path, unknown) for member in value]

        return decode_list
    if base == "#api.resource.Quantity":
        go_map = "v1.ResourceList"
    else:
        go_map = "map[string]" + ("v1." + base.rpartition(".")[2] if reference else base)

    def decode_map(value: Any, path: str, unknown: list[str]) -> Any:
        if type(value) is not dict:
            raise _mismatch(value, go_name, path, go_map)
        if not value:
            return _DROP
        return {
            key: item("" if member is None and not reference else member, path, unknown)
            for key, member in value.items()
        }

    return decode_map


def decode(
    resource: Resource, obj: Any, field_validation: str = "Warn", warnings: list[str] | None = None
) -> dict[str, Any]:
    """Return a fresh dict of what the real server would have after decoding.

    Args:
        resource: What the object must be.
        obj: The client's JSON.
        field_validation: "Strict" refuses unknown fields, "Warn" warns, "Ignore" drops them silently.
        warnings: Receives the warnings.

    Raises:
        DecodeError: A wrong type, or an unknown field under Strict.
        BadRequest: A wrong kind.
    """
    what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    if type(obj) is not dict:
        found = _JSON_NAMES.get(type(obj), "null")
        raise BadRequest(
            f"{what}json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string; Kind string }}"
        )
    _check_kind(resource, obj)
    unknown: list[str] = []
    type_name = vocabulary()["kinds"][f"{resource.api_version}/{resource.kind}"]
    try:
        decoded = _struct(type_name).decode(obj, "", unknown)
    except _MismatchError as mismatch:
        raise DecodeError(what, str(mismatch)) from None
    if unknown:
        texts = [f'unknown field "{path}"' for path in dict.fromkeys(unknown)]
        if field_validation == "Strict":
            raise DecodeError(what, STRICT + ", ".join(texts))
        if field_validation == "Warn" and warnings is not None:
            warnings.extend(texts)
    decoded.setdefault("metadata", {})
    return decoded


def decode_metadata(what: str, metadata: Any, unknown: list[str]) -> dict[str, Any]:
    """Return decoded metadata of an object whose type is not of the vocabulary.

    Args:
        what: How the message of a refusal begins.
        metadata: The client's JSON.
        unknown: Receives the paths of unknown fields.

    Raises:
        DecodeError: A wrong type.
    """
    try:
        if type(metadata) is not dict:
            raise _mismatch(metadata, "ObjectMeta", "metadata", "v1.ObjectMeta")
        return _struct("meta.v1.ObjectMeta").decode(metadata, "metadata.", unknown)
    except _MismatchError as mismatch:
        raise DecodeError(what, str(mismatch)) from None


def _check_kind(resource: Resource, obj: dict[str, Any]) -> None:
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if kind and not isinstance(kind, str):
        kind = str(kind)
    if (not kind or kind == resource.kind) and (not api_version or api_version == resource.api_version):
        return
    group, _, version = str(api_version or resource.api_version).rpartition("/")
    kind = kind or resource.kind
    what = f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
    if kind == resource.kind and (group or version) and (group != resource.group or version != resource.version):
        raise DecodeError(
            what,
            f'no kind "{kind}" is registered for version "{group + "/" if group else ""}{version}" in scheme '
            '"pkg/api/legacyscheme/scheme.go:30"',
        )
    internal = resource.group.split(".", maxsplit=1)[0] or "core"
    raise DecodeError(what, f"converting ({version}.{kind}) to ({internal}.{resource.kind}): unknown conversion")
