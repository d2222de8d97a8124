"""Who owns what components wrote: as a real cluster says it, though nothing of it is kept."""

from typing import Any

import orjson
import pytest

from kubedyno.cluster.registry.authors import EMPTIED
from kubedyno.kube.resources import DEPLOYMENTS, EVENTS, NAMESPACES, PODS, REPLICASETS, Resource
from kubedyno.kube.status import Conflict

from .conftest import NS, Cluster, workload

MANAGER, MAKER, STATUS = (
    "kube-controller-manager",
    ("kube-controller-manager", ""),
    ("kube-controller-manager", "status"),
)
CONDITION = ("", "lastTransitionTime", "lastUpdateTime", "message", "reason", "status", "type")


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster()
    made.registry.create(DEPLOYMENTS, NS, workload("w", replicas=2), manager="kubectl-create")
    made.drain()
    return made


def owned(cluster: Cluster, resource: Resource, obj: Any) -> dict[tuple[str, str], Any]:
    entries = orjson.loads(cluster.store.managed_of(resource, obj) or b"[]")
    return {(entry["manager"], entry.get("subresource", "")): entry["fieldsV1"] for entry in entries}


def only(cluster: Cluster, resource: Resource) -> Any:
    return cluster.store.list(resource, NS)[0].obj


def names(fields: dict[str, Any]) -> set[str]:
    return {name.removeprefix("f:") for name in fields}


def test_a_deployment_is_its_client_s_and_its_status_is_its_controller_s(cluster):
    found = owned(cluster, DEPLOYMENTS, only(cluster, DEPLOYMENTS))
    assert found.keys() == {("kubectl-create", ""), STATUS}
    by_controller = found[STATUS]
    assert by_controller["f:metadata"] == {"f:annotations": {".": {}, "f:deployment.kubernetes.io/revision": {}}}
    conditions = by_controller["f:status"].pop("f:conditions")
    assert conditions['k:{"type":"Progressing"}'].keys() == {f"f:{name}" if name else "." for name in CONDITION}
    assert names(by_controller["f:status"]) >= {"observedGeneration", "replicas", "updatedReplicas"}


def test_a_replica_set_and_its_pods_are_the_controller_s(cluster):
    found = owned(cluster, REPLICASETS, only(cluster, REPLICASETS))
    assert found.keys() == {MAKER, STATUS}
    assert names(found[MAKER]["f:metadata"]) == {"annotations", "labels", "ownerReferences"}
    assert names(found[MAKER]["f:spec"]) == {"replicas", "selector", "template"}
    pod = only(cluster, PODS)
    (fields,) = owned(cluster, PODS, pod).values()
    # What admission adds (token volume, tolerations, priority, account) is nobody's.
    assert names(fields["f:spec"]) == {
        "containers", "dnsPolicy", "enableServiceLinks", "restartPolicy", "schedulerName", "securityContext",
        "terminationGracePeriodSeconds",
    }  # fmt: skip
    assert names(fields["f:metadata"]) == {"generateName", "labels", "ownerReferences"}
    assert fields["f:metadata"]["f:ownerReferences"] == {".": {}, f'k:{{"uid":"{pod.owners[0]}"}}': {}}
    assert b"managedFields" in cluster.store.encode_item(PODS, cluster.store.list(PODS, NS)[0])


def test_nothing_of_it_is_kept(cluster):
    for resource in (REPLICASETS, PODS):
        assert not only(cluster, resource).managed
    assert MANAGER.encode() not in only(cluster, DEPLOYMENTS).managed


