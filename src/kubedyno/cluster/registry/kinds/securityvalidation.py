"""What is wrong with security contexts of pods and containers, and with what their operating system rules out."""

import re
from collections.abc import Iterator

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.mountvalidation import descending_path_causes
from kubedyno.kube.gostructs import shown
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required, too_long

_MAX_ID = 2**31 - 1
_ID_TEXT = f"must be between 0 and {_MAX_ID}, inclusive"
_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_MAX_PROFILE = 4095
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_MAX_SYSCTL = 253
_SYSCTL_TEXT = (
    "must have at most 253 characters and match regex "
    r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
)
# Sysctls of what a pod may share with its node: member → (beginnings of names, whole names).
_SHARED_SYSCTLS = {
    "hostNetwork": ("net.",),
    "hostIPC": ("kernel.sem", "kernel.shm", "kernel.msg", "fs.mqueue."),
}
_GROUPS = ("initContainers", "containers", "ephemeralContainers")
_NOT_WINDOWS = (
    "securityContext.appArmorProfile", "securityContext.seLinuxOptions", "hostUsers", "hostPID", "hostIPC",
    "securityContext.seccompProfile", "securityContext.fsGroup", "securityContext.fsGroupChangePolicy",
    "securityContext.sysctls", "shareProcessNamespace", "securityContext.runAsUser", "securityContext.runAsGroup",
    "securityContext.supplementalGroups", "securityContext.supplementalGroupsPolicy",
    "securityContext.seLinuxChangePolicy",
)  # fmt: skip
_CONTAINER_NOT_WINDOWS = (
    "appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem", "privileged",
    "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup",
)  # fmt: skip
_WINDOWS_TEXT = "cannot be set for a windows pod"
_LINUX_TEXT = "windows options cannot be set for a linux pod"
_MAX_CREDENTIALS_KIB = 64
_MAX_DOMAIN, _MAX_USER = 256, 104
_NETBIOS = re.compile(r'[^\\/:*?"<>|.][^\\/:*?"<>|]{0,14}\Z')
_DNS = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\Z")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NO_USER = re.compile(r'["/\\:;|=,+*?<>@\[\]]')


def containers_with_paths(spec: Object, path: str) -> Iterator[tuple[Object, str]]:
    """Give each container of a pod spec with its path: init containers, containers, ephemeral ones."""
    for group in _GROUPS:
        for i, container in enumerate(spec.get(group, ())):
            yield container, f"{path}.{group}[{i}]"


