"""YAML as a tree that keeps what values lose: the spelling of scalars, and comments with what they speak of.

In: YAML, JSON or KYAML. Out: `Document`s of `Node`s. A comment above a node is its head, one behind it its line, one
below it, set off from what follows, its foot; at any place some node takes it, so that none is lost. The syntax is
libyaml's; what a plain scalar means is decided as YAML 1.2 does (`yes` is a string), with the octals and underscores
of 1.1, as the reference encoder's parser does.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import Enum, auto
from itertools import pairwise
from typing import Any

import yaml as pyyaml
from yaml import events as ev

from kubedyno.kube import yaml as rules

_LOADER: Any = getattr(pyyaml, "CSafeLoader", pyyaml.SafeLoader)
# What aliases may multiply a document to, in nodes.
MAX_NODES = 1_000_000
# How deep a document may nest: whoever walks the tree recurses.
MAX_DEPTH = 200

INT, FLOAT, BOOL, NULL, STR, TIMESTAMP, MERGE = (
    "!!int", "!!float", "!!bool", "!!null", "!!str", "!!timestamp", "!!merge"
)  # fmt: skip
_WORDS = {
    **dict.fromkeys(("true", "True", "TRUE", "false", "False", "FALSE"), BOOL),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), NULL),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), FLOAT),
    **{f"{sign}{word}": FLOAT for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")},
    "<<": MERGE,
}
INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|[1-9][0-9]*|0)\Z")
_DECIMAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_HEX_FLOAT = re.compile(r"[-+]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][-+]?[0-9]+\Z")
_SPECIAL_FLOAT = re.compile(r"([-+]?inf(inity)?|nan)\Z", re.IGNORECASE)
_DATE = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:(?:[Tt]|( ))([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,][0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2})?)?\Z"
)


class TreeError(ValueError):
    """A text that is no YAML, or too deep; the message is the reference encoder's."""


class Kind(Enum):
    """What a node is."""

    SCALAR = auto()
    SEQUENCE = auto()
    MAPPING = auto()
    ALIAS = auto()


@dataclass(slots=True, eq=False)
class Node:
    """One value of a document, with its comments.

    Attributes:
        kind: Which.
        value: A scalar's text as it stood there, quotes and folding undone; an alias' name.
        tag: A scalar's, short: "!!str".
        children: Items, or keys and values by turns.
        target: What an alias stands for.
        head: Comment lines above it; "" is an empty line.
        line_comment: Behind it.
        foot: Below it.
        line: 1-based.
        column: 0-based; of an item in block style its dash's.
    """

    kind: Kind
    value: str = ""
    tag: str = STR
    children: "list[Node]" = field(default_factory=list)
    target: "Node | None" = None
    head: list[str] = field(default_factory=list)
    line_comment: list[str] = field(default_factory=list)
    foot: list[str] = field(default_factory=list)
    line: int = 0
    column: int = 0
    block: bool = False

    def commented(self) -> bool:
        """Say whether it has a comment of its own."""
        return bool(self.head or self.line_comment or self.foot)


@dataclass(slots=True, eq=False)
class Document:
    """A root node and the comments that belong to no node."""

    root: Node
    head: list[str] = field(default_factory=list)
    foot: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Comment:
    line: int
    column: int
    text: str
    alone: bool


