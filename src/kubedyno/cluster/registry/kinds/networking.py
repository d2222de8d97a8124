"""networking.k8s.io: NetworkPolicy, Ingress, IngressClass, IPAddress, ServiceCIDR."""

import ipaddress
from typing import Any

from kubedyno.cluster.registry.cells import NONE, age, selector_text
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.portvalidation import port_causes, port_name_problems
from kubedyno.cluster.registry.kinds.rules import (
    IMMUTABLE,
    domain_path,
    local_reference,
    named,
    one_of,
    unchanged,
    unchanged_struct,
)
from kubedyno.cluster.registry.kinds.schedulingvalidation import ip_causes
from kubedyno.cluster.registry.metadata import selector_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain, problems_of_path_segment
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required

_CIDR_TEXT = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_WILDCARD_TEXT = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower "
    "case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used "
    "for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_NOT_IN_PATH = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_END = ("/..", "/.")
CLASS_ANNOTATION = "kubernetes.io/ingress.class"
DEFAULT_CLASS_ANNOTATION = "ingressclass.kubernetes.io/is-default-class"
_MAX_CONTROLLER = 250
_ADDRESS_WIDTH = 16


def cidr_causes(path: str, text: str) -> list[Cause]:
    """Return what is wrong with a CIDR."""
    try:
        if "/" not in text:
            raise ValueError(text)
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return [invalid_value(path, text, _CIDR_TEXT)]
    return []


# --- NetworkPolicy ---------------------------------------------------------------------------------------------


