"""`kubedyno probe --cluster`: the probe carried to every node by a short-lived DaemonSet, and all of it removed again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from kubedyno.advisor import nodeprobe
from kubedyno.advisor.nodeprobe import APP, COMMAND, CONTAINER, NodeFacts
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError
from kubedyno.base.random import secret_token
from kubedyno.client import exec as remote
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.lab import target
from kubedyno.lab.target import Choice

Json = dict[str, Any]
_POLL_S = 0.2
# So many nodes run the probe at the same time, and each has so long.
_AT_ONCE = 16
_RUN_TIMEOUT_S = 60.0
_CLEAN_TIMEOUT_S = 30.0
_NOT_RUNNABLE = 127
# The embedded cluster's word on whether a pod is processes.
_PROCESSES = "kubedyno.io/Processes"


async def probe(
    choice: Choice,
    *,
    image: str,
    namespace: str | None,
    timeout_s: float,
    yes: bool,
    capabilities: bool = True,
    clock: Clock = SYSTEM_CLOCK,
) -> list[NodeFacts]:
    """Probe every Linux node; Ctrl-C ends it, and what was created is removed in any case.

    Args:
        image: With Python 3.11 or newer.
        namespace: One that is there and stays; None makes one and removes it.
        timeout_s: Until all pods run; nodes whose pod does not are told so.
        capabilities: Whether pods get those that trying takes.

    Raises:
        KubedynoError: Not confirmed, not allowed, or interrupted (130).
    """
    async with Client(choice.target) as client:
        target.confirm(await target.describe(client, choice), yes=yes, quiet=True)
        task = asyncio.ensure_future(_probe(client, image, namespace, timeout_s, clock, capabilities=capabilities))
        try:
            with aio.on_signal(task.cancel):
                return await task
        except asyncio.CancelledError:
            raise KubedynoError("probe: interrupted; what it had created is removed", EXIT_INTERRUPTED) from None
        except StatusError as error:
            raise target.refused(client, error) from error


async def _probe(
    client: Client, image: str, namespace: str | None, timeout_s: float, clock: Clock, *, capabilities: bool
) -> list[NodeFacts]:
    space = namespace or f"{APP}-{secret_token(6).lower().replace('_', 'x').replace('-', 'x')}"
    things = nodeprobe.manifests(space, image, make_namespace=namespace is None, capabilities=capabilities)
    async with _created(client, things, make_namespace=namespace is None):
        running, waiting = await _pods(client, space, timeout_s, clock)
        seats = asyncio.Semaphore(_AT_ONCE)
        found = await asyncio.gather(*(_ask(client, space, pod, seats) for pod in running))
        return sorted([*found, *waiting], key=lambda one: one.node)


@asynccontextmanager
async def _created(client: Client, things: list[tuple[str, Json]], *, make_namespace: bool) -> AsyncIterator[None]:
    made: list[str] = []
    try:
        for path, thing in things:
            # Before it is there: an answer that is lost must not leave it behind. Names that were taken are not ours.
            made.append(f"{path}/{thing['metadata']['name']}")
            try:
                await client.create(path, thing)
            except StatusError:
                made.pop()
                raise
        yield
    finally:
        # A namespace takes along what is in it.
        await asyncio.shield(_remove(client, made[:1] if make_namespace else made[::-1]))


async def _remove(client: Client, paths: list[str]) -> None:
    left = []
    for path in paths:
        try:
            async with aio.timeout(_CLEAN_TIMEOUT_S):
                await client.delete(path, {"propagationPolicy": "Background"})
        except StatusError as error:
            if error.code != 404:
                left.append(f"{path} ({error.message})")
        except TimeoutError:
            left.append(f"{path} (no answer)")
    if left:
        raise KubedynoError(f"probe: could not be removed: {', '.join(left)}; delete it with kubectl")


async def _pods(client: Client, namespace: str, timeout_s: float, clock: Clock) -> tuple[list[Json], list[NodeFacts]]:
    """Return the pods that run, and for each other node why its pod does not, once nothing more is to be waited for."""
    deadline_s = clock.monotonic() + timeout_s
    selector = f"?labelSelector=app.kubernetes.io%2Fname%3D{APP}"
    while True:
        daemon = await client.get(f"/apis/apps/v1/namespaces/{namespace}/daemonsets/{APP}")
        pods = await client.list_all(f"/api/v1/namespaces/{namespace}/pods{selector}")
        status = daemon.get("status") or {}
        running = [pod for pod in pods if _runs(pod)]
        seen = status.get("observedGeneration") == daemon["metadata"].get("generation")
        wanted = int(status.get("desiredNumberScheduled", 0))
        done = seen and len(running) >= wanted
        if done or clock.monotonic() >= deadline_s:
            others = [NodeFacts(_node(pod), error=_why(pod)) for pod in pods if not _runs(pod)]
            if not pods:
                others = [NodeFacts("(all)", error="the DaemonSet made no pods: no Linux node takes them")]
            return running, others
        await aio.sleep(_POLL_S)


def _runs(pod: Json) -> bool:
    return bool((pod.get("status") or {}).get("phase") == "Running")


def _node(pod: Json) -> str:
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    # A DaemonSet's pod names its node by affinity until it is bound.
    terms = (
        ((spec.get("affinity") or {}).get("nodeAffinity") or {})
        .get("requiredDuringSchedulingIgnoredDuringExecution", {})
        .get("nodeSelectorTerms", [])
    )
    names = [name for term in terms for field in term.get("matchFields") or () for name in field.get("values") or ()]
    return str(names[0]) if names else str(pod["metadata"]["name"])


def _why(pod: Json) -> str:
    status = pod.get("status") or {}
    for entry in status.get("containerStatuses") or ():
        waiting = (entry.get("state") or {}).get("waiting") or {}
        if waiting.get("reason"):
            return f"its pod does not run: {waiting['reason']} {waiting.get('message', '')}".rstrip()
    for condition in status.get("conditions") or ():
        if condition.get("status") == "False" and condition.get("message"):
            return f"its pod does not run: {condition['message']}"
    return f"its pod does not run in time (phase {status.get('phase', '?')}); give a longer --timeout"


async def _ask(client: Client, namespace: str, pod: Json, seats: asyncio.Semaphore) -> NodeFacts:
    node, name = _node(pod), pod["metadata"]["name"]
    async with seats:
        try:
            async with aio.timeout(_RUN_TIMEOUT_S):
                done = await remote.run_command(client, namespace, name, CONTAINER, list(COMMAND))
            if done.code == 0:
                return NodeFacts(node, nodeprobe.facts_of(done.stdout))
        except TimeoutError:
            return NodeFacts(node, error=f"the probe did not end within {_RUN_TIMEOUT_S:g} s")
        except KubedynoError as error:
            return NodeFacts(node, error=str(error))
    said = done.stderr.decode(errors="replace").strip().splitlines()
    last = said[-1] if said else "no word"
    modelled = _modelled(pod)
    if done.code == _NOT_RUNNABLE and modelled:
        return NodeFacts(node, error=f"its pod is modelled, nothing runs in it: {modelled} (see --unprivileged)")
    if done.code == _NOT_RUNNABLE:
        return NodeFacts(node, error=f"cannot be probed, nothing runs there (exit code 127): {last}")
    return NodeFacts(node, error=f"the probe ended with exit code {done.code}: {last}")


def _modelled(pod: Json) -> str:
    """Return why an embedded cluster runs no process for a pod, "" where it does or says nothing."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == _PROCESSES and condition.get("status") == "False":
            return str(condition.get("message", ""))
    return ""
