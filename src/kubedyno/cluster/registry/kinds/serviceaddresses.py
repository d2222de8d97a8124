"""The cluster addresses and families of a Service: what may stand together, and what a new version may change."""

import ipaddress
from collections.abc import Sequence
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.schedulingvalidation import ip_causes
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

FAMILIES = ("IPv4", "IPv6")
POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_MAX_ADDRESSES = 2
_FIXED = "may not change once set"
_EXTERNAL = frozenset({"NodePort", "LoadBalancer"})


def needs_health_check(spec: Object) -> bool:
    """Say whether a Service has a port at which load balancers ask for a node's health."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def align(spec: Object, before: Object) -> None:
    """Bring clusterIP and clusterIPs together where a client gave, changed or took away only one of them, in place.

    Args:
        spec: Of the new version.
        before: Of the one until now, {} for a new Service.
    """
    address, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs", [])
    if not before:
        if address and not addresses:
            spec["clusterIPs"] = [address]
        return
    if address == before.get("clusterIP", "") and addresses != before.get("clusterIPs", []):
        return
    if not address and addresses == before.get("clusterIPs", []):
        spec.pop("clusterIPs", None)
    elif address != before.get("clusterIP", "") and addresses == before.get("clusterIPs", []):
        spec["clusterIPs"] = [address]


def is_headless(spec: Object) -> bool:
    """Say whether a Service has no cluster address by wish."""
    return bool(spec.get("clusterIPs") == ["None"])


def type_causes(spec: Object) -> list[Cause]:
    """Return what is wrong with addresses and families that a Service's type does not have."""
    if spec["type"] in _EXTERNAL and is_headless(spec):
        text = f"may not be set to 'None' for {spec['type']} services"
        return [invalid_value("spec.clusterIPs[0]", "None", text)]
    if spec["type"] != "ExternalName":
        return []
    text = "may not be set for ExternalName services"
    causes = [forbidden_field(f"spec.{name}", text) for name in ("clusterIPs", "ipFamilies") if spec.get(name)]
    return causes + ([forbidden_field("spec.ipFamilyPolicy", text)] if "ipFamilyPolicy" in spec else [])


def address_causes(spec: Object, before: Object) -> list[Cause]:
    """Return what is wrong with a Service's clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy.

    Args:
        spec: Of the new version.
        before: Of the one until now, whose addresses pass as they are; {} for a new Service.
    """
    if spec["type"] == "ExternalName":
        return []
    address, addresses = spec.get("clusterIP", ""), spec.get("clusterIPs", [])
    families, policy = spec.get("ipFamilies", []), spec.get("ipFamilyPolicy")
    causes: list[Cause] = []
    path = "spec.clusterIPs"
    if address and not addresses:
        causes.append(required(path))
    elif address and addresses[0] != address:
        causes.append(invalid_value(path, addresses, "first value must match `clusterIP`"))
    elif not address and addresses:
        causes.append(invalid_value(path, addresses, "must be empty when `clusterIP` is not specified"))
    for i, family in enumerate(families):
        if family not in FAMILIES:
            causes.append(not_supported(f"spec.ipFamilies[{i}]", family, FAMILIES))
        if family in families[:i]:
            causes.append(duplicate(f"spec.ipFamilies[{i}]", family))
    if policy is not None and policy not in POLICIES:
        causes.append(not_supported("spec.ipFamilyPolicy", policy, POLICIES))
    return causes + _list_causes(addresses, families, before.get("clusterIPs", ()))


def _list_causes(addresses: list[Any], families: list[Any], known: Sequence[str]) -> list[Cause]:
    path, broken, causes = "spec.clusterIPs", False, list[Cause]()
    for i, address in enumerate(addresses):
        if i == 0 and address == "None":
            if len(addresses) > 1:
                broken = True
                causes.append(invalid_value(path, addresses, "'None' must be the first and only value"))
            continue
        found = [] if address in known else ip_causes(f"{path}[{i}]", address)
        broken = broken or bool(found)
        causes += found
    if len(addresses) > _MAX_ADDRESSES:
        causes.append(invalid_value(path, addresses, "may only hold up to 2 values"))
    if broken or addresses in ([], ["None"]):
        return causes
    of = [f"IPv{ipaddress.ip_address(address).version}" for address in addresses]
    if len(of) > 1 and len(set(of)) == 1:
        causes.append(invalid_value(path, addresses, "may specify no more than one IP for each IP family"))
    for i, (address, family, wanted) in enumerate(zip(addresses, of, families, strict=False)):
        if wanted in FAMILIES and family != wanted:
            text = f"expected an {wanted} value as indicated by `ipFamilies[{i}]`"
            causes.append(invalid_value(f"{path}[{i}]", address, text))
    return causes


def address_update_causes(spec: Object, before: Object) -> list[Cause]:
    """Return what a new version of a Service may not change of its addresses and families."""
    if "ExternalName" in {spec["type"], before["type"]}:
        return []
    bare, was_bare = is_headless(spec), is_headless(before)
    causes = [] if bare and was_bare else _address_changes(spec, before)
    return causes if bare or was_bare else causes + _family_changes(spec, before)


def _address_changes(spec: Object, before: Object) -> list[Cause]:
    new, old, path = spec.get("clusterIPs", []), before.get("clusterIPs", []), "spec.clusterIPs"
    if len(new) == len(old):
        return [
            invalid_value(f"{path}[{i}]", new, _FIXED)
            for i, (a, b) in enumerate(zip(new, old, strict=True))
            if a != b
        ]  # fmt: skip
    causes = []
    if not new:
        causes.append(invalid_value(f"{path}[0]", None, "primary clusterIP can not be unset"))
    elif old and new[0] != old[0]:
        causes.append(invalid_value(f"{path}[0]", new, _FIXED))
    policy = spec.get("ipFamilyPolicy")
    if len(new) == 1 < len(old) and policy != "SingleStack":
        text = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        causes.append(invalid_value("spec.ipFamilyPolicy", policy, text))
    return causes


def _family_changes(spec: Object, before: Object) -> list[Cause]:
    new, old, path = spec.get("ipFamilies", []), before.get("ipFamilies", []), "spec.ipFamilies[0]"
    if len(new) == len(old):
        return [invalid_value(path, new, _FIXED) for a, b in zip(new, old, strict=True) if a != b]
    if not new or not old:
        # They are settled from the addresses later.
        return []
    causes = []
    if new[0] != old[0]:
        causes.append(invalid_value(path, spec.get("clusterIPs"), _FIXED))
    policy = spec.get("ipFamilyPolicy")
    if len(new) == 1 < len(old) and policy != "SingleStack":
        text = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        causes.append(invalid_value("spec.ipFamilyPolicy", policy, text))
    return causes
