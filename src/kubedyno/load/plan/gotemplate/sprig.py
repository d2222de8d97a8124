"""Sprig's functions: those that load templates use. An unknown one is an error at parse time, with its line."""

import base64
import binascii
import copy
import hashlib
import math
import os
import posixpath
import re
import socket
import zlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import cache
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from kubedyno.base.random import Random
from kubedyno.base.times import duration_ns_of, go_duration
from kubedyno.load.plan.gotemplate import ciphers, gojson, gotime
from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import Int64, go_quote, show, to_json, type_name
from kubedyno.load.plan.gotemplate.gotime import GoTime
from kubedyno.load.plan.gotemplate.semver import Version, matches

RANDOM = Random()


def to_int(value: Any) -> int:
    """Return cast.ToInt64: anything that is no number is 0."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return int(value) if -(2.0**63) <= value < 2.0**63 else -(1 << 63)
    if isinstance(value, int):
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
    if name == "concat":
        raise FunctionError(f"Cannot concat type {_go_kind(value)} as list")
    if name == "slice":
        raise FunctionError(f"list should be type of slice or array but {_go_kind(value)}")
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
    first = max(a, 0)
    last = b if a < 0 or 0 <= b <= len(raw) else len(raw)
    if last > len(raw) or last < 0:
        raise FunctionError(
            f"runtime error: slice bounds out of range [:{last}]" + f" with length {len(raw)}" * (last > 0)
        )
    if first > last:
        raise FunctionError(f"runtime error: slice bounds out of range [{first}:{last}]")
    return raw[first:last].decode("utf-8", "replace")


def _indent(size: Any, text: Any) -> str:
    pad = _repeat(size, " ")
    return pad + _text(text).replace("\n", "\n" + pad)


def _title(text: Any) -> str:
    """Put the first letter of each word in title case; a word begins after anything but a letter, digit or underscore."""
    out: list[str] = []
    before = " "
    for char in _text(text):
        begins = not (before.isalnum() or before == "_") if before < "\x80" or before.isalnum() else before.isspace()
        out.append(char.title() if begins else char)
        before = char
    return "".join(out)


def _snake(text: Any) -> str:
    return _words(text, "_")


def _words(text: Any, joiner: str) -> str:
    spaced = re.sub(
        r"([A-Z]+)([A-Z][a-z])|([a-z0-9])([A-Z])|([A-Za-z])(\d+[a-z])|([A-Z]{2,})(\d+)", _split_words, _text(text)
    )
    return re.sub(r"[\s_\-]+", joiner, spaced).lower()


def _split_words(match: re.Match[str]) -> str:
    if match[1]:
        return f"{match[1]}_{match[2]}"
    if match[3]:
        return f"{match[3]}_{match[4]}"
    if match[5]:
        return f"{match[5]}_{match[6]}"
    return f"{match[7]}_{match[8]}"


def _camel(text: Any) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[\s_\-]+", _text(text)) if part)


def _swapcase(text: Any) -> str:
    return _text(text).swapcase()


def _wrap(width: Any, text: Any, joiner: str = "\n", *, cuts: bool = False) -> str:
    """Break a text at spaces into lines of at most `width` bytes; a longer word stays whole unless `cuts`."""
    rest, size = _text(text).encode(), max(1, to_int(width))
    lines: list[bytes] = []
    while len(rest) > size:
        if rest.startswith(b" "):
            rest = rest[1:]
            continue
        at = rest.rfind(b" ", 0, size + 1)
        if at < 0 and not cuts:
            at = rest.find(b" ", size)
            if at < 0:
                break
        lines.append(rest[: at if at >= 0 else size])
        rest = rest[at + 1 if at >= 0 else size :]
    return (joiner or "\n").join(line.decode("utf-8", "replace") for line in [*lines, rest])


def _abbrev(width: Any, text: Any) -> str:
    n, source = to_int(width), _text(text)
    if n < 4 or len(source) <= n:
        return source
    return source[: n - 3] + "..."


def _abbrev_both(left: Any, right: Any, text: Any) -> str:
    offset, width, source = to_int(left), to_int(right), _text(text)
    if width < 4 or (offset > 0 and width < 7) or len(source) <= width:
        return source
    offset = min(offset, len(source) - (width - 3))
    if offset <= 4:
        return source[: width - 3] + "..."
    if offset + width - 3 < len(source):
        return "..." + _abbrev(width - 3, source[offset:])
    return "..." + source[len(source) - (width - 3) :]


def _repeat(count: Any, text: Any) -> str:
    if to_int(count) < 0:
        raise FunctionError("strings: negative Repeat count")
    return _text(text) * to_int(count)


def _random_int(least: Any, bound: Any) -> int:
    if to_int(bound) <= to_int(least):
        raise FunctionError("invalid argument to Intn")
    return RANDOM.randrange(to_int(least), to_int(bound))


def _expanded(text: Any) -> str:
    """Put in environment variables, $A or ${A}; those that are not set are empty."""
    return re.sub(
        r"\$(?:\{([^}]*)\}|([A-Za-z0-9_]+))", lambda m: os.environ.get(m[1] if m[2] is None else m[2], ""), _text(text)
    )


def _address(name: Any) -> str:
    """Return one of the addresses that a name resolves to."""
    try:
        found = sorted({str(entry[4][0]) for entry in socket.getaddrinfo(_text(name) or None, None)}) if name else []
    except OSError:
        found = []
    if not found:
        raise FunctionError("invalid argument to Intn")
    return RANDOM.choice(found)


def same(a: Any, b: Any) -> bool:
    """Say what reflect.DeepEqual says: values of different types differ, 1 and 1.0 or true among them."""
    if type_name(a) != type_name(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _among(value: Any, others: Iterable[Any]) -> bool:
    return any(same(value, other) for other in others)


def _shuffle(text: Any) -> str:
    letters = list(_text(text))
    RANDOM.shuffle(letters)
    return "".join(letters)


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
    return Int64(quotient if (a < 0) == (b < 0) else -quotient)


def _mod(a: Any, b: Any) -> int:
    x, y = to_int(a), to_int(b)
    return Int64(x - y * _truncated_division(x, y))


def _int64(value: int) -> int:
    """Wrap around as Go's int64 does."""
    return Int64(value if -(1 << 63) <= value < 1 << 63 else (value + (1 << 63)) % (1 << 64) - (1 << 63))


