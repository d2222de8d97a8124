"""Making room for a pod of higher priority: which pods of which node would have to go.

As pkg/scheduler/framework/preemption does: all pods of lower priority are thought away, as many as possible are brought
back, first those whose going would break a disruption budget, the most important first; the node whose victims break
the fewest budgets, then the one whose victims matter least, is chosen.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import orjson

from kubedyno.base.times import epoch_of
from kubedyno.cluster.scheduler.filters import Rejection
from kubedyno.cluster.scheduler.messages import NO_VICTIMS
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import DISRUPTIONBUDGETS
from kubedyno.kube.selectors import LabelSelector

Check = Callable[[NodeInfo], Rejection | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node and the pods that would have to leave it, the most important first.

    Attributes:
        node: The node.
        victims: The pods.
        violations: How many of them go against a disruption budget.
    """

    node: NodeInfo
    victims: Sequence[StoredObject]
    violations: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """A PodDisruptionBudget: pods of `namespace` that it is for, how many may go, and which are going already."""

    namespace: str
    selector: LabelSelector
    allowed: int
    going: frozenset[str]


def budgets_of(store: Store) -> list[Budget]:
    """Return all disruption budgets; one with an empty selector is for no pod here."""
    found = []
    for record in store.list(DISRUPTIONBUDGETS):
        obj = store.encode_dict(DISRUPTIONBUDGETS, record)
        selector, status = LabelSelector.of(obj.get("spec", {}).get("selector")), obj.get("status") or {}
        if selector.empty:
            continue
        going = frozenset(status.get("disruptedPods") or ())
        found.append(Budget(record.obj.namespace, selector, status.get("disruptionsAllowed", 0), going))
    return found


def violating(pods: Iterable[StoredObject], budgets: Sequence[Budget]) -> set[str]:
    """Return the keys of the pods whose going breaks a budget, when they go in this order."""
    if not budgets:
        return set()
    left = [budget.allowed for budget in budgets]
    found = set()
    for pod in pods:
        if not pod.labels:
            continue
        for i, budget in enumerate(budgets):
            if (
                budget.namespace == pod.namespace
                and pod.name not in budget.going
                and budget.selector.matches(pod.labels)
            ):
                left[i] -= 1
                if left[i] < 0:
                    found.add(pod.key)
    return found


def _priority(pod: StoredObject) -> int:
    return int(pod.facts.spec.priority)


def started_s(pod: StoredObject) -> float:
    """Return when a pod started, or infinity while it has not: it counts as the youngest."""
    start = orjson.loads(pod.status or b"{}").get("startTime")
    return epoch_of(start) if start else float("inf")


def victims_on(
    node: NodeInfo, priority: int, check: Check, budgets: Sequence[Budget] = ()
) -> Candidate | tuple[str, ...]:
    """Return whom a node would lose, or the reasons why that would not help.

    Args:
        node: The node.
        priority: The incoming pod's.
        check: Says why the incoming pod does not fit a version of the node, None when it does.
        budgets: Disruption budgets.
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
    protected = violating(lower, budgets)
    victims = []
    for pod in sorted(lower, key=lambda pod: pod.key not in protected):
        if check(node.with_pods([*kept, pod])) is None:
            kept.append(pod)
        else:
            victims.append(pod)
    going = {pod.key for pod in victims}
    return Candidate(node, [pod for pod in lower if pod.key in going], len(going & protected))


def choose(candidates: Iterable[Candidate]) -> Candidate:
    """Return the candidate whose victims matter least.

    The fewest broken budgets, then the lowest of the highest priorities, then the smallest sum of priorities, then the
    fewest, then the one whose most important victim started last; then the node that came first.
    """

    def cost(candidate: Candidate) -> tuple[int, int, int, int, float, int]:
        victims = candidate.victims
        if not victims:
            return (0, -(1 << 32), 0, 0, 0.0, candidate.node.index)
        highest = _priority(victims[0])
        earliest_s = min(started_s(pod) for pod in victims if _priority(pod) == highest)
        # Shifted as the real one does, so that more victims of negative priority do not look cheaper.
        total = sum(_priority(pod) + (1 << 31) for pod in victims)
        return (candidate.violations, highest, total, len(victims), -earliest_s, candidate.node.index)

    return min(candidates, key=cost)
