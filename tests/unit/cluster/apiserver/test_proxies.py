"""Requests through the API server: to pods and Services as their scripts answer, and to kubelets."""

import asyncio
import socket
from typing import Any

import orjson
import pytest

from kubedyno.cluster.apiserver.kubeletdefaults import effective
from kubedyno.cluster.apiserver.proxypaths import target_of
from kubedyno.http.messages import Peer, Request
from unit.cluster.apiserver.harness import NS, TOKEN, Answer, Api, running

PODS = f"/api/v1/namespaces/{NS}/pods"
SERVICES = f"/api/v1/namespaces/{NS}/services"
MERGE = {"authorization": f"Bearer {TOKEN}", "content-type": "application/merge-patch+json"}
PAGE = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nX-App: a\r\nConnection: close\r\n\r\n<p>hello</p>"
MOVED = "HTTP/1.1 302 Found\r\nLocation: /login?a=b\r\nContent-Length: 0\r\n\r\n"
SCRIPT = orjson.dumps(
    {"ports": [{"port": 80, "reply": PAGE}, {"port": 81, "reply": MOVED}, {"port": 82, "reply": "no HTTP\r\n\r\n"}]}
).decode()


def add_pod(api: Api, name: str = "web", *, ip: str = "10.244.0.5") -> None:
    container = {"name": "c", "image": "i:1", "ports": [{"containerPort": 80}]}
    metadata = {"name": name, "annotations": {"kubedyno.io/exec": SCRIPT}}
    spec = {"nodeName": "n1", "containers": [container]}
    assert api.call("POST", PODS, {"metadata": metadata, "spec": spec}).status == 201
    status = {"phase": "Running", "startTime": "2026-11-18T11:06:40Z"}
    started = {"running": {"startedAt": "2026-11-18T11:06:40Z"}}
    status["containerStatuses"] = [
        {"name": "c", "image": "i:1", "imageID": "", "ready": True, "restartCount": 0, "state": started}
    ]
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    assert api.call("PATCH", f"{PODS}/{name}/status", {"status": status}, MERGE).status == 200


def add_service(api: Api, endpoints: list[dict[str, Any]], name: str = "svc") -> None:
    ports = [{"name": "http", "port": 8080, "targetPort": 80}]
    assert api.call("POST", SERVICES, {"metadata": {"name": name}, "spec": {"ports": ports}}).status == 201
    piece = {
        "metadata": {"name": f"{name}-1", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80}],
        "endpoints": endpoints,
    }
    assert api.call("POST", f"/apis/discovery.k8s.io/v1/namespaces/{NS}/endpointslices", piece).status == 201
    # Its controller makes one for each Service.
    assert api.call("POST", f"/api/v1/namespaces/{NS}/endpoints", {"metadata": {"name": name}}).status == 201


def asked(path: str, method: str = "GET", *, prepare: Any = add_pod, token: str = TOKEN) -> Answer:
    async def scene() -> Answer:
        async with running() as api:
            prepare(api)
            answer = api.call(method, path, headers={"authorization": f"Bearer {token}"})
            await asyncio.wait_for(answer.done.wait(), 60)
            return answer

    return asyncio.run(scene())


def served(api: Api) -> None:
    add_pod(api)
    target = {"kind": "Pod", "namespace": NS, "name": "web"}
    add_service(api, [{"addresses": ["10.244.0.5"], "targetRef": target}])


