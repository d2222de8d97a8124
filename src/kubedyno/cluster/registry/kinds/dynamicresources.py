"""resource.k8s.io: devices, classes of them, and claims on them."""

import re
from typing import Any

from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.devicevalidation import (
    allocation_causes,
    claim_causes,
    claim_status_causes,
    counter_set_causes,
    device_set_causes,
    driver_causes,
    opaque_causes,
    pool_causes,
    requests_of,
    selector_causes,
)
from kubedyno.cluster.registry.kinds.rules import IMMUTABLE, qualified, unchanged, unchanged_struct
from kubedyno.cluster.registry.kinds.schedulingvalidation import node_selector_causes
from kubedyno.kube.gostructs import shown
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.status import BadRequest, Cause, invalid_value, required

_UNSET = "<unset>"
_PLACES = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_ONE_PLACE = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
_EXTENDED = re.compile(r"(?!requests\.)[^/]+/[^/]+\Z")


def _default_claim(spec: Object) -> None:
    spec.setdefault("devices", {})
    for request, _, _ in requests_of(spec, ""):
        request.setdefault("allocationMode", "ExactCount")
        if request["allocationMode"] == "ExactCount" and not request.get("count"):
            request["count"] = 1
        for toleration in request.get("tolerations", ()):
            toleration.setdefault("operator", "Equal")


class DeviceClasses(Kind):
    """resource.k8s.io/v1 DeviceClass."""

    checks_prefix = False
    metadata_checks = "wu"
    returns_deleted = True
    has_generation = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate(self, obj: Object) -> list[Cause]:
        causes: list[Cause] = []
        for i, selector in enumerate(obj["spec"].get("selectors", ())):
            causes += selector_causes(selector, f"spec.selectors[{i}]")
        for i, config in enumerate(obj["spec"].get("config", ())):
            causes += opaque_causes(config, f"spec.config[{i}]")
        name = obj["spec"].get("extendedResourceName")
        if name is not None and (not _EXTENDED.match(name) or "kubernetes.io/" in name or qualified("", name)):
            causes.append(invalid_value("spec.extendedResourceName", name, "must be a valid extended resource name"))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], age(obj, now_s)]


class ResourceClaims(Kind):
    """resource.k8s.io/v1 ResourceClaim."""

    metadata_checks = "wu"
    returns_deleted = True
    status_keeps = METADATA
    has_status = True

    def default(self, obj: Object) -> None:
        _default_claim(obj.setdefault("spec", {}))

    def validate(self, obj: Object) -> list[Cause]:
        return claim_causes(obj["spec"], "spec")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return unchanged_struct("spec", "resource.v1.ResourceClaimSpec", obj["spec"], old["spec"])

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        status = obj.get("status", {})
        causes = claim_status_causes(status)
        allocation, before = status.get("allocation"), old.get("status", {}).get("allocation")
        if allocation is None:
            return causes
        if before is not None:
            return causes + unchanged_struct("status.allocation", "resource.v1.AllocationResult", allocation, before)
        return causes + allocation_causes(allocation, old["spec"], "status.allocation")

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

    metadata_checks = "wu"
    returns_deleted = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("metadata", {})
        _default_claim(spec.setdefault("spec", {}))

    def validate(self, obj: Object) -> list[Cause]:
        return claim_causes(obj["spec"]["spec"], "spec.spec")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        if obj["spec"] == old["spec"]:
            return causes
        # The metadata of the template stands in the internal struct itself.
        spec = {**obj["spec"]["metadata"], "Spec": shown("resource.v1.ResourceClaimSpec", obj["spec"]["spec"])}
        return [*causes, invalid_value("spec", spec, IMMUTABLE)]

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

    def prepare_create(self, obj: Object) -> None:
        for device in obj["spec"].get("devices", ()):
            for taint in device.get("taints", ()):
                taint.setdefault("timeAdded", obj["metadata"].get("creationTimestamp"))

    def validate(self, obj: Object) -> list[Cause]:
        return self._causes(obj["spec"], None)

    def _causes(self, spec: Object, old: Object | None) -> list[Cause]:
        causes = driver_causes(spec["driver"], "spec.driver") + pool_causes(spec["pool"], "spec.pool")
        if old is not None:
            causes += unchanged("spec.pool.name", spec["pool"].get("name", ""), old["pool"].get("name", ""))
            for name in ("driver", "nodeName"):
                causes += unchanged(f"spec.{name}", spec.get(name), old.get(name))
        node = spec.get("nodeName")
        if node is not None:
            text = "must be either unset or set to a non-empty string"
            problems = problems_of_dns1123_subdomain(node) if node else [text]
            causes += [invalid_value("spec.nodeName", node, problem) for problem in problems]
        if "nodeSelector" in spec:
            selector, path = spec["nodeSelector"], "spec.nodeSelector"
            causes += node_selector_causes(selector, path)
            terms = selector.get("nodeSelectorTerms") or []
            if len(terms) != 1:
                text = "must have exactly one node selector term"
                causes.append(invalid_value(f"{path}.nodeSelectorTerms", terms or None, text))
        causes += [
            invalid_value(f"spec.{name}", False, "must be either unset or set to true")
            for name in ("allNodes", "perDeviceNodeSelection")
            if spec.get(name) is False
        ]
        found = [name for name in _PLACES if spec.get(name) or (name == "nodeSelector" and name in spec)]
        if not found:
            causes.append(required("spec", _ONE_PLACE))
        elif len(found) > 1:
            given = "{" + ", ".join(f"`{name}`" for name in found) + "}"
            causes.append(invalid_value("spec", given, f"{_ONE_PLACE}, but multiple fields are set"))
        if spec.get("sharedCounters") and spec.get("devices"):
            causes.append(invalid_value("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
        placed = bool(spec.get("perDeviceNodeSelection"))
        causes += device_set_causes(spec.get("devices", ()), "spec.devices", placed=placed)
        return causes + counter_set_causes(spec.get("sharedCounters", ()), "spec.sharedCounters")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return self._causes(obj["spec"], old["spec"])

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        return [
            obj["metadata"]["name"],
            spec.get("nodeName", _UNSET),
            spec.get("driver", ""),
            spec.get("pool", {}).get("name", ""),
            age(obj, now_s),
        ]
