from typing import Any

import pytest
from tests.unit.cluster.registry.conftest import NS, START_S, Cluster, pod_spec

from kubedyno.cluster.registry.catalogue import EVENTS_V1
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import EVENTS, NODES, PODS

STAMP = "2026-11-18T11:06:40Z"


@pytest.fixture
def pod(cluster: Cluster) -> ObjectRecord:
    cluster.create(PODS, "web", spec=pod_spec())
    record = cluster.store.get(PODS, f"{NS}/web")
    assert record is not None
    return record


def say(cluster: Cluster, pod: ObjectRecord, **parts: Any) -> ObjectRecord | None:
    given: dict[str, Any] = {
        "type": "Normal", "reason": "Pulled", "message": 'Container image "a" is "there"', "component": "kubelet",
        "host": "node-1", "field_path": "spec.containers{web}",
    }  # fmt: skip
    return cluster.trusted.event(PODS, pod, **(given | parts))


def said(cluster: Cluster, pod: ObjectRecord, **parts: Any) -> ObjectRecord:
    record = say(cluster, pod, **parts)
    assert record is not None
    return record


def failed(cluster: Cluster, pod: ObjectRecord) -> ObjectRecord | None:
    return cluster.trusted.event(
        PODS, pod, type="Warning", reason="FailedScheduling", message="0/1 nodes are available.",
        component="default-scheduler", host="cp", action="Scheduling",
    )  # fmt: skip


def core_event(cluster: Cluster, pod: ObjectRecord, record: ObjectRecord) -> dict[str, Any]:
    return {
        "kind": "Event",
        "apiVersion": "v1",
        "metadata": {
            "name": f"web.{int(START_S * 1e9):x}",
            "namespace": NS,
            "uid": record.obj.uid,
            "creationTimestamp": STAMP,
            "resourceVersion": str(record.revision),
        },
        "involvedObject": {
            "kind": "Pod",
            "namespace": NS,
            "name": "web",
            "uid": pod.obj.uid,
            "apiVersion": "v1",
            "resourceVersion": str(pod.revision),
            "fieldPath": "spec.containers{web}",
        },
        "reason": "Pulled",
        "message": 'Container image "a" is "there"',
        "source": {"component": "kubelet", "host": "node-1"},
        "firstTimestamp": STAMP,
        "lastTimestamp": STAMP,
        "count": 1,
        "type": "Normal",
        "eventTime": None,
        "reportingComponent": "kubelet",
        "reportingInstance": "node-1",
    }


def test_an_event_reads_as_client_go_writes_it(cluster: Cluster, pod: ObjectRecord) -> None:
    record = said(cluster, pod)
    expected = core_event(cluster, pod, record)
    found = cluster.store.encode_dict(EVENTS, record)
    assert found == expected
    # In the order of Go's struct, too.
    assert list(found) == list(expected)
    assert list(found["involvedObject"]) == list(expected["involvedObject"])


def test_each_event_has_a_uid_of_its_own_that_stays(cluster: Cluster, pod: ObjectRecord) -> None:
    uids = {said(cluster, pod, reason=f"R{i}").obj.uid for i in range(20)}
    assert len(uids) == 20
    first = said(cluster, pod)
    again = said(cluster, pod)
    assert first.obj.uid == again.obj.uid
    assert all(len(uid) == 36 and uid[14] == "4" and uid[19] in "89ab" for uid in uids)


def test_a_repetition_counts(cluster: Cluster, pod: ObjectRecord) -> None:
    said(cluster, pod)
    cluster.clock.now_s += 90
    # The object has changed since; the event keeps the version that it was first about.
    changed = cluster.trusted.replace(PODS, pod, labels={"a": "b"})
    record = said(cluster, changed)
    expected = core_event(cluster, pod, record)
    assert cluster.store.encode_dict(EVENTS, record) == {
        **expected, "count": 2, "lastTimestamp": "2026-11-18T11:08:10Z",
    }  # fmt: skip
    assert len(cluster.store.list(EVENTS)) == 1


def test_a_schedulers_event_becomes_a_series(cluster: Cluster, pod: ObjectRecord) -> None:
    cluster.clock.now_s += 0.123456
    first = failed(cluster, pod)
    assert first is not None
    found = cluster.store.encode_dict(EVENTS, first)
    assert list(found)[3:] == [
        "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "type", "eventTime",
        "action", "reportingComponent", "reportingInstance",
    ]  # fmt: skip
    assert found["eventTime"] == "2026-11-18T11:06:40.123456Z"
    assert (found["source"], found["firstTimestamp"], found["lastTimestamp"]) == ({}, None, None)
    assert (found["action"], found["reportingComponent"]) == ("Scheduling", "default-scheduler")
    assert found["reportingInstance"] == "default-scheduler-cp"
    assert "fieldPath" not in found["involvedObject"]
    cluster.clock.now_s += 10
    second = failed(cluster, pod)
    assert second is not None
    series = {"count": 2, "lastObservedTime": "2026-11-18T11:06:50.123456Z"}
    again = cluster.store.encode_dict(EVENTS, second)
    assert again["series"] == series
    assert again["eventTime"] == found["eventTime"]
    # Then only now and then.
    assert failed(cluster, pod) is None
    cluster.clock.now_s += 1800
    third = failed(cluster, pod)
    assert third is not None
    assert cluster.store.encode_dict(EVENTS, third)["series"]["count"] == 4
    # The second spelling of the same.
    assert cluster.store.encode_dict(EVENTS_V1, third)["regarding"]["name"] == "web"


