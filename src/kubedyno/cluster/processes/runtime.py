"""Pods as processes, whole: sandboxes on the network, containers in them, services and names between them.

In pods and calls of `cluster.runtime`, out processes, their output and ends; `wiring` is what lies between pods. All state is
here, there and in the kernel; the helper has none.
"""

import asyncio
import resource
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.cluster.processes import containers, probing, volumes
from kubedyno.cluster.processes.attached import Attached
from kubedyno.cluster.processes.confinement import Confinement, dissolve, is_out_of_memory
from kubedyno.cluster.processes.images import entry_of
from kubedyno.cluster.processes.link import Command, Helper, PodLink
from kubedyno.cluster.processes.network import NodeNetwork
from kubedyno.cluster.processes.output import ContainerLog
from kubedyno.cluster.processes.policies import FREE, Verdicts
from kubedyno.cluster.processes.wiring import Wiring
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.runtime import STDERR, Mint, Place, RuntimeRefusedError, Use
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import Store
from kubedyno.kernel.netns import Namespace
from kubedyno.kube.resources import CONFIGMAPS, PODS, SECRETS

_EXEC_FAILED = 127
_KILLED, _OUT_OF_MEMORY = 137, "OOMKilled"
# A postStart hook has no limit of its own.
_HOOK_S = 3600.0
_TASK = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: {}: unknown"
)


@dataclass(slots=True)
class _Container:
    spec: dict[str, Any]
    confinement: Confinement
    command: Command | None = None
    log: ContainerLog | None = None
    previous: ContainerLog | None = None
    attached: list[Attached] = field(default_factory=list)


@dataclass(slots=True)
class _Pod:
    uid: str
    body: dict[str, Any]
    address: str
    place: Place
    space: Namespace
    # None on the node's own network.
    node: NodeNetwork | None
    containers: dict[str, _Container]
    link: PodLink | None = None
    stopped: Callable[[], None] | None = None
    # Probes and hooks under way.
    actions: aio.Tasks = field(default_factory=lambda: aio.Tasks("a probe or a hook"))
    verdicts: Verdicts = FREE

    @property
    def key(self) -> str:
        metadata = self.body["metadata"]
        return f"{metadata['namespace']}/{metadata['name']}"


