"""The rate limit of a job: a schedule, not a counter."""

from dataclasses import dataclass


@dataclass(slots=True)
class TokenBucket:
    """At most `burst` requests at once, and `qps` a second after that.

    The bucket is kept as one number, the time at which it would be full again ("theoretical arrival time"), so
    tokens are never rounded and a late tick loses nothing: rate errors do not add up.

    Invariant: `_full_at_s` never lies more than `burst / qps` after the time of the last promised request.
    """

    qps: float
    burst: int
    _full_at_s: float = float("-inf")
    _last_s: float = float("-inf")

    def __post_init__(self) -> None:
        if self.qps <= 0 or self.burst < 1:
            raise ValueError(f"qps must be above 0 and burst at least 1, not {self.qps} and {self.burst}")

    def reserve(self, now_s: float) -> float:
        """Take one token and say when its request may be sent.

        Args:
            now_s: Monotonic seconds, not before those of an earlier call.

        Returns:
            Monotonic seconds at which to send: `now_s` while tokens last, later after that.

        Raises:
            ValueError: `now_s` lies before an earlier call.
        """
        if now_s < self._last_s:
            raise ValueError(f"time went back from {self._last_s} to {now_s}")
        self._last_s = now_s
        interval_s = 1.0 / self.qps
        start_s = max(self._full_at_s, now_s)
        due_s = start_s - (self.burst - 1) * interval_s
        self._full_at_s = start_s + interval_s
        return max(due_s, now_s)
