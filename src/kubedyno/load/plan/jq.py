"""jq expressions over JSON values: what conditions of readiness are written in.

The part of the language that such conditions use is evaluated here: paths, iteration, slices by index, pipes, commas,
`select`, comparisons, `and`/`or`/`not`, `//`, `if`, arrays and the functions in `_PLAIN` and `_FILTERS`. An expression
beyond that is handed to the `jq` package if it is installed, and refused by name if not. gojq's `.a.[]` is understood.
"""

import importlib
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import orjson

Filter = Callable[[Any], Iterator[Any]]

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<field>\.[A-Za-z_]\w*)
    |(?P<word>\$?[A-Za-z_]\w*)|(?P<op>\.\.|//|==|!=|<=|>=|[.\[\](){}|,:;<>+\-*/%?]))""",
    re.VERBOSE,
)


class JqError(ValueError):
    """The expression is malformed, or needs the `jq` package; or a value does not fit it."""


class _Beyond(JqError):
    """Perhaps jq, but not of the part that is understood here."""


@lru_cache(maxsize=256)
def compiled(text: str) -> Filter:
    """Return a function from a value to its outputs.

    Raises:
        JqError: `text` is malformed. The function raises it too, for a value that does not fit.
    """
    try:
        return _Parser(text).whole()
    except _Beyond as beyond:
        try:
            jq: Any = importlib.import_module("jq")
        except ImportError:
            raise JqError(f"{beyond}; with the jq package (pip install jq) all of jq is understood") from beyond
        try:
            program = jq.compile(text)
        except ValueError as error:
            raise JqError(f"jq {text!r}: {error}") from error

        def run(value: Any) -> Iterator[Any]:
            try:
                yield from program.input_value(value)
            except ValueError as error:
                raise JqError(f"jq {text!r}: {error}") from error

        return run


def matches(text: str, value: Any, wanted: str) -> bool:
    """Say whether any output of an expression is the text `wanted`; a value that does not fit has none."""
    try:
        return any(text_of(output) == wanted for output in compiled(text)(value))
    except JqError:
        return False