class PodProcesses:
    """Runs pods; see `cluster.runtime.Runtime`.

    Args:
        helper: Forks them.
        store: Services, ConfigMaps, Secrets.
        pump: For the rules.
        clock: Times of log lines.
        settings: Datapath, images, addresses.
    """

    def __init__(self, helper: Helper, store: Store, pump: Pump, clock: Clock, settings: ClusterSettings) -> None:
        self._helper = helper
        self._store = store
        self._clock = clock
        self._images = settings.images
        self._pods: dict[str, _Pod] = {}
        self._wiring = Wiring(store, pump, settings, self._pods.values)
        # Removed pods whose objects are still there: their logs.
        self._ended: dict[str, _Pod] = {}
        self._mint: Mint | None = None
        self._group_ids = count()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def serve_api(self, port: int, mint: Mint) -> None:
        self._wiring.serve_api(port)
        self._mint = mint

    def close(self) -> None:
        """End all pods; they are gone when this returns."""
        for uid in list(self._pods):
            self.remove(uid)
        self._helper.close()
        self._wiring.close()

    # --- pods --------------------------------------------------------------------------------------------------

    def refusal(self, pod: dict[str, Any]) -> str:
        return containers.refusal_of(pod, self._images)

    def note(self, pod: dict[str, Any]) -> str:
        limited = any((c.get("resources") or {}).get("limits") for c in pod["spec"]["containers"])
        if limited and self._helper.groups is None:
            return f"its resource limits are not enforced: no control group can be made here ({self._helper.why_none})"
        if any((c.get("securityContext") or {}).get("readOnlyRootFilesystem") for c in pod["spec"]["containers"]):
            return "readOnlyRootFilesystem is not enforced: its containers share a root that they may write to"
        return ""

    def breach(self, uid: str, container: str) -> str:
        pod = self._pods[uid]
        return containers.breach_of(pod.body, (pod.containers.get(container) or self._ephemeral(pod, container)).spec)

    def create(
        self, pod: dict[str, Any], place: Place, address: str, done: Callable[[str], None], lost: Callable[[], None]
    ) -> None:
        uid, spec = pod["metadata"]["uid"], pod["spec"]
        try:
            node = self._wiring.node(place)
            own_network = not spec.get("hostNetwork")
            space = node.add(uid, address, containers.bandwidth_of(pod)).space if own_network else node.space
            try:
                allocatable = self._wiring.directory.allocatable(place.node)
                plan = volumes.plan_of(
                    pod, address, self._wiring.dns_address, self._data_of(pod), self._token_of(pod), allocatable
                )
                end = self._helper.fork(plan, space.descriptor)
            except OSError:
                if own_network:
                    node.remove(uid)
                raise
        except (OSError, ValueError) as error:
            text = f"failed to setup network for sandbox: {error}"
            asyncio.get_running_loop().call_soon(done, text)
            return
        known = {
            c["name"]: _Container(c, Confinement(self._clock))
            for c in (*spec.get("initContainers", ()), *spec["containers"])
        }
        made = self._pods[uid] = _Pod(uid, pod, address, place, space, node if own_network else None, known)
        # Before a process of it runs; the policies for others follow with the next update.
        self._wiring.enforce([made])
        made.link = PodLink(end, done, lost)

    def _token_of(self, pod: dict[str, Any]) -> volumes.Token:
        return lambda audience, seconds: self._mint(pod, audience, seconds) if self._mint is not None else ""

    def _data_of(self, pod: dict[str, Any]) -> volumes.Data:
        namespace = pod["metadata"]["namespace"]

        def data(kind: str, name: str) -> dict[str, str]:
            kind_resource = SECRETS if kind == "secret" else CONFIGMAPS
            record = self._store.get(kind_resource, f"{namespace}/{name}")
            obj = self._store.encode_dict(kind_resource, record) if record is not None else None
            return volumes.decoded(kind, obj)

        return data

    def start(
        self, uid: str, container: str, started: Callable[[str], None], ended: Callable[[int, str], None]
    ) -> None:
        pod = self._pods[uid]
        known = pod.containers.get(container) or self._ephemeral(pod, container)
        spec = known.spec
        if entry_of(spec["image"], self._images) is None:
            text = f"image {spec['image']} stands for no local command"
            asyncio.get_running_loop().call_soon(started, _TASK.format(text))
            return
        environment = self._environment(pod, spec)
        argv = containers.command_of(spec, self._images, environment)
        log = ContainerLog()
        if known.command is not None and pod.link is not None:
            # Its definition changed: another takes its place.
            pod.link.signal(known.command.id, signal.SIGKILL, everyone=True)
        if known.log is not None:
            known.previous = known.log
        known.log = log
        try:
            name = f"{uid}-{next(self._group_ids)}"
            known.confinement.begin(self._helper.groups, name, containers.limits_of(spec))
            command = self._run(pod, known, argv, environment, stdin=bool(spec.get("stdin")), tty=bool(spec.get("tty")))
        except OSError as error:
            asyncio.get_running_loop().call_soon(started, _TASK.format(error))
            return

        def output(stream: int, data: bytes) -> None:
            log.write(stream, data, self._clock.now())
            for client in list(known.attached):
                if client.on_output is not None:
                    client.on_output(stream, data)

        def on_started(failure: str) -> None:
            if failure and known.command is command:
                known.command = None
            started(_TASK.format(failure) if failure else "")
            if failure:
                # It was to stop before it was known that it cannot start.
                self._after_end(pod)

        def on_exit(code: int) -> None:
            log.close(self._clock.now())
            if known.command is command:
                known.command = None
            clients = known.attached.copy()
            known.attached.clear()
            for client in clients:
                if client.on_exit is not None:
                    client.on_exit(code)
            starved = code == _KILLED and is_out_of_memory(group)
            dissolve(group)
            ended(code, _OUT_OF_MEMORY if starved else "")
            self._after_end(pod)

        command.on_output, command.on_started, command.on_exit = output, on_started, on_exit
        known.command, group = command, known.confinement.group

    def update(self, uid: str, pod: dict[str, Any]) -> None:
        made = self._pods.get(uid)
        if made is None:
            return
        made.body = pod
        for spec in (*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]):
            known = made.containers[spec["name"]]
            before, known.spec = containers.limits_of(known.spec), spec
            group = known.confinement.group
            if group is not None and (limits := containers.limits_of(spec)) != before:
                try:
                    group.limit(limits)
                except OSError as error:
                    logger(__name__).error("pod %s: container %s keeps its limits: %s", made.key, spec["name"], error)

    def _ephemeral(self, pod: _Pod, container: str) -> _Container:
        """Return a container that came to the pod later."""
        metadata = pod.body["metadata"]
        record = self._store.get(PODS, f"{metadata['namespace']}/{metadata['name']}")
        assert record is not None
        later = self._store.encode_dict(PODS, record)["spec"].get("ephemeralContainers", ())
        spec = next(dict(c) for c in later if c["name"] == container)
        known = pod.containers[container] = _Container(spec, Confinement(self._clock))
        return known

    def _environment(self, pod: _Pod, spec: dict[str, Any]) -> dict[str, str]:
        facts = {
            "status.podIP": pod.address,
            "status.podIPs": pod.address,
            "status.hostIP": pod.place.node_address,
            "status.hostIPs": pod.place.node_address,
            **self._wiring.directory.allocatable(pod.place.node),
        }
        variables = self._wiring.directory.variables(
            pod.body["metadata"]["namespace"], links=pod.body["spec"].get("enableServiceLinks", True)
        )
        return containers.environment_of(pod.body, spec, facts, variables, self._data_of(pod.body))

    def _run(
        self, pod: _Pod, known: _Container, argv: list[str], environment: dict[str, str], *, stdin: bool, tty: bool
    ) -> Command:
        assert pod.link is not None
        spec = known.spec
        if tty:
            environment = {"TERM": "xterm", **environment}
        wanted = {
            "argv": argv,
            "environment": environment,
            "directory": spec.get("workingDir") or "/",
            **containers.user_of(pod.body, spec),
        }
        return pod.link.start(wanted, known.confinement.group, stdin=stdin, tty=tty)

    def act(self, uid: str, container: str, what: str, done: Callable[[str | None], None]) -> None:
        pod = self._pods.get(uid)
        if pod is None:
            return
        spec = pod.containers[container].spec
        probe = spec.get(what)
        action, timeout_s = (
            ((spec.get("lifecycle") or {}).get(what, {}), _HOOK_S)
            if probe is None
            else (probe, float(probe.get("timeoutSeconds", 1)))
        )

        async def acting() -> None:
            failure = await self._act(pod, container, action, timeout_s)
            if pod.uid in self._pods:
                done(failure)

        pod.actions.spawn(acting())

    async def _act(self, pod: _Pod, container: str, action: dict[str, Any], timeout_s: float) -> str | None:
        """Do an action; returns None, or why it failed, which may be ""."""
        spec = pod.containers[container].spec
        ports = {port["name"]: int(port["containerPort"]) for port in spec.get("ports", ()) if port.get("name")}
        space = self._wiring.network.nodes[pod.place.node].space

        def exec_(command: list[str]) -> Command:
            return self.exec(pod.uid, container, command, stdin=False, tty=False)

        try:
            async with aio.timeout(timeout_s):
                await probing.act(action, exec_, space, pod.address, ports)
        except probing.ActionFailedError as error:
            return str(error)
        except TimeoutError:
            return probing.timed_out(action, pod.address, timeout_s)
        return None

    def stop_container(self, uid: str, container: str, grace_s: float, failed: Callable[[str], None]) -> None:
        pod = self._pods.get(uid)
        if pod is not None and container in pod.containers:
            self._terminate(pod, [pod.containers[container]], grace_s, failed)

    def stop(self, uid: str, grace_s: float, done: Callable[[], None], failed: Callable[[str], None]) -> None:
        pod = self._pods.get(uid)
        running = [c for c in pod.containers.values() if c.command is not None] if pod is not None else []
        if pod is None or not running:
            asyncio.get_running_loop().call_soon(done)
            return
        first = pod.stopped is None
        pod.stopped = done
        if first:
            self._terminate(pod, running, grace_s, failed)
        else:
            asyncio.get_running_loop().call_later(grace_s, self._kill, pod, [c.command for c in running])

    def _terminate(self, pod: _Pod, stopping: list[_Container], grace_s: float, failed: Callable[[str], None]) -> None:
        """Run preStop hooks, then signal; kill what still runs after the grace period."""

        async def ask(container: _Container, command: Command) -> None:
            lifecycle = container.spec.get("lifecycle") or {}
            name = container.spec["name"]
            if "preStop" in lifecycle and await self._act(pod, name, lifecycle["preStop"], grace_s) is not None:
                failed(name)
            if command.running and pod.link is not None:
                number = getattr(signal, lifecycle.get("stopSignal", ""), signal.SIGTERM)
                pod.link.signal(command.id, number, everyone=False)

        commands = [c.command for c in stopping]
        for container in stopping:
            if container.command is not None and grace_s > 0:
                pod.actions.spawn(ask(container, container.command))
        asyncio.get_running_loop().call_later(grace_s, self._kill, pod, commands)

    @staticmethod
    def _kill(pod: _Pod, commands: list[Command | None]) -> None:
        for command in commands:
            if command is not None and pod.link is not None:
                command.kill()

    @staticmethod
    def _running(pod: _Pod) -> list[Command]:
        return [c.command for c in pod.containers.values() if c.command is not None]

    def _after_end(self, pod: _Pod) -> None:
        if pod.stopped is not None and not self._running(pod):
            done, pod.stopped = pod.stopped, None
            done()

    def remove(self, uid: str) -> None:
        pod = self._pods.pop(uid, None)
        if pod is None:
            return
        pod.actions.cancel()
        if pod.link is not None:
            pod.link.close()
        if pod.node is not None:
            pod.node.remove(uid)
        for container in pod.containers.values():
            container.confinement.end()
        self._ended[uid] = pod

    def forget(self, uid: str) -> None:
        self._ended.pop(uid, None)

    def uses(self, uid: str) -> dict[str, Use]:
        pod, found = self._pods.get(uid), {}
        for name, container in pod.containers.items() if pod is not None else ():
            if container.command is not None and (use := container.confinement.use()) is not None:
                found[name] = use
        return found

    def has(self, uid: str) -> bool:
        return uid in self._pods or uid in self._ended

    # --- clients -----------------------------------------------------------------------------------------------

    def _container(self, uid: str, container: str) -> tuple[_Pod, _Container]:
        pod = self._pods.get(uid) or self._ended.get(uid)
        known = pod.containers.get(container) if pod is not None else None
        if pod is None or known is None:
            raise RuntimeRefusedError(f"container not found ({container!r})")
        return pod, known

    def log(self, uid: str, container: str, *, previous: bool = False) -> ContainerLog:
        known = self._container(uid, container)[1]
        log = known.previous if previous else known.log
        if log is None:
            kind = "previous terminated container" if previous else "container"
            raise RuntimeRefusedError(f"{kind} {container!r} not found")
        return log

    def exec(self, uid: str, container: str, command: list[str], *, stdin: bool, tty: bool) -> Command:
        pod, known = self._container(uid, container)
        if known.command is None or not known.command.running:
            raise RuntimeRefusedError(f"container {container!r} is not running")
        environment = self._environment(pod, known.spec)
        if command[:1] == ["tar"]:
            # `kubectl cp` has it give files to their owners, which nobody may do here.
            environment.setdefault("TAR_OPTIONS", "--no-same-owner")
        try:
            process = self._run(pod, known, command, environment, stdin=stdin, tty=tty)
        except OSError as error:
            raise RuntimeRefusedError(f"exec failed: {error}") from error

        def on_started(failure: str) -> None:
            if failure:
                text = f"OCI runtime exec failed: exec failed: unable to start container process: {failure}: unknown\n"
                if process.on_output is not None:
                    process.on_output(STDERR, text.encode())
                if process.on_exit is not None:
                    process.on_exit(_EXEC_FAILED)

        process.on_started = on_started
        return process

    def attach(self, uid: str, container: str) -> Attached:
        known = self._container(uid, container)[1]
        if known.command is None or not known.command.running:
            raise RuntimeRefusedError(f"container {container!r} is not running")
        return Attached(known.command, known.attached, input_ends=bool(known.spec.get("stdinOnce")))

    def node_socket(self) -> tuple[socket.socket, str] | None:
        node = next(iter(self._wiring.network.nodes.values()), None)
        return (_socket_in(node.space), node.address) if node is not None else None

    def connection(self, uid: str) -> socket.socket:
        pod = self._pods.get(uid)
        if pod is None:
            raise RuntimeRefusedError("the pod is not run here")
        return _socket_in(pod.space)


def _socket_in(space: Namespace) -> socket.socket:
    with space.inside():
        found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setblocking(False)
    return found
