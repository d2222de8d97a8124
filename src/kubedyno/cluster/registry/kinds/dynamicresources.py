"""resource.k8s.io: devices, classes of them, and claims on them."""

from collections.abc import Iterator
from typing import Any

from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import named, one_of
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain
from kubedyno.kube.status import BadRequest, Cause, duplicate, invalid_value, required

_MODES = ("All", "ExactCount")
_MAX_REQUESTS = 32
_UNSET = "<unset>"


def _requests(spec: Object, path: str) -> Iterator[tuple[Object, str, bool]]:
    """Yield each request for devices with its path; True for one of several alternatives."""
    for i, request in enumerate(spec.get("devices", {}).get("requests", ())):
        where = f"{path}.devices.requests[{i}]"
        if "exactly" in request:
            yield request["exactly"], f"{where}.exactly", False
        for j, alternative in enumerate(request.get("firstAvailable", ())):
            yield alternative, f"{where}.firstAvailable[{j}]", True


def _default_claim(spec: Object) -> None:
    spec.setdefault("devices", {})
    for request, _, _ in _requests(spec, ""):
        request.setdefault("allocationMode", "ExactCount")
        if request["allocationMode"] == "ExactCount" and not request.get("count"):
            request["count"] = 1
        for toleration in request.get("tolerations", ()):
            toleration.setdefault("operator", "Equal")


def _claim_causes(spec: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    requests = spec["devices"].get("requests", [])
    if len(requests) > _MAX_REQUESTS:
        text = f"Too many: {len(requests)}: must have at most {_MAX_REQUESTS} items"
        causes.append(Cause("FieldValueTooMany", f"{path}.devices.requests", text))
    names: set[str] = set()
    for i, request in enumerate(requests):
        where, name = f"{path}.devices.requests[{i}]", request.get("name", "")
        causes += named(f"{where}.name", name, problems_of_dns1123_label)
        if name in names:
            causes.append(duplicate(f"{where}.name", name))
        names.add(name)
        if ("exactly" in request) == bool(request.get("firstAvailable")):
            text = "exactly one of `exactly` or `firstAvailable` is required"
            bad = "exactly" in request
            causes.append(invalid_value(where, request, text) if bad else required(where, text))
    for request, where, alternative in _requests(spec, path):
        if alternative:
            causes += named(f"{where}.name", request.get("name", ""), problems_of_dns1123_label)
        causes += named(f"{where}.deviceClassName", request.get("deviceClassName", ""))
        mode, count = request["allocationMode"], request.get("count", 0)
        causes += one_of(f"{where}.allocationMode", mode, _MODES)
        if mode == "ExactCount" and count <= 0:
            causes.append(invalid_value(f"{where}.count", count, "must be greater than zero"))
        elif mode == "All" and count:
            text = "must not be specified when allocationMode is 'All'"
            causes.append(invalid_value(f"{where}.count", count, text))
        for i, selector in enumerate(request.get("selectors", ())):
            causes += _selector(selector, f"{where}.selectors[{i}]")
    return causes


def _selector(selector: Object, path: str) -> list[Cause]:
    cel = selector.get("cel")
    if cel is None:
        return [required(f"{path}.cel")]
    return [] if cel.get("expression") else [required(f"{path}.cel.expression")]


class DeviceClasses(Kind):
    """resource.k8s.io/v1 DeviceClass."""

    returns_deleted = True
    has_generation = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Object) -> list[Cause]:
        causes: list[Cause] = []
        for i, selector in enumerate(obj["spec"].get("selectors", ())):
            causes += _selector(selector, f"spec.selectors[{i}]")
        for i, config in enumerate(obj["spec"].get("config", ())):
            causes += _opaque(config, f"spec.config[{i}]")
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], age(obj, now_s)]


