"""The status of a pod, made from what is going on in it; and as a format with holes, for all pods that just run."""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.kubelet.plan import SUFFIX, PodPlan
from kubedyno.cluster.kubelet.runs import CONDITIONS, ContainerRun, PodRun, Stage, State, container_id, phase_of

# PodObservedGenerationTracking is on from this minor.
OBSERVED_GENERATION = 34
_DISRUPTION = "DisruptionTarget"
_RESIZE_PENDING, _RESIZE_IN_PROGRESS = "PodResizePending", "PodResizeInProgress"
OWN_CONDITIONS = frozenset({*CONDITIONS, _RESIZE_PENDING, _RESIZE_IN_PROGRESS})
# Whether a pod's containers are real processes, where a runtime could run them.
PROCESSES = "kubedyno.io/Processes"
# What others write into a pod's status.
_FOREIGN = ("nominatedNodeName", "resourceClaimStatuses", "extendedResourceClaimStatus")


def status_of(run: PodRun, now_s: float, minor: int, generation: int, old: dict[str, Any]) -> dict[str, Any]:
    """Return a pod's whole status, and note the transitions of its conditions.

    Args:
        run: The pod, with containers.
        now_s: Epoch seconds.
        minor: Kubernetes' minor version.
        generation: metadata.generation.
        old: The status that is stored: what others wrote is kept.
    """
    assert run.containers is not None
    tracked = minor >= OBSERVED_GENERATION
    phase = phase_of(run)
    status: dict[str, Any] = {"observedGeneration": generation} if tracked else {}
    status["phase"] = phase
    foreign = [c for c in old.get("conditions", ()) if c["type"] not in OWN_CONDITIONS]
    conditions = list(foreign)
    for name, value, reason, message in _verdicts(run, phase, foreign):
        known = run.conditions.get(name)
        if known is None:
            stored = next((c for c in old.get("conditions", ()) if c["type"] == name), None)
            same = stored is not None and stored.get("status") == value and stored.get("lastTransitionTime")
            known = run.conditions[name] = [value, stored["lastTransitionTime"] if stored and same else now_s]
        elif known[0] != value:
            known[:] = value, now_s
        condition: dict[str, Any] = {"type": name}
        if tracked:
            condition["observedGeneration"] = generation
        condition |= {"status": value, "lastProbeTime": None, "lastTransitionTime": _time(known[1])}
        if reason:
            condition["reason"] = reason
        if message:
            condition["message"] = message
        conditions.append(condition)
    if run.note is not None and all(c["type"] != PROCESSES for c in foreign):
        value, reason, message = run.note
        condition = {
            "type": PROCESSES,
            "status": value,
            "lastProbeTime": None,
            "lastTransitionTime": _time(run.start_s),
        }
        conditions.append({**condition, "reason": reason, "message": message})
    if run.disrupted:
        conditions = [c for c in conditions if c["type"] != _DISRUPTION]
        condition = {"type": _DISRUPTION, **({"observedGeneration": generation} if tracked else {})}
        times = {"lastProbeTime": None, "lastTransitionTime": _time(now_s)}
        text = {"reason": "TerminationByKubelet", "message": run.disrupted}
        conditions.append({**condition, "status": "True", **times, **text})
    if run.resize is not None:
        conditions.append(_pending(run, now_s, generation if tracked else None))
    if run.resizes:
        condition = {"type": _RESIZE_IN_PROGRESS, **({"observedGeneration": generation} if tracked else {})}
        times = {"lastProbeTime": _time(now_s), "lastTransitionTime": _time(run.resizes)}
        conditions.append({**condition, "status": "True", **times})
    status["conditions"] = conditions
    if run.verdict is not None:
        status["reason"], status["message"] = run.verdict
    for name in _FOREIGN[:1]:
        if name in old:
            status[name] = old[name]
    node_address = run.node.address
    status["hostIP"] = node_address
    status["hostIPs"] = [{"ip": node_address}]
    address = node_address if run.plan.facts.host_network else run.address
    if address:
        status["podIP"] = address
        status["podIPs"] = [{"ip": address}]
    status["startTime"] = _time(run.start_s)
    if run.init:
        status["initContainerStatuses"] = [_container_status(run, c, init=True) for c in run.init]
    status["containerStatuses"] = [_container_status(run, c, init=False) for c in run.containers]
    status["qosClass"] = run.plan.qos
    if run.ephemeral:
        status["ephemeralContainerStatuses"] = [_container_status(run, c, init=False) for c in run.ephemeral]
    for name in _FOREIGN[1:]:
        if name in old:
            status[name] = old[name]
    return status


def _pending(run: PodRun, now_s: float, generation: int | None) -> dict[str, Any]:
    """Return the condition of a pod whose resize has to wait."""
    assert run.resize is not None
    reason, message = run.resize
    known = run.conditions.setdefault(_RESIZE_PENDING, [reason, now_s])
    if known[0] != reason:
        known[:] = reason, now_s
    condition: dict[str, Any] = {"type": _RESIZE_PENDING}
    if generation is not None:
        condition["observedGeneration"] = generation
    times = {"lastProbeTime": _time(now_s), "lastTransitionTime": _time(known[1])}
    return {**condition, "status": "True", **times, "reason": reason, "message": message}


def _time(at: float | str) -> str:
    return at if isinstance(at, str) else rfc3339(at)


