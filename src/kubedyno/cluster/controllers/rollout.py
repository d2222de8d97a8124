"""The arithmetic of a rolling update: how many pods the new and the old ReplicaSets may have now.

Plain numbers in and out. The rules are those of kube-controller-manager (pkg/controller/deployment).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil


@dataclass(slots=True)
class Size:
    """A ReplicaSet as the arithmetic sees it.

    Attributes:
        replicas: spec.replicas.
        available: status.availableReplicas.
        maximum: Its deployment.kubernetes.io/max-replicas, 0 when it has none.
    """

    replicas: int
    available: int = 0
    maximum: int = 0


def amount_of(value: int | str, total: int, *, up: bool) -> int:
    """Return an IntOrString such as 3 or "25%" as a number of `total`, a percentage rounded up or down."""
    if isinstance(value, int):
        return value
    exact = int(value.rstrip("%")) * total / 100
    return ceil(exact) if up else int(exact)


def fenceposts(max_surge: int | str, max_unavailable: int | str, replicas: int) -> tuple[int, int]:
    """Return (surge, unavailable) as numbers; at least one of them allows progress."""
    surge = amount_of(max_surge, replicas, up=True)
    unavailable = amount_of(max_unavailable, replicas, up=False)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def new_replicas(wanted: int, surge: int, new: Size, total: int) -> int:
    """Return how many replicas the new ReplicaSet gets.

    Args:
        wanted: The Deployment's replicas.
        surge: How many more there may be for a while.
        new: The new ReplicaSet.
        total: Replicas of all ReplicaSets, the new one included.
    """
    if new.replicas >= wanted:
        return wanted
    room = wanted + surge - total
    return new.replicas + max(min(room, wanted - new.replicas), 0)


def old_replicas(wanted: int, unavailable: int, new: Size, old: Sequence[Size]) -> list[int]:
    """Return how many replicas each old ReplicaSet gets, so that enough pods stay available.

    Args:
        wanted: The Deployment's replicas.
        unavailable: How many of them may be missing.
        new: The new ReplicaSet.
        old: The old ones, oldest first.
    """
    sizes = [size.replicas for size in old]
    minimum = wanted - unavailable
    room = new.replicas + sum(sizes) - minimum - (new.replicas - new.available)
    if room <= 0 or not sum(sizes):
        return sizes
    # Pods that are not available anyway go first: nobody misses them.
    left = room
    for i, size in enumerate(old):
        unhealthy = min(left, size.replicas - size.available)
        if unhealthy > 0:
            sizes[i] -= unhealthy
            left -= unhealthy
    spare = new.available + sum(size.available for size in old) - minimum
    for i, replicas in enumerate(sizes):
        down = min(replicas, spare)
        if down > 0:
            sizes[i] -= down
            spare -= down
    return sizes


def proportional(wanted: int, surge: int, sizes: Sequence[Size], status_replicas: int) -> list[int]:
    """Return sizes for a Deployment that was scaled in the middle of a rollout: each gets its share.

    Args:
        wanted: The Deployment's new replicas.
        surge: How many more there may be.
        sizes: The active ReplicaSets: largest first, of equal ones the newest first when growing, else the oldest.
        status_replicas: The Deployment's status.replicas, for ReplicaSets that don't know their maximum.
    """
    allowed = wanted + surge if wanted > 0 else 0
    to_add = allowed - sum(size.replicas for size in sizes)
    result, added = [], 0
    for size in sizes:
        share = 0
        if to_add and size.replicas and to_add != added:
            if wanted == 0:
                fraction = -size.replicas
            else:
                before = size.maximum or status_replicas or size.replicas
                # Half away from zero, as Go rounds.
                fraction = int(size.replicas * allowed / before + 0.5) - size.replicas
            left = to_add - added
            share = min(fraction, left) if to_add > 0 else max(fraction, left)
        added += share
        result.append(size.replicas + share)
    if to_add and result:
        result[0] = max(result[0] + to_add - added, 0)
    return result
