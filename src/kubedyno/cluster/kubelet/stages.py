"""KWOK's Stage objects at work: they drive the pods and nodes that they are for, instead of the kubelet.

A pod belongs to the stages from the first time that one for pods fits it, before its kubelet has begun with it; a node when
it came with KWOK's annotation. All others are the kubelet's, and without Stage objects all are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339
from kubedyno.cluster.kubelet.desk import Desk
from kubedyno.cluster.kubelet.nodeobject import PRESSURES
from kubedyno.cluster.kubelet.rows import NodeRow
from kubedyno.cluster.kubelet.stagerules import Functions, Json, Language, Stage, stage_of
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube import yaml
from kubedyno.kube.patch import PatchError, json_patch, merge_patch
from kubedyno.kube.resources import NODES, PODS, Resource
from kubedyno.kube.strategicpatch import strategic_merge_patch
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.table import Table

GROUP, PLURAL = "kwok.x-k8s.io", "stages"
_KINDS = {"Pod": PODS, "Node": NODES}
_COMPONENT = "kwok"
_VERSION = "v0.7.0"
_KUBELET_PORT = 10250


@dataclass(slots=True)
class _Driven:
    """An object that stages drive.

    Attributes:
        stage: The one that is to act.
        turn: Counts what was planned: an older plan does nothing.
        revision: Of the version that this was planned for.
        address: A pod's, once a template has asked for it.
    """

    stage: Stage | None = None
    turn: int = 0
    revision: int = 0
    address: str = ""


class Stages:
    """The stages of a cluster.

    Args:
        desk: Timers, events.
        rows: Name → node.
        language: What they are written in; None: there are none.
        wake: Has `refresh` called soon.
    """

    def __init__(
        self, desk: Desk, rows: dict[str, NodeRow], language: Language | None, wake: Callable[[], None]
    ) -> None:
        self._desk = desk
        self._rows = rows
        self._language = language
        self._wake = wake
        self._resource: Resource | None = None
        self._changes: Any = None
        # Kind → its stages.
        self._stages: dict[str, list[Stage]] = {}
        self._templates: dict[str, Callable[[Json], str]] = {}
        self._driven: dict[tuple[str, str], _Driven] = {}
        # Object that a template is being rendered for.
        self._current: tuple[Json, _Driven] = ({}, _Driven())
        self._health = desk.pump.health.part("kubelet").part("stages")
        if language is not None:
            desk.trusted.store.on_added(self._added)
            for resource in desk.trusted.store.resources:
                self._added(resource)

    def _added(self, resource: Resource) -> None:
        if resource.group == GROUP and resource.plural == PLURAL:
            self._resource = resource
            table: Table[Any] = self._desk.trusted.store.table(resource)
            self._changes = table.changes()
            table.subscribe(self._wake)
            self._wake()

    def refresh(self) -> bool:
        """Read the stages anew when they have changed; True then: what they are for is to be looked at."""
        if self._changes is None:
            return False
        assert self._resource is not None
        table = self._desk.trusted.store.table(self._resource)
        try:
            if not self._changes.next():
                return False
        except ExpiredError:
            self._changes = table.changes()
            self._changes.next()
        self._stages.clear()
        troubles = []
        for record in table.all():
            obj = self._desk.trusted.store.encode_dict(self._resource, record)
            try:
                stage = self._read(obj)
            except ValueError as error:
                troubles.append(f"stage {record.obj.name}: {error}")
                continue
            self._stages.setdefault(stage.kind, []).append(stage)
        for driven in self._driven.values():
            driven.revision = 0
        for trouble in troubles:
            logger(__name__).warning("%s", trouble)
        if troubles:
            self._health.degraded("; ".join(troubles))
        else:
            self._health.ok()
        return True

    def _read(self, obj: Json) -> Stage:
        assert self._language is not None
        stage = stage_of(obj, self._language)
        if stage.kind not in _KINDS:
            raise ValueError(f"spec.resourceRef.kind: {stage.kind}: only Pod and Node are driven here")
        functions = self._functions()
        for step in stage.steps:
            text = (step.get("patch") or {}).get("template")
            if text and text not in self._templates:
                self._templates[text] = self._language.template(text, functions)
        return stage

    def drives(self, kind: str) -> bool:
        """Say whether there are stages for a kind."""
        return bool(self._stages.get(kind))

    def owns(self, kind: str, key: str) -> bool:
        """Say whether an object belongs to the stages."""
        return (kind, key) in self._driven

    def consider(self, kind: str, record: ObjectRecord) -> bool:
        """Look at an object that is new or has changed; False when it is none of the stages'."""
        known = self._driven.get((kind, record.key))
        obj = self._desk.trusted.store.encode_dict(_KINDS[kind], record)
        fitting = [stage for stage in self._stages.get(kind, ()) if stage.fits(obj)]
        if known is None:
            if not fitting:
                return False
            known = self._driven[kind, record.key] = _Driven()
        if known.revision == record.revision:
            return True
        # Each change has the next stage chosen anew, and its pause begin anew.
        known.revision = record.revision
        known.turn += 1
        known.stage = self._chosen(fitting, obj)
        if known.stage is not None:
            random = self._desk.latency.random
            delay_s = self._desk.latency.scaled(known.stage.delay_s(obj, self._desk.clock.now(), random.uniform))
            turn, uid = known.turn, record.obj.uid
            self._desk.pump.call_later(delay_s, lambda: self._due(kind, record.key, uid, turn))
        return True

    def _chosen(self, fitting: list[Stage], obj: Json) -> Stage | None:
        if len(fitting) < 2:
            return fitting[0] if fitting else None
        weights = [max(stage.weight_for(obj), 0) for stage in fitting]
        total = sum(weights)
        if not total:
            weights, total = [1] * len(fitting), len(fitting)
        at = self._desk.latency.random.uniform(0.0, float(total))
        for stage, weight in zip(fitting, weights, strict=True):
            at -= weight
            if weight and at <= 0:
                return stage
        return next(stage for stage, weight in zip(reversed(fitting), reversed(weights), strict=True) if weight)

    def gone(self, kind: str, key: str) -> None:
        """Forget an object that is no more."""
        known = self._driven.pop((kind, key), None)
        if known is not None and known.address:
            for row in self._rows.values():
                if row.pool is not None and row.pool.holds(known.address):
                    row.pool.release(known.address)
                    break

    def _due(self, kind: str, key: str, uid: str, turn: int) -> None:
        known = self._driven.get((kind, key))
        record = self._desk.trusted.store.get(_KINDS[kind], key)
        if known is None or known.turn != turn or known.stage is None or record is None or record.obj.uid != uid:
            return
        stage, known.stage = known.stage, None
        try:
            for step in stage.steps:
                record = self._step(kind, record, known, step)
                if record is None:
                    return
        except (ValueError, PatchError) as error:
            self._health.degraded(f"stage {stage.name}: {kind} {key}: {error}")
            logger(__name__).warning("stage %s: %s %s: %s", stage.name, kind, key, error)

    def _step(self, kind: str, record: ObjectRecord, known: _Driven, step: Json) -> ObjectRecord | None:
        """Do one thing; return the object's newest version, None when it is gone."""
        resource, trusted = _KINDS[kind], self._desk.trusted
        if step.get("event"):
            event = step["event"]
            trusted.event(
                resource, record, type=event.get("type") or "Normal", reason=event.get("reason", ""),
                message=event.get("message", ""), component=_COMPONENT,
            )  # fmt: skip
        elif step.get("finalizers"):
            wanted = _finalizers(list(record.obj.finalizers), step["finalizers"])
            if wanted != list(record.obj.finalizers):
                trusted.replace(resource, record, finalizers=wanted)
        elif step.get("delete"):
            if kind == "Pod" and record.obj.deletion_s:
                trusted.finish_delete(resource, record.key, uid=record.obj.uid)
            else:
                trusted.delete(resource, record.key, 0, uid=record.obj.uid)
        elif step.get("patch"):
            self._patch(kind, record, known, step["patch"])
        return trusted.store.get(resource, record.key)

    def _patch(self, kind: str, record: ObjectRecord, known: _Driven, patch: Json) -> None:
        resource, trusted = _KINDS[kind], self._desk.trusted
        obj = trusted.store.encode_dict(resource, record)
        self._current = obj, known
        text = self._templates[patch["template"]](obj) if patch.get("template") else ""
        wanted = yaml.load(text) if text.strip() else None
        if wanted is None:
            return
        if patch.get("root"):
            wanted = {patch["root"]: wanted}
        how = patch.get("type") or "strategic"
        if how == "strategic":
            new = strategic_merge_patch(obj, wanted, resource)
        else:
            new = merge_patch(obj, wanted) if how == "merge" else json_patch(obj, wanted)
        if patch.get("subresource"):
            trusted.replace_status(resource, record, new.get("status") or {})
        else:
            trusted.registry.update(resource, record.obj.namespace, record.obj.name, orjson.loads(orjson.dumps(new)))

    def _functions(self) -> Functions:
        """Return KWOK's own template functions; those of an object are for the one that is being rendered."""

        def node_name() -> str:
            return str(self._current[0]["metadata"]["name"])

        def node_ip(name: str = "") -> str:
            row = self._rows.get(str(name) or node_name())
            return row.address if row is not None else ""

        def pod_ip(node: Any, host_network: Any = False, *_: Any) -> str:
            row, known = self._rows.get(str(node)), self._current[1]
            if row is None or host_network:
                return node_ip(str(node))
            if not known.address and row.pool is not None:
                known.address = row.pool.allocate()
            return known.address

        def conditions() -> list[Json]:
            ready = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")
            rows = [ready, *((name, "False", reason, message) for name, reason, message in PRESSURES)]
            rows.append(("NetworkUnavailable", "False", "RouteCreated", "RouteController created a route"))
            return [dict(zip(("type", "status", "reason", "message"), row, strict=True)) for row in rows]

        return {
            "Now": lambda: rfc3339(self._desk.clock.now()),
            "Quote": lambda value: orjson.dumps(value if isinstance(value, str) else str(value)).decode(),
            "YAML": _indented,
            "Version": lambda: _VERSION,
            "NodeName": node_name,
            "NodeIP": node_ip,
            "NodePort": lambda: _KUBELET_PORT,
            "NodeConditions": conditions,
            "NodeIPWith": node_ip,
            "NodeIPsWith": lambda name: [address for address in [node_ip(name)] if address],
            "PodIPWith": pod_ip,
            "PodIPsWith": lambda *of: [address for address in [pod_ip(*of)] if address],
        }


def _finalizers(present: list[str], change: Json) -> list[str]:
    if change.get("empty"):
        present = []
    removed = {one.get("value") for one in change.get("remove") or ()}
    kept = [name for name in present if name not in removed]
    added = [str(one.get("value")) for one in change.get("add") or ()]
    return kept + [name for name in added if name not in kept]


def _indented(value: Any, depth: int = 0) -> str:
    """Return a value as YAML, each line as deep as asked: two spaces a step."""
    pad = "  " * int(depth)
    return "\n".join(pad + line for line in yaml.dump(value).rstrip().splitlines())
