"""Rules of single members that no recording shows: enumerated, ranged and immutable ones, in the real words."""

from typing import Any

import pytest

from kubedyno.kube.resources import NODES, PODS, SERVICES, STATEFULSETS, Resource
from kubedyno.kube.status import StatusError
from unit.cluster.registry.conftest import NS, Cluster, pod_spec


def refused(cluster: Cluster, resource: Resource, spec: dict[str, Any]) -> str:
    with pytest.raises(StatusError) as caught:
        cluster.create(resource, namespace=NS if resource.namespaced else "", spec=spec)
    return caught.value.message


def set_of(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod_spec()}
    return {"serviceName": "s", "selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}


@pytest.mark.parametrize("member", ["whenDeleted", "whenScaled"])
def test_claims_of_a_set_are_kept_or_deleted(cluster, member):
    message = refused(cluster, STATEFULSETS, set_of(persistentVolumeClaimRetentionPolicy={member: "Lose"}))
    path = f"spec.persistentVolumeClaimRetentionPolicy.{member}"
    assert f'{path}: Unsupported value: "Lose": supported values: "Retain", "Delete"' in message


def test_who_may_not_escalate_has_no_capability_that_does(cluster):
    security = {"allowPrivilegeEscalation": False, "capabilities": {"add": ["CAP_SYS_ADMIN", "NET_RAW"]}}
    message = refused(cluster, PODS, {"containers": [{"name": "c", "image": "i", "securityContext": security}]})
    assert '{"Capabilities":{"Add":["CAP_SYS_ADMIN","NET_RAW"],"Drop":null}' in message
    assert "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN" in message


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"podCIDR": "x"}, 'spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value'),
        ({"podCIDRs": ["10.0.0.0/24", "10.1.0.0/24"]}, "may specify no more than one CIDR for each IP family"),
    ],
)
def test_a_nodes_ranges_are_ranges_one_a_family(cluster, spec, message):
    assert message in refused(cluster, NODES, spec)


def test_a_nodes_range_stays(cluster):
    cluster.create(NODES, namespace="", spec={"podCIDR": "10.1.0.0/24"})
    assert cluster.get(NODES, namespace="")["spec"]["podCIDRs"] == ["10.1.0.0/24"]

    def move(node: dict[str, Any]) -> dict[str, Any]:
        return {**node, "spec": {**node["spec"], "podCIDR": "10.2.0.0/24"}}

    with pytest.raises(StatusError, match="node updates may not change podCIDR except from"):
        cluster.registry.modify(NODES, "", "x", move)


def test_a_port_for_health_checks_stays(cluster):
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "ports": [{"port": 80}]}
    cluster.create(SERVICES, spec=spec)

    def move(service: dict[str, Any]) -> dict[str, Any]:
        return {**service, "spec": {**service["spec"], "healthCheckNodePort": 31999}}

    with pytest.raises(StatusError, match=r"spec\.healthCheckNodePort: Forbidden: field is immutable"):
        cluster.registry.modify(SERVICES, NS, "x", move)


def test_a_node_port_is_refused_for_addresses_inside_alone(cluster):
    ports = [{"port": 80, "nodePort": 30080}]
    assert "may not be used when `type` is 'ClusterIP'" in refused(cluster, SERVICES, {"ports": ports})
    cluster.create(SERVICES, spec={"type": "ExternalName", "externalName": "a.b", "ports": ports})
