from ipaddress import ip_network

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.lab.settings import cluster_settings


def test_private_registries_have_a_host_and_a_login() -> None:
    made, _ = cluster_settings(private_registries=["a.example/team=u:p:=x", "b.example:5000=v:w"])
    assert made.private_registries == (("a.example/team", "u", "p:=x"), ("b.example:5000", "v", "w"))


@pytest.mark.parametrize("text", ["", "a", "a=b", "a=:p", "a=u:", "=u:p", "https://a=u:p"])
def test_a_registry_that_is_none_is_told_without_its_password(text: str) -> None:
    with pytest.raises(KubedynoError, match=r"^--private-registry: write HOST\[/PATH\]=USER:PASSWORD") as failure:
        cluster_settings(private_registries=[text])
    assert text == "" or f"{text}:" not in str(failure.value)


@pytest.mark.parametrize(
    ("nodes", "subnet"),
    [(256, "10.244.0.0/16"), (257, "10.128.0.0/15"), (5000, "10.128.0.0/11"), (20_000, "10.128.0.0/9")],
)
def test_every_node_has_a_block_unless_somebody_chose_the_subnet(nodes: int, subnet: str) -> None:
    made, warnings = cluster_settings(nodes=nodes)
    assert made.pod_subnet == subnet
    assert len(warnings) == (subnet != "10.244.0.0/16")
    assert not ip_network(made.pod_subnet).overlaps(ip_network(made.service_subnet))


def test_nodes_without_a_block_are_told_where_the_mask_was_chosen() -> None:
    made, warnings = cluster_settings(nodes=100, node_cidr_mask=22)
    assert (made.pod_subnet, made.node_cidr_mask) == ("10.244.0.0/16", 22)
    assert warnings == [
        (
            "36 of 100 nodes get no PodCIDR: 10.244.0.0/16 has 64 blocks of /22; they stay NotReady (CIDRNotAvailable). "
            "More blocks: a larger podSubnet, or a longer mask"
        )
    ]


def test_a_class_of_nodes_has_labels_that_say_what_they_are() -> None:
    text = "name=big,count=2,cpu=64,memory=256Gi,pods=250,zone=b,kernel=6.12,mask=25,label.disk=ssd"
    made, _ = cluster_settings(node_classes=[text], nodes=2)
    assert [node.name for node in made.nodes] == [
        "kubedyno-control-plane", "kubedyno-worker", "kubedyno-big", "kubedyno-big2",
    ]  # fmt: skip
    assert dict(made.nodes[-1].labels) == {
        "kubedyno.io/node-class": "big", "kubedyno.io/cpu": "64", "kubedyno.io/memory": "256Gi",
        "kubedyno.io/pods": "250", "topology.kubernetes.io/zone": "b", "kubedyno.io/kernel": "6.12",
        "kubedyno.io/pod-cidr-mask": "25", "disk": "ssd",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("cpu=4", "name=: a lowercase RFC 1123 subdomain"),
        ("name=a,cpu", "'cpu' is no KEY=VALUE"),
        ("name=a,count=0", "count must be between 1 and 20000"),
        ("name=a,count=20000", "20001 nodes in all; must be at most 20000"),
        (
            "name=a,cores=4",
            "there is no 'cores'; known are: name, count, cpu, memory, pods, kernel, mask, zone, label.NAME",
        ),
        ("name=a,cpu=lots", "label kubedyno.io/cpu: 'lots' is no amount"),
        ("name=a,zone=b c", "a valid label must be"),
        ("name=control-plane", "there is a node kubedyno-control-plane already"),
    ],
)
def test_a_class_that_is_none_is_told(text: str, why: str) -> None:
    with pytest.raises(KubedynoError) as failure:
        cluster_settings(node_classes=[text])
    assert why in str(failure.value)


def test_gates_that_act_nowhere_are_told() -> None:
    _, warnings = cluster_settings(feature_gates="MaxUnavailableStatefulSets=true,DynamicResourceAllocation=false")
    assert warnings == [
        "feature gate MaxUnavailableStatefulSets has no effect here; did you mean MaxUnavailableStatefulSet?"
    ]


def test_versions_of_apis_that_are_not_served_are_named():
    settings, warnings = cluster_settings(runtime_config="api/beta=true,batch/v1=false")
    assert settings.runtime_config == {"api/beta": True, "batch/v1": False}
    (line,) = warnings
    assert line.startswith("runtime-config: not served here: certificates.k8s.io/v1beta1 (clustertrustbundles, ")
    assert "networking.k8s.io" not in line
