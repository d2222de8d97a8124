"""Typed decoding of a client's JSON: unknown fields out, wrong types refused with Go's texts, empties dropped.

The types come from the vocabulary and Go's structs: what these write when nothing is set is there afterwards. The
result is a fresh dict, so that defaulting may change it in place.
"""

import re
from base64 import b64encode
from collections.abc import Callable
from copy import deepcopy
from functools import lru_cache, partial
from typing import Any

import orjson

from kubedyno.base.times import epoch_of, rfc3339, rfc3339_micro
from kubedyno.kube.gostructs import OWN_JSON, SCALAR_ZEROS, Member, go_path, json_members_of, zero_of
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.resources import Resource, by_kind, vocabulary
from kubedyno.kube.status import BadRequest, Invalid

_INT_RANGE = {"int32": 2**31, "int64": 2**63}
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)\Z", re.ASCII)
_SIX_DIGITS = re.compile(r"\.\d{6}(?!\d)", re.ASCII)
# Parts of a time, in the order in which Go looks at them: their name, where they stand, the least and the most.
_TIME_PARTS = (("month", 5, 1, 12), ("hour", 11, 0, 23), ("minute", 14, 0, 59), ("second", 17, 0, 59))
_UTC_LENGTH = len("2006-01-02T15:04:05Z")
_WHOLE_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_BASE64_CHARACTER = re.compile(r"[A-Za-z0-9+/]*")
_LINE_ENDS = re.compile(r"[\r\n]")
# Around the keys of maps in paths: unknown fields are told with them, wrong types without.
_KEY, _KEY_END = "\x00", "\x01"
_MAP_KEY = re.compile("\x00[^\x01]*\x01")
_GO_INDEX = re.compile(r"\[\d+\]")
_JSON_NAMES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}

Decode = Callable[[Any, str, list[str]], Any]


def _with_keys(path: str) -> str:
    return path.replace(_KEY, ".").replace(_KEY_END, "")


class DecodeError(BadRequest):
    """The object does not fit its type; `why` is the message without what it could not be handled as."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what + why)
        self.why = why


STRICT = "strict decoding error: "
# How the real server calls where its types are registered.
SCHEME = "pkg/api/legacyscheme/scheme.go:30"


class Patched(dict[str, Any]):
    """What a strategic merge patch made of an object.

    Attributes:
        patch: The patch as errors show it.
    """

    def __init__(self, obj: dict[str, Any], patch: str) -> None:
        super().__init__(obj)
        self.patch = patch


def invalid_patch(wanted: dict[str, Any] | str, why: str) -> Invalid:
    """Return the error of a patch whose result does not fit the type: a 422 about nothing in particular.

    Args:
        wanted: The result, or the text of a patch that is shown instead.
        why: What does not fit.
    """
    if isinstance(wanted, Patched):
        wanted = wanted.patch
    told = wanted if isinstance(wanted, str) else orjson.dumps(wanted).decode()
    text = f"Invalid value: {orjson.dumps(told).decode()}: {why}"
    causes = [{"reason": "FieldValueInvalid", "message": text, "field": "patch"}]
    return Invalid(f' "" is invalid: patch: {text}', {"causes": causes})


class _MismatchError(Exception):
    """The JSON does not fit the type; the text is what follows "cannot be handled as a X: ".

    Args:
        text: It, with "%s" in the place of the path.
        path: Of the value, where the text has a place for it.
    """

    def __init__(self, text: str, path: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.path = path

    def shown(self, type_name: str, place: str = "") -> str:
        """Return the text for an object of a type, which Go's names of embedded structs are part of.

        Args:
            type_name: Of the object, or of the part at `place`.
            place: What the path begins with, when only a part of the object was decoded.
        """
        if self.path is None:
            return self.text
        path = go_path(type_name, _GO_INDEX.sub("", _MAP_KEY.sub("", self.path.removeprefix(place))))
        return self.text.replace("%s", place + path)


@lru_cache(maxsize=4096)
def _canonical_quantity(text: str) -> str:
    return str(Quantity.parse(text))


def _quantity(value: Any, _path: str, _unknown: list[str]) -> Any:
    if value is None:
        return "0"
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        value = ""
    try:
        return _canonical_quantity(str(value))
    except ValueError as error:
        raise _MismatchError(str(error)) from None


def _time(struct: str, value: Any, path: str, _unknown: list[str]) -> Any:
    """Return a time as Go writes it: in UTC, of whole seconds."""
    text = _text_of_time(struct, value, path)
    moment_s = _moment(text)
    if len(text) == _UTC_LENGTH and text[-1] == "Z":
        return text
    return _written(rfc3339, moment_s, text)


def _micro_time(struct: str, value: Any, path: str, _unknown: list[str]) -> Any:
    """Return a time as Go writes it: in UTC, with six digits after the point, which it also has to come with."""
    text = _text_of_time(struct, value, path)
    layout = "2006-01-02T15:04:05.000000Z07:00"
    if not _SIX_DIGITS.match(text, _UTC_LENGTH - 1):
        rest = text[_UTC_LENGTH - 1 :]
        raise _MismatchError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as ".000000"')
    moment_s = _moment(text)
    if text[-1] == "Z":
        return text
    return _written(rfc3339_micro, moment_s, text)


def _text_of_time(struct: str, value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise _mismatch(value, struct, path, "string")
    if not _TIME.match(value):
        raise _MismatchError(f'parsing time "{value}" as "2006-01-02T15:04:05Z07:00": cannot parse "{value}" as "2006"')
    return value


def _moment(text: str) -> float:
    try:
        return epoch_of(text)
    except ValueError:
        wrong = (name for name, at, least, most in _TIME_PARTS if not least <= int(text[at : at + 2]) <= most)
        part = next(wrong, "year" if text.startswith("0000") else "time zone offset hour" if text[-1] != "Z" else "day")
        raise _MismatchError(f'parsing time "{text}": {part} out of range') from None


def _written(form: Callable[[float], str], moment_s: float, text: str) -> str:
    try:
        return form(moment_s)
    except (ValueError, OverflowError):
        # In UTC it is before the year 1 or after 9999.
        raise _MismatchError(f'parsing time "{text}": year out of range') from None


def base64_fault(text: str) -> str:
    """Return what Go's decoder has against a text that is no base64, "" when it is some; it passes over line ends."""
    if _WHOLE_BASE64.fullmatch(text) or _WHOLE_BASE64.fullmatch(bare := _LINE_ENDS.sub("", text)):
        return ""
    fine = _BASE64_CHARACTER.match(bare)
    assert fine is not None
    at = fine.end()
    if at == len(bare):
        at -= at % 4
    return f"illegal base64 data at input byte {at}"


