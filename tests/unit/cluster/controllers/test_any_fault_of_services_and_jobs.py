"""Writes of the controllers of Jobs, Services, claims and budgets that fail at random: in the end all is as wanted."""

import pytest

from kubedyno.kube.resources import (
    CLAIMS,
    DEPLOYMENTS,
    DISRUPTIONBUDGETS,
    ENDPOINTS,
    ENDPOINTSLICES,
    JOBS,
    PODS,
    SERVICES,
    STATEFULSETS,
    VOLUMES,
)

from .conftest import template, workload
from .test_any_fault import Weather
from .test_failing_objects import levels
from .test_volumes import claims_set, make


class Fleeting:
    """Plays the kubelet: pods of Jobs end well at once, others run and have an address."""

    def __init__(self, cluster):
        self.cluster, self.real, self.number = cluster, cluster.trusted, 0
        cluster.run = self.run

    def run(self, pod, node="n1"):
        self.cluster.choose(pod, node)
        bound = self.cluster.trusted.bind(pod, node)
        ends = "job-name" in pod.obj.labels
        self.number += 1
        address = f"10.1.{self.number // 250}.{self.number % 250 + 1}"
        status = self.cluster.store.encode_dict(PODS, bound)["status"]
        ready = {"type": "Ready", "status": str(not ends), "lastTransitionTime": "2026-11-18T14:06:40Z"}
        status |= {"phase": "Succeeded" if ends else "Running", "podIP": address, "conditions": [ready]}
        # The kubelet has a door of its own, without weather.
        self.cluster.calm.replace_status(PODS, bound, status)


@pytest.fixture
def stormy(monkeypatch, caplog):
    def start(seed):
        from kubedyno.cluster.registry.trusted import Trusted

        caplog.set_level("CRITICAL")
        cluster = make(kubelet=False, speed=0.0)
        weather = Weather(monkeypatch, cluster.trusted, seed)
        cluster.calm = cluster.trusted = Trusted(cluster.registry, verify=True)
        Fleeting(cluster)
        cluster._start_kubelet()
        return cluster, weather

    return start


@pytest.mark.parametrize("seed", range(12))
def test_jobs_services_claims_and_budgets_come_to_what_is_wanted(stormy, seed):
    cluster, weather = stormy(seed)
    weather.share = 0.3
    cluster.create(DEPLOYMENTS, workload("d", replicas=4))
    cluster.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}})
    cluster.create(DISRUPTIONBUDGETS, {
        "metadata": {"name": "b"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "maxUnavailable": 1},
    })  # fmt: skip
    for name, more in (("plain", {}), ("indexed", {"completionMode": "Indexed"})):
        spec = {"completions": 6, "parallelism": 3, "template": template({"j": "x"}, restartPolicy="Never"), **more}
        cluster.create(JOBS, {"metadata": {"name": name}, "spec": spec})
    retention = {"whenDeleted": "Delete", "whenScaled": "Retain"}
    made = claims_set(persistentVolumeClaimRetentionPolicy=retention)
    made["spec"]["selector"]["matchLabels"] = made["spec"]["template"]["metadata"]["labels"] = {"s": "x"}
    cluster.create(STATEFULSETS, made)
    cluster.advance(20)
    cluster.apply(DEPLOYMENTS, "d", replicas=3)
    cluster.advance(10)
    weather.share = 0.0
    cluster.advance(2200)
    assert sum(weather.hits.values()) > 10
    assert levels(cluster) == {}
    for name in ("plain", "indexed"):
        status = cluster.get(JOBS, name)["status"]
        assert (status["succeeded"], status["conditions"][-1]["type"]) == (6, "Complete")
        assert status["uncountedTerminatedPods"] == {}
    jobs_pods = [pod for pod in cluster.pods() if "job-name" in pod.obj.labels]
    assert (len(jobs_pods), [p for p in jobs_pods if p.obj.finalizers]) == (12, [])
    web = {p.obj.facts.pod_ip for p in cluster.pods() if p.obj.labels.get("a") == "b"}
    (slice_,) = cluster.all(ENDPOINTSLICES)
    assert {a for e in slice_["endpoints"] for a in e["addresses"]} == web
    assert {a["ip"] for a in cluster.get(ENDPOINTS, "web")["subsets"][0]["addresses"]} == web
    assert len(web) == 3
    assert cluster.get(DISRUPTIONBUDGETS, "b")["status"]["disruptionsAllowed"] == 1
    assert {c["status"]["phase"] for c in cluster.all(CLAIMS)} == {"Bound"}
    assert {v["spec"]["claimRef"]["name"] for v in cluster.all(VOLUMES)} == {"data-w-0", "data-w-1"}
    weather.share = 0.3
    for resource, name in ((JOBS, "plain"), (JOBS, "indexed"), (SERVICES, "web"), (STATEFULSETS, "w")):
        cluster.delete(resource, name, policy="Background")
    cluster.advance(10)
    weather.share = 0.0
    cluster.advance(2200)
    assert levels(cluster) == {}
    assert [p for p in cluster.pods() if p.obj.labels.get("a") != "b"] == []
    left = {r.plural: cluster.names(r) for r in (ENDPOINTSLICES, ENDPOINTS, CLAIMS, VOLUMES)}
    assert left == {"endpointslices": [], "endpoints": [], "persistentvolumeclaims": [], "persistentvolumes": []}
