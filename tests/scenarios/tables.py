"""Scenario scripts: what a user does to a cluster on simulated time, and the tables that he must see then.

A script is YAML: `cluster` (settings), and `steps`, each a mapping of one of

    create: objects           change: KIND/NAME, to: merge patch      delete: KIND/NAME, [policy]     wait: seconds
    node: NAME, do: kill …    see: KIND, [namespace], as: table       events: KIND, as: lines         log: [KIND …], as: lines

A table's first line names its columns by their paths (`status.conditions.Ready.status`: of a list, the element of that type
or name), its rows are the objects, by name. Generated names end with `*`, template hashes are `#`, ids UID, durations T. `events` are those about
a kind since the last look, by object, oldest first; `log` says which objects of these kinds were made, changed and deleted since the
last look, in the order of their revisions, but for the system's own.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kubedyno.base.simulation import SimulatedLoop, simulate
from kubedyno.cluster.assembly.cluster import Cluster
from kubedyno.cluster.kubelet.stagerules import Language
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.patch import merge_patch
from kubedyno.kube.resources import EVENTS, Resource
from kubedyno.statedb.records import Tombstone

NAMESPACE = "default"
SETTLE_S = 20.0
_SYSTEM = frozenset({"kube-system", "local-path-storage", "kube-node-lease"})
_GENERATED = re.compile(r"(?<=-)[bcdfghjklmnpqrstvwxz2456789]{5}\b")
_HASH = re.compile(r"(?<=-)[bcdf456789]{8,10}\b")
_DURATION = re.compile(r"\b[0-9.]+m?s\b(?= including|(?= \())")
_SANDBOX = re.compile(r"\b[0-9a-f]{64}\b")
_UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_MASKS = ((_HASH, "#"), (_GENERATED, "*"), (_UID, "UID"), (_SANDBOX, "SANDBOX"), (_DURATION, "T"))


@dataclass
class Looked:
    """One look: where, what was seen, what should have been."""

    where: str
    seen: str
    expected: str


@dataclass
class Play:
    """A script under way.

    Attributes:
        cluster: Lives on the running, simulated loop.
        looks: Made so far.
    """

    cluster: Cluster
    looks: list[Looked] = field(default_factory=list)
    _log_revision: int = 0
    _event_revision: dict[str, int] = field(default_factory=dict)

    # --- what a user does -----------------------------------------------------------------------------------------

    def resource(self, kind: str) -> Resource:
        """Return what serves a kind, by its name alone; the newest version of the richest group."""
        found = [r for r in self.cluster.store.resources if r.kind == kind]
        assert found, f"no kind {kind}"
        return min(
            found,
            key=lambda r: (
                r.group == "events.k8s.io",
                r.version not in {"v1", "v2"},
                -len(r.version),
                r.version != "v2",
            ),
        )

    def target(self, name: str) -> tuple[Resource, str, str]:
        """Read KIND/NAME or KIND/NAMESPACE/NAME; a name ending with * is the first that begins so."""
        kind, _, rest = name.partition("/")
        namespace, _, name = rest.rpartition("/")
        resource = self.resource(kind)
        namespace = (namespace or NAMESPACE) if resource.namespaced else ""
        if name.endswith("*"):
            records = self.cluster.store.list(resource, namespace)
            name = next(r.obj.name for r in records if r.obj.name.startswith(name[:-1]))
        return resource, namespace, name

    def create(self, objects: Any) -> None:
        for obj in objects if isinstance(objects, list) else [objects]:
            resource = self.cluster.registry.resource_of(obj["apiVersion"], obj["kind"])
            assert resource is not None, obj["kind"]
            namespace = obj["metadata"].get("namespace", NAMESPACE) if resource.namespaced else ""
            self.cluster.registry.create(resource, namespace, obj)

    def change(self, name: str, patch: dict[str, Any], subresource: str = "") -> None:
        resource, namespace, name = self.target(name)
        options = {"subresource": subresource} if subresource else {}
        self.cluster.registry.modify(resource, namespace, name, lambda obj: merge_patch(obj, patch), **options)

    def delete(self, name: str, options: dict[str, Any]) -> None:
        resource, namespace, name = self.target(name)
        self.cluster.registry.delete(resource, namespace, name, options)

    # --- what he sees ---------------------------------------------------------------------------------------------

    def table(self, kind: str, namespace: str, columns: list[str]) -> str:
        resource = self.resource(kind)
        records = self.cluster.store.list(resource, namespace if resource.namespaced else "")
        rows = []
        for record in records:
            obj = self.cluster.store.encode_dict(resource, record)
            if "endpoints" in obj:
                # Which of two pods was there first is nobody's expectation.
                obj["endpoints"].sort(key=lambda one: (str(one["conditions"]), one.get("nodeName", "")))
            rows.append([text_of(value_at(obj, column), self.masked) for column in columns])
        return aligned([columns, *sorted(rows)])

    def events(self, kind: str, namespace: str) -> str:
        records = sorted(self.cluster.store.list(EVENTS, namespace), key=lambda record: record.revision)
        since = self._event_revision.get(kind, 0)
        self._event_revision[kind] = self.cluster.store.revision
        # By object: which of two pods was quicker is nobody's expectation.
        lines: dict[str, list[str]] = {}
        for record in records:
            event = self.cluster.store.encode_dict(EVENTS, record)
            about = event["involvedObject"]
            if about["kind"] == kind and record.revision > since:
                line = self.masked(f"{event['type']} {event['reason']} {about['name']}: {event['message']}")
                lines.setdefault(about["name"], []).append(line)
        return "".join(f"{line}\n" for one in sorted(lines.values()) for line in one)

    def begin_log(self) -> None:
        """Remember every change from now on."""
        self.lines: list[tuple[str, str]] = []
        for table in self.cluster.store.tables():
            self._follow(table)

    def _follow(self, table: Any) -> None:
        kinds = {r.group_resource: r.kind for r in self.cluster.store.resources}
        cursor = table.changes(table.revision)

        def committed() -> None:
            for record in cursor.next_full():
                if record.obj.namespace in _SYSTEM:
                    continue
                before: ObjectRecord | None = record.prev
                gone, new = type(record) is Tombstone, before is None or type(before) is Tombstone
                verb = "deleted" if gone else "made" if new else "changed"
                if not gone and not new and before is not None and record.obj.deletion_s and not before.obj.deletion_s:
                    verb = "deleting"
                self.lines.append((kinds[table.name], f"{verb} {kinds[table.name]} {record.obj.name}"))

        table.subscribe(committed)

    def log(self, kinds: list[str]) -> str:
        """Return what happened to objects of these kinds since the last look, but for changes."""
        found = [self.masked(line) for kind, line in self.lines if kind in kinds and not line.startswith("changed")]
        self.lines.clear()
        return "\n".join(found) + "\n"

    def masked(self, text: str) -> str:
        for pattern, mask in _MASKS:
            text = pattern.sub(mask, text)
        return text


def value_at(obj: Any, path: str) -> Any:
    """Return what is at a dotted path; of a list, the element of that type or name, or all elements' members."""
    parts = re.findall(r"(?:\\.|[^.])+", path)
    for at, raw in enumerate(parts):
        part = raw.replace("\\.", ".")
        if isinstance(obj, list):
            named = [e for e in obj if isinstance(e, dict) and part in {e.get("type"), e.get("name"), e.get("key")}]
            if not named and any(isinstance(e, dict) and part in e for e in obj):
                rest = ".".join(parts[at:])
                return [value_at(e, rest) for e in obj]
            obj = named[0] if named else None
        elif isinstance(obj, dict):
            obj = obj.get(part)
        else:
            return None
    return obj


