"""Quantities such as "100m", "1.5Gi", "2e3": exact values, canonical texts.

Rules: k8s.io/apimachinery's resource.Quantity. Values are kept as exact decimals; nothing is finer than a nano.
"""

import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_UP, Context, Decimal
from functools import lru_cache

_CONTEXT = Context(prec=60)
_PATTERN = re.compile(r"^([+-]?)(\d+(?:\.\d*)?|\.\d+)([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?$")
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_DECIMAL_SUFFIX = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_NANO = Decimal("1e-9")
ERROR = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
MAX = Decimal(2**63 - 1)


@dataclass(frozen=True, slots=True)
class Quantity:
    """An exact amount and the format that its text is written in: "DecimalSI", "BinarySI" or "DecimalExponent"."""

    amount: Decimal
    format: str = "DecimalSI"

    @staticmethod
    def parse(text: str) -> "Quantity":
        """Return the quantity of a text.

        Raises:
            ValueError: It is none; the text is Go's.
        """
        found = _PATTERN.match(text)
        if found is None:
            raise ValueError(ERROR)
        sign, digits, suffix = found[1], found[2], found[3] or ""
        amount = Decimal(digits)
        kind = "DecimalSI"
        if suffix in _BINARY:
            amount = _CONTEXT.multiply(amount, Decimal(1 << _BINARY[suffix]))
            kind = "BinarySI"
        elif suffix[:1] in {"e", "E"} and len(suffix) > 1:
            amount = amount.scaleb(int(suffix[1:]), _CONTEXT)
            kind = "DecimalExponent"
        else:
            amount = amount.scaleb(_DECIMAL[suffix], _CONTEXT)
        if amount != 0:
            amount = amount.quantize(_NANO, ROUND_UP, _CONTEXT) if amount.as_tuple().exponent < -9 else amount  # type: ignore[operator]
        amount = min(amount, MAX)
        return Quantity(-amount if sign == "-" else amount, kind)

    def value(self) -> int:
        """Return the amount as an integer, rounded up away from zero."""
        return int(self.amount.to_integral_value(ROUND_UP))

    def milli_value(self) -> int:
        """Return thousandths, rounded up away from zero."""
        return int(_CONTEXT.multiply(self.amount, Decimal(1000)).to_integral_value(ROUND_UP))

    def __add__(self, other: "Quantity") -> "Quantity":
        return Quantity(_CONTEXT.add(self.amount, other.amount), self.format if self.amount else other.format)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(_CONTEXT.subtract(self.amount, other.amount), self.format if self.amount else other.format)

    def __lt__(self, other: "Quantity") -> bool:
        return self.amount < other.amount

    def __str__(self) -> str:
        """Return the canonical text."""
        amount = self.amount
        if amount == 0:
            return "0"
        if self.format == "BinarySI":
            if abs(amount) < 1024 or amount != amount.to_integral_value():
                return _decimal_text(amount, exponent_form=False)
            whole, suffix = int(amount), ""
            for name, shift in _BINARY.items():
                if whole % (1 << shift) == 0:
                    suffix = name
            return f"{whole >> _BINARY[suffix] if suffix else whole}{suffix}"
        return _decimal_text(amount, exponent_form=self.format == "DecimalExponent")


def _decimal_text(amount: Decimal, *, exponent_form: bool) -> str:
    """Write with the largest suffix (a power of 1000) that leaves an integer."""
    amount = amount.quantize(_NANO, ROUND_CEILING, _CONTEXT)
    exponent = -9
    whole = int(amount.scaleb(9, _CONTEXT))
    while whole % 1000 == 0 and exponent < 18:
        whole //= 1000
        exponent += 3
    if exponent_form:
        return f"{whole}e{exponent}" if exponent else str(whole)
    return f"{whole}{_DECIMAL_SUFFIX[exponent]}"


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
