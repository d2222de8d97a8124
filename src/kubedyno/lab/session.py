"""One run of a configuration from the command line's choices to its files: what `init` and `study` share."""

import asyncio
import logging
import os
import shlex
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

import msgspec

from kubedyno import __version__
from kubedyno.advisor import facts, why
from kubedyno.advisor.why import Finding
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import EXIT_INTERRUPTED, KubedynoError
from kubedyno.base.files import write_whole
from kubedyno.base.log import LEVELS, LogrusFormatter, logger
from kubedyno.base.random import Random
from kubedyno.base.terminal import printable
from kubedyno.client import clockgap, kubeconfig
from kubedyno.client.api import Client
from kubedyno.documents import circumstances
from kubedyno.documents.circumstances import ConfigDocument
from kubedyno.documents.opensearch import OpenSearchIndexer
from kubedyno.documents.run import FILE_NAME, Chapter, RunDocument
from kubedyno.documents.run import Target as TargetDocument
from kubedyno.http.client import PoolLimits
from kubedyno.kube.status import StatusError
from kubedyno.lab import runs
from kubedyno.lab import target as targets
from kubedyno.lab.circumstances import Gathering, encoded, node_documents
from kubedyno.lab.liveview import LiveView
from kubedyno.lab.ownmetrics import OwnMetrics
from kubedyno.lab.progress import Progress
from kubedyno.lab.rundocument import document_of
from kubedyno.lab.target import Choice
from kubedyno.load.config.load import load_config
from kubedyno.load.config.sources import is_url
from kubedyno.load.config.spec import Spec
from kubedyno.load.engine.arrival import pacing
from kubedyno.load.engine.sender import GONE_S
from kubedyno.load.engine.stuck import Reason
from kubedyno.load.metrics.profiles import alert_profile, metric_profile
from kubedyno.load.outputs import Outputs, outputs
from kubedyno.load.plan.plan import Plan, make_plan
from kubedyno.load.plan.template import render_config
from kubedyno.load.result import EXIT_FAILED, Options, RunResult
from kubedyno.load.run import Run
from kubedyno.report import html, text

log = logger(__name__)

# What is quiet for longer says what it does.
_TOLD_AFTER_S = 2.0


