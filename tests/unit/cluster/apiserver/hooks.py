"""A webhook server on loopback, over TLS: what tests of admission and conversion webhooks call."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from kubedyno.http.messages import Request, Responder
from kubedyno.http.server import serve
from kubedyno.http.tls import Authority, server_context

Reply = Callable[[dict[str, Any]], dict[str, Any]]
AUTHORITY = Authority("hooks")
CA_BUNDLE = base64.b64encode(AUTHORITY.certificate).decode()
_PAIR = AUTHORITY.server(("127.0.0.1", "hook.ns.svc"))


class Hooks:
    """Answers reviews by path; what came is kept in `seen`."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.queries: list[str] = []
        self.replies: dict[str, Reply] = {}
        self.raw: dict[str, tuple[int, bytes]] = {}
        self.silent: set[str] = set()
        self.port = 0

    def app(self, request: Request, responder: Responder) -> None:
        review = orjson.loads(request.body)
        self.seen.append(review)
        self.queries.append(request.query)
        path = request.path
        if path in self.silent:
            return
        if path in self.raw:
            status, body = self.raw[path]
            responder.send(status, "application/json", body)
            return
        part = self.replies[path](review["request"])
        whole = {"apiVersion": review["apiVersion"], "kind": review["kind"]}
        whole["response"] = {"uid": review["request"]["uid"], **part}
        responder.send(200, "application/json", orjson.dumps(whole))

    def client(self, path: str) -> dict[str, Any]:
        return {"url": f"https://127.0.0.1:{self.port}{path}", "caBundle": CA_BUNDLE}


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    text = base64.b64encode(orjson.dumps(list(operations))).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": text}


@asynccontextmanager
async def hooks() -> AsyncIterator[Hooks]:
    made = Hooks()
    server = await serve(made.app, "127.0.0.1", 0, server_context(_PAIR))
    made.port = server.port
    try:
        yield made
    finally:
        await server.close(0.0)
