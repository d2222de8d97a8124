"""Characters to tokens: text, and inside `{{ }}` the words of an action."""

import re
from typing import NamedTuple

from kubedyno.load.plan.gotemplate.errors import TemplateError

LEFT, RIGHT, COMMENT_START, COMMENT_END = "{{", "}}", "/*", "*/"
_SPACE = " \t\r\n"
_WORD = re.compile(r"[^\W\d]\w*")
_NUMBER = re.compile(
    r"[+-]?(0[xX][0-9a-fA-F_]*(\.[0-9a-fA-F_]*)?([pP][+-]?\d+)?|0[bB][01_]*|0[oO][0-7_]*|(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)([eE][+-]?\d+)?)i?"
)
_STRING = re.compile(r'"(?:[^"\\\n]|\\[^\n])*"')
_CHAR = re.compile(r"'(?:[^'\\\n]|\\[^\n])*'")
_RAW = re.compile(r"`[^`]*`")


class Token(NamedTuple):
    """One token.

    Its kind is text, left, right, space, word, field, variable, number, string, char, punctuation, other, end or error
    (whose position is its line).
    """

    kind: str
    text: str
    position: int


class Source:
    """A template's text and where its lines begin."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text

    def line(self, position: int) -> int:
        return self.text.count("\n", 0, position) + 1

    def fail(self, position: int, message: str) -> TemplateError:
        """Return a parse error in Go's form."""
        line = self.line(position)
        return TemplateError(f"template: {self.name}:{line}: {message}", line)


def tokens(source: Source) -> list[Token]:
    """Return the tokens of a template, trim markers applied, comments left out.

    A malformed action ends them with an "error" token: what a parser has to say about those before it comes first.
    """
    found: list[Token] = []
    try:
        _all(source, found)
    except TemplateError as error:
        found.append(Token("error", str(error), error.line))
    return found


def _all(source: Source, found: list[Token]) -> None:
    text = source.text
    position = 0
    trim_next = False
    while True:
        start = text.find(LEFT, position)
        end = len(text) if start < 0 else start
        piece = text[position:end]
        begins = position
        if trim_next:
            stripped = piece.lstrip(_SPACE)
            begins += len(piece) - len(stripped)
            piece = stripped
        if start < 0:
            if piece:
                found.append(Token("text", piece, begins))
            found.append(Token("end", "", len(text)))
            return
        inside = start + 2
        trim = text[inside : inside + 1] == "-" and text[inside + 1 : inside + 2] in set(_SPACE)
        if trim:
            piece = piece.rstrip(_SPACE)
            inside += 2
        if piece:
            found.append(Token("text", piece, begins))
        # As in Go, just one space may stand between the trim marker and a comment.
        if text.startswith(COMMENT_START, inside):
            position, trim_next = _comment(source, inside)
            continue
        found.append(Token("left", LEFT, start))
        position, trim_next = _action(source, inside, found)


def _comment(source: Source, position: int) -> tuple[int, bool]:
    text = source.text
    end = text.find(COMMENT_END, position + 2)
    if end < 0:
        raise source.fail(position, "unclosed comment")
    after = end + 2
    stripped = text[after:].lstrip(_SPACE)
    close = len(text) - len(stripped)
    if text.startswith(RIGHT, after):
        return after + 2, False
    if close > after and text.startswith("-" + RIGHT, close):
        return close + 3, True
    raise source.fail(position, "comment ends before closing delimiter")


def _action(source: Source, position: int, found: list[Token]) -> tuple[int, bool]:
    text = source.text
    start = position
    depth = 0
    while True:
        if position >= len(text):
            raise source.fail(start, "unclosed action")
        if text.startswith(RIGHT, position):
            if depth:
                raise source.fail(position, "unclosed left paren")
            found.append(Token("right", RIGHT, position))
            return position + 2, False
        char = text[position]
        if char in _SPACE:
            end = position
            while end < len(text) and text[end] in _SPACE:
                end += 1
            if text.startswith("-" + RIGHT, end):
                if depth:
                    raise source.fail(position, "unclosed left paren")
                found.append(Token("right", RIGHT, end))
                return end + 3, True
            found.append(Token("space", " ", position))
            position = end
            continue
        token = _token(source, position)
        if token.text == "(" and token.kind == "punctuation":
            depth += 1
        elif token.text == ")" and token.kind == "punctuation":
            depth -= 1
            if depth < 0:
                raise source.fail(position, "unexpected right paren")
        found.append(token)
        position += len(token.text)


def _terminated(text: str, position: int) -> bool:
    """Words must end at something that cannot go on: Go refuses `.x"y"`."""
    return position >= len(text) or text[position] in _SPACE + ".,|:)(" or text.startswith(RIGHT, position)


def _token(source: Source, position: int) -> Token:
    text = source.text
    char = text[position]
    if char == '"':
        match = _STRING.match(text, position)
        if match is None:
            raise source.fail(position, "unterminated quoted string")
        return Token("string", match[0], position)
    if char == "`":
        match = _RAW.match(text, position)
        if match is None:
            raise source.fail(position, "unterminated raw quoted string")
        return Token("string", match[0], position)
    if char == "'":
        match = _CHAR.match(text, position)
        if match is None:
            raise source.fail(position, "unterminated character constant")
        return Token("char", match[0], position)
    if char in "(),|":
        return Token("punctuation", char, position)
    if char == ":":
        if text.startswith(":=", position):
            return Token("punctuation", ":=", position)
        raise source.fail(position, "expected :=")
    if char == "=":
        return Token("punctuation", "=", position)
    if char == "$":
        match = _WORD.match(text, position + 1)
        word = "$" + (match[0] if match else "")
        _check_end(source, position + len(word))
        return Token("variable", word, position)
    if char == "." and not text[position + 1 : position + 2].isdigit():
        match = _WORD.match(text, position + 1)
        if match is None:
            return Token("punctuation", ".", position)
        _check_end(source, match.end())
        return Token("field", "." + match[0], position)
    if char.isdigit() or char in "+-.":
        match = _NUMBER.match(text, position)
        if match is None and not text[position + 1 : position + 2].isalnum():
            # Go's scanner lets a sign, and "0x", pass; its parser does not.
            return Token("number", char, position)
        if match is None:
            raise source.fail(position, f"bad number syntax: {_quote(text[position : position + 2].strip())}")
        following = text[match.end() : match.end() + 1]
        if following.isalnum() or following == "_":
            raise source.fail(position, f"bad number syntax: {_quote(text[position : match.end() + 1])}")
        return Token("number", match[0], position)
    match = _WORD.match(text, position)
    if match is not None:
        _check_end(source, match.end())
        return Token("word", match[0], position)
    if " " < char <= "~":
        return Token("other", char, position)
    raise source.fail(position, f"unrecognized character in action: {_unicode(char)}")


def _check_end(source: Source, position: int) -> None:
    if not _terminated(source.text, position):
        raise source.fail(position, f"bad character {_unicode(source.text[position])}")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _unicode(char: str) -> str:
    return f"U+{ord(char):04X}" + (f" '{char}'" if char.isprintable() else "")
