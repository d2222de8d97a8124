"""Functions of a span of samples: rates, and what happened over time.

Each takes a `Window` and returns a value, or None for none. Which samples belong to the span is the engine's matter.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubedyno.promql.errors import QueryError
from kubedyno.promql.rows import INF, NAN


@dataclass(slots=True)
class Window:
    """Samples of one series in the span that ends at one step.

    Attributes:
        times: Milliseconds.
        values: As many.
        start_ms: Where the span begins.
        end_ms: Where it ends.
        now_ms: The step itself: later than `end_ms` by the offset.
    """

    times: Sequence[int]
    values: Sequence[float]
    start_ms: int
    end_ms: int
    now_ms: int


Function = Callable[[Window], float | None]


def rate(window: Window, *, counter: bool, per_second: bool, zero_last: bool) -> float | None:
    """Return the growth that a span's samples let expect for all of it (Prometheus' extrapolatedRate).

    Args:
        counter: Falls are restarts from 0.
        per_second: Of each second, not of the whole span.
        zero_last: Ask only after the rule of the long gap whether the counter would have been below 0 (3.x).
    """
    times, values = window.times, window.values
    count = len(values)
    if count < 2:
        return None
    first = values[0]
    growth = values[-1] - first
    if counter:
        before = first
        for value in values:
            if value < before:
                growth += before
            before = value
    to_start = (times[0] - window.start_ms) / 1000
    to_end = (window.end_ms - times[-1]) / 1000
    sampled = (times[-1] - times[0]) / 1000
    between = sampled / (count - 1)
    threshold = between * 1.1
    if zero_last and to_start >= threshold:
        to_start = between / 2
    if counter and growth > 0 and first >= 0:
        to_zero = sampled * (first / growth)
        to_start = min(to_start, to_zero)
    extrapolated = sampled + (to_start if zero_last or to_start < threshold else between / 2)
    extrapolated += to_end if to_end < threshold else between / 2
    factor = extrapolated / sampled
    if per_second:
        factor /= (window.end_ms - window.start_ms) / 1000
    return growth * factor


def instant_rate(window: Window, *, counter: bool) -> float | None:
    """Return the growth between the last two samples; of a counter, per second."""
    if len(window.values) < 2:
        return None
    before, last = window.values[-2], window.values[-1]
    span_ms = window.times[-1] - window.times[-2]
    if span_ms == 0:
        return None
    if not counter:
        return last - before
    return (last if last < before else last - before) / (span_ms / 1000)


def count(window: Window) -> float:
    """Return how many samples there are."""
    return float(len(window.values))


def last(window: Window) -> float:
    """Return the latest value."""
    return window.values[-1]


def present(window: Window) -> float:
    """Return 1: there are samples."""
    _ = window
    return 1.0


def total(window: Window) -> float:
    """Return the sum, exactly rounded."""
    try:
        return math.fsum(window.values)
    except (OverflowError, ValueError):
        # Infinities of both signs, or a sum beyond the largest float.
        return sum(window.values)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean; one whose sum has no finite value is taken step by step, as Prometheus takes each."""
    try:
        found = math.fsum(values) / len(values)
    except (OverflowError, ValueError):
        found = NAN
    if math.isfinite(found):
        return found
    mean = 0.0
    for number, value in enumerate(values, 1):
        if math.isinf(mean) and (not math.isinf(value) or (mean > 0) == (value > 0)) and not math.isnan(value):
            continue
        mean += value / number - mean / number
    return mean


def average(window: Window) -> float:
    """Return the mean."""
    return mean_of(window.values)


def largest(window: Window) -> float:
    """Return the maximum; NaN only when there is nothing else."""
    return max((value for value in window.values if not math.isnan(value)), default=NAN)


def smallest(window: Window) -> float:
    """Return the minimum; NaN only when there is nothing else."""
    return min((value for value in window.values if not math.isnan(value)), default=NAN)


def variance(window: Window) -> float:
    """Return the population variance (Welford's, compensated)."""
    mean = mean_rest = squares = squares_rest = 0.0
    for number, value in enumerate(window.values, 1):
        delta = value - (mean + mean_rest)
        mean, mean_rest = _compensated(delta / number, mean, mean_rest)
        squares, squares_rest = _compensated(delta * (value - (mean + mean_rest)), squares, squares_rest)
    return (squares + squares_rest) / len(window.values)


