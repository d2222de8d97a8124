"""Runs that a team keeps in an OpenSearch, as a run store: what an OpenSearch indexer wrote there, and the names given to it.

In: `kubedynoRun` documents, each of which is a row. Out: rows of `documents.runstore`, oldest first. A tag is a document of its
own, whose `_id` is its content's hash: two who give and take away names at once hinder each other nowhere, and a run that is
indexed again keeps its own. Runs come here at their end; what was killed stays in the store of its machine.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import msgspec

from kubedyno.base.errors import KubedynoError
from kubedyno.documents import run as load
from kubedyno.documents import runstore
from kubedyno.documents.opensearch import OpenSearchIndexer
from kubedyno.documents.run import RunDocument
from kubedyno.documents.runstore import RunRecord
from kubedyno.lab.circumstances import encoded
from kubedyno.lab.runs import record_of_load

TAG_NAME = "kubedynoTag"
# Large, and no figure is made of them.
_UNREAD = ("jobs.timeline", "jobs.hdr_us")

Key: TypeAlias = tuple[str, str, str]
T = TypeVar("T")


class TagDocument(msgspec.Struct, frozen=True):
    """A name of a run."""

    uuid: str
    kind: str
    started: str
    tag: str
    metricName: str = TAG_NAME


class TeamStore:
    """The runs in an index.

    Args:
        server: URL.
        index: Its name; for reading alone also a pattern.
        insecure: Do not check the server's certificate.

    Raises:
        KubedynoError: The package is missing, or the URL is none.
    """

    def __init__(self, server: str, index: str, *, insecure: bool) -> None:
        self._connect = partial(OpenSearchIndexer, [server], index, insecure=insecure)
        self._indexer = self._connect(making=False)
        self.name = f"index {index}"
        # One command reads an index once.
        self._known: list[RunRecord] | None = None

    def select(
        self,
        *,
        kind: str | None = None,
        tags: Sequence[str] = (),
        since_s: float | None = None,
        uuid: str | None = None,
    ) -> list[RunRecord]:
        """Return runs, oldest first: see `RunStore.select`.

        Raises:
            KubedynoError: The index cannot be read, or holds what is no run of this version's.
        """
        if self._known is None:
            self._known = self._read()
        return [
            record
            for record in self._known
            if kind in {None, record.kind}
            and set(tags) <= set(record.tags)
            and (since_s is None or record.started_s >= since_s)
            and record.uuid.startswith(uuid or "")
        ]

    def _read(self) -> list[RunRecord]:
        named: dict[Key, set[str]] = {}
        for tag in self._decoded(self._indexer.read(TAG_NAME), TagDocument):
            named.setdefault((tag.uuid, tag.kind, tag.started), set()).add(tag.tag)
        found: dict[Key, RunRecord] = {}
        for document in self._decoded(map(_whole, self._indexer.read(load.FILE_NAME, without=_UNREAD)), RunDocument):
            try:
                record = record_of_load(document, None)
            except ValueError as error:
                raise self._damaged(error) from error
            found[_key(record)] = msgspec.structs.replace(record, tags=tuple(sorted(named.get(_key(record), ()))))
        return sorted(found.values(), key=lambda record: record.started_s)

    def find(self, uuid: str) -> list[RunRecord]:
        """Return the runs of a uuid, or of its beginning: see `RunStore.find`."""
        return runstore.named(self.select(uuid=uuid), uuid, self.name)

    def add(self, documents: Sequence[RunDocument]) -> list[RunRecord]:
        """Store runs, those that are there already once, in an index that is made if missing; returns their rows.

        Raises:
            KubedynoError: They cannot be stored.
        """
        self._connect(making=True).write(load.FILE_NAME, encoded(documents), at_once=True)
        self._known = None
        return [record_of_load(document, None) for document in documents]

    def tag(self, records: Sequence[RunRecord], names: Sequence[str], *, remove: bool = False) -> None:
        """Give runs names, or take them away; raises as `add`."""
        if remove:
            keys = {_key(record) for record in records}
            self._remove(TAG_NAME, lambda source: _key_of(source) in keys and source["tag"] in names)
        else:
            made = [TagDocument(one.uuid, one.kind, one.started, name) for one in records for name in names]
            self._indexer.write(TAG_NAME, encoded(made), at_once=True)

    def remove(self, records: Sequence[RunRecord]) -> None:
        """Forget runs, and what they were named; their other documents stay. Raises as `add`."""
        keys = {_key(record) for record in records}
        for metric in (load.FILE_NAME, TAG_NAME):
            self._remove(metric, lambda source: _key_of(source) in keys)

    def remove_documents(self, uuid: str) -> int:
        """Remove all documents that carry a uuid, and return how many; raises as `add`."""
        return self._indexer.remove("uuid", uuid, lambda _: True)

    def _remove(self, metric: str, wanted: Any) -> None:
        self._indexer.remove("metricName", metric, wanted, told=("uuid", "kind", "started", "tag"))

    def _decoded(self, documents: Iterable[Any], kind: type[T]) -> list[T]:
        try:
            return msgspec.convert(list(documents), list[kind])  # type: ignore[valid-type]
        except msgspec.ValidationError as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> KubedynoError:
        return KubedynoError(f"{self.name}: holds a run that cannot be read ({error})")


def _whole(document: dict[str, Any]) -> dict[str, Any]:
    """Return a run's document with what was not asked for empty."""
    jobs = document.get("jobs")
    if isinstance(jobs, list):
        document["jobs"] = [{"timeline": [], **job} if isinstance(job, dict) else job for job in jobs]
    return document


def _key(record: RunRecord) -> Key:
    return record.uuid, record.kind, record.started


def _key_of(source: dict[str, Any]) -> Key:
    return source["uuid"], source.get("kind", "init"), source["started"]
