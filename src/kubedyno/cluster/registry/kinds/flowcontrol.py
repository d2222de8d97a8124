"""flowcontrol.apiserver.k8s.io: which requests share which part of the server."""

from typing import Any

from kubedyno.cluster.registry.cells import NONE, age
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import named, not_negative, one_of
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, required

_MAX_PRECEDENCE = 10000
_EXEMPT = "exempt"


class FlowSchemas(Kind):
    """flowcontrol.apiserver.k8s.io/v1 FlowSchema."""

    status_keeps = METADATA
    metadata_checks = 1
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
            causes += one_of("spec.distinguisherMethod.type", method.get("type", ""), ("ByNamespace", "ByUser"))
        causes += named("spec.priorityLevelConfiguration.name", spec["priorityLevelConfiguration"].get("name", ""))
        for i, rule in enumerate(spec.get("rules", ())):
            causes += _rule(rule, f"spec.rules[{i}]")
        return causes

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
        causes += one_of(f"{path}.subjects[{i}].kind", subject.get("kind", ""), ("Group", "ServiceAccount", "User"))
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        text = "at least one of resourceRules and nonResourceRules has to be non-empty"
        causes.append(required(path, text))
    for i, each in enumerate(rule.get("resourceRules", ())):
        where = f"{path}.resourceRules[{i}]"
        for name in ("verbs", "apiGroups", "resources"):
            if not each.get(name):
                causes.append(required(f"{where}.{name}"))
        if not each.get("namespaces") and not each.get("clusterScope"):
            text = "resource rules that are not cluster scoped must supply at least one namespace"
            causes.append(required(f"{where}.namespaces", text))
    for i, each in enumerate(rule.get("nonResourceRules", ())):
        for name in ("verbs", "nonResourceURLs"):
            if not each.get(name):
                causes.append(required(f"{path}.nonResourceRules[{i}].{name}"))
    return causes


class PriorityLevelConfigurations(Kind):
    """flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration."""

    status_keeps = METADATA
    metadata_checks = 1
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
        causes = one_of("spec.type", kind, ("Exempt", "Limited"))
        if kind == "Exempt" and limited is not None:
            causes.append(forbidden_field("spec.limited", "must be nil if the type is not Limited"))
        if kind == "Limited":
            if exempt is not None:
                causes.append(forbidden_field("spec.exempt", "must be nil if the type is Limited"))
            if limited is None:
                causes.append(required("spec.limited", "must not be empty when type is Limited"))
            else:
                causes += _limited(limited)
        return causes

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
    causes = not_negative(f"{path}.nominalConcurrencyShares", limited["nominalConcurrencyShares"])
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
    percent = limited["lendablePercent"]
    if not 0 <= percent <= 100:
        causes.append(invalid_value(f"{path}.lendablePercent", percent, "must be between 0 and 100, inclusive"))
    return causes
