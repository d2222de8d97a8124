"""What a user must be allowed to do for a job to run and be measured: "verb Kind" and "verb Kind/subresource".

What only explains a run (events, replica sets, nodes of the report) is not in it: without that, the rest goes on.
"""

from collections.abc import Iterator

from kubedyno.kube.resources import by_kind
from kubedyno.load.config import measuring
from kubedyno.load.plan.plan import JobPlan, TargetPlan

# Measurement → kinds that it follows.
_FOLLOWED = {
    "podLatency": ("Pod", "Event"),
    "jobLatency": ("Job",),
    "nodeLatency": ("Node",),
    "pvcLatency": ("PersistentVolumeClaim",),
    "serviceLatency": ("Service", "EndpointSlice"),
    "netpolLatency": ("NetworkPolicy",),
    "vmiLatency": ("VirtualMachine", "VirtualMachineInstance", "Pod"),
    "vmimLatency": ("VirtualMachineInstanceMigration",),
    "dataVolumeLatency": ("DataVolume",),
    "volumeSnapshotLatency": ("VolumeSnapshot",),
}
_HELPER_POD = ("create Namespace", "delete Namespace", "create Pod", "get Pod", "list Pod")
# Measurement → what it does in pods of its own, or of others.
_DONE = {
    "serviceLatency": (*_HELPER_POD, "create Pod/exec"),
    "netpolLatency": (*_HELPER_POD, "create Pod/portforward"),
    "pprof": ("list Pod", "create Pod/exec"),
}
_PRELOAD = ("create Namespace", "delete Namespace", "create DaemonSet", "get DaemonSet", "list Pod")
_VERBS = {"delete": "delete", "patch": "patch", "read": "get"}
_WAITED = frozenset({"patch", "kubevirt"})


def rights_of(job: JobPlan, *, gc: bool, namespaces: bool) -> list[str]:
    """Return the rights of a job, sorted.

    Args:
        job: The job.
        gc: Whether all jobs are collected at the end of the run.
        namespaces: Whether it makes namespaces.
    """
    needed = set(_measured(job))
    if job.spec.job_type != "create":
        for target in job.targets:
            needed |= set(_on_what_is_there(job, target))
        return sorted(needed)
    spec = job.spec
    # Every job's pods are followed, for its progress and its report.
    needed |= {"list Pod", "watch Pod"}
    for item in job.objects:
        needed |= {f"{verb} {item.kind}" for verb in ("create", "list", "watch")}
        resource = by_kind(item.api_version, item.kind)
        outside = bool(item.namespace) or (resource is not None and not resource.namespaced)
        churned = spec.churn.enabled and spec.churn.mode != "objects"
        if (outside and (spec.cleanup or gc or spec.gc or churned)) or item.group.gc:
            needed.add(f"deletecollection {item.kind}")
        if spec.churn.enabled and spec.churn.mode == "objects" and item.churn:
            needed |= {f"delete {item.kind}", f"get {item.kind}"}
    if namespaces:
        needed |= {"create Namespace", "list Namespace", "delete Namespace"}
        if spec.churn.enabled and spec.churn.mode != "objects":
            needed.add("patch Namespace")
    if spec.pre_load_images and job.images:
        needed |= set(_PRELOAD)
    return sorted(needed)


def _measured(job: JobPlan) -> Iterator[str]:
    for one in job.spec.measurements:
        if not measuring.suits(one.name, job.spec.job_type):
            continue
        kinds = (one.kind,) if one.name == "conditionLatency" else _FOLLOWED.get(one.name, ())
        yield from (f"{verb} {kind}" for kind in kinds for verb in ("list", "watch"))
        yield from _DONE.get(one.name, ())


def _on_what_is_there(job: JobPlan, target: TargetPlan) -> Iterator[str]:
    yield f"list {target.kind}"
    if job.spec.job_type in _WAITED and target.wait:
        yield f"watch {target.kind}"
    if job.spec.job_type != "kubevirt":
        yield f"{_VERBS[job.spec.job_type]} {target.kind}"
    elif target.operation == "migrate":
        yield "create VirtualMachineInstanceMigration"
    else:
        on_instance = target.operation in {"pause", "unpause"} or (
            target.operation.endswith("-volume") and not target.input_vars.get("persist")
        )
        kind = "VirtualMachineInstance" if on_instance else "VirtualMachine"
        yield f"update {kind}/{target.operation.replace('-', '')}"
