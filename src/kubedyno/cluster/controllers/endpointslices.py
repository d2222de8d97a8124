"""EndpointSlices: the pods behind a Service, a hundred a slice, those with the same ports together.

Slices are mirrored in memory, so that a pod's change touches one slice: the one that it is in. New endpoints go first
where something changes anyway, then into the fullest slice that has room for all of them, then into new slices.
"""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.controllers.serviceendpoints import (
    HEADLESS,
    TRIGGER_TIME,
    Endpoint,
    Port,
    ServiceEndpoints,
    ServiceRow,
)
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.featuregates import PREFER_SAME, gates_on
from kubedyno.cluster.registry.templates import owner_reference
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import ENDPOINTSLICES, SERVICES
from kubedyno.kube.status import StatusError

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME = "kubernetes.io/service-name"
_MANAGER = "endpointslice-controller.k8s.io"
_RESERVED = frozenset({MANAGED_BY, SERVICE_NAME, HEADLESS})
MAX_ENDPOINTS = 100
_Ports = tuple[Port, ...]


class _Slice:
    """A slice as it was written last; without endpoints it is a placeholder."""

    __slots__ = ("changed", "endpoints", "family", "name", "ports")

    def __init__(self, name: str, family: str, ports: _Ports | None) -> None:
        self.name = name
        self.family = family
        self.ports = ports
        self.endpoints: dict[str, Endpoint] = {}
        self.changed = True


class _State:
    """A Service's slices, and the pods that are to be looked at."""

    __slots__ = ("dirty", "form", "name", "namespace", "place", "row", "slices", "uid")

    def __init__(self, row: ServiceRow) -> None:
        self.uid, self.namespace, self.name = row.uid, row.namespace, row.name
        self.row = row
        self.slices: list[_Slice] = []
        self.place: dict[str, _Slice] = {}
        self.dirty: dict[str, None] = {}
        # What all slices share: changes of it rewrite them all.
        self.form: Any = None


