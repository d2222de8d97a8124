"""Queries that would eat the machine get a clear line instead."""

import time

import orjson
import pytest

from kubedyno.base.clock import SystemClock
from kubedyno.promql.engine import Engine
from kubedyno.promql.errors import BadQueryError, QueryError, QueryTimeoutError, StoreFullError
from kubedyno.promql.language import parsed
from kubedyno.promql.limits import EngineOptions
from kubedyno.promql.matching import Matcher, pattern_of
from kubedyno.promql.readapi import ReadAPI
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
    [
        "(a*)*b",
        "(a+)+",
        "(.*a){25}",
        "((a|aa)+)+",
        "(?=x)y",
        r"(a)\1",
        "a{5000}",
        "(" * 200,
        "[[:nope:]]",
        "x" * 5000,
        "((a{1,1000}){1,1000}){1,1000}",
        "(a{10}){101}",
        ".*" * 25,
    ],
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


def test_the_more_open_repetitions_a_pattern_has_the_shorter_are_the_values():
    began_s = time.process_time()
    for repeats, value in ((3, "ab" * 150), (4, "ab" * 60), (8, "ab" * 12), (24, "ab" * 4)):
        assert not Matcher("x", "=~", ".*c" * repeats).test(value)
        with pytest.raises(BadQueryError, match="open repetitions: too many for a value of 500 characters"):
            Matcher("x", "=~", ".*" * repeats + "c").test("a" * 500)
    assert time.process_time() - began_s < 5


def test_patterns_over_many_series_end_with_the_time():
    class Racing(SystemClock):
        seconds = 0.0

        def monotonic(self) -> float:
            self.seconds += 1
            return self.seconds

    store = SeriesStore()
    for i in range(5000):
        store.append(store.column({"__name__": f"v{i % 3}", "i": str(i)}), 1000, 1.0)
    for query in ('{i=~"9.*9|x"}', '{__name__=~"v.*",i=~".*7.*7"}', 'label_replace(v1, "x", "$1", "i", "(.*)3")'):
        with pytest.raises(QueryTimeoutError):
            Engine(store, EngineOptions(timeout_s=20), Racing()).instant(query, 1000)
    assert len(Engine(store, EngineOptions(timeout_s=20)).instant('{i=~"49.9"}', 1000).series) == 10


@pytest.mark.parametrize(
    "function", ["label_replace({}, 'x', '$1$1$1$1$1$1$1$1', 'x', '(.*)')", "label_join({}, 'x', 'ab', 'x', 'x', 'x')"]
)
def test_labels_do_not_grow_without_end(function):
    query = "label_replace(v, 'x', 'abcdefgh', '', '')"
    for _ in range(14):
        query = function.format(query)
    with pytest.raises(QueryError, match=r"a label's value of [0-9]+ characters: at most 1048576 are taken"):
        Engine(filled()).instant(query, 49_000)
    long = f"label_replace(v, 'x', '{'a' * 60_000}', '', '')"
    with pytest.raises(QueryError, match="too many samples"):
        Engine(filled(), EngineOptions(max_samples=100_000)).instant(long, 49_000)
    assert len(Engine(filled()).instant(long, 49_000).series) == 20


@pytest.mark.parametrize(
    "query", ["v @ 9e18", "v @ 1e14", "sum_over_time(v[1m:1s] @ 9e17)", "v offset 300y", "v[1000000y]"]
)
def test_times_beyond_all_calendars_are_refused(query):
    with pytest.raises(BadQueryError, match=r"parse error: (timestamp out of bounds|duration out of range)"):
        Engine(filled()).instant(query, 0)
    Engine(filled()).instant("v offset 290y", 0)
    Engine(filled()).range("v @ 2e11 offset -290y", 0, 1000, 1000)


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


@pytest.mark.parametrize("operator", [" or ", " UNLESS ", "+", "==", " * on () ", "^"])
def test_a_query_with_so_many_operators_never_reaches_the_parser_whose_stack_would_end(operator):
    with pytest.raises(BadQueryError, match="more than 500 operators"):
        parsed(operator.join(["up"] * 3000))
    # What is within a selector or a string is none.
    parsed("up{" + ",".join(f'a{i}="+-*/or"' for i in range(600)) + "}")


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


@pytest.mark.parametrize(
    ("lookback", "found"),
    # The last samples are 100 s old. What is no length of time leaves the server's own.
    [("", 20), ("99.9", 0), ("100s", 20), ("1m", 0), ("1h", 20), ("0", 20), ("-5", 20)],
)
def test_a_request_says_how_old_a_current_sample_may_be(lookback, found):
    api = ReadAPI(Engine(filled()))
    given = {"query": ["v"], "lookback_delta": [lookback]}
    status, body = api.answer("query", {**given, "time": ["149"]})
    assert (status, len(orjson.loads(body)["data"]["result"])) == (200, found)
    status, body = api.answer("query_range", {**given, "start": ["49"], "end": ["149"], "step": ["100"]})
    (points,) = {len(series["values"]) for series in orjson.loads(body)["data"]["result"]}
    assert (status, points) == (200, 2 if found else 1)
    # The next request has the server's own again.
    assert len(orjson.loads(api.answer("query", {"query": ["v"], "time": ["149"]})[1])["data"]["result"]) == 20


def test_an_age_that_is_none_is_answered_in_prometheus_words():
    api = ReadAPI(Engine(filled()))
    for path in ("query", "query_range"):
        asked = {"query": ["v"], "start": ["1"], "end": ["2"], "step": ["1"], "lookback_delta": ["soon"]}
        status, body = api.answer(path, asked)
        assert status == 400
        assert orjson.loads(body)["error"] == (
            'error parsing lookback delta duration: cannot parse "soon" to a valid duration'
        )
    asked = {"query": ["v"], "time": ["149"], "lookback_delta": ["1m"], "timeout": ["1s"]}
    assert orjson.loads(api.answer("query", asked)[1])["data"]["result"] == []
