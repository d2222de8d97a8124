"""Random queries, seeded: the same answer as a real Prometheus, or the same refusal."""

import os

import pytest

from compat.promql.conftest import Prometheus
from compat.promql.dataset import SPAN_S, START_S
from compat.promql.randomqueries import queries
from compat.promql.test_real_prometheus import differs
from kubedyno.promql.engine import Engine
from kubedyno.promql.errors import QueryError

SEEDS = range(int(os.environ.get("KUBEDYNO_FUZZ_SEEDS", "6")))
QUERIES = 60
STEP_S = 97
MOMENT_S = START_S + 1500
# What cancels itself out amplifies the last bits.
TOLERANCE = 1e-9


@pytest.mark.parametrize("seed", SEEDS)
def test_random_queries_answer_as_prometheus_does(seed: int, engine: Engine, prometheus: Prometheus) -> None:
    wrong, answered = {}, 0
    end = START_S + SPAN_S
    for number, query in enumerate(queries(seed, QUERIES)):
        if number % 4:
            asked = {"start": START_S, "end": end, "step": STEP_S}
            theirs = prometheus.ask("query_range", query=query, **asked)
        else:
            theirs = prometheus.ask("query", query=query, time=MOMENT_S)
        try:
            if number % 4:
                ours = engine.range(query, START_S * 1000, end * 1000, STEP_S * 1000)
            else:
                ours = engine.instant(query, MOMENT_S * 1000)
        except QueryError as error:
            if theirs["status"] != "error":
                wrong[query] = f"only ours refuses: {error}"
            continue
        if theirs["status"] == "error":
            wrong[query] = f"only theirs refuses: {theirs['error']}"
        elif difference := differs(ours, theirs, TOLERANCE):
            wrong[query] = difference
        answered += bool(ours.series)
    assert wrong == {}
    assert answered > QUERIES / 4
