"""What the cluster says of itself: pages of metrics, and metrics.k8s.io."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.cluster.apiserver.metrics import RequestCounts
from kubedyno.cluster.apiserver.routes import Route
from kubedyno.http.messages import Peer, Request
from kubedyno.kube.resources import PODS as PODS_KIND
from kubedyno.promql.exposition import Sample, labels_of, read
from unit.cluster.apiserver.harness import NS, START_S, TOKEN, Answer, Api, running

METRICS = "/apis/metrics.k8s.io/v1beta1"
PODS = f"/api/v1/namespaces/{NS}/pods"
MERGE = {"authorization": f"Bearer {TOKEN}", "content-type": "application/merge-patch+json"}
SERVICE = {
    "metadata": {"name": "v1beta1.metrics.k8s.io"},
    "spec": {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100},
}


def samples(text: bytes) -> list[tuple[dict[str, str], float]]:
    return [(labels_of(item.series), item.value) for item in read(text.decode()) if isinstance(item, Sample)]


def named(text: bytes, name: str, **wanted: str) -> list[tuple[dict[str, str], float]]:
    return [
        (labels, value)
        for labels, value in samples(text)
        if labels["__name__"] == name and all(labels.get(key, "") == text for key, text in wanted.items())
    ]


@pytest.fixture
def cluster(api: Api) -> Api:
    return prepared(api)


def prepared(api: Api) -> Api:
    assert api.call("POST", "/apis/apiregistration.k8s.io/v1/apiservices", SERVICE).status == 201
    for name in ("n1", "n2"):
        amounts = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        node = {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}}}
        assert api.call("POST", "/api/v1/nodes", node).status == 201
        addresses = [{"type": "InternalIP", "address": "10.0.0.1"}]
        status = {"status": {"capacity": amounts, "allocatable": amounts, "addresses": addresses}}
        assert api.call("PATCH", f"/api/v1/nodes/{name}/status", status, MERGE).status == 200
    return api


def add_pod(api: Api, name: str, node: str = "n1", *, running: bool = True, **metadata: Any) -> None:
    requests = {"cpu": "200m", "memory": "100Mi"}
    container = {"name": "c", "image": "i:1", "resources": {"requests": requests}}
    pod = {"metadata": {"name": name, **metadata}, "spec": {"nodeName": node, "containers": [container]}}
    assert api.call("POST", PODS, pod).status == 201
    if running:
        status = {"status": {"phase": "Running", "startTime": "2026-11-18T11:06:40Z"}}
        assert api.call("PATCH", f"{PODS}/{name}/status", status, MERGE).status == 200


def test_a_pod_uses_a_share_of_its_requests_or_what_it_is_told_to(cluster):
    add_pod(cluster, "plain", labels={"app": "x"})
    annotations = {"kubedyno.io/usage-cpu": "2", "kubedyno.io/usage-memory": "1Gi"}
    add_pod(cluster, "told", annotations=annotations)
    add_pod(cluster, "waiting", running=False)
    items = cluster.call("GET", f"{METRICS}/pods").json["items"]
    assert [item["metadata"]["name"] for item in items] == ["plain", "told"]
    plain, told = (item["containers"][0]["usage"] for item in items)
    assert 0.09e9 <= int(plain["cpu"][:-1]) <= 0.11e9
    assert plain["memory"] == f"{60 << 10}Ki"
    assert 1.8e9 <= int(told["cpu"][:-1]) <= 2.2e9
    assert told["memory"] == f"{1 << 20}Ki"
    chosen = cluster.call("GET", f"{METRICS}/namespaces/{NS}/pods?labelSelector=app%3Dx").json["items"]
    assert [item["metadata"]["name"] for item in chosen] == ["plain"]
    assert cluster.call("GET", f"{METRICS}/namespaces/{NS}/pods/told").json["kind"] == "PodMetrics"
    assert cluster.call("GET", f"{METRICS}/namespaces/{NS}/pods/waiting").status == 404


def test_a_node_uses_what_its_pods_use_and_its_own(cluster):
    before = {n["metadata"]["name"]: n["usage"] for n in cluster.call("GET", f"{METRICS}/nodes").json["items"]}
    add_pod(cluster, "told", annotations={"kubedyno.io/usage-cpu": "2", "kubedyno.io/usage-memory": "1Gi"})
    after = {n["metadata"]["name"]: n["usage"] for n in cluster.call("GET", f"{METRICS}/nodes").json["items"]}
    grown = {name: int(after[name]["memory"][:-2]) - int(before[name]["memory"][:-2]) for name in after}
    assert grown == {"n1": 1 << 20, "n2": 0}
    assert int(after["n1"]["cpu"][:-1]) - int(before["n1"]["cpu"][:-1]) >= 1.8e9


def test_metrics_are_read_only_and_served_while_the_apiservice_is_there(cluster):
    assert cluster.call("POST", f"{METRICS}/nodes", {}).status == 405
    assert cluster.call("GET", f"{METRICS}/nodes/none").status == 404
    assert cluster.call("GET", "/apis/metrics.k8s.io").json["preferredVersion"]["version"] == "v1beta1"
    assert cluster.call("GET", "/openapi/v2").status == 200
    cluster.call("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")
    assert cluster.call("GET", f"{METRICS}/nodes").status == 404


def test_cpu_seconds_are_the_integral_of_the_use(cluster):
    add_pod(cluster, "told", annotations={"kubedyno.io/usage-cpu": "2"})
    cluster.clock.now_s = START_S + 10_000
    path = "/api/v1/nodes/n1/proxy/metrics/resource"
    total = 0.0
    ((_, first),) = named(cluster.call("GET", path).body, "container_cpu_usage_seconds_total")
    for _ in range(300):
        usage = cluster.call("GET", f"{METRICS}/namespaces/{NS}/pods/told").json["containers"][0]["usage"]["cpu"]
        total += int(usage[:-1]) / 1e9
        cluster.clock.now_s += 1
    ((_, last),) = named(cluster.call("GET", path).body, "container_cpu_usage_seconds_total")
    # One whole period: the swing cancels out, and a sum of seconds is near the integral.
    assert last - first == pytest.approx(600, abs=0.01)
    assert total == pytest.approx(last - first, rel=1e-3)


def test_a_nodes_pages_are_its_own_pods(cluster):
    add_pod(cluster, "a", "n1")
    add_pod(cluster, "b", "n2")
    page = cluster.call("GET", "/api/v1/nodes/n2/proxy/metrics/cadvisor").body
    pods = {labels.get("pod") for labels, _ in named(page, "container_memory_working_set_bytes")}
    assert pods == {None, "b"}
    assert len(named(page, "container_cpu_usage_seconds_total", id="/")) == 1
    kubelet = cluster.call("GET", "/api/v1/nodes/https:n2:10250/proxy/metrics").body
    assert named(kubelet, "kubelet_running_pods")[0][1] == 1
    assert cluster.call("GET", "/api/v1/nodes/none/proxy/metrics").status == 404
    assert cluster.call("GET", "/api/v1/nodes/n1/proxy/nothing").status == 404


def test_every_answer_is_counted_once(cluster):
    def total() -> float:
        return sum(value for _, value in named(cluster.call("GET", "/metrics").body, "apiserver_request_total"))

    before = total()
    paths = (
        ("GET", PODS), ("GET", f"{PODS}/none"), ("POST", PODS), ("GET", "/api"), ("GET", "/apis/apps/v1"),
        ("GET", "/version"), ("GET", "/nothing"), ("GET", "/apis/no/such"), ("PUT", "/version"),
        ("GET", "/healthz"), ("GET", f"{METRICS}/nodes"), ("GET", "/api/v1/nodes/n1/proxy/metrics"),
        ("GET", "/api/v1/nodes/none/proxy/metrics"), ("DELETE", f"{PODS}/none"), ("GET", "/openapi/v2"),
        ("GET", f"{PODS}/none/nothing"),
    )  # fmt: skip
    for method, path in paths:
        assert cluster.call(method, path, {} if method == "POST" else None).status
    assert cluster.call("GET", PODS, headers={"authorization": "Bearer wrong"}).status == 401
    # The page before it counts too.
    assert total() - before == len(paths) + 2


def test_durations_are_counted_in_buckets(cluster):
    cluster.call("GET", PODS)
    page = cluster.call("GET", "/metrics").body
    wanted = {"verb": "LIST", "resource": "pods", "scope": "namespace"}
    buckets = named(page, "apiserver_request_duration_seconds_bucket", **wanted)
    assert [labels["le"] for labels, _ in buckets][-1] == "+Inf"
    assert buckets[-1][1] == named(page, "apiserver_request_duration_seconds_count", **wanted)[0][1] == 1
    assert named(page, "apiserver_storage_objects", resource="nodes")[0][1] == 2


async def exporters_page(path: str, status: Any = None) -> bytes:
    async with running() as api:
        prepared(api)
        add_pod(api, "a")
        add_pod(api, "b", running=False)
        if status:
            assert api.call("PATCH", f"{PODS}/b/status", {"status": status}, MERGE).status == 200
        answer = api.call("GET", path)
        await answer.done.wait()
        return answer.body


def test_kube_state_says_what_the_tables_hold():
    body = asyncio.run(exporters_page("/kubedyno/metrics/kube-state"))
    phases = {(labels["pod"], labels["phase"]): value for labels, value in named(body, "kube_pod_status_phase")}
    assert phases["a", "Running"] == 1
    assert phases["b", "Pending"] == 1
    assert sum(phases.values()) == 2
    requests = named(body, "kube_pod_container_resource_requests", pod="a", resource="memory")
    assert requests[0][0]["unit"] == "byte"
    assert requests[0][1] == 100 << 20
    assert {labels["node"] for labels, _ in named(body, "kube_node_info")} == {"n1", "n2"}


def test_a_node_exporters_cpus_are_busy_or_idle_all_the_time():
    body = asyncio.run(exporters_page("/kubedyno/metrics/nodes"))
    modes = named(body, "node_cpu_seconds_total", instance="n1", cpu="0")
    assert {labels["mode"] for labels, _ in modes} == {
        "user", "system", "iowait", "idle", "nice", "irq", "softirq", "steal",
    }  # fmt: skip
    assert sum(value for labels, value in modes if labels["mode"] in {"nice", "irq", "softirq", "steal"}) == 0
    others = {labels["mode"] for labels, _ in named(body, "node_cpu_seconds_total", instance="n1", cpu="3")}
    assert others == {"user", "system", "iowait", "idle"}
    busy = sum(value for labels, value in modes if labels["mode"] != "idle")
    ((_, started),) = named(body, "node_boot_time_seconds", instance="n1")
    ((_, now),) = named(body, "node_time_seconds", instance="n1")
    assert busy + named(body, "node_cpu_seconds_total", instance="n1", cpu="0", mode="idle")[0][1] == pytest.approx(
        now - started
    )
    for name in ("errs", "packets", "drop", "bytes"):
        found = named(body, f"node_network_receive_{name}_total", instance="n1")
        assert {(labels["device"], value) for labels, value in found} == {("eth0", 0)}
    assert named(body, "node_disk_io_time_seconds_total", instance="n1")[0][1] == 0
    cpus = {labels["cpu"] for labels, _ in named(body, "node_cpu_seconds_total", instance="n1")}
    assert cpus == {"0", "1", "2", "3"}
    assert named(body, "node_memory_MemTotal_bytes", instance="n2")[0][1] == 8 << 30
    # No capacity of disk, no file system.
    assert not named(body, "node_filesystem_size_bytes")


def test_a_nodes_file_system_is_its_capacity_and_holds_its_images(cluster):
    images = [{"names": ["i:1"], "sizeBytes": 300}, {"names": ["j:1"], "sizeBytes": 24}]
    status = {"status": {"capacity": {"cpu": "8", "memory": "16Gi", "ephemeral-storage": "1Ki"}, "images": images}}
    assert cluster.call("PATCH", "/api/v1/nodes/n1/status", status, MERGE).status == 200
    page = cluster.call("GET", "/api/v1/nodes/n1/proxy/metrics/cadvisor").body
    assert named(page, "container_fs_usage_bytes", id="/", device="/dev/vda1", pod="")[0][1] == 324
    assert named(page, "container_fs_limit_bytes", id="/")[0][1] == 1024
    # The machine, not what is left of it for pods.
    assert named(page, "machine_cpu_cores")[0][1] == 8
    assert named(page, "machine_memory_bytes")[0][1] == 16 << 30


def test_a_pods_traffic_is_found_as_its_sandboxs_and_its_disk_is_the_nodes(cluster):
    add_pod(cluster, "a")
    status = {"status": {"capacity": {"cpu": "8", "memory": "16Gi", "ephemeral-storage": "1Ki"}}}
    assert cluster.call("PATCH", "/api/v1/nodes/n1/status", status, MERGE).status == 200
    page = cluster.call("GET", "/api/v1/nodes/n1/proxy/metrics/cadvisor").body
    uid = cluster.call("GET", f"{PODS}/a").json["metadata"]["uid"]
    for name in ("bytes", "errors", "packets", "packets_dropped"):
        ((labels, value),) = named(page, f"container_network_transmit_{name}_total", pod="a")
        assert (value, labels["interface"], labels["name"]) == (0, "eth0", f"k8s_POD_a_{NS}_{uid}_0")
        assert labels["image"].startswith("registry.k8s.io/pause:")
        # It is no container of the pod's.
        assert not labels.get("container")
    ((labels, value),) = named(page, "container_fs_limit_bytes", pod="a", container="c")
    assert (value, labels["device"], labels["image"]) == (1024, "/dev/vda1", "i:1")


def test_a_kubelet_tells_how_large_the_volumes_of_its_pods_are_and_that_they_are_empty(cluster):
    claims = f"/api/v1/namespaces/{NS}/persistentvolumeclaims"
    for name, mode in (("data", "Filesystem"), ("b-own", "Filesystem"), ("raw", "Block"), ("unbound", "Filesystem")):
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeMode": mode}
        assert cluster.call("POST", claims, {"metadata": {"name": name}, "spec": spec}).status == 201
        if name != "unbound":
            status = {"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}}
            assert cluster.call("PATCH", f"{claims}/{name}/status", status, MERGE).status == 200
    own = {
        "volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": 1}}}}
    }
    volumes = [
        {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "r", "persistentVolumeClaim": {"claimName": "raw"}},
        {"name": "u", "persistentVolumeClaim": {"claimName": "unbound"}},
        {"name": "g", "persistentVolumeClaim": {"claimName": "gone"}},
        {"name": "own", "ephemeral": own},
    ]
    for name in ("a", "b"):
        some = volumes if name == "b" else volumes[:1]
        pod = {
            "metadata": {"name": name},
            "spec": {"nodeName": "n1", "volumes": some, "containers": [{"name": "c", "image": "i"}]},
        }
        assert cluster.call("POST", PODS, pod).status == 201
        status = {"status": {"phase": "Running", "startTime": "2026-11-18T11:06:40Z"}}
        assert cluster.call("PATCH", f"{PODS}/{name}/status", status, MERGE).status == 200
    page = cluster.call("GET", "/api/v1/nodes/n1/proxy/metrics").body
    for what, size in (("capacity", 2 << 30), ("available", 2 << 30), ("used", 0)):
        found = named(page, f"kubelet_volume_stats_{what}_bytes", namespace=NS)
        assert {labels["persistentvolumeclaim"]: value for labels, value in found} == {"data": size, "b-own": size}
        assert len(found) == 2
    assert b"kubelet_volume_stats" not in cluster.call("GET", "/api/v1/nodes/n2/proxy/metrics").body


def test_a_node_that_says_it_has_more_cpus_than_any_machine_costs_nobody_anything():
    async def body():
        async with running() as api:
            amounts = {"cpu": "100000", "memory": "8Gi"}
            assert api.call("POST", "/api/v1/nodes", {"metadata": {"name": "huge"}}).status == 201
            status = {"status": {"capacity": amounts, "allocatable": amounts}}
            assert api.call("PATCH", "/api/v1/nodes/huge/status", status, MERGE).status == 200
            answer = api.call("GET", "/kubedyno/metrics/nodes")
            await answer.done.wait()
            return answer.body

    cpus = {labels["cpu"] for labels, _ in named(asyncio.run(body()), "node_cpu_seconds_total", instance="huge")}
    assert len(cpus) == 1024


def test_the_store_and_its_reads_are_told_as_etcd_s(cluster):
    def page() -> bytes:
        return cluster.call("GET", "/metrics").body

    def total(text: bytes, name: str, **wanted: str) -> float:
        return sum(value for _, value in named(text, name, **wanted))

    before = page()
    for number in range(3):
        path = f"/api/v1/namespaces/{NS}/configmaps"
        assert cluster.call("POST", path, {"metadata": {"name": f"c{number}"}}).status == 201
        assert cluster.call("GET", f"{path}/c{number}").status == 200
    assert cluster.call("DELETE", f"{path}/c0").status == 200
    after = page()
    for operation, count in (("create", 3), ("delete", 1), ("update", 0)):
        wanted = {"operation": operation, "resource": "configmaps"}
        name = "etcd_request_duration_seconds_count"
        assert total(after, name, **wanted) - total(before, name, **wanted) == count
    received = "apiserver_watch_cache_events_received_total"
    assert total(after, received, resource="configmaps") - total(before, received, resource="configmaps") == 4
    assert total(after, "etcd_helper_cache_hit_total") - total(before, "etcd_helper_cache_hit_total") == 3
    assert total(after, "etcd_helper_cache_entry_total") - total(before, "etcd_helper_cache_entry_total") == 2
    assert total(after, "etcd_helper_cache_miss_total") == 0


def test_how_containers_ended_and_why_a_pod_was_put_out_are_told():
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    statuses = [
        {
            "name": "c", "image": "i:1", "imageID": "i", "ready": False, "restartCount": 2, "lastState": {"terminated": killed},
            "state": {"terminated": {"exitCode": 1, "reason": "Error"}},
        }
    ]  # fmt: skip
    status = {"phase": "Failed", "reason": "Evicted", "containerStatuses": statuses}
    page = asyncio.run(exporters_page("/kubedyno/metrics/kube-state", status))
    of = {"pod": "b", "container": "c"}
    ended = named(page, "kube_pod_container_status_terminated_reason", **of)
    assert [(labels["reason"], value) for labels, value in ended] == [("Error", 1)]
    last = named(page, "kube_pod_container_status_last_terminated_reason", **of)
    assert [(labels["reason"], value) for labels, value in last] == [("OOMKilled", 1)]
    assert named(page, "kube_pod_container_status_last_terminated_exitcode", **of)[0][1] == 137
    assert named(page, "kube_pod_status_reason", reason="Evicted")[0][1] == 1
    assert not named(page, "kube_pod_container_status_waiting_reason", **of)


def test_requests_that_were_refused_in_self_defence_are_counted_evictions_apart():
    counts = RequestCounts(lambda: 0.0)
    pods: Any = SimpleNamespace(resource=PODS_KIND, deprecation=None)
    counts.end("list", Route(pods, NS, "", ""), 429)
    counts.end("list", Route(pods, NS, "", ""), 429)
    counts.add("list", Route(pods, NS, "", ""), 200, 0.1)
    counts.add("create", Route(pods, NS, "p", "eviction"), 429, 0.1)
    page = Page()
    counts.write(page)
    ((labels, value),) = named(page.text(), "apiserver_request_terminations_total")
    assert value == 2
    assert (labels["verb"], labels["code"], labels["resource"], labels["scope"]) == ("LIST", "429", "pods", "namespace")


def test_what_flow_control_refuses_is_counted_as_what_it_was_about(cluster):
    about = Request("GET", PODS, "watch=1&fieldSelector=metadata.name%3Dp", {}, b"", Peer(1, ""))
    cluster.server.ended(about, 429)
    cluster.server.ended(Request("GET", "/version", "", {}, b"", Peer(1, "")), 429)
    page = cluster.call("GET", "/metrics").body
    ((labels, _),) = named(page, "apiserver_request_total", code="429", resource="pods")
    assert (labels["verb"], labels["scope"], labels["component"]) == ("WATCH", "resource", "apiserver")
    assert len(named(page, "apiserver_request_terminations_total", verb="WATCH", resource="pods")) == 1
    assert named(page, "apiserver_request_total", code="429", subresource="/version")[0][1] == 1


def test_an_answer_that_comes_after_the_time_out_is_no_second_one(cluster):
    late = Request("GET", PODS, "", {"authorization": f"Bearer {TOKEN}"}, b"", Peer(1, ""))
    cluster.server.ended(late, 504)
    for _ in range(2):
        cluster.server.app(late, Answer())
    page = cluster.call("GET", "/metrics").body
    counted = named(page, "apiserver_request_total", resource="pods", verb="LIST")
    # The second time it is another request's.
    assert sorted((labels["code"], value) for labels, value in counted) == [("200", 1), ("504", 1)]


def test_methods_and_paths_that_nobody_knows_are_one(cluster):
    before = len(named(cluster.call("GET", "/metrics").body, "apiserver_request_total"))
    for number in range(20):
        cluster.call(f"FROB{number}", PODS)
        cluster.call(f"FROB{number}", "/version")
        cluster.call("GET", f"/nowhere{number}")
        about = Request(f"FROB{number}", PODS, "", {}, b"", Peer(1, ""))
        cluster.server.ended(about, 429)
    page = cluster.call("GET", "/metrics").body
    assert len(named(page, "apiserver_request_total")) <= before + 5
    assert [
        value for _, value in named(page, "apiserver_request_total", verb="other", code="405", resource="pods")
    ] == [20]
    assert [value for _, value in named(page, "apiserver_request_total", code="404", resource="", subresource="")] == [
        20
    ]
    assert len(named(page, "apiserver_request_terminations_total")) == 1


def test_requests_have_the_labels_of_the_real_server(cluster):
    apply = {"authorization": f"Bearer {TOKEN}", "content-type": "application/apply-patch+yaml"}
    maps = f"/api/v1/namespaces/{NS}/configmaps"
    applied = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert cluster.call("PATCH", f"{maps}/a?fieldManager=t&dryRun=All", applied, apply).status == 201
    assert cluster.call("PATCH", f"{maps}/a?fieldManager=t", applied, apply).status == 201
    assert cluster.call("GET", f"{maps}?fieldSelector=metadata.name%3Da").status == 200
    for path in ("/api", "/apis", "/healthz", "/openapi/v3", "/openapi/v3/apis/apps/v1"):
        cluster.call("GET", path)
    page = cluster.call("GET", "/metrics").body
    applies = named(page, "apiserver_request_total", resource="configmaps", verb="APPLY", code="201")
    assert sorted((labels.get("dry_run", ""), labels["scope"], value) for labels, value in applies) == [
        ("", "resource", 1), ("All", "resource", 1),
    ]  # fmt: skip
    assert named(page, "apiserver_request_total", resource="configmaps", verb="LIST")[0][0]["scope"] == "resource"
    others = {
        labels["subresource"]: labels.get("component", "")
        for labels, _ in named(page, "apiserver_request_total", resource="")
    }
    assert others.items() >= {
        "api": "apiserver", "apis": "apiserver", "/healthz": "", "openapi/v3": "", "openapi/v3/": "",
    }.items()  # fmt: skip
    # Objectives have no dry runs apart, and are not about 25 ms and less.
    buckets = named(page, "apiserver_request_sli_duration_seconds_bucket", resource="configmaps", verb="APPLY")
    assert buckets[0][0]["le"] == "0.05"
    assert (len(buckets), buckets[-1][1]) == (22, 2)
    assert all("dry_run" not in labels for labels, _ in buckets)
    assert {labels["le"] for labels, _ in named(page, "apiserver_response_sizes_bucket", resource="configmaps")} == {
        "1000", "10000", "100000", "1e+06", "1e+07", "1e+08", "1e+09", "+Inf",
    }  # fmt: skip


def test_who_asked_and_what_that_one_might_is_counted(cluster):
    def count(name: str, **labels: str) -> float:
        return sum(value for _, value in named(cluster.call("GET", "/metrics").body, name, **labels))

    names = ("authentication_attempts", "authorization_attempts_total")
    before = [count(name, result="success") + count(name, result="allowed") for name in names]
    cluster.call("GET", PODS, headers={"authorization": "Bearer wrong"})
    nobody = {"authorization": f"Bearer {TOKEN}", "impersonate-user": "somebody@example.com"}
    assert cluster.call("GET", PODS, headers=nobody).status == 403
    assert count("authentication_attempts", result="error") == 1
    assert count("authorization_attempts_total", result="no-opinion") == 1
    # It is who asks that was authenticated.
    assert count("authenticated_user_requests", username="email_id") == 0
    after = [count(name, result="success") + count(name, result="allowed") for name in names]
    # Between the readings of each: those below it, and its own.
    assert after[0] - before[0] - (after[1] - before[1]) == 1


def test_who_acts_as_somebody_else_is_counted_by_what_allowed_it(cluster):
    def told() -> dict[tuple[str, ...], float]:
        page = cluster.call("GET", "/metrics").body
        return {
            (what, labels["decision"], labels.get("mode", "")): value
            for what in ("attempts", "authorization_attempts")
            for labels, value in named(page, f"apiserver_impersonation_{what}_total")
        }

    def asked(**headers: str) -> tuple[int, dict[tuple[str, ...], float]]:
        before = told()
        token = headers.pop("token", TOKEN)
        given = {"authorization": f"Bearer {token}", **{name.replace("_", "-"): text for name, text in headers.items()}}
        status = cluster.call("GET", PODS, headers=given).status
        return status, {key: value - before.get(key, 0) for key, value in told().items() if value != before.get(key, 0)}

    def admitted() -> list[float]:
        page = cluster.call("GET", "/metrics").body
        names = (("authentication_attempts", "success"), ("authorization_attempts_total", "allowed"))
        return [named(page, name, result=result)[0][1] for name, result in names]

    assert asked() == (200, {})
    # Whoever may do everything may so in a mode; but in none for the masters.
    status, found = asked(impersonate_user="x", impersonate_group="a", impersonate_uid="7")
    assert status == 403
    assert found[("attempts", "allowed", "user-info")] == 1
    assert found[("authorization_attempts", "allowed", "user-info")] == 4
    status, found = asked(impersonate_user="x", impersonate_group="system:masters")
    assert (status, found[("attempts", "allowed", "legacy")]) == (200, 1)
    account = cluster.call("POST", f"/api/v1/namespaces/{NS}/serviceaccounts", {"metadata": {"name": "weak"}})
    assert account.status == 201
    made = cluster.call("POST", f"/api/v1/namespaces/{NS}/serviceaccounts/weak/token", {"spec": {}}).json
    weak = made["status"]["token"]
    before = admitted()
    denied = {
        ("attempts", "denied", ""): 1,
        ("authorization_attempts", "denied", "legacy"): 1,
        ("authorization_attempts", "denied", "user-info"): 1,
    }
    assert asked(token=weak, impersonate_user="x") == (403, denied)
    # Without a name there is nothing to ask.
    assert asked(token=weak, impersonate_group="a") == (400, {})
    after = admitted()
    # Both were known and neither was asked what for; the pages between the readings were.
    assert after[0] - before[0] - (after[1] - before[1]) == 2


def test_lists_say_what_they_looked_at_and_by_which_index(cluster):
    for number in range(3):
        add_pod(cluster, f"p{number}", "n1" if number else "n2", labels={"a": str(number)})
    page = cluster.call("GET", "/metrics").body
    before = {
        labels.get("index", ""): value for labels, value in named(page, "apiserver_cache_list_fetched_objects_total")
    }
    cluster.call("GET", f"{PODS}?labelSelector=a%3D1")
    cluster.call("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1")
    page = cluster.call("GET", "/metrics").body
    fetched = named(page, "apiserver_cache_list_fetched_objects_total", resource="pods")
    assert sorted((labels.get("index", ""), value - before.get(labels.get("index", ""), 0)) for labels, value in fetched) == [
        ("", 3), ("f:spec.nodeName", 2),
    ]  # fmt: skip
    assert named(page, "apiserver_cache_list_returned_objects_total", resource="pods")[0][1] == 3


def test_admission_and_what_services_were_given_are_counted(cluster):
    assert cluster.call("POST", "/api/v1/namespaces/none/pods", {"metadata": {"name": "p"}}).status == 404
    service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    assert cluster.call("POST", f"/api/v1/namespaces/{NS}/services", service).status == 201
    page = cluster.call("GET", "/metrics").body
    steps = {
        (labels["type"], labels["rejected"]): value
        for labels, value in named(
            page, "apiserver_admission_step_admission_duration_seconds_count", operation="CREATE"
        )
    }
    assert steps["admit", "true"] == 1
    assert steps["admit", "false"] >= steps["validate", "false"] >= 1
    taken = named(page, "kube_apiserver_clusterip_allocator_allocated_ips")[0][1]
    assert named(page, "kube_apiserver_clusterip_allocator_available_ips")[0][1] == 65534 - taken
    assert named(page, "kube_apiserver_clusterip_allocator_allocation_total", scope="dynamic")[0][1] >= 1
    assert named(page, "kube_apiserver_nodeport_allocator_allocated_ports")[0][1] == 1
    assert [value for _, value in named(page, "aggregator_unavailable_apiservice")]
