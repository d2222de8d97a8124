"""Endpoints to EndpointSlices: objects and YAML texts.

In: v1 Endpoints objects, or YAML with them among other documents. Out: discovery.k8s.io/v1 EndpointSlices; documents
that are no Endpoints stay as they stand, to the byte. Source: the EndpointSlice mirroring controller and the API's
limits (one address family and one set of ports a slice).
"""

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml as pyyaml
from yaml import events as ev

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import kyaml, yaml

Json = dict[str, Any]

# The controllers' --max-endpoints-per-slice; the API takes 1000.
DEFAULT_MAX = 100
API_MAX = 1000
SERVICE_NAME = "kubernetes.io/service-name"
LEADER = "control-plane.alpha.kubernetes.io/leader"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
# What only says who made the Endpoints, or what kubectl applied.
_NOT_COPIED = frozenset({
    OVER_CAPACITY, "endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration",
    "endpoints.kubernetes.io/managed-by", SKIP_MIRROR,
})  # fmt: skip
_CARRIED = ("nodeName", "hostname", "targetRef")
_LOADER: Any = getattr(pyyaml, "CSafeLoader", pyyaml.SafeLoader)


class NotConvertible(ValueError):
    """An Endpoints object that has no slices; the message says why and what to do."""


def is_endpoints(document: Any) -> bool:
    """Say whether a document is a v1 Endpoints."""
    return isinstance(document, dict) and document.get("kind") == "Endpoints" and document.get("apiVersion") == "v1"


def slices_of(endpoints: Json, *, limit: int = DEFAULT_MAX) -> list[Json]:
    """Return the slices of an Endpoints: one for each set of ports and address family, in parts of `limit`.

    The first one keeps the name, so that one that needs a single slice is replaced by a namesake.

    Raises:
        NotConvertible: It has no name, an address that is none, or is a lock for leader election.
        ValueError: The limit is not one of the API's.
    """
    if not 1 <= limit <= API_MAX:
        raise ValueError(f"between 1 and {API_MAX} endpoints fit a slice, not {limit}")
    _check(endpoints)
    metadata = endpoints.get("metadata") or {}
    name = metadata.get("name")
    if not name:
        raise NotConvertible("Endpoints without metadata.name")
    annotations = metadata.get("annotations") or {}
    if LEADER in annotations:
        raise NotConvertible(f"Endpoints {name} is a lock for leader election: use a Lease (coordination.k8s.io/v1)")
    groups: dict[tuple[str, str], tuple[list[Json], dict[str, Json]]] = {}
    for number, subset in enumerate(endpoints.get("subsets") or ()):
        ports = [_port(port) for port in subset.get("ports") or ()]
        key = repr(sorted(tuple(sorted((k, str(v)) for k, v in port.items())) for port in ports))
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or ():
                ip = str(address.get("ip", ""))
                try:
                    family = f"IPv{ipaddress.ip_address(ip).version}"
                except ValueError:
                    raise NotConvertible(f"Endpoints {name}: subsets[{number}].{field}: {ip!r} is no address") from None
                _, seen = groups.setdefault((family, key), (ports, {}))
                # An address twice: that it is ready somewhere is what counts.
                if ip not in seen or ready:
                    seen[ip] = _endpoint(address, ip, ready=ready)
    made = [
        _slice(metadata, family, ports, part)
        for (family, _), (ports, seen) in groups.items()
        for part in _parts(list(seen.values()), limit)
    ]
    for number, one in enumerate(made[1:], 2):
        one["metadata"]["name"] = f"{name}-{number}"
    # A Service without endpoints has one empty slice.
    return made or [_slice(metadata, "IPv4", [], [])]


def _check(endpoints: Json) -> None:
    """Raise for what has not the shape of an Endpoints; what its parts say is for others to see."""

    def expect(value: Any, kind: type, place: str) -> Any:
        if value is not None and not isinstance(value, kind):
            shape = "mapping" if kind is dict else "list"
            raise NotConvertible(f"Endpoints {name}: {place} is no {shape}; write a {shape}")
        return value if value is not None else kind()

    name = "?"
    metadata = expect(endpoints.get("metadata"), dict, "metadata")
    name = str(metadata.get("name", "?"))
    for field in ("labels", "annotations"):
        expect(metadata.get(field), dict, f"metadata.{field}")
    for number, subset in enumerate(expect(endpoints.get("subsets"), list, "subsets")):
        place = f"subsets[{number}]"
        expect(subset, dict, place)
        for field in ("addresses", "notReadyAddresses", "ports"):
            for index, entry in enumerate(expect((subset or {}).get(field), list, f"{place}.{field}")):
                if not isinstance(entry, dict):
                    raise NotConvertible(f"Endpoints {name}: {place}.{field}[{index}] is no mapping; write a mapping")


def _port(port: Json) -> Json:
    return {field: port[field] for field in ("name", "protocol", "port", "appProtocol") if field in port}


def _endpoint(address: Json, ip: str, *, ready: bool) -> Json:
    made: Json = {"addresses": [ip]}
    made |= {field: address[field] for field in _CARRIED if field in address}
    return {**made, "conditions": {"ready": ready}}


def _slice(metadata: Json, family: str, ports: list[Json], endpoints: list[Json]) -> Json:
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key not in _NOT_COPIED}
    annotations = {key: value for key, value in (metadata.get("annotations") or {}).items() if key not in _NOT_COPIED}
    made: Json = {"name": metadata["name"]}
    if "namespace" in metadata:
        made["namespace"] = metadata["namespace"]
    made["labels"] = {**labels, SERVICE_NAME: metadata["name"]}
    if annotations:
        made["annotations"] = annotations
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": made,
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    }


def _parts(items: list[Json], limit: int) -> Iterator[list[Json]]:
    for start in range(0, len(items), limit):
        yield items[start : start + limit]


