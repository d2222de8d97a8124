"""Pod Security Standards: what a pod spec does that the level of its namespace forbids, in the real server's words."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.status import Cause, invalid_value

PREFIX = "pod-security.kubernetes.io/"
ENFORCE, WARN, AUDIT = PREFIX + "enforce", PREFIX + "warn", PREFIX + "audit"
LEVELS = ("privileged", "baseline", "restricted")
_DEFAULT_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
_SAFE_SYSCTLS = frozenset({
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start", "net.ipv4.ip_local_reserved_ports", "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
})  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_ALLOWED_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a pod breaks: `detail` says which of its containers, and how."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


def label_causes(labels: dict[str, str]) -> list[Cause]:
    """Return what is wrong with a namespace's Pod Security labels."""
    causes: list[Cause] = []
    for name in (ENFORCE, AUDIT, WARN):
        level = labels.get(name)
        if level is not None and level not in LEVELS:
            text = f"must be one of {', '.join(LEVELS)}"
            causes.append(invalid_value(f"metadata.labels[{name}]", level, text))
        version = labels.get(f"{name}-version")
        if version is not None and version != "latest" and not _is_version(version):
            text = 'must be "latest" or "v1.x"'
            causes.append(invalid_value(f"metadata.labels[{name}-version]", version, text))
    return causes


def _is_version(text: str) -> bool:
    return text.startswith("v1.") and text[3:].isdigit()


def level_of(labels: dict[str, str], name: str) -> tuple[str, str]:
    """Return the level and its version that a namespace's labels ask for; "privileged" forbids nothing."""
    return labels.get(name, LEVELS[0]), labels.get(f"{name}-version", "latest")


def violations(spec: Object, level: str) -> list[Violation]:
    """Return what a complete pod spec does against a level."""
    if level == LEVELS[0]:
        return []
    restricted = level == LEVELS[2]
    checks: list[Check] = [*_BASELINE]
    if restricted:
        checks = [c for c in checks if c not in _REPLACED] + list(_RESTRICTED)
    return [found for check in checks if (found := check(spec)) is not None]


def text_of(found: Sequence[Violation]) -> str:
    """Return violations as one message."""
    return ", ".join(map(str, found))


Check = Callable[[Object], Violation | None]


def _containers(spec: Object) -> Iterator[Object]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(name, ())


def _security(container: Object) -> Object:
    security: Object = container.get("securityContext") or {}
    return security


def _named(containers: Sequence[Object], what: str = "container") -> str:
    names = ", ".join(f'"{c.get("name", "")}"' for c in containers)
    return f"{what}{'s' if len(containers) > 1 else ''} {names}"


def _that(spec: Object, bad: Callable[[Object], bool]) -> list[Object]:
    return [container for container in _containers(spec) if bad(container)]


def _capabilities(spec: Object) -> Violation | None:
    detail = _forbidden_capabilities(spec, _DEFAULT_CAPABILITIES)
    return Violation("non-default capabilities", detail) if detail else None


def _forbidden_capabilities(spec: Object, allowed: frozenset[str]) -> str:
    found = _that(spec, lambda c: bool(set(_security(c).get("capabilities", {}).get("add", ())) - allowed))
    added = {name for c in found for name in _security(c)["capabilities"]["add"]} - allowed
    if not found:
        return ""
    listed = ", ".join(f'"{name}"' for name in sorted(added))
    return f"{_named(found)} must not include {listed} in securityContext.capabilities.add"


def _host_namespaces(spec: Object) -> Violation | None:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _host_paths(spec: Object) -> Violation | None:
    found = [volume for volume in spec.get("volumes", ()) if "hostPath" in volume]
    return Violation("hostPath volumes", _named(found, "volume")) if found else None


def _host_ports(spec: Object) -> Violation | None:
    found = _that(spec, lambda c: any(port.get("hostPort") for port in c.get("ports", ())))
    if not found:
        return None
    ports = sorted({str(port["hostPort"]) for c in found for port in c["ports"] if port.get("hostPort")})
    uses = "use" if len(found) > 1 else "uses"
    return Violation("hostPort", f"{_named(found)} {uses} hostPort{'s' if len(ports) > 1 else ''} {', '.join(ports)}")


def _flag(reason: str, bad: Callable[[Object], bool], must: str) -> Check:
    """Return a check of one member of the containers' security contexts."""

    def check(spec: Object) -> Violation | None:
        found = _that(spec, lambda c: bad(_security(c)))
        return Violation(reason, f"{_named(found)} {must}") if found else None

    return check


def _app_armor(spec: Object) -> Violation | None:
    parts = ["pod"] if _unconfined(spec, "appArmorProfile") else []
    found = _that(spec, lambda c: _unconfined(c, "appArmorProfile"))
    parts += [_named(found)] if found else []
    if not parts:
        return None
    text = f'{" and ".join(parts)} must not set AppArmor profile type to "Unconfined"'
    return Violation("forbidden AppArmor profile", text)


def _unconfined(holder: Object, member: str) -> bool:
    return bool(_security(holder).get(member, {}).get("type") == "Unconfined")


