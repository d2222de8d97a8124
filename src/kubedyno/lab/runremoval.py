"""What goes from the run store, and which of the files of runs go with it: only what runs wrote, and no other run's."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.base.terminal import printable
from kubedyno.documents.runstore import RunRecord
from kubedyno.lab.runs import RUNNING

# What a run writes into its directory: arrays of documents. A directory that holds anything else is not ours to remove.
_OURS = (".json", ".json.part")


def to_prune(
    records: Sequence[RunRecord], *, keep: int | None, older_than_s: float | None, now_s: float
) -> list[RunRecord]:
    """Return the runs that go; tagged ones stay, somebody wanted them, and so do those that still run.

    Args:
        records: All, oldest first.
        keep: So many of the latest stay, tagged ones not counted.
        older_than_s: Only runs that began longer ago.
        now_s: Epoch seconds.
    """
    going = [record for record in records if not record.tags and record.verdict != RUNNING]
    if keep is not None:
        going = going[: max(len(going) - keep, 0)]
    if older_than_s is not None:
        going = [record for record in going if now_s - record.started_s > older_than_s]
    return going


@dataclass(frozen=True, slots=True)
class Removal:
    """A directory that may go, or the reason why not."""

    directory: Path
    files: tuple[Path, ...] = ()
    why_not: str = ""


def removals(going: Sequence[RunRecord], all_records: Sequence[RunRecord]) -> list[Removal]:
    """Return what becomes of the directories of runs that go: only what a run wrote is removed, and no other run's."""
    ids = {record.id for record in going}
    needed = {record.directory for record in all_records if record.id not in ids}
    found = []
    for name in dict.fromkeys(record.directory for record in going if record.directory):
        directory = Path(name)
        if name in needed:
            found.append(Removal(directory, why_not="another run that stays has its documents there"))
        elif directory.is_symlink() or not directory.is_dir():
            found.append(Removal(directory, why_not="there is no such directory"))
        else:
            found.append(_removal(directory))
    return found


def _removal(directory: Path) -> Removal:
    try:
        entries = sorted(directory.iterdir())
        strange = [path.name for path in entries if not _ours(path)]
    except OSError as error:
        return Removal(directory, why_not=f"cannot be read ({error.strerror})")
    if Path.cwd().is_relative_to(directory.resolve()):
        return Removal(directory, why_not="is the working directory, or one above it")
    if strange:
        return Removal(directory, why_not=f"holds more than a run's documents ({printable(strange[0])})")
    return Removal(directory, tuple(entries))


def _ours(path: Path) -> bool:
    """Say whether a file is one of documents: an array, as `documents.local` writes it."""
    if path.is_symlink() or not path.is_file() or not path.name.endswith(_OURS):
        return False
    with path.open("rb") as file:
        return file.read(1) in {b"[", b""}


def remove(removal: Removal) -> None:
    """Remove a directory's documents and the directory.

    Raises:
        KubedynoError: Something cannot be removed.
    """
    try:
        for path in removal.files:
            path.unlink(missing_ok=True)
        removal.directory.rmdir()
    except OSError as error:
        raise KubedynoError(f"{removal.directory}: cannot be removed ({error.strerror})") from error
