from dataclasses import replace

import pytest

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.flowcontrol.borrowing import Demand, Need, allocate
from kubedyno.cluster.apiserver.flowcontrol.configuration import LevelConfig, Schema, hand_of, seats_of
from kubedyno.cluster.apiserver.flowcontrol.requestinfo import attributes_of, is_long_running, sort_of
from kubedyno.cluster.apiserver.flowcontrol.retryafter import RetryAfter
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.http.messages import Peer, Request

GROUP = "flowcontrol.apiserver.k8s.io/v1"
OBJECTS = [obj for obj in bootstrap_objects() if obj["apiVersion"] == GROUP]
SCHEMAS = sorted(
    (Schema.of("", obj) for obj in OBJECTS if obj["kind"] == "FlowSchema"),
    key=lambda each: (each.precedence, each.name),
)
LEVELS = [LevelConfig.of("", obj) for obj in OBJECTS if obj["kind"] == "PriorityLevelConfiguration"]


def asked(method: str, target: str) -> Request:
    path, _, query = target.partition("?")
    return Request(method, path, query, {}, b"", Peer(1, ""))


@pytest.mark.parametrize(
    ("method", "target", "what"),
    [
        ("GET", "/api/v1/namespaces/a/pods", ("list", "", "pods", "", "a", "")),
        ("GET", "/api/v1/namespaces/a/pods?watch=1", ("watch", "", "pods", "", "a", "")),
        ("GET", "/api/v1/namespaces/a/pods?watch=false", ("list", "", "pods", "", "a", "")),
        ("GET", "/api/v1/namespaces/a/pods/p?watch=1", ("get", "", "pods", "", "a", "p")),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", ("create", "apps", "deployments", "", "a", "")),
        ("PUT", "/apis/apps/v1/namespaces/a/deployments/d/scale", ("update", "apps", "deployments", "scale", "a", "d")),
        ("DELETE", "/api/v1/nodes", ("deletecollection", "", "nodes", "", "", "")),
        ("GET", "/api/v1/namespaces/a", ("get", "", "namespaces", "", "a", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "", "namespaces", "finalize", "a", "a")),
    ],
)
def test_a_path_says_what_a_request_is_about(method: str, target: str, what: tuple[str, ...]) -> None:
    found = attributes_of(asked(method, target))
    assert (found.verb, found.group, found.resource, found.subresource, found.namespace, found.name) == what


@pytest.mark.parametrize("path", ["/healthz", "/api", "/apis/apps/v1", "/openapi/v2", "/"])
def test_what_is_no_resource_is_its_path(path: str) -> None:
    found = attributes_of(asked("GET", path))
    assert (found.verb, found.path, found.resource) == ("get", path, "")


def test_a_sort_of_request_is_the_same_for_all_objects_and_for_nothing_else() -> None:
    collections = (
        "/api/v1/namespaces", "/api/v1/namespaces/a/pods", "/api/v1/nodes", "/apis/apps/v1/namespaces/a/deployments",
    )  # fmt: skip
    ends = ("", "/", "/a", "/b", "/status", "/finalize", "/pods", "/a/status", "/b/status", "/a/", "//a", "/a?watch=1")
    # Twice, as the second one is remembered.
    for target in [collection + end for collection in collections for end in ends] * 2 + [
        "/api",
        "/api/",
        "/healthz/a",
    ]:
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            whole, sort = attributes_of(asked(method, target)), sort_of(asked(method, target))
            assert sort in {whole, replace(whole, name="")}, (method, target)
    pods = [sort_of(asked("PATCH", f"/api/v1/namespaces/a/pods/p-{i}")) for i in range(5000)]
    assert all(sort is pods[0] for sort in pods)


def test_logs_and_streams_stay() -> None:
    pod = "/api/v1/namespaces/a/pods/p"
    assert is_long_running(attributes_of(asked("GET", f"{pod}/exec?command=a")))
    assert not is_long_running(attributes_of(asked("GET", f"{pod}/status")))


