"""Hand-made HTTP/2 and a transport in memory, for tests that look at bytes."""

import asyncio
from contextlib import asynccontextmanager

from hpack import Decoder, Encoder

from kubedyno.http import tls
from kubedyno.http.client import Endpoint, Pool, PoolLimits
from kubedyno.http.frames import PREFACE, frame, settings_frame
from kubedyno.http.messages import Limits
from kubedyno.http.server import serve

AUTHORITY = tls.Authority()
SERVER = AUTHORITY.server(["127.0.0.1", "localhost"])


class FakeTransport(asyncio.Transport):
    """Keeps what is written; `full` pauses the protocol as a slow socket does."""

    def __init__(self):
        super().__init__()
        self.written = bytearray()
        self.writes = 0
        self.closing = False
        self.reading = True

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def write(self, data):
        self.written += data
        self.writes += 1

    def close(self):
        self.closing = True

    def abort(self):
        self.closing = True

    def is_closing(self):
        return self.closing

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def set_protocol(self, protocol):
        self.protocol = protocol

    def take(self):
        data = bytes(self.written)
        self.written.clear()
        return data


def frames_of(data):
    """Return (kind, flags, stream id, payload) of each frame."""
    found = []
    while data:
        length = int.from_bytes(data[:3], "big")
        found.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + length]))
        data = data[9 + length :]
    return found


class Requests:
    """Encodes requests as a Go client does, dynamic table and all."""

    def __init__(self):
        self.encoder = Encoder()
        self.decoder = Decoder()

    def opening(self, settings=None):
        return PREFACE + settings_frame(settings or {})

    def headers(self, stream_id, method="GET", path="/", *, end=True, extra=()):
        fields = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path), *extra]
        return frame(1, 4 | end, stream_id, self.encoder.encode(fields))

    def request(self, stream_id, method="GET", path="/", body=b"", extra=()):
        out = self.headers(stream_id, method, path, end=not body, extra=extra)
        return out + (frame(0, 1, stream_id, body) if body else b"")


def echo(request, responder):
    """Answer with what was asked."""
    responder.send(200, "text/plain", f"{request.method} {request.path}?{request.query} {len(request.body)}".encode())


@asynccontextmanager
async def server_of(app, *, limits=None, secure=True):
    """Run a server for a block."""
    context = tls.server_context(SERVER, AUTHORITY.certificate) if secure else None
    server = await serve(app, "127.0.0.1", 0, context, limits or Limits())
    try:
        yield server
    finally:
        await server.close(grace_s=0.2)


@asynccontextmanager
async def pool_of(port, *, alpn=tls.ALPN, secure=True, pair=None, ca=AUTHORITY.certificate, **limits):
    """Run a client's pool for a block."""
    context = tls.client_context(ca, pair, alpn=alpn) if secure else None
    pool = Pool(Endpoint("127.0.0.1", port, f"127.0.0.1:{port}", context), PoolLimits(**limits))
    try:
        yield pool
    finally:
        await pool.close()
