"""The Prometheus read API on a loopback port, with a page to ask it and our dashboards drawn from it.

`/api/v1/…` is what Grafana and kube-burner ask; `/graph`, `/targets` and `/dashboards` are for people. Requests must name
this machine; everything the pages load comes from here.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import orjson

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.http.local import HOST, LocalServer
from kubedyno.http.messages import Headers, Request, Responder
from kubedyno.lab.metrics import Options, Recorder
from kubedyno.lab.target import Choice
from kubedyno.promql.dashboards import DASHBOARDS, plain
from kubedyno.promql.engine import Engine
from kubedyno.promql.readapi import JSON, PREFIX, ReadAPI

log = logger(__name__)

_STATIC = Path(__file__).parent / "static"
_HTML, _JS, _CSS = "text/html; charset=utf-8", "text/javascript; charset=utf-8", "text/css; charset=utf-8"
_FILES = {
    "graph": ("query.html", _HTML),
    "targets": ("query.html", _HTML),
    "dashboards": ("dashboards.html", _HTML),
    "query.js": ("query.js", _JS),
    "dashboards.js": ("dashboards.js", _JS),
    "charts.js": ("charts.js", _JS),
    "text.js": ("text.js", _JS),
    "metrics.css": ("metrics.css", _CSS),
    "themes.css": ("themes.css", _CSS),
}
# What a browser may do with the pages: load from here alone, keep nothing, tell nobody.
HEADERS: Headers = (
    (
        "content-security-policy",
        (
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'"
        ),
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cache-control", "no-store"),
)
_PLAIN = "text/plain; charset=utf-8"
_API = PREFIX[1:]
_BOARDS = "dashboards.json"
# To the page of nodes, where there is one.
_HIDDEN_LINK = b'id="home" hidden'
# Queries that wait for their turn; more would only fill the memory.
_MOST_WAITING = 100


class Door:
    """The read API and its pages.

    Args:
        api: Answers.
        home: Where `/` leads: "graph" or "dashboards".
        timezone: Of the dashboards: "browser", "utc" or a name such as Asia/Seoul.
    """

    def __init__(self, api: ReadAPI, home: str = "graph", timezone: str = "browser") -> None:
        self._api = api
        self._home = home
        self._server = LocalServer(self._app, "this server is", HEADERS)
        self._tasks = aio.Tasks("an answer")
        # One query at a time: two would only share the interpreter.
        self._turn = asyncio.Lock()
        self._files = {name: ((_STATIC / file).read_bytes(), media) for name, (file, media) in _FILES.items()}
        shown = {"timezone": timezone, "dashboards": [plain(dashboard) for dashboard in DASHBOARDS]}
        self._files[_BOARDS] = (orjson.dumps(shown), JSON)

    async def start(self, port: int, also: frozenset[str] = frozenset()) -> str:
        """Listen and return the URL.

        Args:
            port: 0 picks a free one.
            also: Ports of this machine that lead here too.

        Raises:
            KubedynoError: The port is in use.
        """
        return f"http://{HOST}:{await self._server.start(port, also)}"

    async def close(self) -> None:
        """Stop listening."""
        self._tasks.cancel()
        await self._server.close()

    def _app(self, request: Request, responder: Responder) -> None:
        self.answer(request.path[1:], request, responder)

    @staticmethod
    def has(name: str) -> bool:
        """Say whether a path, without its first slash, is one of the pages' or of the read API."""
        return name in _FILES or name == _BOARDS or name.startswith(_API)

    def answer(self, name: str, request: Request, responder: Responder, *, within_page: bool = False) -> None:
        """Answer a request for a path without its first slash; that it names this machine has been seen to.

        Args:
            name: The path.
            request: It.
            responder: Is told the answer.
            within_page: The page of nodes is beside it, and linked to.
        """
        if name in {"-/ready", "-/healthy"}:
            state = b"Ready" if name == "-/ready" else b"Healthy"
            responder.send(200, _PLAIN, b"Prometheus Server is %b.\n" % state, HEADERS)
        elif name.startswith(_API):
            self._ask(name[len(_API) :].rstrip("/"), request, responder)
        elif request.method not in {"GET", "HEAD"}:
            responder.send(405, _PLAIN, b"it only reads\n", (*HEADERS, ("allow", "GET")))
        elif not name:
            responder.send(302, _PLAIN, b"", (*HEADERS, ("location", f"/{self._home}")))
        elif name in self._files:
            body, media = self._files[name]
            if within_page and media is _HTML:
                body = body.replace(_HIDDEN_LINK, _HIDDEN_LINK.removesuffix(b" hidden"))
            responder.send(200, media, body, HEADERS)
        else:
            responder.send(404, _PLAIN, b"404 page not found\n", HEADERS)

    def _ask(self, path: str, request: Request, responder: Responder) -> None:
        if request.method not in {"GET", "POST"}:
            responder.send(405, _PLAIN, b"it only reads\n", (*HEADERS, ("allow", "GET, POST")))
        elif len(self._tasks) >= _MOST_WAITING:
            busy = {"status": "error", "errorType": "unavailable", "error": "too many queries wait; try again later"}
            responder.send(503, JSON, orjson.dumps(busy), HEADERS)
        else:
            self._tasks.spawn(self._evaluate(path, request, responder))

    async def _evaluate(self, path: str, request: Request, responder: Responder) -> None:
        given: dict[str, list[str]] = parse_qs(request.query, keep_blank_values=True)
        if request.method == "POST":
            form = parse_qs(request.body.decode(errors="replace"), keep_blank_values=True)
            for name, values in form.items():
                given.setdefault(name, []).extend(values)
        async with self._turn:
            if responder.closed:
                return
            try:
                status, body = await asyncio.to_thread(self._api.answer, path, given)
            except Exception:
                log.exception("%s failed", request.path)
                responder.send(500, _PLAIN, b"internal error\n", HEADERS)
                return
        responder.send(status, JSON, body, HEADERS)


async def serve(choice: Choice, options: Options, port: int, say: Callable[[str], None]) -> None:
    """Record a cluster and serve what is recorded until SIGINT or SIGTERM.

    Args:
        choice: The cluster.
        options: How to record.
        port: 0 picks a free one.
        say: Prints a line.

    Raises:
        KubedynoError: The port is in use, or the cluster cannot be reached.
    """
    stopped = aio.until_signalled()
    async with Client(choice.target) as client:
        await client.get("/version")
        recorder = Recorder(client, options, embedded=choice.running is not None)
        door = Door(ReadAPI(Engine(recorder.store), recorder.targets))
        url = await door.start(port)
        recording = asyncio.create_task(recorder.run())
        try:
            say(f"records {choice.target.server} every {options.interval_s:g} s; Prometheus read API: {url}")
            say(f"Grafana: data source Prometheus, URL {url}; kube-burner: metricsEndpoints, endpoint: {url}")
            say(f"query page: {url}/graph; dashboards: {url}/dashboards")
            done = asyncio.create_task(stopped.wait())
            await asyncio.wait({done, recording}, return_when=asyncio.FIRST_COMPLETED)
            done.cancel()
            if recording.done():
                recording.result()
        finally:
            await aio.end(recording)
            await door.close()
