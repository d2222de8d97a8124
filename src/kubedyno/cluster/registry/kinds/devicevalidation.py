"""What is wrong with devices, claims on them and what a claim was given (resource.k8s.io)."""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.conditions import condition_causes
from kubedyno.cluster.registry.kinds.rules import one_of, qualified, repeated
from kubedyno.cluster.registry.kinds.schedulingvalidation import node_selector_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain, problems_of_label_value
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, required, too_long

_MODES = ("All", "ExactCount")
_EFFECTS = ("NoExecute", "NoSchedule", "None")
_MAX_REQUESTS = 32
_MAX_DRIVER = 63
_MAX_VALUE = 64
_MAX_ID = 32
_MAX_POOL = 253
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_IDENTIFIER_TEXT = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric characters or "
    "'_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is '[A-Za-z_][A-Za-z0-9_]*')"
)
_NUMBER = r"(?:0|[1-9]\d*)"
_PRERELEASE = rf"(?:{_NUMBER}|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PRERELEASE}(?:\.{_PRERELEASE})*)?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?\Z",
    re.ASCII,
)
_ONE_ATTRIBUTE = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
_REFERENCE_TEXT = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)
_ONE_PLACE = (
    "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in "
    "the ResourceSlice spec"
)
_NO_PLACE = (
    "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the "
    "ResourceSlice spec"
)


def requests_of(spec: Object, path: str) -> Iterator[tuple[Object, str, bool]]:
    """Yield each request for devices with its path; True for one of several alternatives."""
    for i, request in enumerate(spec.get("devices", {}).get("requests") or ()):
        where = f"{path}.devices.requests[{i}]"
        if "exactly" in request:
            yield request["exactly"], f"{where}.exactly", False
        for j, alternative in enumerate(request.get("firstAvailable", ())):
            yield alternative, f"{where}.firstAvailable[{j}]", True


def _label(name: str, path: str) -> list[Cause]:
    return [invalid_value(path, name, problem) for problem in problems_of_dns1123_label(name)]


def driver_causes(name: str, path: str) -> list[Cause]:
    """Return what is wrong with a driver's name."""
    if not name:
        return [required(path)]
    causes = [too_long(path, _MAX_DRIVER)] if len(name) > _MAX_DRIVER else []
    return causes + [invalid_value(path, name, p) for p in problems_of_dns1123_subdomain(name.lower())]


def _pool(name: str, path: str) -> list[Cause]:
    if not name:
        return [required(path)]
    causes = [too_long(path, _MAX_POOL)] if len(name) > _MAX_POOL else []
    return causes + [
        invalid_value(path, part, p) for part in name.split("/") for p in problems_of_dns1123_subdomain(part)
    ]


def _identifier(name: str, path: str) -> list[Cause]:
    causes = [too_long(path, _MAX_ID)] if len(name) > _MAX_ID else []
    return causes if _IDENTIFIER.match(name) else [*causes, invalid_value(path, name, _IDENTIFIER_TEXT)]


def _qualified_name(name: str, path: str) -> list[Cause]:
    """Return what is wrong with the name of an attribute or capacity: "name", or "domain/name"."""
    domain, slash, rest = name.partition("/")
    if not slash:
        return _identifier(name, path)
    if "/" in rest:
        return []
    causes = driver_causes(domain, path) if domain else [invalid_value(path, "", "the domain must not be empty")]
    return causes + (_identifier(rest, path) if rest else [invalid_value(path, "", "the name must not be empty")])


def _attribute_name(name: str, path: str) -> list[Cause]:
    causes = _qualified_name(name, path)
    if "/" not in name:
        text = "a fully qualified name must be a domain and a name separated by a slash"
        causes.append(invalid_value(path, name, text))
    return causes


def _label_value(value: str, path: str) -> list[Cause]:
    return [invalid_value(path, value, problem) for problem in problems_of_label_value(value)]


def _set(items: Sequence[Any], path: str, judge: Callable[[Any, str], list[Cause]], key: str = "") -> list[Cause]:
    """Return what is wrong with items of which none may be there twice, told by a member or themselves."""
    causes = [cause for i, item in enumerate(items) for cause in judge(item, f"{path}[{i}]")]
    keys = [item.get(key, "") if key else item for item in items]
    return causes + [duplicate(f"{path}[{i}]", each) for i, each in repeated(keys)]


