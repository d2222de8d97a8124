"""From a target's page to an answer of the read API."""

import orjson
import pytest

from kubedyno.promql import dump
from kubedyno.promql.engine import Engine
from kubedyno.promql.errors import ExpositionError, StoreFullError
from kubedyno.promql.mentions import queries_in, wanted
from kubedyno.promql.readapi import ReadAPI
from kubedyno.promql.scraping import Target
from kubedyno.promql.store import SeriesStore, StoreLimits

NOW_MS = 1_700_000_000_000


def instant(store: SeriesStore, query: str, at_ms: int = NOW_MS) -> dict[str, float]:
    found = Engine(store).instant(query, at_ms)
    return {dump.series_text(series.labels): series.points[0][1] for series in found.series}


def test_a_scrape_adds_the_targets_labels_and_says_that_it_is_up():
    store = SeriesStore()
    target = Target(store, {"job": "j", "instance": "i"})
    assert target.take('a{job="own"} 1\nb 2\n', NOW_MS, 0.5) == 2
    assert instant(store, "a") == {'a{exported_job="own",instance="i",job="j"}': 1.0}
    assert instant(store, "b") == {'b{instance="i",job="j"}': 2.0}
    assert instant(store, "up") == {'up{instance="i",job="j"}': 1.0}
    assert instant(store, "scrape_samples_scraped") == {'scrape_samples_scraped{instance="i",job="j"}': 2.0}


def test_a_page_that_speaks_of_others_keeps_its_labels():
    store = SeriesStore()
    Target(store, {"instance": "exporter"}, honor_labels=True).take('a{instance="node"} 1\n', NOW_MS, 0)
    assert instant(store, "a") == {'a{instance="node"}': 1.0}


def test_a_series_that_the_page_has_no_more_ends_at_once():
    store = SeriesStore()
    target = Target(store, {})
    target.take("a 1\nb 1\n", NOW_MS, 0)
    target.take("b 1\n", NOW_MS + 15_000, 0)
    assert instant(store, "a", NOW_MS + 14_999) == {"a": 1.0}
    assert instant(store, "a", NOW_MS + 15_000) == {}
    target.take("a 2\nb 1\n", NOW_MS + 30_000, 0)
    assert instant(store, "a", NOW_MS + 30_000) == {"a": 2.0}


def test_a_target_that_is_lost_is_down_and_its_series_end():
    store = SeriesStore()
    target = Target(store, {"job": "j"})
    target.take("a 1\n", NOW_MS, 0)
    target.lost("connection refused", NOW_MS + 1000, 0)
    assert instant(store, "up", NOW_MS + 1000) == {'up{job="j"}': 0.0}
    assert instant(store, "a", NOW_MS + 1000) == {}
    assert target.error == "connection refused"


def test_half_a_page_is_none():
    store = SeriesStore()
    target = Target(store, {})
    with pytest.raises(ExpositionError):
        target.take("a 1\nb", NOW_MS, 0)
    assert instant(store, "a") == {}
    assert instant(store, "up") == {"up": 0.0}


def test_a_full_store_takes_what_it_knows():
    store = SeriesStore(StoreLimits(max_series=4))
    target = Target(store, {})
    target.take("a 1\n", NOW_MS, 0)
    with pytest.raises(StoreFullError):
        target.take("a 2\nb 1\n", NOW_MS + 1000, 0)
    assert instant(store, "a", NOW_MS + 1000) == {"a": 2.0}
    assert "no more are taken" in target.error


def test_a_series_that_the_store_forgot_comes_again():
    store = SeriesStore(StoreLimits(retention_ms=60_000))
    target = Target(store, {})
    target.take("a 1\n", NOW_MS, 0)
    store.trim(NOW_MS + 120_000)
    assert len(store) == 0
    target.take("a 2\n", NOW_MS + 121_000, 0)
    assert instant(store, "a", NOW_MS + 121_000) == {"a": 2.0}


