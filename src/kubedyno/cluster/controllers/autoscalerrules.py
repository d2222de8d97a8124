"""How fast a HorizontalPodAutoscaler may go: stabilization windows and scaling policies."""

from dataclasses import dataclass, field
from math import ceil
from typing import Any

DOWN_WINDOW_S = 300.0
TOLERANCE = 0.1
_UP: dict[str, Any] = {
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": 15},
        {"type": "Percent", "value": 100, "periodSeconds": 15},
    ],
}
_DOWN: dict[str, Any] = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
}
# (status, reason, message) of a condition.
Verdict = tuple[str, str, str]


@dataclass(slots=True)
class History:
    """What an autoscaler has recommended and done: (when, replicas), and (when, pods added, negative if removed)."""

    recommendations: list[tuple[float, int]] = field(default_factory=list)
    changes: list[tuple[float, int]] = field(default_factory=list)

    def added(self, since_s: float) -> int:
        """Return by how many pods it has grown since then, less what was removed."""
        return sum(change for when_s, change in self.changes if when_s > since_s)


def limited(
    behavior: dict[str, Any], history: History, now_s: float, current: int, wanted: int, bounds: tuple[int, int]
) -> tuple[int, Verdict, Verdict]:
    """Return how many replicas there may be now, and the conditions AbleToScale and ScalingLimited.

    Args:
        behavior: spec.behavior.
        history: Gets the new recommendation.
        now_s: The time.
        current: How many there are.
        wanted: How many the metrics ask for.
        bounds: minReplicas, maxReplicas.
    """
    up, down = behavior.get("scaleUp") or {}, behavior.get("scaleDown") or {}
    up_s = up.get("stabilizationWindowSeconds") or 0
    down_s = down.get("stabilizationWindowSeconds")
    down_s = DOWN_WINDOW_S if down_s is None else down_s
    history.recommendations = [
        entry for entry in history.recommendations if entry[0] > now_s - max(up_s, down_s)
    ] + [(now_s, wanted)]  # fmt: skip
    lowest = min(count for when_s, count in history.recommendations if when_s >= now_s - up_s)
    highest = max(count for when_s, count in history.recommendations if when_s >= now_s - down_s)
    able: Verdict = ("True", "ReadyForNewScale", "recommended size matches current size")
    stable = min(max(current, lowest), highest)
    if stable < wanted:
        text = "recent recommendations were lower than current one, applying the lowest recent recommendation"
        able = "True", "ScaleUpStabilized", text
    elif stable > wanted:
        text = "recent recommendations were higher than current one, applying the highest recent recommendation"
        able = "True", "ScaleDownStabilized", text
    allowed, bound = stable, _within(stable, bounds)
    if stable > current:
        rate = _up_limit({**_UP, **up}, history, now_s, current)
        if stable > rate and rate < bounds[1]:
            text = "the desired replica count is increasing faster than the maximum scale rate"
            return max(rate, current), able, ("True", "ScaleUpLimit", text)
    elif stable < current:
        rate = _down_limit({**_DOWN, **down}, history, now_s, current)
        if stable < rate and rate > bounds[0]:
            text = "the desired replica count is decreasing faster than the maximum scale rate"
            return min(rate, current), able, ("True", "ScaleDownLimit", text)
    allowed = min(max(stable, bounds[0]), bounds[1])
    return allowed, able, bound


def _within(wanted: int, bounds: tuple[int, int]) -> Verdict:
    if wanted > bounds[1]:
        return "True", "TooManyReplicas", "the desired replica count is more than the maximum replica count"
    if wanted < bounds[0]:
        return "True", "TooFewReplicas", "the desired replica count is less than the minimum replica count"
    return "False", "DesiredWithinRange", "the desired count is within the acceptable range"


def _up_limit(rules: dict[str, Any], history: History, now_s: float, current: int) -> int:
    if rules.get("selectPolicy") == "Disabled":
        return current
    limits: list[int] = []
    for policy in rules["policies"]:
        start = current - history.added(now_s - policy["periodSeconds"])
        value = policy["value"]
        limits.append(start + value if policy["type"] == "Pods" else ceil(start * (1 + value / 100)))
    return min(limits) if rules.get("selectPolicy") == "Min" else max(limits)


def _down_limit(rules: dict[str, Any], history: History, now_s: float, current: int) -> int:
    if rules.get("selectPolicy") == "Disabled":
        return current
    limits: list[int] = []
    for policy in rules["policies"]:
        start = current - history.added(now_s - policy["periodSeconds"])
        value = policy["value"]
        limits.append(start - value if policy["type"] == "Pods" else int(start * (1 - value / 100)))
    return max(limits) if rules.get("selectPolicy") == "Min" else min(limits)
