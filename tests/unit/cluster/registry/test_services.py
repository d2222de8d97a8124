"""Addresses and node ports of Services: families, IPAddress objects, what a new version may change."""

import pytest

from kubedyno.cluster.registry.allocation import IPADDRESSES, SERVICECIDRS
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube.resources import SERVICES
from kubedyno.kube.status import StatusError
from unit.cluster.registry.conftest import NS, Cluster

DUAL = ClusterSettings(second_service_subnet="fd00:10:96::/112")


@pytest.fixture
def dual() -> Cluster:
    return Cluster(settings=DUAL)


def service(cluster, name="x", **spec):
    cluster.create(SERVICES, name, spec={"ports": [{"port": 80}], **spec})
    return cluster.get(SERVICES, name)["spec"]


def changed(cluster, name="x", **spec):
    def change(obj):
        new = {**obj["spec"], **spec}
        return {**obj, "spec": {key: value for key, value in new.items() if value is not None}}

    cluster.registry.modify(SERVICES, NS, name, change)
    return cluster.get(SERVICES, name)["spec"]


def addresses(cluster):
    return {record.obj.name for record in cluster.store.list(IPADDRESSES)}


def test_an_address_is_an_ipaddress_object_that_goes_with_its_service(cluster):
    spec = service(cluster)
    (record,) = cluster.store.list(IPADDRESSES)
    obj = cluster.store.encode_dict(IPADDRESSES, record)
    assert obj["metadata"]["name"] == spec["clusterIP"]
    assert obj["metadata"]["labels"] == {
        "ipaddress.kubernetes.io/ip-family": "IPv4",
        "ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
    }
    assert obj["spec"] == {"parentRef": {"resource": "services", "namespace": NS, "name": "x"}}
    cluster.registry.delete(SERVICES, NS, "x")
    assert not cluster.store.list(IPADDRESSES)


def test_an_address_that_has_an_object_is_taken(cluster):
    parent = {"resource": "services", "namespace": "other", "name": "y"}
    cluster.create(IPADDRESSES, "10.96.7.7", "", spec={"parentRef": parent})
    with pytest.raises(StatusError, match=r"failed to allocate IP 10\.96\.7\.7: provided IP is already allocated"):
        service(cluster, clusterIP="10.96.7.7")


def test_a_range_that_was_added_gives_addresses(cluster):
    with pytest.raises(StatusError, match="the provided network does not match the current range"):
        service(cluster, clusterIP="10.1.0.5")
    cluster.create(SERVICECIDRS, "more", "", spec={"cidrs": ["10.1.0.0/24"]})
    assert service(cluster, clusterIP="10.1.0.5")["clusterIPs"] == ["10.1.0.5"]


def test_a_service_goes_from_one_family_to_two_and_back(dual):
    first = service(dual)["clusterIP"]
    spec = changed(dual, ipFamilyPolicy="RequireDualStack")
    assert spec["ipFamilies"] == ["IPv4", "IPv6"]
    assert spec["clusterIPs"][0] == first
    assert addresses(dual) == set(spec["clusterIPs"])
    spec = changed(dual, ipFamilyPolicy="SingleStack")
    assert (spec["clusterIPs"], spec["ipFamilies"], addresses(dual)) == ([first], ["IPv4"], {first})


def test_the_second_address_is_given_up_by_policy_only(dual):
    spec = service(dual, ipFamilyPolicy="PreferDualStack")
    with pytest.raises(
        StatusError,
        match=r"must be 'SingleStack' to release the secondary cluster IP",
    ):
        changed(dual, clusterIPs=spec["clusterIPs"][:1], ipFamilies=["IPv4"])
    with pytest.raises(StatusError, match=r"spec.clusterIPs\[0\]: .*may not change once set"):
        changed(dual, clusterIP=spec["clusterIPs"][1], clusterIPs=spec["clusterIPs"][::-1], ipFamilies=["IPv6", "IPv4"])


def test_a_headless_service_without_selector_has_both_families_everywhere(cluster):
    spec = service(cluster, clusterIP="None")
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("RequireDualStack", ["IPv4", "IPv6"])
    spec = service(cluster, "y", clusterIP="None", selector={"a": "b"})
    assert (spec["ipFamilyPolicy"], spec["ipFamilies"]) == ("SingleStack", ["IPv4"])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"ipFamilyPolicy": "RequireDualStack"}, "this cluster is not configured for dual-stack services"),
        ({"ipFamilies": ["IPv6"]}, r'spec.ipFamilies\[0\]: Invalid value: "IPv6": not configured on this cluster'),
        ({"clusterIP": "fd00::1"}, r"spec.clusterIPs\[0\]: .*IPv6 is not configured on this cluster"),
        ({"ipFamilies": ["IPv4", "IPv6"]}, "when multiple IP families are specified"),
        ({"clusterIPs": ["10.96.0.9"]}, "must be empty when `clusterIP` is not specified"),
        (
            {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9", "10.96.0.8"]},
            "no more than one IP for each IP family",
        ),
        (
            {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv6"]},
            r"expected an IPv6 value as indicated by `ipFamilies\[0\]`",
        ),
        ({"type": "ExternalName", "externalName": "a.b", "ipFamilies": ["IPv4"]}, "spec.ipFamilies: Forbidden"),
    ],
)
def test_what_contradicts_the_families_is_refused(cluster, spec, message):
    with pytest.raises(StatusError, match=message):
        service(cluster, **spec)


def test_ports_of_one_number_share_a_node_port(cluster):
    ports = [{"name": "u", "port": 53, "protocol": "UDP"}, {"name": "t", "port": 53, "protocol": "TCP"}]
    first, second = service(cluster, type="NodePort", ports=ports)["ports"]
    assert first["nodePort"] == second["nodePort"]
    with pytest.raises(StatusError, match="provided port is already allocated"):
        service(cluster, "y", type="NodePort", ports=[{"port": 1, "nodePort": first["nodePort"], "protocol": "SCTP"}])
    cluster.registry.delete(SERVICES, NS, "x")
    assert service(cluster, "y", type="NodePort", ports=[{"port": 1, "nodePort": first["nodePort"]}])


def test_what_only_the_type_before_had_goes_with_it(cluster):
    spec = service(cluster, type="LoadBalancer", externalTrafficPolicy="Local")
    assert spec["healthCheckNodePort"] in range(30000, 32768)
    assert "healthCheckNodePort" not in changed(cluster, externalTrafficPolicy="Cluster")
    spec = changed(cluster, type="ClusterIP")
    assert not {"externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort"} & spec.keys()
    assert "nodePort" not in spec["ports"][0]
    spec = changed(cluster, type="ExternalName", externalName="a.b")
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "internalTrafficPolicy"} & spec.keys()
    assert not addresses(cluster)
    assert changed(cluster, type="ClusterIP", externalName=None)["clusterIP"] in addresses(cluster)
