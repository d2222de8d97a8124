"""Where a demonstration plays: a cluster, a namespace of its own, what it said."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError

Json = dict[str, Any]
IMAGE = "registry.k8s.io/pause:3.10"
_POLL_S = 0.1
WAIT_S = 45.0


@dataclass(frozen=True, slots=True)
class Shown:
    """What a demonstration found.

    Attributes:
        verdict: "shown", "off" or "not modelled".
        lines: What was done and seen, in order.
    """

    verdict: str
    lines: tuple[str, ...]


class Stage:
    """A cluster and a namespace of a demonstration's own.

    Attributes:
        embedded: Whether the nodes are simulated.
        version: (major, minor).
    """

    def __init__(self, client: Client, namespace: str, *, embedded: bool, version: tuple[int, int]) -> None:
        self.client = client
        self.namespace = namespace
        self.embedded = embedded
        self.version = version
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Note what was seen."""
        self.lines.append(line)

    def path(self, resource: str, name: str = "", group: str = "") -> str:
        """Return the path of a resource of the namespace, of the core group unless one is named."""
        root = f"/apis/{group}" if group else "/api/v1"
        return f"{root}/namespaces/{self.namespace}/{resource}" + (f"/{name}" if name else "")

    async def create(self, resource: str, thing: Json, group: str = "") -> Json:
        """Create an object in the namespace."""
        return await self.client.create(self.path(resource, group=group), thing)

    async def refused(self, resource: str, thing: Json, group: str = "") -> str:
        """Return why a strict dry run of an object is refused, "" when it is not."""
        path = f"{self.path(resource, group=group)}?dryRun=All&fieldValidation=Strict"
        try:
            await self.client.create(path, thing)
        except StatusError as error:
            return error.message
        return ""

    async def until(self, ask: Callable[[], Awaitable[Any]], wait_s: float = WAIT_S) -> Any:
        """Return the first answer that says something, None after `wait_s`."""
        end_s = SYSTEM_CLOCK.monotonic() + wait_s
        while True:
            found = await ask()
            if found or SYSTEM_CLOCK.monotonic() >= end_s:
                return found or None
            await aio.sleep(_POLL_S)

    async def waiting(self, name: str) -> str:
        """Return why a pod's first container waits with a message, "" when it runs or the time is over."""

        async def ask() -> str:
            pod = await self.client.get(self.path("pods", name))
            status = pod.get("status") or {}
            states = [one.get("state") or {} for one in status.get("containerStatuses") or ()]
            waiting = states[0].get("waiting") or {} if states else {}
            if waiting.get("message"):
                return f"{waiting.get('reason')}: {waiting['message']}"
            return "-" if status.get("phase") == "Running" else ""

        said = await self.until(ask)
        return "" if said in {None, "-"} else str(said)

    async def ends(self, name: str) -> float:
        """Delete a pod and return how many seconds it took to be gone."""
        began_s = SYSTEM_CLOCK.monotonic()
        await self.client.delete(self.path("pods", name))

        async def gone() -> bool:
            try:
                await self.client.get(self.path("pods", name))
            except StatusError as error:
                if error.code == 404:
                    return True
                raise
            return False

        await self.until(gone)
        return SYSTEM_CLOCK.monotonic() - began_s

    async def phase(self, name: str, wanted: str) -> Json | None:
        """Return a pod once it is in a phase, None when it does not get there."""

        async def ask() -> Json | None:
            pod = await self.client.get(self.path("pods", name))
            return pod if (pod.get("status") or {}).get("phase") == wanted else None

        found: Json | None = await self.until(ask)
        return found

    async def available(self, name: str, replicas: int) -> bool:
        """Wait until so many replicas of a Deployment are available; False when they do not get there."""

        async def ask() -> bool:
            found = await self.client.get(self.path("deployments", name, "apps/v1"))
            return int((found.get("status") or {}).get("availableReplicas", 0)) >= replicas

        return bool(await self.until(ask))

    def shown(self, verdict: str = "shown") -> Shown:
        """Return the outcome with all that was noted."""
        return Shown(verdict, tuple(self.lines))


def pod(name: str, container: Json | None = None, **spec: Any) -> Json:
    """Return a pod of one pause container."""
    one = {"name": "c", "image": IMAGE, **(container or {})}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [one], **spec}}
