"""Containers as a stored status shows them: how a pod is taken up that ran before the cluster was started again."""

from typing import Any

from kubedyno.base.times import epoch_of
from kubedyno.cluster.kubelet.runs import ContainerRun, PodRun, State

CRASH_LOOP = "CrashLoopBackOff"
_NOT_BEGUN = frozenset({"ContainerCreating", "PodInitializing"})


def is_as_started(shown: dict[str, Any], start: str) -> bool:
    """Say whether a container's status is that of one that was started with its pod, and of which no more is to say."""
    running = shown.get("state", {}).get("running")
    return bool(
        running
        and running.get("startedAt") == start
        and shown.get("ready")
        and not shown.get("restartCount")
        and not shown.get("lastState")
    )


def take_up(run: PodRun, status: dict[str, Any]) -> None:
    """Bring a pod's fresh containers to what a status says of them; one that it does not know stays to be begun."""
    run.ephemeral = tuple(ContainerRun(plan, begun=True) for plan in run.plan.ephemeral)
    for containers, name in (
        (run.init, "initContainerStatuses"),
        (run.containers or (), "containerStatuses"),
        (run.ephemeral, "ephemeralContainerStatuses"),
    ):
        known = {shown["name"]: shown for shown in status.get(name, ())}
        for container in containers:
            if container.plan.name in known:
                _take_up(container, known[container.plan.name])
    run.ephemeral = tuple(container for container in run.ephemeral if container.shown)


def _take_up(container: ContainerRun, shown: dict[str, Any]) -> None:
    container.restarts = shown.get("restartCount", 0)
    container.last = shown.get("lastState") or {}
    container.shown = bool(shown.get("containerID"))
    state = shown.get("state", {})
    if "running" in state:
        container.state, container.reason = State.RUNNING, ""
        container.begun = container.shown = True
        container.ready, container.started = bool(shown.get("ready")), bool(shown.get("started"))
        container.started_s = epoch_of(state["running"]["startedAt"])
    elif "terminated" in state:
        ended = state["terminated"]
        container.state, container.begun, container.shown = State.TERMINATED, True, True
        container.exit_code, container.reason = ended.get("exitCode", 0), ended.get("reason", "")
        container.message = ended.get("message", "")
        container.started_s = epoch_of(ended["startedAt"]) if ended.get("startedAt") else 0.0
        container.finished_s = epoch_of(ended["finishedAt"]) if ended.get("finishedAt") else 0.0
    else:
        waiting = state.get("waiting", {})
        container.reason = waiting.get("reason", container.reason)
        container.message = waiting.get("message", "")
        container.begun = container.shown or container.reason not in _NOT_BEGUN