def _opaque(config: Object, path: str) -> list[Cause]:
    opaque = config.get("opaque")
    if opaque is None:
        return [required(f"{path}.opaque")]
    causes = named(f"{path}.opaque.driver", opaque.get("driver", ""), problems_of_dns1123_subdomain)
    return [*causes, required(f"{path}.opaque.parameters")] if not opaque.get("parameters") else causes


class ResourceClaims(Kind):
    """resource.k8s.io/v1 ResourceClaim."""

    returns_deleted = True
    status_keeps = METADATA
    has_status = True

    def default(self, obj: Object) -> None:
        _default_claim(obj.setdefault("spec", {}))

    def validate(self, obj: Object) -> list[Cause]:
        return _claim_causes(obj["spec"], "spec")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        changed = obj["spec"] != old["spec"]
        return [invalid_value("spec", obj["spec"], "field is immutable")] if changed else []

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        status = obj.get("status", {})
        states = ["deleted"] if obj["metadata"].get("deletionTimestamp") else []
        if "allocation" not in status:
            states.append("pending")
        else:
            states.append("allocated")
            if status.get("reservedFor"):
                states.append("reserved")
        return [obj["metadata"]["name"], ",".join(states), age(obj, now_s)]


class ResourceClaimTemplates(Kind):
    """resource.k8s.io/v1 ResourceClaimTemplate."""

    returns_deleted = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("metadata", {})
        _default_claim(spec.setdefault("spec", {}))

    def validate(self, obj: Object) -> list[Cause]:
        return _claim_causes(obj["spec"]["spec"], "spec.spec")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        changed = obj["spec"] != old["spec"]
        return [invalid_value("spec", obj["spec"], "field is immutable")] if changed else []

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], age(obj, now_s)]


class ResourceSlices(Kind):
    """resource.k8s.io/v1 ResourceSlice."""

    selects_namespace = False
    returns_deleted = True
    has_generation = True
    field_paths = ("spec.nodeName", "spec.driver")

    def check_field(self, name: str) -> None:
        if not self.supports_field(name):
            raise BadRequest(f"field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: {name}")

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("driver", "")
        spec.setdefault("pool", {})
        for device in spec.get("devices", ()):
            for taint in device.get("taints", ()):
                taint.setdefault("timeAdded", obj["metadata"].get("creationTimestamp"))

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = named("spec.driver", spec["driver"])
        pool = spec["pool"]
        causes += named("spec.pool.name", pool.get("name", ""), lambda name: [
            problem for part in name.split("/") for problem in problems_of_dns1123_subdomain(part)
        ])  # fmt: skip
        count = pool.get("resourceSliceCount", 0)
        if count <= 0:
            causes.append(invalid_value("spec.pool.resourceSliceCount", count, "must be greater than zero"))
        places = [n for n in ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection") if spec.get(n)]
        if not places and not spec.get("sharedCounters"):
            text = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
            causes.append(required("spec", text))
        elif len(places) > 1:
            shown = "{" + ", ".join(f"`{name}`" for name in places) + "}"
            text = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"
            causes.append(invalid_value("spec", shown, text))
        names: set[str] = set()
        for i, device in enumerate(spec.get("devices", ())):
            name = device.get("name", "")
            causes += named(f"spec.devices[{i}].name", name, problems_of_dns1123_label)
            if name in names:
                causes.append(duplicate(f"spec.devices[{i}].name", name))
            names.add(name)
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        for name in ("nodeName", "driver"):
            if obj["spec"].get(name) != old["spec"].get(name):
                causes.append(invalid_value(f"spec.{name}", obj["spec"].get(name, ""), "field is immutable"))
        if obj["spec"]["pool"].get("name") != old["spec"]["pool"].get("name"):
            causes.append(invalid_value("spec.pool.name", obj["spec"]["pool"].get("name", ""), "field is immutable"))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        return [
            obj["metadata"]["name"],
            spec.get("nodeName", _UNSET),
            spec.get("driver", ""),
            spec.get("pool", {}).get("name", ""),
            age(obj, now_s),
        ]