@dataclass(slots=True)
class Request:
    """What to run and how; times in seconds.

    Attributes:
        config: Path of the configuration.
        directory: Where log, documents and report go.
        user_metadata_file: Where `user_metadata` was read; told in the log.
        quiet: No log and no target on the terminal.
        progress: Whether a line tells how the run goes; None: unless quiet.
        metrics_endpoint: File of endpoints instead of the configuration's.
        on_stuck: Called once for each standstill, to do something about it (the study raises maxPods there).
        own: Is told of the run, for `--metrics-port`.
        live: Its page, for `--view`.
        kind: Of the run, for the run store.
    """

    config: str
    uuid: str | None = None
    user_data: str | None = None
    set_values: Sequence[str] = ()
    allow_missing: bool = False
    user_metadata: Mapping[str, Any] = field(default_factory=dict)
    user_metadata_file: str | None = None
    timeout_s: float = 4 * 3600.0
    compat: int = 2
    log_level: str = "info"
    skip_log_file: bool = False
    fail_when_stuck_s: float | None = None
    gone_after_s: float = GONE_S
    directory: Path = field(default_factory=Path)
    quiet: bool = False
    progress: bool | None = None
    metrics_endpoint: str | None = None
    on_stuck: Callable[[Sequence[Finding]], Awaitable[None]] | None = None
    own: OwnMetrics | None = None
    live: LiveView | None = None
    kind: str = "init"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request whose configuration and templates are right, as far as that shows without a cluster."""

    request: Request
    spec: Spec
    plan: Plan
    uuid: str
    runid: str
    env: Mapping[str, str]

    @property
    def beside(self) -> Path:
        """Where the configuration is: what it names is looked for there after the working directory."""
        return beside(self.request.config)


def beside(config: str) -> Path:
    """Return the directory of a configuration; the working directory for a URL."""
    return Path() if is_url(config) else Path(config).parent


def prepare(request: Request) -> Prepared:
    """Read a configuration, its templates and its profiles, and plan the run.

    Raises:
        KubedynoError: Something cannot be read or is wrong.
    """
    env = dict(os.environ)
    uuid, runid = request.uuid or Random().uid(), Random().uid()
    spec = load_config(
        request.config,
        render=render_config,
        user_data=request.user_data,
        set_values=request.set_values,
        env=env,
        allow_missing=request.allow_missing,
        compat=request.compat,
        uuid=uuid,
        timeout_s=request.timeout_s,
        metrics_endpoint=request.metrics_endpoint,
    )
    folder = beside(request.config)
    plan = make_plan(spec, uuid=uuid, runid=runid, compat=request.compat, directory=folder)
    for job in spec.jobs:
        # A recorded timeline is read here for the first time.
        pacing(job, folder)
    for endpoint in spec.metrics_endpoints:
        for name in endpoint.metrics:
            metric_profile(name, folder)
        for name in endpoint.alerts:
            alert_profile(name, folder)
    return Prepared(request, spec, plan, uuid, runid, env)


async def run(request: Request, choice: Choice, *, yes: bool, prepared: Prepared | None = None) -> RunDocument:
    """Run a configuration against a chosen cluster and write what came of it.

    Args:
        request: What and how.
        choice: Where.
        yes: A real cluster is loaded without asking.
        prepared: Of the same request, if that was done before.

    Raises:
        KubedynoError: The configuration is wrong, or the cluster cannot be reached or was not confirmed.
    """
    prepared = prepared or prepare(request)
    uuid = prepared.uuid
    limits = PoolLimits(timeout_s=prepared.spec.global_.request_timeout_s)
    async with Client(choice.target, limits) as client:
        target = await targets.describe(client, choice)
        targets.confirm(target, yes=yes, quiet=request.quiet)
        for path in dict.fromkeys(job.kubeconfig for job in prepared.spec.jobs if job.kubeconfig):
            # A cluster that a job names itself is asked for like the run's own.
            another = targets.choose(path, None)
            async with Client(another.target) as other:
                targets.confirm(await targets.describe(other, another), yes=yes, quiet=request.quiet)
        options = Options(
            uuid=uuid,
            runid=prepared.runid,
            timeout_s=request.timeout_s,
            compat=request.compat,
            version=f"kubedyno v{__version__}",
            fail_when_stuck_s=request.fail_when_stuck_s,
            gone_after_s=request.gone_after_s,
            user_metadata=request.user_metadata,
            cluster_metadata=targets.metadata(target),
            directory=prepared.beside,
        )
        handlers = log_handlers(request, uuid)
        if request.user_metadata_file is not None:
            log.info("Reading provided user metadata from %s", request.user_metadata_file)
        try:
            made = outputs(
                prepared.spec.metrics_endpoints,
                uuid=uuid,
                directory=request.directory,
                beside=prepared.beside,
                compat=request.compat,
                env=prepared.env,
            )
            directory = next((outlet.directory for outlet in made.outlets if outlet.local is not None), None)
            digest = runs.digest_of(prepared.spec.effective, options.uuid)
            begun = runs.beginning(
                uuid,
                request.kind,
                target=f"embedded {target.embedded}" if target.embedded else target.server,
                config=request.config,
                config_digest=digest,
                directory=directory,
            )
            stopping = _Stopping(request.config)
            with aio.on_signal(stopping.act), runs.entered(begun) as entry:
                stopping.entry = entry
                document = await _run(prepared, options, client, target, made, begun.directory, digest, stopping)
                entry.records.append(runs.record_of_load(document, directory))
            return document
        finally:
            close_logs(handlers)


async def _run(
    prepared: Prepared,
    options: Options,
    client: Client,
    target: TargetDocument,
    made: Outputs,
    placed: str,
    digest: str,
    stopping: "_Stopping",
) -> RunDocument:
    request, plan = prepared.request, prepared.plan
    embedded = target.embedded or None

    def of_this_run(obj: dict[str, Any]) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return options.runid in {labels.get("kube-burner.io/runid"), labels.get("kube-burner-runid")}

    seen = facts.ClusterFacts()

    async def findings() -> list[Finding]:
        nonlocal seen
        seen = await facts.read(client, embedded=embedded)
        # Others' pods may be on their way for ever: they say nothing about this run.
        return why.explain(seen, concerned=of_this_run)

    def connect(path: str) -> Client:
        return Client(kubeconfig.load(Path(path), None))

    one = Run(plan, options, client, SYSTEM_CLOCK, Random(), made, findings, connect)
    progress = Progress(one, SYSTEM_CLOCK)
    helpers: set[asyncio.Task[None]] = set()

    def on_reasons(reasons: Sequence[Reason], stuck: bool) -> None:
        if stuck and request.on_stuck is not None:
            causes = [reason for reason in reasons if isinstance(reason, Finding)]
            task = asyncio.ensure_future(request.on_stuck(causes))
            helpers.add(task)
            task.add_done_callback(helpers.discard)

    one.on_reasons = on_reasons
    gathering = Gathering(client, options, SYSTEM_CLOCK)

    async def gather() -> None:
        found = await gathering.end(one.result)
        host = [] if found.host is None else [found.host]
        _index(made, circumstances.HOST, host)
        _send(made, circumstances.HOST, host)
        _index(made, circumstances.EVENTS, found.events)
        _index(made, circumstances.PODS, found.pods)
        _index(made, circumstances.API, found.api)

    # At once: a run that is killed should leave what it was.
    config = ConfigDocument(options.uuid, request.config, digest, runs.without_secrets(prepared.spec.effective))
    _index(made, circumstances.CONFIG, [config])
    one.before_close = gather
    await gathering.begin()
    if request.own is not None:
        request.own.follow(one)
    if request.live is not None:
        request.live.follow(one, SYSTEM_CLOCK)
    gap = clockgap.Gap()
    measuring = asyncio.create_task(clockgap.measure(client, SYSTEM_CLOCK, gap))
    if not request.quiet if request.progress is None else request.progress:
        progress.start()
    work = asyncio.create_task(one.run())

    def written(last: Sequence[Finding] = (), left: Sequence[str] = ()) -> RunDocument:
        if stopping.told and not one.result.interrupted:
            one.result.interrupt()
        document = document_of(one.result, options, target, last, left, gap, gathering.gathered.missing)
        return msgspec.structs.replace(
            document, kind=request.kind, config=request.config, config_digest=digest, directory=placed
        )

    def leave() -> RunDocument | None:
        """Write what is known; nothing while the books of jobs are still open."""
        if not one.result.ended_at:
            return None
        document = written()
        _index(made, FILE_NAME, [document])
        return document

    stopping.begin(work, leave)
    try:
        result = await work
    finally:
        if request.own is not None:
            request.own.ended(one)
        if request.live is not None:
            request.live.ended()
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
        await progress.close()
        await asyncio.gather(*helpers, return_exceptions=True)
    last: list[Finding] = []
    # On a loaded cluster this takes longer than anybody expects after the last line of the load.
    telling = asyncio.get_running_loop().call_later(
        _TOLD_AFTER_S, lambda: log.info("Reading nodes, pods and warnings of the cluster for the report")
    )
    try:
        last = [finding for finding in await findings() if finding.permanent]
    except (KubedynoError, StatusError, OSError) as error:
        log.warning("cannot say why pods do not run: %s", error)
    finally:
        telling.cancel()
    left = await _left(client, options) if result.exit_code or stopping.told else []
    document = written(last, left)
    own = Counter(str(pod.get("spec", {}).get("nodeName") or "") for pod in seen.pods if of_this_run(pod))
    _index(made, circumstances.NODES, node_documents(seen, gathering.gathered.pods, own, options.uuid))
    taken = len(made.unstored)
    _send(made, FILE_NAME, [document])
    if late := made.unstored[taken:]:
        document = msgspec.structs.replace(
            document, errors=[*document.errors, *late], exit_code=document.exit_code or EXIT_FAILED
        )
    _index(made, FILE_NAME, [document])
    for outlet in made.outlets:
        # The ones that the run's end has made are without what is known only after it.
        await asyncio.to_thread(outlet.archive)
    return document


def _index(made: Outputs, name: str, documents: Sequence[msgspec.Struct]) -> None:
    """Write documents of ours beside kube-burner's into directories.

    Raises:
        KubedynoError: A directory cannot be written to.
    """
    for outlet in made.outlets:
        if documents and outlet.local is not None:
            outlet.local.index(name, encoded(documents))


def _send(made: Outputs, name: str, documents: Sequence[msgspec.Struct]) -> None:
    """Store documents of ours where a team looks for runs; what is not taken is kept, as everything is.

    Raises:
        KubedynoError: It cannot be kept either.
    """
    for outlet in made.outlets:
        if documents and isinstance(outlet.indexer, OpenSearchIndexer):
            try:
                outlet.indexer.write(name, encoded(documents))
            except KubedynoError as error:
                made.keep(name, encoded(documents), error)
                made.pack()


class _Stopping:
    """What Ctrl-C and SIGTERM do to a run. First: stop, clean up, report. Second: tell the store, and leave at once.

    Attributes:
        told: Whether somebody wants it to end.
        entry: The run's place in the store.
    """

    def __init__(self, config: str) -> None:
        self.told = False
        self.entry: runs.Entry | None = None
        self._config = config
        self._work: asyncio.Task[RunResult] | None = None
        self._leave: Callable[[], RunDocument | None] = lambda: None

    def begin(self, work: "asyncio.Task[RunResult]", leave: Callable[[], RunDocument | None]) -> None:
        """Take the run's work, which may be unwanted already, and what writes what is known of it."""
        self._work, self._leave = work, leave
        if self.told:
            # Once it has begun: it then tells what it has not done.
            asyncio.get_running_loop().call_soon(work.cancel)

    def act(self) -> None:
        if self.told:
            self._end()
        self.told = True
        print("\nkubedyno: stopping (again to leave at once)", file=sys.stderr)  # noqa: T201
        if self._work is not None:
            self._work.cancel()

    def _end(self) -> NoReturn:
        try:
            if self.entry is not None:
                document = self._leave()
                if document is not None:
                    directory = Path(document.directory) if document.directory else None
                    self.entry.records = [runs.record_of_load(document, directory)]
                self.entry.end(EXIT_INTERRUPTED)
            # What is left is named by the job labels: the user can find and destroy it.
            command = shlex.join(["kubedyno", "destroy", "-c", self._config])
            print(f"\nkubedyno: left at once; remove what is left with: {command}", file=sys.stderr)  # noqa: T201
        except (KubedynoError, OSError) as error:
            print(f"kubedyno: {printable(str(error))}", file=sys.stderr)  # noqa: T201
        finally:
            logging.shutdown()
            os._exit(EXIT_INTERRUPTED)


