"""Pod Security Standards: what a pod does that the level of its namespace forbids, in the real server's words.

A level has a version: rules come and go with Kubernetes' minor versions, and a namespace may ask for those of an older one.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.status import Cause, invalid_value

PREFIX = "pod-security.kubernetes.io/"
ENFORCE, WARN, AUDIT = PREFIX + "enforce", PREFIX + "warn", PREFIX + "audit"
MODES = (ENFORCE, AUDIT, WARN)
# Annotations of audit events.
ENFORCED_POLICY, AUDIT_VIOLATIONS = PREFIX + "enforce-policy", PREFIX + "audit-violations"
LEVELS = ("privileged", "baseline", "restricted")
_DEFAULT_CAPABILITIES = frozenset({
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP",
    "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
})  # fmt: skip
# Since which minor version what sysctls are safe.
_SAFE_SYSCTLS = (
    (0, ("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
         "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start")),
    (27, ("net.ipv4.ip_local_reserved_ports",)),
    (29, ("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
          "net.ipv4.tcp_keepalive_probes")),
    (32, ("net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem")),
)  # fmt: skip
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t"})
_ALLOWED_VOLUMES = frozenset({
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret",
})  # fmt: skip
_APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
# The minor version that "latest" and every later one mean.
_LATEST = 36
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Violation:
    """One rule that a pod breaks: `detail` says which of its containers, and how."""

    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


@dataclass(frozen=True, slots=True)
class Standard:
    """A level and the version of its rules, e.g. "baseline" of "v1.30" or "latest"."""

    level: str = LEVELS[0]
    version: str = "latest"

    def __str__(self) -> str:
        return f"{self.level}:{self.version}"

    @property
    def minor(self) -> int:
        """The minor version whose rules these are."""
        match = _VERSION.fullmatch(self.version)
        return _LATEST if match is None else min(int(match[1]), _LATEST)

    def is_stricter(self, other: "Standard") -> bool:
        """Say whether the level forbids more than another one."""
        return LEVELS.index(self.level) > LEVELS.index(other.level)


@dataclass(frozen=True, slots=True)
class Policy:
    """What a namespace refuses, notes in the audit log, and warns of."""

    enforce: Standard
    audit: Standard
    warn: Standard


def label_causes(labels: dict[str, str]) -> list[Cause]:
    """Return what is wrong with a namespace's Pod Security labels."""
    causes: list[Cause] = []
    for name in MODES:
        level = labels.get(name)
        if level is not None and level not in LEVELS:
            text = f"must be one of {', '.join(LEVELS)}"
            causes.append(invalid_value(f"metadata.labels[{name}]", level, text))
        version = labels.get(f"{name}-version")
        if version is not None and version != "latest" and _VERSION.fullmatch(version) is None:
            text = 'must be "latest" or "v1.x"'
            causes.append(invalid_value(f"metadata.labels[{name}-version]", version, text))
    return causes


def policy_of(labels: dict[str, str]) -> Policy:
    """Return what a namespace's labels ask for; what is enforced is also warned of, unless they say otherwise."""
    enforce, audit, warn = (_standard(labels, name) for name in MODES)
    if WARN not in labels and enforce.is_stricter(warn):
        warn = Standard(enforce.level, labels.get(f"{WARN}-version", enforce.version))
    return Policy(enforce, audit, warn)


def _standard(labels: dict[str, str], name: str) -> Standard:
    return Standard(labels.get(name, LEVELS[0]), labels.get(f"{name}-version", "latest"))


def violations(pod: Object, standard: Standard) -> list[Violation]:
    """Return what a pod, or a template of pods, does against a standard.

    Args:
        pod: Complete, with `metadata` and `spec`.
        standard: Its rules.
    """
    if standard.level == LEVELS[0]:
        return []
    subject = _Subject(pod["spec"], pod.get("metadata", {}).get("annotations") or {}, standard.minor)
    return [found for check in _checks_of(standard.level, standard.minor) if (found := check(subject)) is not None]


def text_of(found: Sequence[Violation]) -> str:
    """Return violations as one message."""
    return ", ".join(map(str, found))


def is_significant(new: Object, old: Object) -> bool:
    """Say whether a new version of a pod is to be looked at again: containers came, or their images changed."""
    spec, before = new["spec"], old["spec"]
    for member in ("containers", "initContainers"):
        if [_image(c) for c in spec.get(member, ())] != [_image(c) for c in before.get(member, ())]:
            return True
    known = [_image(c) for c in before.get("ephemeralContainers", ())]
    return any(_image(container) not in known for container in spec.get("ephemeralContainers", ()))