def test_pods_alike_have_owners_of_their_own(cluster):
    cluster.registry.create(DEPLOYMENTS, NS, workload("v", replicas=1), manager="m")
    cluster.drain()
    pods = [record.obj for record in cluster.store.list(PODS, NS)]
    assert len({pod.owners for pod in pods}) == 2
    for pod in pods:
        (fields,) = owned(cluster, PODS, pod).values()
        assert f'k:{{"uid":"{pod.owners[0]}"}}' in fields["f:metadata"]["f:ownerReferences"]
        created = orjson.loads(b"{%b}" % pod.meta)["creationTimestamp"]
        assert orjson.loads(cluster.store.managed_of(PODS, pod))[0]["time"] == created


def test_who_applies_over_a_controller_is_in_conflict_with_it(cluster):
    name = only(cluster, REPLICASETS).name
    patch = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": name}, "spec": {"replicas": 7}}
    with pytest.raises(Conflict, match=r'conflict with "kube-controller-manager" using apps/v1: \.spec\.replicas'):
        cluster.registry.apply(REPLICASETS, NS, name, patch, manager="me")
    record, _ = cluster.registry.apply(REPLICASETS, NS, name, patch, manager="me", force=True)
    found = owned(cluster, REPLICASETS, record.obj)
    assert found["me", ""] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in found[MAKER]["f:spec"]
    assert "f:selector" in found[MAKER]["f:spec"]


def test_what_a_client_writes_is_its_own_and_the_rest_stays_the_controller_s(cluster):
    name = only(cluster, REPLICASETS).name

    def labelled(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "metadata": {**obj["metadata"], "labels": {**obj["metadata"]["labels"], "mine": "1"}}}

    record = cluster.registry.modify(REPLICASETS, NS, name, labelled, manager="me")
    found = owned(cluster, REPLICASETS, record.obj)
    assert found["me", ""] == {"f:metadata": {"f:labels": {"f:mine": {}}}}
    assert found.keys() == {("me", ""), MAKER, STATUS}
    # What a controller writes later is its own again, and what it takes away nobody's.
    status = {"replicas": 2, "observedGeneration": 1, "readyReplicas": 2}
    record = cluster.trusted.replace_status(REPLICASETS, record, status)
    assert names(owned(cluster, REPLICASETS, record.obj)[STATUS]["f:status"]) == status.keys()


def test_a_patch_that_changes_nothing_keeps_nothing(cluster):
    record = cluster.store.list(REPLICASETS, NS)[0]
    assert cluster.registry.modify(REPLICASETS, NS, record.obj.name, lambda obj: obj, manager="me") is record


def test_a_write_that_leaves_all_owners_as_they_are_keeps_no_more_of_them(cluster):
    before = only(cluster, DEPLOYMENTS).managed

    def scaled(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "spec": {**obj["spec"], "replicas": 5}}

    record = cluster.registry.modify(DEPLOYMENTS, NS, "w", scaled, manager="kubectl-create")
    assert record.obj.managed == before
    assert STATUS in owned(cluster, DEPLOYMENTS, record.obj)


def test_who_takes_all_entries_away_has_them_away(cluster):
    name = only(cluster, REPLICASETS).name

    def emptied(obj: dict[str, Any]) -> dict[str, Any]:
        return {**obj, "metadata": {**obj["metadata"], "managedFields": []}}

    record = cluster.registry.modify(REPLICASETS, NS, name, emptied, manager="me")
    assert record.obj.managed == EMPTIED
    assert "managedFields" not in orjson.loads(cluster.store.encode(REPLICASETS, record))["metadata"]


def test_what_a_client_makes_without_owning_anything_is_no_component_s(cluster):
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "applied"}}
    record, _ = cluster.registry.apply(NAMESPACES, "", "applied", document, manager="me")
    assert not cluster.store.managed_of(NAMESPACES, record.obj)


def test_events_are_those_of_the_component_that_recorded_them(cluster):
    entries = [owned(cluster, EVENTS, record.obj) for record in cluster.store.list(EVENTS, NS)]
    assert entries
    for found in entries:
        (fields,) = found.values()
        assert found.keys() == {MAKER}
        assert {"involvedObject", "message", "reason", "type"} <= names(fields)
