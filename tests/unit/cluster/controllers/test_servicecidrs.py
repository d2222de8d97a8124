"""Ranges of Services' addresses: ready, and kept while an address needs them."""

from kubedyno.cluster.controllers.servicecidrs import FINALIZER
from kubedyno.cluster.registry.allocation import SERVICECIDRS
from kubedyno.kube.resources import SERVICES

from .conftest import Cluster


def condition(cluster, name="more"):
    (found,) = cluster.get(SERVICECIDRS, name, "")["status"]["conditions"]
    return found["status"], found["reason"]


def ranged(cluster, name="more", *cidrs):
    cluster.create(SERVICECIDRS, {"metadata": {"name": name}, "spec": {"cidrs": list(cidrs or ["10.1.0.0/24"])}}, "")
    cluster.drain()


def service(cluster, address="10.1.0.7"):
    cluster.create(SERVICES, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "clusterIP": address}})


def test_a_range_is_ready_and_held():
    cluster = Cluster()
    ranged(cluster)
    assert condition(cluster) == ("True", "")
    assert cluster.get(SERVICECIDRS, "more", "")["metadata"]["finalizers"] == [FINALIZER]


def test_a_range_that_nobody_uses_goes_at_once():
    cluster = Cluster()
    ranged(cluster)
    cluster.delete(SERVICECIDRS, "more", "")
    cluster.drain()
    assert not cluster.store.list(SERVICECIDRS)


def test_a_range_in_use_goes_with_its_last_address():
    cluster = Cluster()
    ranged(cluster)
    service(cluster)
    cluster.delete(SERVICECIDRS, "more", "")
    cluster.drain()
    assert condition(cluster) == ("False", "Terminating")
    cluster.delete(SERVICES, "s")
    cluster.drain()
    assert not cluster.store.list(SERVICECIDRS)


def test_a_range_within_another_is_not_needed():
    cluster = Cluster()
    ranged(cluster)
    ranged(cluster, "wider", "10.1.0.0/16")
    service(cluster)
    cluster.delete(SERVICECIDRS, "more", "")
    cluster.drain()
    assert [record.key for record in cluster.store.list(SERVICECIDRS)] == ["wider"]