def deviation(window: Window) -> float:
    """Return the population's standard deviation."""
    return math.sqrt(found) if (found := variance(window)) >= 0 else NAN


def _compensated(step: float, value: float, rest: float) -> tuple[float, float]:
    """Return a sum and what it has lost, after one more addend (Neumaier)."""
    after = value + step
    rest += (value - after) + step if abs(value) >= abs(step) else (step - after) + value
    return after, rest


def resets(window: Window) -> float:
    """Return how often the value fell."""
    values = window.values
    return float(sum(1 for i in range(1, len(values)) if values[i] < values[i - 1]))


def changes(window: Window) -> float:
    """Return how often the value became another one; NaN after NaN is none."""
    values = window.values
    return float(
        sum(
            1
            for i in range(1, len(values))
            if values[i] != values[i - 1] and not (math.isnan(values[i]) and math.isnan(values[i - 1]))
        )
    )


def quantile_of(q: float, values: Sequence[float]) -> float:
    """Return a quantile of values, between two of them if need be; NaN counts as the smallest."""
    if not values or math.isnan(q):
        return NAN
    if q < 0:
        return -INF
    if q > 1:
        return INF
    ordered = sorted(values, key=lambda value: (not math.isnan(value), value))
    rank = q * (len(ordered) - 1)
    lower = math.floor(rank)
    upper = min(len(ordered) - 1, lower + 1)
    weight = rank - lower
    return ordered[lower] * (1 - weight) + ordered[upper] * weight


def median_deviation(window: Window) -> float:
    """Return the median distance from the median."""
    middle = quantile_of(0.5, window.values)
    return quantile_of(0.5, [abs(value - middle) for value in window.values])


def _regression(window: Window, at_ms: int) -> tuple[float, float]:
    """Return slope per second, and the line's value at an instant (least squares)."""
    times, values = window.times, window.values
    if all(value == values[0] for value in values):
        return (NAN, NAN) if math.isinf(values[0]) else (0.0, values[0])
    n = float(len(values))
    xs = [(time - at_ms) / 1000 for time in times]
    sum_x, sum_y = math.fsum(xs), total(window)
    try:
        sum_xy = math.fsum(x * y for x, y in zip(xs, values, strict=True))
    except (OverflowError, ValueError):
        sum_xy = NAN
    sum_x2 = math.fsum(x * x for x in xs)
    covariance = sum_xy - sum_x * sum_y / n
    spread = sum_x2 - sum_x * sum_x / n
    slope = covariance / spread if spread else NAN
    return slope, sum_y / n - slope * sum_x / n


def slope(window: Window) -> float | None:
    """Return the growth per second of a line through the samples."""
    return None if len(window.values) < 2 else _regression(window, window.times[0])[0]


def predicted(window: Window, ahead_s: float) -> float | None:
    """Return where a line through the samples is some seconds after the step."""
    if len(window.values) < 2:
        return None
    per_second, value = _regression(window, window.now_ms)
    return per_second * ahead_s + value


def smoothed(window: Window, factor: float, trend_factor: float) -> float | None:
    """Return the last value of a double exponential smoothing (Holt-Winters without seasons).

    Raises:
        QueryError: A factor is not between 0 and 1.
    """
    if not 0 < factor < 1:
        raise QueryError(f"invalid smoothing factor. Expected: 0 < sf < 1, got: {factor:f}")
    if not 0 < trend_factor < 1:
        raise QueryError(f"invalid trend factor. Expected: 0 < tf < 1, got: {trend_factor:f}")
    values = window.values
    if len(values) < 2:
        return None
    before, now, trend = 0.0, values[0], values[1] - values[0]
    for number, value in enumerate(values[1:]):
        if number:
            trend = trend_factor * (now - before) + (1 - trend_factor) * trend
        before, now = now, factor * value + (1 - factor) * (now + trend)
    return now


SIMPLE: dict[str, Function] = {
    "count_over_time": count,
    "last_over_time": last,
    "present_over_time": present,
    "sum_over_time": total,
    "avg_over_time": average,
    "max_over_time": largest,
    "min_over_time": smallest,
    "stdvar_over_time": variance,
    "stddev_over_time": deviation,
    "resets": resets,
    "changes": changes,
    "deriv": slope,
    "irate": lambda window: instant_rate(window, counter=True),
    "idelta": lambda window: instant_rate(window, counter=False),
    "mad_over_time": median_deviation,
}
