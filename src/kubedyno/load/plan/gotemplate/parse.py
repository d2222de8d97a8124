"""Tokens to a tree, with Go's checks: known functions, defined variables, closed blocks."""

from collections.abc import Container
from dataclasses import dataclass

from kubedyno.base.goquote import go_quote
from kubedyno.load.plan.gotemplate.errors import TemplateError
from kubedyno.load.plan.gotemplate.lex import Source, Token, tokens
from kubedyno.load.plan.gotemplate.literals import number_of, unquote
from kubedyno.load.plan.gotemplate.tree import (
    Action,
    Branch,
    Call,
    Chain,
    Command,
    Constant,
    Dot,
    Fields,
    Function,
    Jump,
    Nil,
    Node,
    Pipe,
    Text,
    Variable,
)

_KEYWORDS = {"if", "else", "end", "range", "with", "define", "block", "template", "break", "continue", "nil"}


@dataclass(slots=True)
class _End(Node):
    keyword: str
    chained: str = ""
    token: Token | None = None


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
            node = self._action()
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
        return str(unquote(self.source, token))

    def _body(self) -> tuple[list[Node], _End]:
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
            node = self._action()
            if isinstance(node, _End):
                return nodes, node
            nodes.append(node)

    def _action(self) -> Node:
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
        pipe = self._pipe("command")
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

    def _end(self, token: Token) -> _End:
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
            return Constant(token.position, number_of(self.source, token), token.text)
        if token.kind == "char":
            self._next()
            value = str(unquote(self.source, token))
            if not value:
                raise self._fail(token, "invalid syntax")
            if len(value) != 1:
                raise self._fail(token, f"malformed character constant: {token.text}")
            return Constant(token.position, ord(value), token.text)
        if token.kind == "string":
            self._next()
            return Constant(token.position, unquote(self.source, token), token.text)
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
