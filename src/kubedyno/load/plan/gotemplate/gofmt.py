"""Values as Go prints them: %v and friends, and Sprintf."""

import math
import re
from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base.goquote import go_quote
from kubedyno.kube.yaml import float_text

NO_VALUE = "<no value>"


class Int64(int):
    """Go's int64, which is not its int: functions that take an int refuse it."""

    __slots__ = ()


# strconv's %g with the shortest digits takes an exponent from here on.
_EXPONENT_FROM = 6


def shortest(value: float) -> str:
    """Return %v of a float64: the shortest text, with an exponent below 1e-4 and from 1e6 on."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    mantissa, _, exponent_text = format_e(value).partition("e")
    exponent = int(exponent_text)
    if exponent < -4 or exponent >= _EXPONENT_FROM:
        return f"{mantissa}e{'+' if exponent >= 0 else '-'}{abs(exponent):02d}"
    text = repr(value)
    if "e" in text:
        text = format(value, f".{max(0, len(mantissa.replace('-', '').replace('.', '')) - 1 - exponent)}f")
    return text.removesuffix(".0")


def format_e(value: float) -> str:
    """Return the shortest scientific form of a float."""
    digits = repr(value)
    if "e" in digits:
        mantissa, _, exponent = digits.partition("e")
        return f"{mantissa}e{int(exponent)}"
    sign = "-" if digits[0] == "-" else ""
    digits = digits.lstrip("-")
    whole, _, fraction = digits.partition(".")
    fraction = "" if fraction == "0" else fraction
    if whole != "0":
        exponent_number = len(whole) - 1
        all_digits = (whole + fraction).rstrip("0") or "0"
    else:
        stripped = fraction.lstrip("0")
        exponent_number = -(len(fraction) - len(stripped)) - 1
        all_digits = stripped.rstrip("0") or "0"
    mantissa = all_digits[0] + (f".{all_digits[1:]}" if len(all_digits) > 1 else "")
    return f"{sign}{mantissa}e{exponent_number}"


def show(value: Any) -> str:
    """Return %v of a value."""
    kind = type(value)
    if kind is str:
        return str(value)
    if kind is int:
        return str(value)
    if kind is bool:
        return "true" if value else "false"
    if value is None:
        return "<nil>"
    if kind is float:
        return shortest(value)
    if isinstance(value, dict):
        return "map[" + " ".join(f"{show(k)}:{show(v)}" for k, v in sorted(value.items())) + "]"
    if isinstance(value, list | tuple):
        return "[" + " ".join(show(item) for item in value) + "]"
    if kind is complex:
        imaginary = shortest(value.imag)
        return f"({shortest(value.real)}{'' if imaginary[0] in '+-' else '+'}{imaginary}i)"
    return str(value)


def printed(value: Any) -> str:
    """Return what an action writes for a value: nil is "<no value>"."""
    return NO_VALUE if value is None else show(value)


def type_name(value: Any) -> str:
    """Return %T of a value."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Int64):
        return "int64"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, complex):
        return "complex128"
    if isinstance(value, str):
        return "string"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list | tuple):
        return "[]interface {}"
    return {"GoTime": "time.Time", "Version": "*semver.Version"}.get(type(value).__name__, type(value).__name__)


_VERB = re.compile(r"%([-+# 0]*)(\[\d+\])?(\*|\d+)?(?:\.(\*|\d+)?)?(.)?", re.DOTALL)


def sprintf(pattern: str, arguments: list[Any]) -> str:
    """Return Go's fmt.Sprintf."""
    out: list[str] = []
    at = used = 0
    reordered = False
    for match in _VERB.finditer(pattern):
        out.append(pattern[at : match.start()])
        at = match.end()
        flags, index, width, precision, verb = match.groups()
        dotted = "." in match[0][: -1 if verb else None]
        if verb is None:
            out.append("%!(NOVERB)")
            continue
        if verb == "%":
            out.append("%")
            continue
        if index:
            used, reordered = int(index[1:-1]) - 1, True
        if width == "*":
            width = str(arguments[used]) if used < len(arguments) else None
            used += 1
        if precision == "*":
            precision = str(arguments[used]) if used < len(arguments) else None
            used += 1
        if used >= len(arguments):
            out.append(f"%!{verb}(MISSING)" if not index else f"%!{verb}(BADINDEX)")
            continue
        value = arguments[used]
        used += 1
        places = int(precision or 0) if dotted else None
        out.append(_verb(verb, flags, places, int(width or 0), value))
    out.append(pattern[at:])
    if used < len(arguments) and not reordered:
        extra = ", ".join(f"{type_name(v)}={show(v)}" if v is not None else "<nil>" for v in arguments[used:])
        out.append(f"%!(EXTRA {extra})")
    return "".join(out)


