"""ReplicationController and PodTemplate: the oldest workloads."""

from typing import Any

from kubedyno.cluster.registry.cells import age, containers_of, labels_text
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.podspec import default_pod_spec
from kubedyno.cluster.registry.kinds.podvalidation import validate_template
from kubedyno.cluster.registry.kinds.podwarnings import name_warnings, template_warnings
from kubedyno.cluster.registry.kinds.rules import not_negative
from kubedyno.kube.status import Cause, invalid_value, not_supported, required


def _matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


class ReplicationControllers(Kind):
    """core/v1 ReplicationController."""

    checks_prefix = False
    has_status = True
    has_generation = True
    legacy_fields = True
    orphans = True
    field_paths = ("status.replicas",)

    def default(self, obj: Object) -> None:
        spec, metadata = obj.setdefault("spec", {}), obj["metadata"]
        spec.setdefault("replicas", 1)
        template = spec.get("template")
        if template is None:
            return
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}), pod=False)
        labels = template["metadata"].get("labels")
        if labels:
            if not spec.get("selector"):
                spec["selector"] = dict(labels)
            if not metadata.get("labels"):
                metadata["labels"] = dict(labels)

    def complete(self, obj: Object) -> None:
        labels = (obj["spec"].get("template") or {}).get("metadata", {}).get("labels")
        if labels and not obj["metadata"].get("labels"):
            obj["metadata"]["labels"] = dict(labels)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {"replicas": 0}

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = not_negative("spec.minReadySeconds", spec.get("minReadySeconds", 0))
        selector, template = spec.get("selector"), spec.get("template")
        if not selector:
            causes.append(required("spec.selector"))
        causes += not_negative("spec.replicas", spec["replicas"])
        if template is None:
            return [*causes, required("spec.template")]
        labels = template["metadata"].get("labels")
        if not _matches(selector or {}, labels or {}):
            text = "`selector` does not match template `labels`"
            shown = None if labels is None else dict(sorted(labels.items()))
            causes.append(invalid_value("spec.template.metadata.labels", shown, text))
        causes += validate_template(template, "spec.template")
        policy = template["spec"].get("restartPolicy")
        if policy != "Always":
            causes.append(not_supported("spec.template.spec.restartPolicy", policy, ("Always",)))
        return causes

    def warnings(self, obj: Object) -> list[str]:
        names = name_warnings(obj["metadata"].get("name", ""))
        return names + template_warnings(obj["spec"].get("template", {}), "spec.template")

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        # Of the template until now: the real server takes the one for the other.
        return [] if obj["spec"] == old["spec"] else template_warnings(old["spec"].get("template", {}), "spec.template")

    def scale(self, obj: Object) -> tuple[int, int, str]:
        spec = obj.get("spec", {})
        selector = ",".join(f"{key}={value}" for key, value in sorted(spec.get("selector", {}).items()))
        return spec.get("replicas", 0), obj.get("status", {}).get("replicas", 0), selector

    def field_of(self, obj: Object, name: str) -> str:
        if name == "status.replicas":
            return str(obj.get("status", {}).get("replicas", 0))
        return super().field_of(obj, name)

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        status = obj.get("status", {})
        replicas, available = status.get("replicas", 0), status.get("availableReplicas", 0)
        parts = ("fullyLabeledReplicas", "readyReplicas", "availableReplicas")
        causes = [
            cause
            for name in ("replicas", *parts, "observedGeneration")
            for cause in not_negative(f"status.{name}", status.get(name, 0))
        ]
        causes += [
            invalid_value(f"status.{name}", status.get(name, 0), "cannot be greater than status.replicas")
            for name in parts
            if status.get(name, 0) > replicas
        ]
        if available > status.get("readyReplicas", 0):
            causes.append(invalid_value("status.availableReplicas", available, "cannot be greater than readyReplicas"))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec, status = obj.get("spec", {}), obj.get("status", {})
        return [
            obj["metadata"]["name"],
            spec.get("replicas", 0),
            status.get("replicas", 0),
            status.get("readyReplicas", 0),
            age(obj, now_s),
            *containers_of(spec.get("template", {})),
            labels_text(spec.get("selector")),
        ]


class PodTemplates(Kind):
    """core/v1 PodTemplate."""

    has_generation = True
    returns_deleted = True

    def default(self, obj: Object) -> None:
        template = obj.setdefault("template", {})
        template.setdefault("metadata", {})
        default_pod_spec(template.setdefault("spec", {}), pod=False)

    def validate(self, obj: Object) -> list[Cause]:
        return validate_template(obj["template"], "template")

    def warnings(self, obj: Object) -> list[str]:
        return template_warnings(obj["template"], "template")

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        return [] if obj["template"] == old["template"] else self.warnings(obj)

    def spec_of(self, obj: Object) -> Any:
        return obj.get("template")

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        template = obj["template"]
        return [obj["metadata"]["name"], *containers_of(template), labels_text(template["metadata"].get("labels"))]
