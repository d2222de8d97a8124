"""Kubernetes features by version: a table kept as data (`data/features.yaml`), and what a live cluster says of each.

A live answer is found in the order of how sure it is: a dry run of the field, the component's own metric
`kubernetes_feature_enabled`, a kubelet's configuration, discovery, and last the version's default. etcd's and kubectl's
versions are their own.
"""

import re
from dataclasses import dataclass, field
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
# kubeadm's default etcd from a Kubernetes version on.
_ETCD_OF = (((1, 34), (3, 6)), ((1, 22), (3, 5)))
# A component lists all of its gates, more than a hundred: what is not in a short list may be there all the same.
_ALL_GATES = 50
_ETCD_METRICS_PORT = 2381
_ETCD_GATE = re.compile(r'^etcd_server_feature_enabled\{name="([^"]+)",stage="[^"]*"\} ([01])', re.MULTILINE)
_ETCD_VERSION = re.compile(r'^etcd_server_version\{server_version="([^"]+)"\} 1', re.MULTILINE)
_METRIC = re.compile(r'^kubernetes_feature_enabled\{name="([^"]+)",stage="([^"]*)"\} ([01])', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stage:
    """From a version on: stage and default. `version` is (major, minor), of Kubernetes or of etcd."""

    version: tuple[int, int]
    stage: str
    on: bool


@dataclass(frozen=True, slots=True)
class Feature:
    """One row; see data/features.yaml.

    Attributes:
        configz: Key of KubeletConfiguration that says how it is used, "" without one.
        refused: What an API server says that dropped the field and then misses it, "" where it accepts the rest.
    """

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
    configz: str = ""
    refused: str = ""

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
        configz=row.get("configz", ""),
        refused=row.get("try", {}).get("refused", ""),
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


def etcd_of(version: tuple[int, int]) -> tuple[int, int]:
    """Return the version of etcd that kubeadm installs with a Kubernetes version."""
    return next((etcd for since, etcd in _ETCD_OF if version >= since), (3, 4))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a cluster was asked.

    Attributes:
        version: (major, minor) of the API server.
        gates: Component → gate → on; a component that could not be read is not there.
        kubelet: KubeletConfiguration of a node, None when it could not be read.
        kubelet_version: Of that node; (0, 0): not known.
        discovered: Paths of groups that discovery has.
        warnings: Warnings that were sent.
        tried: Feature name → "kept", "dropped", "unknown field" or "refused: …", from dry runs.
        etcd: Its version, None when nothing says it.
        kubectl: Version of the kubectl on this machine, None without one.
        kubectl_kyaml: Whether its environment asks for KYAML.
    """

    version: tuple[int, int]
    gates: dict[str, dict[str, bool]] = field(default_factory=dict)
    kubelet: Json | None = None
    kubelet_version: tuple[int, int] = (0, 0)
    discovered: frozenset[str] = frozenset()
    warnings: frozenset[str] = frozenset()
    tried: dict[str, str] = field(default_factory=dict)
    etcd: tuple[int, int] | None = None
    kubectl: tuple[int, int] | None = None
    kubectl_kyaml: bool = False


_DRY_RUNS = {
    "kept": ("on", "a dry run kept the field"),
    "dropped": ("off", "a dry run dropped the field"),
    "unknown field": ("absent", "a strict dry run does not know the field"),
}


def judge(feature: Feature, seen: Evidence) -> Seen:
    """Return a feature's state from what was read."""
    outcome = _DRY_RUNS.get(seen.tried.get(feature.name, ""))
    if outcome is not None:
        return Seen(feature, *outcome, "sure")
    if feature.component == "kubectl":
        return _of_kubectl(feature, seen)
    mine = seen.gates.get(feature.component)
    if feature.gate and mine is not None and feature.gate in mine:
        how = f"metric of the {feature.component}{_used(feature, seen)}"
        return Seen(feature, "on" if mine[feature.gate] else "off", how, "sure")
    if feature.component == "etcd":
        if seen.etcd is None:
            return Seen(feature, "unknown", "etcd is not to be seen through the API", "-")
        return _by_version(feature, seen.etcd, f"version {'.'.join(map(str, seen.etcd))} of etcd")
    if feature.component == "kubelet" and seen.kubelet is not None:
        said = (seen.kubelet.get("featureGates") or {}).get(feature.gate)
        if said is not None:
            how = f"the kubelet's /configz: featureGates{_used(feature, seen)}"
            return Seen(feature, "on" if said else "off", how, "sure")
    if feature.discovery:
        found = feature.discovery in seen.discovered
        return Seen(feature, "on" if found else "off", f"discovery: {feature.discovery}", "sure")
    if feature.warning and any(feature.warning in said for said in seen.warnings):
        return Seen(feature, "on", "the API server's Warning header", "sure")
    version = seen.version
    if feature.component == "kubelet" and seen.kubelet_version != (0, 0):
        version = seen.kubelet_version
    stage = feature.at(version)
    if mine is not None and len(mine) >= _ALL_GATES and feature.gate:
        # All gates are listed; that of a feature which is generally available has been taken out since.
        general = stage is not None and stage.stage.startswith("GA")
        return Seen(feature, "on" if general else "absent", f"the {feature.component} does not list the gate", "likely")
    return _by_version(feature, version, f"default of the version{_used(feature, seen)}")


def _by_version(feature: Feature, version: tuple[int, int], how: str) -> Seen:
    stage = feature.at(version)
    if stage is None:
        return Seen(feature, "absent", f"not in version {version[0]}.{version[1]}", "by version")
    return Seen(feature, "on" if stage.on else "off", how, "by version")


def _used(feature: Feature, seen: Evidence) -> str:
    """Return what the kubelet is told to do with a feature, "" where there is no such key."""
    if not feature.configz or seen.kubelet is None:
        return ""
    value = seen.kubelet.get(feature.configz)
    return f"; {feature.configz}: {'not set' if value is None else orjson.dumps(value).decode()}"


def _of_kubectl(feature: Feature, seen: Evidence) -> Seen:
    if seen.kubectl is None:
        return Seen(feature, "unknown", "there is no kubectl in PATH", "-")
    shown = f"kubectl {seen.kubectl[0]}.{seen.kubectl[1]} of this machine"
    found = _by_version(feature, seen.kubectl, shown)
    if found.state == "off" and seen.kubectl_kyaml:
        return Seen(feature, "on", f"{shown}, {feature.gate}=true", "sure")
    return found


# --- a live cluster -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cluster:
    """What was found on a cluster; `missing` names what could not be read."""

    version: str
    features: tuple[Seen, ...]
    missing: tuple[str, ...]


async def read(client: Client, *, try_fields: bool, kubectl: str = "", kubectl_kyaml: bool = False) -> Cluster:
    """Ask a cluster for every feature.

    Args:
        try_fields: Whether objects may be sent as server-side dry runs, which keep nothing.
        kubectl: Version of this machine's kubectl, "" without one.
        kubectl_kyaml: Whether its environment asks for KYAML.

    Raises:
        KubedynoError: It cannot be reached.
    """
    missing: list[str] = []
    said = str((await client.get("/version")).get("gitVersion", "?"))
    gates: dict[str, dict[str, bool]] = {}

    async def page(path: str, what: str) -> str:
        result = await client.request("GET", path)
        if result.status == 200:
            return result.body.decode(errors="replace")
        missing.append(f"{what}: {path} answered {result.status}")
        return ""

    async def metrics(path: str, component: str) -> None:
        text = await page(path, component)
        found = gates_of(text)
        if found:
            gates[component] = found
        elif text:
            missing.append(f"{component}: {path} has no kubernetes_feature_enabled")

    async def items(path: str, what: str) -> list[Json]:
        try:
            return list(await client.list_all(path))
        except StatusError as error:
            missing.append(f"{what}: not read ({error.message})")
            return []

    await metrics("/metrics", "apiserver")
    nodes = await items("/api/v1/nodes", "nodes")
    kubelet, kubelet_version = None, (0, 0)
    if nodes:
        root = f"/api/v1/nodes/{nodes[0]['metadata']['name']}/proxy"
        await metrics(f"{root}/metrics", "kubelet")
        kubelet = _configuration(await page(f"{root}/configz", "kubelet"))
        info = (nodes[0].get("status") or {}).get("nodeInfo") or {}
        kubelet_version = version_of(str(info["kubeletVersion"])) if info.get("kubeletVersion") else (0, 0)
    etcd = None
    for pod in await items("/api/v1/namespaces/kube-system/pods?labelSelector=component%3Detcd", "etcd's pods"):
        path = f"/api/v1/namespaces/kube-system/pods/{pod['metadata']['name']}:{_ETCD_METRICS_PORT}/proxy/metrics"
        text = await page(path, "etcd")
        if found := dict(_ETCD_GATE.findall(text)):
            gates["etcd"] = {name: value == "1" for name, value in found.items()}
        etcd = _etcd_version(text, pod) or etcd
    discovered = set()
    for feature in table():
        if feature.discovery and (await client.request("GET", feature.discovery)).status == 200:
            discovered.add(feature.discovery)
    warned = await client.request("GET", "/api/v1/namespaces/default/endpoints?limit=1")
    tried: dict[str, str] = {}
    if try_fields:
        for feature in table():
            if feature.attempt:
                tried[feature.name] = await _try(client, feature)
                if tried[feature.name].startswith("refused"):
                    missing.append(f"{feature.name}: dry run {tried[feature.name]}")
    evidence = Evidence(
        version_of(said),
        gates,
        kubelet,
        kubelet_version,
        frozenset(discovered),
        frozenset({warned.headers.get("warning", "")}),
        tried,
        etcd,
        version_of(kubectl) if kubectl else None,
        kubectl_kyaml,
    )
    return Cluster(said, tuple(judge(feature, evidence) for feature in table()), tuple(missing))


def _configuration(text: str) -> Json | None:
    try:
        found = orjson.loads(text)["kubeletconfig"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _etcd_version(page: str, pod: Json) -> tuple[int, int] | None:
    """Return etcd's version by its metrics, else by the tag of its image."""
    said = _ETCD_VERSION.search(page)
    image = str(pod["spec"]["containers"][0].get("image", ""))
    text = said[1] if said else image.partition("@")[0].rpartition(":")[2]
    try:
        return version_of(text)
    except KubedynoError:
        return None


async def _try(client: Client, feature: Feature) -> str:
    attempt: Json = feature.attempt or {}
    path = f"{attempt['path']}?dryRun=All&fieldValidation=Strict"
    result = await client.request("POST", path, body=orjson.dumps(attempt["object"]))
    try:
        answer = orjson.loads(result.body)
    except orjson.JSONDecodeError:
        return f"refused: status {result.status}"
    return outcome_of(result.status, answer, attempt["keep"], feature.refused)


def outcome_of(status: int, answer: Json, keep: str, refused: str = "") -> str:
    """Return what a strict dry run says of a field: "kept", "dropped", "unknown field" or "refused: …".

    Args:
        status: Of the answer.
        answer: Its body.
        keep: Dotted path of the field, numbers for places in lists.
        refused: What is said where the field was dropped and the rest is not enough without it.
    """
    if status not in {200, 201}:
        message = str(answer.get("message", ""))
        leaf = keep.rsplit(".", 1)[-1]
        if "unknown field" in message and leaf in message:
            return "unknown field"
        if refused and refused in message:
            return "dropped"
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
