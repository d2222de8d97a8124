from typing import Any

import pytest
from tests.unit.cluster.registry.conftest import NS, Cluster, pod_spec

from kubedyno.cluster.registry.binding import bound
from kubedyno.cluster.registry.codec import stored_of
from kubedyno.cluster.registry.kinds.podfacts import PodFacts
from kubedyno.cluster.registry.leanpod import LeanPod
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord, members_of
from kubedyno.kube.resources import PODS
from kubedyno.kube.status import Conflict
from kubedyno.statedb.records import Record


def created(cluster: Cluster, name: str, **parts: Any) -> ObjectRecord:
    cluster.create(PODS, name, spec=pod_spec(**parts))
    record = cluster.store.get(PODS, f"{NS}/{name}")
    assert record is not None
    return record


def plain_of(cluster: Cluster, record: ObjectRecord) -> StoredObject:
    """Return what would be stored if nothing were shared."""
    return stored_of(cluster.registry.kind(PODS), cluster.store.dict_of(PODS, record.obj))


def test_a_bound_pod_is_lean_and_reads_the_same(cluster: Cluster) -> None:
    record = created(cluster, "web")
    whole = plain_of(cluster, record)
    assert members_of(record.obj, 7, b"") == members_of(whole, 7, b"")
    plain = bound(Record(record.key, whole, record.revision, None), "node-1", cluster.clock.now())
    lean = cluster.trusted.bind(record, "node-1")
    assert type(lean.obj) is type(record.obj) is LeanPod
    assert type(plain) is StoredObject
    assert members_of(lean.obj, 7, b"") == members_of(plain, 7, b"")
    for field in StoredObject.__struct_fields__:
        assert getattr(lean.obj, field) == getattr(plain, field)
    assert cluster.get(PODS, "web")["spec"]["nodeName"] == "node-1"


def test_pods_of_one_spec_share_it_and_others_do_not(cluster: Cluster) -> None:
    a, b = (cluster.trusted.bind(created(cluster, name), "node-1").obj for name in "ab")
    other = [{"name": "web", "image": "nginx:1", "command": ["other"]}]
    c = cluster.trusted.bind(created(cluster, "c", containers=other), "node-1").obj
    d = cluster.trusted.bind(created(cluster, "d", containers=[{**other[0], "command": ["same"]}]), "node-1").obj
    assert a.shape is b.shape  # type: ignore[attr-defined]
    assert a.facts.spec is b.facts.spec
    assert a.suffix != b.suffix  # type: ignore[attr-defined]
    # Equal facts, but of another text: who takes the facts for the spec must not take the one for the other.
    assert c.facts.spec == d.facts.spec
    assert c.facts.spec is not d.facts.spec


def test_a_suffix_that_stands_elsewhere_too_stays_there(cluster: Cluster) -> None:
    record = created(cluster, "web")
    body = record.obj.body
    at = body.find(b"kube-api-access-") + len(b"kube-api-access-")
    suffix = body[at : at + 5].decode()
    containers = [{"name": "web", "image": "nginx:1", "command": [f"x{suffix}y", f"kube-api-access-{suffix}"]}]
    again = created(cluster, "again", containers=containers)
    before = cluster.store.encode_dict(PODS, again)
    after = cluster.store.encode_dict(PODS, cluster.trusted.bind(again, "node-1"))
    assert after["spec"] == {**before["spec"], "nodeName": "node-1"}


def test_a_pod_without_token_is_lean_too(cluster: Cluster) -> None:
    record = created(cluster, "web", automountServiceAccountToken=False)
    lean = cluster.trusted.bind(record, "node-1")
    assert type(lean.obj) is LeanPod
    assert lean.obj.suffix == b""
    assert lean.obj.body == plain_of(cluster, lean).body


