"""flowcontrol.apiserver.k8s.io: which requests share which part of the server."""

from typing import Any

from kubedyno.cluster.registry.cells import NONE, age
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import named, one_of, repeated
from kubedyno.kube.names import problems_of_dns1123_label
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_MAX_PRECEDENCE = 10000
_EXEMPT = "exempt"
_METHODS = ("ByNamespace", "ByUser")
_SUBJECTS = {"ServiceAccount": "serviceAccount", "User": "user", "Group": "group"}
_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")


class FlowSchemas(Kind):
    """flowcontrol.apiserver.k8s.io/v1 FlowSchema."""

    metadata_checks = "w"
    status_keeps = METADATA
    has_status = True
    has_generation = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("priorityLevelConfiguration", {})
        if not spec.get("matchingPrecedence"):
            spec["matchingPrecedence"] = 1000

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        precedence = spec["matchingPrecedence"]
        causes: list[Cause] = []
        if precedence <= 0:
            causes.append(invalid_value("spec.matchingPrecedence", precedence, "must be a positive value"))
        elif precedence > _MAX_PRECEDENCE:
            text = f"must not be greater than {_MAX_PRECEDENCE}"
            causes.append(invalid_value("spec.matchingPrecedence", precedence, text))
        if precedence == 1 and obj["metadata"].get("name") != _EXEMPT:
            text = "only the schema named 'exempt' may have matchingPrecedence 1"
            causes.append(invalid_value("spec.matchingPrecedence", precedence, text))
        method = spec.get("distinguisherMethod")
        if method is not None:
            given = method.get("type", "")
            if given not in _METHODS:
                # The real server shows the whole method.
                causes.append(not_supported("spec.distinguisherMethod.type", {"Type": given}, _METHODS))
        level = spec["priorityLevelConfiguration"].get("name", "")
        causes += named("spec.priorityLevelConfiguration.name", level, detail="must reference a priority level")
        for i, rule in enumerate(spec.get("rules", ())):
            causes += _rule(rule, f"spec.rules[{i}]")
        return causes

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        return _condition_types(obj)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        dangling = [c for c in obj.get("status", {}).get("conditions", ()) if c.get("type") == "Dangling"]
        return [
            obj["metadata"]["name"],
            spec.get("priorityLevelConfiguration", {}).get("name", ""),
            spec.get("matchingPrecedence", 0),
            (spec.get("distinguisherMethod") or {}).get("type", NONE),
            age(obj, now_s),
            dangling[0].get("status", "?") if dangling else "?",
        ]


