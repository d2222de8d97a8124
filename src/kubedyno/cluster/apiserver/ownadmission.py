"""Admission of what the cluster's own parts write: policies at once, webhooks while the writer's key waits.

A controller's step awaits nothing. Where a webhook has to be asked about its write, the write is kept with the question,
the controller's key is postponed, and when the answer is there the key's next turn finds it: the same write passes with
what was kept (name and uid included), another one is asked about anew.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.cluster.apiserver.admission import SERVICE_ACCOUNT, Admission, RequestGate, service_account
from kubedyno.cluster.apiserver.admissionwebhooks import ReviewsNeeded
from kubedyno.cluster.apiserver.authentication import AUTHENTICATED, User
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import Resource
from kubedyno.reconciler.keyed import Postponed, in_turn

# As whom controllers create what objects of a kind own.
_OWNER = re.compile(rb'"kind":"(\w+)"')
_CONTROLLERS = {
    "ReplicaSet": "replicaset-controller", "Deployment": "deployment-controller", "Job": "job-controller",
    "StatefulSet": "statefulset-controller", "DaemonSet": "daemon-set-controller", "CronJob": "cronjob-controller",
    "ReplicationController": "replication-controller", "Service": "endpointslice-controller",
}  # fmt: skip
# As whom they change what nobody owns.
_KEEPERS = {
    "clusterroles": "clusterrole-aggregation-controller", "configmaps": "root-ca-cert-publisher",
    "deployments": "deployment-controller", "endpoints": "endpoint-controller",
    "endpointslices": "endpointslicemirroring-controller", "namespaces": "namespace-controller",
    "nodes": "node-controller", "persistentvolumeclaims": "persistent-volume-binder",
    "persistentvolumes": "persistent-volume-binder", "services": "service-controller",
}  # fmt: skip
_MANAGER = User("system:kube-controller-manager", (AUTHENTICATED,))
# What is another one each time the same is written: times, and the name of the token's volume.
_CHANCE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z|kube-api-access-\w{5}")
# Writes with answers that nobody has come back for: the oldest go first.
_MAX_KEPT = 4096


class _Kept:
    """A write that webhooks are asked about."""

    __slots__ = ("gate", "new", "settled", "waiting")

    def __init__(self, gate: RequestGate, new: Object | None) -> None:
        self.gate = gate
        self.new = new
        self.settled = False
        self.waiting: list[Callable[[], None]] = []

    def then(self, wake: Callable[[], None]) -> None:
        """Call something when the answers are there."""
        if self.settled:
            wake()
        elif wake not in self.waiting:
            self.waiting.append(wake)

    def settle(self) -> None:
        """Say that they are."""
        self.settled = True
        for wake in self.waiting:
            wake()
        self.waiting.clear()


class OwnAdmission:
    """Gives gates to what the cluster's own parts write.

    Args:
        admission: All policies and webhooks.
    """

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self._kept: dict[bytes, _Kept] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        admission.registry.own_gate = self.gate

    def gate(self, resource: Resource, owners: bytes) -> "OwnWrite | None":
        """Return what an object of the cluster's own parts has to pass; None when nothing is about it, as mostly.

        Args:
            resource: Of the object.
            owners: Its ownerReferences as JSON, which tell whose it is, or the metadata that they are in.
        """
        if not self.admission.is_about(resource):
            return None
        kind = _OWNER.search(owners, max(owners.find(b'"ownerReferences":'), 0))
        keeper = _KEEPERS.get(resource.plural, "")
        account = _CONTROLLERS.get(kind[1].decode(), keeper) if kind is not None else keeper
        return OwnWrite(self, service_account(f"{SERVICE_ACCOUNT}kube-system:{account}") if account else _MANAGER)

    def take(self, mark: bytes) -> _Kept | None:
        """Return a write that was kept, once: its answers are there.

        Raises:
            Postponed: They are not.
        """
        kept = self._kept.get(mark)
        if kept is not None:
            if not kept.settled:
                raise Postponed(kept.then)
            del self._kept[mark]
        return kept

    def postpone(self, mark: bytes, gate: RequestGate, new: Object | None, needed: ReviewsNeeded) -> Postponed:
        """Keep a write, have webhooks asked about it, and return what to raise."""
        while len(self._kept) >= _MAX_KEPT:
            self._kept.pop(next(iter(self._kept))).settle()
        kept = self._kept[mark] = _Kept(gate, new)
        task = asyncio.get_running_loop().create_task(self._ask(kept, needed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return Postponed(kept.then)

    async def _ask(self, kept: _Kept, needed: ReviewsNeeded) -> None:
        try:
            await self.admission.settle(needed, kept.gate)
        finally:
            kept.settle()

    def close(self) -> None:
        """Ask no more."""
        for task in list(self._tasks):
            task.cancel()


class OwnWrite:
    """One write's way: see `registry.gate.OwnGate`.

    Args:
        own: Where writes are kept.
        user: Who writes.
    """

    __slots__ = ("_own", "_user")

    def __init__(self, own: OwnAdmission, user: User) -> None:
        self._own = own
        self._user = user

    def passed(self, kind: Kind, new: Object | None, old: ObjectRecord | None) -> Object:
        """See `registry.gate.OwnGate`."""
        own = self._own
        # Whoever writes outside of a turn cannot come again.
        hooked = in_turn() and own.admission.has_webhooks
        kept: _Kept | None = None
        mark = b""
        if hooked:
            mark = _mark(kind.resource, new, old)
            kept = own.take(mark)
        if kept is not None:
            gate, new = kept.gate, kept.new
        else:
            gate = RequestGate(own.admission, self._user, "", [], {}, None, hooked=hooked)
        try:
            wanted = new if new is None else gate.mutated(kind, "", new, old)
            gate.check(kind, "", wanted, old)
        except ReviewsNeeded as needed:
            raise own.postpone(mark, gate, new, needed) from None
        return wanted or {}


def _mark(resource: Resource, new: Object | None, old: ObjectRecord | None) -> bytes:
    """Return what two attempts at the same write have in common."""
    what: list[Any] = [resource.group_resource, resource.version, "" if old is None else old.obj.uid]
    if new is not None:
        metadata = {key: value for key, value in new["metadata"].items() if key not in {"uid", "resourceVersion"}}
        if metadata.get("generateName"):
            metadata.pop("name", None)
        what.append({**new, "metadata": metadata})
    return _CHANCE.sub(b"", orjson.dumps(what, option=orjson.OPT_SORT_KEYS))
