"""One run of a generator in a pod, the choice of nodes, and files of results: what measurements and checks have in common."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.client.exec import Done
from kubedyno.netperf import plan
from kubedyno.netperf.deployments import Object
from kubedyno.netperf.plan import Action, Options
from kubedyno.netperf.results import Figures, figures_of
from kubedyno.netperf.workspace import Say, Workspace

GRACE_S = 60.0
# A server's process listens a moment after its pod is Ready.
_ATTEMPTS, _RETRY_S = 10, 0.5
# iperf3 -J says so in its document; not all versions end with an error.
_REFUSED = b"unable to connect to server"
# A lost first datagram: iperf3 does not send it again, and gives up after 30 s.
_LOST = b"unable to read from stream socket"
_MODE = 0o600


class Runner:
    """Runs generators in pods of a workspace.

    Args:
        space: Where the pods are.
        options: What the commands are made of.
    """

    def __init__(self, space: Workspace, options: Options) -> None:
        self._space = space
        self._options = options
        self._met: set[str] = set()

    async def run(self, action: Action, client: Object, address: str) -> Figures:
        """Run an action in its client's pod; `address` is its server's.

        Raises:
            KubedynoError: The generator fails, or its output is none.
        """
        options = self._options
        command = plan.command_of(options, action.test, address)
        self._space.say(f"  [.] Action [network-perf/{action.name}: {action.client} -> {action.server} ({address})]")
        limit_s = options.duration_s + GRACE_S
        done = await patiently(
            lambda: self._space.run(client, plan.CONTAINER, command, limit_s), first=action.server not in self._met
        )
        if done.code:
            raise KubedynoError(f"net perf: {action.name}: exit code {done.code}: {_said(done)}")
        self._met.add(action.server)
        try:
            return figures_of(options.tool, action.test, options.streams, done.stdout)
        except KubedynoError as error:
            raise KubedynoError(f"net perf: {action.name}: {error}") from error


async def patiently(run: Callable[[], Awaitable[Done]], *, first: bool) -> Done:
    """Run a command, and again while it fails at the first contact with a server: later on a failure is one.

    Once more in any case where iperf3 lost the datagram that a UDP stream begins with: that says nothing of the stream.
    """
    done = await run()
    if _LOST in done.stdout + done.stderr:
        done = await run()
    for _ in range(_ATTEMPTS if first else 0):
        if not done.code and _REFUSED not in done.stdout:
            break
        await aio.sleep(_RETRY_S)
        done = await run()
    return done


async def choose_nodes(client: Client, options: Options, say: Say) -> tuple[str, str]:
    """Return the server's and the client's node, and tell of them.

    Raises:
        KubedynoError: There are not as many as are needed.
    """
    nodes = await client.list_all("/api/v1/nodes")
    servers = plan.candidates(nodes, options.server_selector, options.tolerations)
    clients = plan.candidates(nodes, options.client_selector, options.tolerations)
    chosen = plan.nodes_of(options, list(servers), list(clients), plan.tainted(nodes, options.tolerations))
    zones = {**servers, **clients}
    say("Nodes used for performance testing:")
    for name in chosen:
        say(f"* Node name: {name}, zone: {zones[name]}")
    if len({zones[name] for name in chosen}) > 1:
        say("Selected nodes have different zones, tweak nodeSelector if that's not what you intended")
    return chosen


def closing_line(namespace: str, actions: int, skipped: int) -> str:
    """Return the line that ends a success."""
    return f"✅ [{namespace}] All 1 tests ({actions} actions) successful, 0 tests skipped, {skipped} scenarios skipped."


def written(path: Path, document: bytes) -> Path:
    """Write a file of results for its owner alone; returns its path.

    Raises:
        KubedynoError: It cannot be written.
    """
    try:
        path.touch(mode=_MODE)
        path.write_bytes(document)
    except OSError as error:
        raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
    return path


def _said(done: Done) -> str:
    try:
        return str(orjson.loads(done.stdout)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return (done.stderr or done.stdout).decode(errors="replace").strip()[-300:]