def _bad(verb: str, value: Any, places: int | None = None) -> str:
    if value is None:
        return f"%!{verb}(<nil>)"
    return f"%!{verb}({type_name(value)}={_leaf('v', '', places, value)})"


def _verb(verb: str, flags: str, places: int | None, size: int, value: Any) -> str:
    """Return one argument; of lists and mappings, each of their values is written, and made wide enough, by itself."""
    if verb != "T" and not (verb == "v" and "#" in flags):
        if isinstance(value, list | tuple):
            return "[" + " ".join(_item(verb, flags, places, size, item) for item in value) + "]"
        if isinstance(value, dict):
            pairs = (
                f"{_item(verb, flags, places, size, k)}:{_item(verb, flags, places, size, v)}"
                for k, v in sorted(value.items())
            )
            return "map[" + " ".join(pairs) + "]"
    text = _leaf(verb, flags, places, value)
    if len(text) >= size:
        return text
    if "-" in flags:
        return text.ljust(size)
    number = isinstance(value, int | float) and not isinstance(value, bool) and verb in "vdeEfFgGxXob"
    if "0" not in flags or verb == "U" or text[:1] == "%" or (number and not text[-1:].isalnum()):
        return text.rjust(size)
    if number and not isinstance(value, float) and places is not None:
        return text.rjust(size)
    sign = text[0] if number and text[:1] in {"+", "-", " "} else ""
    return sign + text[len(sign) :].rjust(size - len(sign), "0")


def _item(verb: str, flags: str, places: int | None, size: int, value: Any) -> str:
    if value is None:
        return "<nil>" if verb == "v" else f"%!{verb}(<nil>)"
    return _verb(verb, flags, places, size, value)


def _leaf(verb: str, flags: str, places: int | None, value: Any) -> str:
    if verb == "v":
        if "#" in flags:
            return "<nil>" if value is None else _go_syntax(value)
        if isinstance(value, float) and places is not None:
            return _float("g", places, flags, value)
        if isinstance(value, str) and places is not None:
            return value[:places]
        # Here a plus asks for the names of fields, which these values don't have.
        return show(value)
    if verb == "T":
        return type_name(value)
    if verb == "t":
        return show(value) if isinstance(value, bool) else _bad(verb, value)
    if isinstance(value, bool) or value is None:
        return _bad(verb, value)
    handler = _VERBS.get(verb)
    if handler is None:
        return _bad(verb, value)
    return handler(verb, flags, places, value)


def _hex_float(verb: str, value: float) -> str:
    """Return 0x1.8p+01: no digits that say nothing, and at least two in the exponent."""
    mantissa, _, exponent = value.hex().partition("p")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    text = f"{mantissa}p{exponent[0]}{exponent[1:].rjust(2, '0')}"
    return text.upper() if verb == "X" else text


def _hex_text(verb: str, flags: str, places: int | None, value: str) -> str:
    """Return the bytes of a text: apart with a space, each with 0x then, and as many as the precision says."""
    start = "0x" if "#" in flags else ""
    octets = [f"{octet:02x}" for octet in value.encode()[:places]]
    text = " ".join(start + octet for octet in octets) if " " in flags else start * bool(octets) + "".join(octets)
    return text.upper() if verb == "X" else text