def text_of(value: Any, masked: Callable[[str], str]) -> str:
    """Write a cell, without what no two runs need agree on: no spaces within, but for `_`."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value)
        case dict():
            return ",".join(f"{k}={text_of(v, masked)}" for k, v in value.items()) or "-"
        case list():
            return ",".join(text_of(v, masked) for v in value) or "-"
        case _:
            return masked(str(value)).replace(" ", "_") or "-"


def aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)


def _squeezed(text: str) -> str:
    return "\n".join(" ".join(line.split()) for line in text.strip().splitlines())


def settings_of(wanted: dict[str, Any]) -> ClusterSettings:
    """Return the cluster of a script: a control plane and two nodes, unless it says otherwise."""
    wanted = dict(wanted)
    labels = wanted.pop("labels", {})
    names = ["control", *(f"n{i}" for i in range(1, wanted.pop("nodes", 2) + 1))]
    pods = wanted.pop("max_pods", None)
    nodes = tuple(
        NodeSettings(n, control_plane=n == "control", max_pods=pods, labels=tuple(labels.get(n, {}).items()))
        for n in names
    )
    return ClusterSettings(nodes=nodes, **wanted)


async def _play(script: dict[str, Any]) -> list[Looked]:
    clock = asyncio.get_running_loop()
    assert isinstance(clock, SimulatedLoop)
    language: Language | None = None
    cluster = Cluster(settings_of(script.get("cluster", {})), clock, ca_pem=b"CA", verify=True, language=language)
    cluster.start("https://127.0.0.1:1")
    await asyncio.sleep(SETTLE_S)
    play = Play(cluster)
    play.begin_log()
    play.events("Pod", "")
    play.events("Node", "")
    for number, step in enumerate(script["steps"], 1):
        await _step(play, f"step {number}", step)
    cluster.stop()
    return play.looks


async def _step(play: Play, where: str, step: dict[str, Any]) -> None:
    match step:
        case {"create": objects}:
            play.create(objects)
        case {"change": name, "to": patch}:
            play.change(name, patch, step.get("subresource", ""))
        case {"delete": name}:
            play.delete(name, {"propagationPolicy": step["policy"]} if "policy" in step else {})
        case {"wait": seconds}:
            await asyncio.sleep(seconds)
        case {"node": name, "do": verb}:
            getattr(play.cluster.nodes.machines, verb)(name, *step.get("with", []))
        case {"see": kind, "as": expected}:
            columns = expected.split("\n", 1)[0].split()
            seen = play.table(kind, step.get("namespace", NAMESPACE), columns)
            play.looks.append(Looked(f"{where}: {kind}", seen, expected))
        case {"events": kind, "as": expected}:
            seen = play.events(kind, step.get("namespace", NAMESPACE))
            play.looks.append(Looked(f"{where}: events of {kind}", seen, expected))
        case {"log": kinds, "as": expected}:
            play.looks.append(Looked(f"{where}: log", play.log(kinds), expected))
        case _:
            raise AssertionError(f"{where}: not a step: {step}")


def scripts(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return each document of each script, by a name."""
    for file in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(file.read_text()):
            if document:
                yield f"{file.stem}: {document['name']}", document


def play(script: dict[str, Any]) -> list[Looked]:
    """Play a script to its end and return every look."""
    return simulate(_play(script))


def differs(look: Looked) -> bool:
    """Say whether a look is another than it should be; spaces between words do not count."""
    return _squeezed(look.seen) != _squeezed(look.expected)


__all__ = ["Looked", "differs", "play", "scripts"]
