"""Aggregated cluster roles: their rules are those of the roles that their selectors name, kept up to date."""

from typing import Any

import orjson

from kubedyno.base.log import logger
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import CLUSTERROLES
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError


class Aggregation:
    """Writes the rules of aggregated roles.

    Args:
        registry: Where roles are.
        pump: Gives turns.
    """

    def __init__(self, registry: Registry, pump: Pump) -> None:
        self._registry = registry
        self._table = registry.store.table(CLUSTERROLES)
        self._worker = pump.worker("role-aggregation", self._step)
        self._table.subscribe(self._worker.wake)

    def _step(self, limit: int) -> bool:
        _ = limit
        self.run()
        return False

    def run(self) -> None:
        """Bring all aggregated roles up to date; a role that feeds another one settles in a further turn."""
        for record in self._table.all():
            if b'"aggregationRule":' in record.obj.body:
                try:
                    self._bring(record)
                except StatusError as error:
                    logger(__name__).warning("role %s: %s", record.key, error)

    def _bring(self, record: ObjectRecord) -> None:
        role = orjson.loads(b"{" + record.obj.body + b"}")
        selectors = [LabelSelector.of(given) for given in role["aggregationRule"].get("clusterRoleSelectors", ())]
        rules: list[Any] = []
        for other in self._table.all():
            if other.key != record.key and any(selector.matches(other.obj.labels) for selector in selectors):
                body = orjson.loads(b"{" + other.obj.body + b"}")
                rules += [rule for rule in body.get("rules") or () if rule not in rules]
        if rules != (role.get("rules") or []):
            self._registry.modify(CLUSTERROLES, "", record.key, lambda current: {**current, "rules": rules})
