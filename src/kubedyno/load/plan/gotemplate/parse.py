"""Tokens to a tree, with Go's checks: known functions, defined variables, closed blocks."""

import re
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Any

from kubedyno.load.plan.gotemplate.errors import TemplateError
from kubedyno.load.plan.gotemplate.gofmt import go_quote
from kubedyno.load.plan.gotemplate.lex import Source, Token, tokens


@dataclass(slots=True)
class Node:
    """Base of all nodes; `position` is the offset in the source, for messages."""

    position: int


@dataclass(slots=True)
class Text(Node):
    """Text between actions."""

    text: str


@dataclass(slots=True)
class Dot(Node):
    """The dot alone."""

    def __str__(self) -> str:
        return "."


@dataclass(slots=True)
class Nil(Node):
    """`nil`."""

    def __str__(self) -> str:
        return "nil"


@dataclass(slots=True)
class Constant(Node):
    """A literal, as it was written and what it means."""

    value: Any
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(slots=True)
class Fields(Node):
    """`.a.b` of the dot."""

    names: list[str]

    def __str__(self) -> str:
        return "".join(f".{name}" for name in self.names)


@dataclass(slots=True)
class Variable(Node):
    """`$x.a.b`."""

    name: str
    names: list[str]

    def __str__(self) -> str:
        return self.name + "".join(f".{name}" for name in self.names)


@dataclass(slots=True)
class Chain(Node):
    """Fields of a term in parentheses."""

    term: Node
    names: list[str]

    def __str__(self) -> str:
        inner = f"({self.term})" if isinstance(self.term, Pipe) else str(self.term)
        return inner + "".join(f".{name}" for name in self.names)


