"""Verdicts about repeated runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.stats.comparison import Verdict, compare

VALUES = st.lists(st.floats(0.1, 1e6), min_size=3, max_size=6)


def test_clearly_slower_is_worse_and_clearly_faster_better():
    assert compare([100, 101, 102], [150, 151, 149]).verdict is Verdict.WORSE
    assert compare([150, 151, 149], [100, 101, 102]).verdict is Verdict.BETTER
    assert compare([100, 101, 102], [150, 151, 149], lower_is_better=False).verdict is Verdict.BETTER


def test_equal_runs_are_the_same_and_noisy_ones_unclear():
    assert compare([100, 101, 102], [101, 100, 102]).verdict is Verdict.SAME
    assert compare([100, 140, 80], [110, 70, 150]).verdict is Verdict.UNCLEAR


def test_two_runs_a_side_are_not_enough_however_far_apart():
    found = compare([1, 1], [100, 100])
    assert (found.verdict, found.low, found.change) == (Verdict.TOO_FEW, None, 99.0)


def test_from_nothing_no_change_can_be_told():
    assert compare([0, 0, 0], [1, 2, 3]).verdict is Verdict.TOO_FEW
    with pytest.raises(ValueError, match="both sides"):
        compare([], [1.0])


def test_the_interval_of_three_runs_is_that_of_all_27_resamples():
    found = compare([1, 1, 1], [1, 2, 3])
    # The median of three draws from 1, 2, 3 is 1 or 3 in 7 of 27 each: both lie within the central 95 %.
    assert (found.low, found.high) == (0.0, 2.0)


@given(VALUES, VALUES)
def test_the_interval_holds_the_change_and_swapping_sides_turns_the_verdict_round(before, after):
    found, back = compare(before, after, tolerance=0.0), compare(after, before, tolerance=0.0)
    assert found.low <= found.change <= found.high
    turned = {Verdict.WORSE: Verdict.BETTER, Verdict.BETTER: Verdict.WORSE}
    assert back.verdict is turned.get(found.verdict, found.verdict)


@given(VALUES)
def test_a_group_against_itself_is_never_better_or_worse(values):
    assert compare(values, values).verdict in {Verdict.SAME, Verdict.UNCLEAR}
