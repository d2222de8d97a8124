"""Services of type LoadBalancer: a model of a cloud that gives each an address of the nodes' network."""

import ipaddress
from typing import Any

import orjson

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import SERVICES

_COMPONENT = "service-controller"
FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
# The upper half of the network in which kind's nodes are.
POOL = ipaddress.ip_network("172.18.128.0/17")


class LoadBalancers:
    """The service controller of a cloud; Services that name another class of load balancer are left alone.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "load-balancer", self._reconcile)
        self._trusted = trusted
        self._store = trusted.store
        # Address → the Service that has it; where to look for the next.
        self._taken: dict[str, str] = {}
        self._next = 0
        feeds.follow(SERVICES, self._changed, self._gone)

    def _changed(self, record: ObjectRecord) -> None:
        if b'"type":"LoadBalancer"' in record.obj.body or FINALIZER in record.obj.finalizers:
            for ingress in _ingress(record):
                if ingress.get("ip"):
                    self._taken.setdefault(ingress["ip"], record.key)
            self._queue.add(record.key)

    def _gone(self, record: ObjectRecord) -> None:
        self._release(record.key)
        self._queue.forget(record.key)

    def _release(self, key: str) -> None:
        for address in [address for address, owner in self._taken.items() if owner == key]:
            del self._taken[address]

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(SERVICES, key)
        if record is None:
            return 1
        spec = orjson.loads(b"{" + record.obj.body + b"}")["spec"]
        wanted = spec.get("type") == "LoadBalancer" and not record.obj.deletion_s and not spec.get("loadBalancerClass")
        if wanted and not _ingress(record):
            self._ensure(record, spec)
        elif not wanted and FINALIZER in record.obj.finalizers:
            self._remove(record)
        self._queue.forget(key)
        return 1

    def _ensure(self, record: ObjectRecord, spec: dict[str, Any]) -> None:
        self._event(record, "EnsuringLoadBalancer", "Ensuring load balancer")
        if FINALIZER not in record.obj.finalizers:
            record = self._trusted.replace(SERVICES, record, finalizers=[*record.obj.finalizers, FINALIZER])
        asked = spec.get("loadBalancerIP", "")
        address = asked if asked and asked not in self._taken else self._free()
        self._taken[address] = record.key
        status = orjson.loads(record.obj.status or b"{}")
        status["loadBalancer"] = {"ingress": [{"ip": address, "ipMode": "VIP"}]}
        record = self._trusted.replace_status(SERVICES, record, status)
        self._event(record, "EnsuredLoadBalancer", "Ensured load balancer")

    def _remove(self, record: ObjectRecord) -> None:
        self._event(record, "DeletingLoadBalancer", "Deleting load balancer")
        self._release(record.key)
        if _ingress(record):
            status = orjson.loads(record.obj.status)
            status["loadBalancer"] = {}
            record = self._trusted.replace_status(SERVICES, record, status)
        self._event(record, "DeletedLoadBalancer", "Deleted load balancer")
        left = [name for name in record.obj.finalizers if name != FINALIZER]
        self._trusted.replace(SERVICES, record, finalizers=left)

    def _free(self) -> str:
        size = POOL.num_addresses - 2
        for _ in range(size):
            address = str(POOL[1 + self._next % size])
            self._next += 1
            if address not in self._taken:
                return address
        raise RuntimeError(f"no address is left in {POOL}")

    def _event(self, record: ObjectRecord, reason: str, message: str) -> None:
        self._trusted.event(
            SERVICES, record, type="Normal", reason=reason, message=message, component=_COMPONENT
        )  # fmt: skip


def _ingress(record: ObjectRecord) -> list[dict[str, Any]]:
    if b'"ingress"' not in record.obj.status:
        return []
    return list(orjson.loads(record.obj.status)["loadBalancer"].get("ingress", ()))