class _Token(Enum):
    START = auto()  # a scalar, an alias, or the start of a collection
    END = auto()  # the end of a flow collection


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where something of the tree begins or ends, in the order of the text."""

    token: _Token
    node: Node
    first_line: int
    last_line: int
    column: int
    # From the root down: the nodes that a foot comment at some column may belong to.
    owners: tuple[Node, ...]
    is_key: bool = False
    # Of an item in block style: the line of its dash; what stands below that is inside of the item.
    dash_line: int | None = None
    dash_column: int = 0

    def left_of(self, line: int) -> int:
        """Return the column at which it begins for a comment on a line above."""
        return self.dash_column if self.dash_line is not None and line <= self.dash_line else self.column


# --- reading ------------------------------------------------------------------------------------------------------


class _Reader:
    """Turns parser events into documents with comments."""

    def __init__(self, text: str) -> None:
        self._text = text.removeprefix("\ufeff")
        self._lines = [*self._text.split("\n"), ""]
        self._events: Iterator[Any] = pyyaml.parse(text, Loader=_LOADER)
        self._anchors: dict[str, Node] = {}
        self._marks: list[_Mark] = []
        self._spans: list[tuple[int, int]] = []
        self._nodes = 0

    def documents(self) -> list[Document]:
        found: list[Document] = []
        # Per document: its marks, and the lines of its start marker and of the end of what it may own.
        parts: list[tuple[Document, list[_Mark], int]] = []
        try:
            for event in self._events:
                if type(event) is ev.DocumentStartEvent:
                    self._anchors.clear()
                    self._marks = []
                    root = self._node(next(self._events), (), 0)
                    document = Document(root)
                    found.append(document)
                    started: Any = event
                    parts.append((document, self._marks, started.start_mark.line if started.explicit else 0))
        except pyyaml.MarkedYAMLError as error:
            raise TreeError(f"error decoding: {rules._syntax_error(error)}") from None
        except pyyaml.YAMLError as error:
            raise TreeError(f"error decoding: yaml: {str(error).splitlines()[0]}") from None
        comments = list(_comments(self._text, self._spans))
        for number, (document, marks, first_line) in enumerate(parts):
            limit = parts[number + 1][2] if number + 1 < len(parts) else None
            start = first_line if number else 0
            mine = [one for one in comments if one.line >= start and (limit is None or one.line < limit)]
            _attach(document, marks, mine)
        return found

    def _node(
        self, event: Any, owners: tuple[Node, ...], depth: int, *, is_key: bool = False, dash: int | None = None
    ) -> Node:
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise TreeError(f"error decoding: yaml: line {event.start_mark.line + 1}: nested deeper than {MAX_DEPTH}")
        line, column = event.start_mark.line + 1, event.start_mark.column
        if isinstance(event, ev.AliasEvent):
            if event.anchor not in self._anchors:
                raise TreeError(f"error decoding: yaml: unknown anchor '{event.anchor}' referenced")
            target = self._anchors[event.anchor]
            if any(owner is target for owner in owners):
                raise TreeError(f"error decoding: yaml: anchor '{event.anchor}' value contains itself")
            node = Node(Kind.ALIAS, event.anchor, target=target, line=line, column=column)
            self._nodes += _size(target)
            if self._nodes > MAX_NODES:
                raise TreeError("error decoding: yaml: document contains excessive aliasing")
            self._mark(_Token.START, node, event, owners, is_key=is_key, dash=dash)
            return node
        if type(event) is ev.ScalarEvent:
            node = Node(Kind.SCALAR, event.value, _tag(event), line=line, column=column)
            self._remember(event, node)
            self._span(event)
            self._mark(_Token.START, node, event, owners, is_key=is_key, dash=dash)
            return node
        kind = Kind.MAPPING if isinstance(event, ev.MappingStartEvent) else Kind.SEQUENCE
        node = Node(kind, line=line, column=column, block=not event.flow_style)
        self._remember(event, node)
        self._mark(_Token.START, node, event, owners, is_key=is_key, dash=dash)
        self._fill(node, (*owners, node), depth)
        return node

    def _remember(self, event: Any, node: Node) -> None:
        if event.anchor:
            self._anchors[event.anchor] = node

    def _fill(self, node: Node, owners: tuple[Node, ...], depth: int) -> None:
        is_key = node.kind is Kind.MAPPING
        for event in self._events:
            if isinstance(event, ev.MappingEndEvent | ev.SequenceEndEvent):
                if not node.block:
                    self._mark(_Token.END, node, event, owners)
                return
            if node.kind is Kind.MAPPING and not is_key:
                # What stands below a value belongs to its key, if not deeper.
                child = self._node(event, (*owners, node.children[-1]), depth + 1)
            else:
                dash = node.column if node.kind is Kind.SEQUENCE and node.block else None
                child = self._node(event, owners, depth + 1, is_key=is_key, dash=dash)
            if node.kind is Kind.SEQUENCE and node.block:
                child.column = node.column
            node.children.append(child)
            is_key = node.kind is Kind.MAPPING and not is_key

    def _span(self, event: Any) -> None:
        start, end = event.start_mark.index, event.end_mark.index
        if event.style in {"|", ">"}:
            # The first line is the indicator, and a comment may follow it there.
            start = self._text.find("\n", start, end)
            if start < 0:
                return
        self._spans.append((start, end))

    def _mark(
        self,
        token: _Token,
        node: Node,
        event: Any,
        owners: tuple[Node, ...],
        *,
        is_key: bool = False,
        dash: int | None = None,
    ) -> None:
        first, last = event.start_mark.line, event.end_mark.line
        start, end = event.start_mark.index, event.end_mark.index
        if type(event) is ev.ScalarEvent:
            if event.style in {"|", ">"}:
                # The end is the start of whatever comes next.
                body = self._text[start:end].rstrip()
                last = first + body.count("\n")
        elif token is _Token.START and node.kind is not Kind.ALIAS:
            last = first
        dash_line = None
        if dash is not None:
            # An item without text begins where the parser stopped, maybe before its dash.
            dash_line = first
            while dash_line > 0 and self._lines[dash_line][dash : dash + 1] != "-":
                dash_line -= 1
        column = event.start_mark.column
        self._marks.append(_Mark(token, node, first, last, column, owners, is_key, dash_line, dash or 0))


def _size(node: Node) -> int:
    if node.kind is Kind.ALIAS and node.target is not None:
        return _size(node.target)
    return 1 + sum(_size(child) for child in node.children)


def _tag(event: Any) -> str:
    if event.tag is not None and event.tag != "!":
        return str(event.tag).replace("tag:yaml.org,2002:", "!!")
    # Quoted and block texts are strings.
    return plain_tag(event.value) if event.style is None or event.style == "" else STR


def plain_tag(text: str) -> str:
    """Return the tag of a plain scalar: what YAML 1.2 with the octals and underscores of 1.1 takes it for."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        return FLOAT if is_float(text) else STR
    if text[0] not in "+-0123456789":
        return STR
    if is_timestamp(text):
        return TIMESTAMP
    plain = text.replace("_", "")
    if INTEGER.match(plain) and -(2**63) <= integer_of(plain) < 2**64:
        return INT
    return FLOAT if _DECIMAL.match(plain) and math.isfinite(float(plain)) else STR


