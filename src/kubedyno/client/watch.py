"""Watches that go on: they resume where they were, and list again when the server has forgotten where that was."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Self, TypeVar

import msgspec

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.kube.status import Expired, Gone, StatusError

if TYPE_CHECKING:
    from kubedyno.client.api import Client
    from kubedyno.http.exchange import StreamExchange

T = TypeVar("T")
log = logger(__name__)

# How long one watch request may last; the server ends it then and we resume. client-go: 5 to 10 minutes.
WATCH_S = 480
# A lost server is tried again after 0.1, 0.2, 0.4 … 10 s, and given up after so long without any answer.
_FIRST_DELAY_S = 0.1
_MAX_DELAY_S = 10.0
_GIVE_UP_S = 300.0
_MAX_LINE = 64 << 20


class WatchEvent(NamedTuple):
    """ADDED, MODIFIED or DELETED, and the object's JSON."""

    type: str
    raw: bytes


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Meta(msgspec.Struct):
    resourceVersion: str = ""


class _Versioned(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


class _Status(msgspec.Struct):
    code: int = 500


# By the letter that tells the type.
_USUAL = {
    ord(kind[0]): (kind, b'{"type":"%b","object":' % kind.encode(), len(kind) + len('{"type":"","object":'))
    for kind in ("MODIFIED", "ADDED", "DELETED")
}
_LETTER = len('{"type":"')
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_versioned = msgspec.json.Decoder(_Versioned).decode
_decode_status = msgspec.json.Decoder(_Status).decode


def version_of(raw: bytes) -> str:
    """Return an object's resourceVersion."""
    return _decode_versioned(raw).metadata.resourceVersion


def _joined(path: str, query: str) -> str:
    return f"{path}?{query}" if query else path


def _read(line: bytes) -> WatchEvent:
    """Return an event of a line.

    Raises:
        msgspec.DecodeError: It is none.
    """
    if line.endswith(b"}}") and len(line) > _LETTER:
        # As Go writes it: the object need not be read to know where it begins and ends.
        usual = _USUAL.get(line[_LETTER])
        if usual is not None and line.startswith(usual[1]):
            return WatchEvent(usual[0], line[usual[2] : -1])
    event = _decode_event(line)
    return WatchEvent(event.type, bytes(event.object))


def _read_all(lines: list[bytes]) -> tuple[list[WatchEvent], bytes, Exception | None]:
    """Return the events of lines, the last object told, and what ended them before their end."""
    events: list[WatchEvent] = []
    last = b""
    try:
        for line in lines:
            if not line:
                continue
            event = _read(line)
            if event.type == "ERROR":
                error = StatusError.from_response(_decode_status(event.raw).code, event.raw)
                again = error.code >= 500 or error.code == 429
                return events, last, ConnectionError(error.message) if again else error
            last = event.raw
            if event.type != "BOOKMARK":
                events.append(event)
    except msgspec.DecodeError as error:
        return events, last, error
    return events, last, None


class Pace:
    """How a watch is read: at once as something comes, or at the reader's turns.

    Attributes:
        patience: Bytes that may lie unread between two turns.
        came_s: The loop's time at which what was yielded last has come.
    """

    def __init__(self, patience: int = 0) -> None:
        self.patience = patience
        self.came_s = 0.0
        self.stream: StreamExchange | None = None

    def turn(self) -> None:
        """Have what has come read now."""
        if self.stream is not None:
            self.stream.nudge()


async def watch(
    client: "Client", path: str, query: str, version: str, pace: Pace
) -> AsyncGenerator[list[WatchEvent], None]:
    """Yield events after a resourceVersion, those together that came together, over as many requests as it takes."""
    delay_s = 0.0
    lost_s: float | None = None
    renewed = False
    loop = asyncio.get_running_loop()
    while True:
        options = f"watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}"
        resume = f"&resourceVersion={version}" if version else ""
        wait_s = 0.0
        last = b""
        try:
            stream = await client.open_stream(_joined(path, f"{query}{'&' if query else ''}{options}{resume}"))
            stream.patience, pace.stream = pace.patience, stream
            try:
                if stream.status != 200:
                    error = StatusError.from_response(stream.status, await stream.read())
                    if error.code == 401 and not renewed and await client.renew():
                        renewed = True
                        continue
                    if error.code < 500 and error.code != 429:
                        raise error
                    text = stream.headers.get("retry-after", "")
                    wait_s = float(text) if text.isascii() and text.isdigit() else 0.0
                    raise ConnectionError(error.message)
                else:
                    renewed = False
                    delay_s = 0.0
                    lost_s = None
                    rest = b""
                    while pieces := await stream.pieces():
                        for came_s, together in groupby(pieces, itemgetter(0)):
                            *lines, rest = b"".join([rest, *(piece for _, piece in together)]).split(b"\n")
                            if len(rest) > _MAX_LINE:
                                raise ConnectionError(f"an event of more than {_MAX_LINE} bytes")
                            events, told, fault = _read_all(lines)
                            last = told or last
                            if events:
                                pace.came_s = came_s
                                yield events
                            if fault is not None:
                                raise fault
            finally:
                pace.stream = None
                stream.close()
        except (OSError, msgspec.DecodeError) as trouble:
            now_s = loop.time()
            lost_s = now_s if lost_s is None else lost_s
            if now_s - lost_s > _GIVE_UP_S:
                broken = trouble if isinstance(trouble, OSError) else ConnectionError(str(trouble))
                raise client.unreachable(broken) from trouble
            log.debug("watch of %s: %s", path, trouble)
        finally:
            if last:
                version = version_of(last) or version
        if lost_s is not None:
            delay_s = min(max(_FIRST_DELAY_S, 2 * delay_s), _MAX_DELAY_S)
        elif not last:
            # An answer that ended at once, with nothing in it: do not ask in a tight loop.
            delay_s = _FIRST_DELAY_S
        else:
            delay_s = 0.0
        if max(wait_s, delay_s):
            await aio.sleep(max(wait_s, delay_s))


class ListWatch(Generic[T]):
    """All objects there are, then what changes: pairs of a type and an object.

    The types are ADDED, MODIFIED and DELETED, and two that carry None: SYNCED once a list is through, and RELIST when
    the server has forgotten where we were: what follows is a whole list again, and what it lacks is gone.

    Use it as an async iterator, or iterate over `together`, best within `async with`, which ends it at once.

    Args:
        client: Where to.
        path: Of the collection.
        query: Selectors, percent-encoded; no paging.
        decode: Makes an object of its JSON; None yields the bytes.
        skip_list: Yield nothing of the first list: only what changes from now on.
        patience: Bytes of the watch that may lie unread until the next `turn`; 0: they are read as they come.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        query: str,
        decode: Callable[[bytes], T] | None,
        *,
        skip_list: bool,
        patience: int = 0,
    ) -> None:
        self._client = client
        self._path = path
        self._query = query
        self._decode: Callable[[bytes], Any] = decode or _same
        self._skip_list = skip_list
        self._pace = Pace(patience)
        # The same as lists of what came together, which costs less an event.
        self.together: AsyncGenerator[list[tuple[str, Any]], None] = self._run()
        self._events: AsyncGenerator[tuple[str, Any], None] = self._one_by_one()
        # True while a whole list has been yielded and no new one has begun.
        self.synced = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[tuple[str, Any]]:
        return self._events

    @property
    def came_s(self) -> float:
        """The loop's time at which the events that were yielded last have come."""
        return self._pace.came_s

    def turn(self) -> None:
        """Have read what has come of the watch; with `patience`, whoever follows calls this now and then."""
        self._pace.turn()

    async def aclose(self) -> None:
        await self._events.aclose()
        await self.together.aclose()

    async def _one_by_one(self) -> AsyncGenerator[tuple[str, Any], None]:
        async for events in self.together:
            for event in events:
                yield event

    async def _run(self) -> AsyncGenerator[list[tuple[str, Any]], None]:
        decode = self._decode
        client = self._client
        first = True
        while True:
            if not first:
                self.synced = False
                yield [("RELIST", None)]
            version = ""
            if first and self._skip_list:
                query = f"{self._query}&limit=1" if self._query else "limit=1"
                page = await client.json("GET", _joined(self._path, query))
                version = str((page.get("metadata") or {}).get("resourceVersion", ""))
            else:
                async for items, found in client.list_pages(_joined(self._path, self._query)):
                    if version and found and found != version:
                        # The continuation had expired: what came so far may be gone.
                        yield [("RELIST", None)]
                    version = found or version
                    self._pace.came_s = asyncio.get_running_loop().time()
                    for raw in items:
                        yield [("ADDED", decode(bytes(raw)))]
            first = False
            self.synced = True
            yield [("SYNCED", None)]
            events = watch(client, self._path, self._query, version, self._pace)
            try:
                async for found_together in events:
                    yield [(kind, decode(raw)) for kind, raw in found_together]
            except (Expired, Gone) as error:
                log.debug("watch of %s begins anew: %s", self._path, error)
            finally:
                await events.aclose()


def _same(raw: bytes) -> bytes:
    return raw