def _image(container: Object) -> tuple[str, str]:
    return container.get("name", ""), container.get("image", "")


@dataclass(frozen=True, slots=True)
class _Subject:
    """A pod as rules look at it, and the minor version that they are of."""

    spec: Object
    annotations: dict[str, str]
    minor: int

    @property
    def containers(self) -> Iterator[Object]:
        for name in ("initContainers", "containers", "ephemeralContainers"):
            yield from self.spec.get(name, ())

    def that(self, bad: Callable[[Object], bool]) -> list[Object]:
        return [container for container in self.containers if bad(container)]

    @property
    def is_of_windows(self) -> bool:
        """Whether what only Linux has need not be said."""
        return self.minor >= 25 and bool(self.spec.get("os", {}).get("name") == "windows")

    @property
    def has_own_users(self) -> bool:
        """Whether root inside is nobody outside."""
        return self.minor >= 35 and self.spec.get("hostUsers") is False


Check = Callable[[_Subject], Violation | None]


@dataclass(frozen=True, slots=True)
class _Rule:
    """One rule: `since` which minor version, and the baseline rule that it stands for from there on."""

    name: str
    check: Check
    since: int = 0
    replaces: str = ""


@cache
def _checks_of(level: str, minor: int) -> tuple[Check, ...]:
    restricted = [rule for rule in _RESTRICTED if rule.since <= minor] if level == LEVELS[2] else []
    replaced = {rule.replaces for rule in restricted}
    baseline = [rule for rule in _BASELINE if rule.since <= minor and rule.name not in replaced]
    return tuple(rule.check for rule in (*baseline, *restricted))


def _security(holder: Object) -> Object:
    security: Object = holder.get("securityContext") or {}
    return security


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _plural(word: str, items: Sequence[object]) -> str:
    return word if len(items) == 1 else f"{word}s"


def _named(holders: Sequence[Object], what: str = "container") -> str:
    return f"{_plural(what, holders)} {_quoted(holder.get('name', '') for holder in holders)}"


def _use(users: Sequence[object]) -> str:
    return "uses" if len(users) == 1 else "use"


def _setters(pod: bool, containers: Sequence[Object]) -> str:
    """Return who sets something, "" when nobody does."""
    return " and ".join([*(["pod"] if pod else []), *([_named(containers)] if containers else [])])


def _capabilities(pod: _Subject) -> Violation | None:
    detail = _forbidden_capabilities(pod, _DEFAULT_CAPABILITIES)
    return Violation("non-default capabilities", detail) if detail else None


def _forbidden_capabilities(pod: _Subject, allowed: frozenset[str]) -> str:
    found = pod.that(lambda c: bool(set(_security(c).get("capabilities", {}).get("add", ())) - allowed))
    added = {name for c in found for name in _security(c)["capabilities"]["add"]} - allowed
    if not found:
        return ""
    return f"{_named(found)} must not include {_quoted(sorted(added))} in securityContext.capabilities.add"


