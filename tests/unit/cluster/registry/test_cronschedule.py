"""Cron schedules: what they mean, and the words with which they are refused."""

import pytest

from kubedyno.cluster.registry.kinds.cronschedule import parse_schedule


def test_fields_are_sets_of_numbers():
    schedule = parse_schedule("*/15 0-6/2,23 1,15 jan-mar MON-fri")
    assert schedule.minutes == {0, 15, 30, 45}
    assert schedule.hours == {0, 2, 4, 6, 23}
    assert schedule.days == {1, 15}
    assert schedule.months == {1, 2, 3}
    assert schedule.weekdays == {1, 2, 3, 4, 5}
    assert parse_schedule("5/20 * * * *").minutes == {5, 25, 45}


def test_a_day_of_either_kind_will_do_when_both_are_given():
    both = parse_schedule("0 0 13 * 5")
    assert (both.takes_day(13, 1), both.takes_day(12, 5), both.takes_day(12, 1)) == (True, True, False)
    month = parse_schedule("0 0 13 * *")
    assert (month.takes_day(13, 1), month.takes_day(12, 5)) == (True, False)


@pytest.mark.parametrize(
    ("text", "every_s"), [("@every 1h30m", 5400), ("@every 90s", 90), ("@every 1ms", 1), ("@every 2.5s", 2)]
)
def test_intervals_are_whole_seconds(text, every_s):
    assert parse_schedule(text).every_s == every_s


def test_descriptors_stand_for_fields():
    assert parse_schedule("@weekly") == parse_schedule("0 0 * * 0")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("@often", "unrecognized descriptor: @often"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-3 * * * *", "beginning of range (5) beyond end of range (3): 5-3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("*/1/2 * * * *", "too many slashes: */1/2"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@every x", 'failed to parse duration @every x: time: invalid duration "x"'),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(text, why):
    with pytest.raises(ValueError, match=r".") as caught:
        parse_schedule(text)
    assert str(caught.value) == why
