"""What Go's encoding/json says of a text that is no JSON: where it stopped, and what it looked for there.

Only asked once a text has been refused, so it need not be fast; a text that is well-formed has no fault.
"""

import re

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)?")
_DIGITS = re.compile(rb"[0-9]+")
_LITERALS = {0x74: b"true", 0x66: b"false", 0x6E: b"null"}
_ESCAPES = frozenset(b'"\\/bfnrtu')
_HEX = frozenset(b"0123456789abcdefABCDEF")
_DIGIT = frozenset(b"0123456789")
_END = "unexpected end of JSON input"
_QUOTED = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\v": "\\v",
    "'": "\\'",
    '"': '"',
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\\": "\\\\",
}
_MAX_DEPTH = 10_000
_VALUE, _KEY = "looking for beginning of value", "looking for beginning of object key string"


class _FaultError(Exception):
    """Go's words."""


def fault(text: bytes) -> str:
    """Return Go's error for a text, "" when it is JSON."""
    try:
        _Scanner(text).run()
    except _FaultError as found:
        return str(found)
    return ""


class _Scanner:
    def __init__(self, text: bytes) -> None:
        self._text = text
        self._at = 0

    def run(self) -> None:
        """Read one value and nothing after it, without recursion: texts may be nested deeply."""
        open_: list[int] = []
        expects_value = True
        while True:
            if expects_value:
                opened = self._value()
                if opened:
                    open_.append(opened)
                    if len(open_) > _MAX_DEPTH:
                        raise _FaultError("exceeded max depth")
                    expects_value = self._enter(opened)
                    if not expects_value:
                        open_.pop()
                    continue
                expects_value = False
            elif not open_:
                if self._next(ends=True) is not None:
                    self._stop("after top-level value")
                return
            else:
                expects_value = self._after(open_[-1])
                if not expects_value:
                    open_.pop()

    def _enter(self, opened: int) -> bool:
        """Begin an object or array; False when it ends at once."""
        byte = self._next()
        if byte == (0x7D if opened == 0x7B else 0x5D):
            self._at += 1
            return False
        if opened == 0x7B:
            self._key()
        return True

    def _after(self, opened: int) -> bool:
        """Go on behind an element; False when what holds it ends."""
        byte = self._next()
        is_object = opened == 0x7B
        if byte == (0x7D if is_object else 0x5D):
            self._at += 1
            return False
        if byte != 0x2C:
            self._stop("after object key:value pair" if is_object else "after array element")
        self._at += 1
        if is_object:
            self._key()
        return True

    def _key(self) -> None:
        if self._next() != 0x22:
            self._stop(_KEY)
        self._string()
        if self._next() != 0x3A:
            self._stop("after object key")
        self._at += 1

    def _value(self) -> int:
        """Read a scalar, or the beginning of what holds others; returns its brace or bracket, 0 for a scalar."""
        byte = self._next()
        if byte in {0x7B, 0x5B}:
            self._at += 1
            return byte or 0
        if byte == 0x22:
            self._string()
        elif byte in _LITERALS:
            self._literal(_LITERALS[byte])
        elif byte == 0x2D or byte in _DIGIT:
            self._number()
        else:
            self._stop(_VALUE)
        return 0

    # --- scalars -----------------------------------------------------------------------------------------------

    def _string(self) -> None:
        found = _STRING.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        byte = self._peek()
        if byte == 0x22:
            self._at += 1
            return
        if byte != 0x5C:
            self._stop("in string literal")
        self._at += 1
        if self._peek() not in _ESCAPES:
            self._stop("in string escape code")
        self._at += 1
        while self._peek() in _HEX:
            self._at += 1
        self._stop("in \\u hexadecimal character escape")

    def _literal(self, word: bytes) -> None:
        self._at += 1
        for byte in word[1:]:
            if self._peek() != byte:
                self._stop(f"in literal {word.decode()} (expecting {_quoted(byte)})")
            self._at += 1

    def _number(self) -> None:
        found = _NUMBER.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        if found[0] == b"-":
            self._stop("in numeric literal")
        if self._peek(ends=True) == 0x2E:
            self._at += 1
            self._digits("after decimal point in numeric literal")
        if self._peek(ends=True) in {0x65, 0x45}:
            self._at += 1
            if self._peek() in {0x2B, 0x2D}:
                self._at += 1
            self._digits("in exponent of numeric literal")

    def _digits(self, where: str) -> None:
        found = _DIGITS.match(self._text, self._at)
        if found is None:
            self._stop(where)
            return
        self._at = found.end()

    # --- bytes -------------------------------------------------------------------------------------------------

    def _next(self, *, ends: bool = False) -> int | None:
        """Return the next byte that is no space, see `_peek`."""
        found = _SPACE.match(self._text, self._at)
        assert found is not None
        self._at = found.end()
        return self._peek(ends=ends)

    def _peek(self, *, ends: bool = False) -> int | None:
        """Return the byte that comes next; where the text may end here, None at its end."""
        if self._at < len(self._text):
            return self._text[self._at]
        if ends:
            return None
        raise _FaultError(_END)

    def _stop(self, where: str) -> None:
        byte = self._peek()
        assert byte is not None
        raise _FaultError(f"invalid character {_quoted(byte)} {where}")


def _quoted(byte: int) -> str:
    letter = chr(byte)
    shown = _QUOTED.get(letter)
    if shown is None:
        shown = letter if letter.isprintable() else f"\\x{byte:02x}" if byte < 0x80 else f"\\u{byte:04x}"
    return f"'{shown}'"
