"""The downward API: what a pod's fields and a container's resources are, as text for a variable or a file.

As `k8s.io/kubernetes/pkg/fieldpath` and `pkg/api/v1/resource` put them.
"""

import json
from typing import Any

from kubedyno.kube.quantity import milli_of, value_of

_CPU = "cpu"


def field_of(pod: dict[str, Any], path: str, facts: dict[str, str]) -> str:
    """Return a field; all labels or annotations are a line each.

    Args:
        pod: The pod.
        path: E.g. "metadata.labels['app']".
        facts: Paths that the pod does not hold, with their values.
    """
    if path in facts:
        return facts[path]
    for kind in ("labels", "annotations"):
        head = f"metadata.{kind}"
        known = pod["metadata"].get(kind) or {}
        if path == head:
            return "\n".join(f"{name}={json.dumps(str(known[name]), ensure_ascii=False)}" for name in sorted(known))
        if path.startswith(f"{head}['"):
            return str(known.get(path[len(head) + 2 : -2], ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def resource_of(container: dict[str, Any], source: dict[str, Any], facts: dict[str, str]) -> str:
    """Return a request or limit in units of its divisor, rounded up; a limit that is not set is what the node can give.

    Args:
        container: Whose.
        source: "resource" (e.g. "limits.cpu") and "divisor", 0 for 1.
        facts: What the node can give: "allocatable.cpu", ….
    """
    kind, _, resource = source["resource"].partition(".")
    known = (container.get("resources") or {}).get(kind) or {}
    missing = facts.get(f"allocatable.{resource}", "0") if kind == "limits" else "0"
    text, divisor = str(known.get(resource, missing)), str(source.get("divisor", "1"))
    amount_of = milli_of if resource == _CPU else value_of
    return str(-(-amount_of(text) // (amount_of(divisor) or amount_of("1"))))
