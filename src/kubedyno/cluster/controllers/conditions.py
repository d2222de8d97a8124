"""Conditions of a status: lists of dicts with a type, a status and times, changed by the rules of Deployments."""

from typing import Any

Condition = dict[str, Any]


def find(conditions: list[Condition], type: str) -> Condition | None:
    """Return the condition of that type."""
    return next((c for c in conditions if c["type"] == type), None)


def made(type: str, status: str, reason: str, message: str, now: str) -> Condition:
    """Return a new condition of a Deployment."""
    return {
        "type": type, "status": status, "lastUpdateTime": now, "lastTransitionTime": now, "reason": reason,
        "message": message,
    }  # fmt: skip


def put(conditions: list[Condition], new: Condition, *, refresh: bool = False) -> list[Condition]:
    """Return the conditions with a new one at the end in place of that of its type.

    One with the same status and reason stays as it is, unless `refresh`; with the same status the transition time
    stays.
    """
    old = find(conditions, new["type"])
    if old is not None:
        if not refresh and old["status"] == new["status"] and old.get("reason") == new["reason"]:
            return conditions
        if old["status"] == new["status"]:
            new = {**new, "lastTransitionTime": old.get("lastTransitionTime", new["lastTransitionTime"])}
    return [*without(conditions, new["type"]), new]


def without(conditions: list[Condition], type: str) -> list[Condition]:
    """Return the conditions without that of a type."""
    return [c for c in conditions if c["type"] != type]
