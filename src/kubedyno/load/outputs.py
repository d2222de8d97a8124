"""Where documents of a run go, and the Prometheus servers that it asks: `metricsEndpoints`, ready to use."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339
from kubedyno.documents import tarball
from kubedyno.documents.indexers import Indexer, indexer
from kubedyno.documents.local import LocalIndexer, directory_of
from kubedyno.documents.stream import Document, is_empty
from kubedyno.load.config.spec import EndpointSpec
from kubedyno.load.metrics import scrape
from kubedyno.load.metrics.profiles import AlertRule, MetricQuery, alert_profile, metric_profile
from kubedyno.load.metrics.prometheus import Login, Prometheus
from kubedyno.load.metrics.scrape import Alerts, Window

log = logger(__name__)

Json = dict[str, Any]
Tell = Callable[..., None]


@dataclass(slots=True)
class Outlet:
    """One indexer by its alias; `tarball` is made of `directory` at the end."""

    name: str
    indexer: Indexer
    directory: Path | None = None
    tarball: Path | None = None

    @property
    def local(self) -> LocalIndexer | None:
        """The indexer, if it is a local one."""
        return self.indexer if isinstance(self.indexer, LocalIndexer) else None

    def archive(self) -> Path | None:
        """Make the tarball of what the directory holds now, if one is wanted, and return its path.

        Raises:
            KubedynoError: It cannot be written.
        """
        if self.tarball is not None and self.directory is not None:
            tarball.create(self.directory, self.tarball)
        return self.tarball


@dataclass(slots=True)
class Source:
    """One Prometheus with its profiles, whose documents go to its own outlet."""

    login: Login
    outlet: Outlet | None
    metrics: list[tuple[str, list[MetricQuery]]] = field(default_factory=list)
    alerts: list[AlertRule] = field(default_factory=list)
    server: Prometheus | None = None


class Outputs:
    """The outlets and sources of one run.

    Args:
        outlets: In the order of the configuration.
        sources: Likewise.
        compat: 1 or 2: whose log lines.
        env: For queries.
        refuge: Directory, made when it is needed, for what an indexer does not take.

    Attributes:
        unstored: What was not stored where it should be and is in `refuge`, a line for each metric.
    """

    def __init__(
        self,
        outlets: Sequence[Outlet],
        sources: Sequence[Source],
        compat: int,
        env: Mapping[str, str],
        refuge: Path,
    ) -> None:
        self.unstored: list[str] = []
        self._refuge = refuge
        self.outlets = list(outlets)
        self.sources = list(sources)
        self._compat = compat
        self._env = env
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Connect to the Prometheus servers.

        Raises:
            KubedynoError: One cannot be asked.
        """
        for source in self.sources:
            log.info("👽 Initializing prometheus client with URL: %s", source.login.url)
            source.server = await self._stack.enter_async_context(Prometheus(source.login))
            await source.server.check()
            if source.alerts:
                log.info("🔔 Initializing alert manager for prometheus: %s", source.login.url)

    async def close(self) -> None:
        """Complete all outlets, tarballs last."""
        await self._stack.aclose()
        for outlet in self.outlets:
            line = await asyncio.to_thread(outlet.indexer.close)
            if line:
                log.info("%s", line)
            if path := await asyncio.to_thread(outlet.archive):
                log.info("Metrics tarball generated at %s", path)
        self.pack()

    def keep(self, metric: str, documents: Iterable[Document], error: KubedynoError) -> None:
        """Keep here what an indexer did not take, and tell it.

        Raises:
            KubedynoError: They cannot be kept here either.
        """
        path, _ = LocalIndexer(self._refuge).index(metric, documents)
        line = f"{error}; the documents are kept in {path}"
        log.error("%s", line)
        self.unstored.append(line)

    def pack(self) -> None:
        """Make one tarball of what was kept, as `import` takes it."""
        if self.unstored:
            packed = self._refuge.with_name(f"{self._refuge.name}.tgz")
            tarball.create(self._refuge, packed)
            log.warning(
                "store what was kept with: kubedyno import --tarball %s --es-server URL --es-index NAME", packed
            )

    async def index(self, metric: str, documents: Iterable[Document], announce: str = "", only: str = "") -> None:
        """Write documents to every outlet, or to the one named `only`; none is an error line, as in the original.

        Args:
            metric: Name of the file.
            documents: Begin anew each time they are asked for.
            announce: Name in the log.
            only: Alias of the one outlet.

        What a server does not take is kept here: the load goes on.

        Raises:
            KubedynoError: They cannot be written to a directory.
        """
        for outlet in self.outlets:
            if not only or outlet.name == only:
                if announce:
                    log.info("Indexing metric %s", announce)
                await self._write(outlet, metric, documents)

    async def _write(self, outlet: Outlet, metric: str, documents: Iterable[Document], tell: Tell = log.info) -> None:
        if is_empty(documents):
            log.error("empty document list in %s", metric)
            return
        if outlet.local is not None:
            path, count = await asyncio.to_thread(outlet.local.index, metric, documents)
            verb = "created with" if self._compat == 1 else "now contains"
            tell("File %s %s %d documents", path, verb, count)
        else:
            try:
                line = await asyncio.to_thread(outlet.indexer.write, metric, documents)
            except KubedynoError as error:
                await asyncio.to_thread(self.keep, metric, documents, error)
            else:
                tell("%s", line)

    async def alerts(self, window: Window) -> Alerts:
        """Evaluate all alert rules for a job and store what they found."""
        total = Alerts()
        for source in self.sources:
            if not source.alerts or source.server is None:
                continue
            log.info("Evaluating alerts%s in: %s", f" for job {window.job}" if window.job else "", source.login.url)
            found = await scrape.alerts(source.server, source.alerts, window, self._env)
            total.errors += found.errors
            total.critical = total.critical or found.critical
            total.documents += found.documents
            if found.documents and source.outlet is not None:
                log.info("Indexing alerts")
                await self._write(source.outlet, "alert", found.documents)
        return total

    async def scrape(self, window: Window, closing: str) -> None:
        """Query all metric profiles for a job and store the documents."""
        for source in self.sources:
            if source.server is None or source.outlet is None:
                continue
            for profile, queries in source.metrics:
                log.info(
                    "🔍 Collecting prometheus metrics for job %s; endpoint: %s; profile: %s ",
                    window.job,
                    source.login.url,
                    profile,
                )
                log.info(
                    "start: %s; end: %s; metrics closing: %s", rfc3339(window.start_s), rfc3339(window.end_s), closing
                )
                async for found in scrape.scrape(source.server, queries, window, self._env):
                    log.info("Indexing [%d] documents from metric %s", found.count, found.metric)
                    await self._write(source.outlet, found.metric, found.documents, log.debug)


