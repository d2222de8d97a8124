"""Wrong queries, some recorded and many made of them: the same words about the same place as a real Prometheus."""

import json
import os
import random
import re
from pathlib import Path

import pytest

from compat.promql.conftest import Prometheus
from kubedyno.promql.errors import BadQueryError
from kubedyno.promql.language import parsed

RECORDED = json.loads((Path(__file__).parents[2] / "golden" / "promql" / "complaints.json").read_text())
SEEDS = range(int(os.environ.get("KUBEDYNO_FUZZ_SEEDS", "2")))
QUERIES = 1500
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\w+|\s+|[=!<>]=|[=!]~|.')
WORDS = str.split(
    "foo sum rate topk ( ) [ ] { } , = == != =~ !~ > + - * ^ and or unless on ignoring by without group_left group_right bool"
    " offset @ 5 5m 1h30m \"a\" 'b' start end inf NaN : label_replace time clamp histogram_quantile a:b # 1e3 .5 0x1f"
    " count_values `x` vector scalar atan2 %"
)


def mutated(pick: random.Random) -> str:
    """Return a few words at random, or a recorded query with one or two words changed."""
    if pick.random() < 0.3:
        return "".join(pick.choice(WORDS) + pick.choice(["", " "]) for _ in range(pick.randint(1, 9)))
    parts = TOKEN.findall(pick.choice(list(RECORDED))) or ["foo"]
    for _ in range(pick.randint(1, 2)):
        at = pick.randrange(len(parts))
        parts[at : at + pick.randint(0, 1)] = pick.choice([[], [pick.choice(WORDS)]])
        parts = parts or ["foo"]
    return "".join(parts)


def theirs(query: str, prometheus: Prometheus) -> str | None:
    said = prometheus.ask("query", query=query).get("error")
    prefix = 'invalid parameter "query": '
    # What is wrong only when it is evaluated is no complaint of the parser's.
    return said.removeprefix(prefix) if isinstance(said, str) and said.startswith(prefix) else None


def ours(query: str) -> str | None:
    try:
        parsed(query)
    except BadQueryError as error:
        return str(error)
    return None


def test_what_was_recorded_is_what_is_said(prometheus: Prometheus) -> None:
    assert {query: theirs(query, prometheus) for query in RECORDED} == RECORDED


@pytest.mark.parametrize("seed", SEEDS)
def test_random_wrong_queries_get_the_same_words(seed: int, prometheus: Prometheus) -> None:
    pick = random.Random(seed)
    wrong, refused = {}, 0
    for query in (mutated(pick) for _ in range(QUERIES)):
        expected, found = theirs(query, prometheus), ours(query)
        refused += expected is not None
        if found != expected:
            wrong[query] = (found, expected)
    assert wrong == {}
    assert refused > QUERIES / 2
