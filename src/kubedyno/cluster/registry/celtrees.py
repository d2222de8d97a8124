"""Checked CEL expressions as trees: what the evaluator has compiled, read from its own form (a cel.expr.CheckedExpr).

In: the bytes of `Expression.serialize()`. Out: nodes with their numbers, the types and the overloads that the checker chose
by those numbers. Macros are loops already.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kubedyno.kube.protobufreading import blocks

_PRIMITIVES = ("", "bool", "int", "uint", "double", "string", "bytes")
_WELL_KNOWN = ("", "any", "timestamp", "duration")
# Of cel.expr.Type: what needs no more than its number.
_PLAIN_TYPES = {1: "dyn", 2: "null", 10: "param", 11: "type", 12: "error"}
# Of CheckedExpr and SourceInfo.
_SOURCE, _POSITIONS = 5, 4


@dataclass(frozen=True, slots=True)
class Kind:
    """A type: its name ("list", "map", "struct", "opaque", "string" …), what it is of, and the name of a struct."""

    name: str = "dyn"
    of: tuple["Kind", ...] = ()
    text: str = ""

    def __str__(self) -> str:
        inner = f"({', '.join(map(str, self.of))})" if self.of else ""
        return f"{self.text or self.name}{inner}"


@dataclass(frozen=True, slots=True)
class Loop:
    """What a macro was expanded to (a comprehension).

    Attributes:
        variable: Each item, or key.
        second: The value beside a key, "" where there is none.
        over: What is gone through.
        result_name: Of what is carried along.
        start: Its first value.
        condition: Whether to go on.
        step: Its next value.
        result: Of the whole.
    """

    variable: str
    second: str
    over: "Node"
    result_name: str
    start: "Node"
    condition: "Node"
    step: "Node"
    result: "Node"


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression.

    Attributes:
        number: By which its type and overloads are known.
        kind: "constant", "name", "member", "call", "list", "map", "message" or "loop".
        name: Of a variable, a member or a function.
        value: Of a constant.
        tested: Of a member: only whether it is there (`has`).
        target: What a member is of, or what a function is called on.
        parts: What a function is given, a list's items, a map's keys and values in turn, a message's values.
        loop: Of a loop.
    """

    number: int
    kind: str
    name: str = ""
    value: Any = None
    tested: bool = False
    target: "Node | None" = None
    parts: tuple["Node", ...] = ()
    loop: Loop | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """An expression with what the checker knows of it: types, overloads and places in the text (from 0) by number."""

    root: Node
    types: dict[int, Kind]
    overloads: dict[int, tuple[str, ...]]
    places: dict[int, int]

    def kind_of(self, node: Node) -> Kind:
        """Return a node's type."""
        return self.types.get(node.number, Kind())


def below(node: Node) -> Iterator[Node]:
    """Yield the parts of a node."""
    if node.target is not None:
        yield node.target
    yield from node.parts
    if node.loop is not None:
        yield from (node.loop.over, node.loop.start, node.loop.condition, node.loop.step, node.loop.result)


def read(data: bytes) -> Tree:
    """Return what was compiled.

    Args:
        data: As the evaluator serializes an expression: a google.protobuf.Any.
    """
    reader = _Reader(data)
    begin, end = next(value for number, value in reader.spans(0, len(data)) if number == 2)
    types: dict[int, Kind] = {}
    overloads: dict[int, tuple[str, ...]] = {}
    places: dict[int, int] = {}
    root = Node(0, "constant")
    for number, span in reader.spans(begin, end):
        if number == 2:
            key, value = reader.entry(span)
            found = tuple(reader.text(each) for field, each in reader.spans(*value) if field == 3)
            if found:
                overloads[key] = found
        elif number == 3:
            key, value = reader.entry(span)
            types[key] = reader.kind(value)
        elif number == 4:
            root = reader.node(span)
        elif number == _SOURCE:
            places = reader.places(span)
    return Tree(root, types, overloads, places)


_Span = tuple[int, int]


