"""What numbers, strings and characters in a template mean, by Go's syntax."""

import re

from kubedyno.load.plan.gotemplate.errors import TemplateError
from kubedyno.load.plan.gotemplate.lex import Source, Token

_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", "'": "'", '"': '"'}


def number_of(source: Source, token: Token) -> int | float | complex:
    """Return what a number means; raises TemplateError in Go's words when it means nothing."""
    text = token.text.replace("_", "")
    if text.endswith("i"):
        return complex(0, number_of(source, Token("number", text[:-1], token.position)).real)
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


def unquote(source: Source, token: Token) -> str:
    """Return what a string or a character in quotes means; raises TemplateError when it means nothing."""
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
