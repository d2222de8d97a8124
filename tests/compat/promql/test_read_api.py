"""What Grafana and others ask beside queries: the same status, kind of error and shape as a real Prometheus answers."""

import json
from urllib.parse import parse_qs, urlencode

import pytest

from compat.promql.conftest import Prometheus
from kubedyno.promql.engine import Engine
from kubedyno.promql.readapi import ReadAPI

AT = {"time": "1700001500"}
SPAN = {"start": "1700000000", "end": "1700002400"}
# Answered alike to the last letter.
SAME: list[tuple[str, dict[str, str]]] = [
    ("query_exemplars", {"query": "up", "start": "1", "end": "2"}),
    ("rules", {}),
    ("rules", {"type": "alert"}),
    ("rules", {"type": "bogus"}),
    ("alerts", {}),
    ("metadata", {"metric": "nothing"}),
    ("metadata", {"limit": "x"}),
    ("label/node/values", {}),
    ("label/node/values", {"match[]": "memory_bytes"}),
    ("label/node/values", {"match[]": 'memory_bytes{pod="p-node-a-0"}'}),
    ("label/1x/values", {}),
    ("labels", {}),
    ("labels", {"match[]": "node_info"}),
    ("series", {}),
    ("series", {"match[]": "node_info", **SPAN}),
    ("series", {"match[]": "node_info", "start": "1", "end": "2"}),
    ("query", {"query": "1", **AT}),
    ("query", {"query": '"a"', **AT}),
    ("query", {"query": "constant", "time": "2023-11-14T22:38:20Z"}),
    ("query", {"query": "constant", "time": "1700001500.5"}),
    ("query", {"query": "constant[1m]", **AT}),
    ("query", {"query": "1", "timeout": "abc", **AT}),
    ("query", {"query": 'label_replace(node_info, "1x", "v", "node", ".*")', **AT}),
    ("query", {"query": 'label_replace(node_info, "x", "v", "node", "(")', **AT}),
    ("query", {"query": 'count_values("1x", pod_phase)', **AT}),
    ("query", {"query": "topk(NaN, temperature)", **AT}),
    ("query_range", {"query": "1", "start": "1", "end": "2"}),
    ("query_range", {"query": "1", "start": "1", "end": "2", "step": "0"}),
    ("query_range", {"query": "1", "start": "3", "end": "2", "step": "1"}),
    ("query_range", {"query": "1", "start": "0", "end": "20000", "step": "1"}),
    ("query_range", {"query": "1", "start": "1", "end": "2", "step": "x"}),
    ("query_range", {"query": "1", "start": "", "end": "2", "step": "1"}),
    ("query_range", {"query": "constant[1m]", "start": "1", "end": "2", "step": "1"}),
    ("query_range", {"query": "vector(NaN)", "start": "1", "end": "3", "step": "1m"}),
    ("format_query", {"query": "foo/bar"}),
    ("format_query", {"query": 'sum(rate(foo{a="{}"}[5m]))by(a)'}),
    ("format_query", {"query": "a:b *on(x)group_left(y) c"}),
    ("query_exemplars", {}),
    ("query_exemplars", {"query": "up("}),
    ("label/node/values", {"match[]": "sum(x)"}),
    ("label/node/values", {"match[]": '{a=~".*"}'}),
    ("labels", {"match[]": ""}),
    ("series", {"match[]": "node_info", "start": "xx"}),
    ("query", {"query": "up", "time": "abc"}),
    ("query", AT),
    ("query", {"query": "foo bar"}),
    ("query", {"query": "rate(memory_bytes)"}),
    ("format_query", {"query": "foo("}),
    ("series", {"match[]": "foo + bar"}),
    ("series", {"match[]": "foo[5m]"}),
    ("series", {"match[]": 'foo{a=~"("}'}),
    ("series", {"match[]": "foo bar"}),
    ("query_range", {"query": "sum(foo\n bar)", "start": "1", "end": "2", "step": "1"}),
    ("status/walreplay", {}),
    ("scrape_pools", {}),
    ("alertmanagers", {}),
    ("targets/metadata", {"match_target": "up("}),
    ("targets/metadata", {"match_target": '{job="none"}'}),
    ("targets/metadata", {"limit": "x"}),
]
# The same but for the figures: what is about the server itself.
ALIKE: list[tuple[str, dict[str, str]]] = [
    ("metadata", {}),
    ("targets", {}),
    ("targets", {"state": "active"}),
    ("targets/metadata", {}),
    ("status/buildinfo", {}),
    ("status/config", {}),
    ("status/flags", {}),
    ("status/tsdb", {}),
]


def both(engine: Engine, prometheus: Prometheus, path: str, given: dict[str, str]) -> tuple[object, object]:
    status, body = ReadAPI(engine).answer(path, parse_qs(urlencode(given), keep_blank_values=True))
    theirs = prometheus.ask(path, **given)
    assert (status == 200) == (theirs["status"] == "success")
    return json.loads(body), theirs


@pytest.mark.parametrize(("path", "given"), SAME)
def test_it_answers_as_prometheus_to_the_letter(path, given, engine: Engine, prometheus: Prometheus):
    ours, theirs = both(engine, prometheus, path, given)
    if path == "scrape_pools":
        theirs = {**theirs, "data": {"scrapePools": []}}  # type: ignore[dict-item]
    assert ours == theirs


@pytest.mark.parametrize(("path", "given"), ALIKE)
def test_it_answers_in_the_same_shape(path, given, engine: Engine, prometheus: Prometheus):
    ours, theirs = both(engine, prometheus, path, given)
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert ours.keys() == theirs.keys()
    assert ours.get("errorType") == theirs.get("errorType")
    assert type(ours.get("data")) is type(theirs.get("data"))
    if path in {"status/buildinfo", "status/tsdb", "targets"}:
        assert ours["data"].keys() == theirs["data"].keys()
