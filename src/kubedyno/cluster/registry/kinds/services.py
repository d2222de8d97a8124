"""Services: types, ports, addresses."""

from typing import Any

from kubedyno.cluster.registry.cells import NONE, UNKNOWN, age, labels_text
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.addresswarnings import ip_warnings
from kubedyno.cluster.registry.kinds.endpoints import special_causes
from kubedyno.cluster.registry.kinds.loadbalancers import balancer_causes, source_range_causes
from kubedyno.cluster.registry.kinds.portvalidation import port_causes, port_name_problems
from kubedyno.cluster.registry.kinds.rules import qualified
from kubedyno.cluster.registry.kinds.schedulingvalidation import ip_causes
from kubedyno.cluster.registry.kinds.serviceaddresses import (
    address_causes,
    address_update_causes,
    align,
    is_headless,
    needs_health_check,
    type_causes,
)
from kubedyno.cluster.registry.kinds.servicewarnings import service_warnings, topology_causes
from kubedyno.cluster.registry.metadata import label_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain, problems_of_qualified_name
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_AFFINITY_TIMEOUT_S = 10800
_MAX_AFFINITY_TIMEOUT_S = 86400
_EXTERNAL = frozenset({"NodePort", "LoadBalancer"})
_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")


def _name_problems(name: str) -> list[str]:
    return ["must not contain dots"] if "." in name else problems_of_dns1123_label(name)


class Services(Kind):
    """core/v1 Service. Its addresses are allocated by `admission`, after validation of what the client asked."""

    create_on_update = True
    has_status = True
    returns_deleted = True
    legacy_fields = True
    field_paths = ("spec.clusterIP", "spec.type")
    name_problems = staticmethod(_name_problems)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("sessionAffinity", "None")
        if spec["sessionAffinity"] == "None":
            spec.pop("sessionAffinityConfig", None)
        elif spec["sessionAffinity"] == "ClientIP":
            client = spec.setdefault("sessionAffinityConfig", {}).setdefault("clientIP", {})
            client.setdefault("timeoutSeconds", _AFFINITY_TIMEOUT_S)
        kind = spec.setdefault("type", "ClusterIP")
        for port in spec.get("ports", ()):
            port.setdefault("protocol", "TCP")
            if port.get("targetPort") in {None, 0, ""}:
                port["targetPort"] = port.get("port", 0)
        if kind in _EXTERNAL or (kind == "ClusterIP" and spec.get("externalIPs")):
            spec.setdefault("externalTrafficPolicy", "Cluster")
        if kind != "ExternalName":
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if kind == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
            for ingress in obj.get("status", {}).get("loadBalancer", {}).get("ingress", ()):
                if ingress.get("ip"):
                    ingress.setdefault("ipMode", "VIP")

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        return balancer_causes(obj["status"].get("loadBalancer", {}), old, obj["spec"])

    def warnings(self, obj: Object) -> list[str]:
        return service_warnings(obj)

    def warnings_of_status(self, obj: Object, old: Object) -> list[str]:
        _ = old
        ingress = obj.get("status", {}).get("loadBalancer", {}).get("ingress", ())
        return [
            warning
            for i, each in enumerate(ingress)
            if each.get("ip")
            for warning in ip_warnings(f"status.loadBalancer.ingress[{i}]", each["ip"])
        ]

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"loadBalancer": {}}
        align(obj["spec"], {})

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        spec, before = obj["spec"], old["spec"]
        # What was allocated stays unless the client says otherwise.
        if "ExternalName" not in {spec["type"], before["type"]}:
            if not spec.get("clusterIP") and before.get("clusterIP"):
                spec["clusterIP"] = before["clusterIP"]
            if not spec.get("clusterIPs"):
                _keep(spec, before, "clusterIPs")
        if spec["type"] in _EXTERNAL:
            ports = {(p.get("protocol"), p.get("port")): p.get("nodePort") for p in before.get("ports", ())}
            for port in spec.get("ports", ()):
                node_port = ports.get((port.get("protocol"), port.get("port")))
                if node_port:
                    port.setdefault("nodePort", node_port)
        if needs_health_check(spec) and needs_health_check(before):
            _keep(spec, before, "healthCheckNodePort")
        align(spec, before)
        _drop_of_other_type(spec, before)
        if spec["type"] != "ExternalName" and spec.get("clusterIPs") == before.get("clusterIPs"):
            if "ipFamilyPolicy" not in spec:
                _keep(spec, before, "ipFamilyPolicy")
            if not spec.get("ipFamilies"):
                _keep(spec, before, "ipFamilies")

    def validate(self, obj: Object) -> list[Cause]:
        return self._causes(obj, None)

    def _causes(self, obj: Object, old: Object | None) -> list[Cause]:
        spec = obj["spec"]
        before: Object = old["spec"] if old is not None else {}
        kind = spec["type"]
        causes = topology_causes(obj["metadata"].get("annotations", {}))
        if not spec.get("ports") and not is_headless(spec) and kind != "ExternalName":
            causes.append(required("spec.ports"))
        causes += type_causes(spec)
        if kind == "ExternalName":
            name = spec.get("externalName", "").removesuffix(".")
            if name:
                causes += [invalid_value("spec.externalName", name, p) for p in problems_of_dns1123_subdomain(name)]
            else:
                causes.append(required("spec.externalName"))
        causes += _ports(spec)
        causes += label_causes(spec.get("selector", {}), "spec.selector")
        causes += _affinity(spec)
        causes += address_causes(spec, before)
        known = before.get("externalIPs", ())
        for i, address in enumerate(spec.get("externalIPs", ())):
            path = f"spec.externalIPs[{i}]"
            wrong = [] if address in known else ip_causes(path, address)
            causes += wrong or special_causes(path, address)
        if kind not in _TYPES:
            causes.append(not_supported("spec.type", kind, _TYPES))
        return causes + _port_conflicts(spec) + _load_balancing(obj, old) + _traffic(spec)

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        spec, before = obj["spec"], old["spec"]
        causes = address_update_causes(spec, before)
        if spec["type"] == before["type"] == "LoadBalancer":
            given = spec.get("loadBalancerClass")
            if given != before.get("loadBalancerClass"):
                causes.append(invalid_value("spec.loadBalancerClass", given, "may not change once set"))
        causes += _balancer_class(spec)
        if needs_health_check(spec) and needs_health_check(before):
            name = "healthCheckNodePort"
            if spec.get(name) != before.get(name):
                causes.append(forbidden_field(f"spec.{name}", "field is immutable"))
        return causes + self._causes(obj, old)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
        return [
            obj["metadata"]["name"],
            spec.get("type", ""),
            addresses[0] if addresses else NONE,
            _external(spec, status),
            _port_list(spec.get("ports", ())),
            age(obj, now_s),
            labels_text(spec.get("selector")),
        ]


