"""HorizontalPodAutoscalers: what use asks for, how fast, and what is said where nothing is known."""

import pytest

from kubedyno.cluster.controllers.autoscalermetrics import ContainerUse, Metrics
from kubedyno.cluster.controllers.autoscalerrules import History, limited
from kubedyno.kube.resources import AUTOSCALERS, CONFIGMAPS, DEPLOYMENTS, PODS
from kubedyno.kube.selectors import LabelSelector

from .conftest import NS, Cluster, workload

NO_METRICS = "failed to get cpu utilization: unable to get metrics for resource cpu: no metrics returned from resource metrics API"


def make(usage=None, replicas=2, settings=None, **spec):
    cluster = Cluster(**(settings or {}))
    made = workload("w", replicas=replicas)
    made["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    if usage:
        made["spec"]["template"]["metadata"]["annotations"] = {"kubedyno.io/usage-cpu": usage}
    cluster.create(DEPLOYMENTS, made)
    cluster.drain()
    cluster.create(AUTOSCALERS, {
        "metadata": {"name": "h"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"},
            "minReplicas": 1, "maxReplicas": 20,
            "metrics": [{
                "type": "Resource",
                "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
            }],
            **spec,
        },
    })  # fmt: skip
    cluster.drain()
    return cluster


def replicas(cluster):
    return cluster.get(DEPLOYMENTS, "w")["spec"]["replicas"]


def conditions(cluster):
    found = cluster.get(AUTOSCALERS, "h")["status"]["conditions"]
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in found}


def test_without_metrics_it_says_so():
    cluster = make()
    assert conditions(cluster) == {
        "AbleToScale": (
            "True", "SucceededGetScale", "the HPA controller was able to get the target's current scale"
        ),
        "ScalingActive": (
            "False", "FailedGetResourceMetric", f"the HPA was unable to compute the replica count: {NO_METRICS}"
        ),
    }  # fmt: skip
    assert cluster.events("HorizontalPodAutoscaler", "FailedGetResourceMetric") == [NO_METRICS]
    assert cluster.events("HorizontalPodAutoscaler", "FailedComputeMetricsReplicas") == [
        "invalid metrics (1 invalid out of 1), first error is: failed to get cpu resource metric value: " + NO_METRICS
    ]
    assert replicas(cluster) == 2


def test_a_target_that_is_not_there_is_said():
    cluster = make(scaleTargetRef={"apiVersion": "apps/v1", "kind": "Deployment", "name": "none"})
    text = 'deployments.apps "none" not found'
    assert conditions(cluster)["AbleToScale"] == (
        "False", "FailedGetScale", f"the HPA controller was unable to get the target's current scale: {text}"
    )  # fmt: skip


def test_it_grows_with_use():
    cluster = make("100m")
    assert replicas(cluster) == 4
    status = cluster.get(AUTOSCALERS, "h")["status"]
    assert status["currentMetrics"][0]["resource"]["current"] == {"averageUtilization": 100, "averageValue": "100m"}
    assert (status["desiredReplicas"], status["currentReplicas"]) == (4, 2)
    assert cluster.events("HorizontalPodAutoscaler", "SuccessfulRescale") == [
        "New size: 4; reason: cpu resource utilization (percentage of request) above target"
    ]
    assert conditions(cluster)["AbleToScale"][1] == "SucceededRescale"
    assert conditions(cluster)["ScalingActive"][2] == (
        "the HPA was able to successfully calculate a replica count from cpu resource utilization "
        "(percentage of request)"
    )
    cluster.advance(200)
    assert replicas(cluster) == 20
    assert conditions(cluster)["ScalingLimited"][1] == "TooManyReplicas"


def test_it_shrinks_only_after_five_minutes_of_less_use():
    cluster = make("50m", replicas=8)
    assert replicas(cluster) == 8
    for pod in cluster.pods():
        cluster.trusted.replace(PODS, pod, annotations={"kubedyno.io/usage-cpu": "20m"})
    cluster.advance(280)
    assert replicas(cluster) == 8
    assert conditions(cluster)["AbleToScale"][1] == "ScaleDownStabilized"
    cluster.advance(60)
    assert replicas(cluster) == 4


