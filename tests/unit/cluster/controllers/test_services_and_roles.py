"""Load balancers of the model cloud, and ClusterRoles made of others."""

from kubedyno.kube.resources import CLUSTERROLES, SERVICES

from .conftest import Cluster


def balancer(name="lb", **spec):
    return {"metadata": {"name": name}, "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], **spec}}


def address(cluster, name="lb"):
    found = cluster.get(SERVICES, name)["status"]["loadBalancer"].get("ingress")
    return None if found is None else found[0]["ip"]


def test_a_load_balancer_gets_an_address_of_its_own():
    cluster = Cluster()
    cluster.create(SERVICES, balancer())
    cluster.create(SERVICES, balancer("other"))
    cluster.drain()
    assert (address(cluster), address(cluster, "other")) == ("172.18.128.1", "172.18.128.2")
    found = cluster.get(SERVICES, "lb")
    assert found["status"]["loadBalancer"]["ingress"][0]["ipMode"] == "VIP"
    assert found["metadata"]["finalizers"] == ["service.kubernetes.io/load-balancer-cleanup"]
    assert cluster.events("Service")[:2] == ["Ensuring load balancer", "Ensured load balancer"]


def test_the_address_is_taken_back():
    cluster = Cluster()
    cluster.create(SERVICES, balancer())
    cluster.drain()
    cluster.apply(SERVICES, "lb", type="ClusterIP", allocateLoadBalancerNodePorts=None, externalTrafficPolicy=None)
    cluster.drain()
    assert address(cluster) is None
    assert "finalizers" not in cluster.get(SERVICES, "lb")["metadata"]
    cluster.create(SERVICES, balancer("other"))
    cluster.drain()
    cluster.delete(SERVICES, "other")
    cluster.drain()
    assert cluster.names(SERVICES) == ["lb"]


def test_another_class_is_left_alone():
    cluster = Cluster()
    cluster.create(SERVICES, balancer(loadBalancerClass="example.com/mine"))
    cluster.drain()
    assert address(cluster) is None


def role(name, labels=None, verbs=("get",), **more):
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": list(verbs)}]
    return {"metadata": {"name": name, "labels": labels or {}}, "rules": rules, **more}


def test_a_cluster_role_is_made_of_those_that_it_selects():
    cluster = Cluster()
    rule = {"clusterRoleSelectors": [{"matchLabels": {"to": "all"}}]}
    cluster.create(CLUSTERROLES, role("all", {"to": "all"}, ("list",), aggregationRule=rule))
    cluster.create(CLUSTERROLES, role("one", {"to": "all"}, ("get",)))
    cluster.create(CLUSTERROLES, role("two", {"to": "all"}, ("watch",)))
    cluster.create(CLUSTERROLES, role("three", {"to": "none"}, ("create",)))
    cluster.drain()
    assert [r["verbs"] for r in cluster.get(CLUSTERROLES, "all")["rules"]] == [["get"], ["watch"]]
    cluster.delete(CLUSTERROLES, "one")
    cluster.drain()
    assert [r["verbs"] for r in cluster.get(CLUSTERROLES, "all")["rules"]] == [["watch"]]