def outputs(
    endpoints: Sequence[EndpointSpec],
    *,
    uuid: str,
    directory: Path,
    beside: Path,
    compat: int,
    env: Mapping[str, str],
    default: bool = True,
) -> Outputs:
    """Return the outputs that endpoints of a configuration ask for.

    Args:
        endpoints: The configuration's.
        uuid: Of the run; replaces `{{.UUID}}` in names of directories.
        directory: What relative directories and tarballs are relative to.
        beside: Where profiles are looked for after the working directory.
        compat: 1 or 2: whose log lines.
        env: For queries.
        default: Without any indexer, write into collected-metrics-<uuid>.

    Raises:
        KubedynoError: A profile is wrong, or an indexer cannot be used.
    """
    outlets: list[Outlet] = []
    sources: list[Source] = []
    for number, entry in enumerate(endpoints):
        outlet = None
        if entry.indexer is not None:
            spec, name = entry.indexer, entry.alias or f"indexer-{number}"
            log.info("📁 Creating %s indexer: %s", spec.type, name)
            folder = directory / _named(spec.metrics_directory, uuid)
            try:
                made = indexer(spec.type, folder, spec.servers, spec.index, insecure=spec.insecure)
            except KubedynoError as error:
                raise KubedynoError(f"Error creating indexer {number}: {error}") from error
            written = spec.type in {"local", "tsdb"}
            packed = directory / _named(spec.tarball_name, uuid) if spec.create_tarball and written else None
            outlet = Outlet(name, made, folder if written else None, packed)
            outlets.append(outlet)
        if entry.endpoint and (entry.metrics or entry.alerts):
            login = Login(
                entry.endpoint,
                entry.token,
                entry.username,
                entry.password,
                entry.skip_tls_verify,
                entry.step_s,
                entry.ca,
            )
            metrics = [(name, metric_profile(name, beside)) for name in entry.metrics]
            alerts = [rule for name in entry.alerts for rule in alert_profile(name, beside)]
            sources.append(Source(login, outlet, metrics, alerts))
    if not outlets and default:
        folder = directory_of(directory, uuid)
        outlets.append(Outlet("indexer-0", LocalIndexer(folder), folder))
    return Outputs(outlets, sources, compat, env, directory / _named("not-indexed-{{.UUID}}", uuid))


def _named(text: str, uuid: str) -> str:
    return text.replace("{{.UUID}}", uuid).replace("{{ .UUID }}", uuid)
