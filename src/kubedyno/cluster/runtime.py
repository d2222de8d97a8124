"""What a cluster may run containers with: the port between kubelets, API server and real processes.

A runtime says of each pod whether it runs it; what it refuses stays modelled. All calls return at once, and what comes
of them is told by a call back from the event loop, never from within the call. Pods are known by their uid.
"""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

STDOUT, STDERR = 1, 2
# (pod, audience or "" for the API server, seconds) → a token of its ServiceAccount that dies with it; "": there is none.
Mint = Callable[[dict[str, Any], str, int], str]


class RuntimeRefusedError(Exception):
    """A runtime cannot do what was asked; the text says why, in containerd's words where it has some."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pod runs.

    Attributes:
        node: The node's name.
        node_address: Its InternalIP.
        pod_cidr: Its pods' range.
    """

    node: str
    node_address: str
    pod_cidr: str


@dataclass(frozen=True, slots=True)
class Use:
    """What a container uses, as measured.

    Attributes:
        cores: Since the look before, at least a second ago, or else since its start.
        cpu_s: Seconds of CPU since its start.
        memory_bytes: Working set.
    """

    cores: float
    cpu_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a container's log.

    Attributes:
        at_s: Epoch seconds.
        text: Without its end.
    """

    at_s: float
    text: bytes


class Log(Protocol):
    """What a container has written, and goes on writing."""

    @property
    def lines(self) -> list[Line]:
        """What is kept, oldest first."""
        ...

    def follow(self, call: Callable[[Line | None], None]) -> Callable[[], None]:
        """Have a function called with each new line, and with None at the end.

        Returns:
            What ends the following.
        """
        ...


class Process(Protocol):
    """A command that was started within a container by exec, or a container that was attached to.

    Attributes:
        on_output: Called with STDOUT or STDERR and what was written; set it at once.
        on_exit: Called once with the exit code, after all output.
    """

    on_output: Callable[[int, bytes], None] | None
    on_exit: Callable[[int], None] | None

    def write(self, data: bytes) -> None:
        """Give it input."""
        ...

    @property
    def unread(self) -> int:
        """Bytes of input that it has not read yet."""
        ...

    def when_read(self, call: Callable[[], None]) -> None:
        """Call once it has read all that it was given, or reads no more."""
        ...

    def close_input(self) -> None:
        """Let its input end."""
        ...

    def resize(self, columns: int, rows: int) -> None:
        """Change its terminal's size; nothing without a terminal."""
        ...

    def pause(self) -> None:
        """Read none of its output for a while; it waits once its pipe is full."""
        ...

    def resume(self) -> None:
        """Read its output again; nothing when it was not paused."""
        ...

    def close(self) -> None:
        """The client is gone: the command gets SIGKILL, a container that was attached to goes on."""
        ...


class Runtime(Protocol):
    """Runs pods as real processes."""

    def serve_api(self, port: int, mint: Mint) -> None:
        """Let pods reach the API server by the service `kubernetes`, with tokens of their ServiceAccounts.

        Args:
            port: The API server's on loopback.
            mint: Makes tokens.
        """
        ...

    def refusal(self, pod: dict[str, Any]) -> str:
        """Return why a pod is not run, "" when it is. Pure; a pod is asked about once."""
        ...

    def note(self, pod: dict[str, Any]) -> str:
        """Return what a pod that is run has to be told about, e.g. limits that are not enforced; "" for nothing."""
        ...

    def breach(self, uid: str, container: str) -> str:
        """Return what of the pod's security context forbids a container of a sandbox that is there; "" for nothing."""
        ...

    def create(
        self, pod: dict[str, Any], place: Place, address: str, done: Callable[[str], None], lost: Callable[[], None]
    ) -> None:
        """Make a pod's sandbox; `done` gets "" or what went wrong, and `lost` is called should it end of itself then."""
        ...

    def start(
        self, uid: str, container: str, started: Callable[[str], None], ended: Callable[[int, str], None]
    ) -> None:  # fmt: skip
        """Start a container; `started` gets "" or what went wrong.

        `ended` gets the exit code of one that was started, and "OOMKilled" where it was killed for want of memory, else "".
        """
        ...

    def update(self, uid: str, pod: dict[str, Any]) -> None:
        """Take a pod's new definition: for what starts from now on, and the limits of what runs."""
        ...

    def act(self, uid: str, container: str, what: str, done: Callable[[str | None], None]) -> None:
        """Do what a running container's spec has as "startupProbe", "readinessProbe", "livenessProbe" or "postStart".

        `done` gets None, or the kubelet's words of what failed (a silent command has none); it is never called for a pod that is removed meanwhile.
        """
        ...

    def stop_container(self, uid: str, container: str, grace_s: float, failed: Callable[[str], None]) -> None:
        """Stop one container as `stop` does; its end is told to whom `start` was told. Nothing where it does not run."""
        ...

    def stop(self, uid: str, grace_s: float, done: Callable[[], None], failed: Callable[[str], None]) -> None:
        """Stop a pod's containers: their preStop hooks, their stop signals, and SIGKILL after the grace period.

        Args:
            uid: The pod's.
            grace_s: For all of it.
            done: Called after all their ends.
            failed: Called with the name of each container whose preStop hook failed.
        """
        ...

    def remove(self, uid: str) -> None:
        """Kill what is left of a pod and drop its sandbox; its logs stay. Nothing where the pod isn't there."""
        ...

    def forget(self, uid: str) -> None:
        """Drop the logs of a pod that was removed."""
        ...

    def uses(self, uid: str) -> dict[str, Use]:
        """Return what a pod's running containers use, by name; {} where that cannot be measured."""
        ...

    def has(self, uid: str) -> bool:
        """Say whether a pod is run here."""
        ...

    def log(self, uid: str, container: str, *, previous: bool = False) -> Log:
        """Return a container's log.

        Raises:
            RuntimeRefusedError: It has not started; there is no previous one.
        """
        ...

    def exec(self, uid: str, container: str, command: list[str], *, stdin: bool, tty: bool) -> Process:
        """Start a command in a container.

        Raises:
            RuntimeRefusedError: The container does not run.
        """
        ...

    def attach(self, uid: str, container: str) -> Process:
        """Return the container's own process.

        Raises:
            RuntimeRefusedError: The container does not run.
        """
        ...

    def node_socket(self) -> tuple[socket.socket, str] | None:
        """Return a non-blocking TCP socket on a node's network and that node's address, None while there is no node."""
        ...

    def connection(self, uid: str) -> socket.socket:
        """Return a non-blocking TCP socket in the pod's network, to be connected to 127.0.0.1 there.

        Raises:
            RuntimeRefusedError: The pod is not run here.
        """
        ...
