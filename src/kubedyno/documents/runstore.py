"""The run store: one row a run in a SQLite file, so that runs are found again by kind, tag and time.

In: `RunRecord`s. Out: the same, filtered. The documents stay in the run's directory; a row only says where and how it
went, and can be made again from there. Several processes may write at once: each change is one short transaction.
"""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from kubedyno.base.errors import KubedynoError

FILE_NAME = "runs.db"
# "kdyn": tells our file from another program's.
_APPLICATION_ID = 0x6B64796E
_SCHEMA_VERSION = 2
# A writer holds the file for milliseconds; somebody who copies it on a slow disk, for seconds.
_BUSY_S = 10.0
_SCHEMA = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, uuid TEXT NOT NULL, kind TEXT NOT NULL, started TEXT NOT NULL, started_s REAL NOT NULL,
    took_s REAL NOT NULL, config TEXT NOT NULL, config_digest TEXT NOT NULL, target TEXT NOT NULL, verdict TEXT NOT NULL,
    exit_code INTEGER NOT NULL, directory TEXT NOT NULL, figures TEXT NOT NULL, process TEXT NOT NULL DEFAULT '',
    UNIQUE (uuid, kind, started_s)
);
CREATE INDEX runs_by_time ON runs (started_s);
CREATE TABLE tags (
    run INTEGER NOT NULL REFERENCES runs (id) ON DELETE CASCADE, name TEXT NOT NULL, PRIMARY KEY (run, name)
) WITHOUT ROWID;
"""
# Version → what makes the next one of it.
_CHANGES = {1: "ALTER TABLE runs ADD COLUMN process TEXT NOT NULL DEFAULT ''"}
_COLUMNS = (
    "uuid", "kind", "started", "started_s", "took_s", "config", "config_digest", "target", "verdict", "exit_code",
    "directory", "process", "figures",
)  # fmt: skip
_figures = msgspec.json.Decoder(dict[str, float]).decode


class RunRecord(msgspec.Struct, frozen=True):
    """One run, at its end or while it lasts.

    Attributes:
        uuid: Of the run; one that a user chose may stand for several runs.
        kind: init, study, net lab, net perf, net test, experiment; kube-burner for what that has written.
        started: RFC 3339.
        started_s: The same, epoch seconds.
        took_s: Seconds.
        config: What was run: a path or a URL, or the command's own words.
        config_digest: SHA-256 of the effective configuration, "" where there is none: equal ones can be compared.
        target: The cluster or machine.
        verdict: passed, failed or interrupted; running until it ends, killed when it never told its end.
        exit_code: Of the command.
        directory: Absolute path of its documents, "" when they were written to a server alone.
        figures: Key figures, by name with unit.
        tags: Sorted.
        id: The row's number in a store; 0 elsewhere.
        process: Whose it is while it runs (`base.processes.identity`), "" afterwards.
    """

    uuid: str
    kind: str
    started: str
    started_s: float
    took_s: float
    config: str
    config_digest: str
    target: str
    verdict: str
    exit_code: int
    directory: str
    figures: dict[str, float]
    tags: tuple[str, ...] = ()
    id: int = 0
    process: str = ""


class RunStore:
    """The rows of one file, which is made (0600) with the first run.

    Args:
        path: Of the file; its folder is made (0700) when missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def _open(self, *, writing: bool) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # SQLite would make it readable to all that the umask allows.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise KubedynoError(f"{self.path}: the run store cannot be opened ({error.strerror})") from error
        try:
            connection = sqlite3.connect(self.path, timeout=_BUSY_S, isolation_level=None)
        except sqlite3.Error as error:
            raise self._broken(error) from error
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("BEGIN IMMEDIATE" if writing or self._version(connection) < _SCHEMA_VERSION else "BEGIN")
            self._prepare(connection)
            yield connection
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._broken(error) from error
        finally:
            # Closing without a commit rolls back.
            connection.close()

    def _is_new(self, connection: sqlite3.Connection) -> bool:
        return bool(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0)

    def _version(self, connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _prepare(self, connection: sqlite3.Connection) -> None:
        """Make the tables of a new file, or what an older one lacks; raises KubedynoError for a stranger's or a later one."""
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = self._version(connection)
        if self._is_new(connection):
            for statement in _SCHEMA.split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
        elif application != _APPLICATION_ID:
            raise KubedynoError(f"{self.path}: is another program's database, no run store; move it away")
        elif version in _CHANGES:
            connection.execute(_CHANGES[version])
            connection.execute(f"PRAGMA user_version = {version + 1}")
        elif version != _SCHEMA_VERSION:
            raise KubedynoError(f"{self.path}: a run store of version {version}; this kubedyno knows {_SCHEMA_VERSION}")

    def _broken(self, error: sqlite3.Error) -> KubedynoError:
        if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
            return KubedynoError(f"{self.path}: the run store is in use for more than {_BUSY_S:g} s; try again")
        return KubedynoError(
            f"{self.path}: the run store cannot be used ({error}); move it away and bring runs back with: "
            "kubedyno runs import DIR"
        )

    def add(self, records: Iterable[RunRecord], *, begun: int = 0) -> list[int]:
        """Add runs; one that is there already (uuid, kind, start) is replaced and keeps its tags. Returns their numbers.

        Args:
            records: The runs.
            begun: Number of the row that the first of them had while it ran; what it was tagged with meanwhile stays.

        Raises:
            KubedynoError: The file cannot be used.
        """
        numbers: list[int] = []
        names, marks = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
        changes = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS)
        statement = (
            f"INSERT INTO runs ({names}) VALUES ({marks}) "  # noqa: S608 - constants
            f"ON CONFLICT (uuid, kind, started_s) DO UPDATE SET {changes} RETURNING id"
        )
        with self._open(writing=True) as connection:
            tags = [name for (name,) in connection.execute("SELECT name FROM tags WHERE run = ?", (begun,))]
            connection.execute("DELETE FROM runs WHERE id = ?", (begun,))
            for record in records:
                values = [getattr(record, name) for name in _COLUMNS[:-1]]
                values.append(msgspec.json.encode(record.figures).decode())
                number = connection.execute(statement, values).fetchone()[0]
                _tag(connection, [number], [*record.tags, *(tags if not numbers else ())])
                numbers.append(number)
        return numbers

    def select(
        self,
        *,
        kind: str | None = None,
        tags: Sequence[str] = (),
        since_s: float | None = None,
        uuid: str | None = None,
        verdict: str | None = None,
    ) -> list[RunRecord]:
        """Return runs, oldest first.

        Args:
            kind: Only these.
            tags: Only runs that have all of them.
            since_s: Only those that began later; epoch seconds.
            uuid: Only those whose uuid begins so.
            verdict: Only those with it.

        Raises:
            KubedynoError: The file cannot be used.
        """
        where, values = ["1"], list[object]()
        if kind is not None:
            where.append("kind = ?")
            values.append(kind)
        if verdict is not None:
            where.append("verdict = ?")
            values.append(verdict)
        for tag in tags:
            where.append("EXISTS (SELECT 1 FROM tags WHERE run = id AND name = ?)")
            values.append(tag)
        if since_s is not None:
            where.append("started_s >= ?")
            values.append(since_s)
        if uuid is not None:
            where.append("substr(uuid, 1, ?) = ?")
            values += [len(uuid), uuid]
        statement = f"SELECT id, {', '.join(_COLUMNS)} FROM runs WHERE {' AND '.join(where)} ORDER BY started_s, id"  # noqa: S608 - constants
        with self._open(writing=False) as connection:
            rows = connection.execute(statement, values).fetchall()
            named: dict[int, list[str]] = {}
            for run, name in connection.execute("SELECT run, name FROM tags ORDER BY run, name"):
                named.setdefault(run, []).append(name)
        try:
            return [
                msgspec.convert(
                    {
                        **dict(zip(_COLUMNS, row[1:], strict=True)),
                        "figures": _figures(row[-1]),
                        "tags": named.get(row[0], ()),
                        "id": row[0],
                    },
                    RunRecord,
                )
                for row in rows
            ]
        except msgspec.DecodeError as error:
            raise KubedynoError(f"{self.path}: the run store holds a damaged row ({error}); move it away") from error

    def find(self, uuid: str) -> list[RunRecord]:
        """Return the runs of a uuid, or of its beginning where that says which: all have one uuid.

        Raises:
            KubedynoError: There is none, or several uuids begin so.
        """
        return named(self.select(uuid=uuid), uuid, str(self.path))

    def tag(self, records: Sequence[RunRecord], names: Sequence[str], *, remove: bool = False) -> None:
        """Give runs names, or take them away; raises as `add`."""
        numbers = [record.id for record in records]
        with self._open(writing=True) as connection:
            if remove:
                pairs = [(number, name) for number in numbers for name in names]
                connection.executemany("DELETE FROM tags WHERE run = ? AND name = ?", pairs)
            else:
                _tag(connection, numbers, names)

    def remove(self, records: Sequence[RunRecord]) -> None:
        """Forget runs; raises as `add`."""
        with self._open(writing=True) as connection:
            connection.executemany("DELETE FROM runs WHERE id = ?", [(record.id,) for record in records])


def named(found: list[RunRecord], uuid: str, where: str) -> list[RunRecord]:
    """Return the runs of a uuid among those whose uuid begins so, or all of them if they have one uuid.

    Args:
        found: Runs whose uuid begins with `uuid`.
        uuid: One, or its beginning.
        where: Name of the store.

    Raises:
        KubedynoError: There is none, or several uuids begin so.
    """
    exact = [record for record in found if record.uuid == uuid]
    if exact:
        return exact
    names = sorted({record.uuid for record in found})
    if not uuid or not names:
        raise KubedynoError(f"{where}: no run {uuid!r}; see: kubedyno runs list")
    if len(names) > 1:
        raise KubedynoError(f"run {uuid!r}: {len(names)} runs begin so, among them {names[0]} and {names[1]}")
    return found


def _tag(connection: sqlite3.Connection, numbers: Sequence[int], names: Sequence[str]) -> None:
    pairs = [(number, name) for number in numbers for name in names]
    connection.executemany(
        "INSERT INTO tags SELECT id, ? FROM runs WHERE id = ? ON CONFLICT DO NOTHING", [(b, a) for a, b in pairs]
    )
