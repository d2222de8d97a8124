"""A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1) to `SchedulerSettings`.

Profiles, their plugins and arguments act as written; what has no meaning here is a warning that names it; what is
misspelt is an error with file, line and path.
"""

from pathlib import Path
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.assembly.strict import Place
from kubedyno.cluster.settings import (
    DEFAULT_SCORES,
    FILTER_PLUGINS,
    SchedulerProfile,
    SchedulerSettings,
)
from kubedyno.kube import yaml

API_VERSION = "kubescheduler.config.k8s.io/v1"
_TOP = (
    "kind", "apiVersion", "parallelism", "leaderElection", "clientConnection", "enableProfiling",
    "enableContentionProfiling", "percentageOfNodesToScore", "podInitialBackoffSeconds", "podMaxBackoffSeconds",
    "profiles", "extenders", "delayCacheUntilActive",
)  # fmt: skip
_PROFILE = ("schedulerName", "percentageOfNodesToScore", "plugins", "pluginConfig")
_POINTS = (
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit", "preBind",
    "bind", "postBind", "multiPoint",
)  # fmt: skip
# Plugins that are there without saying no to a node or preferring one.
_OTHERS = (
    "SchedulingGates", "PrioritySort", "DefaultPreemption", "DefaultBinder", "NodeDeclaredFeatures", "GangScheduling",
)  # fmt: skip
_SCORES = dict(DEFAULT_SCORES)
_KNOWN = tuple(dict.fromkeys((*FILTER_PLUGINS, *_SCORES, *_OTHERS)))
_ALL = "*"
_STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
_LARGE = 1 << 31


class _Draft:
    """A profile under way."""

    def __init__(self) -> None:
        self.off: set[str] = set()
        self.scores: dict[str, int] = dict(_SCORES)
        self.preempts = True
        self.changes: dict[str, Any] = {}


