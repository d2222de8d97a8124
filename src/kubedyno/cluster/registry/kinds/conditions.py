"""What is wrong with conditions of the common form (meta/v1 Condition)."""

import re
from collections.abc import Sequence

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.rules import one_of, qualified
from kubedyno.kube.status import Cause, duplicate, invalid_value, required, too_long

_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?\Z")
_REASON_TEXT = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters "
    "or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or "
    "'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is "
    "'[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')"
)
_MAX_REASON = 1024
_MAX_MESSAGE = 32 * 1024


def is_true(conditions: Sequence[Object], kind: str) -> bool:
    """Say whether a condition of a type is there with the status "True"."""
    return any(condition.get("type") == kind and condition.get("status") == "True" for condition in conditions)


def condition_causes(conditions: Sequence[Object], path: str) -> list[Cause]:
    """Return what is wrong with a list of conditions at a path."""
    causes: list[Cause] = []
    types: set[str] = set()
    for i, condition in enumerate(conditions):
        kind = condition.get("type", "")
        if kind in types:
            causes.append(duplicate(f"{path}[{i}].type", kind))
        types.add(kind)
        causes += _condition(condition, f"{path}[{i}]")
    return causes


def _condition(condition: Object, path: str) -> list[Cause]:
    causes = qualified(f"{path}.type", condition.get("type", ""))
    causes += one_of(f"{path}.status", condition.get("status", ""), ("False", "True", "Unknown"))
    observed = condition.get("observedGeneration", 0)
    if observed < 0:
        causes.append(invalid_value(f"{path}.observedGeneration", observed, "must be greater than or equal to zero"))
    if not condition.get("lastTransitionTime"):
        causes.append(required(f"{path}.lastTransitionTime"))
    reason = condition.get("reason", "")
    if not reason:
        causes.append(required(f"{path}.reason"))
    elif not _REASON.match(reason):
        causes.append(invalid_value(f"{path}.reason", reason, _REASON_TEXT))
    if len(reason.encode()) > _MAX_REASON:
        causes.append(too_long(f"{path}.reason", _MAX_REASON))
    if len(condition.get("message", "").encode()) > _MAX_MESSAGE:
        causes.append(too_long(f"{path}.message", _MAX_MESSAGE))
    return causes
