"""The words of FailedScheduling, put together as the real scheduler's FitError does."""

from collections.abc import Iterable

NO_NODES = "no nodes available to schedule pods"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NEVER_PREEMPTS = "not eligible due to preemptionPolicy=Never."
VICTIMS_LEAVING = "not eligible due to a terminating pod on the nominated node."
# Said by the plugin for dynamic resources, where it is on: of a pod without claims and of one with some; when it took
# the devices of a claim that only this pod wants and that are in the wrong place; and when a plugin before it had
# refused the pod, so that it knows nothing of it.
NO_CLAIMS = "no new claims to deallocate"
STILL_NOT = "still not schedulable"
DEALLOCATED = "deallocation of ResourceClaim completed"
UNKNOWN_POD = "not found"


def available(nodes: int, reasons: dict[str, int]) -> str:
    """Return "0/N nodes are available: 1 Insufficient cpu, 2 Too many pods."; sorted as texts.

    Args:
        nodes: How many nodes there are.
        reasons: Reason → nodes that gave it.
    """
    parts = sorted(f"{count} {reason}" for reason, count in reasons.items())
    listed = f" {', '.join(parts)}." if parts else ""
    return f"0/{nodes} nodes are available:{listed}"


def counted(reasons: Iterable[Iterable[str]]) -> dict[str, int]:
    """Count reasons over nodes."""
    counts: dict[str, int] = {}
    for of_node in reasons:
        for reason in of_node:
            counts[reason] = counts.get(reason, 0) + 1
    return counts


def refused(nodes: int, message: str) -> str:
    """Return what is said of a pod that a plugin refused before it looked at any node."""
    return f"0/{nodes} nodes are available: {message}."


def unschedulable(first: str, preemption: str | None, claims: str = "") -> str:
    """Return the whole message.

    Args:
        first: From `available` or `refused`.
        preemption: What came of preemption, "" when it was not asked; None when it found victims, and nothing is said.
        claims: What the plugin for dynamic resources says, "" when it is off.
    """
    if preemption is None:
        return first
    if claims == UNKNOWN_POD:
        return f"{first} {claims}"
    later = ", ".join(part for part in (claims, f"preemption: {preemption}" if preemption else "") if part)
    return f"{first} {later}" if later else first
