"""apiregistration.k8s.io: which server answers for a group and version."""

from base64 import b64decode
from typing import Any

from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.fieldmanager import METADATA
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import one_of
from kubedyno.kube.names import problems_of_dns1035_label, problems_of_dns1123_subdomain
from kubedyno.kube.status import Cause, invalid_value, required

_PORT = 443
_MAX_MINIMUM = 20000
_MAX_PRIORITY = 1000

_STATUSES = ("True", "False", "Unknown")


class APIServices(Kind):
    """apiregistration.k8s.io/v1 APIService."""

    metadata_checks = "wu"
    standard_finalizers = False
    status_keeps = METADATA
    unconditional_update = False
    has_status = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("groupPriorityMinimum", 0)
        spec.setdefault("versionPriority", 0)
        if "service" in spec:
            spec["service"].setdefault("port", _PORT)

    def prepare_create(self, obj: Object) -> None:
        obj["status"] = {}
        if "service" not in obj["spec"]:
            # Answered by this server itself.
            obj["status"]["conditions"] = [
                {
                    "type": "Available",
                    "status": "True",
                    "lastTransitionTime": obj["metadata"].get("creationTimestamp"),
                    "reason": "Local",
                    "message": "Local APIServices are always available",
                }
            ]

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        group, version, name = spec.get("group", ""), spec.get("version", ""), obj["metadata"].get("name", "")
        causes: list[Cause] = []
        wanted = f"{version}.{group}"
        if name and name != wanted:
            text = f'must be `spec.version+"."+spec.group`: "{wanted}"'
            causes.append(invalid_value("metadata.name", name, text))
        if not group and version != "v1":
            text = "only v1 may have an empty group and it better be legacy kube"
            causes.append(required("spec.group", text))
        causes += [invalid_value("spec.group", group, p) for p in problems_of_dns1123_subdomain(group) if group]
        causes += [invalid_value("spec.version", version, p) for p in problems_of_dns1035_label(version)]
        minimum, priority = spec["groupPriorityMinimum"], spec["versionPriority"]
        if not 0 < minimum <= _MAX_MINIMUM:
            text = f"must be positive and less than {_MAX_MINIMUM}"
            causes.append(invalid_value("spec.groupPriorityMinimum", minimum, text))
        if not 0 < priority <= _MAX_PRIORITY:
            text = f"must be positive and less than {_MAX_PRIORITY}"
            causes.append(invalid_value("spec.versionPriority", priority, text))
        service = spec.get("service")
        if service is None:
            if spec.get("caBundle"):
                causes.append(invalid_value("spec.caBundle", f"{len(b64decode(spec['caBundle']))} bytes",
                                            "local APIServices may not have a caBundle"))  # fmt: skip
            if spec.get("insecureSkipTLSVerify"):
                text = "local APIServices may not have insecureSkipTLSVerify"
                causes.append(invalid_value("spec.insecureSkipTLSVerify", True, text))
            return causes
        causes += [required(f"spec.service.{n}") for n in ("namespace", "name") if not service.get(n)]
        if not 1 <= service["port"] <= 65535:
            text = "port is not valid: must be between 1 and 65535, inclusive"
            causes.append(invalid_value("spec.service.port", service["port"], text))
        if spec.get("insecureSkipTLSVerify") and spec.get("caBundle"):
            text = "may not be true if caBundle is present"
            causes.append(invalid_value("spec.insecureSkipTLSVerify", True, text))
        return causes

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        return [
            cause
            for i, condition in enumerate(obj.get("status", {}).get("conditions", ()))
            for cause in one_of(f"status.conditions[{i}].status", condition.get("status"), _STATUSES)
        ]

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        service = obj.get("spec", {}).get("service")
        available = [c for c in obj.get("status", {}).get("conditions", ()) if c.get("type") == "Available"]
        text = "Unknown"
        if available:
            text = available[0].get("status", "Unknown")
            if text != "True":
                text = f"{text} ({available[0].get('reason', '')})"
        return [
            obj["metadata"]["name"],
            f"{service.get('namespace', '')}/{service.get('name', '')}" if service else "Local",
            text,
            age(obj, now_s),
        ]
