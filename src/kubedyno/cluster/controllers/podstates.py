"""What a workload controller asks of its pods, as small numbers that can be counted without looking at pods again."""

from typing import Any

import orjson

from kubedyno.base.times import epoch_of
from kubedyno.cluster.registry.kinds.podfacts import ENDED, PodFacts
from kubedyno.cluster.storage.objects import StoredObject

# Bits of a pod's state. A pod that has ended and is not being deleted has none.
ACTIVE = 1
READY = 2
TERMINATING = 4
LABELLED = 8


def state_of(obj: StoredObject, template_labels: dict[str, str]) -> int:
    """Return a pod's bits.

    Args:
        obj: The pod.
        template_labels: Of its owner's template: a pod that has them all is LABELLED.
    """
    if obj.deletion_s:
        return TERMINATING
    facts: PodFacts = obj.facts
    if facts.phase in ENDED:
        return 0
    state = ACTIVE | READY if facts.ready else ACTIVE
    labels = obj.labels
    if labels is template_labels or template_labels.items() <= labels.items():
        state |= LABELLED
    return state


def ready_since_s(obj: StoredObject) -> float | None:
    """Return the epoch seconds since when a pod is ready, None when it is not. Parses its status."""
    status = orjson.loads(obj.status or b"{}")
    for condition in status.get("conditions", ()):
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            text = condition.get("lastTransitionTime")
            return epoch_of(text) if text else 0.0
    return None


def available_in_s(obj: StoredObject, min_ready_s: int, now_s: float) -> float | None:
    """Return in how many seconds a pod counts as available: 0 when it is, None when it is not even ready."""
    if not obj.facts.ready:
        return None
    if not min_ready_s:
        return 0.0
    since_s = ready_since_s(obj)
    return None if since_s is None else max(since_s + min_ready_s - now_s, 0.0)


def metadata_of(obj: StoredObject) -> dict[str, Any]:
    """Return a stored object's metadata as a dict. Parses it."""
    return dict(orjson.loads(b"{" + obj.meta + b"}"))
