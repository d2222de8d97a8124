"""One invalid member each, in the real words: members of pods, workloads and policies that no recording shows."""

from typing import Any

import pytest

from kubedyno.kube.resources import by_plural
from kubedyno.kube.status import StatusError
from unit.cluster.registry.conftest import NS

CONTAINER = {"name": "c", "image": "i"}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
SET = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
JOB = {"template": {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}}
TERM = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"


def pod(container: dict[str, Any] | None = None, **spec: Any) -> tuple[str, dict[str, Any]]:
    return "/v1/pods", {"spec": {"containers": [{**CONTAINER, **(container or {})}], **spec}}


def near(**term: Any) -> tuple[str, dict[str, Any]]:
    return pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})


def variable(**source: Any) -> tuple[str, dict[str, Any]]:
    return pod({"env": [{"name": "A", "valueFrom": source}]})


def scaler(**target: Any) -> tuple[str, dict[str, Any]]:
    metric = {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
    spec = {"maxReplicas": 3, "scaleTargetRef": reference, "metrics": [metric]}
    return "autoscaling/v2/horizontalpodautoscalers", {"spec": spec}


def ports(*host_ports: int) -> list[dict[str, int]]:
    return [{"containerPort": 80 + i, "hostPort": port} for i, port in enumerate(host_ports)]


CASES = {
    "toleration": (
        pod(tolerations=[{"key": "a", "operator": "Exists", "value": "x"}]),
        "spec.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
    ),
    "namespace of a term": (near(topologyKey="k", namespaces=["A"]), f'{TERM}.namespace: Invalid value: "A": a lower'),
    "keys without a selector": (
        near(topologyKey="k", mismatchLabelKeys=["a"]),
        f"{TERM}.mismatchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
    ),
    "key of a label": (
        near(topologyKey="k", labelSelector={}, matchLabelKeys=["a b"]),
        f'{TERM}.matchLabelKeys[0]: Invalid value: "a b": name part must consist',
    ),
    "key of both": (
        near(topologyKey="k", labelSelector={}, matchLabelKeys=["a"], mismatchLabelKeys=["a"]),
        f'{TERM}.matchLabelKeys[0]: Invalid value: "a": exists in both matchLabelKeys and mismatchLabelKeys',
    ),
    "nameless secret": (
        variable(secretKeyRef={"key": "k"}),
        'valueFrom.secretKeyRef.name: Invalid value: "": a lowercase RFC 1123',
    ),
    "key of a map": (
        variable(configMapKeyRef={"name": "m", "key": "a b"}),
        'valueFrom.configMapKeyRef.key: Invalid value: "a b": a valid config key must consist',
    ),
    "host port": (
        pod({"ports": ports(80, 80)}),
        'spec.containers[0].ports[1].hostPort: Duplicate value: "TCP//80"',
    ),
    "gated and bound": (
        pod(schedulingGates=[{"name": "g"}], nodeName="n"),
        "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
    ),
    "claim of nothing": (
        pod(resourceClaims=[{"name": "a"}]),
        (
            'spec.resourceClaims[0]: Invalid value: {"Name":"a","ResourceClaimName":null,'
            '"ResourceClaimTemplateName":null}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`'
        ),
    ),
    "claim twice": (
        pod(resourceClaims=[{"name": "a", "resourceClaimName": "x"}, {"name": "a", "resourceClaimName": "y"}]),
        'spec.resourceClaims[1].name: Duplicate value: "a"',
    ),
    "requests of a pod": (
        pod(
            {"resources": {"requests": {"cpu": "1", "memory": "1Gi"}}},
            resources={"requests": {"cpu": "500m", "memory": "1Gi", "foo.io/x": "1"}},
        ),
        (
            '[spec.resources.requests[foo.io/x]: Unsupported value: "foo.io/x": supported values: "cpu", "hugepages-", '
            '"memory", spec.resources.limits: Required value: Limit must be set for non overcommitable resources, '
            'spec.resources.requests[cpu]: Invalid value: "500m": must be greater than or equal to aggregate container '
            "requests of 1]"
        ),
    ),
    "process namespace": (
        pod(shareProcessNamespace=True, hostPID=True),
        "spec.securityContext.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot",
    ),
    "strategy of a deployment": (
        ("apps/v1/deployments", {"spec": {**SET, "strategy": {"type": "X"}}}),
        'spec.strategy: Unsupported value: {"Type":"X","RollingUpdate":null}: supported values: "Recreate"',
    ),
    "strategy of a daemon set": (
        ("apps/v1/daemonsets", {"spec": {**SET, "updateStrategy": {"type": "X"}}}),
        'spec.updateStrategy: Unsupported value: {"Type":"X","RollingUpdate":null}: supported values: "RollingUpdate"',
    ),
    "zone": (
        ("batch/v1/cronjobs", {"spec": {"schedule": "@daily", "timeZone": "", "jobTemplate": {"spec": JOB}}}),
        'spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string',
    ),
    "manager": (("batch/v1/jobs", {"spec": {**JOB, "managedBy": ""}}), "spec.managedBy: Required value"),
    "target": (
        scaler(averageUtilization=5),
        (
            "target.type: Required value: must specify a metric target type, spec.metrics[0].resource.target.type: "
            'Invalid value: "": must be either Utilization, Value, or AverageValue'
        ),
    ),
    "budget": (
        ("policy/v1/poddisruptionbudgets", {"spec": {"minAvailable": 1, "maxUnavailable": "5%"}}),
        (
            'spec: Invalid value: {"MinAvailable":1,"Selector":null,"MaxUnavailable":"5%",'
            '"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set'
        ),
    ),
    "overhead": (
        ("node.k8s.io/v1/runtimeclasses", {"handler": "h", "overhead": {"podFixed": {"cpu": "-1"}}}),
        'overhead.limits[cpu]: Invalid value: "-1": must be greater than or equal to 0',
    ),
    "limited": (
        ("/v1/limitranges", {"spec": {"limits": [{"type": "X"}]}}),
        'spec.limits[0].type: Invalid value: "X": must be a standard limit type or fully qualified',
    ),
    "role": (
        (
            "rbac.authorization.k8s.io/v1/clusterrolebindings",
            {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}},
        ),
        'roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"',
    ),
    "place": (
        (
            "storage.k8s.io/v1/storageclasses",
            {"provisioner": "p", "allowedTopologies": [{"matchLabelExpressions": [{"key": "a"}]}]},
        ),
        "allowedTopologies[0].matchLabelExpressions[0].values: Required value",
    ),
    "request": (
        (
            "certificates.k8s.io/v1/certificatesigningrequests",
            {"spec": {"request": "eA==", "signerName": "a.b/c", "usages": ["client auth"]}},
        ),
        'spec.request: Invalid value: "eA==": PEM block type must be CERTIFICATE REQUEST',
    ),
}


