"""When a schedule is due: the minutes of a cron schedule in a time zone, as robfig's cron walks them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from kubedyno.cluster.registry.kinds.cronschedule import Schedule

# robfig gives up after five years: a day such as February 30th never comes.
_YEARS = 5


def zone_of(name: str | None) -> tzinfo:
    """Return a CronJob's time zone; kube-controller-manager's own is UTC."""
    return ZoneInfo(name) if name else UTC


def next_s(schedule: Schedule, after_s: float, zone: tzinfo) -> float | None:
    """Return the first time that is later than `after_s`, in epoch seconds; None when none comes in five years."""
    if schedule.every_s:
        return float(int(after_s) + schedule.every_s)
    local = datetime.fromtimestamp(int(after_s), zone).replace(second=0, microsecond=0)
    day = local.replace(hour=0, minute=0, tzinfo=None)
    last = day.replace(year=day.year + _YEARS, day=1)
    while day <= last:
        if day.month not in schedule.months:
            day = (day.replace(day=1) + timedelta(days=32)).replace(day=1)
            continue
        if schedule.takes_day(day.day, (day.weekday() + 1) % 7):
            found = [due_s for due_s in _minutes(schedule, day, zone) if due_s > after_s]
            if found:
                return min(found)
        day += timedelta(days=1)
    return None


def _minutes(schedule: Schedule, day: datetime, zone: tzinfo) -> Iterator[float]:
    """Yield the times of a day; an hour that the clock skips has none, one that comes twice counts the first time."""
    for hour in schedule.hours:
        for minute in schedule.minutes:
            local = day.replace(hour=hour, minute=minute, tzinfo=zone)
            due_s = local.timestamp()
            back = datetime.fromtimestamp(due_s, zone)
            if (back.hour, back.minute) == (hour, minute):
                yield due_s


def missed_s(schedule: Schedule, since_s: float, now_s: float, zone: tzinfo) -> tuple[float | None, int]:
    """Return the last time that was due after `since_s` until now, and how many were, at most a hundred or so."""
    last, count = None, 0
    due_s = next_s(schedule, since_s, zone)
    while due_s is not None and due_s <= now_s:
        last, count = due_s, count + 1
        if count > _MANY:
            return _latest(schedule, due_s, now_s, zone), count
        due_s = next_s(schedule, due_s, zone)
    return last, count


_MANY = 100


def _latest(schedule: Schedule, since_s: float, now_s: float, zone: tzinfo) -> float:
    """Return the last time that is due until now, looking back from now in growing steps."""
    if schedule.every_s:
        return since_s + (now_s - since_s) // schedule.every_s * schedule.every_s
    back_s = 3600.0
    while True:
        start_s = max(now_s - back_s, since_s)
        due_s, found = next_s(schedule, start_s, zone), None
        while due_s is not None and due_s <= now_s:
            found, due_s = due_s, next_s(schedule, due_s, zone)
        if found is not None or start_s == since_s:
            return since_s if found is None else found
        back_s *= 24
