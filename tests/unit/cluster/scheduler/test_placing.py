"""Which node a pod gets, and which it must not get."""

import pytest

from kubedyno.cluster.scheduler.cycle import feasible_to_find
from kubedyno.cluster.scheduler.scores import resource_rank
from kubedyno.kube.resources import NODES, PODS
from unit.cluster.scheduler.sim import Sim

TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
WEB = {"app": "web"}
SELECT_WEB = {"matchLabels": WEB}


def test_bare_pods_fill_nodes_evenly(sim):
    for i in range(5):
        sim.node(f"n{i}")
    sim.pods(20)
    counts = [sum(sim.node_of(f"p{p}") == f"n{n}" for p in range(20)) for n in range(5)]
    assert counts == [4] * 5


def test_a_bigger_node_gets_more(sim):
    sim.node("small", cpu="2", memory="4Gi")
    sim.node("big", cpu="8", memory="16Gi")
    sim.pods(10, cpu="200m", memory="400Mi")
    assert sum(sim.node_of(f"p{i}") == "big" for i in range(10)) == 8


def test_a_toleration_opens_a_tainted_node(sim):
    sim.node(taints=[TAINT])
    sim.pod("p", tolerations=[{"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}])
    sim.pod("wrong", tolerations=[{"key": "k", "operator": "Equal", "value": "w", "effect": "NoSchedule"}])
    assert (sim.node_of("p"), sim.node_of("wrong")) == ("n1", "")


def test_a_taint_that_goes_lets_pods_in(sim):
    sim.node(taints=[TAINT])
    sim.pod("p")
    sim.change_node(spec={"taints": []})
    assert sim.node_of("p") == "n1"


def test_a_soft_taint_is_avoided_but_not_refused(sim):
    sim.node("n1", taints=[{"key": "k", "effect": "PreferNoSchedule"}])
    sim.node("n2", pods=1, cpu="1")
    sim.pods(2)
    assert (sim.node_of("p0"), sim.node_of("p1")) == ("n2", "n1")


def test_the_selector_is_followed(sim):
    sim.node("n1")
    sim.node("n2", labels={"disk": "ssd"})
    sim.pods(3, nodeSelector={"disk": "ssd"})
    assert {sim.node_of(f"p{i}") for i in range(3)} == {"n2"}


def node_affinity(operator, *values):
    expression = {"key": "disk", "operator": operator, **({"values": list(values)} if values else {})}
    return {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}


@pytest.mark.parametrize(
    ("affinity", "node"),
    [
        (node_affinity("In", "ssd"), "n2"),
        (node_affinity("NotIn", "ssd"), "n1"),
        (node_affinity("Exists"), "n2"),
        (node_affinity("DoesNotExist"), "n1"),
    ],
)
def test_required_node_affinity_is_followed(sim, affinity, node):
    sim.node("n1")
    sim.node("n2", labels={"disk": "ssd"})
    sim.pods(3, affinity=affinity)
    assert {sim.node_of(f"p{i}") for i in range(3)} == {node}


def test_preferred_node_affinity_is_followed_while_there_is_room(sim):
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    sim.node("n1")
    sim.node("n2", pods=2, labels={"disk": "ssd"})
    sim.pods(3, affinity={"nodeAffinity": {PREFERRED: [{"weight": 1, "preference": term}]}})
    assert [sim.node_of(f"p{i}") for i in range(3)] == ["n2", "n2", "n1"]


def test_a_host_port_is_given_once_a_node(sim):
    sim.node("n1")
    sim.node("n2")
    sim.pods(3, port=80)
    assert {sim.node_of("p0"), sim.node_of("p1")} == {"n1", "n2"}
    assert sim.condition("p2")["message"].startswith(
        "0/2 nodes are available: 2 node(s) didn't have free ports for the requested pod ports. "
    )
    sim.pod("plain")
    sim.delete("plain")
    assert sim.scheduler._queue.pods["ns/p2"].attempts == 1
    sim.delete("p0")
    assert sim.node_of("p2") != ""


def zones(sim: Sim, *names: str) -> None:
    for i, zone in enumerate(names):
        sim.node(f"n{i}", labels={ZONE: zone})


def zone_of(sim: Sim, pod: str) -> str:
    return sim.store.get(NODES, sim.node_of(pod)).obj.labels[ZONE]


def spread(**parts):
    return [
        {"maxSkew": 1, "topologyKey": ZONE, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": SELECT_WEB} | parts
    ]


def test_spreading_keeps_the_skew(sim):
    zones(sim, "a", "a", "a", "b")
    sim.pods(6, labels=WEB, topologySpreadConstraints=spread())
    found = [zone_of(sim, f"p{i}") for i in range(6)]
    assert sorted(found) == ["a"] * 3 + ["b"] * 3


def test_a_skew_that_cannot_be_kept_is_told(sim):
    sim.node("n0", labels={ZONE: "a"})
    sim.node("n1", labels={ZONE: "b"}, pods=0)
    sim.node("n2")
    sim.pods(2, labels=WEB, topologySpreadConstraints=spread())
    assert sim.node_of("p0") == "n0"
    assert sim.condition("p1")["message"] == (
        "0/3 nodes are available: 1 Too many pods, 1 node(s) didn't match pod topology spread constraints, 1 node(s) "
        "didn't match pod topology spread constraints (missing required label). no new claims to deallocate, "
        "preemption: 0/3 nodes are available: 1 Preemption is not helpful for scheduling, 2 No preemption victims "
        "found for incoming pod."
    )
    sim.change_node("n1", pods=1)
    assert sim.node_of("p1") == "n1"


def test_too_few_domains_count_as_an_empty_one(sim):
    zones(sim, "a", "b")
    sim.pods(3, labels=WEB, topologySpreadConstraints=spread(minDomains=3))
    assert sim.bound() == 2


def test_wished_spreading_is_followed_but_not_enforced(sim):
    sim.node("n0", labels={ZONE: "a"}, cpu="64", memory="128Gi")
    sim.node("n1", labels={ZONE: "b"}, pods=2)
    sim.pods(5, labels=WEB, topologySpreadConstraints=spread(whenUnsatisfiable="ScheduleAnyway"))
    assert sum(sim.node_of(f"p{i}") == "n1" for i in range(5)) == 2
    assert sim.bound() == 5


def pod_affinity(kind: str, key: str = ZONE, **term):
    return {kind: {REQUIRED: [{"labelSelector": SELECT_WEB, "topologyKey": key, **term}]}}


def test_anti_affinity_gives_each_its_own_node(sim):
    zones(sim, "a", "a", "b")
    sim.pods(4, labels=WEB, affinity=pod_affinity("podAntiAffinity", HOSTNAME))
    assert len({sim.node_of(f"p{i}") for i in range(3)} - {""}) == 3
    assert "3 node(s) didn't match pod anti-affinity rules" in sim.condition("p3")["message"]
    sim.delete("p0")
    assert sim.node_of("p3") != ""


def test_anti_affinity_of_others_keeps_a_plain_pod_away(sim):
    zones(sim, "a")
    sim.pod("lonely", affinity=pod_affinity("podAntiAffinity"))
    sim.pod("plain")
    sim.pod("web", labels=WEB)
    assert sim.node_of("plain") == "n0"
    assert "1 node(s) didn't satisfy existing pods anti-affinity rules." in sim.condition("web")["message"]
    sim.delete("lonely")
    assert sim.node_of("web") == "n0"


def test_affinity_follows_and_the_first_of_a_group_starts_it(sim):
    zones(sim, "a", "b", "b")
    sim.pods(6, labels=WEB, affinity=pod_affinity("podAffinity"))
    assert len({zone_of(sim, f"p{i}") for i in range(6)}) == 1


def test_affinity_to_nobody_waits_until_somebody_comes(sim):
    zones(sim, "a", "b")
    sim.pod("p", affinity=pod_affinity("podAffinity"))
    assert sim.condition("p")["message"].startswith(
        "0/2 nodes are available: 2 node(s) didn't match pod affinity rules. "
    )
    sim.pod("web", labels=WEB)
    assert zone_of(sim, "p") == zone_of(sim, "web")


def test_affinity_looks_into_the_namespaces_that_are_named(sim):
    zones(sim, "a", "b")
    sim.namespace("else", team="x")
    sim.pod("web", namespace="else", labels=WEB)
    sim.pod("own", affinity=pod_affinity("podAffinity"))
    sim.pod("named", affinity=pod_affinity("podAffinity", namespaces=["else"]))
    sim.pod("chosen", affinity=pod_affinity("podAffinity", namespaceSelector={"matchLabels": {"team": "x"}}))
    where = sim.node_of("web", "else")
    assert (sim.node_of("own"), sim.node_of("named"), sim.node_of("chosen")) == ("", where, where)


def test_preferred_anti_affinity_spreads(sim):
    zones(sim, "a", "b")
    term = {"labelSelector": SELECT_WEB, "topologyKey": ZONE}
    wish = {"podAntiAffinity": {PREFERRED: [{"weight": 100, "podAffinityTerm": term}]}}
    sim.pods(2, labels=WEB, affinity=wish)
    assert {zone_of(sim, "p0"), zone_of(sim, "p1")} == {"a", "b"}


def test_a_pinned_pod_goes_to_its_node_alone(sim):
    from unit.cluster.scheduler.test_messages import pinned

    sim.node("n1", pods=1)
    sim.node("n2", pods=1)
    sim.pod("p", affinity=pinned("n2"))
    sim.pod("q", affinity=pinned("n3"))
    assert (sim.node_of("p"), sim.node_of("q")) == ("n2", "")
    sim.node("n3")
    assert sim.node_of("q") == "n3"


def test_of_equally_full_nodes_the_balanced_one_is_taken(sim):
    sim.node("n0", cpu="4", memory="4Gi")
    sim.node("n1", cpu="4", memory="4Gi")
    sim.pod("lopsided", cpu="2", memory="1", nodeName="n0")
    sim.pod("even", cpu="1", memory="1Gi", nodeName="n1")
    sim.pod("p", cpu="1", memory="1Gi")
    assert sim.node_of("p") == "n1"


def test_points_are_those_of_the_default_profile(sim):
    sim.node("n1", cpu="4", memory="8Gi")
    sim.pod("first", cpu="1", memory="1Gi")
    sim.pod("next", cpu="1", memory="1Gi")
    node = sim.scheduler._cluster.nodes["n1"]
    rank = resource_rank(sim.store.get(PODS, "ns/next").obj.facts.spec)
    # A third such pod: CPU 3/4 and memory 3/8 taken. Least allocated (25 + 62) // 2, balanced 100 - (75 - 37.5) / 2.
    assert -rank(node)[0] == 43 + 81


def test_pods_of_one_pinned_template_go_each_to_its_own_node(sim):
    sim.node("n1")
    sim.node("n2")
    spec = {"containers": [{"name": "c", "image": "i"}], "affinity": pod_affinity("podAntiAffinity", HOSTNAME)}
    template = sim.trusted.pod_template({"metadata": {"labels": WEB}, "spec": spec}, pinned=True)
    for node in ("n1", "n2"):
        sim.do(sim.trusted.create_pod, "ns", template, name=f"on-{node}", node=node)
    assert (sim.node_of("on-n1"), sim.node_of("on-n2")) == ("n1", "n2")


def test_a_scan_of_many_nodes_ends_when_it_has_seen_enough():
    assert [feasible_to_find(n) for n in (5, 99, 100, 500, 1000, 5000, 10_000)] == [5, 99, 100, 230, 420, 500, 500]


def test_scans_start_where_the_last_one_ended(sim):
    for i in range(150):
        sim.node(f"n{i}")
    term = {"matchExpressions": [{"key": "none", "operator": "Exists"}]}
    wish = {"nodeAffinity": {PREFERRED: [{"weight": 1, "preference": term}]}}
    sim.pods(4, affinity=wish)
    # Of 150 nodes 100 are looked at: n0 to n99, n100 to n49, n50 to n149, n0 to n99.
    assert [sim.node_of(f"p{i}") for i in range(4)] == ["n0", "n1", "n50", "n2"]


def test_a_pinned_pod_is_not_tried_again_for_another_node(sim):
    from unit.cluster.scheduler.test_messages import pinned

    sim.node("n1")
    sim.pod("q", affinity=pinned("n3"))
    sim.node("n2")
    assert sim.scheduler._queue.pods["ns/q"].attempts == 1


def test_a_pod_that_evens_the_skew_lets_the_next_one_in(sim):
    sim.node("n0", labels={ZONE: "a"})
    sim.node("n1", labels={ZONE: "b"}, pods=0)
    sim.pods(2, labels=WEB, topologySpreadConstraints=spread())
    assert sim.node_of("p1") == ""
    sim.pod("other", nodeName="n1")
    assert sim.node_of("p1") == ""
    sim.pod("web", labels=WEB, nodeName="n1")
    assert sim.node_of("p1") == "n0"


def test_a_node_that_gets_the_missing_label_is_looked_at(sim):
    sim.node("n0")
    sim.pod("p", labels=WEB, topologySpreadConstraints=spread())
    assert "(missing required label)" in sim.condition("p")["message"]
    record = sim.store.get(NODES, "n0")
    sim.do(sim.trusted.replace, NODES, record, labels={**record.obj.labels, ZONE: "a"})
    assert sim.node_of("p") == "n0"


def test_a_pod_that_others_placed_is_followed(sim):
    zones(sim, "a", "b")
    sim.pod("p", affinity=pod_affinity("podAffinity"))
    sim.pod("web", labels=WEB, nodeName="n1")
    assert sim.node_of("p") == "n1"
