"""exec, attach and port-forward as bytes: handshakes, channels, streams, and clients that do as they please."""

import asyncio

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.base.times import epoch_of
from kubedyno.cluster.apiserver.podlogs import Log, follow
from kubedyno.cluster.apiserver.remotecommand import MAX_STDIN, V5, Wanted, WebSocketSession
from kubedyno.http.messages import Peer, Request
from kubedyno.http.spdy import Data, Framer, Reset, SynReply, SynStream
from kubedyno.http.websocket import Opcode, WebSocket, close_frame, frame
from kubedyno.kube.resources import NODES, PODS, by_plural
from unit.cluster.apiserver.harness import TOKEN, Answer, Api

SCRIPT = """
commands:
- {command: ok, stdout: "out\\n", stderr: "err\\n"}
- {command: "say", stdout: "${STDIN}"}
- {command: bad, exitCode: 7}
- {command: forever, delay: 1h}
ports: [{port: 80, reply: "hello"}]
"""
RUNNING = {"running": {"startedAt": "2026-11-25T00:00:00Z"}}
GROUP = "rbac.authorization.k8s.io"
MASK = b"\1\2\3\4"
WEBSOCKET = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}
SPDY = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}


class Wire(Answer):
    """A responder whose connection can be switched; keeps what is sent after that."""

    def __init__(self, can=True):
        super().__init__()
        self.can = can
        self.on_data = None
        self.sent = bytearray()
        self.paused = False

    def pause_input(self):
        self.paused = True

    def resume_input(self):
        self.paused = False

    def upgrade(self, headers):
        if not self.can:
            return None
        self.status, self.headers = 101, list(headers)
        return self

    def write(self, data):
        if self.status == 101:
            if not self.closed:
                self.sent += data
        else:
            super().write(data)

    def messages(self):
        """Return what has been sent as WebSocket messages."""
        found, error = WebSocket(server=False).receive(bytes(self.sent))
        assert error is None
        return [(m.opcode, m.data) for m in found]

    def channels(self):
        """Return what was said on each channel, and the Status."""
        said = {}
        for opcode, data in self.messages():
            if opcode is Opcode.BINARY:
                said[data[0]] = said.get(data[0], b"") + data[1:]
        return said


@pytest.fixture
def api():
    made = Api()
    add(made, "web", **{"kubedyno.io/exec": SCRIPT})
    return made


def add(api, name, containers=("c",), state=RUNNING, phase="Running", init=(), **annotations):
    spec = {"nodeName": "n", "containers": [{"name": each, "image": "i"} for each in containers]}
    if init:
        spec["initContainers"] = [{"name": each, "image": "i"} for each in init]
    api.registry.create(PODS, "ns", {"metadata": {"name": name, "annotations": annotations}, "spec": spec})
    status = {
        "phase": phase,
        "containerStatuses": [
            {"name": each, "state": state, "image": "i", "imageID": "", "ready": True, "restartCount": 0}
            for each in containers
        ],
    }
    api.registry.modify(PODS, "ns", name, lambda pod: {**pod, "status": status}, subresource="status")


def ask(api, part, query="", headers=None, method="GET", pod="web", can=True, path=None):
    wire = Wire(can)
    given = {"authorization": f"Bearer {TOKEN}", **(headers or {})}
    path = path or f"/api/v1/namespaces/ns/pods/{pod}/{part}"
    api.server.app(Request(method, path, query, given, b"", Peer(1, "x")), wire)
    return wire


async def turns(count=12):
    for _ in range(count):
        await asyncio.sleep(0)


def play(script):
    asyncio.run(script())


def websocket(protocol):
    return {**WEBSOCKET, "sec-websocket-protocol": protocol}


EXEC = "command=ok&stdout=1&stderr=true"


# --- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "headers", "status", "text"),
    [
        (EXEC, {}, 400, "Upgrade request required"),
        (EXEC, {"upgrade": "websocket"}, 400, "Upgrade request required"),
        (EXEC, {"connection": "Upgrade", "upgrade": "h2c"}, 400, "Upgrade request required"),
        ("command=ok", websocket("v5.channel.k8s.io"), 400, "you must specify at least 1 of stdin, stdout, stderr"),
        ("command=ok&stdout=false", websocket("v5.channel.k8s.io"), 400, "at least 1 of stdin, stdout, stderr"),
        (EXEC, websocket("v9"), 400, "no protocol in common"),
        (EXEC, {**websocket("v5.channel.k8s.io"), "sec-websocket-key": "x"}, 400, "Sec-WebSocket-Key"),
        (
            EXEC,
            {**SPDY, "x-stream-protocol-version": "v9"},
            403,
            "client supports [v9], server accepts [v5.channel.k8s",
        ),
        (EXEC + "&container=zz", SPDY, 400, "container zz is not valid for pod web"),
    ],
)
def test_a_request_that_cannot_become_a_session_is_refused(api, query, headers, status, text):
    wire = ask(api, "exec", query, headers)
    assert (wire.status, wire.closed) == (status, True)
    assert text in wire.body.decode()


