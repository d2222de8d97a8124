"""Measurements over object timelines: moments, documents, and what is absent counts as absent."""

import orjson
import pytest

from kubedyno.load.config.spec import ConditionSpec, MeasurementSpec
from kubedyno.load.measurements.kinds import (
    ConditionLatency,
    DataVolumeLatency,
    JobLatency,
    NodeLatency,
    PvcLatency,
    VmiLatency,
    VmimLatency,
    VolumeSnapshotLatency,
)
from kubedyno.load.measurements.measurement import Common

T0 = 1_790_000_000  # 2026-09-21T14:13:20Z


class Clock:
    def __init__(self):
        self.at_s = float(T0)

    def now(self):
        return self.at_s

    monotonic = now


@pytest.fixture
def clock():
    return Clock()


def stamp(second):
    return f"2026-09-21T14:13:{20 + second:02d}Z"


def make(kind, clock, **options):
    return kind(MeasurementSpec(kind.name, **options), None, clock, "kube-burner.io/runid=r")


def obj(name="x", status=None, spec=None, **meta):
    labels = {"kube-burner.io/job-iteration": "4", "kube-burner.io/replica": "2"}
    meta = {"name": name, "namespace": "n", "uid": name, "creationTimestamp": stamp(0), "labels": labels} | meta
    return {"kind": "Thing", "metadata": meta, "spec": spec or {}, "status": status or {}}


def send(measurement, body, kind="MODIFIED"):
    measurement.event(kind, orjson.dumps(body))


def condition(name, second, status="True"):
    return {"type": name, "status": status, "lastTransitionTime": stamp(second)}


def documents(measurement, churned=lambda _at_s: False):
    return list(measurement.documents(Common("job", "u", {"team": "x"}, churned)))


def test_a_job_is_measured_from_creation_to_completion(clock):
    jobs = make(JobLatency, clock)
    send(jobs, obj("a", {"startTime": stamp(1)}), "ADDED")
    send(jobs, obj("b", {"startTime": stamp(1)}), "ADDED")
    send(jobs, obj("a", {"startTime": stamp(1), "conditions": [condition("Complete", 5)]}))
    (document,) = documents(jobs)
    assert document == {
        "timestamp": stamp(0),
        "startTimeLatency": 1000,
        "completionLatency": 5000,
        "metricName": "jobLatencyMeasurement",
        "uuid": "u",
        "jobName": "job",
        "jobIteration": 4,
        "replica": 2,
        "namespace": "n",
        "k8sJobName": "a",
        "metadata": {"team": "x"},
    }
    assert {name: s.maximum for name, s in jobs.summaries().items()} == {"StartTime": 1000, "Complete": 5000}


def test_what_was_made_while_churning_says_so(clock):
    jobs = make(JobLatency, clock)
    send(jobs, obj("a", {"conditions": [condition("Complete", 5)]}), "ADDED")
    assert documents(jobs, lambda at_s: at_s == T0)[0]["churnMetric"] is True
    assert "churnMetric" not in documents(jobs)[0]
    assert "StartTime" not in jobs.summaries()


def test_moments_before_creation_are_counted_as_errors_and_written_as_zero(clock):
    jobs = make(JobLatency, clock)
    send(jobs, obj("a", {"conditions": [condition("Complete", 5)]}, creationTimestamp=stamp(9)), "ADDED")
    assert jobs.error_share() == 1.0
    assert documents(jobs)[0]["completionLatency"] == 0


def test_a_node_counts_from_its_first_pressure_condition(clock):
    nodes = make(NodeLatency, clock)
    found = [condition("MemoryPressure", 1, "False"), condition("DiskPressure", 1, "True"), condition("Ready", 7)]
    send(nodes, obj("n1", {"conditions": found}, labels={"kubernetes.io/os": "linux"}), "ADDED")
    (document,) = documents(nodes)
    assert (document["nodeReadyLatency"], document["nodeMemoryPressureLatency"]) == (7000, 1000)
    assert document["labels"] == {"kubernetes_io/os": "linux"}
    assert "DiskPressure" not in nodes.summaries()
    assert "namespace" not in document


def test_a_node_whose_pressure_is_older_than_its_object_counts_from_the_pressure(clock):
    nodes = make(NodeLatency, clock)
    found = [condition("MemoryPressure", 1, "False"), condition("Ready", 7)]
    send(nodes, obj("n1", {"conditions": found}, creationTimestamp=stamp(5)), "ADDED")
    (document,) = documents(nodes)
    assert (document["timestamp"], document["nodeReadyLatency"]) == (stamp(1), 6000)


