"""Sprig on strings and lists of strings, random ones among them; where Go counts bytes, so does this."""

import re
from collections.abc import Callable
from string import ascii_letters, digits
from typing import Any

from kubedyno.base.goquote import go_quote
from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import show
from kubedyno.load.plan.gotemplate.sprig.values import RANDOM, strval, text_of, to_int

_ASCII = "".join(chr(code) for code in range(32, 127))


def _join(separator: Any, values: Any) -> str:
    items = values if isinstance(values, list | tuple) else [values]
    return str(separator).join(strval(item) for item in items if item is not None)


def _trunc(size: Any, text: Any) -> str:
    n, raw = to_int(size), text_of(text).encode()
    if n < 0 and len(raw) + n > 0:
        return raw[len(raw) + n :].decode("utf-8", "replace")
    if 0 <= n < len(raw):
        return raw[:n].decode("utf-8", "replace")
    return text_of(text)


def _substr(start: Any, end: Any, text: Any) -> str:
    raw, a, b = text_of(text).encode(), to_int(start), to_int(end)
    first = max(a, 0)
    last = b if a < 0 or 0 <= b <= len(raw) else len(raw)
    if last > len(raw) or last < 0:
        raise FunctionError(
            f"runtime error: slice bounds out of range [:{last}]" + f" with length {len(raw)}" * (last > 0)
        )
    if first > last:
        raise FunctionError(f"runtime error: slice bounds out of range [{first}:{last}]")
    return raw[first:last].decode("utf-8", "replace")


def _indent(size: Any, text: Any) -> str:
    pad = _repeat(size, " ")
    return pad + text_of(text).replace("\n", "\n" + pad)


def _title(text: Any) -> str:
    """Put the first letter of each word in title case; a word begins after anything but a letter, digit or underscore."""
    out: list[str] = []
    before = " "
    for char in text_of(text):
        begins = not (before.isalnum() or before == "_") if before < "\x80" or before.isalnum() else before.isspace()
        out.append(char.title() if begins else char)
        before = char
    return "".join(out)


def _words(text: Any, joiner: str) -> str:
    spaced = re.sub(
        r"([A-Z]+)([A-Z][a-z])|([a-z0-9])([A-Z])|([A-Za-z])(\d+[a-z])|([A-Z]{2,})(\d+)", _split_words, text_of(text)
    )
    return re.sub(r"[\s_\-]+", joiner, spaced).lower()


def _split_words(match: re.Match[str]) -> str:
    if match[1]:
        return f"{match[1]}_{match[2]}"
    if match[3]:
        return f"{match[3]}_{match[4]}"
    if match[5]:
        return f"{match[5]}_{match[6]}"
    return f"{match[7]}_{match[8]}"


def _camel(text: Any) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[\s_\-]+", text_of(text)) if part)


def _wrap(width: Any, text: Any, joiner: str = "\n", *, cuts: bool = False) -> str:
    """Break a text at spaces into lines of at most `width` bytes; a longer word stays whole unless `cuts`."""
    rest, size = text_of(text).encode(), max(1, to_int(width))
    lines: list[bytes] = []
    while len(rest) > size:
        if rest.startswith(b" "):
            rest = rest[1:]
            continue
        at = rest.rfind(b" ", 0, size + 1)
        if at < 0 and not cuts:
            at = rest.find(b" ", size)
            if at < 0:
                break
        lines.append(rest[: at if at >= 0 else size])
        rest = rest[at + 1 if at >= 0 else size :]
    return (joiner or "\n").join(line.decode("utf-8", "replace") for line in [*lines, rest])


def _abbrev(width: Any, text: Any) -> str:
    n, source = to_int(width), text_of(text)
    if n < 4 or len(source) <= n:
        return source
    return source[: n - 3] + "..."


def _abbrev_both(left: Any, right: Any, text: Any) -> str:
    offset, width, source = to_int(left), to_int(right), text_of(text)
    if width < 4 or (offset > 0 and width < 7) or len(source) <= width:
        return source
    offset = min(offset, len(source) - (width - 3))
    if offset <= 4:
        return source[: width - 3] + "..."
    if offset + width - 3 < len(source):
        return "..." + _abbrev(width - 3, source[offset:])
    return "..." + source[len(source) - (width - 3) :]