class _Reader:
    """Reads messages of cel.expr; field numbers are those of its syntax.proto and checked.proto."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def spans(self, begin: int, end: int) -> Iterator[tuple[int, _Span]]:
        """Yield the fields that are messages or texts."""
        for number, value in blocks(self._data, begin, end):
            if isinstance(value, tuple):
                yield number, value

    def text(self, span: _Span) -> str:
        return self._data[span[0] : span[1]].decode()

    def entry(self, span: _Span) -> tuple[int, _Span]:
        """Return a map entry's number and its message."""
        key, value = 0, (0, 0)
        for number, found in blocks(self._data, *span):
            if number == 1 and isinstance(found, int):
                key = found
            elif isinstance(found, tuple):
                value = found
        return key, value

    def places(self, span: _Span) -> dict[int, int]:
        """Return a SourceInfo's positions."""
        found: dict[int, int] = {}
        for number, entry in self.spans(*span):
            if number == _POSITIONS:
                pair = {field: value for field, value in blocks(self._data, *entry) if isinstance(value, int)}
                found[pair.get(1, 0)] = pair.get(2, 0)
        return found

    def kind(self, span: _Span) -> Kind:
        for number, value in blocks(self._data, *span):
            if number in _PLAIN_TYPES:
                return Kind(_PLAIN_TYPES[number])
            if isinstance(value, int):
                # A primitive, a wrapper of one, or a well-known type.
                return Kind((_WELL_KNOWN if number == 5 else _PRIMITIVES)[value])
            if number in {6, 7, 14}:
                inner = [each for field, each in self.spans(*value) if number != 14 or field == 2]
                name = {6: "list", 7: "map", 14: "opaque"}[number]
                return Kind(name, tuple(self.kind(each) for each in inner))
            if number == 9:
                return Kind("struct", text=self.text(value))
        return Kind()

    def node(self, span: _Span) -> Node:
        own, made = 0, Node(0, "constant")
        for number, value in blocks(self._data, *span):
            if number == 2 and isinstance(value, int):
                own = value
        for number, value in self.spans(*span):
            if number == 3:
                made = Node(own, "constant", value=self._constant(value))
            elif number == 4:
                made = Node(own, "name", self._texts(value).get(1, ""))
            elif number == 5:
                made = self._member(own, value)
            elif number == 6:
                made = self._call(own, value)
            elif number == 7:
                made = Node(
                    own, "list", parts=tuple(self.node(each) for field, each in self.spans(*value) if field == 1)
                )
            elif number == 8:
                made = self._struct(own, value)
            elif number == 9:
                made = Node(own, "loop", loop=self._loop(value))
        return made

    def _texts(self, span: _Span) -> dict[int, str]:
        return {field: self.text(each) for field, each in self.spans(*span)}

    def _constant(self, span: _Span) -> Any:
        for number, value in blocks(self._data, *span):
            if number == 2:
                return bool(value)
            if number == 6 and isinstance(value, tuple):
                return self.text(value)
            if number == 7 and isinstance(value, tuple):
                return self._data[value[0] : value[1]]
            return value if isinstance(value, int) and number != 1 else None
        return None

    def _member(self, own: int, span: _Span) -> Node:
        found = dict(blocks(self._data, *span))
        operand, name = found[1], found[2]
        assert isinstance(operand, tuple)
        assert isinstance(name, tuple)
        return Node(own, "member", self.text(name), tested=bool(found.get(3)), target=self.node(operand))

    def _call(self, own: int, span: _Span) -> Node:
        target, name, parts = None, "", []
        for number, value in self.spans(*span):
            if number == 1:
                target = self.node(value)
            elif number == 2:
                name = self.text(value)
            else:
                parts.append(self.node(value))
        return Node(own, "call", name, target=target, parts=tuple(parts))

    def _struct(self, own: int, span: _Span) -> Node:
        kind, parts = "map", []
        for number, value in self.spans(*span):
            if number == 1:
                kind = "message"
                continue
            entry = dict(self.spans(*value))
            parts += [self.node(entry[field]) for field in (3, 4) if field in entry]
        return Node(own, kind, parts=tuple(parts))

    def _loop(self, span: _Span) -> Loop:
        found = dict(self.spans(*span))
        texts = [self.text(found[field]) if field in found else "" for field in (1, 8, 3)]
        over, start, condition, step, result = (self.node(found[field]) for field in (2, 4, 5, 6, 7))
        return Loop(texts[0], texts[1], over, texts[2], start, condition, step, result)
