"""A recorder of a cluster's metrics; `web.prometheus` serves what it has recorded.

Targets are found through the API server: its own page, those of each node by the node's proxy, and whatever says that
it is kube-state-metrics or a node exporter. The embedded cluster has the latter two under /kubedyno/metrics.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.terminal import excerpt
from kubedyno.client.api import Client
from kubedyno.http.exchange import Result
from kubedyno.http.messages import Headers
from kubedyno.kube import yaml
from kubedyno.kube.status import StatusError
from kubedyno.lab.target import Choice
from kubedyno.load.metrics.prometheus import Login, Prometheus
from kubedyno.load.metrics.shipped import is_shipped, text_of
from kubedyno.promql import dump
from kubedyno.promql.errors import ExpositionError, StoreFullError
from kubedyno.promql.exposition import ACCEPT, OPENMETRICS
from kubedyno.promql.mentions import queries_in, wanted
from kubedyno.promql.scraping import Keep, Target
from kubedyno.promql.store import SeriesStore, StoreLimits

log = logger(__name__)

# Pages that are asked for at once: a node's proxy is one connection more of the API server's.
CONCURRENCY = 8
_TRIM_S = 60.0
_MAX_PAGE_BYTES = 256 << 20
# /metrics/resource repeats what cadvisor says under the same names: whoever records both counts twice.
_DISCOVERY = "/kubedyno/metrics/targets"
# Job, its pods' label, and scheme and port of its metrics; TLS ones are asked by the API server, which shows them no
# credentials: most refuse.
_COMPONENTS = (
    ("kube-controller-manager", "component=kube-controller-manager", "https:10257"),
    ("kube-scheduler", "component=kube-scheduler", "https:10259"),
    ("kube-etcd", "component=etcd", "2381"),
    ("kube-proxy", "k8s-app=kube-proxy", "10249"),
)
_EXPORTERS = (("kube-state-metrics", "kube-state-metrics"), ("node-exporter", "node-exporter"))


@dataclass(frozen=True, slots=True)
class Options:
    """How to record.

    Attributes:
        interval_s: Between two looks at each target.
        keep: Which metrics are wanted; None: as the queries say.
        own: It is the embedded cluster's own: its requests are no use of the cluster.
        queries: Files with the queries that say what is recorded; none: everything.
        limits: Of the store.
    """

    interval_s: float = 15.0
    queries: tuple[Path, ...] = ()
    limits: StoreLimits = field(default_factory=StoreLimits)
    own: bool = False
    keep: Keep | None = None


def keep_of(files: Iterable[Path]) -> Keep | None:
    """Return which metrics the queries of some files speak of; None without files: all.

    Raises:
        KubedynoError: A file cannot be read, or has no query.
    """
    queries: list[str] = []
    for path in files:
        try:
            # A path may be the name of a profile that comes with the package.
            text = text_of(str(path)) if is_shipped(str(path)) else path.read_text(encoding="utf-8")
            documents = yaml.load_all(text, str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise KubedynoError(f"{path}: cannot be read ({error})") from error
        found = list(queries_in(list(documents)))
        if not found:
            raise KubedynoError(f"{path}: has no query; give a metrics profile, an alert profile or a dashboard")
        queries += found
    return wanted(queries) if queries else None


class Recorder:
    """Scrapes a cluster's targets round by round.

    Args:
        client: The cluster.
        embedded: It is the embedded one.
        options: How.
    """

    def __init__(self, client: Client, options: Options, *, embedded: bool) -> None:
        self.store = SeriesStore(options.limits)
        self._client = client
        self._options = options
        self._embedded = embedded
        self._own: Headers = (("X-Kubedyno-Own", "1"),) if options.own else ()
        self._keep = options.keep or keep_of(options.queries)
        self._targets: dict[str, Target] = {}
        self._turns = asyncio.Semaphore(CONCURRENCY)
        self._warned: set[str] = set()
        # (job, path, error) of targets that did not answer in this round.
        self._down: list[tuple[str, str, str]] = []

    def targets(self) -> list[Target]:
        """Return what is scraped now."""
        return list(self._targets.values())

    async def run(self) -> None:
        """Record until cancelled, a round each interval."""
        trimmed_s = SYSTEM_CLOCK.monotonic()
        while True:
            began_s = SYSTEM_CLOCK.monotonic()
            await self.round()
            now_s = SYSTEM_CLOCK.monotonic()
            if now_s - trimmed_s >= _TRIM_S:
                trimmed_s = now_s
                await asyncio.to_thread(self.store.trim, round(SYSTEM_CLOCK.now() * 1000))
            await aio.sleep(max(0.0, self._options.interval_s - (now_s - began_s)))

    async def round(self) -> None:
        """Look at each target once."""
        try:
            await self._discover()
        except (KubedynoError, StatusError) as error:
            self._warn("targets", f"targets cannot be listed: {error}")
        await asyncio.gather(*(self._scrape(path, target) for path, target in list(self._targets.items())))
        self._tell_down()

    def _tell_down(self) -> None:
        """Say of each target once that it is down, many of one job in one line."""
        down, self._down = self._down, []
        new: dict[str, list[str]] = {}
        for job, path, error in down:
            if path not in self._warned:
                self._warned.add(path)
                new.setdefault(job, []).append(error)
        for job, errors in new.items():
            more = f" (and {len(errors) - 1} more targets of {job})" if len(errors) > 1 else ""
            log.warning("%s is down: %s%s", job, errors[0], more)

    async def _discover(self) -> None:
        found = await (self._listed() if self._embedded else self._found())
        for gone in self._targets.keys() - found.keys():
            self._targets.pop(gone).lost("the target is gone", _now_ms(), 0.0)
        for path, labels in found.items():
            if path not in self._targets:
                # What these say of a node or a pod is about others, not about themselves.
                honor = labels["job"] in {"kube-state-metrics", "node-exporter"}
                self._targets[path] = Target(self.store, labels, self._keep, honor_labels=honor)

    async def _listed(self) -> dict[str, dict[str, str]]:
        """Return what the embedded cluster lists, as its service discovery."""
        found = {}
        for entry in orjson.loads((await self._got(_DISCOVERY)).body):
            labels = dict(entry["labels"])
            path = labels.pop("__metrics_path__")
            found[path] = {name: value for name, value in labels.items() if not name.startswith("__")}
        return found

    async def _got(self, path: str) -> Result:
        answer = await self._client.request("GET", path, headers=self._own)
        if answer.status != 200:
            raise KubedynoError(f"{path}: HTTP {answer.status}: {excerpt(answer.body)}")
        return answer

    async def _found(self) -> dict[str, dict[str, str]]:
        """Return what a real cluster's objects tell of."""
        found: dict[str, dict[str, str]] = {
            "/metrics": {"job": "apiserver", "instance": self._client.target.authority, "apiserver": "kube-apiserver"}
        }
        for node in await self._client.list_all("/api/v1/nodes"):
            name = str(node["metadata"]["name"])
            for page in ("metrics", "metrics/cadvisor"):
                path = f"/api/v1/nodes/{name}/proxy/{page}"
                found[path] = {
                    "job": "kubelet", "instance": name, "node": name, "service": "kubelet", "metrics_path": f"/{page}",
                }  # fmt: skip
        for job, name in _EXPORTERS:
            found |= await self._exporters(job, name)
        for job, label, port in _COMPONENTS:
            found |= await self._components(job, label, port)
        return found

    async def _components(self, job: str, label: str, port: str) -> dict[str, dict[str, str]]:
        """Return the pods of a control plane's component, as kubeadm labels them, at the port of its metrics."""
        found: dict[str, dict[str, str]] = {}
        selector = label.replace("=", "%3D")
        for pod in await self._client.list_all(f"/api/v1/namespaces/kube-system/pods?labelSelector={selector}"):
            name, status, spec = str(pod["metadata"]["name"]), pod.get("status") or {}, pod.get("spec") or {}
            if status.get("phase") != "Running" or not status.get("podIP"):
                continue
            scheme, _, number = port.rpartition(":")
            of = f"{scheme}:{name}:{number}" if scheme else f"{name}:{number}"
            found[f"/api/v1/namespaces/kube-system/pods/{of}/proxy/metrics"] = {
                "job": job, "instance": f"{status['podIP']}:{number}", "pod": name, "node": str(spec.get("nodeName", "")),
                "namespace": "kube-system", "service": job,
            }  # fmt: skip
        return found

    async def _exporters(self, job: str, name: str) -> dict[str, dict[str, str]]:
        """Return the pods that carry the recommended label of a known exporter."""
        found: dict[str, dict[str, str]] = {}
        for pod in await self._client.list_all(f"/api/v1/pods?labelSelector=app.kubernetes.io%2Fname%3D{name}"):
            meta, spec = pod["metadata"], pod.get("spec") or {}
            ports = [
                port["containerPort"]
                for container in spec.get("containers") or ()
                for port in container.get("ports") or ()
                if str(port.get("name", "")) in {"http", "metrics", "http-metrics", "https"}
            ]
            if (pod.get("status") or {}).get("phase") != "Running" or not ports:
                continue
            path = f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}:{ports[0]}/proxy/metrics"
            node = str(spec.get("nodeName", ""))
            found[path] = {"job": job, "instance": node if job == "node-exporter" else meta["name"], "node": node}
        return found

    async def _scrape(self, path: str, target: Target) -> None:
        async with self._turns:
            now_ms, began_s = _now_ms(), SYSTEM_CLOCK.monotonic()
            try:
                answer = await self._client.request("GET", path, headers=(("Accept", ACCEPT), *self._own))
                took_s = SYSTEM_CLOCK.monotonic() - began_s
                if answer.status != 200:
                    if answer.status == 503 and b"connection refused" in answer.body[:1000]:
                        raise KubedynoError(excerpt(answer.body))
                    raise KubedynoError(f"{path}: HTTP {answer.status}: {excerpt(answer.body)}")
                if len(answer.body) > _MAX_PAGE_BYTES:
                    raise KubedynoError(f"{path}: a page of {len(answer.body)} bytes is too large")
                media = answer.headers.get("content-type", "")
                text = answer.body.decode(errors="replace")
                await asyncio.to_thread(target.take, text, now_ms, took_s, openmetrics=media.startswith(OPENMETRICS))
            except (ExpositionError, StoreFullError) as error:
                # The target has noted it.
                self._warn(path, f"{path}: {error}")
            except KubedynoError as error:
                target.lost(str(error), now_ms, SYSTEM_CLOCK.monotonic() - began_s)
                self._down.append((target.labels.get("job", ""), path, str(error)))

    def _warn(self, what: str, line: str) -> None:
        if what not in self._warned:
            self._warned.add(what)
            log.warning("%s", line)


