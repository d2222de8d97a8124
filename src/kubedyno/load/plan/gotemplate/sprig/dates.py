"""Sprig on dates and durations."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from kubedyno.base.times import duration_ns_of, go_duration
from kubedyno.load.plan.gotemplate import gotime
from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.gofmt import Int64
from kubedyno.load.plan.gotemplate.gotime import GoTime


def _date_in_zone(layout: Any, moment: Any, name: Any) -> str:
    return GoTime(gotime.of(moment).moment.astimezone(gotime.zone(str(name)))).format(str(layout))


def _to_date(layout: Any, text: Any) -> GoTime:
    try:
        return gotime.parse(layout, text)
    except FunctionError:
        return gotime.ZERO


def _must_date_modify(change: Any, moment: GoTime) -> GoTime:
    try:
        return GoTime(moment.moment + timedelta(microseconds=duration_ns_of(change) / 1000))
    except ValueError as error:
        raise FunctionError(str(error)) from error


def _date_modify(change: Any, moment: GoTime) -> GoTime:
    try:
        return _must_date_modify(change, moment)
    except FunctionError:
        return moment


def _duration(seconds: Any) -> str:
    count = 0
    if isinstance(seconds, Int64):
        count = seconds
    elif isinstance(seconds, str) and re.fullmatch(r"[+-]?\d+", seconds):
        count = int(seconds)
    return go_duration(count * 10**9)


def _duration_round(value: Any) -> str:
    nanoseconds = 0
    if isinstance(value, GoTime):
        nanoseconds = int((gotime.now().moment - value.moment).total_seconds() * 1e9)
    elif isinstance(value, Int64):
        nanoseconds = value
    elif isinstance(value, str):
        try:
            nanoseconds = duration_ns_of(value)
        except ValueError:
            nanoseconds = 0
    return gotime.rounded(nanoseconds)


def _ago(value: Any) -> str:
    seconds = (gotime.now().moment - gotime.of(value).moment).total_seconds()
    return go_duration(round(seconds) * 10**9)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "now": gotime.now,
    "date": lambda layout, moment: _date_in_zone(layout, moment, "Local"),
    "dateInZone": _date_in_zone,
    "date_in_zone": _date_in_zone,
    "htmlDate": lambda moment: _date_in_zone("2006-01-02", moment, "Local"),
    "htmlDateInZone": lambda moment, name: _date_in_zone("2006-01-02", moment, name),
    "toDate": _to_date,
    "mustToDate": gotime.parse,
    "dateModify": _date_modify,
    "date_modify": _date_modify,
    "mustDateModify": _must_date_modify,
    "must_date_modify": _must_date_modify,
    "duration": _duration,
    "durationRound": _duration_round,
    "ago": _ago,
    "unixEpoch": lambda t: str(int(t.moment.timestamp())),
}
