"""What a client is warned of though its Service is accepted, and what the notes on topology may say."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.addresswarnings import cidr_warnings, ip_warnings
from kubedyno.kube.status import Cause, invalid_value

_HINTS, _MODE = "service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"


def topology_causes(annotations: dict[str, str]) -> list[Cause]:
    """Return what is wrong with the two annotations that say the same."""
    if _HINTS not in annotations or annotations.get(_MODE, annotations[_HINTS]) == annotations[_HINTS]:
        return []
    text = f"must match annotations[{_HINTS}] when both are specified"
    return [invalid_value(f"metadata.annotations[{_MODE}]", annotations[_MODE], text)]


def service_warnings(service: Object) -> list[str]:
    """Return the warnings that the real server gives for a Service."""
    spec, warnings = service["spec"], list[str]()
    if _HINTS in service["metadata"].get("annotations", {}):
        warnings.append(f"annotation {_HINTS} is deprecated, please use {_MODE} instead")
    address, externals = spec.get("clusterIP", ""), spec.get("externalIPs", ())
    if address not in {"", "None"}:
        for i, each in enumerate(spec.get("clusterIPs", ())):
            warnings += ip_warnings(f"spec.clusterIPs[{i}]", each)
    bare = spec["type"] == "ClusterIP" and address == "None"
    if bare:
        if spec.get("loadBalancerIP"):
            warnings.append("spec.loadBalancerIP is ignored for headless services")
        if externals:
            warnings.append("spec.externalIPs is ignored for headless services")
        if spec["sessionAffinity"] != "None":
            warnings.append("spec.SessionAffinity is ignored for headless services")
    for i, each in enumerate(externals):
        warnings += ip_warnings(f"spec.externalIPs[{i}]", each)
    named = spec["type"] == "ExternalName"
    if externals and not bare and not named:
        warnings.append("spec.externalIPs is deprecated and may no longer be implemented in some clusters")
    if spec.get("loadBalancerIP"):
        warnings += ip_warnings("spec.loadBalancerIP", spec["loadBalancerIP"])
    for i, each in enumerate(spec.get("loadBalancerSourceRanges", ())):
        warnings += cidr_warnings(f"spec.loadBalancerSourceRanges[{i}]", each)
    if named and externals:
        warnings.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if not named and spec.get("externalName"):
        warnings.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        warnings.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return warnings
