"""The language, told in scripts."""

import pytest

from kubedyno.promql.errors import BadQueryError
from kubedyno.promql.limits import EngineOptions

from .script import Script

SCRIPTS = {
    "a counter that restarts grows by what came after": """
load 1m
  requests{job="a"} 0+60x4 0+60x5
eval instant at 9m increase(requests[9m])
  {job="a"} 480
eval instant at 9m rate(requests[2m])
  {job="a"} 1
eval instant at 9m resets(requests[9m])
  {job="a"} 1
""",
    "a series that has ended is gone at once": """
load 1m
  up{job="a"} 1 1 stale _x6 1
eval range from 0 to 9m step 1m up
  up{job="a"} 1 1 _x7 1
eval instant at 2m count_over_time(up[2m])
  {job="a"} 2
""",
    "a series that is silent stays for five minutes": """
load 1m
  up 1
eval range from 0 to 6m step 1m up
  up 1x5 _
eval instant at 4m59s up
  up 1
""",
    "many to one takes labels of the one": """
load 1m
  memory{pod="a",node="x"} 10
  memory{pod="b",node="y"} 20
  info{node="x",zone="1"} 1
  info{node="y"} 1
eval instant at 0 memory * on(node) group_left(zone) info
  {pod="a",node="x",zone="1"} 10
  {pod="b",node="y"} 20
eval instant at 0 info * on(node) group_right(zone) memory
  {pod="a",node="x",zone="1"} 10
  {pod="b",node="y"} 20
fail at 0 info * on() memory
fail at 0 memory + ignoring(pod,node) memory
""",
    "series that follow each other are one to many without conflict": """
load 1m
  a{x="1"} 1 1 1 1
  b{x="1",v="old"} 1 stale
  b{x="1",v="new"} _ 2 2 2
eval range from 0 to 3m step 1m a * on(x) group_left(v) b
  {x="1",v="old"} 1 _ _ _
  {x="1",v="new"} _ 2 2 2
eval range from 0 to 3m step 1m a + on(x) b
  {x="1"} 2 3 3 3
""",
    "sets keep names, arithmetic drops them": """
load 1m
  a{x="1"} 1
  a{x="2"} 2
  b{x="2"} 3
eval instant at 0 a and b
  a{x="2"} 2
eval instant at 0 a unless b
  a{x="1"} 1
eval instant at 0 b or a
  b{x="2"} 3
  a{x="1"} 1
eval instant at 0 a > 1
  a{x="2"} 2
eval instant at 0 a > bool 1
  {x="1"} 0
  {x="2"} 1
eval instant at 0 -a
  {x="1"} -1
  {x="2"} -2
""",
    "topk chooses anew at each step": """
load 1m
  v{i="a"} 1 5 NaN
  v{i="b"} 3 3 3
  v{i="c"} 2 4 NaN
eval range from 0 to 2m step 1m topk(1, v)
  v{i="b"} 3 _ 3
  v{i="a"} _ 5 _
eval range from 0 to 2m step 1m bottomk(1, v)
  v{i="a"} 1 _ _
  v{i="b"} _ 3 3
""",
    "a subquery's instants are multiples of its step": """
load 10s
  v 0+1x30
eval instant at 95s sum_over_time(v[30s:20s])
  {} 8
eval instant at 100s sum_over_time(v[40s:20s])
  {} 24
eval instant at 100s max_over_time(v[30s:10s] offset 20s)
  {} 8
eval instant at 100s max_over_time(v[30s:10s] @ 50)
  {} 5
""",
    "a histogram's quantile lies within its bucket": """
load 1m
  h_bucket{le="0.1"} 1
  h_bucket{le="0.2"} 5
  h_bucket{le="+Inf"} 10
eval instant at 0 histogram_quantile(0.1, h_bucket)
  {} 0.1
eval instant at 0 histogram_quantile(0.3, h_bucket)
  {} 0.15
eval instant at 0 histogram_quantile(0.9, h_bucket)
  {} 0.2
eval instant at 0 histogram_quantile(0.3, h_bucket{le!="+Inf"})
  {} NaN
""",
    "what is absent is named as far as it was asked for": """
load 1m
  there{a="1"} 1
eval instant at 0 absent(there)
eval instant at 0 absent(gone{a="1",b=~"x"})
  {a="1"} 1
eval instant at 0 absent(sum(gone))
  {} 1
eval range from 0 to 6m step 3m absent(there)
  {} _ _ 1
""",
    "values become labels": """
load 1m
  v{i="a"} 1
  v{i="b"} 1
  v{i="c"} 1e20
eval instant at 0 count_values("n", v)
  {n="1"} 2
  {n="100000000000000000000"} 1
""",
    "labels are replaced where the whole value matches": """
load 1m
  v{node="node-12"} 1
  v{node="other"} 2
eval instant at 0 label_replace(v, "n", "<${1}>", "node", "node-(.*)")
  v{node="node-12",n="<12>"} 1
  v{node="other"} 2
eval instant at 0 label_join(v, "j", "-", "node", "node")
  v{node="node-12",j="node-12-node-12"} 1
  v{node="other",j="other-other"} 2
fail at 0 sum(label_replace(v, "1", "x", "node", ".*"))
""",
    "numbers are IEEE's": """
load 1m
  zero 0
eval instant at 0 1 / 0
  +Inf
eval instant at 0 zero / zero
  {} NaN
eval instant at 0 -1 ^ 2
  -1
eval instant at 0 2 ^ 3 ^ 2
  512
eval instant at 0 -7 % 3
  -1
eval instant at 0 1e308 * 10
  +Inf
""",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_language(name):
    Script().run(SCRIPTS[name])


def test_spans_include_their_first_instant_and_in_version_3_they_do_not():
    text = """
load 1m
  v 0+1x10
eval instant at 5m count_over_time(v[2m])
  {} WANTED
"""
    Script().run(text.replace("WANTED", "3"))
    Script(EngineOptions(later=True)).run(text.replace("WANTED", "2"))


def test_functions_of_version_3_are_there_when_it_is_asked_for():
    text = """
load 1m
  v 1 2 3 4 100
eval instant at 4m mad_over_time(v[5m])
  {} 1
"""
    Script(EngineOptions(later=True)).run(text)
    with pytest.raises(BadQueryError, match="unknown function"):
        Script().run(text)
