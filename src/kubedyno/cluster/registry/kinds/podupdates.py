"""What a new version of a pod may not change; texts as the real server's."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.apparmor import PREFIX as APPARMOR
from kubedyno.cluster.registry.kinds.gostruct import difference, go_pod_spec
from kubedyno.cluster.registry.kinds.podvalidation import MIRROR_ANNOTATION, validate_pod_spec
from kubedyno.cluster.registry.kinds.schedulingvalidation import toleration_causes
from kubedyno.kube.gostructs import shown
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, required

# On the API's copy of a static pod.
_MAX_INT32 = 2**31 - 1
_NEED = "requiredDuringSchedulingIgnoredDuringExecution"
_UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod_update(pod: Object, old: Object) -> list[Cause]:
    """Return what is wrong with a new version of a pod."""
    new, before = pod["spec"], old["spec"]
    causes = annotation_update_causes(pod, old)
    if new == before:
        return causes
    causes = validate_pod_spec(new, "spec", pod=pod["metadata"].get("name", "")) + causes
    for name in ("containers", "initContainers"):
        if len(new.get(name, ())) != len(before.get(name, ())):
            return [*causes, forbidden_field(f"spec.{name}", "pod updates may not add or remove containers")]
        causes += _images(new.get(name, ()), f"spec.{name}")
    deadline, was = new.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    where = "spec.activeDeadlineSeconds"
    if deadline is None:
        if was is not None:
            causes.append(invalid_value(where, None, "must not update from a positive integer to nil value"))
    elif not 0 <= deadline <= _MAX_INT32:
        return [*causes, invalid_value(where, deadline, f"must be between 0 and {_MAX_INT32}, inclusive")]
    elif was is not None and deadline > was:
        return [*causes, invalid_value(where, deadline, "must be less than or equal to previous value")]
    causes += _tolerations(new.get("tolerations", ()), before.get("tolerations", ()))
    known = {gate.get("name") for gate in before.get("schedulingGates", ())}
    for i, gate in enumerate(new.get("schedulingGates", ())):
        if gate.get("name") not in known:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'"
            causes.append(forbidden_field(f"spec.schedulingGates[{i}].name", text))
    pinned = _pinned(new, before)
    if before.get("schedulingGates"):
        causes += _narrowed(pinned, before)
    if pinned == before:
        return causes
    return [*causes, forbidden_field("spec", f"{_UPDATE_TEXT}\n{difference(go_pod_spec(before), go_pod_spec(pinned))}")]


def annotation_update_causes(pod: Object, old: Object) -> list[Cause]:
    """Return which annotations may neither come nor go."""
    new, before = (of["metadata"].get("annotations", {}) for of in (pod, old))
    if new == before:
        return []
    causes = []
    for key in sorted(before):
        if new.get(key) != before[key]:
            if key.startswith(APPARMOR):
                text = "may not remove or update AppArmor annotations"
                causes.append(forbidden_field(f"metadata.annotations[{key}]", text))
            elif key == MIRROR_ANNOTATION:
                text = "may not remove or update mirror pod annotation"
                causes.append(forbidden_field(f"metadata.annotations[{key}]", text))
    for key in sorted(new.keys() - before.keys()):
        if key.startswith(APPARMOR):
            causes.append(forbidden_field(f"metadata.annotations[{key}]", "may not add AppArmor annotations"))
        elif key == MIRROR_ANNOTATION:
            causes.append(forbidden_field(f"metadata.annotations[{key}]", "may not add mirror pod annotation"))
    return causes


def _images(containers: list[Object], path: str) -> list[Cause]:
    causes = []
    for i, container in enumerate(containers):
        image = container.get("image", "")
        if not image:
            causes.append(required(f"{path}[{i}].image"))
        if image != image.strip():
            causes.append(invalid_value(f"{path}[{i}].image", image, "must not have leading or trailing whitespace"))
    return causes


def _tolerations(new: list[Object], before: list[Object]) -> list[Cause]:
    if new == before:
        return []
    bare = [{k: v for k, v in toleration.items() if k != "tolerationSeconds"} for toleration in new]
    for toleration in before:
        if {k: v for k, v in toleration.items() if k != "tolerationSeconds"} not in bare:
            text = "existing toleration can not be modified except its tolerationSeconds"
            return [forbidden_field("spec.tolerations", text)]
    return [cause for i, each in enumerate(new) for cause in toleration_causes(each, f"spec.tolerations[{i}]")]


def _pinned(spec: Object, before: Object) -> Object:
    """Return a new spec with the parts that may change as they were."""
    pinned = dict(spec)
    names = ["activeDeadlineSeconds", "tolerations", "schedulingGates"]
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        names.append("terminationGracePeriodSeconds")
    for name in names:
        pinned.pop(name, None)
        if name in before:
            pinned[name] = before[name]
    for name in ("containers", "initContainers"):
        if name in spec:
            pinned[name] = [
                {**container, "image": old.get("image", "")}
                for container, old in zip(spec[name], before.get(name, ()), strict=True)
            ]
    return pinned


def _narrowed(pinned: Object, before: Object) -> list[Cause]:
    """Return what is wrong with how a gated pod's node selector and affinity changed; both become as they were."""
    causes: list[Cause] = []
    selector, was = pinned.get("nodeSelector", {}), before.get("nodeSelector", {})
    if not was.items() <= selector.items():
        text = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        causes.append(invalid_value("spec.nodeSelector", selector or None, text))
    pinned.pop("nodeSelector", None)
    if was:
        pinned["nodeSelector"] = was
    affinity, old = pinned.get("affinity", {}), before.get("affinity", {})
    new, node = affinity.get("nodeAffinity"), old.get("nodeAffinity")
    if new == node:
        return causes
    causes += _terms_changed((new or {}).get(_NEED, {}), (node or {}).get(_NEED, {}))
    kept = {name: value for name, value in affinity.items() if name != "nodeAffinity"}
    if node is not None:
        kept["nodeAffinity"] = node
    pinned.pop("affinity", None)
    if kept or "affinity" in before:
        pinned["affinity"] = kept
    return causes


def _terms_changed(new: Object, before: Object) -> list[Cause]:
    terms, were = new.get("nodeSelectorTerms", []), before.get("nodeSelectorTerms", [])
    where = f"spec.affinity.nodeAffinity.{_NEED}.nodeSelectorTerms"
    if not were:
        return []
    if len(were) != len(terms):
        value = [shown("core.v1.NodeSelectorTerm", term) for term in terms] or None
        return [invalid_value(where, value, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")]
    text = "only additions are allowed (no mutations or deletions)"
    return [
        invalid_value(f"{where}[{i}]", shown("core.v1.NodeSelectorTerm", term), text)
        for i, (term, was) in enumerate(zip(terms, were, strict=True))
        if not _only_added(term, was)
    ]


def _only_added(term: Object, was: Object) -> bool:
    if not any(was.get(member) for member in ("matchExpressions", "matchFields")):
        return not any(term.get(member) for member in ("matchExpressions", "matchFields"))
    return all(
        term.get(member, [])[: len(was.get(member, []))] == was.get(member, [])
        for member in ("matchExpressions", "matchFields")
    )
