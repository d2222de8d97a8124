"""An API server without sockets or controllers, and responders that remember: what tests of it build on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.authentication import Authenticator, User
from kubedyno.cluster.apiserver.server import ApiServer
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.http.messages import Headers, Peer, Request
from kubedyno.kube.resources import NAMESPACES, SERVICEACCOUNTS

START_S = 1_795_000_000.0
NS = "ns"
TOKEN = "t0ken"
ADMIN = User("admin", ("system:masters", "system:authenticated"))


class FakeClock:
    def __init__(self) -> None:
        self.now_s = START_S

    def now(self) -> float:
        return self.now_s

    def monotonic(self) -> float:
        return self.now_s - START_S


class Answer:
    """A responder and stream that remembers what it was given."""

    def __init__(self) -> None:
        self.status = 0
        self.media = ""
        self.headers: list[tuple[str, str]] = []
        self.pieces: list[bytes] = []
        self.on_close: Callable[[], None] | None = None
        self.closed = False
        self.aborted = False
        self.buffered = 0
        self.done = asyncio.Event()
        self.read = asyncio.Event()

    def send(self, status: int, content_type: bytes | str, body: bytes, headers: Headers = ()) -> None:
        self.start(status, content_type, headers)
        self.pieces.append(body)
        self.close()

    def start(self, status: int, content_type: bytes | str, headers: Headers = ()) -> "Answer":
        if self.status:
            raise RuntimeError("answered twice")
        self.status = status
        self.media = content_type if isinstance(content_type, str) else content_type.decode()
        self.headers = list(headers)
        return self

    def write(self, data: bytes) -> None:
        self.pieces.append(data)

    def close(self) -> None:
        self.closed = True
        self.done.set()

    def abort(self) -> None:
        self.aborted = True
        self.close()

    async def drain(self, limit: int) -> None:
        await asyncio.sleep(0)
        if self.buffered > limit:
            await self.read.wait()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def events(self) -> list[tuple[str, Any]]:
        return [(event["type"], event["object"]) for event in map(orjson.loads, self.body.splitlines())]

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass
class Api:
    """An API server over an empty store with one namespace, on a clock that stands; no sockets."""

    clock: FakeClock = field(default_factory=FakeClock)
    settings: ClusterSettings = field(default_factory=ClusterSettings)

    def __post_init__(self) -> None:
        self.store = Store(self.clock)
        self.registry = Registry(self.store, self.clock, Random(1), self.settings)
        self.trusted = Trusted(self.registry, verify=True)
        self.controlled: list[str] = []
        self.server = ApiServer(
            self.registry,
            Pump(self.clock),
            self.settings,
            Authenticator({TOKEN: ADMIN}),
            address="127.0.0.1:6443",
            control=self._control,
        )
        self.registry.create(NAMESPACES, "", {"metadata": {"name": NS}})
        self.registry.create(SERVICEACCOUNTS, NS, {"metadata": {"name": "default"}})

    def _control(self, request: Request, responder: Any, user: User) -> bool:
        self.controlled.append(f"{user.name} {request.path}")
        responder.send(200, "application/json", b"{}")
        return True

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = TOKEN,
        answer: Answer | None = None,
    ) -> Answer:
        path, _, query = target.partition("?")
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        given = {"authorization": f"Bearer {token}"} if token else {}
        answer = answer or Answer()
        request = Request(method, path, query, {**given, **(headers or {})}, data, Peer(1, "127.0.0.1:1"))
        self.server.app(request, answer)
        return answer


@asynccontextmanager
async def running(settings: ClusterSettings | None = None) -> AsyncIterator[Api]:
    api = Api(settings=settings or ClusterSettings())
    try:
        yield api
    finally:
        api.server.close()
        await asyncio.sleep(0)
