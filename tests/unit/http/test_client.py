"""The client against our server over TLS, and against a scripted one where the server must misbehave."""

import asyncio
import hashlib
import ssl
from contextlib import asynccontextmanager

import hpack
import pytest

from kubedyno.http import client
from kubedyno.http.exchange import AnswerTooLarge, ConnectionLost, RequestTimeout
from kubedyno.http.frames import PREFACE, SETTINGS_ACK, Code, frame, goaway_frame, reset_frame, settings_frame
from kubedyno.http.messages import Limits
from ports import refusing_port
from unit.http.wire import AUTHORITY, echo, pool_of, server_of

BOTH = pytest.mark.parametrize("alpn", [("h2", "http/1.1"), ("http/1.1",)], ids=["h2", "h1"])


@BOTH
def test_hundreds_of_requests_at_once_each_get_their_own_answer(alpn):
    async def main():
        async with server_of(echo) as server, pool_of(server.port, alpn=alpn, max_http1=8) as pool:
            answers = await asyncio.gather(
                *(pool.request("POST", f"/{n}?q={n}", body=b"x" * (n * 97)) for n in range(400))
            )
            assert [a.body for a in answers] == [f"POST /{n}?q={n} {n * 97}".encode() for n in range(400)]
            assert pool.connections <= 8
            assert (server.pending, pool.waiting, pool.under_way) == (0, 0, 0)

    asyncio.run(main())


@BOTH
def test_bodies_larger_than_every_window_pass_both_ways(alpn):
    def app(request, responder):
        responder.send(200, "text/plain", request.body * 4)

    async def main():
        body = bytes(range(256)) * 11_000
        async with server_of(app) as server, pool_of(server.port, alpn=alpn) as pool:
            answers = await asyncio.gather(*(pool.request("POST", "/", body=body) for _ in range(3)))
            assert all(answer.body == body * 4 for answer in answers)

    asyncio.run(main())


@BOTH
def test_a_body_over_the_limit_gets_its_413(alpn):
    async def main():
        async with server_of(echo) as server, pool_of(server.port, alpn=alpn) as pool:
            answer = await pool.request("POST", "/", body=b"x" * (5 << 20))
            assert (answer.status, answer.body) == (413, Limits().too_large[1])
            assert (await pool.request("GET", "/")).status == 200

    asyncio.run(main())


@BOTH
def test_a_reader_that_stops_holds_the_server_back_and_loses_nothing(alpn):
    async def main():
        streams = []
        piece = b"x" * 65_536
        async with (
            server_of(lambda _, r: streams.append(r.start(200, "text/plain"))) as server,
            pool_of(server.port, alpn=alpn) as pool,
        ):
            stream = await pool.open_stream("GET", "/")
            source = streams[0]
            written = 0
            # Until the server is held back; generous, as the kernel's buffers take megabytes.
            while source.buffered < len(piece) and written < 64 << 20:
                source.write(piece)
                written += len(piece)
                await source.drain(1 << 30)
            assert written < 64 << 20
            source.close()
            assert len(await stream.read()) == written

    asyncio.run(main())


@BOTH
def test_a_patient_reader_is_woken_by_much_by_a_nudge_or_by_the_end_and_told_when_each_piece_came(alpn):
    async def main():
        streams, loop = [], asyncio.get_running_loop()
        async with (
            server_of(lambda _, r: streams.append(r.start(200, "text/plain"))) as server,
            pool_of(server.port, alpn=alpn) as pool,
        ):
            stream = await pool.open_stream("GET", "/")
            stream.patience = 1000
            reading = asyncio.ensure_future(stream.pieces())
            streams[0].write(b"a")
            await asyncio.sleep(0.05)
            streams[0].write(b"b")
            await asyncio.sleep(0.05)
            assert not reading.done()
            nudged_s = loop.time()
            stream.nudge()
            (first_s, first), (second_s, second) = await asyncio.wait_for(reading, 60)
            assert (first, second) == (b"a", b"b")
            assert first_s < second_s < nudged_s
            reading = asyncio.ensure_future(stream.pieces())
            stream.nudge()
            await asyncio.sleep(0.01)
            assert not reading.done()
            streams[0].write(b"x" * 1001)
            assert b"".join(piece for _, piece in await asyncio.wait_for(reading, 60)) == b"x" * 1001
            streams[0].write(b"y")
            streams[0].close()
            assert await asyncio.wait_for(stream.read(), 60) == b"y"
            assert await stream.pieces() == []

    asyncio.run(main())


@BOTH
def test_closing_a_stream_reaches_the_server(alpn):
    async def main():
        closed = asyncio.get_running_loop().create_future()

        def app(_, responder):
            stream = responder.start(200, "text/plain")
            stream.on_close = lambda: closed.set_result(True)
            stream.write(b"first")

        async with server_of(app) as server, pool_of(server.port, alpn=alpn) as pool:
            stream = await pool.open_stream("GET", "/")
            assert await anext(stream) == b"first"
            stream.close()
            assert await asyncio.wait_for(closed, 60)

    asyncio.run(main())


