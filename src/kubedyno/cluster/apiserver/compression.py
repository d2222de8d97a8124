"""Answers with gzip, for clients that take it: off unless the gate APIResponseCompression is switched on.

On loopback bytes cost next to nothing, and compressing them takes half as much CPU again as a list of pods does, or more,
and as much again in the client. Who measures that may want what the real server does: GET answers of more than 128 KiB, at
the fastest level.
"""

import zlib
from collections.abc import Callable

from kubedyno.cluster.apiserver.call import Call
from kubedyno.http.messages import Headers, Stream

GATE = "APIResponseCompression"
# staging/src/k8s.io/apiserver/pkg/endpoints/handlers/responsewriters: defaultGzipThresholdBytes and its level.
THRESHOLD_BYTES = 128 << 10
_LEVEL = 1
# A gzip header and trailer, for zlib.
_GZIP = 31
_HEADERS: Headers = (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))


def is_taken(call: Call) -> bool:
    """Say whether the client of a request takes gzip."""
    accepted = call.request.headers.get("accept-encoding", "")
    return call.request.method == "GET" and any(
        part.partition(";")[0].strip() == "gzip" and "q=0" not in part.replace(" ", "").split(";")
        for part in accepted.split(",")
    )


def answer(call: Call, status: int, media: str, body: bytes) -> None:
    """Answer completely, with gzip where that is worth it."""
    if len(body) > THRESHOLD_BYTES:
        call.answer(status, media, zlib.compress(body, _LEVEL, _GZIP), _HEADERS)
    else:
        call.answer(status, media, body)


class Zipped:
    """An answer in pieces, begun with the first of them, as its size says how; gzip from there on, or not at all.

    Args:
        call: The request.
        media: Of the answer.
    """

    def __init__(self, call: Call, media: str) -> None:
        self._call = call
        self._media = media
        self._stream: Stream | None = None
        self._zip: zlib._Compress | None = None
        self.on_close: Callable[[], None] | None = None

    @property
    def closed(self) -> bool:
        return self._call.responder.closed if self._stream is None else self._stream.closed

    @property
    def buffered(self) -> int:
        return self._stream.buffered if self._stream is not None else 0

    def write(self, data: bytes) -> None:
        stream = self._stream
        if stream is None:
            if len(data) > THRESHOLD_BYTES:
                self._zip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
            stream = self._stream = self._call.start(200, self._media, _HEADERS if self._zip is not None else ())
            stream.on_close = self.on_close
        stream.write(self._zip.compress(data) if self._zip is not None else data)

    def close(self) -> None:
        if self._stream is not None:
            if self._zip is not None:
                self._stream.write(self._zip.flush())
            self._stream.close()

    def abort(self) -> None:
        if self._stream is not None:
            self._stream.abort()

    async def drain(self, limit: int) -> None:
        if self._stream is not None:
            await self._stream.drain(limit)
