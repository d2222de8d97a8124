"""What must hold after every commit: pods and their nodes, addresses, room, quotas, jobs, budgets, revisions.

The one idea: rows of our own, kept from what is committed and from nothing that the cluster's parts believe. A check
costs some microseconds a commit. Nothing is raised, for a commit runs in the call of whoever wrote; the first thing that
does not hold is kept.
"""

from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.cluster.kubelet.runs import Stage
from kubedyno.cluster.registry.codec import meta_dict
from kubedyno.cluster.registry.kinds.podfacts import ENDED, PodFacts
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.quantity import Quantity, milli_of, value_of
from kubedyno.kube.resources import DISRUPTIONBUDGETS, PODS, RESOURCEQUOTAS
from kubedyno.kube.selectors import LabelSelector
from kubedyno.lab.simulation.broken import Broken
from kubedyno.lab.simulation.world import World
from kubedyno.statedb.records import Tombstone

_JOBS = "jobs.batch"
_MIRROR = b'"kubernetes.io/config.mirror"'
_EVICTED = b'"EvictionByEvictionAPI"'


class PodRow:
    """What is known of a pod from its commits."""

    __slots__ = (
        "address",
        "counted",
        "cpu_milli",
        "deleting",
        "direct",
        "ended",
        "key",
        "memory_bytes",
        "node",
        "owner",
        "uid",
    )

    def __init__(self, key: str, uid: str) -> None:
        self.key = key
        self.uid = uid
        self.node = ""
        self.address = ""
        self.owner = ""
        # The phase that it has ended in, "" while it has not.
        self.ended = ""
        # Takes room on its node.
        self.counted = False
        self.deleting = False
        # It was created with a node, or is a static one: no scheduler looked at it.
        self.direct = False
        self.cpu_milli = self.memory_bytes = 0


class NodeRoom:
    """What the pods of a node take of it, and what it has."""

    __slots__ = ("cpu_milli", "has", "memory_bytes", "pods")

    def __init__(self) -> None:
        self.pods = self.cpu_milli = self.memory_bytes = 0
        # pods, cpu in thousandths, bytes of memory; None while its Node is not there.
        self.has: tuple[int, int, int] | None = None


