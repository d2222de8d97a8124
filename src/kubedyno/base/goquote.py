"""Texts between quotes as Go writes them: what its programs say of what they do not take."""

_CONTROL = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def go_quote(text: str, *, ascii_only: bool = False) -> str:
    """Return %q of a string, or %+q."""
    inner = "".join('\\"' if char == '"' else _escaped(char, ascii_only=ascii_only) for char in text)
    return f'"{inner}"'


def go_quote_rune(char: str) -> str:
    """Return %q of a character; "" stands for what is no character, as past the end of a text."""
    return "'\ufffd'" if not char else "'\\''" if char == "'" else f"'{_escaped(char)}'"


def _escaped(char: str, *, ascii_only: bool = False) -> str:
    if char == "\\":
        return "\\\\"
    if char in _CONTROL:
        return _CONTROL[char]
    if char.isprintable() and (not ascii_only or char < "\x80"):
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