# --- claims ------------------------------------------------------------------------------------------------------


def claim_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with the spec of a claim."""
    devices, path = spec["devices"], f"{path}.devices"
    requests = devices.get("requests") or []
    if len(requests) > _MAX_REQUESTS:
        text = f"Too many: {len(requests)}: must have at most {_MAX_REQUESTS} items"
        return [Cause("FieldValueTooMany", f"{path}.requests", text)]
    refer = _references(spec)
    causes = _set(requests, f"{path}.requests", _request, "name")
    for i, constraint in enumerate(devices.get("constraints", ())):
        where = f"{path}.constraints[{i}]"
        causes += _set(constraint.get("requests", ()), f"{where}.requests", refer)
        if "matchAttribute" in constraint:
            causes += _attribute_name(constraint["matchAttribute"], f"{where}.matchAttribute")
        elif "distinctAttribute" in constraint:
            causes += _attribute_name(constraint["distinctAttribute"], f"{where}.distinctAttribute")
        else:
            causes.append(required(where, _ONE_ATTRIBUTE))
    for i, config in enumerate(devices.get("config", ())):
        where = f"{path}.config[{i}]"
        causes += _set(config.get("requests", ()), f"{where}.requests", refer) + opaque_causes(config, where)
    return causes


def _references(spec: Object) -> Callable[[str, str], list[Cause]]:
    """Return what judges the name of a request, or of one of its alternatives, of a claim."""
    known = {
        request.get("name", ""): {alternative.get("name", "") for alternative in request.get("firstAvailable", ())}
        for request in spec.get("devices", {}).get("requests") or ()
    }

    def judge(name: str, path: str) -> list[Cause]:
        unknown = [invalid_value(path, name, _REFERENCE_TEXT)]
        parts = name.split("/")
        if len(parts) > 2:
            return unknown
        causes = [cause for part in parts for cause in _label(part, path)]
        found = parts[0] in known and (len(parts) == 1 or parts[1] in known[parts[0]])
        return causes if found else causes + unknown

    return judge


def _request(request: Object, path: str) -> list[Cause]:
    causes = _label(request.get("name", ""), f"{path}.name")
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable", ())
    text = "exactly one of `exactly` or `firstAvailable` is required"
    if exactly is None and not alternatives:
        return [*causes, required(path, text)]
    if exactly is not None and alternatives:
        return [*causes, invalid_value(path, None, f"{text}, but multiple fields are set")]
    if exactly is not None:
        return causes + _wanted(exactly, f"{path}.exactly")
    return causes + _set(alternatives, f"{path}.firstAvailable", _alternative, "name")


def _alternative(request: Object, path: str) -> list[Cause]:
    return _label(request.get("name", ""), f"{path}.name") + _wanted(request, path)


def _wanted(request: Object, path: str) -> list[Cause]:
    name, where = request.get("deviceClassName", ""), f"{path}.deviceClassName"
    causes = [invalid_value(where, name, p) for p in problems_of_dns1123_subdomain(name)] if name else [required(where)]
    for i, selector in enumerate(request.get("selectors", ())):
        causes += selector_causes(selector, f"{path}.selectors[{i}]")
    mode, count = request["allocationMode"], request.get("count", 0)
    causes += one_of(f"{path}.allocationMode", mode, _MODES)
    if mode == "ExactCount" and count <= 0:
        causes.append(invalid_value(f"{path}.count", count, "must be greater than zero"))
    elif mode == "All" and count:
        causes.append(invalid_value(f"{path}.count", count, "must not be specified when allocationMode is 'All'"))
    for i, toleration in enumerate(request.get("tolerations", ())):
        causes += _toleration(toleration, f"{path}.tolerations[{i}]")
    return causes


def selector_causes(selector: Object, path: str) -> list[Cause]:
    """Return what is wrong with an expression that selects devices; it is not compiled."""
    cel = selector.get("cel")
    if cel is None:
        return [required(f"{path}.cel")]
    return [] if cel.get("expression") else [required(f"{path}.cel.expression")]


def _toleration(toleration: Object, path: str) -> list[Cause]:
    key, operator = toleration.get("key", ""), toleration.get("operator", "")
    value, effect = toleration.get("value", ""), toleration.get("effect", "")
    causes = qualified(f"{path}.key", key) if key else []
    if operator == "Exists":
        causes += [invalid_value(f"{path}.value", value, "must be empty for operator `Exists`")] if value else []
    elif operator == "Equal":
        causes += _label_value(value, f"{path}.value")
    else:
        causes += one_of(f"{path}.operator", operator, ("Equal", "Exists"), needed=True)
    return causes + (one_of(f"{path}.effect", effect, _EFFECTS) if effect else [])


def opaque_causes(config: Object, path: str) -> list[Cause]:
    """Return what is wrong with a configuration that only a driver understands."""
    opaque, path = config.get("opaque"), f"{path}.opaque"
    if opaque is None:
        return [required(path)]
    causes = driver_causes(opaque.get("driver", ""), f"{path}.driver")
    return causes + _json_object(opaque.get("parameters"), f"{path}.parameters")


def _json_object(value: Any, path: str) -> list[Cause]:
    if value is None:
        return [required(path)]
    return [] if isinstance(value, dict) else [invalid_value(path, "<value omitted>", "must be a valid JSON object")]


# --- what a claim was given --------------------------------------------------------------------------------------


def claim_status_causes(status: Object) -> list[Cause]:
    """Return what is wrong with what a claim has been given, but for the allocation itself."""
    causes = _set(status.get("reservedFor", ()), "status.reservedFor", _consumer, "uid")
    allocation = status.get("allocation")
    results = (allocation or {}).get("devices", {}).get("results", ())
    allocated = [_device_id(result) for result in results]

    def judge(device: Object, path: str) -> list[Cause]:
        return _device_status(device, path, allocated)

    causes += [
        cause for i, each in enumerate(status.get("devices", ())) for cause in judge(each, f"status.devices[{i}]")
    ]
    if status.get("reservedFor") and allocation is None:
        text = "may not be specified when `allocated` is not set"
        causes.append(forbidden_field("status.reservedFor", text))
    return causes


def allocation_causes(allocation: Object, spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a new allocation of devices to a claim with a spec."""
    refer, devices = _references(spec), allocation.get("devices", {})
    causes: list[Cause] = []
    for i, result in enumerate(devices.get("results", ())):
        where = f"{path}.devices.results[{i}]"
        causes += refer(result.get("request", ""), f"{where}.request")
        causes += driver_causes(result.get("driver", ""), f"{where}.driver")
        causes += _pool(result.get("pool", ""), f"{where}.pool")
        causes += _label(result.get("device", ""), f"{where}.device")
    for i, config in enumerate(devices.get("config", ())):
        where = f"{path}.devices.config[{i}]"
        causes += one_of(f"{where}.source", config.get("source"), ("FromClaim", "FromClass"), needed=True)
        causes += _set(config.get("requests", ()), f"{where}.requests", refer) + opaque_causes(config, where)
    if "nodeSelector" in allocation:
        causes += node_selector_causes(allocation["nodeSelector"], f"{path}.nodeSelector")
    return causes


