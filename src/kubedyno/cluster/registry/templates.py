"""Pod templates ready to be stamped out: admitted once, cut at what differs from pod to pod.

A workload's pods differ in name, uid, time and the suffix of their token volume; all else is shared bytes and facts.
"""

from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.base.random import Random
from kubedyno.cluster.registry.admission import PodClasses, admit_pod
from kubedyno.cluster.registry.kinds import apparmor
from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts, spec_facts
from kubedyno.cluster.registry.kinds.podqos import qos_class
from kubedyno.cluster.registry.kinds.podspec import default_pod_spec, match_label_keys
from kubedyno.cluster.storage.objects import packed

# Stands in for a node's name where a template is pinned to one; no valid name has capitals.
_NODE = "KUBEDYNO-NODE"
_SUFFIX = "KUBEDYNO-SUFFIX"
_HOST_NAME_FIELD = "metadata.name"
# About 3 KB each.
_CACHE = 4096


@dataclass(frozen=True, slots=True)
class OwnerRef:
    """The controller that a pod belongs to; `json` is the whole ownerReferences array."""

    api_version: str
    kind: str
    name: str
    uid: str
    json: bytes

    @staticmethod
    def of(api_version: str, kind: str, name: str, uid: str) -> "OwnerRef":
        """Return the reference that a controller sets: controller and blockOwnerDeletion are true."""
        return OwnerRef(api_version, kind, name, uid, packed([owner_reference(api_version, kind, name, uid)]))


def owner_reference(api_version: str, kind: str, name: str, uid: str) -> dict[str, Any]:
    """Return a controller's owner reference as JSON."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A pod template, ready for `Trusted.create_pod`; made by `Trusted.pod_template`.

    Attributes:
        labels: metadata.labels, shared by all pods.
        annotations: metadata.annotations.
        finalizers: metadata.finalizers.
        meta: The JSON members of both with a leading comma, b"" when there are none.
        body: The spec's JSON, cut where the token volume's suffix goes.
        status: A new pod's status.
        facts: Of the spec.
        pinned: The pods go to one node each, named when they are made.
        node_name: spec.nodeName: they are bound as they are made.
    """

    labels: dict[str, str]
    annotations: dict[str, str]
    finalizers: tuple[str, ...]
    meta: bytes
    body: tuple[bytes, ...]
    status: bytes
    facts: PodSpecFacts
    pinned: bool
    node_name: str = ""


def members(labels: dict[str, str], annotations: dict[str, str]) -> bytes:
    """Return the members of a pod's metadata that come from its template, with a leading comma."""
    meta = b""
    if labels:
        meta += b',"labels":' + orjson.dumps(labels)
    if annotations:
        meta += b',"annotations":' + orjson.dumps(annotations)
    return meta


@dataclass(frozen=True, slots=True)
class PodShape:
    """What templates of one spec share, whatever their labels: thousands of Deployments may differ in nothing else."""

    body: tuple[bytes, ...]
    status: bytes
    facts: PodSpecFacts


class Templates:
    """Makes templates ready, each spec once.

    Args:
        random: For the admission.
        classes: What pods get by the name of a class.
    """

    def __init__(self, random: Random, classes: PodClasses) -> None:
        self._random = random
        self._classes = classes
        self._shapes: dict[tuple[bytes, bool], PodShape] = {}

    def clear(self) -> None:
        """Forget what was made: a class has changed."""
        self._shapes.clear()

    def of(self, template: dict[str, Any], *, pinned: bool) -> PodTemplate:
        """Return a template in its ready form.

        Args:
            template: A PodTemplateSpec as a workload has it; not changed.
            pinned: Add the required affinity for one node that a DaemonSet's pods have.

        Raises:
            Forbidden: Its priority class does not exist.
        """
        metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
        labels, annotations = metadata.get("labels", {}), metadata.get("annotations", {})
        # What of the metadata the spec may depend on: the admission's exceptions and affinity by the labels' values.
        depends = annotations or ("affinity" in spec and labels)
        text = packed([metadata, spec] if depends else spec)
        shape = self._shapes.get((text, pinned))
        if shape is None:
            if len(self._shapes) >= _CACHE:
                self._shapes.clear()
            shape = self._shapes[text, pinned] = _shape(
                metadata, orjson.loads(orjson.dumps(spec)), self._random, self._classes, pinned
            )
        return PodTemplate(
            labels,
            annotations,
            tuple(metadata.get("finalizers", ())),
            members(labels, annotations),
            shape.body,
            shape.status,
            shape.facts,
            pinned,
            spec.get("nodeName", ""),
        )


def _shape(
    metadata: dict[str, Any], spec: dict[str, Any], random: Random, classes: PodClasses, pinned: bool
) -> PodShape:
    default_pod_spec(spec, pod=True)
    if pinned:
        _pin(spec)
    apparmor.adopt(metadata, spec)
    admit_pod({"metadata": metadata, "spec": spec}, random, classes, volume_suffix=_SUFFIX)
    match_label_keys(spec, metadata.get("labels", {}))
    body = b'"spec":' + orjson.dumps(spec)
    return PodShape(
        tuple(body.split(_SUFFIX.encode())), packed({"phase": "Pending", "qosClass": qos_class(spec)}), spec_facts(spec)
    )


def body_of(template: PodTemplate, suffix: str, node: str, hostname: str) -> bytes:
    """Return a pod's body.

    Args:
        template: Its template.
        suffix: Of its token volume.
        node: The node it is pinned to, where the template is pinned.
        hostname: Its hostname, "" for none.
    """
    body = suffix.encode().join(template.body) if len(template.body) > 1 else template.body[0]
    if template.pinned:
        body = body.replace(_NODE.encode(), node.encode())
    if hostname:
        body = b'"spec":{"hostname":"%b",%b' % (hostname.encode(), body[len(b'"spec":{') :])
    return body


def _pin(spec: dict[str, Any]) -> None:
    """Require one node by name, in each term of the affinity that there is already."""
    field = {"key": _HOST_NAME_FIELD, "operator": "In", "values": [_NODE]}
    node_affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
    required = node_affinity.setdefault("requiredDuringSchedulingIgnoredDuringExecution", {})
    terms = required.setdefault("nodeSelectorTerms", [])
    if not terms:
        terms.append({})
    for term in terms:
        # The rule of the daemon set controller: its field requirement replaces any other.
        term["matchFields"] = [field]
