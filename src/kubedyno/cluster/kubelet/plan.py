"""What a kubelet makes of a pod spec, worked out once for all pods of a template.

How long a container runs and how it ends comes from the pod's annotations (`wishes`), else from its command as far as that
is plain (`programs`: `sleep 5; exit 1`), else it runs until it is stopped.
"""

from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, NamedTuple

import msgspec
import orjson

from kubedyno.cluster.kubelet.images import Image, image_of
from kubedyno.cluster.kubelet.programs import ENDING_IMAGES, IGNORE_TERM, SHELLS, behaviour, command, script
from kubedyno.cluster.kubelet.wishes import ANNOTATIONS, NO_WISHES, Wishes, wishes_of
from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.registry.kinds.podqos import qos_class
from kubedyno.cluster.registry.kinds.stopsignals import is_survived, number_of
from kubedyno.cluster.registry.leanpod import LeanPod
from kubedyno.cluster.storage.objects import StoredObject

_MARK = b"kubedyno.io/"
_TOKEN_VOLUME = b"kube-api-access-"
_SUFFIX_LENGTH = 5
# Stands in for the suffix of the token volume's name in what is shared by all pods of a template.
SUFFIX = "KUBEDYNO-SUFFIX"
_KILL, _SIGKILLED = "SIGKILL", 137
# Signals that servers take as "finish and go"; any other one ends them as the kernel does, with 128 and its number.
_GRACEFUL = frozenset({"", "SIGTERM", "SIGINT", "SIGQUIT"})
_BY_SIGNAL = 128
_NODE_NAME = b'"nodeName":"'
_CACHED_PLANS = 4096


# ("configmap" or "secret", name)
Need = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe's pace, and what it says when it fails.

    Attributes:
        initial_delay_s: initialDelaySeconds.
        period_s: periodSeconds.
        successes: successThreshold.
        failures: failureThreshold.
        grace_s: Its own terminationGracePeriodSeconds, None: the pod's.
        failure: The words of a failure.
    """

    initial_delay_s: float
    period_s: float
    successes: int
    failures: int = 3
    grace_s: float | None = None
    failure: str = ""


class ImageMount(NamedTuple):
    """A container's mount of an image volume.

    Attributes:
        volume: The volume's name.
        sub_path: subPath.
        expression: subPathExpr.
    """

    volume: str
    sub_path: str
    expression: str


class ImageVolume(NamedTuple):
    """A volume that is an image.

    Attributes:
        name: Its name.
        reference: The image as the pod names it.
        image: The same, resolved.
        pull_policy: Its pullPolicy.
    """

    name: str
    reference: str
    image: Image
    pull_policy: str


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """A container.

    Attributes:
        name: Its name.
        reference: Its image as the pod names it.
        image: The same, resolved.
        pull_policy: imagePullPolicy.
        field_path: For its events.
        run_s: How long its program runs by itself, inf until it is stopped.
        exit_code: With what it then ends.
        readiness: Its readiness probe.
        startup: Its startup probe.
        liveness: Its liveness probe.
        ignores_term: It is only ended by SIGKILL.
        sidecar: A restartable init container.
        pre_stop_s: How long its preStop hook takes; None: it has none.
        post_start_s: How long its postStart hook takes; None: it has none.
        needs: ConfigMaps and Secrets of its environment, as ("configmap" or "secret", name).
        tail: The end of its status, as JSON members: resources, mounts, user.
        image_mounts: Its mounts of image volumes.
        env: (name, value, field path) of its environment, where mounts need that.
        exit_reason: Why it ends so, "" for what the exit code says.
        stop_signal: lifecycle.stopSignal.
        restart_policy: Its own restartPolicy, "" for the pod's.
        restart_rules: Its restartPolicyRules: (operator, exit codes) that have it started again.
        restart_on_resize: Resources whose resize restarts it.
    """

    name: str
    reference: str
    image: Image
    pull_policy: str
    field_path: str
    run_s: float
    exit_code: int
    readiness: Probe | None
    startup: Probe | None
    liveness: Probe | None
    ignores_term: bool
    sidecar: bool
    pre_stop_s: float | None
    post_start_s: float | None
    needs: tuple[Need, ...]
    tail: dict[str, Any]
    image_mounts: tuple[ImageMount, ...] = ()
    env: tuple[tuple[str, str, str], ...] = ()
    exit_reason: str = ""
    stop_signal: str = ""
    restart_policy: str = ""
    restart_rules: tuple[tuple[str, tuple[int, ...]], ...] = ()
    restart_on_resize: frozenset[str] = frozenset()

    @property
    def stopped_code(self) -> int:
        """The exit code when it is stopped."""
        if self.ignores_term:
            return _SIGKILLED
        return 0 if self.stop_signal in _GRACEFUL else _BY_SIGNAL + number_of(self.stop_signal)


class StartForm(msgspec.Struct, frozen=True, gc=False):
    """What all pods of a plan share.

    Attributes:
        text: A bytes format, as `podstatus.template_of` makes it.
        names: Of the containers.
    """

    text: bytes
    names: tuple[str, ...]


@dataclass(slots=True)
class PodPlan:
    """A pod.

    Attributes:
        facts: The registry's facts of the spec.
        init: Init containers and sidecars.
        containers: The others.
        gates: Condition types of its readiness gates.
        qos: Its class.
        simple: It has nothing that takes a way of its own: see `pods.Pods`.
        wishes: What its annotations ask for.
        volumes: ConfigMaps and Secrets that it mounts, by volume.
        ephemeral: Containers that were added for debugging.
        pull_secrets: Names of its imagePullSecrets.
        image_volumes: Volumes that are images.
        deadline_s: activeDeadlineSeconds.
        starts: Status of such a pod that has just started; made on first use.
        stops: Status of one that was stopped, with holes.
    """

    facts: PodSpecFacts
    init: tuple[ContainerPlan, ...]
    containers: tuple[ContainerPlan, ...]
    gates: tuple[str, ...]
    qos: str
    simple: bool = False
    wishes: Wishes = NO_WISHES
    volumes: tuple[tuple[str, Need], ...] = ()
    ephemeral: tuple[ContainerPlan, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    image_volumes: tuple[ImageVolume, ...] = ()
    deadline_s: float = inf
    starts: StartForm | None = None
    stops: bytes = b""
    variants: dict[tuple[str, ...], "PodPlan"] = field(default_factory=dict)

    @property
    def completes(self) -> bool:
        """Its containers aren't restarted after they ended well."""
        return self.facts.restart_policy != "Always"


