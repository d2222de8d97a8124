"""`serviceLatency`: from a Service's ready endpoints to the first connection, tried from a pod inside the cluster.

The original's way: `nc -z` in a pod of its own, over and over, for each TCP port and address. Figures are nanoseconds. A
Service whose endpoints never come, or that nobody answers within `svcTimeout`, has no document; which ones is told.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.client.exec import run_command
from kubedyno.kube.status import StatusError
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.measurements.helperpods import HelperNamespace
from kubedyno.load.measurements.measurement import Measurement, Subject

Json = dict[str, Any]
log = logger(__name__)

NAMESPACE, CHECKER = "kube-burner-service-latency", "svc-checker"
IMAGE = "quay.io/kube-burner/fedora-nc:latest"
# Connections to the checker pod at once: each is an exec of its own.
_AT_ONCE = 32
# What is still being tried when the job ends has so long to come to its end.
_LAST_S = 5.0


class Checker:
    """The pod from which connections are tried."""

    def __init__(self, client: Client, clock: Clock, image: str) -> None:
        self.host_ip = ""
        self._client = client
        self._image = image
        self._place = HelperNamespace(client, NAMESPACE, clock)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def open(self) -> None:
        """Make the pod; raises StatusError or KubedynoError when that fails."""
        await self._place.open()
        pod = await self._place.pod(CHECKER, self._image, ["sleep", "inf"])
        self.host_ip = str((pod.get("status") or {}).get("hostIP", ""))

    async def close(self) -> None:
        """Take it away again."""
        await self._place.close()

    async def connect(self, address: str, port: int, timeout_s: float) -> None:
        """Return once a connection was accepted.

        Raises:
            KubedynoError: None was in time, or the pod cannot try any.
        """
        # The loop runs in the pod, so that the way there is paid once.
        words = ["bash", "-c", f"while true; do nc -w 0.1s -z {address} {port} && break; sleep 0.05; done"]
        try:
            async with self._turns, aio.timeout(timeout_s):
                done = await run_command(self._client, NAMESPACE, CHECKER, CHECKER, words)
        except TimeoutError:
            raise KubedynoError(f"timeout waiting for endpoint {address}:{port} to be ready") from None
        if done.code:
            text = done.stderr.decode(errors="replace").strip()[-200:]
            raise KubedynoError(f"{CHECKER} cannot try {address}:{port}: exit code {done.code}: {text}")


class ServiceLatency(Measurement):
    """See the module. A subject's moments are durations here: its two figures have different starts."""

    name, metric = "serviceLatency", "svcLatencyMeasurement"
    kind, plural = "Service", "services"
    fields = {"Ready": "ready", "IPAssigned": "ipAssigned"}  # noqa: RUF012 - never changed
    optional = frozenset({"IPAssigned"})
    unit_s = 1e-9
    numbered = False

    def __init__(self, spec: MeasurementSpec, client: Client, clock: Clock, selector: str) -> None:
        super().__init__(spec, client, clock, selector)
        self.checker = Checker(client, clock, str(spec.options.get("image") or IMAGE))
        self._ready: dict[tuple[str, str], asyncio.Event] = {}
        self._ingress: dict[tuple[str, str], list[str]] = {}
        self._assigned: dict[tuple[str, str], asyncio.Event] = {}
        self._tries: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._open = False

    async def start(self) -> None:
        try:
            await self.checker.open()
            self._open = True
        except (StatusError, KubedynoError) as error:
            self._trouble(f"serviceLatency: not measured: {getattr(error, 'message', error)}")
            return
        await asyncio.gather(
            super().start(),
            self.followed.begin("/apis/discovery.k8s.io/v1/endpointslices", "", self._slice),
        )

    async def stop(self) -> None:
        waiting = [task for task in self._tries.values() if not task.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=_LAST_S)
        for key, task in self._tries.items():
            if not task.done():
                task.cancel()
                self._trouble(f"serviceLatency: {'/'.join(key)}: not ready when the job ended")
        await asyncio.gather(*self._tries.values(), return_exceptions=True)
        await super().stop()
        if self._open:
            self._open = False
            await self.checker.close()

    def names_of(self, obj: Json) -> Json:
        return {"service": obj["metadata"]["name"], "type": (obj.get("spec") or {}).get("type", "ClusterIP")}

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        del now_s
        meta = obj["metadata"]
        if (meta.get("annotations") or {}).get("kube-burner.io/service-latency") == "false":
            return
        key = (meta.get("namespace", ""), meta["name"])
        ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress")
        if ingress:
            self._ingress[key] = [str(entry.get("ip") or entry.get("hostname") or "") for entry in ingress]
            self._event(self._assigned, key).set()
        if key not in self._tries:
            self._tries[key] = asyncio.create_task(self._measure(key, subject, obj.get("spec") or {}))

    @staticmethod
    def _event(events: dict[tuple[str, str], asyncio.Event], key: tuple[str, str]) -> asyncio.Event:
        return events.setdefault(key, asyncio.Event())

    async def _measure(self, key: tuple[str, str], subject: Subject, spec: Json) -> None:
        seen_s = self._clock.monotonic()
        kind = spec.get("type", "ClusterIP")
        if kind not in {"ClusterIP", "NodePort", "LoadBalancer"}:
            log.warning("Service type %s not supported, skipping", kind)
            return
        if kind == "LoadBalancer":
            await self._event(self._assigned, key).wait()
            assigned_s = self._clock.monotonic() - seen_s
        else:
            assigned_s = 0.0
        await self._event(self._ready, key).wait()
        ready_s = self._clock.monotonic()
        try:
            for address, port in self._targets(key, kind, spec):
                await self.checker.connect(address, port, self.spec.service_timeout_s)
        except KubedynoError as error:
            self._trouble(f"serviceLatency: {'/'.join(key)}: {error}")
            return
        if assigned_s:
            subject.moments["IPAssigned"] = assigned_s
        subject.moments["Ready"] = self._clock.monotonic() - ready_s
        subject.done = True

    def _targets(self, key: tuple[str, str], kind: str, spec: Json) -> Sequence[tuple[str, int]]:
        """Return the addresses and ports that are tried: none of a headless Service, whose pods answer themselves."""
        found: list[tuple[str, int]] = []
        for port in spec.get("ports") or ():
            if port.get("protocol", "TCP") != "TCP":
                continue
            if kind == "NodePort":
                found.append((self.checker.host_ip, int(port.get("nodePort") or 0)))
            elif kind == "LoadBalancer":
                found += [(address, int(port["port"])) for address in self._ingress.get(key, ())]
            else:
                found += [(ip, int(port["port"])) for ip in spec.get("clusterIPs") or () if ip != "None"]
        return found

    def _slice(self, kind: str, raw: bytes) -> None:
        if kind == "DELETED":
            return
        obj = orjson.loads(raw)
        meta = obj["metadata"]
        service = (meta.get("labels") or {}).get("kubernetes.io/service-name")
        if service and any(
            (entry.get("conditions") or {}).get("ready") is not False and entry.get("addresses")
            for entry in obj.get("endpoints") or ()
        ):
            self._event(self._ready, (meta.get("namespace", ""), service)).set()

    def _figure(self, subject: Subject, condition: str) -> int | None:
        duration_s = subject.moments.get(condition)
        return None if duration_s is None else int(duration_s / self.unit_s)

    def error_share(self) -> float:
        """Return 0: a duration has no moment before its start."""
        return 0.0

    def _trouble(self, line: str) -> None:
        """Measuring must not end the load; what was not measured is said in the report."""
        log.error("%s", line)
        self.followed.trouble.append(line)
