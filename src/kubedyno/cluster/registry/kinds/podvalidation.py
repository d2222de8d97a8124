"""What makes a pod, or a pod template, invalid; texts as the real server's."""

import re

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.containervalidation import (
    container_warnings,
    id_causes,
    profile_causes,
    validate_containers,
)
from kubedyno.cluster.registry.kinds.gostruct import difference, go_device_claim, go_pod_spec
from kubedyno.cluster.registry.kinds.schedulingvalidation import validate_scheduling
from kubedyno.cluster.registry.kinds.volumevalidation import validate_volumes
from kubedyno.cluster.registry.metadata import annotation_causes, label_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain, problems_of_qualified_name
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_MAX_INT32 = 2**31 - 1
_CHANGE_POLICIES = (
    ("fsGroupChangePolicy", ("Always", "OnRootMismatch")),
    ("seLinuxChangePolicy", ("MountOption", "Recursive")),
)
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_SYSCTL_TEXT = (
    "must have at most 253 characters and match regex "
    r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
)
# What a pod may ask for as a whole.
_POD_RESOURCES = ("cpu", "hugepages-", "memory")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_NOT_WINDOWS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls",
    "shareProcessNamespace", "runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy",
)  # fmt: skip
_UPDATE_TEXT = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def validate_pod(pod: Object) -> list[Cause]:
    """Return what is wrong with a pod to be created."""
    causes = validate_pod_spec(pod["spec"], "spec")
    if pod["spec"].get("ephemeralContainers"):
        causes.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if pod["spec"].get("schedulingGates") and pod["spec"].get("nodeName"):
        causes.append(forbidden_field("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return causes


def validate_template(template: Object, path: str) -> list[Cause]:
    """Return what is wrong with a pod template."""
    metadata = template.get("metadata", {})
    causes = label_causes(metadata.get("labels", {}), f"{path}.labels")
    causes += annotation_causes(metadata.get("annotations", {}), f"{path}.annotations")
    causes += validate_pod_spec(template["spec"], f"{path}.spec")
    if template["spec"].get("ephemeralContainers"):
        causes.append(
            forbidden_field(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
        )
    return causes


def validate_pod_spec(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a complete pod spec."""
    causes, volumes = validate_volumes(spec, f"{path}.volumes")
    causes += validate_containers(spec, path, volumes)
    if "resources" in spec:
        causes += _pod_resources(spec, f"{path}.resources.requests")
    policy = spec["restartPolicy"]
    if policy not in {"Always", "OnFailure", "Never"}:
        causes.append(not_supported(f"{path}.restartPolicy", policy, ("Always", "OnFailure", "Never")))
    if spec["dnsPolicy"] not in _DNS_POLICIES:
        causes.append(not_supported(f"{path}.dnsPolicy", spec["dnsPolicy"], _DNS_POLICIES))
    causes += validate_scheduling(spec, path)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        text = f"must be between 1 and {_MAX_INT32}, inclusive"
        causes.append(invalid_value(f"{path}.activeDeadlineSeconds", deadline, text))
    causes += _security(spec, path)
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            causes += [invalid_value(f"{path}.{name}", spec[name], p) for p in problems_of_dns1123_label(spec[name])]
    for name in ("nodeName", "serviceAccountName", "priorityClassName"):
        if spec.get(name):
            causes += [
                invalid_value(f"{path}.{name}", spec[name], p) for p in problems_of_dns1123_subdomain(spec[name])
            ]
    if "os" in spec:
        name = spec["os"].get("name", "")
        if not name:
            causes.append(required(f"{path}.os.name", "cannot be empty"))
        elif name not in {"linux", "windows"}:
            causes.append(not_supported(f"{path}.os", name, ("linux", "windows")))
    claims: set[str] = set()
    for i, claim in enumerate(spec.get("resourceClaims", ())):
        causes += _claim(claim, f"{path}.resourceClaims[{i}]", claims)
    for i, gate in enumerate(spec.get("readinessGates", ())):
        kind = gate.get("conditionType", "")
        where = f"{path}.readinessGates[{i}].conditionType"
        causes += [invalid_value(where, kind, p) for p in problems_of_qualified_name(kind)]
    gates: set[str] = set()
    for i, gate in enumerate(spec.get("schedulingGates", ())):
        name, where = gate.get("name", ""), f"{path}.schedulingGates[{i}]"
        causes += [invalid_value(where, name, p) for p in problems_of_qualified_name(name)]
        if name in gates:
            causes.append(duplicate(where, name))
        gates.add(name)
    if spec.get("hostUsers") is False:
        causes += [
            forbidden_field(f"{path}.{name}", "when `hostUsers` is false")
            for name in ("hostNetwork", "hostPID", "hostIPC")
            if spec.get(name)
        ]
    return causes


def _pod_resources(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with the requests of a pod as a whole."""
    causes = []
    requests: dict[str, str] = spec["resources"].get("requests", {})
    for name, text in sorted(requests.items()):
        if name not in _POD_RESOURCES and not name.startswith("hugepages-"):
            causes.append(not_supported(f"{path}[{name}]", name, _POD_RESOURCES))
            continue
        asked = [
            Quantity.parse(container["resources"]["requests"][name])
            for container in (*spec.get("containers", ()), *spec.get("initContainers", ()))
            if name in container.get("resources", {}).get("requests", {})
            and (container in spec["containers"] or container.get("restartPolicy") == "Always")
        ]
        together = sum(asked, Quantity.parse("0"))
        if Quantity.parse(text) < together:
            why = f"must be greater than or equal to aggregate container requests of {together}"
            causes.append(invalid_value(f"{path}[{name}]", text, why))
    return causes


def _claim(claim: Object, path: str, names: set[str]) -> list[Cause]:
    """Return what is wrong with a pod's claim on a device; its name joins those of the claims before it."""
    name = claim.get("name", "")
    if not name:
        causes = [required(f"{path}.name")]
    elif name in names:
        causes = [duplicate(f"{path}.name", name)]
    else:
        causes = [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1123_label(name)]
    names.add(name)
    given = [member for member in ("resourceClaimName", "resourceClaimTemplateName") if member in claim]
    if len(given) != 1:
        text = f"must specify {'at most ' if given else ''}one of: `resourceClaimName`, `resourceClaimTemplateName`"
        causes.append(invalid_value(path, go_device_claim(claim), text))
    for member in given:
        causes += [
            invalid_value(f"{path}.{member}", claim[member], p) for p in problems_of_dns1123_subdomain(claim[member])
        ]
    return causes


def _security(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a pod's own security context, and with what a Windows pod may not have."""
    security, where = spec.get("securityContext", {}), f"{path}.securityContext"
    causes = profile_causes(security, where) + id_causes(security, where, "runAsUser", "runAsGroup", "fsGroup")
    for i, group in enumerate(security.get("supplementalGroups", ())):
        causes += id_causes({f"supplementalGroups[{i}]": group}, where, f"supplementalGroups[{i}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid_value(f"{where}.shareProcessNamespace", True, text))
    for name, values in _CHANGE_POLICIES:
        if name in security and security[name] not in values:
            causes.append(not_supported(f"{where}.{name}", security[name], values))
    policy = security.get("supplementalGroupsPolicy")
    if policy is not None and policy not in {"Merge", "Strict"}:
        causes.append(not_supported(f"{where}.supplementalGroupsPolicy", policy, ("Merge", "Strict")))
    names: set[str] = set()
    for i, sysctl in enumerate(security.get("sysctls", ())):
        name = sysctl.get("name", "")
        if not name:
            causes.append(required(f"{where}.sysctls[{i}].name"))
        elif not _SYSCTL.fullmatch(name):
            causes.append(invalid_value(f"{where}.sysctls[{i}].name", name, _SYSCTL_TEXT))
        elif name in names:
            causes.append(duplicate(f"{where}.sysctls[{i}].name", name))
        names.add(name)
    if spec.get("os", {}).get("name") == "windows":
        text = "cannot be set for a windows pod"
        causes += [forbidden_field(f"{path}.{name}", text) for name in ("hostPID", "hostIPC") if spec.get(name)]
        causes += [forbidden_field(f"{where}.{name}", text) for name in _NOT_WINDOWS if name in security]
    return causes


def _pinned(spec: Object, before: Object) -> Object:
    """Return a new spec with the parts that may change as they were."""
    pinned = dict(spec)
    names = ["activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates"]
    if before.get("schedulingGates"):
        # A gated pod's node selector and affinity may still be narrowed.
        names += ["nodeSelector", "affinity"]
    for name in names:
        pinned.pop(name, None)
        if name in before:
            pinned[name] = before[name]
    for name in ("containers", "initContainers"):
        if name in spec:
            pinned[name] = [
                {**container, "image": old.get("image", "")}
                for container, old in zip(spec[name], before[name], strict=True)
            ]
    return pinned


def validate_pod_update(pod: Object, old: Object) -> list[Cause]:
    """Return what is wrong with a new version of a pod."""
    new, before = pod["spec"], old["spec"]
    causes: list[Cause] = []
    for name in ("containers", "initContainers"):
        if len(new.get(name, ())) != len(before.get(name, ())):
            return [forbidden_field(f"spec.{name}", "pod updates may not add or remove containers")]
        for i, container in enumerate(new.get(name, ())):
            if not container.get("image"):
                causes.append(required(f"spec.{name}[{i}].image"))
    deadline, was = new.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if deadline is None and was is not None:
        causes.append(
            invalid_value("spec.activeDeadlineSeconds", None, "must not update from a positive integer to nil value")
        )
    elif deadline is not None and was is not None and deadline > was:
        text = f"must be less than or equal to previous value {was}"
        causes.append(invalid_value("spec.activeDeadlineSeconds", deadline, text))
    gates = {g.get("name") for g in before.get("schedulingGates", ())}
    for i, gate in enumerate(new.get("schedulingGates", ())):
        if gate.get("name") not in gates:
            text = f"only deletion is allowed, but found new scheduling gate '{gate.get('name', '')}'"
            causes.append(forbidden_field(f"spec.schedulingGates[{i}].name", text))
    for toleration in before.get("tolerations", ()):
        kept = {k: v for k, v in toleration.items() if k != "tolerationSeconds"}
        if not any(
            kept == {k: v for k, v in t.items() if k != "tolerationSeconds"} for t in new.get("tolerations", ())
        ):
            causes.append(
                forbidden_field(
                    "spec.tolerations", "existing toleration can not be modified except its tolerationSeconds"
                )
            )
            break
    if causes:
        return causes
    pinned = _pinned(new, before)
    if pinned == before:
        return []
    shown, was = go_pod_spec(pinned), go_pod_spec(before)
    return [forbidden_field("spec", f"{_UPDATE_TEXT}\n{difference(was, shown)}")]


def pod_warnings(spec: Object, path: str) -> list[str]:
    """Return the warnings that the real server gives for a pod spec."""
    warnings = [
        f'{path}.imagePullSecrets[{i}].name: invalid empty name ""'
        for i, secret in enumerate(spec.get("imagePullSecrets", ()))
        if not secret.get("name")
    ]
    for name in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(name, ())):
            warnings += container_warnings(container, f"{path}.{name}[{i}]")
    return warnings