def test_a_connection_that_cannot_be_switched_is_refused(api):
    wire = ask(api, "exec", EXEC, websocket("v5.channel.k8s.io"), can=False)
    assert (wire.status, wire.json["message"]) == (400, "Upgrade request required")


def test_a_container_has_to_be_named_where_there_are_several(api):
    add(api, "two", ("a", "b"), init=("i",))
    wire = ask(api, "exec", EXEC, SPDY, pod="two")
    assert wire.json["message"] == (
        "a container name must be specified for pod two, choose one of: [a b] or one of the init containers: [i]"
    )


def test_a_container_that_does_not_run_is_not_found(api):
    add(api, "off", state={"waiting": {"reason": "CrashLoopBackOff"}})
    wire = ask(api, "attach", "stdout=1", websocket("v4.channel.k8s.io"), pod="off")
    assert (wire.status, wire.body) == (500, b'container not found ("c")')


def test_the_subresources_are_discovered(api):
    listed = {entry["name"]: entry for entry in api.call("GET", "/api/v1").json["resources"]}
    kinds = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}
    for part, kind in kinds.items():
        assert listed[f"pods/{part}"]["kind"] == kind
        assert listed[f"pods/{part}"]["verbs"] == ["create", "get"]


@pytest.mark.parametrize(("verbs", "wanting"), [(["get"], "create"), (["create"], "get"), (["get", "create"], "")])
def test_whoever_enters_a_pod_by_a_get_has_to_be_let_create_too(api, verbs, wanting):
    rule = {"apiGroups": [""], "resources": ["pods/exec"], "verbs": verbs}
    api.registry.create(_rbac("roles"), "ns", {"metadata": {"name": "r"}, "rules": [rule]})
    binding = {
        "metadata": {"name": "b"},
        "roleRef": {"apiGroup": GROUP, "kind": "Role", "name": "r"},
        "subjects": [{"kind": "User", "apiGroup": GROUP, "name": "bob"}],
    }
    api.registry.create(_rbac("rolebindings"), "ns", binding)
    wire = ask(api, "exec", "command=ok", {**websocket("v5.channel.k8s.io"), "impersonate-user": "bob"})
    if not wanting:
        assert (wire.status, wire.body) == (400, b"you must specify at least 1 of stdin, stdout, stderr")
        return
    assert (wire.status, wire.json["message"]) == (
        403,
        f'pods "web" is forbidden: User "bob" cannot {wanting} resource "pods/exec" in API group "" in the namespace "ns"',
    )


def _rbac(plural):
    resource = by_plural(GROUP, "v1", plural)
    assert resource is not None
    return resource


# --- WebSocket ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["v4.channel.k8s.io", "v5.channel.k8s.io"])
def test_a_command_speaks_on_its_channels_and_ends_with_a_status(api, protocol):
    async def script():
        wire = ask(api, "exec", EXEC, websocket(protocol))
        assert ("Sec-WebSocket-Protocol", protocol) in wire.headers
        await turns()
        said = wire.channels()
        assert orjson.loads(said.pop(3)) == {"metadata": {}, "status": "Success"}
        assert said == {1: b"out\n", 2: b"err\n"}
        assert wire.messages()[-1] == (Opcode.CLOSE, b"")
        assert not wire.closed
        wire.on_data(close_frame(1000, mask=MASK))
        await turns()
        assert wire.closed

    play(script)


@pytest.fixture
def node(api):
    api.registry.create(NODES, "", {"metadata": {"name": "n"}})
    status = {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}
    api.registry.modify(NODES, "", "n", lambda node: {**node, "status": status}, subresource="status")
    return "/api/v1/nodes/n/proxy"


def test_a_kubelet_lets_in_by_its_own_names(api, node):
    async def script():
        uid = api.registry.store.get(PODS, "ns/web").obj.uid
        for where in ("ns/web/c", f"ns/web/{uid}/c"):
            query = "command=ok&output=1&error=1"
            wire = ask(api, "", query, websocket("v5.channel.k8s.io"), path=f"{node}/exec/{where}")
            await turns()
            said = wire.channels()
            assert orjson.loads(said.pop(3))["status"] == "Success"
            assert said == {1: b"out\n", 2: b"err\n"}
        wire = ask(api, "", "", websocket("SPDY/3.1+portforward.k8s.io"), path=f"{node}/portForward/ns/web")
        assert wire.status == 101
        wire.on_close()

    play(script)


