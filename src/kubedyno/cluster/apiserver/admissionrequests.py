"""What admission is asked about one write, and which policies and webhooks are asked: rules, selectors, equivalents.

Webhooks and policies share both: the AdmissionRequest that one gets is the `request` of the other's expressions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubedyno.cluster.apiserver.authentication import User
from kubedyno.kube.resources import NAMESPACES, Resource
from kubedyno.kube.selectors import LabelSelector

Object = dict[str, Any]
CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"
GROUP = "admissionregistration.k8s.io"
_NAMESPACED, _CLUSTER = "Namespaced", "Cluster"


@dataclass(slots=True)
class Asked:
    """One write, as admission sees it.

    Attributes:
        operation: CREATE, UPDATE, DELETE or CONNECT.
        resource: Whose object, in the version of the request.
        subresource: "" for the object itself.
        shape: (group, version, kind) of `new` and `old`: the resource's, or a subresource's own.
        namespace: "" for cluster-scoped objects; a Namespace's own name.
        name: "" while it is not known.
        new: As it is to be; None for a deletion.
        old: As it is; None for a creation.
        user: Who asks.
        options: CreateOptions and the like.
        dry_run: Nothing will be stored.
        shown: `new` and `old` in versions other than the request's, made when asked for.
    """

    operation: str
    resource: Resource
    subresource: str
    shape: tuple[str, str, str]
    namespace: str
    name: str
    new: Object | None
    old: Object | None
    user: User
    options: Object
    dry_run: bool
    convert: Callable[[Object, Resource], Object] | None = None
    shown: dict[int, tuple[Object | None, Object | None]] = field(default_factory=dict)

    def objects(self, resource: Resource) -> tuple[Object | None, Object | None]:
        """Return the new and the old object in the version of a resource."""
        if resource is self.resource or self.convert is None:
            return self.new, self.old
        made = self.shown.get(id(resource))
        if made is None:
            new, old = (None if obj is None else self.convert(obj, resource) for obj in (self.new, self.old))
            made = self.shown[id(resource)] = (new, old)
        return made

    def changed(self, new: Object) -> None:
        """Take a new version of what is to be written."""
        self.new = new
        self.shown.clear()


@dataclass(frozen=True, slots=True)
class Rule:
    """Which writes of which resources are meant; "*" in a set means all."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    scope: str
    names: frozenset[str]

    @staticmethod
    def of(raw: Mapping[str, Any]) -> "Rule":
        """Return a rule of a configuration."""
        parts = [text.partition("/") for text in raw.get("resources") or ()]
        return Rule(
            frozenset(raw.get("operations") or ()),
            frozenset(raw.get("apiGroups") or ()),
            frozenset(raw.get("apiVersions") or ()),
            tuple((name, sub) for name, _, sub in parts),
            raw.get("scope") or "*",
            frozenset(raw.get("resourceNames") or ()),
        )

    def is_about(self, resource: Resource, subresource: str) -> bool:
        """Say whether it means a resource, whatever is done with it, in any version."""
        if resource.group not in self.groups and "*" not in self.groups:
            return False
        if self.scope != "*" and (self.scope == _NAMESPACED) != (resource.namespaced and resource is not NAMESPACES):
            return False
        return any(
            name in {"*", resource.plural} and sub in {"*", subresource} for name, sub in self.resources
        )  # fmt: skip

    def takes(self, asked: Asked, resource: Resource) -> bool:
        """Say whether it means a write, seen as one of a resource."""
        return (
            (asked.operation in self.operations or "*" in self.operations)
            and (resource.version in self.versions or "*" in self.versions)
            and self.is_about(resource, asked.subresource)
            and (not self.names or asked.name in self.names)
        )


@dataclass(frozen=True, slots=True)
class Match:
    """Which writes a webhook, a policy or a binding is about.

    Attributes:
        rules: One of them has to mean the write; none: all writes are meant (bindings).
        excluded: None of them may mean it.
        exact: Other versions of the same objects are not meant.
        namespaces: Labels of the namespace.
        objects: Labels of the object, as it is or is to be.
    """

    rules: tuple[Rule, ...]
    excluded: tuple[Rule, ...]
    exact: bool
    namespaces: LabelSelector
    objects: LabelSelector

    @staticmethod
    def of(raw: Mapping[str, Any], rules: str = "resourceRules") -> "Match":
        """Return what a configuration says, its rules under a name."""
        return Match(
            tuple(Rule.of(rule) for rule in raw.get(rules) or ()),
            tuple(Rule.of(rule) for rule in raw.get("excludeResourceRules") or ()),
            raw.get("matchPolicy") == "Exact",
            _selector(raw.get("namespaceSelector")),
            _selector(raw.get("objectSelector")),
        )

    def is_about(self, resource: Resource, subresource: str, others: tuple[Resource, ...]) -> bool:
        """Say whether any write of a resource may be meant: false for most, which then cost nothing."""
        versions = (resource,) if self.exact else (resource, *others)
        return not self.rules or any(rule.is_about(each, subresource) for rule in self.rules for each in versions)

    def find(
        self, asked: Asked, others: tuple[Resource, ...], labels_of: Callable[[Asked], Mapping[str, str] | None]
    ) -> Resource | None:
        """Return the resource in whose version a write is meant, None when it is not.

        Args:
            asked: The write.
            others: Other versions of the resource.
            labels_of: Gives the labels of the write's namespace; None where namespaces do not matter.
        """
        versions = (asked.resource,) if self.exact else (asked.resource, *others)
        if any(rule.takes(asked, each) for rule in self.excluded for each in versions):
            return None
        found: Resource | None = asked.resource
        if self.rules:
            found = next((each for each in versions if any(rule.takes(asked, each) for rule in self.rules)), None)
        if found is None:
            return None
        if not self.namespaces.empty:
            labels = labels_of(asked)
            if labels is not None and not self.namespaces.matches(labels):
                return None
        if not self.objects.empty and not any(
            self.objects.matches(_labels(obj)) for obj in (asked.new, asked.old) if obj is not None
        ):
            return None
        return found


def _selector(raw: Mapping[str, Any] | None) -> LabelSelector:
    # A selector that is not there selects everything here.
    return LabelSelector.of(raw or {})


def _labels(obj: Object) -> dict[str, str]:
    return obj.get("metadata", {}).get("labels") or {}


def user_info(user: User) -> Object:
    """Return a user as reviews tell of one."""
    info: Object = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra}
    return info


def request_of(asked: Asked, seen_as: Resource) -> Object:
    """Return the AdmissionRequest of a write, seen in one version; without uid and objects."""
    resource = asked.resource
    group, version, kind = asked.shape
    own = seen_as is resource or (group, version, kind) != (resource.group, resource.version, resource.kind)
    request: Object = {
        "kind": {"group": group, "version": version, "kind": kind}
        if own
        else {"group": seen_as.group, "version": seen_as.version, "kind": seen_as.kind},
        "resource": {"group": seen_as.group, "version": seen_as.version, "resource": seen_as.plural},
        "requestKind": {"group": group, "version": version, "kind": kind},
        "requestResource": {"group": resource.group, "version": resource.version, "resource": resource.plural},
    }
    if asked.subresource:
        request["subResource"] = request["requestSubResource"] = asked.subresource
    if asked.name:
        request["name"] = asked.name
    if asked.namespace:
        request["namespace"] = asked.namespace
    request["operation"] = asked.operation
    request["userInfo"] = user_info(asked.user)
    request["dryRun"] = asked.dry_run
    request["options"] = asked.options or None
    return request
