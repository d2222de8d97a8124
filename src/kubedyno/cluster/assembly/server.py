"""A cluster served: sockets, keys, the idle clock, and the way down.

The order at start is what makes it fast and honest: listen, fill the store, let controllers and kubelets work, and
say "ready" when every node is Ready (or, with no pod network, when every node is registered).
"""

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.audit import AuditLog
from kubedyno.cluster.apiserver.auditfile import AuditFile, Rotation
from kubedyno.cluster.apiserver.auditpolicy import EVERYTHING, read_policy
from kubedyno.cluster.apiserver.authentication import Authenticator
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.flowcontrol.gate import FlowControl
from kubedyno.cluster.apiserver.flowcontrol.upkeep import Upkeep
from kubedyno.cluster.apiserver.lifetime import Lifetimes
from kubedyno.cluster.apiserver.processpage import Pauses
from kubedyno.cluster.apiserver.server import LIMITS, ApiServer
from kubedyno.cluster.apiserver.tracing import TracedRequests
from kubedyno.cluster.assembly.access import ADMIN, HOST, make_access, write_kubeconfig
from kubedyno.cluster.assembly.chaos import Chaos, SkewedClock
from kubedyno.cluster.assembly.cluster import Cluster
from kubedyno.cluster.assembly.componentpages import ComponentPages, mean_bytes, parts_of
from kubedyno.cluster.assembly.components import Components
from kubedyno.cluster.assembly.control import Control
from kubedyno.cluster.assembly.keeping import Keeping, open_keeping
from kubedyno.cluster.assembly.ports import Doors
from kubedyno.cluster.assembly.pressure import Pressure
from kubedyno.cluster.assembly.processes import Beginning
from kubedyno.cluster.assembly.standins import StandIns
from kubedyno.cluster.kubelet.programs import reads_commands
from kubedyno.cluster.kubelet.stagerules import Language
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.tracing import Spans, read_tracing
from kubedyno.http.answers import Stamps
from kubedyno.http.messages import App, Request, Responder
from kubedyno.http.onepage import OnePage
from kubedyno.http.server import Server
from kubedyno.http.server import serve as listen
from kubedyno.http.tls import server_context

log = logger(__name__)

# Whoever sends this is no user: the cluster's own Prometheus, which would keep it from being idle for ever.
OWN_HEADER = "x-kubedyno-own"
# Between two looks at the idle clock.
IDLE_CHECK_S = 5.0
# Garbage is collected when nobody has asked for so long, and at most so often.
QUIET_S = 2.0
COLLECT_S = 60.0
# All nodes have to be Ready within this; 5,000 take a few seconds.
READY_TIMEOUT_S = 50.0


async def serve(
    settings: ClusterSettings,
    *,
    state_dir: Path,
    ready: Callable[[dict[str, Any]], None],
    beginning: Beginning | None = None,
    start_apps: Callable[[], None] = lambda: None,
    language: Language | None = None,
) -> None:
    """Serve a cluster until it is told to stop (SIGTERM, SIGINT) or was idle for too long.

    Args:
        settings: What it is to be.
        state_dir: Gets the kubeconfig.
        ready: Called with {"port": …} once the cluster is up.
        beginning: What was there before the event loop; None: nothing, all pods are modelled.
        start_apps: Called once when a mapped port leads to pods that applications of this machine stand in for.
        language: What stages of pods and nodes are written in; None: there are none.

    Raises:
        KubedynoError: A port is in use, or the nodes do not become Ready.
    """
    keeping = await open_keeping(settings) if settings.data_dir else None
    try:
        await _serve(settings, keeping, state_dir, ready, beginning or Beginning(), start_apps, language)
    finally:
        if keeping is not None:
            await keeping.journal.close()


