"""GET: one object, a list of them (whole, in pages, at a revision), or a watch.

A long list is a sequence of records, fixed when the request came, and is encoded piece by piece as the client reads
it: its JSON is never in memory as a whole.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice

import orjson

from kubedyno.base.aio import Spawn
from kubedyno.cluster.apiserver import compression
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import Encoder, list_meta, text_around, text_of, value_bytes
from kubedyno.cluster.apiserver.negotiation import COLLECTION_MEDIA, JSON, METADATA, OBJECT, PROTOBUF, TABLE, YAML, Form
from kubedyno.cluster.apiserver.paging import ContinueExpired, Position, after, position_of, token_of
from kubedyno.cluster.apiserver.queries import ListOptions, include_object_of, list_options, parameters, revision_of
from kubedyno.cluster.apiserver.revisions import RevisionToCome
from kubedyno.cluster.apiserver.selection import Selection
from kubedyno.cluster.apiserver.watch import WatchHub
from kubedyno.cluster.apiserver.watchstreams import opened_socket
from kubedyno.cluster.registry.customresources import CustomResource
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.http.messages import Stream
from kubedyno.http.websocket import is_handshake
from kubedyno.kube.status import BadRequest, Expired, NotAcceptable, StatusError, not_found, too_large
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.view import View, prefix_end

# Encoded at once: a tenth of a millisecond of pods. Rows are made from parsed objects, a third of a millisecond.
ITEMS_A_STEP, ROWS_A_STEP = 64, 10
# Objects whose labels and fields are looked at: a third of a millisecond.
CANDIDATES_A_STEP = 500
# Objects written for readers, in YAML or with indents.
TEXTS_A_STEP = 10
# What the real server keeps no cache of: its answers come from the store itself.
_UNCACHED = frozenset({"events"})
# A piece of a long list, and how much of it may wait for the client.
PIECE_BYTES = 64 << 10
AHEAD_BYTES = 256 << 10
# What is kept of a long protobuf list until its length is known.
KEPT_BYTES = 16 << 20
_STREAM_MEDIA = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"


class Page:
    """What a list answers: records, and where they stand in the whole."""

    __slots__ = ("records", "remaining", "revision", "token")

    def __init__(
        self, records: Sequence[ObjectRecord], revision: int, token: str = "", remaining: int | None = None
    ) -> None:
        self.records = records
        self.revision = revision
        self.token = token
        self.remaining = remaining


class Reads:
    """Answers GET.

    Args:
        registry: Whose objects.
        hub: Opens watches.
        encoder_of: A kind's encoder.
        spawn: Runs what outlives the call.
        refuse: Answers a call with an error.
        listed: Told of each list: kind, index, objects looked at, objects returned.
        zips: Large answers are compressed for clients that take it.
    """

    def __init__(
        self,
        registry: Registry,
        hub: WatchHub,
        encoder_of: Callable[[Kind], Encoder],
        spawn: Spawn,
        refuse: Callable[[Call, Exception], None],
        listed: Callable[[Kind, str, int, int], None],
        *,
        zips: bool = False,
    ) -> None:
        self._registry = registry
        self._zips = zips
        self._store = registry.store
        self._hub = hub
        self._encoder_of = encoder_of
        self._spawn = spawn
        self._refuse = refuse
        self._listed = listed

    def get(self, call: Call) -> None:
        """Answer with one object."""
        route, request = call.route, call.request
        query = request.query
        given = parameters(query) if query else {}
        form = call.form(given.get("pretty"))
        include_object = "Metadata"
        if query:
            revision, no_revision = revision_of(given.get("resourceVersion", ""))
            if no_revision:
                # A 500, as of a watch: the real server forgets to wrap it.
                raise StatusError(no_revision, code=500, reason="")
            self._check_revision(revision, retry=route.kind.resource.plural not in _UNCACHED)
            include_object = given.get("includeObject", "")
        record = self.record(call)
        if form.shape is TABLE:
            include_object = include_object_of(include_object)
        self._answer(call, form.media, self._encoder_of(route.kind).object(record, form, include_object))

    def _answer(self, call: Call, media: str, body: bytes) -> None:
        if self._zips and compression.is_taken(call):
            compression.answer(call, 200, media, body)
        else:
            call.answer(200, media, body)

    def record(self, call: Call) -> ObjectRecord:
        """Return the object that a path names.

        Raises:
            NotFound: There is none.
        """
        route = call.route
        record = self._store.get(route.kind.resource, key_of(route.namespace, route.name))
        if record is None:
            raise not_found(route.kind.resource, route.name)
        return record

    def list(self, call: Call) -> None:
        """Answer with a list, or begin a watch."""
        route, request = call.route, call.request
        form = call.form(parameters(request.query).get("pretty"), route=COLLECTION_MEDIA)
        options = list_options(request.query, watched=call.watched is not None)
        if call.watched:
            self._registry.check_fields(route.kind, options.fields)
            options = options.named(call.watched)
        if isinstance(route.kind, CustomResource):
            route.kind.check_readable(self._store)
        selection = Selection(self._registry, route.kind, route.namespace, options.labels, options.fields)
        encoder = self._encoder_of(route.kind)
        if options.watch:
            options.check_revision()
            if form.shape is TABLE:
                include_object_of(options.include_object)
            call.verb = "watch"
            if form.media is YAML:
                raise NotAcceptable(f"only the following media types are accepted: {_STREAM_MEDIA}")
            self._hub.open(encoder, selection, options, form, _stream_of(call, form), call.turn)
            return
        sought = self._seek(selection, options)
        encoder.check(form, listed=True)
        include_object = include_object_of(options.include_object) if form.shape is TABLE else ""
        if selection.selective and len(sought.candidates) > CANDIDATES_A_STEP:
            self._spawn(self._send_selected(call, encoder, sought, form, include_object))
        else:
            self._send_listed(call, encoder, sought, sought.page(sought.selected()), form, include_object)

    def _send_listed(
        self, call: Call, encoder: Encoder, sought: "_Sought", page: Page, form: Form, include_object: str
    ) -> None:  # fmt: skip
        self._listed(call.route.kind, sought.index, len(sought.candidates), len(page.records))
        self.send(call, encoder, page, form, include_object)

    async def _send_selected(
        self, call: Call, encoder: Encoder, sought: "_Sought", form: Form, include_object: str
    ) -> None:
        """Look through many objects for those that are selected, and answer with them."""
        found: list[ObjectRecord] = []
        try:
            for start in range(0, len(sought.candidates), CANDIDATES_A_STEP):
                found += sought.selected(start, start + CANDIDATES_A_STEP)
                if sought.limit and len(found) > sought.limit:
                    break
                await call.turn()
                if call.responder.closed:
                    return
            self._send_listed(call, encoder, sought, sought.page(found), form, include_object)
        except StatusError as error:
            self._refuse(call, error)

    def send(self, call: Call, encoder: Encoder, page: Page, form: Form, include_object: str = "Metadata") -> None:
        """Answer with a page: at once when it is small, else piece by piece."""
        if form.media is PROTOBUF:
            self._send_messages(call, encoder, page, form)
            return
        head = encoder.head(form, page.revision, page.token, page.remaining)
        tail = b"]}"
        if not page.records and (form.shape is METADATA or (form.shape is TABLE and encoder.kind.rows_null)):
            head, tail = head.removesuffix(b"[") + b"null", b"}"
        compact = form.media is JSON and not form.pretty
        if compact and len(page.records) > ITEMS_A_STEP:
            stream = self._begin(call, form)
            self._spawn(_write_pieces(stream, call.turn, head, encoder, page.records, form, include_object))
            return
        if not compact and len(page.records) > TEXTS_A_STEP:
            self._spawn(_write_texts(self._begin(call, form), head, encoder, page.records, form, include_object))
            return
        body = head + encoder.items(page.records, form, include_object)
        if compact:
            self._answer(call, form.media, body + tail + b"\n")
        else:
            self._answer(call, form.media, value_bytes(orjson.loads(body + tail), form))

    def _begin(self, call: Call, form: Form) -> Stream:
        zipped = self._zips and compression.is_taken(call)
        return compression.Zipped(call, form.media) if zipped else call.start(200, form.media)

    def _send_messages(self, call: Call, encoder: Encoder, page: Page, form: Form) -> None:
        """Answer with a page as protobuf."""
        if len(page.records) > ITEMS_A_STEP:
            self._spawn(self._send_measured(call, encoder, page, form))
            return
        items = encoder.messages(page.records, form)
        before, after_all = encoder.list_ends(form, _meta_of(page), len(items))
        self._answer(call, form.media, b"".join((before, items, after_all)))

    async def _send_measured(self, call: Call, encoder: Encoder, page: Page, form: Form) -> None:
        """Answer with a long page as protobuf: its length comes first, so everything is made before the first byte.

        Of a very long one only the first part is kept until then, the rest is made twice.
        """
        kept: list[bytes] = []
        size = 0
        try:
            for start in range(0, len(page.records), ITEMS_A_STEP):
                piece = encoder.messages(page.records[start : start + ITEMS_A_STEP], form)
                if size < KEPT_BYTES:
                    kept.append(piece)
                size += len(piece)
                await call.turn()
                if call.responder.closed:
                    return
        except StatusError as error:
            self._refuse(call, error)
            return
        before, after_all = encoder.list_ends(form, _meta_of(page), size)
        await _write_messages(self._begin(call, form), (before, after_all), encoder, page.records, form, kept)

    # --- which records -----------------------------------------------------------------------------------------

    def _check_revision(self, revision: int, *, retry: bool = True) -> None:
        """Refuse a revision that is still to come.

        Args:
            revision: What is asked for.
            retry: Wait for it, and tell the client to ask again, as the real server's cache does.

        Raises:
            RevisionToCome: The real server's cache waits for it.
            Timeout: What has no cache knows at once.
        """
        current = self._store.revision
        if revision > current:
            raise RevisionToCome(revision, current) if retry else too_large(revision, current, retry=False)

    def page(self, selection: Selection, options: ListOptions) -> Page:
        """Return the records that a list request is about.

        Raises:
            StatusError: The revision or the continue token will not do.
        """
        sought = self._seek(selection, options)
        return sought.page(sought.selected())

    def _seek(self, selection: Selection, options: ListOptions) -> "_Sought":
        """Return among which records those are that a list request is about.

        Raises:
            StatusError: The revision or the continue token will not do.
        """
        head = self._store.revision
        revision, start, limit = head, "", options.limit
        kind, namespace = selection.kind, selection.namespace
        prefix = f"{namespace}/" if namespace and kind.resource.namespaced else ""
        cached = kind.resource.plural not in _UNCACHED
        if options.revision_text == "0" and cached:
            # "Whatever is at hand" is all at once, from the real server's cache.
            limit = 0
        if options.continue_token:
            position = position_of(options.continue_token)
            if options.revision_text not in {"", "0"}:
                raise BadRequest("specifying resource version is not allowed when using continue")
            self._check_revision(position.revision, retry=cached)
            start = prefix + position.start
            revision = head if position.revision < 0 else position.revision
        else:
            options.check_revision()
            # One object is looked up, not listed.
            single = bool(selection.table_key)
            exact = options.revision_match == "Exact"
            self._check_revision(options.revision, retry=cached and not (exact and single))
            # A limit without a match means exactly that revision too, as it always did.
            if options.revision and (exact or (limit and not options.revision_match and not single)):
                revision = options.revision
        if revision == head and not start and not limit:
            return _Sought(selection, selection.candidates(self._store), head)
        view = self._view(selection, revision, start.removeprefix(prefix))
        low, high = start or prefix, prefix_end(prefix) if prefix else None
        candidates = view.range(low, high, limit + 1 if limit and not selection.selective else None)
        return _Sought(selection, candidates, revision, limit, prefix, view)

    def _view(self, selection: Selection, revision: int, start: str) -> View:
        try:
            return self._store.table(selection.kind.resource).view_at(revision)
        except ExpiredError:
            if start:
                raise ContinueExpired(start) from None
            raise Expired("The resourceVersion for the provided list is too old.") from None


class _Sought:
    """What a list request is about, before its selectors are asked.

    Args:
        selection: What it is about.
        candidates: Records at its revision, in key order, from where it begins on.
        revision: At which it looks.
        limit: How many it wants at most; 0 for all.
        prefix: Of the keys that it is about.
        view: The records at its revision, where it has a limit or a revision of its own.
    """

    __slots__ = ("_prefix", "_revision", "_selection", "_view", "candidates", "limit")

    def __init__(
        self,
        selection: Selection,
        candidates: Sequence[ObjectRecord],
        revision: int,
        limit: int = 0,
        prefix: str = "",
        view: View | None = None,
    ) -> None:
        self._selection = selection
        self.candidates = candidates
        self._revision = revision
        self.limit = limit
        self._prefix = prefix
        self._view = view

    @property
    def index(self) -> str:
        """By which index the candidates were found, as the real server names it; "" for none."""
        return self._selection.index if self._view is None else ""

    def selected(self, start: int = 0, end: int | None = None) -> Sequence[ObjectRecord]:
        """Return the selected ones of some candidates, of all by default: up to one more than the limit."""
        if not self._selection.selective:
            return self.candidates
        found = filter(self._selection.matches, self.candidates[start:end])
        return list(islice(found, self.limit + 1 if self.limit else None))

    def page(self, found: Sequence[ObjectRecord]) -> Page:
        """Return the page with what was found: of more than the limit what is past it is for the next one."""
        limit, view, revision, prefix = self.limit, self._view, self._revision, self._prefix
        selective = self._selection.selective
        if view is None or not limit or len(found) < limit or self._selection.table_key:
            return Page(found, revision)
        follows = after(found[limit - 1].key)
        high = prefix_end(prefix) if prefix else None
        # Whether what follows would be selected is for the next page to find out.
        if len(found) == limit and not (selective and len(view.range(follows, high, 1))):
            return Page(found, revision)
        remaining = None if selective else len(view.range(follows, high))
        return Page(found[:limit], revision, token_of(Position(revision, follows.removeprefix(prefix))), remaining)


def _stream_of(call: Call, form: Form) -> Callable[[int, str], Stream | None]:
    """Return what begins the answer to a watch."""

    def start(status: int, media: str) -> Stream | None:
        if is_handshake(call.request.headers):
            return opened_socket(call, text=form.media is JSON)
        return call.start(status, media)

    return start


def _meta_of(page: Page) -> bytes:
    return list_meta(page.revision, page.token, page.remaining)


@asynccontextmanager
async def _whole(stream: Stream) -> AsyncIterator[None]:
    """See that a client does not take half a list for a whole one."""
    try:
        yield
    except BaseException:
        stream.abort()
        raise


async def _write_messages(
    stream: Stream,
    ends: tuple[bytes, bytes],
    encoder: Encoder,
    records: Sequence[ObjectRecord],
    form: Form,
    kept: list[bytes],
) -> None:
    async with _whole(stream):
        stream.write(ends[0])
        kept.reverse()
        for start in range(0, len(records), ITEMS_A_STEP):
            step = records[start : start + ITEMS_A_STEP]
            stream.write(kept.pop() if kept else encoder.messages(step, form))
            await stream.drain(AHEAD_BYTES)
            if stream.closed:
                return
        stream.write(ends[1])
        stream.close()


async def _write_texts(
    stream: Stream, head: bytes, encoder: Encoder, records: Sequence[ObjectRecord], form: Form, include_object: str
) -> None:
    """Write a list for readers: two milliseconds an object of YAML."""
    async with _whole(stream):
        before, after_all = text_around(orjson.loads(head + b"]}"), form)
        stream.write(before)
        step = 1 if form.media is YAML else TEXTS_A_STEP
        for start in range(0, len(records), step):
            if stream.closed:
                return
            items = orjson.loads(b"[%b]" % encoder.items(records[start : start + step], form, include_object))
            stream.write(text_of(items, form, first=not start))
            await stream.drain(AHEAD_BYTES)
        stream.write(after_all)
        stream.close()


async def _write_pieces(
    stream: Stream,
    turn: Callable[[], Awaitable[None]],
    head: bytes,
    encoder: Encoder,
    records: Sequence[ObjectRecord],
    form: Form,
    include_object: str,
) -> None:
    async with _whole(stream):
        pieces, size = [head], len(head)
        items = ITEMS_A_STEP if form.shape is OBJECT else ROWS_A_STEP
        for start in range(0, len(records), items):
            if stream.closed:
                return
            if start:
                pieces.append(b",")
            piece = encoder.items(records[start : start + items], form, include_object)
            pieces.append(piece)
            size += len(piece)
            if size >= PIECE_BYTES:
                stream.write(b"".join(pieces))
                pieces, size = [], 0
                del piece
                await stream.drain(AHEAD_BYTES)
            elif form.shape is not OBJECT:
                await turn()
        pieces.append(b"]}\n")
        stream.write(b"".join(pieces))
        stream.close()