def _selinux(spec: Object) -> Violation | None:
    holders = [("pod", spec), *((_named([c]), c) for c in _containers(spec))]
    bad: list[str] = []
    details: list[str] = []
    for name, holder in holders:
        options = _security(holder).get("seLinuxOptions", {})
        wrong = [f'type "{options["type"]}"'] if options.get("type", "") not in _SELINUX_TYPES else []
        wrong += [f"{member} may not be set" for member in ("user", "role") if options.get(member)]
        if wrong:
            bad.append(name)
            details += wrong
    if not bad:
        return None
    listed = "; ".join(dict.fromkeys(details))
    return Violation("seLinuxOptions", f"{' and '.join(bad)} set forbidden securityContext.seLinuxOptions: {listed}")


def _seccomp_baseline(spec: Object) -> Violation | None:
    parts = ["pod"] if _unconfined(spec, "seccompProfile") else []
    found = _that(spec, lambda c: _unconfined(c, "seccompProfile"))
    parts += [_named(found)] if found else []
    if not parts:
        return None
    text = f'{" and ".join(parts)} must not set securityContext.seccompProfile.type to "Unconfined"'
    return Violation("seccompProfile", text)


def _sysctls(spec: Object) -> Violation | None:
    found = [s.get("name", "") for s in _security(spec).get("sysctls", ()) if s.get("name") not in _SAFE_SYSCTLS]
    return Violation("forbidden sysctls", ", ".join(found)) if found else None


def _restricted_capabilities(spec: Object) -> Violation | None:
    found = _that(spec, lambda c: "ALL" not in _security(c).get("capabilities", {}).get("drop", ()))
    parts = [f'{_named(found)} must set securityContext.capabilities.drop=["ALL"]'] if found else []
    added = _forbidden_capabilities(spec, frozenset({"NET_BIND_SERVICE"}))
    parts += [added] if added else []
    return Violation("unrestricted capabilities", "; ".join(parts)) if parts else None


def _restricted_volumes(spec: Object) -> Violation | None:
    found = [v for v in spec.get("volumes", ()) if not _ALLOWED_VOLUMES & set(v)]
    if not found:
        return None
    kinds = sorted({name for volume in found for name in volume if name != "name"})
    listed, plural = ", ".join(f'"{kind}"' for kind in kinds), "s" if len(kinds) > 1 else ""
    uses = "use" if len(found) > 1 else "uses"
    text = f"{_named(found, 'volume')} {uses} restricted volume type{plural} {listed}"
    return Violation("restricted volume types", text)


def _non_root(spec: Object) -> Violation | None:
    pod = _security(spec).get("runAsNonRoot")
    explicit = _that(spec, lambda c: _security(c).get("runAsNonRoot") is False)
    silent = _that(spec, lambda c: _security(c).get("runAsNonRoot") is None)
    parts = ["pod must not set securityContext.runAsNonRoot=false"] if pod is False and silent else []
    if explicit:
        parts.append(f"{_named(explicit)} must not set securityContext.runAsNonRoot=false")
    if parts:
        return Violation("runAsNonRoot != true", "; ".join(parts))
    if pod is None and silent:
        return Violation("runAsNonRoot != true", f"pod or {_named(silent)} must set securityContext.runAsNonRoot=true")
    return None


def _root_user(spec: Object) -> Violation | None:
    parts = ["pod"] if _security(spec).get("runAsUser") == 0 else []
    found = _that(spec, lambda c: _security(c).get("runAsUser") == 0)
    parts += [_named(found)] if found else []
    return Violation("runAsUser=0", f"{' and '.join(parts)} must not set runAsUser=0") if parts else None


def _seccomp_restricted(spec: Object) -> Violation | None:
    pod = _security(spec).get("seccompProfile")
    explicit = _seccomp_baseline(spec)
    if explicit is not None:
        return explicit
    silent = _that(spec, lambda c: "seccompProfile" not in _security(c))
    if pod is not None or not silent:
        return None
    text = f'pod or {_named(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", text)


_BASELINE: tuple[Check, ...] = (
    _app_armor,
    _capabilities,
    _host_namespaces,
    _host_paths,
    _host_ports,
    _flag("privileged", lambda s: bool(s.get("privileged")), "must not set securityContext.privileged=true"),
    _flag(
        "procMount", lambda s: s.get("procMount") == "Unmasked", 'must not set securityContext.procMount to "Unmasked"'
    ),
    _selinux,
    _seccomp_baseline,
    _sysctls,
    _flag(
        "hostProcess",
        lambda s: bool(s.get("windowsOptions", {}).get("hostProcess")),
        "must not set securityContext.windowsOptions.hostProcess=true",
    ),
)
# What a stricter check of the restricted level stands for.
_REPLACED: tuple[Check, ...] = (_capabilities, _host_paths, _seccomp_baseline)
_RESTRICTED: tuple[Check, ...] = (
    _flag(
        "allowPrivilegeEscalation != false",
        lambda s: s.get("allowPrivilegeEscalation") is not False,
        "must set securityContext.allowPrivilegeEscalation=false",
    ),
    _restricted_capabilities,
    _restricted_volumes,
    _non_root,
    _root_user,
    _seccomp_restricted,
)