class EndpointSlices:
    """The EndpointSlice controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Tells of slices that others touch.
        services: Knows the pods behind each Service.
        settings: Of the cluster.
    """

    def __init__(
        self, trusted: Trusted, pump: Pump, feeds: Feeds, services: ServiceEndpoints, settings: ClusterSettings
    ) -> None:
        self._queue: WorkQueue[str] = WorkQueue(pump, "endpointslice", self._reconcile, name_of=self._name_of)
        self._trusted = trusted
        self._clock = pump.clock
        self._services = services
        same = PREFER_SAME in gates_on(settings.minor, settings.feature_gates)
        self._zonal = frozenset({"PreferClose", "PreferSameZone", "PreferSameNode"} if same else {"PreferClose"})
        self._table = trusted.store.table(ENDPOINTSLICES)
        self._states: dict[str, _State] = {}
        # Slice → the revision at which it was written: a later one is somebody else's.
        self._written: dict[str, int] = {}
        services.listeners.append(self._changed)
        services.gone.append(self._gone)
        feeds.follow(ENDPOINTSLICES, self._slice_changed, self._slice_gone)

    def _name_of(self, uid: str) -> str:
        state = self._states.get(uid)
        return uid if state is None else f"{state.namespace}/{state.name}"

    # --- news ------------------------------------------------------------------------------------------------------

    def _changed(self, row: ServiceRow, key: str) -> None:
        state = self._states.get(row.uid)
        if state is None:
            state = self._states[row.uid] = _State(row)
            self._load(state)
        if key:
            state.dirty[key] = None
        else:
            state.row = row
            state.dirty.update(dict.fromkeys([*state.place, *row.endpoints]))
        self._queue.add(row.uid)

    def _load(self, state: _State) -> None:
        """Take over the slices that are there already, as after a restart."""
        for record in self._table.by_index("owner", state.uid):
            if record.obj.labels.get(MANAGED_BY) != _MANAGER or record.obj.deletion_s:
                continue
            body = orjson.loads(b"{" + record.obj.body + b"}")
            ports = body["ports"]
            piece = _Slice(record.obj.name, body["addressType"], None if ports is None else _ports_of(ports))
            for endpoint in body["endpoints"] or ():
                key = f"{state.namespace}/{endpoint['targetRef']['name']}"
                piece.endpoints[key] = Endpoint("", False, False, "", "", "", "", "", piece.ports or ())
                state.place[key] = piece
            state.slices.append(piece)
            self._written[record.key] = record.revision

    def _gone(self, row: ServiceRow) -> None:
        state = self._states.pop(row.uid, None)
        self._queue.forget(row.uid)
        if state is not None:
            for piece in state.slices:
                self._written.pop(f"{row.namespace}/{piece.name}", None)

    def _slice_changed(self, record: ObjectRecord) -> None:
        if self._written.get(record.key, 0) < record.revision and record.key in self._written:
            self._rewrite(record)

    def _slice_gone(self, record: ObjectRecord) -> None:
        if self._written.pop(record.key, None) is not None:
            self._rewrite(record)

    def _rewrite(self, record: ObjectRecord) -> None:
        """Make good a slice that somebody else has changed or deleted."""
        state = self._states.get(record.obj.owners[0]) if record.obj.owners else None
        for piece in state.slices if state is not None else ():
            if piece.name == record.obj.name:
                piece.changed = True
                self._queue.add(record.obj.owners[0])

    # --- reconciling -----------------------------------------------------------------------------------------------

    def _reconcile(self, uid: str, budget: int) -> int:
        _ = budget
        state, row = self._states.get(uid), self._services.row(uid)
        if state is None or row is None:
            return 1
        service = self._trusted.store.get(SERVICES, row.key)
        if service is None or service.obj.uid != uid or service.obj.deletion_s:
            return 1
        state.row = row
        form = (row.labels, row.headless, row.distribution, row.publishes_all)
        if state.form != form:
            state.form = form
            for piece in state.slices:
                piece.changed = True
        done = 1 + len(state.dirty) // 16
        for (family, ports), keys in self._place(state).items():
            self._fill(state, family, ports, keys)
        self._tidy(state)
        try:
            for piece in state.slices:
                if piece.changed:
                    self._write(state, piece)
                    piece.changed = False
                    done += 1
        except StatusError as error:
            if not is_terminating(error):
                raise
        self._queue.forget(uid)
        return done

    def _place(self, state: _State) -> dict[tuple[str, _Ports], list[str]]:
        """Bring changed endpoints up to date where they are; return those that need a place, by family and ports."""
        row = state.row
        homeless: dict[tuple[str, _Ports], list[str]] = {}
        for key in state.dirty:
            endpoint, piece = row.endpoints.get(key), state.place.get(key)
            if piece is not None:
                if endpoint is not None and endpoint.ports == piece.ports:
                    if piece.endpoints[key] != endpoint:
                        piece.endpoints[key] = endpoint
                        piece.changed = True
                    continue
                del piece.endpoints[key], state.place[key]
                piece.changed = True
            if endpoint is not None:
                homeless.setdefault((_family_of(endpoint), endpoint.ports), []).append(key)
        state.dirty = {}
        return homeless

    def _fill(self, state: _State, family: str, ports: _Ports, keys: list[str]) -> None:
        pieces = [p for p in state.slices if p.ports == ports and p.family == family]
        changing = sorted((p for p in pieces if p.changed), key=lambda p: -len(p.endpoints))
        for piece in changing:
            keys = self._put(state, piece, keys)
        if keys:
            room = [p for p in pieces if not p.changed and len(p.endpoints) + len(keys) <= MAX_ENDPOINTS]
            if room:
                keys = self._put(state, max(room, key=lambda p: len(p.endpoints)), keys)
        while keys:
            free = next((p for p in state.slices if not p.endpoints and p.family == family), None)
            if free is None:
                free = _Slice("", family, ports)
                state.slices.append(free)
            free.ports = ports
            keys = self._put(state, free, keys)

    def _put(self, state: _State, piece: _Slice, keys: list[str]) -> list[str]:
        """Put as many endpoints into a slice as there is room for; returns the others."""
        room = MAX_ENDPOINTS - len(piece.endpoints)
        for key in keys[:room]:
            piece.endpoints[key] = state.row.endpoints[key]
            state.place[key] = piece
            piece.changed = True
        return keys[room:]

    def _tidy(self, state: _State) -> None:
        """Delete empty slices; the last one of a family stays as a placeholder."""
        for family in state.row.families:
            pieces = [piece for piece in state.slices if piece.family == family]
            if not pieces:
                state.slices.append(_Slice("", family, None))
                continue
            empty = [piece for piece in pieces if not piece.endpoints]
            if len(empty) == len(pieces):
                kept = empty.pop(0)
                if kept.ports is not None:
                    kept.ports, kept.changed = None, True
            for piece in empty:
                if piece.name:
                    self._written.pop(f"{state.namespace}/{piece.name}", None)
                    self._trusted.delete(ENDPOINTSLICES, f"{state.namespace}/{piece.name}")
                state.slices.remove(piece)

    # --- writing ---------------------------------------------------------------------------------------------------

    def _write(self, state: _State, piece: _Slice) -> None:
        row = state.row
        endpoints = [self._json(row, endpoint) for endpoint in piece.endpoints.values()]
        ports = [_port_json(port) for port in piece.ports or ()]
        body = {"addressType": piece.family, "endpoints": endpoints or None, "ports": ports or None}
        labels = {name: value for name, value in row.labels.items() if name not in _RESERVED}
        labels |= {MANAGED_BY: _MANAGER, SERVICE_NAME: row.name}
        if row.headless:
            labels[HEADLESS] = ""
        labels = dict(sorted(labels.items()))
        annotations = {TRIGGER_TIME: rfc3339(self._clock.now())}
        record = self._table.get(f"{row.namespace}/{piece.name}") if piece.name else None
        if record is None or record.obj.deletion_s:
            metadata = {
                "generateName": row.name + "-", "labels": labels, "annotations": annotations,
                "ownerReferences": [owner_reference("v1", "Service", row.name, row.uid)],
            }  # fmt: skip
            record = self._trusted.create(ENDPOINTSLICES, row.namespace, {"metadata": metadata, **body})
            piece.name = record.obj.name
        elif record.obj.body != orjson.dumps(body)[1:-1] or record.obj.labels != labels:
            record = self._trusted.replace(
                ENDPOINTSLICES, record, body=body, labels=labels, annotations=annotations
            )  # fmt: skip
        self._written[record.key] = record.revision

    def _json(self, row: ServiceRow, endpoint: Endpoint) -> dict[str, Any]:
        """Return an endpoint in Go's order."""
        ready = row.is_ready(endpoint)
        made: dict[str, Any] = {
            "addresses": [endpoint.ip],
            "conditions": {"ready": ready, "serving": endpoint.serving, "terminating": endpoint.terminating},
        }
        if endpoint.hostname:
            made["hostname"] = endpoint.hostname
        made["targetRef"] = {
            "kind": "Pod", "namespace": row.namespace, "name": endpoint.name, "uid": endpoint.uid,
        }  # fmt: skip
        if endpoint.node:
            made["nodeName"] = endpoint.node
        if endpoint.zone:
            made["zone"] = endpoint.zone
        hints: dict[str, Any] = {}
        if ready and row.distribution in self._zonal:
            if endpoint.zone:
                hints["forZones"] = [{"name": endpoint.zone}]
            if row.distribution == "PreferSameNode" and endpoint.node:
                hints["forNodes"] = [{"name": endpoint.node}]
        if hints:
            made["hints"] = hints
        return made


def _family_of(endpoint: Endpoint) -> str:
    return "IPv6" if ":" in endpoint.ip else "IPv4"


def _ports_of(ports: list[dict[str, Any]]) -> _Ports:
    return tuple(Port(port["name"], port["protocol"], port["port"], port.get("appProtocol")) for port in ports)


def _port_json(port: Port) -> dict[str, Any]:
    made: dict[str, Any] = {"name": port.name, "protocol": port.protocol, "port": port.port}
    if port.app_protocol is not None:
        made["appProtocol"] = port.app_protocol
    return made