def _integer(verb: str, flags: str, places: int | None, value: Any) -> str:
    if isinstance(value, str):
        return _hex_text(verb, flags, places, value) if verb in "xX" else _bad(verb, value, places)
    if not isinstance(value, int):
        if isinstance(value, float) and verb in "xX":
            return _hex_float(verb, value)
        return _bad(verb, value)
    digits = {"d": "d", "x": "x", "X": "X", "o": "o", "b": "b", "O": "o"}[verb]
    text = format(abs(value), digits).rjust(places or 0, "0")
    if places == 0 and value == 0:
        text = ""
    if "#" in flags and verb in "xX":
        text = f"0{verb}{text}"
    elif "#" in flags and verb == "b":
        text = f"0b{text}"
    elif ("#" in flags and verb == "o") or verb == "O":
        text = ("0o" if verb == "O" else "0") + text
    sign = "-" if value < 0 else "+" if "+" in flags else " " if " " in flags else ""
    return sign + text


def _float(verb: str, places: int | None, flags: str, value: float) -> str:
    if verb in "gG":
        text = shortest(value) if places is None else _general(value, places)
    elif verb in "fF":
        text = format(value, f".{6 if places is None else places}f")
    else:
        text = format(value, f".{6 if places is None else places}e")
    if verb in "EG":
        text = text.upper()
    return f"+{text}" if "+" in flags and value >= 0 else text


def _general(value: float, places: int) -> str:
    return format(value, f".{places or 1}g")


def _floating(verb: str, flags: str, places: int | None, value: Any) -> str:
    if isinstance(value, float):
        return _float(verb, places, flags, value)
    return _bad(verb, value, places)


def _string(_verb_name: str, _flags: str, places: int | None, value: Any) -> str:
    if not isinstance(value, str):
        return _bad("s", value)
    return value if places is None else value[:places]


_QUOTES = {34: "'\"'", 39: "'\\''"}


def _quoted(_verb_name: str, flags: str, _places: int | None, value: Any) -> str:
    if isinstance(value, int):
        return f"'{go_quote(chr(value), ascii_only='+' in flags)[1:-1]}'" if value not in {34, 39} else _QUOTES[value]
    if not isinstance(value, str):
        return _bad("q", value)
    if "#" in flags and "`" not in value:
        return f"`{value}`"
    return go_quote(value, ascii_only="+" in flags)


def _char(_verb_name: str, _flags: str, _places: int | None, value: Any) -> str:
    return chr(value) if isinstance(value, int) and 0 <= value < 0x110000 else _bad("c", value)


def _unicode_point(_verb_name: str, flags: str, _places: int | None, value: Any) -> str:
    if not isinstance(value, int):
        return _bad("U", value)
    return f"U+{value:04X}" + (f" '{chr(value)}'" if "#" in flags else "")


_VERBS: dict[str, Callable[[str, str, int | None, Any], str]] = {
    **dict.fromkeys("dxXobO", _integer),
    **dict.fromkeys("eEfFgG", _floating),
    "s": _string,
    "q": _quoted,
    "c": _char,
    "U": _unicode_point,
}


def _go_syntax(value: Any) -> str:
    if isinstance(value, str):
        return go_quote(value)
    if value is None:
        return "interface {}(nil)"
    if isinstance(value, dict):
        inner = ", ".join(f"{go_quote(k)}:{_go_syntax(v)}" for k, v in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list | tuple):
        return "[]interface {}{" + ", ".join(_go_syntax(v) for v in value) + "}"
    return show(value)


def to_json(value: Any, *, indent: bool = False, escape_html: bool = True) -> str:
    """Return encoding/json's text: keys sorted, floats in ES6's form, <, > and & escaped."""
    text = _json(value, "\n" if indent else "")
    if escape_html:
        text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _json(value: Any, line: str) -> str:
    """Write JSON; `line` is what begins a line at this depth, "" for none."""
    deeper = f"{line}  " if line else ""
    colon = ": " if line else ":"
    if isinstance(value, dict):
        if not value:
            return "{}"
        inner = f",{deeper}".join(f"{_json(str(k), '')}{colon}{_json(v, deeper)}" for k, v in sorted(value.items()))
        return f"{{{deeper}{inner}{line}}}"
    if isinstance(value, list | tuple):
        if not value:
            return "[]"
        return "[" + deeper + f",{deeper}".join(_json(v, deeper) for v in value) + line + "]"
    if isinstance(value, float):
        return float_text(value)
    return orjson.dumps(value).decode()
