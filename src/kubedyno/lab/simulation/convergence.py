"""What must hold once nothing disturbs the cluster any more: everything comes to what its objects ask for.

`problems` looks at the whole cluster and names what is not as it should be; `Patience` says which of them have been so
for too long. Nothing here reads what the cluster's parts believe but their health and what kubelets run.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from kubedyno.cluster.kubelet.runs import Stage
from kubedyno.cluster.registry.kinds.podfacts import ENDED, PodFacts
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import (
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    JOBS,
    NODES,
    PODS,
    REPLICASETS,
    SERVICES,
    STATEFULSETS,
    Resource,
)
from kubedyno.lab.simulation.broken import Broken
from kubedyno.lab.simulation.world import World, clock_text
from kubedyno.reconciler.status import ERROR

Json = dict[str, Any]
_SERVICE_NAME = "kubernetes.io/service-name"
_BACKING_OFF = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "CrashLoopBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
# What an operator's own limits refuse is no fault of the reconciler that goes on asking.
_FORBIDDEN = re.compile(r"exceeded quota|is forbidden|forbidden:")
# What a Job waits for at most between two attempts, and its pods until they count.
JOB_BACKOFF_S = 600.0
# (invariant, message, keys): one thing that is not as it should be.
Problem = tuple[str, str, tuple[str, ...]]


class Patience:
    """Which problems have lasted for longer than may be.

    Args:
        settle_s: From the last disturbance, or from when it was first seen, whatever is later.
    """

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._since: dict[tuple[str, tuple[str, ...]], float] = {}

    def judge(self, found: list[Problem], now_s: float, disturbed_s: float) -> Broken | None:
        """Return the first that has lasted too long."""
        keys = {(name, keys) for name, _, keys in found}
        self._since = {key: since_s for key, since_s in self._since.items() if key in keys}
        for name, message, about in found:
            since_s = self._since.setdefault((name, about), now_s)
            allowed_s = JOB_BACKOFF_S + self._settle_s if name == "job-converges" else self._settle_s
            if now_s - max(since_s, disturbed_s) >= allowed_s:
                return Broken(name, f"{message} (so since {clock_text(since_s)})", now_s, about)
        return None

    @property
    def pending(self) -> bool:
        """Something is not as it should be."""
        return bool(self._since)


class View:
    """The cluster at one instant, read once.

    Args:
        world: Of the cluster.
        allow_pending: Pods that no node has room for are as they should be.
    """

    def __init__(self, world: World, *, allow_pending: bool) -> None:
        self._world = world
        self.store: Store = world.store
        self._allow_pending = allow_pending
        self._off = frozenset(name for name in world.cluster.nodes.names() if self._is_off(name))
        self._owned: dict[str, list[ObjectRecord]] = defaultdict(list)
        for pod in self.store.table(PODS).all():
            if pod.obj.owners:
                self._owned[pod.obj.owners[0]].append(pod)

    def _is_off(self, name: str) -> bool:
        return bool(self._world.cluster.nodes.status(name)["state"] != "running")

    def all(self, resource: Resource) -> Iterator[tuple[ObjectRecord, Json]]:
        """Yield the records of a kind that are not being deleted, with what they hold."""
        for record in self.store.table(resource).all():
            if not record.obj.deletion_s:
                yield record, self.store.encode_dict(resource, record, managed=False)

    def pods_of(self, owner: ObjectRecord) -> list[ObjectRecord]:
        """Return an owner's pods that are neither done nor on their way out."""
        return [
            pod for pod in self._owned.get(owner.obj.uid, ())
            if pod.obj.facts.phase not in ENDED and not pod.obj.deletion_s
        ]  # fmt: skip

    def excused(self, pods: list[ObjectRecord], obj: Json | None = None) -> bool:
        """Say whether pods without a node, or pods that were refused, may be what is missing."""
        if not self._allow_pending:
            return False
        conditions = (obj or {}).get("status", {}).get("conditions", ())
        refused = any(one["type"] == "ReplicaFailure" and one["status"] == "True" for one in conditions)
        return refused or not all(bool(pod.obj.facts.node_name) for pod in pods)

    # --- all of it ---------------------------------------------------------------------------------------------

    def problems(self) -> list[Problem]:
        """Return everything that is not as it should be."""
        return [
            *self._deployments(), *self._replica_sets(), *self._stateful_sets(), *self._daemon_sets(), *self._jobs(),
            *self._slices(), *self._orphans(), *self._leaving(), *self._waiting_pods(), *self._kubelets(),
            *self._health(),
        ]  # fmt: skip

    def _deployments(self) -> Iterator[Problem]:
        for record, obj in self.all(DEPLOYMENTS):
            spec, status = obj["spec"], obj.get("status", {})
            wanted = spec.get("replicas", 1)
            if spec.get("paused"):
                continue
            pods = [
                pod for owned in self.store.by_index(REPLICASETS, "owner", record.obj.uid) for pod in self.pods_of(owned)
            ]  # fmt: skip
            if self.excused(pods, obj):
                continue
            has = {name: status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
            late = status.get("observedGeneration", 0) != obj["metadata"]["generation"]
            if late or any(number != wanted for number in has.values()):
                figures = ", ".join(f"{name} {number}" for name, number in has.items())
                told = f"deployment {record.key} asks for {wanted}: {figures}{', not observed' if late else ''}"
                yield "deployment-converges", told, (f"deployments.apps {record.key}",)
            elif len(pods) != wanted or sum(pod.obj.facts.ready for pod in pods) != wanted:
                ready = sum(pod.obj.facts.ready for pod in pods)
                told = f"deployment {record.key} says {wanted} are available: {len(pods)} pods are there, {ready} ready"
                yield "deployment-converges", told, (f"deployments.apps {record.key}",)

    def _replica_sets(self) -> Iterator[Problem]:
        for record, obj in self.all(REPLICASETS):
            wanted, pods = obj["spec"].get("replicas", 1), self.pods_of(record)
            if len(pods) < wanted and self.excused([], obj):
                continue
            said = obj.get("status", {}).get("readyReplicas", 0)
            ready = sum(pod.obj.facts.ready for pod in pods)
            if len(pods) != wanted or said != ready:
                told = f"replicaset {record.key} asks for {wanted}, has {len(pods)}; says {said} are ready, {ready} are"
                yield "replicaset-converges", told, (f"replicasets.apps {record.key}",)

    def _stateful_sets(self) -> Iterator[Problem]:
        for record, obj in self.all(STATEFULSETS):
            wanted, pods = obj["spec"].get("replicas", 1), self.pods_of(record)
            if self.excused(pods):
                continue
            start = obj["spec"].get("ordinals", {}).get("start", 0)
            names = {pod.obj.name for pod in pods}
            ordinals = {f"{record.obj.name}-{number}" for number in range(start, start + wanted)}
            ready = obj.get("status", {}).get("readyReplicas", 0)
            if names != ordinals or ready != wanted or not all(pod.obj.facts.ready for pod in pods):
                told = f"statefulset {record.key} asks for {wanted}: has {', '.join(sorted(names)) or 'none'}; {ready} ready"
                yield "statefulset-converges", told, (f"statefulsets.apps {record.key}",)

    def _daemon_sets(self) -> Iterator[Problem]:
        for record, obj in self.all(DAEMONSETS):
            status, pods = obj.get("status", {}), self.pods_of(record)
            if self.excused(pods):
                continue
            wanted = status.get("desiredNumberScheduled", 0)
            here = [pod for pod in pods if pod.obj.facts.node_name not in self._off]
            nodes = {pod.obj.facts.node_name for pod in pods}
            twice = len(nodes) != len(pods)
            unready = sum(not pod.obj.facts.ready for pod in here)
            away = len(pods) - len(here)
            if twice or unready or len(pods) != wanted or status.get("numberReady", 0) < wanted - away:
                told = (
                    f"daemonset {record.key} asks for {wanted}: {len(pods)} on {len(nodes)} nodes, {unready} not ready"
                )
                yield "daemonset-converges", told, (f"daemonsets.apps {record.key}",)

    def _jobs(self) -> Iterator[Problem]:
        for record, obj in self.all(JOBS):
            status = obj.get("status", {})
            done = any(
                one["type"] in {"Complete", "Failed"} and one["status"] == "True"
                for one in status.get("conditions", ())
            )
            pods = self.pods_of(record)
            if obj["spec"].get("suspend"):
                continue
            if done and pods:
                yield (
                    "job-converges",
                    f"job {record.key} is over and has {len(pods)} pods",
                    (f"jobs.batch {record.key}",),
                )
            elif not done and not pods:
                yield "job-converges", f"job {record.key} is not over and has no pod", (f"jobs.batch {record.key}",)
            elif not done and status.get("active", 0) != len(pods):
                told = f"job {record.key} says {status.get('active', 0)} are active, {len(pods)} are"
                yield "job-converges", told, (f"jobs.batch {record.key}",)

    def _slices(self) -> Iterator[Problem]:
        """Compare the ready addresses of EndpointSlices with the ready pods of their Services."""
        addresses: dict[str, set[str]] = defaultdict(set)
        for record, obj in self.all(ENDPOINTSLICES):
            service = record.obj.labels.get(_SERVICE_NAME)
            if service and obj.get("addressType") == "IPv4":
                addresses[f"{record.obj.namespace}/{service}"].update(
                    address
                    for endpoint in obj.get("endpoints") or ()
                    if (endpoint.get("conditions") or {}).get("ready", True)
                    for address in endpoint["addresses"]
                )
        for record, obj in self.all(SERVICES):
            selector = obj["spec"].get("selector")
            if not selector or obj["spec"].get("publishNotReadyAddresses") or obj["spec"].get("type") == "ExternalName":
                continue
            wanted = set()
            for pod in self.store.list(PODS, record.obj.namespace):
                facts: PodFacts = pod.obj.facts
                labels = pod.obj.labels
                if facts.ready and not pod.obj.deletion_s and all(labels.get(k) == v for k, v in selector.items()):
                    wanted.add(facts.pod_ip)
            found = addresses.get(record.key, set())
            if found != wanted:
                missing, more = len(wanted - found), len(found - wanted)
                told = (
                    f"service {record.key}: {missing} ready pods are missing in its slices, {more} addresses too many"
                )
                yield "slices-match", told, (f"services {record.key}",)

    def _orphans(self) -> Iterator[Problem]:
        """Objects whose owners are all gone."""
        store = self.store
        alive = {record.obj.uid for table in store.tables() for record in table.all()}
        for table in store.tables():
            if table.name == "events":
                continue
            for record in table.all():
                owners = record.obj.owners
                if owners and not record.obj.deletion_s and not any(uid in alive for uid in owners):
                    told = f"{table.name} {record.key} belongs to nobody any more"
                    yield "owner-gone", told, (f"{table.name} {record.key}",)

    def _leaving(self) -> Iterator[Problem]:
        """Objects that are to go and do not, but for what waits for a machine that is off."""
        for table in self.store.tables():
            for record in table.all():
                if not record.obj.deletion_s:
                    continue
                if table.name == "pods" and record.obj.facts.node_name in self._off:
                    continue
                left = ", ".join(record.obj.finalizers) or "none"
                told = f"{table.name} {record.key} is being deleted and stays (finalizers: {left})"
                yield "no-finalizer-left", told, (f"{table.name} {record.key}",)

    def _waiting_pods(self) -> Iterator[Problem]:
        """Pods that a node has room for, and bound ones that never begin."""
        room: dict[str, list[int]] | None = None
        for record in self.store.table(PODS).all():
            obj, facts = record.obj, record.obj.facts
            if obj.deletion_s or facts.phase != "Pending":
                continue
            if facts.node_name:
                if facts.node_name not in self._off and self._should_run(record):
                    told = f"pod {record.key} is on {facts.node_name} and does not start"
                    yield "pod-starts", told, (f"pods {record.key}", f"nodes {facts.node_name}")
                continue
            spec = facts.spec
            plain = not (
                spec.node_selector or spec.has_affinity or spec.gated or spec.host_ports or spec.attached
                or spec.claims_devices or spec.extra_requests or facts.pinned_node
            )  # fmt: skip
            if not plain or spec.scheduler_name != "default-scheduler":
                continue
            if room is None:
                room = self._room()
            for node, (pods, cpu, memory) in room.items():
                if pods >= 1 and cpu >= spec.cpu_milli and memory >= spec.memory_bytes:
                    told = f"pod {record.key} waits, and node {node} has room for it"
                    yield "pod-scheduled", told, (f"pods {record.key}", f"nodes {node}")
                    break

    def _room(self) -> dict[str, list[int]]:
        """Return what is left on nodes that take anybody's pods."""
        from kubedyno.kube.quantity import milli_of, value_of  # noqa: PLC0415 - needed by clusters that are full only

        room: dict[str, list[int]] = {}
        for record, obj in self.all(NODES):
            spec, status = obj["spec"], obj.get("status", {})
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))
            if spec.get("unschedulable") or not ready or spec.get("taints"):
                continue
            has = status["allocatable"]
            room[record.key] = [int(has["pods"]), milli_of(has["cpu"]), value_of(has["memory"])]
        for pod in self.store.table(PODS).all():
            facts: PodFacts = pod.obj.facts
            if facts.node_name in room and facts.phase not in ENDED:
                left = room[facts.node_name]
                left[0] -= 1
                left[1] -= facts.spec.cpu_milli
                left[2] -= facts.spec.memory_bytes
        return room

    def _should_run(self, record: ObjectRecord) -> bool:
        obj = self.store.encode_dict(PODS, record)
        if any(
            set(volume) & {"configMap", "secret", "persistentVolumeClaim"} for volume in obj["spec"].get("volumes", ())
        ):
            return False
        status = obj.get("status", {})
        shown = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
        reasons = {((one.get("state") or {}).get("waiting") or {}).get("reason") for one in shown}
        return not reasons & _BACKING_OFF

    def _kubelets(self) -> Iterator[Problem]:
        """Containers of pods that are no more."""
        table = self.store.table(PODS)
        for key, run in self._world.cluster.nodes.pods.runs.items():
            record = table.get(key)
            if not run.static and not run.node.failed and run.stage < Stage.GONE and (
                record is None or record.obj.uid != run.uid
            ):  # fmt: skip
                yield (
                    "no-leak",
                    f"{run.node.name} runs pod {key}, which is no more",
                    (f"pods {key}", f"nodes {run.node.name}"),
                )

    def _health(self) -> Iterator[Problem]:
        """Reconcilers that go on failing over something."""
        for queue in self._world.pump.reconcilers:
            for name, status in queue.statuses():
                if status.kind is ERROR and not _FORBIDDEN.search(status.error):
                    yield "reconciled", f"{queue.name}: {name}: {status.error}", (f"{queue.name} {name}",)
