"""Deployment, ReplicaSet, DaemonSet, StatefulSet: a selector, a pod template and how it is rolled out."""

import re
from typing import Any

from kubedyno.cluster.registry.cells import age, containers_of, labels_text, selector_text
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.gostruct import go_update_strategy
from kubedyno.cluster.registry.kinds.podspec import default_pod_spec
from kubedyno.cluster.registry.kinds.podvalidation import validate_template
from kubedyno.cluster.registry.kinds.podwarnings import template_warnings
from kubedyno.cluster.registry.metadata import annotation_causes, label_causes, selector_causes
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required
from kubedyno.kube.strconv import whole

_PERCENT = re.compile(r"[0-9]+%\Z")
_NOT_NEGATIVE = "must be greater than or equal to 0"
_PERCENT_TEXT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', "
    "regex used for validation is '[0-9]+%')"
)
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"


def _not_negative(field: str, value: Any) -> list[Cause]:
    return [invalid_value(field, value, _NOT_NEGATIVE)] if isinstance(value, int) and value < 0 else []


def _int_or_percent(field: str, value: Any) -> list[Cause]:
    if isinstance(value, str):
        return [] if _PERCENT.match(value) else [invalid_value(field, value, _PERCENT_TEXT)]
    return _not_negative(field, value)


def _not_over_100(field: str, value: Any) -> list[Cause]:
    over = isinstance(value, str) and _PERCENT.match(value) is not None and int(value[:-1]) > 100
    return [invalid_value(field, value, "must not be greater than 100%")] if over else []


def _is_zero(value: Any) -> bool:
    return value == 0 or (isinstance(value, str) and _PERCENT.match(value) is not None and int(value[:-1]) == 0)


class Workload(Kind):
    """What the four share."""

    has_status = True
    has_generation = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        template = spec.setdefault("template", {})
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}), pod=False)
        self.default_spec(spec)

    def default_spec(self, spec: Object) -> None:
        """Fill in what is the kind's own."""

    def validate_template(self, template: Object) -> list[Cause]:
        """Return what is wrong with the template of its pods."""
        return validate_template(template, "spec.template")

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = self.validate_spec(spec)
        causes += self._selector(spec)
        causes += self.validate_template(spec["template"])
        policy = spec["template"]["spec"].get("restartPolicy")
        if policy in {"OnFailure", "Never"}:
            causes.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
        if "activeDeadlineSeconds" in spec["template"]["spec"]:
            causes.append(
                forbidden_field(
                    "spec.template.spec.activeDeadlineSeconds",
                    f"activeDeadlineSeconds in {self.resource.kind} is not Supported",
                )
            )
        return causes

    def validate_spec(self, spec: Object) -> list[Cause]:
        """Return what is wrong beside selector and template."""
        _ = spec
        return []

    def _selector(self, spec: Object) -> list[Cause]:
        selector = spec.get("selector")
        labels = spec["template"]["metadata"].get("labels", {})
        if selector is None:
            causes = [required("spec.selector")]
        else:
            causes = selector_causes(selector, "spec.selector")
            if not selector:
                text = f"empty selector is invalid for {self.resource.kind.lower()}"
                causes.append(invalid_value("spec.selector", {}, text))
            if any(c.field.endswith(".operator") for c in causes):
                causes.append(invalid_value("spec.selector", selector, "invalid label selector"))
            if causes:
                return causes
            if LabelSelector.of(selector).matches(labels):
                return causes
        causes.append(
            invalid_value(
                "spec.template.metadata.labels", labels or None, "`selector` does not match template `labels`"
            )
        )
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        if obj["spec"].get("selector") != old["spec"].get("selector"):
            causes.append(invalid_value("spec.selector", obj["spec"].get("selector"), "field is immutable"))
        return causes

    def warnings(self, obj: Object) -> list[str]:
        return template_warnings(obj["spec"]["template"], "spec.template")


