"""Pods: defaults, what may change, facts, field selectors and kubectl's row."""

from typing import Any

from kubedyno.base.times import epoch_of, human_duration
from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.addresswarnings import ip_warnings
from kubedyno.cluster.registry.kinds.ephemeralcontainers import ephemeral_change_causes
from kubedyno.cluster.registry.kinds.podfacts import PodFacts, PodSpecFacts, pod_facts
from kubedyno.cluster.registry.kinds.podqos import qos_class
from kubedyno.cluster.registry.kinds.podresize import resize_causes, resized_spec
from kubedyno.cluster.registry.kinds.podspec import default_pod_spec, match_label_keys
from kubedyno.cluster.registry.kinds.podstatusvalidation import validate_pod_status
from kubedyno.cluster.registry.kinds.podupdates import validate_pod_update
from kubedyno.cluster.registry.kinds.podvalidation import MIRROR_ANNOTATION, validate_pod, validate_pod_spec
from kubedyno.cluster.registry.kinds.podwarnings import name_warnings, pod_warnings
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.status import Cause, forbidden_field
from kubedyno.statedb.records import Index

__all__ = ["PodFacts", "PodSpecFacts", "Pods", "pod_facts"]

_FIELDS = (
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
    "status.phase", "status.podIP", "status.podIPs", "status.nominatedNodeName",
)  # fmt: skip
# Of a part of a host's name.
_MAX_LABEL = 63
_ENDS = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
_DONE = frozenset(_ENDS)


def _node_keys(obj: StoredObject) -> tuple[str, ...]:
    node = obj.facts.node_name
    return (node,) if node else ()


class Pods(Kind):
    """core/v1 Pod.

    Attributes:
        memory_shrinks: A resize may take memory from a container that goes on running.
    """

    memory_shrinks = True

    metadata_checks = "uw"
    has_status = True
    has_generation = True
    graceful = True
    returns_deleted = True
    legacy_fields = True
    status_keeps = ("ownerReferences",)
    field_paths = _FIELDS
    indexes = (Index("node", _node_keys),)

    def default(self, obj: Object) -> None:
        default_pod_spec(obj.setdefault("spec", {}), pod=True)
        status = obj.get("status")
        if status:
            # The one address is always the first of the list.
            given, listed = status.get("podIP", ""), status.get("podIPs")
            if given and (not listed or listed[0].get("ip", "") != given):
                status["podIPs"] = [{"ip": given}]
            elif listed and not given and listed[0].get("ip"):
                status["podIP"] = listed[0]["ip"]

    def prepare_create(self, obj: Object) -> None:
        match_label_keys(obj["spec"], obj["metadata"].get("labels", {}))
        obj["status"] = {"phase": "Pending", "qosClass": qos_class(obj["spec"])}
        gates = obj["spec"].get("schedulingGates")
        if gates:
            obj["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": None,
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]

    def prepare_update(self, obj: Object, old: Object) -> None:
        obj["status"] = old.get("status", {})
        # The node is set by a binding alone, and stays.
        if "nodeName" in old.get("spec", {}):
            obj["spec"].setdefault("nodeName", old["spec"]["nodeName"])

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        qos = old.get("status", {}).get("qosClass")
        if qos:
            new["status"].setdefault("qosClass", qos)
        return new

    def prepare_part(self, subresource: str, obj: Object, old: Object) -> Object:
        metadata = {**old["metadata"], "resourceVersion": obj["metadata"].get("resourceVersion", "")}
        if subresource == "resize":
            return {**old, "metadata": metadata, "spec": resized_spec(obj["spec"], old["spec"])}
        spec = dict(old["spec"])
        if obj["spec"].get("ephemeralContainers"):
            spec["ephemeralContainers"] = obj["spec"]["ephemeralContainers"]
        else:
            spec.pop("ephemeralContainers", None)
        return {**old, "metadata": metadata, "spec": spec}

    def validate(self, obj: Object) -> list[Cause]:
        return validate_pod(obj)

    def validate_stored(self, obj: Object) -> list[Cause]:
        return validate_pod_spec(obj["spec"], "spec", pod=obj["metadata"].get("name", ""))

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return validate_pod_update(obj, old)

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        return validate_pod_status(obj, old)

    def validate_part(self, subresource: str, obj: Object, old: Object) -> list[Cause]:
        if subresource == "resize":
            return resize_causes(obj, old, memory_shrinks=self.memory_shrinks)
        if MIRROR_ANNOTATION in old["metadata"].get("annotations", {}):
            return [forbidden_field("", "static pods do not support ephemeral containers")]
        causes = validate_pod_spec(obj["spec"], "spec", pod=obj["metadata"].get("name", ""))
        return causes + ephemeral_change_causes(obj["spec"], old["spec"])

    def warnings(self, obj: Object) -> list[str]:
        name = obj["metadata"].get("name", "")
        # All else of a name was looked at before.
        names = name_warnings(name, "the Pod's hostname") if "." in name or len(name) > _MAX_LABEL else []
        return names + pod_warnings(obj.get("spec", {}), "spec", obj["metadata"].get("annotations", {}))

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        # Pods change often, and seldom by hand.
        _ = obj, old
        return []

    def warnings_of_status(self, obj: Object, old: Object) -> list[str]:
        _ = old
        status = obj.get("status", {})
        return [
            warning
            for name in ("podIPs", "hostIPs")
            for i, each in enumerate(status.get(name, ()))
            for warning in ip_warnings(f"status.{name}[{i}].ip", each.get("ip", ""))
        ]

    def facts(self, obj: Object) -> PodFacts:
        return pod_facts(obj)

    def field(self, record: ObjectRecord, name: str) -> str | None:
        facts: PodFacts = record.obj.facts
        match name:
            case "spec.nodeName":
                return facts.node_name
            case "status.phase":
                return facts.phase
            case "status.podIP":
                return facts.pod_ip
            case "status.podIPs":
                # May be asked for, and yet no pod has it: so in Kubernetes.
                return ""
            case "spec.schedulerName":
                return facts.spec.scheduler_name
            case "spec.serviceAccountName":
                return facts.spec.service_account
            case "spec.restartPolicy":
                return facts.spec.restart_policy
            case "spec.hostNetwork":
                return "true" if facts.spec.host_network else "false"
        return super().field(record, name)

    def field_of(self, obj: Object, name: str) -> str:
        if name == "spec.hostNetwork":
            return "true" if obj.get("spec", {}).get("hostNetwork") else "false"
        return "" if name == "status.podIPs" else super().field_of(obj, name)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        ready, total, reason, restarts = summary_of(obj, now_s)
        addresses = status.get("podIPs") or ([{"ip": status["podIP"]}] if status.get("podIP") else [])
        return [
            obj["metadata"]["name"],
            f"{ready}/{total}",
            reason,
            restarts,
            age(obj, now_s),
            addresses[0].get("ip", "<none>") if addresses else "<none>",
            spec.get("nodeName") or "<none>",
            status.get("nominatedNodeName") or "<none>",
            _gates(spec, status),
        ]

    def row_conditions(self, obj: Object) -> list[Object]:
        phase = obj.get("status", {}).get("phase", "")
        if phase not in _ENDS:
            return []
        return [{"type": "Completed", "status": "True", "reason": phase, "message": _ENDS[phase]}]