@dataclass(slots=True)
class Function(Node):
    """A function's name."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(slots=True)
class Command(Node):
    """One stage of a pipeline: a function and its arguments, or one operand."""

    arguments: list[Node]

    def __str__(self) -> str:
        return " ".join(f"({a})" if isinstance(a, Pipe) else str(a) for a in self.arguments)


@dataclass(slots=True)
class Pipe(Node):
    """A pipeline, perhaps assigned to variables."""

    commands: list[Command]
    declared: list[str] = field(default_factory=list)
    assigns: bool = False

    def __str__(self) -> str:
        head = ""
        if self.declared:
            head = ", ".join(self.declared) + (" = " if self.assigns else " := ")
        return head + " | ".join(str(command) for command in self.commands)


@dataclass(slots=True)
class Action(Node):
    """A pipeline whose value is printed."""

    pipe: Pipe


@dataclass(slots=True)
class Branch(Node):
    """`if`, `with` or `range`."""

    keyword: str
    pipe: Pipe
    body: list[Node]
    other: list[Node] | None


@dataclass(slots=True)
class Jump(Node):
    """`break` or `continue`."""

    keyword: str


@dataclass(slots=True)
class Call(Node):
    """`template "name" pipe`."""

    name: str
    pipe: Pipe | None

    def __str__(self) -> str:
        return f'{{{{template "{self.name}"' + (f" {self.pipe}" if self.pipe is not None else "") + "}}"


_KEYWORDS = {"if", "else", "end", "range", "with", "define", "block", "template", "break", "continue", "nil"}


class Parser:
    """One pass over a template's tokens; `templates` collects `define`d ones by name."""

    def __init__(self, name: str, text: str, functions: Container[str]) -> None:
        self.source = Source(name, text)
        self._functions = functions
        self._tokens = tokens(self.source)
        self._at = 0
        self._variables = ["$"]
        self._loops = 0
        self.templates: dict[str, list[Node]] = {}

    # --- tokens ---

    def _next(self) -> Token:
        token = self._peek()
        self._at += 1
        return token

    def _peek(self) -> Token:
        token = self._tokens[self._at]
        if token.kind == "error":
            raise TemplateError(token.text, token.position)
        return token

    def _skip_space(self) -> Token:
        while self._tokens[self._at].kind == "space":
            self._at += 1
        return self._peek()

    def _fail(self, token: Token, message: str) -> TemplateError:
        return self.source.fail(token.position, message)

    def _unexpected(self, token: Token, where: str) -> TemplateError:
        if token.kind == "end":
            return self._fail(token, "unexpected EOF")
        if token.kind == "right":
            shown = '"}}"'
        elif (token.kind == "word" and token.text in _KEYWORDS) or (token.kind, token.text) == ("punctuation", "."):
            shown = f"<{token.text}>"
        else:
            shown = '"' + token.text.replace("\\", "\\\\").replace('"', '\\"') + '"'
            if len(token.text) > 10:
                shown = '"' + token.text[:10].replace('"', '\\"') + '"...'
        return self._fail(token, f"unexpected {shown} in {where}")

    # --- lists of nodes ---

    def parse(self) -> list[Node]:
        """Return the tree of the whole template.

        Raises:
            TemplateError: It is malformed; the text is Go's.
        """
        nodes: list[Node] = []
        while True:
            token = self._next()
            if token.kind == "end":
                return nodes
            if token.kind == "text":
                nodes.append(Text(token.position, token.text))
                continue
            word = self._skip_space()
            if word.kind == "word" and word.text == "define":
                self._next()
                self._define()
                continue
            node = self._action(token)
            if isinstance(node, _End):
                raise self._fail(word, f"unexpected {{{{{node.keyword}}}}}")
            nodes.append(node)

    def _define(self) -> None:
        name = self._name("define clause")
        token = self._skip_space()
        if token.kind != "right":
            raise self._unexpected(token, "define clause")
        self._next()
        outer, self._variables = self._variables, ["$"]
        loops, self._loops = self._loops, 0
        body, end = self._body()
        if end.keyword != "end":
            raise self._fail(Token("", "", end.position), f"unexpected {{{{{end.keyword}}}}} in define clause")
        self._variables, self._loops = outer, loops
        self.templates[name] = body

    def _name(self, where: str) -> str:
        token = self._skip_space()
        if token.kind != "string":
            raise self._unexpected(token, where)
        self._next()
        return str(_unquote(self.source, token))

    def _body(self) -> "tuple[list[Node], _End]":
        nodes: list[Node] = []
        while True:
            token = self._next()
            if token.kind == "end":
                raise self._fail(token, "unexpected EOF")
            if token.kind == "text":
                nodes.append(Text(token.position, token.text))
                continue
            word = self._skip_space()
            if word.kind == "word" and word.text == "define":
                raise self._unexpected(word, "command")
            node = self._action(token)
            if isinstance(node, _End):
                return nodes, node
            nodes.append(node)

    def _action(self, left: Token) -> Node:
        token = self._skip_space()
        if token.kind == "word":
            keyword = token.text
            if keyword in {"if", "with", "range"}:
                self._next()
                return self._branch(token, keyword)
            if keyword in {"end", "else"}:
                self._next()
                return self._end(token)
            if keyword in {"break", "continue"}:
                self._next()
                following = self._skip_space()
                if following.kind != "right":
                    raise self._unexpected(following, f"{{{{{keyword}}}}}")
                self._next()
                if not self._loops:
                    raise self._fail(token, f"{{{{{keyword}}}}} outside {{{{range}}}}")
                return Jump(token.position, keyword)
            if keyword == "template":
                self._next()
                place = self._skip_space().position
                name = self._name("template clause")
                pipe = None
                if self._skip_space().kind != "right":
                    pipe = self._pipe("template clause")
                self._close("template clause")
                return Call(place, name, pipe)
            if keyword == "block":
                self._next()
                return self._block(token)
        del left
        known = len(self._variables)
        pipe = self._pipe("command")
        del known
        self._close("command")
        return Action(token.position, pipe)

    def _close(self, where: str) -> None:
        token = self._skip_space()
        if token.kind != "right":
            raise self._unexpected(token, where)
        self._next()

    def _block(self, token: Token) -> Node:
        name = self._name("block clause")
        pipe = self._pipe("block clause")
        self._close("block clause")
        outer, self._variables = self._variables, ["$"]
        body, _ = self._body()
        self._variables = outer
        self.templates.setdefault(name, body)
        return Call(token.position, name, pipe)

    def _end(self, token: Token) -> "_End":
        following = self._skip_space()
        if token.text == "else" and following.kind == "word" and following.text in {"if", "with"}:
            self._next()
            return _End(token.position, "else", following.text, following)
        if following.kind != "right":
            raise self._unexpected(following, token.text)
        self._next()
        return _End(token.position, token.text)

    def _branch(self, token: Token, keyword: str) -> Branch:
        known = len(self._variables)
        pipe = self._pipe(keyword)
        self._close(keyword)
        if keyword == "range":
            self._loops += 1
        body, end = self._body()
        if keyword == "range":
            self._loops -= 1
        other: list[Node] | None = None
        if end.keyword == "else":
            if end.chained and end.chained == keyword:
                assert end.token is not None
                other = [self._branch(end.token, end.chained)]
                del self._variables[known:]
                return Branch(token.position, keyword, pipe, body, other)
            if end.chained:
                assert end.token is not None
                raise self._unexpected(end.token, "input")
            other, last = self._body()
            if last.keyword != "end":
                raise self._fail(Token("", "", last.position), "expected end; found {{else}}")
        del self._variables[known:]
        return Branch(token.position, keyword, pipe, body, other)

    # --- pipelines ---

    def _pipe(self, where: str) -> Pipe:
        start = self._skip_space()
        pipe = Pipe(start.position, [])
        self._declaration(pipe, where)
        while True:
            token = self._skip_space()
            if token.kind == "right" or (token.text == ")" and token.kind == "punctuation"):
                if not pipe.commands:
                    raise self._fail(token, f"missing value for {where}")
                self._check(pipe)
                return pipe
            if token.kind in {"word", "field", "variable", "number", "string", "char"} or (
                token.kind == "punctuation" and token.text in {"(", "."}
            ):
                pipe.commands.append(self._command())
            else:
                raise self._unexpected(token, where)

    def _declaration(self, pipe: Pipe, where: str) -> None:
        mark = self._at
        token = self._peek()
        if token.kind != "variable":
            return
        self._next()
        names = [token.text]
        following = self._skip_space()
        if where != "range" and following.text == "," and following.kind == "punctuation":
            raise self._fail(following, f"too many declarations in {where}")
        if where == "range" and following.text == "," and following.kind == "punctuation":
            self._next()
            second = self._skip_space()
            if second.kind != "variable":
                raise (
                    self._unexpected(second, where)
                    if second.kind != "right"
                    else self._fail(second, "range can only initialize variables")
                )
            self._next()
            names.append(second.text)
            following = self._skip_space()
            if following.text == "," and following.kind == "punctuation":
                raise self._fail(following, "too many declarations in range")
        if following.kind == "punctuation" and following.text in {":=", "="}:
            self._next()
            pipe.declared = names
            pipe.assigns = following.text == "="
            if not pipe.assigns:
                self._variables += names
            return
        if len(names) == 2:
            raise self._unexpected(following, where)
        self._at = mark

    def _use(self, token: Token, name: str) -> None:
        if name not in self._variables:
            raise self._fail(token, f'undefined variable "{name}"')

    def _check(self, pipe: Pipe) -> None:
        for command in pipe.commands[1:]:
            first = command.arguments[0]
            if isinstance(first, Constant | Dot | Nil):
                raise self._fail(
                    Token("", "", first.position),
                    f"non executable command in pipeline stage {pipe.commands.index(command) + 1}",
                )

    def _command(self) -> Command:
        command = Command(self._peek().position, [])
        while True:
            token = self._skip_space()
            operand = self._operand()
            if operand is not None:
                command.arguments.append(operand)
            token = self._peek()
            if token.kind == "space":
                self._next()
                continue
            if token.kind in {"right", "end"} or (token.text == ")" and token.kind == "punctuation"):
                break
            if token.kind == "punctuation" and token.text == "|":
                self._next()
                break
            raise self._unexpected(token, "operand")
        if not command.arguments:
            raise self._fail(self._peek(), "empty command")
        return command

    def _operand(self) -> Node | None:
        node = self._term()
        if node is None:
            return None
        names: list[str] = []
        place = self._peek().position
        while self._peek().kind == "field":
            names.append(self._next().text[1:])
        if not names:
            return node
        if isinstance(node, Fields | Variable):
            node.names += names
            # Go places a chain at its second link.
            node.position = place
            return node
        if isinstance(node, Constant | Nil | Dot):
            raise self._fail(Token("", "", node.position), f"unexpected . after term {go_quote(str(node))}")
        return Chain(place, node, names)

    def _term(self) -> Node | None:
        token = self._peek()
        if token.kind == "word":
            self._next()
            if token.text == "true":
                return Constant(token.position, True, "true")
            if token.text == "false":
                return Constant(token.position, False, "false")
            if token.text == "nil":
                return Nil(token.position)
            if token.text in _KEYWORDS:
                raise self._unexpected(token, "operand")
            if token.text not in self._functions:
                raise self._fail(token, f'function "{token.text}" not defined')
            return Function(token.position, token.text)
        if token.kind == "field":
            self._next()
            return Fields(token.position, [token.text[1:]])
        if token.kind == "variable":
            self._next()
            self._use(token, token.text)
            return Variable(token.position, token.text, [])
        if token.kind == "number":
            self._next()
            return Constant(token.position, _number_of(self.source, token), token.text)
        if token.kind == "char":
            self._next()
            value = str(_unquote(self.source, token))
            if not value:
                raise self._fail(token, "invalid syntax")
            if len(value) != 1:
                raise self._fail(token, f"malformed character constant: {token.text}")
            return Constant(token.position, ord(value), token.text)
        if token.kind == "string":
            self._next()
            return Constant(token.position, _unquote(self.source, token), token.text)
        if token.kind == "punctuation" and token.text == ".":
            self._next()
            return Dot(token.position)
        if token.kind == "punctuation" and token.text == "(":
            self._next()
            pipe = self._pipe("parenthesized pipeline")
            closing = self._skip_space()
            if closing.text != ")":
                raise self._unexpected(closing, "parenthesized pipeline")
            self._next()
            return pipe
        return None


