"""PodDisruptionBudgets and evictions: how many may go, and who is refused."""

import pytest

from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry.eviction import evict
from kubedyno.kube.resources import DEPLOYMENTS, DISRUPTIONBUDGETS, PODS
from kubedyno.kube.status import StatusError, TooManyRequests

from .conftest import NS, Cluster, workload


def budget(name="b", **spec):
    return {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": {"a": "b"}}, **spec}}


def make(replicas=4, **spec):
    cluster = Cluster()
    cluster.create(DEPLOYMENTS, workload(replicas=replicas))
    cluster.create(DISRUPTIONBUDGETS, budget(**spec))
    cluster.drain()
    return cluster


def status(cluster):
    return cluster.get(DISRUPTIONBUDGETS, "b")["status"]


def counts(cluster):
    names = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")
    return tuple(status(cluster)[name] for name in names)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"minAvailable": 3}, (1, 4, 3, 4)),
        ({"minAvailable": "60%"}, (1, 4, 3, 4)),
        ({"maxUnavailable": 2}, (2, 4, 2, 4)),
        ({"maxUnavailable": "30%"}, (2, 4, 2, 4)),
        ({"minAvailable": 9}, (0, 4, 9, 4)),
    ],
)
def test_the_status_counts(spec, expected):
    cluster = make(**spec)
    assert counts(cluster) == expected
    (condition,) = status(cluster)["conditions"]
    allowed = expected[0] > 0
    assert condition["status"] == str(allowed)
    assert condition["reason"] == ("SufficientPods" if allowed else "InsufficientPods")
    assert condition["observedGeneration"] == status(cluster)["observedGeneration"] == 1


def test_nothing_selected_is_said():
    cluster = Cluster()
    cluster.create(DISRUPTIONBUDGETS, budget(minAvailable=1))
    cluster.drain()
    assert counts(cluster) == (0, 0, 1, 0)
    assert cluster.events("PodDisruptionBudget", "NoPods") == ["No matching pods found"]


def test_evictions_are_allowed_until_the_budget_is_used_up():
    cluster = make(maxUnavailable=1)
    first, second, *_ = cluster.names(PODS)
    evict(cluster.registry, NS, first, {})
    left = status(cluster)
    assert (left["disruptionsAllowed"], list(left["disruptedPods"])) == (0, [first])
    (condition,) = [c for c in cluster.get(PODS, first)["status"]["conditions"] if c["type"] == "DisruptionTarget"]
    assert condition["reason"] == "EvictionByEvictionAPI"
    with pytest.raises(TooManyRequests) as refused:
        evict(cluster.registry, NS, second, {})
    assert refused.value.document()["details"] == {
        "causes": [{"reason": "DisruptionBudget",
                    "message": "The disruption budget b does not allow evicting pods currently"}],
    }  # fmt: skip
    cluster.drain()
    # The pod has gone and another one has come.
    assert first not in cluster.names(PODS)
    assert counts(cluster) == (1, 4, 3, 4)
    assert "disruptedPods" not in status(cluster)
    evict(cluster.registry, NS, second, {})


def test_a_dry_run_takes_nothing():
    cluster = make(maxUnavailable=1)
    evict(cluster.registry, NS, cluster.names(PODS)[0], {}, dry_run=True)
    assert (counts(cluster)[0], len(cluster.pods())) == (1, 4)


def test_an_unhealthy_pod_may_go_when_the_others_are_enough_or_always():
    cluster = make(minAvailable=4)
    name = cluster.names(PODS)[0]
    cluster.set_ready(cluster.store.get(PODS, f"{NS}/{name}"), ready=False)
    cluster.drain()
    with pytest.raises(TooManyRequests):
        evict(cluster.registry, NS, name, {})
    cluster.apply(DISRUPTIONBUDGETS, "b", unhealthyPodEvictionPolicy="AlwaysAllow")
    cluster.drain()
    evict(cluster.registry, NS, name, {})


def test_a_budget_that_was_not_looked_at_yet_refuses():
    cluster = make(maxUnavailable=1)
    cluster.apply(DISRUPTIONBUDGETS, "b", maxUnavailable=2)
    with pytest.raises(TooManyRequests) as refused:
        evict(cluster.registry, NS, cluster.names(PODS)[0], {})
    assert "still being processed" in refused.value.document()["details"]["causes"][0]["message"]


def test_two_budgets_are_too_many():
    cluster = make(maxUnavailable=1)
    cluster.create(DISRUPTIONBUDGETS, budget("c", maxUnavailable=1))
    cluster.drain()
    with pytest.raises(StatusError, match="more than one PodDisruptionBudget"):
        evict(cluster.registry, NS, cluster.names(PODS)[0], {})


def test_an_eviction_counts_until_its_deletion_is_seen_or_long_overdue():
    cluster = make(minAvailable=3)
    record = cluster.store.get(DISRUPTIONBUDGETS, f"{NS}/b")
    now = rfc3339(cluster.clock.now())
    cluster.trusted.replace_status(
        DISRUPTIONBUDGETS, record, {**status(cluster), "disruptedPods": {cluster.names(PODS)[0]: now}}
    )
    cluster.drain()
    assert counts(cluster) == (0, 3, 3, 4)
    cluster.advance(119)
    assert counts(cluster) == (0, 3, 3, 4)
    cluster.advance(2)
    assert counts(cluster) == (1, 4, 3, 4)
