"""Which cluster: the one that is named, the one that is found, or the embedded one."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.client.kubeconfig import Target
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.documents.run import Target as TargetDocument
from kubedyno.lab import embedded
from kubedyno.lab.embedded import Running

_IN_CLUSTER_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


@dataclass(frozen=True, slots=True)
class Choice:
    """A chosen cluster; `running` is set for an embedded one."""

    target: Target
    running: Running | None = None


def given(path: str | None) -> bool:
    """Say whether a kubeconfig is named or found, so that the embedded cluster is not wanted."""
    if path or os.environ.get("KUBECONFIG"):
        return True
    if (Path.home() / ".kube" / "config").is_file():
        return True
    return bool(os.environ.get("KUBERNETES_SERVICE_HOST")) and _IN_CLUSTER_TOKEN.is_file()


def choose(path: str | None, context: str | None, settings: ClusterSettings | None = None) -> Choice:
    """Return the cluster to work on; starts or re-uses the embedded one when none is named or found.

    Args:
        path: `--kubeconfig`; None asks KUBECONFIG, the default file and the pod's own account.
        context: `--kube-context`.
        settings: Of the embedded cluster if it must be started; None: only a running one will do.

    Raises:
        KubedynoError: The named cluster's configuration is wrong; never a fallback.
    """
    if given(path) or context:
        target = kubeconfig.load(Path(path) if path else None, context)
        return Choice(target, _embedded_of(target))
    if settings is None:
        running = embedded.find(embedded.DEFAULT_NAME)
        if running is None:
            raise KubedynoError(
                "no cluster: give --kubeconfig, set KUBECONFIG, or start the embedded one with: kubedyno cluster up"
            )
    else:
        running = embedded.up(settings)
    return Choice(kubeconfig.load(running.kubeconfig, None), running)


def _embedded_of(target: Target) -> Running | None:
    """Return the running embedded cluster that a target is, None for a real one."""
    for name in embedded.names():
        running = embedded.find(name)
        if running is not None and target.server == f"https://127.0.0.1:{running.port}":
            return running
    return None


async def describe(client: Client, choice: Choice) -> TargetDocument:
    """Ask the cluster what it is.

    Raises:
        KubedynoError: It cannot be reached, or refuses.
    """
    version = await client.get("/version")
    nodes = await client.list_all("/api/v1/nodes")
    return TargetDocument(
        server=choice.target.server,
        context=choice.target.context,
        version=str(version.get("gitVersion", "?")),
        nodes=len(nodes),
        embedded=choice.running.name if choice.running else "",
    )


def confirm(target: TargetDocument, *, yes: bool, quiet: bool = False) -> None:
    """Ask before a real cluster is loaded; `quiet` says nothing of an embedded one.

    Raises:
        KubedynoError: Not confirmed, or nobody is there to confirm.
    """
    if quiet and target.embedded:
        return
    nodes = "1 node" if target.nodes == 1 else f"{target.nodes} nodes"
    print(  # noqa: T201 - the question itself
        f"target: {target.server} (context {target.context}, Kubernetes {target.version}, {nodes})", file=sys.stderr
    )
    if yes or target.embedded:
        return
    if not sys.stdin.isatty():
        raise KubedynoError("this is a real cluster: confirm with --yes")
    try:
        answer = input("load this cluster? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in {"y", "yes"}:
        raise KubedynoError("not confirmed; nothing was sent")


def confirm_series(choice: Choice, *, yes: bool) -> None:
    """Ask once before several runs load a real cluster; raises as `confirm`."""

    async def ask() -> TargetDocument:
        async with Client(choice.target) as client:
            return await describe(client, choice)

    confirm(aio.run(ask()), yes=yes)
