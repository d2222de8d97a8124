"""Every name and label that the usual dashboards, kube-burner's profiles and cluster mixins ask for is on its endpoint."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import Iterator

import orjson
import pytest

from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.settings import ClusterSettings, NodeSettings
from kubedyno.lab import embedded
from kubedyno.lab.embedded import Running
from kubedyno.promql.exposition import ACCEPT, Sample, labels_of, read

pytestmark = pytest.mark.slow
OPEN = dict.fromkeys(("controller-manager", "scheduler", "etcd", "kube-proxy"), "0.0.0.0")
NODES = (NodeSettings("s-control-plane", control_plane=True), NodeSettings("s-worker"))
NS = "/api/v1/namespaces/default"
LABELS = {"app": "x"}
CONTAINER = {
    "name": "c",
    "image": "nginx:1.27",
    "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"cpu": "100m", "memory": "64Mi"}},
}
CLAIM = {"name": "v", "persistentVolumeClaim": {"claimName": "x"}}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER], "volumes": [CLAIM]}}
SELECTED = {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}
JOB = {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1"}]}}}
OBJECTS = {
    f"{NS}/secrets": {},
    f"{NS}/persistentvolumeclaims": {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    "/apis/apps/v1/namespaces/default/deployments": {"spec": {"replicas": 2, **SELECTED}},
    "/apis/apps/v1/namespaces/default/statefulsets": {"spec": {"serviceName": "x", **SELECTED}},
    "/apis/batch/v1/namespaces/default/jobs": {"spec": JOB},
    "/apis/batch/v1/namespaces/default/cronjobs": {"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": JOB}}},
    f"{NS}/resourcequotas": {"spec": {"hard": {"pods": "100"}}},
    "/apis/policy/v1/namespaces/default/poddisruptionbudgets": {
        "spec": {"minAvailable": 1, "selector": {"matchLabels": LABELS}}
    },
    "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers": {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 3}
    },
    "/apis/networking.k8s.io/v1/namespaces/default/ingresses": {
        "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}
    },
}
REQUEST = "verb group version resource subresource scope component"
KIND = "group version resource"
CONTAINERS = "id name image container pod namespace"
PROCESS = (
    "process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds",
    "go_goroutines", "go_memstats_heap_alloc_bytes", "go_memstats_heap_inuse_bytes", "go_gc_duration_seconds quantile",
)  # fmt: skip
QUEUE = (
    "workqueue_adds_total name", "workqueue_retries_total name", "workqueue_depth name",
    "workqueue_unfinished_work_seconds name", "workqueue_longest_running_processor_seconds name",
    "workqueue_queue_duration_seconds_bucket name le", "workqueue_work_duration_seconds_bucket name le",
)  # fmt: skip
CLIENT = (
    "rest_client_requests_total code method host", "rest_client_request_duration_seconds_bucket verb host le",
    "rest_client_rate_limiter_duration_seconds_bucket verb host le",
)  # fmt: skip
VERSION = "kubernetes_build_info git_version"
# By job, and of kubelets by page: a name and the labels that one of its series has to have.
WANTED: dict[str, tuple[str, ...]] = {
    "apiserver": (
        f"apiserver_request_total {REQUEST} code dry_run",
        f"apiserver_request_duration_seconds_bucket {REQUEST} dry_run le",
        f"apiserver_request_sli_duration_seconds_bucket {REQUEST} le",
        "apiserver_current_inflight_requests request_kind",
        f"apiserver_longrunning_requests {REQUEST}",
        f"apiserver_response_sizes_bucket {REQUEST} le",
        "apiserver_flowcontrol_dispatched_requests_total flow_schema priority_level",
        "apiserver_flowcontrol_request_execution_seconds_bucket flow_schema priority_level type le",
        "apiserver_flowcontrol_current_executing_seats flow_schema priority_level",
        "apiserver_flowcontrol_current_inqueue_requests flow_schema priority_level",
        "apiserver_flowcontrol_nominal_limit_seats priority_level",
        f"apiserver_watch_events_total {KIND}",
        f"apiserver_watch_events_sizes_bucket {KIND} le",
        "apiserver_storage_objects resource",
        "apiserver_resource_objects group resource",
        "etcd_object_counts resource",
        "apiserver_storage_size_bytes storage_cluster_id",
        "etcd_request_duration_seconds_bucket operation group resource le",
        "etcd_helper_cache_hit_total",
        "etcd_helper_cache_miss_total",
        "etcd_helper_cache_entry_total",
        VERSION,
        *PROCESS,
    ),
    "kube-etcd": (
        "etcd_server_is_leader", "etcd_server_has_leader", "etcd_mvcc_db_total_size_in_bytes",
        "etcd_mvcc_db_total_size_in_use_in_bytes", "etcd_cluster_version cluster_version",
        "etcd_server_leader_changes_seen_total", "etcd_disk_wal_write_bytes_total",
        "etcd_network_client_grpc_received_bytes_total", "etcd_network_client_grpc_sent_bytes_total",
        "etcd_server_slow_apply_total", "etcd_server_slow_read_indexes_total",
        "etcd_disk_wal_fsync_duration_seconds_bucket le", "etcd_disk_backend_commit_duration_seconds_bucket le",
        "etcd_network_peer_round_trip_time_seconds_bucket To le", *PROCESS,
    ),
    "kube-controller-manager": (
        "node_collector_zone_size zone", "node_collector_zone_health zone", "node_ipam_controller_cidrset_usage_cidrs clusterCIDR",
        "node_ipam_controller_cirdset_max_cidrs clusterCIDR", "endpoint_slice_controller_num_endpoint_slices",
        "horizontal_pod_autoscaler_controller_num_horizontal_pod_autoscalers", *QUEUE, *CLIENT, VERSION, *PROCESS),
    "kube-scheduler": (
        "scheduler_scheduling_attempt_duration_seconds_bucket result profile le",
        "scheduler_pod_scheduling_sli_duration_seconds_bucket attempts le", "scheduler_pending_pods queue",
        "scheduler_framework_extension_point_duration_seconds_bucket extension_point profile status le",
        "scheduler_cache_size type", "scheduler_schedule_attempts_total result profile", "scheduler_queue_incoming_pods_total queue event",
        *QUEUE, *CLIENT, VERSION, *PROCESS,
    ),
    "kube-proxy": (
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket le", "kubeproxy_network_programming_duration_seconds_count",
        "rest_client_requests_total code method host", VERSION, *PROCESS,
    ),
    "kubelet /metrics": (
        "kubelet_pod_start_duration_seconds_bucket le", "kubelet_running_pods", "kubelet_running_containers container_state",
        "kubelet_node_name node",
        *(f"kubelet_volume_stats_{what}_bytes namespace persistentvolumeclaim" for what in ("capacity", "available", "used")),
        VERSION, *PROCESS,
    ),
    "kubelet /metrics/cadvisor": (
        f"container_cpu_usage_seconds_total {CONTAINERS}", f"container_memory_working_set_bytes {CONTAINERS}",
        f"container_memory_rss {CONTAINERS}", f"container_memory_cache {CONTAINERS}",
        f"container_memory_swap {CONTAINERS}", f"container_memory_usage_bytes {CONTAINERS}", f"container_fs_usage_bytes {CONTAINERS} device",
        f"container_fs_limit_bytes {CONTAINERS} device", f"container_fs_writes_bytes_total {CONTAINERS} device",
        f"container_fs_reads_total {CONTAINERS} device", f"container_fs_writes_total {CONTAINERS} device",
        *(
            f"container_network_{way}_{what}_total interface pod namespace name image"
            for way in ("receive", "transmit")
            for what in ("bytes", "errors", "packets", "packets_dropped")
        ),
        "machine_cpu_cores", "machine_memory_bytes",
        f"container_spec_cpu_quota {CONTAINERS}", f"container_spec_memory_limit_bytes {CONTAINERS}",
    ),
    "kube-state-metrics": (
        "kube_node_info node kernel_version kubelet_version internal_ip", "kube_node_role node role",
        "kube_node_spec_taint node key value effect", "kube_node_status_condition node condition status",
        "kube_node_status_allocatable node resource unit", "kube_node_status_capacity node resource unit",
        "kube_pod_info namespace pod node created_by_kind created_by_name pod_ip host_ip uid",
        "kube_pod_created namespace pod", "kube_pod_status_phase namespace pod phase",
        "kube_pod_container_info namespace pod container image",
        "kube_pod_container_status_restarts_total namespace pod container",
        "kube_pod_container_resource_requests namespace pod container node resource unit",
        "kube_pod_container_resource_limits namespace pod container node resource unit",
        "kube_pod_spec_volumes_persistentvolumeclaims_info namespace pod volume persistentvolumeclaim",
        "kube_namespace_created namespace", "kube_namespace_status_phase namespace phase",
        "kube_service_info namespace service", "kube_service_spec_type namespace service type",
        "kube_service_created namespace service", "kube_configmap_info namespace configmap",
        "kube_secret_info namespace secret", "kube_ingress_info namespace ingress",
        "kube_deployment_spec_replicas namespace deployment", "kube_deployment_metadata_generation namespace deployment",
        "kube_deployment_status_condition namespace deployment condition reason status",
        "kube_deployment_status_replicas_unavailable namespace deployment", "kube_deployment_spec_paused namespace deployment",
        "kube_replicaset_status_ready_replicas namespace replicaset",
        "kube_replicaset_status_fully_labeled_replicas namespace replicaset",
        "kube_statefulset_status_current_revision namespace statefulset revision",
        "kube_statefulset_status_update_revision namespace statefulset revision",
        "kube_statefulset_status_replicas_current namespace statefulset",
        "kube_daemonset_status_updated_number_scheduled namespace daemonset",
        "kube_pod_container_status_terminated_reason namespace pod container reason",
        "kube_daemonset_metadata_generation namespace daemonset",
        "kube_statefulset_metadata_generation namespace statefulset", "kube_statefulset_replicas namespace statefulset",
        "kube_job_info namespace job_name", "kube_job_status_succeeded namespace job_name",
        "kube_job_complete namespace job_name condition", "kube_cronjob_info namespace cronjob schedule",
        "kube_persistentvolumeclaim_info namespace persistentvolumeclaim storageclass volumename",
        "kube_persistentvolumeclaim_status_phase namespace persistentvolumeclaim phase",
        "kube_persistentvolume_status_phase persistentvolume phase", "kube_persistentvolume_capacity_bytes persistentvolume",
        "kube_resourcequota namespace resourcequota resource type",
        "kube_poddisruptionbudget_status_current_healthy namespace poddisruptionbudget",
        "kube_horizontalpodautoscaler_spec_max_replicas namespace horizontalpodautoscaler",
    ),
    "node-exporter": (
        "node_cpu_seconds_total instance cpu mode", "node_memory_MemTotal_bytes instance",
        "node_memory_MemAvailable_bytes instance", "node_memory_Active_bytes instance", "node_memory_Cached_bytes instance",
        "node_memory_Buffers_bytes instance", "node_network_receive_bytes_total instance device",
        "node_network_transmit_bytes_total instance device", "node_network_receive_drop_total instance device",
        "node_network_transmit_drop_total instance device",
        *(f"node_network_{way}_{what}_total instance device" for way in ("receive", "transmit") for what in ("errs", "packets")),
        *(
            f"node_disk_{what}_seconds_total instance device"
            for what in ("read_time", "write_time", "io_time", "io_time_weighted")
        ),
        "node_disk_read_bytes_total instance device",
        "node_disk_written_bytes_total instance device", "node_disk_reads_completed_total instance device",
        "node_disk_writes_completed_total instance device", "node_uname_info instance nodename release",
        "node_time_seconds instance", "node_boot_time_seconds instance",
        "node_memory_SwapTotal_bytes instance", "node_memory_SwapFree_bytes instance",
        *(f"node_filesystem_{name}_bytes instance device fstype mountpoint" for name in ("size", "free", "avail")),
    ),
}  # fmt: skip
Pages = dict[str, list[bytes]]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("home"))
    running = embedded.up(ClusterSettings(name="series", nodes=NODES, speed=0.0, bind_addresses=OPEN))
    try:
        yield asyncio.run(scraped(running))
    finally:
        embedded.down("series")
        if before is None:
            del os.environ["KUBEDYNO_HOME"]
        else:
            os.environ["KUBEDYNO_HOME"] = before


async def scraped(running: Running) -> Pages:
    found: Pages = {}
    async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
        watch = await client.open_stream("/api/v1/pods?watch=true")
        for path, body in OBJECTS.items():
            answer = await client.request("POST", path, body=orjson.dumps({"metadata": {"name": "x"}, **body}))
            assert answer.status == 201, answer.body
        taint = {"key": "k", "value": "v", "effect": "PreferNoSchedule"}
        body = orjson.dumps({"spec": {"taints": [taint]}})
        merge = (("Content-Type", "application/merge-patch+json"),)
        assert (await client.request("PATCH", "/api/v1/nodes/s-worker", body=body, headers=merge)).status == 200
        async with asyncio.timeout(60):
            while not await settled(client):  # noqa: ASYNC110 - what is waited for is on a server
                await asyncio.sleep(0.2)
        for entry in orjson.loads((await client.request("GET", "/kubedyno/metrics/targets")).body):
            labels = entry["labels"]
            answer = await client.request("GET", labels["__metrics_path__"], headers=(("Accept", ACCEPT),))
            assert answer.status == 200, (labels, answer.body)
            # As the real components do, they send the text format to who would have OpenMetrics, and say so.
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            job = f"{labels['job']} {labels.get('metrics_path', '')}".rstrip()
            found.setdefault(job, []).append(answer.body)
        watch.close()
    return found


async def settled(client: Client) -> bool:
    pods = await client.list_all(f"{NS}/pods")
    phases = sorted(pod["status"]["phase"] for pod in pods)
    return phases == ["Running", "Running", "Running", "Succeeded"]


def series(texts: list[bytes]) -> dict[str, list[tuple[frozenset[str], float]]]:
    found: dict[str, list[tuple[frozenset[str], float]]] = {}
    for text in texts:
        for item in read(text.decode()):
            if isinstance(item, Sample):
                # Labels without a text are there too, as in the real ones.
                name = labels_of(item.series)["__name__"]
                found.setdefault(name, []).append((frozenset(re.findall(r'(\w+)="', item.series)), item.value))
    return found


@pytest.mark.parametrize("job", WANTED)
def test_every_name_and_label_is_there_and_counts_something(job, pages):
    found = series(pages[job])
    missing = []
    for wanted in WANTED[job]:
        name, *labels = wanted.split()
        if not any(frozenset(labels) <= has for has, _ in found.get(name, ())):
            missing.append(wanted)
    assert missing == []
    # Of a histogram that is there something was counted, but of what is not modelled.
    for name in {wanted.split()[0] for wanted in WANTED[job]}:
        if name.endswith("_bucket") and not name.startswith(("etcd_disk", "etcd_network", "workqueue")):
            assert any(value > 0 for _, value in found[name]), name


def test_histograms_of_requests_have_as_many_as_the_requests(pages):
    found = series(pages["kube-scheduler"])

    def total(name: str) -> float:
        return sum(value for _, value in found[name])

    # Events are written too, and not timed.
    assert 0 < total("rest_client_request_duration_seconds_count") <= total("rest_client_requests_total")
    assert total("rest_client_rate_limiter_duration_seconds_sum") == 0
    assert total("rest_client_rate_limiter_duration_seconds_count") == total(
        "rest_client_request_duration_seconds_count"
    )


_REAL = (
    "camelCase", "authenticated_user_requests ", "authentication_attempts ", "etcd_server_proposals_", "_webhook_fail_open_",
    "etcd_disk_wal_write_bytes_total", "_admission_webhook_rejection_count ", "etcd_debugging_mvcc_keys_total",
)  # fmt: skip


def test_promtool_finds_no_error_on_any_page(pages):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("no promtool on this machine")
    for job, texts in pages.items():
        done = subprocess.run(
            [promtool, "check", "metrics"], check=False, input=texts[0], capture_output=True, timeout=60
        )
        # The names of a node's memory are node-exporter's own, those of authentication and some of etcd's the real ones.
        complaints = [line for line in done.stderr.decode().splitlines() if not any(map(line.__contains__, _REAL))]
        assert complaints == [], job
