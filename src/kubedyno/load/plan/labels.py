"""Labels that tie an object to its run, in both of kube-burner's families.

2.x writes `kube-burner.io/job`, 1.x wrote `kube-burner-job`. Objects carry both, so that delete and patch selectors
written for either version find them.
"""

from collections.abc import Mapping
from typing import Any

# 1.x prefixed these itself; the two that it already wrote with a slash are the same in both versions.
_BOTH = ("uuid", "job", "index", "runid")
ITERATION = "kube-burner.io/job-iteration"
REPLICA = "kube-burner.io/replica"
GROUP = "kube-burner.io/group"
# Kinds whose pods inherit the labels; Job, CronJob and others keep theirs, as in the original.
_WITH_TEMPLATE = frozenset({"DaemonSet", "Deployment", "ReplicaSet", "StatefulSet", "VirtualMachine"})

Json = dict[str, Any]


def namespace_labels(job: str, uuid: str, runid: str, more: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a job's namespaces; `more` are the configuration's and win."""
    own = {"job": job, "uuid": uuid, "runid": runid}
    return {f"{family}{key}": value for family in _FAMILIES for key, value in own.items()} | dict(more)


_FAMILIES = ("kube-burner.io/", "kube-burner-")


def object_labels(job: str, uuid: str, runid: str, index: int, group: int = 0) -> dict[str, str]:
    """Return the labels that all objects of one template share; iteration and replica come with each object."""
    own = {"uuid": uuid, "job": job, "index": str(index), "runid": runid}
    return {f"{family}{key}": own[key] for family in _FAMILIES for key in _BOTH} | {GROUP: str(group)}


def add_labels(body: Json, labels: Mapping[str, str]) -> None:
    """Put labels on an object, where its own win, and all of them on the templates inside of it, where they win."""
    metadata = body.get("metadata")
    own = metadata.get("labels") if isinstance(metadata, dict) else None
    labels = {**labels, **own} if isinstance(own, dict) else labels
    _put(body, labels, "metadata", "labels")
    kind = body.get("kind")
    spec = body.get("spec")
    if kind not in _WITH_TEMPLATE or not isinstance(spec, dict):
        return
    if isinstance(spec.get("template"), dict):
        _put(spec["template"], labels, "metadata", "labels")
        if kind == "StatefulSet":
            _put(spec, labels, "selector", "matchLabels")
    for volume in spec.get("dataVolumeTemplates") or ():
        if isinstance(volume, dict):
            _put(volume, labels, "metadata", "labels")


def _put(place: Json, labels: Mapping[str, str], outer: str, inner: str) -> None:
    for step in (outer, inner):
        if place.get(step) is None:
            place[step] = {}
        place = place[step]
        if not isinstance(place, dict):
            # No mapping: the API's answer says it better than a guess here.
            return
    place.update(labels)
