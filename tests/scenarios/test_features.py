"""`kubedyno features --cluster`: what embedded clusters of two versions say of features, by each way of finding out."""

import json

import pytest

from kubedyno.cli.main import main
from kubedyno.kube import kyaml


@pytest.fixture(scope="module")
def old(up):
    return up("old", nodes=1, version="1.34").settled()


@pytest.fixture(scope="module")
def new(up):
    return up("new", nodes=1, feature_gates="ContainerStopSignals=true").settled()


def asked(cluster, capsys, *more: str) -> dict[str, tuple[str, str, str]]:
    words = ["features", "--cluster", "-o", "json", "--kubeconfig", str(cluster.running.kubeconfig)]
    assert main([*words, *more]) == 0
    rows = json.loads(capsys.readouterr().out)["features"]
    return {row["gate"] or row["name"]: (row["state"], row["how"], row["sure"]) for row in rows}


def test_a_dry_run_says_what_a_version_keeps_drops_and_does_not_know(old, new, capsys) -> None:
    before, after = asked(old, capsys, "--try-fields"), asked(new, capsys, "--try-fields")
    assert before["HPAConfigurableTolerance"] == ("off", "a dry run dropped the field", "sure")
    assert after["HPAConfigurableTolerance"] == ("on", "a dry run kept the field", "sure")
    # Without the field the volume has no source: refused, and dropped all the same.
    assert before["ImageVolume"] == ("off", "a dry run dropped the field", "sure")
    assert after["ImageVolume"] == ("on", "a dry run kept the field", "sure")
    assert (before["ContainerStopSignals"][0], after["ContainerStopSignals"][0]) == ("off", "on")
    for found in (before, after):
        assert found["DeploymentPodReplacementPolicy"][1] == "a strict dry run does not know the field"


def test_metrics_headers_and_versions_say_the_rest(old, new, capsys) -> None:
    before, after = asked(old, capsys), asked(new, capsys)
    assert before["DynamicResourceAllocation"] == ("on", "metric of the apiserver", "sure")
    assert after["KubeletEnsureSecretPulledImages"][0] == "on"
    assert after["KubeletEnsureSecretPulledImages"][1].startswith("metric of the kubelet; imagePullCredentials")
    assert before["Endpoints are deprecated"][1] == "the API server's Warning header"
    assert before["ServiceTrafficDistribution"] == ("on", "default of the version", "by version")
    assert before["etcd 3.6: livez and readyz"] == ("on", "version 3.6 of etcd", "by version")


def test_kyaml_of_real_objects_is_kubectls_own(new) -> None:
    for kind in ("pods", "nodes", "configmaps", "clusterroles", "flowschemas"):
        block = new.kubectl("get", kind, "-A", "-o", "yaml")
        assert kyaml.encode_file(block, kind) == new.kubectl("get", kind, "-A", "-o", "kyaml")


def test_a_kubelets_own_file_is_what_counts(new, capsys) -> None:
    gate = "KubeletEnsureSecretPulledImages"
    name = new.running.name
    assert (
        main(["cluster", "kubelet", new.node, "--name", name, "--set", f"featureGates.{gate}=false", "--restart"]) == 0
    )
    capsys.readouterr()
    assert asked(new, capsys)[gate][0] == "off"
