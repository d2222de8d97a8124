"""Which cluster: the one that is named, the one that is found, or the embedded one."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.client.kubeconfig import Target
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.documents.run import Target as TargetDocument
from kubedyno.kube.status import StatusError
from kubedyno.lab import embedded
from kubedyno.lab.embedded import Running

# A healthy API server answers in milliseconds; a minute of silence before the first word helps nobody.
_FIRST_ANSWER_S = 15.0
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


def _others() -> list[Running]:
    """Return the embedded clusters that run under names of their own."""
    return [running for name in embedded.names() if (running := embedded.find(name)) is not None]


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
                + "".join(f"; {one.name} runs: export KUBECONFIG={one.kubeconfig}" for one in _others())
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
    """Ask the cluster what it is; of a user who may not list nodes, there are 0.

    Raises:
        KubedynoError: It cannot be reached, does not answer in time, or refuses.
    """
    version = await greet(client)
    try:
        async with aio.timeout(_FIRST_ANSWER_S):
            nodes = await client.list_all("/api/v1/nodes")
    except TimeoutError as error:
        raise _silent(client, "/api/v1/nodes") from error
    except StatusError as error:
        if error.code != 403:
            raise refused(client, error) from error
        nodes = []
    return TargetDocument(
        server=choice.target.server,
        context=choice.target.context,
        version=version,
        nodes=len(nodes),
        embedded=choice.running.name if choice.running else "",
    )


def metadata(target: TargetDocument) -> dict[str, Any]:
    """Return what documents say of a cluster; a count of nodes that nobody could take is left out."""
    return {"k8sVersion": target.version} | ({"totalNodes": target.nodes} if target.nodes else {})


async def greet(client: Client) -> str:
    """Return the version of an API server, its first answer: a half-dead one is told here, in one line.

    Raises:
        KubedynoError: It cannot be reached, does not answer in time, or refuses.
    """
    try:
        async with aio.timeout(_FIRST_ANSWER_S):
            version = await client.get("/version")
    except TimeoutError as error:
        raise _silent(client, "/version") from error
    except StatusError as error:
        raise refused(client, error) from error
    return str(version.get("gitVersion", "?"))


def refused(client: Client, error: StatusError) -> KubedynoError:
    """Return the line for an API server's "no": who says it, what it says, what to do."""
    if error.code == 401:
        what = f"renew the credentials of context {client.target.context}: they are wrong, or have expired"
    elif error.code == 403:
        what = f"give the user of context {client.target.context} the rights, or take another context"
    elif error.code == 429:
        what = "it is overloaded; try again later"
    elif error.code >= 500:
        what = "it is up but not healthy; look at its log"
    else:
        what = "is this a Kubernetes API server?"
    return KubedynoError(f"{client.server}: answers {error.code} ({error.message}); {what}")


def _silent(client: Client, path: str) -> KubedynoError:
    return KubedynoError(
        f"{client.server}: no good answer to GET {path} within {_FIRST_ANSWER_S:g} s; is the cluster up, and the network?"
    )


def confirm(target: TargetDocument, *, yes: bool, quiet: bool = False) -> None:
    """Ask before a real cluster is loaded; `quiet` says nothing of an embedded one.

    Raises:
        KubedynoError: Not confirmed, or nobody is there to confirm.
    """
    if quiet and target.embedded:
        return
    nodes = "1 node" if target.nodes == 1 else f"{target.nodes or '?'} nodes"
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
