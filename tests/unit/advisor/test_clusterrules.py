"""Each rule on clusters, runs and probes: a subject that triggers it, and a good one of which it says nothing."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kubedyno.advisor import advice, ciliumconfig, lifecyclerules, runrules
from kubedyno.advisor.clusterstate import ClusterState
from kubedyno.advisor.components import flags_of, metrics_of
from kubedyno.advisor.ruleset import CLUSTER, PROBE, RUN
from kubedyno.advisor.tuning import SEVERITIES
from kubedyno.documents.run import Figures, FindingDocument, JobDocument, RunDocument, Target

Json = dict[str, Any]


def node(name: str = "n1", **changes: Any) -> Json:
    status: Json = {
        "capacity": {"cpu": "8", "memory": "16Gi", "pods": "110"},
        "allocatable": {"cpu": "8", "memory": "15Gi", "pods": "110"},
        "nodeInfo": {"kubeletVersion": "v1.34.1", "kernelVersion": "6.12.0"},
        **changes.pop("status", {}),
    }
    return {"metadata": {"name": name}, "spec": {"podCIDR": "10.244.0.0/24", **changes}, "status": status}


def container(**changes: Any) -> Json:
    return {
        "name": "app",
        "image": "registry.example/app:1.2",
        "imagePullPolicy": "IfNotPresent",
        "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 80}},
        **changes,
    }


def pod(name: str = "p", namespace: str = "a", spec: Json | None = None, **changes: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
        "spec": {"nodeName": "n1", "containers": [container(**changes)], **(spec or {})},
        "status": {"phase": "Running"},
    }


def component(name: str, *flags: str) -> Json:
    """A static pod of the control plane."""
    return {
        "metadata": {
            "name": f"{name}-n1", "namespace": "kube-system", "labels": {"component": name},
            "annotations": {"kubernetes.io/config.mirror": "x"},
        },
        "spec": {"nodeName": "n1", "hostNetwork": True, "containers": [{"name": name, "command": [name, *flags]}]},
        "status": {"phase": "Running"},
    }  # fmt: skip


def service(name: str = "web", namespace: str = "a") -> Json:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"selector": {"app": "web"}}}


def slices(count: int, each: int, name: str = "web") -> tuple[Json, ...]:
    endpoints = [{"addresses": ["10.244.0.5"], "conditions": {"ready": True}}] * each
    metadata = {"namespace": "a", "labels": {"kubernetes.io/service-name": name}}
    return tuple({"metadata": {**metadata, "name": f"{name}-{i}"}, "endpoints": endpoints} for i in range(count))


def hook(**changes: Any) -> tuple[Json, ...]:
    one = {
        "name": "check.example", "failurePolicy": "Fail", "timeoutSeconds": 2,
        "clientConfig": {"service": {"namespace": "a", "name": "web"}},
        "rules": [{"resources": ["pods"]}], "namespaceSelector": {"matchLabels": {"x": "y"}}, **changes,
    }  # fmt: skip
    return ({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "check"}, "webhooks": [one]},)


def metrics(text: str) -> Any:
    return metrics_of(text, {line.partition("{")[0].partition(" ")[0] for line in text.splitlines()} | FAMILIES)


FAMILIES = {
    "apiserver_request_duration_seconds", "apiserver_admission_webhook_admission_duration_seconds",
    "etcd_disk_wal_fsync_duration_seconds", "etcd_request_duration_seconds",
}  # fmt: skip


def histogram(name: str, labels: str, below: int, above: int, bound: float) -> str:
    """A histogram with so many observations below its one bound and above it."""
    head = f"{name}_bucket{{{labels}{',' if labels else ''}"
    return f'{head}le="{bound / 10}"}} 0\n{head}le="{bound}"}} {below}\n{head}le="{bound * 2}"}} {below + above}\n{head}le="+Inf"}} {below + above}\n'


CALL = 'verb="POST",scope="resource",group="",resource="pods",subresource=""'
KIND = "kind: KubeProxyConfiguration\n"
GOOD = ClusterState(
    version=(1, 34),
    nodes=(node(),),
    pods=(pod(), component("kube-controller-manager", "--bind-address=10.0.0.1", "--cluster-cidr", "10.244.0.0/16"),
          component("kube-apiserver"), component("etcd", "--listen-metrics-urls=http://10.0.0.1:2381")),
    namespaces=({"metadata": {"name": "a"}},),
    services=(service(),),
    slices=slices(1, 1),
    deployments=({"metadata": {"name": "web", "namespace": "a"},
                  "spec": {"template": {"spec": {"containers": [container()]}}}},),
    webhooks=hook(),
    flow_schemas=({"metadata": {"name": "f"}, "status": {"conditions": [{"type": "Dangling", "status": "False"}]}},),
    kubelets={"n1": {"kubeAPIQPS": 50, "kubeAPIBurst": 100, "serializeImagePulls": False}},
    config_maps={"kube-proxy": {"config.conf": KIND + "mode: nftables\nmetricsBindAddress: 0.0.0.0:10249\n"}},
    metrics=metrics(
        histogram("apiserver_request_duration_seconds", CALL, 1000, 1, 0.5)
        + 'apiserver_admission_webhook_admission_duration_seconds_sum{name="h"} 1\n'
        'apiserver_admission_webhook_admission_duration_seconds_count{name="h"} 1000\n'
        'apiserver_requested_deprecated_apis{group="",version="v1",resource="endpoints",removed_release=""} 0\n'
        'apiserver_flowcontrol_rejected_requests_total{priority_level="p",flow_schema="f",reason="r"} 0\n'
    ),
    etcd=metrics(
        "etcd_mvcc_db_total_size_in_bytes 2e8\netcd_mvcc_db_total_size_in_use_in_bytes 1.9e8\n"
        + histogram("etcd_disk_wal_fsync_duration_seconds", "", 1000, 1, 0.004)
    ),
)  # fmt: skip


def with_pods(*pods: Json, **changes: Any) -> ClusterState:
    return replace(GOOD, pods=(*GOOD.pods, *pods), **changes)


def lifecycle(value: Json, spec: Json | None = None) -> ClusterState:
    return with_pods(pod("q", spec=spec, lifecycle=value))


TRIGGERS: dict[str, Callable[[], ClusterState]] = {
    "requests": lambda: with_pods(pod("q", resources={"requests": {"cpu": "1"}, "limits": {}})),
    "memory-limits": lambda: with_pods(pod("q", resources={"requests": {"cpu": "1", "memory": "1Gi"}})),
    "readiness-probes": lambda: with_pods({**pod("q"), "spec": {"containers": [{"name": "app", "resources": {}}]}}),
    "liveness-as-readiness": lambda: with_pods(pod("q", livenessProbe={"httpGet": {"path": "/ready", "port": 80}})),
    "exec-probes": lambda: with_pods(
        *(pod(f"q{i}", livenessProbe={"exec": {"command": ["true"]}, "periodSeconds": 1}) for i in range(6))
    ),
    "image-pull-always": lambda: replace(GOOD, deployments=(always(),)),
    "service-backends": lambda: replace(GOOD, slices=slices(3, 90)),
    "slices-half-empty": lambda: replace(GOOD, slices=slices(5, 2)),
    "services-on-iptables": lambda: replace(
        GOOD, services=tuple(service(f"s{i}") for i in range(1_000)),
        config_maps={"kube-proxy": {"config.conf": KIND + "mode: ''\nmetricsBindAddress: 0.0.0.0:10249\n"}},
    ),
    "max-pods-addresses": lambda: replace(GOOD, nodes=(node(status={"allocatable": {"pods": "400"}}),)),
    "max-pods-size": lambda: replace(GOOD, nodes=(node(status={"allocatable": {"pods": "111"}}),)),
    "node-cidrs": lambda: replace(GOOD, nodes=tuple(node(f"n{i}") for i in range(205))),
    "kubelet-reservations": lambda: replace(GOOD, nodes=(node(status={"allocatable": {"memory": "16Gi", "pods": "110"}}),)),
    "kubelet-api-rate": lambda: replace(GOOD, kubelets={"n1": {"kubeAPIQPS": 5, "kubeAPIBurst": 10}}),
    "kubelet-image-pulls": lambda: replace(GOOD, kubelets={"n1": {"serializeImagePulls": True}}),
    "version-skew": lambda: replace(GOOD, nodes=(node(status={"nodeInfo": {"kubeletVersion": "v1.30.0"}}),)),
    "proxy-beside-cilium": lambda: replace(
        GOOD, config_maps={**GOOD.config_maps, "cilium-config": {"kube-proxy-replacement": "true"}},
        daemonsets=({"metadata": {"name": "kube-proxy"}},),
    ),
    "cluster-size": lambda: replace(GOOD, namespaces=GOOD.namespaces * 10_001),
    "bind-addresses": lambda: with_pods(component("kube-scheduler", "--bind-address=127.0.0.1")),
    "controller-rates": lambda: with_pods(*(pod(f"q{i}") for i in range(1_000))),
    "audit-blocking": lambda: replace(
        GOOD, pods=(component("kube-apiserver", "--audit-policy-file=p", "--audit-log-path=/l"),)
    ),
    "webhook-scope": lambda: replace(GOOD, webhooks=hook(namespaceSelector={})),
    "webhook-timeout": lambda: replace(GOOD, webhooks=hook(timeoutSeconds=10)),
    "webhook-backend": lambda: replace(GOOD, slices=()),
    "webhook-latency": lambda: replace(GOOD, metrics=metrics(
        'apiserver_admission_webhook_admission_duration_seconds_sum{name="h"} 200\n'
        'apiserver_admission_webhook_admission_duration_seconds_count{name="h"} 1000\n')),
    "priority-and-fairness": lambda: replace(GOOD, metrics=metrics(
        'apiserver_flowcontrol_rejected_requests_total{priority_level="p",flow_schema="f",reason="queue-full"} 7\n')),
    "flow-schemas": lambda: replace(GOOD, flow_schemas=(
        {"metadata": {"name": "f"}, "status": {"conditions": [{"type": "Dangling", "status": "True"}]}},)),
    "api-latency": lambda: replace(
        GOOD, metrics=metrics(histogram("apiserver_request_duration_seconds", CALL, 900, 100, 1.0))),
    "deprecated-apis": lambda: replace(GOOD, metrics=metrics(
        'apiserver_requested_deprecated_apis{group="",version="v1",resource="endpoints",removed_release=""} 1\n')),
    "etcd-size": lambda: replace(GOOD, etcd=metrics("etcd_mvcc_db_total_size_in_bytes 1.9e9\n")),
    "etcd-latency": lambda: replace(
        GOOD, etcd=metrics(histogram("etcd_disk_wal_fsync_duration_seconds", "", 900, 100, 0.01))),
    "endpoints-truncated": lambda: replace(GOOD, slices=slices(11, 100)),
    "private-images": lambda: with_pods(pod("q", "b", {"imagePullSecrets": [{"name": "s"}]})),
    "sleep-hooks": lambda: lifecycle({"preStop": {"sleep": {"seconds": 30}}}),
    "stop-signals": lambda: lifecycle({"stopSignal": "SIGUSR1"}, {"os": {"name": "windows"}}),
}  # fmt: skip


def always() -> Json:
    deployment = copy.deepcopy(GOOD.deployments[0])
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    return deployment


def test_every_rule_on_clusters_has_a_case_here() -> None:
    assert set(TRIGGERS) == set(CLUSTER.rules)


def complete(found: Any, name: str) -> None:
    assert found is not None
    assert found.rule == name
    assert found.severity in SEVERITIES
    for field in ("title", "evidence", "effect", "effect_source", "applying", "check", "source"):
        assert getattr(found, field), field
    assert advice.apply_commands(found, None)
    assert advice.undo_commands(found, None)


@pytest.mark.parametrize("name", sorted(CLUSTER.rules))
def test_a_rule_speaks_of_what_it_should_and_not_of_a_good_cluster(name: str) -> None:
    complete(CLUSTER.rules[name](TRIGGERS[name]()), name)
    assert CLUSTER.rules[name](GOOD) is None


@pytest.mark.parametrize("name", sorted(CLUSTER.rules))
def test_a_cluster_that_cannot_be_read_has_no_findings(name: str) -> None:
    assert CLUSTER.rules[name](ClusterState(missing=("endpoint slices: not read",))) is None


@pytest.mark.parametrize(
    ("name", "near_miss"),
    [
        ("max-pods-addresses", lambda: replace(GOOD, nodes=(node(podCIDR="10.244.0.0/23", status={"allocatable": {"pods": "500"}}),))),
        ("node-cidrs", lambda: replace(GOOD, nodes=tuple(node(f"n{i}") for i in range(204)))),
        ("image-pull-always", lambda: replace(GOOD, deployments=({**always(), "spec": {"template": {"spec": {
            "containers": [container(image="registry.example:5000/app", imagePullPolicy="Always")]}}}},))),
        ("webhook-scope", lambda: replace(GOOD, webhooks=hook(namespaceSelector={}, failurePolicy="Ignore"))),
        ("webhook-timeout", lambda: replace(GOOD, webhooks=hook(timeoutSeconds=9))),
        ("controller-rates", lambda: with_pods(*(pod(f"q{i}") for i in range(900)))),
        ("sleep-hooks", lambda: lifecycle({"preStop": {"sleep": {"seconds": 29}}})),
        ("stop-signals", lambda: lifecycle({"stopSignal": "SIGTERM"}, {"os": {"name": "windows"}})),
        ("liveness-as-readiness", lambda: with_pods(
            pod("q", livenessProbe={"httpGet": {"path": "/ready", "port": 80}, "failureThreshold": 6}))),
        ("etcd-size", lambda: replace(GOOD, etcd=metrics("etcd_mvcc_db_total_size_in_bytes 1.7e9\n"))),
        ("slices-half-empty", lambda: replace(GOOD, slices=slices(4, 2))),
    ],
)  # fmt: skip
def test_just_beside_a_rule_it_is_silent(name: str, near_miss: Callable[[], ClusterState]) -> None:
    assert CLUSTER.rules[name](near_miss()) is None


def test_a_removal_in_the_next_release_is_an_error() -> None:
    text = 'apiserver_requested_deprecated_apis{group="x",version="v1beta1",resource="y",removed_release="1.35"} 1\n'
    found = CLUSTER.rules["deprecated-apis"](replace(GOOD, metrics=metrics(text)))
    assert found is not None
    assert found.severity == "error"


# --- private images: two pods -------------------------------------------------------------------------------------

OWNER = pod("owner", "a", {"imagePullSecrets": [{"name": "s"}]}, image="private.example/app:1")
STRANGER = pod("stranger", "b", image="private.example/app:1")


def test_a_stranger_on_the_same_node_uses_the_private_image() -> None:
    found = CLUSTER.rules["private-images"](with_pods(OWNER, STRANGER))
    assert found is not None
    assert found.severity == "warning"
    assert "private.example/app:1 on n1" in found.evidence[0]
    assert "b/stranger does use it" in found.evidence[0]


@pytest.mark.parametrize(
    "state",
    [
        with_pods(OWNER, STRANGER, version=(1, 35)),
        with_pods(OWNER, STRANGER, kubelets={"n1": {"featureGates": {"KubeletEnsureSecretPulledImages": True}}}),
    ],
)
def test_a_kubelet_that_verifies_lets_no_stranger_in(state: ClusterState) -> None:
    assert CLUSTER.rules["private-images"](state) is None


@pytest.mark.parametrize(
    ("stranger", "users"),
    [
        (STRANGER, ["b/stranger"]),
        (pod("stranger", "b", {"nodeName": "n2"}, image="private.example/app:1"), []),
        (pod("stranger", "b", image="private.example/app:1", imagePullPolicy="Always"), []),
        (pod("stranger", "b", {"imagePullSecrets": [{"name": "t"}]}, image="private.example/app:1"), []),
    ],
)
def test_who_uses_an_image_without_a_credential(stranger: Json, users: list[str]) -> None:
    found = lifecyclerules.users_of_private_images(with_pods(OWNER, stranger))
    assert [one[3] for one in found if one[1] == "n1"] == [users]


def test_a_private_image_lies_on_the_nodes_that_list_it() -> None:
    owner = pod("owner", "a", spec={"imagePullSecrets": [{"name": "s"}]})
    owner["spec"]["containers"][0]["image"] = "team/app"
    listed = node("n2")
    listed["status"]["images"] = [{"names": ["docker.io/team/app@sha256:0", "docker.io/team/app:latest"]}]
    state = replace(GOOD, nodes=(node(), listed, node("n3")), pods=(owner,))
    found = [(image, place) for image, place, _, _ in lifecyclerules.users_of_private_images(state)]
    assert found == [("team/app", owner["spec"]["nodeName"]), ("team/app", "n2")]


def test_a_service_accounts_secret_counts_as_the_pods() -> None:
    account = {"metadata": {"name": "default", "namespace": "a"}, "imagePullSecrets": [{"name": "s"}]}
    state = replace(GOOD, service_accounts=(account,))
    assert lifecyclerules.users_of_private_images(state)[0][2] == ["a/p"]


# --- runs and probes ----------------------------------------------------------------------------------------------


def figures(p99: float) -> Figures:
    return Figures(count=10, p50=1, p95=p99, p99=p99, min=1, max=p99, avg=1)


def run(findings: list[FindingDocument] | None = None, **changes: Any) -> RunDocument:
    job = {
        "name": "j", "type": "create", "iterations": 1, "qps": 20.0, "burst": 20, "asked": 100, "sent": 100,
        "accepted": 100, "retried": 0, "failed": {}, "reached_qps": 20.0, "elapsed_s": 5.0, "pods_seen": 100,
        "pods_ready": 100, "accept_ms": figures(5), "late_ms": figures(1), "start_ms": {"Ready": figures(4_000)},
        "start_server_ms": {}, "timeline": [], **changes,
    }  # fmt: skip
    target = Target(server="s", context="c", version="v1.34.0", nodes=1)
    return RunDocument("u", "1", target, "t", "t", 0, [], [JobDocument(**job)], findings or [], [])


WALL = FindingDocument(
    "max-pods", "6 pods wait", ["p"], ["Too many pods"], ["raise maxPods"], "at 253", True, 1.0, True
)
RUN_TRIGGERS = {
    "run-rate": run(reached_qps=10.0),
    "run-refusals": run(failed={"429": 3}),
    "run-pod-starts": run(start_ms={"Ready": figures(6_000)}),
    "run-walls": run([WALL]),
}


@pytest.mark.parametrize("name", sorted(RUN.rules))
def test_a_rule_on_runs_speaks_when_it_should(name: str) -> None:
    complete(RUN.rules[name](RUN_TRIGGERS[name]), name)
    assert RUN.rules[name](run()) is None


GOOD_PROBE = {
    ("kernel", "nf_conntrack_max"): "1000 entries", ("kernel", "nf_conntrack_count"): "10 entries",
    ("kernel", "BPF JIT"): "yes", ("sysctls", "net.core.somaxconn"): "4096",
}  # fmt: skip
PROBE_TRIGGERS = {
    "conntrack-full": {("kernel", "nf_conntrack_count"): "900 entries"},
    "bpf-jit": {("kernel", "BPF JIT"): "no"},
    "small-backlog": {("sysctls", "net.core.somaxconn"): "128"},
}


@pytest.mark.parametrize("name", sorted(PROBE.rules))
def test_a_rule_on_probes_speaks_when_it_should(name: str) -> None:
    complete(PROBE.rules[name]({**GOOD_PROBE, **PROBE_TRIGGERS[name]}), name)
    assert PROBE.rules[name](GOOD_PROBE) is None


def test_a_probe_tells_the_rules_of_hosts() -> None:
    facts = {
        ("kernel", "release"): "6.12.1", ("kernel", "preemption"): "unknown", ("device eth0", "driver"): "mlx5_core",
        ("device eth0", "MTU"): "9000 bytes", ("machine", "CPU governor"): "none: frequencies cannot be set",
        ("machine", "memory"): "1024 bytes", ("datapath", "netkit"): "no", ("machine", "irqbalance"): "runs",
    }  # fmt: skip
    host = runrules.host_of(facts)
    assert (host.kernel, host.preempt, host.drivers, host.mtus) == ("6.12.1", None, ("mlx5_core",), (("eth0", 9000),))
    assert (host.governor, host.memory_b, host.netkit, host.irqbalance, host.fq) == ("", 1024, False, True, None)
    assert {one.rule for one in advice.all_findings(None, probed=facts)} >= {"irq"}


# --- what is read -------------------------------------------------------------------------------------------------


def test_flags_with_and_without_equals() -> None:
    assert flags_of(["x", "--a=1", "--b", "2", "--c", "--d=e=f"]) == {"a": "1", "b": "2", "c": "true", "d": "e=f"}


def test_a_quantile_is_linear_within_its_bucket() -> None:
    page = metrics(histogram("etcd_disk_wal_fsync_duration_seconds", "", 98, 2, 1.0))
    family = "etcd_disk_wal_fsync_duration_seconds"
    assert page.quantiles(family, 0.985)[()] == (pytest.approx(1.25), 100)
    assert page.quantiles(family, 0.49)[()][0] == pytest.approx(0.55)
    beyond = metrics(f'{family}_bucket{{le="1"}} 1\n{family}_bucket{{le="+Inf"}} 9\n')
    assert beyond.quantiles(family, 0.99)[()] == (1.0, 9)


CILIUM = {
    "routing-mode": "native", "ipv4-native-routing-cidr": "172.20.0.0/16", "kube-proxy-replacement": "true",
    "enable-bpf-masquerade": "true", "debug": "true", "ipam": "kubernetes",
}  # fmt: skip


def test_a_running_ciliums_native_routing_cidr_is_found() -> None:
    container = {
        "image": "quay.io/cilium/cilium:v1.18.1@sha256:0",
        "env": [{"name": "KUBERNETES_SERVICE_HOST", "value": "10.0.0.1"}],
    }
    agent = {"metadata": {"name": "cilium"}, "spec": {"template": {"spec": {"containers": [container]}}}}
    state = replace(
        GOOD, nodes=(node(), node("n2")), config_maps={"cilium-config": CILIUM}, daemonsets=(agent,)
    )  # fmt: skip
    setup = ciliumconfig.setup_of(state)
    assert setup is not None
    assert (setup.values.version, setup.host.kernel, setup.nodes) == ("1.18.1", "6.12.0", 2)
    found = advice.all_findings(setup, state)
    assert (found[0].rule, found[0].severity) == ("native-routing-cidr", "error")
    assert found[0].title == "ipv4NativeRoutingCIDR=172.20.0.0/16 does not cover the pod CIDR 10.244.0.0/16"
    assert "debug-log" in {one.rule for one in found}
    # No kube-proxy is there, and the agents have an address.
    assert (setup.kube_proxy, setup.values.get("k8sServiceHost")) == (False, "10.0.0.1")
    assert ciliumconfig.setup_of(GOOD) is None


@pytest.mark.parametrize(
    ("flag", "text", "path", "value"),
    [
        ("bpf-map-dynamic-size-ratio", "0.08", "bpf.mapDynamicSizeRatio", "0.08"),
        ("enable-ipv4-big-tcp", "true", "enableIPv4BIGTCP", True),
        ("datapath-mode", "netkit", "bpf.datapathMode", "netkit"),
        ("cluster-pool-ipv4-cidr", "10.0.0.0/8 11.0.0.0/8", "ipam.operator.clusterPoolIPv4PodCIDRList",
         ["10.0.0.0/8", "11.0.0.0/8"]),
        ("enable-wireguard", "true", "encryption.type", "wireguard"),
        ("bpf-lb-map-max", "131072", "bpf.lbMapMax", 131_072),
        ("enable-hubble", "true", "hubble.enabled", True),
        # The chart writes no such key when it is off.
        ("debug-verbose", "", "hubble.enabled", False),
    ],
)  # fmt: skip
def test_a_flag_of_the_agent_is_the_value_it_was_made_of(flag: str, text: str, path: str, value: Any) -> None:
    setup = ciliumconfig.setup_of(replace(GOOD, config_maps={"cilium-config": {flag: text}}))
    assert setup is not None
    assert setup.values.get(path) == value
