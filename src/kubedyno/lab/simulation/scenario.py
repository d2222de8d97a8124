"""A scenario: what a cluster is to be, what is done to it, what goes wrong, what is to be seen; YAML → frozen values.

Everything that is misspelt or cannot be is an error with file, line and path; see docs/simulate.md for the form.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.assembly.strict import Place
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube import yaml
from kubedyno.lab.settings import cluster_settings

API_VERSION, KIND = "kubedyno.io/v1alpha1", "Simulation"
Json = dict[str, Any]

_TOP = (
    "apiVersion", "kind", "name", "description", "cluster", "seed", "duration", "settle", "steps", "faults", "expect",
    "allowPending",
)  # fmt: skip
_CLUSTER = (
    "config", "nodes", "nodeClasses", "maxPods", "nodeCIDRMask", "cni", "speed", "kubernetesVersion", "featureGates",
    "schedulerConfig", "addons", "verifyWrites",
)  # fmt: skip
# Verb → what its mapping may hold; "" are those whose value is something else.
_OBJECT = ("object", "namespace")
STEPS: dict[str, tuple[str, ...]] = {
    "apply": (),
    "create": ("template", "count", "every", "namespace"),
    "scale": (*_OBJECT, "replicas"),
    "patch": (*_OBJECT, "patch"),
    "delete": (*_OBJECT, "selector", "propagation", "grace"),
    "drain": ("node", "pick", "timeout"),
    "cordon": ("node", "pick"),
    "uncordon": ("node", "pick"),
    "node": ("do", "node", "pick", "for", "what", "factor", "maxPods", "class"),
    "wait": ("for", *_OBJECT, "selector", "count", "timeout"),
    "pause": (),
    "restart": (),
    "skew": ("by", "for"),
}
NODE_VERBS = ("kill", "start", "restart", "not-ready", "ready", "shutdown", "pressure", "remove", "add", "slow")
WAITS = ("available", "complete", "ready", "gone", "running", "pods", "converged")
_WINDOW = ("kind", "from", "until", "every", "for")
FAULTS: dict[str, tuple[str, ...]] = {
    "conflict": ("of", "resources", "verbs", "probability"),
    "reject": ("of", "resources", "verbs", "probability"),
    "lost": ("of", "resources", "verbs", "probability"),
    "watch": ("of", "resources", "forget"),
    "node": ("do", "node", "pick", "factor", "what"),
    "skew": ("by",),
    "restart": (),
}
WRITE_FAULTS = frozenset({"conflict", "reject", "lost"})
PARTS = ("controllers", "scheduler", "kubelets", "clients")
_EXPECT = (
    "pods", "objects", "events", "namespace", "selector", "node", "phase", "ready", "reason", "contains", "is",
    "atLeast", "atMost", "at",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done.

    Attributes:
        verb: A key of `STEPS`.
        value: Its mapping, or what stands for it.
        at_s: Not before this time; None: right after the step before.
        place: File and line, for errors.
    """

    verb: str
    value: Any
    at_s: float | None
    place: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One sort of thing that goes wrong.

    Attributes:
        kind: A key of `FAULTS`.
        from_s: Not before this time.
        until_s: Not after it; None: while steps run.
        every_s: Mean time between two, of those that come and go; 0: once, at `from_s`.
        for_s: How long one lasts.
        value: Its mapping.
        place: File and line, for errors.
    """

    kind: str
    from_s: float
    until_s: float | None
    every_s: float
    for_s: float
    value: Json
    place: str


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is to be seen at the end, or at a time.

    Attributes:
        what: "pods", "objects" or "events".
        value: Its mapping.
        at_s: When; None: at the end.
        low: At least so many.
        high: At most so many; None: any number.
        place: File and line.
    """

    what: str
    value: Json
    at_s: float | None
    low: int
    high: int | None
    place: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """A whole scenario.

    Attributes:
        name: For people.
        path: The file; manifests are found beside it.
        description: What it shows.
        settings: Of the cluster; the seed is the run's.
        warnings: About the cluster's configuration.
        seed: Unless the command line says another.
        duration_s: At least so long.
        settle_s: For so long nothing may happen until everything has to have converged.
        allow_pending: Pods that no node has room for are no failure to converge.
        verify: Validate each write of the cluster's own parts.
        steps: In order.
        faults: All.
        expectations: All.
    """

    name: str
    path: str
    description: str
    settings: ClusterSettings
    warnings: tuple[str, ...]
    seed: int
    duration_s: float
    settle_s: float
    allow_pending: bool
    verify: bool
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    expectations: tuple[Expectation, ...]


