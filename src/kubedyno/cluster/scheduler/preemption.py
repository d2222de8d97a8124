"""Making room for a pod of higher priority: which pods of which node would have to go.

As pkg/scheduler/framework/preemption does without disruption budgets: all pods of lower priority are thought away,
as many as possible are brought back, the most important first; the node whose victims matter least is chosen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import orjson

from kubedyno.base.times import epoch_of
from kubedyno.cluster.scheduler.filters import Rejection
from kubedyno.cluster.scheduler.messages import NO_VICTIMS
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo
from kubedyno.cluster.storage.objects import StoredObject

Check = Callable[[NodeInfo], Rejection | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node and the pods that would have to leave it, the most important first."""

    node: NodeInfo
    victims: Sequence[StoredObject]


def _priority(pod: StoredObject) -> int:
    return int(pod.facts.spec.priority)


def started_s(pod: StoredObject) -> float:
    """Return when a pod started, or infinity while it has not: it counts as the youngest."""
    start = orjson.loads(pod.status or b"{}").get("startTime")
    return epoch_of(start) if start else float("inf")


def victims_on(node: NodeInfo, priority: int, check: Check) -> Candidate | tuple[str, ...]:
    """Return whom a node would lose, or the reasons why that would not help.

    Args:
        node: The node.
        priority: The incoming pod's.
        check: Says why the incoming pod does not fit a version of the node, None when it does.
    """
    lower = [pod for pod in node.pods.values() if _priority(pod) < priority]
    if not lower:
        return (NO_VICTIMS,)
    kept = [pod for pod in node.pods.values() if _priority(pod) >= priority]
    rejection = check(node.with_pods(kept))
    if rejection is not None:
        return rejection.reasons
    # The most important first, and of equals the one that runs for longest.
    lower.sort(key=lambda pod: (-_priority(pod), started_s(pod), pod.key))
    victims = []
    for pod in lower:
        if check(node.with_pods([*kept, pod])) is None:
            kept.append(pod)
        else:
            victims.append(pod)
    return Candidate(node, victims)


def choose(candidates: Iterable[Candidate]) -> Candidate:
    """Return the candidate whose victims matter least.

    The lowest of the highest priorities, then the smallest sum of priorities, then the fewest, then the one whose most
    important victim started last; then the node that came first.
    """

    def cost(candidate: Candidate) -> tuple[int, int, int, float, int]:
        victims = candidate.victims
        if not victims:
            return (-(1 << 32), 0, 0, 0.0, candidate.node.index)
        highest = _priority(victims[0])
        earliest_s = min(started_s(pod) for pod in victims if _priority(pod) == highest)
        # Shifted as the real one does, so that more victims of negative priority do not look cheaper.
        total = sum(_priority(pod) + (1 << 31) for pod in victims)
        return (highest, total, len(victims), -earliest_s, candidate.node.index)

    return min(candidates, key=cost)
