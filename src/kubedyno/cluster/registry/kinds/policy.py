"""PodDisruptionBudget, PriorityClass, RuntimeClass: what other parts of the cluster read."""

from collections.abc import Sequence
from typing import Any

from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.conditions import condition_causes
from kubedyno.cluster.registry.kinds.gostruct import go_budget_spec, go_toleration
from kubedyno.cluster.registry.kinds.resourcevalidation import validate_resources
from kubedyno.cluster.registry.kinds.rules import int_or_percent, named, not_over_100, one_of, unchanged
from kubedyno.cluster.registry.kinds.schedulingvalidation import toleration_causes
from kubedyno.cluster.registry.metadata import label_causes, selector_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_path_segment
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value

SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_MAX_USER_PRIORITY = 1_000_000_000
_SYSTEM_PREFIX = "system-"
_BUDGET_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


class PodDisruptionBudgets(Kind):
    """policy/v1 PodDisruptionBudget."""

    metadata_checks = ""
    standard_finalizers = False
    name_problems = staticmethod(problems_of_path_segment)
    unconditional_update = False
    has_status = True
    has_generation = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = dict.fromkeys(_BUDGET_COUNTS, 0)

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        # Go writes these also when they are nothing.
        new["status"] = {**dict.fromkeys(_BUDGET_COUNTS, 0), **new.get("status", {})}
        return new

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes: list[Cause] = []
        if "minAvailable" in spec and "maxUnavailable" in spec:
            causes.append(
                invalid_value("spec", go_budget_spec(spec), "minAvailable and maxUnavailable cannot be both set")
            )
        for name in ("minAvailable", "maxUnavailable"):
            if name in spec:
                causes += int_or_percent(f"spec.{name}", spec[name])
                causes += not_over_100(f"spec.{name}", spec[name])
        if "selector" in spec:
            causes += selector_causes(spec["selector"], "spec.selector")
        policy = spec.get("unhealthyPodEvictionPolicy")
        if policy is not None:
            causes += one_of("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
        return causes

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        status = obj.get("status", {})
        causes = condition_causes(status.get("conditions", ()), "status.conditions")
        return causes + [
            invalid_value(f"status.{name}", status[name], "must be greater than or equal to 0")
            for name in _BUDGET_COUNTS
            if status.get(name, 0) < 0
        ]

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        return [
            obj["metadata"]["name"],
            str(spec.get("minAvailable", "N/A")),
            str(spec.get("maxUnavailable", "N/A")),
            status.get("disruptionsAllowed", 0),
            age(obj, now_s),
        ]


class PriorityClasses(Kind):
    """scheduling.k8s.io/v1 PriorityClass; its facts are (value, preemption policy, global default)."""

    has_generation = True
    undeletable = dict.fromkeys(SYSTEM_CLASSES, "this is a system priority class and cannot be deleted")

    def default(self, obj: Object) -> None:
        obj.setdefault("value", 0)
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")

    def spec_of(self, obj: Object) -> Any:
        """Nothing of it counts as a spec: the generation stays 1."""
        _ = obj

    def validate(self, obj: Object) -> list[Cause]:
        name, value = obj["metadata"].get("name", ""), obj["value"]
        causes: list[Cause] = []
        if name.startswith(_SYSTEM_PREFIX):
            if SYSTEM_CLASSES.get(name) != value:
                text = "priority class names with 'system-' prefix are reserved for system use only. error: " + (
                    f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
                    if name in SYSTEM_CLASSES
                    else f"{name} is not a known system priority class"
                )
                causes.append(forbidden_field("metadata.name", text))
        elif value > _MAX_USER_PRIORITY:
            text = f"maximum allowed value of a user defined priority is {_MAX_USER_PRIORITY}"
            causes.append(forbidden_field("value", text))
        return causes + one_of("preemptionPolicy", obj["preemptionPolicy"], ("PreemptLowerPriority", "Never"))

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes: list[Cause] = []
        if obj["value"] != old["value"]:
            causes.append(forbidden_field("value", "may not be changed in an update."))
        return causes + unchanged("preemptionPolicy", obj["preemptionPolicy"], old["preemptionPolicy"])

    def facts(self, obj: Object) -> tuple[int, str, bool]:
        """Return what pods of the class get."""
        policy = obj.get("preemptionPolicy", "PreemptLowerPriority")
        return obj.get("value", 0), policy, bool(obj.get("globalDefault"))

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [
            obj["metadata"]["name"],
            obj.get("value", 0),
            bool(obj.get("globalDefault")),
            age(obj, now_s),
            obj.get("preemptionPolicy", "PreemptLowerPriority"),
        ]


class RuntimeClasses(Kind):
    """node.k8s.io/v1 RuntimeClass."""

    metadata_checks = "wu"
    standard_finalizers = False
    unconditional_update = False
    create_on_update = True

    def default(self, obj: Object) -> None:
        obj.setdefault("handler", "")

    def validate(self, obj: Object) -> list[Cause]:
        causes = named("handler", obj["handler"], problems_of_dns1123_label)
        # As limits of a container, which is what the path names too.
        causes += validate_resources({"limits": obj.get("overhead", {}).get("podFixed", {})}, "overhead")
        scheduling = obj.get("scheduling", {})
        causes += label_causes(scheduling.get("nodeSelector", {}), "scheduling.nodeSelector")
        return causes + _tolerations(scheduling.get("tolerations", ()), "scheduling.tolerations")

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return self.validate(obj) + unchanged("handler", obj["handler"], old["handler"])

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], obj.get("handler", ""), age(obj, now_s)]


def _tolerations(tolerations: Sequence[Object], path: str) -> list[Cause]:
    causes = [cause for i, each in enumerate(tolerations) for cause in toleration_causes(each, f"{path}[{i}]")]
    seen: list[list[str]] = []
    for i, toleration in enumerate(tolerations):
        key = [toleration.get(name, "") for name in ("key", "operator", "value", "effect")]
        if key in seen:
            causes.append(duplicate(f"{path}[{i}]", go_toleration(toleration)))
        seen.append(key)
    return causes
