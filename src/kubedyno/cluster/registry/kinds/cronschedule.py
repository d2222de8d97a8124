"""Cron schedules as robfig's standard parser reads them: five fields, descriptors, `@every`; with its error texts."""

import re
from dataclasses import dataclass

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY = "@every "
_DURATION = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h)")
_UNIT_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class _Range:
    low: int
    high: int
    names: dict[str, int]


_RANGES = (
    _Range(0, 59, {}),
    _Range(0, 23, {}),
    _Range(1, 31, {}),
    _Range(1, 12, {name: i + 1 for i, name in enumerate(_MONTHS)}),
    _Range(0, 6, {name: i for i, name in enumerate(_DAYS)}),
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a CronJob runs.

    Attributes:
        minutes: Of the hour.
        hours: Of the day.
        days: Of the month, 1 first.
        months: Of the year, 1 first.
        weekdays: 0 is Sunday.
        any_day: The days of the month were given as "*" or "?".
        any_weekday: The days of the week were.
        every_s: Seconds from run to run for `@every`; 0 for all others, whose fields then say when.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool
    every_s: int = 0

    def takes_day(self, day: int, weekday: int) -> bool:
        """Say whether a day is one of the schedule's: of the month and of the week, or of either if both are given."""
        if self.any_day or self.any_weekday:
            return day in self.days and weekday in self.weekdays
        return day in self.days or weekday in self.weekdays


def parse_schedule(text: str) -> Schedule:
    """Return a schedule.

    Raises:
        ValueError: It is none; the text is the real server's.
    """
    if not text:
        raise ValueError("empty spec string")
    if text.startswith("@"):
        if text.startswith(_EVERY):
            return _every(text)
        known = _DESCRIPTORS.get(text)
        if known is None:
            raise ValueError(f"unrecognized descriptor: {text}")
        text = known
    fields = text.split()
    if len(fields) != len(_RANGES):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    sets = [_field(field, bounds) for field, bounds in zip(fields, _RANGES, strict=True)]
    stars = [any(part.partition("/")[0] in {"*", "?"} for part in field.split(",")) for field in fields]
    return Schedule(sets[0], sets[1], sets[2], sets[3], sets[4], stars[2], stars[4])


def _every(text: str) -> Schedule:
    duration = text[len(_EVERY) :]
    sign, parts = duration[:1] == "-", _DURATION.findall(duration.lstrip("+-"))
    if not parts or "".join(parts) != duration.lstrip("+-"):
        raise ValueError(f'failed to parse duration {text}: time: invalid duration "{duration}"')
    seconds = 0.0
    for part in parts:
        unit = part.lstrip("0123456789.")
        seconds += float(part[: len(part) - len(unit)]) * _UNIT_S[unit]
    empty: frozenset[int] = frozenset()
    # Never less than a second, as robfig rounds.
    return Schedule(empty, empty, empty, empty, empty, any_day=True, any_weekday=True,
                    every_s=1 if sign else max(1, int(seconds)))  # fmt: skip


def _field(field: str, bounds: _Range) -> frozenset[int]:
    found: set[int] = set()
    for part in field.split(","):
        if part:
            found |= _part(part, bounds)
    return frozenset(found)


def _part(part: str, bounds: _Range) -> set[int]:
    pieces = part.split("/")
    ends = pieces[0].split("-")
    single = len(ends) == 1
    if ends[0] in {"*", "?"}:
        start, end = bounds.low, bounds.high
    else:
        start = _number(ends[0], bounds)
        if len(ends) > 2:
            raise ValueError(f"too many hyphens: {part}")
        end = start if single else _number(ends[1], bounds)
    step = 1
    if len(pieces) > 2:
        raise ValueError(f"too many slashes: {part}")
    if len(pieces) == 2:
        step = _integer(pieces[1])
        # "N/step" means "N-max/step".
        if single:
            end = bounds.high
    if start < bounds.low:
        raise ValueError(f"beginning of range ({start}) below minimum ({bounds.low}): {part}")
    if end > bounds.high:
        raise ValueError(f"end of range ({end}) above maximum ({bounds.high}): {part}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {part}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {part}")
    return set(range(start, end + 1, step))


def _number(text: str, bounds: _Range) -> int:
    named = bounds.names.get(text.lower())
    return _integer(text) if named is None else named


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number
