"""The same answers as a real Prometheus on the same series."""

import math
from typing import Any

import pytest

from compat.promql.dataset import SPAN_S, START_S
from compat.promql.queries import QUERIES, REFUSED
from kubedyno.promql.engine import Answer, Engine
from kubedyno.promql.errors import QueryError

STEP_S = 37
INSTANTS_S = (START_S + 5, START_S + 700, START_S + 1500.25, START_S + SPAN_S + 100)


def differs(ours: Answer, theirs: dict[str, Any], tolerance: float = 1e-12) -> str:
    """Say how two answers differ; "" when they agree to that part of each value."""
    data = theirs["data"]
    if ours.type != data["resultType"]:
        return f"type {ours.type} against {data['resultType']}"
    if ours.type == "scalar":
        expected = {frozenset(): [data["result"]]}
    else:
        expected = {frozenset(item["metric"].items()): item.get("values") or [item["value"]] for item in data["result"]}
    found = {frozenset(series.labels.items()): series.points for series in ours.series}
    if found.keys() != expected.keys():
        return f"series: only ours {list(found.keys() - expected.keys())[:2]}, only theirs {list(expected.keys() - found.keys())[:2]}"
    for labels, points in found.items():
        other = expected[labels]
        if [at for at, _ in points] != [round(at * 1000) for at, _ in other]:
            return f"{dict(labels)}: at {len(points)} instants against {len(other)}"
        for (at, value), (_, text) in zip(points, other, strict=True):
            wanted = float(text)
            if not (math.isnan(value) and math.isnan(wanted)) and not math.isclose(
                value, wanted, rel_tol=tolerance, abs_tol=tolerance
            ):
                return f"{dict(labels)} at {at}: {value!r} against {text}"
    return ""


@pytest.mark.parametrize("query", QUERIES)
def test_a_range_query_answers_as_prometheus_does(query, engine: Engine, prometheus):
    end = START_S + SPAN_S
    theirs = prometheus.ask("query_range", query=query, start=START_S, end=end, step=STEP_S)
    assert theirs["status"] == "success", theirs
    ours = engine.range(query, START_S * 1000, end * 1000, STEP_S * 1000)
    assert differs(ours, theirs) == ""


@pytest.mark.parametrize("query", QUERIES)
def test_an_instant_query_answers_as_prometheus_does(query, engine: Engine, prometheus):
    for at in INSTANTS_S:
        theirs = prometheus.ask("query", query=query, time=at)
        assert theirs["status"] == "success", theirs
        assert differs(engine.instant(query, round(at * 1000)), theirs) == ""


@pytest.mark.parametrize("query", REFUSED)
def test_what_prometheus_refuses_we_refuse(query, engine: Engine, prometheus):
    end = START_S + SPAN_S
    theirs = prometheus.ask("query_range", query=query, start=START_S, end=end, step=STEP_S)
    assert theirs["status"] == "error", theirs
    with pytest.raises(QueryError):
        engine.range(query, START_S * 1000, end * 1000, STEP_S * 1000)


@pytest.mark.parametrize("query", ["memory_bytes[5m]", "rate(requests_total[2m])[5m:1m]", '"text"'])
def test_a_span_or_a_text_can_be_asked_for_at_an_instant(query, engine: Engine, prometheus):
    at = START_S + 1500
    theirs = prometheus.ask("query", query=query, time=at)
    ours = engine.instant(query, at * 1000)
    if ours.type == "string":
        assert theirs["data"]["result"][1] == ours.text
    else:
        assert differs(ours, theirs) == ""


@pytest.mark.parametrize("order", ["sort", "sort_desc", "topk(5, temperature) or", "bottomk(5, temperature) or"])
def test_sorted_answers_come_in_prometheus_order(order, engine: Engine, prometheus):
    query = order.removesuffix(" or") if order.endswith("or") else f"{order}(temperature)"
    theirs = prometheus.ask("query", query=query, time=START_S + 1500)
    wanted = [float(item["value"][1]) for item in theirs["data"]["result"]]
    ours = engine.instant(query, (START_S + 1500) * 1000)
    assert [series.points[0][1] for series in ours.series] == wanted
