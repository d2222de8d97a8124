"""Counts of observations in fixed buckets, as Prometheus' histograms are."""

from bisect import bisect_left


class Histogram:
    """Observations in buckets.

    Args:
        bounds: Upper bounds, ascending, without infinity.

    Attributes:
        counts: In each bucket, that beyond the last bound at the end.
        total: Sum of what was observed.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, count: int = 1) -> None:
        """Count so many observations of one value."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)