class Deployments(Workload):
    """apps/v1 Deployment."""

    status_keeps = ("labels",)

    def default_spec(self, spec: Object) -> None:
        spec.setdefault("replicas", 1)
        strategy = spec.setdefault("strategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)

    def validate_spec(self, spec: Object) -> list[Cause]:
        return _not_negative("spec.replicas", spec["replicas"])

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = super().validate(obj)
        strategy = spec["strategy"]
        rolling = strategy.get("rollingUpdate")
        if strategy["type"] == "Recreate":
            if rolling is not None:
                causes.append(
                    forbidden_field(
                        "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
                    )
                )
        elif strategy["type"] == "RollingUpdate":
            path = "spec.strategy.rollingUpdate"
            unavailable, surge = rolling["maxUnavailable"], rolling["maxSurge"]
            causes += _int_or_percent(f"{path}.maxUnavailable", unavailable)
            causes += _int_or_percent(f"{path}.maxSurge", surge)
            if _is_zero(unavailable) and _is_zero(surge):
                causes.append(invalid_value(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0"))
            causes += _not_over_100(f"{path}.maxUnavailable", unavailable)
        else:
            causes.append(not_supported("spec.strategy", go_update_strategy(strategy), ("Recreate", "RollingUpdate")))
        ready, deadline = spec.get("minReadySeconds", 0), spec["progressDeadlineSeconds"]
        causes += _not_negative("spec.minReadySeconds", ready)
        causes += _not_negative("spec.revisionHistoryLimit", spec["revisionHistoryLimit"])
        causes += _not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= ready:
            causes.append(
                invalid_value("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
            )
        return causes

    def spec_of(self, obj: Object) -> Any:
        return obj.get("spec"), obj["metadata"].get("annotations")

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        return [
            obj["metadata"]["name"],
            f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
            status.get("updatedReplicas", 0),
            status.get("availableReplicas", 0),
            age(obj, now_s),
            *containers_of(spec["template"]),
            selector_text(spec.get("selector")),
        ]


class ReplicaSets(Workload):
    """apps/v1 ReplicaSet."""

    def default_spec(self, spec: Object) -> None:
        spec.setdefault("replicas", 1)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"replicas": 0}

    def validate_spec(self, spec: Object) -> list[Cause]:
        causes = _not_negative("spec.replicas", spec["replicas"])
        return causes + _not_negative("spec.minReadySeconds", spec.get("minReadySeconds", 0))

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        return [
            obj["metadata"]["name"],
            spec.get("replicas", 0),
            status.get("replicas", 0),
            status.get("readyReplicas", 0),
            age(obj, now_s),
            *containers_of(spec["template"]),
            selector_text(spec.get("selector")),
        ]


class DaemonSets(Workload):
    """apps/v1 DaemonSet."""

    versioned_annotations = (TEMPLATE_GENERATION,)

    def default_spec(self, spec: Object) -> None:
        strategy = spec.setdefault("updateStrategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)
        spec.setdefault("revisionHistoryLimit", 10)

    def default(self, obj: Object) -> None:
        super().default(obj)
        # A counter of the real server's, which this version of the API shows as an annotation.
        obj["metadata"].setdefault("annotations", {}).setdefault(TEMPLATE_GENERATION, "0")

    def prepare_create(self, obj: Object) -> None:
        obj["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = "1"
        obj["status"] = {
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0,
        }  # fmt: skip

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        number = whole(old["metadata"].get("annotations", {}).get(TEMPLATE_GENERATION, ""), 0)
        changed = obj["spec"]["template"] != old["spec"]["template"]
        obj["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = str(number + changed)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = super().validate(obj)
        causes += _not_negative("spec.minReadySeconds", spec.get("minReadySeconds", 0))
        strategy = spec["updateStrategy"]
        rolling = strategy.get("rollingUpdate")
        if strategy["type"] == "RollingUpdate":
            path = "spec.updateStrategy.rollingUpdate"
            unavailable, surge = rolling["maxUnavailable"], rolling["maxSurge"]
            causes += _int_or_percent(f"{path}.maxUnavailable", unavailable)
            causes += _int_or_percent(f"{path}.maxSurge", surge)
            if not _is_zero(unavailable) and not _is_zero(surge):
                causes.append(
                    invalid_value(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
                )
            elif _is_zero(unavailable) and _is_zero(surge):
                causes.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
            causes += _not_over_100(f"{path}.maxUnavailable", unavailable)
            causes += _not_over_100(f"{path}.maxSurge", surge)
        elif strategy["type"] != "OnDelete":
            shown = go_update_strategy(strategy)
            causes.append(not_supported("spec.updateStrategy", shown, ("RollingUpdate", "OnDelete")))
        return causes + _not_negative("spec.revisionHistoryLimit", spec["revisionHistoryLimit"])

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        return [
            obj["metadata"]["name"],
            status.get("desiredNumberScheduled", 0),
            status.get("currentNumberScheduled", 0),
            status.get("numberReady", 0),
            status.get("updatedNumberScheduled", 0),
            status.get("numberAvailable", 0),
            labels_text(spec["template"]["spec"].get("nodeSelector")),
            age(obj, now_s),
            *containers_of(spec["template"]),
            selector_text(spec.get("selector")),
        ]


_RETENTIONS = ("Retain", "Delete")
_STS_MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_STS_TEXT = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


class StatefulSets(Workload):
    """apps/v1 StatefulSet."""

    def default_spec(self, spec: Object) -> None:
        spec.setdefault("serviceName", "")
        spec.setdefault("podManagementPolicy", "OrderedReady")
        strategy = spec.setdefault("updateStrategy", {})
        if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
            strategy.setdefault("rollingUpdate", {}).setdefault("partition", 0)
        retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        retention.setdefault("whenDeleted", "Retain")
        retention.setdefault("whenScaled", "Retain")
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
        for claim in spec.get("volumeClaimTemplates", ()):
            claim.setdefault("apiVersion", "v1")
            claim.setdefault("kind", "PersistentVolumeClaim")
            claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
            claim["status"] = claim.get("status") or {"phase": "Pending"}

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"replicas": 0, "availableReplicas": 0}

    def validate_template(self, template: Object) -> list[Cause]:
        # The real one does not look at the pods' spec here: their mounts may be of the set's claims.
        metadata = template.get("metadata", {})
        causes = label_causes(metadata.get("labels", {}), "spec.template.labels")
        return causes + annotation_causes(metadata.get("annotations", {}), "spec.template.annotations")

    def validate_spec(self, spec: Object) -> list[Cause]:
        causes = []
        policy, strategy = spec["podManagementPolicy"], spec["updateStrategy"]
        if policy not in {"OrderedReady", "Parallel"}:
            text = "must be 'OrderedReady' or 'Parallel'"
            causes.append(invalid_value("spec.podManagementPolicy", policy, text))
        rolling = strategy.get("rollingUpdate")
        if strategy["type"] == "RollingUpdate":
            causes += _not_negative("spec.updateStrategy.rollingUpdate.partition", rolling.get("partition", 0))
            unavailable, path = rolling.get("maxUnavailable"), "spec.updateStrategy.rollingUpdate.maxUnavailable"
            if unavailable is not None:
                causes += _int_or_percent(path, unavailable)
                if _is_zero(unavailable):
                    causes.append(invalid_value(path, unavailable, "cannot be 0"))
                causes += _not_over_100(path, unavailable)
        elif strategy["type"] == "OnDelete":
            if rolling is not None:
                text = "only allowed for updateStrategy 'RollingUpdate'"
                causes.append(invalid_value("spec.updateStrategy.rollingUpdate", rolling, text))
        else:
            text = "must be 'RollingUpdate' or 'OnDelete'"
            shown = {"Type": strategy["type"], "RollingUpdate": rolling}
            causes.append(invalid_value("spec.updateStrategy", shown, text))
        for name, what in spec["persistentVolumeClaimRetentionPolicy"].items():
            if what not in _RETENTIONS:
                path = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
                causes.append(not_supported(path, what, _RETENTIONS))
        causes += _not_negative("spec.replicas", spec["replicas"])
        causes += _not_negative("spec.minReadySeconds", spec.get("minReadySeconds", 0))
        return causes + _not_negative("spec.ordinals.start", spec.get("ordinals", {}).get("start", 0))

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = self.validate(obj)
        before = {k: v for k, v in old["spec"].items() if k not in _STS_MUTABLE}
        after = {k: v for k, v in obj["spec"].items() if k not in _STS_MUTABLE}
        return [*causes, forbidden_field("spec", _STS_TEXT)] if before != after else causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        return [
            obj["metadata"]["name"],
            f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
            age(obj, now_s),
            *containers_of(spec["template"]),
        ]
