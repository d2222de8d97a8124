"""Functions of single values, with Go's answers where Python's raise: infinities and NaN instead of errors."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from kubedyno.promql.rows import INF, NAN

Unary = Callable[[float], float]
_DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
    if to == 0 or not math.isfinite(value):
        return NAN if to == 0 else value
    inverse = 1.0 / to
    scaled = value * inverse + 0.5
    return math.floor(scaled) / inverse if math.isfinite(scaled) else scaled / inverse


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


def _date(pick: Callable[[datetime], int]) -> Unary:
    def call(value: float) -> float:
        try:
            return float(pick(_EPOCH + timedelta(seconds=int(value))))
        except (ValueError, OverflowError):
            # NaN, infinities, and years that are not four digits.
            return NAN

    return call


def _days_in_month(day: datetime) -> int:
    following = day.replace(day=28) + timedelta(days=4)
    return (following - timedelta(days=following.day)).day


DATES: dict[str, Unary] = {
    "minute": _date(lambda day: day.minute),
    "hour": _date(lambda day: day.hour),
    "day_of_week": _date(lambda day: day.isoweekday() % 7),
    "day_of_month": _date(lambda day: day.day),
    "day_of_year": _date(lambda day: day.timetuple().tm_yday),
    "days_in_month": _date(_days_in_month),
    "month": _date(lambda day: day.month),
    "year": _date(lambda day: day.year),
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
