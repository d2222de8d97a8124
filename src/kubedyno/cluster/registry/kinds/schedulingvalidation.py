"""What is wrong with the parts of a pod spec that the scheduler reads: tolerations, affinity, spread; and DNS."""

import ipaddress
from functools import lru_cache

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.names import (
    problems_of_dns1123_label,
    problems_of_dns1123_subdomain,
    problems_of_label_value,
    problems_of_qualified_name,
    problems_of_search_path,
)
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_IP_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
# Tolerations that are remembered, and how long they may be.
_REMEMBERED, _SHORT = 1024, 256
_MAX_NAMESERVERS, _MAX_SEARCHES, _MAX_SEARCH_LIST = 3, 32, 2048


def ip_causes(path: str, text: str) -> list[Cause]:
    """Return what is wrong with an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return [invalid_value(path, text, _IP_TEXT)]
    return []


def dns_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a spec's DNS; `path` is the spec's."""
    config, where = spec.get("dnsConfig"), f"{path}.dnsConfig"
    none = spec.get("dnsPolicy") == "None"
    if config is None:
        return [required(where, "must provide `dnsConfig` when `dnsPolicy` is None")] if none else []
    servers, searches = config.get("nameservers", []), config.get("searches", [])
    if none and not servers:
        text = "must provide at least one DNS nameserver when `dnsPolicy` is None"
        return [required(f"{where}.nameservers", text)]
    causes: list[Cause] = []
    if len(servers) > _MAX_NAMESERVERS:
        text = f"must not have more than {_MAX_NAMESERVERS} nameservers"
        causes.append(invalid_value(f"{where}.nameservers", servers, text))
    for i, server in enumerate(servers):
        causes += ip_causes(f"{where}.nameservers[{i}]", server)
    if len(searches) > _MAX_SEARCHES:
        text = f"must not have more than {_MAX_SEARCHES} search paths"
        causes.append(invalid_value(f"{where}.searches", searches, text))
    if len(" ".join(searches)) > _MAX_SEARCH_LIST:
        text = f"must not have more than {_MAX_SEARCH_LIST} characters (including spaces) in the search list"
        causes.append(invalid_value(f"{where}.searches", searches, text))
    for i, search in enumerate(searches):
        if search != ".":
            domain = search.removesuffix(".")
            causes += [invalid_value(f"{where}.searches[{i}]", domain, p) for p in problems_of_search_path(domain)]
    return causes + [
        required(f"{where}.options[{i}]", "must not be empty")
        for i, option in enumerate(config.get("options", ()))
        if not option.get("name")
    ]


