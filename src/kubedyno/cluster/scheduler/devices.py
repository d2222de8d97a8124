"""Devices that drivers offer in ResourceSlices, who has which, and what a node could give to a claim.

The structured allocator of k8s.io/dynamic-resource-allocation, as far as requests by class, count and selectors, taints,
alternatives (`firstAvailable`), `matchAttribute` and `distinctAttribute` go. Devices that draw on shared counters are
never given away here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubedyno.cluster.scheduler.constraints import NodeTerm, node_terms
from kubedyno.cluster.scheduler.deviceselectors import device_of, matches
from kubedyno.cluster.scheduler.filters import tolerates
from kubedyno.cluster.scheduler.nodeinfo import NodeInfo
from kubedyno.cluster.scheduler.selectorvalues import Fault, Unsupported
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import DEVICECLASSES, RESOURCESLICES

# Driver, pool, device.
DeviceId = tuple[str, str, str]
_EFFECTS = frozenset({"NoSchedule", "NoExecute"})
# Steps of the search for devices that keep a claim's constraints: milliseconds. What takes longer counts as impossible.
_MAX_STEPS = 20_000
_MAX_DEVICES = 32


class ClaimFault(Exception):
    """A claim or class cannot be worked with, whatever the nodes have; its text says why."""


@dataclass(frozen=True, slots=True)
class _Device:
    id: DeviceId
    seen: Mapping[str, Any]
    taints: tuple[tuple[str, str, str], ...]
    # Where it can be reached; None: on the nodes of its slice.
    place: "_Place | None"
    usable: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Nodes by name, by terms, or with neither all of them."""

    node: str = ""
    terms: tuple[NodeTerm, ...] | None = None
    selector: Mapping[str, Any] | None = None

    def has(self, node: NodeInfo) -> bool:
        if self.node:
            return self.node == node.name
        return self.terms is None or any(term.matches(node.name, node.labels) for term in self.terms)


@dataclass(frozen=True, slots=True)
class _Slice:
    pool: tuple[str, str]
    generation: int
    expected: int
    place: _Place | None
    devices: tuple[_Device, ...]


def _place(spec: Mapping[str, Any]) -> _Place | None:
    if spec.get("nodeName"):
        return _Place(node=spec["nodeName"])
    if spec.get("nodeSelector"):
        return _Place(terms=node_terms(spec["nodeSelector"]), selector=spec["nodeSelector"])
    return _Place() if spec.get("allNodes") else None


def _slice(spec: Mapping[str, Any]) -> _Slice:
    driver, pool = spec["driver"], spec["pool"]
    place, devices = _place(spec), []
    for device in spec.get("devices") or ():
        # Before v1 a device's own members stood below `basic`.
        own = device.get("basic") or device
        try:
            seen = device_of(driver, own)
        except (Fault, ValueError):
            continue
        taints = tuple((t["key"], t.get("value", ""), t["effect"]) for t in own.get("taints") or ())
        devices.append(
            _Device(
                (driver, pool["name"], device["name"]), seen, taints,
                _place(own) if spec.get("perDeviceNodeSelection") else None, not own.get("consumesCounters"),
            )
        )  # fmt: skip
    return _Slice(
        (driver, pool["name"]), pool.get("generation", 0), pool.get("resourceSliceCount", 1), place, tuple(devices)
    )


@dataclass(slots=True)
class Request:
    """What is asked for under one name: exactly this, and of alternatives the first that can be had."""

    name: str
    class_name: str
    count: int | None
    selectors: tuple[str, ...]
    tolerations: tuple[Any, ...]
    raw_tolerations: list[Any]
    admin: bool
    configs: list[Mapping[str, Any]] = field(default_factory=list)


