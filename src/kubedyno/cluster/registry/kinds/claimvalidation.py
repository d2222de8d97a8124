"""What makes the spec of a PersistentVolumeClaim invalid, be it a claim's or a template's."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.rules import one_of
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.names import problems_of_dns1123_subdomain
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
    if _SINGLE_MODE in modes and len(modes) > 1:
        causes.append(forbidden_field(path, f"may not use {_SINGLE_MODE} with other access modes"))
    return causes


def claim_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a claim's spec."""
    causes: list[Cause] = []
    modes = spec.get("accessModes", [])
    if "selector" in spec:
        causes += selector_causes(spec["selector"], f"{path}.selector")
    causes += access_mode_causes(modes, f"{path}.accessModes") if modes else [
        required(f"{path}.accessModes", "at least 1 access mode is required")
    ]  # fmt: skip
    if spec.get("volumeAttributesClassName"):
        name = spec["volumeAttributesClassName"]
        where = f"{path}.volumeAttributesClassName"
        causes += [invalid_value(where, name, p) for p in problems_of_dns1123_subdomain(name)]
    amount = spec.get("resources", {}).get("requests", {}).get("storage")
    if amount is None:
        causes.append(required(f"{path}.resources[storage]"))
    else:
        causes += positive(f"{path}.resources[storage]", amount)
    if spec.get("storageClassName"):
        name = spec["storageClassName"]
        causes += [invalid_value(f"{path}.storageClassName", name, p) for p in problems_of_dns1123_subdomain(name)]
    if spec.get("volumeMode") is not None:
        causes += one_of(f"{path}.volumeMode", spec["volumeMode"], VOLUME_MODES)
    for name in ("dataSource", "dataSourceRef"):
        source = spec.get(name)
        if source is not None:
            causes += [required(f"{path}.{name}.{member}") for member in ("name", "kind") if not source.get(member)]
            if not source.get("apiGroup") and source.get("kind") not in {"PersistentVolumeClaim", None, ""}:
                causes.append(
                    invalid_value(f"{path}.{name}", source["kind"], "must be 'PersistentVolumeClaim' when referencing "
                                  "the default apiGroup")
                )  # fmt: skip
    return causes
