"""The simulated cluster, whole: built, restarted from what a journal would have kept, and listened to.

Every commit is a line of one log, whose digest stands for all that happened; whoever checks something is told of each
record in the commit that wrote it.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import TextIO

from kubedyno.base.random import Random
from kubedyno.base.simulation import EPOCH_S, SimulatedLoop
from kubedyno.cluster.assembly.chaos import SkewedClock
from kubedyno.cluster.assembly.cluster import Cluster
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.journal import entry_of
from kubedyno.cluster.storage.journalfiles import Kept
from kubedyno.cluster.storage.journalframes import entries_of, frame_of
from kubedyno.cluster.storage.store import ObjectRecord, ObjectTable, Store
from kubedyno.kube.resources import EVENTS, LEASES, PODS, Resource
from kubedyno.lab.simulation.doors import Gate, GatedDoor, HeldPump
from kubedyno.statedb.records import Tombstone

_SERVER = "https://simulated.invalid:6443"
# Not a certificate of anybody's: the same in each run, unlike one that is made.
_CA = b"-----BEGIN CERTIFICATE-----\nc2ltdWxhdGVk\n-----END CERTIFICATE-----\n"
# Commits that are remembered for the story of what broke.
_REMEMBERED = 20_000
_QUIET = frozenset({LEASES.group_resource, EVENTS.group_resource})

Listener = Callable[[str, ObjectRecord], None]


@dataclass(frozen=True, slots=True)
class Commit:
    """A line of the log."""

    at_s: float
    revision: int
    table: str
    key: str
    what: str

    def __str__(self) -> str:
        return f"{clock_text(self.at_s)}  rv {self.revision}  {self.table} {self.key}  {self.what}"


class World:
    """A cluster on simulated time.

    Args:
        settings: Of the cluster, with the run's seed.
        verify: Validate each write of its own parts.
        log: Gets each line of the log; None: only its digest is kept.

    Attributes:
        cluster: As it is now; another one after a restart.
        gate: What refuses writes.
        random: Of everything that is not the cluster's own.
        recent: The last commits but those of leases and events.
        commits: How many there were.
        busy_s: When something but leases and events was last written, monotonic.
        restarts: How often it was restarted.
    """

    def __init__(self, settings: ClusterSettings, *, verify: bool = False, log: TextIO | None = None) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        self.clock = SkewedClock(loop)
        self.settings = settings
        self.gate = Gate()
        self.random = Random(settings.seed ^ 0x5EED)
        self.recent: deque[Commit] = deque(maxlen=_REMEMBERED)
        self.commits = 0
        self.busy_s = 0.0
        self.restarts = 0
        self._verify = verify
        self._log = log
        self._digest = sha256()
        self._listeners: list[Listener] = []
        self.pump = HeldPump(self.clock)
        self.cluster = self._build(None)

    # --- life --------------------------------------------------------------------------------------------------

    def _build(self, kept: Kept | None) -> Cluster:
        cluster = Cluster(self.settings, self.clock, ca_pem=_CA, kept=kept, pump=self.pump, door=self._door)
        for part, door in (("controllers", cluster.controllers_door), ("scheduler", cluster.scheduler_door)):
            assert isinstance(door, GatedDoor)
            door.part = part
        return cluster

    def _door(self, registry: Registry) -> GatedDoor:
        return GatedDoor(registry, self.gate, verify=self._verify)

    def start(self) -> None:
        """Bring the cluster to life."""
        self._follow(self.cluster.store)
        self.cluster.start(_SERVER)

    def restart(self) -> None:
        """Kill the cluster's process and start it again from its journal: what was committed is there, no more.

        Containers go on running, as over a restart of the control plane; machines that were off are on again.
        """
        old = self.cluster
        tables = old.store.tables()
        records = sorted((r.revision, t.name, r) for t in tables for r in t.all())
        frames = b"".join(frame_of(entry_of(name, record)) for _, name, record in records)
        kept = Kept(old.store.revision, {(entry.table, entry.key): entry for entry in entries_of(frames)})
        old.stop()
        self.restarts += 1
        self.pump = HeldPump(self.clock)
        self.cluster = self._build(kept)
        self._follow(self.cluster.store)
        self.cluster.start(_SERVER, made=True)

    # --- listening ---------------------------------------------------------------------------------------------

    @property
    def store(self) -> Store:
        return self.cluster.store

    @property
    def now_s(self) -> float:
        """Simulated seconds since the beginning."""
        return self.clock.monotonic()

    def listen(self, call: Listener) -> None:
        """Have a function called with each record that is committed (table, record); it must not raise."""
        self._listeners.append(call)

    def _follow(self, store: Store) -> None:
        for table in store.tables():
            self._follow_table(table)
        store.on_added(lambda resource: self._follow_table(store.table(resource)))

    def _follow_table(self, table: ObjectTable) -> None:
        cursor = table.changes(table.revision)
        name, quiet = table.name, table.name in _QUIET
        listeners, digest, log, recent = self._listeners, self._digest, self._log, self.recent

        def committed() -> None:
            now_s = self.clock.monotonic()
            for record in cursor.next_full():
                self.commits += 1
                obj = record.obj
                gone = type(record) is Tombstone
                before = record.prev
                verb = "DELETED" if gone else "ADDED" if before is None or type(before) is Tombstone else "MODIFIED"
                digest.update(f"{now_s:.9f} {record.revision} {name} {record.key} {verb}\n".encode())
                if not gone:
                    digest.update(obj.meta + obj.body + (obj.status or b""))
                if not quiet:
                    self.busy_s = now_s
                    recent.append(Commit(now_s, record.revision, name, record.key, _what(name, verb, record)))
                if log is not None:
                    log.write(f"{Commit(now_s, record.revision, name, record.key, _what(name, verb, record))}\n")
                for call in listeners:
                    call(name, record)

        table.subscribe(committed)

    def digest(self) -> str:
        """Return what stands for every commit so far: its time, revision and content."""
        return self._digest.hexdigest()

    def dump(self) -> bytes:
        """Return the whole store: a line of JSON an object, tables and keys in order."""
        store = self.store
        views = {resource.group_resource: resource for resource in reversed(store.resources)}
        lines: list[bytes] = []
        for table in sorted(store.tables(), key=lambda table: table.name):
            resource: Resource = views[table.name]
            lines += [store.encode(resource, record) for record in table.all()]
        return b"\n".join(lines) + b"\n"


def _what(table: str, verb: str, record: ObjectRecord) -> str:
    if table != PODS.group_resource or type(record) is Tombstone:
        return verb
    facts = record.obj.facts
    parts = [verb, facts.phase, "ready" if facts.ready else "not ready"]
    if facts.node_name:
        parts.append(f"on {facts.node_name}")
    if facts.pod_ip:
        parts.append(facts.pod_ip)
    if record.obj.deletion_s:
        parts.append("deleting")
    return " ".join(parts)


def clock_text(seconds: float) -> str:
    """Return simulated seconds as [days+]hh:mm:ss.mmm."""
    whole = round(seconds * 1000)
    days, rest = divmod(whole, 86_400_000)
    hours, rest = divmod(rest, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    text = f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
    return f"{days}d {text}" if days else text


__all__ = ["EPOCH_S", "Commit", "World", "clock_text"]
