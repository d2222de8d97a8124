"""Where the cluster's components serve their metrics, and what a Prometheus inside of it sees of them.

Each runs in a pod on a node, listens on the address it is bound to and on its own port. kubeadm binds controller manager,
scheduler and etcd to 127.0.0.1, and kube-proxy is by default: whoever asks the node's address is refused, and the target
is down. `/kubedyno/metrics/targets` lists all targets in the form of Prometheus' HTTP service discovery, and
`/kubedyno/scrape/SCHEME/ADDRESS:PORT/metrics` asks one from within the cluster.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.metricpages import MEDIA, NODES_PATH, STATE_PATH
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.http.messages import Request, Responder
from kubedyno.kube import yaml
from kubedyno.kube.resources import CONFIGMAPS, NODES, PODS
from kubedyno.kube.status import MethodNotAllowed, NotFound

TARGETS = "targets"
SCRAPE_PATH = "/kubedyno/scrape/"
_TEXT = "text/plain; charset=utf-8"
_SYSTEM = "kube-system"
# Remembered addresses; forgotten all at once.
_MOST_ADDRESSES = 50_000
_ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - values to compare with


@dataclass(frozen=True, slots=True)
class Component:
    """A component that has a page of its own.

    Attributes:
        job: As kube-prometheus names it, and the page's name.
        label: Label of its pods.
        value: That label's value.
        port: Where it serves metrics.
        secure: It speaks TLS there.
        setting: Its name in the settings' bind addresses.
    """

    job: str
    label: str
    value: str
    port: int
    secure: bool
    setting: str


COMPONENTS = (
    Component("kube-controller-manager", "component", "kube-controller-manager", 10257, True, "controller-manager"),
    Component("kube-scheduler", "component", "kube-scheduler", 10259, True, "scheduler"),
    Component("kube-etcd", "component", "etcd", 2381, False, "etcd"),
    Component("kube-proxy", "k8s-app", "kube-proxy", 10249, False, "kube-proxy"),
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One component on one node.

    Attributes:
        address: The node's.
        bind: What it listens on; "" when it is kube-proxy's default, 127.0.0.1.
    """

    component: Component
    pod: str
    uid: str
    node: str
    address: str
    bind: str

    @property
    def instance(self) -> str:
        return f"{self.address}:{self.component.port}"

    @property
    def reachable(self) -> bool:
        """Say whether it answers at the node's address."""
        return self.bind == self.address or self.bind in _ANYWHERE

    @property
    def path(self) -> str:
        scheme = "https" if self.component.secure else "http"
        return f"{SCRAPE_PATH}{scheme}/{self.instance}/metrics"

    @property
    def url(self) -> str:
        return f"{'https' if self.component.secure else 'http'}://{self.instance}/metrics"


