"""Texts that several kinds' table rows share."""

from typing import Any

from kubedyno.base.times import epoch_of, human_duration
from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.selectors import LabelSelector

NONE = "<none>"
UNKNOWN = "<unknown>"


def since(text: str | None, now_s: float) -> str:
    """Return how long ago an RFC 3339 time was, as kubectl's AGE."""
    return human_duration(now_s - epoch_of(text)) if text else UNKNOWN


def age(obj: Object, now_s: float) -> str:
    """Return an object's age."""
    return since(obj["metadata"].get("creationTimestamp"), now_s)


def labels_text(labels: dict[str, str] | None) -> str:
    """Return labels as "a=b,c=d", sorted, or "<none>"."""
    return ",".join(f"{k}={v}" for k, v in sorted(labels.items())) if labels else NONE


def selector_text(selector: dict[str, Any] | None) -> str:
    """Return a LabelSelector's text, or "<none>"."""
    return str(LabelSelector.of(selector)) or NONE if selector else NONE


def containers_of(template: Object) -> tuple[str, str]:
    """Return the names and the images of a pod template's containers, each joined by commas."""
    containers = template.get("spec", {}).get("containers") or ()
    return ",".join(c.get("name", "") for c in containers), ",".join(c.get("image", "") for c in containers)