async def _serve(
    settings: ClusterSettings,
    keeping: Keeping | None,
    state_dir: Path,
    ready: Callable[[dict[str, Any]], None],
    beginning: Beginning,
    start_apps: Callable[[], None],
    language: Language | None,
) -> None:
    access = make_access(settings.service_subnet) if keeping is None else keeping.access
    stopped, loop = aio.until_signalled(), asyncio.get_running_loop()
    parts: list[FlowControl | Pressure] = []
    audit: list[AuditLog] = []

    def ended(request: Request, status: int) -> None:
        api.ended(request, status)

    lifetimes = Lifetimes(lambda: parts[0].app, ended)
    # What a request meets first: the audit log, tracing, or neither.
    first: Lifetimes | TracedRequests | AuditLog = lifetimes
    spans: list[Spans] = []
    asked_s = [loop.time()]

    def app(request: Request, responder: Responder) -> None:
        if OWN_HEADER not in request.headers:
            asked_s[0] = loop.time()
        first.app(request, responder)

    context = server_context(access.server, access.ca)
    server = await _listen(app, settings.port, keeping.port if keeping is not None else 0, context, beginning)
    server.stamps = Stamps(SYSTEM_CLOCK.now, Random().uid())
    failures: list[str] = []
    if keeping is not None:

        def fail(why: str) -> None:
            failures.append(why)
            log.error("%s: nothing is acknowledged any more, the cluster stops", why)
            stopped.set()

        keeping.journal.on_failure = fail
        server.before_write = keeping.journal.flush
    # Nothing awaits from here until the API server is there, so no request can come before it.
    clock = SkewedClock(SYSTEM_CLOCK)
    cluster = Cluster(
        settings,
        clock,
        ca_pem=access.ca,
        ca_key=access.ca_key,
        in_use=server.in_use,
        helper=beginning.helper,
        language=language,
        journal=keeping.journal if keeping is not None else None,
    )
    control = Control(settings, cluster.store, cluster.nodes, SYSTEM_CLOCK, cluster.pump)
    authenticator = Authenticator({access.token: ADMIN})
    api = ApiServer(
        cluster.registry,
        cluster.pump,
        settings,
        authenticator,
        address=f"{HOST}:{server.port}",
        control=control,
        runtime=cluster.processes,
        signing_key=access.signing_key,
    )
    pauses = Pauses()
    address = f"{HOST}:{server.port}"
    pages = ComponentPages(parts_of(cluster, address, keeping.journal if keeping is not None else None), pauses)
    api.kubelets.configuration = cluster.nodes.config_text
    api.pages.pauses, api.pages.others_cpu_s = pauses, pages.busy_s
    api.pages.storage_bytes, api.pages.mean_bytes = pages.stored_bytes, mean_bytes
    components = Components(cluster.store, settings, pages.of, address)
    control.more["metrics"], control.more["scrape"] = components.list_targets, components.scrape
    api.streams.is_shell, api.streams.end_program = reads_commands, cluster.nodes.pods.end_program
    api.proxies.component_page = components.page_of
    api.pages.kubelet_counters = cluster.nodes.counters
    api.pages.kubelet_gates = cluster.nodes.gates
    api.pages.kubelet_starts = cluster.nodes.starts
    chaos = Chaos(api.app, cluster.store, clock)
    control.more["chaos"] = chaos.control
    seats = settings.max_inflight + settings.max_mutating_inflight
    front: FlowControl | Pressure
    if settings.priority_and_fairness and seats:
        front = FlowControl(lambda: chaos.app, api.user_of, cluster.store, seats=seats, now_s=clock.monotonic)
        api.show(front)
        front.join(server)
        Upkeep(cluster.registry, cluster.pump, clock)
    else:
        front = Pressure(
            lambda: chaos.app,
            api.user_of,
            reading=settings.max_inflight,
            mutating=settings.max_mutating_inflight,
        )
    front.on_refused = ended
    parts.append(front)
    if settings.tracing:
        spans.append(Spans(read_tracing(Path(settings.tracing)), "kube-apiserver", Random()))
        first = TracedRequests(lambda: lifetimes.app, spans[0], api.identities, clock.now)
    if settings.audit_log:
        policy = read_policy(Path(settings.audit_policy)) if settings.audit_policy else EVERYTHING
        rotation = Rotation.of(settings.audit_maxsize_mb, settings.audit_maxage_days, settings.audit_maxbackup)
        audit_file = AuditFile(state_dir / settings.audit_log, rotation, clock.now)
        behind = first.app
        log_file = AuditLog(lambda: behind, policy, audit_file, api.identities, api.decision, clock.now)
        api.annotations_of = log_file.annotations_of
        audit.append(log_file)
        first = log_file
    apps: dict[str, int] = {}
    own = OnePage(lambda: own_page(control, pages))
    doors = Doors(
        cluster.store, [pair for node in settings.nodes for pair in node.port_mappings], apps, cluster.processes
    )
    stand_ins = StandIns(doors, apps, start_apps)
    control.more["apps"] = stand_ins.announce
    try:
        write_kubeconfig(state_dir / "kubeconfig", settings.name, access, server.port)
        up = asyncio.Event()
        cluster.nodes.on_all_ready = up.set
        cluster.start(f"https://{HOST}:{server.port}", made=keeping is not None and keeping.made)
        if keeping is not None:
            keeping.journal.start()
        await doors.open(HOST)
        if settings.metrics_port is not None:
            try:
                await own.start(settings.metrics_port)
            except KubedynoError as error:
                raise KubedynoError(f"--metrics-port: {error}") from error
        stand_ins.watch()
        await _until_ready(settings, up, stopped)
        api.paths.health.ready = True
        if keeping is not None:
            keeping.up(server.port, settings)
        ready({"port": server.port})
        log.info("cluster %s serves on %s:%d", settings.name, HOST, server.port)
        await _until_done(settings, server, stopped, lambda: asked_s[0])
    finally:
        stand_ins.close()
        await own.close()
        doors.close()
        front.stop()
        lifetimes.stop()
        chaos.close()
        pauses.close()
        cluster.stop()
        api.close()
        for log_file in audit:
            log_file.close()
        for sent in spans:
            sent.close()
        await server.close()
    if failures:
        raise KubedynoError(f"cluster {settings.name} has stopped: {failures[0]}")


