"""Ranges of Services' addresses: ready at once, and kept while addresses come from them alone."""

import ipaddress

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.allocation import IPADDRESSES, SERVICECIDRS
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue

FINALIZER = "networking.k8s.io/service-cidr-finalizer"
_READY = "Kubernetes Service CIDR is ready"
_IN_USE = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)  # fmt: skip


class ServiceCIDRs:
    """The controller of ServiceCIDRs.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._store = trusted.store
        self._queue: WorkQueue[str] = WorkQueue(pump, "service-cidrs", self._reconcile)
        # Those that are being deleted and wait for addresses to go.
        self._waiting: set[str] = set()
        feeds.follow(SERVICECIDRS, lambda record: self._queue.add(record.key), self._gone)
        feeds.follow(IPADDRESSES, lambda _: None, lambda _: self._look_again())

    def _gone(self, record: ObjectRecord) -> None:
        self._waiting.discard(record.key)
        self._queue.forget(record.key)

    def _look_again(self) -> None:
        for key in self._waiting:
            self._queue.add(key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(SERVICECIDRS, key)
        if record is None:
            return 1
        held = FINALIZER in record.obj.finalizers
        if not record.obj.deletion_s:
            if not held:
                record = self._trusted.replace(
                    SERVICECIDRS, record, finalizers=[*record.obj.finalizers, FINALIZER]
                )  # fmt: skip
            self._tell(record, "True", "", _READY)
        elif held and self._is_in_use(record):
            self._waiting.add(key)
            self._tell(record, "False", "Terminating", _IN_USE)
        elif held:
            self._waiting.discard(key)
            others = [name for name in record.obj.finalizers if name != FINALIZER]
            self._trusted.replace(SERVICECIDRS, record, finalizers=others)
        return 1

    def _tell(self, record: ObjectRecord, status: str, reason: str, message: str) -> None:
        kept: Object = orjson.loads(record.obj.status or b"{}")
        conditions = [c for c in kept.get("conditions") or () if c.get("type") != "Ready"]
        before: Object = next((c for c in kept.get("conditions") or () if c.get("type") == "Ready"), {})
        if (before.get("status"), before.get("reason"), before.get("message")) == (status, reason, message):
            return
        at = before.get("lastTransitionTime") if before.get("status") == status else None
        new = {"type": "Ready", "status": status, "reason": reason, "message": message}
        new["lastTransitionTime"] = at or rfc3339(self._trusted.registry.clock.now())
        self._trusted.replace_status(SERVICECIDRS, record, {**kept, "conditions": [*conditions, new]})

    def _is_in_use(self, record: ObjectRecord) -> bool:
        """Say whether there are addresses in a range that no other range covers."""
        others = [
            network
            for other in self._store.list(SERVICECIDRS)
            if other.key != record.key and not other.obj.deletion_s
            for network in self._networks(other)
        ]
        left = [
            network
            for network in self._networks(record)
            if not any(
                int(of.network_address) <= int(network.network_address)
                and int(network.broadcast_address) <= int(of.broadcast_address)
                for of in others
                if of.version == network.version
            )
        ]
        addresses = [ipaddress.ip_address(of.obj.name) for of in self._store.list(IPADDRESSES)] if left else []
        return any(address in network for network in left for address in addresses)

    def _networks(self, record: ObjectRecord) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        spec = self._store.encode_dict(SERVICECIDRS, record)["spec"]
        return [ipaddress.ip_network(cidr, strict=False) for cidr in spec.get("cidrs", ())]
