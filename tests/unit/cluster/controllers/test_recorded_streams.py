"""A rollout, an update and a Job as a real control plane (1.36) wrote them: events, statuses and conditions, in order."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubedyno.cluster.scheduler.scheduler import Scheduler
from kubedyno.kube.resources import (
    DEPLOYMENTS,
    ENDPOINTSLICES,
    EVENTS,
    JOBS,
    NODES,
    PODS,
    REPLICASETS,
    SERVICES,
    Resource,
)
from kubedyno.statedb.records import Tombstone

from .conftest import NS, Cluster

GOLDEN = json.loads((Path(__file__).parents[3] / "golden/cluster/rollout.json").read_text())


class Recorder:
    """A cluster with scheduler, whose pods become ready when the test says so; notes each version of some objects."""

    def __init__(self) -> None:
        self.cluster = cluster = Cluster(kubelet=False)
        self.scheduler = Scheduler(cluster.trusted, cluster.pump, cluster.settings)
        self.scheduler.start()
        for i in range(10):
            allocatable = {"cpu": "32", "memory": "256Gi", "pods": "110"}
            node = {"metadata": {"name": f"kwok-{i}"}, "spec": {"taints": []}, "status": {"allocatable": allocatable}}
            cluster.trusted.create(NODES, "", node)
        self.seen: dict[str, list[dict[str, Any]]] = {}
        self.addresses = 0
        for resource in (DEPLOYMENTS, REPLICASETS, ENDPOINTSLICES):
            self._follow(resource)

    def _follow(self, resource: Resource) -> None:
        table, seen = self.cluster.store.table(resource), self.seen.setdefault(resource.plural, [])
        changes = table.changes()

        def note() -> None:
            for record in changes.next():
                if type(record) is not Tombstone:
                    seen.append(self.cluster.store.encode_dict(resource, record))

        table.subscribe(note)

    def start_pods(self, number: int) -> None:
        """Make so many scheduled pods ready, the first ones first, each by itself."""
        waiting = [pod for pod in self.cluster.pods() if pod.obj.facts.node_name and pod.obj.facts.phase == "Pending"]
        for pod in waiting[:number]:
            self.addresses += 1
            status = self.cluster.store.encode_dict(PODS, pod)["status"]
            address = f"10.0.0.{self.addresses}"
            status |= {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
            status["conditions"].append(
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-24T00:18:12Z"}
            )
            self.cluster.trusted.replace_status(PODS, pod, status)
            self.cluster.drain()

    def statuses(self, resource: Resource) -> list[dict[str, Any]]:
        return [_status(obj) for obj in self.seen[resource.plural]]

    def events(self) -> list[dict[str, Any]]:
        found = sorted(self.cluster.store.list(EVENTS, NS), key=lambda record: record.revision)
        return [_event(self.cluster.store.encode_dict(EVENTS, record)) for record in found]


def _status(obj: dict[str, Any]) -> dict[str, Any]:
    status = dict(obj.get("status") or {})
    names = ("type", "status", "reason", "message")
    conditions = [{name: c.get(name) for name in names} for c in status.pop("conditions", [])]
    return {"status": status, "conditions": conditions}


def _event(obj: dict[str, Any]) -> dict[str, Any]:
    names = ("type", "reason", "message", "action", "count", "reportingComponent")
    shown = {name: obj[name] for name in names if obj.get(name) is not None}
    involved = obj["involvedObject"]
    return {
        **shown, "kind": involved["kind"], "name": involved["name"], "source": obj.get("source"),
        "eventTime": bool(obj.get("eventTime")),
    }  # fmt: skip


class Names:
    """Gives what is named at random a name by the order in which it comes up, so that streams can be compared."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def plain(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.plain(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.plain(item) for item in value]
        if not isinstance(value, str):
            return value
        words = []
        for word in value.replace("/", " / ").replace('"', ' " ').split():
            parts = word.split("-")
            if parts[0] == "web" and len(parts) > 1:
                self._known.setdefault(parts[1], f"set{len(self._known)}")
                words.append("-".join(["web", self._known[parts[1]], *["pod" for _ in parts[2:]]]))
            elif parts[0] == "kwok":
                words.append("node")
            else:
                words.append("namespace" if word in {"fx", NS} else word)
        return " ".join(words)