class Plans:
    """Finds the plan of a pod, by its template's facts or by its text."""

    def __init__(self) -> None:
        # By identity: all pods of a template share their facts. The plan keeps them, so that the id stays theirs.
        self._by_facts: dict[int, PodPlan] = {}
        self._by_body: dict[bytes, PodPlan] = {}

    def of(self, obj: StoredObject) -> PodPlan:
        """Return the plan of a stored pod. O(1) for templates seen before."""
        facts: PodSpecFacts = obj.facts.spec
        plan = self._by_facts.get(id(facts))
        if plan is None or plan.facts is not facts:
            plan = self._new(obj, facts)
        if _MARK in obj.meta:
            return self._variant(plan, obj)
        return plan

    def _new(self, obj: StoredObject, facts: PodSpecFacts) -> PodPlan:
        body = _common(obj)
        plan = self._by_body.get(body)
        if plan is None:
            if len(self._by_body) >= _CACHED_PLANS:
                self._by_body.clear()
            plan = self._by_body[body] = _plan(orjson.loads(b"{" + body + b"}")["spec"], facts)
        if plan.facts is facts:
            if len(self._by_facts) >= _CACHED_PLANS:
                self._by_facts.clear()
            self._by_facts[id(facts)] = plan
        return plan

    def _variant(self, plan: PodPlan, obj: StoredObject) -> PodPlan:
        annotations = orjson.loads(b"{" + obj.meta + b"}").get("annotations", {})
        wanted = tuple(annotations.get(name, "") for name in ANNOTATIONS)
        if not any(wanted):
            return plan
        found = plan.variants.get(wanted)
        if found is None:
            wishes = wishes_of(wanted)
            containers = plan.containers
            if wishes.run_s is not None:
                changes: dict[str, Any] = {
                    "run_s": wishes.run_s, "exit_code": wishes.exit_code, "exit_reason": wishes.exit_reason,
                }  # fmt: skip
                containers = tuple(replace(c, **changes) for c in containers)
            found = plan.variants[wanted] = replace(
                plan, containers=containers, simple=False, wishes=wishes, starts=None, stops=b"", variants={}
            )
        return found