@dataclass(slots=True)
class _End(Node):
    keyword: str
    chained: str = ""
    token: Token | None = None


def _number_of(source: Source, token: Token) -> int | float | complex:
    text = token.text.replace("_", "")
    if text.endswith("i"):
        return complex(0, _number_of(source, Token("number", text[:-1], token.position)).real)
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-")
    lower = digits.lower()
    try:
        if lower.startswith("0x") and ("p" in lower or "." in lower):
            return float.fromhex(text)
        if lower.startswith(("0x", "0b", "0o")):
            value = sign * int(digits, 0)
        elif digits.isdigit():
            octal = len(digits) > 1 and digits[0] == "0"
            if octal and not set(digits) <= set("01234567"):
                # Go takes it for a float, and then misses its point.
                raise source.fail(token.position, f'integer overflow: "{token.text}"')
            value = sign * int(digits, 8 if octal else 10)
        else:
            return float(text)
    except TemplateError:
        raise
    except ValueError:
        raise source.fail(token.position, f'illegal number syntax: "{token.text}"') from None
    if not -(1 << 63) <= value < 1 << 64:
        raise source.fail(token.position, f'integer overflow: "{token.text}"')
    return value


_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}


def _unquote(source: Source, token: Token) -> str:
    text = token.text
    if text[0] == "`":
        return text[1:-1].replace("\r", "")
    inner = text[1:-1]
    if "\\" not in inner:
        return inner
    out: list[str] = []
    raw = bytearray()
    at = 0

    def flush() -> None:
        if raw:
            out.append(raw.decode("utf-8", "replace"))
            raw.clear()

    while at < len(inner):
        char = inner[at]
        if char != "\\":
            flush()
            out.append(char)
            at += 1
            continue
        kind = inner[at + 1 : at + 2]
        if kind in _ESCAPES:
            flush()
            out.append(_ESCAPES[kind])
            at += 2
        elif kind in {"x", "u", "U"}:
            size = {"x": 2, "u": 4, "U": 8}[kind]
            digits = inner[at + 2 : at + 2 + size]
            try:
                value = int(digits, 16) if len(digits) == size else -1
            except ValueError:
                value = -1
            if value < 0:
                raise source.fail(token.position, "invalid syntax")
            if kind == "x" and value > 127:
                raw.append(value)
            else:
                flush()
                out.append(chr(value))
            at += 2 + size
        elif re.match(r"[0-3][0-7]{2}", inner[at + 1 : at + 4]):
            flush()
            out.append(chr(int(inner[at + 1 : at + 4], 8)))
            at += 4
        else:
            raise source.fail(token.position, "invalid syntax")
    flush()
    return "".join(out)
