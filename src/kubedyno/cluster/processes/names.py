"""Cluster DNS for real pods: A, SRV and PTR records of services and pods, from the store, in each node's own namespace.

In queries over UDP, out answers (RFC 1035, RFC 2782; the names are those of the Kubernetes DNS specification 1.1). Names
outside of the cluster don't exist: no packet leaves.
"""

import asyncio
import socket
import struct
from typing import Any, Protocol

from kubedyno.base.log import logger
from kubedyno.kernel.netns import Namespace

DOMAIN = "cluster.local"
PORT = 53
_TTL_S = 5
_TYPE_A, _TYPE_PTR, _TYPE_SRV, _CLASS_IN, _ANY = 1, 12, 33, 1, 255
_NO_ERROR, _FORMAT_ERROR, _NAME_ERROR = 0, 1, 3
_HEADER = struct.Struct(">6H")
# Of answers over UDP without EDNS (RFC 1035, 4.2.1).
_MAX_BYTES = 512
_OWN = tuple(DOMAIN.split("."))
_REVERSE = ("in-addr", "arpa")
_SRV_WEIGHTS = 100

_QUERY_BYTES = 4096
_TURN_QUERIES = 16

Labels = tuple[str, ...]


class Names(Protocol):
    """Who knows the names. All are within the cluster's domain, e.g. ("web", "default", "svc")."""

    def lookup(self, labels: Labels) -> list[str] | None:
        """Return a name's addresses, None when there is no such name."""
        ...

    def srv(self, labels: Labels) -> list[tuple[int, Labels]] | None:
        """Return (port, name) of what a name like ("_http", "_tcp", "web", "default", "svc") stands for, None for none."""
        ...

    def name_of(self, address: str) -> Labels | None:
        """Return the name of an address, None when it has none."""
        ...


def resolv_conf(server: str, pod: dict[str, Any]) -> str:
    """Return a pod's /etc/resolv.conf by its dnsPolicy and dnsConfig, which comes last and wins among options.

    Args:
        server: The DNS service's address.
        pod: The pod. What it would have of its node (Default, or ClusterFirst on the node's network) is nothing: nodes
            have no resolver.
    """
    spec, namespace = pod["spec"], pod["metadata"]["namespace"]
    policy, config = spec.get("dnsPolicy", "ClusterFirst"), spec.get("dnsConfig") or {}
    servers: list[str] = []
    searches: list[str] = []
    options: dict[str, str | None] = {}
    if policy == "ClusterFirstWithHostNet" or (policy == "ClusterFirst" and not spec.get("hostNetwork")):
        servers, searches = [server], [f"{namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN]
        options = {"ndots": "5"}
    servers += config.get("nameservers", ())
    searches += config.get("searches", ())
    options |= {one["name"]: one.get("value") for one in config.get("options", ())}
    lines = [f"search {' '.join(dict.fromkeys(searches))}"] if searches else []
    lines += [f"nameserver {address}" for address in dict.fromkeys(servers)]
    said = [name if value is None else f"{name}:{value}" for name, value in options.items()]
    lines += [f"options {' '.join(said)}"] if said else []
    return "".join(f"{line}\n" for line in lines)


def answer(query: bytes, names: Names) -> bytes:
    """Return the answer to a query, b"" to what is none."""
    if len(query) < _HEADER.size:
        return b""
    number, flags, questions, _, _, _ = _HEADER.unpack_from(query)
    if flags & 0x8000:
        return b""
    # A response, authoritative, with the query's opcode and wish for recursion.
    kept = 0x8400 | flags & 0x7900
    found = _question(query) if questions == 1 and not flags & 0x7800 else None
    if found is None:
        return _HEADER.pack(number, kept | _FORMAT_ERROR, 0, 0, 0, 0)
    labels, kind, category, end = found
    records = _records(labels, kind, names) if category in {_CLASS_IN, _ANY} else None
    code = _NAME_ERROR if records is None else _NO_ERROR
    question = query[_HEADER.size : end]
    body, count, left = b"", 0, _MAX_BYTES - _HEADER.size - len(question)
    for type_, data in records or ():
        record = struct.pack(">HHHIH", 0xC00C, type_, _CLASS_IN, _TTL_S, len(data)) + data
        if len(body) + len(record) > left:
            break
        body, count = body + record, count + 1
    return _HEADER.pack(number, kept | code, 1, count, 0, 0) + question + body


def _records(labels: Labels, kind: int, names: Names) -> list[tuple[int, bytes]] | None:
    """Return (type, data) of a name's records of a kind, None when there is no such name."""
    if labels[-len(_REVERSE) :] == _REVERSE:
        name = names.name_of(".".join(reversed(labels[: -len(_REVERSE)])))
        if name is None:
            return None
        return [(_TYPE_PTR, _encoded(name))] if kind in {_TYPE_PTR, _ANY} else []
    if labels[-len(_OWN) :] != _OWN:
        return None
    own = labels[: -len(_OWN)]
    if own[:1] and own[0].startswith("_"):
        targets = names.srv(own)
        if targets is None:
            return None
        if kind not in {_TYPE_SRV, _ANY}:
            return []
        weight = _SRV_WEIGHTS // len(targets) if targets else 0
        return [(_TYPE_SRV, struct.pack(">HHH", 0, weight, port) + _encoded(name)) for port, name in targets]
    addresses = names.lookup(own)
    if addresses is None:
        return None
    return [(_TYPE_A, socket.inet_aton(address)) for address in addresses] if kind in {_TYPE_A, _ANY} else []


def _encoded(labels: Labels) -> bytes:
    """Return a name within the cluster's domain as messages have it, not compressed."""
    return b"".join(bytes([len(label)]) + label.encode() for label in (*labels, *_OWN)) + b"\0"


def _question(query: bytes) -> tuple[Labels, int, int, int] | None:
    """Return a query's name, type, class, and where its question ends; None when it is malformed."""
    labels, at = [], _HEADER.size
    while at < len(query) and query[at]:
        size = query[at]
        if size > 63 or at + 1 + size >= len(query):
            return None
        labels.append(query[at + 1 : at + 1 + size].decode("ascii", "replace").lower())
        at += 1 + size
    if at + 5 > len(query):
        return None
    kind, category = struct.unpack_from(">HH", query, at + 1)
    return tuple(labels), kind, category, at + 5


class Resolver:
    """Answers on one node, on the running loop.

    Args:
        space: The node's namespace; it has the address.
        address: The DNS service's.
        names: Knows the names.

    Raises:
        OSError: The address isn't there, or its port is taken.
    """

    def __init__(self, space: Namespace, address: str, names: Names) -> None:
        with space.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((address, PORT))
        self._names = names
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._asked)

    def _asked(self) -> None:
        for _ in range(_TURN_QUERIES):
            try:
                query, sender = self._socket.recvfrom(_QUERY_BYTES)
                text = answer(query, self._names)
                if text:
                    self._socket.sendto(text, sender)
            except BlockingIOError:
                return
            except OSError as error:
                # A pod that is gone; whoever still waits asks again.
                logger(__name__).debug("DNS answer not sent: %s", error)

    def close(self) -> None:
        """Answer no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
