"""Validation of custom resources against their schema, with the real server's causes and texts.

One walk gives the causes of the schema itself (types, bounds, required members), a second one those of embedded
resources and of lists that are sets or maps. On updates, what did not change is not judged again.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from kubedyno.cluster.registry import schemacel
from kubedyno.cluster.registry.metadata import annotation_causes, label_causes
from kubedyno.cluster.registry.schema import LIST_KEYS, LIST_TYPE, NOTHING, Schema, counterparts, unchanged
from kubedyno.kube.names import (
    problems_of_dns1035_label,
    problems_of_dns1123_label,
    problems_of_dns1123_subdomain,
    problems_of_path_segment,
)
from kubedyno.kube.status import Cause, duplicate, invalid_value, not_supported, required, too_long

_ROOT = "<nil>"
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
# After one of these the rules of a schema are not evaluated: they might rely on what is wrong.
_BLOCKING = frozenset(
    {
        "FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)  # fmt: skip
_DATE = re.compile(r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])\Z")
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z")
_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\Z")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+\Z")
_MAC = re.compile(r"(?i)[0-9a-f]{2}([:-][0-9a-f]{2}){5}\Z")
# Nothing is tried twice: "1ms" is no "1m" with an s behind it, or a text of many of them would take for ever.
_DURATION = re.compile(r"(?>\d+(\.\d+)?\s*(?>ns|us|µs|ms|s|m|h|d|w)[a-z]*\s*)+\Z")
_HOSTNAME = re.compile(r"([^\W_]((-?[^\W_]{0,62})?)|([^\W_](([^\W_]|-){0,61}[^\W_])?\.)+[^\W\d_]{2,63})\Z")
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:\S+\Z")
_SHADE = r"(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])"
_SHORT_ISBN = 10
_CARD = re.compile(
    r"4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}"
    r"|3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35[0-9]{3})[0-9]{11}"
)
_MAX_WHOLE, _MAX_FLOAT, _PLAIN_FLOAT = (1 << 53) - 1, 3.4028234663852886e38, 1e21
_INTEGERS = {"int32": 1 << 31, "int64": 1 << 63}


def validate(schema: Schema, value: Any, old: Any = None) -> list[Cause]:
    """Return what is wrong with an object.

    Args:
        schema: Of its version.
        value: The object, pruned and with defaults.
        old: Its version before an update; None on creation.
    """
    causes: list[Cause] = []
    _Walk(causes, "").value(schema, value, "", NOTHING if old is None else old)
    return causes


def validate_part(schema: Schema, value: Any, path: str, old: Any = None) -> list[Cause]:
    """Return what is wrong with a part of an object; texts name members within the part, causes by the whole path."""
    causes: list[Cause] = []
    _Walk(causes, path).value(schema, value, "", NOTHING if old is None else old)
    return causes


def validate_lists(schema: Schema, value: Any, path: str = "") -> list[Cause]:
    """Return which items of sets and maps are there twice, and which embedded resources lack their type."""
    causes: list[Cause] = []
    _embedded(schema, value, path, causes)
    _lists(schema, value, path, causes)
    return causes


def unchecked_rules(causes: list[Cause]) -> list[Cause]:
    """Return what says that rules were not evaluated, where other causes prevent it."""
    if any(cause.reason in _BLOCKING for cause in causes):
        return [invalid_value(_ROOT, None, _NOT_CHECKED)]
    return []


class _Walk:
    """One validation under way.

    Args:
        causes: Receives what is found.
        prefix: Of the fields of causes: the place of a part; "" for a whole object.
    """

    def __init__(self, causes: list[Cause], prefix: str) -> None:
        self._causes = causes
        self._prefix = prefix

    def _field(self, path: str) -> str:
        if not path:
            return self._prefix or _ROOT
        return f"{self._prefix}.{path}" if self._prefix else path

    def _wrong(self, path: str, value: Any, text: str) -> None:
        self._causes.append(invalid_value(self._field(path), value, f"{path} in body {text}"))

    def _wrong_type(self, path: str, shown: str, wanted: str) -> None:
        text = f'Invalid value: "{shown}": {path} in body must be of type {wanted}: "{shown}"'
        self._causes.append(Cause("FieldValueTypeInvalid", self._field(path), text))

    def _too_many(self, path: str, count: int, limit: int) -> None:
        text = f"Too many: {count}: must have at most {limit} items"
        self._causes.append(Cause("FieldValueTooMany", self._field(path), text))

    def value(self, schema: Schema, value: Any, path: str, old: Any) -> None:
        """Judge a value by a node."""
        if old is not NOTHING and unchanged(schema, value, old):
            return
        if _is_beyond(value):
            # As the real server's decoder has it.
            value = float(value)
        raw = schema.raw
        if value is None and schema.nullable:
            return
        wanted = raw.get("type")
        if schema.int_or_string and not wanted:
            wanted = "integer,string"
        found = _type_of(value)
        if wanted:
            self._type(raw, value, path, found, wanted)
        self._composite(raw, value, path)
        if isinstance(value, str):
            self._text(raw, value, path)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._number(raw, value, path, wanted or "")
        elif isinstance(value, list):
            self._list(schema, value, path, old)
        enum = raw.get("enum")
        if enum and not any(_same(value, allowed) for allowed in enum):
            shown = [item if isinstance(item, str) else orjson.dumps(item).decode() for item in enum]
            self._causes.append(not_supported(self._field(path), value, shown))
        if isinstance(value, dict):
            self._members(schema, value, path, old)

    def _type(self, raw: dict[str, Any], value: Any, path: str, found: str, wanted: str) -> None:
        fits, kind = _fits(value, found, wanted), raw.get("format", "")
        if kind not in KNOWN_FORMATS:
            kind = ""
        if kind and isinstance(value, str | list) and wanted not in {"integer", "number"}:
            # A format is judged instead of the type: of a list that says nothing.
            return
        if not fits and kind and value is not None and not isinstance(value, str | list):
            self._wrong_type(path, _FORMAT_OF.get(found, ""), kind)
        elif not fits:
            self._wrong_type(path, found, wanted)

    def _text(self, raw: dict[str, Any], value: str, path: str) -> None:
        longest, shortest, pattern = raw.get("maxLength"), raw.get("minLength"), raw.get("pattern")
        if longest is not None and len(value) > longest:
            self._causes.append(too_long(self._field(path), int(longest)))
        elif shortest is not None and len(value) < shortest:
            self._wrong(path, value, f"should be at least {int(shortest)} chars long")
        elif pattern and not _matches(pattern, value):
            self._wrong(path, value, f"should match '{pattern}'")
        kind = raw.get("format")
        if kind and not _has_format(kind, value):
            text = f'Invalid value: {_quoted(value)}: {path} in body must be of type {kind}: "{value}"'
            self._causes.append(Cause("FieldValueTypeInvalid", self._field(path), text))

    def _number(self, raw: dict[str, Any], value: float, path: str, wanted: str) -> None:
        kind, whole = raw.get("format", ""), isinstance(value, int)
        if wanted == "integer" and not _is_whole(value):
            shown = f"with format {kind}" if kind in _INTEGERS else "(default format)"
            text = f"Checked value must be of type integer {shown} in {path}"
            self._causes.append(invalid_value(self._prefix or _ROOT, "", text))
        elif kind in _INTEGERS and not -_INTEGERS[kind] <= value < _INTEGERS[kind]:
            text = f"Checked value must be of type integer with format {kind} in {path}"
            self._causes.append(invalid_value(self._prefix or _ROOT, "", text))
        if kind == "float" and wanted == "number" and abs(value) > _MAX_FLOAT:
            text = f"Checked value must be of type number with format float in {path}"
            self._causes.append(invalid_value(self._prefix or _ROOT, "", text))
        if not whole and float(value).is_integer() and abs(value) < _PLAIN_FLOAT and not _is_beyond(int(value)):
            # Go shows it so.
            value = int(value)
        multiple = raw.get("multipleOf")
        if multiple and whole and not int(multiple):
            text = f"factor MultipleOf declared for {path} must be positive: 0"
            self._causes.append(invalid_value(self._field(path), 0, text))
        elif multiple and not _is_multiple(value, multiple):
            self._wrong(path, value, f"should be a multiple of {_go_number(multiple)}")
        most, least = (_bound(raw.get(name), value) for name in ("maximum", "minimum"))
        if most is not None:
            if raw.get("exclusiveMaximum"):
                if value >= most:
                    self._wrong(path, value, f"should be less than {_go_number(most)}")
            elif value > most:
                self._wrong(path, value, f"should be less than or equal to {_go_number(most)}")
        if least is not None:
            if raw.get("exclusiveMinimum"):
                if value <= least:
                    self._wrong(path, value, f"should be greater than {_go_number(least)}")
            elif value < least:
                self._wrong(path, value, f"should be greater than or equal to {_go_number(least)}")

    def _list(self, schema: Schema, value: list[Any], path: str, old: Any) -> None:
        raw = schema.raw
        if schema.items is not None:
            before = counterparts(schema, old)
            for i, item in enumerate(value):
                self.value(schema.items, item, f"{path}[{i}]", before(item))
        fewest, most = raw.get("minItems"), raw.get("maxItems")
        if fewest is not None and len(value) < fewest:
            self._wrong(path, len(value), f"should have at least {int(fewest)} items")
        if most is not None and len(value) > most:
            self._too_many(path, len(value), int(most))
        if raw.get("uniqueItems") and any(item in value[:i] for i, item in enumerate(value)):
            self._wrong(path, value, "shouldn't contain duplicates")

    def _members(self, schema: Schema, value: dict[str, Any], path: str, old: Any) -> None:
        raw = schema.raw
        fewest, most = raw.get("minProperties"), raw.get("maxProperties")
        if fewest is not None and len(value) < fewest:
            self._wrong(path, len(value), f"should have at least {int(fewest)} properties")
            return
        if most is not None and len(value) > most:
            self._too_many(path, len(value), int(most))
            return
        before = old if isinstance(old, dict) else {}
        dot = f"{path}." if path else ""
        for name in sorted(value):
            node = schema.properties.get(name)
            if node is None and isinstance(schema.additional, Schema):
                node = schema.additional
            if node is not None and not (schema.resource and name == "metadata"):
                self.value(node, value[name], dot + name, before.get(name, NOTHING))
        for name in raw.get("required") or ():
            if name not in value:
                self._causes.append(required(self._field(dot + name)))

    def _composite(self, raw: dict[str, Any], value: Any, path: str) -> None:
        """Judge by allOf, anyOf, oneOf and not."""
        for node in raw.get("allOf") or ():
            found = _causes_of(node, value, path)
            if found:
                self._causes.extend(found)
                self._plain(f'"{path}" must validate all the schemas (allOf)')
                break
        some = raw.get("anyOf")
        if some and all(_causes_of(node, value, path) for node in some):
            self._plain(f'"{path}" must validate at least one schema (anyOf)')
            self._causes.extend(_nearest(some, value, path))
        one = raw.get("oneOf")
        if one:
            fitting = sum(not _causes_of(node, value, path) for node in one)
            if fitting != 1:
                how = f"Found {fitting} valid alternatives" if fitting else "Found none valid"
                self._plain(f'"{path}" must validate one and only one schema (oneOf). {how}')
                if not fitting:
                    self._causes.extend(_nearest(one, value, path))
        none = raw.get("not")
        if isinstance(none, dict) and not _causes_of(none, value, path):
            self._plain(f'"{path}" must not validate the schema (not)')

    def _plain(self, text: str) -> None:
        self._causes.append(invalid_value(self._prefix or _ROOT, "", text))


def _causes_of(raw: dict[str, Any], value: Any, path: str) -> list[Cause]:
    causes: list[Cause] = []
    _Walk(causes, "").value(Schema(raw), value, path, NOTHING)
    return causes


def _nearest(nodes: list[dict[str, Any]], value: Any, path: str) -> list[Cause]:
    """Return what is wrong by the node that fits best: the first of those that miss the fewest members."""
    found = [_causes_of(node, value, path) for node in nodes]
    return min(found, key=lambda causes: sum(cause.reason == "FieldValueRequired" for cause in causes))


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {str: "string", int: "integer", float: "number", list: "array", dict: "object"}.get(type(value), "null")


def _fits(value: Any, found: str, wanted: str) -> bool:
    kinds = wanted.split(",")
    if found in kinds or (found == "integer" and "number" in kinds):
        return True
    return found == "number" and "integer" in kinds and _is_whole(value)


def _bound(limit: float | None, value: float) -> float | None:
    """Return a limit in the type of the value that is compared with it: Go cuts off what an integer has not."""
    return int(limit) if limit is not None and isinstance(value, int) else limit


def _is_multiple(value: float, of: float) -> bool:
    if isinstance(value, int) and int(of):
        return value % int(of) == 0
    return _is_whole(value / of)


def _is_beyond(value: Any) -> bool:
    """Say whether a number is an integer of more than 64 bits."""
    return isinstance(value, int) and not -_INTEGERS["int64"] <= value < _INTEGERS["int64"]


def _is_whole(value: float) -> bool:
    """Say whether a number is an integer of JSON; larger ones are not told from their neighbours."""
    return isinstance(value, int) or (value.is_integer() and abs(value) <= _MAX_WHOLE)


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) is isinstance(other, bool)


def _go_number(value: float) -> str:
    """Return a number as Go's %v prints a float64."""
    if float(value).is_integer() and abs(value) < 1e21:
        return str(int(value))
    return repr(float(value))


