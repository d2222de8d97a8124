"""A server of one page, /metrics, for this machine alone: made anew for each request."""

from collections.abc import Callable

from kubedyno.http.local import LocalServer
from kubedyno.http.messages import Headers, Request, Responder

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
        self._server = LocalServer(self._answer, "these metrics are", _HEADERS)

    async def start(self, port: int) -> int:
        """Listen on loopback and return the port; 0 picks a free one.

        Raises:
            KubedynoError: The port is in use.
        """
        return await self._server.start(port)

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

    def _answer(self, request: Request, responder: Responder) -> None:
        if request.path != PATH:
            responder.send(404, _PLAIN, b"only /metrics is here\n", _HEADERS)
        elif request.method not in {"GET", "HEAD"}:
            responder.send(405, _PLAIN, b"it only reads\n", (*_HEADERS, ("allow", "GET")))
        else:
            responder.send(200, _MEDIA, self._page(), _HEADERS)