def _keep(spec: Object, before: Object, name: str) -> None:
    """Take a member over that the client left out."""
    if before.get(name) and not spec.get(name):
        spec[name] = before[name]


def _reached_from_outside(spec: Object) -> bool:
    return spec["type"] in _EXTERNAL or (spec["type"] == "ClusterIP" and bool(spec.get("externalIPs")))


def _drop_of_other_type(spec: Object, before: Object) -> None:
    """Drop what only the type before had, where the client sent it as it was; what it changed is told as wrong."""
    if spec["type"] == "ExternalName" != before["type"]:
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            if spec.get(name) == before.get(name):
                spec.pop(name, None)
    if before["type"] in _EXTERNAL and spec["type"] not in _EXTERNAL:
        held = [port.get("nodePort") for port in before.get("ports", ())]
        for port in spec.get("ports", ()):
            if port.get("nodePort") in held:
                port.pop("nodePort", None)
    external = "externalTrafficPolicy"
    if _reached_from_outside(before) and not _reached_from_outside(spec) and spec.get(external) == before.get(external):
        spec.pop(external, None)
    health = "healthCheckNodePort"
    if needs_health_check(before) and not needs_health_check(spec) and spec.get(health) == before.get(health):
        spec.pop(health, None)
    if before["type"] == "LoadBalancer" != spec["type"]:
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            if spec.get(name) == before.get(name):
                spec.pop(name, None)


def _external(spec: Object, status: Object) -> str:
    kind, external = spec.get("type"), spec.get("externalIPs", [])
    if kind == "ExternalName":
        return str(spec.get("externalName", ""))
    if kind == "LoadBalancer":
        ingress = status.get("loadBalancer", {}).get("ingress", ())
        found = [i.get("ip") or i.get("hostname", "") for i in ingress] + external
        return ",".join(found) or "<pending>"
    return (",".join(external) or NONE) if kind else UNKNOWN


def _port_list(ports: Any) -> str:
    texts = [
        f"{p.get('port', 0)}:{p['nodePort']}/{p.get('protocol', 'TCP')}"
        if p.get("nodePort")
        else f"{p.get('port', 0)}/{p.get('protocol', 'TCP')}"
        for p in ports
    ]
    return ",".join(texts) or NONE


