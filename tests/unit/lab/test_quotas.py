"""What quotas and LimitRanges of existing namespaces say to a plan."""

from pathlib import Path

import pytest

from kubedyno.lab import quotas, session

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: "d-{{.Iteration}}-{{.Replica}}"}
spec:
  replicas: 3
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {containers: [{name: c, image: i, resources: {requests: {cpu: 500m}}}]}
"""
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: "p-{{.Iteration}}-{{.Replica}}"}
spec: {resources: {requests: {storage: 5Gi}}}
"""
CONFIG = """
jobs:
- name: j
  namespace: ns
  jobIterations: 2
  objects: [{objectTemplate: d.yml, replicas: 4}, {objectTemplate: c.yml, replicas: 1}]
"""


@pytest.fixture
def plan(tmp_path):
    (tmp_path / "d.yml").write_text(DEPLOYMENT)
    (tmp_path / "c.yml").write_text(CLAIM)
    (tmp_path / "config.yml").write_text(CONFIG)
    return session.prepare(session.Request(config=str(tmp_path / "config.yml"), directory=Path(tmp_path))).plan


def quota(hard, used=None, namespace="ns-0", **spec):
    return {
        "metadata": {"name": "q", "namespace": namespace},
        "spec": {"hard": hard, **spec},
        "status": {"used": used or {}},
    }


def limits(*items, namespace="ns-0"):
    return {"metadata": {"name": "l", "namespace": namespace}, "spec": {"limits": list(items)}}


@pytest.mark.parametrize(
    ("hard", "used", "said"),
    [
        ({"pods": "12"}, {}, []),
        ({"pods": "11"}, {}, ["quota ns-0/q: pods: 12 asked, 0 of 11 used already"]),
        ({"pods": "20"}, {"pods": "9"}, ["quota ns-0/q: pods: 12 asked, 9 of 20 used already"]),
        ({"requests.cpu": "6"}, {}, []),
        ({"requests.cpu": "5500m"}, {}, ["quota ns-0/q: requests.cpu: 6 asked, 0 of 5500m used already"]),
        ({"count/deployments.apps": "3"}, {}, ["quota ns-0/q: count/deployments.apps: 4 asked, 0 of 3 used already"]),
        ({"count/replicasets.apps": "3"}, {}, ["quota ns-0/q: count/replicasets.apps: 4 asked, 0 of 3 used already"]),
        ({"requests.storage": "4Gi"}, {}, ["quota ns-0/q: requests.storage: 5Gi asked, 0 of 4Gi used already"]),
        ({"persistentvolumeclaims": "1"}, {}, []),
        ({"services": "0"}, {}, []),
    ],
)
def test_a_quota_counts_what_the_plan_makes_in_its_namespace(plan, hard, used, said):
    assert quotas.lines(plan, [quota(hard, used)], []) == said


def test_a_quota_of_another_namespace_says_nothing(plan):
    assert quotas.lines(plan, [quota({"pods": "0"}, namespace="other")], []) == []
    assert len(quotas.lines(plan, [quota({"pods": "1"}), quota({"pods": "1"}, namespace="ns-1")], [])) == 2


def test_a_quota_on_limits_wants_them_said_unless_a_limit_range_does(plan):
    hard = quota({"limits.memory": "1Gi"})
    found = quotas.lines(plan, [hard], [])
    # One line, however many objects a template makes.
    assert len([line for line in found if "must specify" in line]) == 1
    assert found[0] == "quota ns-0/q: pods of Deployment ns-0/d-0-1 and 3 more must specify limits.memory for: c"
    default = limits({"type": "Container", "default": {"memory": "100Mi"}, "defaultRequest": {"memory": "100Mi"}})
    (line,) = quotas.lines(plan, [hard], [default])
    assert line == "quota ns-0/q: limits.memory: 1200Mi asked, 0 of 1Gi used already"


def test_a_limit_range_refuses_pods_and_claims_by_themselves(plan):
    ranges = limits(
        {"type": "Container", "max": {"cpu": "200m"}, "default": {"cpu": "200m"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
    )
    found = quotas.lines(plan, [], [ranges])
    assert any("LimitRange: pods of Deployment ns-0/d-0-1 and 3 more: " in line for line in found)
    assert any(
        "LimitRange: PersistentVolumeClaim ns-0/p-0-1: maximum storage" in line.replace(" and 4 more", "")
        for line in found
    )
    assert not any("ns-1" in line for line in found)


def test_a_quota_with_scopes_is_said_not_to_be_compared(plan):
    (line,) = quotas.lines(plan, [quota({"pods": "1"}, scopes=["BestEffort"])], [])
    assert "not compared" in line
