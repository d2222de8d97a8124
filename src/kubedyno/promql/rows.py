"""The values of an expression: rows of one float a step, None where a series has no value.

Labels are dicts with `__name__` among them; nobody changes one after it was made, so that rows may share them.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from kubedyno.promql.errors import QueryError

Labels = dict[str, str]
Values = list[float | None]
NAME = "__name__"
NAN = float("nan")
INF = float("inf")
# What a scraper writes where a series has ended: a NaN that no computation makes (Prometheus' value.StaleNaN).
_STALE_BITS = 0x7FF0000000000002
STALE: float = struct.unpack("<d", struct.pack("<Q", _STALE_BITS))[0]


def is_stale(value: float) -> bool:
    """Say whether a sample marks the end of its series."""
    return value != value and struct.pack("<d", value) == _STALE_BYTES  # noqa: PLR0124 - the test for NaN


_STALE_BYTES = struct.pack("<Q", _STALE_BITS)


@dataclass(slots=True)
class Row:
    """A series over the steps of a grid."""

    labels: Labels
    values: Values


@dataclass(frozen=True, slots=True)
class Scalar:
    """One number a step."""

    values: Values


Value = list[Row] | Scalar | str


@dataclass(frozen=True, slots=True)
class Grid:
    """Instants at which something is evaluated: from `start_ms` every `step_ms`, `count` of them."""

    start_ms: int
    step_ms: int
    count: int

    @property
    def end_ms(self) -> int:
        """The last instant."""
        return self.start_ms + self.step_ms * (self.count - 1)

    def times(self) -> range:
        """Return the instants."""
        step_ms = self.step_ms or 1
        return range(self.start_ms, self.start_ms + step_ms * self.count, step_ms)


def number(value: float | None) -> float:
    """Return a scalar's value at a step: NaN where it has none."""
    return NAN if value is None else value


def bare(labels: Labels) -> Labels:
    """Return labels without the metric's name."""
    if NAME not in labels:
        return labels
    found = labels.copy()
    del found[NAME]
    return found


def key_of(labels: Labels) -> frozenset[tuple[str, str]]:
    """Return what tells series apart."""
    return frozenset(labels.items())


def order_of(labels: Labels) -> list[tuple[str, str]]:
    """Return what series are sorted by."""
    return sorted(labels.items())


def text_of(labels: Labels) -> str:
    """Return Prometheus' text of a label set, for messages."""
    return "{" + ", ".join(f'{name}="{value}"' for name, value in sorted(labels.items())) + "}"


def overlaid(first: Values, second: Values, message: Callable[[], str]) -> Values:
    """Return two series of one label set as one.

    Raises:
        QueryError: Both have a value at one instant.
    """
    merged: Values = []
    for a, b in zip(first, second, strict=True):
        if a is None:
            merged.append(b)
        elif b is None:
            merged.append(a)
        else:
            raise QueryError(message())
    return merged


def unique(rows: Iterable[Row]) -> list[Row]:
    """Return rows with those of equal labels made one.

    Raises:
        QueryError: Two of them have a value at one instant.
    """
    found: dict[frozenset[tuple[str, str]], Row] = {}
    for row in rows:
        other = found.setdefault(key_of(row.labels), row)
        if other is not row:
            other.values = overlaid(other.values, row.values, _same_labelset)
    return list(found.values())


def _same_labelset() -> str:
    return "vector cannot contain metrics with the same labelset"


def plain(value: float) -> str:
    """Return Go's 'f' form of a float: never an exponent."""
    if value != value:  # noqa: PLR0124 - the test for NaN
        return "NaN"
    if value in {INF, -INF}:
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def json_number(value: float) -> str:
    """Return a sample's value as Prometheus' API writes it: exponents only below 1e-6 and from 1e21 on."""
    if value and (abs(value) < 1e-6 or 1e21 <= abs(value) < INF):
        mantissa, _, exponent = format(Decimal(repr(value)).normalize(), "e").partition("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:].lstrip('0')}"
    return plain(value)


def all_present(values: Sequence[float | None]) -> bool:
    """Say whether there is a value at every step."""
    return None not in values
