"""`pprof`: profiles of running programs, fetched by curl inside of pods, at a job's start and end and between.

Programs in pods are asked there; those of nodes (a target without labelSelector) from a DaemonSet on the host's network.
"""

import asyncio
import base64
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import duration_ns_of
from kubedyno.client.api import Client
from kubedyno.client.exec import run_command
from kubedyno.kube.status import StatusError
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.measurements.measurement import Measurement
from kubedyno.load.measurements.nodecollector import IMAGE, MOUNTED, NAME, NodeCollector

log = logger(__name__)

_DIRECTORY = "pprof"
# Profiles are fetched from so many pods at once.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Target:
    """One of `pprofTargets`; `of_nodes` are asked from every pod of the collector."""

    name: str
    namespace: str
    selector: str
    command: tuple[str, ...]
    of_nodes: bool = False


def targets_of(options: dict[str, Any]) -> list[Target]:
    """Return the targets of a measurement.

    Raises:
        KubedynoError: One is wrong, or a file it names cannot be read.
    """
    found = []
    for number, entry in enumerate(options.get("pprofTargets") or ()):
        where = f"pprofTargets[{number}]"
        if not isinstance(entry, dict) or not entry.get("name") or not entry.get("url"):
            raise KubedynoError(f"{where}: needs name and url")
        if entry.get("bearerToken") and (entry.get("cert") or entry.get("certFile")):
            raise KubedynoError(
                f"{where}: bearerToken and cert auth methods cannot be specified together in the same target"
            )
        selector = entry.get("labelSelector") or {}
        if not selector and not options.get("nodeAffinity"):
            raise KubedynoError(
                f"{where}: needs a labelSelector; or the measurement a nodeAffinity, for programs of nodes"
            )
        if selector:
            text = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
            place = str(entry.get("namespace") or "default")
            found.append(Target(str(entry["name"]), place, text, _command(entry, where)))
        else:
            found.append(Target(str(entry["name"]), NAME, f"app={NAME}", _on_node(entry), of_nodes=True))
    if not found:
        raise KubedynoError("measurement pprof: needs pprofTargets")
    return found


