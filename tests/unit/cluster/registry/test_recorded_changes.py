"""Changes and admission as a real API server answered them."""

import json
from pathlib import Path
from typing import Any

import pytest

from kubedyno.kube.patch import merge_patch
from kubedyno.kube.resources import NAMESPACES, PODS, Resource, by_plural
from kubedyno.kube.status import StatusError
from kubedyno.kube.strategicpatch import strategic_merge_patch

GOLDEN = Path(__file__).parents[3] / "golden" / "registry"
UPDATES = [json.loads(line) for line in (GOLDEN / "updates.jsonl").read_text().splitlines()]
ADMISSION = [json.loads(line) for line in (GOLDEN / "admission.jsonl").read_text().splitlines()]
NS = "gold-f"
POD = {"containers": [{"name": "c", "image": "nginx"}], "tolerations": [{"key": "q", "operator": "Exists"}]}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "gold-sc"}
# What was there before the recorded changes.
BEFORE: dict[str, dict[str, Any]] = {
    "v1/pods": {"spec": POD},
    "v1/services": {"spec": {"ports": [{"port": 80}]}},
    "v1/configmaps": {"immutable": True, "data": {"a": "b"}},
    "apps/v1/statefulsets": {
        "spec": {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
    },
    "batch/v1/jobs": {"spec": {"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}},
    "v1/persistentvolumeclaims": {"spec": CLAIM},
    "scheduling.k8s.io/v1/priorityclasses": {"value": 3},
    "storage.k8s.io/v1/storageclasses": {"provisioner": "p"},
}


def resource_of(api: str) -> Resource:
    group, version, plural = ("", *api.split("/")) if api.count("/") == 1 else api.split("/")
    resource = by_plural(group, version, plural)
    assert resource is not None
    return resource


def make(cluster, api: str, namespace: str, name: str, **parts: Any) -> Resource:
    resource = resource_of(api)
    body = {"metadata": {"name": name}, **parts}
    cluster.registry.create(resource, namespace if resource.namespaced else "", body)
    return resource


@pytest.mark.parametrize("entry", UPDATES, ids=[e["name"] for e in UPDATES])
def test_changes_are_answered_as_recorded(cluster, entry):
    cluster.add_namespace(NS)
    resource = make(cluster, entry["api"], NS, entry["object"], **BEFORE[entry["api"]])

    def change(obj: dict[str, Any]) -> Any:
        if "strategic" in entry["type"]:
            return strategic_merge_patch(obj, entry["patch"], resource)
        return merge_patch(obj, entry["patch"])

    namespace = NS if resource.namespaced else ""
    if entry["status"] == 200:
        cluster.registry.modify(resource, namespace, entry["object"], change, dry_run=True)
        return
    with pytest.raises(StatusError) as caught:
        cluster.registry.modify(resource, namespace, entry["object"], change, dry_run=True)
    causes = [[c["reason"], c["field"]] for c in (caught.value.details or {}).get("causes", [])]
    assert caught.value.message == entry["message"]
    assert (caught.value.code, causes) == (entry["status"], entry["causes"])


def furnish(cluster, namespace: str) -> None:
    """Make the namespaces of the recordings: with a quota, limits, or Pod Security levels."""
    labels = {
        "gold-ps-baseline": {"enforce": "baseline", "warn": "restricted"},
        "gold-ps-restricted": {"enforce": "restricted"},
    }.get(namespace, {})
    body = {
        "metadata": {"name": namespace, "labels": {f"pod-security.kubernetes.io/{k}": v for k, v in labels.items()}}
    }
    cluster.registry.create(NAMESPACES, "", body)
    make(cluster, "v1/serviceaccounts", namespace, "default")
    if namespace == "gold-q":
        hard = {"requests.cpu": "1", "limits.memory": "1Gi", "pods": "5"}
        resources = {"requests": {"cpu": "500m"}}
        container = {"name": "c", "image": "nginx", "resources": resources}
        make(cluster, "v1/pods", namespace, "first", spec={"containers": [container]})
        make(cluster, "v1/resourcequotas", namespace, "q", spec={"hard": hard})
    elif namespace == "gold-l":
        limits = [
            {"type": "Container", "max": {"cpu": "1"}, "min": {"cpu": "100m"}, "default": {"cpu": "200m"}},
            {"type": "Pod", "max": {"memory": "1Gi"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
        ]
        make(cluster, "v1/limitranges", namespace, "l", spec={"limits": limits})


@pytest.mark.parametrize("entry", ADMISSION, ids=[e["name"] for e in ADMISSION])
def test_namespaces_admit_what_they_did_when_recorded(cluster, entry):
    furnish(cluster, entry["namespace"])
    warnings: list[str] = []
    resource = resource_of(entry["api"])
    message, code = "", 201
    try:
        cluster.registry.create(resource, entry["namespace"], entry["body"], dry_run=True, warnings=warnings)
    except StatusError as error:
        message, code = error.message, error.code
    assert (code, message) == (entry["status"], entry["message"])
    assert warnings == entry["warnings"]


def test_pods_of_controllers_are_ruled_like_those_of_clients(cluster):
    furnish(cluster, "gold-l")
    container = {"name": "c", "image": "nginx", "resources": {"limits": {"memory": "1Mi"}}}
    template = cluster.trusted.pod_template({"spec": {"containers": [container]}})
    pod = cluster.store.encode_dict(PODS, cluster.trusted.create_pod("gold-l", template, name="x"))
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "200m", "memory": "1Mi"}
    assert pod["status"]["qosClass"] == "Guaranteed"
    cluster.add_namespace("free")
    free = cluster.store.encode_dict(PODS, cluster.trusted.create_pod("free", template, name="x"))
    assert free["spec"]["containers"][0]["resources"]["limits"] == {"memory": "1Mi"}


def test_a_quota_counts_what_came_and_what_went(cluster):
    cluster.add_namespace("few")
    make(cluster, "v1/resourcequotas", "few", "q", spec={"hard": {"pods": "2", "count/configmaps": "1"}})
    template = cluster.trusted.pod_template({"spec": {"containers": [{"name": "c", "image": "nginx"}]}})
    cluster.trusted.create_pod("few", template, name="a")
    cluster.trusted.create_pod("few", template, name="b")
    with pytest.raises(StatusError, match=r"exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"):
        cluster.trusted.create_pod("few", template, name="c")
    cluster.registry.delete(PODS, "few", "a", {"gracePeriodSeconds": 0})
    cluster.trusted.create_pod("few", template, name="c")
    make(cluster, "v1/configmaps", "few", "one")
    with pytest.raises(StatusError, match=r"requested: count/configmaps=1, used: count/configmaps=1"):
        make(cluster, "v1/configmaps", "few", "two")
    quota = cluster.get(resource_of("v1/resourcequotas"), "q", "few")
    used = {"pods": "2", "count/configmaps": "1"}
    assert cluster.registry.rules.quotas.status_of(quota) == {"hard": quota["spec"]["hard"], "used": used}


def test_a_quota_on_compute_obliges_containers_to_speak(cluster):
    cluster.add_namespace("few")
    make(cluster, "v1/resourcequotas", "few", "q", spec={"hard": {"requests.cpu": "1", "limits.memory": "1Gi"}})
    why = r"failed quota: q: must specify limits.memory for: c; requests.cpu for: c"
    with pytest.raises(StatusError, match=why):
        make(cluster, "v1/pods", "few", "x", spec={"containers": [{"name": "c", "image": "nginx"}]})


def test_what_asks_for_nothing_fits_a_quota_that_is_used_up(cluster):
    cluster.add_namespace("few")
    container: dict[str, Any] = {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "1"}}}
    make(cluster, "v1/pods", "few", "before", spec={"containers": [container]})
    make(cluster, "v1/resourcequotas", "few", "q", spec={"hard": {"requests.cpu": "0"}})
    container["resources"] = {"requests": {"cpu": "0"}}
    make(cluster, "v1/pods", "few", "x", spec={"containers": [container]})
    container["resources"] = {"requests": {"cpu": "1m"}}
    with pytest.raises(StatusError, match=r"exceeded quota: q, requested: requests.cpu=1m"):
        make(cluster, "v1/pods", "few", "y", spec={"containers": [container]})


def test_bounds_of_a_limit_range_are_within_it(cluster):
    furnish(cluster, "gold-l")
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": "1", "memory": "1Gi"}}
    make(cluster, "v1/pods", "gold-l", "x", spec={"containers": [{"name": "c", "image": "i", "resources": resources}]})


def test_scoped_quotas_count_only_what_is_in_their_scope(cluster):
    cluster.add_namespace("few")
    make(cluster, "v1/resourcequotas", "few", "q", spec={"hard": {"pods": "1"}, "scopes": ["BestEffort"]})
    burst = {"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "1"}}}
    for name in ("a", "b"):
        make(cluster, "v1/pods", "few", name, spec={"containers": [burst]})
    best = {"name": "c", "image": "nginx"}
    make(cluster, "v1/pods", "few", "c", spec={"containers": [best]})
    with pytest.raises(StatusError, match="exceeded quota: q"):
        make(cluster, "v1/pods", "few", "d", spec={"containers": [best]})


def test_priorities_come_from_classes(cluster):
    make(cluster, "scheduling.k8s.io/v1/priorityclasses", "", "high", value=7, preemptionPolicy="Never")
    make(cluster, "scheduling.k8s.io/v1/priorityclasses", "", "usual", value=3, globalDefault=True)
    containers = [{"name": "c", "image": "nginx"}]
    make(cluster, "v1/pods", "ns", "a", spec={"containers": containers, "priorityClassName": "high"})
    make(cluster, "v1/pods", "ns", "b", spec={"containers": containers})
    high, usual = cluster.get(PODS, "a")["spec"], cluster.get(PODS, "b")["spec"]
    assert (high["priority"], high["preemptionPolicy"]) == (7, "Never")
    assert (usual["priority"], usual["priorityClassName"]) == (3, "usual")
    with pytest.raises(StatusError, match="no PriorityClass with name other was found"):
        make(cluster, "v1/pods", "ns", "c", spec={"containers": containers, "priorityClassName": "other"})


def test_templates_follow_their_priority_class(cluster):
    template = {"spec": {"containers": [{"name": "c", "image": "nginx"}]}}
    assert cluster.trusted.pod_template(template).facts.priority == 0
    make(cluster, "scheduling.k8s.io/v1/priorityclasses", "", "usual", value=3, globalDefault=True)
    assert cluster.trusted.pod_template(template).facts.priority == 3


def test_claims_get_the_newest_default_class(cluster):
    for name in ("first", "second"):
        cluster.clock.now_s += 10
        metadata = {"name": name, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
        cluster.registry.create(
            resource_of("storage.k8s.io/v1/storageclasses"), "", {"metadata": metadata, "provisioner": "p"}
        )
    spec = {k: v for k, v in CLAIM.items() if k != "storageClassName"}
    claims = make(cluster, "v1/persistentvolumeclaims", "ns", "x", spec=spec)
    assert cluster.get(claims)["spec"]["storageClassName"] == "second"
    make(cluster, "v1/persistentvolumeclaims", "ns", "none", spec={**spec, "storageClassName": ""})
    assert cluster.get(claims, "none")["spec"]["storageClassName"] == ""


def test_a_namespace_that_becomes_strict_names_the_pods_that_would_not_be(cluster):
    make(cluster, "v1/pods", "ns", "p", spec={"containers": [{"name": "c", "image": "nginx"}]})
    warnings: list[str] = []
    labels = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    cluster.registry.modify(NAMESPACES, "", "ns", lambda obj: merge_patch(obj, labels), warnings=warnings)
    assert warnings == [
        'existing pods in namespace "ns" violate the new PodSecurity enforce level "restricted:latest"',
        "p: allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile",
    ]


def test_both_versions_of_an_autoscaler_are_one_object(cluster):
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    v1 = make(
        cluster, "autoscaling/v1/horizontalpodautoscalers", "ns", "h",
        spec={"scaleTargetRef": target, "maxReplicas": 3, "targetCPUUtilizationPercentage": 70},
    )  # fmt: skip
    v2 = resource_of("autoscaling/v2/horizontalpodautoscalers")
    metrics = cluster.get(v2, "h")["spec"]["metrics"]
    assert metrics == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}
    ]
    memory = {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1"}},
    }
    cluster.registry.modify(v2, "ns", "h", lambda obj: {**obj, "spec": {**obj["spec"], "metrics": [*metrics, memory]}})
    shown = cluster.get(v1, "h")
    assert shown["spec"]["targetCPUUtilizationPercentage"] == 70
    flat = {"type": "Resource", "resource": {"name": "memory", "targetAverageValue": "1"}}
    assert json.loads(shown["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"]) == [flat]
    cluster.registry.update(v1, "ns", "h", shown)
    # What v1 has a member for comes last.
    assert cluster.get(v2, "h")["spec"]["metrics"] == [memory, *metrics]
    assert "annotations" not in cluster.get(v2, "h")["metadata"]
