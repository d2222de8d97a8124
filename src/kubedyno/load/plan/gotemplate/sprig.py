"""Sprig's functions: those that load templates use. An unknown one is an error at parse time, with its line."""

import base64
import binascii
import hashlib
import math
import os
import posixpath
import re
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.random import Random
from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import go_quote, show, to_json, type_name

RANDOM = Random()


def to_int(value: Any) -> int:
    """Return cast.ToInt64: anything that is no number is 0."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return int(value)
    if isinstance(value, str):
        text = value.strip()
        try:
            return (
                int(text, 0)
                if re.fullmatch(r"[+-]?(0[xXbBoO][0-9a-fA-F]+|0|[1-9]\d*)", text)
                else int(text.lstrip("0") or "0", 10)
            )
        except ValueError:
            return 0
    return 0


def to_float(value: Any) -> float:
    """Return cast.ToFloat64: anything that is no number is 0."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value) if isinstance(value, str) else 0.0
    except ValueError:
        return 0.0


def strval(value: Any) -> str:
    """Return a value's text."""
    return value if isinstance(value, str) else show(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise FunctionError(f"wrong type for value; expected string; got {type_name(value)}")
    return value


def _list(value: Any, name: str) -> list[Any]:
    if isinstance(value, list | tuple):
        return list(value)
    raise FunctionError(f"Cannot {name} on type {_go_kind(value)}")


def _go_kind(value: Any) -> str:
    return {"map[string]interface {}": "map", "[]interface {}": "slice", "<nil>": "invalid"}.get(
        type_name(value), type_name(value)
    )


def empty(value: Any) -> bool:
    """Say whether a value is its type's zero."""
    return not value


def _join(separator: Any, values: Any) -> str:
    items = values if isinstance(values, list | tuple) else [values]
    return str(separator).join(strval(item) for item in items if item is not None)


def _trunc(size: Any, text: Any) -> str:
    n, raw = to_int(size), _text(text).encode()
    if n < 0 and len(raw) + n > 0:
        return raw[len(raw) + n :].decode("utf-8", "replace")
    if 0 <= n < len(raw):
        return raw[:n].decode("utf-8", "replace")
    return _text(text)


def _substr(start: Any, end: Any, text: Any) -> str:
    raw, a, b = _text(text).encode(), to_int(start), to_int(end)
    if a < 0:
        return raw[: max(b, 0)].decode("utf-8", "replace")
    if b < 0 or b > len(raw):
        return raw[a:].decode("utf-8", "replace")
    return raw[a:b].decode("utf-8", "replace")


def _indent(size: Any, text: Any) -> str:
    pad = " " * to_int(size)
    return pad + _text(text).replace("\n", "\n" + pad)


def _title(text: Any) -> str:
    return re.sub(r"(^|[\s\-_.])(\w)", lambda m: m[1] + m[2].upper(), _text(text)) if text else ""


def _snake(text: Any) -> str:
    return _words(text, "_")


def _words(text: Any, joiner: str) -> str:
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])|([a-z0-9])([A-Z])|([A-Za-z])(\d)", _split_words, _text(text))
    spaced = re.sub(r"(\d)([A-Za-z])", r"\1_\2", spaced)
    return re.sub(r"[\s_\-]+", joiner, spaced).lower()


def _split_words(match: re.Match[str]) -> str:
    if match[1]:
        return f"{match[1]}_{match[2]}"
    if match[3]:
        return f"{match[3]}_{match[4]}"
    return f"{match[5]}_{match[6]}"


def _camel(text: Any) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[\s_\-]+", _text(text)) if part)


def _swapcase(text: Any) -> str:
    return _text(text).swapcase()


def _wrap(width: Any, text: Any, joiner: str = "\n") -> str:
    lines: list[str] = []
    line = ""
    for word in _text(text).split(" "):
        if line and len(line) + 1 + len(word) > to_int(width):
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    lines.append(line)
    return joiner.join(lines)


def _abbrev(width: Any, text: Any) -> str:
    n, source = to_int(width), _text(text)
    if n < 4 or len(source) <= n:
        return source
    return source[: n - 3] + "..."


