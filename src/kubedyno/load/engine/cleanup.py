"""Garbage collection of a job's objects: before a run, after it, and by `destroy`."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.kube.status import StatusError
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.namespaces import delete_labelled
from kubedyno.load.engine.patience import PatientClient

_POLL_S = 0.2
_FOREGROUND = orjson.dumps({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"})


@dataclass(frozen=True, slots=True)
class Removed:
    """How much was deleted: namespaces, and objects outside of the job's namespaces."""

    namespaces: int = 0
    objects: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        return Removed(self.namespaces + other.namespaces, self.objects + other.objects)

    def __str__(self) -> str:
        if not self.namespaces and not self.objects:
            return "nothing of these jobs was there"
        spaces = "namespace" if self.namespaces == 1 else "namespaces"
        objects = "object" if self.objects == 1 else "objects"
        return f"{self.namespaces} {spaces} and {self.objects} {objects} outside of them deleted"


async def collect(
    client: PatientClient,
    selector: str,
    outside: Sequence[tuple[Mapping, str]],
    clock: Clock,
    timeout_s: float,
    *,
    gvr: bool = False,
    told: str = "",
) -> Removed:
    """Delete everything that a label selector names and wait until it is gone.

    Args:
        client: Where to.
        selector: Labels of a job, or of a run of it.
        outside: Kinds that live outside the job's own namespaces: (mapping, namespace or "" for cluster-scoped).
        clock: For the bound.
        timeout_s: At most so long for each step.
        gvr: Delete the objects in the job's namespaces kind by kind before the namespaces.
        told: What the log says instead of the selector.

    Returns:
        What there was.

    Raises:
        KubedynoError: Something is still there after `timeout_s`.
        StatusError: The API refuses.
    """
    # Nothing is waited for before all is deleted: a volume goes after its claim, a claim after its pods.
    removed = 0
    leaving: list[tuple[Mapping, str]] = []
    for mapping, namespace in outside:
        # A namespaced kind without a namespace of its own lives in the job's namespaces.
        if mapping.kind != "Namespace" and (namespace or not mapping.namespaced):
            count = await delete_collection(client, mapping, namespace, selector, clock, timeout_s, wait=False)
            removed += count
            leaving += [(mapping, namespace)] if count else []
    if gvr:
        path = f"/api/v1/namespaces?labelSelector={quote(selector)}"
        for item in await client.list_all(path):
            name = item["metadata"]["name"]
            inside = [mapping for mapping, namespace in outside if mapping.namespaced and not namespace]
            for mapping in inside:
                await delete_collection(client, mapping, name, selector, clock, timeout_s, wait=False)
            for mapping in inside:
                await wait_gone(client, mapping, name, selector, clock, timeout_s)
    spaces = await delete_labelled(client, selector, clock, timeout_s, told)
    for mapping, namespace in leaving:
        await wait_gone(client, mapping, namespace, selector, clock, timeout_s)
    return Removed(spaces, removed)


async def delete_collection(
    client: PatientClient,
    mapping: Mapping,
    namespace: str | None,
    selector: str,
    clock: Clock,
    timeout_s: float,
    *,
    wait: bool,
) -> int:
    """Delete the objects of a kind with a label, in one namespace or everywhere.

    Returns:
        How many there were.

    Raises:
        KubedynoError: Some are still there after `timeout_s`.
        StatusError: The API refuses.
    """
    path = f"{mapping.path(namespace)}?labelSelector={quote(selector)}"
    try:
        found = await client.list_all(path)
    except StatusError as error:
        if error.code == 404:
            # The kind itself is gone: its CustomResourceDefinition was among what was deleted.
            return 0
        raise
    if not found:
        return 0
    if "deletecollection" in mapping.verbs:
        answer = await client.request("DELETE", path, body=_FOREGROUND)
        if answer.status not in {200, 202}:
            raise StatusError.from_response(answer.status, answer.body)
    else:
        for item in found:
            meta = item["metadata"]
            await client.request("DELETE", mapping.path(meta.get("namespace"), meta["name"]))
    if wait:
        await wait_gone(client, mapping, namespace, selector, clock, timeout_s)
    return len(found)


async def wait_gone(
    client: PatientClient, mapping: Mapping, namespace: str | None, selector: str, clock: Clock, timeout_s: float
) -> None:
    """Return once no object of a kind with a label is left, in one namespace or anywhere.

    Raises:
        KubedynoError: Some are still there after `timeout_s`.
        StatusError: The API refuses.
    """
    path = f"{mapping.path(namespace)}?labelSelector={quote(selector)}"
    deadline_s = clock.monotonic() + timeout_s
    while True:
        try:
            left = await client.list_all(path)
        except StatusError as error:
            if error.code == 404:
                # The kind went, too, with its CustomResourceDefinition.
                return
            raise
        if not left:
            return
        if clock.monotonic() > deadline_s:
            raise KubedynoError(f"{len(left)} {mapping.plural} with label {selector} are still there")
        await aio.sleep(_POLL_S)
