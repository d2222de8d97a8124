"""Decoding of what clients send: times that no calendar has."""

import pytest

from kubedyno.cluster.registry.structure import DecodeError, decode
from kubedyno.kube.resources import LEASES, PODS


def decoded(text):
    return decode(PODS, {"metadata": {"name": "p", "creationTimestamp": text}})["metadata"]["creationTimestamp"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("2024-13-01T00:00:00Z", "month"),
        ("2024-00-45T99:00:00Z", "month"),
        ("2024-02-30T24:00:00Z", "hour"),
        ("2024-02-01T23:60:00Z", "minute"),
        ("2024-02-01T23:59:60Z", "second"),
        ("2024-02-30T00:00:00Z", "day"),
        ("2024-02-01T00:00:00+99:00", "time zone offset hour"),
        ("0000-01-01T00:00:00Z", "year"),
        ("0001-01-01T00:00:00+05:00", "year"),
        ("9999-12-31T23:59:59-05:00", "year"),
    ],
)
def test_a_time_that_no_calendar_has_is_refused_and_never_stored(text, part):
    with pytest.raises(DecodeError) as caught:
        decoded(text)
    assert str(caught.value).endswith(f'parsing time "{text}": {part} out of range')


def test_a_time_in_other_digits_is_none():
    with pytest.raises(DecodeError, match='cannot parse "٢٠٢٤'):
        decoded("٢٠٢٤-01-01T00:00:00Z")


def test_times_become_those_of_utc():
    assert decoded("2024-02-29T23:59:59Z") == "2024-02-29T23:59:59Z"
    assert decoded("2024-01-01T01:30:00.75+02:00") == "2023-12-31T23:30:00Z"


def test_a_time_of_microseconds_is_one_of_a_calendar_too():
    lease = {"metadata": {"name": "l"}, "spec": {"renewTime": "2024-02-30T00:00:00.000000Z"}}
    with pytest.raises(DecodeError, match="day out of range"):
        decode(LEASES, lease)
    lease["spec"]["renewTime"] = "2024-02-29T00:00:00.250000Z"
    assert decode(LEASES, lease)["spec"]["renewTime"] == "2024-02-29T00:00:00.250000Z"
