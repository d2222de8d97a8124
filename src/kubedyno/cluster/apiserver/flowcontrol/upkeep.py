"""What the server itself does to flow control's objects: it says which schemas have a level, and keeps its own ones there.

Every minute, as the real one does: bootstrap objects that are gone come back, and those whose annotation says so get
their spec back; `exempt` and `catch-all` always do.
"""

from functools import partial
from typing import Any

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.flowcontrol.gate import FLOWSCHEMAS, GROUP, PRIORITYLEVELS
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.status import NotFound, StatusError

PERIOD_S = 60.0
_AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
_MANDATORY = frozenset({"exempt", "catch-all"})
_PRODUCER = "api-priority-and-fairness-config-producer-v1"
_CONSUMER = "api-priority-and-fairness-config-consumer-v1"


class Upkeep:
    """Looks after the objects.

    Args:
        registry: Where they are.
        pump: Gives turns.
        clock: Of conditions.
    """

    def __init__(self, registry: Registry, pump: Pump, clock: Clock) -> None:
        self._registry = registry
        self._store = registry.store
        self._pump = pump
        self._clock = clock
        self._worker = pump.worker("flow-schemas", self._step)
        for resource in (FLOWSCHEMAS, PRIORITYLEVELS):
            self._store.table(resource).subscribe(self._worker.wake)
        pump.call_later(PERIOD_S, self._ensure)

    def _step(self, limit: int) -> bool:
        _ = limit
        self.tell()
        return False

    def tell(self) -> None:
        """Bring the schemas' conditions up to date."""
        for record in self._store.table(FLOWSCHEMAS).all():
            try:
                self._tell(record)
            except StatusError as error:
                logger(__name__).warning("flow schema %s: %s", record.key, error)

    def _tell(self, record: ObjectRecord) -> None:
        spec = orjson.loads(b"{" + record.obj.body + b"}").get("spec") or {}
        level = (spec.get("priorityLevelConfiguration") or {}).get("name", "")
        found = self._store.get(PRIORITYLEVELS, level) is not None
        text = f"This FlowSchema references the PriorityLevelConfiguration object named {orjson.dumps(level).decode()} "
        condition = {
            "type": "Dangling",
            "status": "False" if found else "True",
            "reason": "Found" if found else "NotFound",
            "message": text + ("and it exists" if found else "but there is no such object"),
        }
        told: list[dict[str, Any]] = orjson.loads(record.obj.status or b"{}").get("conditions") or []
        old: dict[str, Any] = next((one for one in told if one.get("type") == "Dangling"), {})
        if {**old, **condition} == old:
            return
        same = old.get("status") == condition["status"]
        since = old.get("lastTransitionTime") if same else None
        condition["lastTransitionTime"] = since or rfc3339(self._clock.now())
        others = [one for one in told if one.get("type") != "Dangling"]

        def change(current: dict[str, Any]) -> dict[str, Any]:
            return {**current, "status": {**(current.get("status") or {}), "conditions": [*others, condition]}}

        self._registry.modify(FLOWSCHEMAS, "", record.key, change, manager=_CONSUMER, subresource="status")

    def _ensure(self) -> None:
        self._pump.call_later(PERIOD_S, self._ensure)
        self.ensure()

    def ensure(self) -> None:
        """Bring bootstrap objects back as they were made."""
        for document in bootstrap_objects():
            if document["apiVersion"].startswith(GROUP):
                name = document["metadata"]["name"]
                resource = FLOWSCHEMAS if document["kind"] == FLOWSCHEMAS.kind else PRIORITYLEVELS
                try:
                    if self._store.get(resource, name) is None:
                        self._registry.create(resource, "", document, manager=_PRODUCER)
                    else:
                        self._registry.modify(resource, "", name, partial(_kept, document), manager=_PRODUCER)
                except NotFound:
                    # Deleted just now: it comes back the next time.
                    continue
                except StatusError as error:
                    logger(__name__).warning("%s %s: %s", document["kind"], name, error)


def _kept(made: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Return an object with the spec that it was made with, unless somebody has taken it over."""
    annotations = now["metadata"].get("annotations") or {}
    if made["metadata"]["name"] in _MANDATORY or annotations.get(_AUTOUPDATE) == "true":
        return {**now, "spec": made["spec"]}
    return now