def _random(characters: str) -> Callable[[Any], str]:
    return lambda size: "".join(RANDOM.choices(characters, k=max(0, to_int(size))))


_UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_LOWER = _UPPER.lower()
_DIGITS = "0123456789"
_ASCII = "".join(chr(code) for code in range(32, 127))


def _until(count: Any) -> list[int]:
    n = to_int(count)
    return list(range(0, n, 1 if n >= 0 else -1))


def _until_step(start: Any, stop: Any, step: Any) -> list[int]:
    a, b, c = to_int(start), to_int(stop), to_int(step)
    if c == 0 or (b < a and c >= 0) or (b >= a and c <= 0):
        return []
    return list(range(a, b, c))


def _seq(*bounds: Any) -> str:
    numbers = [to_int(b) for b in bounds]
    if len(numbers) == 1:
        start, step, stop = 1, 1 if numbers[0] >= 1 else -1, numbers[0]
    elif len(numbers) == 2:
        start, stop = numbers
        step = 1 if stop >= start else -1
    elif len(numbers) == 3:
        start, step, stop = numbers
        if step == 0 or (stop < start) != (step < 0):
            return ""
    else:
        return ""
    return " ".join(str(n) for n in range(start, stop + (1 if step > 0 else -1), step))


def _truncated_division(a: int, b: int) -> int:
    if b == 0:
        raise FunctionError("runtime error: integer divide by zero")
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _mod(a: Any, b: Any) -> int:
    x, y = to_int(a), to_int(b)
    return x - y * _truncated_division(x, y)


def _int64(value: int) -> int:
    """Wrap around as Go's int64 does."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def _product(*values: Any) -> int:
    result = 1
    for value in values:
        result = _int64(result * to_int(value))
    return result


def _round(value: Any, places: Any, threshold: Any = 0.5) -> float:
    number, power = to_float(value), 10.0 ** to_int(places)
    digit = number * power
    fraction, whole = math.modf(digit)
    del whole
    return (math.ceil(digit) if fraction >= to_float(threshold) else math.floor(digit)) / power


def _decimal(a: Any, *others: Any, operation: str) -> float:
    from decimal import Decimal  # noqa: PLC0415 - rare

    result = Decimal(repr(to_float(a)))
    for other in others:
        value = Decimal(repr(to_float(other)))
        if operation == "+":
            result += value
        elif operation == "-":
            result -= value
        elif operation == "*":
            result *= value
        else:
            if value == 0:
                raise FunctionError("decimal division by 0")
            result /= value
    return float(result)


def _dict(*pairs: Any) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for position in range(0, len(pairs), 2):
        key = strval(pairs[position])
        result[key] = pairs[position + 1] if position + 1 < len(pairs) else ""
    return result


def _mapping(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise FunctionError(f"wrong type for value; expected map[string]interface {{}}; got {type_name(value)}")


def _set(mapping: Any, key: Any, value: Any) -> dict[str, Any]:
    place = _mapping(mapping)
    place[_text(key)] = value
    return place


def _unset(mapping: Any, key: Any) -> dict[str, Any]:
    place = _mapping(mapping)
    place.pop(key, None)
    return place


def _merge(target: Any, *sources: Any, overwrite: bool = False) -> dict[str, Any]:
    place = _mapping(target)
    for source in sources:
        for key, value in _mapping(source).items():
            if key in place and isinstance(place[key], dict) and isinstance(value, dict):
                _merge(place[key], value, overwrite=overwrite)
            elif (overwrite and not empty(value)) or key not in place or empty(place[key]):
                place[key] = value
    return place


def _dig(*arguments: Any) -> Any:
    if len(arguments) < 3:
        raise FunctionError("dig needs at least three arguments")
    *keys, default, place = arguments
    for key in keys:
        if not isinstance(place, dict) or key not in place:
            return default
        place = place[key]
    return place


def _uniq(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in _list(values, "uniq"):
        if value not in found:
            found.append(value)
    return found


def _slice(values: Any, *bounds: Any) -> list[Any]:
    items = _list(values, "slice")
    if not items:
        return []
    start = to_int(bounds[0]) if bounds else 0
    end = to_int(bounds[1]) if len(bounds) > 1 else len(items)
    if start < 0 or end > len(items) or start > end:
        raise FunctionError("runtime error: slice bounds out of range")
    return items[start:end]


def _chunk(size: Any, values: Any) -> list[list[Any]]:
    items, n = _list(values, "chunk"), to_int(size)
    return [items[i : i + n] for i in range(0, len(items), n)]


def _regex(pattern: Any) -> re.Pattern[str]:
    try:
        return re.compile(_text(pattern))
    except re.error as error:
        raise FunctionError(f"error parsing regexp: {error}") from error


def _replacement(text: str) -> Callable[[re.Match[str]], str]:
    """Return what replaces a match: Go's $1 and ${name}, "" for a group that is not there."""

    def group(match: re.Match[str], name: str) -> str:
        try:
            return match[int(name) if name.isdigit() else name] or ""
        except IndexError:
            return ""

    return lambda match: re.sub(
        r"\$\{(\w+)\}|\$(\w+)|(\$\$)", lambda m: "$" if m[3] else group(match, m[1] or m[2]), text
    )


