"""What an access review asks: its spec to what is wrong with it, and to the attributes that an authorizer judges."""

from typing import Any

from kubedyno.cluster.apiserver.authorization import Attributes
from kubedyno.kube.names import problems_of_qualified_name
from kubedyno.kube.resources import Resource
from kubedyno.kube.selectors import FieldSelector, LabelSelector
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, required

Object = dict[str, Any]
# What no client sets of what it creates: that it did is forgotten first.
_WIPED = frozenset({"uid", "selfLink", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"})
_ASKED, _PATH = "spec.resourceAttributes", "spec.nonResourceAttributes"
_VALUED = frozenset({"In", "NotIn"})
_UNVALUED = frozenset({"Exists", "DoesNotExist"})
_SELECTORS = {"fieldSelector": "FieldSelectorAttributes", "labelSelector": "LabelSelectorAttributes"}
# Types of the members of a spec, as `members.checked` takes them.
TYPES: dict[str, tuple[type, str]] = {
    "spec.resourceAttributes": (dict, "v1.ResourceAttributes"),
    "spec.nonResourceAttributes": (dict, "v1.NonResourceAttributes"),
    **{
        path: kind
        for name, struct in _SELECTORS.items()
        for path, kind in {
            f"spec.resourceAttributes.{name}": (dict, f"v1.{struct}"),
            f"spec.resourceAttributes.{name}.rawSelector": (str, "string"),
            f"spec.resourceAttributes.{name}.requirements": (list, "[]v1.Requirement"),
            f"spec.resourceAttributes.{name}.requirements[]": (dict, "v1.Requirement"),
        }.items()
    },
}
# What a field selector can say of the values of a requirement.
_FIELD_TERMS = {"In": "=", "NotIn": "!="}


def access_causes(resource: Resource, spec: Object, metadata: Object) -> list[Cause]:
    """Return what is wrong with an access review.

    Args:
        resource: Which sort of review.
        spec: Of the review.
        metadata: Of the review: its namespace, and nothing else but managedFields.
    """
    asked, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    shown = {"Path": (path or {}).get("path", ""), "Verb": (path or {}).get("verb", "")}
    causes: list[Cause] = []
    if asked is not None and path is not None:
        causes.append(invalid_value(_PATH, shown, "cannot be specified in combination with resourceAttributes"))
    elif asked is None and path is None:
        text = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        causes.append(invalid_value(_ASKED, None, text))
    if resource.kind != "SelfSubjectAccessReview" and not spec.get("user") and not spec.get("groups"):
        causes.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    for name in ("fieldSelector", "labelSelector"):
        selector = (asked or {}).get(name)
        if selector is not None:
            causes += _selector_causes(selector, f"{_ASKED}.{name}", of_labels=name == "labelSelector")
    namespace = metadata.get("namespace", "")
    given = {key: value for key, value in metadata.items() if key not in _WIPED}
    if any(key not in {"namespace", "managedFields"} for key in given):
        whole = {key: value for key, value in given.items() if key != "namespace" or resource.namespaced}
        text = "must be empty except for namespace" if resource.namespaced else "must be empty"
        causes.append(invalid_value("metadata", whole, text))
    if resource.namespaced and asked is not None and asked.get("namespace", "") != namespace:
        causes.append(invalid_value(f"{_ASKED}.namespace", asked.get("namespace", ""), "must match metadata.namespace"))
    if resource.namespaced and path is not None:
        causes.append(invalid_value(_PATH, shown, "disallowed on this kind of request"))
    return causes


def _selector_causes(selector: Object, path: str, *, of_labels: bool) -> list[Cause]:
    raw, requirements = selector.get("rawSelector", ""), selector.get("requirements") or ()
    causes: list[Cause] = []
    if raw and requirements:
        causes.append(
            invalid_value(f"{path}.rawSelector", raw, "may not specified at the same time as requirements")
        )  # fmt: skip
    if not raw and not requirements:
        text = f"when {path} is specified, requirements or rawSelector is required"
        causes.append(required(f"{path}.requirements", text))
    for i, requirement in enumerate(requirements):
        where, operator = f"{path}.requirements[{i}]", requirement.get("operator", "")
        key, values = requirement.get("key", ""), requirement.get("values")
        if not of_labels and not key:
            causes.append(required(f"{where}.key", "must be specified"))
        if operator in _VALUED and not values:
            causes.append(required(f"{where}.values", "must be specified when `operator` is 'In' or 'NotIn'"))
        elif operator in _UNVALUED and values:
            text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            causes.append(forbidden_field(f"{where}.values", text))
        elif of_labels and operator not in _VALUED | _UNVALUED:
            causes.append(invalid_value(f"{where}.operator", operator, "not a valid selector operator"))
        if of_labels:
            causes += [invalid_value(f"{where}.key", key, problem) for problem in problems_of_qualified_name(key)]
    return causes


def attributes_of(spec: Object) -> tuple[Attributes, list[str]]:
    """Return what a review without causes asks for, and what of it cannot be taken into account."""
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(path.get("verb", ""), path=path.get("path", "")), []
    asked = spec["resourceAttributes"]
    problems: list[str] = []
    selector = ""
    for name in ("fieldSelector", "labelSelector"):
        given = asked.get(name)
        try:
            if given is not None and name == "fieldSelector":
                selector = _fields(given)
            elif given is not None and given.get("rawSelector"):
                LabelSelector.parse(given["rawSelector"])
        except ValueError:
            problems.append(f"{_ASKED}.{name} ignored due to parse error")
    attributes = Attributes(
        asked.get("verb", ""),
        asked.get("group", ""),
        asked.get("resource", ""),
        asked.get("subresource", ""),
        asked.get("namespace", ""),
        asked.get("name", ""),
        selector=selector,
    )
    return attributes, problems


def _fields(selector: Object) -> str:
    if selector.get("rawSelector"):
        FieldSelector.parse(selector["rawSelector"])
        return str(selector["rawSelector"])
    terms = []
    for requirement in selector["requirements"]:
        term, values = _FIELD_TERMS.get(requirement.get("operator", "")), requirement.get("values") or []
        if term is None or len(values) != 1:
            raise ValueError(requirement)
        terms.append(f"{requirement['key']}{term}{values[0]}")
    return ",".join(terms)
