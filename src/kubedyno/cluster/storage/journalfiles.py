"""The folder of a journal: segments, snapshots, and what they say together.

`journal-N` holds what was written after revision N, up to the next segment; `snapshot-N` holds everything as of
revision N, so that the segments before it are of no use any more. A snapshot is written beside its name and gets it
when it is whole and on disk. One process at a time has the folder.
"""

import fcntl
import os
from dataclasses import dataclass, field
from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.cluster.storage.journalframes import DamagedError, Entry, entries_of

_SEGMENT, _SNAPSHOT = "journal-", "snapshot-"
_DRAFT, _DAMAGED = ".part", ".damaged"
_DIGITS = 20
# The last entry of a snapshot; no table has such a name.
END = "/end"


@dataclass(slots=True)
class Kept:
    """What a folder holds.

    Attributes:
        revision: The last one that is known.
        entries: (table, key) → the newest version of each live object.
        bytes: Of the segments after the newest snapshot.
        snapshot_bytes: Of that snapshot.
        note: A line about damage, "" when there was none.
    """

    revision: int = 0
    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    bytes: int = 0
    snapshot_bytes: int = 0
    note: str = ""


class Folder:
    """A journal's folder, made when it is not there, and locked until `close`.

    Raises:
        KubedynoError: Another process has it, or it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise KubedynoError(f"{path}: cannot be used as a data directory ({error.strerror})") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise KubedynoError(f"{path}: another cluster is using this data directory") from None

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._lock)

    def create(self, revision: int) -> int:
        """Begin the segment of what comes after a revision; returns its descriptor."""
        path = self._path(_SEGMENT, revision)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._sync()
        return descriptor

    def draft(self, revision: int) -> int:
        """Begin a snapshot as of a revision; returns its descriptor."""
        path = self._path(_SNAPSHOT, revision).with_suffix(_DRAFT)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def publish(self, revision: int) -> None:
        """Give a snapshot that is on disk its name, and remove what it makes needless. Slow: for a thread."""
        path = self._path(_SNAPSHOT, revision)
        path.with_suffix(_DRAFT).replace(path)
        self._sync()
        for kind in (_SEGMENT, _SNAPSHOT):
            for older, name in self._named(kind):
                if older < revision:
                    name.unlink(missing_ok=True)
        self._sync()

    def read(self) -> Kept:
        """Return what is kept; what follows a damaged record is cut off or put aside, and `Kept.note` says so."""
        for draft in self.path.glob(f"*{_DRAFT}"):
            draft.unlink()
        kept = Kept()
        snapshots = self._named(_SNAPSHOT)
        for revision, path in reversed(snapshots):
            found = self._read_snapshot(path)
            if found is not None:
                kept.revision, kept.entries, kept.snapshot_bytes = revision, found, path.stat().st_size
                break
            kept.note = f"{path}: the snapshot is damaged and was put aside"
            path.replace(path.with_name(path.name + _DAMAGED))
        segments = self._named(_SEGMENT)
        for position, (_, path) in enumerate(segments):
            if not self._replay(path, kept):
                for _, later in segments[position + 1 :]:
                    later.replace(later.with_name(later.name + _DAMAGED))
                    kept.note += f"; {later.name} was put aside"
                break
        if kept.note:
            logger(__name__).warning(kept.note)
        return kept

    def _read_snapshot(self, path: Path) -> dict[tuple[str, str], Entry] | None:
        entries: dict[tuple[str, str], Entry] = {}
        try:
            for entry in entries_of(path.read_bytes()):
                if entry.table == END:
                    return entries if entry.revision == len(entries) else None
                entries[entry.table, entry.key] = entry
        except DamagedError:
            return None
        return None

    def _replay(self, path: Path, kept: Kept) -> bool:
        """Take in a segment; False when a record in it is damaged."""
        entries, since = kept.entries, kept.revision
        data = path.read_bytes()
        kept.bytes += len(data)
        try:
            for entry in entries_of(data):
                # What a snapshot holds already.
                if entry.revision <= since:
                    continue
                if entry.deleted:
                    entries.pop((entry.table, entry.key), None)
                else:
                    entries[entry.table, entry.key] = entry
                kept.revision = max(kept.revision, entry.revision)
        except DamagedError as error:
            kept.note += (
                f"{path}: {error} at byte {error.offset} of {len(data)}; "
                f"kept is what was written before it, up to revision {kept.revision}"
            )
            os.truncate(path, error.offset)
            return False
        return True

    def _path(self, kind: str, revision: int) -> Path:
        return self.path / f"{kind}{revision:0{_DIGITS}}"

    def _named(self, kind: str) -> list[tuple[int, Path]]:
        found = []
        for path in self.path.glob(f"{kind}*"):
            number = path.name.removeprefix(kind)
            if number.isdecimal():
                found.append((int(number), path))
        return sorted(found)

    def _sync(self) -> None:
        """Bring names to disk."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