class Components:
    """Finds and asks the components.

    Args:
        store: The pods.
        settings: What each is bound to.
        pages: Job → its page.
        server: host:port of the API server.
    """

    def __init__(
        self, store: Store, settings: ClusterSettings, pages: dict[str, Callable[[], Page]], server: str
    ) -> None:
        self._store = store
        self._binds = settings.bind_addresses
        self._pages = pages
        self._server = server
        # By uid: what a kube-proxy pod found in its file when it was first seen.
        self._started_with: dict[str, str] = {}
        # By uid and revision: a pod's address, which is read from its status.
        self._addresses: dict[str, tuple[int, str]] = {}
        # As they were found last.
        self._by_path: dict[str, Endpoint] = {}

    def endpoints(self) -> list[Endpoint]:
        """Return the components whose pods run; O(pods of kube-system)."""
        found = []
        alive: set[str] = set()
        for record in self._store.list(PODS, _SYSTEM):
            obj = record.obj
            component = _component_of(obj.labels)
            if component is None or obj.facts.phase != "Running":
                continue
            if component.setting == "kube-proxy":
                alive.add(obj.uid)
                bind = self._started_with.setdefault(obj.uid, self._proxy_bind())
            else:
                bind = self._binds.get(component.setting, "127.0.0.1")
            address = self._address(record)
            if address:
                found.append(Endpoint(component, obj.name, obj.uid, obj.facts.node_name, address, bind))
        for uid in self._started_with.keys() - alive:
            del self._started_with[uid]
        self._by_path = {endpoint.path: endpoint for endpoint in found}
        return found

    def page_of(self, uid: str, port: int) -> bytes | None:
        """Return the page that a component's pod serves without TLS at its node's address, None where nobody listens."""
        for endpoint in self.endpoints():
            component = endpoint.component
            if endpoint.uid == uid and component.port == port and endpoint.reachable and not component.secure:
                return self._pages[component.job]().text()
        return None

    def _gone(self, endpoint: Endpoint) -> bool:
        """Say whether the pod of an endpoint that was found before is another one now."""
        record = self._store.get(PODS, f"{_SYSTEM}/{endpoint.pod}")
        return record is None or record.obj.uid != endpoint.uid or record.obj.facts.phase != "Running"

    def _address(self, record: ObjectRecord) -> str:
        known = self._addresses.get(record.obj.uid)
        if known is None or known[0] != record.revision:
            if len(self._addresses) > _MOST_ADDRESSES:
                self._addresses.clear()
            known = self._addresses[record.obj.uid] = (record.revision, _address_of(record))
        return known[1]

    def _proxy_bind(self) -> str:
        """Return metricsBindAddress of kube-proxy's ConfigMap, as its next pod will read it."""
        record = self._store.get(CONFIGMAPS, f"{_SYSTEM}/kube-proxy")
        if record is None:
            return ""
        data = self._store.encode_dict(CONFIGMAPS, record).get("data") or {}
        try:
            document = yaml.load(str(data.get("config.conf", "")), "kube-proxy")
        except ValueError:
            return ""
        text = str(document.get("metricsBindAddress") or "") if isinstance(document, dict) else ""
        return text.rpartition(":")[0].strip("[]") if text.count(":") == 1 or "]" in text else text

    def targets(self) -> list[dict[str, Any]]:
        """Return all targets as Prometheus' HTTP service discovery wants them; every one is asked through the API server."""
        server = self._server

        def entry(path: str, **labels: str) -> dict[str, Any]:
            return {"targets": [server], "labels": {"__scheme__": "https", "__metrics_path__": path, **labels}}

        found = [entry("/metrics", job="apiserver", instance=server, apiserver="kube-apiserver", namespace="default",
                       service="kubernetes", endpoint="https")]  # fmt: skip
        for endpoint in self.endpoints():
            job = endpoint.component.job
            found.append(
                entry(endpoint.path, job=job, instance=endpoint.instance, pod=endpoint.pod, node=endpoint.node,
                      namespace=_SYSTEM, service=job, endpoint="http-metrics", container=endpoint.component.value)
            )  # fmt: skip
        for record in self._store.list(NODES):
            name = record.obj.name
            for page in ("metrics", "metrics/cadvisor"):
                path = f"/api/v1/nodes/{name}/proxy/{page}"
                found.append(
                    entry(path, job="kubelet", instance=name, node=name, service="kubelet", metrics_path=f"/{page}")
                )
        found.append(entry(STATE_PATH, job="kube-state-metrics", instance="kube-state-metrics:8080"))
        found.append(entry(NODES_PATH, job="node-exporter", instance="node-exporter:9100"))
        return found

    # --- the control endpoint ------------------------------------------------------------------------------------

    def list_targets(self, request: Request, responder: Responder, parts: list[str]) -> None:
        """Answer /kubedyno/metrics/targets."""
        _only_get(request)
        if parts != [TARGETS]:
            raise NotFound(f"there is no {request.path}")
        responder.send(200, "application/json", orjson.dumps(self.targets()))

    def scrape(self, request: Request, responder: Responder, parts: list[str]) -> None:
        """Answer /kubedyno/scrape/SCHEME/ADDRESS:PORT/metrics as the component would, or as its node would refuse.

        Raises:
            NotFound: No component has that address.
        """
        _only_get(request)
        path = f"{SCRAPE_PATH}{'/'.join(parts)}"
        at = self._by_path.get(path)
        if at is None or self._gone(at):
            self.endpoints()
            at = self._by_path.get(path)
        if at is None:
            raise NotFound(f"nothing serves metrics at {'/'.join(parts)}; {SCRAPE_PATH}… takes the targets' own paths")
        if not at.reachable:
            responder.send(503, _TEXT, refusal(at).encode())
            return
        responder.send(200, MEDIA, self._pages[at.component.job]().text())


def refusal(endpoint: Endpoint) -> str:
    """Return what a Prometheus in the cluster says of a component that is bound to 127.0.0.1 only."""
    return f'Get "{endpoint.url}": dial tcp {endpoint.instance}: connect: connection refused'


def _only_get(request: Request) -> None:
    if request.method not in {"GET", "HEAD"}:
        raise MethodNotAllowed(f"{request.path} takes GET only, not {request.method}")


def _component_of(labels: dict[str, str]) -> Component | None:
    return next((c for c in COMPONENTS if labels.get(c.label) == c.value), None)


def _address_of(record: ObjectRecord) -> str:
    status = orjson.loads(record.obj.status or b"{}")
    return str(status.get("podIP") or status.get("hostIP") or "")
