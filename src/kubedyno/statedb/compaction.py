"""Compaction: a table gives up, a slice at a time, what no reader, no cursor and no history needs.

The log is swept once, in revision order, up to the oldest revision that a reader or the history still needs. The
record that a swept one replaced can no longer be reached: its chain is cut there and then, one link at a time, and
its segment of the log is rewritten when half of it is dead. Tombstones go when every open cursor has passed them.
"""

from collections.abc import Callable, Iterable
from typing import Any

from kubedyno.statedb.records import Tombstone
from kubedyno.statedb.table import AnyTable

# Superseded versions that snapshots or slow cursors may hold back in one table; beyond it they expire instead.
MAX_PINNED_RECORDS = 1_000_000


def compact(table: AnyTable, limit: int, pinned: int, by_age: int) -> int:
    """Give up what nobody needs; called with the lock held and no transaction open.

    Args:
        limit: Records to look at, more or less: bounds the pause.
        pinned: Revision of the oldest snapshot.
        by_age: Last revision that is too old by the history's seconds.

    Returns:
        How many records were looked at; less than `limit` when nothing is left to do.
    """
    log = table.log
    log.roll()
    revision = table.revision
    done = 0
    if table._swept < revision:
        until = min(pinned, _outside_history(table, by_age))
        most = table.db.max_pinned
        if len(log) - table._count > most:
            until = max(until, log.newest(most))
        until = min(until, revision)
        if until > table._swept:
            done = _sweep(table, until, limit)
    if table._graves and done < limit:
        done += _bury(table, limit - done)
    for postings in table.postings:
        if done < limit:
            done += postings.forget(table._swept, limit - done)
    return done


def _outside_history(table: AnyTable, by_age: int) -> int:
    history = table.history
    if history is None:
        return table.revision
    until = by_age
    if history.records is not None:
        until = max(until, table.log.newest(history.records))
    if history.bytes is not None and history.size is not None:
        until = max(until, _outside_bytes(table, history.bytes, history.size))
    return until


def _outside_bytes(table: AnyTable, limit: int, size: Callable[[Any], int]) -> int:
    total = 0
    for segment in reversed(table.log.segments):
        total += segment.size(size)
        if total > limit:
            return segment.records[-1].revision if segment.records else 0
    return 0


def _sweep(table: AnyTable, until: int, limit: int) -> int:
    log = table.log
    records = log.between(table._swept, until, limit)
    touched: dict[int, None] = {}
    for record in records:
        replaced = record.prev
        if replaced is not None:
            record.prev = None
            table._floor = max(table._floor, replaced.revision)
            table._expired = record.revision
            segment = log.give_up(replaced)
            if segment.dead * 2 >= len(segment.records):
                touched[segment.first] = None
        if type(record) is Tombstone:
            table._graves.append(record)
    table._swept = records[-1].revision if len(records) == limit else until
    return len(records) + _rewrite(table, touched)


def _bury(table: AnyTable, limit: int) -> int:
    """Drop tombstones that every open cursor has passed and that are swept."""
    graves, head, log = table._graves, table.head, table.log
    until = table._swept
    if len(graves) <= table.db.max_pinned:
        for reference in list(table._cursors.values()):
            cursor = reference()
            if cursor is not None:
                until = min(until, max(cursor.revision, cursor.born))
    view = table._view
    if view is not None and graves[-1].revision > view.revision:
        # The view would catch up by these; past a quarter of the table it is built anew anyway.
        if len(graves) > min(table._count // 4 + 1000, table.db.max_pinned):
            table._view = None
        else:
            until = min(until, view.revision)
    touched: dict[int, None] = {}
    done = 0
    while graves and graves[0].revision <= until and done < limit:
        grave = graves.popleft()
        done += 1
        if head.get(grave.key) is grave:
            del head[grave.key]
            # Not above the cursors, unlike what snapshots may still ask for.
            table._grave_floor = max(table._grave_floor, grave.revision)
            table._expired = max(table._expired, grave.revision)
            table._floor = max(table._floor, grave.revision)
            segment = log.give_up(grave)
            if segment.dead * 2 >= len(segment.records):
                touched[segment.first] = None
    return done + _rewrite(table, touched)


def _rewrite(table: AnyTable, touched: Iterable[int]) -> int:
    return sum(table.log.rewrite(first) for first in touched)