def test_a_new_status_keeps_it_lean_and_other_changes_do_not(cluster: Cluster) -> None:
    lean = cluster.trusted.bind(created(cluster, "web"), "node-1")
    before = cluster.get(PODS, "web")
    running = cluster.trusted.replace_status(PODS, lean, {"phase": "Running", "qosClass": "BestEffort"})
    assert type(running.obj) is LeanPod
    assert running.obj.facts.phase == "Running"
    labelled = cluster.trusted.replace(PODS, running, labels={"a": "b"})
    assert type(labelled.obj) is StoredObject
    after = cluster.get(PODS, "web")
    assert after["spec"] == before["spec"]
    assert (after["status"]["phase"], after["metadata"]["labels"]) == ("Running", {"a": "b"})
    assert labelled.obj.facts.spec is running.obj.facts.spec


def test_a_client_changes_and_deletes_it(cluster: Cluster) -> None:
    cluster.trusted.bind(created(cluster, "web"), "node-1")
    whole = cluster.get(PODS, "web")
    whole["metadata"]["labels"] = {"a": "b"}
    changed = cluster.registry.update(PODS, NS, "web", whole)
    assert type(changed.obj) is StoredObject
    assert cluster.get(PODS, "web")["spec"] == whole["spec"]
    cluster.registry.delete(PODS, NS, "web", {})
    assert cluster.get(PODS, "web")["metadata"]["deletionGracePeriodSeconds"] == 30


@pytest.mark.parametrize("automount", [True, False])
def test_a_templates_pod_is_lean_from_the_first(cluster: Cluster, automount: bool) -> None:
    template = cluster.trusted.pod_template(
        {"metadata": {"labels": {"a": "b"}}, "spec": pod_spec(automountServiceAccountToken=automount)}
    )
    made = cluster.trusted.create_pod(NS, template, name="web")
    assert type(made.obj) is LeanPod
    assert made.obj.body.count(b"kube-api-access-") == (2 if automount else 0)
    assert b"KUBEDYNO" not in made.obj.body
    before = cluster.get(PODS, "web")
    cluster.trusted.bind(made, "node-1")
    assert cluster.get(PODS, "web")["spec"] == {**before["spec"], "nodeName": "node-1"}


def test_pods_of_their_own_kind_are_whole(cluster: Cluster) -> None:
    template = cluster.trusted.pod_template({"spec": pod_spec()}, pinned=True)
    pinned = cluster.trusted.create_pod(NS, template, name="daemon", node="node-1")
    named = cluster.trusted.create_pod(NS, cluster.trusted.pod_template({"spec": pod_spec()}), name="db", hostname="db")
    assert type(pinned.obj) is type(named.obj) is StoredObject
    assert type(cluster.trusted.bind(pinned, "node-1").obj) is StoredObject
    assert cluster.get(PODS, "db")["spec"]["hostname"] == "db"


class Told:
    """A status that is made of the pod's uid and suffix."""

    def text(self, uid: str, suffix: bytes) -> bytes:
        return b'{"phase":"Running","message":"%b %b","qosClass":"BestEffort"}' % (uid.encode(), suffix)


def test_a_status_may_be_written_out_when_it_is_read(cluster: Cluster) -> None:
    lean = cluster.trusted.bind(created(cluster, "web"), "node-1")
    old = lean.obj.facts
    facts = PodFacts(old.node_name, "Running", False, "", old.spec, old.pinned_node)
    record = cluster.trusted.form_status(lean, Told(), facts)
    suffix = lean.obj.suffix.decode()  # type: ignore[attr-defined]
    assert cluster.get(PODS, "web")["status"]["message"] == f"{lean.obj.uid} {suffix}"
    # What is not kept is not counted.
    assert record.obj.size_bytes < lean.obj.size_bytes
    again = cluster.trusted.replace_status(PODS, record, Told().text(lean.obj.uid, suffix.encode()), facts)
    assert again is record
    with pytest.raises(Conflict):
        cluster.trusted.form_status(lean, Told(), facts)
    labelled = cluster.trusted.replace(PODS, record, labels={"a": "b"})
    assert labelled.obj.status == record.obj.status
    with pytest.raises(TypeError):
        cluster.trusted.form_status(labelled, Told(), facts)