@BOTH
def test_a_client_certificate_tells_the_application_user_and_groups(alpn):
    async def main():
        seen = []

        def app(request, responder):
            seen.append(request.peer.certificate)
            responder.send(200, "text/plain", b"")

        pair = AUTHORITY.client("ann", ["g1", "g2"])
        async with server_of(app) as server:
            async with pool_of(server.port, alpn=alpn, pair=pair) as pool:
                await pool.request("GET", "/")
            async with pool_of(server.port, alpn=alpn) as pool:
                await pool.request("GET", "/")
        assert (seen[0].common_name, seen[0].organizations, seen[1]) == ("ann", ("g1", "g2"), None)
        der = ssl.PEM_cert_to_DER_cert(pair.certificate.decode())
        assert seen[0].sha256 == hashlib.sha256(der).hexdigest()

    asyncio.run(main())


def test_a_server_that_is_not_trusted_gets_no_request():
    async def main():
        seen = []
        async with (
            server_of(lambda request, _: seen.append(request)) as server,
            pool_of(server.port, ca=type(AUTHORITY)().certificate) as pool,
        ):
            with pytest.raises(ssl.SSLCertVerificationError):
                await pool.request("GET", "/")
        assert seen == []

    asyncio.run(main())


@BOTH
def test_a_request_without_answer_times_out_and_the_next_is_served(alpn):
    def app(request, responder):
        if request.path != "/silent":
            echo(request, responder)

    async def main():
        async with server_of(app) as server, pool_of(server.port, alpn=alpn) as pool:
            with pytest.raises(RequestTimeout):
                await pool.request("GET", "/silent", timeout_s=0.01)
            assert (await pool.request("GET", "/")).status == 200
            assert server.pending == 0

    asyncio.run(main())


def test_an_answer_over_the_limit_is_an_error_not_memory():
    async def main():
        app = lambda _, responder: responder.send(200, "text/plain", b"x" * 300_000)  # noqa: E731
        async with server_of(app) as server, pool_of(server.port, max_body=100_000) as pool:
            with pytest.raises(AnswerTooLarge):
                await pool.request("GET", "/")

    asyncio.run(main())


def test_the_servers_limit_of_streams_is_kept_and_a_full_queue_is_an_error():
    async def main():
        kept = []
        most = 0

        def app(_, responder):
            nonlocal most
            kept.append(responder)
            most = max(most, len(kept))
            if len(kept) == 3:
                for waiting in kept:
                    waiting.send(200, "text/plain", b"")
                kept.clear()

        async with (
            server_of(app, limits=Limits(max_streams=3)) as server,
            pool_of(server.port, max_connections=1, max_queue=51) as pool,
        ):
            tasks = [asyncio.ensure_future(pool.request("POST", "/")) for _ in range(52)]
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["Result"] * 51 + ["Overloaded"]
        assert most == 3

    asyncio.run(main())


