"""What a Service says of its load balancer: who may reach it, and where it is."""

import ipaddress

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.networking import cidr_causes
from kubedyno.cluster.registry.kinds.schedulingvalidation import ip_causes
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_BALANCERS_ONLY = "may only be used when `type` is 'LoadBalancer'"


def source_range_causes(service: Object, old: Object | None) -> list[Cause]:
    """Return what is wrong with the networks from which a load balancer may be reached; known ones pass as they are."""
    spec, causes = service["spec"], list[Cause]()
    annotations = service["metadata"].get("annotations", {})
    ranges = spec.get("loadBalancerSourceRanges", ())
    if ranges:
        path = "spec.LoadBalancerSourceRanges"
        if spec["type"] != "LoadBalancer":
            causes.append(forbidden_field(path, _BALANCERS_ONLY))
        known = {text.strip() for text in old["spec"].get("loadBalancerSourceRanges", ())} if old is not None else ()
        for i, text in enumerate(ranges):
            if text.strip() not in known:
                causes += cidr_causes(f"{path}[{i}]", text.strip())
    elif _RANGES in annotations:
        path, text = f"metadata.annotations[{_RANGES}]", annotations[_RANGES]
        if spec["type"] != "LoadBalancer":
            causes.append(forbidden_field(path, _BALANCERS_ONLY))
        if text.strip() and (old is None or old["metadata"].get("annotations", {}).get(_RANGES) != text):
            for each in text.strip().split(","):
                causes += cidr_causes(path, each.strip())
    return causes


def balancer_causes(status: Object, old: Object, spec: Object) -> list[Cause]:
    """Return what is wrong with where a load balancer is said to be.

    Args:
        status: The new status.loadBalancer.
        old: The Service until now, whose addresses pass as they are.
        spec: Of the Service.
    """
    ingress, path = status.get("ingress", ()), "status.loadBalancer.ingress"
    if spec["type"] != "LoadBalancer":
        text = "may only be used when `spec.type` is 'LoadBalancer'"
        return [forbidden_field(path, text)] if ingress else []
    before = old.get("status", {}).get("loadBalancer", {}).get("ingress", ())
    known = {each.get("ip") for each in before}
    return [cause for i, each in enumerate(ingress) for cause in _ingress(each, f"{path}[{i}]", known)]


def _ingress(ingress: Object, path: str, known: set[str | None]) -> list[Cause]:
    address, mode, host = ingress.get("ip", ""), ingress.get("ipMode"), ingress.get("hostname", "")
    causes = [] if not address or address in known else ip_causes(f"{path}.ip", address)
    if mode is None and address:
        causes.append(required(f"{path}.ipMode", "must be specified when `ip` is set"))
    elif mode is not None and not address:
        causes.append(forbidden_field(f"{path}.ipMode", "may not be specified when `ip` is not set"))
    elif mode is not None and mode not in {"Proxy", "VIP"}:
        causes.append(not_supported(f"{path}.ipMode", mode, ("Proxy", "VIP")))
    if host:
        causes += [invalid_value(f"{path}.hostname", host, p) for p in problems_of_dns1123_subdomain(host)]
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return causes
        causes.append(invalid_value(f"{path}.hostname", host, "must be a DNS name, not an IP address"))
    return causes
