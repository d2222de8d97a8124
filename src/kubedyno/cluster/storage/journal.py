"""The journal: every committed change in a file before anybody hears of it.

Changes are gathered and written together (group commit): `flush` writes what was committed since the last time with
one system call. A server calls it before any bytes leave, so that neither an answer nor a watch tells of a write that
the kernel does not have: killing the process at any moment loses nothing that was acknowledged. What a power failure
may lose is the last `SYNC_S` seconds, for so often a thread brings the file to disk.

Segments are bounded; when they have outgrown what they describe, a snapshot of all objects takes their place. It is
written a slice at a time from a state that stands still while the cluster goes on.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from kubedyno.base import aio
from kubedyno.base.clock import elapsed_ns
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.cluster.storage.journalfiles import END, Folder, Kept
from kubedyno.cluster.storage.journalframes import Entry, frame_of
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord, ObjectTable, Store
from kubedyno.statedb.changes import Changes
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Tombstone
from kubedyno.stats.histogram import Histogram

# Those of etcd's histograms of its disk: 1 ms, doubled 13 times.
DISK_BOUNDS_S = tuple(0.001 * 2**power for power in range(14))
# Seconds between two times that the file is brought to disk.
SYNC_S = 0.2
# A segment ends after so many bytes.
SEGMENT_BYTES = 32 << 20
# A snapshot is made when the segments have so many bytes, and at least as many as the last snapshot.
SNAPSHOT_BYTES = 64 << 20
# Objects that a snapshot writes in one go: under two milliseconds.
_SLICE = 256
_PAUSE_S = 0.001


class Journal:
    """Keeps a store in a folder.

    Args:
        path: The folder.

    Attributes:
        kept: What it holds; let go of by `follow`.
        on_failure: Called once when it cannot be written any more; nothing is acknowledged from then on.
        written_bytes: Since the start, snapshots apart.
        writes: How long each write took, seconds.
        syncs: How long it took to bring the file to disk, each time, seconds.
    """

    def __init__(self, path: Path) -> None:
        self._folder = Folder(path)
        try:
            self.kept: Kept | None = self._folder.read()
        except OSError as error:
            self._folder.close()
            raise KubedynoError(f"{error.filename or path}: cannot be read ({error.strerror})") from error
        except BaseException:
            self._folder.close()
            raise
        self.written_bytes = 0
        self.writes = Histogram(DISK_BOUNDS_S)
        self.syncs = Histogram(DISK_BOUNDS_S)
        self.on_failure: Callable[[str], None] | None = None
        self._failure = ""
        self._store: Store | None = None
        self._cursors: dict[str, Changes[StoredObject]] = {}
        self._dirty: dict[str, ObjectTable] = {}
        self._segment = -1
        self._segment_bytes = 0
        # Of all segments after the newest snapshot, and of that.
        self._bytes = self.kept.bytes
        self._snapshot_bytes = self.kept.snapshot_bytes
        self._unsynced = False
        self._retired: list[int] = []
        self._task: asyncio.Task[None] | None = None
        self._snapshots: asyncio.Task[None] | None = None

    @property
    def size_bytes(self) -> int:
        """What lies in the folder: segments and the newest snapshot."""
        return self._bytes + self._snapshot_bytes

    # --- following ---------------------------------------------------------------------------------------------

    def follow(self, store: Store) -> None:
        """Begin to keep a store that holds what `kept` said, and nothing newer."""
        self._store, self.kept = store, None
        for table in store.tables():
            self._add(table)
        store.on_added(lambda resource: self._add(store.table(resource)))
        self._begin(store.revision)

    def _add(self, table: ObjectTable) -> None:
        self._cursors[table.name] = table.changes(table.revision)
        dirty = self._dirty
        table.subscribe(lambda: dirty.__setitem__(table.name, table))
        # What came before anybody was told of the table.
        dirty[table.name] = table

    def _begin(self, revision: int) -> None:
        """Begin a new segment."""
        if self._segment >= 0:
            self._retired.append(self._segment)
        self._segment = self._folder.create(revision)
        self._segment_bytes = 0

    # --- writing -----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write what was committed since the last time. Microseconds for nothing.

        Raises:
            OSError: It could not be written, now or before.
        """
        if not self._dirty:
            if self._failure:
                raise OSError(self._failure)
            return
        if self._failure:
            raise OSError(self._failure)
        changed: list[tuple[int, str, ObjectRecord]] = []
        for name in self._dirty:
            changed += [(record.revision, name, record) for record in self._news(name)]
        self._dirty.clear()
        if not changed:
            return
        # In the order of revisions: a damaged end then leaves a state that once was.
        changed.sort(key=_revision)
        self._write(b"".join([frame_of(entry_of(name, record)) for _, name, record in changed]))
        if self._segment_bytes >= SEGMENT_BYTES:
            self._begin(changed[-1][0])

    def _news(self, name: str) -> list[ObjectRecord]:
        cursor = self._cursors[name]
        try:
            return cursor.next()
        except ExpiredError as error:
            # Cannot be: the cursor holds back what it has not seen, and is read several times a second.
            self._fail(f"table {name} has changed more than is remembered ({error})")
            raise OSError(self._failure) from error

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        began_ns = elapsed_ns()
        try:
            while view:
                view = view[os.write(self._segment, view) :]
        except OSError as error:
            self._fail(f"cannot be written ({error.strerror})")
            raise
        self.writes.add((elapsed_ns() - began_ns) / 1e9)
        self.written_bytes += len(data)
        self._segment_bytes += len(data)
        self._bytes += len(data)
        self._unsynced = True

    def _fail(self, why: str) -> None:
        self._failure = f"{self._folder.path}: the journal {why}"
        if self.on_failure is not None:
            self.on_failure(self._failure)

    # --- in the background -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Bring the file to disk from now on, and make snapshots; needs a running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            while True:
                await aio.sleep(SYNC_S)
                self.flush()
                await self._sync()
                if self._snapshots is None and self._bytes >= max(SNAPSHOT_BYTES, self._snapshot_bytes):
                    self._snapshots = asyncio.get_running_loop().create_task(self._snapshot())
        except OSError as error:
            if not self._failure:
                self._fail(f"cannot be brought to disk ({error.strerror})")

    async def _sync(self) -> None:
        if not self._unsynced and not self._retired:
            return
        self._unsynced = False
        retired, self._retired = self._retired, []
        loop = asyncio.get_running_loop()
        # The segment may be retired meanwhile, but is closed here only.
        began_ns = elapsed_ns()
        for descriptor in (*retired, self._segment):
            await loop.run_in_executor(None, os.fsync, descriptor)
        self.syncs.add((elapsed_ns() - began_ns) / 1e9)
        for descriptor in retired:
            os.close(descriptor)

    async def _snapshot(self) -> None:
        try:
            await self.snapshot()
        except OSError as error:
            # The segments are all there: nothing is lost, they only grow.
            logger(__name__).warning("%s: no snapshot could be written (%s)", self._folder.path, error.strerror)
            self._snapshot_bytes = self._bytes + SNAPSHOT_BYTES
        finally:
            self._snapshots = None

    async def snapshot(self) -> None:
        """Write all objects as of now, then forget the segments before.

        Raises:
            OSError: It could not be written; the segments stay.
        """
        store = self._store
        assert store is not None
        self.flush()
        state = store.db.read()
        revision, before = state.revision, self._bytes
        self._begin(revision)
        loop = asyncio.get_running_loop()
        descriptor = self._folder.draft(revision)
        count = size = 0
        try:
            for table in store.tables():
                records = state.all(table)
                for start in range(0, len(records), _SLICE):
                    part = records[start : start + _SLICE]
                    data = b"".join([frame_of(entry_of(table.name, record)) for record in part])
                    count, size = count + len(part), size + len(data)
                    view = memoryview(data)
                    while view:
                        view = view[os.write(descriptor, view) :]
                    await aio.sleep(_PAUSE_S)
            end = frame_of(Entry(END, "", count))
            os.write(descriptor, end)
            await loop.run_in_executor(None, os.fsync, descriptor)
        finally:
            os.close(descriptor)
        await loop.run_in_executor(None, self._folder.publish, revision)
        self._bytes -= before
        self._snapshot_bytes = size
        logger(__name__).info("journal: snapshot of %d objects at revision %d, %d bytes", count, revision, size)

    async def close(self) -> None:
        """Write what is left, bring it to disk, and let go of the folder."""
        for task in (self._task, self._snapshots):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        try:
            if self._segment >= 0 and not self._failure:
                self.flush()
                for descriptor in (*self._retired, self._segment):
                    os.fsync(descriptor)
        finally:
            for descriptor in (*self._retired, self._segment):
                if descriptor >= 0:
                    os.close(descriptor)
            self._retired, self._segment = [], -1
            self._folder.close()


def _revision(item: tuple[int, str, ObjectRecord]) -> int:
    return item[0]


def entry_of(table: str, record: ObjectRecord) -> Entry:
    """Return what is written of a record."""
    if type(record) is Tombstone:
        return Entry(table, record.key, record.revision, True)
    obj = record.obj
    return Entry(table, record.key, record.revision, False, obj.meta, obj.managed, obj.body, obj.status)