@lru_cache(maxsize=1024)
def _pattern(text: str) -> re.Pattern[str] | None:
    try:
        return re.compile(text.replace("\\z", "\\Z"))
    except re.error:
        return None


def _matches(pattern: str, value: str) -> bool:
    """Say whether a value matches; a pattern that cannot be read here matches everything.

    With the extra `cel` the engine is Go's own kind. Python's, used otherwise, reads nearly the same syntax, but may
    take long for patterns made to that end: who defines custom resources is trusted not to.
    """
    if schemacel.available():
        return schemacel.matches(pattern, value) is not False
    compiled = _pattern(pattern)
    if compiled is None:
        return True
    found = compiled.search(value)
    if found is not None and pattern.endswith("$") and value.endswith("\n"):
        # Go's $ is the end of the text, not the place before a last newline.
        return compiled.fullmatch(value) is not None
    return found is not None


def _uuid_of(version: str, variant: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?i)[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{version}[0-9a-f]{{3}}-?{variant}[0-9a-f]{{3}}-?[0-9a-f]{{12}}\Z"
    )


def _is_isbn(text: str, length: int) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if length == _SHORT_ISBN:
        if not re.fullmatch(r"[0-9]{9}[0-9X]", digits):
            return False
        values = [10 if digit == "X" else int(digit) for digit in digits]
        return sum((i + 1) * value for i, value in enumerate(values)) % 11 == 0
    return (
        bool(re.fullmatch(r"[0-9]{13}", digits)) and sum(int(d) * (1, 3)[i % 2] for i, d in enumerate(digits)) % 10 == 0
    )


