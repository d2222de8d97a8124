"""A Job's policies: what a pod's failure means, and when enough indexes have succeeded."""

from collections.abc import Iterator
from typing import Any

import orjson

from kubedyno.base.times import epoch_of
from kubedyno.cluster.controllers.jobindexes import parse
from kubedyno.cluster.controllers.jobspec import ExitCodes, FailurePolicy, SuccessPolicy
from kubedyno.cluster.storage.objects import StoredObject


def _terminated(status: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (container, how it ended) of those that have."""
    for member in ("containerStatuses", "initContainerStatuses"):
        for container in status.get(member) or ():
            ended = container.get("state", {}).get("terminated")
            if ended is not None:
                yield container["name"], ended


def _matches(code: int, rule: ExitCodes) -> bool:
    return code != 0 and (code in rule.values) == (rule.operator == "In")


def action_on(policy: FailurePolicy | None, pod: StoredObject) -> tuple[str, str]:
    """Return what a failed pod leads to: ("Count", "Ignore", "FailIndex" or "FailJob", why)."""
    if policy is None:
        return "Count", ""
    status = orjson.loads(pod.status or b"{}")
    for number, rule in enumerate(policy.rules):
        if rule.onExitCodes is not None:
            for name, ended in _terminated(status):
                wanted = rule.onExitCodes.containerName
                if wanted in {None, name} and _matches(ended.get("exitCode", 0), rule.onExitCodes):
                    why = (
                        f"Container {name} for pod {pod.namespace}/{pod.name} failed with exit code "
                        f"{ended['exitCode']} matching {rule.action} rule at index {number}"
                    )
                    return rule.action, why
        else:
            for condition in status.get("conditions", ()):
                pair = condition.get("type"), condition.get("status")
                if any(pair == (pattern.type, pattern.status) for pattern in rule.onPodConditions):
                    why = (
                        f"Pod {pod.namespace}/{pod.name} has condition {condition['type']} matching {rule.action} "
                        f"rule at index {number}"
                    )
                    return rule.action, why
    return "Count", ""


def success_met(policy: SuccessPolicy | None, succeeded: set[int], completions: int) -> str:
    """Return why a Job's success policy is met, "" while it is not."""
    if policy is None or not succeeded:
        return ""
    for number, rule in enumerate(policy.rules):
        if rule.succeededIndexes is None:
            met = len(succeeded) >= (rule.succeededCount or 0)
        else:
            wanted = parse(rule.succeededIndexes, completions)
            found = len(wanted & succeeded)
            met = found >= (len(wanted) if rule.succeededCount is None else rule.succeededCount)
        if met:
            return f"Matched rules at index {number}"
    return ""


def finished_s(pod: StoredObject, now_s: float) -> float:
    """Return when a pod's last container ended; now when it does not say."""
    times = [
        epoch_of(ended["finishedAt"])
        for _, ended in _terminated(orjson.loads(pod.status or b"{}"))
        if ended.get("finishedAt")
    ]
    return max(times, default=now_s)


def restarts_of(pod: StoredObject) -> int:
    """Return how often a pod's containers were restarted."""
    status = orjson.loads(pod.status or b"{}")
    members = ("initContainerStatuses", "containerStatuses")
    return sum(container.get("restartCount", 0) for member in members for container in status.get(member) or ())