def _bytes_of(values: list[Any], struct: str, path: str) -> str:
    """Return bytes that were written as a list of numbers, which Go understands as well."""
    for value in values:
        if type(value) is not int or not 0 <= value < 256:
            found = f"number {value}" if type(value) in {int, float} else _JSON_NAMES.get(type(value), "object")
            raise _MismatchError(f"json: cannot unmarshal {found} into Go struct field {struct}.%s of type uint8", path)
    return b64encode(bytes(values)).decode()


def _raw(value: Any, _path: str, _unknown: list[str]) -> Any:
    return value


def _mismatch(value: Any, struct: str, path: str, go_type: str) -> _MismatchError:
    found = _JSON_NAMES.get(type(value), "object")
    if found == "number" and go_type.startswith("int"):
        found = f"number {value}"
    return _MismatchError(f"json: cannot unmarshal {found} into Go struct field {struct}.%s of type {go_type}", path)


class _Struct:
    """Decoder of one struct type."""

    __slots__ = ("fields", "plain", "zeros")

    def __init__(self) -> None:
        # JSON name → decoder(value, path, unknown) → value, or `_DROP`.
        self.fields: dict[str, Decode] = {}
        # What Go writes even when nothing is set: scalars, and (JSON name, what makes it) of structs.
        self.plain: dict[str, Any] = {}
        self.zeros: tuple[tuple[str, Callable[[], Any]], ...] = ()

    def decode(self, value: Any, path: str, unknown: list[str]) -> dict[str, Any]:
        fields = self.fields
        decoded = self.plain.copy()
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
        for name, zero in self.zeros:
            if name not in decoded:
                decoded[name] = zero()
        return decoded


class Keeping(list[str]):
    """A list of warnings that asks decoding to keep empty lists and maps."""


class _Unknown(list[str]):
    """The paths of unknown fields; of this class where empty lists and maps are kept."""


class _Drop:
    """Says that a member is Go's zero value and omitted."""


_DROP = _Drop()
_STRUCTS: dict[str, _Struct] = {}


def _struct(type_name: str) -> _Struct:
    struct = _STRUCTS.get(type_name)
    if struct is not None:
        return struct
    entry = vocabulary()["types"][type_name]
    go_name = type_name.rpartition(".")[2]
    struct = _STRUCTS[type_name] = _Struct()
    members = json_members_of(type_name)
    for name in entry["f"]:
        struct.fields[name] = _field(go_name, members[name])
    # Lists and maps are left to who knows where null is of interest: all others may loop over what is there.
    written = [members[name] for name in entry["f"] if members[name].written_when_zero]
    zeros = {member.name: zero_of(member, containers=False) for member in written if not member.container}
    struct.plain = {name: value for name, value in zeros.items() if type(value) is not dict}
    struct.zeros = tuple(
        (name, partial(deepcopy, value) if value else dict) for name, value in zeros.items() if type(value) is dict
    )
    return struct


