"""`measure`, `index`, `check-alerts` and `import`: documents without a load of our own."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kubedyno import __version__
from kubedyno.advisor.why import Finding
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.client.api import Client
from kubedyno.documents import circumstances, tarball
from kubedyno.documents.indexers import indexer
from kubedyno.lab import session
from kubedyno.lab import target as targets
from kubedyno.lab.target import Choice
from kubedyno.load.config import endpoints
from kubedyno.load.config.load import load_config
from kubedyno.load.config.measuring import WATCHING
from kubedyno.load.config.spec import EndpointSpec, IndexerSpec, JobSpec
from kubedyno.load.metrics.scrape import Window
from kubedyno.load.outputs import outputs
from kubedyno.load.plan.plan import make_plan
from kubedyno.load.plan.template import render_config
from kubedyno.load.result import EXIT_ALERT, EXIT_FAILED, EXIT_OK, Options
from kubedyno.load.run import Run

log = logger(__name__)


async def measure(
    request: session.Request,
    choice: Choice,
    *,
    job: str,
    selector: str,
    duration_s: float,
    past: bool,
    namespaces: frozenset[str] = frozenset(),
) -> int:
    """Measure what others create, by the configuration's global measurements; returns the exit code.

    Args:
        request: The configuration and where documents go.
        choice: Where.
        job: Name in the documents.
        selector: Label selector of what is measured, "" for everything.
        duration_s: How long; Ctrl-C ends it early.
        past: What there is already instead.
        namespaces: Only what lies in these; empty: in all.

    Raises:
        KubedynoError: The configuration is wrong, or the cluster cannot be reached.
    """
    env, uuid = dict(os.environ), request.uuid or Random().uid()
    spec = load_config(
        request.config, render=render_config, env=env, allow_missing=True, uuid=uuid, needs_jobs=False
    )  # fmt: skip
    only = JobSpec(job, job_type=WATCHING, measurements=spec.global_.measurements)
    if not only.measurements:
        raise KubedynoError(f"{request.config}: global.measurements lists nothing that can be measured")
    folder = session.beside(request.config)
    plan = make_plan(replace(spec, jobs=(only,)), uuid=uuid, runid=uuid, compat=2, directory=folder)
    async with Client(choice.target) as client:
        target = await targets.describe(client, choice)
        handlers = session.log_handlers(request, uuid)
        try:
            made = outputs(
                spec.metrics_endpoints, uuid=uuid, directory=request.directory, beside=folder, compat=2, env=env
            )
            options = Options(
                uuid, uuid, duration_s, 2, f"kubedyno v{__version__}",
                user_metadata=request.user_metadata,
                cluster_metadata=targets.metadata(target),
            )  # fmt: skip

            async def nothing() -> list[Finding]:
                return []

            one = Run(plan, options, client, SYSTEM_CLOCK, Random(), made, nothing)
            work = asyncio.ensure_future(one.measure(selector, duration_s, past=past, namespaces=namespaces))
            with aio.on_signal(work.cancel):
                return (await work).exit_code
        finally:
            session.close_logs(handlers)


@dataclass(slots=True)
class Query:
    """One window to ask a Prometheus about; epoch seconds.

    Attributes:
        endpoint: What to ask, as a configuration would name it; None with `file`.
        file: `--metrics-endpoint`.
    """

    uuid: str
    start_s: float
    end_s: float
    endpoint: EndpointSpec | None = None
    file: str | None = None
    job: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    directory: Path = field(default_factory=Path)

    @property
    def endpoints(self) -> tuple[EndpointSpec, ...]:
        """What to ask, and where documents go."""
        if self.file is not None:
            return endpoints.from_file(self.file, render_config, dict(os.environ), 2)
        assert self.endpoint is not None, "either an endpoint or a file"
        return (self.endpoint,)

    @property
    def window(self) -> Window:
        """As queries take it."""
        return Window(self.job, self.start_s, self.end_s, self.uuid, self.metadata)


def indexer_spec(kind: str, directory: str, server: str, index: str, tarball_name: str) -> IndexerSpec:
    """Return the indexer that flags ask for: elastic with a server and an index, else the one named."""
    chosen = "elastic" if server and index else kind or "local"
    return IndexerSpec(
        chosen, directory, (server,) if server else (), index.lower(), True, bool(tarball_name), tarball_name
    )


async def index(query: Query) -> int:
    """Ask for all metrics of a window and store the documents; returns the exit code.

    Raises:
        KubedynoError: A profile is wrong, or a server cannot be used.
    """
    made = outputs(
        query.endpoints, uuid=query.uuid, directory=query.directory, beside=Path(), compat=2, env=dict(os.environ)
    )
    await made.open()
    try:
        await made.scrape(query.window, "afterJobPause")
    finally:
        await made.close()
    if made.unstored:
        return EXIT_FAILED
    log.info("👋 Exiting kube-burner %s", query.uuid)
    return EXIT_OK


async def check_alerts(query: Query) -> int:
    """Evaluate the alerts of a window; returns 0, 1 for an alert of severity error, 3 for a critical one.

    Raises:
        KubedynoError: A profile is wrong, or a server cannot be used.
    """
    made = outputs(
        query.endpoints,
        uuid=query.uuid,
        directory=query.directory,
        beside=Path(),
        compat=2,
        env=dict(os.environ),
        default=False,
    )
    await made.open()
    try:
        found = await made.alerts(query.window)
    finally:
        await made.close()
    if found.critical:
        return EXIT_ALERT
    for line in found.errors:
        log.error("%s", line)
    log.info("👋 Exiting kube-burner %s", query.uuid)
    return EXIT_FAILED if found.errors or made.unstored else EXIT_OK


def import_tarball(path: Path, spec: IndexerSpec) -> tuple[int, int]:
    """Store the documents of a tarball; returns how many, and how many metrics were refused, each of which is told.

    What of ours is written to directories alone stays in the tarball when documents go to a server: see docs/reports.md.

    Raises:
        KubedynoError: It cannot be read, or the indexer cannot be used.
    """
    log.info("📁 Creating indexer: %s", spec.type)
    log.info("Importing tarball: %s", path)
    store = indexer(spec.type, Path(spec.metrics_directory), spec.servers, spec.index, insecure=spec.insecure)
    count = refused = 0
    for metric, documents in tarball.documents(path):
        if metric in circumstances.UNINDEXED and spec.servers:
            log.info("%s.json stays in the tarball: reports are made of it", metric)
        elif documents:
            log.info("Reading metrics from %s.json", metric)
            try:
                log.info("%s", store.write(metric, documents))
            except KubedynoError as error:
                log.error("%s", error)  # noqa: TRY400 - what to do is in the line
                refused += 1
            else:
                count += len(documents)
    line = store.close()
    if line:
        log.info("%s", line)
    return count, refused


def names_of(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the names in flags that may hold several, separated by commas or spaces."""
    return tuple(name for text in texts for name in text.replace(",", " ").split())
