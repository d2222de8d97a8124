"""Pods and their containers."""

from collections.abc import Sequence

from kubedyno.base.times import epoch_of
from kubedyno.cluster.apiserver.kubestate.samples import Object, Samples, amount, resource_label, unit_of

_PHASES = ("Pending", "Succeeded", "Failed", "Unknown", "Running")
_CLASSES = ("BestEffort", "Burstable", "Guaranteed")
_REASONS = (
    "Evicted", "NodeAffinity", "NodeLost", "PreemptionByScheduler", "SchedulingGated", "Shutdown",
    "TerminationByKubelet", "UnexpectedAdmissionError",
)  # fmt: skip
_DISRUPTIONS = frozenset({
    "DeletionByPodGC", "DeletionByTaintManager", "EvictionByEvictionAPI", "PreemptionByScheduler",
    "TerminationByKubelet",
})  # fmt: skip
# Condition → the family of the time at which it became true.
_BECAME = {
    "PodScheduled": "kube_pod_status_scheduled_time",
    "Initialized": "kube_pod_status_initialized_time",
    "ContainersReady": "kube_pod_status_container_ready_time",
    "Ready": "kube_pod_status_ready_time",
}
_VERDICTS = {"Ready": "kube_pod_status_ready", "PodScheduled": "kube_pod_status_scheduled"}


