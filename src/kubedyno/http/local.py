"""A server on loopback for this machine alone: a request that names it otherwise is refused (421)."""

from kubedyno.http.messages import App, Headers, Request, Responder
from kubedyno.http.server import Server, serve

HOST = "127.0.0.1"
_PLAIN = "text/plain; charset=utf-8"
_CLOSE_S = 0.2


class LocalServer:
    """The server.

    Args:
        app: Answers requests that name this machine.
        what: What the refusal says that is for this machine only, with its verb: "this page is".
        headers: Of the refusal.
    """

    def __init__(self, app: App, what: str, headers: Headers) -> None:
        self._app = app
        self._refusal = f"{what} for this machine only\n".encode()
        self._headers = headers
        self._server: Server | None = None

    async def start(self, port: int, also: frozenset[str] = frozenset()) -> int:
        """Listen and return the port.

        Args:
            port: 0 picks a free one.
            also: Ports of this machine that lead here too.

        Raises:
            KubedynoError: The port is in use.
        """
        self._server = await serve(self._answer, HOST, port, None)
        self._server.other_ports = also
        return self._server.port

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            await self._server.close(_CLOSE_S)

    def _answer(self, request: Request, responder: Responder) -> None:
        assert self._server is not None
        if self._server.is_named_by(request):
            self._app(request, responder)
        else:
            responder.send(421, _PLAIN, self._refusal, self._headers)
