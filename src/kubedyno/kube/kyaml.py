"""KYAML, the dialect of YAML that is explicit and does not depend on indentation: encoder, and the way back.

In: YAML (JSON and KYAML are YAML) or plain values. Out: text. Comments stay with what they speak of (`yamltree`).

Source of the rules: sigs.k8s.io/yaml/kyaml 1.6, checked against recorded outputs of it. Where the reference would lose
something (comments behind a bracket, an item without text, odd blanks at the start of a line), this one does not.
"""

import math
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml as rules
from kubedyno.kube.yamltree import (
    BOOL,
    FLOAT,
    INT,
    INTEGER,
    MAX_DEPTH,
    MERGE,
    NULL,
    STR,
    TIMESTAMP,
    Document,
    Kind,
    Node,
    TreeError,
    integer_of,
    is_float,
    is_timestamp,
    plain_tag,
    read,
)

_INDENT = "  "
_BARE = frozenset({INT, FLOAT, BOOL, NULL})
_SEXAGESIMAL = re.compile(r"[+-]?[1-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?\Z")
_AMBIGUOUS_WORDS = frozenset({
    "", "~", "null", "true", "false", "y", "n", "yes", "no", "on", "off", ".inf", "-.inf", "+.inf", ".nan",
})  # fmt: skip
_GO_BOOLS = frozenset({"1", "t", "T", "0", "f", "F"})
_ESCAPES = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v", "\0": r"\0",
    "\x1b": r"\e", "\x85": r"\N", "\xa0": r"\_", "\u2028": r"\L", "\u2029": r"\P",
}  # fmt: skip
# What YAML's own reader refuses in a text, though JSON lets it stand there.
_UNREADABLE = re.compile("[\x7f\x80-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_PLAIN = re.compile(r"[A-Za-z0-9_/.][A-Za-z0-9_/. :@+,=%()-]*\Z")


class KyamlError(TreeError):
    """A text or value that cannot be written as KYAML; the message is the reference encoder's."""


# --- what needs quotes --------------------------------------------------------------------------------------------


def is_ambiguous(text: str) -> bool:
    """Say whether some YAML parser may take a bare text for something else than a string."""
    if text.lower() in _AMBIGUOUS_WORDS or text in _GO_BOOLS:
        return True
    plain = text.replace("_", "")
    if (INTEGER.match(plain) and -(2**63) <= integer_of(plain) < 2**63) or is_float(plain):
        return True
    return bool(_SEXAGESIMAL.match(text)) or is_timestamp(text)


def needs_quotes(text: str) -> bool:
    """Say whether a key must be quoted: empty, ambiguous, or with more than letters, numbers, "_" and inner "-./"."""
    if not text or is_ambiguous(text):
        return True
    last = len(text) - 1
    return not all(
        char == "_" or unicodedata.category(char)[0] in "LN" or (0 < place < last and char in "-./")
        for place, char in enumerate(text)
    )


def _quoted(text: str, indent: int, *, compact: bool) -> str:
    """Return a double-quoted text; over several lines if it has several, and not compact."""
    folds = "\n" in text and not compact
    out = ['"', "\\\n" if folds else ""]
    fresh = folds
    for char in text:
        if fresh:
            # A blank at the start of a line would be dropped; the other lines get one for the alignment.
            out += [_INDENT * indent, "\\" if char in " \t" else " "]
            fresh = False
        if char == "\n" and not compact:
            out.append("\\n\\\n")
            fresh = True
        elif char == "\t" and not compact:
            out.append(char)
        else:
            out.append(_escaped(char))
    if folds:
        out += ["" if fresh else "\\\n", _INDENT * indent]
    out.append('"')
    return "".join(out)


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xD800 <= code < 0xE000:
        return "\\ufffd"  # half a surrogate pair is no character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# --- writing KYAML ------------------------------------------------------------------------------------------------


class _Writer:
    """Renders nodes; each method leaves out the newline that would follow."""

    def __init__(self, *, compact: bool) -> None:
        self._compact = compact

    def document(self, document: Document) -> str:
        root = document.root
        body = self.node(root, 0)
        if self._compact:
            return body
        lines = [*document.head, *root.head, body + _behind(root.line_comment), *root.foot, *document.foot]
        return "\n".join(lines)

    def node(self, node: Node, indent: int) -> str:
        if node.kind is Kind.SCALAR:
            return self._scalar(node, indent)
        if node.kind is Kind.ALIAS:
            # One deeper, as the reference does.
            return self.node(node.target, indent + (0 if self._compact else 1)) if node.target else ""
        brackets = "[]" if node.kind is Kind.SEQUENCE else "{}"
        if not node.children:
            return brackets
        if self._compact:
            parts = (
                [self.node(child, 0) for child in node.children]
                if node.kind is Kind.SEQUENCE
                else [f"{self._key(key)}: {self.node(value, 0)}" for key, value in _entries(node)]
            )
            return brackets[0] + ", ".join(parts) + brackets[1]
        return self._sequence(node, indent) if node.kind is Kind.SEQUENCE else self._mapping(node, indent)

    def _scalar(self, node: Node, indent: int) -> str:
        if node.tag in _BARE:
            return node.value
        if node.tag in {STR, TIMESTAMP}:
            return _quoted(node.value, indent + 1, compact=self._compact)
        raise KyamlError(
            f'kyaml internal error: line {node.line}: unknown tag "{node.tag}" on scalar node "{node.value}"'
        )

    def _key(self, key: Node) -> str:
        return _quoted(key.value, 0, compact=True) if needs_quotes(key.value) else key.value

    def _sequence(self, node: Node, indent: int) -> str:
        if all(_is_collection(child) and not child.commented() for child in node.children):
            return "[" + ", ".join(self.node(child, indent) for child in node.children) + "]"
        lines = ["["]
        pad = _INDENT * (indent + 1)
        for child in node.children:
            lines += [pad + text for text in child.head]
            # An item without any text would be no item.
            text = self.node(child, indent + 1) or "null"
            lines.append(f"{pad}{text},{_behind(child.line_comment)}")
            lines += [pad + text for text in child.foot]
        return "\n".join([*lines, _INDENT * indent + "]"])

    def _mapping(self, node: Node, indent: int) -> str:
        lines = ["{"]
        pad = _INDENT * (indent + 1)
        for key, value in _entries(node):
            lines += [pad + text for text in (*key.head, *value.head)]
            behind = _behind([*key.line_comment, *value.line_comment])
            lines.append(f"{pad}{self._key(key)}: {self.node(value, indent + 1)},{behind}")
            lines += [pad + text for text in (*key.foot, *value.foot)]
        return "\n".join([*lines, _INDENT * indent + "}"])


def _entries(node: Node) -> Iterator[tuple[Node, Node]]:
    return zip(node.children[::2], node.children[1::2], strict=True)


def _is_collection(node: Node) -> bool:
    if node.kind is Kind.ALIAS:
        return node.target is not None and _is_collection(node.target)
    return node.kind in {Kind.SEQUENCE, Kind.MAPPING}


def _behind(comments: list[str]) -> str:
    return "".join(f" {text}" for text in comments)


# --- writing block YAML -------------------------------------------------------------------------------------------


class _BlockWriter:
    """Renders nodes in block style; items stand deeper than their key, so that comments below keep their owner."""

    def __init__(self, *, indent_items: bool = True) -> None:
        self._flow = _Writer(compact=False)
        self._indent_items = indent_items

    def document(self, document: Document) -> list[str]:
        root = document.root
        lines = list(document.head)
        # A head of the document is set off from the head of its first part.
        if document.head:
            lines.append("")
        if self._stays_flow(root):
            text = self._flow.document(Document(root))
            lines += text.split("\n")
        elif root.kind is Kind.SCALAR:
            lines += [*root.head, self._scalar(root, 0) + _behind(root.line_comment), *root.foot]
        else:
            lines += root.head
            lines += self._children(root, 0)
        if document.foot:
            lines += ["", *document.foot]
        return lines

    def _stays_flow(self, node: Node) -> bool:
        """Say whether only brackets can carry this collection's comments, or it has nothing in it."""
        if node.kind is Kind.ALIAS and node.target is not None:
            return self._stays_flow(node.target)
        if node.kind is Kind.SCALAR:
            return False
        return not node.children or bool(node.line_comment)

    def _children(self, node: Node, indent: int) -> list[str]:
        if node.kind is Kind.ALIAS and node.target is not None:
            return self._children(node.target, indent)
        pad = " " * indent
        lines: list[str] = []
        parts = list(_entries(node)) if node.kind is Kind.MAPPING else [(child, child) for child in node.children]
        for number, (key, value) in enumerate(parts):
            is_item = node.kind is Kind.SEQUENCE
            heads = key.head if is_item else [*key.head, *value.head]
            feet = key.foot if is_item else [*key.foot, *value.foot]
            lines += [(pad + text).rstrip() for text in heads]
            lines += self._item(key, indent) if is_item else self._entry(key, value, indent)
            lines += [(pad + text).rstrip() for text in feet]
            if feet and number + 1 < len(parts):
                lines.append("")
        return lines

    def _item(self, item: Node, indent: int) -> list[str]:
        pad = " " * indent
        if item.kind is Kind.SCALAR:
            return self._with_text(f"{pad}-", item, indent + 2, _behind(item.line_comment))
        if self._stays_flow(item):
            return self._bracketed(f"{pad}- ", item, indent, _behind(item.line_comment))
        inner = self._children(item, indent + 2)
        if inner[0].lstrip().startswith("#"):
            return [f"{pad}-", *inner]
        return [f"{pad}- {inner[0][indent + 2 :]}", *inner[1:]]

    def _entry(self, key: Node, value: Node, indent: int) -> list[str]:
        pad = " " * indent
        name = _plain_or_quoted(key.value)
        behind = _behind([*key.line_comment, *value.line_comment])
        if value.kind is Kind.SCALAR:
            return self._with_text(f"{pad}{name}:", value, indent + 2, behind)
        target = value.target if value.kind is Kind.ALIAS and value.target is not None else value
        if target.kind is Kind.SCALAR:
            return self._with_text(f"{pad}{name}:", target, indent + 2, behind)
        if not target.children:
            return [f"{pad}{name}: {'[]' if target.kind is Kind.SEQUENCE else '{}'}{behind}"]
        deeper = 2 if self._indent_items or target.kind is Kind.MAPPING else 0
        return [f"{pad}{name}:{behind}", *self._children(target, indent + deeper)]

    def _bracketed(self, start: str, node: Node, indent: int, behind: str) -> list[str]:
        first, *rest = self._flow.node(node, 0).split("\n")
        lines = [start + first, *(" " * (indent + 2) + line for line in rest)]
        lines[-1] += behind
        return lines

    def _with_text(self, start: str, node: Node, indent: int, behind: str) -> list[str]:
        text = node.value
        if node.tag in {STR, TIMESTAMP} and "\n" in text and _fits_literal(text):
            mark = "|" if text.endswith("\n") else "|-"
            body = text.removesuffix("\n").split("\n")
            return [f"{start} {mark}{behind}", *((" " * indent + line) if line else "" for line in body)]
        shown = self._scalar(node, indent)
        return [(f"{start} {shown}" if shown else start) + behind]

    def _scalar(self, node: Node, indent: int) -> str:
        if node.tag in {STR, TIMESTAMP}:
            return _plain_or_quoted(node.value)
        return self._flow.node(node, indent)


def _plain_or_quoted(text: str) -> str:
    safe = (
        _PLAIN.match(text)
        and not text.endswith((" ", ":"))
        and ": " not in text
        and not is_ambiguous(text)
        and plain_tag(text) == STR
        and isinstance(rules.scalar(text), str)
        and text not in {"---", "..."}
    )
    return text if safe else _quoted(text, 0, compact=True)


def _fits_literal(text: str) -> bool:
    lines = text.removesuffix("\n").split("\n")
    return (
        bool(lines[0])
        and bool(lines[-1])
        and not text[0].isspace()
        and not any(line.isspace() for line in lines)
        and all(char == "\n" or char.isprintable() for char in text)
    )


# --- from values --------------------------------------------------------------------------------------------------


def _of_value(value: Any, *, sort_keys: bool, depth: int = 0) -> Node:
    if depth > MAX_DEPTH:
        raise KyamlError(f"error rendering object: nested deeper than {MAX_DEPTH}")
    if isinstance(value, str):
        return Node(Kind.SCALAR, value)
    if value is None:
        return Node(Kind.SCALAR, "null", NULL)
    if isinstance(value, bool):
        return Node(Kind.SCALAR, "true" if value else "false", BOOL)
    if isinstance(value, int):
        return Node(Kind.SCALAR, str(value), INT)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise KyamlError("error marshaling to JSON: json: unsupported value: " + _go_name(value))
        return Node(Kind.SCALAR, rules.float_text(value), FLOAT)
    if isinstance(value, dict):
        keys = sorted(value) if sort_keys else list(value)
        node = Node(Kind.MAPPING)
        for key in keys:
            node.children += [Node(Kind.SCALAR, key), _of_value(value[key], sort_keys=sort_keys, depth=depth + 1)]
        return node
    if isinstance(value, list | tuple):
        items = [_of_value(item, sort_keys=sort_keys, depth=depth + 1) for item in value]
        return Node(Kind.SEQUENCE, children=items)
    raise TypeError(f"a {type(value).__name__} is no JSON value")


def _go_name(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


# --- the public calls ---------------------------------------------------------------------------------------------


def encode(text: str, *, compact: bool = False) -> str:
    """Return a YAML text (of any number of documents) as KYAML, each document with its header.

    Args:
        text: YAML, JSON or KYAML.
        compact: A line a document, without comments.

    Raises:
        KyamlError: It is no YAML, or has a tag that KYAML has no word for.
    """
    writer = _Writer(compact=compact)
    return "".join(f"---\n{writer.document(document)}\n" for document in read(text))


def block(text: str) -> str:
    """Return a YAML text, such as KYAML, in block style with its comments; the inverse of `encode`.

    Raises:
        KyamlError: It is no YAML, or has a tag of its own.
    """
    documents = [_BlockWriter().document(document) for document in read(text)]
    first = "" if len(documents) == 1 else "---\n"
    return first + "---\n".join("\n".join(lines) + "\n" for lines in documents) if documents else ""


def dump(value: Any, *, compact: bool = False) -> str:
    """Return a JSON value as one KYAML document with its header; keys stay in their order.

    Raises:
        KyamlError: It holds a number that is none.
        TypeError: It is no JSON value.
    """
    return f"---\n{_Writer(compact=compact).document(Document(_of_value(value, sort_keys=False)))}\n"


def dump_block(value: Any) -> str:
    """Return a JSON value as block YAML as Kubernetes' examples have it: keys in their order, items below their key.

    Raises:
        KyamlError: It holds a number that is none.
        TypeError: It is no JSON value.
    """
    lines = _BlockWriter(indent_items=False).document(Document(_of_value(value, sort_keys=False)))
    return "\n".join(lines) + "\n"


def marshal(value: Any, *, compact: bool = False) -> str:
    """Return a JSON value as the reference's Marshal does: keys sorted, floats only, no header, no newline at the end.

    Raises:
        KyamlError: A text of it has a character that YAML's reader refuses.
    """
    node = _of_value(value, sort_keys=True)
    if any(_UNREADABLE.search(text) for text in _texts(value)):
        raise KyamlError("error rendering object: error decoding: yaml: control characters are not allowed")
    return _Writer(compact=compact).document(Document(node))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield key
            yield from _texts(entry)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def merge_lines(text: str) -> list[int]:
    """Return the lines of merge keys, which KYAML writes as an ordinary key named "<<"."""
    found: list[int] = []
    pending = [document.root for document in read(text)]
    while pending:
        node = pending.pop()
        if node.kind is Kind.MAPPING:
            found += [key.line for key, _ in _entries(node) if key.tag == MERGE]
        pending += node.children
    return sorted(found)


def encode_file(text: str, path: str, *, compact: bool = False, to_block: bool = False) -> str:
    """Do `encode` or `block`, with errors that name the file.

    Raises:
        KubedynoError: It is no YAML.
    """
    try:
        return block(text) if to_block else encode(text, compact=compact)
    except TreeError as error:
        said = str(error).removeprefix("error decoding: ").removeprefix("yaml: ").removeprefix("kyaml internal error: ")
        raise KubedynoError(f"{path}: {said}") from error
