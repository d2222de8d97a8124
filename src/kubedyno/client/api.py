"""Client of an API server: requests with credentials, lists by pages, watches that resume.

What the user can act on (no connection, no trust, no credentials) is an `Unreachable` line; what the API said no to
is a StatusError, except from `request` and `submit`, whose callers look at the status themselves.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any, Self, TypeVar
from urllib.parse import quote

import msgspec
import orjson

from kubedyno import __version__
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.auth import Credentials, credentials
from kubedyno.client.kubeconfig import Target
from kubedyno.client.watch import ListWatch, Pace, WatchEvent, watch
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.exchange import Result, StreamExchange
from kubedyno.http.messages import Headers
from kubedyno.http.tls import KeyPair, client_context
from kubedyno.kube.status import Expired, StatusError

__all__ = ["Client", "Result", "Unreachable"]

T = TypeVar("T")
log = logger(__name__)

USER_AGENT = f"kubedyno/{__version__}"
PAGE = 500
# "Come back later" is obeyed so often, as in client-go.
_MAX_RETRIES = 10
_MAX_RETRY_AFTER_S = 60.0
# A credential plugin that failed is asked again after so long.
_RENEW_RETRY_S = 10.0


class Unreachable(KubedynoError):
    """The server cannot be reached, or not trusted."""


class _Meta(msgspec.Struct):
    resourceVersion: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _ListPage(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    items: list[msgspec.Raw] | None = None


_decode_page = msgspec.json.Decoder(_ListPage).decode


class Client:
    """One API server; used as an async context manager.

    Args:
        target: Where and who.
        limits: Of its connections.
        clock: For the lifetime of credentials.
    """

    def __init__(self, target: Target, limits: PoolLimits | None = None, clock: Clock = SYSTEM_CLOCK) -> None:
        self.target = target
        self._limits = limits or PoolLimits()
        self._clock = clock
        self._credentials = Credentials((), None)
        self._headers: Headers = ()
        self._pool: Pool | None = None
        self._pools: list[Pool] = []
        self._renewal: asyncio.Task[None] | None = None
        self._renewing: asyncio.Task[bool] | None = None
        self._base = target.base_path

    @property
    def server(self) -> str:
        """URL of the server, for messages."""
        return self.target.server

    @property
    def pool(self) -> Pool:
        """The connections in use."""
        assert self._pool is not None, "the client has not been entered"
        return self._pool

    async def __aenter__(self) -> Self:
        """Get credentials; connections are opened by the first request.

        Raises:
            KubedynoError: There are no credentials, or a certificate is malformed.
        """
        self._take(await credentials(self.target.user, self._clock))
        if self._credentials.changing:
            self._renewal = asyncio.create_task(self._renew_in_time())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (self._renewal, self._renewing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        for pool in self._pools:
            await pool.close()

    # -- requests ------------------------------------------------------------------------------------------------

    def submit(
        self, method: str, path: str, body: bytes, done: Callable[[Result], None], headers: Headers = ()
    ) -> None:
        """Send a request of JSON, or of what `headers` say, and call `done` once with its result: the load's fast path.

        The result's `error` is set when there was no answer. Nothing is tried again but what the server certainly
        did not act on, and once with new credentials when they have run out.
        """
        if self._credentials.changing:
            done = _RenewOnce(self, method, path, body, done, headers)
        self.pool.submit(method, self._base + path, self._with(headers) if headers else self._headers, body, done)

    submit_create = submit

    async def request(
        self, method: str, path: str, *, body: bytes = b"", headers: Headers = (), timeout_s: float | None = None
    ) -> Result:
        """Return the answer to a request, whatever its status; waits and tries again when the server says so.

        Args:
            path: With its query.
            body: JSON unless `headers` say otherwise.
            headers: Added to the usual ones, or instead of them.

        Raises:
            Unreachable: There is no answer.
        """
        retries = 0
        renewed = False
        while True:
            try:
                result = await self.pool.request(method, self._base + path, self._with(headers), body, timeout_s)
            except OSError as error:
                raise self.unreachable(error) from error
            if result.status == 401 and not renewed and self._credentials.changing:
                renewed = True
                if await self.renew():
                    continue
            wait_s = result.retry_after_s
            if not wait_s or retries >= _MAX_RETRIES:
                return result
            retries += 1
            await aio.sleep(min(wait_s, _MAX_RETRY_AFTER_S))

    async def open_stream(self, path: str, headers: Headers = ()) -> StreamExchange:
        """Return the answer to a GET as soon as its head is there; the caller must `close` it.

        Raises:
            OSError: There is no answer.
        """
        return await self.pool.open_stream("GET", self._base + path, self._with(headers))

    async def json(self, method: str, path: str, body: Any = None, *, headers: Headers = ()) -> dict[str, Any]:
        """Send an object and return the one that comes back.

        Raises:
            StatusError: The API says no.
            Unreachable: There is no answer.
        """
        result = await self.request(method, path, body=b"" if body is None else orjson.dumps(body), headers=headers)
        return dict(self._checked(result, orjson.loads))

    async def get(self, path: str) -> dict[str, Any]:
        """Return an object, a list or a document; raises as `json`."""
        return await self.json("GET", path)

    async def create(self, path: str, body: Any) -> dict[str, Any]:
        return await self.json("POST", path, body)

    async def patch(
        self, path: str, body: Any, content_type: str = "application/strategic-merge-patch+json"
    ) -> dict[str, Any]:
        return await self.json("PATCH", path, body, headers=(("Content-Type", content_type),))

    async def delete(self, path: str, options: Any = None) -> dict[str, Any]:
        return await self.json("DELETE", path, options)

    async def list_pages(self, path: str) -> AsyncIterator[tuple[list[msgspec.Raw], str]]:
        """Yield the items of a list page by page, each with the list's resourceVersion.

        A list whose continuation has expired is read again as a whole, so that an item may come twice.

        Raises:
            StatusError: The API says no.
            Unreachable: There is no answer.
        """
        separator = "&" if "?" in path else "?"
        limit = "" if "limit=" in path else f"{separator}limit={PAGE}"
        token = ""
        while True:
            more = f"&continue={quote(token, safe='')}" if token else ""
            result = await self.request("GET", f"{path}{limit}{more}")
            try:
                page = self._checked(result, _decode_page)
            except Expired:
                if not token:
                    raise
                # As client-go's pager: one unpaged list, consistent in itself.
                limit = token = ""
                continue
            yield page.items or [], page.metadata.resourceVersion
            token = page.metadata.continue_
            if not token:
                return

    async def list_all(self, path: str, keep: Callable[[dict[str, Any]], bool] | None = None) -> list[dict[str, Any]]:
        """Return all items of a list, or those to keep, read by pages; raises as `list_pages`."""
        found: dict[str, dict[str, Any]] = {}
        listed = ""
        async for items, version in self.list_pages(path):
            # Pages of one list have one version; a list that was begun anew may lack what the old one had.
            if version != listed:
                found.clear()
                listed = version
            for raw in items:
                item = orjson.loads(memoryview(raw))
                if keep is not None and not keep(item):
                    continue
                meta = item.get("metadata") or {}
                found[meta.get("uid") or f"{meta.get('namespace', '')}/{meta.get('name', '')}"] = item
        return list(found.values())

    async def watch(self, path: str, query: str = "", version: str = "") -> AsyncIterator[WatchEvent]:
        """Yield events from a resourceVersion on; resumes by itself until that version has expired.

        Raises:
            StatusError: The API says no; `Expired` when it has forgotten where we were.
            Unreachable: The server is gone for too long.
        """
        async for events in watch(self, path, query, version, Pace()):
            for event in events:
                yield event

    def list_watch(
        self,
        path: str,
        query: str = "",
        decode: Callable[[bytes], T] | None = None,
        *,
        skip_list: bool = False,
        patience: int = 0,
    ) -> ListWatch[Any]:
        """Return everything there is and then what changes, until closed; see `ListWatch`."""
        return ListWatch(self, path, query, decode, skip_list=skip_list, patience=patience)

    # -- errors and credentials ----------------------------------------------------------------------------------

    def _checked(self, result: Result, decode: Callable[[bytes], T]) -> T:
        if not 200 <= result.status < 300:
            raise StatusError.from_response(result.status, result.body)
        try:
            return decode(result.body)
        except (orjson.JSONDecodeError, msgspec.DecodeError) as error:
            raise Unreachable(
                f"{self.server}: answered no JSON ({result.body[:60]!r}); is this a Kubernetes API server?"
            ) from error

    def unreachable(self, error: OSError) -> Unreachable:
        """Return the line for a request that got no answer."""
        if isinstance(error, ssl.SSLCertVerificationError):
            reason = error.verify_message or error.reason
            what = f"its certificate is not trusted ({reason}); check certificate-authority and tls-server-name"
        elif isinstance(error, ssl.SSLError):
            what = f"TLS fails ({error.reason or error}); check the client's certificate, and that the port is right"
        elif isinstance(error, ConnectionRefusedError):
            what = "nothing listens there; is the cluster up?"
        elif isinstance(error, TimeoutError):
            what = f"does not answer ({str(error) or 'timed out'}); is the cluster up, and the network?"
        elif isinstance(error, ConnectionResetError | BrokenPipeError):
            what = "closes the connection unanswered; does a Kubernetes API server listen there?"
        else:
            what = f"cannot be reached ({error.strerror or str(error) or 'connection closed'}); is the cluster up?"
        return Unreachable(f"{self.server}: {what}")

    async def renew(self) -> bool:
        """Ask for new credentials, once for all who ask at the same time; say whether they differ."""
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())
        return await asyncio.shield(self._renewing)

    async def _renew(self) -> bool:
        before = self._credentials
        try:
            self._take(await credentials(self.target.user, self._clock))
        except KubedynoError as error:
            # The old ones may still do; if not, the server's 401 says so.
            log.warning("%s", error)
            return False
        return (before.headers, before.pair) != (self._credentials.headers, self._credentials.pair)

    async def _renew_in_time(self) -> None:
        while True:
            wait_s = self._credentials.renew_s - self._clock.now()
            await aio.sleep(max(wait_s, _RENEW_RETRY_S if wait_s < 0 else 0.0))
            await self.renew()

    def _take(self, new: Credentials) -> None:
        if self._pool is None or new.pair != self._credentials.pair:
            endpoint = Endpoint(
                self.target.host,
                self.target.port,
                self.target.authority,
                self._context(new.pair) if self.target.tls else None,
                self.target.server_name,
            )
            # The pool before it keeps what is under way, watches included, until the client closes.
            self._pool = Pool(endpoint, self._limits)
            self._pools.append(self._pool)
        self._credentials = new
        self._headers = self._with(())

    def own_context(self) -> ssl.SSLContext | None:
        """Return what a connection beside the pool's needs, one that speaks HTTP/1.1; None without TLS.

        Raises:
            KubedynoError: A certificate is malformed.
        """
        if not self.target.tls:
            return None
        context = self._context(self._credentials.pair)
        context.set_alpn_protocols(["http/1.1"])
        return context

    def own_headers(self) -> Headers:
        """Return who we are, for such a connection."""
        return (("User-Agent", USER_AGENT), *self._credentials.headers)

    def _context(self, pair: KeyPair | None) -> ssl.SSLContext:
        target = self.target
        try:
            return client_context(target.ca, pair, verify=target.verify)
        except (ssl.SSLError, ValueError) as error:
            raise KubedynoError(
                f"context {target.context}: a certificate or key is malformed ({error}); mend the kubeconfig"
            ) from error

    def _with(self, headers: Headers) -> Headers:
        """Return the usual headers with some added or replaced."""
        given = {name.lower() for name, _ in headers}
        usual = (
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
            ("User-Agent", USER_AGENT),
            *self._credentials.headers,
        )
        return (*(field for field in usual if field[0].lower() not in given), *headers)


class _RenewOnce:
    """Callback that sends a request again when its credentials have run out."""

    __slots__ = ("_body", "_client", "_done", "_extra", "_method", "_path", "_task")

    def __init__(
        self,
        client: Client,
        method: str,
        path: str,
        body: bytes,
        done: Callable[[Result], None],
        extra: Headers,
    ) -> None:
        self._client = client
        self._method = method
        self._path = path
        self._body = body
        self._done = done
        self._extra = extra
        self._task: asyncio.Task[None] | None = None

    def __call__(self, result: Result) -> None:
        if result.status == 401 and self._task is None:
            self._task = asyncio.ensure_future(self._again(result))
        else:
            self._done(result)

    async def _again(self, result: Result) -> None:
        client = self._client
        if await client.renew():
            headers = client._with(self._extra) if self._extra else client._headers
            client.pool.submit(self._method, client._base + self._path, headers, self._body, self._done)
        else:
            self._done(result)
