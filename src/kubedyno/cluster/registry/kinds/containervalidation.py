"""What is wrong with a pod's containers: names, ports, resources' policies, probes, restarts; the rest has own modules."""

from collections.abc import Iterable
from dataclasses import dataclass

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.envvalidation import variable_causes, variables_from_causes
from kubedyno.cluster.registry.kinds.mountvalidation import device_causes, mount_causes
from kubedyno.cluster.registry.kinds.portvalidation import port_causes, port_name_problems
from kubedyno.cluster.registry.kinds.probevalidation import handler_causes, probe_causes
from kubedyno.cluster.registry.kinds.resourcevalidation import validate_resources
from kubedyno.cluster.registry.kinds.securityvalidation import container_security_causes
from kubedyno.cluster.registry.kinds.stopsignals import stop_signal_causes
from kubedyno.kube.names import problems_of_dns1123_label
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required, too_many

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_RESIZED, _RESIZE_POLICIES = ("cpu", "memory"), ("NotRequired", "RestartContainer")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RESTART_ACTIONS = ("Restart", "RestartAllContainers")
_MAX_RULES, _MAX_EXIT_CODES = 20, 255
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_SIDECARS_ALONE = "may not be set for init containers without restartPolicy=Always"
_PADDED = "must not have leading or trailing whitespace"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rules for a container ask of its pod.

    Attributes:
        volumes: Its valid volumes, by name.
        claims: The names of its claims on devices.
        restart_policy: The pod's.
        grace_s: terminationGracePeriodSeconds.
        system: spec.os.name, "" when it does not say.
        host_users: It has the users of its node.
    """

    volumes: dict[str, Object]
    claims: frozenset[str]
    restart_policy: str
    grace_s: int
    system: str
    host_users: bool

    @staticmethod
    def of(spec: Object, volumes: dict[str, Object]) -> "Surroundings":
        """Return those of a pod spec's containers."""
        return Surroundings(
            volumes,
            frozenset(claim["name"] for claim in spec.get("resourceClaims", ()) if claim.get("name")),
            spec.get("restartPolicy", ""),
            spec.get("terminationGracePeriodSeconds", 30),
            spec.get("os", {}).get("name", ""),
            spec.get("hostUsers") is not False,
        )


def validate_containers(spec: Object, path: str, around: Surroundings) -> list[Cause]:
    """Return what is wrong with containers and init containers; `path` is the spec's."""
    causes: list[Cause] = []
    names: set[str] = set()
    containers = spec.get("containers", ())
    if not containers:
        causes.append(required(f"{path}.containers"))
    for i, container in enumerate(containers):
        where, name = f"{path}.containers[{i}]", container.get("name", "")
        causes += common_causes(container, where, around)
        if name in names:
            causes.append(duplicate(f"{where}.name", name))
        names.add(name)
        causes += _life(container, where, around)
        causes += _restarts(container, where)
    causes += _host_port_conflicts(containers, f"{path}.containers")
    for i, container in enumerate(spec.get("initContainers", ())):
        where, name = f"{path}.initContainers[{i}]", container.get("name", "")
        causes += common_causes(container, where, around)
        restarts = _restarts(container, where)
        # Rules without a policy are not looked at.
        causes += restarts if "restartPolicy" in container else restarts[:1]
        if name in names:
            causes.append(duplicate(f"{where}.name", name))
        elif name:
            names.add(name)
        causes += _host_port_conflicts((container,), f"{path}.initContainers")
        if container.get("restartPolicy") == "Always":
            causes += _life(container, where, around)
            continue
        causes += [
            forbidden_field(f"{where}.{member}", _SIDECARS_ALONE)
            for member in ("lifecycle", *_PROBES)
            if member in container
        ]
        text = "must not be set to 'RestartContainer' for non-sidecar initContainers"
        causes += [
            invalid_value(f"{where}.resizePolicy[{j}].restartPolicy", policy["restartPolicy"], text)
            for j, policy in enumerate(container.get("resizePolicy", ()))
            if policy.get("restartPolicy") == "RestartContainer"
        ]
    return causes


def padded_image_causes(containers: Iterable[Object], path: str) -> list[Cause]:
    """Return which images are written with spaces around them: templates may have them, pods may not."""
    return [
        invalid_value(f"{path}[{i}].image", container["image"], _PADDED)
        for i, container in enumerate(containers)
        if container.get("image") and container["image"] != container["image"].strip()
    ]