def test_an_event_about_a_node_is_in_the_default_namespace(cluster: Cluster) -> None:
    cluster.add_namespace("default")
    cluster.create(NODES, "node-1", "")
    node = cluster.store.get(NODES, "node-1")
    assert node is not None
    record = cluster.trusted.event(
        NODES, node, type="Normal", reason="Starting", message="", component="kubelet", host="node-1", uid="node-1"
    )  # fmt: skip
    assert record is not None
    found = cluster.store.encode_dict(EVENTS, record)
    assert found["metadata"]["namespace"] == "default"
    assert found["involvedObject"] == {
        "kind": "Node", "name": "node-1", "uid": "node-1", "apiVersion": "v1", "resourceVersion": str(node.revision),
    }  # fmt: skip
    assert cluster.store.list(EVENTS, "default") == [record]
    kind = cluster.registry.kind(EVENTS)
    assert kind.field(record, "involvedObject.namespace") == ""


def test_fields_are_those_of_the_json(cluster: Cluster, pod: ObjectRecord) -> None:
    for record in (said(cluster, pod), failed(cluster, pod)):
        assert record is not None
        whole = cluster.store.encode_dict(EVENTS, record)
        kind = cluster.registry.kind(EVENTS)
        for name in (*kind.field_paths, "metadata.name", "metadata.namespace"):
            quick = kind.field(record, name)
            assert quick is None or quick == kind.field_of(whole, name)
        facts, parsed = record.obj.facts, kind.facts(whole)
        for name in parsed.__struct_fields__:
            assert getattr(facts, name) == getattr(parsed, name)


def test_events_are_found_by_what_they_are_about(cluster: Cluster, pod: ObjectRecord) -> None:
    first, second = said(cluster, pod), said(cluster, pod, reason="Started")
    cluster.create(PODS, "other", spec=pod_spec())
    other = cluster.store.get(PODS, f"{NS}/other")
    assert other is not None
    said(cluster, other)
    assert cluster.store.by_index(EVENTS, "involved", pod.obj.uid) == [first, second]


def test_a_client_may_change_an_event(cluster: Cluster, pod: ObjectRecord) -> None:
    record = said(cluster, pod)
    whole = cluster.store.encode_dict(EVENTS, record)
    whole["metadata"]["labels"] = {"seen": "yes"}
    whole["reason"] = "Other"
    cluster.registry.update(EVENTS, NS, record.obj.name, whole)
    changed = cluster.store.get(EVENTS, record.key)
    assert changed is not None
    assert type(changed.obj) is StoredObject
    assert changed.obj.uid == record.obj.uid
    assert changed.obj.facts.reason == "Other"
    found = cluster.store.encode_dict(EVENTS, changed)
    assert found["metadata"]["labels"] == {"seen": "yes"}
    assert {**found, "metadata": {}} == {**core_event(cluster, pod, record), "metadata": {}, "reason": "Other"}


def test_events_go_after_an_hour_and_only_those_that_were_written_then(cluster: Cluster, pod: ObjectRecord) -> None:
    first = said(cluster, pod)
    deleted = said(cluster, pod, reason="Started")
    cluster.registry.delete(EVENTS, NS, deleted.obj.name, {})
    cluster.registry.create(
        EVENTS, NS, {"metadata": {"name": deleted.obj.name}, "involvedObject": {"namespace": NS, "kind": "Pod"}}
    )  # fmt: skip
    cluster.clock.now_s += 1800
    later = said(cluster, pod, reason="Killing")
    events = cluster.trusted.events
    assert events.next_expiry_s == pytest.approx(START_S + 3600, abs=1e-3)
    cluster.clock.now_s = START_S + 3599
    assert not events.expire(100)
    assert cluster.store.get(EVENTS, first.key) is not None
    cluster.clock.now_s = START_S + 3600.01
    assert events.expire(1)
    assert not events.expire(100)
    assert cluster.store.get(EVENTS, first.key) is None
    assert cluster.store.get(EVENTS, later.key) is not None
    # Somebody else's of the same name.
    assert cluster.store.get(EVENTS, deleted.key) is not None
    # The next one of that sort is new, not a second.
    assert cluster.store.encode_dict(EVENTS, said(cluster, pod))["count"] == 1


def test_an_object_has_a_burst_of_events_and_then_a_trickle(cluster: Cluster, pod: ObjectRecord) -> None:
    written = [say(cluster, pod, reason=f"R{i}") is not None for i in range(30)]
    assert written == [True] * 25 + [False] * 5
    cluster.clock.now_s += 300
    assert [say(cluster, pod, reason=f"S{i}") is not None for i in range(2)] == [True, False]
    # Another component has its own.
    assert say(cluster, pod, component="other") is not None


def test_many_messages_of_one_sort_are_combined(cluster: Cluster, pod: ObjectRecord) -> None:
    texts = [cluster.store.encode_dict(EVENTS, said(cluster, pod, message=f"m{i}"))["message"] for i in range(12)]
    assert texts == [f"m{i}" for i in range(9)] + [f"(combined from similar events): m{i}" for i in (9, 10, 11)]
    newest = max(cluster.store.list(EVENTS), key=lambda record: record.revision)
    assert cluster.store.encode_dict(EVENTS, newest)["count"] == 3
    cluster.clock.now_s += 601
    assert cluster.store.encode_dict(EVENTS, said(cluster, pod, message="m12"))["message"] == "m12"
    # One message again and again is no group.
    for _ in range(10):
        record = said(cluster, pod, message="same", component="other")
    assert cluster.store.encode_dict(EVENTS, record)["message"] == "same"
