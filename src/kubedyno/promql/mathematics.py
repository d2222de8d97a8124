"""Functions of single values, with Go's answers where Python's raise: infinities and NaN instead of errors."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from kubedyno.promql.rows import INF, NAN

Unary = Callable[[float], float]
_DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CYCLE_YEARS = 400
_CYCLE_S = 146_097 * _DAY_S
# Go counts from the year -292277022399, so that its seconds are never negative.
_GO_EPOCH_S = 292_277_022_400 * 31_556_952 + 719_162 * _DAY_S


def _quiet(function: Unary, overflow: Unary = lambda _value: INF) -> Unary:
    """Return a function that answers NaN outside its domain."""

    def call(value: float) -> float:
        try:
            return float(function(value))
        except ValueError:
            return NAN
        except OverflowError:
            return overflow(value)

    return call


def _logarithm(function: Unary) -> Unary:
    return lambda value: -INF if value == 0 else (NAN if value < 0 else function(value))


def _whole(function: Callable[[float], int]) -> Unary:
    return lambda value: value if not math.isfinite(value) else math.copysign(function(value), value)


def _arc_tanh(value: float) -> float:
    return math.copysign(INF, value) if abs(value) == 1 else math.atanh(value)


def sign(value: float) -> float:
    """Return -1, 0 or 1; what is neither stays."""
    return -1.0 if value < 0 else 1.0 if value > 0 else value


def rounded(value: float, to: float) -> float:
    """Return the nearest multiple, halves upwards."""
    inverse = divided(1.0, to)
    scaled = value * inverse + 0.5
    return divided(math.floor(scaled) if math.isfinite(scaled) else scaled, inverse)


def power(base: float, exponent: float) -> float:
    """Return Go's math.Pow."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return -INF if base < 0 and exponent % 2 == 1 else INF
    except ValueError:
        if base == 0:
            return math.copysign(INF, base) if exponent % 2 == 1 else INF
        return NAN


def divided(a: float, b: float) -> float:
    """Return a/b as IEEE 754 has it."""
    try:
        return a / b
    except ZeroDivisionError:
        if a == 0 or math.isnan(a):
            return NAN
        return math.copysign(INF, a) * math.copysign(1.0, b)


def remainder(a: float, b: float) -> float:
    """Return Go's math.Mod: with the sign of a."""
    try:
        return math.fmod(a, b)
    except ValueError:
        return NAN


def larger(a: float, b: float) -> float:
    """Return Go's math.Max: infinity before NaN before all else."""
    if INF in {a, b}:
        return INF
    return NAN if math.isnan(a) or math.isnan(b) else max(a, b)


def smaller(a: float, b: float) -> float:
    """Return Go's math.Min: minus infinity before NaN before all else."""
    if -INF in {a, b}:
        return -INF
    return NAN if math.isnan(a) or math.isnan(b) else min(a, b)


def _seconds(value: float) -> int:
    """Return epoch seconds as Go's time.Unix takes them, on the processors that most have: 64 bits, and they wrap around.

    What is no number of 64 bits, NaN among it, becomes the smallest one.
    """
    whole = int(value) if math.isfinite(value) and abs(value) < 2**63 else -(2**63)
    return (whole + _GO_EPOCH_S) % 2**64 - _GO_EPOCH_S


def _date(pick: Callable[[int, datetime], int]) -> Unary:
    def call(value: float) -> float:
        # The calendar repeats itself every 400 years: any year is looked up in one that Python has.
        cycles, rest = divmod(_seconds(value), _CYCLE_S)
        return float(pick(cycles * _CYCLE_YEARS, _EPOCH + timedelta(seconds=rest)))

    return call


def _days_in_month(day: datetime) -> int:
    following = day.replace(day=28) + timedelta(days=4)
    return (following - timedelta(days=following.day)).day


DATES: dict[str, Unary] = {
    "minute": _date(lambda _, day: day.minute),
    "hour": _date(lambda _, day: day.hour),
    "day_of_week": _date(lambda _, day: day.isoweekday() % 7),
    "day_of_month": _date(lambda _, day: day.day),
    "day_of_year": _date(lambda _, day: day.timetuple().tm_yday),
    "days_in_month": _date(lambda _, day: _days_in_month(day)),
    "month": _date(lambda _, day: day.month),
    "year": _date(lambda years, day: years + day.year),
}
SIMPLE: dict[str, Unary] = {
    "abs": abs,
    "ceil": _whole(math.ceil),
    "floor": _whole(math.floor),
    "exp": _quiet(math.exp),
    "ln": _logarithm(math.log),
    "log2": _logarithm(math.log2),
    "log10": _logarithm(math.log10),
    "sqrt": _quiet(math.sqrt),
    "sgn": sign,
    "sin": _quiet(math.sin),
    "cos": _quiet(math.cos),
    "tan": _quiet(math.tan),
    "asin": _quiet(math.asin),
    "acos": _quiet(math.acos),
    "atan": math.atan,
    "sinh": _quiet(math.sinh, lambda value: math.copysign(INF, value)),
    "cosh": _quiet(math.cosh),
    "tanh": math.tanh,
    "asinh": math.asinh,
    "acosh": _quiet(math.acosh),
    "atanh": _quiet(_arc_tanh),
    "deg": lambda value: value * 180 / math.pi,
    "rad": lambda value: value * math.pi / 180,
}