@pytest.mark.parametrize(
    ("user", "groups", "method", "target", "schema"),
    [
        ("admin", ["system:masters"], "GET", "/api/v1/pods", "exempt"),
        ("somebody", ["system:authenticated"], "GET", "/readyz", "probes"),
        ("somebody", ["system:authenticated"], "GET", "/version", "global-default"),
        ("somebody", ["system:authenticated"], "POST", "/api/v1/namespaces/a/pods", "global-default"),
        ("somebody", [], "GET", "/api/v1/pods", ""),
        ("system:node:n", ["system:nodes"], "PATCH", "/api/v1/nodes/n/status", "system-node-high"),
        ("system:node:n", ["system:nodes"], "GET", "/api/v1/namespaces/a/pods/p", "system-nodes"),
        ("system:kube-scheduler", ["system:authenticated"], "GET", "/api/v1/pods?watch=1", "kube-scheduler"),
        (
            "system:kube-scheduler",
            [],
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/s",
            "system-leader-election",
        ),
        ("system:serviceaccount:kube-system:x", ["system:serviceaccounts"], "GET", "/api/v1/pods", "kube-system-service-accounts"),
        ("system:serviceaccount:a:x", ["system:serviceaccounts"], "GET", "/api/v1/pods", "service-accounts"),
    ],
)  # fmt: skip
def test_the_bootstrap_schemas_sort_as_the_real_ones(
    user: str, groups: list[str], method: str, target: str, schema: str
) -> None:
    attributes = attributes_of(asked(method, target))
    matching = [each.name for each in SCHEMAS if each.match(User(user, tuple(groups)), attributes)]
    assert (matching or [""])[0] == schema


def test_seats_are_those_that_a_real_server_has() -> None:
    found = seats_of(LEVELS, 600)
    assert {name: (seats.nominal, seats.least, seats.most) for name, seats in found.items()} == {
        "catch-all": (13, 13, 613),
        "exempt": (0, 0, 600),
        "global-default": (49, 24, 649),
        "leader-election": (25, 25, 625),
        "node-high": (98, 73, 698),
        "system": (74, 50, 674),
        "workload-high": (98, 49, 698),
        "workload-low": (245, 24, 845),
    }


def test_an_idle_servers_seats_are_lent_as_a_real_server_lends_them() -> None:
    seats = seats_of(LEVELS, 600)
    limited = sorted(level.name for level in LEVELS if not level.exempt)
    server_seats = sum(each.nominal for each in seats.values())
    found, multiple = allocate([Need(seats[n].least, seats[n].least, seats[n].most) for n in limited], server_seats)
    assert dict(zip(limited, found, strict=True)) == {
        "catch-all": 30,
        "global-default": 56,
        "leader-election": 58,
        "node-high": 170,
        "system": 117,
        "workload-high": 114,
        "workload-low": 56,
    }
    assert multiple == pytest.approx(2.3333333333333335)


def test_who_needs_more_than_its_own_borrows() -> None:
    found, _ = allocate([Need(50, 500, 600), Need(50, 50, 600)], 600)
    assert found == [545, 55]
    found, _ = allocate([Need(50, 500, 100), Need(50, 50, 600)], 600)
    assert found == [100, 500]


def test_a_limit_on_borrowing_is_kept() -> None:
    level = LevelConfig("a", "", exempt=False, shares=1, lendable_percent=33, borrowing_percent=50)
    other = LevelConfig("b", "", exempt=False, shares=1)
    assert seats_of([level, other], 100)["a"] == seats_of([level, other], 100)["a"].__class__(50, 33, 75)


def test_demand_is_averaged_over_time_and_falls_slowly() -> None:
    demand = Demand(0.0)
    demand.change(4, 0.0)
    demand.change(-4, 5.0)
    demand.end_period(10.0)
    assert (demand.average, demand.spread, demand.most, demand.smoothed) == (2.0, 2.0, 4, 4.0)
    demand.end_period(20.0)
    assert (demand.average, demand.most) == (0.0, 0)
    assert demand.smoothed == pytest.approx(4 * 0.977)


def test_demand_that_has_passed_counts_as_if_it_had_been_noted() -> None:
    noted, passed = Demand(0.0), Demand(0.0)
    for demand in (noted, passed):
        demand.change(2, 0.0)
    noted.change(3, 1.0)
    noted.change(-3, 1.5)
    passed.passing(3, 0.5)
    for demand in (noted, passed):
        demand.end_period(10.0)
    assert (noted.average, noted.most) == (passed.average, passed.most)
    assert noted.spread == pytest.approx(passed.spread)


def test_a_hand_has_different_queues_and_is_always_the_same() -> None:
    hands = [hand_of("schema", f"user-{i}", 128, 6) for i in range(500)]
    assert all(len(set(hand)) == 6 and max(hand) < 128 for hand in hands)
    assert hands[7] == hand_of("schema", "user-7", 128, 6)
    assert {card for hand in hands for card in hand} == set(range(128))
    # A flood's user shares all queues with hardly anybody.
    assert sum(set(hand) <= set(hands[0]) for hand in hands) == 1


def test_clients_stay_away_longer_the_more_are_refused() -> None:
    retry = RetryAfter()
    assert retry.refuse(100.0) == 1
    for _ in range(5):
        retry.refuse(100.5)
    seconds = [retry.refuse(100.0 + i) for i in range(1, 4) for _ in range(20)]
    assert seconds[0] == 2
    assert seconds[-1] == 4
    for second in range(104, 160, 3):
        last = retry.refuse(second)
    assert last < 8