@pytest.mark.parametrize(
    "path", [f"{PODS}/web/proxy/", f"{PODS}/web:80/proxy/a/b?c=d", f"{PODS}/http:web:80/proxy/"]
)  # fmt: skip
def test_a_pod_answers_what_its_script_maps_to_the_port(path):
    answer = asked(path)
    assert (answer.status, answer.body, answer.media) == (200, b"<p>hello</p>", "text/html")
    assert answer.header("x-app") == ["a"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("port", ["http", "8080"])
def test_a_service_answers_by_one_of_its_endpoints(method, port):
    answer = asked(f"{SERVICES}/svc:{port}/proxy/", method, prepare=served)
    assert (answer.status, answer.body) == (200, b"<p>hello</p>")


def test_a_redirection_leads_to_the_place_below_the_proxy():
    (location,) = asked(f"{PODS}/web:81/proxy/").header("location")
    assert location == f"{PODS}/web:81/proxy/login?a=b"


def test_a_path_without_a_slash_is_redirected_to_one_with():
    answer = asked(f"{PODS}/web/proxy?a=b")
    assert (answer.status, answer.header("location")) == (301, [f"{PODS}/web/proxy/?a=b"])


def no_address(api: Api) -> None:
    add_pod(api, ip="")


def foreign(api: Api) -> None:
    add_service(api, [{"addresses": ["192.0.2.1"]}])


def not_ready(api: Api) -> None:
    add_service(api, [{"addresses": ["10.244.0.5"], "conditions": {"ready": False}}])


def empty(api: Api) -> None:
    add_service(api, [])


@pytest.mark.parametrize(
    ("path", "prepare", "code", "message"),
    [
        (
            f"{PODS}/web:83/proxy/",
            add_pod,
            503,
            "error trying to reach service: dial tcp 10.244.0.5:83: connect: connection refused",
        ),
        (f"{PODS}/none/proxy/", add_pod, 404, 'pods "none" not found'),
        (f"{PODS}/a:b:c:d/proxy/", add_pod, 400, 'invalid pod request "a:b:c:d"'),
        (f"{PODS}/web/proxy/", no_address, 400, "address not allowed"),
        (f"{SERVICES}/none/proxy/", add_pod, 404, 'services "none" not found'),
        (f"{SERVICES}/svc:81/proxy/", served, 503, 'no service port 81 found for service "svc"'),
        (f"{SERVICES}/svc:http/proxy/", empty, 503, 'no endpoints available for service "svc"'),
        (f"{SERVICES}/svc:http/proxy/", not_ready, 503, 'no endpoints available for service "svc:http"'),
        (f"{SERVICES}/svc/proxy/", served, 503, 'no endpoints available for service "svc"'),
    ],
)
def test_what_cannot_be_reached_is_told_in_the_real_words(path, prepare, code, message):
    answer = asked(path, prepare=prepare)
    assert (answer.status, answer.json["code"], answer.json["message"]) == (code, code, message)


def test_what_does_not_speak_http_is_no_answer():
    answer = asked(f"{PODS}/web:82/proxy/")
    assert (answer.status, answer.json["reason"]) == (503, "ServiceUnavailable")
    assert "HTTP/1.1" in answer.json["message"]


def test_an_endpoint_that_is_no_pod_is_not_dialled(monkeypatch):
    async def refuse(*_: Any) -> None:
        raise AssertionError("dialled")

    monkeypatch.setattr(asyncio.AbstractEventLoop, "sock_connect", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert "only pods are dialled here" in asked(f"{SERVICES}/svc:http/proxy/", prepare=foreign).json["message"]


def test_who_may_not_is_told_so():
    answer = asked(f"{PODS}/web/proxy/", token="other")
    assert answer.status == 401


@pytest.mark.parametrize(
    "path", ["/api/v1/pods/x/proxy", "/api/v1/namespaces/n/nodes/x/proxy/", "/api/v1/namespaces/proxy", "/api/v1/proxy"]
)
def test_other_paths_are_no_proxies(path):
    assert target_of(path) is None


def a_node(api: Api) -> None:
    assert api.call("POST", "/api/v1/nodes", {"metadata": {"name": "n1"}}).status == 201
    amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    status = {"capacity": amounts, "allocatable": amounts, "addresses": [{"type": "InternalIP", "address": "1.2.3.4"}]}
    assert api.call("PATCH", "/api/v1/nodes/n1/status", {"status": status}, MERGE).status == 200
    add_pod(api)
    api.server.kubelets.configuration = lambda _: "kind: KubeletConfiguration\nmaxPods: 250\nsyncFrequency: 0s\n"


def node(path: str, method: str = "GET", name: str = "n1") -> Answer:
    return asked(f"/api/v1/nodes/{name}/proxy{path}", method, prepare=a_node)


def test_a_kubelet_shows_its_pods_statistics_and_logs():
    pods = node("/pods").json
    assert (pods["kind"], [pod["metadata"]["name"] for pod in pods["items"]]) == ("PodList", ["web"])
    assert len(node("/runningpods/").json["items"]) == 1
    summary = node("/stats/summary").json
    assert summary["node"]["nodeName"] == "n1"
    assert summary["pods"][0]["podRef"]["name"] == "web"
    assert summary["pods"][0]["containers"][0]["memory"]["workingSetBytes"] > 0
    assert node(f"/containerLogs/{NS}/web/c").status == 200
    assert node("/healthz").body == b"ok"
    assert b"kubelet_running_pods" in node("/metrics").body
    assert node("/metrics", name="n1:10250").status == 200


def test_a_kubelet_shows_its_effective_configuration():
    config = node("/configz").json["kubeletconfig"]
    assert (config["maxPods"], config["syncFrequency"], config["kubeAPIQPS"]) == (250, "1m0s", 50)
    assert "kind" not in config


def test_a_false_in_a_configuration_stays():
    text = "kind: KubeletConfiguration\nfailSwapOn: false\nauthentication: {webhook: {enabled: false}}\neventRecordQPS: 0\n"
    config = effective(text)
    assert (config["failSwapOn"], config["authentication"]["webhook"]["enabled"]) == (False, False)
    assert (config["eventRecordQPS"], config["authentication"]["webhook"]["cacheTTL"]) == (0, "2m0s")


@pytest.mark.parametrize(
    ("path", "method", "name", "code"),
    [
        ("/nothing", "GET", "n1", 404),
        ("/pods", "GET", "none", 404),
        ("/pods", "POST", "n1", 405),
        ("/pods", "GET", "n1:9100", 503),
        (f"/containerLogs/{NS}/none/c", "GET", "n1", 404),
    ],
)
def test_what_a_kubelet_has_not_is_an_error(path, method, name, code):
    assert node(path, method, name).status == code


# --- upgraded connections ------------------------------------------------------------------------------------------

UPGRADE = {
    "authorization": f"Bearer {TOKEN}",
    "connection": "keep-alive, Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "a2V5",
}


class Switching(Answer):
    """A responder on HTTP/1.1, whose connection may speak another protocol."""

    on_data: Any = None

    def upgrade(self, headers: Any) -> "Switching":
        self.start(101, "", headers)
        return self


def switched(talk: Any, said: bytes) -> tuple[Switching, list[bytes]]:
    """Ask a pod to switch whose port is a connection that `talk(reader, writer)` answers; then say something."""
    heads: list[bytes] = []
    unsaid = [said] if said else []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await talk(reader, writer)
        writer.close()

    async def scene() -> Switching:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with running() as api, server:
            add_pod(api)

            async def dial(_: Any) -> socket.socket:
                end = socket.socket()
                end.setblocking(False)
                await asyncio.get_running_loop().sock_connect(end, server.sockets[0].getsockname())
                return end

            api.server.proxies._dial = dial
            answer = Switching()
            request = Request("GET", f"{PODS}/web:80/proxy/ws", "a=b", UPGRADE, b"", Peer(1, "127.0.0.1:1"))
            api.server.app(request, answer)
            for _ in range(5000):
                await asyncio.sleep(0.002)
                if answer.on_data is not None and unsaid:
                    answer.on_data(unsaid.pop())
                if answer.closed:
                    break
            # Both ends of the connection see that it is over.
            await asyncio.sleep(0.02)
            return answer

    return asyncio.run(scene()), heads


def test_a_connection_that_the_pod_upgrades_carries_bytes_both_ways():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A: b\r\n\r\n")
        writer.write(b"hello ")
        writer.write((await reader.readexactly(4)).upper())

    answer, heads = switched(talk, b"ping")
    assert (answer.status, answer.body, answer.closed) == (101, b"hello PING", True)
    assert answer.header("upgrade") == ["websocket"]
    lines = heads[0].decode().lower().split("\r\n")
    assert lines[0] == "get /ws?a=b http/1.1"
    assert {"connection: upgrade", "upgrade: websocket", "sec-websocket-key: a2v5"} <= set(lines)
    assert not any(line.startswith("authorization") for line in lines)


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 4\r\n\r\nno\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n4;a=b\r\nno\r\n\r\n0\r\n\r\n",
        b"\r\nno\r\n",
    ],
    ids=["length", "chunks", "end"],
)
def test_a_pod_that_does_not_switch_is_heard(framing):
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 426 Upgrade Required\r\nContent-Type: text/x\r\nSec-WebSocket-Version: 13\r\n" + framing
        )

    answer, _ = switched(talk, b"")
    assert (answer.status, answer.media, answer.body) == (426, "text/x", b"no\r\n")
    assert answer.header("sec-websocket-version") == ["13"]


@pytest.mark.parametrize("said", [b"hello\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n"])
def test_a_pod_that_speaks_no_http_is_a_503(said):
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)

    answer, _ = switched(talk, b"")
    message = "error trying to reach service: malformed HTTP response"
    assert (answer.status, answer.json["message"]) == (503, message)
