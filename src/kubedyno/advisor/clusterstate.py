"""What the rules of a whole cluster judge by, read once: objects, flags of the control plane, metrics, kubelets.

Only reads are sent: GET of lists, of /metrics and of kubelets' /configz through the API server. What may not be read is
named in `missing`, and the rules that need it say nothing.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubedyno.advisor import features
from kubedyno.advisor.components import Metrics, flags_of, metrics_of
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.kube import yaml
from kubedyno.kube.status import StatusError
from kubedyno.promql.errors import ExpositionError

Json = dict[str, Any]
# Families of the API server's metrics that rules ask for.
API_SERVER_FAMILIES = (
    "apiserver_request_duration_seconds", "apiserver_requested_deprecated_apis",
    "apiserver_flowcontrol_rejected_requests_total", "apiserver_admission_webhook_admission_duration_seconds",
    "apiserver_storage_size_bytes", "apiserver_storage_objects", "etcd_request_duration_seconds",
)  # fmt: skip
ETCD_FAMILIES = (
    "etcd_mvcc_db_total_size_in_bytes", "etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_server_quota_backend_bytes",
    "etcd_disk_wal_fsync_duration_seconds", "etcd_disk_backend_commit_duration_seconds",
)  # fmt: skip
# Kubelets are asked one by one: so many are enough to see how nodes are set up.
SAMPLED_KUBELETS = 5
_ETCD_METRICS_PORT = 2381


@dataclass(frozen=True, slots=True)
class ClusterState:
    """Raw API objects and what was read beside them. An empty tuple: none, or not read (see `missing`).

    Attributes:
        version: (major, minor) of the API server.
        webhooks: Validating and mutating configurations, `kind` set.
        flow_schemas: None when the API server has no priority and fairness.
        kubelets: Node → its KubeletConfiguration, of the first few nodes; where none can be asked, kubeadm's for new ones.
        config_maps: Those of kube-system that configure kubeadm, kubelet, kube-proxy and Cilium, by name.
        metrics: Of the API server.
        etcd: Of etcd, or empty.
        missing: What could not be read and why, a line each.
    """

    version: tuple[int, int] = (0, 0)
    nodes: tuple[Json, ...] = ()
    pods: tuple[Json, ...] = ()
    namespaces: tuple[Json, ...] = ()
    services: tuple[Json, ...] = ()
    slices: tuple[Json, ...] = ()
    deployments: tuple[Json, ...] = ()
    daemonsets: tuple[Json, ...] = ()
    webhooks: tuple[Json, ...] = ()
    flow_schemas: tuple[Json, ...] | None = ()
    service_accounts: tuple[Json, ...] = ()
    kubelets: dict[str, Json] = field(default_factory=dict)
    config_maps: dict[str, dict[str, str]] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    etcd: Metrics = field(default_factory=Metrics)
    missing: tuple[str, ...] = ()

    def flags(self, component: str) -> dict[str, str] | None:
        """Return the flags of a control-plane component's first pod; None when it has no pod to see."""
        for pod in self.pods:
            metadata = pod["metadata"]
            if metadata.get("namespace") != "kube-system":
                continue
            labels = metadata.get("labels") or {}
            if component not in {labels.get("component"), labels.get("k8s-app")}:
                continue
            container = pod["spec"]["containers"][0]
            return flags_of([*(container.get("command") or ()), *(container.get("args") or ())])
        return None

    def live_pods(self) -> list[Json]:
        """Return the pods that have not ended."""
        return [pod for pod in self.pods if (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}]

    def kube_proxy(self) -> Json | None:
        """Return kube-proxy's configuration, None without one."""
        text = self.config_maps.get("kube-proxy", {}).get("config.conf")
        found = yaml.load(text, "ConfigMap kube-proxy") if text else None
        return found if isinstance(found, dict) else None

    def pod_networks(self) -> tuple[str, ...]:
        """Return the cluster's pod CIDRs: the controller manager's, else kubeadm's, else none."""
        said = (self.flags("kube-controller-manager") or {}).get("cluster-cidr", "")
        if not said:
            text = self.config_maps.get("kubeadm-config", {}).get("ClusterConfiguration", "")
            tree = yaml.load(text, "ConfigMap kubeadm-config") if text else None
            said = str(((tree or {}).get("networking") or {}).get("podSubnet") or "")
        return tuple(part.strip() for part in said.split(",") if part.strip())

    def endpoints(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Return (namespace, service) → its endpoints and its slices."""
        found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for one in self.slices:
            metadata = one["metadata"]
            name = (metadata.get("labels") or {}).get("kubernetes.io/service-name")
            if name:
                entry = found[metadata.get("namespace", ""), name]
                entry[0] += len(one.get("endpoints") or ())
                entry[1] += 1
        return {key: (ends, slices) for key, (ends, slices) in found.items()}


def name_of(thing: Json) -> str:
    """Return "namespace/name", or the name of what has no namespace."""
    metadata = thing["metadata"]
    namespace = metadata.get("namespace")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


async def read(client: Client) -> ClusterState:
    """Read a cluster for the rules.

    Raises:
        KubedynoError: It cannot be reached, or does not even tell its version.
    """
    missing: list[str] = []

    async def items(path: str, what: str) -> tuple[Json, ...] | None:
        try:
            return tuple(await client.list_all(path))
        except StatusError as error:
            if error.code not in {401, 403, 404}:
                raise
            missing.append(f"{what}: not read ({error.message})")
            return None

    async def page(path: str, what: str) -> str:
        result = await client.request("GET", path)
        if result.status == 200:
            return result.body.decode(errors="replace")
        missing.append(f"{what}: GET {path} answered {result.status}{_message(result.body)}")
        return ""

    async def metrics(path: str, what: str, wanted: tuple[str, ...]) -> Metrics:
        text = await page(path, what)
        try:
            found = metrics_of(text, wanted)
        except ExpositionError as error:
            missing.append(f"{what}: {error}")
            return Metrics()
        if text and not found.families:
            missing.append(f"{what}: has none of what the rules ask for")
        return found

    try:
        version = features.version_of(str((await client.get("/version")).get("gitVersion", "?")))
    except StatusError as error:
        raise KubedynoError(f"{client.server}: answers {error.code} to GET /version ({error.message})") from error
    webhooks: list[Json] = []
    for kind in ("Validating", "Mutating"):
        found = await items(
            f"/apis/admissionregistration.k8s.io/v1/{kind.lower()}webhookconfigurations", f"{kind.lower()} webhooks"
        )
        webhooks += [{**one, "kind": f"{kind}WebhookConfiguration"} for one in found or ()]
    config_maps = await _config_maps(client, missing)
    nodes = await items("/api/v1/nodes", "nodes") or ()
    pods = await items("/api/v1/pods", "pods") or ()
    return ClusterState(
        version=version,
        nodes=nodes,
        pods=pods,
        namespaces=await items("/api/v1/namespaces", "namespaces") or (),
        services=await items("/api/v1/services", "services") or (),
        slices=await items("/apis/discovery.k8s.io/v1/endpointslices", "endpoint slices") or (),
        deployments=await items("/apis/apps/v1/deployments", "Deployments") or (),
        daemonsets=await items("/apis/apps/v1/daemonsets", "DaemonSets") or (),
        webhooks=tuple(webhooks),
        service_accounts=await items("/api/v1/serviceaccounts", "service accounts") or (),
        flow_schemas=await items("/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", "flow schemas"),
        kubelets=await _kubelets(nodes, page, missing) or _kubeadms(config_maps, missing),
        config_maps=config_maps,
        metrics=await metrics("/metrics", "metrics of the API server", API_SERVER_FAMILIES),
        etcd=await metrics(path, "metrics of etcd", ETCD_FAMILIES) if (path := _etcd_path(pods)) else Metrics(),
        missing=tuple(missing),
    )


def _message(body: bytes) -> str:
    """Return what a Status says, as the end of a line."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ""
    said = found.get("message") if isinstance(found, dict) else None
    return f" ({said})" if said else ""


def _etcd_path(pods: tuple[Json, ...]) -> str:
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        if pod["metadata"].get("namespace") == "kube-system" and labels.get("component") == "etcd":
            return f"/api/v1/namespaces/kube-system/pods/{pod['metadata']['name']}:{_ETCD_METRICS_PORT}/proxy/metrics"
    return ""


async def _kubelets(nodes: tuple[Json, ...], page: Any, missing: list[str]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for node in nodes[:SAMPLED_KUBELETS]:
        name = node["metadata"]["name"]
        text = await page(f"/api/v1/nodes/{name}/proxy/configz", f"kubelet of {name}")
        if not text:
            continue
        try:
            found[name] = dict(orjson.loads(text)["kubeletconfig"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            missing.append(f"kubelet of {name}: its /configz is no configuration")
    return found


def _kubeadms(config_maps: dict[str, dict[str, str]], missing: list[str]) -> dict[str, Json]:
    """Return what kubeadm gives to new kubelets, where none could be asked."""
    text = config_maps.get("kubelet-config", {}).get("kubelet", "")
    try:
        found = yaml.load(text, "ConfigMap kubelet-config") if text else None
    except KubedynoError as error:
        missing.append(str(error))
        return {}
    if not isinstance(found, dict):
        return {}
    missing.append("kubelets: judged by ConfigMap kubelet-config, which a node's own file may differ from")
    return {"ConfigMap kubelet-config": found}


async def _config_maps(client: Client, missing: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for name in ("kubeadm-config", "kubelet-config", "kube-proxy", "cilium-config"):
        try:
            answer = await client.get(f"/api/v1/namespaces/kube-system/configmaps/{name}")
        except StatusError as error:
            if error.code == 404:
                continue  # not every cluster has each of them
            missing.append(f"ConfigMap {name}: not read ({error.message})")
            continue
        found[name] = dict(answer.get("data") or {})
    return found