def _host_namespaces(pod: _Subject) -> Violation | None:
    found = [f"{name}=true" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.spec.get(name)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _host_paths(pod: _Subject) -> Violation | None:
    found = [volume for volume in pod.spec.get("volumes", ()) if "hostPath" in volume]
    return Violation("hostPath volumes", _named(found, "volume")) if found else None


def _host_ports(pod: _Subject) -> Violation | None:
    found = pod.that(lambda c: any(port.get("hostPort") for port in c.get("ports", ())))
    if not found:
        return None
    ports = sorted({str(port["hostPort"]) for c in found for port in c["ports"] if port.get("hostPort")})
    return Violation("hostPort", f"{_named(found)} {_use(found)} {_plural('hostPort', ports)} {', '.join(ports)}")


def _hosts(container: Object) -> set[str]:
    """Return what hosts a container's probes and handlers ask."""
    lifecycle = container.get("lifecycle") or {}
    handlers = [container.get(name) or {} for name in ("livenessProbe", "readinessProbe", "startupProbe")]
    handlers += [lifecycle.get(name) or {} for name in ("postStart", "preStop")]
    return {(h.get(how) or {}).get("host", "") for h in handlers for how in ("httpGet", "tcpSocket")} - {""}


def _host_probes(pod: _Subject) -> Violation | None:
    found = sorted(pod.that(lambda c: bool(_hosts(c))), key=lambda c: str(c.get("name", "")))
    if not found:
        return None
    hosts = sorted(set(chain.from_iterable(map(_hosts, found))))
    what = _plural("probe or lifecycle host", hosts)
    return Violation("probe or lifecycle host", f"{_named(found)} {_use(found)} {what} {_quoted(hosts)}")


def _flag(reason: str, bad: Callable[[Object], bool], must: str) -> Check:
    """Return a check of one member of the containers' security contexts."""

    def check(pod: _Subject) -> Violation | None:
        found = pod.that(lambda c: bad(_security(c)))
        return Violation(reason, f"{_named(found)} {must}") if found else None

    return check


_privileged = _flag(
    "privileged", lambda s: bool(s.get("privileged")), "must not set securityContext.privileged=true"
)  # fmt: skip
_unmasked = _flag(
    "procMount", lambda s: s.get("procMount", "Default") != "Default",
    'must not set securityContext.procMount to "Unmasked"',
)  # fmt: skip
_escalation = _flag(
    "allowPrivilegeEscalation != false",
    lambda s: s.get("allowPrivilegeEscalation") is not False,
    "must set securityContext.allowPrivilegeEscalation=false",
)


def _proc_mount(pod: _Subject) -> Violation | None:
    return None if pod.has_own_users else _unmasked(pod)


def _no_escalation(pod: _Subject) -> Violation | None:
    return None if pod.is_of_windows else _escalation(pod)


def _app_armor(pod: _Subject) -> Violation | None:
    of_pod = _unconfined(pod.spec, "appArmorProfile")
    found = pod.that(lambda c: _unconfined(c, "appArmorProfile"))
    values = ["Unconfined"] if of_pod or found else []
    setters = [text for text in (_setters(of_pod, found),) if text]
    noted = sorted(
        f'{name}="{value}"'
        for name, value in pod.annotations.items()
        if name.startswith(_APP_ARMOR) and not (value in {"", "runtime/default"} or value.startswith("localhost/"))
    )
    if noted:
        values += noted
        setters.append(_plural("annotation", noted))
    if not setters:
        return None
    text = f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(values)}"
    return Violation(_plural("forbidden AppArmor profile", values), text)


def _unconfined(holder: Object, member: str) -> bool:
    return bool(_security(holder).get(member, {}).get("type") == "Unconfined")


def _selinux(pod: _Subject) -> Violation | None:
    allowed = _SELINUX_TYPES | ({"container_engine_t"} if pod.minor >= 31 else set())

    def bad(holder: Object) -> bool:
        options = _options(holder)
        return options.get("type", "") not in allowed or bool(options.get("user") or options.get("role"))

    found = pod.that(bad)
    setters = _setters(bad(pod.spec), found)
    if not setters:
        return None
    all_options = [_options(holder) for holder in (pod.spec, *found)]
    types = sorted({options.get("type", "") for options in all_options} - allowed)
    details = [f"{_plural('type', types)} {_quoted(types)}"] if types else []
    details += [f"{name} may not be set" for name in ("user", "role") if any(o.get(name) for o in all_options)]
    return Violation("seLinuxOptions", f"{setters} set forbidden securityContext.seLinuxOptions: {'; '.join(details)}")


def _options(holder: Object) -> Object:
    options: Object = _security(holder).get("seLinuxOptions") or {}
    return options


def _seccomp_baseline(pod: _Subject) -> Violation | None:
    if pod.minor < 19:
        return _seccomp_annotations(pod)
    setters = _setters(_unconfined(pod.spec, "seccompProfile"), pod.that(lambda c: _unconfined(c, "seccompProfile")))
    text = f'{setters} must not set securityContext.seccompProfile.type to "Unconfined"'
    return Violation("seccompProfile", text) if setters else None


def _seccomp_annotations(pod: _Subject) -> Violation | None:
    names = [_SECCOMP_POD, *(_SECCOMP_CONTAINER + c.get("name", "") for c in pod.containers)]
    found = sorted(
        f'{name}="{value}"'
        for name in names
        if (value := pod.annotations.get(name)) is not None
        and value not in {"runtime/default", "docker/default"}
        and not value.startswith("localhost/")
    )
    return (
        Violation("seccompProfile", f"forbidden {_plural('annotation', found)} {', '.join(found)}") if found else None
    )


