"""Pods that a measurement needs inside the cluster: in a namespace of their own, there while the measurement runs.

In a name and an image, out a running pod; `close` takes the namespace away again. Names and labels are the original's, so
that clusters whose policies know kube-burner know these, too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError

log = logger(__name__)

# For a pod to run, and for a namespace to go: the original has no limit on the first, and this one on the second.
READY_S = 300.0
GONE_S = 300.0
_POLL_S = 0.1


class HelperNamespace:
    """A namespace for helper pods, and what else was made for them.

    Args:
        client: Where to.
        name: Of the namespace.
        clock: For the bounds.
    """

    def __init__(self, client: Client, name: str, clock: Clock) -> None:
        self.name = name
        self._client = client
        self._clock = clock
        # Cluster-scoped objects, which do not go with the namespace.
        self._beside: list[str] = []

    async def open(self, labels: Mapping[str, str] | None = None) -> None:
        """Make the namespace; one that is on its way out is waited for.

        Raises:
            StatusError: The API refuses it.
            KubedynoError: An older one does not go.
        """
        body = {"metadata": {"name": self.name, "labels": dict(labels or {})}}
        until_s = self._clock.monotonic() + GONE_S
        while True:
            try:
                await self._client.create("/api/v1/namespaces", body)
            except StatusError as error:
                if error.code != 409:
                    raise
                if not await self._is_going():
                    return
                if self._clock.monotonic() > until_s:
                    raise KubedynoError(f"namespace {self.name} is still being deleted after {GONE_S:.0f}s") from None
                await aio.sleep(_POLL_S)
            else:
                return

    async def _is_going(self) -> bool:
        try:
            found = await self._client.get(f"/api/v1/namespaces/{self.name}")
        except StatusError as error:
            if error.code == 404:
                return True
            raise
        return bool((found.get("status") or {}).get("phase") == "Terminating")

    async def add(self, path: str, body: Mapping[str, Any], *, beside: bool = False) -> None:
        """Make an object unless it is there; one `beside` the namespace is deleted with it, too.

        Raises:
            StatusError: The API refuses it.
        """
        if beside:
            self._beside.append(f"{path}/{body['metadata']['name']}")
        try:
            await self._client.create(path, body)
        except StatusError as error:
            if error.code != 409:
                raise
            log.warning("%s", error.message)

    async def pod(self, name: str, image: str, command: Sequence[str] = ()) -> dict[str, Any]:
        """Make a pod and return it once it runs.

        Raises:
            StatusError: The API refuses it.
            KubedynoError: It does not run in time.
        """
        container: dict[str, Any] = {
            "name": name,
            "image": image,
            "imagePullPolicy": "Always",
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": True,
                "runAsUser": 1000,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        if command:
            container["command"] = list(command)
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
        # A new namespace has no service account for a moment.
        until_s = self._clock.monotonic() + READY_S
        path = f"/api/v1/namespaces/{self.name}/pods"
        while True:
            try:
                await self.add(path, {"metadata": {"name": name}, "spec": spec})
                break
            except StatusError as error:
                if error.code != 403 or self._clock.monotonic() > until_s:
                    raise
                await aio.sleep(_POLL_S)
        while True:
            found = await self._client.get(f"{path}/{name}")
            status = found.get("status") or {}
            if status.get("phase") == "Running":
                return found
            if self._clock.monotonic() > until_s:
                raise KubedynoError(f"pod {self.name}/{name} does not run after {READY_S:.0f}s ({_why(status)})")
            await aio.sleep(_POLL_S)

    async def close(self) -> None:
        """Take everything away again; what does not go is told and left."""
        log.info("Deleting 1 namespaces with label: kubernetes.io/metadata.name=%s", self.name)
        for path in [*self._beside, f"/api/v1/namespaces/{self.name}"]:
            try:
                await self._client.delete(path)
            except (StatusError, KubedynoError) as error:
                if getattr(error, "code", 0) != 404:
                    log.warning("cannot delete %s: %s", path, getattr(error, "message", error))
        until_s = self._clock.monotonic() + GONE_S
        try:
            while self._clock.monotonic() < until_s:
                await self._client.get(f"/api/v1/namespaces/{self.name}")
                await aio.sleep(_POLL_S)
        except (StatusError, KubedynoError):
            return
        log.error("namespace %s is still there after %.0fs", self.name, GONE_S)


def _why(status: Mapping[str, Any]) -> str:
    """Return what a pod's status says of its not running."""
    for entry in status.get("containerStatuses") or ():
        waiting = (entry.get("state") or {}).get("waiting")
        if waiting:
            return f"{waiting.get('reason', '')}: {waiting.get('message', '')}".strip(": ")
    lines = [c.get("message", "") for c in status.get("conditions") or () if c.get("status") == "False"]
    return next((line for line in lines if line), f"phase {status.get('phase', 'Pending')}")
