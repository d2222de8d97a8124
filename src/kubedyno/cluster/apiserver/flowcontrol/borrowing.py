"""Seats that levels lend each other, by what each could have used lately (KEP-1040).

Every ten seconds each level's demand is summed up, smoothed with a slow fall, and the server's seats are divided so that
all levels get the same multiple of what they need, within what they must keep and may borrow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

PERIOD_S = 10.0
# Of a demand that falls, so much is remembered in the next period: half of it after five minutes.
_SMOOTHING = 0.977
_HALVINGS = 60


class Demand:
    """How many seats a level could use over time: those taken and those waited for."""

    __slots__ = (
        "_most",
        "_since_s",
        "_start_s",
        "_sum",
        "_sum_squares",
        "average",
        "most",
        "seats",
        "smoothed",
        "spread",
    )

    def __init__(self, now_s: float) -> None:
        self.seats = 0
        self._since_s = self._start_s = now_s
        self._sum = self._sum_squares = 0.0
        self._most = 0
        # Of the last whole period.
        self.average = self.spread = self.smoothed = 0.0
        self.most = 0

    def change(self, by: int, now_s: float) -> None:
        """Take note of more seats, or fewer, that could be used from now on."""
        seats = self.seats
        if seats:
            spent = seats * (now_s - self._since_s)
            self._sum += spent
            self._sum_squares += spent * seats
        self._since_s = now_s
        self.seats = seats = seats + by
        self._most = max(self._most, seats)

    def passing(self, seats: int, seconds: float) -> None:
        """Take note of seats that were used beside those of now, which have not changed meanwhile."""
        others = self.seats
        spent = seats * seconds
        self._sum += spent
        self._sum_squares += spent * (2 * others + seats)
        self._most = max(self._most, others + seats)

    def end_period(self, now_s: float) -> None:
        """Sum up the period that ends now, and begin another."""
        self.change(0, now_s)
        length_s = now_s - self._start_s
        if length_s > 0:
            self.average = self._sum / length_s
            self.spread = math.sqrt(max(self._sum_squares / length_s - self.average**2, 0.0))
        self.most = self._most
        envelope = self.average + self.spread
        self.smoothed = max(envelope, _SMOOTHING * self.smoothed + (1 - _SMOOTHING) * envelope)
        self._start_s = now_s
        self._sum = self._sum_squares = 0.0
        self._most = self.seats


@dataclass(frozen=True, slots=True)
class Need:
    """What a level needs.

    Attributes:
        least: Seats that it must have.
        target: Seats that it would have; at least `least`.
        most: Seats that it may have.
    """

    least: float
    target: float
    most: float


def allocate(needs: Sequence[Need], seats: int) -> tuple[list[int], float]:
    """Divide seats so that each level has the same multiple of its target, within its bounds.

    Args:
        needs: Of each level.
        seats: To divide; where the bounds leave no room they win.

    Returns:
        The seats of each, rounded, and the multiple.
    """

    def at(multiple: float) -> float:
        return sum(min(need.most, max(need.least, multiple * need.target)) for need in needs)

    low, high = 0.0, 1.0
    while at(high) < seats and high < 2.0**40:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle) < seats else (low, middle)
    return [math.floor(min(n.most, max(n.least, high * n.target)) + 0.5) for n in needs], high
