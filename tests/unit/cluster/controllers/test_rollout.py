"""The arithmetic of rolling updates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.cluster.controllers.rollout import Size, fenceposts, new_replicas, old_replicas, proportional


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "numbers"),
    [
        ("25%", "25%", 10, (3, 2)),
        ("25%", "25%", 3, (1, 0)),
        ("0%", "10%", 5, (0, 1)),
        (0, 0, 5, (0, 1)),
        ("100%", 0, 7, (7, 0)),
        (2, "50%", 3, (2, 1)),
        ("25%", "25%", 0, (0, 1)),
    ],
)
def test_surge_is_rounded_up_and_unavailable_down(surge, unavailable, replicas, numbers):
    assert fenceposts(surge, unavailable, replicas) == numbers


def test_pods_that_are_not_available_go_first_and_no_more_than_may():
    old = [Size(3, 1), Size(4, 1)]
    # 10 wanted, 2 may be missing, 3 new ones of which 2 are there: of 10 pods 1 may go.
    assert old_replicas(10, 2, Size(3, 2), old) == [2, 4]


def test_each_old_set_gives_what_is_spare_the_oldest_first():
    assert old_replicas(4, 0, Size(2, 2), [Size(1, 1), Size(3, 3)]) == [0, 2]


@given(
    st.integers(0, 40), st.integers(0, 10), st.integers(0, 10), st.integers(0, 40), st.floats(0, 1),
    st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), max_size=4),
)  # fmt: skip
def test_no_step_breaks_the_bounds(wanted, surge, unavailable, new_size, new_share, old_sizes):
    new = Size(new_size, int(new_size * new_share))
    old = [Size(size, int(size * share)) for size, share in old_sizes]
    total = new_size + sum(size.replicas for size in old)
    grown = new_replicas(wanted, surge, new, total)
    assert grown <= wanted
    assert grown == new_size or total - new_size + grown <= max(wanted + surge, total)
    sizes = old_replicas(wanted, unavailable, new, old)
    assert all(0 <= size <= before.replicas for size, before in zip(sizes, old, strict=True))
    # Whatever goes from a set, its unavailable pods go first: as many stay available as are wanted at least.
    left = new.available + sum(min(size, before.available) for size, before in zip(sizes, old, strict=True))
    before_all = new.available + sum(size.available for size in old)
    assert left >= min(wanted - unavailable, before_all)


@given(
    st.integers(0, 60), st.integers(0, 10), st.lists(st.integers(1, 30), min_size=2, max_size=5), st.integers(1, 90)
)  # fmt: skip
def test_shares_add_up_to_what_is_allowed(wanted, surge, replicas, before):
    sizes = [Size(size, size, before) for size in sorted(replicas, reverse=True)]
    result = proportional(wanted, surge, sizes, sum(replicas))
    allowed = wanted + surge if wanted else 0
    assert all(size >= 0 for size in result)
    assert sum(result) >= allowed
    grows = allowed >= sum(replicas)
    assert not grows or sum(result) == allowed
