"""Kubernetes features by version: a table kept as data (`data/features.yaml`), and what a live cluster says of each.

A live answer is found in the order of how sure it is: a dry run of the field, the component's own metric
`kubernetes_feature_enabled`, the kubelet's configuration, discovery, and last the version's default.
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.kube import yaml
from kubedyno.kube.status import StatusError

Json = dict[str, Any]
SOURCE = "kubernetes pkg/features/kube_features.go, 1.35 branch"
# Releases that the table answers for.
OLDEST, NEWEST = (1, 29), (1, 36)
_METRIC = re.compile(r'^kubernetes_feature_enabled\{name="([^"]+)",stage="([^"]*)"\} ([01])', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stage:
    """From a version on: stage and default. `version` is (major, minor), of Kubernetes or of etcd."""

    version: tuple[int, int]
    stage: str
    on: bool


@dataclass(frozen=True, slots=True)
class Feature:
    """One row; see data/features.yaml."""

    name: str
    gate: str
    component: str
    stages: tuple[Stage, ...]
    field: str
    performance: str
    note: str = ""
    source: str = SOURCE
    discovery: str = ""
    warning: str = ""
    metrics: tuple[str, ...] = ()
    attempt: Json | None = None

    def at(self, version: tuple[int, int]) -> Stage | None:
        """Return what it is in a version, None before it was there."""
        found = [stage for stage in self.stages if stage.version <= version]
        return found[-1] if found else None


@dataclass(frozen=True, slots=True)
class Seen:
    """What a cluster says of a feature: "on", "off", "absent" or "unknown", how that was found, how sure it is."""

    feature: Feature
    state: str
    how: str
    sure: str


@cache
def table() -> tuple[Feature, ...]:
    """Return all features."""
    text = resources.files("kubedyno.advisor").joinpath("data/features.yaml").read_text(encoding="utf-8")
    return tuple(_feature(row) for row in yaml.load(text, "features.yaml", strict=True))


def _feature(row: Json) -> Feature:
    return Feature(
        name=row["name"],
        gate=row["gate"],
        component=row["component"],
        stages=tuple(Stage(version_of(version), stage, on) for version, stage, on in row["stages"]),
        field=row["field"],
        performance=row["performance"],
        note=row.get("note", ""),
        source=row.get("source", SOURCE),
        discovery=row.get("discovery", ""),
        warning=row.get("warning", ""),
        metrics=tuple(row.get("metrics", ())),
        attempt=row.get("try"),
    )


def version_of(text: str) -> tuple[int, int]:
    """Return major and minor of "1.34", "v1.34.2+k3s1" or "etcd 3.6".

    Raises:
        KubedynoError: It is no version.
    """
    found = re.match(r"(?:etcd )?v?(\d+)\.(\d+)", text)
    if found is None:
        raise KubedynoError(f"{text}: write a version such as 1.34")
    return int(found[1]), int(found[2])


def target(text: str) -> tuple[int, int]:
    """Return a version that the table answers for.

    Raises:
        KubedynoError: It does not.
    """
    version = version_of(text)
    if not OLDEST <= version <= NEWEST:
        low, high = (".".join(map(str, bound)) for bound in (OLDEST, NEWEST))
        raise KubedynoError(f"{text}: the table is of {low} to {high}")
    return version


def gates_of(metrics: str) -> dict[str, bool]:
    """Return gate → whether it is on, from a component's metrics."""
    return {name: value == "1" for name, _, value in _METRIC.findall(metrics)}