@pytest.mark.parametrize("where", ["exec/ns/none/c", "exec/ns/web/other-uid/c", "attach/ns/web", "exec/other/web/c"])
def test_a_kubelet_lets_nobody_into_what_it_has_not(api, node, where):
    wire = ask(api, "", "command=ok&output=1", websocket("v5.channel.k8s.io"), path=f"{node}/{where}")
    assert wire.status == 404


def test_a_node_without_an_address_cannot_be_asked(api):
    api.registry.create(NODES, "", {"metadata": {"name": "n"}})
    wire = ask(api, "", path="/api/v1/nodes/n/proxy/healthz")
    assert (wire.status, b"no preferred addresses found" in wire.body) == (500, True)


def test_an_exit_code_is_a_cause(api):
    async def script():
        wire = ask(api, "exec", "command=bad&stderr=1", websocket("v4.channel.k8s.io"))
        await turns()
        assert orjson.loads(wire.channels()[3]) == {
            "metadata": {},
            "status": "Failure",
            "message": "command terminated with non-zero exit code: error executing command [bad], exit code 7",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]},
        }
        wire.on_close()

    play(script)


@pytest.mark.parametrize("headers", [WEBSOCKET, websocket("channel.k8s.io")], ids=["none", "v1"])
def test_the_first_protocol_tells_errors_as_texts(api, headers):
    async def script():
        wire = ask(api, "exec", EXEC, headers)
        await turns()
        assert wire.channels() == {1: b"out\n", 2: b"err\n", 3: b""}
        wire.on_close()
        wire = ask(api, "exec", "command=bad&stdout=1", headers)
        await turns()
        text = b"command terminated with non-zero exit code: error executing command [bad], exit code 7"
        assert wire.channels() == {1: b"", 3: text}
        wire.on_close()

    play(script)


def test_what_was_not_asked_for_is_not_sent(api):
    async def script():
        wire = ask(api, "exec", "command=ok&stdout=1", websocket("v4.channel.k8s.io"))
        await turns()
        assert set(wire.channels()) == {1, 3}
        wire.on_close()

    play(script)


def test_a_terminal_has_one_output_with_its_own_line_ends(api):
    async def script():
        wire = ask(api, "exec", EXEC + "&tty=1", websocket("v4.channel.k8s.io"))
        await turns()
        said = wire.channels()
        assert (said[1], set(said)) == (b"out\r\nerr\r\n", {1, 3})
        wire.on_close()
        wire = ask(api, "exec", EXEC + "&tty=1", {**SPDY, "x-stream-protocol-version": "v4.channel.k8s.io"})
        client = SpdyClient(wire)
        client.send(
            *(SynStream(2 * n + 1, {"streamtype": kind}) for n, kind in enumerate(("error", "stdout", "resize")))
        )
        await turns()
        assert Data(3, b"out\r\n") in client.got()
        wire.on_close()

    play(script)


@pytest.mark.parametrize("opcode", [Opcode.BINARY, Opcode.TEXT])
def test_stdin_ends_where_v5_says_so(api, opcode):
    async def script():
        wire = ask(api, "exec", "command=say&stdout=1&stdin=1", websocket("v5.channel.k8s.io"))
        wire.on_data(frame(opcode, b"\0to", mask=MASK) + frame(opcode, b"\0ld", mask=MASK))
        await turns()
        assert wire.channels() == {1: b""}
        wire.on_data(frame(Opcode.BINARY, b"\xff\0", mask=MASK))
        await turns()
        assert wire.channels()[1] == b"told"
        wire.on_close()

    play(script)


def test_a_ping_is_answered_while_a_command_runs(api):
    async def script():
        wire = ask(api, "exec", "command=forever&stdout=1", websocket("v5.channel.k8s.io"))
        await turns()
        wire.on_data(frame(Opcode.PING, b"x", mask=MASK))
        assert wire.messages() == [(Opcode.BINARY, b"\1"), (Opcode.PONG, b"x")]
        assert api.server._tasks
        wire.on_close()
        await turns()
        assert not api.server._tasks

    play(script)