def by_object(events: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return each kind's events in order; what is written by different components has no order among them."""
    names, found = Names(), {}
    for event in events:
        plain = names.plain(event)
        found.setdefault(f"{plain['kind']} {plain['name']}", []).append(json.dumps(plain, sort_keys=True))
    return found


def is_part_of(ours: list[Any], theirs: list[Any]) -> bool:
    """Say whether all of ours come in theirs, in their order: who is faster sees fewer states."""
    rest = iter(theirs)
    return all(any(mine == other for other in rest) for mine in ours)


def once(items: list[Any]) -> list[Any]:
    return [item for i, item in enumerate(items) if not i or item != items[i - 1]]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def web(recorder: Recorder) -> None:
    service = {
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 80}]},
    }
    recorder.cluster.create(SERVICES, service)
    container = {"name": "nginx", "image": "nginx:alpine", "ports": [{"containerPort": 80}]}
    spec = {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [container]}},
    }  # fmt: skip
    recorder.cluster.create(DEPLOYMENTS, {"metadata": {"name": "web", "labels": {"app": "web"}}, "spec": spec})
    recorder.cluster.drain()
    recorder.start_pods(1)
    recorder.start_pods(1)


@pytest.mark.parametrize("resource", [DEPLOYMENTS, REPLICASETS])
def test_statuses_of_a_rollout_come_in_the_recorded_order(recorder: Recorder, resource: Resource) -> None:
    web(recorder)
    theirs = once(Names().plain(GOLDEN[resource.kind.lower()]))
    ours = once(Names().plain(recorder.statuses(resource)))
    assert ours[-1] == theirs[-1]
    # Who is faster sees fewer states of one object and more of another, but the same ones in the same order.
    shared = [status for status in ours if status in theirs]
    assert is_part_of(shared, theirs), ours
    assert len(shared) >= len(theirs) - 1
    assert [s for s in ours if s["conditions"] not in [other["conditions"] for other in theirs]] == []


def test_endpoints_of_a_rollout_come_one_by_one(recorder: Recorder) -> None:
    web(recorder)
    slices = recorder.seen[ENDPOINTSLICES.plural]
    ours = [[endpoint["conditions"] for endpoint in made.get("endpoints") or []] for made in slices]
    assert is_part_of(GOLDEN["slices"], ours), ours


def test_events_of_rollout_scale_and_update_are_as_recorded(recorder: Recorder) -> None:
    web(recorder)
    cluster = recorder.cluster
    cluster.apply(DEPLOYMENTS, "web", replicas=3)
    cluster.drain()
    recorder.start_pods(1)

    def newer(obj: dict[str, Any]) -> dict[str, Any]:
        obj["spec"]["template"]["spec"]["containers"][0]["image"] = "nginx:1.29"
        return obj

    cluster.registry.modify(DEPLOYMENTS, NS, "web", newer)
    cluster.drain()
    recorder.start_pods(1)
    ours, theirs = by_object(recorder.events()), by_object(GOLDEN["events"])
    assert set(ours) == set(theirs)
    for name, wanted in theirs.items():
        # The recording ends in the middle of the update.
        got = ours[name]
        missing = [text for text in wanted if text not in got]
        assert not missing, (name, missing, got)
        assert is_part_of(wanted, got), (name, wanted, got)


def test_the_first_events_are_in_the_recorded_order(recorder: Recorder) -> None:
    web(recorder)

    def order(events: list[dict[str, Any]]) -> list[str]:
        controllers: Callable[[dict[str, Any]], bool] = lambda e: e["kind"] != "Pod"  # noqa: E731 - a name for a test
        return [f"{e['kind']} {e['reason']}" for e in filter(controllers, events)]

    ours = order(recorder.events())
    assert ours == order(GOLDEN["events"])[: len(ours)]


def test_a_job_ends_as_recorded(recorder: Recorder) -> None:
    cluster = recorder.cluster
    containers = [{"name": "c", "image": "busybox"}]
    spec = {"completions": 2, "template": {"spec": {"restartPolicy": "Never", "containers": containers}}}
    cluster.create(JOBS, {"metadata": {"name": "job1"}, "spec": spec})
    for _ in range(6):
        cluster.advance(1)
        for pod in cluster.pods():
            if pod.obj.facts.node_name and pod.obj.facts.phase == "Pending":
                cluster.set_ready(pod, ready=False, phase="Succeeded")
    status = cluster.get(JOBS, "job1")["status"]
    wanted = GOLDEN["job"]
    assert _status({"status": status})["conditions"] == _status({"status": wanted})["conditions"]
    times = {"startTime", "completionTime", "conditions"}
    assert {k: v for k, v in status.items() if k not in times} == {k: v for k, v in wanted.items() if k not in times}
    assert set(status) == set(wanted)
