"""Quantities such as "100m", "1.5Gi", "2e3": exact values, canonical texts, Go's rounding and overflow.

A quantity is an integer times a power of ten, never finer than a nano. Go keeps small ones as an int64 with a
scale and others as big decimals; `wide` says which, because the two overflow differently, and a server must give
the figures of the real one.
"""

from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache, total_ordering
from typing import Literal

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

FORMAT_ERROR = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_ERROR = "unable to parse quantity's suffix"

_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_BINARY_SUFFIX = {0: "", **{shift // 10: suffix for suffix, shift in _BINARY.items()}}
_DIGITS = frozenset("0123456789")
_SUFFIX_LETTERS = frozenset("eEinumkKMGTP")
_NANO = -9
_MAX_INT64 = 2**63 - 1
# Digits that always fit an int64.
_INT64_DIGITS = 18
# What no honest text needs and Go would take: expanding it costs memory without end, so it is refused here.
_MAX_EXPONENT = _MAX_DIGITS = 2000
# Texts that are remembered.
_SHORT = 32
_EXACT = Context(prec=_MAX_EXPONENT + _MAX_DIGITS)


def _wrap(value: int) -> int:
    """Return the low 64 bits as Go's int64."""
    return (value + 2**63) % 2**64 - 2**63


def _divide_up(value: int, divisor: int) -> int:
    """Divide, rounding away from zero."""
    quotient = -(-abs(value) // divisor)
    return quotient if value >= 0 else -quotient


@total_ordering
@dataclass(frozen=True, slots=True, eq=False)
class Quantity:
    """`unscaled` times ten to the `exponent`, written in `format`."""

    unscaled: int
    exponent: int = 0
    format: Format = "DecimalSI"
    wide: bool = False
    # Go keeps the text it read when that looks canonical, which lets "12.345" and "1E3" through as they are.
    text: str = ""

    @staticmethod
    def parse(text: str) -> "Quantity":
        """Return the quantity of a text.

        Raises:
            ValueError: It is none; the text is Go's.
        """
        return _remembered(text) if len(text) <= _SHORT else _parse(text)

    @property
    def amount(self) -> Decimal:
        """The exact value."""
        return Decimal(self.unscaled).scaleb(self.exponent, _EXACT)

    def value(self) -> int:
        """Return the amount as an integer, rounded up; it overflows as Go's does."""
        return self.scaled_value(0)

    def milli_value(self) -> int:
        """Return thousandths, rounded up; they overflow as Go's do."""
        return self.scaled_value(-3)

    def scaled_value(self, scale: int) -> int:
        """Return the amount in units of ten to the `scale`, rounded up, as Go's ScaledValue does."""
        shift = self.exponent - scale
        if not self.wide:
            if shift < 0:
                return _divide_up(self.unscaled, 10**-shift)
            if not self.unscaled:
                return 0
            grown = self.unscaled * 10**shift if shift <= _INT64_DIGITS else 2**64
            return grown if -(2**63) <= grown <= _MAX_INT64 else 0
        if shift >= 0:
            factor: int = 10**shift if shift <= _INT64_DIGITS else -(2**63)
            return _wrap(_wrap(self.unscaled) * factor)
        divisor: int = 10**-shift
        if self.unscaled < _MAX_INT64 and -shift <= _INT64_DIGITS:
            # Go divides towards zero here and adds one for a remainder, whatever the sign.
            low = _wrap(self.unscaled)
            quotient = abs(low) // divisor * (1 if low >= 0 else -1)
            return quotient + (1 if low % divisor else 0)
        quotient, remainder = divmod(self.unscaled, divisor)
        return _wrap(_wrap(quotient) + (1 if remainder else 0))

    def round_up(self, scale: int) -> "Quantity":
        """Return the quantity rounded away from zero to a multiple of ten to the `scale`."""
        if not self.wide and self.exponent >= scale:
            return self
        if self.exponent > scale:
            return Quantity(self.unscaled * 10 ** (self.exponent - scale), scale, self.format, wide=True)
        return Quantity(_divide_up(self.unscaled, 10 ** (scale - self.exponent)), scale, self.format, self.wide)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.unscaled, self.exponent, self.format, self.wide)

    def __add__(self, other: "Quantity") -> "Quantity":
        kind = self.format if self.unscaled else other.format
        wide = self.wide or other.wide
        if not wide:
            if not other.unscaled:
                return Quantity(self.unscaled, self.exponent, kind)
            if not self.unscaled:
                return Quantity(other.unscaled, other.exponent, kind)
        exponent = min(self.exponent, other.exponent)
        mine = self.unscaled * 10 ** (self.exponent - exponent)
        total = mine + other.unscaled * 10 ** (other.exponent - exponent)
        return Quantity(total, exponent, kind, wide or not -(2**63) <= total <= _MAX_INT64)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return self + (-other)

    def _aligned(self, other: "Quantity") -> tuple[int, int]:
        exponent = min(self.exponent, other.exponent)
        return self.unscaled * 10 ** (self.exponent - exponent), other.unscaled * 10 ** (other.exponent - exponent)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Quantity):
            return NotImplemented
        mine, its = self._aligned(other)
        return mine == its

    def __lt__(self, other: "Quantity") -> bool:
        mine, its = self._aligned(other)
        return mine < its

    def __hash__(self) -> int:
        return hash(self.amount)

    def __str__(self) -> str:
        """Return the text that the API answers with."""
        return self.text or self.canonical()

    def canonical(self) -> str:
        """Return the canonical text: the largest suffix that leaves an integer."""
        number = self.unscaled
        if not number:
            return "0"
        if self.format == "BinarySI":
            whole, remainder = (
                (number * 10**self.exponent, 0) if self.exponent >= 0 else divmod(number, 10**-self.exponent)
            )
            # A small or fractional amount is written as DecimalSI, so that nothing is lost.
            if not remainder and not -1024 < whole < 1024:
                power = 0
                while abs(whole) >= 1024 and whole % 1024 == 0:
                    whole //= 1024
                    power += 1
                return f"{whole}{_BINARY_SUFFIX.get(power, '')}"
        exponent = self.exponent
        while number % 10 == 0:
            number //= 10
            exponent += 1
        number *= 10 ** (exponent % 3)
        exponent -= exponent % 3
        if self.format == "DecimalExponent":
            return f"{number}e{exponent}" if exponent else str(number)
        # Go writes no suffix where it knows none.
        return f"{number}{_DECIMAL_SUFFIX.get(exponent, '')}"


def _end_of_digits(text: str, position: int) -> int:
    while position < len(text) and text[position] in _DIGITS:
        position += 1
    return position


def _scan(text: str) -> tuple[bool, str, str, str]:
    """Split into (negative, digits before the point, digits after it, suffix)."""
    if not text:
        raise ValueError(FORMAT_ERROR)
    negative = text[0] == "-"
    start = 1 if text[0] in "+-" else 0
    while start < len(text) and text[start] == "0":
        start += 1
    point = _end_of_digits(text, start)
    whole, fraction, end = text[start:point] or "0", "", point
    if point < len(text) and text[point] == ".":
        end = _end_of_digits(text, point + 1)
        fraction = text[point + 1 : end]
    position = end
    while position < len(text) and text[position] in _SUFFIX_LETTERS:
        position += 1
    if position < len(text) and text[position] in "+-":
        position += 1
    if _end_of_digits(text, position) != len(text):
        raise ValueError(FORMAT_ERROR)
    return negative, whole, fraction, text[end:]


def _interpret(suffix: str) -> tuple[int, Format]:
    """Return the exponent of ten, or of two for BinarySI, that a suffix stands for."""
    if suffix in _DECIMAL:
        return _DECIMAL[suffix], "DecimalSI"
    if suffix in _BINARY:
        return _BINARY[suffix], "BinarySI"
    digits = suffix[2:] if suffix[1:2] in {"+", "-"} else suffix[1:]
    if suffix[0] in "eE" and digits and _DIGITS.issuperset(digits) and len(digits) <= _INT64_DIGITS:
        # Go cuts the exponent to 32 bits.
        return (int(suffix[1:]) + 2**31) % 2**32 - 2**31, "DecimalExponent"
    raise ValueError(SUFFIX_ERROR)


def _parse(text: str) -> Quantity:
    negative, whole, fraction, suffix = _scan(text)
    exponent, kind = _interpret(suffix)
    digits = whole + fraction
    if exponent > _MAX_EXPONENT or len(digits) > _MAX_DIGITS:
        raise ValueError(FORMAT_ERROR)
    sign = -1 if negative else 1
    if kind == "BinarySI":
        # Go's estimate of whether the product fits an int64.
        fits = not fraction and 14 - len(whole) - exponent * 3 // 10 >= 0
        number, scale = int(digits) << exponent, -len(fraction)
        canonical = bool(int(digits) & 7)
    else:
        fits = len(digits) <= _INT64_DIGITS and exponent - len(fraction) >= _NANO
        number, scale = int(digits), exponent - len(fraction)
        canonical = scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"
    if fits:
        return Quantity(sign * number, scale, kind, text=text if canonical else "")
    if not number:
        return Quantity(0, _NANO, kind, wide=True)
    if scale >= _NANO:
        number *= 10 ** (scale - _NANO)
    elif _NANO - scale > len(digits) + _INT64_DIGITS + 1:
        # Far below a nano: anything is at least one.
        number = 1
    else:
        number = _divide_up(number, 10 ** (_NANO - scale))
    if kind == "BinarySI":
        if number > _MAX_INT64 * 10**9:
            return Quantity(sign * _MAX_INT64, 0, kind, wide=True)
        if number < 10**9:
            kind = "DecimalSI"
    return Quantity(sign * number, _NANO, kind, wide=True)


# The same few texts, over and over.
_remembered = lru_cache(maxsize=4096)(_parse)


@lru_cache(maxsize=4096)
def milli_of(text: str) -> int:
    """Return the thousandths of a quantity's text: "100m" → 100, "2" → 2000. Cached.

    Raises:
        ValueError: It is no quantity.
    """
    return Quantity.parse(str(text)).milli_value()


@lru_cache(maxsize=4096)
def value_of(text: str) -> int:
    """Return the integer value of a quantity's text: "1Gi" → 1073741824. Cached.

    Raises:
        ValueError: It is no quantity.
    """
    return Quantity.parse(str(text)).value()