class Checks:
    """Invariants of every commit.

    Args:
        world: What is listened to.
        on_broken: Called with the first thing that does not hold.
    """

    def __init__(self, world: World, on_broken: Callable[[Broken], None]) -> None:
        self._world = world
        self._on_broken = on_broken
        self._revisions: dict[str, int] = {}
        self.pods: dict[str, PodRow] = {}
        self._rooms: dict[str, NodeRoom] = {}
        # Address → uid of the living pod that has it.
        self._addresses: dict[str, str] = {}
        # uid of a Job → its pods that take part; its parallelism.
        self._active: dict[str, set[str]] = {}
        self._parallelism: dict[str, tuple[str, int]] = {}
        self._quotas: dict[str, list[tuple[str, dict[str, Quantity]]]] = {}
        # False while followers are held back: who has not heard of a loss cannot heed it.
        self.informed = True
        world.listen(self._committed)

    def _fail(self, invariant: str, message: str, *keys: str) -> None:
        self._on_broken(Broken(invariant, message, self._world.now_s, keys))

    # --- what is committed -------------------------------------------------------------------------------------

    def _committed(self, table: str, record: ObjectRecord) -> None:
        before = self._revisions.get(table, 0)
        if record.revision <= before:
            self._fail(
                "revision-monotone", f"{table}: revision {record.revision} follows {before}", f"{table} {record.key}"
            )
        self._revisions[table] = record.revision
        if table == "pods":
            self._pod(record)
        elif table == "nodes":
            self._node(record)
        elif table == _JOBS:
            self._job(record)
        elif table == "resourcequotas":
            self._quota(record)

    def _node(self, record: ObjectRecord) -> None:
        room = self._rooms.setdefault(record.key, NodeRoom())
        if type(record) is Tombstone:
            room.has = None
            return
        allocatable = orjson.loads(record.obj.status or b"{}").get("allocatable")
        if allocatable:
            memory = value_of(allocatable["memory"])
            room.has = int(allocatable["pods"]), milli_of(allocatable["cpu"]), memory

    def _job(self, record: ObjectRecord) -> None:
        obj = record.obj
        if type(record) is Tombstone:
            self._parallelism.pop(obj.uid, None)
            return
        spec = orjson.loads(b"{" + obj.body + b"}")["spec"]
        self._parallelism[obj.uid] = record.key, int(spec.get("parallelism", 1))

    def _quota(self, record: ObjectRecord) -> None:
        namespace = record.obj.namespace
        self._quotas[namespace] = found = []
        for other in self._world.store.list(RESOURCEQUOTAS, namespace):
            spec = orjson.loads(b"{" + other.obj.body + b"}")["spec"]
            if spec.get("scopes") or spec.get("scopeSelector"):
                continue
            found.append((other.obj.name, {name: Quantity.parse(text) for name, text in spec.get("hard", {}).items()}))

    # --- pods --------------------------------------------------------------------------------------------------

    def _pod(self, record: ObjectRecord) -> None:
        obj = record.obj
        row = self.pods.get(record.key)
        if type(record) is Tombstone:
            if row is not None:
                self._uncount(row)
                self._release(row)
                del self.pods[record.key]
            self._removed(record)
            return
        facts: PodFacts = obj.facts
        created = row is None or row.uid != obj.uid
        if row is not None and row.uid != obj.uid:
            self._fail(
                "pod-replaced", f"pod {record.key} has become another one without being deleted", f"pods {record.key}"
            )
            self._uncount(row)
            self._release(row)
        if created:
            row = self._created(record, facts)
        assert row is not None
        node = facts.node_name
        if row.node and node != row.node:
            told = f"pod {record.key} was on node {row.node} and is now on {node or 'none'}"
            self._fail("one-node", told, f"pods {record.key}", f"nodes {row.node}")
        if row.ended and facts.phase != row.ended:
            told = f"pod {record.key} had ended ({row.ended}) and is {facts.phase} again"
            self._fail("ended-for-good", told, f"pods {record.key}", f"nodes {node}")
        row.ended = facts.phase if facts.phase in ENDED else ""
        bound = node and not row.node
        row.node = node
        deleting = bool(obj.deletion_s)
        if deleting and not row.deleting and _EVICTED in (obj.status or b""):
            self._evicted(record)
        row.deleting = deleting
        self._take_room(row, facts, bound=bool(bound) and not row.direct)
        self._take_address(row, facts)
        self._take_part(row, facts)
        if created:
            self._check_quota(record)

    def _removed(self, record: ObjectRecord) -> None:
        """A pod's object goes only when its containers have ended, unless it was forced: names may come again."""
        run = self._world.cluster.nodes.pods.runs.get(record.key)
        obj = record.obj
        if run is None or run.uid != obj.uid or run.static or run.stage >= Stage.COMPLETED:
            return
        if run.node.failed or not obj.deletion_s or not meta_dict(obj).get("deletionGracePeriodSeconds"):
            return
        told = f"pod {record.key} is gone, and its containers still run on {run.node.name}"
        self._fail("one-ordinal", told, f"pods {record.key}", f"nodes {run.node.name}")

    def _created(self, record: ObjectRecord, facts: PodFacts) -> PodRow:
        obj = record.obj
        row = self.pods[record.key] = PodRow(record.key, obj.uid)
        row.owner = obj.owners[0] if obj.owners else ""
        row.direct = bool(facts.node_name) or _MIRROR in obj.meta
        row.cpu_milli, row.memory_bytes = facts.spec.cpu_milli, facts.spec.memory_bytes
        return row

    def _uncount(self, row: PodRow) -> None:
        if row.counted:
            room = self._rooms[row.node]
            room.pods -= 1
            room.cpu_milli -= row.cpu_milli
            room.memory_bytes -= row.memory_bytes
            row.counted = False

    def _release(self, row: PodRow) -> None:
        if row.address and self._addresses.get(row.address) == row.uid:
            del self._addresses[row.address]
        row.address = ""
        if row.owner in self._active:
            self._active[row.owner].discard(row.uid)

    def _take_room(self, row: PodRow, facts: PodFacts, *, bound: bool) -> None:
        """Count a pod on its node; a pod that the scheduler has put there has to fit."""
        counts = bool(row.node) and facts.phase not in ENDED
        if not counts:
            self._uncount(row)
            return
        if row.counted:
            if (row.cpu_milli, row.memory_bytes) == (facts.spec.cpu_milli, facts.spec.memory_bytes):
                return
            # Resized in place.
            self._uncount(row)
            row.cpu_milli, row.memory_bytes = facts.spec.cpu_milli, facts.spec.memory_bytes
        room = self._rooms.setdefault(row.node, NodeRoom())
        row.counted = True
        room.pods += 1
        room.cpu_milli += row.cpu_milli
        room.memory_bytes += row.memory_bytes
        if not bound or room.has is None:
            return
        key = f"pods {row.key}", f"nodes {row.node}"
        if room.pods > room.has[0]:
            self._fail(
                "max-pods", f"node {row.node} takes {room.has[0]} pods and got {room.pods}, the last {row.key}", *key
            )
        elif room.cpu_milli > room.has[1] and row.cpu_milli:
            told = f"node {row.node} has {room.has[1]}m CPU, requests are {room.cpu_milli}m with {row.key}"
            self._fail("node-resources", told, *key)
        elif room.memory_bytes > room.has[2] and row.memory_bytes:
            told = f"node {row.node} has {room.has[2]} bytes of memory, requests are {room.memory_bytes} with {row.key}"
            self._fail("node-resources", told, *key)

    def _take_address(self, row: PodRow, facts: PodFacts) -> None:
        address = facts.pod_ip if facts.phase not in ENDED and not facts.spec.host_network else ""
        if address == row.address:
            return
        if row.address and self._addresses.get(row.address) == row.uid:
            del self._addresses[row.address]
        row.address = address
        if not address:
            return
        holder = self._addresses.setdefault(address, row.uid)
        if holder != row.uid:
            other = next((pod for pod in self.pods.values() if pod.uid == holder), None)
            name = other.key if other is not None else holder
            told = f"address {address} is that of pods {name} and {row.key}, both alive"
            self._fail("one-address", told, f"pods {row.key}", f"pods {name}", f"nodes {row.node}")

    def _take_part(self, row: PodRow, facts: PodFacts) -> None:
        """Count a Job's pods that are neither done nor on their way out."""
        known = self._parallelism.get(row.owner)
        if known is None:
            return
        active = self._active.setdefault(row.owner, set())
        if facts.phase in ENDED or row.deleting:
            active.discard(row.uid)
            return
        if row.uid in active:
            return
        active.add(row.uid)
        key, parallelism = known
        # A pod whose creation got no answer, and that no watch tells of, is made again.
        if len(active) > parallelism and self.informed:
            told = f"job {key} runs {len(active)} pods at once, its parallelism is {parallelism}"
            self._fail("job-parallelism", told, f"{_JOBS} {key}", f"pods {row.key}")

    # --- quotas and budgets --------------------------------------------------------------------------------------

    def _check_quota(self, record: ObjectRecord) -> None:
        """After a pod was created, compare what its namespace has with what it may have."""
        namespace = record.obj.namespace
        quotas = self._quotas.get(namespace)
        if not quotas:
            return
        used = {"pods": 0, "cpu": 0, "memory": 0, "count/pods": 0}
        for other in self._world.store.list(PODS, namespace):
            facts: PodFacts = other.obj.facts
            used["count/pods"] += 1
            if facts.phase not in ENDED:
                used["pods"] += 1
                used["cpu"] += facts.spec.cpu_milli
                used["memory"] += facts.spec.memory_bytes
        for name, hard in quotas:
            for resource, limit in hard.items():
                short = resource.removeprefix("requests.")
                if short not in used:
                    continue
                allowed = limit.milli_value() if short == "cpu" else limit.value()
                if used[short] > allowed:
                    told = f"quota {namespace}/{name}: {resource} is {used[short]} with {record.key}, hard is {allowed}"
                    self._fail("quota", told, f"pods {record.key}", f"resourcequotas {namespace}/{name}")

    def _evicted(self, record: ObjectRecord) -> None:
        """Look whether an eviction leaves its budget enough ready pods."""
        if not self.informed:
            return
        store, namespace = self._world.store, record.obj.namespace
        for budget in store.list(DISRUPTIONBUDGETS, namespace):
            parsed: dict[str, Any] = orjson.loads(b"{" + budget.obj.body + b"}")
            selector = LabelSelector.of(parsed["spec"].get("selector"))
            if not selector.matches(record.obj.labels):
                continue
            wanted = orjson.loads(budget.obj.status or b"{}").get("desiredHealthy", 0)
            healthy = sum(
                1
                for pod in store.list(PODS, namespace)
                if pod.obj.facts.ready and not pod.obj.deletion_s and selector.matches(pod.obj.labels)
            )
            if record.obj.facts.ready and healthy < wanted:
                told = f"budget {budget.key} wants {wanted} healthy pods; evicting {record.key} leaves {healthy}"
                self._fail(
                    "disruption-budget", told, f"pods {record.key}", f"{DISRUPTIONBUDGETS.group_resource} {budget.key}"
                )

    # --- once in a while ---------------------------------------------------------------------------------------

    def look(self) -> None:
        """Compare what kubelets run with what is committed; at instants at which nobody is in the middle of something."""
        nodes = self._world.cluster.nodes
        for key, run in nodes.pods.runs.items():
            row = self.pods.get(key)
            if row is None or row.uid != run.uid or run.static:
                continue
            if row.node and run.node.name != row.node:
                told = f"pod {key} is bound to {row.node}, and the kubelet of {run.node.name} runs it"
                self._fail("one-node", told, f"pods {key}", f"nodes {row.node}")


__all__ = ["Checks", "NodeRoom", "PodRow"]
