from array import array

import pytest

from kubedyno.datapath.traffic import latency_of


def test_latencies_are_microseconds_and_the_law_holds():
    found = latency_of(array("q", [10_000] * 99 + [110_000]), seconds=1100e-6, lost=2)
    assert (found["min_us"], found["p50_us"], found["p90_us"], found["max_us"]) == (10, 10, 10, 110)
    assert found["mean_us"] == 11
    assert found["per_s"] * found["mean_us"] / 1e6 == pytest.approx(1)
    assert found["lost"] == 2


def test_one_trip_is_its_own_percentile():
    assert latency_of(array("q", [5000]), 5e-6, 0)["p99_us"] == 5


def test_no_trip_is_an_error():
    with pytest.raises(ValueError, match="no transaction"):
        latency_of(array("q"), 1.0, 0)
