"""exec, attach and port-forward: subresources of pods that turn their connection into streams.

What a real cluster's kubelet does there, a script does here (see `execscript`); what the API server and the kubelet
refuse is refused with their texts.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs

from kubedyno.base import aio
from kubedyno.base.aio import Spawn
from kubedyno.cluster.apiserver import execscript, portprobe, realpods, simulatedshell
from kubedyno.cluster.apiserver.call import NO_SNIFF, Call
from kubedyno.cluster.apiserver.execscript import EMPTY, SCRIPT, Answer, PortReply, Script, ScriptError
from kubedyno.cluster.apiserver.podlogs import cancel_on_close, container_of, follow, is_running, log_of
from kubedyno.cluster.apiserver.portforward import (
    CHANNELS,
    MAX_PORTS,
    PORTFORWARD,
    TUNNELLED,
    ChannelForwarding,
    Pod,
    SpdyForwarding,
    port_of,
)
from kubedyno.cluster.apiserver.queries import is_true
from kubedyno.cluster.apiserver.reads import Reads
from kubedyno.cluster.apiserver.remotecommand import (
    PROTOCOLS,
    SPDY,
    STREAMS_TIMEOUT_S,
    V1,
    Channel,
    Session,
    SpdySession,
    Wanted,
    WebSocketSession,
    failure,
    spdy_protocol,
    success,
)
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.runtime import Runtime
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.http.messages import Headers, Tunnel
from kubedyno.http.websocket import HandshakeError, accept, is_handshake
from kubedyno.kube.resources import CONFIGMAPS, PODS, Subresource
from kubedyno.kube.status import BadRequest

_VERBS = ("create", "get")
# Of pods; the vocabulary has no subresources whose bodies are streams.
SUBRESOURCES = (
    Subresource("attach", "v1", "PodAttachOptions", _VERBS),
    Subresource("exec", "v1", "PodExecOptions", _VERBS),
    Subresource("portforward", "v1", "PodPortForwardOptions", _VERBS),
)
# For a terminal's size, where a script asks for it.
_SIZE_TIMEOUT_S = 2.0
_TEXT = "text/plain; charset=utf-8"
_UNREAD = "a simulated pod's program reads nothing of what is typed; its log follows"

Work = Callable[[Session], Coroutine[Any, Any, None]]


class Streams:
    """Answers requests for streams.

    Args:
        registry: Whose pods.
        reads: Finds them.
        spawn: Runs what outlives the call.
        runtime: Runs the pods that are processes.

    Attributes:
        is_shell: Says of a container of a spec whether its program is a shell that waits for what is typed.
        end_program: Lets a simulated container's program end: the pod's key and uid, container, exit code.
    """

    def __init__(self, registry: Registry, reads: Reads, spawn: Spawn, runtime: Runtime | None = None) -> None:
        self._runtime = runtime
        self._registry = registry
        self._store = registry.store
        self._reads = reads
        self._spawn = spawn
        self.is_shell: Callable[[Object], bool] = lambda _: False
        self.end_program: Callable[[str, str, str, int], None] = lambda *_: None
        self._ports = portprobe.Ports(registry.store, registry.clock)

    def script_of(self, pod: Object) -> Script:
        """Return a pod's script: its annotation's, that of the ConfigMap which it names, or its namespace's.

        Raises:
            BadRequest: The script cannot be used.
        """
        metadata = pod["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        own = (metadata.get("annotations") or {}).get(SCRIPT)
        try:
            if own is None:
                return self._namespace_script(namespace)
            where = f"annotation {SCRIPT} of pod {namespace}/{name}"
            if not execscript.is_name(own):
                return execscript.parse(own, where)
            record = self._store.get(CONFIGMAPS, key_of(namespace, own.strip()))
            if record is None:
                raise ScriptError(f"{where}: there is no ConfigMap {own.strip()}")
            return self._parsed([record])
        except ScriptError as error:
            raise BadRequest(str(error)) from None

    def _namespace_script(self, namespace: str) -> Script:
        """Return what the namespace's labelled ConfigMaps say; O(ConfigMaps of the namespace)."""
        every = self._store.table(CONFIGMAPS).prefix(f"{namespace}/")
        labelled = [record for record in every if record.obj.labels.get(SCRIPT) == "true"]
        return self._parsed(sorted(labelled, key=lambda record: record.key)) if labelled else EMPTY

    def _parsed(self, records: list[ObjectRecord]) -> Script:
        scripts = []
        for record in records:
            data = self._store.encode_dict(CONFIGMAPS, record).get("data") or {}
            scripts += [execscript.parse(data[key], f"ConfigMap {record.key}: {key}") for key in sorted(data)]
        return execscript.joined(scripts)

    # --- exec and attach -----------------------------------------------------------------------------------------

    def exec(self, call: Call) -> None:
        """Answer exec."""
        pod, container, query = self._container(call)
        words = query.get("command", [])
        script = self.script_of(pod)

        async def work(session: Session) -> None:
            runtime = self._runtime_of(pod)
            if runtime is not None:
                await realpods.run(session, runtime, pod["metadata"]["uid"], container, words)
                return
            answer = script.find(container, words)
            probe = portprobe.probe_of(words) if answer is None else None
            if probe is not None and self._ports.answers(probe):
                code = await self._ports.run(probe, pod["metadata"]["namespace"])
                await session.finish(failure(words, code) if code else success())
                return
            await self._run(session, pod, container, words, answer or execscript.not_runnable(words))

        self._open(call, pod, container, query, work)

    def attach(self, call: Call) -> None:
        """Answer attach: what the container writes from now on, until it stops; a shell that waits, by its script."""
        pod, container, query = self._container(call)
        script = self.script_of(pod)
        record = self._reads.record(call)

        async def work(session: Session) -> None:
            runtime = self._runtime_of(pod)
            if runtime is not None:
                await realpods.attach(session, runtime, pod["metadata"]["uid"], container)
                return
            spec = container_of(pod, container)
            if session.wanted.stdin and self.is_shell(spec):
                await self._converse(session, pod, spec, script)
                return
            if session.wanted.stdin:
                end = "\r\n" if session.wanted.tty else "\n"
                session.write(Channel.STDERR, f"{container}: {_UNREAD}{end}".encode())
            session.skim()
            log = log_of(pod, spec, script)
            first = log.count(self._registry.clock.now())
            async for lines in follow(self._registry, record, container, log, first):
                end = "\r\n" if session.wanted.tty else "\n"
                session.write(Channel.STDOUT, "".join(f"{line}{end}" for _, line in lines).encode())
                await session.drain()
            await session.finish(success())

        self._open(call, pod, container, query, work)

    async def _converse(self, session: Session, pod: Object, spec: Object, script: Script) -> None:
        """Be a container's shell for a client; it ends with its input where that is the only one it gets."""
        container, metadata = spec["name"], pod["metadata"]
        code = 0

        async def run(words: list[str]) -> int:
            nonlocal code
            answer = script.find(container, words) or execscript.not_runnable(words)
            await self._say(session, pod, container, answer)
            code = answer.exit_code
            return code

        exited = False
        try:
            code, exited = await simulatedshell.converse(session, run)
        finally:
            if exited or spec.get("stdinOnce"):
                key = key_of(metadata["namespace"], metadata["name"])
                self.end_program(key, metadata["uid"], container, code)
        await session.finish(success())

    def _runtime_of(self, pod: Object) -> Runtime | None:
        """Return what runs a pod's processes, None for a simulated one."""
        runtime = self._runtime
        return runtime if runtime is not None and runtime.has(pod["metadata"]["uid"]) else None

    def _container(self, call: Call) -> tuple[Object, str, dict[str, list[str]]]:
        """Return the pod, the container's name and the query.

        Raises:
            StatusError: As the API server refuses it.
        """
        pod = self._store.encode_dict(PODS, self._reads.record(call))
        query = parse_qs(call.request.query, keep_blank_values=True)
        wanted = container_of(pod, query.get("container", [""])[0])["name"]
        _check_host(pod)
        return pod, wanted, query

    def _open(self, call: Call, pod: Object, container: str, query: dict[str, list[str]], work: Work) -> None:
        """Turn the connection into a session and run a command on it, or answer why not."""
        request = call.request
        stdin, stdout, stderr, tty = (_flag(query, name) for name in ("stdin", "stdout", "stderr", "tty"))
        # A terminal has one output.
        wanted = Wanted(stdin, stdout, stderr and not tty, tty)
        _check_upgrade(call)
        if not (wanted.stdin or wanted.stdout or wanted.stderr):
            call.answer(400, _TEXT, b"you must specify at least 1 of stdin, stdout, stderr", NO_SNIFF)
            return
        if not is_running(pod, container):
            call.answer(500, _TEXT, f'container not found ("{container}")'.encode(), NO_SNIFF)
            return
        session: Session
        if is_handshake(request.headers):
            opened = self._websocket(call, (*PROTOCOLS, V1))
            if opened is None:
                return
            tunnel, protocol = opened
            session = WebSocketSession(tunnel, wanted, protocol)
        else:
            spdy = self._spdy(call, PROTOCOLS)
            if spdy is None:
                return
            session = SpdySession(spdy, wanted)
        self._spawn(_served(session, work))

    async def _run(self, session: Session, pod: Object, container: str, words: list[str], answer: Answer) -> None:
        session.skim()
        if answer.reads_stdin and session.wanted.stdin:
            await session.stdin_ended.wait()
        await self._say(session, pod, container, answer)
        await session.finish(failure(words, answer.exit_code) if answer.exit_code else success())

    async def _say(self, session: Session, pod: Object, container: str, answer: Answer) -> None:
        """Take as long as an answer takes, and write what it says."""
        if answer.delay_s:
            await aio.sleep(answer.delay_s * self._registry.settings.speed)
        if answer.asks_size and session.wanted.tty:
            # A client tells its terminal's size right after the streams are there.
            with suppress(TimeoutError):
                await aio.wait_for(session.sized.wait(), _SIZE_TIMEOUT_S)
        columns, rows = session.size or (0, 0)
        values = _values(pod) | {
            "CONTAINER": container.encode(),
            "STDIN": bytes(session.stdin),
            "ROWS": b"%d" % rows,
            "COLUMNS": b"%d" % columns,
        }
        for channel, text in ((Channel.STDOUT, answer.stdout), (Channel.STDERR, answer.stderr)):
            output = execscript.filled(text, values)
            session.write(channel, output.replace(b"\n", b"\r\n") if session.wanted.tty else output)
            await session.drain()

    # --- port-forward --------------------------------------------------------------------------------------------

    def port_forward(self, call: Call) -> None:
        """Answer port-forward."""
        record = self._reads.record(call)
        pod = self._store.encode_dict(PODS, record)
        _check_host(pod)
        _check_upgrade(call)
        script = self.script_of(pod)
        name = f"{record.obj.name}_{record.obj.namespace}"
        values = _values(pod)

        def listens(number: int) -> PortReply | None:
            reply = script.port(number)
            return None if reply is None else replace(reply, reply=execscript.filled(reply.reply, values))

        target = Pod(name, record.obj.uid, listens, self._registry.settings.speed)
        runtime = self._runtime_of(pod)
        if runtime is not None:
            target.connection = lambda: runtime.connection(record.obj.uid)
        if pod.get("status", {}).get("phase") != "Running":
            call.answer(404, _TEXT, b"pod does not exist", NO_SNIFF)
            return
        if not is_handshake(call.request.headers):
            tunnel = self._spdy(call, (PORTFORWARD,))
            if tunnel is not None:
                SpdyForwarding(target, tunnel, self._spawn, wrapped=False)
            return
        texts = [part for text in parse_qs(call.request.query).get("ports", []) for part in text.split(",")]
        ports = [port for text in texts if (port := port_of(text)) is not None]
        if len(ports) != len(texts) or len(ports) > MAX_PORTS:
            call.answer(400, _TEXT, b'query parameter "ports" should name up to 100 ports', NO_SNIFF)
            return
        # Channels make sense for ports that the query names alone.
        opened = self._websocket(call, (TUNNELLED, CHANNELS) if ports else (TUNNELLED,))
        if opened is None:
            return
        tunnel, protocol = opened
        if protocol == TUNNELLED:
            SpdyForwarding(target, tunnel, self._spawn, wrapped=True)
        else:
            ChannelForwarding(target, tunnel, self._spawn, ports)

    # --- upgrades ------------------------------------------------------------------------------------------------

    def _websocket(self, call: Call, protocols: tuple[str, ...]) -> tuple[Tunnel, str] | None:
        """Switch to WebSocket; None when the request has been refused."""
        request = call.request
        try:
            protocol, headers = accept(request.method, request.headers, protocols)
        except HandshakeError as error:
            call.answer(400, _TEXT, str(error).encode(), NO_SNIFF + error.headers)
            return None
        if not protocol and CHANNELS not in protocols and V1 not in protocols:
            call.answer(400, _TEXT, f"no subprotocol: one of {', '.join(protocols)} is needed".encode(), NO_SNIFF)
            return None
        tunnel = self._upgraded(call, headers)
        return None if tunnel is None else (tunnel, protocol)

    def _spdy(self, call: Call, protocols: tuple[str, ...]) -> Tunnel | None:
        """Switch to SPDY; None when the request has been refused."""
        request = call.request
        if request.headers.get("upgrade", "").upper() != SPDY:
            raise BadRequest("Upgrade request required")
        protocol = spdy_protocol(request, protocols)
        if protocol is None:
            offered = request.headers.get("x-stream-protocol-version", "").replace(",", "")
            text = f"unable to upgrade: unable to negotiate protocol: client supports [{offered}], "
            text += f"server accepts [{' '.join(protocols)}]"
            accepted = tuple(("X-Accepted-Stream-Protocol-Versions", name) for name in protocols)
            call.answer(403, _TEXT, text.encode(), NO_SNIFF + accepted)
            return None
        return self._upgraded(
            call, (("Connection", "Upgrade"), ("Upgrade", SPDY), ("X-Stream-Protocol-Version", protocol))
        )

    def _upgraded(self, call: Call, headers: Headers) -> Tunnel | None:
        tunnel = call.upgrade(headers)
        if tunnel is None and not call.responder.closed:
            raise BadRequest("Upgrade request required")
        return tunnel


async def _served(session: Session, work: Work) -> None:
    """Run a command once its streams are there, for as long as its client is."""
    try:
        await aio.wait_for(session.ready.wait(), STREAMS_TIMEOUT_S)
    except TimeoutError:
        if isinstance(session, SpdySession):
            session.refuse()
        return
    cancel_on_close(session)
    if not session.closed.is_set():
        await work(session)


def _values(pod: Object) -> dict[str, bytes]:
    """Return what the placeholders mean that are about a pod."""
    metadata = pod["metadata"]
    found = {"POD": metadata["name"], "NAMESPACE": metadata["namespace"], "NODE": pod["spec"].get("nodeName", "")}
    return {name: text.encode() for name, text in found.items()}


def _flag(query: dict[str, list[str]], name: str) -> bool:
    given = query.get(name)
    return is_true(given[0] if given else None)


def _check_host(pod: Object) -> None:
    if not pod["spec"].get("nodeName"):
        raise BadRequest(f"pod {pod['metadata']['name']} does not have a host assigned")


def _check_upgrade(call: Call) -> None:
    tokens = {token.strip().lower() for token in call.request.headers.get("connection", "").split(",")}
    if "upgrade" not in tokens:
        raise BadRequest("Upgrade request required")
