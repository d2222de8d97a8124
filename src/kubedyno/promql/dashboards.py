"""Dashboards: what is worth drawing of a cluster under load, as queries; for our own page and as Grafana's JSON.

One list of panels feeds both, so that they show the same. Queries name no variables: they draw the whole cluster.
"""

from dataclasses import dataclass
from typing import Any

DATASOURCE = "kubedyno"
_WIDTH, _HEIGHT, _COLUMNS = 12, 8, 24
# Grafana's JSON model that these dashboards are written in.
_SCHEMA_VERSION = 39


@dataclass(frozen=True, slots=True)
class Query:
    """One expression and how its series are named, with `{{label}}` for a label's value."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot.

    Attributes:
        unit: Grafana's name of the values' unit: "short", "s", "reqps", "ops", "bytes", "cores" or "percentunit".
        stacked: Series add up.
    """

    title: str
    queries: tuple[Query, ...]
    unit: str = "short"
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels under one title.

    Attributes:
        uid: Stable name, of files and addresses.
        note: What a reader has to know; "" for nothing.
        embedded: The embedded cluster answers every one of its queries.
    """

    uid: str
    title: str
    panels: tuple[Panel, ...]
    note: str = ""
    embedded: bool = True


def _panel(title: str, *queries: tuple[str, str], unit: str = "short", stacked: bool = False) -> Panel:
    return Panel(title, tuple(Query(expr, legend) for expr, legend in queries), unit, stacked)


CLUSTER = Dashboard(
    "kubedyno-cluster",
    "kubedyno / cluster",
    (
        _panel("Pods by phase", ("sum by (phase) (kube_pod_status_phase)", "{{phase}}"), stacked=True),
        _panel(
            "Pods on nodes and room for them",
            ("sum by (node) (kubelet_running_pods)", "{{node}}"),
            ('max(kube_node_status_allocatable{resource="pods"})', "allocatable a node"),
        ),
        _panel(
            "Nodes by condition", ('sum by (condition) (kube_node_status_condition{status="true"})', "{{condition}}")
        ),
        _panel(
            "CPU by node",
            ('sum by (instance) (rate(node_cpu_seconds_total{mode!="idle"}[2m]))', "{{instance}}"),
            unit="cores",
        ),
        _panel(
            "Memory by node",
            ("node_memory_MemTotal_bytes - node_memory_MemAvailable_bytes", "{{instance}}"),
            unit="bytes",
        ),
        _panel(
            "CPU by namespace",
            ('sum by (namespace) (rate(container_cpu_usage_seconds_total{container!=""}[2m]))', "{{namespace}}"),
            unit="cores",
            stacked=True,
        ),
        _panel(
            "Memory by namespace",
            ('sum by (namespace) (container_memory_working_set_bytes{container!=""})', "{{namespace}}"),
            unit="bytes",
            stacked=True,
        ),
        _panel(
            "CPU asked for, of what nodes have",
            (
                (
                    'sum(kube_pod_container_resource_requests{resource="cpu"}) '
                    '/ sum(kube_node_status_allocatable{resource="cpu"})'
                ),
                "requests",
            ),
            unit="percentunit",
        ),
        _panel("Targets", ("sum by (job) (up)", "{{job}} up"), ("count(up == 0) or vector(0)", "down")),
    ),
)
API_SERVER = Dashboard(
    "kubedyno-apiserver",
    "kubedyno / API server",
    (
        _panel(
            "Requests by verb",
            ("sum by (verb) (rate(apiserver_request_total[2m]))", "{{verb}}"),
            unit="reqps",
            stacked=True,
        ),
        _panel("Requests by code", ("sum by (code) (rate(apiserver_request_total[2m]))", "{{code}}"), unit="reqps"),
        _panel(
            "Latency by verb, 99th percentile",
            (
                (
                    "histogram_quantile(0.99, sum by (verb, le) "
                    '(rate(apiserver_request_duration_seconds_bucket{verb!="WATCH"}[2m])))'
                ),
                "{{verb}}",
            ),
            unit="s",
        ),
        _panel(
            "Requests by resource, the first ten",
            ("topk(10, sum by (resource) (rate(apiserver_request_total[2m])))", "{{resource}}"),
            unit="reqps",
        ),
        _panel(
            "Requests under way", ("sum by (request_kind) (apiserver_current_inflight_requests)", "{{request_kind}}")
        ),
        _panel("Watches", ("sum by (resource) (apiserver_longrunning_requests)", "{{resource}}")),
        _panel(
            "Requests to etcd",
            ("sum by (operation) (rate(etcd_request_duration_seconds_count[2m]))", "{{operation}}"),
            unit="ops",
        ),
        _panel("Stored objects, the first ten", ("topk(10, apiserver_storage_objects)", "{{resource}}")),
        _panel(
            "Process",
            ('sum by (job) (rate(process_cpu_seconds_total{job=~"apiserver|kube-.*"}[2m]))', "{{job}}"),
            unit="cores",
        ),
    ),
)
LOAD = Dashboard(
    "kubedyno-load",
    "kubedyno / load run",
    (
        _panel("Pods by phase", ("sum by (phase) (kube_pod_status_phase)", "{{phase}}"), stacked=True),
        _panel(
            "Writes",
            ('sum by (verb) (rate(apiserver_request_total{verb=~"POST|PUT|PATCH|DELETE"}[1m]))', "{{verb}}"),
            unit="reqps",
        ),
        _panel(
            "Refused and failed requests",
            ('sum by (code) (rate(apiserver_request_total{code=~"4..|5.."}[1m])) or vector(0)', "{{code}}"),
            unit="reqps",
        ),
        _panel(
            "Writes: 99th and 50th percentile",
            *(
                (
                    (
                        f"histogram_quantile({quantile}, sum by (le) "
                        '(rate(apiserver_request_duration_seconds_bucket{verb=~"POST|PUT|PATCH|DELETE"}[1m])))'
                    ),
                    name,
                )
                for quantile, name in (("0.99", "P99"), ("0.5", "P50"))
            ),
            unit="s",
        ),
        _panel(
            "Scheduling attempts",
            ("sum by (result) (rate(scheduler_schedule_attempts_total[1m]))", "{{result}}"),
            unit="ops",
        ),
        _panel("Pods that wait for a node", ("sum by (queue) (scheduler_pending_pods)", "{{queue}}")),
        _panel(
            "From a pod's arrival to its binding, 99th percentile",
            (
                "histogram_quantile(0.99, sum by (le) (rate(scheduler_pod_scheduling_sli_duration_seconds_bucket[2m])))",
                "P99",
            ),
            unit="s",
        ),
        _panel("Work queues: depth", ("sum by (name) (workqueue_depth)", "{{name}}")),
        _panel(
            "Work queues: keys, the first ten",
            ("topk(10, sum by (name) (rate(workqueue_adds_total[1m])))", "{{name}}"),
            unit="ops",
        ),
        _panel(
            "Store: bytes and objects",
            ("max(etcd_mvcc_db_total_size_in_bytes)", "bytes"),
            unit="bytes",
        ),
        _panel("Namespaces", ("sum by (phase) (kube_namespace_status_phase)", "{{phase}}")),
    ),
    note=(
        "Scheduler, controller manager and etcd are seen when their metrics are bound to 0.0.0.0; "
        "`kubedyno explain` shows how."
    ),
)
CILIUM = Dashboard(
    "kubedyno-cilium",
    "kubedyno / Cilium",
    (
        _panel("Endpoints by state", ("sum by (endpoint_state) (cilium_endpoint_state)", "{{endpoint_state}}")),
        _panel(
            "Endpoint regenerations",
            ("sum by (outcome) (rate(cilium_endpoint_regenerations_total[2m]))", "{{outcome}}"),
            unit="ops",
        ),
        _panel("Identities", ("max by (type) (cilium_identity)", "{{type}}")),
        _panel(
            "BPF maps: pressure", ("max by (map_name) (cilium_bpf_map_pressure)", "{{map_name}}"), unit="percentunit"
        ),
        _panel(
            "Forwarded packets",
            ("sum by (direction) (rate(cilium_forward_count_total[2m]))", "{{direction}}"),
            unit="ops",
        ),
        _panel("Dropped packets", ("sum by (reason) (rate(cilium_drop_count_total[2m]))", "{{reason}}"), unit="ops"),
        _panel(
            "CiliumEndpoints in a slice, mean",
            (
                (
                    "sum(rate(cilium_operator_number_of_ceps_per_ces_sum[2m])) "
                    "/ sum(rate(cilium_operator_number_of_ceps_per_ces_count[2m]))"
                ),
                "CEPs",
            ),
        ),
        _panel(
            "Requests to the API server",
            ("sum by (method) (rate(cilium_k8s_client_api_calls_total[2m]))", "{{method}}"),
            unit="reqps",
        ),
        _panel("Unreachable nodes", ("max(cilium_unreachable_nodes)", "nodes")),
        _panel(
            "Hubble: flows by verdict",
            ("sum by (verdict) (rate(hubble_flows_processed_total[2m]))", "{{verdict}}"),
            unit="ops",
        ),
    ),
    note="Cilium's and Hubble's own series are those of a real Cilium; the embedded cluster does not have them.",
    embedded=False,
)
DASHBOARDS = (CLUSTER, API_SERVER, LOAD, CILIUM)


def plain(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard for our page."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "note": dashboard.note,
        "panels": [
            {
                "title": panel.title,
                "unit": panel.unit,
                "stacked": panel.stacked,
                "queries": [{"expr": query.expr, "legend": query.legend} for query in panel.queries],
            }
            for panel in dashboard.panels
        ],
    }


def grafana(dashboard: Dashboard, timezone: str = "browser") -> dict[str, Any]:
    """Return a dashboard as Grafana provisions it.

    Args:
        dashboard: Which.
        timezone: "browser", "utc" or a name such as Asia/Seoul.
    """
    source = {"type": "prometheus", "uid": "${datasource}"}
    panels: list[dict[str, Any]] = []
    for number, panel in enumerate(dashboard.panels):
        row, column = divmod(number, _COLUMNS // _WIDTH)
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        panels.append(
            {
                "id": number + 1,
                "type": "timeseries",
                "title": panel.title,
                "datasource": source,
                "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
                "fieldConfig": {
                    "defaults": {
                        "unit": "short" if panel.unit == "cores" else panel.unit,
                        "custom": {"fillOpacity": 20 if panel.stacked else 0, "stacking": stacking},
                    },
                    "overrides": [],
                },
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
                "targets": [
                    {
                        "refId": chr(ord("A") + index),
                        "datasource": source,
                        "expr": query.expr,
                        "legendFormat": query.legend,
                        "editorMode": "code",
                        "range": True,
                    }
                    for index, query in enumerate(panel.queries)
                ],
            }
        )
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.note,
        "tags": ["kubedyno"],
        "timezone": timezone,
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "15s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {
            "list": [
                {
                    "name": "datasource",
                    "label": "Prometheus",
                    "type": "datasource",
                    "query": "prometheus",
                    "current": {"text": DATASOURCE, "value": DATASOURCE},
                }
            ]
        },
        "annotations": {"list": []},
        "panels": panels,
    }


def provisioning(url: str, folder: str) -> dict[str, str]:
    """Return Grafana's provisioning files, by their path below its provisioning folder.

    Args:
        url: Of the Prometheus, or of `kubedyno metrics serve`.
        folder: Where the dashboards' JSON lies.
    """
    return {
        "datasources/kubedyno.yaml": (
            "apiVersion: 1\ndatasources:\n"
            f"- {{name: {DATASOURCE}, uid: {DATASOURCE}, type: prometheus, access: proxy, url: {_quoted(url)}, "
            "isDefault: true}\n"
        ),
        "dashboards/kubedyno.yaml": (
            f"apiVersion: 1\nproviders:\n- {{name: {DATASOURCE}, type: file, options: {{path: {_quoted(folder)}}}}}\n"
        ),
    }


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