def own_page(control: Control, pages: ComponentPages) -> bytes:
    """Return what the cluster's process tells of itself: tables, reconcilers, its own CPU and memory."""
    page = Page()
    pages.process(page)
    return control.metrics().encode() + page.text()


async def _listen(
    app: App, port: int, last_port: int, context: ssl.SSLContext, beginning: Beginning
) -> Server:  # fmt: skip
    """Listen on the port that is asked for, else on the one that the cluster had before, else on a free one."""
    if beginning.sockets:
        return await listen(app, HOST, port, context, LIMITS, beginning.sockets)
    if not port and last_port:
        try:
            return await listen(app, HOST, last_port, context, LIMITS)
        except KubedynoError as error:
            log.warning("%s: the cluster's address and kubeconfig change", error)
    return await listen(app, HOST, port, context, LIMITS)


async def _until_ready(settings: ClusterSettings, up: asyncio.Event, stopped: asyncio.Event) -> None:
    """Wait until the nodes are Ready, where they can become so."""
    if settings.cni == "none" or not settings.allocate_node_cidrs:
        return
    tasks = [asyncio.ensure_future(up.wait()), asyncio.ensure_future(stopped.wait())]
    try:
        async with aio.timeout(READY_TIMEOUT_S):
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError:
        raise KubedynoError(
            f"cluster {settings.name}: its nodes were not Ready after {READY_TIMEOUT_S:.0f} s; "
            "is podSubnet large enough for a PodCIDR a node?"
        ) from None
    finally:
        for task in tasks:
            task.cancel()


async def _until_done(
    settings: ClusterSettings, server: Server, stopped: asyncio.Event, asked: Callable[[], float]
) -> None:
    """Return when the cluster is told to stop, or nobody has used it for the idle time."""
    loop = asyncio.get_running_loop()
    wait_s = min(IDLE_CHECK_S, settings.idle_timeout_s or IDLE_CHECK_S)
    collected_s = asked_s = loop.time()
    while not stopped.is_set():
        with suppress(TimeoutError):
            async with aio.timeout(wait_s):
                await stopped.wait()
        now_s = loop.time()
        idle_s = now_s - asked()
        if idle_s >= QUIET_S and now_s - collected_s >= COLLECT_S and server.last_request_s > asked_s:
            collected_s, asked_s = now_s, server.last_request_s
            aio.collect_idle()
        # An open watch is a user.
        if settings.idle_timeout_s and not server.open_streams and idle_s >= settings.idle_timeout_s:
            log.info("cluster %s was idle for %.0f s", settings.name, idle_s)
            return