def judge(
    feature: Feature,
    version: tuple[int, int],
    *,
    gates: dict[str, dict[str, bool]],
    discovered: frozenset[str] = frozenset(),
    tried: dict[str, str] | None = None,
) -> Seen:
    """Return a feature's state from what was read.

    Args:
        version: Of the API server.
        gates: Component → gate → on; a component that could not be read is not there.
        discovered: Paths of groups that discovery has.
        tried: Feature name → "kept", "dropped", "unknown field" or "refused: …", from dry runs.
    """
    outcome = (tried or {}).get(feature.name, "")
    if outcome == "kept":
        return Seen(feature, "on", "a dry run kept the field", "sure")
    if outcome == "dropped":
        return Seen(feature, "off", "a dry run dropped the field", "sure")
    if outcome == "unknown field":
        return Seen(feature, "absent", "a strict dry run does not know the field", "sure")
    mine = gates.get(feature.component)
    if feature.gate and mine is not None and feature.gate in mine:
        return Seen(feature, "on" if mine[feature.gate] else "off", f"metric of the {feature.component}", "sure")
    if feature.discovery:
        found = feature.discovery in discovered
        return Seen(feature, "on" if found else "off", f"discovery: {feature.discovery}", "sure")
    if feature.component in {"etcd", "kubectl"}:
        return Seen(feature, "unknown", f"the API says nothing of {feature.component}", "-")
    stage = feature.at(version)
    if mine is not None and feature.gate:
        # Present gates are all listed; a locked one may have been taken out since.
        gone = stage is not None and stage.stage == "GA locked"
        return Seen(feature, "on" if gone else "absent", f"the {feature.component} does not list the gate", "likely")
    if stage is None:
        return Seen(feature, "absent", f"not in version {version[0]}.{version[1]}", "by version")
    return Seen(feature, "on" if stage.on else "off", "default of the version", "by version")


# --- a live cluster -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was found on a cluster; `missing` names what could not be read."""

    version: str
    features: tuple[Seen, ...]
    missing: tuple[str, ...]


async def read(client: Client, *, try_fields: bool) -> Cluster:
    """Ask a cluster for every feature.

    Args:
        try_fields: Whether objects may be sent as server-side dry runs, which keep nothing.

    Raises:
        KubedynoError: It cannot be reached.
    """
    missing: list[str] = []
    said = str((await client.get("/version")).get("gitVersion", "?"))
    gates: dict[str, dict[str, bool]] = {}

    async def metrics(path: str, component: str) -> None:
        result = await client.request("GET", path)
        if result.status != 200:
            missing.append(f"{component}: {path} answered {result.status}")
            return
        found = gates_of(result.body.decode(errors="replace"))
        if found:
            gates[component] = found
        else:
            missing.append(f"{component}: {path} has no kubernetes_feature_enabled")

    await metrics("/metrics", "apiserver")
    try:
        nodes = await client.list_all("/api/v1/nodes")
    except StatusError as error:
        missing.append(f"nodes: not read ({error.message})")
        nodes = []
    if nodes:
        await metrics(f"/api/v1/nodes/{nodes[0]['metadata']['name']}/proxy/metrics", "kubelet")
    discovered = set()
    for feature in table():
        if feature.discovery and (await client.request("GET", feature.discovery)).status == 200:
            discovered.add(feature.discovery)
    tried: dict[str, str] = {}
    if try_fields:
        for feature in table():
            if feature.attempt:
                tried[feature.name] = await _try(client, feature.attempt)
                if tried[feature.name].startswith("refused"):
                    missing.append(f"{feature.name}: dry run {tried[feature.name]}")
    version = version_of(said)
    seen = tuple(
        judge(feature, version, gates=gates, discovered=frozenset(discovered), tried=tried) for feature in table()
    )
    return Cluster(said, seen, tuple(missing))


async def _try(client: Client, attempt: Json) -> str:
    path = f"{attempt['path']}?dryRun=All&fieldValidation=Strict"
    result = await client.request("POST", path, body=orjson.dumps(attempt["object"]))
    try:
        answer = orjson.loads(result.body)
    except orjson.JSONDecodeError:
        return f"refused: status {result.status}"
    return outcome_of(result.status, answer, attempt["keep"])


def outcome_of(status: int, answer: Json, keep: str) -> str:
    """Return what a strict dry run says of a field: "kept", "dropped", "unknown field" or "refused: …".

    Args:
        status: Of the answer.
        answer: Its body.
        keep: Dotted path of the field, numbers for places in lists.
    """
    if status not in {200, 201}:
        message = str(answer.get("message", ""))
        leaf = keep.rsplit(".", 1)[-1]
        if "unknown field" in message and leaf in message:
            return "unknown field"
        return f"refused: {message or status}"
    place: Any = answer
    for part in keep.split("."):
        if isinstance(place, list):
            place = place[int(part)] if int(part) < len(place) else None
        elif isinstance(place, dict):
            place = place.get(part)
        else:
            place = None
    return "kept" if place is not None else "dropped"
