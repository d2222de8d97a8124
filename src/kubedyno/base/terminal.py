"""Texts on a terminal: those of strangers must not move the cursor or change colours; widths; tables in columns."""

import unicodedata
from collections.abc import Sequence


def printable(text: str) -> str:
    """Return a text on one line, each character that would not be seen (controls, line ends, bidi marks) as "?"."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def printable_lines(text: str) -> str:
    """Return a text with its line ends, each line `printable`."""
    return "\n".join(map(printable, text.split("\n")))


def excerpt(body: bytes, most: int = 120) -> str:
    """Return the beginning of what a server answered as one `printable` line of so many characters."""
    return printable(" ".join(body[: 4 * most].decode(errors="replace").split())[:most])


def columns(text: str) -> int:
    """Return how many columns a printable text takes: East Asian wide characters are two, all others one."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def fitted(text: str, width: int) -> str:
    """Return a printable text that takes no more than so many columns, cut with an ellipsis where it would."""
    if columns(text) <= width:
        return text
    kept, used = 0, 1
    for c in text:
        used += columns(c)
        if used > width:
            break
        kept += 1
    return text[:kept] + "…" * (width > 0)


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Return rows as lines of columns, each as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