def test_a_claim_counts_from_its_first_sight_and_a_resize_from_its_request(clock):
    claims = make(PvcLatency, clock)

    def claim(phase, asked, has):
        spec = {"resources": {"requests": {"storage": asked}}, "storageClassName": "fast"}
        return obj("c", {"phase": phase, "capacity": {"storage": has}}, spec)

    send(claims, claim("Pending", "1Gi", ""), "ADDED")
    clock.at_s += 2.5
    send(claims, claim("Bound", "1Gi", "1Gi"))
    clock.at_s += 10
    send(claims, claim("Bound", "2Gi", "1Gi"))
    clock.at_s += 3
    send(claims, claim("Bound", "2Gi", "2Gi"))
    (document,) = documents(claims)
    assert (document["pendingLatency"], document["bindingLatency"], document["resizeLatency"]) == (0, 2500, 3000)
    assert (document["size"], document["storageClass"], document["resizedCapacity"]) == ("1Gi", "fast", "2Gi")


def phases(*pairs):
    return {
        "phaseTransitionTimestamps": [
            {"phase": name, "phaseTransitionTimestamp": stamp(second)} for name, second in pairs
        ]
    }


def test_a_virtual_machine_is_joined_with_its_instance_and_pod_in_any_order(clock):
    machines = make(VmiLatency, clock)
    pod = obj(
        "virt-launcher-x",
        {"conditions": [condition("PodScheduled", 3), condition("Ready", 6)]},
        creationTimestamp=stamp(2),
        ownerReferences=[{"kind": "VirtualMachineInstance", "uid": "i", "name": "vm"}],
    )
    instance = obj(
        "vm",
        {"nodeName": "n1"} | phases(("Pending", 1), ("Running", 8)),
        uid="i",
        creationTimestamp=stamp(1),
        ownerReferences=[{"kind": "VirtualMachine", "uid": "m", "name": "vm"}],
    )
    machines.pod("ADDED", orjson.dumps(pod))
    send(machines, instance, "ADDED")
    machines.machine("ADDED", orjson.dumps(obj("vm", {"conditions": [condition("Ready", 9)]}, uid="m")))
    (document,) = documents(machines)
    assert document["podName"] == "virt-launcher-x"
    assert (document["vmName"], document["vmiName"], document["nodeName"]) == ("vm", "vm", "n1")
    figures = {key: value // 1000 for key, value in document.items() if key.endswith("Latency")}
    assert figures == {
        "podCreatedLatency": 2, "podScheduledLatency": 3, "podInitializedLatency": 0, "podContainersReadyLatency": 0,
        "podReadyLatency": 6, "podReadyToStartContainersLatency": 0, "vmiCreatedLatency": 1, "vmiPendingLatency": 1,
        "vmiSchedulingLatency": 0, "vmiScheduledLatency": 0, "vmiRunningLatency": 8, "vmReadyLatency": 9,
    }  # fmt: skip


def test_a_migration_is_done_when_it_succeeded(clock):
    moves = make(VmimLatency, clock)
    send(moves, obj("m", phases(("Pending", 1), ("Running", 4)), {"vmiName": "vm"}), "ADDED")
    assert documents(moves) == []
    send(moves, obj("m", phases(("Pending", 1), ("Running", 4), ("Succeeded", 6)), {"vmiName": "vm"}))
    (document,) = documents(moves)
    assert (document["runningLatency"], document["succeededLatency"], document["vmiName"]) == (4000, 6000, "vm")


def test_data_volumes_and_snapshots(clock):
    volumes = make(DataVolumeLatency, clock)
    send(volumes, obj("d", {"conditions": [condition("Bound", 2), condition("Ready", 5)]}), "ADDED")
    assert documents(volumes)[0]["dvReadyLatency"] == 5000
    snapshots = make(VolumeSnapshotLatency, clock)
    send(snapshots, obj("s"), "ADDED")
    clock.at_s += 1.5
    send(snapshots, obj("s", {"readyToUse": True}))
    assert documents(snapshots)[0]["vsReadyLatency"] == 1500


def test_any_kind_is_measured_by_declared_conditions(clock):
    spec = MeasurementSpec(
        "conditionLatency",
        api_version="example.com/v1",
        kind="Widget",
        conditions=(ConditionSpec("Accepted", ".status.accepted", "true"), ConditionSpec("Done", ".status.p", "Done")),
    )
    widgets = ConditionLatency(spec, None, clock, "", "widgets")
    assert widgets.path == "/apis/example.com/v1/widgets"
    send(widgets, obj("w"), "ADDED")
    clock.at_s += 0.2
    send(widgets, obj("w", {"accepted": True}))
    assert documents(widgets) == []
    clock.at_s += 0.3
    send(widgets, obj("w", {"accepted": True, "p": "Done"}))
    (document,) = documents(widgets)
    assert (document["acceptedLatency"], document["doneLatency"]) == (200, 500)


def test_an_object_that_was_never_seen_alive_is_not_measured(clock):
    jobs = make(JobLatency, clock)
    send(jobs, obj("a", {"conditions": [condition("Complete", 5)]}), "DELETED")
    assert documents(jobs) == []
    assert jobs.error_share() == 0.0