def test_a_client_that_breaks_the_protocol_is_told_and_cut(api):
    async def script():
        wire = ask(api, "exec", "command=forever&stdout=1", websocket("v5.channel.k8s.io"))
        await turns()
        wire.on_data(frame(Opcode.BINARY, b"\0not masked"))
        await turns()
        assert wire.messages()[-1][0] is Opcode.CLOSE
        assert wire.closed
        assert not api.server._tasks

    play(script)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 9, 10]), st.binary(max_size=20)), max_size=5), st.binary(max_size=30))
def test_whatever_a_client_sends_a_session_ends_with_it(messages, garbage):
    api = Api()
    add(api, "web", **{"kubedyno.io/exec": SCRIPT})

    async def script():
        wire = ask(api, "exec", "command=forever&stdin=1&stdout=1&tty=1", websocket("v5.channel.k8s.io"))
        await turns(3)
        wire.on_data(b"".join(frame(opcode, data, mask=MASK) for opcode, data in messages) + garbage)
        await turns(3)
        if not wire.closed:
            wire.on_close()
        await turns()
        assert not api.server._tasks

    play(script)


# --- SPDY --------------------------------------------------------------------------------------------------------------


class SpdyClient:
    """Streams of a session, by their type."""

    def __init__(self, wire):
        self.wire = wire
        self.framer, self.answers = Framer(), Framer()
        self.at = 0
        self.frames = []

    def send(self, *frames):
        self.wire.on_data(b"".join(self.framer.encode(each) for each in frames))

    def got(self):
        found, error = self.answers.receive(bytes(self.wire.sent[self.at :]))
        self.at = len(self.wire.sent)
        assert error is None
        return found


def test_a_command_waits_for_its_streams_and_speaks_on_them(api):
    async def script():
        headers = {**SPDY, "x-stream-protocol-version": "v4.channel.k8s.io"}
        wire = ask(api, "exec", EXEC, headers, method="POST")
        assert ("X-Stream-Protocol-Version", "v4.channel.k8s.io") in wire.headers
        client = SpdyClient(wire)
        client.send(SynStream(1, {"streamtype": "error"}), SynStream(3, {"streamtype": "stdout"}))
        await turns()
        assert client.got() == [SynReply(1), SynReply(3)]
        client.send(SynStream(5, {"streamtype": "stdin"}), SynStream(7, {"streamtype": "stderr"}))
        await turns()
        refused, accepted, *said = client.got()
        assert (refused, accepted) == (Reset(5, 3), SynReply(7))
        assert [f for f in said if f.stream_id == 3] == [Data(3, b"out\n"), Data(3, b"", fin=True)]
        assert [f for f in said if f.stream_id == 7] == [Data(7, b"err\n"), Data(7, b"", fin=True)]
        status, end = (f for f in said if f.stream_id == 1)
        assert (orjson.loads(status.data)["status"], end.fin) == ("Success", True)
        wire.on_close()
        await turns()
        assert not api.server._tasks

    play(script)


# --- port-forward ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [WEBSOCKET, websocket("v4.channel.k8s.io")], ids=["none", "v4"])
def test_channels_of_a_forwarded_port_begin_with_its_number(api, headers):
    async def script():
        wire = ask(api, "portforward", "ports=80,81", headers)
        await turns()
        said = wire.channels()
        uid = api.registry.store.table(PODS).get("ns/web").obj.uid
        refusal = (
            f"error forwarding port 81 to pod web_ns, uid {uid}: connection refused: nothing listens on port 81 of a "
            "simulated pod; ports of kubedyno.io/exec may give it a reply"
        )
        assert said == {0: b"P\0", 1: b"P\0", 2: b"Q\0", 3: b"Q\0" + refusal.encode()}
        wire.on_data(frame(Opcode.BINARY, b"\0GET", mask=MASK))
        await turns()
        assert wire.channels()[0] == b"P\0hello"
        wire.on_close()

    play(script)


