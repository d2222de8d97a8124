"""Nodes: capacity, conditions, taints, PodCIDR."""

from typing import Any

import msgspec

from kubedyno.cluster.registry.cells import NONE, UNKNOWN, age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.addresswarnings import cidr_warnings, network_of
from kubedyno.cluster.registry.kinds.networking import cidr_causes
from kubedyno.cluster.registry.kinds.rules import repeated
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.names import problems_of_label_value, problems_of_qualified_name
from kubedyno.kube.quantity import milli_of, value_of
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_NODE_INFO = (
    "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
    "kubeProxyVersion", "operatingSystem", "architecture",
)  # fmt: skip
_NOT_READY_TAINT = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_ROLE_PREFIX = "node-role.kubernetes.io/"


class NodeFacts(msgspec.Struct, frozen=True, gc=False):
    """A node's facts.

    Attributes:
        ready: Its Ready condition is True.
        unschedulable: spec.unschedulable.
        taints: (key, value, effect) each.
        pod_cidr: spec.podCIDR, "" when it has none.
        cpu_milli: Allocatable CPU in thousandths.
        memory_bytes: Allocatable memory.
        pods: Allocatable pods.
        extra: (resource name, amount) of what else is allocatable.
        addresses: (type, address) each.
        images: (name, bytes) of each image that it has.
    """

    ready: bool
    unschedulable: bool
    taints: tuple[tuple[str, str, str], ...]
    pod_cidr: str
    cpu_milli: int
    memory_bytes: int
    pods: int
    extra: tuple[tuple[str, int], ...]
    addresses: tuple[tuple[str, str], ...]
    images: tuple[tuple[str, int], ...] = ()


def node_facts(node: Object) -> NodeFacts:
    """Return the facts of a node."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    allocatable = dict(status.get("allocatable") or {})
    cpu, memory, pods = allocatable.pop("cpu", "0"), allocatable.pop("memory", "0"), allocatable.pop("pods", "0")
    return NodeFacts(
        any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions", ())),
        bool(spec.get("unschedulable")),
        tuple((t.get("key", ""), t.get("value", ""), t.get("effect", "")) for t in spec.get("taints", ())),
        spec.get("podCIDR", ""),
        milli_of(cpu),
        value_of(memory),
        value_of(pods),
        tuple((name, value_of(text)) for name, text in sorted(allocatable.items())),
        tuple((a.get("type", ""), a.get("address", "")) for a in status.get("addresses", ())),
        tuple(
            (name, image.get("sizeBytes", 0))
            for image in status.get("images") or ()
            for name in image.get("names") or ()
        ),
    )


def _align_cidrs(spec: Object) -> None:
    """Bring podCIDR and podCIDRs together, in place: the first of the list is the one that stands alone."""
    cidr, cidrs = spec.get("podCIDR"), spec.get("podCIDRs")
    if cidr and (not cidrs or cidrs[0] != cidr):
        spec["podCIDRs"] = [cidr]
    elif cidrs and not cidr:
        spec["podCIDR"] = cidrs[0]


def _taint_causes(node: Object) -> list[Cause]:
    """Return what is wrong with a node's taints; the real server tells them of its metadata."""
    causes: list[Cause] = []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(node["spec"].get("taints", ())):
        path = f"metadata.taints[{i}]"
        key, effect = taint.get("key", ""), taint.get("effect", "")
        value = taint.get("value", "")
        causes += [invalid_value(f"{path}.key", key, p) for p in problems_of_qualified_name(key)]
        causes += [invalid_value(f"{path}.value", value, p) for p in problems_of_label_value(value)]
        if effect not in _EFFECTS:
            causes.append(
                not_supported(f"{path}.effect", effect, _EFFECTS) if effect else required(f"{path}.effect", "")
            )
        if (key, effect) in seen:
            shown = {
                "Key": key, "Value": taint.get("value", ""), "Effect": effect, "TimeAdded": taint.get("timeAdded"),
            }  # fmt: skip
            cause = duplicate(path, shown)
            text = f"{cause.message}: taints must be unique by key and effect pair"
            causes.append(Cause(cause.reason, path, text))
        seen.add((key, effect))
    return causes


