"""The words of FailedScheduling, put together as the real scheduler's FitError does."""

from collections.abc import Iterable

NO_NODES = "no nodes available to schedule pods"
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
NEVER_PREEMPTS = "not eligible due to preemptionPolicy=Never."
VICTIMS_LEAVING = "not eligible due to a terminating pod on the nominated node."
# Said by the plugin for dynamic resources, where it is on, of a pod without claims.
_NO_CLAIMS = "no new claims to deallocate"
_DYNAMIC_RESOURCES_GATE = "DynamicResourceAllocation"
_DYNAMIC_RESOURCES_MINOR = 34


def dynamic_resources(minor: int, gates: dict[str, bool]) -> bool:
    """Say whether the plugin for dynamic resources is on in a version."""
    return gates.get(_DYNAMIC_RESOURCES_GATE, minor >= _DYNAMIC_RESOURCES_MINOR)


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


def unschedulable(first: str, preemption: str | None, *, claims: bool) -> str:
    """Return the whole message.

    Args:
        first: From `available`.
        preemption: What came of preemption; None when it found victims, and nothing is said.
        claims: The plugin for dynamic resources is on.
    """
    if preemption is None:
        return first
    return f"{first} {_NO_CLAIMS}, preemption: {preemption}" if claims else f"{first} preemption: {preemption}"
