"""`kubedyno features demo` on embedded clusters of several versions: what is shown, what is off, and nothing is left."""

import re

import pytest

from kubedyno.cli.main import main
from kubedyno.lab.featuredemos import DEMOS


@pytest.fixture(scope="module")
def new(up):
    return up("new", nodes=3, feature_gates="ContainerStopSignals=true").settled()


@pytest.fixture(scope="module")
def old(up):
    return up("old", nodes=3, version="1.33").settled()


def demo(cluster, capsys, name: str) -> tuple[int, str]:
    code = main(["features", "demo", name, "--kubeconfig", str(cluster.running.kubeconfig)])
    return code, capsys.readouterr().out


# Name → what is told on Kubernetes 1.36.
SHOWN = {
    "hpa-tolerance": "tolerance 0.05: 5 wanted",
    "prefer-same-zone": "forZones zone-a",
    "prefer-same-node": "forNodes new-worker2",
    "sleep-zero": "-1 is refused: ",
    "stop-signal": "SIGUSR1 on Windows is refused: ",
    "image-credentials": "stranger, without one, on the same node, under IfNotPresent: ErrImagePull: ",
    "image-volume": "kubelet_image_volume_mounted_errors_total 1",
    "dra-claim": "the claim is allocated: gpu-0 of pool new-worker2",
    "endpoints-warning": "v1 Endpoints is deprecated in v1.33+",
    "streaming-list": "then the bookmark initial-events-end",
}


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_what_the_cluster_does_is_shown(new, capsys, name: str) -> None:
    code, out = demo(new, capsys, name)
    assert out.startswith(f"{name}: shown\n"), out
    assert SHOWN[name] in out
    assert code == 0


@pytest.mark.parametrize("name", sorted(set(DEMOS) - set(SHOWN)))
def test_what_it_does_not_is_said_plainly(new, capsys, name: str) -> None:
    code, out = demo(new, capsys, name)
    assert out.splitlines()[0] in {f"{name}: off", f"{name}: not modelled", f"{name}: shown"}
    assert code == (0 if out.startswith(f"{name}: shown") else 2)
    assert len(out.splitlines()) > 1


@pytest.mark.parametrize("name", ["hpa-tolerance", "stop-signal", "image-credentials", "image-volume", "dra-claim"])
def test_a_version_whose_gate_is_off_says_so(old, capsys, name: str) -> None:
    code, out = demo(old, capsys, name)
    assert (code, out.splitlines()[0]) == (2, f"{name}: off")


def test_the_default_tolerance_leaves_alone_what_the_finer_one_scales(new, capsys) -> None:
    _, out = demo(new, capsys, "hpa-tolerance")
    assert "default tolerance 0.1: 4 wanted" in out


def test_what_a_pod_replacement_policy_was_to_do_is_shown_behind_its_gate(up, capsys) -> None:
    replacing = up("replacing", nodes=2, speed=1.0, feature_gates="DeploymentPodReplacementPolicy=true").settled()
    code, out = demo(replacing, capsys, "pod-replacement-policy")
    assert code == 0, out
    assert "marked: announced for Deployments in 1.34, not in any release" in out
    started, complete = (int(re.search(rf"{name}: at most (\d+) pods", out)[1]) for name in ("Started", "Complete"))
    # Four replicas and a surge of one: those that end count only where they hold their places.
    assert complete <= 5 < started


def test_nothing_is_left(new, capsys) -> None:
    demo(new, capsys, "prefer-same-zone")
    new.until(lambda: "kubedyno-demo" not in new.kubectl("get", "namespaces", "-o", "name"))
    assert "topology.kubernetes.io/zone" not in new.kubectl("get", "nodes", "--show-labels")


def test_nothing_outside_of_its_namespace_is_left_either(new, capsys) -> None:
    for name in ("image-credentials", "dra-claim"):
        demo(new, capsys, name)
    left = new.kubectl("get", "deviceclasses,resourceslices", "-o", "name")
    left += new.kubectl("get", "secrets", "-n", "kube-system", "-o", "name")
    assert "kubedyno-demo" not in left


def test_names_are_listed_and_a_wrong_one_is_one_line(capsys) -> None:
    assert main(["features", "demo"]) == 0
    assert capsys.readouterr().out.split() == list(DEMOS)
    assert main(["features", "demo", "x"]) == 1
    assert capsys.readouterr().err.startswith("kubedyno: features demo x: there are hpa-tolerance, ")