class NetworkPolicies(Kind):
    """networking.k8s.io/v1 NetworkPolicy."""

    has_generation = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("podSelector", {})
        if not spec.get("policyTypes"):
            spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
        for direction in ("ingress", "egress"):
            for rule in spec.get(direction, ()):
                for port in rule.get("ports", ()):
                    port.setdefault("protocol", "TCP")

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = selector_causes(spec["podSelector"], "spec.podSelector")
        for direction, peers in (("ingress", "from"), ("egress", "to")):
            for i, rule in enumerate(spec.get(direction, ())):
                path = f"spec.{direction}[{i}]"
                for j, port in enumerate(rule.get("ports", ())):
                    causes += _policy_port(port, f"{path}.ports[{j}]")
                for j, peer in enumerate(rule.get(peers, ())):
                    causes += _policy_peer(peer, f"{path}.{peers}[{j}]")
        types = spec["policyTypes"]
        if len(types) > 2:
            causes.append(invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes"))
            return causes
        for i, kind in enumerate(types):
            causes += one_of(f"spec.policyTypes[{i}]", kind, ("Ingress", "Egress"))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        selector = obj.get("spec", {}).get("podSelector")
        return [obj["metadata"]["name"], selector_text(selector), age(obj, now_s)]


def _policy_port(port: Object, path: str) -> list[Cause]:
    causes = one_of(f"{path}.protocol", port["protocol"], _PROTOCOLS)
    number, end = port.get("port"), port.get("endPort")
    if isinstance(number, str):
        if end is not None:
            causes.append(invalid_value(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
        return causes + [invalid_value(f"{path}.port", number, p) for p in port_name_problems(number)]
    if number is None:
        if end is not None:
            causes.append(invalid_value(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
        return causes
    causes += port_causes(f"{path}.port", number)
    if end is not None:
        if end < number:
            causes.append(invalid_value(f"{path}.endPort", number, "must be greater than or equal to `port`"))
        causes += port_causes(f"{path}.endPort", end)
    return causes


def _policy_peer(peer: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for name in ("podSelector", "namespaceSelector"):
        if name in peer:
            causes += selector_causes(peer[name], f"{path}.{name}")
    block = peer.get("ipBlock")
    if block is not None:
        causes += _ip_block(block, f"{path}.ipBlock")
        if len(peer) > 1:
            causes.append(forbidden_field(path, "may not specify both ipBlock and another peer"))
    if not peer:
        causes.append(required(path, "must specify a peer"))
    return causes


def _ip_block(block: Object, path: str) -> list[Cause]:
    text = block.get("cidr", "")
    if not text:
        return [required(f"{path}.cidr")]
    causes = cidr_causes(f"{path}.cidr", text)
    if causes:
        return causes
    network = ipaddress.ip_network(text, strict=False)
    for i, except_ in enumerate(block.get("except", ())):
        where = f"{path}.except[{i}]"
        wrong = cidr_causes(where, except_)
        if wrong:
            causes += wrong
            continue
        part = ipaddress.ip_network(except_, strict=False)
        inside = part.version == network.version and part.prefixlen > network.prefixlen
        if not inside or part.network_address not in network:
            causes.append(invalid_value(where, except_, f"must be a strict subset of `{path}`"))
    return causes


# --- Ingress ---------------------------------------------------------------------------------------------------


class Ingresses(Kind):
    """networking.k8s.io/v1 Ingress."""

    metadata_checks = "uw"
    has_status = True
    has_generation = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"loadBalancer": {}}

    def validate(self, obj: Object) -> list[Cause]:
        causes = self._spec_causes(obj["spec"])
        annotation = obj["metadata"].get("annotations", {}).get(CLASS_ANNOTATION)
        if annotation is not None and obj["spec"].get("ingressClassName", annotation) != annotation:
            path = f"annotations.{CLASS_ANNOTATION}"
            text = "must match `ingressClassName` when both are specified"
            causes.append(invalid_value(path, annotation, text))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        return self._spec_causes(obj["spec"])

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        causes: list[Cause] = []
        for i, point in enumerate(obj.get("status", {}).get("loadBalancer", {}).get("ingress", ())):
            path, host = f"status.loadBalancer.ingress[{i}]", point.get("hostname")
            if point.get("ip"):
                causes += ip_causes(f"{path}.ip", point["ip"])
            if host:
                causes += named(f"{path}.hostname", host) + _no_address(f"{path}.hostname", host)
        return causes

    def _spec_causes(self, spec: Object) -> list[Cause]:
        causes: list[Cause] = []
        rules, backend = spec.get("rules", []), spec.get("defaultBackend")
        if not rules and backend is None:
            causes.append(invalid_value("spec", None, "either `defaultBackend` or `rules` must be specified"))
        if backend is not None:
            causes += _backend(backend, "spec.defaultBackend")
        for i, rule in enumerate(rules):
            causes += _ingress_rule(rule, f"spec.rules[{i}]")
        for i, tls in enumerate(spec.get("tls", ())):
            for j, host in enumerate(tls.get("hosts", ())):
                causes += _host_problems(f"spec.tls[{i}].hosts[{j}]", host)
            if tls.get("secretName"):
                causes += named(f"spec.tls[{i}].secretName", tls["secretName"])
        name = spec.get("ingressClassName")
        if name is not None:
            causes += [invalid_value("spec.ingressClassName", name, p) for p in problems_of_dns1123_subdomain(name)]
        return causes

    def warnings(self, obj: Object) -> list[str]:
        if CLASS_ANNOTATION in obj["metadata"].get("annotations", {}):
            return [f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"]
        return []

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        hosts = [rule["host"] for rule in spec.get("rules", ()) if rule.get("host")]
        more = f" + {len(hosts) - 3} more..." if len(hosts) > 3 else ""
        ingress = status.get("loadBalancer", {}).get("ingress", ())
        address = ",".join(sorted({i.get("ip") or i.get("hostname", "") for i in ingress}))
        annotated = obj["metadata"].get("annotations", {}).get(CLASS_ANNOTATION)
        return [
            obj["metadata"]["name"],
            spec.get("ingressClassName") or annotated or NONE,
            ",".join(hosts[:3]) + more or "*",
            address if len(address) <= _ADDRESS_WIDTH else address[: _ADDRESS_WIDTH - 3] + "...",
            "80, 443" if spec.get("tls") else "80",
            age(obj, now_s),
        ]


def _host_problems(path: str, host: str) -> list[Cause]:
    if "*" in host:
        rest = host[2:]
        wrong = not host.startswith("*.") or not rest or problems_of_dns1123_subdomain(rest)
        return [invalid_value(path, host, _WILDCARD_TEXT)] if wrong else []
    return [invalid_value(path, host, problem) for problem in problems_of_dns1123_subdomain(host)]


def _no_address(path: str, host: str) -> list[Cause]:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return []
    return [invalid_value(path, host, "must be a DNS name, not an IP address")]


def _ingress_rule(rule: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    host = rule.get("host", "")
    if host:
        causes += _no_address(f"{path}.host", host) + _host_problems(f"{path}.host", host)
    http = rule.get("http")
    if http is not None:
        paths = http.get("paths", ())
        if not paths:
            causes.append(required(f"{path}.http.paths"))
        for i, each in enumerate(paths):
            causes += _ingress_path(each, f"{path}.http.paths[{i}]")
    return causes


def _ingress_path(each: Object, path: str) -> list[Cause]:
    kind, text = each.get("pathType"), each.get("path", "")
    causes: list[Cause] = []
    if kind is None:
        return [required(f"{path}.pathType", "pathType must be specified")]
    if kind in {"Exact", "Prefix"}:
        if not text.startswith("/"):
            causes.append(invalid_value(f"{path}.path", text, "must be an absolute path"))
        problems = [f"must not contain '{part}'" for part in _NOT_IN_PATH if part in text]
        problems += [f"cannot end with '{part}'" for part in _NOT_AT_END if text.endswith(part)]
        causes += [invalid_value(f"{path}.path", text, problem) for problem in problems]
    elif kind == "ImplementationSpecific":
        if text and not text.startswith("/"):
            causes.append(invalid_value(f"{path}.path", text, "must be an absolute path"))
    else:
        causes.append(not_supported(f"{path}.pathType", kind, _PATH_TYPES))
    return causes + _backend(each.get("backend", {}), f"{path}.backend")


def _backend(backend: Object, path: str) -> list[Cause]:
    service, resource = backend.get("service"), backend.get("resource")
    if service is not None and resource is not None:
        return [invalid_value(path, "", "cannot set both resource and service backends")]
    if resource is not None:
        return local_reference(resource, f"{path}.resource")
    if service is None:
        return [invalid_value(path, "", "resource or service backend is required")]
    causes = named(f"{path}.service.name", service.get("name", ""), problems_of_dns1123_label)
    port = service.get("port", {})
    name, number = port.get("name", ""), port.get("number", 0)
    if name and number:
        causes.append(invalid_value(path, "", "cannot set both port name & port number"))
    elif name:
        causes += [invalid_value(f"{path}.service.port.name", name, p) for p in port_name_problems(name)]
    elif number:
        causes += port_causes(f"{path}.service.port.number", number)
    else:
        causes.append(required(path, "port name or number is required"))
    return causes


class IngressClasses(Kind):
    """networking.k8s.io/v1 IngressClass; its fact says whether it is the default."""

    metadata_checks = "uw"
    has_generation = True

    def default(self, obj: Object) -> None:
        parameters = obj.setdefault("spec", {}).get("parameters")
        if parameters is not None:
            parameters.setdefault("scope", "Cluster")

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        controller = spec.get("controller", "")
        causes: list[Cause] = []
        if len(controller) > _MAX_CONTROLLER:
            text = f"Too long: may not be more than {_MAX_CONTROLLER} bytes"
            causes.append(Cause("FieldValueTooLong", "spec.controller", text))
        causes += domain_path("spec.controller", controller)
        parameters, path = spec.get("parameters"), "spec.parameters"
        if parameters is not None:
            causes += local_reference(parameters, path)
            scope, namespace = parameters["scope"], parameters.get("namespace")
            causes += one_of(f"{path}.scope", scope, ("Cluster", "Namespace"))
            if scope == "Namespace" and namespace is None:
                causes.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
            elif scope == "Namespace":
                problems = problems_of_dns1123_label(namespace)
                causes += [invalid_value(f"{path}.namespace", namespace, problem) for problem in problems]
            elif scope == "Cluster" and namespace is not None:
                causes.append(forbidden_field(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        controller = obj["spec"].get("controller", "")
        return unchanged("spec.controller", controller, old["spec"].get("controller", "")) + self.validate(obj)

    def facts(self, obj: Object) -> bool:
        """Say whether Ingresses without a class get this one."""
        return bool(obj["metadata"].get("annotations", {}).get(DEFAULT_CLASS_ANNOTATION) == "true")

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        parameters, text = spec.get("parameters"), NONE
        if parameters is not None:
            group = parameters.get("apiGroup")
            text = f"{parameters.get('kind', '')}{'.' + group if group else ''}/{parameters.get('name', '')}"
        return [obj["metadata"]["name"], spec.get("controller", ""), text, age(obj, now_s)]


# --- addresses of Services ---------------------------------------------------------------------------------------


def _ip_name_problems(name: str) -> list[str]:
    try:
        canonical = str(ipaddress.ip_address(name))
    except ValueError:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if canonical == name else [f'must be in canonical form ("{canonical}")']


class IPAddresses(Kind):
    """networking.k8s.io/v1 IPAddress."""

    metadata_checks = "wu"
    create_on_update = True
    field_paths = ()
    name_problems = staticmethod(_ip_name_problems)

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Object) -> list[Cause]:
        parent = obj["spec"].get("parentRef")
        if parent is None:
            return [required("spec.parentRef")]
        causes: list[Cause] = []
        if parent.get("group"):
            causes += named("spec.parentRef.group", parent["group"])
        for member in ("resource", "name"):
            causes += named(f"spec.parentRef.{member}", parent.get(member, ""), problems_of_path_segment)
        if parent.get("namespace"):
            causes += named("spec.parentRef.namespace", parent["namespace"], problems_of_path_segment)
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        parent = obj["spec"].get("parentRef")
        causes = self.validate(obj)
        before = old["spec"].get("parentRef")
        return causes + unchanged_struct("spec.parentRef", "networking.v1.ParentReference", parent, before)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        parent = obj.get("spec", {}).get("parentRef") or {}
        group = parent.get("group")
        kind = f"{parent.get('resource', '')}{'.' + group if group else ''}".lower()
        text = "/".join(part for part in (kind, parent.get("namespace", ""), parent.get("name", "")) if part)
        # The real server has a third cell, the age, for which it has no column.
        return [obj["metadata"]["name"], text]


class ServiceCIDRs(Kind):
    """networking.k8s.io/v1 ServiceCIDR."""

    status_keeps = METADATA
    has_status = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Object) -> list[Cause]:
        cidrs = obj["spec"].get("cidrs", [])
        if not cidrs:
            return [required("spec.cidrs", "at least one CIDR required")]
        if len(cidrs) > 2:
            return [invalid_value("spec.cidrs", {"CIDRs": cidrs}, "may only hold up to 2 values")]
        causes: list[Cause] = []
        for i, cidr in enumerate(cidrs):
            causes += cidr_causes(f"spec.cidrs[{i}]", cidr)
        if not causes and len(cidrs) == 2 and len({":" in cidr for cidr in cidrs}) == 1:
            text = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            causes.append(invalid_value("spec.cidrs", cidrs, text))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        new, before = obj["spec"].get("cidrs") or [], old["spec"].get("cidrs", [])
        if len(new) == len(before):
            return [
                invalid_value(f"spec.cidrs[{i}]", cidr, IMMUTABLE) for i, cidr in enumerate(new) if cidr != before[i]
            ]
        if len(before) == 1 and len(new) == 2:
            # The second family may come later.
            return unchanged("spec.cidrs[0]", new[0], before[0]) + self.validate(obj)
        return [invalid_value("spec.cidrs", new or None, IMMUTABLE)]

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], ",".join(obj.get("spec", {}).get("cidrs", ())), age(obj, now_s)]
