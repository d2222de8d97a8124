"""A namespace of our own in a cluster: made, filled, waited for, and removed with all that is in it.

Only a namespace that was made here is removed; that also happens after an error or a cancellation.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.terminal import printable_lines
from kubedyno.client.api import Client
from kubedyno.client.exec import Done, run_command
from kubedyno.kube.status import StatusError
from kubedyno.netperf import deployments
from kubedyno.netperf.deployments import Object

READY_TIMEOUT_S = 300.0
_GONE_TIMEOUT_S = 120.0
_POLL_S = 0.1
_HOPELESS = frozenset({"ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CrashLoopBackOff", "StartError"})
_CONFLICT, _NOT_FOUND = 409, 404

Say = Callable[[str], None]


class Workspace:
    """A namespace; used as an async context manager.

    Args:
        client: Of the cluster.
        namespace: Its name.
        verb: For messages, e.g. "net perf".
        clock: For waits.
        say: Takes lines of progress; None: stderr.
        labels: Of the namespace, for example for Pod Security admission.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        verb: str,
        clock: Clock,
        say: Say | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self._labels = dict(labels or {})
        self.namespace = namespace
        self.say = say or _to_stderr
        self._client = client
        self._verb = verb
        self._clock = clock

    async def __aenter__(self) -> Self:
        """Make the namespace.

        Raises:
            KubedynoError: It is there already.
            StatusError: The cluster refuses.
        """
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": self._labels}}
        try:
            await self._client.create("/api/v1/namespaces", body)
        except StatusError as error:
            if error.code == _CONFLICT:
                raise KubedynoError(
                    f"{self._verb}: namespace {self.namespace} is there already; delete it, or give --test-namespace"
                ) from error
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove the namespace, and wait until it is gone.

        Raises:
            KubedynoError: It does not go.
        """
        self.say(f"🧹 [{self.namespace}] Deleting namespace...")
        path = f"/api/v1/namespaces/{self.namespace}"
        try:
            await self._client.delete(path)
            end_s = self._clock.monotonic() + _GONE_TIMEOUT_S
            while self._clock.monotonic() < end_s:
                await self._client.get(path)
                await aio.sleep(_POLL_S)
        except StatusError as refusal:
            if refusal.code != _NOT_FOUND:
                raise
            return
        raise KubedynoError(f"{self._verb}: namespace {self.namespace} is still there; delete it by hand")

    async def create(self, resource: str, body: Object) -> Object:
        """Create an object; `resource` is its API with the plural, e.g. "/apis/apps/v1|deployments"."""
        api, _, plural = resource.partition("|")
        return await self._client.create(f"{api}/namespaces/{self.namespace}/{plural}", body)

    async def delete(self, resource: str, name: str) -> None:
        """Delete an object of the namespace."""
        api, _, plural = resource.partition("|")
        await self._client.delete(f"{api}/namespaces/{self.namespace}/{plural}/{name}")

    async def deploy(self, deployment: Object) -> None:
        """Create a Deployment and the ServiceAccount of its name."""
        name = deployment["metadata"]["name"]
        self.say(f"✨ [{self.namespace}] Deploying {name} deployment...")
        await self.create("/api/v1|serviceaccounts", deployments.account(name))
        await self.create("/apis/apps/v1|deployments", deployment)

    async def ready(self, names: Iterable[str]) -> dict[str, Object]:
        """Wait until there is a Ready pod with each label `name`; returns these pods by it.

        Raises:
            KubedynoError: One cannot become Ready, or is not in time; or its processes are modelled.
        """
        return await self.ready_by({name: {"name": name} for name in names})

    async def ready_by(self, wanted: Mapping[str, Mapping[str, str]]) -> dict[str, Object]:
        """Wait until there is a Ready pod with each set of labels; returns these pods by what the sets are called.

        Raises:
            KubedynoError: As `ready`.
        """
        end_s = self._clock.monotonic() + READY_TIMEOUT_S
        while True:
            pods = await self._client.list_all(f"/api/v1/namespaces/{self.namespace}/pods")
            ready = [pod for pod in pods if _is_ready(pod)]
            found = {
                name: pod
                for name, labels in wanted.items()
                for pod in ready
                if labels.items() <= (pod["metadata"].get("labels") or {}).items()
            }
            for pod in pods:
                self._refuse_failed(pod)
            waiting = [name for name in wanted if name not in found]
            if not waiting:
                for pod in found.values():
                    self._refuse_modelled(pod)
                return found
            if self._clock.monotonic() > end_s:
                why = "; ".join(dict.fromkeys(filter(None, map(_unscheduled, pods))))
                names_text = ", ".join(waiting) + (f" ({why})" if why else "")
                raise KubedynoError(f"{self._verb}: not Ready after {READY_TIMEOUT_S:.0f} s: {names_text}")
            await aio.sleep(_POLL_S)

    async def run(self, pod: Object, container: str, words: list[str], timeout_s: float) -> Done:
        """Run a command in a pod of the namespace.

        Raises:
            KubedynoError: It cannot be run, or does not end in time.
        """
        name = pod["metadata"]["name"]
        try:
            async with aio.timeout(timeout_s):
                return await run_command(self._client, self.namespace, name, container, words)
        except TimeoutError:
            raise KubedynoError(f"{self._verb}: {words[0]} in pod {name} did not end in {timeout_s:.0f} s") from None

    def _refuse_modelled(self, pod: Object) -> None:
        for condition in pod["status"].get("conditions", ()):
            if condition["type"] == "kubedyno.io/Processes" and condition["status"] == "False":
                raise KubedynoError(f"{self._verb}: pod {pod['metadata']['name']}: {condition.get('message', '')}")

    def _refuse_failed(self, pod: Object) -> None:
        """Say at once what no waiting mends."""
        for status in pod.get("status", {}).get("containerStatuses", ()):
            for state in (status.get("lastState") or {}, status.get("state") or {}):
                what = state.get("waiting") or state.get("terminated") or {}
                if what.get("reason") in _HOPELESS:
                    text = what.get("message") or what["reason"]
                    raise KubedynoError(f"{self._verb}: pod {pod['metadata']['name']}: {what['reason']}: {text}")


def _is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _unscheduled(pod: Object) -> str:
    """Return the scheduler's words of why a pod has no node, "" when it has one."""
    conditions = pod.get("status", {}).get("conditions", ())
    return next(
        (c.get("message", "") for c in conditions if c["type"] == "PodScheduled" and c["status"] == "False"), ""
    )


def _to_stderr(line: str) -> None:
    print(printable_lines(line), file=sys.stderr, flush=True)  # noqa: T201 - progress