def _now_ms() -> int:
    return round(SYSTEM_CLOCK.now() * 1000)


async def record(choice: Choice, options: Options, duration_s: float, path: Path) -> tuple[int, int]:
    """Record a cluster for some time and write it down as OpenMetrics.

    Returns:
        How many series and samples there are.

    Raises:
        KubedynoError: The cluster cannot be reached, or the file cannot be written.
    """
    async with Client(choice.target) as client:
        await client.get("/version")
        recorder = Recorder(client, options, embedded=choice.running is not None)
        recording = asyncio.create_task(recorder.run())
        await asyncio.wait({recording}, timeout=duration_s)
        if recording.done():
            recording.result()
        await aio.end(recording)
    store = recorder.store
    try:
        with path.open("w", encoding="utf-8") as file:
            file.writelines(dump.written(store))
    except OSError as error:
        raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
    return len(store), store.samples


async def snapshot(choice: Choice, options: Options, rounds: int) -> tuple[SeriesStore, int]:
    """Look at a cluster's targets so many times and return what they say, and the time of the last look."""
    async with Client(choice.target) as client:
        await client.get("/version")
        recorder = Recorder(client, options, embedded=choice.running is not None)
        for number in range(rounds):
            if number:
                await aio.sleep(options.interval_s)
            await recorder.round()
    return recorder.store, _now_ms()


def loaded(path: Path) -> tuple[SeriesStore, int]:
    """Return a recording's store and the time of its last sample.

    Raises:
        KubedynoError: It cannot be read.
    """
    store = SeriesStore(StoreLimits(max_series=5_000_000))
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KubedynoError(f"{path}: cannot be read ({error})") from error
    try:
        return store, dump.load(store, text)
    except ExpositionError as error:
        raise KubedynoError(f"{path}: {error}; give what `kubedyno metrics record` has written") from error


async def ask(login: Login, path: str, given: dict[str, str]) -> tuple[int, bytes]:
    """Ask a Prometheus and return status and JSON of its answer, which may be an error of its own.

    Raises:
        KubedynoError: It does not answer, or not as a Prometheus does.
    """
    async with Prometheus(login) as server:
        return await server.reply(path, given)