class Nodes(Kind):
    """core/v1 Node."""

    metadata_checks = "wu"
    selects_namespace = False
    has_status = True
    legacy_fields = True
    field_paths = ("spec.unschedulable",)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if "podCIDR" in spec and not spec.get("podCIDRs"):
            spec["podCIDRs"] = [spec["podCIDR"]]
        status = obj.setdefault("status", {})
        if "capacity" in status:
            status.setdefault("allocatable", dict(status["capacity"]))
        status.setdefault("daemonEndpoints", {}).setdefault("kubeletEndpoint", {}).setdefault("Port", 0)
        info = status.setdefault("nodeInfo", {})
        for name in _NODE_INFO:
            info.setdefault(name, "")

    def prepare_create(self, obj: Object) -> None:
        """A node keeps the status it is created with, and starts tainted until it is seen Ready."""
        # Configuration from the API went with its gate.
        obj["spec"].pop("configSource", None)
        _align_cidrs(obj["spec"])
        taints = obj["spec"].setdefault("taints", [])
        if not any(t.get("key") == _NOT_READY_TAINT["key"] and t.get("effect") == "NoSchedule" for t in taints):
            taints.append(dict(_NOT_READY_TAINT))

    def warnings(self, obj: Object) -> list[str]:
        spec = obj.get("spec", {})
        warnings = ["spec.configSource: the feature is removed"] if "configSource" in spec else []
        if spec.get("externalID"):
            warnings.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
        for i, cidr in enumerate(spec.get("podCIDRs", ())):
            warnings += cidr_warnings(f"spec.podCIDRs[{i}]", cidr)
        return warnings

    def warnings_of_status(self, obj: Object, old: Object) -> list[str]:
        _ = old
        return self.warnings(obj)

    def validate(self, obj: Object) -> list[Cause]:
        causes = _taint_causes(obj)
        cidrs, path = obj["spec"].get("podCIDRs", []), "spec.podCIDRs"
        wrong = [cause for i, cidr in enumerate(cidrs) for cause in cidr_causes(f"{path}[{i}]", cidr)]
        if len(cidrs) > 1:
            text = "invalid PodCIDRs. failed to check with dual stack with error:"
            broken = next((i for i, cidr in enumerate(cidrs) if network_of(cidr) is None), None)
            if broken is not None:
                text += f"invalid CIDR[{broken}]: <nil> (invalid CIDR address: {cidrs[broken]})"
                wrong.append(Cause("InternalError", path, f"Internal error: {text}"))
            if broken is not None or len(cidrs) > 2 or len({":" in cidr for cidr in cidrs}) == 1:
                wrong.append(invalid_value(path, cidrs, "may specify no more than one CIDR for each IP family"))
        return causes + wrong

    def prepare_update(self, obj: Object, old: Object) -> None:
        obj["status"] = old.get("status", {})
        if "configSource" not in old.get("spec", {}):
            obj["spec"].pop("configSource", None)
        _align_cidrs(obj["spec"])

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        # Taints are looked at twice.
        causes = self.validate(obj) + _taint_causes(obj)
        before, after = old["spec"], obj["spec"]
        if before.get("podCIDRs") and before.get("podCIDRs") != after.get("podCIDRs"):
            causes.append(
                forbidden_field("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
            )
        if before.get("providerID") and before["providerID"] != after.get("providerID"):
            causes.append(
                forbidden_field("spec.providerID", 'node updates may not change providerID except from "" to valid')
            )
        return causes

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        addresses = [(a.get("type", ""), a.get("address", "")) for a in obj.get("status", {}).get("addresses", ())]
        return [
            duplicate(f"status.addresses[{i}]", {"Type": address[0], "Address": address[1]})
            for i, address in repeated(addresses)
        ]

    def facts(self, obj: Object) -> NodeFacts:
        return node_facts(obj)

    def field(self, record: ObjectRecord, name: str) -> str | None:
        if name == "spec.unschedulable":
            return "true" if record.obj.facts.unschedulable else "false"
        return super().field(record, name)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        status, labels = obj.get("status", {}), obj["metadata"].get("labels", {})
        info = status.get("nodeInfo", {})
        state = next((c.get("status") for c in status.get("conditions", ()) if c.get("type") == "Ready"), None)
        text = "Unknown" if state is None else "Ready" if state == "True" else "NotReady"
        if obj.get("spec", {}).get("unschedulable"):
            text += ",SchedulingDisabled"
        roles = sorted(
            {k[len(_ROLE_PREFIX) :] for k in labels if k.startswith(_ROLE_PREFIX) and k != _ROLE_PREFIX}
            | ({labels["kubernetes.io/role"]} if labels.get("kubernetes.io/role") else set())
        )
        return [
            obj["metadata"]["name"],
            text,
            ",".join(roles) or NONE,
            age(obj, now_s),
            info.get("kubeletVersion", ""),
            _address(status, "InternalIP"),
            _address(status, "ExternalIP"),
            info.get("osImage") or UNKNOWN,
            _kernel(info),
            info.get("containerRuntimeVersion") or UNKNOWN,
        ]


def _kernel(info: Object) -> str:
    kernel, architecture = info.get("kernelVersion"), info.get("architecture")
    if not kernel:
        return UNKNOWN
    return f"{kernel} ({architecture})" if architecture else str(kernel)


def _address(status: Object, kind: str) -> str:
    return next((str(a["address"]) for a in status.get("addresses", ()) if a.get("type") == kind), NONE)
