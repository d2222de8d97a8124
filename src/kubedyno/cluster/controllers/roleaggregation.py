"""Aggregated ClusterRoles: their rules are those of all roles that their selectors select."""

from typing import Any

import orjson

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import CLUSTERROLES
from kubedyno.kube.selectors import LabelSelector


class RoleAggregation:
    """The ClusterRole aggregation controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "role-aggregation", self._reconcile)
        self._trusted = trusted
        self._table = trusted.store.table(CLUSTERROLES)
        # Names of the roles that are made of others.
        self._aggregated: dict[str, None] = {}
        feeds.follow(CLUSTERROLES, self._changed, self._gone)

    def _changed(self, record: ObjectRecord) -> None:
        if b'"aggregationRule"' in record.obj.body:
            self._aggregated[record.key] = None
        else:
            self._aggregated.pop(record.key, None)
        self._wake()

    def _gone(self, record: ObjectRecord) -> None:
        self._aggregated.pop(record.key, None)
        self._queue.forget(record.key)
        self._wake()

    def _wake(self) -> None:
        for name in self._aggregated:
            self._queue.add(name)

    def _reconcile(self, name: str, budget: int) -> int:
        _ = budget
        record = self._table.get(name)
        if record is None:
            return 1
        body = orjson.loads(b"{" + record.obj.body + b"}")
        rule = body.get("aggregationRule")
        if rule is None:
            return 1
        selectors = [LabelSelector.of(selector) for selector in rule.get("clusterRoleSelectors", ())]
        rules: list[Any] = []
        for role in self._table.all():
            if role.key != name and any(selector.matches(role.obj.labels) for selector in selectors):
                for granted in orjson.loads(b"{" + role.obj.body + b"}").get("rules") or ():
                    if granted not in rules:
                        rules.append(granted)
        if rules != (body.get("rules") or []):
            body["rules"] = rules or None
            self._trusted.replace(CLUSTERROLES, record, body=body)
        self._queue.forget(name)
        return 4
