"""`net test` on real pods: it passes where policies are enforced, and fails where they are not."""

import os
import shutil
from xml.etree import ElementTree as ET

import pytest

from kubedyno.cli.main import main
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings
from kubedyno.netperf.absent import NEEDS

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
    words = ["net", "test", "--connect-timeout", "3s", "--junit-file", str(file), "--junit-property", "a=b"]
    code = main(words)
    output = capsys.readouterr()
    assert code == 0, output.out
    skipped = sum(map(bool, NEEDS.values())) + 1
    summary = f"All 12 tests (113 actions) successful, {skipped} tests skipped, 2 scenarios skipped."
    assert f"[cilium-test-1] {summary}" in output.out
    place = f"[2/{len(NEEDS)}]"
    assert f"Skipping test [no-policies-from-outside] {place} (needs a client outside of the cluster)" in output.err
    # A dot for each action that passed; what it was is told with --verbose, and when a test fails.
    assert "\n......\n" in output.err
    assert "[.] Action" not in output.err
    suites = ET.parse(file).getroot()
    assert (suites.get("tests"), suites.get("failures"), suites.get("disabled")) == (
        str(len(NEEDS)), "0", str(skipped),
    )  # fmt: skip
    [suite] = suites
    assert {p.get("name"): p.get("value") for p in suite.find("properties")}["a"] == "b"
    cases = suite.findall("testcase")
    assert [case.get("name") for case in cases] == list(NEEDS)
    assert [case.get("name") for case in cases if case.get("status") == "passed"] == [
        "no-policies", "no-policies-extra", "client-ingress-knp", "all-ingress-deny-knp", "all-egress-deny-knp",
        "echo-ingress-knp", "client-egress-knp", "client-egress-expression-knp",
        "client-egress-expression-knp-port-range", "dns-only",
        "pod-to-k8s", "pod-to-pod-no-frag",
    ]  # fmt: skip
    assert {case.get("status") for case in cases} == {"passed", "skipped"}