def test_only_what_queries_speak_of_is_kept():
    profile = [{"query": "sum(rate(a_total[2m])) by (x) > {{.elapsed}}", "metricName": "n"}]
    dashboard = {
        "panels": [{"targets": [{"expr": 'histogram_quantile(0.9, b_bucket{n=~"$node"}[$__rate_interval])'}]}],
        "templating": {"list": [{"query": "label_values(kube_node_info,node)"}, {"query": {"query": "c"}}]},
    }
    keep = wanted([*queries_in(profile), *queries_in(dashboard), '{__name__=~"d.*|e"}'])
    for name in ("a_total", "b_bucket", "kube_node_info", "c", "dd", "e"):
        assert keep(name), name
    assert not any(keep(name) for name in ("other", "b_sum", "f"))
    store = SeriesStore()
    assert Target(store, {}, keep).take("a_total 1\nother 1\n", NOW_MS, 0) == 1


def test_a_recording_comes_back_as_it_was():
    store = SeriesStore()
    target = Target(store, {"job": 'quoted " \\ \n'})
    for number in range(5):
        target.take(f"a {number}\nb NaN\nc +Inf\n", NOW_MS + number * 1000, 0)
    target.lost("gone", NOW_MS + 6000, 0)
    again = SeriesStore()
    text = "".join(dump.written(store))
    assert dump.load(again, text) == NOW_MS + 6000
    assert "".join(dump.written(again)) == text
    with pytest.raises(ExpositionError, match="cut off"):
        dump.load(SeriesStore(), text.removesuffix("# EOF\n"))


def test_a_page_that_was_met_before_is_recorded_as_one_that_was_not():
    """The quick way for known lines says the same as the grammar, whatever changes between two pages."""
    pages = [
        '# TYPE a counter\na{x="1"} 1\na{x="2 3"} 2\nb 3\n',
        '# TYPE a counter\na{x="1"} 2\na{x="2 3"} NaN\nb 4\n',
        '# TYPE a gauge\na{x="1"} 3\nb +Inf\nnew 1\n',
        'a{x="1"} 3\na{x="2 3"} 5\nb 1e3 1700000009000\n',
        'a{x="1"}  4\nb\t5\nnew 0x10\n\n',
        'b 6\nb 7\na{x="1"} 5\n',
    ]
    quick, slow = SeriesStore(), SeriesStore()
    target = Target(quick, {"job": "j"})
    columns: dict[str, dict[str, list[float]]] = {}
    for number, page in enumerate(pages):
        at_ms = NOW_MS + number * 1000
        target.take(page, at_ms, 0)
        # One that has met no line before, over the same store.
        fresh = Target(slow, {"job": "j"})
        fresh._present = columns.get("present", {})  # type: ignore[assignment]
        fresh.take(page, at_ms, 0)
        columns["present"] = fresh._present  # type: ignore[assignment]
    assert "".join(dump.written(quick)) == "".join(dump.written(slow))
    ends = [(piece.labels, list(map(repr, piece.values))) for piece in quick.select([], 0, 1 << 52)]
    assert ends == [(piece.labels, list(map(repr, piece.values))) for piece in slow.select([], 0, 1 << 52)]
    assert quick.metadata["a"].type == "gauge"


def test_a_known_page_with_a_wrong_line_names_it_and_ends_all():
    store = SeriesStore()
    target = Target(store, {"job": "j"})
    target.take("a 1\nb 2\n", NOW_MS, 0)
    with pytest.raises(ExpositionError, match="line 2: malformed: b two"):
        target.take("a 1\nb two\n", NOW_MS + 1000, 0)
    assert target.error.startswith("line 2")
    ended = [piece for piece in store.select([], 0, 1 << 52) if piece.stale]
    assert {piece.labels["__name__"] for piece in ended} == {"a", "b"}


def api() -> ReadAPI:
    store = SeriesStore()
    target = Target(store, {"job": "j"})
    target.take('# TYPE a counter\n# HELP a Helps.\na{x="1"} 1\na{x="2"} 2\nb 3\n', NOW_MS, 0)
    return ReadAPI(Engine(store), lambda: [target])


def ask(path: str, **given: str | list[str]) -> tuple[int, dict[str, object]]:
    values = {name.replace("match", "match[]"): [v] if isinstance(v, str) else v for name, v in given.items()}
    status, body = api().answer(path, values)
    return status, dict(orjson.loads(body))