def text_of(value: Any) -> str:
    """Return a text as it is and anything else as JSON."""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        position = 0
        stripped = text.rstrip()
        while position < len(stripped):
            found = _TOKEN.match(stripped, position)
            if found is None:
                raise _Beyond(f"jq {text!r}: cannot be read at {stripped[position:][:20]!r}")
            kind = found.lastgroup or ""
            self._tokens.append((kind, found[kind]))
            position = found.end()
        self._at = 0

    def whole(self) -> Filter:
        if not self._tokens:
            return _identity
        made = self._pipe()
        if self._at < len(self._tokens):
            raise self._fail()
        return made

    def _fail(self) -> JqError:
        rest = " ".join(text for _, text in self._tokens[self._at :])
        return _Beyond(
            f"jq {self._text!r}: not understood at {rest[:20]!r}" if rest else f"jq {self._text!r}: ends early"
        )

    def _peek(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    def _take(self, *wanted: str) -> bool:
        if self._kind() in {"op", "word"} and self._peek() in wanted:
            self._at += 1
            return True
        return False

    def _need(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self._fail()

    def _pipe(self) -> Filter:
        left = self._comma()
        if not self._take("|"):
            return left
        right = self._pipe()
        return lambda value: (out for middle in left(value) for out in right(middle))

    def _comma(self) -> Filter:
        parts = [self._alternative()]
        while self._take(","):
            parts.append(self._alternative())
        if len(parts) == 1:
            return parts[0]
        return lambda value: (out for part in parts for out in part(value))

    def _alternative(self) -> Filter:
        left = self._or()
        if not self._take("//"):
            return left
        right = self._alternative()

        def either(value: Any) -> Iterator[Any]:
            found = False
            try:
                for out in left(value):
                    if out is not None and out is not False:
                        found = True
                        yield out
            except JqError:
                pass
            if not found:
                yield from right(value)

        return either

    def _or(self) -> Filter:
        left = self._and()
        while self._take("or"):
            left = _logic(left, self._and(), stop=True)
        return left

    def _and(self) -> Filter:
        left = self._compare()
        while self._take("and"):
            left = _logic(left, self._compare(), stop=False)
        return left

    def _compare(self) -> Filter:
        left = self._sum()
        for sign, decide in _COMPARE.items():
            if self._kind() == "op" and self._peek() == sign:
                self._at += 1
                return _binary(left, self._sum(), decide)
        return left

    def _sum(self) -> Filter:
        left = self._postfix()
        while self._kind() == "op" and self._peek() in {"+", "-"}:
            decide = _plus if self._peek() == "+" else _minus
            self._at += 1
            left = _binary(left, self._postfix(), decide)
        return left

    def _postfix(self) -> Filter:
        made = self._term()
        while True:
            if self._kind() == "field":
                made = _then(made, _field(self._peek()[1:]))
                self._at += 1
            elif self._kind() == "op" and self._peek() == "." and self._at + 1 < len(self._tokens):
                following = self._tokens[self._at + 1]
                if following[0] == "string":
                    made = _then(made, _field(orjson.loads(following[1])))
                    self._at += 2
                elif following == ("op", "["):
                    self._at += 1
                else:
                    raise self._fail()
            elif self._take("["):
                made = self._index(made)
            elif self._take("?"):
                made = _try(made)
            else:
                return made

    def _index(self, made: Filter) -> Filter:
        if self._take("]"):
            return _then(made, _each)
        key = self._pipe()
        if self._peek() == ":":
            raise self._fail()
        self._need("]")
        return lambda value: (_at(inner, k) for inner in made(value) for k in key(value))

    def _term(self) -> Filter:
        kind, text = self._kind(), self._peek()
        if kind == "field":
            self._at += 1
            return _field(text[1:])
        if kind in {"string", "number"}:
            if kind == "string" and "\\(" in text:
                raise self._fail()
            self._at += 1
            return _constant(orjson.loads(text))
        if self._take(".."):
            return _recurse
        if self._take("-"):
            inner = self._postfix()
            return lambda value: (_minus(0, out) for out in inner(value))
        if self._take("."):
            if self._kind() == "string":
                name = orjson.loads(self._peek())
                self._at += 1
                return _field(name)
            return _identity
        if self._take("("):
            made = self._pipe()
            self._need(")")
            return made
        if self._take("["):
            if self._take("]"):
                return _constant([])
            made = self._pipe()
            self._need("]")
            return lambda value: iter([list(made(value))])
        if kind == "word":
            self._at += 1
            return self._named(text)
        raise self._fail()

    def _named(self, name: str) -> Filter:
        if name in {"true", "false", "null"}:
            return _constant({"true": True, "false": False, "null": None}[name])
        if name == "if":
            return self._if()
        arguments: list[Filter] = []
        if self._take("("):
            arguments.append(self._pipe())
            while self._take(";"):
                arguments.append(self._pipe())
            self._need(")")
        if not arguments and name in _PLAIN:
            function = _PLAIN[name]
            return lambda value: iter([function(value)])
        if not arguments and name == "empty":
            return lambda _: iter(())
        if len(arguments) == 1 and name in _FILTERS:
            return _FILTERS[name](arguments[0])
        if len(arguments) == 1 and name in _WITH_VALUE:
            decide, argument = _WITH_VALUE[name], arguments[0]
            return lambda value: (decide(value, given) for given in argument(value))
        self._at -= 1
        raise _Beyond(f"jq {self._text!r}: {name}/{len(arguments)} is not understood")

    def _if(self) -> Filter:
        condition = self._pipe()
        self._need("then")
        first = self._pipe()
        second: Filter = _identity
        if self._take("elif"):
            second = self._if()
        else:
            if self._take("else"):
                second = self._pipe()
            self._need("end")
        return lambda value: (out for c in condition(value) for out in (first if _true(c) else second)(value))


def _identity(value: Any) -> Iterator[Any]:
    yield value


def _constant(constant: Any) -> Filter:
    return lambda _: iter([constant])


def _then(first: Filter, second: Filter) -> Filter:
    return lambda value: (out for middle in first(value) for out in second(middle))


def _field(name: str) -> Filter:
    return lambda value: iter([_at(value, name)])


def _at(value: Any, key: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, dict) and isinstance(key, str):
        return value.get(key)
    if isinstance(value, list) and isinstance(key, int) and not isinstance(key, bool):
        return value[key] if -len(value) <= key < len(value) else None
    raise JqError(f"cannot index {_type(value)} with {text_of(key)}")


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        return iter(list(value.values()))
    if isinstance(value, list):
        return iter(value)
    raise JqError(f"cannot iterate over {_type(value)}")


def _recurse(value: Any) -> Iterator[Any]:
    yield value
    if isinstance(value, dict | list):
        for inner in _each(value):
            yield from _recurse(inner)


def _try(made: Filter) -> Filter:
    def quiet(value: Any) -> Iterator[Any]:
        try:
            yield from made(value)
        except JqError:
            return

    return quiet


def _true(value: Any) -> bool:
    return value is not None and value is not False


def _logic(left: Filter, right: Filter, *, stop: bool) -> Filter:
    def run(value: Any) -> Iterator[Any]:
        for first in left(value):
            if _true(first) is stop:
                yield stop
            else:
                for second in right(value):
                    yield _true(second)

    return run


def _binary(left: Filter, right: Filter, decide: Callable[[Any, Any], Any]) -> Filter:
    return lambda value: (decide(first, second) for second in right(value) for first in left(value))


_ORDER = {"null": 0, "boolean": 1, "number": 2, "string": 3, "array": 4, "object": 5}


def _type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _less(first: Any, second: Any) -> bool:
    kinds = _ORDER[_type(first)], _ORDER[_type(second)]
    if kinds[0] != kinds[1]:
        return kinds[0] < kinds[1]
    if isinstance(first, dict | list):
        raise JqError("arrays and objects are not ordered here")
    return bool(first is not None and first < second)


def _same(first: Any, second: Any) -> bool:
    return _type(first) == _type(second) and bool(first == second)


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": _same,
    "!=": lambda first, second: not _same(first, second),
    "<=": lambda first, second: not _less(second, first),
    ">=": lambda first, second: not _less(first, second),
    "<": _less,
    ">": lambda first, second: _less(second, first),
}


def _plus(first: Any, second: Any) -> Any:
    if first is None or second is None:
        return second if first is None else first
    if _type(first) == _type(second) and _type(first) in {"number", "string", "array"}:
        return first + second
    raise JqError(f"cannot add {_type(first)} and {_type(second)}")


def _minus(first: Any, second: Any) -> Any:
    if _type(first) == _type(second) == "number":
        return first - second
    raise JqError(f"cannot subtract {_type(second)} from {_type(first)}")


def _length(value: Any) -> Any:
    if value is None:
        return 0
    if isinstance(value, bool):
        raise JqError("a boolean has no length")
    return abs(value) if isinstance(value, int | float) else len(value)


def _sum_of(value: Any) -> Any:
    total = None
    for entry in _each(value):
        total = _plus(total, entry)
    return total


def _number(value: Any) -> Any:
    if _type(value) == "number":
        return value
    try:
        return orjson.loads(value) if isinstance(value, str) else _fail_number(value)
    except orjson.JSONDecodeError:
        return _fail_number(value)


def _fail_number(value: Any) -> Any:
    raise JqError(f"{text_of(value)} is no number")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise JqError(f"{_type(value)} is no text")
    return value


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return sorted(value)
    if isinstance(value, list):
        return list(range(len(value)))
    raise JqError(f"{_type(value)} has no keys")


_PLAIN: dict[str, Callable[[Any], Any]] = {
    "length": _length,
    "not": lambda value: not _true(value),
    "keys": _keys,
    "type": _type,
    "tostring": text_of,
    "tonumber": _number,
    "first": lambda value: _at(value, 0),
    "last": lambda value: _at(value, -1),
    "any": lambda value: any(_true(entry) for entry in _each(value)),
    "all": lambda value: all(_true(entry) for entry in _each(value)),
    "add": _sum_of,
    "ascii_downcase": lambda value: _text(value).lower(),
    "ascii_upcase": lambda value: _text(value).upper(),
}


def _has(value: Any, key: Any) -> bool:
    if isinstance(value, dict) and isinstance(key, str):
        return key in value
    if isinstance(value, list) and isinstance(key, int):
        return 0 <= key < len(value)
    raise JqError(f"cannot check whether {_type(value)} has {text_of(key)}")


def _test(value: Any, pattern: Any) -> bool:
    try:
        return re.search(_text(pattern), _text(value)) is not None
    except re.error as error:
        raise JqError(f"{pattern!r} is no regular expression: {error}") from error


_WITH_VALUE: dict[str, Callable[[Any, Any], Any]] = {
    "has": _has,
    "test": _test,
    "startswith": lambda value, start: _text(value).startswith(_text(start)),
    "endswith": lambda value, end: _text(value).endswith(_text(end)),
    "join": lambda value, between: _text(between).join("" if e is None else text_of(e) for e in _each(value)),
}
_FILTERS: dict[str, Callable[[Filter], Filter]] = {
    "select": lambda f: lambda value: (value for decided in f(value) if _true(decided)),
    "map": lambda f: lambda value: iter([[out for entry in _each(value) for out in f(entry)]]),
    "any": lambda f: lambda value: iter([any(_true(out) for entry in _each(value) for out in f(entry))]),
    "all": lambda f: lambda value: iter([all(_true(out) for entry in _each(value) for out in f(entry))]),
    "first": lambda f: lambda value: iter([out for out, _ in zip(f(value), (0,), strict=False)]),
}
