"""Queries that would eat the machine get a clear line instead."""

import pytest

from kubedyno.base.clock import SystemClock
from kubedyno.promql.engine import Engine
from kubedyno.promql.errors import BadQueryError, QueryError, QueryTimeoutError, StoreFullError
from kubedyno.promql.limits import EngineOptions
from kubedyno.promql.matching import Matcher, pattern_of
from kubedyno.promql.store import SeriesStore, StoreLimits


def filled(series: int = 20, samples: int = 50) -> SeriesStore:
    store = SeriesStore()
    for i in range(series):
        column = store.column({"__name__": "v", "i": str(i)})
        for at in range(samples):
            store.append(column, at * 1000, float(at))
    return store


@pytest.mark.parametrize(
    "pattern",
    ["(a*)*b", "(a+)+", "(.*a){25}", "((a|aa)+)+", "(?=x)y", r"(a)\1", "a{5000}", "(" * 200, "[[:nope:]]", "x" * 5000],
)
def test_a_pattern_that_could_take_long_is_refused(pattern):
    with pytest.raises(BadQueryError):
        pattern_of(pattern)


@pytest.mark.parametrize(
    "pattern", ["a|b|c", "kube-.*", ".*-(a|b)", "[a-z]+-[0-9]{1,5}", "(?i)ABC.*", "[[:alpha:]]+", r"\Qa.b\E.*"]
)
def test_the_patterns_of_dashboards_are_taken(pattern):
    assert pattern_of(pattern) is not None


def test_a_pattern_with_many_open_repetitions_meets_only_short_values():
    matcher = Matcher("x", "=~", ".*a.*b.*c.*d.*e.*")
    assert matcher.test("1a2b3c4d5e6")
    with pytest.raises(BadQueryError, match="open repetitions"):
        matcher.test("a" * 5000)


@pytest.mark.parametrize(
    "query",
    [
        "(" * 500 + "v" + ")" * 500,
        "v" + "+v" * 400,
        "-" * 400 + "v",
        "v" + " " * 70_000,
        "abs(" * 300 + "v" + ")" * 300,
    ],
)
def test_a_query_too_deep_or_too_long_is_refused(query):
    with pytest.raises(BadQueryError):
        Engine(filled()).instant(query, 0)


def test_a_query_may_load_so_many_samples():
    engine = Engine(filled(), EngineOptions(max_samples=500))
    with pytest.raises(QueryError, match="too many samples"):
        engine.range("v", 0, 49_000, 1000)
    assert len(Engine(filled(), EngineOptions(max_samples=7000)).range("v", 0, 49_000, 1000).series) == 20


def test_a_selector_may_choose_so_many_series():
    with pytest.raises(QueryError, match="more than 5 series"):
        Engine(filled(), EngineOptions(max_series=5)).instant("v", 1000)


def test_a_subquery_may_have_so_many_steps():
    with pytest.raises(QueryError, match="steps"):
        Engine(filled()).instant("sum_over_time(v[1y:1ms])", 49_000)


def test_a_query_may_take_so_long():
    class Racing(SystemClock):
        seconds = 0.0

        def monotonic(self) -> float:
            self.seconds += 10
            return self.seconds

    with pytest.raises(QueryTimeoutError):
        Engine(filled(), EngineOptions(timeout_s=30), Racing()).range("rate(v[5s])", 0, 49_000, 1000)


def test_a_store_takes_so_many_series_and_says_so():
    store = SeriesStore(StoreLimits(max_series=2))
    store.column({"__name__": "a"})
    store.column({"__name__": "b"})
    with pytest.raises(StoreFullError, match="2 series"):
        store.column({"__name__": "c"})
    assert store.column({"__name__": "a"}) is not None


def test_what_is_older_than_the_retention_goes():
    store = SeriesStore(StoreLimits(retention_ms=60_000))
    old = store.column({"__name__": "old"})
    kept = store.column({"__name__": "kept"})
    store.append(old, 0, 1.0)
    for at in range(0, 200_000, 1000):
        store.append(kept, at, 1.0)
    store.trim(200_000)
    assert len(store) == 1
    assert kept.times[0] >= 140_000
    assert not old.times
    assert store.column({"__name__": "old"}) is not old


def test_samples_come_in_order_or_not_at_all():
    store = SeriesStore()
    column = store.column({"__name__": "v"})
    assert store.append(column, 10, 1.0)
    assert not store.append(column, 10, 2.0)
    assert not store.append(column, 5, 3.0)
    assert list(column.values) == [1.0]
