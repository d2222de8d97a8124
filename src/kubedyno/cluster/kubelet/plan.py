"""What a kubelet makes of a pod spec, worked out once for all pods of a template.

How long a container runs and how it ends comes from the annotations kubedyno.io/run-seconds and kubedyno.io/exit-code,
else from its command as far as that is plain (`sleep 5; exit 1`), else it runs until it is stopped.
"""

import re
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, NamedTuple

import msgspec
import orjson

from kubedyno.cluster.kubelet.images import Image, image_of
from kubedyno.cluster.registry.kinds.podfacts import PodSpecFacts
from kubedyno.cluster.registry.kinds.podqos import qos_class
from kubedyno.cluster.registry.leanpod import LeanPod
from kubedyno.cluster.storage.objects import StoredObject

RUN_SECONDS = "kubedyno.io/run-seconds"
EXIT_CODE = "kubedyno.io/exit-code"
FAIL_PULL = "kubedyno.io/fail-pull"
NOT_READY = "kubedyno.io/not-ready"
IMAGE_PATHS = "kubedyno.io/image-paths"
_KNOWN = (RUN_SECONDS, EXIT_CODE, FAIL_PULL, NOT_READY, IMAGE_PATHS)
_MARK = b"kubedyno.io/"
_TOKEN_VOLUME = b"kube-api-access-"
_SUFFIX_LENGTH = 5
# Stands in for the suffix of the token volume's name in what is shared by all pods of a template.
SUFFIX = "KUBEDYNO-SUFFIX"
_NODE_NAME = b'"nodeName":"'
_CACHED_PLANS = 4096

_SHELLS = frozenset({"sh", "bash", "ash", "dash"})
_UNITS_S = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SLEEP = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)\Z")
_EXIT = re.compile(r"exit(?:\s+(\d+))?\Z")
# Programs that end at once, with their exit codes.
_INSTANT = {"true": 0, "false": 1, "echo": 0, "date": 0, ":": 0, "printf": 0, "hostname": 0, "env": 0}
# Images whose own command is a shell, which ends at once without a terminal; and one that prints and ends.
_ENDING_IMAGES = frozenset({"busybox", "alpine", "ubuntu", "debian", "fedora", "hello-world"})
# As process 1 these don't act on SIGTERM unless they say so: a shell, sleep and pause of older images.
_IGNORE_TERM = frozenset({"sleep", *_SHELLS})


# ("configmap" or "secret", name)
Need = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Probe:
    """A readiness or startup probe's pace."""

    initial_delay_s: float
    period_s: float
    successes: int


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
        ignores_term: It is only ended by SIGKILL.
        sidecar: A restartable init container.
        pre_stop_s: How long its preStop hook sleeps.
        needs: ConfigMaps and Secrets of its environment, as ("configmap" or "secret", name).
        tail: The end of its status, as JSON members: resources, mounts, user.
        image_mounts: Its mounts of image volumes.
        env: (name, value, field path) of its environment, where mounts need that.
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
    ignores_term: bool
    sidecar: bool
    pre_stop_s: float
    needs: tuple[Need, ...]
    tail: dict[str, Any]
    image_mounts: tuple[ImageMount, ...] = ()
    env: tuple[tuple[str, str, str], ...] = ()


