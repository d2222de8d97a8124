"""Texts of strangers on a terminal: a name or a message must not move the cursor or change colours."""


def printable(text: str) -> str:
    """Return a text on one line, each character that would not be seen (controls, line ends, bidi marks) as "?"."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