def _device_id(device: Object) -> Object:
    members = (("Driver", "driver"), ("Pool", "pool"), ("Device", "device"), ("ShareID", "shareID"))
    return {shown: device.get(name) or "" for shown, name in members}


def _consumer(consumer: Object, path: str) -> list[Cause]:
    return [required(f"{path}.{name}") for name in ("resource", "name", "uid") if not consumer.get(name)]


def _device_status(device: Object, path: str, allocated: list[Object]) -> list[Cause]:
    causes = driver_causes(device.get("driver", ""), f"{path}.driver")
    causes += _pool(device.get("pool", ""), f"{path}.pool")
    causes += _label(device.get("device", ""), f"{path}.device")
    if _device_id(device) not in allocated:
        causes.append(invalid_value(path, _device_id(device), "must be an allocated device in the claim"))
    causes += condition_causes(device.get("conditions", ()), f"{path}.conditions")
    causes += _set(device.get("networkData", {}).get("ips", ()), f"{path}.networkData.ips", _interface_address)
    return causes + (_json_object(device["data"], f"{path}.data") if device.get("data") is not None else [])


def _interface_address(text: str, path: str) -> list[Cause]:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        wrong = True
    else:
        wrong = "/" not in text
    words = "must be a valid address in CIDR form, (e.g. 10.9.8.7/24 or 2001:db8::1/64)"
    return [invalid_value(path, text, words)] if wrong else []