def _sysctls(pod: _Subject) -> Violation | None:
    safe = {name for since, names in _SAFE_SYSCTLS if since <= pod.minor for name in names}
    found = [s.get("name", "") for s in _security(pod.spec).get("sysctls", ()) if s.get("name") not in safe]
    return Violation("forbidden sysctls", ", ".join(found)) if found else None


def _is_host_process(holder: Object) -> bool:
    return bool((_security(holder).get("windowsOptions") or {}).get("hostProcess"))


def _host_process(pod: _Subject) -> Violation | None:
    setters = _setters(_is_host_process(pod.spec), pod.that(_is_host_process))
    text = f"{setters} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", text) if setters else None


def _restricted_capabilities(pod: _Subject) -> Violation | None:
    if pod.is_of_windows:
        return None
    found = pod.that(lambda c: "ALL" not in _security(c).get("capabilities", {}).get("drop", ()))
    parts = [f'{_named(found)} must set securityContext.capabilities.drop=["ALL"]'] if found else []
    added = _forbidden_capabilities(pod, frozenset({"NET_BIND_SERVICE"}))
    parts += [added] if added else []
    return Violation("unrestricted capabilities", "; ".join(parts)) if parts else None


def _restricted_volumes(pod: _Subject) -> Violation | None:
    found = [v for v in pod.spec.get("volumes", ()) if not _ALLOWED_VOLUMES & set(v)]
    if not found:
        return None
    kinds = sorted({name for volume in found for name in volume if name != "name"})
    what = _plural("restricted volume type", kinds)
    return Violation("restricted volume types", f"{_named(found, 'volume')} {_use(found)} {what} {_quoted(kinds)}")


def _non_root(pod: _Subject) -> Violation | None:
    if pod.has_own_users:
        return None
    said = _security(pod.spec).get("runAsNonRoot")
    setters = _setters(said is False, pod.that(lambda c: _security(c).get("runAsNonRoot") is False))
    silent = [] if said else pod.that(lambda c: _security(c).get("runAsNonRoot") is None)
    if setters:
        return Violation("runAsNonRoot != true", f"{setters} must not set securityContext.runAsNonRoot=false")
    if silent:
        return Violation("runAsNonRoot != true", f"pod or {_named(silent)} must set securityContext.runAsNonRoot=true")
    return None


def _is_root(holder: Object) -> bool:
    return bool(_security(holder).get("runAsUser") == 0)


def _root_user(pod: _Subject) -> Violation | None:
    setters = "" if pod.has_own_users else _setters(_is_root(pod.spec), pod.that(_is_root))
    return Violation("runAsUser=0", f"{setters} must not set runAsUser=0") if setters else None


def _seccomp_restricted(pod: _Subject) -> Violation | None:
    if pod.is_of_windows:
        return None
    explicit = _seccomp_baseline(pod)
    if explicit is not None:
        return explicit
    silent = pod.that(lambda c: "seccompProfile" not in _security(c))
    if "seccompProfile" in _security(pod.spec) or not silent:
        return None
    text = f'pod or {_named(silent)} must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", text)


# Each list in the order of the names: that of the messages.
_BASELINE = (
    _Rule("appArmorProfile", _app_armor),
    _Rule("capabilities_baseline", _capabilities),
    _Rule("hostNamespaces", _host_namespaces),
    _Rule("hostPathVolumes", _host_paths),
    _Rule("hostPorts", _host_ports),
    _Rule("hostProbesAndHostLifecycle", _host_probes, since=34),
    _Rule("privileged", _privileged),
    _Rule("procMount", _proc_mount),
    _Rule("seLinuxOptions", _selinux),
    _Rule("seccompProfile_baseline", _seccomp_baseline),
    _Rule("sysctls", _sysctls),
    _Rule("windowsHostProcess", _host_process),
)
_RESTRICTED = (
    _Rule("allowPrivilegeEscalation", _no_escalation, since=8),
    _Rule("capabilities_restricted", _restricted_capabilities, since=22, replaces="capabilities_baseline"),
    _Rule("procMount_restricted", _unmasked, since=35, replaces="procMount"),
    _Rule("restrictedVolumes", _restricted_volumes, replaces="hostPathVolumes"),
    _Rule("runAsNonRoot", _non_root),
    _Rule("runAsUser", _root_user, since=23),
    _Rule("seccompProfile_restricted", _seccomp_restricted, since=19, replaces="seccompProfile_baseline"),
)