def test_the_read_api_answers_in_prometheus_shapes():
    at = "1700000000"
    status, answer = ask("query", query='a{x="1"}', time=at)
    assert status == 200
    metric = {"__name__": "a", "job": "j", "x": "1"}
    value = [1700000000, "1"]
    assert answer == {
        "status": "success",
        "data": {"resultType": "vector", "result": [{"metric": metric, "value": value}]},
    }
    _, answer = ask("query", query="1.5", time=at)
    assert answer["data"] == {"resultType": "scalar", "result": [1700000000, "1.5"]}
    _, answer = ask("query_range", query="sum(a)", start=at, end="2023-11-14T22:13:30Z", step="5s")
    assert answer["data"] == {
        "resultType": "matrix",
        "result": [{"metric": {}, "values": [[1700000000, "3"], [1700000005, "3"], [1700000010, "3"]]}],
    }
    assert ask("labels")[1]["data"] == ["__name__", "job", "x"]
    assert ask("label/x/values", match="a")[1]["data"] == ["1", "2"]
    assert ask("series", match=["a", "b"])[1]["data"][2] == {"__name__": "b", "job": "j"}
    assert ask("metadata", metric="a")[1]["data"] == {"a": [{"type": "counter", "help": "Helps.", "unit": ""}]}
    assert ask("targets")[1]["data"]["activeTargets"][0]["health"] == "up"
    assert ask("status/buildinfo")[1]["data"]["version"] == "2.42.0"


def test_what_grafana_and_others_ask_besides_is_answered():
    assert ask("labels", limit="2")[1]["data"] == ["__name__", "job"]
    assert ask("label/__name__/values", limit="1")[1]["data"] == ["a"]
    assert ask("series", match="a", limit="1")[1]["data"] == [{"__name__": "a", "job": "j", "x": "1"}]
    assert ask("scrape_pools")[1]["data"] == {"scrapePools": ["j"]}
    assert ask("targets", state="dropped")[1]["data"]["activeTargets"] == []
    assert ask("targets/metadata", metric="a")[1]["data"][0]["type"] == "counter"
    assert ask("status/config")[1]["data"]["yaml"] == "scrape_configs:\n- job_name: j\n"
    tsdb = ask("status/tsdb", limit="1")[1]["data"]
    assert tsdb["headStats"]["numSeries"] == 6
    assert tsdb["seriesCountByMetricName"] == [{"name": "a", "value": 2}]
    assert ask("format_query", query="sum  by(x)(a)")[1]["data"] == "sum by (x) (a)"
    assert ask("alertmanagers")[0] == 200
    assert ask("query", query="a", time="1700000000", timeout="5s")[0] == 200


@pytest.mark.parametrize(
    ("path", "given", "status", "kind"),
    [
        ("query", {}, 400, "bad_data"),
        ("query", {"query": "sum("}, 400, "bad_data"),
        ("query", {"query": "a", "time": "yesterday"}, 400, "bad_data"),
        ("query", {"query": "a + on() a"}, 422, "execution"),
        ("query_range", {"query": "a", "start": "0", "end": "100000", "step": "1"}, 400, "bad_data"),
        ("query_range", {"query": "a", "start": "2", "end": "1", "step": "1"}, 400, "bad_data"),
        ("query_range", {"query": "a", "start": "0", "end": "1", "step": "0"}, 400, "bad_data"),
        ("query_range", {"query": "a", "start": "0", "end": "1", "step": "x"}, 400, "bad_data"),
        ("query_range", {"query": "a[1m]", "start": "0", "end": "1", "step": "1"}, 400, "bad_data"),
        ("query", {"query": "a", "timeout": "soon"}, 400, "bad_data"),
        ("query", {"query": "sum(rate(a[1m]))", "timeout": "0"}, 503, "timeout"),
        ("labels", {"limit": "x"}, 400, "bad_data"),
        ("format_query", {"query": "sum("}, 400, "bad_data"),
        ("series", {}, 400, "bad_data"),
        ("series", {"match": '{x=~".*"}'}, 400, "bad_data"),
        ("label/a-b/values", {}, 400, "bad_data"),
        ("nothing", {}, 404, "not_found"),
    ],
)
def test_the_read_api_refuses_in_prometheus_shapes(path, given, status, kind):
    got, answer = ask(path, **given)
    if given.get("query") == "a + on() a":
        # At the time of the samples there are two of them.
        got, answer = ask(path, time="1700000000", **given)
    assert (got, answer["status"], answer["errorType"]) == (status, "error", kind)
    assert answer["error"]