def _regex_match(pattern: Any, text: Any) -> bool:
    try:
        return _regex(pattern).search(_text(text)) is not None
    except FunctionError:
        return False


def _default(fallback: Any, *given: Any) -> Any:
    value = given[0] if given else None
    return fallback if empty(value) else value


def _ternary(yes: Any, no: Any, test: Any) -> Any:
    if not isinstance(test, bool):
        raise FunctionError(f"wrong type for value; expected bool; got {type_name(test)}")
    return yes if test else no


def _from_json(text: Any) -> Any:
    try:
        return _go_numbers(orjson.loads(_text(text)))
    except orjson.JSONDecodeError:
        return None


def _go_numbers(value: Any) -> Any:
    """encoding/json makes every number a float64."""
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dict):
        return {key: _go_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_go_numbers(item) for item in value]
    return value


def _must_from_json(text: Any) -> Any:
    try:
        return _go_numbers(orjson.loads(_text(text)))
    except orjson.JSONDecodeError as error:
        raise FunctionError(str(error)) from error


def _b64dec(text: Any) -> str:
    try:
        return base64.b64decode(_text(text), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError) as error:
        position = next((i for i, c in enumerate(_text(text)) if not (c.isalnum() or c in "+/=")), len(text))
        del error
        return f"illegal base64 data at input byte {position}"


def _b32dec(text: Any) -> str:
    try:
        return base64.b32decode(_text(text)).decode("utf-8", "replace")
    except binascii.Error as error:
        return str(error)


def _fail(message: Any) -> None:
    raise FunctionError(strval(message))


_LAYOUT = (
    ("2006", "%Y"), ("January", "%B"), ("Jan", "%b"), ("01", "%m"), ("Monday", "%A"), ("Mon", "%a"), ("02", "%d"),
    ("15", "%H"), ("03", "%I"), ("04", "%M"), ("05", "%S"), ("PM", "%p"), ("MST", "%Z"), ("-0700", "%z"), ("06", "%y"),
)  # fmt: skip


def _date(layout: Any, moment: Any) -> str:
    if isinstance(moment, datetime):
        when = moment
    elif isinstance(moment, int | float) and not isinstance(moment, bool):
        when = datetime.fromtimestamp(moment, UTC)
    else:
        when = datetime.fromtimestamp(SYSTEM_CLOCK.now(), UTC)
    pattern = str(layout).replace("Z07:00", "Z")
    for go, python in _LAYOUT:
        pattern = pattern.replace(go, python)
    return when.strftime(pattern)


def _semver_key(text: str) -> tuple[Any, ...]:
    match = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([\w.-]+))?", text)
    if match is None:
        raise FunctionError("Invalid Semantic Version")
    pre = match[4]
    numbers = tuple(int(match[i] or 0) for i in (1, 2, 3))
    return (*numbers, pre is None, pre or "")


