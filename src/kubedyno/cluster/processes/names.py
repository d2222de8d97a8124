"""Cluster DNS for real pods: A records of services and pods, from the store, in each node's own namespace.

In queries over UDP, out answers (RFC 1035; the names are those of the Kubernetes DNS specification 1.1). Names outside of
the cluster don't exist: no packet leaves. What isn't asked for by resolvers of pods (SRV, PTR) has no records.
"""

import asyncio
import socket
import struct
from collections.abc import Callable

from kubedyno.base.log import logger
from kubedyno.kernel.netns import Namespace

DOMAIN = "cluster.local"
PORT = 53
_TTL_S = 5
_TYPE_A, _CLASS_IN, _ANY = 1, 1, 255
_NO_ERROR, _FORMAT_ERROR, _NAME_ERROR = 0, 1, 3
_HEADER = struct.Struct(">6H")
# Answers over UDP without EDNS (RFC 1035, 4.2.1): 12 of header, about 80 of question, 16 a record.
_MAX_RECORDS = 25

_QUERY_BYTES = 4096
_TURN_QUERIES = 16

# A name within the cluster's domain, e.g. ("web", "default", "svc") → its addresses, None when there is no such name.
Lookup = Callable[[tuple[str, ...]], list[str] | None]


def resolv_conf(server: str, namespace: str) -> str:
    """Return a pod's /etc/resolv.conf under dnsPolicy ClusterFirst."""
    return f"search {namespace}.svc.{DOMAIN} svc.{DOMAIN} {DOMAIN}\nnameserver {server}\noptions ndots:5\n"


def answer(query: bytes, lookup: Lookup) -> bytes:
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
    addresses: list[str] | None = None
    own = tuple(DOMAIN.split("."))
    if category in {_CLASS_IN, _ANY} and labels[-len(own) :] == own:
        addresses = lookup(labels[: -len(own)])
    code = _NAME_ERROR if addresses is None else _NO_ERROR
    records = (addresses or [])[:_MAX_RECORDS] if kind in {_TYPE_A, _ANY} else []
    body = b"".join(
        struct.pack(">HHHIH", 0xC00C, _TYPE_A, _CLASS_IN, _TTL_S, 4) + socket.inet_aton(address) for address in records
    )
    return _HEADER.pack(number, kept | code, 1, len(records), 0, 0) + query[_HEADER.size : end] + body


def _question(query: bytes) -> tuple[tuple[str, ...], int, int, int] | None:
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
        lookup: Knows the names.

    Raises:
        OSError: The address isn't there, or its port is taken.
    """

    def __init__(self, space: Namespace, address: str, lookup: Lookup) -> None:
        with space.inside():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((address, PORT))
        self._lookup = lookup
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._asked)

    def _asked(self) -> None:
        for _ in range(_TURN_QUERIES):
            try:
                query, sender = self._socket.recvfrom(_QUERY_BYTES)
                text = answer(query, self._lookup)
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
