"""Histograms of high dynamic range: whole numbers from 1 to hours, each counted to three significant digits.

Buckets as Gil Tene's HdrHistogram has them: 2048 equal ones up to 2048, then 1024 for each doubling, so that a value is off
by less than one part in a thousand, however large. Histograms add up, unlike quantiles: that is how runs and load
generators are put together. The distance of two buckets that were hit does not matter: only those are kept.
"""

from collections.abc import Iterable

# 2048: three significant digits need a resolution of one part in 1000, and buckets halve.
_SUB = 2048
_HALF = _SUB // 2
_SUB_BITS = 11


def index_of(value: int) -> int:
    """Return the bucket of a value of at least 0."""
    shift = max(value.bit_length() - _SUB_BITS, 0)
    return shift * _HALF + (value >> shift)


def highest_of(index: int) -> int:
    """Return the largest value that a bucket holds."""
    shift = max(index // _HALF - 1, 0)
    return ((index - shift * _HALF + 1) << shift) - 1


class Hdr:
    """Counts by bucket; `counts` maps only those that were hit."""

    __slots__ = ("counts", "total")

    def __init__(self, values: Iterable[int] = ()) -> None:
        self.counts: dict[int, int] = {}
        self.total = 0
        for value in values:
            self.add(value)

    def add(self, value: int, count: int = 1) -> None:
        """Count a value; one below 0 counts as 0."""
        index = index_of(max(value, 0))
        self.counts[index] = self.counts.get(index, 0) + count
        self.total += count

    def merge(self, other: "Hdr") -> None:
        """Add another's counts."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count
        self.total += other.total

    def quantile(self, percent: float) -> int:
        """Return the smallest value that at least so many percent are not above, exact to three digits; 0 when empty."""
        wanted = max(1, -(-int(percent * self.total * 1000) // 100_000))
        seen = 0
        for index in sorted(self.counts):
            seen += self.counts[index]
            if seen >= wanted:
                return highest_of(index)
        return 0

    def pairs(self) -> list[tuple[int, int]]:
        """Return (largest value of the bucket, count), ascending: the form in which documents hold it."""
        return [(highest_of(index), self.counts[index]) for index in sorted(self.counts)]

    @staticmethod
    def of_pairs(pairs: Iterable[tuple[int, int]]) -> "Hdr":
        """Return the histogram that `pairs` were made of."""
        made = Hdr()
        for value, count in pairs:
            made.add(value, count)
        return made