# --- devices -----------------------------------------------------------------------------------------------------


def pool_causes(pool: Object, path: str) -> list[Cause]:
    """Return what is wrong with a pool of devices."""
    causes = _pool(pool.get("name", ""), f"{path}.name")
    count, generation = pool.get("resourceSliceCount", 0), pool.get("generation", 0)
    if count <= 0:
        causes.append(invalid_value(f"{path}.resourceSliceCount", count, "must be greater than zero"))
    if generation < 0:
        causes.append(invalid_value(f"{path}.generation", generation, "must be greater than or equal to zero"))
    return causes


def device_set_causes(devices: Sequence[Object], path: str, *, placed: bool) -> list[Cause]:
    """Return what is wrong with the devices of a slice; `placed`: each says on which nodes it is."""
    return _set(devices, path, lambda device, where: _device(device, where, placed=placed), "name")


def counter_set_causes(sets: Sequence[Object], path: str) -> list[Cause]:
    """Return what is wrong with the counters that devices share."""
    return _set(sets, path, _counter_set, "name")


def _counter_set(counters: Object, path: str) -> list[Cause]:
    name, members = counters.get("name", ""), counters.get("counters", {})
    causes = _label(name, f"{path}.name") if name else [required(f"{path}.name")]
    if not members:
        return [*causes, required(f"{path}.counters")]
    return causes + [cause for member in members for cause in _label(member, f"{path}.counters")]


def _device(device: Object, path: str, *, placed: bool) -> list[Cause]:
    causes = _label(device.get("name", ""), f"{path}.name")
    for name, attribute in device.get("attributes", {}).items():
        causes += _qualified_name(name, f"{path}.attributes") + _attribute(attribute, f"{path}.attributes[{name}]")
    for name in device.get("capacity", {}):
        causes += _qualified_name(name, f"{path}.capacity")
    for i, taint in enumerate(device.get("taints", ())):
        where = f"{path}.taints[{i}]"
        causes += qualified(f"{where}.key", taint.get("key", ""))
        causes += _label_value(taint.get("value", ""), f"{where}.value")
        causes += one_of(f"{where}.effect", taint.get("effect"), _EFFECTS, needed=True)
    return causes + _places(device, path, placed=placed)


def _places(device: Object, path: str, *, placed: bool) -> list[Cause]:
    given = [name for name in ("nodeName", "nodeSelector", "allNodes") if name in device]
    if not placed:
        return [invalid_value(path, None, _NO_PLACE)] if given else []
    causes: list[Cause] = []
    found = [name for name in given if device[name] or name == "nodeSelector"]
    if "nodeName" in device:
        name, where = device["nodeName"], f"{path}.nodeName"
        problems = problems_of_dns1123_subdomain(name) if name else ["must not be empty"]
        causes += [invalid_value(where, name, problem) for problem in problems]
    if "nodeSelector" in device:
        causes += node_selector_causes(device["nodeSelector"], f"{path}.nodeSelector")
    if device.get("allNodes") is False:
        causes.append(invalid_value(f"{path}.allNodes", False, "must be either unset or set to true"))
    if not found:
        causes.append(required(path, _ONE_PLACE))
    elif len(found) > 1:
        causes.append(invalid_value(path, "{" + ", ".join(f"`{name}`" for name in found) + "}", _ONE_PLACE))
    return causes


def _attribute(attribute: Object | None, path: str) -> list[Cause]:
    given = attribute or {}
    causes: list[Cause] = []
    if len(given.get("string", "")) > _MAX_VALUE:
        causes.append(too_long(f"{path}.string", _MAX_VALUE))
    version = given.get("version")
    if version is not None:
        if not _VERSION.match(version):
            text = "must be a string compatible with semver.org spec 2.0.0"
            causes.append(invalid_value(f"{path}.version", version, text))
        if len(version) > _MAX_VALUE:
            causes.append(too_long(f"{path}.version", _MAX_VALUE))
    if not given:
        causes.append(invalid_value(path, "", "exactly one value must be specified"))
    return causes
