"""What is wrong with a container's environment: variables, their sources, and the downward API's field references."""

import re
from collections.abc import Sequence

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.names import (
    problems_of_config_key,
    problems_of_dns1123_label,
    problems_of_dns1123_subdomain,
    problems_of_qualified_name,
)
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, invalid_value, not_supported, required

_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
# What a field reference may be made of at all, be it in a variable or in a volume.
_CONVERTIBLE = frozenset(
    {*_FIELDS, "metadata.annotations", "metadata.labels", "status.phase", "spec.host", "spec.restartPolicy"}
)
_SUBSCRIPT = re.compile(r"([^\[\]]+)\['([^']*)'\]\Z")
_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
    "requests.memory",
)  # fmt: skip
_HUGE = ("limits.hugepages-", "requests.hugepages-")
_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_DIVISORS_TEXT = f"only divisor's values {', '.join(_DIVISORS)} are supported with the"
_VARIABLE = re.compile(r"[ -<>-~]*\Z")
_VARIABLE_TEXT = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def variable_causes(variable: Object, path: str) -> list[Cause]:
    """Return what is wrong with a variable."""
    causes = _name_causes(variable.get("name", ""), f"{path}.name")
    source, where = variable.get("valueFrom"), f"{path}.valueFrom"
    if source is None:
        return causes
    found = [name for name in _SOURCES if name in source]
    if "fieldRef" in source:
        causes += field_reference_causes(source["fieldRef"], f"{where}.fieldRef", _FIELDS)
    if "resourceFieldRef" in source:
        causes += resource_reference_causes(source["resourceFieldRef"], f"{where}.resourceFieldRef")
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source:
            causes += _key_selector(source[name], f"{where}.{name}")
    if "fileKeyRef" in source:
        causes += _file_key(source["fileKeyRef"], f"{where}.fileKeyRef")
    if not found:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        causes.append(invalid_value(where, "", text))
    elif variable.get("value"):
        causes.append(invalid_value(where, "", "may not be specified when `value` is not empty"))
    elif len(found) > 1:
        causes.append(invalid_value(where, "", "may not have more than one field specified at a time"))
    return causes


def variables_from_causes(source: Object, path: str, position: int) -> list[Cause]:
    """Return what is wrong with an item of envFrom; `path` is the list's."""
    causes: list[Cause] = []
    if source.get("prefix"):
        causes += _name_causes(source["prefix"], f"{path}[{position}].prefix")
    found = [name for name in ("configMapRef", "secretRef") if name in source]
    for member in found:
        name, where = source[member].get("name", ""), f"{path}[{position}].{member}.name"
        if not name:
            causes.append(required(where))
        else:
            # As a prefix of names: what would come next may be anything.
            causes += [invalid_value(where, name, p) for p in problems_of_dns1123_subdomain(_unended(name))]
    if not found:
        causes.append(invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(found) > 1:
        causes.append(invalid_value(path, "", "may not have more than one field specified at a time"))
    return causes


def field_reference_causes(reference: Object, path: str, fields: Sequence[str]) -> list[Cause]:
    """Return what is wrong with a reference to a field of the pod; `fields` are those that may be asked for here."""
    field = reference.get("fieldPath", "")
    if not reference.get("apiVersion"):
        return [required(f"{path}.apiVersion")]
    if not field:
        return [required(f"{path}.fieldPath")]
    split = _SUBSCRIPT.match(field)
    if reference["apiVersion"] != "v1":
        text = f"error converting fieldPath: unsupported pod version: {reference['apiVersion']}"
        return [invalid_value(f"{path}.fieldPath", field, text)]
    base = split[1] if split else field
    if base not in _CONVERTIBLE:
        text = f"error converting fieldPath: field label not supported: {field}"
        if split:
            text = f"error converting fieldPath: field label does not support subscript: {field}"
        return [invalid_value(f"{path}.fieldPath", field, text)]
    if split is None:
        return [] if field in fields else [not_supported(f"{path}.fieldPath", field, fields)]
    if base not in {"metadata.annotations", "metadata.labels"}:
        text = f"error converting fieldPath: field label does not support subscript: {field}"
        return [invalid_value(f"{path}.fieldPath", field, text)]
    key = split[2].lower() if base == "metadata.annotations" else split[2]
    return [invalid_value(path, key, p) for p in problems_of_qualified_name(key)]


def resource_reference_causes(reference: Object, path: str, *, volume: bool = False) -> list[Cause]:
    """Return what is wrong with a reference to a container's requests or limits; in a volume it names the container."""
    resource = reference.get("resource", "")
    causes: list[Cause] = []
    if volume and not reference.get("containerName"):
        causes.append(required(f"{path}.containerName"))
    elif not resource:
        causes.append(required(f"{path}.resource"))
    elif resource not in _RESOURCES and not resource.startswith(_HUGE):
        causes.append(not_supported(f"{path}.resource", resource, _RESOURCES))
    divisor = Quantity.parse(reference.get("divisor", "0"))
    if not divisor.amount:
        return causes
    text = ""
    if resource in {"limits.cpu", "requests.cpu"}:
        if str(divisor) not in {"1m", "1"}:
            text = "only divisor's values 1m and 1 are supported with the cpu resource"
    elif str(divisor) not in _DIVISORS:
        if resource in _RESOURCES:
            what = "memory" if resource.endswith(".memory") else "local ephemeral storage"
            text = f"{_DIVISORS_TEXT} {what} resource"
        elif resource.startswith(_HUGE):
            text = f"{_DIVISORS_TEXT} hugepages resource"
    return [*causes, invalid_value(f"{path}.divisor", resource, text)] if text else causes


def _unended(name: str) -> str:
    return name[:-1] + "a" if name.endswith("-") else name


def _name_causes(name: str, path: str) -> list[Cause]:
    if not name:
        return [required(path)]
    return [] if _VARIABLE.match(name) else [invalid_value(path, name, _VARIABLE_TEXT)]


def _key_selector(selector: Object, path: str) -> list[Cause]:
    """Return what is wrong with the reference to one key of a ConfigMap or Secret."""
    name, key = selector.get("name", ""), selector.get("key", "")
    causes = [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1123_subdomain(name)]
    if not key:
        return [*causes, required(f"{path}.key")]
    return causes + [invalid_value(f"{path}.key", key, p) for p in problems_of_config_key(key)]


def _file_key(selector: Object, path: str) -> list[Cause]:
    """Return what is wrong with the reference to one key of a file in a volume."""
    volume, file = selector.get("volumeName", ""), selector.get("path", "")
    causes = _name_causes(selector.get("key", ""), f"{path}.key")
    if not volume:
        causes.append(required(f"{path}.volumeName"))
    else:
        causes += [invalid_value(f"{path}.volumeName", volume, p) for p in problems_of_dns1123_label(volume)]
    if not file:
        causes.append(required(f"{path}.path"))
    elif ".." in file.split("/"):
        causes.append(invalid_value(f"{path}.path", file, "must not contain '..'"))
    return causes
