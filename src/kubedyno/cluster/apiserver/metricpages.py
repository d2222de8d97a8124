"""Which page of metrics a path is: the server's own, those of each kubelet by its node's proxy, and the exporters'.

`/metrics`, `/api/v1/nodes/NAME/proxy/metrics[/resource|/cadvisor|/probes]`, and, as no pods of theirs run,
`/kubedyno/metrics/kube-state` and `/kubedyno/metrics/nodes`.
"""

from collections.abc import AsyncIterator, Callable, Iterable

from kubedyno.base.aio import Spawn
from kubedyno.base.clock import Clock
from kubedyno.cluster.apiserver import kubeletpages, processpage, storagepage
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.exporterpage import NodeExporters
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.kubestate.page import KubeState
from kubedyno.cluster.apiserver.metrics import RequestCounts
from kubedyno.cluster.apiserver.usage import Usage, machine_of
from kubedyno.cluster.apiserver.watch import WatchHub
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectTable, Store
from kubedyno.http.messages import Headers, Responder
from kubedyno.kube.resources import NODES
from kubedyno.kube.status import NotFound, not_found
from kubedyno.stats.histogram import Histogram

MEDIA = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores"
STATE_PATH = "/kubedyno/metrics/kube-state"
NODES_PATH = "/kubedyno/metrics/nodes"
_WATCHED = "[ALPHA] Number of events sent in watch clients"
_HEADERS: Headers = (("Cache-Control", "no-cache, private"),)


