"""The log of one table: every kept record in revision order, in segments that are compacted one by one.

It is revision index, change feed, graveyard and undo log at once. Writers append to the last segment; readers
take slices without a lock, which is safe because a committed part never changes in place: compaction replaces
segments in a copy of the directory.
"""

from bisect import bisect_right
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from kubedyno.statedb.records import DEAD, Record

AnyRecord = Record[Any]

# Rewriting one segment is the longest uninterruptible step of compaction: 4,096 records are about 0.1 ms.
SEGMENT_RECORDS = 4096

_first = attrgetter("first")
_revision = attrgetter("revision")


class Segment:
    """Records in revision order. `dead` counts those that compaction gave up and that still lie here."""

    __slots__ = ("bytes", "dead", "first", "records", "sized")

    def __init__(self, first: int, records: list[AnyRecord]) -> None:
        # Not above the revision of any record in it and above those of the segment before it.
        self.first = first
        self.records = records
        self.dead = 0
        # Sum of the sizes of so many records from the first on; see `size`.
        self.bytes = self.sized = 0

    def size(self, size: Callable[[Any], int]) -> int:
        """Return the sum of the sizes of all records. O(committed since the last call)."""
        records = self.records
        if self.sized < len(records):
            self.bytes += sum([size(record.obj) for record in records[self.sized :]])
            self.sized = len(records)
        return self.bytes


class Log:
    """See the module. The owner holds the database's lock for everything but `between`."""

    __slots__ = ("segments", "tail")

    def __init__(self) -> None:
        self.segments = [Segment(0, [])]
        # The last segment's records: what writers append to.
        self.tail: list[AnyRecord] = self.segments[-1].records

    def __len__(self) -> int:
        """Count all records, dead ones that still lie here included."""
        return sum(len(segment.records) for segment in self.segments)

    def roll(self) -> None:
        """Close the last segment if it is full; called between transactions."""
        tail = self.tail
        if len(tail) < SEGMENT_RECORDS:
            return
        segments = self.segments
        if len(tail) > SEGMENT_RECORDS:
            segments = segments[:-1]
            for start in range(0, len(tail), SEGMENT_RECORDS):
                part = tail[start : start + SEGMENT_RECORDS]
                segment = Segment(part[0].revision, part)
                segment.dead = sum(record.prev is DEAD for record in part)
                segments.append(segment)
        else:
            segments = segments.copy()
        segments.append(Segment(tail[-1].revision + 1, []))
        self.segments = segments
        self.tail = segments[-1].records

    def between(self, after: int, until: int, limit: int | None = None) -> list[AnyRecord]:
        """Return the records with after < revision ≤ until, oldest first, at most `limit`. O(log n + result)."""
        segments = self.segments
        position = max(bisect_right(segments, after, key=_first) - 1, 0)
        found: list[AnyRecord] = []
        for segment in segments[position:]:
            if segment.first > until:
                break
            records = segment.records
            # One call each, into what is committed: an abort may shorten the last segment at any time.
            start = bisect_right(records, after, key=_revision) if not found else 0
            end = bisect_right(records, until, lo=start, key=_revision)
            if limit is not None:
                end = min(end, start + limit - len(found))
            if found:
                found += records[start:end]
            else:
                found = records[start:end]
            if limit is not None and len(found) >= limit:
                break
        return found

    def give_up(self, record: AnyRecord) -> Segment:
        """Mark a record as unreachable; returns its segment, which wants a rewrite when half of it is dead."""
        record.prev = DEAD
        segments = self.segments
        segment = segments[max(bisect_right(segments, record.revision, key=_first) - 1, 0)]
        segment.dead += 1
        return segment

    def rewrite(self, first: int) -> int:
        """Drop the dead records of the segment that covers a revision, if they are half of it; join small neighbours.

        Returns:
            How many records were looked at.
        """
        segments = self.segments
        position = max(bisect_right(segments, first, key=_first) - 1, 0)
        segment = segments[position]
        looked = len(segment.records)
        if segment.dead * 2 < looked or not segment.dead:
            return 0
        segments = segments.copy()
        kept = [record for record in segment.records if record.prev is not DEAD]
        fresh = Segment(segment.first, kept)
        if segment.records is self.tail:
            segments[position] = fresh
            self.tail = kept
        elif position and len(kept) + len(segments[position - 1].records) <= SEGMENT_RECORDS:
            before = segments[position - 1]
            joined = Segment(before.first, before.records + kept)
            joined.dead = before.dead
            segments[position - 1 : position + 1] = [joined]
        else:
            segments[position] = fresh
        self.segments = segments
        return looked

    def newest(self, n: int) -> int:
        """Return the revision of the newest record that `n` others follow; 0 when there are not so many."""
        for segment in reversed(self.segments):
            size = len(segment.records)
            if n < size:
                return segment.records[size - 1 - n].revision
            n -= size
        return 0

    def destroy(self) -> None:
        """Cut every chain: freeing one of 100,000 links or more at once overflows the C stack of CPython."""
        for segment in self.segments:
            for record in segment.records:
                record.prev = None