def pod(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a Pod."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    owner: Object = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), {})
    add.add(
        "kube_pod_info",
        host_ip=status.get("hostIP", ""),
        pod_ip=status.get("podIP", ""),
        node=spec.get("nodeName", ""),
        created_by_kind=owner.get("kind", ""),
        created_by_name=owner.get("name", ""),
        priority_class=spec.get("priorityClassName", ""),
        host_network=str(bool(spec.get("hostNetwork"))).lower(),
    )
    for ip in status.get("podIPs") or ():
        add.add("kube_pod_ips", ip=ip["ip"], ip_family="6" if ":" in ip["ip"] else "4")
    add.times("kube_pod_", meta, deletion_timestamp="deletionTimestamp")
    add.times("kube_pod_", status, start_time="startTime")
    add.owners("kube_pod_owner", meta)
    _of_spec(add, meta, spec, status)
    _of_status(add, status)
    _containers(add, "kube_pod_container", spec.get("containers") or (), status.get("containerStatuses") or (), spec)
    inits = spec.get("initContainers") or ()
    _containers(add, "kube_pod_init_container", inits, status.get("initContainerStatuses") or (), spec)


def _of_spec(add: Samples, meta: Object, spec: Object, status: Object) -> None:
    add.add("kube_pod_restart_policy", type=spec.get("restartPolicy", ""))
    add.add("kube_pod_service_account", service_account=spec.get("serviceAccountName", ""))
    add.add("kube_pod_scheduler", name=spec.get("schedulerName", ""))
    if spec.get("runtimeClassName"):
        add.add("kube_pod_runtimeclass_name_info", runtimeclass_name=spec["runtimeClassName"])
    for name, family in (("cpu", "kube_pod_overhead_cpu_cores"), ("memory", "kube_pod_overhead_memory_bytes")):
        if name in (spec.get("overhead") or {}):
            add.add(family, amount(spec["overhead"][name]))
    seen: set[tuple[str, ...]] = set()
    for toleration in spec.get("tolerations") or ():
        values = {name: str(toleration.get(name, "")) for name in ("key", "operator", "value", "effect")}
        seconds = str(toleration.get("tolerationSeconds", ""))
        if (*values.values(), seconds) not in seen:
            seen.add((*values.values(), seconds))
            add.add("kube_pod_tolerations", **values, toleration_seconds=seconds)
    for volume in spec.get("volumes") or ():
        claim = volume.get("persistentVolumeClaim")
        if claim is None and "ephemeral" not in volume:
            continue
        labels = {
            "volume": volume["name"],
            "persistentvolumeclaim": claim["claimName"] if claim else f"{meta['name']}-{volume['name']}",
            "ephemeral": str(claim is None).lower(),
        }
        add.add("kube_pod_spec_volumes_persistentvolumeclaims_info", **labels)
        if claim:
            read_only = float(bool(claim.get("readOnly")))
            add.add("kube_pod_spec_volumes_persistentvolumeclaims_readonly", read_only, **labels)
    made = {entry["name"]: entry.get("resourceClaimName") for entry in status.get("resourceClaimStatuses") or ()}
    for claim in spec.get("resourceClaims") or ():
        add.add(
            "kube_pod_resourceclaim_info",
            claim_name=claim["name"],
            resourceclaim_name=claim.get("resourceClaimName") or made.get(claim["name"]) or "",
            resourceclaim_template_name=claim.get("resourceClaimTemplateName") or "",
        )


def _of_status(add: Samples, status: Object) -> None:
    conditions, statuses = status.get("conditions") or (), status.get("containerStatuses") or ()
    if status.get("phase"):
        add.states("kube_pod_status_phase", status["phase"], _PHASES, "phase")
    if status.get("qosClass"):
        add.states("kube_pod_status_qos_class", status["qosClass"], _CLASSES, "qos_class")
    reasons = {status.get("reason"), *(condition.get("reason") for condition in conditions)}
    reasons.update(((entry.get("state") or {}).get("terminated") or {}).get("reason") for entry in statuses)
    for reason in _REASONS:
        if reason in reasons:
            add.add("kube_pod_status_reason", reason=reason)
    if status.get("reason") and status["reason"] not in _REASONS:
        add.add("kube_pod_status_reason", reason="Other")
    for condition in conditions:
        kind, since = condition["type"], condition.get("lastTransitionTime")
        if kind in _VERDICTS:
            add.verdict(_VERDICTS[kind], condition["status"], "condition")
        if kind in _BECAME and condition["status"] == "True" and since:
            add.add(_BECAME[kind], epoch_of(since))
        if kind == "PodScheduled" and condition["status"] == "False":
            add.add("kube_pod_status_unschedulable")
            add.times("kube_pod_status_", condition, unscheduled_time="lastTransitionTime")
        if kind == "DisruptionTarget":
            reason = condition.get("reason", "")
            add.add("kube_pod_status_disruption_reason", reason=reason if reason in _DISRUPTIONS else "Other")
    ends = [((entry.get("state") or {}).get("terminated") or {}).get("finishedAt") for entry in statuses]
    if any(ends):
        add.add("kube_pod_completion_time", max(epoch_of(end) for end in ends if end))


def _containers(
    add: Samples, prefix: str, containers: Sequence[Object], statuses: Sequence[Object], spec: Object
) -> None:
    declared = {container["name"]: container for container in containers}
    init = prefix == "kube_pod_init_container"
    for entry in statuses:
        name = entry["name"]
        container = declared.get(name)
        if container is not None:
            more = {"restart_policy": container.get("restartPolicy") or ""} if init else {}
            add.add(
                f"{prefix}_info",
                container=name,
                image_spec=container.get("image", ""),
                image=entry.get("image", ""),
                image_id=entry.get("imageID", ""),
                container_id=entry.get("containerID", ""),
                **more,
            )
        _container_status(add, prefix, entry)
    for container in containers:
        for what in ("requests", "limits"):
            for resource, text in ((container.get("resources") or {}).get(what) or {}).items():
                add.add(
                    f"{prefix}_resource_{what}",
                    amount(text),
                    container=container["name"],
                    node=spec.get("nodeName", ""),
                    resource=resource_label(resource),
                    unit=unit_of(resource),
                )


def _container_status(add: Samples, prefix: str, entry: Object) -> None:
    of = {"container": entry["name"]}
    state, last = entry.get("state") or {}, (entry.get("lastState") or {}).get("terminated")
    add.add(f"{prefix}_status_restarts_total", entry.get("restartCount", 0), **of)
    add.add(f"{prefix}_status_ready", float(bool(entry.get("ready"))), **of)
    for each in ("running", "waiting", "terminated"):
        add.add(f"{prefix}_status_{each}", float(each in state), **of)
    for each in ("waiting", "terminated"):
        reason = (state.get(each) or {}).get("reason")
        if reason:
            add.add(f"{prefix}_status_{each}_reason", **of, reason=reason)
    started = (state.get("running") or state.get("terminated") or {}).get("startedAt")
    if started:
        add.add(f"{prefix}_state_started", epoch_of(started), **of)
    if last is not None:
        if last.get("reason"):
            add.add(f"{prefix}_status_last_terminated_reason", **of, reason=last["reason"])
        add.add(f"{prefix}_status_last_terminated_exitcode", last.get("exitCode", 0), **of)
        if last.get("finishedAt"):
            add.add(f"{prefix}_status_last_terminated_timestamp", epoch_of(last["finishedAt"]), **of)
