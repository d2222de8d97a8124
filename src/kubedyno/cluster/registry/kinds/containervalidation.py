"""What is wrong with a pod's containers: names, ports, environment, mounts, security."""

import re
from collections.abc import Iterable
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.portvalidation import port_causes, port_name_problems
from kubedyno.cluster.registry.kinds.probevalidation import handler_causes, probe_causes
from kubedyno.cluster.registry.kinds.resourcevalidation import validate_resources
from kubedyno.cluster.registry.kinds.stopsignals import stop_signal_causes
from kubedyno.kube.names import problems_of_config_key, problems_of_dns1123_label
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.status import (
    Cause,
    duplicate,
    forbidden_field,
    invalid_value,
    not_found_field,
    not_supported,
    required,
)

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ENV_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")
_ENV_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", "status.hostIP",
    "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_ENV_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
    "requests.memory",
)  # fmt: skip
_MAX_ID = 2**31 - 1
_ID_TEXT = f"must be between 0 and {_MAX_ID}, inclusive"
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
# Printable ASCII without "=".
_VARIABLE = re.compile(r"[ -<>-~]*\Z")
# Of Go's SecurityContext, in its order.
_SECURITY_MEMBERS = (
    "Capabilities", "Privileged", "SELinuxOptions", "WindowsOptions", "RunAsUser", "RunAsGroup", "RunAsNonRoot",
    "ReadOnlyRootFilesystem", "AllowPrivilegeEscalation", "ProcMount", "SeccompProfile", "AppArmorProfile",
)  # fmt: skip


def validate_containers(spec: Object, path: str, volumes: set[str]) -> list[Cause]:
    """Return what is wrong with containers and init containers.

    Args:
        spec: The pod spec.
        path: Its path.
        volumes: Names that may be mounted.
    """
    causes: list[Cause] = []
    names: set[str] = set()
    containers = spec.get("containers", ())
    if not containers:
        causes.append(required(f"{path}.containers"))
    for i, container in enumerate(containers):
        causes += _container(container, f"{path}.containers[{i}]", spec, volumes)
        name = container.get("name", "")
        if name and name in names:
            causes.append(duplicate(f"{path}.containers[{i}].name", name))
        names.add(name)
    causes += _host_port_conflicts(containers, f"{path}.containers")
    for i, container in enumerate(spec.get("initContainers", ())):
        where = f"{path}.initContainers[{i}]"
        name = container.get("name", "")
        causes += _container(container, where, spec, volumes)
        if name and name in names:
            causes.append(duplicate(f"{where}.name", name))
        names.add(name)
        causes += _host_port_conflicts((container,), f"{path}.initContainers")
        if container.get("restartPolicy") != "Always":
            causes += [
                forbidden_field(f"{where}.{field}", "may not be set for init containers without restartPolicy=Always")
                for field in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")
                if field in container
            ]
    return causes


