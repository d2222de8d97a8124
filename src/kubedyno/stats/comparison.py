"""Two groups of repeated runs against each other: how large the difference is, and whether it can be told at all.

Whole runs are resampled, not the requests in them: requests of one run share its luck, and intervals from thousands of
them are far too narrow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations_with_replacement
from math import factorial, prod
from statistics import median

# Below this many runs a side, no interval is worth printing.
ENOUGH_RUNS = 3
CONFIDENCE = 0.95
# Up to here every resample of a side is enumerated; (n+n-1 over n) of them: 6,435 for eight runs.
MAX_EXACT_RUNS = 8


class Verdict(StrEnum):
    """What can be said of B against A."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    UNCLEAR = "unclear"
    TOO_FEW = "not enough data"


@dataclass(frozen=True, slots=True)
class Comparison:
    """B against A for one figure.

    Attributes:
        before: A's median.
        after: B's median.
        change: after / before - 1; None when before is 0.
        low: Lower end of the change's interval, None when there are too few runs.
        high: Upper end.
        runs: Runs of A and of B.
        verdict: See `compare`.
    """

    before: float
    after: float
    change: float | None
    low: float | None
    high: float | None
    runs: tuple[int, int]
    verdict: Verdict


def _medians(values: Sequence[float]) -> list[tuple[float, float]]:
    """Return the medians of all resamples of some values, each with its probability, ascending by median."""
    count = len(values)
    ordered = sorted(values)[:: max(1, count // MAX_EXACT_RUNS)] if count > MAX_EXACT_RUNS else sorted(values)
    size = len(ordered)
    found: dict[float, float] = {}
    for picks in combinations_with_replacement(range(size), size):
        ways = factorial(size) / prod(factorial(picks.count(i)) for i in set(picks))
        middle = median(ordered[i] for i in picks)
        found[middle] = found.get(middle, 0.0) + ways / size**size
    return sorted(found.items())


def compare(
    before: Sequence[float], after: Sequence[float], *, tolerance: float = 0.05, lower_is_better: bool = True
) -> Comparison:
    """Compare one figure of repeated runs.

    Args:
        before: One value a run of A.
        after: One value a run of B.
        tolerance: Changes within ± this share count as the same.
        lower_is_better: Of the figure.

    Returns:
        "better" or "worse" when the interval of the change lies wholly beyond the tolerance, "same" when wholly within,
        "unclear" when it reaches over an edge, "not enough data" below three runs a side. The interval is the
        bootstrap's central 95 % of the ratio of medians, over all resamples of runs (no randomness).

    Raises:
        ValueError: A side has no value.
    """
    if not before or not after:
        raise ValueError("both sides need at least one value")
    middle_a, middle_b = median(before), median(after)
    change = middle_b / middle_a - 1 if middle_a else None
    runs = (len(before), len(after))
    if min(runs) < ENOUGH_RUNS or change is None:
        return Comparison(middle_a, middle_b, change, None, None, runs, Verdict.TOO_FEW)
    ratios = sorted((b / a - 1, p * q) for a, p in _medians(before) if a for b, q in _medians(after))
    low, high = _central(ratios)
    if low > tolerance or high < -tolerance:
        grew = low > tolerance
        verdict = Verdict.WORSE if grew == lower_is_better else Verdict.BETTER
    elif low >= -tolerance and high <= tolerance:
        verdict = Verdict.SAME
    else:
        verdict = Verdict.UNCLEAR
    return Comparison(middle_a, middle_b, change, low, high, runs, verdict)


def _central(weighted: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the central `CONFIDENCE` of ascending weighted values."""
    total = sum(weight for _, weight in weighted)
    tail = (1 - CONFIDENCE) / 2 * total
    low, seen = weighted[0][0], 0.0
    for value, weight in weighted:
        seen += weight
        if seen > tail:
            low = value
            break
    high, seen = weighted[-1][0], 0.0
    for value, weight in reversed(weighted):
        seen += weight
        if seen > tail:
            high = value
            break
    return low, high