def integer_of(text: str) -> int:
    """Return what an integer's text stands for."""
    digits = text.lstrip("+-").lower()
    base = {"0x": 16, "0b": 2, "0o": 8}.get(digits[:2], 8 if digits[0] == "0" else 10)
    value = int(digits[2:] if base != 10 and digits[1:2] in {"x", "b", "o"} else digits, base)
    return -value if text[0] == "-" else value


def is_float(text: str) -> bool:
    """Say whether Go's ParseFloat takes a text: decimal, hexadecimal, infinite, or none."""
    if _DECIMAL.match(text):
        return math.isfinite(float(text))
    return bool(_HEX_FLOAT.match(text) or _SPECIAL_FLOAT.match(text))


def is_timestamp(text: str) -> bool:
    """Say whether a text is a date, or a date with a time of day."""
    found = _DATE.match(text)
    if not found:
        return False
    year, month, day, space, hour, minute, second, zone = found.groups()
    try:
        date(int(year) or 4, int(month), int(day))
    except ValueError:
        return False
    if hour is None:
        return True
    # With a "T" a zone must follow, with a space none may.
    in_range = int(hour) < 24 and int(minute) < 60 and int(second) < 60
    return in_range and (zone is None) == (space is not None)


# --- comments -----------------------------------------------------------------------------------------------------


def _comments(text: str, spans: list[tuple[int, int]]) -> Iterator[_Comment]:
    """Yield the comments that stand between scalars."""
    position, line, line_start = 0, 0, 0
    following = iter([*sorted(spans), (len(text), len(text))])
    for start, end in following:
        while position < start:
            at = text.find("#", position, start)
            stop = at if at >= 0 else start
            newlines = text.count("\n", position, stop)
            if newlines:
                line += newlines
                line_start = text.rfind("\n", position, stop) + 1
            position = stop
            if at < 0:
                break
            if at > line_start and text[at - 1] not in " \t":
                position += 1  # part of an anchor or a tag
                continue
            last = text.find("\n", at)
            last = len(text) if last < 0 else last
            alone = not text[line_start:at].strip()
            yield _Comment(line, at - line_start, text[at:last].rstrip("\r"), alone)
            position = last
        newlines = text.count("\n", position, end)
        if newlines:
            line += newlines
            line_start = text.rfind("\n", position, end) + 1
        position = max(position, end)


def _attach(document: Document, marks: list[_Mark], comments: list[_Comment]) -> None:
    """Give each comment to the node it speaks of."""
    position = 0
    for before, after in pairwise((None, *marks, None)):
        gap: list[_Comment] = []
        while position < len(comments) and (after is None or _precedes(comments[position], after)):
            gap.append(comments[position])
            position += 1
        if gap:
            _attach_gap(document, before, after, gap)


def _precedes(comment: _Comment, mark: _Mark) -> bool:
    return (comment.line, comment.column) < (mark.first_line, mark.column)


