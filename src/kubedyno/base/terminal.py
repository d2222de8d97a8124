"""Texts on a terminal: those of strangers must not move the cursor or change colours; tables in columns."""

from collections.abc import Sequence


def printable(text: str) -> str:
    """Return a text on one line, each character that would not be seen (controls, line ends, bidi marks) as "?"."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Return rows as lines of columns, each as wide as its widest cell."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
