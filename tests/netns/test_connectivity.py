"""`net test` on real pods: it passes where policies are enforced, and fails where they are not."""

import os
import shutil
from xml.etree import ElementTree as ET

import pytest

from kubedyno.cli.main import main
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("ping") is None, reason="needs ping")]


@pytest.fixture(scope="module", params=["route", "bridge", "ebpf"])
def running(request, tmp_path_factory):
    before = {name: os.environ.get(name) for name in ("KUBEDYNO_HOME", "KUBECONFIG")}
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("home"))
    settings, _ = cluster_settings(
        name="conn", nodes=3, speed=0.0, idle_timeout="5m", runtime="netns", datapath=request.param
    )
    made = embedded.up(settings)
    os.environ["KUBECONFIG"] = str(made.kubeconfig)
    yield made
    embedded.down("conn")
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


def test_all_tests_pass_and_policies_hold(running, tmp_path, capsys):
    file = tmp_path / "junit.xml"
    words = ["net", "test", "--connect-timeout", "1s", "--junit-file", str(file), "--junit-property", "a=b"]
    code = main(words)
    output = capsys.readouterr()
    assert code == 0, output.out
    assert "[cilium-test-1] All 11 tests (107 actions) successful, 1 tests skipped, 2 scenarios skipped." in output.out
    suites = ET.parse(file).getroot()
    assert (suites.get("tests"), suites.get("failures"), suites.get("disabled")) == ("12", "0", "1")
    [suite] = suites
    assert {p.get("name"): p.get("value") for p in suite.find("properties")}["a"] == "b"
    assert [case.get("name") for case in suite.findall("testcase")] == [
        "no-policies", "no-policies-extra", "client-ingress-knp", "all-ingress-deny-knp", "all-egress-deny-knp",
        "echo-ingress-knp", "client-egress-knp", "client-egress-expression-knp", "to-cidr-external-knp", "dns-only",
        "pod-to-k8s", "pod-to-pod-no-frag",
    ]  # fmt: skip
    assert {case.get("status") for case in suite.findall("testcase")} == {"passed", "skipped"}
