"""What makes the status of a PersistentVolumeClaim invalid: amounts, and how far a change of its size is."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.claimvalidation import whole_bytes
from kubedyno.kube.names import problems_of_qualified_name
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, invalid_value, not_supported

_RESIZES = (
    "ControllerResizeInProgress", "ControllerResizeInfeasible", "NodeResizeInProgress", "NodeResizeInfeasible",
    "NodeResizePending",
)  # fmt: skip


def claim_status_causes(status: Object) -> list[Cause]:
    """Return what is wrong with a claim's status."""
    causes = [
        cause
        for name, amount in status.get("capacity", {}).items()
        for cause in _not_negative(f"status.capacity[{name}]", amount)
    ]
    path = "status.allocatedResourceStatuses"
    for name, state in sorted(status.get("allocatedResourceStatuses", {}).items()):
        causes += _key_causes(name, path)
        if state not in _RESIZES:
            causes.append(not_supported(path, name, _RESIZES))
    path = "status.allocatedResources"
    for name, amount in sorted(status.get("allocatedResources", {}).items()):
        where = f"{path}[{name}]"
        causes += _key_causes(name, path) or _not_negative(where, amount) or whole_bytes(where, amount)
    return causes


def _not_negative(path: str, amount: str) -> list[Cause]:
    value = Quantity.parse(amount).value()
    return [invalid_value(path, value, "must be a valid resource quantity")] if value < 0 else []


def _key_causes(name: str, path: str) -> list[Cause]:
    causes = [invalid_value(path, name, p) for p in problems_of_qualified_name(name)]
    native = "/" not in name or "kubernetes.io/" in name
    if causes or not native or name == "storage":
        return causes
    return [not_supported(path, name, ("storage",))]
