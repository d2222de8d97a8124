"""Paired rounds → a ratio with an interval that assumes nothing of how noise is distributed. Pure."""

from collections.abc import Mapping
from math import comb
from statistics import median

from kubedyno.documents.net import ENOUGH, Ratio

CONFIDENCE = 0.95


def median_interval(ordered: list[float]) -> tuple[float, float, float]:
    """Return low, high and confidence of the median of ascending values.

    By the sign test: the median lies between the k-th smallest and the k-th largest value with probability
    1 - 2·Σ C(n,i)/2ⁿ for i < k. The largest k with at least 95 % is taken; below six values not even the whole span
    reaches that, and its own probability is returned.

    Raises:
        ValueError: There are no values.
    """
    count = len(ordered)
    if not count:
        raise ValueError("interval of no values")
    outside = 0.0
    best = (ordered[0], ordered[-1], 1 - 2 * comb(count, 0) / 2**count)
    for k in range(1, count // 2 + 1):
        outside += 2 * comb(count, k - 1) / 2**count
        if 1 - outside < CONFIDENCE:
            break
        best = (ordered[k - 1], ordered[count - k], 1 - outside)
    return best


def ratio_of(to: str, ours: Mapping[int, float], theirs: Mapping[int, float]) -> Ratio | None:
    """Compare the rounds that both have; None when there is none, or theirs is 0.

    Args:
        to: The other's name.
        ours: Round → figure.
        theirs: Round → figure.
    """
    ratios = sorted(ours[number] / theirs[number] for number in ours if theirs.get(number))
    if not ratios:
        return None
    low, high, confidence = median_interval(ratios)
    return Ratio(
        to=to,
        median=median(ratios),
        low=low,
        high=high,
        confidence=max(0.0, confidence),
        rounds=len(ratios),
        resolved=confidence >= ENOUGH and (low > 1 or high < 1),
    )
