"""Endpoints and EndpointSlice: where a Service's pods are."""

import ipaddress
from typing import Any

from kubedyno.cluster.registry.cells import NONE, age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.addresswarnings import ip_warnings
from kubedyno.cluster.registry.kinds.portvalidation import port_causes
from kubedyno.cluster.registry.kinds.rules import one_of, qualified, unchanged
from kubedyno.cluster.registry.kinds.schedulingvalidation import ip_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain, problems_of_label_value
from kubedyno.kube.status import Cause, duplicate, invalid_value, not_supported, required

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_LOOPBACK_TEXT = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
_MAX_ENDPOINTS = 1000
_MAX_PORTS = 20000
_MAX_ADDRESSES = 100
_MAX_HINTS = 8
_SHOWN = 3
_UNSET = "<unset>"
_MANAGED_BY = "endpoints.kubernetes.io/managed-by"
_IP_TEXT = "must be a valid IP address"
_IP_LONG_TEXT = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"


def special_causes(path: str, text: str) -> list[Cause]:
    """Return what is wrong with an address that nothing outside of its host may use."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return [invalid_value(path, text, _IP_TEXT)]
    if address.is_unspecified:
        return [invalid_value(path, text, "may not be unspecified (0.0.0.0 or ::)")]
    if address.is_loopback:
        return [invalid_value(path, text, _LOOPBACK_TEXT)]
    if address.is_link_local:
        return [invalid_value(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")]
    if text.startswith("224.0.0.") or text.lower().startswith("ff02:"):
        return [invalid_value(path, text, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)")]
    return []


class Endpoints(Kind):
    """core/v1 Endpoints."""

    metadata_checks = "uw"
    create_on_update = True
    deprecation = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"

    def default(self, obj: Object) -> None:
        for subset in obj.get("subsets", ()):
            for port in subset.get("ports", ()):
                port.setdefault("protocol", "TCP")

    def validate(self, obj: Object) -> list[Cause]:
        causes: list[Cause] = []
        for i, subset in enumerate(obj.get("subsets", ())):
            path = f"subsets[{i}]"
            if not subset.get("addresses") and not subset.get("notReadyAddresses"):
                causes.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
            for member in ("addresses", "notReadyAddresses"):
                for j, address in enumerate(subset.get(member, ())):
                    causes += _address(address, f"{path}.{member}[{j}]")
            ports = subset.get("ports", ())
            for j, port in enumerate(ports):
                where = f"{path}.ports[{j}]"
                if port.get("name"):
                    name = port["name"]
                    causes += [invalid_value(f"{where}.name", name, p) for p in problems_of_dns1123_label(name)]
                elif len(ports) > 1:
                    causes.append(required(f"{where}.name"))
                causes += port_causes(f"{where}.port", port.get("port", 0))
                causes += one_of(f"{where}.protocol", port["protocol"], _PROTOCOLS, needed=True)
                if "appProtocol" in port:
                    causes += qualified(f"{where}.appProtocol", port["appProtocol"])
        return causes

    def warnings(self, obj: Object) -> list[str]:
        if obj["metadata"].get("labels", {}).get(_MANAGED_BY) == "endpoint-controller":
            return []
        return [
            warning
            for i, subset in enumerate(obj.get("subsets", ()))
            for member in ("addresses", "notReadyAddresses")
            for j, address in enumerate(subset.get(member, ()))
            for warning in ip_warnings(f"subsets[{i}].{member}[{j}].ip", address.get("ip", ""))
        ]

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], _endpoints_text(obj.get("subsets", ())), age(obj, now_s)]


def _address(address: Object, path: str) -> list[Cause]:
    text = address.get("ip", "")
    causes: list[Cause] = []
    try:
        ipaddress.ip_address(text)
    except ValueError:
        causes.append(invalid_value(f"{path}.ip", text, _IP_LONG_TEXT))
    if address.get("hostname"):
        name = address["hostname"]
        causes += [invalid_value(f"{path}.hostname", name, p) for p in problems_of_dns1123_label(name)]
    if "nodeName" in address:
        name = address["nodeName"]
        causes += [invalid_value(f"{path}.nodeName", name, p) for p in problems_of_dns1123_subdomain(name)]
    return causes + special_causes(f"{path}.ip", text)


def _endpoints_text(subsets: Any) -> str:
    """Return the first addresses with their ports."""
    texts: list[str] = []
    for subset in subsets:
        addresses = [a.get("ip", "") for a in subset.get("addresses", ())]
        ports = subset.get("ports")
        if not ports:
            texts += addresses
        for port in ports or ():
            texts += [f"[{a}]:{port['port']}" if ":" in a else f"{a}:{port['port']}" for a in addresses]
    if not texts:
        return NONE
    more = len(texts) - _SHOWN
    return ",".join(texts[:_SHOWN]) + (f" + {more} more..." if more > 0 else "")


def _ip_version(path: str, text: str, version: int) -> list[Cause]:
    address = ipaddress.ip_address(text)
    return [] if address.version == version else [invalid_value(path, text, f"must be an IPv{version} address")]


class EndpointSlices(Kind):
    """discovery.k8s.io/v1 EndpointSlice."""

    metadata_checks = "w"
    has_generation = True

    def default(self, obj: Object) -> None:
        obj.setdefault("addressType", "")
        obj.setdefault("endpoints", None)
        obj.setdefault("ports", None)
        for endpoint in obj["endpoints"] or ():
            endpoint.setdefault("conditions", {})
        for port in obj["ports"] or ():
            port.setdefault("name", "")
            port.setdefault("protocol", "TCP")

    def prepare_create(self, obj: Object) -> None:
        _drop_topology(obj)

    def prepare_update(self, obj: Object, old: Object) -> None:
        before = [endpoint.get("deprecatedTopology") for endpoint in old.get("endpoints") or ()]
        if [endpoint.get("deprecatedTopology") for endpoint in obj["endpoints"] or ()] != before:
            _drop_topology(obj)

    def warnings(self, obj: Object) -> list[str]:
        return ["spec.addressType: FQDN endpoints are deprecated"] if obj["addressType"] == "FQDN" else []

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        _ = obj, old
        return []

    def validate(self, obj: Object) -> list[Cause]:
        kind, endpoints = obj["addressType"], obj["endpoints"] or []
        causes = one_of("addressType", kind, ("FQDN", "IPv4", "IPv6"), needed=True)
        if len(endpoints) > _MAX_ENDPOINTS:
            text = f"Too many: {len(endpoints)}: must have at most {_MAX_ENDPOINTS} items"
            causes.append(Cause("FieldValueTooMany", "endpoints", text))
            return causes
        names: set[str] = set()
        ports = obj["ports"] or []
        if len(ports) > _MAX_PORTS:
            text = f"Too many: {len(ports)}: must have at most {_MAX_PORTS} items"
            causes.append(Cause("FieldValueTooMany", "ports", text))
        for i, port in enumerate(ports):
            name, path = port["name"], f"ports[{i}]"
            if name:
                causes += [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1123_label(name)]
            if name in names:
                causes.append(duplicate(f"{path}.name", name))
            names.add(name)
            if port["protocol"] not in _PROTOCOLS:
                causes.append(not_supported(f"{path}.protocol", port["protocol"], _PROTOCOLS))
            if port.get("appProtocol") is not None:
                causes += qualified(f"{path}.appProtocol", port["appProtocol"])
        return causes + [
            cause for i, each in enumerate(endpoints) for cause in _slice_endpoint(each, f"endpoints[{i}]", kind)
        ]

    def validate_stored(self, obj: Object) -> list[Cause]:
        # Decoding drops an empty name, which a stored port has.
        self.default(obj)
        return self.validate(obj)

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return self.validate(obj) + unchanged("addressType", obj["addressType"], old["addressType"])

    def spec_of(self, obj: Object) -> Any:
        return obj.get("endpoints"), obj.get("ports"), obj["metadata"].get("labels")

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [
            obj["metadata"]["name"],
            obj.get("addressType", ""),
            _more([str(p.get("port", _UNSET)) for p in obj.get("ports") or ()]),
            _more([a for e in obj.get("endpoints") or () for a in e.get("addresses", ())]),
            age(obj, now_s),
        ]


def _more(texts: list[str]) -> str:
    if not texts:
        return _UNSET
    more = len(texts) - _SHOWN
    return ",".join(texts[:_SHOWN]) + (f" + {more} more..." if more > 0 else "")


def _drop_topology(obj: Object) -> None:
    """Drop what only an older version of the API may set."""
    for endpoint in obj["endpoints"] or ():
        endpoint.pop("deprecatedTopology", None)


def _domain(path: str, name: str) -> list[Cause]:
    """Return what is wrong with a fully qualified domain name."""
    if not name:
        return [required(path)]
    name = name.removesuffix(".")
    problems = problems_of_dns1123_subdomain(name)
    if problems:
        return [invalid_value(path, name, ",".join(problems))]
    labels = name.split(".")
    if len(labels) < 2:
        return [invalid_value(path, name, "should be a domain with at least two segments separated by dots")]
    wrong = next((label for label in labels if problems_of_dns1123_label(label)), None)
    return [] if wrong is None else [invalid_value(path, wrong, ",".join(problems_of_dns1123_label(wrong)))]


def _hints(hints: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for member, problems_of in (("forZones", problems_of_label_value), ("forNodes", problems_of_dns1123_subdomain)):
        names = [hint.get("name", "") for hint in hints.get(member, ())]
        if len(names) > _MAX_HINTS:
            text = f"Too many: {len(names)}: must have at most {_MAX_HINTS} items"
            return [*causes, Cause("FieldValueTooMany", f"{path}.{member}", text)]
        for i, name in enumerate(names):
            where = f"{path}.{member}[{i}].name"
            if name in names[:i]:
                causes.append(duplicate(where, name))
            causes += [invalid_value(where, name, problem) for problem in problems_of(name)]
    return causes


def _slice_endpoint(endpoint: Object, path: str, kind: str) -> list[Cause]:
    causes: list[Cause] = []
    addresses = endpoint.get("addresses", [])
    if not addresses:
        causes.append(required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > _MAX_ADDRESSES:
        text = f"Too many: {len(addresses)}: must have at most {_MAX_ADDRESSES} items"
        causes.append(Cause("FieldValueTooMany", f"{path}.addresses", text))
    for i, address in enumerate(addresses):
        where = f"{path}.addresses[{i}]"
        if kind == "FQDN":
            causes += _domain(where, address)
        elif kind in {"IPv4", "IPv6"}:
            wrong = ip_causes(where, address)
            causes += wrong or _ip_version(f"{path}.addresses", address, int(kind[-1])) + special_causes(where, address)
    name = endpoint.get("nodeName")
    if name is not None:
        causes += [invalid_value(f"{path}.nodeName", name, p) for p in problems_of_dns1123_subdomain(name)]
    host = endpoint.get("hostname")
    if host is not None:
        causes += [invalid_value(f"{path}.hostname", host, p) for p in problems_of_dns1123_label(host)]
    return causes + _hints(endpoint.get("hints", {}), f"{path}.hints")