def _rule(rule: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    subjects = rule.get("subjects", ())
    if not subjects:
        causes.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for i, subject in enumerate(subjects):
        causes += _subject(subject, f"{path}.subjects[{i}]")
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        text = "at least one of resourceRules and nonResourceRules has to be non-empty"
        causes.append(required(path, text))
    for i, each in enumerate(rule.get("resourceRules", ())):
        causes += _resource_rule(each, f"{path}.resourceRules[{i}]")
    for i, each in enumerate(rule.get("nonResourceRules", ())):
        where, urls = f"{path}.nonResourceRules[{i}]", each.get("nonResourceURLs", [])
        causes += _verbs(each.get("verbs", []), f"{where}.verbs")
        where += ".nonResourceURLs"
        if not urls:
            causes.append(required(where, "nonResourceURLs must contain at least one value"))
        elif "*" in urls:
            causes += _alone(urls, where, "non-resource URLs")
        else:
            causes += [cause for j, url in enumerate(urls) for cause in _url(url, f"{where}[{j}]")]
    return causes


def _subject(subject: Object, path: str) -> list[Cause]:
    kind = subject.get("kind", "")
    if kind not in _SUBJECTS:
        return one_of(f"{path}.kind", kind, tuple(sorted(_SUBJECTS)))
    member = _SUBJECTS[kind]
    given, where = subject.get(member), f"{path}.{member}"
    if given is None:
        causes = [required(where, f"{member} is required when subject kind is '{kind}'")]
    elif kind != "ServiceAccount":
        causes = [] if given.get("name") else [required(f"{where}.name")]
    else:
        name, namespace = given.get("name", ""), given.get("namespace", "")
        causes = [] if name == "*" else named(f"{where}.name", name)
        causes += named(
            f"{where}.namespace", namespace, problems_of_dns1123_label, "must specify namespace for service account"
        )
    return causes + [
        forbidden_field(f"{path}.{other}", f"{other} is forbidden when subject kind is not '{of}'")
        for of, other in _SUBJECTS.items()
        if of != kind and subject.get(other) is not None
    ]


def _alone(values: list[str], path: str, what: str) -> list[Cause]:
    """Return the cause of other values beside the one that stands for all."""
    if "*" not in values or len(values) == 1:
        return []
    return [invalid_value(path, values, f"if '*' is present, must not specify other {what}")]


def _verbs(verbs: list[str], path: str) -> list[Cause]:
    if not verbs:
        return [required(path, "verbs must contain at least one value")]
    if "*" in verbs:
        return _alone(verbs, path, "verbs")
    return [] if set(verbs) <= set(_VERBS) else [not_supported(path, verbs, _VERBS)]


def _resource_rule(rule: Object, path: str) -> list[Cause]:
    causes = _verbs(rule.get("verbs", []), f"{path}.verbs")
    for member, what, others in (("apiGroups", "api group", "api groups"), ("resources", "resource", "resources")):
        values = rule.get(member, [])
        if not values:
            causes.append(required(f"{path}.{member}", f"resource rules must supply at least one {what}"))
        causes += _alone(values, f"{path}.{member}", others)
    namespaces, where = rule.get("namespaces") or [], f"{path}.namespaces"
    if not namespaces and not rule.get("clusterScope"):
        text = "resource rules that are not cluster scoped must supply at least one namespace"
        causes.append(required(where, text))
    if "*" in namespaces:
        return causes + _alone(namespaces, where, "namespaces")
    text = "each member of this list must be '*' or a DNS-1123 label; "
    return causes + [
        invalid_value(f"{where}[{i}]", namespace, text + problem)
        for i, namespace in enumerate(namespaces)
        for problem in problems_of_dns1123_label(namespace)
    ]


def _url(url: str, path: str) -> list[Cause]:
    if not url:
        problem = "must not be empty"
    elif not url.startswith("/"):
        problem = "must start with slash"
    elif " " in url:
        problem = "must not contain white-space"
    elif "//" in url:
        problem = "must not contain double slash"
    elif url.count("*") > 1 or ("*" in url and not url.endswith("/*")):
        problem = "wildcard can only do suffix matching"
    else:
        return []
    return [invalid_value(path, url, problem)]


def _condition_types(obj: Object) -> list[Cause]:
    causes: list[Cause] = []
    types = [condition.get("type", "") for condition in obj.get("status", {}).get("conditions", ())]
    again = {i for i, _ in repeated(types)}
    for i, kind in enumerate(types):
        where = f"status.conditions[{i}].type"
        if i in again:
            causes.append(duplicate(where, kind))
        if not kind:
            causes.append(required(where))
    return causes


class PriorityLevelConfigurations(Kind):
    """flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration."""

    metadata_checks = "w"
    status_keeps = METADATA
    has_status = True
    has_generation = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("type", "")
        limited, exempt = spec.get("limited"), spec.get("exempt")
        if exempt is not None:
            exempt.setdefault("nominalConcurrencyShares", 0)
            exempt.setdefault("lendablePercent", 0)
        if limited is not None:
            limited.setdefault("nominalConcurrencyShares", 30)
            limited.setdefault("lendablePercent", 0)
            response = limited.setdefault("limitResponse", {})
            response.setdefault("type", "")
            queuing = response.get("queuing")
            if queuing is not None:
                for name, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
                    if not queuing.get(name):
                        queuing[name] = value

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        kind, limited, exempt = spec["type"], spec.get("limited"), spec.get("exempt")
        causes: list[Cause] = []
        if (obj["metadata"].get("name") == _EXEMPT) != (kind == "Exempt"):
            text = "must be 'Exempt' if and only if `name` is 'exempt'"
            causes.append(invalid_value("spec.type", kind, text))
        causes += one_of("spec.type", kind, ("Exempt", "Limited"))
        if kind == "Exempt" and limited is not None:
            causes.append(forbidden_field("spec.limited", "must be nil if the type is not Limited"))
        if kind == "Exempt" and exempt is not None:
            causes += _shares(exempt, "spec.exempt") + _lendable(exempt, "spec.exempt")
        if kind == "Limited":
            if exempt is not None:
                causes.append(forbidden_field("spec.exempt", "must be nil if the type is Limited"))
            if limited is None:
                causes.append(required("spec.limited", "must not be empty when type is Limited"))
            else:
                causes += _limited(limited)
        return causes

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        return _condition_types(obj)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        limited = spec.get("limited") or {}
        shares = limited.get("nominalConcurrencyShares", (spec.get("exempt") or {}).get("nominalConcurrencyShares"))
        queuing = limited.get("limitResponse", {}).get("queuing") or {}
        return [
            obj["metadata"]["name"],
            spec.get("type", ""),
            NONE if shares is None else shares,
            *(queuing.get(name, NONE) for name in ("queues", "handSize", "queueLengthLimit")),
            age(obj, now_s),
        ]


def _limited(limited: Object) -> list[Cause]:
    path = "spec.limited"
    causes = _shares(limited, path)
    response = limited["limitResponse"]
    queuing, where = response.get("queuing"), f"{path}.limitResponse"
    if response["type"] == "Reject":
        if queuing is not None:
            causes.append(
                forbidden_field(f"{where}.queuing", "must be nil if limited.limitResponse.type is not Limited")
            )
    elif response["type"] == "Queue":
        if queuing is None:
            text = "must not be empty if limited.limitResponse.type is Limited"
            causes.append(required(f"{where}.queuing", text))
        else:
            for name in ("queueLengthLimit", "queues", "handSize"):
                if queuing[name] <= 0:
                    causes.append(invalid_value(f"{where}.queuing.{name}", queuing[name], "must be positive"))
            if queuing["handSize"] > queuing["queues"]:
                text = f"should not be greater than queues ({queuing['queues']})"
                causes.append(invalid_value(f"{where}.queuing.handSize", queuing["handSize"], text))
    else:
        causes += one_of(f"{where}.type", response["type"], ("Queue", "Reject"))
    causes += _lendable(limited, path)
    borrowed = limited.get("borrowingLimitPercent", 0)
    if borrowed < 0:
        text = "if specified, must be a non-negative integer"
        causes.append(invalid_value(f"{path}.borrowingLimitPercent", borrowed, text))
    return causes


def _shares(level: Object, path: str) -> list[Cause]:
    shares = level["nominalConcurrencyShares"]
    text = "must be a non-negative integer"
    return [invalid_value(f"{path}.nominalConcurrencyShares", shares, text)] if shares < 0 else []


def _lendable(level: Object, path: str) -> list[Cause]:
    percent = level["lendablePercent"]
    if 0 <= percent <= 100:
        return []
    return [invalid_value(f"{path}.lendablePercent", percent, "must be between 0 and 100, inclusive")]
