"""Texts of times and durations: RFC 3339 as Kubernetes writes it, and Go's durations."""

import re
from datetime import UTC, datetime

_UNITS_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_last_second: tuple[int, str] = (-1, "")


def rfc3339(epoch_s: float) -> str:
    """Return e.g. "2026-11-24T15:04:05Z" (whole seconds, UTC), cached for the current second."""
    global _last_second  # noqa: PLW0603 - one cached text; formatting dominates the write path otherwise
    second = int(epoch_s)
    if second != _last_second[0]:
        _last_second = (second, datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
    return _last_second[1]


def rfc3339_micro(epoch_s: float) -> str:
    """Return a MicroTime, e.g. "2026-11-24T15:04:05.123456Z"."""
    # The nearest: what a float has lost must not lose a microsecond more.
    second, micros = divmod(round(epoch_s * 1e6), 1_000_000)
    return f"{rfc3339(second)[:-1]}.{micros:06d}Z"


def rfc3339_go(epoch_s: float) -> str:
    """Return a time as Go's encoding/json writes it: no zeros at its end, e.g. "2026-11-24T15:04:05.5Z"."""
    whole, _, fraction = rfc3339_micro(epoch_s)[:-1].partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


def epoch_of(text: str) -> float:
    """Return the epoch seconds of an RFC 3339 time.

    Raises:
        ValueError: `text` is no such time.
    """
    return datetime.fromisoformat(text).timestamp()


def duration_ns_of(text: str) -> int:
    """Return the nanoseconds of a Go duration such as "1h2m3.5s", "-10ms" or "0".

    Raises:
        ValueError: `text` is no Go duration; the message is Go's.
    """
    body = text[1:] if text[:1] in {"+", "-"} else text
    if body == "0":
        return 0
    if not body:
        raise ValueError(f'time: invalid duration "{text}"')
    total = 0.0
    position = 0
    while position < len(body):
        part = _PART.match(body, position)
        if part is None:
            if re.match(r"[\d.]+$", body[position:]):
                raise ValueError(f'time: missing unit in duration "{text}"')
            unit = re.match(r"[\d.]+([^\d.]+)", body[position:])
            if unit:
                raise ValueError(f'time: unknown unit "{unit[1]}" in duration "{text}"')
            raise ValueError(f'time: invalid duration "{text}"')
        total += float(part[1]) * _UNITS_NS[part[2]]
        position = part.end()
    return -round(total) if text[0] == "-" else round(total)


def go_duration(nanoseconds: int) -> str:
    """Return Go's text of a duration: "4h0m0s", "1m30s", "1.5s", "350ms", "0s"."""
    sign = "-" if nanoseconds < 0 else ""
    n = abs(nanoseconds)
    if n == 0:
        return "0s"
    if n < 1_000_000_000:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if n >= size:
                whole, rest = divmod(n, size)
                fraction = f".{rest:0{len(str(size)) - 1}d}".rstrip("0").rstrip(".") if size > 1 else ""
                return f"{sign}{whole}{fraction}{unit}"
    seconds, fraction_ns = divmod(n, 1_000_000_000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    fraction = f".{fraction_ns:09d}".rstrip("0") if fraction_ns else ""
    text = f"{seconds}{fraction}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    if hours:
        text = f"{hours}h{text}"
    return sign + text


def human_duration(seconds: float) -> str:
    """Return kubectl's AGE text: "5s", "2m10s", "3h5m", "4d", "2y10d" (duration.HumanDuration)."""
    s = int(seconds)
    if s < -1:
        return "<invalid>"
    if s < 0:
        return "0s"
    if s < 120:
        return f"{s}s"
    minutes = s // 60
    if minutes < 10:
        return f"{minutes}m{s % 60}s" if s % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    days = hours // 24
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years, rest = divmod(days, 365)
    if hours < 24 * 365 * 8:
        return f"{years}y{rest}d" if rest else f"{years}y"
    return f"{years}y"
