"""Quantiles by kube-burner's rule, and the usual summaries.

kube-burner takes percentiles from montanaflynn/stats 0.7.1, whose rule differs from every textbook's; figures
that are to be compared with its documents must use the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of ascending values by montanaflynn/stats 0.7.1's rule.

    With n values and x = percent/100·n: the x-th value when x is whole, else the mean of the two values
    before and at ⌊x⌋. One value is its own percentile.

    Args:
        ordered: At least one value, ascending.
        percent: In (0, 100].

    Raises:
        ValueError: `ordered` is empty, or the percentile lies before the first value.
    """
    count = len(ordered)
    if count == 0:
        raise ValueError("percentile of no values")
    if count == 1:
        return ordered[0]
    x = percent / 100 * count
    whole = int(x)
    if x == whole:
        return ordered[whole - 1]
    if whole < 1:
        raise ValueError(f"percentile {percent} of {count} values lies before the first")
    return (ordered[whole - 1] + ordered[whole]) / 2


@dataclass(frozen=True, slots=True)
class Summary:
    """P50, P95, P99, extremes and mean of a sample, in the sample's own unit; `count` is the sample size."""

    count: int
    p50: float
    p95: float
    p99: float
    minimum: float
    maximum: float
    average: float


def summary_of(values: Sequence[float]) -> Summary:
    """Summarise at least one value. O(n log n)."""
    ordered = sorted(values)

    def at(percent: float) -> float:
        # The rule has no value for x < 1 (few values, low percent): the first one stands for it.
        return percentile(ordered, percent) if percent / 100 * len(ordered) >= 1 or len(ordered) == 1 else ordered[0]

    return Summary(len(ordered), at(50), at(95), at(99), ordered[0], ordered[-1], sum(ordered) / len(ordered))