class Script:
    """A server whose answers the test writes: `answers[n]` is called with the n-th HEADERS' stream id."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.connections = 0
        self.requests = []
        self.encoder = hpack.Encoder()

    def ok(self, stream_id, status="200"):
        return frame(1, 5, stream_id, self.encoder.encode([(":status", status)]))

    async def serve(self, reader, writer):
        self.connections += 1
        self.encoder = hpack.Encoder()
        try:
            await reader.readexactly(len(PREFACE))
            writer.write(settings_frame({}) + SETTINGS_ACK)
            while True:
                head = await reader.readexactly(9)
                await reader.readexactly(int.from_bytes(head[:3], "big"))
                if head[3] != 1:
                    continue
                stream_id = int.from_bytes(head[5:9], "big")
                self.requests.append(stream_id)
                answer = self.answers.pop(0)(stream_id) if self.answers else self.ok(stream_id)
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    @asynccontextmanager
    async def pool(self, **limits):
        from kubedyno.http import tls
        from unit.http.wire import SERVER

        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=tls.server_context(SERVER))
        async with pool_of(server.sockets[0].getsockname()[1], **limits) as pool:
            yield pool
        server.close()
        await asyncio.sleep(0.01)


def scripted(script, test):
    async def main():
        async with script.pool() as pool:
            await test(pool)

    asyncio.run(main())


def test_a_refused_stream_is_sent_again_even_a_post():
    script = Script(
        lambda sid: reset_frame(sid, Code.REFUSED_STREAM), lambda sid: reset_frame(sid, Code.REFUSED_STREAM)
    )

    async def test(pool):
        assert (await pool.request("POST", "/", body=b"x")).status == 200

    scripted(script, test)
    assert script.requests == [1, 3, 5]


def test_a_stream_beyond_goaway_is_sent_again_on_a_new_connection():
    script = Script(lambda _: goaway_frame(0, Code.NO_ERROR))

    async def test(pool):
        assert (await pool.request("POST", "/", body=b"x")).status == 200

    scripted(script, test)
    assert script.connections == 2


def test_a_stream_within_goaway_still_gets_its_answer():
    script = Script(lambda sid: goaway_frame(sid, Code.NO_ERROR) + script.ok(sid, "201"))

    async def test(pool):
        assert (await pool.request("POST", "/", body=b"x")).status == 201

    scripted(script, test)
    assert script.connections == 1


@pytest.mark.parametrize(("method", "tries"), [("POST", 1), ("PATCH", 1), ("DELETE", 1), ("GET", 2)])
def test_a_lost_connection_repeats_only_what_reads(method, tries):
    script = Script(lambda _: None, lambda _: None)

    async def test(pool):
        with pytest.raises(ConnectionLost):
            await pool.request(method, "/")

    scripted(script, test)
    assert len(script.requests) == tries


def test_refusing_for_ever_ends_with_an_error():
    script = Script(*[lambda sid: reset_frame(sid, Code.REFUSED_STREAM)] * 50)

    async def test(pool):
        with pytest.raises(ConnectionLost, match="REFUSED_STREAM"):
            await pool.request("POST", "/")

    scripted(script, test)
    assert len(script.requests) < 10


def test_informational_answers_and_dynamic_tables_before_the_settings_take_force():
    def answer(sid):
        # Both blocks use the dynamic table, as they may until our SETTINGS are acknowledged.
        head = script.encoder.encode([(":status", "103"), ("x-y", "z")])
        return frame(1, 4, sid, head) + frame(1, 5, sid, script.encoder.encode([(":status", "299"), ("x-y", "z")]))

    script = Script(answer)

    async def test(pool):
        answer = await pool.request("GET", "/")
        assert (answer.status, answer.headers["x-y"]) == (299, "z")

    async def serve_without_ack(reader, writer):
        await reader.readexactly(len(PREFACE))
        writer.write(settings_frame({}))
        while True:
            head = await reader.readexactly(9)
            await reader.readexactly(int.from_bytes(head[:3], "big"))
            if head[3] == 1:
                writer.write(answer(int.from_bytes(head[5:9], "big")))
                break
        await reader.read()
        writer.close()

    script.serve = serve_without_ack
    scripted(script, test)


def test_who_asks_again_right_after_a_refusal_is_refused_at_once_too():
    async def main():
        async with pool_of(port) as pool, asyncio.timeout(60):
            for _ in range(3):
                with pytest.raises(ConnectionRefusedError):
                    await pool.request("GET", "/")

    with refusing_port() as port:
        asyncio.run(main())


def test_one_waiting_request_opens_a_second_http_1_1_connection():
    async def main():
        held = []

        def both(_request, responder):
            # The first is answered only once the second is there.
            held.append(responder)
            if len(held) == 2:
                for one in held:
                    one.send(200, "text/plain", b"both")

        async with (
            server_of(both, secure=False) as server,
            pool_of(server.port, secure=False) as pool,
            asyncio.timeout(60),
        ):
            answers = await asyncio.gather(pool.request("POST", "/1"), pool.request("POST", "/2"))
            assert [answer.body for answer in answers] == [b"both", b"both"]
            assert pool.connections == 2

    asyncio.run(main())


def test_nobody_listening_is_refused_at_once():
    async def main():
        async with pool_of(port) as pool:
            with pytest.raises(ConnectionRefusedError):
                await pool.request("GET", "/")

    with refusing_port() as port:
        asyncio.run(main())


def test_http2_without_tls_by_prior_knowledge_is_http_1_1_for_us_and_works():
    async def main():
        async with server_of(echo, secure=False) as server, pool_of(server.port, secure=False) as pool:
            assert (await pool.request("GET", "/x")).body == b"GET /x? 0"

    asyncio.run(main())


@BOTH
def test_closing_leaves_no_socket_behind_however_long_the_server_is_silent(alpn, monkeypatch):
    """Neither of a connection that hears no goodbye, nor of one that takes no more requests and has a stream open."""
    monkeypatch.setattr(client, "_GOODBYE_S", 0.01)

    async def main():
        held = asyncio.Event()

        async def relay(reader, writer):
            # Once held, nothing passes.
            try:
                while data := await reader.read(1 << 16):
                    if held.is_set():
                        continue
                    writer.write(data)
            finally:
                writer.close()

        async def through(reader, writer):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(relay(reader, far_writer), relay(far_reader, writer), return_exceptions=True)

        async with server_of(lambda _, r: r.start(200, "text/plain").write(b"first")) as server:
            port = server.port
            between = await asyncio.start_server(through, "127.0.0.1", 0)
            async with pool_of(between.sockets[0].getsockname()[1], alpn=alpn) as pool:
                stream = await pool.open_stream("GET", "/")
                assert await anext(stream) == b"first"
                pool.gone(next(iter(pool._open)))
                held.set()
            assert not pool._open
            between.close()
            await asyncio.sleep(0.05)

    asyncio.run(main())