class Devices:
    """All devices.

    Args:
        store: Holds slices and classes.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._slices: dict[str, _Slice] = {}
        # Node → slices that are its own; of the others all that may be for any node.
        self._local: dict[str, dict[str, _Slice]] = {}
        self._wide: dict[str, _Slice] = {}
        # Claim → devices it has, and device → claims.
        self._claims: dict[str, tuple[DeviceId, ...]] = {}
        self._taken: dict[DeviceId, int] = {}
        # Newest generation and number of its slices, by pool.
        self._pools: dict[tuple[str, str], tuple[int, int]] = {}

    # --- following -----------------------------------------------------------------------------------------------

    def slice_changed(self, record: ObjectRecord, *, gone: bool) -> None:
        """Take over a ResourceSlice."""
        old = self._slices.pop(record.key, None)
        if old is not None:
            holder = self._holder(old)
            holder.pop(record.key, None)
        if not gone:
            new = _slice(self._store.encode_dict(RESOURCESLICES, record)["spec"])
            self._slices[record.key] = new
            self._holder(new)[record.key] = new
        self._pools.clear()

    def _holder(self, slice_: _Slice) -> dict[str, _Slice]:
        if slice_.place is not None and slice_.place.node:
            return self._local.setdefault(slice_.place.node, {})
        return self._wide

    def claim_changed(self, key: str, claim: Mapping[str, Any] | None) -> bool:
        """Take over what a claim has, None: it is gone; returns whether a device came free."""
        before = self._claims.pop(key, ())
        for device in before:
            left = self._taken[device] - 1
            if left:
                self._taken[device] = left
            else:
                del self._taken[device]
        allocation = ((claim or {}).get("status") or {}).get("allocation") or {}
        results = (allocation.get("devices") or {}).get("results") or ()
        held = tuple((r["driver"], r["pool"], r["device"]) for r in results if not r.get("adminAccess"))
        if held:
            self._claims[key] = held
            for device in held:
                self._taken[device] = self._taken.get(device, 0) + 1
        return not set(before) <= set(held)

    # --- what a node has -----------------------------------------------------------------------------------------

    def _newest(self) -> dict[tuple[str, str], tuple[int, int]]:
        if not self._pools:
            for slice_ in self._slices.values():
                newest, count = self._pools.get(slice_.pool, (-1, 0))
                if slice_.generation > newest:
                    self._pools[slice_.pool] = slice_.generation, 1
                elif slice_.generation == newest:
                    self._pools[slice_.pool] = newest, count + 1
        return self._pools

    def _on(self, node: NodeInfo) -> Iterator[tuple[_Slice, _Device, _Place]]:
        """Yield the devices that a node can reach; slices of an older generation of their pool are out of date."""
        pools = self._newest()
        for slices in (self._local.get(node.name, {}), self._wide):
            for slice_ in slices.values():
                if slice_.generation != pools[slice_.pool][0] or (
                    slice_.place is not None and not slice_.place.has(node)
                ):
                    continue
                for device in slice_.devices:
                    place = slice_.place or device.place
                    if place is not None and place.has(node):
                        yield slice_, device, place

    def _complete(self, slice_: _Slice) -> bool:
        return self._newest()[slice_.pool][1] >= slice_.expected

    # --- requests ------------------------------------------------------------------------------------------------

    def missing_class(self, claim: Mapping[str, Any]) -> str | None:
        """Return what is said of a claim whose class there is not, None when all are there."""
        for name, request in _alternatives(claim):
            class_name = request.get("deviceClassName", "")
            if self._store.get(DEVICECLASSES, class_name) is None:
                return f"request {name}: device class {class_name} does not exist"
        return None

    def _request(self, name: str, request: Mapping[str, Any]) -> Request:
        record = self._store.get(DEVICECLASSES, request.get("deviceClassName", ""))
        made = {} if record is None else self._store.encode_dict(DEVICECLASSES, record)["spec"]
        selectors = tuple(
            s["cel"]["expression"]
            for s in [*(made.get("selectors") or ()), *(request.get("selectors") or ())]
            if s.get("cel")
        )
        raw = request.get("tolerations") or []
        tolerations = tuple(
            (t.get("key", ""), t.get("operator", "Equal"), t.get("value", ""), t.get("effect", ""), None) for t in raw
        )
        count = None if request.get("allocationMode") == "All" else request.get("count", 1)
        return Request(
            name, request.get("deviceClassName", ""), count, selectors, tolerations, raw,
            bool(request.get("adminAccess")), list(made.get("config") or ()),
        )  # fmt: skip

    def _fitting(self, request: Request, node: NodeInfo, where: str) -> list[tuple[_Device, _Place]] | None:
        """Return the devices of a node that a request may have; None when "All" cannot be answered."""
        found = []
        for slice_, device, place in self._on(node):
            if not self._selected(request, device, where):
                continue
            free = request.admin or (device.id not in self._taken and device.usable)
            if request.count is None and (not free or not self._complete(slice_)):
                # All means all: one that somebody else has cannot be had.
                return None
            tolerated = all(t[2] not in _EFFECTS or tolerates(request.tolerations, t) for t in device.taints)
            if free and tolerated:
                found.append((device, place))
        return found

    def _selected(self, request: Request, device: _Device, where: str) -> bool:
        for i, expression in enumerate(request.selectors):
            try:
                if not matches(expression, device.seen):
                    return False
            except Fault as fault:
                name = "/".join(device.id)
                raise ClaimFault(f"{where}: selector #{i}: CEL runtime error: {fault} (device {name})") from fault
            except Unsupported as fault:
                raise ClaimFault(f"{where}: selector #{i}: {expression!r} {fault}") from fault
        return True

    # --- allocation ----------------------------------------------------------------------------------------------

    def allocate(self, claims: Sequence[Mapping[str, Any]], node: NodeInfo) -> list[dict[str, Any]] | None:
        """Return an allocation for each claim on a node, None when there is none for all of them.

        Args:
            claims: Without an allocation.
            node: Where.

        Raises:
            ClaimFault: A claim or class is wrong.
        """
        taken: set[DeviceId] = set()
        found = []
        for claim in claims:
            allocation = self._allocate_one(claim, node, taken)
            if allocation is None:
                return None
            found.append(allocation)
        return found

    def _allocate_one(
        self, claim: Mapping[str, Any], node: NodeInfo, taken: set[DeviceId]
    ) -> dict[str, Any] | None:  # fmt: skip
        metadata, spec = claim["metadata"], claim["spec"].get("devices") or {}
        where = f"claim {metadata['namespace']}/{metadata['name']}"
        wanted: list[list[Request]] = []
        for request in spec.get("requests") or ():
            name = request["name"]
            if request.get("exactly"):
                wanted.append([self._request(name, request["exactly"])])
            else:
                wanted.append([self._request(f"{name}/{s['name']}", s) for s in request.get("firstAvailable") or ()])
        search = _Search(self, node, where, spec.get("constraints") or (), taken)
        chosen = search.run(wanted)
        if chosen is None:
            return None
        taken.update(device.id for request, device, _ in chosen if not request.admin)
        return _allocation(claim, chosen)


class _Search:
    """Depth first over requests, their alternatives and devices."""

    def __init__(
        self,
        devices: Devices,
        node: NodeInfo,
        where: str,
        constraints: Sequence[Mapping[str, Any]],
        taken: set[DeviceId],
    ) -> None:
        self._devices = devices
        self._node = node
        self._where = where
        self._constraints = constraints
        self._taken = set(taken)
        self._steps = 0
        self._chosen: list[tuple[Request, _Device, _Place]] = []

    def run(self, wanted: list[list[Request]]) -> list[tuple[Request, _Device, _Place]] | None:
        return list(self._chosen) if self._from(wanted, 0) else None

    def _from(self, wanted: list[list[Request]], at: int) -> bool:
        if at == len(wanted):
            return True
        for request in wanted[at]:
            fitting = self._devices._fitting(request, self._node, self._where)
            if fitting is None:
                continue
            count = len(fitting) if request.count is None else request.count
            if count == 0 or len(self._chosen) + count > _MAX_DEVICES:
                continue
            if self._pick(request, fitting, 0, count, wanted, at):
                return True
        return False

    def _pick(
        self, request: Request, fitting: list[tuple[_Device, _Place]], start: int, count: int,
        wanted: list[list[Request]], at: int,
    ) -> bool:  # fmt: skip
        if not count:
            return self._from(wanted, at + 1)
        for i in range(start, len(fitting) - count + 1):
            self._steps += 1
            if self._steps > _MAX_STEPS:
                return False
            device, place = fitting[i]
            if (not request.admin and device.id in self._taken) or not self._keeps(request, device):
                continue
            self._chosen.append((request, device, place))
            if not request.admin:
                self._taken.add(device.id)
            if self._pick(request, fitting, i + 1, count - 1, wanted, at):
                return True
            self._chosen.pop()
            if not request.admin:
                self._taken.discard(device.id)
        return False

    def _keeps(self, request: Request, device: _Device) -> bool:
        """Say whether the claim's constraints hold with one device more."""
        for constraint in self._constraints:
            named = constraint.get("requests") or ()
            if named and not _is_named(request.name, named):
                continue
            for kind, alike in (("matchAttribute", True), ("distinctAttribute", False)):
                attribute = constraint.get(kind)
                if not attribute:
                    continue
                own = _attribute_of(device, attribute)
                if own is None:
                    return False
                for other, theirs, _ in self._chosen:
                    if named and not _is_named(other.name, named):
                        continue
                    if (_attribute_of(theirs, attribute) == own) is not alike:
                        return False
        return True


