"""Times and durations as Kubernetes and Go write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.base.random import Random, secret_token
from kubedyno.base.times import duration_ns_of, epoch_of, go_duration, human_duration, rfc3339, rfc3339_micro

SECONDS = st.integers(0, 4_000_000_000)


@given(SECONDS, st.integers(0, 999_999))
def test_times_come_back_from_their_texts(second, micros):
    assert epoch_of(rfc3339(second + 0.5)) == second
    text = rfc3339_micro(second + micros / 1e6)
    assert text.endswith(f".{micros:06d}Z")
    assert round((epoch_of(text) - second) * 1e6) == micros


@given(st.integers(-(2**53), 2**53))
def test_durations_come_back_from_their_texts(nanoseconds):
    assert abs(duration_ns_of(go_duration(nanoseconds)) - nanoseconds) <= 1


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1_100, "1.1µs"),
        (2_200_000, "2.2ms"),
        (1_500_000_000, "1.5s"),
        (90_000_000_000, "1m30s"),
        (14_400_000_000_000, "4h0m0s"),
        (-350_000_000, "-350ms"),
    ],
)
def test_durations_are_written_as_go_does(nanoseconds, text):
    assert go_duration(nanoseconds) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", 'time: invalid duration ""'),
        ("3", 'time: missing unit in duration "3"'),
        ("3d", 'time: unknown unit "d" in duration "3d"'),
        ("h", 'time: invalid duration "h"'),
    ],
)
def test_what_is_no_duration_is_refused_in_gos_words(text, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared
        duration_ns_of(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-1, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (130, "2m10s"), (599, "9m59s"),
        (600, "10m"), (10_799, "179m"), (10_800, "3h"), (11_100, "3h5m"), (28_800, "8h"), (172_799, "47h"),
        (172_800, "2d"), (190_800, "2d5h"), (691_200, "8d"), (63_072_000, "2y"), (63_936_000, "2y10d"),
        (252_288_000, "8y"),
    ],
)  # fmt: skip
def test_ages_are_written_as_kubectl_does(seconds, text):
    assert human_duration(seconds) == text


def test_one_seed_gives_one_sequence_of_ids():
    first, second = Random(7), Random(7)
    ids = [first.uid() for _ in range(1000)]
    assert ids == [second.uid() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert {(uid[14], uid[19] in "89ab", len(uid)) for uid in ids} == {("4", True, 36)}
    assert set("".join(first.suffix() for _ in range(500))) <= set("bcdfghjklmnpqrstvwxz2456789")
    assert len(first.hex(7)) == 7
    assert secret_token() != secret_token()