@pytest.mark.parametrize(("version", "count"), [("1.36", 2), ("1.34", 3)])
def test_a_tolerance_of_its_own_counts_where_the_version_has_it(version, count):
    behavior = {"scaleUp": {"tolerance": "0.5", "policies": [{"type": "Pods", "value": 9, "periodSeconds": 15}]}}
    cluster = make("60m", settings={"version": version}, behavior=behavior)
    assert replicas(cluster) == count


def test_more_than_the_maximum_is_cut_whatever_the_metrics():
    cluster = make(replicas=9, maxReplicas=5)
    assert replicas(cluster) == 5
    assert cluster.events("HorizontalPodAutoscaler", "SuccessfulRescale") == [
        "New size: 5; reason: Current number of replicas above Spec.MaxReplicas"
    ]


def rules(type, value, **more):
    return {"policies": [{"type": type, "value": value, "periodSeconds": 60}], **more}


@pytest.mark.parametrize(
    ("behavior", "current", "wanted", "allowed"),
    [
        ({}, 2, 100, 6),
        ({}, 50, 200, 100),
        ({"scaleUp": rules("Pods", 1)}, 2, 100, 3),
        ({"scaleUp": rules("Percent", 50)}, 4, 100, 6),
        ({"scaleUp": {"selectPolicy": "Disabled"}}, 2, 100, 2),
        ({"scaleDown": {"stabilizationWindowSeconds": 0, **rules("Pods", 2)}}, 10, 1, 8),
        ({"scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"}}, 10, 1, 10),
    ],
)
def test_how_fast_it_may_go(behavior, current, wanted, allowed):
    assert limited(behavior, History(), 1000.0, current, wanted, (1, 500))[0] == allowed


def test_what_was_added_lately_counts_against_the_rate():
    history = History(changes=[(990.0, 1)])
    assert limited({"scaleUp": rules("Pods", 2)}, history, 1000.0, 3, 100, (1, 500))[0] == 4


# --- other metrics -------------------------------------------------------------------------------------------------


def with_metric(metric, annotations=None, replicas=2, data=None, settings=None, **spec):
    cluster = Cluster(**(settings or {}))
    made = workload("w", replicas=replicas)
    container = made["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "100m"}}
    made["spec"]["template"]["spec"]["containers"].append({"name": "sidecar", "image": "s"})
    made["spec"]["template"]["metadata"]["annotations"] = annotations or {}
    cluster.create(DEPLOYMENTS, made)
    if data:
        cluster.create(CONFIGMAPS, {"metadata": {"name": "kubedyno-external-metrics"}, "data": data})
    cluster.drain()
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}
    whole = {"scaleTargetRef": reference, "minReplicas": 1, "maxReplicas": 20, "metrics": [metric], **spec}
    cluster.create(AUTOSCALERS, {"metadata": {"name": "h"}, "spec": whole})
    cluster.advance(1)
    return cluster


def scaled(cluster):
    hpa = cluster.get(AUTOSCALERS, "h")["status"]
    active = next(c["message"] for c in hpa["conditions"] if c["type"] == "ScalingActive")
    return cluster.get(DEPLOYMENTS, "w")["spec"]["replicas"], active.rpartition("from ")[2], hpa["currentMetrics"]


AVERAGE = {"type": "AverageValue", "averageValue": "10"}
VALUE = {"type": "Value", "value": "10"}
QUEUE = {"metric": {"name": "queue"}}
DESCRIBED = {"describedObject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "w"}}


def test_a_container_alone_is_looked_at():
    source = {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50}}
    metric = {"type": "ContainerResource", "containerResource": source}
    cluster = with_metric(metric, {"kubedyno.io/usage-cpu.c": "100m", "kubedyno.io/usage-cpu": "9"})
    replicas, name, (current,) = scaled(cluster)
    assert (replicas, name) == (4, "cpu container resource utilization (percentage of request)")
    assert current == {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu", "container": "c", "current": {"averageUtilization": 100, "averageValue": "100m"},
        },
    }  # fmt: skip