def _verdicts(run: PodRun, phase: str, foreign: list[dict[str, Any]]) -> tuple[tuple[str, str, str, str], ...]:
    """Return (condition, status, reason, message) of the kubelet's own conditions, in its order."""
    containers = run.containers or []
    has_sandbox = run.stage in {Stage.INITIALIZING, Stage.STARTING, Stage.RUNNING}
    initialized = ("True", "", "")
    if phase == "Succeeded":
        initialized = ("True", "PodCompleted", "")
    elif not any(c.state is not State.WAITING or c.last for c in containers):
        missing = [
            c.plan.name
            for c in run.init
            if not (c.started if c.plan.sidecar else c.state is State.TERMINATED and not c.exit_code)
        ]
        if missing:
            text = f"containers with incomplete status: [{' '.join(missing)}]"
            initialized = ("False", "ContainersNotInitialized", text)
    if phase in {"Succeeded", "Failed"}:
        all_ready = ("False", "PodCompleted" if phase == "Succeeded" else "PodFailed", "")
    else:
        unready = [c.plan.name for c in (*(c for c in run.init if c.plan.sidecar), *containers) if not c.ready]
        all_ready = ("True", "", "")
        if unready:
            all_ready = (
                "False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]",
            )  # fmt: skip
    ready = all_ready
    if all_ready[0] == "True":
        ready = _gated(run, foreign)
    return (
        ("PodReadyToStartContainers", "True" if has_sandbox else "False", "", ""),
        ("Initialized", *initialized),
        ("Ready", *ready),
        ("ContainersReady", *all_ready),
        ("PodScheduled", "True", "", ""),
    )


def _gated(run: PodRun, foreign: list[dict[str, Any]]) -> tuple[str, str, str]:
    problems = []
    for gate in run.plan.gates:
        state = next((c["status"] for c in foreign if c["type"] == gate), None)
        if state is None:
            problems.append(f'corresponding condition of pod readiness gate "{gate}" does not exist.')
        elif state != "True":
            problems.append(f'the status of pod readiness gate "{gate}" is not "True", but {state}')
    return ("False", "ReadinessGatesNotReady", ", ".join(problems)) if problems else ("True", "", "")


def _container_status(run: PodRun, container: ContainerRun, *, init: bool) -> dict[str, Any]:
    plan = container.plan
    # A restart that is still to come shows the container that ended before.
    attempt = container.restarts
    full_id = f"containerd://{container_id(run.id_base, plan.name, attempt)}"
    status: dict[str, Any] = {"name": plan.name}
    if container.state is State.RUNNING:
        status["state"] = {"running": {"startedAt": _time(container.started_s)}}
    elif container.state is State.TERMINATED:
        status["state"] = terminated(run, container)
    else:
        waiting = {"reason": container.reason}
        if container.message:
            waiting["message"] = container.message
        status["state"] = {"waiting": waiting}
    status["lastState"] = container.last
    ready = container.ready
    if init and not plan.sidecar:
        ready = container.state is State.TERMINATED and container.exit_code == 0
    status["ready"] = ready
    status["restartCount"] = container.restarts
    status["image"] = plan.image.name if container.shown else plan.reference
    status["imageID"] = plan.image.image_id if container.shown else ""
    if container.shown:
        status["containerID"] = full_id
    status["started"] = container.started
    if plan.stop_signal and container.shown:
        status["stopSignal"] = plan.stop_signal
    if container.state is not State.WAITING:
        tail = orjson.dumps(plan.tail).decode()
        status |= orjson.loads(tail.replace(SUFFIX, run.suffix.decode()))
    else:
        mounts = plan.tail.get("volumeMounts")
        if mounts:
            status["volumeMounts"] = orjson.loads(orjson.dumps(mounts).decode().replace(SUFFIX, run.suffix.decode()))
    return status


def terminated(run: PodRun, container: ContainerRun) -> dict[str, Any]:
    """Return the state of a container that ended."""
    return {
        "terminated": {
            "exitCode": container.exit_code,
            "reason": container.reason,
            **({"message": container.message} if container.message else {}),
            "startedAt": _time(container.started_s),
            "finishedAt": _time(container.finished_s),
            "containerID": f"containerd://{container_id(run.id_base, container.plan.name, container.restarts)}",
        }
    }


_GENERATION = 987_654_321
_HOLES = {
    "@KUBEDYNO-HOST@": b"%(host)b", "@KUBEDYNO-IP@": b"%(ip)b", "@KUBEDYNO-BOUND@": b"%(bound)b",
    "@KUBEDYNO-START@": b"%(start)b", "@KUBEDYNO-NOW@": b"%(now)b", SUFFIX: b"%(suffix)b",
    str(_GENERATION): b"%(generation)b",
}  # fmt: skip


class _SampleNode:
    """Stands in for the node of a sample pod."""

    address = "@KUBEDYNO-HOST@"


def template_of(plan: PodPlan, minor: int, *, stopped: bool) -> bytes:
    """Return the status of a simple pod as a format with holes, made from what `status_of` gives.

    Args:
        plan: Its plan.
        minor: Kubernetes' minor version.
        stopped: Of a pod that was stopped instead of one that has just started.

    Returns:
        A bytes format; its names are host, ip, bound (PodScheduled's time), start, now, suffix, generation and
        id0, id1, … of the containers.
    """
    node: Any = _SampleNode()
    start: Any = "@KUBEDYNO-START@"
    run = PodRun("", "", node, plan, start, SUFFIX.encode())
    run.stage = Stage.RUNNING
    run.address = "@KUBEDYNO-IP@"
    run.expand()
    run.conditions["PodScheduled"] = ["True", "@KUBEDYNO-BOUND@"]
    now: Any = "@KUBEDYNO-NOW@"
    if stopped:
        run.end_all(now)
        run.stage = Stage.TERMINATING
    text = orjson.dumps(status_of(run, now, minor, _GENERATION, {})).replace(b"%", b"%%")
    for i, container in enumerate(plan.containers):
        text = text.replace(container_id("", container.name, 0).encode(), b"%%(id%d)b" % i)
    for mark, hole in _HOLES.items():
        text = text.replace(mark.encode(), hole)
    return text
