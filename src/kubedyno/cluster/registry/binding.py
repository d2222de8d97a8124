"""Assigning a pod to a node: spec.nodeName and the PodScheduled condition in one version."""

from typing import Any, cast

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry.codec import with_parts
from kubedyno.cluster.registry.kinds.podfacts import PodFacts
from kubedyno.cluster.registry.leanpod import SPEC, LeanPod
from kubedyno.cluster.storage.objects import StoredObject, packed
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.status import BadRequest, Conflict, StatusError

_NO_CONDITIONS = b'{"phase":"Pending","qosClass":'


def _conflict(pod: str, why: str) -> Conflict:
    return Conflict(
        f'Operation cannot be fulfilled on pods/binding "{pod}": {why}', {"name": pod, "kind": "pods/binding"}
    )


def node_of(name: str, binding: Any) -> str:
    """Return the node that a Binding names for a pod.

    Raises:
        StatusError: It names none, or another pod.
    """
    target = binding.get("target") or {} if isinstance(binding, dict) else {}
    given = binding.get("metadata", {}).get("name", "") if isinstance(binding, dict) else ""
    if given != name:
        raise BadRequest("name in URL does not match name in Binding object")
    if target.get("kind", "") not in {"", "Node"}:
        text = f'target.kind: Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
        raise StatusError(text, code=500, reason="")
    if not target.get("name"):
        raise StatusError("target.name: Required value", code=500, reason="")
    return str(target["name"])


def bound(record: ObjectRecord, node: str, now_s: float) -> StoredObject:
    """Return a pod's version that is assigned to a node.

    Args:
        record: The pod's newest version.
        node: The node's name.
        now_s: Epoch seconds, for the condition.

    Raises:
        Conflict: It is assigned, being deleted, or has scheduling gates.
    """
    obj = record.obj
    facts: PodFacts = obj.facts
    if facts.node_name:
        raise _conflict(obj.name, f'pod {obj.name} is already assigned to node "{facts.node_name}"')
    if obj.deletion_s:
        raise _conflict(obj.name, f"pod {obj.name} is being deleted, cannot be assigned to a host")
    if facts.spec.gated:
        raise _conflict(obj.name, f"pod {obj.name} has non-empty .spec.schedulingGates")
    stamp = rfc3339(now_s).encode()
    status = obj.status
    if status.startswith(_NO_CONDITIONS):
        status = (
            b'{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"True","lastProbeTime":null,'
            b'"lastTransitionTime":"%b"}],"qosClass":%b' % (stamp, status[len(_NO_CONDITIONS) :])
        )
    else:
        status = _with_condition(status, stamp.decode())
    new = PodFacts(node, facts.phase, facts.ready, facts.pod_ip, facts.spec, facts.pinned_node)
    if isinstance(obj, LeanPod):
        return cast("StoredObject", obj.with_status(status, new))
    body = obj.body
    assert body.startswith(SPEC)
    body = SPEC + b'"nodeName":"%b",%b' % (node.encode(), body[len(SPEC) :])
    return with_parts(obj, body=body, status=status, facts=new)


def _with_condition(status: bytes, now: str) -> bytes:
    parsed = orjson.loads(status)
    scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    conditions = parsed.get("conditions", [])
    parsed["conditions"] = [c for c in conditions if c.get("type") != "PodScheduled"] + [scheduled]
    return packed(parsed)
