"""An audit policy (audit.k8s.io/v1): which requests are written down, and how much of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml
from kubedyno.kube.yaml import YAMLError

if TYPE_CHECKING:
    # Whoever only checks a policy (the command that starts a cluster) need not import the store, which takes 40 ms.
    from kubedyno.cluster.apiserver.authentication import User
    from kubedyno.cluster.apiserver.authorization import Attributes

NONE, METADATA, REQUEST, RESPONSE = "None", "Metadata", "Request", "RequestResponse"
LEVELS = (NONE, METADATA, REQUEST, RESPONSE)
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_VERSIONS = ("audit.k8s.io/v1",)
_POLICY = frozenset({"apiVersion", "kind", "metadata", "omitStages", "omitManagedFields", "rules"})
_RULE = frozenset({
    "level", "users", "userGroups", "verbs", "resources", "namespaces", "nonResourceURLs", "omitStages",
    "omitManagedFields",
})  # fmt: skip
_LISTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages")


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a request is written down: a level, without some stages, perhaps without managedFields."""

    level: str
    omitted: frozenset[str] = frozenset()
    without_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class _Rule:
    extent: Extent
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    urls: tuple[str, ...]
    resources: tuple[tuple[str, tuple[str, ...], frozenset[str]], ...]

    def matches(self, user: "User", asked: "Attributes") -> bool:
        if self.users and user.name not in self.users:
            return False
        if self.groups and not self.groups.intersection(user.groups):
            return False
        if self.verbs and asked.verb not in self.verbs and "*" not in self.verbs:
            return False
        if self.namespaces or self.resources:
            return self._is_about(asked)
        if self.urls:
            return bool(asked.path) and any(_covers(url, asked.path) for url in self.urls)
        return True

    def _is_about(self, asked: "Attributes") -> bool:
        if not asked.resource or (self.namespaces and asked.namespace not in self.namespaces):
            return False
        if not self.resources:
            return True
        for group, resources, names in self.resources:
            if group not in {asked.group, "*"}:
                continue
            if not resources:
                return True
            if (not names or asked.name in names) and any(_names(each, asked) for each in resources):
                return True
        return False


def _covers(url: str, path: str) -> bool:
    return url in {"*", path} or (url.endswith("*") and path.startswith(url[:-1]))


def _names(resource: str, asked: "Attributes") -> bool:
    whole = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    if resource in {"*", whole}:
        return True
    name, slash, part = resource.partition("/")
    if not slash:
        return False
    return (name == "*" and part == asked.subresource != "") or (part == "*" and name == asked.resource)


@dataclass(frozen=True, slots=True)
class AuditPolicy:
    """Rules in their order; the first that matches counts, and without one nothing is written."""

    rules: tuple[_Rule, ...]

    def extent(self, user: "User", asked: "Attributes") -> Extent:
        """Return how much of a request is written down."""
        return next((rule.extent for rule in self.rules if rule.matches(user, asked)), _NOTHING)


_NOTHING = Extent(NONE)
# Without a file: that something was asked, by whom, and what came of it.
_ALL: frozenset[str] = frozenset()
EVERYTHING = AuditPolicy((_Rule(Extent(METADATA), _ALL, _ALL, _ALL, _ALL, (), ()),))


def read_policy(path: Path) -> AuditPolicy:
    """Return the policy of a file.

    Raises:
        KubedynoError: It is none.
    """
    try:
        document = yaml.load(path.read_text())
    except OSError as error:
        raise KubedynoError(f"{path}: {error.strerror}; give the path of an audit policy") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise KubedynoError(f"{path}: {error}; write a Policy of audit.k8s.io/v1") from None
    return policy_of(document, str(path))


def policy_of(document: Any, where: str) -> AuditPolicy:
    """Return the policy of a parsed document.

    Raises:
        KubedynoError: It is none; `where` says of what.
    """
    if not isinstance(document, dict) or document.get("kind") != "Policy":
        raise KubedynoError(f"{where}: is no audit policy; write kind: Policy and apiVersion: audit.k8s.io/v1")
    if document.get("apiVersion") not in _VERSIONS:
        raise KubedynoError(f"{where}: apiVersion: {document.get('apiVersion')} is not known; write audit.k8s.io/v1")
    _known(document, _POLICY, where)
    omitted = _stages(document, where)
    managed = document.get("omitManagedFields") is True
    given = document.get("rules")
    if not isinstance(given, list) or not given:
        raise KubedynoError(f"{where}: rules: a policy has to have at least one; add e.g. - level: Metadata")
    rules = [_rule(rule, f"{where}: rules[{i}]", omitted, managed=managed) for i, rule in enumerate(given)]
    return AuditPolicy(tuple(rules))


def _rule(raw: Any, where: str, omitted: frozenset[str], *, managed: bool) -> _Rule:
    if not isinstance(raw, dict):
        raise KubedynoError(f"{where}: must be a mapping with a level")
    _known(raw, _RULE, where)
    level = raw.get("level")
    if level not in LEVELS:
        raise KubedynoError(f"{where}: level: {level} is none; write one of {', '.join(LEVELS)}")
    for name in _LISTS:
        if not all(isinstance(text, str) for text in _list(raw, name, where)):
            raise KubedynoError(f"{where}: {name}: must be a list of strings")
    if raw.get("nonResourceURLs") and (raw.get("resources") or raw.get("namespaces")):
        raise KubedynoError(f"{where}: a rule is about nonResourceURLs or about resources, not both; split it")
    resources = []
    for i, each in enumerate(_list(raw, "resources", where)):
        if not isinstance(each, dict):
            raise KubedynoError(f"{where}: resources[{i}]: must be a mapping with group and resources")
        at = f"{where}: resources[{i}]"
        _known(each, frozenset({"group", "resources", "resourceNames"}), at)
        names = frozenset(map(str, _list(each, "resourceNames", at)))
        resources.append((str(each.get("group") or ""), tuple(map(str, _list(each, "resources", at))), names))
    own = raw.get("omitManagedFields")
    extent = Extent(level, omitted | _stages(raw, where), own if isinstance(own, bool) else managed)
    return _Rule(
        extent,
        frozenset(_list(raw, "users", where)),
        frozenset(_list(raw, "userGroups", where)),
        frozenset(_list(raw, "verbs", where)),
        frozenset(_list(raw, "namespaces", where)),
        tuple(_list(raw, "nonResourceURLs", where)),
        tuple(resources),
    )


def _list(raw: Mapping[str, Any], name: str, where: str) -> list[Any]:
    value = raw.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise KubedynoError(f"{where}: {name}: must be a list")
    return value


def _stages(raw: Mapping[str, Any], where: str) -> frozenset[str]:
    stages = _list(raw, "omitStages", where)
    for stage in stages:
        if stage not in STAGES:
            raise KubedynoError(f"{where}: omitStages: {stage} is none; write some of {', '.join(STAGES)}")
    return frozenset(stages)


def _known(raw: Mapping[str, Any], names: frozenset[str], where: str) -> None:
    unknown = sorted(str(name) for name in raw if name not in names)
    if unknown:
        raise KubedynoError(f"{where}: {unknown[0]} is not known; write some of {', '.join(sorted(names))}")
