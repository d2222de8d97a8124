from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.datapath.compare import median_interval, ratio_of


@pytest.mark.parametrize(
    ("count", "low", "high", "confidence"),
    # Tables of the sign test: the k-th smallest and largest of n.
    [
        (1, 0, 0, 0.0),
        (3, 0, 2, 0.75),
        (5, 0, 4, 0.9375),
        (6, 0, 5, 0.96875),
        (9, 1, 7, 0.9609375),
        (12, 2, 9, 0.961425),
    ],
)
def test_the_interval_is_the_sign_tests(count, low, high, confidence):
    assert median_interval([float(i) for i in range(count)]) == (low, high, pytest.approx(confidence, abs=1e-5))


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=40))
def test_the_interval_holds_the_median_and_its_confidence(values):
    ordered = sorted(values)
    low, high, confidence = median_interval(ordered)
    assert low <= ordered[len(ordered) // 2] <= high
    assert 0.95 <= confidence <= 1 - 2 / 2 ** len(ordered) * comb(len(ordered), 0)


def test_only_common_rounds_are_paired():
    ratio = ratio_of("host", {0: 2.0, 1: 3.0, 2: 8.0}, {0: 1.0, 2: 2.0, 5: 1.0})
    assert ratio is not None
    assert (ratio.rounds, ratio.low, ratio.high) == (2, 2.0, 4.0)


def test_rounds_that_disagree_are_not_resolved():
    ratio = ratio_of("host", dict(enumerate([1.2, 1.3, 0.9, 1.2, 1.1, 1.2])), dict.fromkeys(range(6), 1.0))
    assert ratio is not None
    assert not ratio.resolved


def test_few_rounds_resolve_nothing_however_they_agree():
    four = ratio_of("host", dict.fromkeys(range(4), 1.5), dict.fromkeys(range(4), 1.0))
    five = ratio_of("host", dict.fromkeys(range(5), 1.5), dict.fromkeys(range(5), 1.0))
    assert four is not None
    assert five is not None
    assert (four.resolved, five.resolved) == (False, True)


def test_nothing_is_compared_with_nothing():
    assert ratio_of("host", {0: 1.0}, {1: 1.0}) is None
    assert ratio_of("host", {0: 1.0}, {0: 0.0}) is None