def _scalar(struct: str, member: Member) -> Decode:
    """Return the decoder of a scalar, or of an item of a list or map."""
    # Zero values that are omitted.
    drops = not (member.container or member.pointer or member.written_when_zero)
    text = member.text
    if member.container:
        text = text[text.index("]") + 1 :] if "]" in text else "string"
    if member.scalar in {"string", "bytes"}:
        encoded = member.scalar == "bytes"
        text = "[]uint8" if encoded else text

        def decode_string(value: Any, path: str, _unknown: list[str]) -> Any:
            if type(value) is not str:
                if encoded and type(value) is list:
                    return _bytes_of(value, struct, path)
                raise _mismatch(value, struct, path, text)
            if encoded:
                fault = base64_fault(value)
                if fault:
                    raise _MismatchError(fault)
            return value if value or not drops else _DROP

        return decode_string
    if member.scalar == "bool":

        def decode_bool(value: Any, path: str, _unknown: list[str]) -> Any:
            if type(value) is not bool:
                raise _mismatch(value, struct, path, text)
            return value if value or not drops else _DROP

        return decode_bool
    bound = _INT_RANGE.get(member.scalar)
    if bound is None:
        return _raw

    def decode_int(value: Any, path: str, _unknown: list[str]) -> Any:
        if type(value) is not int or not -bound <= value < bound:
            raise _mismatch(value, struct, path, text)
        return value if value or not drops else _DROP

    return decode_int


def _int_or_string(struct: str) -> Decode:
    def decode_int_or_string(value: Any, path: str, _unknown: list[str]) -> Any:
        if type(value) is int and -_INT_RANGE["int32"] <= value < _INT_RANGE["int32"]:
            return value
        if type(value) is not str:
            raise _mismatch(value, struct, path, "int32")
        return value

    return decode_int_or_string


_SCHEMA = "apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"


def _schema(value: dict[str, Any], path: str, unknown: list[str]) -> dict[str, Any]:
    return _struct(_SCHEMA).decode(value, path + ".", unknown)


def _schema_or_list(value: Any, path: str, unknown: list[str]) -> Any:
    """Decode what says of items what they are: Go takes anything else for nothing."""
    if isinstance(value, list):
        return [_schema(item, f"{path}[{i}]", unknown) for i, item in enumerate(value) if isinstance(item, dict)]
    return _schema(value, path, unknown) if isinstance(value, dict) else _DROP


def _schema_or_bool(value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, bool):
        return value
    if not isinstance(value, dict):
        raise _MismatchError("boolean or JSON schema expected")
    return _schema(value, path, unknown)


# Types with a JSON of their own.
_DECODERS: dict[str, Callable[[str], Decode]] = {
    "api.resource.Quantity": lambda _: _quantity,
    "meta.v1.Time": lambda struct: partial(_time, struct),
    "meta.v1.MicroTime": lambda struct: partial(_micro_time, struct),
    "util.intstr.IntOrString": _int_or_string,
    "meta.v1.FieldsV1": lambda _: _raw,
    "pkg.runtime.RawExtension": lambda _: _raw,
    f"{_SCHEMA}OrArray": lambda _: _schema_or_list,
    f"{_SCHEMA}OrBool": lambda _: _schema_or_bool,
}


def _reference(struct: str, member: Member) -> Decode:
    """Return the decoder of a struct."""
    base = member.struct
    own = _DECODERS.get(base)
    if own is not None:
        return own(struct)
    if base not in vocabulary()["types"]:
        return _raw
    inner: list[_Struct] = []
    go_type = ".".join(base.split(".")[-2:])

    def decode_struct(value: Any, path: str, unknown: list[str]) -> Any:
        if type(value) is not dict:
            raise _mismatch(value, struct, path, go_type)
        if not inner:
            inner.append(_struct(base))
        return inner[0].decode(value, path + ".", unknown)

    return decode_struct


