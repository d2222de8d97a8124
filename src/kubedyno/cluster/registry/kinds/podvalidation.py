"""What makes a pod, or a pod template, invalid; texts and their order as the real server's."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds import apparmor
from kubedyno.cluster.registry.kinds.containervalidation import (
    Surroundings,
    padded_image_causes,
    validate_containers,
)
from kubedyno.cluster.registry.kinds.ephemeralcontainers import ephemeral_causes
from kubedyno.cluster.registry.kinds.gostruct import go_device_claim
from kubedyno.cluster.registry.kinds.podresources import pod_resource_causes
from kubedyno.cluster.registry.kinds.resourcevalidation import validate_resources
from kubedyno.cluster.registry.kinds.schedulingvalidation import (
    affinity_causes,
    alias_causes,
    dns_causes,
    spread_causes,
    toleration_causes,
)
from kubedyno.cluster.registry.kinds.securityvalidation import (
    containers_with_paths,
    host_process_causes,
    pod_security_causes,
    system_causes,
)
from kubedyno.cluster.registry.kinds.volumevalidation import validate_volumes
from kubedyno.cluster.registry.metadata import annotation_causes, label_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain, problems_of_qualified_name
from kubedyno.kube.status import (
    Cause,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    not_supported,
    required,
    too_long,
)

MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
_MAX_INT32 = 2**31 - 1
_MAX_HOSTNAME = 64
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")
_NO_ACCOUNT = "must not be specified when serviceAccountName is not set"


def validate_pod(pod: Object) -> list[Cause]:
    """Return what is wrong with a pod to be created."""
    spec, annotations = pod["spec"], pod["metadata"].get("annotations")
    causes = _annotations(annotations, spec, "metadata.annotations") if annotations else []
    causes += validate_pod_spec(spec, "spec", pod=pod["metadata"].get("name", ""))
    if spec.get("ephemeralContainers"):
        causes.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("schedulingGates") and spec.get("nodeName"):
        causes.append(forbidden_field("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    if annotations:
        causes += apparmor.agreement_causes(annotations, spec, "spec")
    return causes


def _annotations(annotations: dict[str, str], spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with annotations that say something of a pod's own."""
    causes = []
    if MIRROR_ANNOTATION in annotations and not spec.get("nodeName"):
        text = "must set spec.nodeName if mirror pod annotation is set"
        causes.append(invalid_value(f"{path}[{MIRROR_ANNOTATION}]", annotations[MIRROR_ANNOTATION], text))
    return causes + apparmor.annotation_causes(annotations, spec, path)


