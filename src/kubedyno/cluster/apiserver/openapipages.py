"""Paths under /openapi: which document a client gets, in what form, or that it has it already.

They are served as Go's `http.ServeContent` does: with the time since which the document is as it is, ETags in lists, and
parts of it by a `Range` header.
"""

import re
from email.utils import formatdate

from kubedyno.base.clock import Clock
from kubedyno.cluster.apiserver import openapiproto
from kubedyno.cluster.apiserver.call import HEADERS, NO_SNIFF
from kubedyno.cluster.apiserver.negotiation import JSON, choose, clauses
from kubedyno.cluster.apiserver.queries import parameters
from kubedyno.cluster.apiserver.servedapi import ServedApi
from kubedyno.http.messages import Headers, Request, Responder

_TEXT = "text/plain; charset=utf-8"
_V2, _V3 = "/openapi/v2", "/openapi/v3"
_VARY: Headers = (("Vary", "Accept"),)
_VARY_V2: Headers = (("Vary", "Accept-Encoding"), *_VARY)
_IMMUTABLE: Headers = (("Cache-Control", "public, immutable"),)
_TAG = re.compile(r'(?:W/)?("[^"]*")')
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class OpenAPIPages:
    """Answers for them.

    Args:
        api: What is served.
        clock: Tells since when.
    """

    def __init__(self, api: ServedApi, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        # Of each document: its ETag, and since when it is that.
        self._since: dict[str, tuple[str, float]] = {}

    def answer(self, request: Request, responder: Responder) -> None:
        """Answer a request for a path under /openapi."""
        path = request.path
        if path == _V2:
            self._v2(request, responder)
        elif path == _V3:
            body = self._api.openapi.index()
            self._serve(request, responder, (_TEXT, body), "", "index", HEADERS)
        elif path.startswith(f"{_V3}/"):
            self._v3(request, responder, path.removeprefix(f"{_V3}/"))
        else:
            responder.send(404, _TEXT, b"404 page not found\n", HEADERS + NO_SNIFF)

    def _v2(self, request: Request, responder: Responder) -> None:
        openapi = self._api.openapi
        choice = choose(
            request.headers.get("accept", ""), (JSON, openapiproto.MEDIA, openapiproto.CONTENT_TYPE), lambda _: True
        )
        if choice is None:
            responder.send(406, "", b"", HEADERS + _VARY_V2)
            return
        plain = choice.media == JSON
        content = (JSON, openapi.v2()) if plain else (openapiproto.CONTENT_TYPE, openapi.v2_protobuf())
        self._serve(request, responder, content, openapi.etag("v2"), "v2", HEADERS + _VARY_V2)

    def _v3(self, request: Request, responder: Responder, name: str) -> None:
        openapi = self._api.openapi
        body = openapi.document(name)
        if body is None:
            responder.send(404, "", b"", HEADERS)
            return
        accept = request.headers.get("accept", "")
        if accept and not clauses(accept):
            # A header without a media type is asked for nothing, and gets that.
            responder.send(200, "", b"", HEADERS)
            return
        if choose(accept, (JSON,), lambda _: True) is None:
            responder.send(406, "", b"", HEADERS + _VARY)
            return
        etag = openapi.etag(name)
        headers: Headers = HEADERS
        wanted = parameters(request.query).get("hash")
        if wanted:
            if wanted != etag.strip('"'):
                location = f"{request.path}?hash={etag.strip(chr(34))}"
                responder.send(301, JSON, b"", (*HEADERS, ("Etag", etag), ("Location", location), *_VARY))
                return
            expires = formatdate(self._clock.now() + 365 * 86400, usegmt=True)
            headers = (*_IMMUTABLE, ("Expires", expires))
        self._serve(request, responder, (JSON, body), etag, name, headers + _VARY)

    def _serve(
        self, request: Request, responder: Responder, content: tuple[str, bytes], etag: str, name: str, headers: Headers
    ) -> None:
        """Answer with a document, a part of it, or that it is as it was.

        Args:
            request: Whose conditions hold.
            responder: The way back.
            content: Media type and body.
            etag: Of the body, "" for none.
            name: Of the document.
            headers: Of the answer.
        """
        media, body = content
        tags: Headers = (("Etag", etag),) if etag else ()
        given = request.headers.get("if-none-match", "")
        if given.strip() == "*" or (etag and etag in _TAG.findall(given)):
            responder.send(304, "", b"", headers + tags)
            return
        since = self._since.get(name)
        mark = etag or str(hash(body))
        if since is None or since[0] != mark:
            since = self._since[name] = mark, self._clock.now()
        headers += (*tags, ("Last-Modified", formatdate(since[1], usegmt=True)), ("Accept-Ranges", "bytes"))
        part = _part_of(request.headers.get("range", ""), len(body))
        if part is None:
            responder.send(200, media, body, headers)
        elif part[0] >= part[1]:
            beyond = ("Content-Range", f"bytes */{len(body)}")
            responder.send(416, _TEXT, b"invalid range: failed to overlap\n", (*headers, beyond))
        else:
            shown = ("Content-Range", f"bytes {part[0]}-{part[1] - 1}/{len(body)}")
            responder.send(206, media, body[slice(*part)], (*headers, shown))


def _part_of(asked: str, size: int) -> tuple[int, int] | None:
    """Return where a part begins and ends that a Range header asks for; None for the whole, as of several parts."""
    found = _RANGE.fullmatch(asked.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        return max(0, size - int(found[2])), size
    return int(found[1]), min(size, int(found[2]) + 1) if found[2] else size
