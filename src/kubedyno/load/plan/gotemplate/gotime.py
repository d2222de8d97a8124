"""Go's time.Time as far as templates use it: layouts, parsing, durations."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.load.plan.gotemplate.errors import FunctionError

_MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
_CHUNK = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|2006|Z070000|Z07:00:00|Z0700|Z07:00|Z07|-070000|-07:00:00|-0700"
    r"|-07:00|-07|002|01|02|03|04|05|06|15|PM|pm|__2|_2006|_2|1|2|3|4|5|[.,]0+(?!\d)|[.,]9+(?!\d)"
)
_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_STRING = "2006-01-02 15:04:05.999999999 -0700 MST"


class GoTime:
    """A moment in a time zone."""

    __slots__ = ("moment",)

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __str__(self) -> str:
        return self.format(_STRING)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GoTime) and self.moment == other.moment

    def __hash__(self) -> int:
        return hash(self.moment)

    def format(self, layout: str) -> str:
        """Return the moment in a layout, which shows how 2006-01-02 15:04:05 -0700 would look."""
        out: list[str] = []
        at = 0
        for found in _CHUNK.finditer(layout):
            out += (layout[at : found.start()], self._chunk(found[0]))
            at = found.end()
        return "".join(out) + layout[at:]

    def _chunk(self, chunk: str) -> str:
        m = self.moment
        made = _FORMATS.get(chunk)
        if made is not None:
            return made(m)
        if chunk[0] in ".,":
            digits = f"{m.microsecond * 1000:09d}"[: len(chunk) - 1]
            if chunk[1] == "9":
                digits = digits.rstrip("0")
            return chunk[0] + digits if digits else ""
        if chunk == "_2006":
            return f"_{m.year:04d}"
        return _offset(m, chunk)

    @property
    def go_methods(self) -> dict[str, Callable[..., Any]]:
        """What a template may call on it."""
        return _METHODS


def _offset(moment: datetime, chunk: str) -> str:
    seconds = int((moment.utcoffset() or timedelta()).total_seconds())
    if chunk[0] == "Z" and seconds == 0:
        return "Z"
    sign, seconds = "-" if seconds < 0 else "+", abs(seconds)
    parts = [f"{seconds // 3600:02d}", f"{seconds // 60 % 60:02d}", f"{seconds % 60:02d}"]
    body = chunk[1:]
    joiner = ":" if ":" in body else ""
    return sign + joiner.join(parts[: len(body.replace(":", "")) // 2])


_FORMATS: dict[str, Callable[[datetime], str]] = {
    "2006": lambda m: f"{m.year:04d}",
    "06": lambda m: f"{m.year % 100:02d}",
    "January": lambda m: _MONTHS[m.month - 1],
    "Jan": lambda m: _MONTHS[m.month - 1][:3],
    "01": lambda m: f"{m.month:02d}",
    "1": lambda m: str(m.month),
    "Monday": lambda m: _DAYS[m.weekday()],
    "Mon": lambda m: _DAYS[m.weekday()][:3],
    "02": lambda m: f"{m.day:02d}",
    "_2": lambda m: f"{m.day:2d}",
    "2": lambda m: str(m.day),
    "002": lambda m: f"{m.timetuple().tm_yday:03d}",
    "__2": lambda m: f"{m.timetuple().tm_yday:3d}",
    "15": lambda m: f"{m.hour:02d}",
    "03": lambda m: f"{m.hour % 12 or 12:02d}",
    "3": lambda m: str(m.hour % 12 or 12),
    "04": lambda m: f"{m.minute:02d}",
    "4": lambda m: str(m.minute),
    "05": lambda m: f"{m.second:02d}",
    "5": lambda m: str(m.second),
    "PM": lambda m: "PM" if m.hour >= 12 else "AM",
    "pm": lambda m: "pm" if m.hour >= 12 else "am",
    "MST": lambda m: m.tzname() or "UTC",
}


def _later(t: GoTime, years: int, months: int, days: int) -> GoTime:
    """Return the date so much later; what a month is too short for runs over into the next."""
    month = t.moment.month - 1 + months
    first = t.moment.replace(year=t.moment.year + years + month // 12, month=month % 12 + 1, day=1)
    return GoTime(first + timedelta(days=t.moment.day - 1 + days))


_METHODS: dict[str, Callable[..., Any]] = {
    "AddDate": _later,
    "Format": lambda t, layout: t.format(layout),
    "String": str,
    "Year": lambda t: t.moment.year,
    "Month": lambda t: _MONTHS[t.moment.month - 1],
    "Day": lambda t: t.moment.day,
    "Weekday": lambda t: _DAYS[t.moment.weekday()],
    "YearDay": lambda t: t.moment.timetuple().tm_yday,
    "Hour": lambda t: t.moment.hour,
    "Minute": lambda t: t.moment.minute,
    "Second": lambda t: t.moment.second,
    "Nanosecond": lambda t: t.moment.microsecond * 1000,
    "Unix": lambda t: int(t.moment.timestamp()),
    "UnixMilli": lambda t: int(t.moment.timestamp() * 1000),
    "UnixNano": lambda t: int(t.moment.timestamp()) * 10**9 + t.moment.microsecond * 1000,
    "UTC": lambda t: GoTime(t.moment.astimezone(UTC)),
    "Local": lambda t: GoTime(t.moment.astimezone()),
    "IsZero": lambda t: t.moment == _FIRST,
    "Before": lambda t, other: t.moment < other.moment,
    "After": lambda t, other: t.moment > other.moment,
    "Equal": lambda t, other: t.moment == other.moment,
}

ZERO = GoTime(_FIRST)


def now() -> GoTime:
    """Return the present in the local zone."""
    return GoTime(datetime.fromtimestamp(SYSTEM_CLOCK.now(), UTC).astimezone())


def zone(name: str) -> tzinfo:
    """Return a time zone by name, UTC for one that is not known, as Sprig does."""
    if name == "Local":
        return datetime.fromtimestamp(0, UTC).astimezone().tzinfo or UTC
    try:
        return ZoneInfo(name or "UTC")
    except (OSError, ValueError, KeyError):
        return UTC


def of(value: Any) -> GoTime:
    """Return the time that a value means to Sprig's `date`: seconds since the epoch, a time, else now."""
    if isinstance(value, GoTime):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return GoTime(datetime.fromtimestamp(value, UTC))
    return now()


