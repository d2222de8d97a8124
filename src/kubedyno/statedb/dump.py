"""Tables as text: JSON and YAML of what is in them, rows for a terminal, and an overview of a database.

Everything is read from one snapshot. Objects become plain values through `plain`, which knows dataclasses, msgspec's
Structs and what JSON has; a table's columns are the members of that unless the caller names them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import orjson
import yaml

from kubedyno.statedb.db import DB
from kubedyno.statedb.snapshot import Snapshot
from kubedyno.statedb.table import AnyTable

Plain = Callable[[Any], Any]
# Three times as fast where PyYAML was built with libyaml, as its wheels are.
_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
# Cells longer than this are cut: one large object must not push all else off the screen.
MAX_CELL = 60


def plain(obj: Any) -> Any:
    """Return an object as mappings, lists, texts and numbers; bytes stay.

    Raises:
        TypeError: It holds something that has no such form.
    """
    return msgspec.to_builtins(obj, builtin_types=(bytes,), order="deterministic")


def jsonable(value: Any) -> Any:
    """Return plain values as JSON has them: bytes as text, keys as texts."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    return value


def document(snapshot: Snapshot, table: AnyTable, prefix: str = "", as_plain: Plain = plain) -> dict[str, Any]:
    """Return what is in a table: its name, revision, and objects with key and revision, in key order."""
    return {
        "table": table.name,
        "revision": snapshot.revision,
        "initialized": snapshot.initialized(table),
        "objects": [
            {"key": record.key, "revision": record.revision, "object": jsonable(as_plain(record.obj))}
            for record in snapshot.prefix(table, prefix)
        ],
    }


def dump(snapshot: Snapshot, tables: Iterable[AnyTable], as_plain: Plain = plain) -> dict[str, Any]:
    """Return what is in several tables at one revision: table name → its document."""
    return {table.name: document(snapshot, table, as_plain=as_plain) for table in tables}


def to_json(value: Any) -> bytes:
    """Return a document as indented JSON."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def to_yaml(value: Any) -> str:
    """Return a document as YAML, members in the order they have."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False))


def text_table(
    snapshot: Snapshot,
    table: AnyTable,
    columns: Sequence[str] | None = None,
    prefix: str = "",
    row: Callable[[Any], Sequence[Any]] | None = None,
    as_plain: Plain = plain,
) -> str:
    """Return a table's rows for a terminal, a header first, columns aligned.

    Args:
        snapshot: The state.
        table: The table.
        columns: Names of the columns; without `row`, of members of the objects. None takes all members.
        prefix: Only keys that start with it.
        row: Object → its cells, one a column.
        as_plain: Object → mapping of members, without `row`.
    """
    records = snapshot.prefix(table, prefix)
    if row is not None:
        header = list(columns or ())
        rows = [[cell(value) for value in row(record.obj)] for record in records]
    else:
        objects = [jsonable(as_plain(record.obj)) for record in records]
        if columns is None:
            columns = list(
                dict.fromkeys(name for obj in objects for name in (obj if isinstance(obj, dict) else ("Object",)))
            )
        header = ["Key", *columns, "Revision"]
        rows = [
            [
                record.key,
                *(cell(obj.get(name) if isinstance(obj, dict) else obj) for name in columns),
                str(record.revision),
            ]
            for record, obj in zip(records, objects, strict=True)
        ]
    return align([header, *rows])


def overview(db: DB) -> str:
    """Return one line a table: objects, deleted ones still kept, cursors, indexes, what is pending, the last writer."""
    now_s = db.clock.monotonic()
    lines = [["Name", "Objects", "Zombies", "Trackers", "Indexes", "Initializers pending", "Revision", "Last write"]]
    for name, table in sorted(db.tables.items()):
        last = db.metrics.last_writes.get(name) if db.metrics is not None else None
        who = (
            "" if last is None else f"{last.handle or '-'} ({now_s - last.at_s:.1f} s ago, {last.held_s * 1e3:.2f} ms)"
        )
        indexes = ", ".join(f"{p.name}{' (unique)' if p.unique else ''}" for p in table.postings)
        pending = ", ".join(table.initializers.pending)
        figures = (table.count, table.graveyard, table.trackers)
        lines.append([name, *map(str, figures), indexes, pending, str(table.revision), who])
    return align(lines)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines with three spaces between columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(line + "\n" for line in lines)


def cell(value: Any) -> str:
    """Return a value as one short line."""
    text = value if isinstance(value, str) else "" if value is None else orjson.dumps(jsonable(value)).decode()
    text = text.replace("\n", "\\n")
    return text if len(text) <= MAX_CELL else text[: MAX_CELL - 1] + "…"
