"""Garbage collection of a job's objects: before a run, after it, and by `destroy`."""

from collections.abc import Sequence
from urllib.parse import quote

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.namespaces import delete_labelled

log = logger(__name__)

_POLL_S = 0.2


async def collect(
    client: Client, selector: str, outside: Sequence[tuple[Mapping, str]], clock: Clock, timeout_s: float
) -> int:
    """Delete everything that a label selector names and wait until it is gone.

    Args:
        client: Where to.
        selector: Labels of a job, or of a run of it.
        outside: Kinds that live outside the job's own namespaces: (mapping, namespace or "" for cluster-scoped).
        clock: For the bound.
        timeout_s: At most so long for each step.

    Returns:
        How many namespaces and objects outside of them there were.

    Raises:
        KubedynoError: Something is still there after `timeout_s`.
        StatusError: The API refuses.
    """
    removed = 0
    for mapping, namespace in outside:
        # A namespaced kind without a namespace of its own lives in the job's namespaces.
        if mapping.kind != "Namespace" and (namespace or not mapping.namespaced):
            removed += await _collection(client, mapping, namespace, selector, clock, timeout_s)
    return removed + await delete_labelled(client, selector, clock, timeout_s)


async def _collection(
    client: Client, mapping: Mapping, namespace: str, selector: str, clock: Clock, timeout_s: float
) -> int:
    path = f"{mapping.path(namespace)}?labelSelector={quote(selector)}"
    found = await client.list_all(path)
    if not found:
        return 0
    if "deletecollection" in mapping.verbs:
        answer = await client.request("DELETE", path)
        if answer.status not in {200, 202}:
            raise StatusError.from_response(answer.status, answer.body)
    else:
        for item in found:
            meta = item["metadata"]
            await client.request("DELETE", mapping.path(meta.get("namespace"), meta["name"]))
    deadline_s = clock.monotonic() + timeout_s
    while left := await client.list_all(path):
        if clock.monotonic() > deadline_s:
            raise KubedynoError(f"{len(left)} {mapping.plural} with label {selector} are still there")
        await aio.sleep(_POLL_S)
    return len(found)
