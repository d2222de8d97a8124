"""StateDB tables over HTTP, read-only: which there are, what is in them, and what changes, from any revision on.

Below /kubedyno/statedb: `` lists the tables, `NAME` shows one (prefix, index, lower bound, pages), `NAME/changes`
streams changes as lines of JSON. API objects are spliced from their bytes; nothing is read that a page does not show.
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import parse_qsl

import orjson

from kubedyno.base import aio
from kubedyno.cluster.assembly import controltext
from kubedyno.cluster.assembly.controlmodules import Modules
from kubedyno.cluster.storage.store import Store
from kubedyno.http.messages import Request, Responder, Stream
from kubedyno.kube.resources import Resource
from kubedyno.kube.status import BadRequest, Expired, NotFound
from kubedyno.statedb import dump
from kubedyno.statedb.changes import Changes
from kubedyno.statedb.db import DB
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Record, Tombstone
from kubedyno.statedb.table import AnyTable
from kubedyno.statedb.view import prefix_end

DEFAULT_LIMIT = 500
# Objects in one answer at most: all are made on the event loop's time, which is to be some milliseconds.
MAX_LIMITS = {"json": 2000, "table": 500, "yaml": 50}
JSON, YAML, TEXT, LINES = "application/json", "application/yaml", "text/plain; charset=utf-8", "application/x-ndjson"
# Changes handed over at once, and what a slow reader may leave unread.
BATCH_RECORDS = 256
UNREAD_BYTES = 1 << 20
# An idle stream says how far it is, so that its reader can resume from there.
BOOKMARK_S = 10.0
# How often the parts are asked while somebody watches what they say.
REFRESH_S = 0.5
_SHOW = frozenset({"prefix", "key", "lowerbound", "index", "limit", "continue", "format", "reverse"})
_CHANGES = frozenset({"since", "prefix", "full", "follow"})

Encode = Callable[[Record[Any]], bytes]
Entry = tuple[str | None, Record[Any]]


@dataclass(frozen=True, slots=True)
class _Source:
    """A table, where it is, and how its objects become JSON."""

    database: str
    db: DB
    table: AnyTable
    encode: Encode


class Tables:
    """Answers for the tables of a cluster.

    Args:
        store: The API objects'.
        modules: The cluster's own.
    """

    def __init__(self, store: Store, modules: Modules) -> None:
        self._store = store
        self._modules = modules
        self._tasks = aio.Tasks("a stream of changes")

    def answer(self, request: Request, responder: Responder, parts: list[str]) -> bool:
        """Answer a GET below /kubedyno/statedb; False when the path is none of these.

        Raises:
            StatusError: There is no such table, or the query is malformed or has expired.
        """
        if not parts:
            asked = _query(request, frozenset({"format"}))
            self._send(responder, self.overview(), asked.get("format", "json"), controltext.overview)
            return True
        if len(parts) == 1:
            self._show(responder, self._source(parts[0]), _query(request, _SHOW))
            return True
        if len(parts) == 2 and parts[1] == "changes":
            self._changes(responder, self._source(parts[0]), _query(request, _CHANGES))
            return True
        return False

    def _send(
        self, responder: Responder, document: dict[str, Any], format_: str, text: Callable[[dict[str, Any]], str]
    ) -> None:
        if format_ == "json":
            responder.send(200, JSON, orjson.dumps(document))
        elif format_ == "yaml":
            responder.send(200, YAML, dump.to_yaml(document).encode())
        elif format_ == "table":
            responder.send(200, TEXT, text(document).encode())
        else:
            raise BadRequest(f"format={format_}: there are {', '.join(MAX_LIMITS)}")

    # --- which there are -----------------------------------------------------------------------------------------

    def overview(self) -> dict[str, Any]:
        """Return all tables and databases with their figures."""
        self._modules.refresh()
        databases = {"objects": self._store.db, "modules": self._modules.db}
        return {
            "databases": [
                {
                    "name": name,
                    "revision": db.revision,
                    "readers": [
                        {"ageSeconds": round(reader.age_s, 3), "revision": reader.revision, "pins": reader.pins}
                        for reader in db.readers()
                    ],
                }
                for name, db in databases.items()
            ],
            "tables": [
                {
                    "name": name,
                    "database": where,
                    "objects": table.count,
                    "deleted": table.graveyard,
                    "trackers": table.trackers,
                    "revision": table.revision,
                    "oldestRevision": table.floor,
                    "indexes": [{"name": postings.name, "unique": postings.unique} for postings in table.postings],
                    "initialized": table.initialized,
                    "initializersPending": list(table.initializers.pending),
                }
                for where, db in databases.items()
                for name, table in sorted(db.tables.items())
            ],
        }

    def _source(self, name: str) -> _Source:
        modules, store = self._modules, self._store
        table = modules.db.tables.get(name)
        if table is not None:
            return _Source("modules", modules.db, table, _encode_plain)
        tables = store.db.tables
        # "deployments" is enough for "deployments.apps", as for kubectl.
        found = [name] if name in tables else [full for full in tables if full.startswith(name + ".")]
        if len(found) != 1:
            near = found or get_close_matches(name, [*modules.db.tables, *tables], 3, 0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "`kubedyno statedb list` shows them"
            raise NotFound(f"there is no table {name}; {hint}")
        table = tables[found[0]]
        resource = next((resource for resource in store.resources if store.table(resource) is table), None)
        return _Source("objects", store.db, table, _encode_plain if resource is None else self._encoder(resource))

    def _encoder(self, resource: Resource) -> Encode:
        def encode(record: Record[Any]) -> bytes:
            return self._store.encode(resource, record)

        return encode

    # --- what is in one ------------------------------------------------------------------------------------------

    def _show(self, responder: Responder, source: _Source, asked: Mapping[str, str]) -> None:
        format_ = asked.get("format", "json")
        if format_ not in MAX_LIMITS:
            raise BadRequest(f"format={format_}: there are {', '.join(MAX_LIMITS)}")
        most = MAX_LIMITS[format_]
        limit = _number(asked, "limit", min(DEFAULT_LIMIT, most), most)
        token = _position(asked["continue"]) if "continue" in asked else None
        if token is None and source.db is self._modules.db:
            self._modules.refresh()
        if "index" in asked:
            revision, entries = _by_index(source, asked, limit + 1, token)
        else:
            revision, entries = _by_key(source, asked, limit + 1, token)
        head: dict[str, Any] = {
            "table": source.table.name,
            "database": source.database,
            "revision": revision,
            "initialized": source.table.initializers.complete_at(revision),
        }
        if len(entries) > limit:
            entries = entries[:limit]
            index_key, record = entries[-1]
            head["continue"] = _token(revision, index_key, record.key)
        objects = b",".join(_entry(source, index_key, record) for index_key, record in entries)
        body = b'%b,"objects":[%b]}' % (orjson.dumps(head)[:-1], objects)
        if format_ == "json":
            responder.send(200, JSON, body)
        else:
            self._send(responder, orjson.loads(body), format_, lambda document: controltext.rows(document["objects"]))

    # --- what changes --------------------------------------------------------------------------------------------

    def _changes(self, responder: Responder, source: _Source, asked: Mapping[str, str]) -> None:
        """Begin a stream; a revision that is gone is told before it begins."""
        since = _number(asked, "since", 0, None)
        if since > source.db.revision:
            raise BadRequest(f"since={since}: the database is at revision {source.db.revision} only")
        if source.db is self._modules.db:
            self._modules.refresh()
        full = asked.get("full") == "true"
        cursor = source.table.changes(since)
        read = cursor.next_full if full else cursor.next
        try:
            first = read(BATCH_RECORDS)
        except ExpiredError as error:
            raise Expired(str(error)) from error
        stream = responder.start(200, LINES)
        follow = asked.get("follow", "true") != "false"
        task = self._tasks.spawn(self._stream(stream, source, cursor, read, first, asked.get("prefix", ""), follow))
        stream.on_close = task.cancel  # type: ignore[assignment]

    async def _stream(
        self,
        stream: Stream,
        source: _Source,
        cursor: Changes[Any],
        read: Callable[[int], list[Record[Any]]],
        records: list[Record[Any]],
        prefix: str,
        follow: bool,
    ) -> None:
        told = -1
        try:
            while True:
                watch = source.table.watch(since=cursor.revision)
                if records:
                    stream.write(b"".join(_change(source, r) for r in records if r.key.startswith(prefix)))
                    await stream.drain(UNREAD_BYTES)
                if not cursor.behind:
                    # Up to here nothing more is to come: of the table, and so of the database.
                    if told != cursor.revision or not follow:
                        told = cursor.revision
                        stream.write(_bookmark(source, told))
                    if not follow:
                        break
                    await self._wait(stream, source, cursor, watch)
                try:
                    records = read(BATCH_RECORDS)
                except ExpiredError as error:
                    line = {"type": "ERROR", "code": Expired.code, "reason": Expired.reason, "message": str(error)}
                    stream.write(orjson.dumps(line) + b"\n")
                    break
            stream.close()
        finally:
            cursor.close()

    async def _wait(self, stream: Stream, source: _Source, cursor: Changes[Any], watch: Any) -> None:
        """Return when the table has changed; say now and then how far the stream is."""
        own = source.db is self._modules.db
        idle_s = 0.0
        wait_s = REFRESH_S if own else BOOKMARK_S
        while not watch.closed:
            try:
                async with aio.timeout(wait_s):
                    await watch.wait()
            except TimeoutError:
                if own:
                    self._modules.refresh()
                idle_s += wait_s
                if idle_s >= BOOKMARK_S:
                    idle_s = 0.0
                    stream.write(_bookmark(source, cursor.revision))


def _by_key(
    source: _Source, asked: Mapping[str, str], limit: int, token: tuple[int, str | None, str] | None
) -> tuple[int, list[Entry]]:
    """Return a revision and records by key as of it: one, those with a prefix, or those from a lower bound on."""
    table = source.table
    if "key" in asked:
        record = table.get(asked["key"])
        if record is None:
            raise NotFound(f"table {table.name} has no {asked['key']!r}")
        return source.db.revision, [(None, record)]
    prefix, reverse = asked.get("prefix", ""), asked.get("reverse") == "true"
    lo, hi = max(prefix, asked.get("lowerbound", "")), prefix_end(prefix) if prefix else None
    revision = source.db.revision
    if token is not None:
        revision, _, key = token
        lo, hi = (lo, key) if reverse else (key + "\0", hi)
    try:
        records = table.view_at(revision).range(lo, hi, limit, reverse=reverse)
    except ExpiredError as error:
        raise Expired(f"{error}; begin the list anew, without continue") from error
    return revision, [(None, record) for record in records]


def _by_index(
    source: _Source, asked: Mapping[str, str], limit: int, token: tuple[int, str | None, str] | None
) -> tuple[int, list[Entry]]:
    """Return records by an index, exact or by prefix, as they are now: pages of an index are each of their own time."""
    table, name = source.table, asked["index"]
    if name not in table.by_name:
        known = ", ".join(table.by_name) or "none"
        raise BadRequest(f"index={name}: table {table.name} has no such index; it has: {known}")
    after = None
    if token is not None:
        if token[1] is None:
            raise BadRequest("continue: the token is of a list without an index")
        after = token[1], token[2]
    snapshot = source.db.read()
    hi: str | None
    if "key" in asked:
        lo, hi = asked["key"], asked["key"] + "\0"
    else:
        prefix = asked.get("prefix", "")
        lo, hi = max(prefix, asked.get("lowerbound", "")), prefix_end(prefix) if prefix else None
    found = snapshot.scan(table, name, lo, hi, limit, reverse=asked.get("reverse") == "true", after=after)
    return snapshot.revision, list(found)


def _encode_plain(record: Record[Any]) -> bytes:
    return orjson.dumps(dump.jsonable(dump.plain(record.obj)))


def _entry(source: _Source, index_key: str | None, record: Record[Any]) -> bytes:
    head: dict[str, Any] = {} if index_key is None else {"indexKey": index_key}
    head |= {"key": record.key, "revision": record.revision}
    return b'%b,"object":%b}' % (orjson.dumps(head)[:-1], source.encode(record))


def _change(source: _Source, record: Record[Any]) -> bytes:
    gone = type(record) is Tombstone
    head = {"type": "DELETE" if gone else "PUT", "key": record.key, "revision": record.revision}
    return b'%b,"object":%b}\n' % (orjson.dumps(head)[:-1], source.encode(record))


def _bookmark(source: _Source, revision: int) -> bytes:
    line = {"type": "BOOKMARK", "revision": revision, "initialized": source.table.initialized}
    return orjson.dumps(line) + b"\n"


def _query(request: Request, known: Iterable[str]) -> dict[str, str]:
    asked = dict(parse_qsl(request.query, keep_blank_values=True))
    for name in asked:
        if name not in known:
            raise BadRequest(f"{request.path} has no parameter {name}; it has: {', '.join(sorted(known))}")
    return asked


def _number(asked: Mapping[str, str], name: str, default: int, most: int | None) -> int:
    text = asked.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or (most is not None and not 1 <= int(text) <= most):
        raise BadRequest(f"{name}={text}: write a number" + ("" if most is None else f" from 1 to {most}"))
    return int(text)


def _token(revision: int, index_key: str | None, key: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([revision, index_key, key])).rstrip(b"=").decode()


def _position(token: str) -> tuple[int, str | None, str]:
    try:
        revision, index_key, key = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, TypeError):
        raise BadRequest("continue: this is no token of ours") from None
    if not isinstance(revision, int) or not isinstance(index_key, str | None) or not isinstance(key, str):
        raise BadRequest("continue: this is no token of ours")
    return revision, index_key, key