def _on_node(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return the words that print a profile of a node's program, as its collector has the node's sockets and a token."""
    if entry.get("unixSocketPath"):
        path = f"{MOUNTED}/{str(entry['unixSocketPath']).lstrip('/')}"
        return ("curl", "-fsSLk", "--unix-socket", path, str(entry["url"]))
    token = "$(cat /var/run/secrets/kubernetes.io/serviceaccount/token)"  # noqa: S105 - where it is
    return ("sh", "-c", f'curl -fsSLkH "Authorization: Bearer {token}" {shlex.quote(str(entry["url"]))}')


def _command(entry: dict[str, Any], where: str) -> tuple[str, ...]:
    """Return the words that print a profile; a certificate goes along in the command, and leaves no file behind."""
    words = ["curl", "-fsSLk"]
    if entry.get("bearerToken"):
        words += ["-H", f"Authorization: Bearer {entry['bearerToken']}"]
    if entry.get("unixSocketPath"):
        words += ["--unix-socket", str(entry["unixSocketPath"])]
    words.append(str(entry["url"]))
    pair = [_pem(entry, key, where) for key in ("cert", "key")]
    if not any(pair):
        return tuple(words)
    if not all(pair):
        raise KubedynoError(f"{where}: a certificate needs its key, and a key its certificate")
    script = (
        'd=$(mktemp -d) && trap \'rm -rf "$d"\' EXIT && echo "$1" | base64 -d >"$d/c" && echo "$2" | base64 -d >"$d/k" '
        '&& shift 2 && "$@" --cert "$d/c" --key "$d/k"'
    )
    return ("/bin/sh", "-c", script, "pprof", *pair, *words)


def _pem(entry: dict[str, Any], key: str, where: str) -> str:
    """Return a certificate or key in base64: as the configuration has it, or of the file that it names."""
    if entry.get(key):
        return str(entry[key])
    file = entry.get(f"{key}File")
    if not file:
        return ""
    try:
        return base64.b64encode(Path(file).read_bytes()).decode()
    except OSError as error:
        raise KubedynoError(f"{where}: {file}: cannot be read ({error.strerror})") from error


class Pprof(Measurement):
    """Fetches profiles into `pprofDirectory` ("pprof" when absent); it has no documents."""

    name, metric = "pprof", "pprofMeasurement"
    kind, plural = "Pod", "pods"

    def __init__(self, spec: MeasurementSpec, client: Client, clock: Clock, selector: str, job: str) -> None:
        super().__init__(spec, client, clock, selector)
        self._client = client
        self._job = job
        self._targets = targets_of(spec.options)
        self._directory = Path(str(spec.options.get("pprofDirectory") or _DIRECTORY))
        interval = spec.options.get("pprofInterval") or 0
        try:
            self._interval_s = (interval if isinstance(interval, int) else duration_ns_of(str(interval))) / 1e9
        except ValueError as error:
            raise KubedynoError(f"measurement pprof: pprofInterval {interval}: {error}") from error
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._between: asyncio.Task[None] | None = None
        affinity = spec.options.get("nodeAffinity") or {}
        if not isinstance(affinity, dict):
            raise KubedynoError(
                "measurement pprof: nodeAffinity: needs labels, e.g. {node-role.kubernetes.io/worker: ''}"
            )
        self._collector: NodeCollector | None = None
        if affinity:
            labels = {str(key): "" if value is None else str(value) for key, value in affinity.items()}
            self._collector = NodeCollector(client, clock, labels, str(spec.options.get("image") or IMAGE))

    async def start(self) -> None:
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise KubedynoError(f"{self._directory}: cannot be made ({error.strerror})") from error
        if self._collector is not None:
            try:
                await self._collector.open()
            except (StatusError, KubedynoError) as error:
                self._trouble(f"pprof: {getattr(error, 'message', error)}")
        await self._fetch("start")
        if self._interval_s:
            self._between = asyncio.create_task(self._repeat())

    async def _repeat(self) -> None:
        while True:
            await aio.sleep(self._interval_s)
            await self._fetch(str(int(self._clock.now())))

    async def stop(self) -> None:
        if self._between is not None:
            self._between.cancel()
            await asyncio.gather(self._between, return_exceptions=True)
        await self._fetch("end")
        if self._collector is not None:
            await self._collector.close()

    async def _fetch(self, moment: str) -> None:
        work = []
        for target in self._targets:
            log.info("Collecting %s pprof", target.name)
            path = f"/api/v1/namespaces/{target.namespace}/pods?labelSelector={quote(target.selector)}"
            try:
                pods = await self._client.list_all(path)
            except (StatusError, KubedynoError) as error:
                self._trouble(f"pprof {target.name}: {getattr(error, 'message', error)}")
                continue
            if not pods:
                self._trouble(f"pprof {target.name}: no pod in {target.namespace} has {target.selector}")
            work += [
                self._one(target, pod, moment)
                for pod in pods
                if not target.of_nodes or (pod.get("status") or {}).get("phase") == "Running"
            ]
        await asyncio.gather(*work)

    async def _one(self, target: Target, pod: dict[str, Any], moment: str) -> None:
        name = pod["metadata"]["name"]
        container = pod["spec"]["containers"][0]["name"]
        origin = pod["spec"].get("nodeName", "") if target.of_nodes else name
        file = self._directory / f"{target.name}-{origin}-{self._job}-{moment}.pprof"
        try:
            async with self._turns:
                done = await run_command(self._client, target.namespace, name, container, list(target.command))
            if done.code:
                text = done.stderr.decode(errors="replace").strip()[-200:]
                self._trouble(f"pprof {target.name}: {name}: exit code {done.code}: {text}")
                return
            file.write_bytes(done.stdout)
        except KubedynoError as error:
            self._trouble(f"pprof {target.name}: {error}")
        except OSError as error:
            self._trouble(f"{file}: cannot be written ({error.strerror})")

    def _trouble(self, line: str) -> None:
        """Measuring must not end the load; what was not measured is told once, and said in the report."""
        if line not in self.followed.trouble:
            log.error("%s", line)
            self.followed.trouble.append(line)