def _ports(spec: Object) -> list[Cause]:
    ports = spec.get("ports", ())
    causes: list[Cause] = []
    names: set[str] = set()
    for i, port in enumerate(ports):
        path, name = f"spec.ports[{i}]", port.get("name", "")
        if not name and len(ports) > 1:
            causes.append(required(f"{path}.name"))
        elif name:
            causes += [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1123_label(name)]
            if name in names:
                causes.append(duplicate(f"{path}.name", name))
            names.add(name)
        causes += port_causes(f"{path}.port", port.get("port", 0))
        if port["protocol"] not in {"TCP", "UDP", "SCTP"}:
            causes.append(not_supported(f"{path}.protocol", port["protocol"], ("SCTP", "TCP", "UDP")))
        target = port["targetPort"]
        if isinstance(target, str):
            causes += [invalid_value(f"{path}.targetPort", target, p) for p in port_name_problems(target)]
        else:
            causes += port_causes(f"{path}.targetPort", target)
        if "appProtocol" in port:
            causes += qualified(f"{path}.appProtocol", port["appProtocol"])
    return causes


def _port_conflicts(spec: Object) -> list[Cause]:
    """Return the ports and node ports that are there twice, and node ports of a Service that has none."""
    ports = spec.get("ports", ())
    causes: list[Cause] = []
    seen: set[tuple[Any, Any]] = set()
    node_ports: set[tuple[Any, Any]] = set()
    if spec["type"] == "ClusterIP":
        text = "may not be used when `type` is 'ClusterIP'"
        causes += [forbidden_field(f"spec.ports[{i}].nodePort", text) for i, p in enumerate(ports) if p.get("nodePort")]
    for i, port in enumerate(ports):
        if port.get("nodePort"):
            key = (port["protocol"], port["nodePort"])
            if key in node_ports:
                causes.append(duplicate(f"spec.ports[{i}].nodePort", port["nodePort"]))
            node_ports.add(key)
    for i, port in enumerate(ports):
        key = (port["protocol"], port.get("port"))
        if key in seen:
            shown = {
                "Name": "", "Protocol": port["protocol"], "AppProtocol": None, "Port": port.get("port", 0),
                "TargetPort": 0, "NodePort": 0,
            }  # fmt: skip
            causes.append(duplicate(f"spec.ports[{i}]", shown))
        seen.add(key)
    return causes


def _affinity(spec: Object) -> list[Cause]:
    affinity = spec["sessionAffinity"]
    if affinity not in {"ClientIP", "None"}:
        return [not_supported("spec.sessionAffinity", affinity, ("ClientIP", "None"))]
    if affinity == "None":
        return []
    seconds = spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"]
    if 0 < seconds <= _MAX_AFFINITY_TIMEOUT_S:
        return []
    text = f"must be greater than 0 and less than {_MAX_AFFINITY_TIMEOUT_S}"
    return [invalid_value("spec.sessionAffinityConfig.clientIP.timeoutSeconds", seconds, text)]


_BALANCERS_ONLY = "may only be used when `type` is 'LoadBalancer'"


def _load_balancing(obj: Object, old: Object | None) -> list[Cause]:
    spec = obj["spec"]
    causes = source_range_causes(obj, old)
    name = "allocateLoadBalancerNodePorts"
    if name in spec and spec["type"] != "LoadBalancer":
        causes.append(forbidden_field(f"spec.{name}", _BALANCERS_ONLY))
    return causes + _balancer_class(spec)


def _balancer_class(spec: Object) -> list[Cause]:
    name = "loadBalancerClass"
    if name not in spec:
        return []
    if spec["type"] != "LoadBalancer":
        return [forbidden_field(f"spec.{name}", _BALANCERS_ONLY)]
    return [invalid_value(f"spec.{name}", spec[name], p) for p in problems_of_qualified_name(spec[name])]


def _traffic(spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    external, internal = spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy")
    if not _reached_from_outside(spec):
        if external:
            text = "may only be set for externally-accessible services"
            causes.append(invalid_value("spec.externalTrafficPolicy", external, text))
    elif external and external not in {"Cluster", "Local"}:
        causes.append(not_supported("spec.externalTrafficPolicy", external, ("Cluster", "Local")))
    port = spec.get("healthCheckNodePort")
    if port and not needs_health_check(spec):
        text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        causes.append(invalid_value("spec.healthCheckNodePort", port, text))
    elif port:
        causes += port_causes("spec.healthCheckNodePort", port)
    if internal is not None and internal not in {"Cluster", "Local"}:
        causes.append(not_supported("spec.internalTrafficPolicy", internal, ("Cluster", "Local")))
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        causes.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))
    return causes
