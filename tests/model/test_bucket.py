"""The token bucket against counting: whatever the gaps, never more than burst at once and qps a second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.load.engine.bucket import TokenBucket

# Uniform gaps hardly ever leave a bucket full or empty; bursts do.
gaps_s = st.lists(
    st.one_of(
        st.lists(st.just(0.0), min_size=1, max_size=30),
        st.lists(st.floats(0.0, 0.05), min_size=1, max_size=10),
        st.lists(st.floats(1.0, 100.0), min_size=1, max_size=2),
    ),
    min_size=1,
    max_size=20,
).map(lambda groups: [gap for group in groups for gap in group])
rates = st.sampled_from([0.5, 1.0, 3.0, 10.0, 333.3, 10_000.0])
bursts = st.integers(1, 40)


def sent_at(qps, burst, gaps):
    bucket = TokenBucket(qps, burst)
    now_s = 1000.0
    times = []
    for gap in gaps:
        now_s += gap
        times.append(bucket.reserve(now_s))
    return times


@given(rates, bursts, gaps_s)
def test_no_window_holds_more_than_its_burst_and_its_rate(qps, burst, gaps):
    times = sent_at(qps, burst, gaps)
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = burst + qps * (times[last] - times[first])
            assert last - first + 1 <= allowed + 1e-6 * (1 + allowed)


@given(rates, bursts, gaps_s)
def test_a_request_leaves_at_once_while_there_are_tokens(qps, burst, gaps):
    tokens, before_s, now_s = float(burst), 1000.0, 1000.0
    bucket = TokenBucket(qps, burst)
    for gap in gaps:
        now_s += gap
        tokens = min(float(burst), tokens + (now_s - before_s) * qps)
        before_s = now_s
        due_s = bucket.reserve(now_s)
        tokens -= 1
        expected_s = now_s if tokens >= -1e-6 else now_s - tokens / qps
        assert due_s == pytest.approx(expected_s, abs=1e-6 / qps + 1e-6)


@given(rates, bursts, gaps_s)
def test_due_times_never_go_back(qps, burst, gaps):
    times = sent_at(qps, burst, gaps)
    assert times == sorted(times)


def test_time_that_goes_back_is_refused():
    bucket = TokenBucket(1.0, 1)
    bucket.reserve(2.0)
    with pytest.raises(ValueError, match="went back"):
        bucket.reserve(1.0)