def validate_template(template: Object, path: str) -> list[Cause]:
    """Return what is wrong with a pod template."""
    metadata = template.get("metadata", {})
    causes = label_causes(metadata.get("labels", {}), f"{path}.labels")
    causes += annotation_causes(metadata.get("annotations", {}), f"{path}.annotations")
    causes += _annotations(metadata.get("annotations") or {}, template["spec"], f"{path}.annotations")
    causes += validate_pod_spec(template["spec"], f"{path}.spec")
    if template["spec"].get("ephemeralContainers"):
        causes.append(
            forbidden_field(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template")
        )
    return causes


def validate_pod_spec(spec: Object, path: str, *, pod: str | None = None) -> list[Cause]:
    """Return what is wrong with a complete pod spec.

    Args:
        spec: With its defaults.
        path: Of it.
        pod: The name of the pod that it is of; None: it is a template's.
    """
    causes, volumes = validate_volumes(spec, f"{path}.volumes", pod=pod)
    claims: set[str] = set()
    for i, claim in enumerate(spec.get("resourceClaims", ())):
        causes += _claim(claim, f"{path}.resourceClaims[{i}]", claims)
    around = Surroundings.of(spec, volumes)
    causes += validate_containers(spec, path, around)
    if spec.get("ephemeralContainers"):
        causes += ephemeral_causes(spec, f"{path}.ephemeralContainers", around)
    if "resources" in spec:
        causes += pod_resource_causes(spec, f"{path}.resources")
    if spec.get("hostNetwork"):
        causes += _host_ports(spec, path, pod=pod is not None)
    for name, values in (("restartPolicy", _RESTART_POLICIES), ("dnsPolicy", _DNS_POLICIES)):
        if spec[name] not in values:
            where = f"{path}.{name}"
            causes.append(not_supported(where, spec[name], values) if spec[name] else required(where))
    causes += label_causes(spec.get("nodeSelector", {}), f"{path}.nodeSelector")
    causes += pod_security_causes(spec, path)
    if "affinity" in spec:
        causes += affinity_causes(spec["affinity"], f"{path}.affinity")
    causes += dns_causes(spec, path)
    causes += _gates(spec, path)
    if "topologySpreadConstraints" in spec:
        causes += spread_causes(spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints")
    causes += host_process_causes(spec, path)
    if spec.get("hostUsers") is False:
        causes += _own_users(spec, path)
    causes += _names(spec, path)
    for i, toleration in enumerate(spec.get("tolerations", ())):
        causes += toleration_causes(toleration, f"{path}.tolerations[{i}]")
    causes += alias_causes(spec, path)
    for name in ("priorityClassName", "runtimeClassName"):
        if spec.get(name) or (name == "runtimeClassName" and name in spec):
            where = f"{path}.{name}"
            causes += [invalid_value(where, spec[name], p) for p in problems_of_dns1123_subdomain(spec[name])]
    if spec.get("preemptionPolicy") not in {None, *_PREEMPTION_POLICIES}:
        where, policy = f"{path}.preemptionPolicy", spec["preemptionPolicy"]
        causes.append(not_supported(where, policy, _PREEMPTION_POLICIES) if policy else required(where))
    if "overhead" in spec:
        causes += validate_resources({"limits": spec["overhead"]}, f"{path}.overhead")
    if "os" in spec:
        causes += system_causes(spec, path)
    if any(
        "fileKeyRef" in (variable.get("valueFrom") or ())
        for group in ("containers", "initContainers", "ephemeralContainers")
        for container in spec.get(group, ())
        for variable in container.get("env", ())
    ):
        causes += _files_of_variables(spec, path)
    return causes if pod is None else causes + _pod_only(spec, path)


def _pod_only(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a pod that would be no fault in a template."""
    causes: list[Cause] = []
    if not spec.get("serviceAccountName"):
        causes += [
            forbidden_field(f"{path}.volumes[{i}].projected.sources[{j}].serviceAccountToken", _NO_ACCOUNT)
            for i, volume in enumerate(spec.get("volumes", ()))
            for j, source in enumerate(volume.get("projected", {}).get("sources", ()))
            if "serviceAccountToken" in source
        ]
    causes += padded_image_causes(spec.get("containers", ()), f"{path}.containers")
    return causes + padded_image_causes(spec.get("initContainers", ()), f"{path}.initContainers")


def _host_ports(spec: Object, path: str, *, pod: bool) -> list[Cause]:
    """Return which ports of containers on the node's own network are others than the node's."""
    text = "must match `containerPort` when `hostNetwork` is true"
    return [
        invalid_value(f"{path}.containers[{i}].ports[{j}].hostPort", port.get("hostPort", 0), text)
        for i, container in enumerate(spec.get("containers", ()))
        for j, port in enumerate(container.get("ports", ()))
        if (pod or port.get("hostPort")) and port.get("hostPort", 0) != port.get("containerPort", 0)
    ]


def _gates(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with readiness and scheduling gates."""
    causes: list[Cause] = []
    for i, gate in enumerate(spec.get("readinessGates", ())):
        kind, where = gate.get("conditionType", ""), f"{path}.readinessGates[{i}].conditionType"
        causes += [invalid_value(where, kind, p) for p in problems_of_qualified_name(kind)]
    gates: set[str] = set()
    for i, gate in enumerate(spec.get("schedulingGates", ())):
        name, where = gate.get("name", ""), f"{path}.schedulingGates[{i}]"
        causes += [invalid_value(where, name, p) for p in problems_of_qualified_name(name)]
        if name in gates:
            causes.append(duplicate(where, name))
        gates.add(name)
    return causes


def _own_users(spec: Object, path: str) -> list[Cause]:
    """Return what a pod with users of its own cannot share with its node."""
    text = "when `hostUsers` is false"
    # Two are told by Go's names of the internal struct.
    causes = [
        forbidden_field(f"{path}.{shown}", text)
        for name, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
        if spec.get(name)
    ]
    return causes + [
        forbidden_field(f"{where}.volumeDevices", text)
        for container, where in containers_with_paths(spec, path)
        if container.get("volumeDevices")
    ]


def _names(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with the names and the deadline of a pod."""
    causes: list[Cause] = []
    override, where = spec.get("hostnameOverride"), f"{path}.hostnameOverride"
    if override is not None:
        causes += [
            forbidden_field(where, f"may not be specified when {name} is true")
            for name in ("setHostnameAsFQDN", "hostNetwork")
            if spec.get(name)
        ]
        if len(override) > _MAX_HOSTNAME:
            causes.append(too_long(where, _MAX_HOSTNAME))
        causes += [invalid_value(where, override, p) for p in problems_of_dns1123_subdomain(override)]
    for name in ("serviceAccountName", "nodeName"):
        if spec.get(name):
            where = f"{path}.{name}"
            causes += [invalid_value(where, spec[name], p) for p in problems_of_dns1123_subdomain(spec[name])]
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        text = f"must be between 1 and {_MAX_INT32}, inclusive"
        causes.append(invalid_value(f"{path}.activeDeadlineSeconds", deadline, text))
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            causes += [invalid_value(f"{path}.{name}", spec[name], p) for p in problems_of_dns1123_label(spec[name])]
    return causes


def _files_of_variables(spec: Object, path: str) -> list[Cause]:
    """Return which variables are read from files of volumes that there are not, or that hold no such files."""
    causes: list[Cause] = []
    for container, where in containers_with_paths(spec, path):
        for i, variable in enumerate(container.get("env", ())):
            source = variable.get("valueFrom")
            if not source or "fileKeyRef" not in source:
                continue
            name, place = (
                source["fileKeyRef"].get("volumeName", ""),
                f"{where}.env[{i}].valueFrom.fileKeyRef.volumeName",
            )
            found = [volume for volume in spec.get("volumes", ()) if volume.get("name", "") == name]
            if not found:
                causes.append(not_found_field(place, name))
            elif "emptyDir" not in found[-1]:
                causes.append(invalid_value(place, name, "referenced volume must be of type emptyDir"))
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
        text = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
        if given:
            text = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
        causes.append(invalid_value(path, go_device_claim(claim), text))
    for member in given:
        causes += [
            invalid_value(f"{path}.{member}", claim[member], p) for p in problems_of_dns1123_subdomain(claim[member])
        ]
    return causes