def test_a_metric_of_the_pods():
    cluster = with_metric({"type": "Pods", "pods": {**QUEUE, "target": AVERAGE}}, {"kubedyno.io/metric-queue": "25"})
    replicas, name, (current,) = scaled(cluster)
    assert (replicas, name) == (5, "pods metric queue")
    assert current == {"type": "Pods", "pods": {**QUEUE, "current": {"averageValue": "25"}}}


@pytest.mark.parametrize(("target", "value", "replicas", "current"), [
    (VALUE, "25", 5, {"value": "25"}), (AVERAGE, "55", 6, {"averageValue": "27500m"}), (VALUE, "10500m", 2, {"value": "10500m"}),
])  # fmt: skip
def test_an_external_metric(target, value, replicas, current):
    cluster = with_metric({"type": "External", "external": {**QUEUE, "target": target}}, data={"queue": value})
    found, name, (shown,) = scaled(cluster)
    assert (found, name) == (replicas, "external metric queue(nil)")
    assert shown == {"type": "External", "external": {**QUEUE, "current": current}}


def test_a_metric_of_an_object():
    metric = {"type": "Object", "object": {**QUEUE, **DESCRIBED, "target": VALUE}}
    cluster = with_metric(metric)
    record = cluster.store.get(DEPLOYMENTS, f"{NS}/w")
    cluster.trusted.replace(DEPLOYMENTS, record, annotations={"kubedyno.io/metric-queue": "30"})
    cluster.advance(16)
    replicas, name, (current,) = scaled(cluster)
    assert (replicas, name) == (6, "Deployment metric queue")
    assert current == {"type": "Object", "object": {**QUEUE, **DESCRIBED, "current": {"value": "30"}}}


@pytest.mark.parametrize(("metric", "reason", "words"), [
    ({"type": "Pods", "pods": {**QUEUE, "target": AVERAGE}}, "FailedGetPodsMetric", "no custom metrics API"),
    (
        {"type": "Object", "object": {**QUEUE, **DESCRIBED, "target": VALUE}}, "FailedGetObjectMetric",
        "no custom metrics API",
    ),
    ({"type": "External", "external": {**QUEUE, "target": VALUE}}, "FailedGetExternalMetric", "external metrics API"),
    (
        {"type": "ContainerResource", "containerResource": {
            "name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50},
        }},
        "FailedGetContainerResourceMetric", "failed to get cpu container metric value",
    ),
])  # fmt: skip
def test_a_metric_that_nobody_gives_is_told(metric, reason, words):
    cluster = with_metric(metric)
    (text,) = cluster.events("HorizontalPodAutoscaler", reason)
    assert words in text
    assert cluster.get(DEPLOYMENTS, "w")["spec"]["replicas"] == 2


def test_pods_that_say_nothing_use_what_metrics_tell():
    cluster = make()
    target = {"type": "Utilization", "averageUtilization": 40}
    selector = LabelSelector.parse("a=b")
    metrics = Metrics(cluster.store, NS, lambda _: 0.1, lambda _: {"c": ContainerUse(80, 1 << 20)})
    proposal = metrics.proposal({"type": "Resource", "resource": {"name": "cpu", "target": target}}, 2, selector)
    assert proposal.replicas == 4
    assert proposal.current["resource"]["current"] == {"averageUtilization": 80, "averageValue": "80m"}
    target = {"type": "AverageValue", "averageValue": "2Mi"}
    proposal = metrics.proposal({"type": "Resource", "resource": {"name": "memory", "target": target}}, 2, selector)
    assert proposal.replicas == 1