def read(path: Path) -> tuple[SchedulerSettings, list[str]]:
    """Return the settings of a file, and warnings about what means nothing here.

    Raises:
        KubedynoError: It cannot be read, or is wrong.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "is no text"
        raise KubedynoError(f"{path}: cannot be read ({why})") from error
    return parse(text, str(path))


def parse(text: str, path: str) -> tuple[SchedulerSettings, list[str]]:
    """Return the settings that a configuration asks for, and warnings about what means nothing here.

    Args:
        text: The file's content.
        path: Named in errors.

    Raises:
        KubedynoError: It is no such configuration, or something in it is wrong.
    """
    document = yaml.load(text, path, strict=True)
    if not isinstance(document, dict):
        raise KubedynoError(
            f"{path}: holds no scheduler configuration; it begins with kind: KubeSchedulerConfiguration"
        )
    top = Place(document, path)
    given = top.mapping(_TOP)
    if given.get("kind") != "KubeSchedulerConfiguration":
        raise KubedynoError(f"{path}: kind is {given.get('kind')!r}, must be KubeSchedulerConfiguration")
    if given.get("apiVersion") != API_VERSION:
        raise KubedynoError(f"{path}: apiVersion is {given.get('apiVersion')!r}, must be {API_VERSION}")
    warnings = [
        f"{top.at(key).dotted} (line {top.at(key).line}) has no effect: it is about the real scheduler's process"
        for key in ("parallelism", "leaderElection", "clientConnection", "enableProfiling", "enableContentionProfiling")
        if key in given
    ]
    if given.get("extenders"):
        raise top.at("extenders").fail("cannot be served: no scheduler extender is called here; remove it")
    percentage = top.at("percentageOfNodesToScore").integer(0, 100) if given.get("percentageOfNodesToScore") else 0
    bind_timeout_s = 600.0
    profiles: list[SchedulerProfile] = []
    for place in top.at("profiles").items() if "profiles" in given else []:
        profile, timeout_s = _profile(place, percentage, warnings)
        bind_timeout_s = timeout_s or bind_timeout_s
        if profile.name in {other.name for other in profiles}:
            raise place.fail(f"has the schedulerName {profile.name} of an earlier one; each profile needs its own")
        profiles.append(profile)
    initial_s = float(_seconds(top, "podInitialBackoffSeconds", 1))
    max_s = float(_seconds(top, "podMaxBackoffSeconds", 10))
    if max_s < initial_s:
        key = "podMaxBackoffSeconds" if "podMaxBackoffSeconds" in given else "podInitialBackoffSeconds"
        raise top.at(key).fail(
            f"podMaxBackoffSeconds {max_s:g} must not be less than podInitialBackoffSeconds {initial_s:g}"
        )
    made = tuple(profiles) or (SchedulerProfile(percentage=percentage),)
    return SchedulerSettings(made, initial_s, max_s, bind_timeout_s), warnings


def _seconds(place: Place, key: str, default: int) -> int:
    return place.at(key).integer(1, _LARGE) if key in place.value else default


def _profile(place: Place, percentage: int, warnings: list[str]) -> tuple[SchedulerProfile, float]:
    given, draft = place.mapping(_PROFILE), _Draft()
    name = place.at("schedulerName").text() if "schedulerName" in given else "default-scheduler"
    if given.get("percentageOfNodesToScore"):
        percentage = place.at("percentageOfNodesToScore").integer(0, 100)
    if given.get("plugins"):
        plugins = place.at("plugins")
        # What multiPoint says is overruled by single points, so it goes first.
        for point in sorted(plugins.mapping(_POINTS), key=lambda point: point != "multiPoint"):
            _point(plugins.at(point), point, draft, warnings)
    timeout_s = 0.0
    for config in place.at("pluginConfig").items() if given.get("pluginConfig") else []:
        config.mapping(("name", "args"))
        timeout_s = _arguments(config, draft, warnings) or timeout_s
    scores = tuple((plugin, weight) for plugin, weight in draft.scores.items() if weight)
    off = tuple(plugin for plugin in FILTER_PLUGINS if plugin in draft.off)
    return SchedulerProfile(
        name, off, scores, percentage=percentage, preempts=draft.preempts, **draft.changes
    ), timeout_s  # fmt: skip


def _point(place: Place, point: str, draft: _Draft, warnings: list[str]) -> None:
    """Apply what is enabled and disabled at one extension point: first what goes, then what comes."""
    place.mapping(("enabled", "disabled"))
    for key, on in (("disabled", False), ("enabled", True)):
        for entry in place.at(key).items() if key in place.value else []:
            entry.mapping(("name", "weight"))
            name = entry.at("name").choice(*_KNOWN, _ALL) if "name" in entry.value else ""
            if not name or (on and name == _ALL):
                raise entry.fail("needs the name of a plugin")
            weight = entry.at("weight").integer(0, 100) if entry.value.get("weight") else 0
            _switch(name, point, draft, on=on, weight=weight)
            if point not in {"filter", "preFilter", "postFilter", "score", "preScore", "multiPoint"}:
                warnings.append(f"{entry.dotted} (line {entry.line}) has no effect: {point} is as by default here")


def _switch(name: str, point: str, draft: _Draft, *, on: bool, weight: int) -> None:
    names = _KNOWN if name == _ALL else (name,)
    for plugin in names:
        if point in {"filter", "multiPoint"} and plugin in FILTER_PLUGINS:
            (draft.off.discard if on else draft.off.add)(plugin)
        if point in {"score", "multiPoint"} and plugin in _SCORES:
            draft.scores[plugin] = (weight or _SCORES[plugin]) if on else 0
        if point in {"postFilter", "multiPoint"} and plugin == "DefaultPreemption":
            draft.preempts = on


# --- arguments of plugins --------------------------------------------------------------------------------------------


def _arguments(config: Place, draft: _Draft, warnings: list[str]) -> float:
    """Apply one plugin's arguments; returns VolumeBinding's time limit, 0 when it says none."""
    name = config.at("name").choice(*_KNOWN) if "name" in config.value else ""
    if not name:
        raise config.fail("needs the name of a plugin")
    if not config.value.get("args"):
        return 0.0
    args, changes = config.at("args"), draft.changes
    common = ("kind", "apiVersion")
    if name == "NodeResourcesFit":
        given = args.mapping((*common, "scoringStrategy", "ignoredResources", "ignoredResourceGroups"))
        warnings += [
            f"{args.at(key).dotted} (line {args.at(key).line}) has no effect: every resource counts"
            for key in ("ignoredResources", "ignoredResourceGroups")
            if given.get(key)
        ]
        if "scoringStrategy" in given:
            _strategy(args.at("scoringStrategy"), changes)
    elif name == "NodeResourcesBalancedAllocation":
        args.mapping((*common, "resources"))
        if "resources" in args.value:
            changes["balanced"] = tuple(resource for resource, _ in _resources(args.at("resources")))
    elif name == "NodeAffinity":
        args.mapping((*common, "addedAffinity"))
        if args.value.get("addedAffinity"):
            place = args.at("addedAffinity")
            if not isinstance(place.value, dict):
                raise place.fail("must be a mapping")
            # Rare, and the command that starts a cluster would take 40 ms longer.
            from kubedyno.cluster.registry.kinds.schedulingvalidation import affinity_causes  # noqa: PLC0415

            for cause in affinity_causes({"nodeAffinity": place.value}, "addedAffinity"):
                raise place.fail(f"is wrong: {cause.field}: {cause.message}")
            changes["added_affinity"] = orjson.dumps(place.value).decode()
    elif name == "InterPodAffinity":
        given = args.mapping((*common, "hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods"))
        if "hardPodAffinityWeight" in given:
            changes["hard_pod_affinity_weight"] = args.at("hardPodAffinityWeight").integer(0, 100)
        if given.get("ignorePreferredTermsOfExistingPods"):
            where = args.at("ignorePreferredTermsOfExistingPods")
            warnings.append(f"{where.dotted} (line {where.line}) has no effect: preferred terms of other pods count")
    elif name == "PodTopologySpread":
        given = args.mapping((*common, "defaultConstraints", "defaultingType"))
        if given.get("defaultConstraints"):
            where = args.at("defaultConstraints")
            warnings.append(
                f"{where.dotted} (line {where.line}) has no effect: pods without constraints are not spread"
            )
    elif name == "DefaultPreemption":
        given = args.mapping((*common, "minCandidateNodesPercentage", "minCandidateNodesAbsolute"))
        if "minCandidateNodesPercentage" in given:
            changes["min_candidates_percent"] = args.at("minCandidateNodesPercentage").integer(0, 100)
        if "minCandidateNodesAbsolute" in given:
            changes["min_candidates"] = args.at("minCandidateNodesAbsolute").integer(0, _LARGE)
    elif name == "VolumeBinding":
        args.mapping((*common, "bindTimeoutSeconds", "shape"))
        if "shape" in args.value:
            warnings.append(
                f"{args.at('shape').dotted} (line {args.at('shape').line}) has no effect: free storage is not scored"
            )
        if args.value.get("bindTimeoutSeconds"):
            return float(args.at("bindTimeoutSeconds").integer(1, _LARGE))
    else:
        warnings.append(f"{args.dotted} (line {args.line}) has no effect: {name} has no arguments here")
    return 0.0


def _strategy(place: Place, changes: dict[str, Any]) -> None:
    given = place.mapping(("type", "resources", "requestedToCapacityRatio"))
    strategy = place.at("type").choice(*_STRATEGIES) if "type" in given else "LeastAllocated"
    changes["strategy"] = strategy
    if given.get("resources"):
        changes["resources"] = _resources(place.at("resources"))
    if strategy == "RequestedToCapacityRatio":
        ratio = place.at("requestedToCapacityRatio") if given.get("requestedToCapacityRatio") else None
        if ratio is None or not ratio.mapping(("shape",)).get("shape"):
            raise place.fail("needs requestedToCapacityRatio.shape")
        points: list[tuple[int, int]] = []
        for entry in ratio.at("shape").items():
            entry.mapping(("utilization", "score"))
            utilization = entry.at("utilization").integer(0, 100) if "utilization" in entry.value else 0
            score = entry.at("score").integer(0, 10) if "score" in entry.value else 0
            if points and utilization <= points[-1][0]:
                raise entry.fail("must have a larger utilization than the one before it")
            points.append((utilization, score))
        changes["shape"] = tuple(points)


def _resources(place: Place) -> tuple[tuple[str, int], ...]:
    found = []
    for entry in place.items():
        entry.mapping(("name", "weight"))
        if not entry.value.get("name"):
            raise entry.fail("needs the name of a resource")
        weight = entry.at("weight").integer(1, 100) if entry.value.get("weight") else 1
        found.append((entry.at("name").text(), weight))
    return tuple(found)
