"""The functions of text/template itself."""

from typing import Any
from urllib.parse import quote_plus

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import NO_VALUE, show, sprintf, type_name

# Evaluated by the executor, argument by argument.
LAZY = frozenset(("and", "or"))


def truth(value: Any) -> bool:
    """Say whether a value counts as true: not zero, not empty, not nil."""
    return bool(value)


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "string"
    return "other"


def _equal(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is None and b is None
    first, second = _kind(a), _kind(b)
    if first != second:
        raise FunctionError(f"incompatible types for comparison: {type_name(a)} and {type_name(b)}")
    if first == "other":
        raise FunctionError(f"non-comparable type {show(a)}: {type_name(a)}")
    return bool(a == b)


def eq(first: Any, *others: Any) -> bool:
    """Say whether the first value equals any of the others."""
    if not others:
        raise FunctionError("missing argument for comparison")
    return any(_equal(first, other) for other in others)


def ne(a: Any, b: Any) -> bool:
    """Say whether two values differ."""
    return not _equal(a, b)


def lt(a: Any, b: Any) -> bool:
    """Say whether one value is less than another of its kind."""
    first, second = _kind(a), _kind(b)
    for kind in (first, second):
        if kind in {"other", "bool"}:
            raise FunctionError("invalid type for comparison")
    if first != second:
        raise FunctionError(f"incompatible types for comparison: {type_name(a)} and {type_name(b)}")
    return bool(a < b)


def le(a: Any, b: Any) -> bool:
    """Say whether one value is at most another."""
    return lt(a, b) or _equal(a, b)


def gt(a: Any, b: Any) -> bool:
    """Say whether one value is more than another."""
    return not le(a, b)


def ge(a: Any, b: Any) -> bool:
    """Say whether one value is at least another."""
    return not lt(a, b)


def length(value: Any) -> int:
    """Return how many bytes, items or keys a value has."""
    if isinstance(value, str):
        return len(value.encode())
    if isinstance(value, dict | list | tuple):
        return len(value)
    if value is None:
        raise FunctionError("len of nil pointer")
    raise FunctionError(f"len of type {type_name(value)}")


def index(value: Any, *keys: Any) -> Any:
    """Return what lies under keys, one after the other."""
    if value is None:
        raise FunctionError("index of untyped nil")
    for key in keys:
        if value is None:
            raise FunctionError("index of nil pointer")
        if isinstance(value, dict):
            if key is None:
                raise FunctionError("value is nil; should be of type string")
            if not isinstance(key, str):
                raise FunctionError(f"value has type {type_name(key)}; should be string")
            value = value.get(key)
            continue
        if isinstance(value, str):
            value = list(value.encode())
        if not isinstance(value, list | tuple):
            raise FunctionError(f"can't index item of type {type_name(value)}")
        if key is None:
            raise FunctionError("cannot index slice/array with nil")
        if not isinstance(key, int) or isinstance(key, bool):
            raise FunctionError(f"cannot index slice/array with type {type_name(key)}")
        if not 0 <= key < len(value):
            raise FunctionError(f"index out of range: {key}")
        value = value[key]
    return value


def slice_of(value: Any, *bounds: Any) -> Any:
    """Return a part of a text or list."""
    if value is None:
        raise FunctionError("slice of untyped nil")
    if len(bounds) > 3:
        raise FunctionError(f"too many slice indexes: {len(bounds)}")
    if isinstance(value, str):
        if len(bounds) == 3:
            raise FunctionError("cannot 3-index slice a string")
        data: Any = value.encode()
    elif isinstance(value, list | tuple):
        data = list(value)
    else:
        raise FunctionError(f"can't slice item of type {type_name(value)}")
    places = [0, len(data), len(data)]
    for position, bound in enumerate(bounds):
        if bound is None:
            raise FunctionError("cannot index slice/array with nil")
        if not isinstance(bound, int) or isinstance(bound, bool):
            raise FunctionError(f"cannot index slice/array with type {type_name(bound)}")
        if not 0 <= bound <= len(data):
            raise FunctionError(f"index out of range: {bound}")
        places[position] = bound
    if places[0] > places[1]:
        raise FunctionError(f"invalid slice index: {places[0]} > {places[1]}")
    part = data[places[0] : places[1]]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def print_of(*values: Any) -> str:
    """Return Sprint: a space between operands when neither is a string."""
    out: list[str] = []
    for position, value in enumerate(values):
        if position and not isinstance(value, str) and not isinstance(values[position - 1], str):
            out.append(" ")
        out.append(show(value))
    return "".join(out)


def printf(pattern: Any, *values: Any) -> str:
    """Return Sprintf."""
    if not isinstance(pattern, str):
        raise FunctionError(f"wrong type for value; expected string; got {type_name(pattern)}")
    return sprintf(pattern, list(values))


def _printed(values: tuple[Any, ...]) -> str:
    if len(values) == 1 and isinstance(values[0], str):
        return values[0]
    return print_of(*(NO_VALUE if value is None else value for value in values))


def html(*values: Any) -> str:
    """Return a text escaped for HTML."""
    text = _printed(values)
    for char, entity in (
        ("&", "&amp;"),
        ("\0", "\ufffd"),
        ('"', "&#34;"),
        ("'", "&#39;"),
        ("<", "&lt;"),
        (">", "&gt;"),
    ):
        text = text.replace(char, entity)
    return text


_JS = {
    "\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D",
}  # fmt: skip


def js(*values: Any) -> str:
    """Return a text escaped for JavaScript."""
    text = _printed(values)
    return "".join(_JS.get(c, c if c.isprintable() else f"\\u{ord(c):04X}") for c in text)


def urlquery(*values: Any) -> str:
    """Return a text escaped for a URL's query."""
    text = _printed(values)
    return quote_plus(text, safe="-_.~")


BUILTINS: dict[str, Any] = {
    "not": lambda value: not truth(value),
    "len": length,
    "index": index,
    "slice": slice_of,
    "print": print_of,
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "printf": printf,
    "html": html,
    "js": js,
    "urlquery": urlquery,
    # The executor brings its own.
    "call": None,
    "eq": eq,
    "ne": ne,
    "lt": lt,
    "le": le,
    "gt": gt,
    "ge": ge,
}
