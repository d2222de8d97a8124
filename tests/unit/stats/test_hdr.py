"""HDR histograms: buckets are tight, quantiles are those of the sorted values, and histograms add up."""

import math

from hypothesis import given
from hypothesis import strategies as st

from kubedyno.stats.hdr import Hdr, highest_of, index_of

values = st.integers(0, 10**12)


@given(values)
def test_a_bucket_holds_its_value_and_is_narrower_than_a_thousandth(value):
    highest = highest_of(index_of(value))
    assert value <= highest <= value + value // 1000
    assert index_of(highest) == index_of(value)
    assert index_of(highest + 1) == index_of(value) + 1


@given(st.lists(values, min_size=1, max_size=60), st.sampled_from([0.1, 1, 25, 50, 75, 90, 99, 99.9, 100]))
def test_a_quantile_is_the_value_at_that_share_to_three_digits(found, percent):
    exact = sorted(found)[max(math.ceil(percent * len(found) / 100) - 1, 0)]
    assert Hdr(found).quantile(percent) == highest_of(index_of(exact))


@given(st.lists(values, max_size=40), st.lists(values, max_size=40))
def test_histograms_add_up_and_survive_being_written(one, other):
    both = Hdr(one)
    both.merge(Hdr.of_pairs(Hdr(other).pairs()))
    assert both.pairs() == Hdr([*one, *other]).pairs()
    assert both.total == len(one) + len(other)


def test_an_empty_one_has_no_value_and_negative_values_count_as_zero():
    assert (Hdr().quantile(99), Hdr([-5]).pairs()) == (0, [(0, 1)])
