"""Percentiles by the rule of the library that kube-burner takes them from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.stats.quantiles import percentile, summary_of


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([7], 99, 7),
        ([1, 2, 3, 4], 50, 2),
        ([1, 2, 3, 4], 100, 4),
        ([1, 2, 3, 4, 5], 50, 2.5),
        ([1, 2, 3, 4, 5], 95, 4.5),
        (list(range(1, 101)), 99, 99),
        (list(range(1, 11)), 99, 9.5),
    ],
)
def test_percentiles(values, percent, expected):
    assert percentile(values, percent) == expected


def test_what_has_no_percentile_is_refused():
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
    with pytest.raises(ValueError, match="before the first"):
        percentile([1, 2], 10)


@given(st.lists(st.integers(-1000, 1000), min_size=1))
def test_a_summary_lies_within_its_values_and_does_not_depend_on_their_order(values):
    found = summary_of(values)
    assert found == summary_of(values[::-1])
    assert found.count == len(values)
    assert found.minimum == min(values)
    assert found.maximum == max(values)
    assert found.minimum <= found.p50 <= found.p95 <= found.p99 <= found.maximum
    assert found.average == pytest.approx(sum(values) / len(values))
