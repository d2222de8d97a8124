"""`netpolLatency`: from a NetworkPolicy's creation to the first connection that it lets through.

The original's way. Pods that exist already try to connect all the time, the policy is made, they note when they got
through. A proxy pod tells them whom to try and collects what they noted: POST /initiate, GET /checkConnectionsStatus until
it is told on, GET /stop, GET /checkStopStatus until it has everything, GET /results. Where nothing answers as that proxy
(a simulated pod, an image that cannot be pulled) nothing is measured, and that is told.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import epoch_of
from kubedyno.client import portforward
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.measurements.connections import Connections, Key, Peer, connections_of
from kubedyno.load.measurements.helperpods import HelperNamespace
from kubedyno.load.measurements.measurement import Measurement, Subject
from kubedyno.load.plan.plan import JobPlan

Json = dict[str, Any]
log = logger(__name__)

PROXY, PORT = "network-policy-proxy", 9002
IMAGE = "quay.io/cloud-bulldozer/netpolproxy:latest"
# On the namespaces of the job that makes the pods.
SKIP = "kube-burner.io/skip-networkpolicy-latency"
# The original asks every 5 s for 30 minutes; asking is cheap, so a short wait is seen sooner.
_FIRST_POLL_S, _POLL_S, _ANSWER_S = 0.25, 5.0, 1800.0


class NetpolLatency(Measurement):
    """See the module."""

    name, metric = "netpolLatency", "netpolLatencyMeasurement"
    api_version, kind, plural = "networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"
    fields = {"MinReady": "minReady", "Ready": "ready"}  # noqa: RUF012 - never changed
    numbered = False

    def __init__(self, spec: MeasurementSpec, client: Client, clock: Clock, selector: str, plan: JobPlan) -> None:
        super().__init__(spec, client, clock, selector)
        self.connections = Connections()
        self._client = client
        self._plan = plan
        self._place = HelperNamespace(client, PROXY, clock)
        self._image = str(spec.options.get("image") or IMAGE)
        self._keys: dict[Key, Subject] = {}
        self._open = False

    async def start(self) -> None:
        if str(self._plan.spec.namespace_labels.get(SKIP, "")).lower() == "true":
            log.debug("Discarding network policy latency measurement for the job %s", self._plan.spec.name)
            return
        try:
            self.connections = await self._prepare()
            if not self.connections.by_client:
                self._trouble("no connection to try: no pod is let through to another by the policies of this job")
                return
            self._open = True
            await self._place.open()
            await self._place.pod(PROXY, self._image)
            await self._ask("POST", "/initiate", orjson.dumps(self.connections.by_client))
            await self._until("/checkConnectionsStatus")
        except (StatusError, KubedynoError, ValueError) as error:
            self.connections = Connections()
            self._trouble(str(getattr(error, "message", error)))
            return
        await super().start()

    async def stop(self) -> None:
        await super().stop()
        try:
            if self.connections.by_client:
                await self._ask("GET", "/stop")
                await self._until("/checkStopStatus")
                self.results(orjson.loads(await self._ask("GET", "/results")))
        except (StatusError, KubedynoError, ValueError) as error:
            self._trouble(str(getattr(error, "message", error)))
        if self._open:
            self._open = False
            await self._place.close()

    # --- the proxy ---------------------------------------------------------------------------------------------

    async def _prepare(self) -> Connections:
        policies = []
        for item in self._plan.objects:
            if item.kind != self.kind:
                continue
            for iteration in range(self._plan.spec.job_iterations):
                for replica in range(1, item.replicas + 1) if item.due(iteration) else ():
                    one = item.render(iteration, replica)
                    policies.append((one.namespace or self._plan.namespace_of(iteration), orjson.loads(one.body)))
        pods = [
            Peer(pod["metadata"]["namespace"], pod["metadata"].get("labels") or {}, pod["status"]["podIP"])
            for pod in await self._client.list_all("/api/v1/pods")
            if (pod.get("status") or {}).get("podIP") and not (pod.get("spec") or {}).get("hostNetwork")
        ]
        spaces = {
            space["metadata"]["name"]: space["metadata"].get("labels") or {}
            for space in await self._client.list_all("/api/v1/namespaces")
        }
        return connections_of(policies, pods, spaces)

    async def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        reply = await portforward.ask(self._client, PROXY, PROXY, PORT, method, path, body)
        if reply.status != 200:
            raise KubedynoError(f"{PROXY} answers {path} with {reply.status}")
        return reply.body

    async def _until(self, path: str) -> None:
        """Ask until the answer is yes."""
        wait_s, until_s = _FIRST_POLL_S, self._clock.monotonic() + _ANSWER_S
        while True:
            answer = orjson.loads(await self._ask("GET", path))
            if isinstance(answer, Mapping) and answer.get("result") is True:
                return
            if self._clock.monotonic() > until_s:
                raise KubedynoError(f"{PROXY}: {path} was not true within {_ANSWER_S:.0f} s")
            await aio.sleep(wait_s)
            wait_s = min(wait_s * 2, _POLL_S)

    # --- moments -----------------------------------------------------------------------------------------------

    def names_of(self, obj: Json) -> Json:
        return {"netpol": obj["metadata"]["name"]}

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        del now_s
        self._keys[obj["metadata"]["namespace"], obj["metadata"]["name"]] = subject

    def results(self, answer: Any) -> None:
        """Take what the pods noted: client's address → connections with their first success.

        Raises:
            KubedynoError: It is of another form.
        """
        if not isinstance(answer, Mapping):
            raise KubedynoError(f"{PROXY}: its results are no object by client address")
        for client, tests in answer.items():
            if tests is not None and not isinstance(tests, list):
                raise KubedynoError(f"{PROXY}: what {str(client)[:80]} noted is no list of results")
            for test in tests or ():
                try:
                    at_s = epoch_of(str(test["timestamp"]))
                    pair = (str(client), str(test["address"]))
                except (KeyError, TypeError, ValueError):
                    raise KubedynoError(f"{PROXY}: a result without address or time: {str(test)[:80]}") from None
                for key in self.connections.policies.get(pair, ()):
                    self._note(key, pair, at_s)

    def _note(self, key: Key, pair: tuple[str, str], at_s: float) -> None:
        subject = self._keys.get(key)
        if subject is None:
            # The policy was never made.
            return
        if at_s < subject.zero_s:
            late_ms = (at_s - subject.zero_s) * 1000
            log.warning(
                "🚨 Network policy %s has negative latency %d ms for the connection from %s to %s",
                key[1],
                late_ms,
                *pair,
            )
        moments = subject.moments
        moments["Ready"] = max(at_s, moments.get("Ready", at_s))
        moments["MinReady"] = min(at_s, moments.get("MinReady", at_s))
        subject.done = True

    def error_share(self) -> float:
        """Return 0, as the original: what came through before its policy is told one by one."""
        return 0.0

    def _trouble(self, text: str) -> None:
        """Measuring must not end the load; what was not measured is said in the report."""
        line = f"netpolLatency: not measured: {text}"
        log.error("%s", line)
        self.followed.trouble.append(line)