def _semver_compare(constraint: Any, version: Any) -> bool:
    actual = _semver_key(_text(version))
    for part in re.split(r"[,\s]+(?=[<>=!~^\d])", _text(constraint).strip()):
        match = re.match(r"(>=|<=|!=|>|<|=|~|\^)?\s*(.+)", part)
        assert match is not None
        operator, wanted = match[1] or "=", _semver_key(match[2])
        if operator in {"~", "^"}:
            upper = (wanted[0], wanted[1] + 1, 0) if operator == "~" or wanted[0] == 0 else (wanted[0] + 1, 0, 0)
            if not wanted <= actual or actual[:3] >= upper:
                return False
        elif not {
            ">=": actual >= wanted, "<=": actual <= wanted, "!=": actual != wanted, ">": actual > wanted,
            "<": actual < wanted, "=": actual == wanted,
        }[operator]:  # fmt: skip
            return False
    return True


def _max(*values: Any) -> int:
    return max(to_int(value) for value in values)


def _plural(one: Any, many: Any, count: Any) -> Any:
    return one if to_int(count) == 1 else many


def _split(separator: Any, text: Any) -> dict[str, str]:
    return {f"_{i}": part for i, part in enumerate(_text(text).split(str(separator)))}


def _splitn(separator: Any, count: Any, text: Any) -> dict[str, str]:
    return {f"_{i}": part for i, part in enumerate(_text(text).split(str(separator), to_int(count) - 1))}


def _strings(values: Any) -> list[str]:
    return [strval(value) for value in values] if isinstance(values, list | tuple) else [strval(values)]


def _pluck(key: Any, *mappings: Any) -> list[Any]:
    return [mapping[key] for mapping in mappings if key in _mapping(mapping)]


def _has(needle: Any, values: Any) -> bool:
    if values is None:
        return False
    return needle in _list(values, "find has")


def _trim_prefix(prefix: Any, text: Any) -> str:
    return _text(text).removeprefix(_text(prefix))