class MetricPages:
    """Makes the pages.

    Args:
        store: What is stored.
        usage: What pods and nodes use.
        counts: What was answered.
        hub: The watches.
        settings: Version.
        clock: Of the pages.
        spawn: Runs what outlives the call.

    Attributes:
        others_cpu_s: Returns the CPU that other components in this process have used.
        storage_bytes: Returns how large what is stored is.
        mean_bytes: Returns how large an object of a table is on average.
        pauses: Of the garbage collector; None where nobody listens.
        kubelet_counters: Returns (metric, help text, value) of what a node's kubelet counts itself.
        kubelet_starts: Returns how long a node's pods took to start, None where that is not known.
        kubelet_gates: Returns the feature gates that are on in a node's kubelet, None where that is not known.
    """

    def __init__(
        self,
        store: Store,
        usage: Usage,
        counts: RequestCounts,
        hub: WatchHub,
        settings: ClusterSettings,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        self._store = store
        self._usage = usage
        self._counts = counts
        self._hub = hub
        self._settings = settings
        self._clock = clock
        self._spawn = spawn
        self._kube_state = KubeState(store)
        self._node_exporters = NodeExporters(store, usage, clock.now)
        self._started_s = clock.now()
        # What adds series to the server's own page.
        self.more: list[Callable[[Page], None]] = []
        self.others_cpu_s: Callable[[], float] = float
        self.storage_bytes: Callable[[], int] = int
        self.mean_bytes: Callable[[ObjectTable], float] = lambda _: 0.0
        self.pauses: processpage.Pauses | None = None
        self.kubelet_counters: Callable[[str], Iterable[tuple[str, str, int]]] = lambda _: ()
        self.kubelet_starts: Callable[[str], Histogram | None] = lambda _: None
        self.kubelet_gates: Callable[[str], frozenset[str] | None] = lambda _: None

    def own(self, under_way: int) -> bytes:
        """Return the API server's page.

        Args:
            under_way: Answers that have begun and not ended, watches apart.
        """
        page = Page()
        self._counts.write(page)
        for kind, count in (("mutating", 0), ("readOnly", under_way + 1)):
            # Writes are answered before anything else is looked at: none waits while a page is made.
            about = (
                "[STABLE] Maximal number of currently used inflight request limit of this apiserver per request kind in last "
                "second."
            )
            page.add("apiserver_current_inflight_requests", "gauge", about, {"request_kind": kind}, count)
        about = (
            "[STABLE] Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, "
            "scope and component. Not all requests are tracked this way."
        )
        for (resource, scope), watchers in self._hub.open_watches().items():
            labels = {
                "verb": "WATCH", "group": resource.group, "version": resource.version, "resource": resource.plural,
                "subresource": "", "scope": scope, "component": "apiserver",
            }  # fmt: skip
            page.add("apiserver_longrunning_requests", "gauge", about, labels, watchers)
        for resource, sizes in self._hub.events().items():
            labels = {"group": resource.group, "version": resource.version, "resource": resource.plural}
            page.add("apiserver_watch_events_total", "counter", _WATCHED, labels, sizes.count)
            about = (
                "[ALPHA] Watch event size distribution in bytes. Those that were sent together are counted each as their "
                "mean."
            )
            page.spread("apiserver_watch_events_sizes", about, labels, sizes)
        storagepage.add_tables(page, self._store, self.mean_bytes)
        storagepage.add_services(page, self._store)
        self._counts.write_lists(page)
        size = self.storage_bytes()
        about = (
            "[STABLE] Size of the storage database file physically allocated in bytes. Here by a sample of each table."
        )
        page.add("apiserver_storage_size_bytes", "gauge", about, {"storage_cluster_id": "etcd-0"}, size)
        # By the names of old API servers: nothing that is read is ever missing here.
        entries = sum(table.count for table in self._store.tables())
        for name, value in (("hit", self._counts.reads), ("miss", 0), ("entry", entries)):
            page.add(f"etcd_helper_cache_{name}_total", "counter", "Reads answered from memory.", {}, value)
        for add in self.more:
            add(page)
        page.add("apiserver_resource_version", "gauge", "Revision of the last write.", {}, self._store.revision)
        processpage.version(page, self._settings)
        processpage.gates(page, self._settings)
        # What the other components have used is on their pages.
        cpu_s = max(0.0, processpage.process_cpu_s() - self.others_cpu_s())
        processpage.write(page, cpu_s=cpu_s, started_s=self._started_s, pauses=self.pauses)
        return page.text()

    def node(self, name: str, path: str, call: Call) -> None:
        """Answer one of a kubelet's pages of metrics.

        Raises:
            NotFound: There is no such node, or no such page.
        """
        record = self._store.get(NODES, name)
        if record is None:
            raise not_found(NODES, name)
        now_s = self._clock.now()
        page = path.rstrip("/")
        node = self._usage.node(record, now_s)
        if page == "/metrics":
            own = kubeletpages.kubelet(node, self._settings, now_s, self._usage.volumes_of(node))
            processpage.shared(own, self.pauses)
            if (starts := self.kubelet_starts(name)) is not None:
                about = "From a pod's arrival at its kubelet until its containers run."
                own.spread("kubelet_pod_start_duration_seconds", about, {}, starts)
            for metric, text, value in self.kubelet_counters(name):
                own.add(metric, "counter", text, {}, value)
            processpage.gates(own, self._settings, self.kubelet_gates(name))
            body = own.text()
        elif page == "/metrics/resource":
            body = kubeletpages.resource(node, now_s).text()
        elif page == "/metrics/cadvisor":
            body = kubeletpages.cadvisor(node, now_s, machine_of(self._store, record)).text()
        elif page == "/metrics/probes":
            # Probes of modelled containers are never run.
            body = b""
        else:
            raise NotFound("the server could not find the requested resource", {})
        call.answer(200, MEDIA, body)

    def exporter(self, path: str, responder: Responder) -> bool:
        """Answer an exporter's page; False when the path is none."""
        if path == NODES_PATH:
            self._spawn(_stream(responder, self._node_exporters.page()))
            return True
        if path == STATE_PATH:
            self._spawn(_stream(responder, self._kube_state.page()))
            return True
        return False


async def _stream(responder: Responder, pieces: AsyncIterator[bytes]) -> None:
    """Answer with a page that is made while others are served."""
    stream = responder.start(200, MEDIA, _HEADERS)
    try:
        async for piece in pieces:
            if stream.closed:
                return
            stream.write(piece)
            await stream.drain(1 << 20)
    except BaseException:
        # Nobody must take half a page for a whole one.
        stream.abort()
        raise
    stream.close()
