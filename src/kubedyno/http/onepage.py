"""A server of one page, /metrics, for this machine alone: made anew for each request."""

from collections.abc import Callable

from kubedyno.http.messages import Headers, Request, Responder
from kubedyno.http.server import Server, serve

HOST = "127.0.0.1"
PATH = "/metrics"
_MEDIA = "text/plain; version=0.0.4; charset=utf-8"
_PLAIN = "text/plain; charset=utf-8"
_HEADERS: Headers = (("x-content-type-options", "nosniff"), ("cache-control", "no-store"))


class OnePage:
    """The server.

    Args:
        page: Returns the page in Prometheus' text format.
    """

    def __init__(self, page: Callable[[], bytes]) -> None:
        self._page = page
        self._server: Server | None = None

    async def start(self, port: int) -> int:
        """Listen on loopback and return the port; 0 picks a free one.

        Raises:
            KubedynoError: The port is in use.
        """
        self._server = await serve(self._answer, HOST, port, None)
        return self._server.port

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.close(0.2)

    def _answer(self, request: Request, responder: Responder) -> None:
        assert self._server is not None
        if not self._server.is_named_by(request):
            responder.send(421, _PLAIN, b"these metrics are for this machine only\n", _HEADERS)
        elif request.path != PATH:
            responder.send(404, _PLAIN, b"only /metrics is here\n", _HEADERS)
        elif request.method not in {"GET", "HEAD"}:
            responder.send(405, _PLAIN, b"it only reads\n", (*_HEADERS, ("allow", "GET")))
        else:
            responder.send(200, _MEDIA, self._page(), _HEADERS)
