"""How long clients that were refused are told to stay away: longer the more are refused."""

from collections import deque

_MOST_S = 32


class RetryAfter:
    """The seconds for one priority level.

    Doubled after a second with three times as many refusals, one less when there are fewer refusals than seconds.
    """

    __slots__ = ("_changed_s", "_count", "_history", "_second", "seconds")

    def __init__(self) -> None:
        self.seconds = 1
        self._second = 0
        self._count = 0
        # (second, refusals) of those before this one.
        self._history: deque[tuple[int, int]] = deque()
        self._changed_s = 0

    def refuse(self, now_s: float) -> int:
        """Count a refusal and return its seconds."""
        second = int(now_s)
        if second != self._second:
            self._history.append((self._second, self._count))
            self._second, self._count = second, 0
            while self._history and second - self._history[0][0] > min(2 * self.seconds, _MOST_S):
                self._history.popleft()
            self._adapt(second)
        self._count += 1
        return self.seconds

    def _adapt(self, second: int) -> None:
        refused = sum(count for at_s, count in self._history if second - at_s <= self.seconds)
        if second - self._changed_s >= self.seconds and refused >= 3 * self.seconds:
            self.seconds = min(2 * self.seconds, _MOST_S)
            self._changed_s = second
        elif refused < self.seconds and self.seconds > 1:
            self.seconds -= 1