SPRIG: dict[str, Callable[..., Any]] = {
    # strings
    "trim": lambda t: _text(t).strip(),
    "trimAll": lambda c, t: _text(t).strip(c),
    "trimall": lambda c, t: _text(t).strip(c),
    "trimPrefix": _trim_prefix,
    "trimSuffix": lambda s, t: _text(t).removesuffix(_text(s)),
    "upper": lambda t: _text(t).upper(),
    "lower": lambda t: _text(t).lower(),
    "title": _title,
    "untitle": lambda t: re.sub(r"(^|\s)(\w)", lambda m: m[1] + m[2].lower(), _text(t)),
    "repeat": lambda n, t: _text(t) * max(0, to_int(n)),
    "substr": _substr,
    "trunc": _trunc,
    "abbrev": _abbrev,
    "initials": lambda t: "".join(word[0] for word in _text(t).split()),
    "contains": lambda a, b: _text(a) in _text(b),
    "hasPrefix": lambda a, b: _text(b).startswith(_text(a)),
    "hasSuffix": lambda a, b: _text(b).endswith(_text(a)),
    "quote": lambda *v: " ".join(go_quote(strval(x)) for x in v if x is not None),
    "squote": lambda *v: " ".join(f"'{strval(x)}'" for x in v if x is not None),
    "cat": lambda *v: " ".join(show(x) for x in v if x is not None),
    "indent": _indent,
    "nindent": lambda n, t: "\n" + _indent(n, t),
    "replace": lambda a, b, t: _text(t).replace(_text(a), _text(b)),
    "plural": _plural,
    "snakecase": _snake,
    "kebabcase": lambda t: _words(t, "-"),
    "camelcase": _camel,
    "swapcase": _swapcase,
    "nospace": lambda t: re.sub(r"\s+", "", _text(t)),
    "wrap": _wrap,
    "wrapWith": lambda n, j, t: _wrap(n, t, j),
    "join": _join,
    "split": _split,
    "splitn": _splitn,
    "splitList": lambda s, t: _text(t).split(_text(s)) if s else list(_text(t)),
    "toStrings": _strings,
    "toString": strval,
    "sortAlpha": lambda v: sorted(_strings(v)),
    "randAlphaNum": _random(_UPPER + _LOWER + _DIGITS),
    "randAlpha": _random(_UPPER + _LOWER),
    "randNumeric": _random(_DIGITS),
    "randAscii": _random(_ASCII),
    "randInt": lambda a, b: RANDOM.randrange(to_int(a), to_int(b)),
    "uuidv4": lambda: RANDOM.uid(),
    # numbers
    "add": lambda *v: _int64(sum(to_int(x) for x in v)),
    "add1": lambda v: _int64(to_int(v) + 1),
    "sub": lambda a, b: _int64(to_int(a) - to_int(b)),
    "mul": lambda a, *v: _product(a, *v),
    "div": lambda a, b: _truncated_division(to_int(a), to_int(b)),
    "mod": _mod,
    "max": _max,
    "biggest": _max,
    "min": lambda *v: min(to_int(x) for x in v),
    "maxf": lambda *v: max(to_float(x) for x in v),
    "minf": lambda *v: min(to_float(x) for x in v),
    "addf": lambda *v: _decimal(0.0, *v, operation="+"),
    "add1f": lambda v: _decimal(v, 1.0, operation="+"),
    "subf": lambda a, *v: _decimal(a, *v, operation="-"),
    "mulf": lambda a, *v: _decimal(a, *v, operation="*"),
    "divf": lambda a, *v: _decimal(a, *v, operation="/"),
    "ceil": lambda v: float(math.ceil(to_float(v))),
    "floor": lambda v: float(math.floor(to_float(v))),
    "round": _round,
    "int": to_int,
    "int64": to_int,
    "float64": to_float,
    "atoi": lambda t: to_int(t) if re.fullmatch(r"[+-]?\d+", _text(t)) else 0,
    "toDecimal": lambda v: int(strval(v), 8) if re.fullmatch(r"[0-7]+", strval(v)) else 0,
    "until": _until,
    "untilStep": _until_step,
    "seq": _seq,
    # lists
    "list": lambda *v: list(v),
    "tuple": lambda *v: list(v),
    "first": lambda v: next(iter(_list(v, "find first")), None),
    "last": lambda v: (_list(v, "find last") or [None])[-1],
    "rest": lambda v: _list(v, "find rest")[1:],
    "initial": lambda v: _list(v, "find initial")[:-1],
    "append": lambda v, x: [*_list(v, "push"), x],
    "push": lambda v, x: [*_list(v, "push"), x],
    "prepend": lambda v, x: [x, *_list(v, "prepend")],
    "concat": lambda *v: [x for items in v for x in _list(items, "concat")],
    "reverse": lambda v: _list(v, "find reverse")[::-1],
    "uniq": _uniq,
    "without": lambda v, *x: [item for item in _list(v, "find without") if item not in x],
    "has": _has,
    "compact": lambda v: [item for item in _list(v, "compact") if not empty(item)],
    "slice": _slice,
    "mustSlice": _slice,
    "chunk": _chunk,
    # dictionaries
    "dict": _dict,
    "get": lambda m, k: _mapping(m).get(k, ""),
    "set": _set,
    "unset": _unset,
    "hasKey": lambda m, k: k in _mapping(m),
    "pluck": _pluck,
    "keys": lambda *m: [k for mapping in m for k in _mapping(mapping)],
    "values": lambda m: list(_mapping(m).values()),
    "pick": lambda m, *k: {key: value for key, value in _mapping(m).items() if key in k},
    "omit": lambda m, *k: {key: value for key, value in _mapping(m).items() if key not in k},
    "merge": _merge,
    "mergeOverwrite": lambda t, *s: _merge(t, *s, overwrite=True),
    "deepCopy": lambda v: orjson.loads(orjson.dumps(v)),
    "dig": _dig,
    # defaults and logic
    "default": _default,
    "empty": empty,
    "coalesce": lambda *v: next((x for x in v if not empty(x)), None),
    "all": lambda *v: not any(empty(x) for x in v),
    "any": lambda *v: any(not empty(x) for x in v),
    "ternary": _ternary,
    "fail": _fail,
    # types
    "kindOf": _go_kind,
    "kindIs": lambda k, v: _go_kind(v) == k,
    "typeOf": type_name,
    "typeIs": lambda t, v: type_name(v) == t,
    "typeIsLike": lambda t, v: type_name(v) in {t, f"*{t}"},
    "deepEqual": lambda a, b: a == b,
    # encodings
    "toJson": to_json,
    "mustToJson": to_json,
    "toPrettyJson": lambda v: to_json(v, indent=True),
    "mustToPrettyJson": lambda v: to_json(v, indent=True),
    "toRawJson": lambda v: to_json(v, escape_html=False),
    "mustToRawJson": lambda v: to_json(v, escape_html=False),
    "fromJson": _from_json,
    "mustFromJson": _must_from_json,
    "b64enc": lambda t: base64.b64encode(_text(t).encode()).decode(),
    "b64dec": _b64dec,
    "b32enc": lambda t: base64.b32encode(_text(t).encode()).decode(),
    "b32dec": _b32dec,
    "sha1sum": lambda t: hashlib.sha1(_text(t).encode()).hexdigest(),  # noqa: S324 - a checksum
    "sha256sum": lambda t: hashlib.sha256(_text(t).encode()).hexdigest(),
    "sha512sum": lambda t: hashlib.sha512(_text(t).encode()).hexdigest(),
    "adler32sum": lambda t: str(zlib.adler32(_text(t).encode())),
    # regular expressions
    "regexMatch": _regex_match,
    "mustRegexMatch": lambda p, t: _regex(p).search(_text(t)) is not None,
    "regexFind": lambda p, t: m[0] if (m := _regex(p).search(_text(t))) else "",
    "regexFindAll": lambda p, t, n: [m[0] for m in _regex(p).finditer(_text(t))][
        : None if to_int(n) < 0 else to_int(n)
    ],
    "regexReplaceAll": lambda p, t, r: _regex(p).sub(_replacement(_text(r)), _text(t)),
    "regexReplaceAllLiteral": lambda p, t, r: _regex(p).sub(lambda _m: _text(r), _text(t)),
    "regexSplit": lambda p, t, n: _regex(p).split(_text(t), 0 if to_int(n) < 0 else max(0, to_int(n) - 1)),
    "regexQuoteMeta": lambda t: re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", _text(t)),
    # dates, versions, paths, environment
    "now": lambda: datetime.fromtimestamp(SYSTEM_CLOCK.now(), UTC),
    "date": _date,
    "htmlDate": lambda v: _date("2006-01-02", v),
    "unixEpoch": lambda v: str(int(v.timestamp())),
    "semverCompare": _semver_compare,
    "base": lambda t: posixpath.basename(_text(t).rstrip("/")) or ("/" if t else "."),
    "dir": lambda t: posixpath.dirname(_text(t)) or ".",
    "ext": lambda t: posixpath.splitext(_text(t))[1],
    "clean": lambda t: posixpath.normpath(_text(t)) if t else ".",
    "isAbs": lambda t: _text(t).startswith("/"),
    "osBase": lambda t: posixpath.basename(_text(t).rstrip("/")) or ("/" if t else "."),
    "osDir": lambda t: posixpath.dirname(_text(t)) or ".",
    "osExt": lambda t: posixpath.splitext(_text(t))[1],
    "osClean": lambda t: posixpath.normpath(_text(t)) if t else ".",
    "osIsAbs": lambda t: _text(t).startswith("/"),
    "env": lambda t: os.environ.get(_text(t), ""),
    "expandenv": lambda t: os.path.expandvars(_text(t)),
    "hello": lambda: "Hello!",
}
for _name in (
    "first",
    "last",
    "rest",
    "initial",
    "append",
    "push",
    "prepend",
    "reverse",
    "uniq",
    "without",
    "has",
    "compact",
    "chunk",
):
    SPRIG["must" + _name[0].upper() + _name[1:]] = SPRIG[_name]
for _name in (
    "regexFind",
    "regexFindAll",
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "regexSplit",
    "merge",
    "mergeOverwrite",
    "deepCopy",
):
    SPRIG["must" + _name[0].upper() + _name[1:]] = SPRIG[_name]
