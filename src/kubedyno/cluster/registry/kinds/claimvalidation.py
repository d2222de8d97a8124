"""What makes the spec of a PersistentVolumeClaim invalid, be it a claim's or a template's."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.rules import one_of
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_SINGLE_MODE = "ReadWriteOncePod"
VOLUME_MODES = ("Block", "Filesystem")


def positive(path: str, amount: str) -> list[Cause]:
    """Return what is wrong with a quantity that must be more than nothing."""
    zero = Quantity.parse("0")
    return [] if Quantity.parse(amount) > zero else [invalid_value(path, amount, "must be greater than zero")]


def access_mode_causes(modes: list[str], path: str) -> list[Cause]:
    """Return what is wrong with access modes."""
    if not modes:
        return [required(path)]
    causes = [not_supported(path, mode, _ACCESS_MODES) for mode in modes if mode not in _ACCESS_MODES]
    if _SINGLE_MODE in modes and any(mode in _ACCESS_MODES and mode != _SINGLE_MODE for mode in modes):
        causes.append(forbidden_field(path, f"may not use {_SINGLE_MODE} with other access modes"))
    return causes


def claim_warnings(spec: Object, path: str) -> list[str]:
    """Return the warnings for a claim's spec: bytes are whole."""
    resources = spec.get("resources", {})
    return [
        f'{path}.resources.{group}[storage]: fractional byte value "{amount}" is invalid, must be an integer'
        for group in ("requests", "limits")
        if (amount := resources.get(group, {}).get("storage")) and Quantity.parse(amount).milli_value() % 1000
    ]


def claim_causes(spec: Object, path: str, *, any_group: bool = False) -> list[Cause]:
    """Return what is wrong with a claim's spec; `any_group`: the group of its data source need be no name."""
    causes: list[Cause] = []
    modes = spec.get("accessModes", [])
    if not modes:
        causes.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    if "selector" in spec:
        causes += selector_causes(spec["selector"], f"{path}.selector")
    if modes:
        causes += access_mode_causes(modes, f"{path}.accessModes")
    amount, where = spec.get("resources", {}).get("requests", {}).get("storage"), f"{path}.resources[storage]"
    if amount is None:
        causes.append(required(where))
    else:
        causes += positive(where, amount) or whole_bytes(where, amount)
    if spec.get("storageClassName"):
        name = spec["storageClassName"]
        causes += [invalid_value(f"{path}.storageClassName", name, p) for p in problems_of_dns1123_subdomain(name)]
    if spec.get("volumeMode") is not None:
        causes += one_of(f"{path}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None:
        causes += _source_causes(source, f"{path}.dataSource", any_group=any_group)
    if reference is not None:
        causes += _source_causes(reference, f"{path}.dataSourceRef", any_group=any_group)
        space = reference.get("namespace") or ""
        if space:
            where = f"{path}.dataSourceRef.namespace"
            causes += [invalid_value(where, space, p) for p in problems_of_dns1123_label(space)]
        if source is not None:
            text = (
                "may not be specified when dataSourceRef.namespace is specified"
                if space
                else "must match dataSourceRef"
            )
            same = all(source.get(name) == reference.get(name) for name in ("apiGroup", "kind", "name"))
            if space or not same:
                # The value is a path, whose members nobody sees.
                causes.append(invalid_value(path, {}, text))
    if spec.get("volumeAttributesClassName"):
        name = spec["volumeAttributesClassName"]
        where = f"{path}.volumeAttributesClassName"
        causes += [invalid_value(where, name, p) for p in problems_of_dns1123_subdomain(name)]
    return causes


def whole_bytes(path: str, amount: str) -> list[Cause]:
    """Return what is wrong with an amount that must be a whole number."""
    quantity = Quantity.parse(amount)
    return [invalid_value(path, amount, "must be an integer")] if quantity.milli_value() % 1000 else []


def _source_causes(source: Object, path: str, *, any_group: bool) -> list[Cause]:
    causes = [required(f"{path}.{member}") for member in ("name", "kind") if not source.get(member)]
    group = source.get("apiGroup") or ""
    if not group and source.get("kind") != "PersistentVolumeClaim":
        text = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        causes.append(invalid_value(path, source.get("kind", ""), text))
    if group and not any_group:
        causes += [invalid_value(f"{path}.apiGroup", group, p) for p in problems_of_dns1123_subdomain(group)]
    return causes