def _container(container: Object, path: str, spec: Object, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    name, image = container.get("name", ""), container.get("image", "")
    if not name:
        causes.append(required(f"{path}.name"))
    elif len(name) > 63:
        causes.append(invalid_value(f"{path}.name", name, "must be no more than 63 characters"))
    else:
        causes += [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1123_label(name)]
    if not image:
        causes.append(required(f"{path}.image"))
    elif image != image.strip():
        causes.append(invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    policy = container.get("terminationMessagePolicy")
    if policy not in {"File", "FallbackToLogsOnError"}:
        causes.append(not_supported(f"{path}.terminationMessagePolicy", policy, ("File", "FallbackToLogsOnError")))
    causes += _ports(container, path, host_network=bool(spec.get("hostNetwork")))
    for i, variable in enumerate(container.get("env", ())):
        causes += _variable(variable, f"{path}.env[{i}]")
    for i, source in enumerate(container.get("envFrom", ())):
        causes += _variables_from(source, f"{path}.envFrom", i)
    causes += _mounts(container, path, volumes)
    pull = container.get("imagePullPolicy")
    if pull not in {"Always", "IfNotPresent", "Never"}:
        causes.append(not_supported(f"{path}.imagePullPolicy", pull, ("Always", "IfNotPresent", "Never")))
    causes += validate_resources(container.get("resources", {}), f"{path}.resources", spec)
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        if kind in container:
            causes += probe_causes(container[kind], f"{path}.{kind}", kind)
    grace = spec.get("terminationGracePeriodSeconds", 30)
    for hook in ("postStart", "preStop"):
        handler = container.get("lifecycle", {}).get(hook)
        if handler is not None:
            causes += handler_causes(handler, f"{path}.lifecycle.{hook}")
            seconds = handler.get("sleep", {}).get("seconds", 0)
            if not 0 <= seconds <= grace:
                text = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
                causes.append(invalid_value(f"{path}.lifecycle.{hook}.sleep", seconds, text))
    signal = container.get("lifecycle", {}).get("stopSignal")
    if signal is not None:
        causes += stop_signal_causes(signal, f"{path}.lifecycle.stopSignal", spec.get("os", {}).get("name", ""))
    security = container.get("securityContext")
    if security is not None:
        causes += _security(security, f"{path}.securityContext")
    causes += _devices(container, path, volumes)
    restart = container.get("restartPolicy")
    if restart is not None and restart not in {"Always", "Never", "OnFailure"}:
        causes.append(not_supported(f"{path}.restartPolicy", restart, ("Always", "Never", "OnFailure")))
    for i, resize in enumerate(container.get("resizePolicy", ())):
        where, name, policy = (
            f"{path}.resizePolicy[{i}]",
            resize.get("resourceName", ""),
            resize.get("restartPolicy", ""),
        )
        if name not in {"cpu", "memory"}:
            causes.append(not_supported(f"{where}.resourceName", name, ("cpu", "memory")))
        if policy not in {"NotRequired", "RestartContainer"}:
            causes.append(not_supported(f"{where}.restartPolicy", policy, ("NotRequired", "RestartContainer")))
    return causes


def _host_port_conflicts(containers: Iterable[Object], path: str) -> list[Cause]:
    """Return which ports of the host are asked for twice."""
    causes, taken = [], set()
    for i, container in enumerate(containers):
        for j, port in enumerate(container.get("ports", ())):
            if not port.get("hostPort"):
                continue
            asked = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if asked in taken:
                causes.append(duplicate(f"{path}[{i}].ports[{j}].hostPort", asked))
            taken.add(asked)
    return causes


def _devices(container: Object, path: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    for i, device in enumerate(container.get("volumeDevices", ())):
        where, name, target = f"{path}.volumeDevices[{i}]", device.get("name", ""), device.get("devicePath", "")
        if not name:
            causes.append(required(f"{where}.name"))
        elif name not in volumes:
            causes.append(not_found_field(f"{where}.name", name))
        if not target:
            causes.append(required(f"{where}.devicePath"))
    return causes


def _ports(container: Object, path: str, *, host_network: bool) -> list[Cause]:
    causes, names = [], set()
    for i, port in enumerate(container.get("ports", ())):
        where = f"{path}.ports[{i}]"
        name, number, host = port.get("name", ""), port.get("containerPort", 0), port.get("hostPort", 0)
        if name:
            problems = port_name_problems(name)
            causes += [invalid_value(f"{where}.name", name, p) for p in problems]
            if not problems and name in names:
                causes.append(duplicate(f"{where}.name", name))
            names.add(name)
        if number == 0:
            causes.append(required(f"{where}.containerPort"))
        else:
            causes += port_causes(f"{where}.containerPort", number)
        if host:
            causes += port_causes(f"{where}.hostPort", host)
            if host_network and host != number:
                text = "must match `containerPort` when `hostNetwork` is true"
                causes.append(invalid_value(f"{where}.hostPort", host, text))
        if port.get("protocol") not in _PROTOCOLS:
            causes.append(not_supported(f"{where}.protocol", port.get("protocol"), _PROTOCOLS))
    return causes


def _variable_name(name: str, path: str) -> list[Cause]:
    if not name:
        return [required(path)]
    if not _VARIABLE.match(name):
        text = "a valid environment variable name must consist only of printable ASCII characters other than '='"
        return [invalid_value(path, name, text)]
    return []


def _variable(variable: Object, path: str) -> list[Cause]:
    causes = _variable_name(variable.get("name", ""), f"{path}.name")
    source, where = variable.get("valueFrom"), f"{path}.valueFrom"
    if source is None:
        return causes
    found = [name for name in _ENV_SOURCES if name in source]
    if "fieldRef" in source:
        field = source["fieldRef"].get("fieldPath", "")
        base = field.partition("[")[0]
        if not field:
            causes.append(required(f"{where}.fieldRef.fieldPath"))
        elif base not in _ENV_FIELDS and not (base != field and base in {"metadata.labels", "metadata.annotations"}):
            causes.append(not_supported(f"{where}.fieldRef.fieldPath", field, _ENV_FIELDS))
    if "resourceFieldRef" in source:
        causes += _resource_field(source["resourceFieldRef"], f"{where}.resourceFieldRef")
    for name in ("configMapKeyRef", "secretKeyRef"):
        if name in source:
            causes += _key_selector(source[name], f"{where}.{name}")
    if not found:
        text = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        causes.append(invalid_value(where, "", text))
    elif len(found) > 1:
        causes.append(invalid_value(where, "", "may not have more than one field specified at a time"))
    elif variable.get("value"):
        causes.append(invalid_value(where, "", "may not be specified when `value` is not empty"))
    return causes


def _key_selector(selector: Object, path: str) -> list[Cause]:
    """Return what is wrong with the reference to one key of a ConfigMap or Secret."""
    causes = [] if selector.get("name") else [required(f"{path}.name")]
    key = selector.get("key", "")
    if not key:
        return [*causes, required(f"{path}.key")]
    return causes + [invalid_value(f"{path}.key", key, p) for p in problems_of_config_key(key)]


def _resource_field(reference: Object, path: str) -> list[Cause]:
    resource, divisor = reference.get("resource", ""), reference.get("divisor", "0")
    if not resource:
        return [required(f"{path}.resource")]
    if resource not in _ENV_RESOURCES and not resource.partition(".")[2].startswith("hugepages-"):
        return [not_supported(f"{path}.resource", resource, _ENV_RESOURCES)]
    if resource.endswith(".cpu") and divisor not in {"0", "1m", "1"}:
        text = "only divisor's values 1m and 1 are supported with the cpu resource"
        return [invalid_value(f"{path}.divisor", resource, text)]
    return []


def _variables_from(source: Object, path: str, position: int) -> list[Cause]:
    causes = []
    if source.get("prefix"):
        causes += _variable_name(source["prefix"], f"{path}[{position}].prefix")
    found = [name for name in ("configMapRef", "secretRef") if name in source]
    for name in found:
        if not source[name].get("name"):
            causes.append(required(f"{path}[{position}].{name}.name"))
    if not found:
        causes.append(invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`"))
    elif len(found) > 1:
        causes.append(invalid_value(path, "", "may not have more than one field specified at a time"))
    return causes


def _mounts(container: Object, path: str, volumes: set[str]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for i, mount in enumerate(container.get("volumeMounts", ())):
        where = f"{path}.volumeMounts[{i}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{where}.name"))
        elif name not in volumes:
            causes.append(not_found_field(f"{where}.name", name))
        if not target:
            causes.append(required(f"{where}.mountPath"))
        elif target in seen:
            causes.append(invalid_value(f"{where}.mountPath", target, "must be unique"))
        seen.add(target)
        # The real server leaves the index out of these.
        loose = f"{path}.volumeMounts"
        for field in ("subPath", "subPathExpr"):
            if mount.get(field, "").startswith("/"):
                causes.append(invalid_value(f"{loose}.{field}", mount[field], "must be a relative path"))
            elif ".." in mount.get(field, "").split("/"):
                causes.append(invalid_value(f"{loose}.{field}", mount[field], "must not contain '..'"))
        if mount.get("subPath") and mount.get("subPathExpr"):
            text = "subPathExpr and subPath are mutually exclusive"
            causes.append(invalid_value(f"{where}.subPathExpr", mount["subPathExpr"], text))
        propagation = mount.get("mountPropagation")
        if propagation is not None and propagation not in {"Bidirectional", "HostToContainer", "None"}:
            causes.append(
                not_supported(f"{loose}.mountPropagation", propagation, ("Bidirectional", "HostToContainer", "None"))
            )
        if mount.get("recursiveReadOnly") in {"Enabled", "IfPossible"} and not mount.get("readOnly"):
            causes.append(forbidden_field(f"{loose}.recursiveReadOnly", "may only be specified when readOnly is true"))
    return causes


def _security(security: Object, path: str) -> list[Cause]:
    causes = profile_causes(security, path) + id_causes(security, path, "runAsUser", "runAsGroup")
    if "procMount" in security and security["procMount"] not in {"Default", "Unmasked"}:
        causes.append(not_supported(f"{path}.procMount", security["procMount"], ("Default", "Unmasked")))
    if security.get("allowPrivilegeEscalation") is False:
        added = (security.get("capabilities") or {}).get("add") or ()
        refused = ["`privileged` to true"] if security.get("privileged") else []
        refused += ["`capabilities.Add` CAP_SYS_ADMIN" for name in added if name == "CAP_SYS_ADMIN"]
        shown = {name: security.get(name[0].lower() + name[1:]) for name in _SECURITY_MEMBERS}
        if shown["Capabilities"] is not None:
            given = shown["Capabilities"]
            shown["Capabilities"] = {"Add": given.get("add"), "Drop": given.get("drop")}
        causes += [
            invalid_value(path, shown, f"cannot set `allowPrivilegeEscalation` to false and {what}") for what in refused
        ]
    return causes


def profile_causes(security: Object, path: str) -> list[Cause]:
    """Return what is wrong with the profiles of a pod's or container's security context."""
    causes: list[Cause] = []
    for name, what in (("seccompProfile", "seccomp"), ("appArmorProfile", "AppArmor")):
        profile, where = security.get(name), f"{path}.{name}"
        if profile is None:
            continue
        kind = profile.get("type", "")
        if not kind:
            causes.append(required(f"{where}.type", f"type is required when {name} is set"))
        elif kind not in _PROFILES:
            causes.append(not_supported(f"{where}.type", kind, _PROFILES))
        if kind == "Localhost" and "localhostProfile" not in profile:
            causes.append(required(f"{where}.localhostProfile", f"must be set when {what} type is Localhost"))
        elif kind != "Localhost" and "localhostProfile" in profile:
            text = f"can only be set when {what} type is Localhost"
            causes.append(invalid_value(f"{where}.localhostProfile", profile["localhostProfile"], text))
    return causes


def id_causes(security: Object, path: str, *names: str) -> list[Cause]:
    """Return which user and group ids are out of range."""
    return [
        invalid_value(f"{path}.{name}", security[name], _ID_TEXT)
        for name in names
        if name in security and not 0 <= security[name] <= _MAX_ID
    ]


def container_warnings(container: Object, path: str) -> list[str]:
    """Return the warnings for a container: ports and variables defined twice."""
    warnings = []
    ports: dict[tuple[Any, ...], int] = {}
    for i, port in enumerate(container.get("ports", ())):
        key = (port.get("protocol"), port.get("containerPort"), port.get("hostPort"), port.get("hostIP"))
        if key in ports:
            warnings.append(f"{path}.ports[{i}]: duplicate port definition with {path}.ports[{ports[key]}]")
        ports.setdefault(key, i)
    names: set[str] = set()
    for i, variable in enumerate(container.get("env", ())):
        name = variable.get("name", "")
        if name in names:
            warnings.append(
                f'{path}.env[{i}]: hides previous definition of "{name}", which may be dropped when using apply'
            )
        names.add(name)
    for part in ("limits", "requests"):
        for name in ("memory", "ephemeral-storage"):
            text = container.get("resources", {}).get(part, {}).get(name)
            if text is not None and text.endswith("m") and Quantity.parse(text).milli_value() % 1000:
                warnings.append(
                    f'{path}.resources.{part}[{name}]: fractional byte value "{text}" is invalid, must be an integer'
                )
    return warnings
