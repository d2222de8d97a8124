"""Rows of the page from API objects."""

import orjson
import pytest

from kubedyno.web.rows import State, may_be_ready, node_row, pod_row, pod_text

READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:05Z"}


def pod(status, **metadata):
    meta = {"name": "p", "namespace": "n", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", **metadata}
    spec = {"nodeName": "x", "containers": [{"resources": {"requests": {"cpu": "250m", "memory": "1Mi"}}}] * 2}
    return pod_row(orjson.dumps({"metadata": meta, "spec": spec, "status": status}))


def waiting(reason):
    return {"phase": "Pending", "containerStatuses": [{"state": {"waiting": {"reason": reason, "message": "m"}}}]}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ({"phase": "Pending"}, State.STARTING),
        (waiting("ContainerCreating"), State.STARTING),
        (waiting("ImagePullBackOff"), State.TROUBLE),
        ({"phase": "Running"}, State.STARTING),
        ({"phase": "Running", "conditions": [READY]}, State.READY),
        ({"phase": "Succeeded"}, State.SUCCEEDED),
        ({"phase": "Failed"}, State.FAILED),
    ],
)
def test_a_pod_s_state_is_what_a_person_would_call_it(status, state):
    assert pod(status).state is state


def test_a_pod_being_deleted_is_terminating_whatever_it_was():
    row = pod({"phase": "Running", "conditions": [READY]}, deletionTimestamp="2026-01-01T00:00:09Z")
    assert row.state is State.TERMINATING


def test_requests_times_and_reasons_are_read():
    row = pod({"phase": "Running", "conditions": [READY]})
    assert (row.cpu_milli, row.memory_bytes, row.ready_s - row.created_s) == (500, 2 << 20, 5.0)
    unscheduled = {"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}
    assert pod({"conditions": [unscheduled]}).why == "0/1 nodes"
    assert pod(waiting("ErrImagePull")).why == "ErrImagePull: m"


def test_a_node_s_walls_are_read():
    node = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"podCIDR": "10.0.0.0/24"},
        "status": {
            "allocatable": {"cpu": "4", "memory": "1Gi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "False", "message": "cni plugin not initialized"}],
        },
    }
    row = node_row(orjson.dumps(node))
    assert (row.cpu_milli, row.memory_bytes, row.max_pods, row.addresses) == (4000, 1 << 30, 110, 253)
    assert (row.ready, row.control_plane, row.why) == (False, True, "cni plugin not initialized")


def test_odd_quantities_and_cidrs_count_as_nothing():
    row = node_row(b'{"metadata":{"name":"n"},"spec":{"podCIDR":"x"},"status":{"allocatable":{"cpu":"?","pods":"-"}}}')
    assert (row.cpu_milli, row.max_pods, row.addresses) == (0, 0, 0)


def test_a_pod_is_counted_as_the_scheduler_counts_it():
    def container(cpu, **more):
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "containers": [container("100m"), container("200m")],
        "initContainers": [container("50m", restartPolicy="Always"), container("900m")],
        "overhead": {"cpu": "10m"},
    }
    assert pod_row(orjson.dumps({"metadata": {}, "spec": spec})).cpu_milli == 960
    spec["initContainers"][1] = container("10m")
    assert pod_row(orjson.dumps({"metadata": {}, "spec": spec})).cpu_milli == 360


@pytest.mark.parametrize(
    ("before", "now", "cpu", "node"),
    [
        ({}, {}, 100, "x"),
        ({}, {"generation": 2}, 200, "y"),
        ({"generation": 0}, {"generation": 0}, 200, "y"),
        ({}, {"uid": "v"}, 200, "y"),
        ({"node": ""}, {}, 200, "y"),
    ],
    ids=["the same spec", "resized", "not counted by its server", "a namesake", "bound since"],
)
def test_a_spec_is_read_again_when_it_may_be_another(before, now, cpu, node):
    def told(cpu, node="x", uid="u", generation=1, phase="Pending"):
        meta = {"namespace": "n", "name": "p", "uid": uid, "generation": generation, "labels": {"a": phase}}
        spec = {"nodeName": node, "containers": [{"resources": {"requests": {"cpu": cpu}}}], "hostNetwork": True}
        status = {"phase": phase, "podIP": "10.0.0.1", "conditions": [READY]}
        return orjson.dumps({"metadata": meta, "spec": spec, "status": status})

    first = pod_row(told("100m", **before))
    # No server writes this with the same generation: it shows what is read.
    row = pod_row(told("200m", **{"node": "y", "phase": "Running", **now}), first)
    assert (row.cpu_milli, row.node) == (cpu, node)
    assert (row.key, row.labels, row.ready_s > 0, row.addressed) == ("n/p", {"a": "Running"}, True, False)


def test_restarts_and_waits_of_init_containers_count():
    init = {"restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    row = pod({"phase": "Pending", "initContainerStatuses": [init]})
    assert (row.restarts, row.why, row.state) == (2, "CrashLoopBackOff", State.TROUBLE)


def test_only_taints_that_keep_pods_off_are_walls():
    taints = [{"key": "a", "value": "b", "effect": "NoSchedule"}, {"key": "c", "effect": "PreferNoSchedule"}]
    row = node_row(orjson.dumps({"metadata": {"labels": None}, "spec": {"taints": taints}}))
    assert row.taints == ["a=b:NoSchedule"]


@pytest.mark.parametrize(
    "raw",
    [
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","generateName":"p-","namespace":"n","uid":"u"}}',
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"n"}}',
        b'{"apiVersion": "v1", "metadata": {"namespace": "n", "name": "p"}}',
        rb'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"\u0070","namespace":"n"}}',
    ],
)
def test_a_pod_s_key_is_found_however_it_is_written(raw):
    assert pod_text(raw) == ("n/p", raw)


@pytest.mark.parametrize(
    ("condition", "ready"),
    [
        ('{"type":"Ready","status":"True"}', True),
        ('{"type":"Ready","observedGeneration":12345,"status":"True","lastProbeTime":null}', True),
        ('{"type":"Ready","status":"False"},{"type":"Initialized","observedGeneration":1,"status":"True"}', False),
        ('{"type":"ContainersReady","status":"True"}', False),
    ],
)
def test_a_pod_that_may_be_ready_is_known_by_its_condition(condition, ready):
    assert may_be_ready(b'{"status":{"conditions":[%b]}}' % condition.encode()) is ready