def log_handlers(request: Request, uuid: str) -> list[logging.Handler]:
    """Set up the run's log: on stdout, and in kube-burner-<uuid>.log unless skipped."""
    root = logging.getLogger("kubedyno")
    root.setLevel(LEVELS[request.log_level])
    # Without any handler at all, warnings would go to stderr.
    handlers: list[logging.Handler] = [logging.NullHandler()]
    if not request.quiet:
        handlers.append(logging.StreamHandler(sys.stderr if request.skip_log_file else sys.stdout))
    if not request.skip_log_file:
        path = request.directory / f"kube-burner-{uuid.replace('/', '_')}.log"
        try:
            handlers.append(logging.FileHandler(path, mode="w", encoding="utf-8"))
        except OSError as error:
            raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
    for handler in handlers:
        handler.setFormatter(LogrusFormatter())
        root.addHandler(handler)
    return handlers


def close_logs(handlers: Sequence[logging.Handler]) -> None:
    """End what `log_handlers` began."""
    for handler in handlers:
        logging.getLogger("kubedyno").removeHandler(handler)
        handler.close()


def write_report(directory: Path, name: str, title: str, chapters: Sequence[Chapter]) -> Path:
    """Write the HTML report whole or not at all; returns its path.

    Raises:
        KubedynoError: The file cannot be written.
    """
    path = directory / f"kubedyno-report-{name.replace('/', '_')}.html"
    write_whole(path, html.page(title, chapters))
    return path


def chapter_of(title: str, lines: Sequence[str], document: RunDocument) -> Chapter:
    """Return the chapter of a run that has just ended, with what its directory has beside it."""
    there = circumstances.read(Path(document.directory), document.uuid) if document.directory else None
    return Chapter(title, list(lines), document, around=there)


def summary_lines(document: RunDocument) -> list[str]:
    """Return what a run prints at its end."""
    return text.summary(document)


async def _left(client: Client, options: Options) -> list[str]:
    """Return the names of the namespaces that a run made and that are still there; what lies in them is theirs."""
    selector = quote(f"kube-burner.io/runid={options.runid}")
    try:
        return [
            item["metadata"]["name"] for item in await client.list_all(f"/api/v1/namespaces?labelSelector={selector}")
        ]
    except (KubedynoError, StatusError, OSError) as error:
        log.warning("cannot say what is left on the cluster: %s", error)
        return []