def _is_named(name: str, named: Sequence[str]) -> bool:
    return name in named or name.partition("/")[0] in named


def _attribute_of(device: _Device, attribute: str) -> Any:
    domain, _, name = attribute.rpartition("/")
    return device.seen["attributes"].get(domain, {}).get(name)


def _alternatives(claim: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for request in (claim["spec"].get("devices") or {}).get("requests") or ():
        if request.get("exactly"):
            yield request["name"], request["exactly"]
        for sub in request.get("firstAvailable") or ():
            yield f"{request['name']}/{sub['name']}", sub


def _allocation(claim: Mapping[str, Any], chosen: Sequence[tuple[Request, _Device, _Place]]) -> dict[str, Any]:
    results: list[dict[str, Any]] = []
    config: list[dict[str, Any]] = []
    seen: set[str] = set()
    for request, device, _ in chosen:
        driver, pool, name = device.id
        result: dict[str, Any] = {"request": request.name, "driver": driver, "pool": pool, "device": name}
        if request.admin:
            result["adminAccess"] = True
        if request.raw_tolerations:
            result["tolerations"] = request.raw_tolerations
        results.append(result)
        if request.name not in seen:
            seen.add(request.name)
            config += [{"source": "FromClass", "requests": [request.name], **entry} for entry in request.configs]
    for entry in (claim["spec"].get("devices") or {}).get("config") or ():
        if not entry.get("requests") or any(_is_named(name, entry["requests"]) for name in seen):
            config.append({"source": "FromClaim", **entry})
    devices: dict[str, Any] = {"results": results}
    if config:
        devices["config"] = config
    allocation: dict[str, Any] = {"devices": devices}
    selector = _node_selector([place for _, _, place in chosen])
    if selector is not None:
        allocation["nodeSelector"] = selector
    return allocation


def _node_selector(places: Sequence[_Place]) -> dict[str, Any] | None:
    """Return where devices can be used together, None for everywhere."""
    node = next((place.node for place in places if place.node), "")
    if node:
        field_ = {"key": "metadata.name", "operator": "In", "values": [node]}
        return {"nodeSelectorTerms": [{"matchFields": [field_]}]}
    terms: list[dict[str, Any]] = []
    for place in places:
        if place.selector is None:
            continue
        own = place.selector["nodeSelectorTerms"][0]
        if not terms:
            terms = [{name: list(part) for name, part in own.items()}]
            continue
        for name, part in own.items():
            kept = terms[0].setdefault(name, [])
            kept += [entry for entry in part if entry not in kept]
    return {"nodeSelectorTerms": terms} if terms else None
