"""Services as rows of a load balancer's map, laid out as Cilium's lb4 services: one master row, one row a backend.

In: desired services. Out: rows in a hash map of fixed size, the kernel's or a model of it. A service's rows are written
whole or not at all: backends first, then the master that counts them; whatever fails takes back what was written.
"""

import errno
import os
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from kubedyno.kernel.bpf import NO_PREALLOC, BpfError, Map, MapType
from kubedyno.reconciler.status import Status
from kubedyno.statedb.records import Record
from kubedyno.statedb.snapshot import Snapshot

# lb4_key: address, port (both in network order), slot, protocol, scope, padding.
_KEY = struct.Struct("!IHHBBH")
# lb4_service: backend id (in the master row 0), count (in the master row), reverse NAT, flags, padding.
_VALUE = struct.Struct("=IHHBBH")
KEY_BYTES, VALUE_BYTES = _KEY.size, _VALUE.size
_TCP = 6
_SERVICE_NETWORK = 0x0A60_0000  # 10.96.0.0
MASTER_SLOT = 0


class RowMap(Protocol):
    """A hash map of fixed size."""

    def update(self, key: bytes, value: bytes) -> None:
        """Insert or replace; OSError E2BIG when it is full."""

    def lookup(self, key: bytes) -> bytes | None:
        """Return a value, None when the key is absent."""

    def delete(self, key: bytes) -> bool:
        """Remove an entry; False when there was none."""

    def keys(self) -> list[bytes]:
        """Return all keys."""

    def close(self) -> None:
        """Give it back."""


class ModelMap:
    """A dict that refuses what the kernel's hash map refuses, in its words.

    Args:
        size: Entries at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rows: dict[bytes, bytes] = {}

    def update(self, key: bytes, value: bytes) -> None:
        """Insert or replace; OSError E2BIG when it is full."""
        if key not in self._rows and len(self._rows) >= self._size:
            raise BpfError(errno.E2BIG, "update map")
        self._rows[key] = value

    def lookup(self, key: bytes) -> bytes | None:
        return self._rows.get(key)

    def delete(self, key: bytes) -> bool:
        return self._rows.pop(key, None) is not None

    def keys(self) -> list[bytes]:
        return list(self._rows)

    def close(self) -> None:
        self._rows.clear()


def open_map(size: int, *, model: bool) -> tuple[RowMap, str]:
    """Return a map, and why it is a model ("" for the kernel's own).

    Raises:
        OSError: The kernel refuses the size.
    """
    if model:
        return ModelMap(size), "asked for with --model"
    try:
        return Map(MapType.HASH, KEY_BYTES, VALUE_BYTES, size, NO_PREALLOC, "kd_lb4_services"), ""
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EINVAL}:
            raise
        who = "" if os.geteuid() == 0 else "; BPF wants root or CAP_BPF"
        return ModelMap(size), f"this process may make no BPF map ({error}{who})"


@dataclass(frozen=True, slots=True)
class Service:
    """A desired service.

    Attributes:
        number: From 0; gives its address.
        backends: Ids of its backends.
        status: Of its reconciliation.
    """

    number: int
    backends: tuple[int, ...]
    status: Status

    @property
    def key(self) -> str:
        return f"default/service-{self.number:06}"

    @property
    def rows(self) -> int:
        """How many rows it needs."""
        return 1 + len(self.backends)


def status_of(service: Service) -> Status:
    """Return a service's status."""
    return service.status


def with_status(service: Service, status: Status) -> Service:
    """Return the service with another status."""
    return replace(service, status=status)


def key_of(number: int, slot: int) -> bytes:
    """Return the key of a service's row; slot 0 is the master, backends count from 1."""
    return _KEY.pack(_SERVICE_NETWORK + number, 80, slot, _TCP, 0, 0)


def place_of(key: bytes) -> tuple[int, int]:
    """Return the number of the service and the slot that a key is of."""
    address, _, slot, _, _, _ = _KEY.unpack(key)
    return address - _SERVICE_NETWORK, slot


def _count(value: bytes) -> int:
    return int(_VALUE.unpack(value)[1])


class ServiceMap:
    """The target of the reconciler.

    Args:
        rows: The map.

    Attributes:
        held: Rows that it has put into the map; `count` asks the map itself.
    """

    def __init__(self, rows: RowMap) -> None:
        self._rows = rows
        self.held = 0

    def update(self, snapshot: Snapshot, record: Record[Service]) -> None:
        """Write a service's rows, all or none.

        Raises:
            OSError: E2BIG, the map is full; nothing of it was written.
        """
        _ = snapshot
        service, rows = record.obj, self._rows
        number, count = service.number, len(service.backends)
        before = rows.lookup(key_of(number, MASTER_SLOT))
        wanted = [(key_of(number, i), _VALUE.pack(id_, 0, 0, 0, 0, 0)) for i, id_ in enumerate(service.backends, 1)]
        # The master last: who finds it finds all that it counts.
        wanted.append((key_of(number, MASTER_SLOT), _VALUE.pack(0, count, number & 0xFFFF, 0, 0, 0)))
        undo: list[tuple[bytes, bytes | None]] = []
        try:
            for key, value in wanted:
                old = rows.lookup(key)
                rows.update(key, value)
                self.held += old is None
                undo.append((key, old))
        except OSError:
            for key, old in reversed(undo):
                if old is None:
                    self.held -= rows.delete(key)
                else:
                    # Replacing works in a full map too.
                    rows.update(key, old)
            raise
        for slot in range(count + 1, (0 if before is None else _count(before)) + 1):
            self.held -= rows.delete(key_of(number, slot))

    def delete(self, snapshot: Snapshot, record: Record[Service]) -> None:
        """Remove a service's rows, the master first."""
        _ = snapshot
        number = record.obj.number
        master = self._rows.lookup(key_of(number, MASTER_SLOT))
        slots = max(len(record.obj.backends), 0 if master is None else _count(master))
        for slot in range(slots + 1):
            self.held -= self._rows.delete(key_of(number, slot))

    def prune(self, snapshot: Snapshot, records: Sequence[Record[Service]]) -> None:
        """Remove rows of services that are none of these, or beyond what their service has."""
        _ = snapshot
        slots = {record.obj.number: len(record.obj.backends) for record in records}
        for key in self._rows.keys():  # noqa: SIM118 - no dict
            number, slot = place_of(key)
            if slot > slots.get(number, -1):
                self.held -= self._rows.delete(key)

    def finds_backend(self, number: int, choice: int) -> bool:
        """Look a backend up as the datapath does: master, then one of the slots that it counts.

        Args:
            number: Of the service.
            choice: Any number; picks the slot.

        Returns:
            False where the datapath drops the packet as "Service backend not found".
        """
        master = self._rows.lookup(key_of(number, MASTER_SLOT))
        count = 0 if master is None else _count(master)
        return count > 0 and self._rows.lookup(key_of(number, 1 + choice % count)) is not None

    def count(self) -> int:
        """Return how many rows there are. O(rows)."""
        return len(self._rows.keys())

    def torn(self, services: Iterable[Service]) -> int:
        """Return of how many services only a part is in the map."""
        slots: dict[int, set[int]] = {}
        for key in self._rows.keys():  # noqa: SIM118 - no dict
            number, slot = place_of(key)
            slots.setdefault(number, set()).add(slot)
        # Rows of a service that nobody wants are a part of nothing.
        known = {service.number for service in services}
        torn = sum(number not in known for number in slots)
        for number in known & set(slots):
            master = self._rows.lookup(key_of(number, MASTER_SLOT))
            torn += master is None or slots[number] != set(range(_count(master) + 1))
        return torn
