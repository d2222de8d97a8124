"""Admission of what the cluster's own parts write: policies at once, webhooks while the writer's key waits.

A controller's step awaits nothing. Where a webhook has to be asked about its write, the write is kept with the question,
the controller's key is postponed, and when the answer is there the key's next turn finds it: the same write passes with
what was kept (name and uid included), another one is asked about anew.
"""

import re
from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base import aio
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
# Answers that nobody has come back for in so long say nothing of a like write now.
_FRESH_S = 60.0


class _Kept:
    """A write that webhooks are asked about."""

    __slots__ = ("gate", "new", "settled_s", "waiting")

    def __init__(self, gate: RequestGate, new: Object | None) -> None:
        self.gate = gate
        self.new = new
        self.settled_s: float | None = None
        self.waiting: list[Callable[[], None]] = []

    def then(self, wake: Callable[[], None]) -> None:
        """Call something when the answers are there."""
        if self.settled_s is not None:
            wake()
        elif wake not in self.waiting:
            self.waiting.append(wake)

    def settle(self, now_s: float) -> None:
        """Say that they are."""
        self.settled_s = now_s
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
        self._tasks = aio.Tasks("asking webhooks about the cluster's own write")
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
        """Return a write that was kept, once: its answers are there. None when there is none, or it is too old.

        Raises:
            Postponed: They are not.
        """
        kept = self._kept.get(mark)
        if kept is None:
            return None
        if kept.settled_s is None:
            raise Postponed(kept.then)
        del self._kept[mark]
        return None if self._is_old(kept) else kept

    def _now_s(self) -> float:
        return self.admission.registry.clock.monotonic()

    def _is_old(self, kept: _Kept) -> bool:
        return kept.settled_s is not None and self._now_s() - kept.settled_s > _FRESH_S

    def postpone(self, mark: bytes, gate: RequestGate, new: Object | None, needed: ReviewsNeeded) -> Postponed:
        """Keep a write, have webhooks asked about it, and return what to raise."""
        while self._kept and (len(self._kept) >= _MAX_KEPT or self._is_old(next(iter(self._kept.values())))):
            self._kept.pop(next(iter(self._kept))).settle(self._now_s())
        kept = self._kept[mark] = _Kept(gate, new)
        self._tasks.spawn(self._ask(kept, needed))
        return Postponed(kept.then)

    async def _ask(self, kept: _Kept, needed: ReviewsNeeded) -> None:
        try:
            await self.admission.settle(needed, kept.gate)
        finally:
            kept.settle(self._now_s())

    def close(self) -> None:
        """Ask no more."""
        self._tasks.cancel()


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
