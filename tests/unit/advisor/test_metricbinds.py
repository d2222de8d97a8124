import pytest

from kubedyno.advisor import metricbinds
from kubedyno.cluster.assembly import kindconfig


def pod(component: str, *command: str, labels: dict[str, str] | None = None) -> dict[str, object]:
    return {
        "metadata": {
            "name": f"{component}-n",
            "namespace": "kube-system",
            "labels": labels or {"component": component},
        },
        "spec": {"containers": [{"name": component, "command": [component, *command]}]},
        "status": {"phase": "Running", "podIP": "172.18.0.2"},
    }


PODS = [
    pod("kube-controller-manager", "--bind-address=127.0.0.1"),
    pod("kube-scheduler", "--bind-address=127.0.0.1"),
    pod("etcd", "--listen-metrics-urls=http://127.0.0.1:2381"),
    pod("kube-proxy", labels={"k8s-app": "kube-proxy"}),
]


def test_what_listens_on_loopback_is_told_with_a_patch_that_binds_it():
    bound = metricbinds.bound_to_loopback(PODS, "")
    assert [entry.target for entry in bound] == [f"172.18.0.2:{port}" for port in (10257, 10259, 2381, 10249)]
    lines = metricbinds.lines(bound)
    patch = [line[6:] for line in lines if line.startswith("      ")]
    text = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n" + "\n".join(patch) + "\n"
    settings, warnings = kindconfig.parse(text, "patch.yaml")
    assert warnings == []
    assert settings.bind_addresses == dict.fromkeys(
        ("controller-manager", "scheduler", "etcd", "kube-proxy"), "0.0.0.0"
    )


@pytest.mark.parametrize("value", ["0.0.0.0", "0.0.0.0:10249", "::", "[::]:10249", "172.18.0.2:10249"])
def test_a_proxy_that_others_reach_is_not_told(value):
    assert metricbinds.bound_to_loopback(PODS[3:], value) == []


def test_components_that_others_reach_are_not_told():
    pods = [
        pod("kube-scheduler", "--bind-address=0.0.0.0"),
        pod("etcd", "--listen-metrics-urls=http://127.0.0.1:2381,http://172.18.0.2:2381"),
        pod("kube-controller-manager"),
    ]
    assert metricbinds.bound_to_loopback(pods, None) == []
    assert metricbinds.lines([]) == []


def test_only_what_runs_counts_and_an_unread_file_says_nothing():
    waiting = pod("kube-scheduler", "--bind-address=127.0.0.1")
    waiting["status"] = {"phase": "Pending"}
    assert metricbinds.bound_to_loopback([waiting, PODS[3]], None) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("kind: X\nmetricsBindAddress: \nmode: y\n", ""),
        ('metricsBindAddress: ""\n', ""),
        ("metricsBindAddress: 0.0.0.0:10249\n", "0.0.0.0:10249"),
        ("kind: X\n", ""),
    ],
)
def test_kube_proxys_file_says_what_it_is_bound_to(text, found):
    assert metricbinds.proxy_bind_of({"data": {"config.conf": text}}) == found
    assert metricbinds.proxy_bind_of({"data": {}}) is None
