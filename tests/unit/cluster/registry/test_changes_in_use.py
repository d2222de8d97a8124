"""Changes that use more of a namespace's quota, or leave its limits: resized pods, Services of another type."""

from typing import Any

import pytest

from kubedyno.kube.resources import PODS, SERVICES, by_plural
from kubedyno.kube.status import StatusError
from unit.cluster.registry.conftest import NS, Cluster

QUOTAS, RANGES = by_plural("", "v1", "resourcequotas"), by_plural("", "v1", "limitranges")


def limited(cluster: Cluster, **hard: str) -> None:
    cluster.create(QUOTAS, "q", spec={"hard": {name.replace("_", "."): amount for name, amount in hard.items()}})


def pod(cluster: Cluster, cpu: str = "100m") -> None:
    resources = {"requests": {"cpu": cpu, "memory": "1Mi"}}
    cluster.create(PODS, spec={"containers": [{"name": "c", "image": "i", "resources": resources}]})


def resize(cluster: Cluster, cpu: str) -> Any:
    def change(obj: dict[str, Any]) -> dict[str, Any]:
        obj["spec"]["containers"][0]["resources"]["requests"]["cpu"] = cpu
        return obj

    return cluster.registry.modify(PODS, NS, "x", change, subresource="resize")


def test_a_resize_asks_for_what_it_adds(cluster):
    limited(cluster, requests_cpu="300m", pods="1")
    pod(cluster)
    resize(cluster, "300m")
    with pytest.raises(StatusError) as caught:
        resize(cluster, "400m")
    text = "exceeded quota: q, requested: requests.cpu=100m, used: requests.cpu=300m, limited: requests.cpu=300m"
    assert caught.value.message == f'pods "x" is forbidden: {text}'
    resize(cluster, "50m")


def test_a_resize_keeps_within_limits(cluster):
    cluster.create(RANGES, "r", spec={"limits": [{"type": "Container", "min": {"cpu": "50m"}}]})
    pod(cluster)
    with pytest.raises(StatusError, match="minimum cpu usage per Container is 50m, but request is 10m"):
        resize(cluster, "10m")


def test_a_service_of_another_type_asks_for_what_that_needs(cluster):
    limited(cluster, services_nodeports="1")
    for name in ("x", "y"):
        cluster.create(SERVICES, name, spec={"ports": [{"port": 80}]})

    def open_up(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "spec": {**obj["spec"], "type": "NodePort"}}

    cluster.registry.modify(SERVICES, NS, "x", open_up)
    with pytest.raises(StatusError, match=r"exceeded quota: q, requested: services\.nodeports=1, used: services\."):
        cluster.registry.modify(SERVICES, NS, "y", open_up)


def test_a_change_that_uses_no_more_is_taken(cluster):
    cluster.create(SERVICES, spec={"ports": [{"port": 80}]})
    limited(cluster, services="0")

    def label(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "metadata": {**obj["metadata"], "labels": {"a": "b"}}}

    cluster.registry.modify(SERVICES, NS, "x", label)