def _common(obj: StoredObject) -> bytes:
    """Return a pod's body without its node, and with a stand-in for its token volume's suffix."""
    body = obj.body
    at = body.find(_NODE_NAME)
    node = obj.facts.node_name.encode()
    if at >= 0:
        body = body.replace(_NODE_NAME + node + b'",', b"", 1)
    suffix = suffix_of(obj)
    return body.replace(_TOKEN_VOLUME + suffix, _TOKEN_VOLUME + SUFFIX.encode()) if suffix else body


def suffix_of(obj: StoredObject) -> bytes:
    """Return the suffix of a pod's token volume, b"" when it has none."""
    if isinstance(obj, LeanPod):
        return obj.suffix
    body = obj.body
    at = body.find(_TOKEN_VOLUME)
    at += len(_TOKEN_VOLUME)
    return body[at : at + _SUFFIX_LENGTH] if at >= len(_TOKEN_VOLUME) else b""


def _plan(spec: dict[str, Any], facts: PodSpecFacts) -> PodPlan:
    context = spec.get("securityContext") or {}
    image_volumes = tuple(
        ImageVolume(volume["name"], reference, image_of(reference), volume["image"].get("pullPolicy", "IfNotPresent"))
        for volume in spec.get("volumes", ())
        if (reference := (volume.get("image") or {}).get("reference"))
    )
    images = frozenset(volume.name for volume in image_volumes)
    init = tuple(_container(c, context, "initContainers", images) for c in spec.get("initContainers", ()))
    containers = tuple(_container(c, context, "containers", images) for c in spec.get("containers", ()))
    gates = tuple(gate["conditionType"] for gate in spec.get("readinessGates", ()))
    ephemeral = tuple(
        _container(c, context, "ephemeralContainers", images) for c in spec.get("ephemeralContainers", ())
    )
    deadline_s = float(spec.get("activeDeadlineSeconds") or inf)
    special = init or gates or ephemeral or image_volumes or spec.get("resourceClaims") or deadline_s != inf
    simple = not special and all(
        c.image.exists
        and c.pull_policy != "Never"
        and c.run_s == inf
        and not c.needs
        and c.post_start_s is None
        and not c.stop_signal
        for c in containers
    )
    pull_secrets = tuple(one["name"] for one in spec.get("imagePullSecrets", ()) if one.get("name"))
    return PodPlan(
        facts,
        init,
        containers,
        gates,
        qos_class(spec),
        simple,
        volumes=_mounted(spec),
        ephemeral=ephemeral,
        pull_secrets=pull_secrets,
        image_volumes=image_volumes,
        deadline_s=deadline_s,
    )


def _mounted(spec: dict[str, Any]) -> tuple[tuple[str, Need], ...]:
    """Return what has to be there before a pod's volumes can be mounted."""
    found: list[tuple[str, Need]] = []
    for volume in spec.get("volumes", ()):
        config, secret = volume.get("configMap") or {}, volume.get("secret") or {}
        if config.get("name") and not config.get("optional"):
            found.append((volume["name"], ("configmap", config["name"])))
        if secret.get("secretName") and not secret.get("optional"):
            found.append((volume["name"], ("secret", secret["secretName"])))
    return tuple(found)


def _needs(container: dict[str, Any]) -> tuple[Need, ...]:
    sources = [entry.get("valueFrom") or {} for entry in container.get("env", ())]
    found = [("configmap", source["configMapKeyRef"]) for source in sources if "configMapKeyRef" in source]
    found += [("secret", source["secretKeyRef"]) for source in sources if "secretKeyRef" in source]
    for source in container.get("envFrom", ()):
        found += [("configmap", source["configMapRef"])] if "configMapRef" in source else []
        found += [("secret", source["secretRef"])] if "secretRef" in source else []
    return tuple(
        dict.fromkeys((kind, ref["name"]) for kind, ref in found if ref.get("name") and not ref.get("optional"))
    )


def _hook(container: dict[str, Any], name: str) -> float | None:
    """Return how long a hook takes, None when there is none."""
    hook = (container.get("lifecycle") or {}).get(name)
    if hook is None:
        return None
    if "sleep" in hook:
        return float(hook["sleep"].get("seconds", 0))
    argv = (hook.get("exec") or {}).get("command", [])
    if len(argv) > 2 and argv[0].rpartition("/")[2] in SHELLS:
        return script(argv[2])[0]
    known = command(argv) if argv else None
    return known[0] if known else 0.0