def _field(go_name: str, member: Member) -> Decode:
    if member.scalar == "list":  # A map of lists: what users' identities carry.
        return _raw
    item = _reference(go_name, member) if member.struct else _scalar(go_name, member)
    if not member.container:
        return item
    reference, text = bool(member.struct), member.text
    empty = SCALAR_ZEROS.get(member.scalar, "")
    if member.container == "l":

        def decode_list(value: Any, path: str, unknown: list[str]) -> Any:
            if type(value) is not list:
                raise _mismatch(value, go_name, path, text)
            if not value:
                return [] if type(unknown) is _Unknown else _DROP
            if reference:
                return [
                    item({} if member is None else member, f"{path}[{i}]", unknown) for i, member in enumerate(value)
                ]
            return [item(empty if member is None else member, path, unknown) for member in value]

        return decode_list

    # Only what has members of its own has unknown ones.
    keyed = reference and member.struct not in OWN_JSON

    def decode_map(value: Any, path: str, unknown: list[str]) -> Any:
        if type(value) is not dict:
            raise _mismatch(value, go_name, path, text)
        if not value:
            return {} if type(unknown) is _Unknown else _DROP
        if keyed:
            return {
                key: item({} if member is None else member, f"{path}{_KEY}{key}{_KEY_END}", unknown)
                for key, member in value.items()
            }
        return {
            key: item(empty if member is None and not reference else member, path, unknown)
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
        warnings: Receives the warnings; `Keeping` keeps empty lists and maps.

    Raises:
        DecodeError: A wrong type, or an unknown field under Strict.
        BadRequest: A wrong kind.
    """
    what = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    if not isinstance(obj, dict):
        found = _JSON_NAMES.get(type(obj), "null")
        raise BadRequest(
            f"{what}json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string; Kind string }}"
        )
    _check_kind(resource, obj)
    unknown: list[str] = _Unknown() if type(warnings) is Keeping else []
    type_name = vocabulary()["kinds"][f"{resource.api_version}/{resource.kind}"]
    try:
        decoded = _struct(type_name).decode(obj, "", unknown)
    except _MismatchError as mismatch:
        raise DecodeError(what, mismatch.shown(type_name)) from None
    if unknown:
        texts = [f'unknown field "{_with_keys(path)}"' for path in dict.fromkeys(unknown)]
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
        raise DecodeError(what, mismatch.shown("meta.v1.ObjectMeta", "metadata.")) from None


def decode_embedded(metadata: Any, path: str, unknown: list[str]) -> dict[str, Any]:
    """Return decoded metadata of a resource within another one.

    Args:
        metadata: The client's JSON.
        path: Of the metadata.
        unknown: Receives the paths of unknown fields.

    Raises:
        ValueError: A wrong type; the text is the decoder's.
    """
    if type(metadata) is not dict:
        found = _JSON_NAMES.get(type(metadata), "object")
        raise ValueError(f"json: cannot unmarshal {found} into Go value of type v1.ObjectMeta")
    try:
        decoded = _struct("meta.v1.ObjectMeta").decode(metadata, f"{path}.", unknown)
    except _MismatchError as mismatch:
        text = mismatch.shown("meta.v1.ObjectMeta", f"{path}.").replace(f"ObjectMeta.{path}.", "ObjectMeta.")
        raise ValueError(text) from None
    return {name: value for name, value in decoded.items() if value not in (None, {}, [])}


# In every group and version.
_META_KINDS = frozenset(
    {"CreateOptions", "DeleteOptions", "GetOptions", "ListOptions", "PatchOptions", "UpdateOptions", "WatchEvent"}
)


def decode_options(type_name: str, obj: Any) -> dict[str, Any]:
    """Return decoded options of a request that came as its body.

    Args:
        type_name: Of the vocabulary, e.g. "meta.v1.DeleteOptions".
        obj: The client's JSON.

    Raises:
        BadRequest: A wrong type.
    """
    try:
        return _struct(type_name).decode(obj, "", [])
    except _MismatchError as mismatch:
        raise BadRequest(mismatch.shown(type_name, "")) from None


def is_registered(group: str, version: str, kind: str) -> bool:
    """Say whether a group's version has a kind, or lists of it."""
    api_version = f"{group}/{version}" if group else version
    singular = kind.removesuffix("List")
    if kind in _META_KINDS or (api_version == "v1" and kind in {"Status", "List"}):
        return True
    if by_kind(api_version, kind) is not None:
        return True
    listed = by_kind(api_version, singular) if singular != kind else None
    return listed is not None and "list" in listed.verbs


def _check_kind(resource: Resource, obj: dict[str, Any]) -> None:
    kind, api_version = obj.get("kind"), obj.get("apiVersion")
    if kind and not isinstance(kind, str):
        kind = str(kind)
    if (not kind or kind == resource.kind) and (not api_version or api_version == resource.api_version):
        return
    group, _, version = str(api_version or resource.api_version).rpartition("/")
    kind = kind or resource.kind
    what = f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
    other = kind == resource.kind and (group or version) and (group != resource.group or version != resource.version)
    if other or not is_registered(group, version, kind):
        raise DecodeError(
            what,
            f'no kind "{kind}" is registered for version "{group + "/" if group else ""}{version}" in scheme "{SCHEME}"',
        )
    internal = resource.group.split(".", maxsplit=1)[0] or "core"
    raise DecodeError(what, f"converting ({version}.{kind}) to ({internal}.{resource.kind}): unknown conversion")