def _gates(spec: Object, status: Object) -> str:
    gates = spec.get("readinessGates")
    if not gates:
        return "<none>"
    true = {c.get("type") for c in status.get("conditions", ()) if c.get("status") == "True"}
    return f"{sum(g.get('conditionType') in true for g in gates)}/{len(gates)}"


def _is_sidecar(spec: Object, name: str) -> bool:
    return any(c.get("name") == name and c.get("restartPolicy") == "Always" for c in spec.get("initContainers", ()))


def summary_of(pod: Object, now_s: float) -> tuple[int, int, str, str]:
    """Return (ready containers, containers, kubectl's STATUS, kubectl's RESTARTS); rule: printers' printPod."""
    spec, status, metadata = pod.get("spec", {}), pod.get("status", {}), pod["metadata"]
    reason = status.get("reason") or status.get("phase") or ""
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    total = len(spec.get("containers") or ())
    ready = restarts = sidecar_restarts = 0
    last_s = last_sidecar_s = 0.0
    initializing = False
    init_specs = spec.get("initContainers", ())
    total += sum(c.get("restartPolicy") == "Always" for c in init_specs)
    for i, container in enumerate(status.get("initContainerStatuses", ())):
        state = container.get("state", {})
        terminated, waiting = state.get("terminated"), state.get("waiting")
        count, ended_s = container.get("restartCount", 0), _last_end_s(container)
        restarts, last_s = restarts + count, max(last_s, ended_s)
        sidecar = _is_sidecar(spec, container.get("name", ""))
        if sidecar:
            sidecar_restarts, last_sidecar_s = sidecar_restarts + count, max(last_sidecar_s, ended_s)
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            if terminated.get("reason"):
                reason = f"Init:{terminated['reason']}"
            elif terminated.get("signal"):
                reason = f"Init:Signal:{terminated['signal']}"
            else:
                reason = f"Init:ExitCode:{terminated.get('exitCode', 0)}"
        elif waiting is not None and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            reason = f"Init:{waiting['reason']}"
        else:
            reason = f"Init:{i}/{len(init_specs)}"
        initializing = True
        break
    initialized = any(
        c.get("type") == "Initialized" and c.get("status") == "True" for c in status.get("conditions", ())
    )
    if not initializing or initialized:
        restarts, last_s = sidecar_restarts, last_sidecar_s
        running = False
        for container in reversed(status.get("containerStatuses", ())):
            state = container.get("state", {})
            terminated, waiting = state.get("terminated"), state.get("waiting")
            restarts, last_s = restarts + container.get("restartCount", 0), max(last_s, _last_end_s(container))
            if waiting is not None and waiting.get("reason"):
                reason = waiting["reason"]
            elif terminated is not None and terminated.get("reason"):
                reason = terminated["reason"]
            elif terminated is not None:
                signal = terminated.get("signal")
                reason = f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"
            elif container.get("ready") and "running" in state:
                running = True
                ready += 1
        if reason == "Completed" and running:
            is_ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions", ()))
            reason = "Running" if is_ready else "NotReady"
    if metadata.get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in _DONE:
            reason = "Terminating"
    text = str(restarts)
    if restarts and last_s:
        text = f"{restarts} ({human_duration(now_s - last_s)} ago)"
    return ready, total, reason, text


def _last_end_s(container: Object) -> float:
    finished = container.get("lastState", {}).get("terminated", {}).get("finishedAt")
    return epoch_of(finished) if finished else 0.0