def alias_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a spec's host aliases; `path` is the spec's."""
    causes: list[Cause] = []
    for i, alias in enumerate(spec.get("hostAliases", ())):
        where = f"{path}.hostAliases[{i}]"
        causes += ip_causes(f"{where}.ip", alias.get("ip", ""))
        for j, name in enumerate(alias.get("hostnames", ())):
            causes += [invalid_value(f"{where}.hostnames[{j}]", name, p) for p in problems_of_dns1123_subdomain(name)]
    return causes


@lru_cache(maxsize=_REMEMBERED)
def _is_right(key: str, operator: str, value: str, effect: str, *, timed: bool) -> bool:
    """Say whether a toleration is right: few differ, and every pod has two."""
    toleration = {"key": key, "operator": operator, "value": value, "effect": effect}
    return not _toleration_causes({**toleration, "tolerationSeconds": 1} if timed else toleration, "")


def toleration_causes(toleration: Object, path: str) -> list[Cause]:
    """Return what is wrong with a toleration."""
    get = toleration.get
    parts = (get("key", ""), get("operator", ""), get("value", ""), get("effect", ""))
    if sum(map(len, parts)) < _SHORT and _is_right(*parts, timed=get("tolerationSeconds") is not None):
        return []
    return _toleration_causes(toleration, path)


def _toleration_causes(toleration: Object, path: str) -> list[Cause]:
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    value, effect = toleration.get("value", ""), toleration.get("effect", "")
    causes = []
    if key:
        causes += [invalid_value(f"{path}.key", key, p) for p in problems_of_qualified_name(key)]
    elif operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        causes.append(invalid_value(f"{path}.operator", operator, text))
    if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        causes.append(invalid_value(f"{path}.effect", effect, text))
    if operator in {"", "Equal"}:
        causes += [invalid_value(f"{path}.operator", value, p) for p in problems_of_label_value(value)]
    elif operator == "Exists":
        if value:
            text = "value must be empty when `operator` is 'Exists'"
            causes.append(invalid_value(f"{path}.operator", value, text))
    else:
        causes.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if effect and effect not in _EFFECTS:
        causes.append(not_supported(f"{path}.effect", effect, _EFFECTS))
    return causes


def _expression(expression: Object, path: str) -> list[Cause]:
    operator, values, key = expression.get("operator", ""), expression.get("values", []), expression.get("key", "")
    causes = []
    if operator in {"In", "NotIn"}:
        if not values:
            causes.append(required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in {"Exists", "DoesNotExist"}:
        if values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            causes.append(forbidden_field(f"{path}.values", text))
    elif operator in {"Gt", "Lt"}:
        if len(values) != 1:
            causes.append(required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        causes.append(invalid_value(f"{path}.operator", operator, "not a valid selector operator"))
    causes += [invalid_value(f"{path}.key", key, p) for p in problems_of_qualified_name(key)]
    for i, value in enumerate(values):
        causes += [invalid_value(f"{path}.values[{i}]", value, p) for p in problems_of_label_value(value)]
    return causes


def _term(term: Object, path: str) -> list[Cause]:
    causes = []
    for i, expression in enumerate(term.get("matchExpressions", ())):
        causes += _expression(expression, f"{path}.matchExpressions[{i}]")
    for i, field in enumerate(term.get("matchFields", ())):
        where = f"{path}.matchFields[{i}]"
        operator, values = field.get("operator", ""), field.get("values", [])
        if operator in {"In", "NotIn"}:
            if len(values) != 1:
                causes.append(
                    required(
                        f"{where}.values",
                        "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                    )
                )
        else:
            causes.append(invalid_value(f"{where}.operator", operator, "not a valid selector operator"))
        if field.get("key") != "metadata.name":
            causes.append(invalid_value(f"{where}.key", field.get("key", ""), "not a valid field selector key"))
            continue
        for j, value in enumerate(values):
            causes += [invalid_value(f"{where}.values[{j}]", value, p) for p in problems_of_dns1123_subdomain(value)]
    return causes


def node_selector_causes(selector: Object, path: str) -> list[Cause]:
    """Return what is wrong with a NodeSelector."""
    where, terms = f"{path}.nodeSelectorTerms", selector.get("nodeSelectorTerms", ())
    causes = [] if terms else [required(where, "must have at least one node selector term")]
    for i, term in enumerate(terms):
        causes += _term(term, f"{where}[{i}]")
    return causes


def _weight(weight: int, path: str) -> list[Cause]:
    return [] if 1 <= weight <= 100 else [invalid_value(path, weight, "must be in the range 1-100")]


def affinity_causes(affinity: Object, path: str) -> list[Cause]:
    """Return what is wrong with the affinity of a pod."""
    causes: list[Cause] = []
    node = affinity.get("nodeAffinity", {})
    need, prefer = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
    if need in node:
        causes += node_selector_causes(node[need], f"{path}.nodeAffinity.{need}")
    for i, preferred in enumerate(node.get(prefer, ())):
        where = f"{path}.nodeAffinity.{prefer}[{i}]"
        causes += _weight(preferred.get("weight", 0), f"{where}.weight")
        causes += _term(preferred.get("preference", {}), f"{where}.preference")
    for name in ("podAffinity", "podAntiAffinity"):
        for i, term in enumerate(affinity.get(name, {}).get(need, ())):
            causes += _pod_term(term, f"{path}.{name}.{need}[{i}]")
        for i, weighted in enumerate(affinity.get(name, {}).get(prefer, ())):
            where = f"{path}.{name}.{prefer}[{i}]"
            causes += _weight(weighted.get("weight", 0), f"{where}.weight")
            causes += _pod_term(weighted.get("podAffinityTerm", {}), f"{where}.podAffinityTerm")
    return causes


def _pod_term(term: Object, path: str) -> list[Cause]:
    causes = selector_causes(term.get("labelSelector", {}), f"{path}.labelSelector")
    causes += selector_causes(term.get("namespaceSelector", {}), f"{path}.namespaceSelector")
    for namespace in term.get("namespaces", ()):
        causes += [invalid_value(f"{path}.namespace", namespace, p) for p in problems_of_dns1123_label(namespace)]
    for name in ("matchLabelKeys", "mismatchLabelKeys"):
        causes += _label_keys(term, name, path)
    causes += [
        invalid_value(f"{path}.matchLabelKeys[{i}]", key, "exists in both matchLabelKeys and mismatchLabelKeys")
        for i, key in enumerate(term.get("matchLabelKeys", ()))
        if key in term.get("mismatchLabelKeys", ())
    ]
    key = term.get("topologyKey", "")
    if not key:
        causes.append(required(f"{path}.topologyKey", "can not be empty"))
    return causes + [invalid_value(f"{path}.topologyKey", key, p) for p in problems_of_qualified_name(key)]


def _label_keys(holder: Object, name: str, path: str) -> list[Cause]:
    """Return what is wrong with the keys of labels whose values are taken from the pod."""
    keys = holder.get(name, ())
    if keys and "labelSelector" not in holder:
        return [forbidden_field(f"{path}.{name}", "must not be specified when labelSelector is not set")]
    return [
        invalid_value(f"{path}.{name}[{i}]", key, p)
        for i, key in enumerate(keys)
        for p in problems_of_qualified_name(key)
    ]


def spread_causes(constraints: list[Object], path: str) -> list[Cause]:
    """Return what is wrong with how a pod is spread."""
    causes = []
    seen: dict[tuple[str, str], int] = {}
    for i, constraint in enumerate(constraints):
        where = f"{path}[{i}]"
        skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        unsatisfiable, minimum = constraint.get("whenUnsatisfiable", ""), constraint.get("minDomains")
        if skew <= 0:
            causes.append(invalid_value(f"{where}.maxSkew", skew, "must be greater than zero"))
        if not key:
            causes.append(required(f"{where}.topologyKey", "can not be empty"))
        if unsatisfiable not in {"DoNotSchedule", "ScheduleAnyway"}:
            causes.append(
                not_supported(f"{where}.whenUnsatisfiable", unsatisfiable, ("DoNotSchedule", "ScheduleAnyway"))
            )
        if (key, unsatisfiable) in seen:
            first = seen[key, unsatisfiable]
            pair = f"{{{key}, {unsatisfiable}}}"
            causes.append(duplicate(f"{path}[{first}].{{topologyKey, whenUnsatisfiable}}", pair))
        seen.setdefault((key, unsatisfiable), i)
        if minimum is not None:
            if minimum <= 0:
                causes.append(invalid_value(f"{where}.minDomains", minimum, "must be greater than zero"))
            if unsatisfiable != "DoNotSchedule":
                text = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {unsatisfiable}"
                causes.append(invalid_value(f"{where}.minDomains", minimum, text))
        causes += [
            not_supported(f"{where}.{name}", constraint[name], ("Honor", "Ignore"))
            for name in ("nodeAffinityPolicy", "nodeTaintsPolicy")
            if name in constraint and constraint[name] not in {"Honor", "Ignore"}
        ]
        causes += _label_keys(constraint, "matchLabelKeys", where)
        causes += selector_causes(constraint.get("labelSelector", {}), f"{where}.labelSelector")
    return causes