def common_causes(container: Object, path: str, around: Surroundings) -> list[Cause]:
    """Return what is wrong with what containers, init containers and ephemeral ones have in common."""
    causes: list[Cause] = []
    name = container.get("name", "")
    if not name:
        causes.append(required(f"{path}.name"))
    else:
        causes += [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1123_label(name)]
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    causes += _one_of(container, "terminationMessagePolicy", _MESSAGE_POLICIES, path)
    causes += _ports(container, path)
    for i, variable in enumerate(container.get("env", ())):
        causes += variable_causes(variable, f"{path}.env[{i}]")
    for i, source in enumerate(container.get("envFrom", ())):
        causes += variables_from_causes(source, f"{path}.envFrom", i)
    causes += mount_causes(container, f"{path}.volumeMounts", around.volumes)
    causes += device_causes(container, f"{path}.volumeDevices", around.volumes)
    causes += _one_of(container, "imagePullPolicy", _PULL_POLICIES, path)
    resources = container.get("resources")
    if resources:
        causes += validate_resources(resources, f"{path}.resources", around.claims)
    if container.get("resizePolicy"):
        causes += _resizes(container["resizePolicy"], f"{path}.resizePolicy", around.restart_policy)
    security = container.get("securityContext")
    if security:
        causes += container_security_causes(security, f"{path}.securityContext", host_users=around.host_users)
    return causes


def _one_of(holder: Object, member: str, values: tuple[str, ...], path: str) -> list[Cause]:
    value = holder.get(member)
    if value in values:
        return []
    return [not_supported(f"{path}.{member}", value, values) if value else required(f"{path}.{member}")]


def _life(container: Object, path: str, around: Surroundings) -> list[Cause]:
    """Return what is wrong with the hooks and probes of a container that runs as long as its pod."""
    causes: list[Cause] = []
    lifecycle = container.get("lifecycle")
    if lifecycle:
        for hook in ("postStart", "preStop"):
            if hook in lifecycle:
                causes += handler_causes(lifecycle[hook], f"{path}.lifecycle.{hook}", around.grace_s)
        if "stopSignal" in lifecycle:
            causes += stop_signal_causes(lifecycle["stopSignal"], f"{path}.lifecycle.stopSignal", around.system)
    for kind in _PROBES:
        if kind in container:
            causes += probe_causes(container[kind], f"{path}.{kind}", kind)
    return causes


def _restarts(container: Object, path: str) -> list[Cause]:
    """Return what is wrong with a container's own restart policy, and its rules by exit codes."""
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules", ())
    causes: list[Cause] = []
    if policy is None:
        if rules:
            causes.append(required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    elif policy not in _RESTART_POLICIES:
        causes.append(not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if len(rules) > _MAX_RULES:
        causes.append(too_many(f"{path}.restartPolicyRules", len(rules), _MAX_RULES))
    for i, rule in enumerate(rules):
        where, action, codes = f"{path}.restartPolicyRules[{i}]", rule.get("action", ""), rule.get("exitCodes")
        if action not in _RESTART_ACTIONS:
            causes.append(not_supported(f"{where}.action", action, _RESTART_ACTIONS))
        if codes is None:
            causes.append(required(f"{where}.exitCodes", "must be specified"))
            continue
        operator = codes.get("operator", "")
        if operator not in {"In", "NotIn"}:
            causes.append(not_supported(f"{where}.exitCodes.operator", operator, ("In", "NotIn")))
        if len(codes.get("values", ())) > _MAX_EXIT_CODES:
            causes.append(too_many(f"{where}.exitCodes.values", len(codes["values"]), _MAX_EXIT_CODES))
    return causes


def _resizes(policies: list[Object], path: str, restart_policy: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for i, resize in enumerate(policies):
        name, policy = resize.get("resourceName", ""), resize.get("restartPolicy", "")
        if name in seen:
            causes.append(duplicate(f"{path}[{i}]", name))
        seen.add(name)
        # Go leaves the position out of these.
        for value, known in ((name, _RESIZED), (policy, _RESIZE_POLICIES)):
            if value not in known:
                causes.append(not_supported(path, value, known) if value else required(path))
        if restart_policy == "Never" and policy != "NotRequired":
            causes.append(invalid_value(path, policy, "must be 'NotRequired' when pod `restartPolicy` is 'Never'"))
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


def _ports(container: Object, path: str) -> list[Cause]:
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
        causes += _one_of(port, "protocol", _PROTOCOLS, where)
    return causes