def read(path: Path) -> Scenario:
    """Read a scenario's file.

    Raises:
        KubedynoError: It cannot be read, or something in it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise KubedynoError(f"{path}: cannot be read ({why})") from error
    return parse(text, str(path))


def parse(text: str, path: str) -> Scenario:
    """Return the scenario of a file's text.

    Raises:
        KubedynoError: Something in it is wrong.
    """
    try:
        document = yaml.load(text, path, strict=True)
    except ValueError as error:
        raise KubedynoError(f"{path}: {error}" if path not in str(error) else str(error)) from error
    if not isinstance(document, dict):
        raise KubedynoError(f"{path}: holds no scenario; it begins with `kind: {KIND}`")
    top = Place(document, path)
    given = top.mapping(_TOP)
    if given.get("kind") != KIND or given.get("apiVersion") != API_VERSION:
        raise KubedynoError(f"{path}: must begin with `apiVersion: {API_VERSION}` and `kind: {KIND}`")
    settings, warnings, verify = _cluster(top, Path(path).parent)
    steps = tuple(_step(place) for place in _items(top, "steps"))
    return Scenario(
        name=top.at("name").text() if given.get("name") else Path(path).stem,
        path=path,
        description=top.at("description").text() if given.get("description") else "",
        settings=settings,
        warnings=warnings,
        seed=top.at("seed").integer(0, 2**63) if "seed" in given else 1,
        duration_s=seconds(top, "duration", 0.0),
        settle_s=seconds(top, "settle", 300.0),
        allow_pending=top.at("allowPending").boolean() if "allowPending" in given else False,
        verify=verify,
        steps=steps,
        faults=tuple(_fault(place) for place in _items(top, "faults")),
        expectations=tuple(_expectation(place) for place in _items(top, "expect")),
    )


def _items(top: Place, key: str) -> list[Place]:
    return top.at(key).items() if top.value.get(key) else []


def seconds(place: Place, key: str, default: float) -> float:
    """Return a duration such as 90s or 1h30m of a mapping, in seconds; days are `7d`.

    Raises:
        KubedynoError: It is none.
    """
    if key not in place.value:
        return default
    text = place.at(key).text()
    try:
        return seconds_of(text)
    except ValueError:
        raise place.at(key).fail(f"must be a duration such as 90s, 1h30m or 7d, not {text!r}") from None


def seconds_of(text: str) -> float:
    """Return the seconds of a duration.

    Raises:
        ValueError: It is none.
    """
    if text.endswith("d") and text[:-1].isdecimal():
        return int(text[:-1]) * 86_400.0
    found = duration_ns_of(text) / 1e9
    if found < 0:
        raise ValueError(text)
    return found


def plain(value: Any) -> Any:
    """Return a value of YAML as JSON decoders make it."""
    return orjson.loads(orjson.dumps(value))


def _cluster(top: Place, folder: Path) -> tuple[ClusterSettings, tuple[str, ...], bool]:
    if not top.value.get("cluster"):
        settings, warnings = cluster_settings()
        return settings, tuple(warnings), False
    place = top.at("cluster")
    given = place.mapping(_CLUSTER)

    def text(key: str) -> str | None:
        return place.at(key).text() if key in given else None

    def number(key: str, low: int, high: int) -> int | None:
        return place.at(key).integer(low, high) if key in given else None

    gates = given.get("featureGates")
    if gates is not None and not isinstance(gates, dict):
        raise place.at("featureGates").fail("must be a mapping of gates to true or false")
    pairs = [f"{gate}={str(place.at('featureGates', gate).boolean()).lower()}" for gate in gates or ()]
    config, scheduler, speed = text("config"), text("schedulerConfig"), text("speed")
    try:
        settings, warnings = cluster_settings(
            config=folder / config if config else None,
            nodes=number("nodes", 1, 20_000),
            node_classes=tuple(one.text() for one in place.at("nodeClasses").items()) if "nodeClasses" in given else (),
            max_pods=number("maxPods", 1, 1_000_000),
            node_cidr_mask=number("nodeCIDRMask", 1, 32),
            cni=place.at("cni").choice("kindnet", "cilium", "none") if "cni" in given else None,
            speed=float(speed) if speed is not None else None,
            version=text("kubernetesVersion"),
            feature_gates=",".join(pairs) if pairs else None,
            scheduler_config=folder / scheduler if scheduler else None,
            addons=text("addons"),
        )
    except ValueError as error:
        raise place.fail(f"cannot be: {error}") from error
    verify = place.at("verifyWrites").boolean() if "verifyWrites" in given else False
    return settings, tuple(warnings), verify


def _step(place: Place) -> Step:
    given = place.mapping(("at", *STEPS))
    verbs = [key for key in given if key != "at"]
    if len(verbs) != 1:
        raise place.fail(f"must name one of {', '.join(STEPS)}, beside an optional `at`")
    verb = verbs[0]
    inner = place.at(verb)
    if STEPS[verb]:
        inner.mapping(STEPS[verb])
        if verb == "create" and "template" not in inner.value:
            raise inner.fail("needs a template: a file, or an object")
    elif verb == "pause":
        seconds(place, "pause", 0.0)
    at_s = seconds(place, "at", 0.0) if "at" in given else None
    check_step(verb, inner)
    return Step(verb, plain(inner.value), at_s, inner.where)


def check_step(verb: str, place: Place) -> None:
    """Refuse a step whose values cannot be.

    Raises:
        KubedynoError: One cannot.
    """
    given = place.value if isinstance(place.value, dict) else {}
    needed = {
        "scale": ("object", "replicas"), "patch": ("object", "patch"), "delete": ("object",), "node": ("do",),
        "wait": ("for",), "skew": ("by",),
    }.get(verb, ())  # fmt: skip
    for key in needed:
        if key not in given:
            raise place.fail(f"needs {key}")
    if verb in {"drain", "cordon", "uncordon"} and not {"node", "pick"} & set(given):
        raise place.fail("needs a node, or how many to pick")
    if verb == "node":
        place.at("do").choice(*NODE_VERBS)
    elif verb == "wait":
        place.at("for").choice(*WAITS)
    for key in ("timeout", "every", "for", "by"):
        if key in given and not (verb == "wait" and key == "for"):
            value = str(given[key])
            try:
                seconds_of(value.removeprefix("-"))
            except ValueError:
                raise place.at(key).fail(f"must be a duration such as 90s, not {value!r}") from None
    for key in ("count", "pick", "replicas", "maxPods", "grace"):
        if key in given:
            place.at(key).integer(0, 1_000_000)


def _fault(place: Place) -> Fault:
    value = place.value if isinstance(place.value, dict) else {}
    kind = value.get("kind")
    if kind not in FAULTS:
        raise place.fail(f"needs a kind, one of {', '.join(FAULTS)}")
    given = place.mapping((*_WINDOW, *FAULTS[kind]))
    if "of" in given:
        for part in place.at("of").items():
            part.choice(*PARTS)
    if kind == "node":
        if "do" not in given:
            raise place.fail("needs do")
        place.at("do").choice(*NODE_VERBS)
    if "probability" in given and not (
        isinstance(given["probability"], int | float) and 0 <= given["probability"] <= 1
    ):
        raise place.at("probability").fail("must be a number between 0 and 1")
    every_s = seconds(place, "every", 0.0)
    until_s = seconds(place, "until", 0.0) if "until" in given else None
    return Fault(
        kind, seconds(place, "from", 0.0), until_s, every_s, seconds(place, "for", 30.0), plain(given), place.where
    )  # fmt: skip


def _expectation(place: Place) -> Expectation:
    given = place.mapping(_EXPECT)
    kinds = [key for key in ("pods", "objects", "events") if key in given]
    if len(kinds) != 1:
        raise place.fail("must name one of pods, objects, events")
    exact = place.at("is").integer(0, 10**9) if "is" in given else None
    low = place.at("atLeast").integer(0, 10**9) if "atLeast" in given else 0
    high = place.at("atMost").integer(0, 10**9) if "atMost" in given else None
    if exact is None and "atLeast" not in given and high is None:
        raise place.fail("must say how many: is, atLeast or atMost")
    if exact is not None:
        low, high = exact, exact
    at_s = seconds(place, "at", 0.0) if "at" in given else None
    return Expectation(kinds[0], plain(given), at_s, low, high, place.where)
