"""YAML as Kubernetes' tools read it: PyYAML's C parser for the syntax, Go's rules for what a scalar means.

`yes`, `on` and `y` are booleans, `0644` and `0o644` octal, `1e3` a number, `12:30` and dates are strings; keys become
strings. Every container remembers where its parts stood, so that an error about a value can name its line.
"""

import math
import re
from base64 import b64decode
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import yaml as pyyaml
from yaml import events as ev

from kubedyno.base.errors import KubedynoError

_LOADER: Any = getattr(pyyaml, "CSafeLoader", pyyaml.SafeLoader)

# Nodes of one document, aliases counted each time they are used: what an alias bomb would multiply.
MAX_NODES = 1_000_000
MAX_DEPTH = 1_000

BOOLEANS = {
    word: value
    for value, words in ((True, ("y", "yes", "on", "true")), (False, ("n", "no", "off", "false")))
    for base in words
    for word in ({base, base.upper(), base.capitalize()})
}
_NULLS = {"", "~", "null", "Null", "NULL"}
_SPECIAL = {
    ".inf": math.inf, ".Inf": math.inf, ".INF": math.inf, "+.inf": math.inf, "+.Inf": math.inf, "+.INF": math.inf,
    "-.inf": -math.inf, "-.Inf": -math.inf, "-.INF": -math.inf, ".nan": math.nan, ".NaN": math.nan, ".NAN": math.nan,
}  # fmt: skip
_HEX = re.compile(r"[-+]?0[xX][0-9a-fA-F]+\Z")
_OCTAL = re.compile(r"[-+]?0[oO]?[0-7]+\Z")
_BINARY = re.compile(r"[-+]?0[bB][01]+\Z")
_DECIMAL = re.compile(r"[-+]?[0-9]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
# In a double-quoted text; Go's parser knows only YAML 1.1, which has no such escape.
_ESCAPED_SLASH = re.compile(r"(?<!\\)(?:\\\\)*\\/")
_STARTS = frozenset("0123456789+-.yYnNtTfFoO~")


class YAMLError(ValueError):
    """A text that is no YAML, or means nothing in JSON; the message is Go's as far as it goes."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Mapping(dict[str, Any]):
    """A mapping that knows the 1-based lines of its keys."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[str, int] = {}


class Sequence(list[Any]):
    """A list that knows the 1-based lines of its items."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[int] = []


def scalar(text: str) -> Any:
    """Return what a plain scalar means."""
    if not text or text[0] not in _STARTS:
        return None if text in _NULLS else text
    if text in BOOLEANS:
        return BOOLEANS[text]
    if text in _NULLS:
        return None
    if text in _SPECIAL:
        return _SPECIAL[text]
    if text[0] not in "0123456789+-.":
        return text
    return _number(text)


def _number(text: str) -> Any:
    plain = text.replace("_", "")
    if _DECIMAL.match(plain):
        digits = plain.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0" and _OCTAL.match(plain):
            return _signed(plain, int(digits, 8))
        value = int(plain)
        # Beyond 64 bits Go takes the nearest float.
        return value if -(2**63) < value < 2**64 else float(value)
    if _HEX.match(plain):
        return _signed(plain, int(plain.lstrip("+-")[2:], 16))
    if _OCTAL.match(plain):
        return _signed(plain, int(plain.lstrip("+-")[2:], 8))
    if _BINARY.match(plain):
        return _signed(plain, int(plain.lstrip("+-")[2:], 2))
    if _FLOAT.match(plain):
        value_f = float(plain)
        if math.isinf(value_f):
            return text
        return value_f
    return text


def _signed(text: str, value: int) -> int:
    return -value if text[0] == "-" else value


class _Builder:
    """Turns parser events into values."""

    def __init__(self, text: str, *, strict: bool, words: bool = True) -> None:
        self._events: Iterator[Any] = pyyaml.parse(text, Loader=_LOADER)
        # The parser counts from behind a byte order mark.
        self._text = text.removeprefix("\ufeff")
        self._strict = strict
        self._words = words
        self._anchors: dict[str, Any] = {}
        self._open: set[str] = set()
        self._nodes = 0

    def documents(self) -> Iterator[Any]:
        try:
            for event in self._events:
                if isinstance(event, ev.DocumentStartEvent):
                    if event.version not in {None, (1, 1)}:
                        raise YAMLError("yaml: found incompatible YAML document")
                    self._anchors.clear()
                    self._nodes = 0
                    yield _of_json(self._value(next(self._events), 0))
        except RecursionError:
            raise YAMLError(f"yaml: exceeded max depth of {MAX_DEPTH}") from None
        except pyyaml.MarkedYAMLError as error:
            raise _syntax_error(error) from None
        except pyyaml.YAMLError as error:
            raise YAMLError(f"yaml: {error}") from None

    def _count(self, amount: int = 1) -> None:
        self._nodes += amount
        if self._nodes > MAX_NODES:
            raise YAMLError("yaml: document contains excessive aliasing")

    def _value(self, event: Any, depth: int) -> Any:
        self._count()
        if depth > MAX_DEPTH:
            raise YAMLError("yaml: exceeded max depth of 10000")
        kind = type(event)
        if kind is ev.ScalarEvent:
            value = self._scalar(event)
            if event.anchor:
                self._anchors[event.anchor] = value
            return value
        if kind is ev.AliasEvent:
            if event.anchor in self._open:
                raise YAMLError(f"yaml: anchor '{event.anchor}' value contains itself")
            if event.anchor not in self._anchors:
                raise YAMLError(f"yaml: unknown anchor '{event.anchor}' referenced")
            value = self._anchors[event.anchor]
            self._count(_size(value))
            return value
        anchor = event.anchor
        if anchor:
            self._open.add(anchor)
        made: Any = self._mapping(event, depth) if kind is ev.MappingStartEvent else self._sequence(depth)
        if anchor:
            self._open.discard(anchor)
            self._anchors[anchor] = made
        return made

    def _scalar(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if event.style == '"' and "/" in text and _ESCAPED_SLASH.search(self._raw(event)):
            raise YAMLError("yaml: found unknown escape character", event.start_mark.line + 1)
        if tag is None or tag == "!":
            if tag is not None or not event.implicit[0]:
                return text
            return scalar(text) if self._words or text not in BOOLEANS or text.lower() in {"true", "false"} else text
        return _tagged(text, tag)

    def _raw(self, event: Any) -> str:
        return self._text[event.start_mark.index : event.end_mark.index]

    def _sequence(self, depth: int) -> Sequence:
        result = Sequence()
        for event in self._events:
            if type(event) is ev.SequenceEndEvent:
                return result
            result.lines.append(event.start_mark.line + 1)
            result.append(_of_json(self._value(event, depth + 1)))
        return result

    def _mapping(self, start: Any, depth: int) -> Mapping:
        result = Mapping()
        # Keys as they were before they became strings: 1 and "1" are two.
        seen: set[tuple[type, Any]] = set()
        for event in self._events:
            if type(event) is ev.MappingEndEvent:
                break
            line = event.start_mark.line + 1
            is_merge = type(event) is ev.ScalarEvent and event.value == "<<" and event.implicit[0]
            raw = self._value(event, depth + 1)
            value = _of_json(self._value(next(self._events), depth + 1))
            if is_merge:
                # A merge overwrites what stands before it, and what stands after overwrites the merge.
                self._merge(result, value, start)
                seen.update((str, merged) for merged in result)
                continue
            key = _key(raw, value)
            if self._strict and (type(raw), raw) in seen:
                raise YAMLError(f'yaml: unmarshal errors:\n  line {line}: key "{key}" already set in map', line)
            seen.add((type(raw), raw))
            result[key] = value
            result.lines[key] = line
        return result

    def _merge(self, result: Mapping, value: Any, start: Any) -> None:
        sources = value if isinstance(value, list) else [value]
        for source in sources:
            if not isinstance(source, dict):
                raise YAMLError("yaml: map merge requires map or sequence of maps as the value")
            for key, entry in source.items():
                result[key] = entry
                result.lines.setdefault(key, start.start_mark.line + 1)


def _of_json(value: Any) -> Any:
    """Return a value, unless JSON has no word for it."""
    if isinstance(value, float) and not math.isfinite(value):
        shown = "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
        raise YAMLError(f"json: unsupported value: {shown}")
    return value


def _size(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(_size(entry) for entry in value.values())
    if isinstance(value, list):
        return 1 + sum(_size(entry) for entry in value)
    return 1


def _tagged(text: str, tag: str) -> Any:
    short = tag.replace("tag:yaml.org,2002:", "!!")
    if short in {"!!str", "!!timestamp"}:
        return text
    if short == "!!binary":
        try:
            return b64decode("".join(text.split()), validate=True).decode("utf-8", "replace")
        except ValueError:
            raise YAMLError("yaml: !!binary value contains invalid base64 data") from None
    if short == "!!null":
        return None
    if short in {"!!int", "!!float", "!!bool"}:
        value = scalar(text)
        fits = {"!!int": (int,), "!!float": (int, float), "!!bool": (bool,)}[short]
        if not isinstance(value, fits) or (isinstance(value, bool) and short != "!!bool"):
            raise YAMLError(f"yaml: cannot decode !!str `{text}` as a {short}")
        return value
    # A private tag says nothing to JSON.
    return scalar(text)


def _key(raw: Any, value: Any) -> str:
    if isinstance(raw, str):
        return raw
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, int):
        if raw >= 2**63:
            raise YAMLError(f"unsupported map key of type: uint64, key: {raw:#x}, value: {_go_literal(value)}")
        return str(raw)
    if isinstance(raw, float):
        if math.isinf(raw):
            return ".inf" if raw > 0 else "-.inf"
        if math.isnan(raw):
            return ".nan"
        return float_text(raw)
    if raw is None:
        shown = f'"{value}"' if isinstance(value, str) else value
        raise YAMLError(f"unsupported map key of type: %!s(<nil>), key: <nil>, value: {shown}")
    raise YAMLError(f"yaml: invalid map key: {_go_literal(raw)}")


def _go_literal(value: Any) -> str:
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(_go_literal(item) for item in value) + "}"
    if isinstance(value, dict):
        inner = ", ".join(f'"{key}":{_go_literal(item)}' for key, item in value.items())
        return f"map[interface {{}}]interface {{}}{{{inner}}}"
    return f'"{value}"' if isinstance(value, str) else str(value)


def float_text(value: float) -> str:
    """Return a float as Go's JSON writes it: 1, 1.5, 1e+21, 1e-7."""
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    text = repr(value)
    magnitude = abs(value)
    if 1e-6 <= magnitude < 1e21:
        if "e" in text:
            # All digits of the shortest text, zeros after them.
            text = format(Decimal(text), "f")
        return text.removesuffix(".0")
    mantissa, _, exponent = (text if "e" in text else format(value, "e")).partition("e")
    mantissa = mantissa.removesuffix(".0")
    sign, digits = exponent[0], exponent[1:].lstrip("0")
    if sign not in "+-":
        sign, digits = "+", exponent.lstrip("0")
    return f"{mantissa}e{sign}{digits if sign == '+' or len(digits) > 1 else digits.zfill(1)}"


def _syntax_error(error: Any) -> YAMLError:
    """Return libyaml's complaint in the words of Go's port of it."""
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context or "bad YAML")
    # Go prefers the context's line unless it is the first, counts from 0, and adds one to the scanner's alone.
    context = error.context_mark
    counted = context if context is not None and context.line else mark
    shown = counted.line if counted is not None else 0
    if shown and isinstance(error, pyyaml.scanner.ScannerError):
        shown += 1
    where = f"line {shown}: " if shown else ""
    return YAMLError(f"yaml: {where}{problem}", mark.line + 1 if mark is not None else 0)