def _product(*values: Any) -> int:
    result = 1
    for value in values:
        result = _int64(result * to_int(value))
    return _int64(result)


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
            elif overwrite or key not in place or empty(place[key]):
                place[key] = value
    return place


def _dig(*arguments: Any) -> Any:
    if len(arguments) < 3:
        raise FunctionError("dig needs at least three arguments")
    *keys, default, place = arguments
    for key in keys:
        if not isinstance(place, dict):
            kind = "nil" if place is None else type_name(place)
            raise FunctionError(f"interface conversion: interface {{}} is {kind}, not map[string]interface {{}}")
        if not isinstance(key, str):
            raise FunctionError(f"interface conversion: interface {{}} is {type_name(key)}, not string")
        if key not in place:
            return default
        place = place[key]
    return place


def _uniq(values: Any) -> list[Any]:
    found: list[Any] = []
    for value in _list(values, "uniq"):
        if not _among(value, found):
            found.append(value)
    return found


def _slice(values: Any, *bounds: Any) -> list[Any]:
    items = _list(values, "slice")
    if not items:
        return []
    start = to_int(bounds[0]) if bounds else 0
    end = to_int(bounds[1]) if len(bounds) > 1 else len(items)
    if start < 0 or end > len(items) or start > end:
        raise FunctionError("reflect.Value.Slice: slice index out of bounds")
    return items[start:end]


def _chunk(size: Any, values: Any) -> list[list[Any]]:
    items, n = _list(values, "chunk"), to_int(size)
    if n <= 0:
        raise FunctionError("runtime error: makeslice: len out of range")
    return [items[i : i + n] for i in range(0, len(items), n)]