def _is_card(text: str) -> bool:
    digits = re.sub(r"[^0-9]+", "", text)
    if _CARD.fullmatch(digits) is None:
        return False
    doubled = [int(d) * (1 + i % 2) for i, d in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


_CHECKS: dict[str, Callable[[str], bool]] = {
    "isbn10": lambda text: _is_isbn(text, _SHORT_ISBN),
    "isbn13": lambda text: _is_isbn(text, 13),
    "isbn": lambda text: _is_isbn(text, _SHORT_ISBN) or _is_isbn(text, 13),
    "creditcard": _is_card,
}


def _has_format(kind: str, value: str) -> bool:
    """Say whether a text has a format; formats that are not known are no restriction."""
    pattern = _FORMATS.get(kind)
    if pattern is not None:
        return pattern.match(value) is not None
    check = _CHECKS.get(kind)
    if check is not None:
        return check(value)
    problems_of = _NAMES.get(kind)
    if problems_of is not None:
        return not problems_of(value)
    if kind == "hostname":
        labels = value.split(".")
        return _HOSTNAME.match(value) is not None and len(value) <= 255 and all(len(label) <= 63 for label in labels)
    try:
        if kind in {"ipv4", "ipv6"}:
            return ipaddress.ip_address(value).version == int(kind[3:])
        if kind == "cidr":
            ipaddress.ip_interface(value)
            return "/" in value
        if kind == "byte":
            return bool(value) and base64.b64decode(value, validate=True) is not None
    except (ValueError, binascii.Error):
        return False
    return True


_FORMATS = {
    "date": _DATE, "date-time": _DATE_TIME, "datetime": _DATE_TIME, "uuid": _UUID, "email": _EMAIL, "mac": _MAC,
    "duration": _DURATION, "uri": _URI, "ssn": re.compile(r"\d{3}[- ]\d{2}[- ]\d{4}\Z"),
    "uuid3": _uuid_of("3", "[0-9a-f]"), "uuid4": _uuid_of("4", "[89ab]"), "uuid5": _uuid_of("5", "[89ab]"),
    "bsonobjectid": re.compile(r"[0-9a-fA-F]{24}\Z"), "hexcolor": re.compile(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})\Z"),
    "rgbcolor": re.compile(rf"rgb\(\s*{_SHADE}\s*,\s*{_SHADE}\s*,\s*{_SHADE}\s*\)\Z"),
}  # fmt: skip
_NAMES = {"k8s-short-name": problems_of_dns1123_label, "k8s-long-name": problems_of_dns1123_subdomain}
# Others are taken for none.
KNOWN_FORMATS = frozenset(
    {
        *_FORMATS, *_CHECKS, *_NAMES, *_INTEGERS, "byte", "cidr", "double", "float", "hostname", "ipv4", "ipv6",
        "password",
    }
)  # fmt: skip
# What a value of a type is of its own.
_FORMAT_OF = {"integer": "int64", "number": "float64"}