@pytest.mark.parametrize("wrapped", [False, True], ids=["spdy", "tunnelled"])
def test_a_pair_of_streams_is_a_connection(api, wrapped):
    async def script():
        headers = (
            websocket("SPDY/3.1+portforward.k8s.io")
            if wrapped
            else {**SPDY, "x-stream-protocol-version": "portforward.k8s.io"}
        )
        wire = ask(api, "portforward", "", headers, method="GET" if wrapped else "POST")
        assert wire.status == 101
        framer, answers = Framer(), Framer()

        def send(*frames):
            data = b"".join(framer.encode(each) for each in frames)
            wire.on_data(frame(Opcode.BINARY, data, mask=MASK) if wrapped else data)

        about = {"port": "80", "requestid": "0"}
        send(SynStream(1, {**about, "streamtype": "error"}, fin=True), SynStream(3, {**about, "streamtype": "data"}))
        send(Data(3, b"GET"), SynStream(5, {**about, "streamtype": "data"}), SynStream(7, {"streamtype": "error"}))
        await turns()
        data = b"".join(data for _, data in wire.messages()) if wrapped else bytes(wire.sent)
        found, error = answers.receive(data)
        assert error is None
        streams = [each for each in found if getattr(each, "stream_id", 0) and not hasattr(each, "delta")]
        assert streams == [
            SynReply(1), SynReply(3), Reset(5, 3), Reset(7, 3), Data(3, b"hello"), Data(3, b"", fin=True),
            Data(1, b"", fin=True),
        ]  # fmt: skip
        wire.on_close()

    play(script)


def test_error_streams_that_were_reset_take_no_place(api):
    async def script():
        wire = ask(api, "portforward", "", {**SPDY, "x-stream-protocol-version": "portforward.k8s.io"})
        client = SpdyClient(wire)
        for n in range(100):
            about = {"streamtype": "error", "port": "80", "requestid": str(n)}
            client.send(SynStream(2 * n + 1, about), Reset(2 * n + 1, 5))
        assert [type(each) for each in client.got()] == [SynReply] * 100
        for n in range(100, 165):
            client.send(SynStream(2 * n + 1, {"streamtype": "error", "port": "80", "requestid": str(n)}))
        assert [type(each) for each in client.got()] == [SynReply] * 64 + [Reset]
        wire.on_close()

    play(script)


def test_without_ports_a_protocol_has_to_be_named(api):
    wire = ask(api, "portforward", "", WEBSOCKET)
    assert (wire.status, b"no subprotocol" in wire.body) == (400, True)


@pytest.mark.parametrize("ports", ["0", "65536", "x", "80,", "-1", ",".join(str(n) for n in range(1, 102))])
def test_ports_that_are_none_are_refused(api, ports):
    assert ask(api, "portforward", f"ports={ports}", websocket("v4.channel.k8s.io")).status == 400


def test_a_pod_that_does_not_run_forwards_nothing(api):
    add(api, "off", phase="Pending")
    wire = ask(api, "portforward", "ports=80", websocket("v4.channel.k8s.io"), pod="off")
    assert (wire.status, wire.body) == (404, b"pod does not exist")


# --- logs --------------------------------------------------------------------------------------------------------------


def test_who_follows_a_log_gets_what_was_written_until_the_container_ended(api):
    record = api.registry.store.get(PODS, "ns/web")
    start = "2026-11-25T00:00:00Z"
    api.clock.now_s = epoch_of(start) + 1.5

    async def script():
        lines = []

        async def read():
            async for more in follow(api.registry, record, "c", Log(("a", "b"), 1.0, start), 0):
                lines.extend(line for _, line in more)

        task = asyncio.ensure_future(read())
        await turns()
        assert lines == ["a"]
        ended = {"terminated": {"exitCode": 0, "startedAt": start, "finishedAt": "2026-11-25T00:00:03Z"}}
        api.clock.now_s += 60

        def stopped(pod):
            statuses = [{**pod["status"]["containerStatuses"][0], "state": ended}]
            return {**pod, "status": {**pod["status"], "containerStatuses": statuses}}

        api.registry.modify(PODS, "ns", "web", stopped, subresource="status")
        await task
        assert lines == ["a", "b", "a"]

    play(script)


def test_input_that_nobody_listens_to_yet_is_kept_whole_and_the_client_waits():
    async def script():
        wire, heard = Wire(), bytearray()
        session = WebSocketSession(wire, Wanted(stdin=True, stdout=True), V5)
        piece = b"x" * (600 << 10)
        for paused in (False, True):
            wire.on_data(frame(Opcode.BINARY, b"\0" + piece, mask=MASK))
            assert wire.paused is paused
        session.listen(heard.extend, lambda: None, lambda *_: None)
        assert (len(heard), wire.paused) == (2 * len(piece), False)

    asyncio.run(script())


def test_a_script_keeps_the_beginning_of_its_input_and_drops_the_rest():
    async def script():
        wire = Wire()
        session = WebSocketSession(wire, Wanted(stdin=True, stdout=True), V5)
        for _ in range(3):
            wire.on_data(frame(Opcode.BINARY, b"\0" + b"x" * (600 << 10), mask=MASK))
            session.skim()
            assert (len(session.stdin) <= MAX_STDIN, wire.paused) == (True, False)

    asyncio.run(script())
