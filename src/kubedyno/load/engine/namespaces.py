"""Namespaces of a job: made ahead of the objects that need them, deleted by label."""

import asyncio
from collections.abc import Iterable, Mapping
from urllib.parse import quote

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.kube.status import StatusError
from kubedyno.load.engine.patience import PatientClient

log = logger(__name__)

# How many namespaces are made ahead of the object that is sent, at most this many at once.
LOOKAHEAD = 64
_CONFLICT_WAIT_S = 1.0
_POLL_S = 0.2
_FIRST_RETRY_S = 5.0
_RETRIES = 8


class Namespaces:
    """Makes namespaces once each, `LOOKAHEAD` of them under way.

    Args:
        client: Where to.
        labels: Put on each.
        annotations: Put on each.
    """

    def __init__(self, client: PatientClient, labels: Mapping[str, str], annotations: Mapping[str, str]) -> None:
        self._client = client
        self._labels = dict(labels)
        self._annotations = dict(annotations)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._made: set[str] = set()

    @property
    def made(self) -> set[str]:
        """Names of the namespaces that exist by this job's doing, or that it found."""
        return self._made

    def is_ready(self, name: str) -> bool:
        return name in self._made

    def forget(self, names: Iterable[str]) -> None:
        """Make namespaces again when they are next needed: they were deleted."""
        for name in names:
            self._made.discard(name)
            self._tasks.pop(name, None)

    def begin(self, name: str) -> None:
        """Start making a namespace, unless it was already."""
        if name not in self._made and name not in self._tasks:
            self._tasks[name] = asyncio.get_running_loop().create_task(self._make(name))

    async def ensure(self, name: str) -> None:
        """Return once the namespace is there.

        Raises:
            KubedynoError: It cannot be made.
        """
        if name in self._made:
            return
        self.begin(name)
        try:
            await self._tasks[name]
        finally:
            self._tasks.pop(name, None)

    async def close(self) -> None:
        """Cancel what is still under way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _make(self, name: str) -> None:
        metadata: dict[str, object] = {"name": name, "labels": self._labels}
        if self._annotations:
            metadata["annotations"] = self._annotations
        body = orjson.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        delay_s = _FIRST_RETRY_S
        for attempt in range(_RETRIES):
            answer = await self._client.request("POST", "/api/v1/namespaces", body=body)
            if answer.status in {200, 201}:
                log.debug("Created namespace: %s", name)
                self._made.add(name)
                return
            error = StatusError.from_response(answer.status, answer.body)
            if answer.status == 409:
                if not await self._is_terminating(name):
                    log.warning("Namespace %s exists already: used as it is", name)
                    self._made.add(name)
                    return
                log.warning("Namespace %s is being deleted: waiting until it is gone", name)
                await self._wait_gone(name)
                continue
            if answer.status in {401, 403, 422, 400}:
                raise KubedynoError(f"namespace {name}: {error.message}")
            log.error("Error creating namespace %s: %s; trying again in %.0fs", name, error.message, delay_s)
            await aio.sleep(delay_s)
            delay_s *= 3
            if attempt == _RETRIES - 1:
                raise KubedynoError(f"namespace {name}: {error.message}; given up after {_RETRIES} tries")

    async def _is_terminating(self, name: str) -> bool:
        try:
            found = await self._client.get(f"/api/v1/namespaces/{name}")
        except StatusError as error:
            if error.code == 404:
                return True
            raise
        return bool(found.get("status", {}).get("phase") == "Terminating")

    async def _wait_gone(self, name: str) -> None:
        while True:
            answer = await self._client.request("GET", f"/api/v1/namespaces/{name}")
            if answer.status == 404:
                return
            await aio.sleep(_CONFLICT_WAIT_S)


async def delete_labelled(client: PatientClient, selector: str, clock: Clock, timeout_s: float, told: str = "") -> int:
    """Delete all namespaces that a label selector matches and wait until they are gone.

    Args:
        client: Where to.
        selector: Which.
        clock: For the bound.
        timeout_s: At most so long.
        told: What the log says instead of the selector.

    Returns:
        How many there were.

    Raises:
        KubedynoError: Some are still there after `timeout_s`.
        StatusError: The API refuses.
    """
    path = f"/api/v1/namespaces?labelSelector={quote(selector)}"
    names = [item["metadata"]["name"] for item in await client.list_all(path)]
    if not names:
        return 0
    log.info("Deleting %d namespaces with label: %s", len(names), told or selector)
    for first in range(0, len(names), LOOKAHEAD):
        answers = await asyncio.gather(
            *(client.request("DELETE", f"/api/v1/namespaces/{name}") for name in names[first : first + LOOKAHEAD])
        )
        for answer in answers:
            if answer.status not in {200, 202, 404, 409}:
                raise StatusError.from_response(answer.status, answer.body)
    deadline_s = clock.monotonic() + timeout_s
    while True:
        left = await client.list_all(path)
        if not left:
            return len(names)
        if clock.monotonic() > deadline_s:
            stuck = ", ".join(item["metadata"]["name"] for item in left[:3])
            raise KubedynoError(
                f"{len(left)} namespaces with label {selector} are still there after {timeout_s:.0f}s: {stuck} …; "
                "look at their status.conditions"
            )
        log.debug("Waiting for %d namespaces labeled with %s to be deleted", len(left), selector)
        await aio.sleep(_POLL_S)