def _repeat(count: Any, text: Any) -> str:
    if to_int(count) < 0:
        raise FunctionError("strings: negative Repeat count")
    return text_of(text) * to_int(count)


def _shuffle(text: Any) -> str:
    letters = list(text_of(text))
    RANDOM.shuffle(letters)
    return "".join(letters)


def _random(characters: str) -> Callable[[Any], str]:
    return lambda size: "".join(RANDOM.choices(characters, k=max(0, to_int(size))))


def _split(separator: Any, text: Any) -> dict[str, str]:
    parts = text_of(text).split(str(separator)) if separator else list(text_of(text))
    return {f"_{i}": part for i, part in enumerate(parts)}


def _splitn(separator: Any, count: Any, text: Any) -> dict[str, str]:
    parts = text_of(text).split(str(separator), to_int(count) - 1) if to_int(count) else []
    return {f"_{i}": part for i, part in enumerate(parts)}


def _strings(values: Any) -> list[str]:
    if isinstance(values, list | tuple):
        return [strval(value) for value in values if value is not None]
    return [] if values is None else [strval(values)]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "trim": lambda t: text_of(t).strip(),
    "trimAll": lambda c, t: text_of(t).strip(c),
    "trimall": lambda c, t: text_of(t).strip(c),
    "trimPrefix": lambda p, t: text_of(t).removeprefix(text_of(p)),
    "trimSuffix": lambda s, t: text_of(t).removesuffix(text_of(s)),
    "upper": lambda t: text_of(t).upper(),
    "lower": lambda t: text_of(t).lower(),
    "title": _title,
    "untitle": lambda t: re.sub(r"(^|\s)(\w)", lambda m: m[1] + m[2].lower(), text_of(t)),
    "repeat": _repeat,
    "substr": _substr,
    "trunc": _trunc,
    "abbrev": _abbrev,
    "abbrevboth": _abbrev_both,
    "shuffle": _shuffle,
    "initials": lambda t: "".join(chr(word.encode()[0]) for word in t.split()),
    "contains": lambda a, b: text_of(a) in text_of(b),
    "hasPrefix": lambda a, b: text_of(b).startswith(text_of(a)),
    "hasSuffix": lambda a, b: text_of(b).endswith(text_of(a)),
    "quote": lambda *v: " ".join(go_quote(strval(x)) for x in v if x is not None),
    "squote": lambda *v: " ".join(f"'{strval(x)}'" for x in v if x is not None),
    "cat": lambda *v: " ".join(show(x) for x in v if x is not None),
    "indent": _indent,
    "nindent": lambda n, t: "\n" + _indent(n, t),
    "replace": lambda a, b, t: text_of(t).replace(text_of(a), text_of(b)),
    "plural": lambda one, many, count: one if to_int(count) == 1 else many,
    "snakecase": lambda t: _words(t, "_"),
    "kebabcase": lambda t: _words(t, "-"),
    "camelcase": _camel,
    "swapcase": lambda t: text_of(t).swapcase(),
    # The original goes byte by byte, and takes each for a character.
    "nospace": lambda t: "".join(chr(b) for b in t.encode() if not chr(b).isspace()),
    "wrap": _wrap,
    "wrapWith": lambda n, j, t: _wrap(n, t, j, cuts=True),
    "join": _join,
    "split": _split,
    "splitn": _splitn,
    "splitList": lambda s, t: text_of(t).split(text_of(s)) if s else list(text_of(t)),
    "toStrings": _strings,
    "toString": strval,
    "sortAlpha": lambda v: sorted(_strings(v)),
    "randAlphaNum": _random(ascii_letters + digits),
    "randAlpha": _random(ascii_letters),
    "randNumeric": _random(digits),
    "randAscii": _random(_ASCII),
    "uuidv4": RANDOM.uid,
}