@pytest.mark.parametrize(("given", "message"), CASES.values(), ids=CASES)
def test_an_invalid_member_is_named_with_the_real_words(cluster, given, message):
    api, body = given
    resource = by_plural(*api.split("/"))
    assert resource is not None
    with pytest.raises(StatusError) as caught:
        cluster.registry.create(resource, NS if resource.namespaced else "", {"metadata": {"name": "x"}, **body})
    assert caught.value.code == 422
    assert message in caught.value.message


def test_init_containers_run_one_by_one_and_may_share_a_port_of_the_host(cluster):
    inits = [{**CONTAINER, "name": name, "ports": ports(80)} for name in ("a", "b")]
    resource = by_plural("", "v1", "pods")
    assert resource is not None
    spec = {"containers": [CONTAINER], "initContainers": inits}
    cluster.registry.create(resource, NS, {"metadata": {"name": "x"}, "spec": spec})


def test_the_role_of_a_binding_stays(cluster):
    bindings = by_plural("rbac.authorization.k8s.io", "v1", "rolebindings")
    assert bindings is not None
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    cluster.registry.create(bindings, NS, {"metadata": {"name": "x"}, "roleRef": reference})
    with pytest.raises(StatusError) as caught:
        cluster.registry.modify(bindings, NS, "x", lambda obj: {**obj, "roleRef": {**reference, "name": "z"}})
    shown = '{"APIGroup":"rbac.authorization.k8s.io","Kind":"Role","Name":"z"}'
    assert f"roleRef: Invalid value: {shown}: cannot change roleRef" in caught.value.message
