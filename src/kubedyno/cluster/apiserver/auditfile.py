"""The file of the audit log: lines are added, and a file that is full is put aside under the time at which it was.

Names are those of a real API server's: `audit.log` becomes `audit-2026-01-31T12-00-00.000.log` beside it. All of them are
readable by their owner alone.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kubedyno.base.errors import KubedynoError

MAX_SIZE_MB = 100
_MB = 1024 * 1024
_DAY_S = 86_400
_TIME = "%Y-%m-%dT%H-%M-%S.%f"


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is full, and which of those put aside are kept.

    Attributes:
        max_bytes: Of one file; a line that is longer has a file of its own.
        max_age_days: Older ones are removed; 0: none for its age.
        max_backups: How many are kept; 0: all.
    """

    max_bytes: int = MAX_SIZE_MB * _MB
    max_age_days: int = 0
    max_backups: int = 0

    @classmethod
    def of(cls, size_mb: int, age_days: int, backups: int) -> "Rotation":
        """Return what a real API server's flags say: a size of 0 is the default."""
        return cls((size_mb or MAX_SIZE_MB) * _MB, age_days, backups)


class AuditFile:
    """Where lines are added.

    Args:
        path: The file; what is there stays.
        rotation: When another one is begun.
        now: Epoch seconds.

    Raises:
        KubedynoError: It cannot be written.
    """

    def __init__(self, path: Path, rotation: Rotation, now: Callable[[], float]) -> None:
        self.path = path
        self._rotation = rotation
        self._now = now
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open()
        except OSError as error:
            raise KubedynoError(f"{path}: {error.strerror}; the audit log needs a file that can be written") from None

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.fchmod(self._file, 0o600)
        status = os.fstat(self._file)
        self._bytes = status.st_size
        # A pipe or a terminal is never full.
        self._whole = stat.S_ISREG(status.st_mode)

    def write(self, lines: list[bytes]) -> None:
        """Add lines.

        Raises:
            OSError: They cannot be written.
        """
        waiting: list[bytes] = []
        size = 0
        for line in lines:
            if self._whole and self._bytes + size + len(line) + 1 > self._rotation.max_bytes and self._bytes + size:
                self._add(waiting)
                self._rotate()
                waiting, size = [], 0
            waiting.append(line)
            size += len(line) + 1
        self._add(waiting)

    def _add(self, lines: list[bytes]) -> None:
        text = b"".join(line + b"\n" for line in lines)
        self._bytes += len(text)
        while text:
            text = text[os.write(self._file, text) :]

    def _rotate(self) -> None:
        moment_s = self._now()
        while (aside := self._aside(moment_s)).exists():
            moment_s += 0.001
        if self.path.exists():
            self.path.rename(aside)
        old = self._file
        self._open()
        os.close(old)
        for path in expired(self._kept(), self._rotation, self._now()):
            path.unlink(missing_ok=True)

    def _aside(self, moment_s: float) -> Path:
        text = datetime.fromtimestamp(moment_s, UTC).strftime(_TIME)[:-3]
        return self.path.with_name(f"{self.path.stem}-{text}{self.path.suffix}")

    def _kept(self) -> dict[Path, float]:
        """Return the files put aside, with when they were, epoch seconds."""
        found: dict[Path, float] = {}
        prefix, suffix = f"{self.path.stem}-", self.path.suffix
        for path in self.path.parent.iterdir():
            if path.name.startswith(prefix) and path.name.endswith(suffix):
                text = path.name[len(prefix) : len(path.name) - len(suffix)]
                try:
                    found[path] = datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp()
                except ValueError:
                    # Somebody else's.
                    continue
        return found

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


def expired(kept: dict[Path, float], rotation: Rotation, now_s: float) -> list[Path]:
    """Return which files put aside are to go, of those that there are with their times."""
    newest = sorted(kept, key=lambda path: kept[path], reverse=True)
    gone = newest[rotation.max_backups :] if rotation.max_backups else []
    if rotation.max_age_days:
        oldest_s = now_s - rotation.max_age_days * _DAY_S
        gone += [path for path in newest if kept[path] < oldest_s and path not in gone]
    return gone