def load(text: str, path: str = "", *, strict: bool = False, words: bool = True) -> Any:
    """Return the first document of a text, None for an empty one.

    Args:
        text: YAML or JSON.
        path: Named in errors; without it a `YAMLError` is raised instead of a `KubedynoError`.
        strict: Refuse duplicate keys.
        words: `yes`, `on`, `y` and their like are booleans, as in manifests; False reads them as text, as Go programs
            read their own configuration (`BOOLEANS` says what they mean where a boolean is wanted).

    Raises:
        KubedynoError: It is no YAML; the line says where (with `path`).
        YAMLError: The same (without).
    """
    try:
        return next(_Builder(text, strict=strict, words=words).documents(), None)
    except YAMLError as error:
        if path:
            raise KubedynoError(f"{path}: {str(error).removeprefix('yaml: ')}") from error
        raise


def load_all(text: str, path: str = "", *, strict: bool = False) -> list[Any]:
    """Return all documents of a text; see `load`."""
    try:
        return list(_Builder(text, strict=strict).documents())
    except YAMLError as error:
        if path:
            raise KubedynoError(f"{path}: {str(error).removeprefix('yaml: ')}") from error
        raise


def line_of(document: Any, *path: str | int) -> int:
    """Return the 1-based line at which a part of a loaded document stands, 0 when not known."""
    line = 0
    place = document
    for step in path:
        if isinstance(place, Mapping) and isinstance(step, str):
            line = place.lines.get(step, line)
            place = place.get(step)
        elif isinstance(place, Sequence) and isinstance(step, int) and step < len(place):
            line = place.lines[step]
            place = place[step]
        else:
            break
    return line


def dump(value: Any) -> str:
    """Return a value as YAML in sigs.k8s.io/yaml's style: keys sorted, lists not indented."""
    text = pyyaml.dump(
        _plain(value), Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True, width=80
    )
    # The mark of the end that PyYAML puts after a lone scalar.
    return str(text).removesuffix("...\n")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


class _Dumper(pyyaml.SafeDumper):
    """Writes strings that Go's rules would read as something else in quotes."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        # Go gives these two no meaning, so that they stand bare.
        if kind is pyyaml.ScalarNode and value in {"=", "<<"}:
            return "tag:yaml.org,2002:str"
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


def _represent_str(dumper: Any, text: str) -> Any:
    if "\n" in text:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")
    if max(text, default="") > "\uffff":
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
    style = None if isinstance(scalar(text), str) and not re.match(r"\d+(:\d\d)+|\d{4}-\d", text) else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)
