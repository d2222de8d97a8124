"""rbac.authorization.k8s.io: roles and who has them."""

from typing import Any

from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.gostruct import go_role_ref
from kubedyno.cluster.registry.kinds.rules import one_of
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.names import problems_of_dns1123_subdomain, problems_of_path_segment
from kubedyno.kube.status import Cause, invalid_value, not_supported, required

GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("ServiceAccount", "User", "Group")


def _rule_causes(rule: Object, path: str, *, namespaced: bool) -> list[Cause]:
    causes: list[Cause] = []
    if not rule.get("verbs"):
        causes.append(required(f"{path}.verbs", "verbs must contain at least one value"))
    urls = rule.get("nonResourceURLs")
    if urls:
        if namespaced:
            text = "namespaced rules cannot apply to non-resource URLs"
            causes.append(invalid_value(f"{path}.nonResourceURLs", urls, text))
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            text = "rules cannot apply to both regular resources and non-resource URLs"
            causes.append(invalid_value(f"{path}.nonResourceURLs", urls, text))
        return causes
    if not rule.get("apiGroups"):
        causes.append(required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.get("resources"):
        causes.append(required(f"{path}.resources", "resource rules must supply at least one resource"))
    return causes


class Roles(Kind):
    """rbac.authorization.k8s.io/v1 Role, and with `namespaced` false ClusterRole."""

    metadata_checks = "wu"
    rows_null = True
    create_on_update = True
    name_problems = staticmethod(problems_of_path_segment)

    def default(self, obj: Object) -> None:
        obj.setdefault("rules", None)

    def validate(self, obj: Object) -> list[Cause]:
        namespaced = self.resource.namespaced
        causes: list[Cause] = []
        for i, rule in enumerate(obj["rules"] or ()):
            causes += _rule_causes(rule, f"rules[{i}]", namespaced=namespaced)
        aggregation = obj.get("aggregationRule")
        if aggregation is not None:
            path, selectors = "aggregationRule.clusterRoleSelectors", aggregation.get("clusterRoleSelectors", ())
            if not selectors:
                causes.append(required(path, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
            for i, selector in enumerate(selectors):
                wrong = selector_causes(selector, f"{path}[{i}]")
                causes += [*wrong, invalid_value(f"{path}[{i}]", None, "invalid label selector.")] if wrong else []
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        return [obj["metadata"]["name"], obj["metadata"].get("creationTimestamp", "")]


class RoleBindings(Kind):
    """rbac.authorization.k8s.io/v1 RoleBinding, and with `namespaced` false ClusterRoleBinding."""

    metadata_checks = "wu"
    create_on_update = True
    name_problems = staticmethod(problems_of_path_segment)

    def default(self, obj: Object) -> None:
        reference = obj.setdefault("roleRef", {})
        if not reference.get("apiGroup"):
            reference["apiGroup"] = GROUP
        for subject in obj.get("subjects", ()):
            if not subject.get("apiGroup") and subject.get("kind") in {"User", "Group"}:
                subject["apiGroup"] = GROUP

    def validate(self, obj: Object) -> list[Cause]:
        namespaced = self.resource.namespaced
        reference = obj["roleRef"]
        causes: list[Cause] = []
        if reference["apiGroup"] != GROUP:
            causes.append(not_supported("roleRef.apiGroup", reference["apiGroup"], (GROUP,)))
        kinds = ("Role", "ClusterRole") if namespaced else ("ClusterRole",)
        causes += one_of("roleRef.kind", reference.get("kind", ""), kinds)
        name = reference.get("name", "")
        if not name:
            causes.append(required("roleRef.name"))
        else:
            causes += [invalid_value("roleRef.name", name, p) for p in problems_of_path_segment(name)]
        for i, subject in enumerate(obj.get("subjects", ())):
            causes += _subject_causes(subject, f"subjects[{i}]", namespaced=namespaced)
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        if obj["roleRef"] != old["roleRef"]:
            causes.append(invalid_value("roleRef", go_role_ref(obj["roleRef"]), "cannot change roleRef"))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        reference = obj.get("roleRef", {})
        by_kind: dict[str, list[str]] = {kind: [] for kind in _SUBJECTS}
        for subject in obj.get("subjects", ()):
            name = subject.get("name", "")
            if subject.get("kind") == "ServiceAccount":
                name = f"{subject.get('namespace', '')}/{name}"
            by_kind.setdefault(subject.get("kind", ""), []).append(name)
        return [
            obj["metadata"]["name"],
            f"{reference.get('kind', '')}/{reference.get('name', '')}",
            age(obj, now_s),
            *(", ".join(by_kind[kind]) for kind in ("User", "Group", "ServiceAccount")),
        ]


def _subject_causes(subject: Object, path: str, *, namespaced: bool) -> list[Cause]:
    kind, name, group = subject.get("kind", ""), subject.get("name", ""), subject.get("apiGroup", "")
    causes: list[Cause] = []
    if not name:
        causes.append(required(f"{path}.name"))
    if kind == "ServiceAccount":
        if name:
            causes += [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1123_subdomain(name)]
        if group:
            causes.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            causes.append(required(f"{path}.namespace"))
    elif kind in {"User", "Group"}:
        if group != GROUP:
            causes.append(not_supported(f"{path}.apiGroup", group, (GROUP,)))
    else:
        causes.append(not_supported(f"{path}.kind", kind, _SUBJECTS))
    return causes