# Chunk → what it takes and how its text is kept.
_PARSED = {
    "2006": (r"\d{4}", "year"), "06": (r"\d{2}", "year2"), "January": ("|".join(_MONTHS), "month"),
    "Jan": ("|".join(name[:3] for name in _MONTHS), "month"), "01": (r"\d{2}", "mon"), "1": (r"\d{1,2}", "mon"),
    "Monday": ("|".join(_DAYS), ""), "Mon": ("|".join(name[:3] for name in _DAYS), ""), "02": (r"\d{2}", "day"),
    "2": (r"\d{1,2}", "day"), "_2": (r" ?\d{1,2}", "day"), "15": (r"\d{2}", "hour"), "03": (r"\d{2}", "hour"),
    "3": (r"\d{1,2}", "hour"), "04": (r"\d{2}", "minute"), "4": (r"\d{1,2}", "minute"), "05": (r"\d{2}", "second"),
    "5": (r"\d{1,2}", "second"), "PM": ("AM|PM", "half"), "pm": ("am|pm", "half"), "MST": (r"[A-Z]{3,4}", "zone"),
    "Z07:00": (r"Z|[+-]\d\d:\d\d", "offset"), "-07:00": (r"[+-]\d\d:\d\d", "offset"),
    "Z0700": (r"Z|[+-]\d{4}", "offset"), "-0700": (r"[+-]\d{4}", "offset"), "-07": (r"[+-]\d\d", "offset"),
    "002": (r"\d{3}", "yday"),
}  # fmt: skip
_RANGES = {"mon": (1, 12, "month"), "hour": (0, 23, "hour"), "minute": (0, 59, "minute"), "second": (0, 59, "second")}


def parse(layout: str, text: str) -> GoTime:
    """Return the moment that a text tells in a layout; without a zone in UTC.

    Raises:
        FunctionError: The text does not fit; the message is Go's.
    """
    rest, at, found = text, 0, dict[str, str]()
    chunks = [*_CHUNK.finditer(layout), None]
    for chunk in chunks:
        between = layout[at : chunk.start()] if chunk else layout[at:]
        if not rest.startswith(between):
            raise _parse_error(layout, text, rest, between)
        rest = rest[len(between) :]
        if chunk is None:
            break
        at = chunk.end()
        pattern, name = _PARSED.get(chunk[0], (r"[.,]?\d*", "fraction"))
        match = re.match(pattern, rest)
        if match is None:
            raise _parse_error(layout, text, rest, chunk[0])
        rest = rest[match.end() :]
        if name:
            found[name] = match[0]
        if name == "second" and (fraction := re.match(r"[.,](\d+)", rest)) and not layout[at:].startswith((".", ",")):
            found["fraction"] = fraction[0]
            rest = rest[fraction.end() :]
    if rest:
        raise FunctionError(f'parsing time "{text}": extra text: "{rest}"')
    return GoTime(_moment(text, found))


def _parse_error(layout: str, text: str, rest: str, chunk: str) -> FunctionError:
    return FunctionError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{chunk}"')


def _moment(text: str, found: dict[str, str]) -> datetime:
    for name, (low, high, word) in _RANGES.items():
        if name in found and not low <= int(found[name]) <= high:
            raise FunctionError(f'parsing time "{text}": {word} out of range')
    month = int(found.get("mon", 1))
    if "month" in found:
        month = [name[:3] for name in _MONTHS].index(found["month"][:3]) + 1
    year = int(found.get("year", found.get("year2", 0)))
    if "year2" in found:
        year += 1900 if year >= 69 else 2000
    hour = int(found.get("hour", 0))
    if "half" in found:
        hour = hour % 12 + (12 if found["half"].upper() == "PM" else 0)
    micros = int(float("0." + (found.get("fraction", "").lstrip(".,") or "0")) * 1e6)
    place: tzinfo = UTC
    offset = found.get("offset", "Z").replace(":", "")
    if offset != "Z":
        minutes = int(offset[1:3]) * 60 + int(offset[3:5] or 0)
        place = _fixed(-minutes if offset[0] == "-" else minutes)
    try:
        return datetime(
            max(year, 1), month, int(found.get("day", 1)), hour, int(found.get("minute", 0)),
            int(found.get("second", 0)), micros, place,
        )  # fmt: skip
    except ValueError:
        raise FunctionError(f'parsing time "{text}": day out of range') from None


def _fixed(minutes: int) -> tzinfo:
    from datetime import timezone  # noqa: PLC0415 - `UTC` is the one used everywhere else

    return timezone(timedelta(minutes=minutes))


def rounded(nanoseconds: int) -> str:
    """Return a duration in its largest unit: "2h", "1d", "4mo"."""
    seconds = abs(nanoseconds)
    sign = "-" if nanoseconds < 0 else ""
    hour = 3_600_000_000_000
    for unit, size in (("y", 8760 * hour), ("mo", 720 * hour), ("d", 24 * hour), ("h", hour), ("m", hour // 60)):
        if seconds > size:
            return f"{sign}{seconds // size}{unit}"
    return f"{sign}{seconds // 10**9}s" if seconds > 10**9 else "0s"
