"""Strangers' texts in a report: as HTML, Markdown or XML they stay text, and nothing invisible is left in them."""

import html
import re

from kubedyno.base.terminal import printable, printable_lines

# What would begin a table's cell, a tag, a link or an image, a span of code, emphasis, an entity.
_MARKS = re.compile(r"[\\|\[`*]")


def escape(text: str) -> str:
    """Return a text as HTML, in an element or a quoted attribute."""
    return html.escape(printable_lines(text))


def xml(text: str) -> str:
    """Return a text as XML, in an element or between double quotes."""
    return html.escape(printable_lines(text), quote=False).replace('"', "&quot;")


def markdown(text: str) -> str:
    """Return a text as one line of Markdown."""
    return _MARKS.sub(r"\\\g<0>", printable(" ".join(text.split("\n")))).replace("&", "&amp;").replace("<", "&lt;")


def code(text: str) -> str:
    """Return a text as a span of code in a line of Markdown."""
    return f"`{printable(text).replace('`', '')}`"
