"""Deployment, ReplicaSet, DaemonSet, StatefulSet: a selector, a pod template and how it is rolled out."""

import re
from typing import Any

from kubedyno.cluster.registry.cells import age, containers_of, labels_text, selector_text
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.claimvalidation import claim_causes, claim_warnings
from kubedyno.cluster.registry.kinds.gostruct import go_selector, go_update_strategy
from kubedyno.cluster.registry.kinds.podspec import default_pod_spec
from kubedyno.cluster.registry.kinds.podvalidation import validate_template
from kubedyno.cluster.registry.kinds.podwarnings import name_warnings, template_warnings
from kubedyno.cluster.registry.metadata import annotation_causes, label_causes, selector_causes
from kubedyno.kube.gostructs import ordered, shown
from kubedyno.kube.names import problems_of_dns1123_label
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
    """Say whether a number or percentage is nothing; what is neither counts as nothing."""
    if not isinstance(value, str):
        return bool(value == 0)
    number = value.removesuffix("%") if _PERCENT.match(value) else value
    return not (number.isascii() and number.isdecimal() and int(number) != 0)


class Workload(Kind):
    """What the four share."""

    has_status = True
    has_generation = True
    # Without one it is said so, and not only that nothing matches.
    needs_selector = True
    # What is said of one with mistakes, beside the mistakes; None: nothing.
    bad_selector: str | None = "invalid label selector"
    # Counts of the status that may not be negative, and those of them that may not be more than all replicas.
    counts: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    too_available = "cannot be greater than readyReplicas"
    # What may not change is said before what is wrong in any case.
    changes_first = False
    # A name of its own that is none of a pod is warned of.
    names_pods = False

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        template = spec.setdefault("template", {})
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}), pod=False)
        self.default_spec(spec)

    def default_spec(self, spec: Object) -> None:
        """Fill in what is the kind's own."""

    def validate_template(self, spec: Object) -> list[Cause]:
        """Return what is wrong with the template of its pods."""
        return validate_template(spec["template"], "spec.template")

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = self.validate_spec(spec)
        causes += self._selector(spec)
        if not any(cause.field.startswith("spec.selector.") for cause in causes) or self.bad_selector is None:
            causes += self.validate_template(spec)
        policy = spec["template"]["spec"].get("restartPolicy")
        if policy != "Always":
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
        causes: list[Cause] = []
        if selector is None:
            if self.needs_selector:
                causes.append(required("spec.selector"))
        else:
            causes += selector_causes(selector, "spec.selector")
            if not any(selector.values()):
                # A ReplicaSet says so of a deployment.
                kind = "deployment" if self.resource.kind == "ReplicaSet" else self.resource.kind.lower()
                causes.append(
                    invalid_value("spec.selector", go_selector(selector), f"empty selector is invalid for {kind}")
                )
            elif causes:
                if self.bad_selector is not None:
                    causes.append(invalid_value("spec.selector", go_selector(selector), self.bad_selector))
                return causes
            elif LabelSelector.of(selector).matches(labels):
                return causes
        if selector is not None and not any(selector.values()):
            # It matches whatever there is.
            return causes
        text = "`selector` does not match template `labels`"
        given = spec["template"]["metadata"].get("labels")
        return [*causes, invalid_value("spec.template.metadata.labels", ordered("", given), text)]

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        changed: list[Cause] = []
        if obj["spec"].get("selector") != old["spec"].get("selector"):
            changed.append(
                invalid_value("spec.selector", go_selector(obj["spec"].get("selector")), "field is immutable")
            )
        causes = self.validate(obj)
        return changed + causes if self.changes_first else causes + changed

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        status, before = obj.get("status", {}), old.get("status", {})
        causes = [cause for name in self.counts for cause in _not_negative(f"status.{name}", status.get(name, 0))]
        replicas, available = status.get("replicas", 0), status.get("availableReplicas", 0)
        causes += [
            invalid_value(f"status.{name}", status.get(name, 0), "cannot be greater than status.replicas")
            for name in self.parts
            if status.get(name, 0) > replicas
        ]
        if self.parts and available > status.get("readyReplicas", 0):
            causes.append(invalid_value("status.availableReplicas", available, self.too_available))
        collisions, were = status.get("collisionCount"), before.get("collisionCount")
        if were is not None and (collisions is None or collisions < were):
            causes.append(invalid_value("status.collisionCount", collisions or 0, "cannot be decremented"))
        return causes

    def warnings(self, obj: Object) -> list[str]:
        warnings = name_warnings(obj["metadata"].get("name", "")) if self.names_pods else []
        return warnings + template_warnings(obj["spec"]["template"], "spec.template")

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        new, before = (self.spec_of(each) for each in (obj, old))
        return [] if new == before else template_warnings(obj["spec"]["template"], "spec.template")


