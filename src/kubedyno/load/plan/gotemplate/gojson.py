"""JSON as encoding/json reads it into `any`, with its error texts."""

from typing import Any

import orjson

from kubedyno.load.plan.gotemplate.errors import FunctionError


def decode(text: str) -> Any:
    """Return the value of a JSON text; every number is a float, as in Go.

    Raises:
        FunctionError: It is no JSON; the message is Go's.
    """
    try:
        return _floats(orjson.loads(text))
    except orjson.JSONDecodeError:
        raise FunctionError(_complaint(text)) from None


def _floats(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, dict):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return value


class _Bad(Exception):
    def __init__(self, place: int, where: str) -> None:
        self.place = place
        self.where = where


def _complaint(text: str) -> str:
    try:
        at = _value(text, 0, "looking for beginning of value")
        at = _space(text, at)
        if at < len(text):
            raise _Bad(at, "after top-level value")
    except _Bad as bad:
        if bad.place >= len(text):
            return "unexpected end of JSON input"
        char = text[bad.place]
        shown = {"'": "'\\''", '"': "'\"'"}.get(char, f"'{char}'" if char.isprintable() else f"'\\x{ord(char):02x}'")
        return f"invalid character {shown} {bad.where}"
    return "invalid JSON"


def _space(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _value(text: str, at: int, where: str) -> int:
    at = _space(text, at)
    char = text[at : at + 1]
    if char == "{":
        return _object(text, at + 1)
    if char == "[":
        return _array(text, at + 1)
    if char == '"':
        return _string(text, at + 1)
    if char and char in "-0123456789":
        return _number(text, at)
    for word in ("true", "false", "null"):
        if char == word[0]:
            for place, letter in enumerate(word):
                if text[at + place : at + place + 1] != letter:
                    raise _Bad(at + place, f"in literal {word} (expecting '{letter}')")
            return at + len(word)
    raise _Bad(at, where)


def _object(text: str, at: int) -> int:
    at = _space(text, at)
    if text[at : at + 1] == "}":
        return at + 1
    while True:
        at = _space(text, at)
        if text[at : at + 1] != '"':
            raise _Bad(at, "looking for beginning of object key string")
        at = _space(text, _string(text, at + 1))
        if text[at : at + 1] != ":":
            raise _Bad(at, "after object key")
        at = _space(text, _value(text, at + 1, "looking for beginning of value"))
        if text[at : at + 1] == "}":
            return at + 1
        if text[at : at + 1] != ",":
            raise _Bad(at, "after object key:value pair")
        at += 1


def _array(text: str, at: int) -> int:
    at = _space(text, at)
    if text[at : at + 1] == "]":
        return at + 1
    while True:
        at = _space(text, _value(text, at, "looking for beginning of value"))
        if text[at : at + 1] == "]":
            return at + 1
        if text[at : at + 1] != ",":
            raise _Bad(at, "after array element")
        at += 1


def _string(text: str, at: int) -> int:
    while True:
        char = text[at : at + 1]
        if char == '"':
            return at + 1
        if char == "\\":
            following = text[at + 1 : at + 2]
            if following == "u":
                for place in range(at + 2, at + 6):
                    if text[place : place + 1].lower() not in set("0123456789abcdef"):
                        raise _Bad(place, "in \\u hexadecimal character escape")
                at += 6
                continue
            if following not in set('"\\/bfnrt'):
                raise _Bad(at + 1, "in string escape code")
            at += 2
            continue
        if not char or char < " ":
            raise _Bad(at, "in string literal")
        at += 1


def _number(text: str, at: int) -> int:
    if text[at] == "-":
        at += 1
    if text[at : at + 1] == "0":
        at += 1
    elif text[at : at + 1].isdigit():
        at = _digits(text, at)
    else:
        raise _Bad(at, "in numeric literal")
    if text[at : at + 1] == ".":
        if not text[at + 1 : at + 2].isdigit():
            raise _Bad(at + 1, "after decimal point in numeric literal")
        at = _digits(text, at + 1)
    if text[at : at + 1] in {"e", "E"}:
        at += 2 if text[at + 1 : at + 2] in {"+", "-"} else 1
        if not text[at : at + 1].isdigit():
            raise _Bad(at, "in exponent of numeric literal")
        at = _digits(text, at)
    return at


def _digits(text: str, at: int) -> int:
    while text[at : at + 1].isdigit():
        at += 1
    return at
