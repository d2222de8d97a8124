"""Whole numbers of texts as Go's strconv reads them: ASCII digits, 64 bits, and its words for what is none."""

import re

_SIGNED = re.compile(r"[+-]?[0-9]+")
_UNSIGNED = re.compile(r"[0-9]+")
# Digits of the largest number; no text that is longer is worth its reading.
_MOST_DIGITS = 20


def parse_int(text: str) -> int:
    """Return a signed number of 64 bits.

    Raises:
        ValueError: `text` is none; the message is Go's.
    """
    return _parse("ParseInt", _SIGNED, text, -(1 << 63), (1 << 63) - 1)


def parse_uint(text: str) -> int:
    """Return an unsigned number of 64 bits; raises as `parse_int`."""
    return _parse("ParseUint", _UNSIGNED, text, 0, (1 << 64) - 1)


def whole(text: str, otherwise: int) -> int:
    """Return the unsigned number that somebody wrote, e.g. in an annotation, or another one where it is none."""
    try:
        return parse_uint(text)
    except ValueError:
        return otherwise


def _parse(function: str, form: re.Pattern[str], text: str, least: int, most: int) -> int:
    if not form.fullmatch(text):
        raise ValueError(f'strconv.{function}: parsing "{text}": invalid syntax')
    # int() itself takes no more than some thousands of digits, zeros included.
    digits = text.lstrip("+-").lstrip("0") or "0"
    value = int(digits[: _MOST_DIGITS + 1]) * (-1 if text.startswith("-") else 1)
    if not least <= value <= most:
        raise ValueError(f'strconv.{function}: parsing "{text}": value out of range')
    return value