class Deployments(Workload):
    """apps/v1 Deployment."""

    names_pods = True
    counts = (
        "observedGeneration", "replicas", "updatedReplicas", "readyReplicas", "availableReplicas",
        "unavailableReplicas", "terminatingReplicas", "collisionCount",
    )  # fmt: skip
    parts = ("updatedReplicas", "readyReplicas", "availableReplicas")
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

    names_pods = True
    counts = (
        "replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration",
        "terminatingReplicas",
    )  # fmt: skip
    parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")

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

    needs_selector = False
    changes_first = True
    bad_selector = None
    counts = (
        "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady", "observedGeneration",
        "updatedNumberScheduled", "numberAvailable", "numberUnavailable", "collisionCount",
    )  # fmt: skip
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

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        annotations = old["metadata"].get("annotations", {})
        if TEMPLATE_GENERATION in annotations:
            kept = {**new["metadata"].get("annotations", {}), TEMPLATE_GENERATION: annotations[TEMPLATE_GENERATION]}
            new["metadata"] = {**new["metadata"], "annotations": kept}
        return new

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        number = whole(old["metadata"].get("annotations", {}).get(TEMPLATE_GENERATION, ""), 0)
        changed = obj["spec"]["template"] != old["spec"]["template"]
        obj["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = str(number + changed)

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        template = obj["spec"]["template"]
        return [] if template == old["spec"]["template"] else template_warnings(template, "spec.template")

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
            value = go_update_strategy(strategy)
            causes.append(not_supported("spec.updateStrategy", value, ("RollingUpdate", "OnDelete")))
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


_STS_FIXED = ("spec.volumeClaimTemplates", "spec.serviceName")


class StatefulSets(Workload):
    """apps/v1 StatefulSet."""

    # Its pods' hosts are called after it.
    name_problems = staticmethod(problems_of_dns1123_label)
    bad_selector = ""
    counts = (
        "replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas", "observedGeneration",
        "collisionCount",
    )  # fmt: skip
    parts = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    too_available = "cannot be greater than status.readyReplicas"

    def default_spec(self, spec: Object) -> None:
        spec.setdefault("serviceName", "")
        spec.setdefault("podManagementPolicy", "OrderedReady")
        strategy = spec.setdefault("updateStrategy", {})
        if "type" not in strategy:
            strategy["type"] = "RollingUpdate"
            strategy.setdefault("rollingUpdate", {})
        if strategy["type"] == "RollingUpdate" and "rollingUpdate" in strategy:
            strategy["rollingUpdate"].setdefault("partition", 0)
        retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        retention.setdefault("whenDeleted", "Retain")
        retention.setdefault("whenScaled", "Retain")
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
        for claim in spec.get("volumeClaimTemplates", ()):
            claim["apiVersion"], claim["kind"] = "v1", "PersistentVolumeClaim"
            claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
            claim.setdefault("status", {}).setdefault("phase", "Pending")

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"replicas": 0, "availableReplicas": 0}

    def validate_template(self, spec: Object) -> list[Cause]:
        template = spec["template"]
        metadata = template.get("metadata", {})
        # Its pods' names are given by the set, and its claims are volumes of theirs.
        pods = {name: value for name, value in template["spec"].items() if name not in {"subdomain", "hostname"}}
        claims = [claim.get("metadata", {}).get("name", "") for claim in spec.get("volumeClaimTemplates", ())]
        if claims:
            volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in dict.fromkeys(claims)]
            pods["volumes"] = volumes + [v for v in pods.get("volumes", ()) if v.get("name", "") not in claims]
        causes = validate_template({**template, "spec": pods}, "spec.template")
        causes += label_causes(metadata.get("labels", {}), "spec.template.labels")
        return causes + annotation_causes(metadata.get("annotations", {}), "spec.template.annotations")

    def validate_spec(self, spec: Object) -> list[Cause]:
        causes = []
        policy, strategy = spec["podManagementPolicy"], spec["updateStrategy"]
        if policy not in {"OrderedReady", "Parallel"}:
            text = "must be 'OrderedReady' or 'Parallel'"
            causes.append(invalid_value("spec.podManagementPolicy", policy, text))
        rolling = strategy.get("rollingUpdate")
        if strategy["type"] == "RollingUpdate" and rolling is None:
            pass
        elif strategy["type"] == "RollingUpdate":
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
                value = shown("apps.v1.RollingUpdateStatefulSetStrategy", rolling)
                causes.append(invalid_value("spec.updateStrategy.rollingUpdate", value, text))
        else:
            text = "must be 'RollingUpdate' or 'OnDelete'"
            causes.append(
                invalid_value("spec.updateStrategy", shown("apps.v1.StatefulSetUpdateStrategy", strategy), text)
            )
        for name, what in spec["persistentVolumeClaimRetentionPolicy"].items():
            if what not in _RETENTIONS:
                path = f"spec.persistentVolumeClaimRetentionPolicy.{name}"
                causes.append(not_supported(path, what, _RETENTIONS))
        for i, claim in enumerate(spec.get("volumeClaimTemplates", ())):
            causes += claim_causes(claim["spec"], f"spec.volumeClaimTemplates[{i}].spec")
        causes += _not_negative("spec.replicas", spec["replicas"])
        causes += _not_negative("spec.minReadySeconds", spec.get("minReadySeconds", 0))
        causes += _not_negative("spec.ordinals.start", spec.get("ordinals", {}).get("start", 0))
        if spec["serviceName"]:
            name = spec["serviceName"]
            causes += [invalid_value("spec.serviceName", name, p) for p in problems_of_dns1123_label(name)]
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        # What never changes is refused once.
        causes = [cause for cause in super().validate(obj) if not cause.field.startswith(_STS_FIXED)]
        before = {k: v for k, v in old["spec"].items() if k not in _STS_MUTABLE}
        after = {k: v for k, v in obj["spec"].items() if k not in _STS_MUTABLE}
        return [*causes, forbidden_field("spec", _STS_TEXT)] if before != after else causes

    def warnings(self, obj: Object) -> list[str]:
        return super().warnings(obj) + self._other_warnings(obj["spec"], "")

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        # Of a new version the path has another word at its end.
        return super().warnings_of_change(obj, old) + self._other_warnings(obj["spec"], ".Spec")

    def warnings_of_status(self, obj: Object, old: Object) -> list[str]:
        _ = old
        return self._other_warnings(obj["spec"], ".Spec")

    def _other_warnings(self, spec: Object, end: str) -> list[str]:
        warnings = [
            warning
            for i, claim in enumerate(spec.get("volumeClaimTemplates", ()))
            for warning in claim_warnings(claim["spec"], f"spec.volumeClaimTemplates[{i}]{end}")
        ]
        if spec["revisionHistoryLimit"] < 0:
            text = "a negative value retains all historical revisions; a value >= 0 is recommended"
            warnings.append(f"spec.revisionHistoryLimit: {text}")
        return warnings

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj["spec"], obj.get("status", {})
        return [
            obj["metadata"]["name"],
            f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}",
            age(obj, now_s),
            *containers_of(spec["template"]),
        ]