def _container(
    container: dict[str, Any], context: dict[str, Any], group: str, image_volumes: frozenset[str]
) -> ContainerPlan:
    image = image_of(container.get("image", ""))
    argv = [*container.get("command", ()), *container.get("args", ())]
    run_s, exit_code = behaviour(container, image)
    sidecar = group == "initContainers" and container.get("restartPolicy") == "Always"
    if group == "initContainers" and not sidecar and run_s == inf and not container.get("command"):
        # What an init container does by itself isn't known; it is there to end.
        run_s, exit_code = 0.0, 0
    program = argv[0].rpartition("/")[2] if argv else ""
    last = image.repository.rpartition("/")[2]
    signal = (container.get("lifecycle") or {}).get("stopSignal", "")
    image_mounts = tuple(
        ImageMount(mount["name"], mount.get("subPath", ""), mount.get("subPathExpr", ""))
        for mount in container.get("volumeMounts", ())
        if mount["name"] in image_volumes
    )
    return ContainerPlan(
        container["name"],
        container.get("image", ""),
        image,
        container.get("imagePullPolicy", "IfNotPresent"),
        f"spec.{group}{{{container['name']}}}",
        run_s,
        exit_code,
        _probe(container.get("readinessProbe")),
        _probe(container.get("startupProbe")),
        _probe(container.get("livenessProbe")),
        is_survived(signal)
        or (signal != _KILL and (program in IGNORE_TERM or (not program and last in ENDING_IMAGES))),
        sidecar,
        _hook(container, "preStop"),
        _hook(container, "postStart"),
        _needs(container),
        _tail(container, context),
        image_mounts,
        _environment(container) if any(mount.expression for mount in image_mounts) else (),
        stop_signal=signal,
        restart_policy="" if sidecar else container.get("restartPolicy", ""),
        restart_rules=_rules(container),
        restart_on_resize=frozenset(
            one["resourceName"]
            for one in container.get("resizePolicy", ())
            if one["restartPolicy"] == "RestartContainer"
        ),
    )


def _rules(container: dict[str, Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    found = []
    for rule in container.get("restartPolicyRules", ()):
        codes = rule.get("exitCodes") or {}
        if rule.get("action") == "Restart" and codes:
            found.append((codes.get("operator", "In"), tuple(codes.get("values", ()))))
    return tuple(found)


def _environment(container: dict[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """Return (name, value, field path) of a container's variables that are plain or from the pod's own fields."""
    found = []
    for variable in container.get("env", ()):
        source = (variable.get("valueFrom") or {}).get("fieldRef") or {}
        if source or "valueFrom" not in variable:
            found.append((variable["name"], variable.get("value", ""), source.get("fieldPath", "")))
    return tuple(found)


def _probe(probe: dict[str, Any] | None) -> Probe | None:
    if probe is None:
        return None
    grace_s = probe.get("terminationGracePeriodSeconds")
    return Probe(
        float(probe.get("initialDelaySeconds", 0)),
        float(probe.get("periodSeconds", 10)),
        int(probe.get("successThreshold", 1)),
        int(probe.get("failureThreshold", 3)),
        None if grace_s is None else float(grace_s),
        _failure(probe),
    )


def _failure(probe: dict[str, Any]) -> str:
    if "tcpSocket" in probe:
        return f"dial tcp: connect to port {probe['tcpSocket'].get('port', '')}: connection refused"
    if "grpc" in probe:
        return 'service unhealthy (responded with "NOT_SERVING")'
    return "command exited with code 1" if "exec" in probe else "HTTP probe failed with statuscode: 503"


def _tail(container: dict[str, Any], context: dict[str, Any]) -> dict[str, Any]:
    """Return the members of a container's status that follow from its spec."""
    resources = container.get("resources") or {}
    tail: dict[str, Any] = {}
    if resources.get("requests"):
        tail["allocatedResources"] = resources["requests"]
    tail["resources"] = {name: resources[name] for name in ("limits", "requests") if resources.get(name)}
    mounts = []
    for mount in container.get("volumeMounts", ()):
        shown = {"name": mount["name"], "mountPath": mount["mountPath"]}
        if mount.get("readOnly"):
            shown |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
        mounts.append(shown)
    if mounts:
        tail["volumeMounts"] = mounts
    own = container.get("securityContext") or {}
    uid = own.get("runAsUser", context.get("runAsUser", 0))
    gid = own.get("runAsGroup", context.get("runAsGroup", 0))
    groups = sorted(
        {gid, *context.get("supplementalGroups", ()), *([context["fsGroup"]] if "fsGroup" in context else ())}
    )
    tail["user"] = {"linux": {"uid": uid, "gid": gid, "supplementalGroups": groups}}
    return tail