def endpoints_of(slices: list[Json]) -> Json:
    """Return the Endpoints that slices of one Service say, the inverse of `slices_of`: one subset a set of ports.

    Raises:
        ValueError: There are no slices, or they are of several Services.
    """
    names = {one["metadata"].get("labels", {}).get(SERVICE_NAME) for one in slices}
    if len(names) != 1:
        raise ValueError(f"slices of one Service are needed, not of {len(names)}")
    subsets: dict[str, Json] = {}
    for one in slices:
        ports = one.get("ports") or []
        subset = subsets.setdefault(repr(ports), {"addresses": [], "notReadyAddresses": [], "ports": ports})
        for endpoint in one.get("endpoints") or ():
            # No condition means ready.
            ready = (endpoint.get("conditions") or {}).get("ready") is not False
            carried = {field: endpoint[field] for field in _CARRIED if field in endpoint}
            subset["addresses" if ready else "notReadyAddresses"] += [
                {"ip": ip, **carried} for ip in endpoint["addresses"]
            ]
    metadata = dict(slices[0]["metadata"])
    metadata["name"] = names.pop()
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key != SERVICE_NAME}
    if not metadata["labels"]:
        del metadata["labels"]
    found = [
        {field: value for field, value in subset.items() if value}
        for subset in subsets.values()
        if subset["addresses"] or subset["notReadyAddresses"]
    ]
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, **({"subsets": found} if found else {})}


def notes_of(endpoints: Json) -> list[str]:
    """Return what a person must know beside the slices."""
    metadata = endpoints.get("metadata") or {}
    name = metadata.get("name", "?")
    notes = []
    if (metadata.get("annotations") or {}).get(OVER_CAPACITY) == "truncated":
        notes.append(f"Endpoints {name} was cut off at 1000 addresses: the others are not in it")
    if (metadata.get("labels") or {}).get(SKIP_MIRROR) == "true":
        notes.append(f"Endpoints {name} has {SKIP_MIRROR}=true: someone makes its slices already")
    else:
        notes.append(
            f"Endpoints {name}: delete it once the slices are there, or set {SKIP_MIRROR}=true on it: the controller"
            " mirrors it into slices of its own"
        )
    return notes


# --- texts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Converted:
    """A text after conversion.

    Attributes:
        text: The whole text.
        count: Endpoints that were converted.
        slices: Slices that they became.
        notes: A line each.
    """

    text: str
    count: int
    slices: int
    notes: tuple[str, ...]


def convert_text(text: str, path: str, *, limit: int = DEFAULT_MAX) -> Converted:
    """Return a YAML text with its Endpoints replaced by slices; every other document stays as it is.

    Raises:
        KubedynoError: It is no YAML, or an Endpoints cannot be converted; the line says where.
    """
    out: list[str] = []
    notes: list[str] = []
    count = made = 0
    for first_line, part, document in documents(text, path):
        if is_endpoints(document):
            try:
                slices = slices_of(document, limit=limit)
            except NotConvertible as error:
                raise KubedynoError(f"{path}:{first_line}: {error}") from error
            head, inner = _comments(part)
            if inner:
                notes.append(f"{path}:{first_line}: {inner} comments inside of the Endpoints are not carried over")
            notes += [f"{path}:{first_line}: {note}" for note in notes_of(document)]
            out.append(head + "---\n".join(write(one) for one in slices))
            count += 1
            made += len(slices)
        elif any(map(is_endpoints, items_of(document))):
            items: list[Json] = []
            for item in document["items"]:
                if not is_endpoints(item):
                    items.append(item)
                    continue
                try:
                    slices = slices_of(item, limit=limit)
                except NotConvertible as error:
                    raise KubedynoError(f"{path}:{first_line}: {error}") from error
                items += slices
                count += 1
                made += len(slices)
                notes += [f"{path}:{first_line}: {note}" for note in notes_of(item)]
            head, _ = _comments(part)
            kind = "List" if document.get("kind") == "EndpointsList" else document.get("kind")
            out.append(head + write({**document, "kind": kind, "items": items}))
        else:
            out.append(part)
    return Converted("".join(out), count, made, tuple(notes))


def items_of(document: Any) -> list[Any]:
    """Return the items of a List, none of anything else."""
    items = document.get("items") if isinstance(document, dict) else None
    return items if isinstance(items, list) else []


def write(value: Json) -> str:
    """Return an object as block YAML, its keys in their order."""
    return kyaml.dump_block(value)


def documents(text: str, path: str) -> Iterator[tuple[int, str, Any]]:
    """Yield line, text and value of each document; the texts together are the whole.

    Raises:
        KubedynoError: It is no YAML.
    """
    starts: list[int] = []
    try:
        for event in pyyaml.parse(text, Loader=_LOADER):
            if type(event) is ev.DocumentStartEvent:
                mark: Any = event.start_mark
                starts.append(mark.line if event.explicit and starts else 0)
    except pyyaml.YAMLError:
        pass  # reported below, in the words that all files get
    values = yaml.load_all(text, path)
    lines = text.splitlines(keepends=True)
    for number, (start, value) in enumerate(zip(starts, values, strict=True)):
        end = starts[number + 1] if number + 1 < len(starts) else len(lines)
        yield start + 1, "".join(lines[start:end]), value


def _comments(part: str) -> tuple[str, int]:
    """Return what stands above the document's first line, its marker included, and how many comments are below."""
    lines = part.splitlines(keepends=True)
    position = 0
    while position < len(lines) and (not lines[position].strip() or lines[position].lstrip().startswith(("#", "---"))):
        position += 1
    inner = sum(line.lstrip().startswith("#") or " #" in line for line in lines[position:])
    return "".join(lines[:position]), inner
