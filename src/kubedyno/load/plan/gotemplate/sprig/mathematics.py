"""Sprig on numbers: integers that wrap around as Go's, floats by way of decimals, and runs of integers."""

import math
import re
from collections.abc import Callable
from typing import Any

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import Int64
from kubedyno.load.plan.gotemplate.sprig.values import RANDOM, strval, text_of, to_float, to_int


def _random_int(least: Any, bound: Any) -> int:
    if to_int(bound) <= to_int(least):
        raise FunctionError("invalid argument to Intn")
    return RANDOM.randrange(to_int(least), to_int(bound))


def _until(count: Any) -> list[int]:
    n = to_int(count)
    return list(range(0, n, 1 if n >= 0 else -1))


def _until_step(start: Any, stop: Any, step: Any) -> list[int]:
    a, b, c = to_int(start), to_int(stop), to_int(step)
    if c == 0 or (b < a and c >= 0) or (b >= a and c <= 0):
        return []
    return list(range(a, b, c))


def _seq(*bounds: Any) -> str:
    numbers = [to_int(b) for b in bounds]
    if len(numbers) == 1:
        start, step, stop = 1, 1 if numbers[0] >= 1 else -1, numbers[0]
    elif len(numbers) == 2:
        start, stop = numbers
        step = 1 if stop >= start else -1
    elif len(numbers) == 3:
        start, step, stop = numbers
        if step == 0 or (stop < start) != (step < 0):
            return ""
    else:
        return ""
    return " ".join(str(n) for n in range(start, stop + (1 if step > 0 else -1), step))


def _truncated_division(a: int, b: int) -> int:
    if b == 0:
        raise FunctionError("runtime error: integer divide by zero")
    quotient = abs(a) // abs(b)
    return Int64(quotient if (a < 0) == (b < 0) else -quotient)


def _mod(a: Any, b: Any) -> int:
    x, y = to_int(a), to_int(b)
    return Int64(x - y * _truncated_division(x, y))


def _int64(value: int) -> int:
    """Wrap around as Go's int64 does."""
    return Int64(value if -(1 << 63) <= value < 1 << 63 else (value + (1 << 63)) % (1 << 64) - (1 << 63))


def _product(*values: Any) -> int:
    result = 1
    for value in values:
        result = _int64(result * to_int(value))
    return _int64(result)


def _round(value: Any, places: Any, threshold: Any = 0.5) -> float:
    number, power = to_float(value), 10.0 ** to_int(places)
    digit = number * power
    fraction, whole = math.modf(digit)
    del whole
    return (math.ceil(digit) if fraction >= to_float(threshold) else math.floor(digit)) / power


def _decimal(a: Any, *others: Any, operation: str) -> float:
    from decimal import Decimal  # noqa: PLC0415 - rare

    result = Decimal(repr(to_float(a)))
    for other in others:
        value = Decimal(repr(to_float(other)))
        if operation == "+":
            result += value
        elif operation == "-":
            result -= value
        elif operation == "*":
            result *= value
        else:
            if value == 0:
                raise FunctionError("decimal division by 0")
            result /= value
    return float(result)


def _max(*values: Any) -> int:
    return Int64(max(to_int(value) for value in values))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "randInt": _random_int,
    "add": lambda *v: _int64(sum(to_int(x) for x in v)),
    "add1": lambda v: _int64(to_int(v) + 1),
    "sub": lambda a, b: _int64(to_int(a) - to_int(b)),
    "mul": _product,
    "div": lambda a, b: _truncated_division(to_int(a), to_int(b)),
    "mod": _mod,
    "max": _max,
    "biggest": _max,
    "min": lambda *v: Int64(min(to_int(x) for x in v)),
    "maxf": lambda *v: max(to_float(x) for x in v),
    "minf": lambda *v: min(to_float(x) for x in v),
    "addf": lambda *v: _decimal(0.0, *v, operation="+"),
    "add1f": lambda v: _decimal(v, 1.0, operation="+"),
    "subf": lambda a, *v: _decimal(a, *v, operation="-"),
    "mulf": lambda a, *v: _decimal(a, *v, operation="*"),
    "divf": lambda a, *v: _decimal(a, *v, operation="/"),
    "ceil": lambda v: float(math.ceil(to_float(v))),
    "floor": lambda v: float(math.floor(to_float(v))),
    "round": _round,
    "int": to_int,
    "int64": lambda v: Int64(to_int(v)),
    "float64": to_float,
    "atoi": lambda t: to_int(t) if re.fullmatch(r"[+-]?\d+", text_of(t)) else 0,
    "toDecimal": lambda v: int(strval(v), 8) if re.fullmatch(r"[0-7]+", strval(v)) else 0,
    "until": _until,
    "untilStep": _until_step,
    "seq": _seq,
}
