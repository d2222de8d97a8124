"""Actions of probes against real servers in a namespace, and the kubelet's words for each way to fail."""

import socket
import threading

import pytest

from kubedyno.base import aio
from kubedyno.cluster.processes import probing
from kubedyno.http.tls import Authority, server_context
from kubedyno.kernel.netns import Namespace
from kubedyno.kernel.rtnetlink import LOOPBACK_INDEX

HOST = "127.0.0.1"


@pytest.fixture
def space():
    made = Namespace()
    made.rtnetlink.set_link(LOOPBACK_INDEX, up=True)
    yield made
    made.close()


def answering(space, answer, context=None):
    """Answer one connection in a namespace; returns its port and what it will have been asked."""
    with space.inside():
        listening = socket.create_server((HOST, 0))
    heard = []

    def serve():
        with listening:
            client, _ = listening.accept()
        if context is not None:
            client = context.wrap_socket(client, server_side=True)
        with client:
            heard.append(client.recv(9999).decode(errors="replace"))
            client.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    return listening.getsockname()[1], heard


def asked(space, action, ports=None):
    """Return how an action failed, None when it did not."""

    async def work():
        async with aio.timeout(60):
            await probing.act(action, lambda _: None, space, HOST, ports or {})

    try:
        aio.run(work())
    except probing.ActionFailedError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("status", "failure"), [
    ("200 OK", None), ("302 Found", None), ("404 Not Found", "HTTP probe failed with statuscode: 404"),
    ("500 Oh", "HTTP probe failed with statuscode: 500"),
])  # fmt: skip
def test_a_status_decides(space, status, failure):
    port, heard = answering(space, f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
    given = {"port": "web", "path": "health", "httpHeaders": [{"name": "X-Who", "value": "me"}]}
    assert asked(space, {"httpGet": given}, {"web": port}) == failure
    assert heard[0].startswith("GET /health HTTP/1.1\r\n")
    assert f"host: {HOST}:{port}\r\n" in heard[0].lower()
    assert "x-who: me\r\n" in heard[0].lower()
    assert "user-agent: kube-probe/" in heard[0].lower()


@pytest.fixture
def health(space):
    """A server of gRPC's own library with one healthy service, one that is not, and a method that it has not."""
    grpc = pytest.importorskip("grpc")
    from concurrent.futures import ThreadPoolExecutor

    answers = {b"": b"\x08\x01", b"\x0a\x04good": b"\x08\x01", b"\x0a\x03bad": b"\x08\x02"}

    def check(request, context):
        if request not in answers:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return answers[request]

    started = []

    def serve(methods):
        server = grpc.server(ThreadPoolExecutor(2))
        handlers = {name: grpc.unary_unary_rpc_method_handler(call) for name, call in methods.items()}
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", handlers)])
        with space.inside():
            port = server.add_insecure_port(f"{HOST}:0")
        server.start()
        started.append(server)
        return port

    yield lambda *, implemented=True: serve({"Check": check} if implemented else {})
    for server in started:
        server.stop(None)


@pytest.mark.parametrize(("service", "failure"), [
    ("", None), ("good", None), ("bad", 'service unhealthy (responded with "NOT_SERVING")'),
    ("other", "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service"),
])  # fmt: skip
def test_the_health_of_a_grpc_service_decides(space, health, service, failure):
    assert asked(space, {"grpc": {"port": health(), "service": service}}) == failure


def test_a_grpc_server_without_health_is_told_apart_from_none_at_all(space, health):
    port = health(implemented=False)
    failure = asked(space, {"grpc": {"port": port}})
    assert failure.startswith("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)")
    refused = asked(space, {"grpc": {"port": 9}})
    assert refused == f'error: failed to connect service at "{HOST}:9": dial tcp {HOST}:9: connect: connection refused'


def test_what_is_no_grpc_server_is_a_failure(space):
    port, _ = answering(space, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert asked(space, {"grpc": {"port": port}}).startswith("error: failed to connect service")


def test_any_certificate_will_do(space):
    authority = Authority("nobody knows")
    context = server_context(authority.server(["elsewhere.example"]), authority.certificate)
    context.set_alpn_protocols(["http/1.1"])
    port, _ = answering(space, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", context)
    assert asked(space, {"httpGet": {"port": port, "scheme": "HTTPS"}}) is None


def test_who_hangs_up_and_who_does_not_listen_are_told_apart(space):
    port, _ = answering(space, b"")
    assert asked(space, {"httpGet": {"port": port}}) is not None
    assert asked(space, {"httpGet": {"port": 9}}) == (
        f'Get "http://{HOST}:9/": dial tcp {HOST}:9: connect: connection refused'
    )
    assert asked(space, {"tcpSocket": {"port": 9}}) == f"dial tcp {HOST}:9: connect: connection refused"
    assert asked(space, {"tcpSocket": {"port": "web"}}) == "couldn't find port: web"
    assert asked(space, {"tcpSocket": {"port": 9, "host": "example.com"}}) == (
        "dial tcp: lookup example.com: no such host"
    )


def test_a_port_that_listens_is_enough_for_a_connection(space):
    port, _ = answering(space, b"")
    assert asked(space, {"tcpSocket": {"port": port}}) is None