_MOST_REPEATS = 1000
_UNSUPPORTED = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(\(\?(?:<?[=!]|>|#|\(|R|&))|(\(\?P[=>])|\{(\d+)(?:,(\d*))?\}", re.DOTALL
)


def _regex(pattern: Any) -> re.Pattern[str]:
    """Return a compiled expression; what RE2 does not have is refused as Go does."""
    text = _text(pattern)
    for found in _UNSUPPORTED.finditer(text):
        if found[1] or found[2]:
            raise FunctionError(
                f"error parsing regexp: invalid or unsupported Perl syntax: `{(found[1] or found[2])[:3]}`"
            )
        if found[3] and (
            int(found[3]) > _MOST_REPEATS or (found[4] and not int(found[3]) <= int(found[4]) <= _MOST_REPEATS)
        ):
            raise FunctionError(f"error parsing regexp: invalid repeat count: `{found[0]}`")
        if re.match(r"\\[1-9]", found[0]):
            raise FunctionError(f"error parsing regexp: invalid escape sequence: `{found[0]}`")
    # Python's $ also matches before a last newline, Go's does not.
    ours = re.sub(r"\\z", r"\\Z", re.sub(r"\(\?<(?![=!])", "(?P<", text))
    try:
        return _compiled(ours)
    except re.error as error:
        raise FunctionError(f"error parsing regexp: {_complaint(text, error)}") from error


@cache
def _compiled(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _complaint(text: str, error: re.error) -> str:
    said = error.msg
    if "unterminated subpattern" in said:
        return f"missing closing ): `{text}`"
    if "unbalanced parenthesis" in said:
        return f"unexpected ): `{text}`"
    if "unterminated character set" in said:
        return f"missing closing ]: `{text[error.pos or 0 :]}`"
    if "multiple repeat" in said:
        nested = re.search(r"(?:[*+?]|\{\d+(?:,\d*)?\})(?=[*+?{])(?:[*+?]\??|\{[^}]*\})", text)
        return f"invalid nested repetition operator: `{nested[0] if nested else text}`"
    if "nothing to repeat" in said or "multiple repeat" in said:
        return f"missing argument to repetition operator: `{text[error.pos or 0 : (error.pos or 0) + 1]}`"
    if "bad character range" in said:
        return f"invalid character class range: `{said.rpartition(' ')[2]}`"
    if "bad escape (end of pattern)" in said:
        return "trailing backslash at end of expression: ``"
    if "bad escape" in said:
        return f"invalid escape sequence: `{said.rpartition(' ')[2]}`"
    return f"{said}: `{text}`"


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
        return gojson.decode(_text(text))
    except FunctionError:
        return None


def _must_from_json(text: Any) -> Any:
    return gojson.decode(_text(text))


def _illegal_byte(text: str, alphabet: str, quantum: int) -> int:
    """Return where Go's decoder stops: at what is no digit, or at the beginning of a last group that is too short."""
    body = text.replace("\n", "").replace("\r", "")
    for place, char in enumerate(body.rstrip("=")):
        if char not in alphabet:
            return place
    return len(body) // quantum * quantum


def _b64dec(text: Any) -> str:
    try:
        return base64.b64decode(_text(text), validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return f"illegal base64 data at input byte {_illegal_byte(text, _UPPER + _LOWER + _DIGITS + '+/', 4)}"


def _b32dec(text: Any) -> str:
    try:
        return base64.b32decode(_text(text)).decode("utf-8", "replace")
    except binascii.Error:
        return f"illegal base32 data at input byte {_illegal_byte(text, _UPPER + '234567', 8)}"


def _fail(message: Any) -> None:
    raise FunctionError(strval(message))


def _date_in_zone(layout: Any, moment: Any, name: Any) -> str:
    return GoTime(gotime.of(moment).moment.astimezone(gotime.zone(str(name)))).format(str(layout))


def _to_date(layout: Any, text: Any) -> GoTime:
    try:
        return gotime.parse(layout, text)
    except FunctionError:
        return gotime.ZERO


def _must_date_modify(change: Any, moment: GoTime) -> GoTime:
    try:
        return GoTime(moment.moment + timedelta(microseconds=duration_ns_of(change) / 1000))
    except ValueError as error:
        raise FunctionError(str(error)) from error


def _date_modify(change: Any, moment: GoTime) -> GoTime:
    try:
        return _must_date_modify(change, moment)
    except FunctionError:
        return moment


def _duration(seconds: Any) -> str:
    count = 0
    if isinstance(seconds, Int64):
        count = seconds
    elif isinstance(seconds, str) and re.fullmatch(r"[+-]?\d+", seconds):
        count = int(seconds)
    return go_duration(count * 10**9)


def _duration_round(value: Any) -> str:
    nanoseconds = 0
    if isinstance(value, GoTime):
        nanoseconds = int((gotime.now().moment - value.moment).total_seconds() * 1e9)
    elif isinstance(value, Int64):
        nanoseconds = value
    elif isinstance(value, str):
        try:
            nanoseconds = duration_ns_of(value)
        except ValueError:
            nanoseconds = 0
    return gotime.rounded(nanoseconds)


def _ago(value: Any) -> str:
    seconds = (gotime.now().moment - gotime.of(value).moment).total_seconds()
    return go_duration(round(seconds) * 10**9)


def _url_parse(text: Any) -> dict[str, Any]:
    if _text(text).startswith(":"):
        raise FunctionError(f"unable to parse url: parse {go_quote(text)}: missing protocol scheme")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        what = "missing ']' in host" if "[" in text else str(error)
        raise FunctionError(f'unable to parse url: parse "{text}": {what}') from error
    for part in (parts.path, parts.fragment):
        if wrong := re.search(r"%(?![0-9a-fA-F]{2}).{0,2}", part):
            raise FunctionError(f"unable to parse url: parse {go_quote(text)}: invalid URL escape {go_quote(wrong[0])}")
    host = parts.netloc.rpartition("@")[2]
    is_opaque = bool(parts.scheme) and not parts.netloc and not parts.path.startswith("/")
    return {
        "scheme": parts.scheme,
        "host": host,
        "hostname": re.sub(r":\d*$", "", host).strip("[]"),
        "path": "" if is_opaque else unquote(parts.path),
        "query": parts.query,
        "opaque": parts.path if is_opaque else "",
        "fragment": unquote(parts.fragment),
        "userinfo": parts.netloc.rpartition("@")[0],
    }


def _url_join(parts: dict[str, Any]) -> str:
    def part(name: str) -> str:
        value = parts.get(name, "")
        if not isinstance(value, str):
            raise FunctionError(f"unable to parse {name} key, must be of type string, but {type_name(value)} found")
        return value

    scheme, host, user = part("scheme"), part("host"), part("userinfo")
    text = f"{scheme}:" if scheme else ""
    if part("opaque"):
        text += part("opaque")
    else:
        if host or user:
            text += f"//{user}@{host}" if user else f"//{host}"
        path = part("path")
        text += ("/" if path and not path.startswith("/") and host else "") + quote(path, safe="/:@&=+$,;!*'()~")
    return text + (f"?{part('query')}" if part("query") else "") + (f"#{part('fragment')}" if part("fragment") else "")


def _max(*values: Any) -> int:
    return Int64(max(to_int(value) for value in values))


def _plural(one: Any, many: Any, count: Any) -> Any:
    return one if to_int(count) == 1 else many


def _split(separator: Any, text: Any) -> dict[str, str]:
    parts = _text(text).split(str(separator)) if separator else list(_text(text))
    return {f"_{i}": part for i, part in enumerate(parts)}


def _splitn(separator: Any, count: Any, text: Any) -> dict[str, str]:
    parts = _text(text).split(str(separator), to_int(count) - 1) if to_int(count) else []
    return {f"_{i}": part for i, part in enumerate(parts)}


def _regex_split(pattern: Any, text: Any, count: Any) -> list[str]:
    most = to_int(count)
    if most == 0:
        return []
    return [_text(text)] if most == 1 else _regex(pattern).split(_text(text), max(0, most - 1))


def _extension(path: Any) -> str:
    name = _text(path).rpartition("/")[2]
    return name[name.rindex(".") :] if "." in name else ""


def _clean(path: Any) -> str:
    found = posixpath.normpath(_text(path)) if path else "."
    return found[1:] if found.startswith("//") else found


def _strings(values: Any) -> list[str]:
    if isinstance(values, list | tuple):
        return [strval(value) for value in values if value is not None]
    return [] if values is None else [strval(values)]


def _pluck(key: Any, *mappings: Any) -> list[Any]:
    return [mapping[key] for mapping in mappings if key in _mapping(mapping)]


def _has(needle: Any, values: Any) -> bool:
    if values is None:
        return False
    return _among(needle, _list(values, "find has"))


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
    "repeat": _repeat,
    "substr": _substr,
    "trunc": _trunc,
    "abbrev": _abbrev,
    "abbrevboth": _abbrev_both,
    "shuffle": _shuffle,
    "randBytes": lambda size: base64.b64encode(RANDOM.randbytes(max(0, to_int(size)))).decode(),
    "initials": lambda t: "".join(chr(word.encode()[0]) for word in t.split()),
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
    # The original goes byte by byte, and takes each for a character.
    "nospace": lambda t: "".join(chr(b) for b in t.encode() if not chr(b).isspace()),
    "wrap": _wrap,
    "wrapWith": lambda n, j, t: _wrap(n, t, j, cuts=True),
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
    "randInt": _random_int,
    "uuidv4": RANDOM.uid,
    # numbers
    "add": lambda *v: _int64(sum(to_int(x) for x in v)),
    "add1": lambda v: _int64(to_int(v) + 1),
    "sub": lambda a, b: _int64(to_int(a) - to_int(b)),
    "mul": _product,
    "div": lambda a, b: _truncated_division(to_int(a), to_int(b)),
    "mod": _mod,
    "max": _max,
    "biggest": _max,
    "min": lambda *v: Int64(min(to_int(x) for x in v)),
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
    "int64": lambda v: Int64(to_int(v)),
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
    "without": lambda v, *x: [item for item in _list(v, "find without") if not _among(item, x)],
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
    "deepCopy": copy.deepcopy,
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
    "deepEqual": same,
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
    "regexSplit": _regex_split,
    "regexQuoteMeta": lambda t: re.sub(r"([\\.+*?()|\[\]{}^$])", r"\\\1", _text(t)),
    # dates, versions, paths, environment
    "now": gotime.now,
    "date": lambda layout, moment: _date_in_zone(layout, moment, "Local"),
    "dateInZone": _date_in_zone,
    "date_in_zone": _date_in_zone,
    "htmlDate": lambda moment: _date_in_zone("2006-01-02", moment, "Local"),
    "htmlDateInZone": lambda moment, name: _date_in_zone("2006-01-02", moment, name),
    "toDate": _to_date,
    "mustToDate": gotime.parse,
    "dateModify": _date_modify,
    "date_modify": _date_modify,
    "mustDateModify": _must_date_modify,
    "must_date_modify": _must_date_modify,
    "duration": _duration,
    "durationRound": _duration_round,
    "ago": _ago,
    "unixEpoch": lambda t: str(int(t.moment.timestamp())),
    "semver": Version,
    "semverCompare": matches,
    "urlParse": _url_parse,
    "urlJoin": _url_join,
    "derivePassword": ciphers.derive_password,
    "encryptAES": ciphers.encrypt_aes,
    "decryptAES": ciphers.decrypt_aes,
    "base": lambda t: posixpath.basename(_text(t).rstrip("/")) or ("/" if t else "."),
    "dir": lambda t: posixpath.dirname(_text(t)) or ".",
    "ext": _extension,
    "clean": _clean,
    "isAbs": lambda t: _text(t).startswith("/"),
    "osBase": lambda t: posixpath.basename(_text(t).rstrip("/")) or ("/" if t else "."),
    "osDir": lambda t: posixpath.dirname(_text(t)) or ".",
    "osExt": _extension,
    "osClean": _clean,
    "osIsAbs": lambda t: _text(t).startswith("/"),
    "env": lambda t: os.environ.get(_text(t), ""),
    "expandenv": _expanded,
    "getHostByName": _address,
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
