"""The page's server: static files, one event stream, what was streamed before, and answers to "why not?".

Loopback only, under a path that nobody can guess; every request must name this very host, so that no other page in
the browser reaches it by a name of its own; everything the page may load comes from here.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qs

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.http.local import HOST, LocalServer
from kubedyno.http.messages import Headers, Request, Responder, Stream
from kubedyno.kube.status import StatusError
from kubedyno.web.feed import Feed
from kubedyno.web.prometheus import HEADERS, Door

log = logger(__name__)

_STATIC = Path(__file__).parent / "static"
SCRIPTS = (
    "app.js",
    "draw.js",
    "layout.js",
    "heads.js",
    "model.js",
    "palette.js",
    "panel.js",
    "passing.js",
    "pointer.js",
    "ribbon.js",
    "replay.js",
    "settings.js",
    "text.js",
    "view.js",
)
_STYLES = ("style.css", "themes.css")
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    **{name: (name, "text/javascript; charset=utf-8") for name in SCRIPTS},
    **{name: (name, "text/css; charset=utf-8") for name in _STYLES},
}
_HEADERS: Headers = (*HEADERS, ("cross-origin-opener-policy", "same-origin"))
# A browser that does not read is cut off: it reconnects and gets a snapshot.
MAX_UNREAD_BYTES = 16 << 20
_PLAIN = "text/plain; charset=utf-8"

Why = Callable[[], Awaitable[bytes]]
# (namespace, name) of a pod → its events and what it uses, as JSON.
Told = Callable[[str, str], Awaitable[bytes]]


class Page:
    """Serves the page of one feed.

    Args:
        feed: The cluster.
        secret: First part of every path, "" for none.
        why: Returns the advisor's findings as JSON.
        told: Returns what is told of a pod, as JSON.
        looked: Called with each browser that opens its stream.
        metrics: Returns what answers the dashboards and their read API.
    """

    def __init__(
        self,
        feed: Feed,
        secret: str,
        why: Why,
        told: Told,
        looked: Callable[[], None] = lambda: None,
        metrics: Callable[[], Door] | None = None,
    ) -> None:
        self._metrics = metrics
        self._feed = feed
        self._prefix = f"/{secret}/" if secret else "/"
        self._looked = looked
        self._why = why
        self._told = told
        self._server = LocalServer(self._app, "this page is", _HEADERS)
        self._tasks = aio.Tasks("an answer")
        self._files = {name: ((_STATIC / file).read_bytes(), media) for name, (file, media) in _FILES.items()}

    async def start(self, port: int, also: frozenset[str] = frozenset()) -> str:
        """Listen and return the page's URL.

        Args:
            port: 0 picks a free one.
            also: Ports of this machine that lead here too.

        Raises:
            KubedynoError: The port is in use.
        """
        return f"http://{HOST}:{await self._server.start(port, also)}{self._prefix}"

    async def close(self) -> None:
        """Stop serving."""
        self._tasks.cancel()
        await self._server.close()

    def _app(self, request: Request, responder: Responder) -> None:
        prefix = self._prefix
        if not request.path.startswith(prefix):
            responder.send(404, _PLAIN, b"404 page not found\n", _HEADERS)
            return
        name = request.path[len(prefix) :]
        file = self._files.get(name)
        # What both have is given without a look at metrics.
        if file is None and self._metrics is not None and Door.has(name):
            self._metrics().answer(name, request, responder, within_page=True)
            return
        if request.method != "GET":
            responder.send(405, _PLAIN, b"the page only reads\n", (*_HEADERS, ("allow", "GET")))
            return
        if file is not None:
            responder.send(200, file[1], file[0], _HEADERS)
        elif name == "stream":
            self._looked()
            self._stream(responder.start(200, "text/event-stream", _HEADERS))
        elif name == "history":
            # Whole: the browser has nothing else to do until it is there.
            responder.send(200, "text/plain; charset=utf-8", b"".join(self._feed.history.texts()), _HEADERS)
        elif name == "why":
            self._answer(self._why(), responder)
        elif name == "pod":
            given = parse_qs(request.query)
            namespace, pod = (given.get(key, [""])[0] for key in ("namespace", "name"))
            self._answer(self._told(namespace, pod), responder)
        else:
            responder.send(404, _PLAIN, b"404 page not found\n", _HEADERS)

    def _stream(self, stream: Stream) -> None:
        def tell(message: bytes) -> None:
            if stream.buffered > MAX_UNREAD_BYTES:
                log.info("a browser reads too slowly: cut off")
                leave()
                stream.abort()
                return
            stream.write(b"data: " + message + b"\n\n")

        leave = self._feed.subscribe(tell)
        stream.on_close = leave

    def _answer(self, found: Awaitable[bytes], responder: Responder) -> None:
        """Answer with what is found, later."""
        self._tasks.spawn(_reply(found, responder))


async def _reply(found: Awaitable[bytes], responder: Responder) -> None:
    try:
        body = await found
    except (KubedynoError, StatusError, OSError) as error:
        responder.send(502, _PLAIN, (getattr(error, "message", "") or str(error)).encode(), _HEADERS)
    except Exception:
        log.exception("a question could not be answered")
        responder.send(500, _PLAIN, b"internal error", _HEADERS)
    else:
        responder.send(200, "application/json", body, _HEADERS)