def container_security_causes(security: Object, path: str, *, host_users: bool) -> list[Cause]:
    """Return what is wrong with a container's security context.

    Args:
        security: It.
        path: Of it.
        host_users: The pod has the users of its node.
    """
    causes = _id_causes(security, path, "runAsUser", "runAsGroup")
    mount = security.get("procMount")
    if mount is not None:
        if mount not in {"Default", "Unmasked"}:
            causes.append(not_supported(f"{path}.procMount", mount, ("Default", "Unmasked")))
        if host_users and mount == "Unmasked":
            causes.append(invalid_value(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    causes += _seccomp(security.get("seccompProfile"), f"{path}.seccompProfile")
    if security.get("allowPrivilegeEscalation") is False:
        added = (security.get("capabilities") or {}).get("add") or ()
        refused = ["`privileged` to true"] if security.get("privileged") else []
        refused += ["`capabilities.Add` CAP_SYS_ADMIN" for name in added if name == "CAP_SYS_ADMIN"]
        value = shown("core.v1.SecurityContext", security)
        causes += [
            invalid_value(path, value, f"cannot set `allowPrivilegeEscalation` to false and {what}") for what in refused
        ]
    if "windowsOptions" in security:
        causes += _windows_options(security["windowsOptions"], f"{path}.windowsOptions")
    return causes + _apparmor(security.get("appArmorProfile"), f"{path}.appArmorProfile")


def pod_security_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a pod's own security context; `path` is the spec's."""
    security, where = spec.get("securityContext"), f"{path}.securityContext"
    causes: list[Cause] = []
    if security:
        causes += _id_causes(security, where, "fsGroup", "runAsUser", "runAsGroup")
        for i, group in enumerate(security.get("supplementalGroups", ())):
            causes += _id_causes({f"supplementalGroups[{i}]": group}, where, f"supplementalGroups[{i}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        text = "ShareProcessNamespace and HostPID cannot both be enabled"
        causes.append(invalid_value(f"{where}.shareProcessNamespace", True, text))
    if not security:
        return causes
    causes += _sysctls(security.get("sysctls", ()), f"{where}.sysctls", spec)
    policy = security.get("fsGroupChangePolicy")
    if policy is not None and policy not in {"Always", "OnRootMismatch"}:
        causes.append(not_supported(f"{where}.fsGroupChangePolicy", policy, ("Always", "OnRootMismatch")))
    causes += _seccomp(security.get("seccompProfile"), f"{where}.seccompProfile")
    if "windowsOptions" in security:
        causes += _windows_options(security["windowsOptions"], f"{where}.windowsOptions")
    causes += _apparmor(security.get("appArmorProfile"), f"{where}.appArmorProfile")
    policy = security.get("supplementalGroupsPolicy")
    if policy is not None and policy not in {"Merge", "Strict"}:
        causes.append(not_supported(f"{where}.supplementalGroupsPolicy", policy, ("Merge", "Strict")))
    policy = security.get("seLinuxChangePolicy")
    if policy is not None and policy != "Recursive":
        # MountOption comes with a gate that is off.
        causes.append(not_supported(f"{where}.seLinuxChangePolicy", policy, ("Recursive",)))
    return causes


def host_process_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with containers that are processes of a Windows node."""
    if "windowsOptions" not in spec.get("securityContext", ()) and not any(
        "windowsOptions" in container.get("securityContext", ())
        for group in _GROUPS
        for container in spec.get(group, ())
    ):
        return []
    own = spec.get("securityContext", {}).get("windowsOptions", {}).get("hostProcess")
    causes: list[Cause] = []
    count = processes = 0
    for container, where in containers_with_paths(spec, path):
        count += 1
        mine = container.get("securityContext", {}).get("windowsOptions", {}).get("hostProcess")
        if own is not None and mine is not None and own != mine:
            text = f"pod hostProcess value must be identical if both are specified, was {str(own).lower()}"
            causes.append(invalid_value(f"{where}.securityContext.windowsOptions.hostProcess", mine, text))
        processes += bool(own if mine is None else mine)
    if not processes:
        return causes
    if processes != count:
        text = "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        causes.append(invalid_value(path, "", text))
    if not spec.get("hostNetwork"):
        text = "hostNetwork must be true if pod contains any hostProcess containers"
        causes.append(invalid_value(f"{path}.hostNetwork", False, text))
    return causes


def system_causes(spec: Object, path: str) -> list[Cause]:
    """Return what is wrong with a pod's operating system, and with what it rules out."""
    name = spec["os"].get("name", "")
    if not name:
        return [required(f"{path}.os.name")]
    if name not in {"linux", "windows"}:
        return [not_supported(f"{path}.os", name, ("linux", "windows"))]
    security = spec.get("securityContext", {})
    causes: list[Cause] = []
    if name == "linux":
        if "windowsOptions" in security:
            causes.append(forbidden_field(f"{path}.securityContext.windowsOptions", _LINUX_TEXT))
        causes += [
            forbidden_field(f"{where}.securityContext.windowsOptions", _LINUX_TEXT)
            for container, where in containers_with_paths(spec, path)
            if "windowsOptions" in container.get("securityContext", {})
        ]
        return causes
    for field in _NOT_WINDOWS:
        holder, _, member = field.rpartition(".")
        value = (security if holder else spec).get(member)
        # Two are plain booleans, and sysctls a list: set is what is not empty.
        if value if member in {"hostPID", "hostIPC", "sysctls"} else value is not None:
            causes.append(forbidden_field(f"{path}.{field}", _WINDOWS_TEXT))
    for container, where in containers_with_paths(spec, path):
        given = container.get("securityContext", {})
        causes += [
            forbidden_field(f"{where}.securityContext.{member}", _WINDOWS_TEXT)
            for member in _CONTAINER_NOT_WINDOWS
            if member in given
        ]
    return causes


def _id_causes(security: Object, path: str, *names: str) -> list[Cause]:
    """Return which user and group ids are out of range."""
    return [
        invalid_value(f"{path}.{name}", security[name], _ID_TEXT)
        for name in names
        if name in security and not 0 <= security[name] <= _MAX_ID
    ]


def _seccomp(profile: Object | None, path: str) -> list[Cause]:
    if profile is None:
        return []
    kind, file = profile.get("type", ""), profile.get("localhostProfile")
    causes = []
    if not kind:
        causes.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILES:
        causes.append(not_supported(f"{path}.type", kind, _PROFILES))
    if kind == "Localhost":
        if file is None:
            causes.append(required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            causes += descending_path_causes(f"{path}.localhostProfile", file)
    elif file is not None:
        value = shown("core.v1.SeccompProfile", profile)
        causes.append(
            invalid_value(f"{path}.localhostProfile", value, "can only be set when seccomp type is Localhost")
        )
    return causes


def _apparmor(profile: Object | None, path: str) -> list[Cause]:
    if profile is None:
        return []
    kind, file, where = profile.get("type", ""), profile.get("localhostProfile"), f"{path}.localhostProfile"
    if not kind:
        return [required(f"{path}.type", "type is required when appArmorProfile is set")]
    if kind not in _PROFILES:
        return [not_supported(f"{path}.type", kind, _PROFILES)]
    if kind != "Localhost":
        text = "can only be set when AppArmor type is Localhost"
        return [] if file is None else [invalid_value(where, file, text)]
    if not file:
        return [required(where, "must be set when AppArmor type is Localhost")]
    causes = [] if file == file.strip() else [invalid_value(where, file, "must not be padded with whitespace")]
    return [*causes, too_long(where, _MAX_PROFILE)] if len(file) > _MAX_PROFILE else causes


def _sysctls(sysctls: list[Object], path: str, spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    names: set[str] = set()
    for i, sysctl in enumerate(sysctls):
        name, where = sysctl.get("name", ""), f"{path}[{i}].name"
        if not name:
            causes.append(required(where))
        elif len(name) > _MAX_SYSCTL or not _SYSCTL.fullmatch(name):
            causes.append(invalid_value(where, name, _SYSCTL_TEXT))
        elif name in names:
            causes.append(duplicate(where, name))
        for member, beginnings in _SHARED_SYSCTLS.items():
            if spec.get(member) and name.replace("/", ".").startswith(beginnings):
                causes.append(invalid_value(where, name, f"may not be specified when '{member}' is true"))
        names.add(name)
    return causes


def _windows_options(options: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    name, spec, user = (options.get(m) for m in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"))
    if name is not None:
        where = f"{path}.gmsaCredentialSpecName"
        causes += [invalid_value(where, name, p) for p in problems_of_dns1123_subdomain(name)]
    where = f"{path}.gmsaCredentialSpec"
    if spec == "":
        causes.append(invalid_value(where, spec, "gmsaCredentialSpec cannot be an empty string"))
    elif spec is not None and len(spec) > _MAX_CREDENTIALS_KIB * 1024:
        causes.append(invalid_value(where, spec, f"gmsaCredentialSpec size must be under {_MAX_CREDENTIALS_KIB} KiB"))
    if user is not None:
        where = f"{path}.runAsUserName"
        causes += [invalid_value(where, user, f"runAsUserName{problem}") for problem in _user_problems(user)]
    return causes


def _user_problems(text: str) -> list[str]:
    """Return what is wrong with a Windows user, with a domain and a backslash before it or without."""
    if not text:
        return [" cannot be an empty string"]
    if _CONTROL.search(text):
        return [" cannot contain control characters"]
    parts = text.split("\\")
    if len(parts) > 2:
        return [" cannot contain more than one backslash"]
    problems = []
    domain, user = parts[0] if len(parts) == 2 else None, parts[-1]
    if domain is not None:
        if len(domain) >= _MAX_DOMAIN:
            problems.append(f"'s Domain length must be under {_MAX_DOMAIN} characters")
        if not (_NETBIOS.match(domain) or _DNS.match(domain)):
            problems.append("'s Domain doesn't match the NetBios nor the DNS format")
    if not user:
        problems.append("'s User cannot be empty")
    elif len(user) > _MAX_USER:
        problems.append(f"'s User length must not be longer than {_MAX_USER} characters")
    if user and not user.strip(". "):
        problems.append("'s User cannot contain only periods or spaces")
    if _NO_USER.search(user):
        problems.append("'s User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return problems