class StartForm(msgspec.Struct, frozen=True, gc=False):
    """What all pods of a plan share.

    Attributes:
        text: A bytes format, as `runs.template_of` makes it.
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
        fail_pull: No image of it can be pulled.
        not_ready: Its readiness probes never succeed.
        volumes: ConfigMaps and Secrets that it mounts, by volume.
        ephemeral: Containers that were added for debugging.
        pull_secrets: Names of its imagePullSecrets.
        image_volumes: Volumes that are images.
        image_paths: The directories that these have; None: all.
        starts: Status of such a pod that has just started; made on first use.
        stops: Status of one that was stopped, with holes.
    """

    facts: PodSpecFacts
    init: tuple[ContainerPlan, ...]
    containers: tuple[ContainerPlan, ...]
    gates: tuple[str, ...]
    qos: str
    simple: bool = False
    fail_pull: bool = False
    not_ready: bool = False
    volumes: tuple[tuple[str, Need], ...] = ()
    ephemeral: tuple[ContainerPlan, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    image_volumes: tuple[ImageVolume, ...] = ()
    image_paths: tuple[str, ...] | None = None
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
        wanted = tuple(annotations.get(name, "") for name in _KNOWN)
        if not any(wanted):
            return plan
        found = plan.variants.get(wanted)
        if found is None:
            run, code, fail, unready, paths = wanted
            run_s = _seconds(run) if run else 0.0 if code else None
            exit_code = int(code) if code.isdecimal() else 0
            containers = plan.containers
            if run_s is not None:
                containers = tuple(replace(c, run_s=run_s, exit_code=exit_code) for c in containers)
            found = plan.variants[wanted] = replace(
                plan, containers=containers, simple=False, image_paths=_paths(paths), fail_pull=_true(fail), not_ready=_true(unready), starts=None,
                stops=b"", variants={},
            )  # fmt: skip
        return found


def _seconds(text: str) -> float:
    match = _SLEEP.match(text.strip())
    return float(match[1]) * _UNITS_S[match[2]] if match else inf


def _true(text: str) -> bool:
    return text.lower() in {"true", "1", "yes"}


def _paths(text: str) -> tuple[str, ...] | None:
    return tuple(part.strip().strip("/") for part in text.split(",") if part.strip()) if text else None


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
    simple = not (init or gates or ephemeral or image_volumes or spec.get("resourceClaims")) and all(
        c.image.exists and c.pull_policy != "Never" and c.run_s == inf and not c.needs for c in containers
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


def _pre_stop(container: dict[str, Any]) -> float:
    hook = (container.get("lifecycle") or {}).get("preStop") or {}
    if "sleep" in hook:
        return float(hook["sleep"].get("seconds", 0))
    argv = (hook.get("exec") or {}).get("command", [])
    if len(argv) > 2 and argv[0].rpartition("/")[2] in _SHELLS:
        return _script(argv[2])[0]
    known = _command(argv) if argv else None
    return known[0] if known else 0.0


def _container(
    container: dict[str, Any], context: dict[str, Any], group: str, image_volumes: frozenset[str]
) -> ContainerPlan:
    image = image_of(container.get("image", ""))
    argv = [*container.get("command", ()), *container.get("args", ())]
    run_s, exit_code = _behaviour(container, image)
    sidecar = group == "initContainers" and container.get("restartPolicy") == "Always"
    if group == "initContainers" and not sidecar and run_s == inf and not container.get("command"):
        # What an init container does by itself isn't known; it is there to end.
        run_s, exit_code = 0.0, 0
    program = argv[0].rpartition("/")[2] if argv else ""
    last = image.repository.rpartition("/")[2]
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
        program in _IGNORE_TERM or (not program and last in _ENDING_IMAGES),
        sidecar,
        _pre_stop(container),
        _needs(container),
        _tail(container, context),
        image_mounts,
        _environment(container) if any(mount.expression for mount in image_mounts) else (),
    )


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
    return Probe(
        float(probe.get("initialDelaySeconds", 0)),
        float(probe.get("periodSeconds", 10)),
        int(probe.get("successThreshold", 1)),
    )


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


def _behaviour(container: dict[str, Any], image: Image) -> tuple[float, int]:
    """Return (how long a container's program runs, exit code)."""
    argv = [*container.get("command", ()), *container.get("args", ())]
    if not argv:
        last = image.repository.rpartition("/")[2]
        # A shell that somebody may type into waits for that.
        waits = container.get("stdin") and last != "hello-world"
        return (0.0, 0) if last in _ENDING_IMAGES and not waits else (inf, 0)
    if not container.get("command") and image.repository.rpartition("/")[2] not in _ENDING_IMAGES:
        # Arguments of an entrypoint that isn't known.
        return inf, 0
    program = argv[0].rpartition("/")[2]
    if program in _SHELLS:
        if len(argv) > 2 and argv[1].startswith("-") and argv[1].endswith("c"):
            return _script(argv[2])
        return inf, 0
    return _command(argv) or (inf, 0)


def _command(argv: list[str]) -> tuple[float, int] | None:
    """Return (seconds, exit code) of one plain command, None when it isn't known."""
    program = argv[0].rpartition("/")[2]
    if program == "sleep" and len(argv) > 1:
        total = 0.0
        for word in argv[1:]:
            total += _seconds(word)
        return total, 0
    if program in _INSTANT:
        return 0.0, _INSTANT[program]
    return None


def _script(script: str) -> tuple[float, int]:
    """Return (seconds, exit code) of a shell script of plain commands; any other runs until it is stopped."""
    total, code, skip = 0.0, 0, False
    for part in re.split(r"(&&|\|\||;|\n)", script):
        step = part.strip()
        if step in {"&&", "||"}:
            skip = (code != 0) if step == "&&" else (code == 0)
            continue
        if step in {";", ""}:
            skip = skip if not step else False
            continue
        if skip:
            continue
        leave = _EXIT.match(step)
        if leave:
            return total, int(leave[1]) if leave[1] else code
        known = _command(step.split()) if not re.search(r"[|&<>`]", step.replace(">/dev/null", "")) else None
        if known is None:
            return inf, 0
        total, code = total + known[0], known[1]
        if total == inf:
            return inf, 0
    return total, code
