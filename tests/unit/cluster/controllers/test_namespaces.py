"""Namespaces: what they have from the first moment, and how they end."""

import itertools

from kubedyno.kube.resources import CONFIGMAPS, DEPLOYMENTS, EVENTS, NAMESPACES, PODS, SECRETS, SERVICEACCOUNTS

from .conftest import NS, Cluster, workload


def test_a_namespace_has_its_account_and_certificate_when_its_creation_returns(cluster):
    cluster.create(NAMESPACES, {"metadata": {"name": "new"}})
    assert cluster.names(SERVICEACCOUNTS, "new") == ["default"]
    config = cluster.get(CONFIGMAPS, "kube-root-ca.crt", "new")
    assert config["data"] == {"ca.crt": "CA"}
    assert config["metadata"]["annotations"]["kubernetes.io/description"].startswith("Contains a CA bundle")
    cluster.create(PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}, "new")


def test_both_come_back_when_they_are_deleted_or_changed(cluster):
    cluster.delete(SERVICEACCOUNTS, "default")
    cluster.registry.modify(CONFIGMAPS, NS, "kube-root-ca.crt", lambda obj: {**obj, "data": {"ca.crt": "forged"}})
    cluster.drain()
    assert cluster.names(SERVICEACCOUNTS) == ["default"]
    assert cluster.get(CONFIGMAPS, "kube-root-ca.crt")["data"] == {"ca.crt": "CA"}
    cluster.delete(CONFIGMAPS, "kube-root-ca.crt")
    cluster.drain()
    assert cluster.get(CONFIGMAPS, "kube-root-ca.crt")["data"] == {"ca.crt": "CA"}


def test_a_namespace_with_hundreds_of_objects_empties_and_goes(cluster):
    for i in range(250):
        cluster.create(CONFIGMAPS, {"metadata": {"name": f"c{i}"}})
        cluster.create(SECRETS, {"metadata": {"name": f"s{i}"}})
    cluster.create(DEPLOYMENTS, workload(replicas=5))
    cluster.drain()
    cluster.delete(NAMESPACES, NS)
    cluster.drain()
    assert cluster.store.get(NAMESPACES, NS) is None
    for kind in cluster.registry.kinds.values():
        if kind.resource.namespaced:
            assert cluster.store.list(kind.resource, NS) == [], kind.resource.plural


def test_while_something_remains_the_conditions_say_what():
    cluster = Cluster(kubelet=False)
    cluster.create(CONFIGMAPS, {"metadata": {"name": "kept", "finalizers": ["x.io/a"]}})
    cluster.create(
        PODS, {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}
    )
    cluster.delete(NAMESPACES, NS)
    cluster.drain()
    conditions = cluster.get(NAMESPACES, NS)["status"]["conditions"]
    assert [(c["type"], c["status"], c["reason"], c["message"]) for c in conditions] == [
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered", "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions",
         "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", "False", "ContentDeleted",
         "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain",
         "Some resources are remaining: configmaps. has 1 resource instances, pods. has 1 resource instances"),
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain",
         "Some content in the namespace has finalizers remaining: x.io/a in 1 resource instances"),
    ]  # fmt: skip


def test_it_goes_when_the_last_of_what_remained_is_gone():
    cluster = Cluster(kubelet=False)
    cluster.create(CONFIGMAPS, {"metadata": {"name": "kept", "finalizers": ["x.io/a"]}})
    cluster.create(
        PODS, {"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}}
    )
    cluster.delete(NAMESPACES, NS)
    cluster.drain()
    record = cluster.store.get(CONFIGMAPS, f"{NS}/kept")
    cluster.trusted.replace(CONFIGMAPS, record, finalizers=[])
    cluster.drain()
    assert cluster.store.get(NAMESPACES, NS) is not None
    cluster.trusted.finish_delete(PODS, f"{NS}/p")
    cluster.drain()
    assert cluster.store.get(NAMESPACES, NS) is None


def test_other_finalizers_of_the_namespace_are_waited_for(cluster):
    record = cluster.store.get(NAMESPACES, NS)
    cluster.trusted.replace(NAMESPACES, record, body={"spec": {"finalizers": ["kubernetes", "x.io/b"]}})
    cluster.delete(NAMESPACES, NS)
    cluster.drain()
    assert cluster.get(NAMESPACES, NS)["spec"]["finalizers"] == ["x.io/b"]
    assert cluster.names(CONFIGMAPS) == []


def test_hundreds_of_namespaces_go_at_once():
    cluster = Cluster(verify=False)
    for i in range(300):
        cluster.create(NAMESPACES, {"metadata": {"name": f"t{i}"}})
        cluster.create(DEPLOYMENTS, workload(replicas=2), f"t{i}")
    cluster.drain()
    for i in range(300):
        cluster.delete(NAMESPACES, f"t{i}")
    cluster.drain()
    assert cluster.names(NAMESPACES) == ["default", "kube-node-lease", NS]
    assert cluster.store.table(PODS).count == 0
    assert [e["metadata"]["namespace"] for e in cluster.all(EVENTS, "") if e["metadata"]["namespace"][0] == "t"] == []


def test_a_namespace_of_the_same_name_may_come_again(cluster):
    cluster.delete(NAMESPACES, NS)
    cluster.drain()
    cluster.create(NAMESPACES, {"metadata": {"name": NS}})
    cluster.create(DEPLOYMENTS, workload(replicas=3))
    cluster.drain()
    assert len(cluster.pods()) == 3


def test_a_turn_deletes_a_bounded_number_of_objects(cluster):
    for i in range(300):
        cluster.create(CONFIGMAPS, {"metadata": {"name": f"c{i}"}})
    cluster.drain()
    cluster.delete(NAMESPACES, NS)
    table = cluster.store.table(CONFIGMAPS)
    left = [table.count]
    for worker in [cluster.pump.worker("look", lambda limit: left.append(table.count) or table.count > 3)]:
        worker.wake()
        cluster.drain()
    # A turn of the queue is four times the items of one namespace's budget at most.
    assert max(earlier - later for earlier, later in itertools.pairwise(left)) <= 4 * 64
    assert table.count == 2