def _embedded(schema: Schema, value: Any, path: str, causes: list[Cause]) -> None:
    if isinstance(value, dict):
        if schema.embedded:
            _resource(value, path, causes)
        for name, member in value.items():
            node = schema.properties.get(name) or schema.additional
            if isinstance(node, Schema):
                _embedded(node, member, f"{path}.{name}" if path else name, causes)
    elif isinstance(value, list) and schema.items is not None:
        for i, item in enumerate(value):
            _embedded(schema.items, item, f"{path}[{i}]", causes)


def _resource(value: dict[str, Any], path: str, causes: list[Cause]) -> None:
    """Judge what every resource has; that these are texts was seen to before."""
    causes.extend(required(f"{path}.{name}") for name in ("apiVersion", "kind") if name not in value)
    for name in ("apiVersion", "kind"):
        text = value.get(name)
        if text == "":
            causes.append(invalid_value(f"{path}.{name}", text, "must not be empty"))
    version, kind = value.get("apiVersion", ""), value.get("kind", "")
    if isinstance(version, str) and version.count("/") > 1:
        text = f"unexpected GroupVersion string: {version}"
        causes.append(invalid_value(f"{path}.apiVersion", version, text))
    problems = problems_of_dns1035_label(kind.lower()) if isinstance(kind, str) and kind else []
    if problems:
        text = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        causes.append(invalid_value(f"{path}.kind", kind, text))
    metadata = value.get("metadata")
    given = metadata.get("name") if isinstance(metadata, dict) else None
    if isinstance(given, str):
        causes.extend(invalid_value(f"{path}.metadata.name", given, p) for p in problems_of_path_segment(given))
    if isinstance(metadata, dict):
        causes += label_causes(metadata.get("labels") or {}, f"{path}.metadata.labels")
        causes += annotation_causes(metadata.get("annotations") or {}, f"{path}.metadata.annotations")


def _lists(schema: Schema, value: Any, path: str, causes: list[Cause]) -> None:
    if isinstance(value, dict):
        for name, member in value.items():
            node = schema.properties.get(name) or schema.additional
            if isinstance(node, Schema):
                _lists(node, member, f"{path}.{name}" if path else name, causes)
        return
    if not isinstance(value, list):
        return
    kind = schema.raw.get(LIST_TYPE)
    if kind in {"set", "map"}:
        keys = schema.raw.get(LIST_KEYS) or ()
        seen: set[bytes] = set()
        for i, item in enumerate(value):
            if item is None:
                continue
            if kind == "map" and not isinstance(item, dict):
                text = "must be an object for an array of list-type map"
                causes.append(invalid_value(f"{path}[{i}]", item, text))
                continue
            shown = {key: item[key] for key in keys if key in item} if kind == "map" else item
            mark = orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)
            if mark in seen:
                causes.append(duplicate(f"{path}[{i}]", shown))
            seen.add(mark)
    if schema.items is not None:
        for i, item in enumerate(value):
            _lists(schema.items, item, f"{path}[{i}]", causes)