def _attach_gap(document: Document, before: _Mark | None, after: _Mark | None, gap: list[_Comment]) -> None:
    behind = [one for one in gap if not one.alone]
    lines = [one for one in gap if one.alone]
    for comment in behind:
        _attach_line(document, before, after, comment)
    blocks = _blocks(lines)
    if before is None:
        _attach_first(document, after, blocks)
        return
    closes = after is not None and after.token is _Token.END
    reach = before.last_line
    for number, block in enumerate(blocks):
        texts = [one.text for one in block]
        adjacent = block[0].line == reach + 1
        reach = block[-1].line if adjacent else -1
        if after is None:
            owner = _owner(before, block[0].column, None)
            # Set off by an empty line, or after the end of what could own it.
            if (adjacent or block[0].column > document.root.column) and owner is not None:
                owner.foot += texts
            else:
                document.foot += [""] * bool(document.foot) + texts
            continue
        if closes or _is_foot(before, after, block, number + 1 < len(blocks), adjacent=adjacent):
            owner = _owner(before, block[0].column, after)
            if owner is not None:
                owner.foot += [""] * bool(owner.foot) + texts
                continue
        head = _head_owner(after, block[0].line).head
        head += [""] * bool(head) + texts


def _attach_line(document: Document, before: _Mark | None, after: _Mark | None, comment: _Comment) -> None:
    """Attach a comment behind something on the same line."""
    opened = before is not None and before.token is _Token.START and before.node.kind in {Kind.MAPPING, Kind.SEQUENCE}
    if before is not None and not opened and before.last_line == comment.line:
        before.node.line_comment.append(comment.text)
    elif before is not None and not opened and before.first_line == comment.line:
        before.node.line_comment.append(comment.text)  # a block scalar's first line
    elif after is None or after.token is _Token.END:
        (before.node if before is not None else document.root).line_comment.append(comment.text)
    else:
        # Behind a bracket or a dash: it speaks of what follows.
        _head_owner(after, comment.line).head.append(comment.text)


def _blocks(comments: list[_Comment]) -> list[list[_Comment]]:
    """Split where an empty line stands, or the column changes."""
    blocks: list[list[_Comment]] = []
    for comment in comments:
        last = blocks[-1][-1] if blocks else None
        if last is not None and comment.line == last.line + 1 and comment.column == last.column:
            blocks[-1].append(comment)
        else:
            blocks.append([comment])
    return blocks


def _is_foot(before: _Mark, after: _Mark, block: list[_Comment], more: bool, *, adjacent: bool) -> bool:
    if before.token is _Token.START and before.node.kind in {Kind.MAPPING, Kind.SEQUENCE}:
        return False  # just behind an opening bracket
    if after.dash_line is not None and block[0].line > after.dash_line:
        return False  # behind the dash of what follows
    if before.is_key and not _in_flow(after):
        return False  # between a key and its value
    if block[0].column > after.left_of(block[0].line) and not _in_flow(after):
        return True  # indented deeper than what follows: it closes what is above
    gap_below = more or block[-1].line + 1 < after.first_line
    return adjacent and gap_below


def _in_flow(mark: _Mark) -> bool:
    return bool(mark.owners) and any(not owner.block for owner in mark.owners if owner.kind is not Kind.SCALAR)


def _owner(before: _Mark, column: int, after: _Mark | None) -> Node | None:
    """Return the innermost node above that does not begin right of a comment's column."""
    candidates = [*before.owners, before.node]
    if before.token is _Token.END:
        candidates = [*before.owners]
    if before.is_key:
        candidates = [*before.owners, before.node]
    inside = after.owners if after is not None and after.token is _Token.END else ()
    chosen: Node | None = None
    for parent, node in pairwise((None, *candidates)):
        if node is None or (parent is None and node.kind in {Kind.MAPPING, Kind.SEQUENCE} and node.block):
            continue  # the document's own block collection: its parts own the comments
        if inside and any(node is outer for outer in inside):
            continue
        if parent is not None and parent.kind is Kind.SCALAR:
            # `node` is the value of key `parent`, which owns what belongs to both.
            continue
        if node.column <= column or chosen is None:
            chosen = node
    return chosen


def _head_owner(after: _Mark, line: int) -> Node:
    """Return what a comment right above speaks of: an item, or the first key of a block mapping that is no item."""
    node = after.node
    is_item = after.dash_line is not None and line <= after.dash_line
    while node.block and node.children and not is_item:
        is_item = node.kind is Kind.SEQUENCE
        node = node.children[0]
    return node


def _attach_first(document: Document, after: _Mark | None, blocks: list[list[_Comment]]) -> None:
    if after is None:
        return
    for number, block in enumerate(blocks):
        texts = [one.text for one in block]
        last = number + 1 == len(blocks)
        if last and block[-1].line + 1 == after.first_line:
            node = _head_owner(after, block[0].line)
            node.head += texts
        else:
            document.head += [""] * bool(document.head) + texts


def read(text: str) -> list[Document]:
    """Return the documents of a YAML text with their comments.

    Raises:
        TreeError: It is no YAML.
    """
    return _Reader(text).documents()
