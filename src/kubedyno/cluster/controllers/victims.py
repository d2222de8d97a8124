"""Which pods a ReplicaSet gives up first."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

from kubedyno.base.times import epoch_of
from kubedyno.cluster.controllers.podstates import metadata_of, ready_since_s
from kubedyno.cluster.storage.store import ObjectRecord

_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def victims(pods: Sequence[ObjectRecord], related: Sequence[ObjectRecord], count: int) -> list[ObjectRecord]:
    """Return the pods to delete.

    The order is kube-controller-manager's ActivePodsWithRanks: unassigned, then Pending before Unknown before Running,
    not ready, cheap by the annotation, many related pods on their node, ready for a short time, restarted often, young.

    Args:
        pods: The active pods of the ReplicaSet.
        related: Active pods of all ReplicaSets with the same owner.
        count: How many.
    """
    if count >= len(pods):
        return list(pods)
    ranks = Counter(record.obj.facts.node_name for record in related)
    return sorted(pods, key=lambda record: _order(record, ranks))[:count]


def _order(record: ObjectRecord, ranks: Counter[str]) -> tuple[Any, ...]:
    obj = record.obj
    facts = obj.facts
    metadata = metadata_of(obj)
    cost = metadata.get("annotations", {}).get(_COST, "0")
    restarts = 0
    if b'"restartCount"' in obj.status:
        statuses = orjson.loads(obj.status).get("containerStatuses", ())
        restarts = max((s.get("restartCount", 0) for s in statuses), default=0)
    ready_s = (ready_since_s(obj) or 0.0) if facts.ready else 0.0
    return (
        bool(facts.node_name),
        _PHASES.get(facts.phase, 0),
        facts.ready,
        _cost_of(cost),
        -ranks[facts.node_name],
        -ready_s,
        -restarts,
        -epoch_of(metadata["creationTimestamp"]),
        record.key,
    )


def _cost_of(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
