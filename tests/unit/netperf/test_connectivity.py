"""Which checks a test has, which are chosen, and how outcomes are told."""

from xml.etree import ElementTree as ET

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.netperf.checkobjects import Found, command_of, manifest_of, services_of, target_of
from kubedyno.netperf.connectivity import By, Options, tests_of, workloads_of
from kubedyno.netperf.outcome import Outcome, junit_of, summary_of

TWO = workloads_of(Options(), "a", "b")
tests_of.__test__ = False


def names(*expressions):
    return [test.name for test in tests_of(Options(tests=expressions), TWO) if not test.skipped]


def test_expressions_choose_leave_out_and_look_at_scenarios():
    assert names("no-policies$") == ["no-policies"]
    assert names("!knp") == ["no-policies", "no-policies-extra", "dns-only", "pod-to-k8s", "pod-to-pod-no-frag"]
    assert names("knp", "!deny", "!external") == [
        "client-ingress-knp", "echo-ingress-knp", "client-egress-knp", "client-egress-expression-knp",
        "client-egress-expression-knp-port-range",
    ]  # fmt: skip
    assert names("no-policies/headless") == ["no-policies-extra"]
    with pytest.raises(KubedynoError, match="no regular expression"):
        names("(")


def test_what_needs_cilium_is_told_as_skipped_in_the_originals_order_and_with_the_reason():
    every = tests_of(Options(), TWO)
    assert [test.name for test in every][:3] == ["no-policies", "no-policies-from-outside", "no-policies-extra"]
    skipped = {test.name: test.skipped for test in every if test.skipped}
    assert skipped["client-ingress"] == "needs CiliumNetworkPolicies"
    assert skipped["health"] == "asks Cilium's agents"
    assert "client-egress-expression-port-range" in skipped
    assert not any(test.checks for test in every if test.skipped)
    # Nothing that can be run got lost in the order.
    assert len(every) - len(skipped) == 13
    [only] = tests_of(Options(tests=("^client-ingress$",)), TWO)
    assert only.skipped


def test_a_range_of_ports_holds_that_of_the_servers():
    [test] = tests_of(Options(tests=("knp-port-range",)), TWO)
    [port] = test.policies[0]["spec"]["egress"][0]["ports"]
    assert port["port"] < 8080 < port["endPort"]


def test_one_node_has_no_second_client_or_server():
    assert [one.name for one in workloads_of(Options(), "a", "")] == [
        "client",
        "client2",
        "echo-same-node",
        "host-netns",
    ]
    assert workloads_of(Options(single_node=True), "a", "b") == workloads_of(Options(), "a", "")


def test_only_the_labelled_client_may_pass_the_ingress_policy():
    [test] = tests_of(Options(tests=("echo-ingress-knp",)), TWO)
    assert {(check.client, check.allowed) for check in test.checks} == {
        ("client", False), ("client2", True), ("client3", False),
    }  # fmt: skip
    [labels] = [one["spec"]["template"]["metadata"]["labels"] for one in [manifest_of(Options(), TWO[1])]]
    assert labels == {"name": "client2", "kind": "client", "other": "client"}


def test_curl_is_asked_as_the_original_does_and_denials_are_not_retried():
    [test] = tests_of(Options(tests=("^no-policies$",)), TWO)
    pod = next(check for check in test.checks if check.scenario == "pod-to-pod")
    service = next(check for check in test.checks if check.scenario == "pod-to-service")
    found = Found("10.0.0.1", "172.18.0.3", 30080)
    assert target_of(pod, found) == "http://10.0.0.1:8080/"
    assert target_of(service, found) == "http://echo-same-node:8080/"
    port = next(check for check in test.checks if check.scenario == "pod-to-hostport")
    assert target_of(port, found) == "http://172.18.0.3:4000/"
    [extra] = tests_of(Options(tests=("policies-extra",)), TWO)
    remote = next(check for check in extra.checks if check.scenario == "pod-to-remote-nodeport")
    assert target_of(remote, found) == "http://172.18.0.3:30080/"
    assert services_of(TWO[2])[0]["spec"]["type"] == "NodePort"
    words = " ".join(command_of(Options(), pod, "URL"))
    assert words.startswith("curl --silent --fail --show-error --connect-timeout 2 --max-time 10 -4 -w ")
    assert words.endswith("--output /dev/null --retry 3 --retry-all-errors --retry-delay 3 URL")
    [denied] = tests_of(Options(tests=("all-ingress-deny-knp",)), TWO)
    assert "--retry" not in command_of(Options(), denied.checks[0], "URL")


def test_failures_are_told_by_test_and_action():
    outcomes = [
        Outcome("good", 3),
        Outcome("bad", 2, 1.5, [("bad/a:curl-0", "exit 28 <&>")]),
        Outcome("left", skipped="why"),
    ]
    assert summary_of("ns", outcomes[:1]) == [
        "✅ [ns] All 1 tests (3 actions) successful, 0 tests skipped, 0 scenarios skipped."
    ]
    assert summary_of("ns", outcomes) == [
        "📋 Test Summary [ns]",
        "❌ 1/2 tests failed (1/5 actions), 1 tests skipped, 0 scenarios skipped:",
        "Test [bad]:",
        "  🟥 bad/a:curl-0: exit 28 <&>",
        "[ns] 1 tests failed",
    ]
    root = ET.fromstring(junit_of(outcomes, {"Args": 'a|"b"'}, "2026-11-24T15:04:05").encode())
    assert (root.get("tests"), root.get("failures"), root.get("disabled")) == ("3", "1", "1")
    assert root.find("testsuite/properties/property").get("value") == 'a|"b"'
    good, bad, left = root.findall("testsuite/testcase")
    assert [case.get("status") for case in (good, bad, left)] == ["passed", "failed", "skipped"]
    assert bad.find("failure").text == "bad/a:curl-0: exit 28 <&>"
    assert left.find("skipped").get("message") == "left skipped"


def test_pings_go_to_clients_and_nodes_whole_ones_by_the_devices_mtu():
    [open_test] = tests_of(Options(tests=("^no-policies$",)), TWO)
    ping = next(check for check in open_test.checks if check.by is By.PING)
    assert " ".join(command_of(Options(), ping, "10.0.0.1")) == "ping -c 1 -W 2 -w 10 10.0.0.1"
    assert {(c.client, c.server) for c in open_test.checks if c.by is By.PING_HOST} == {
        (client, node) for client in ("client", "client2", "client3") for node in ("a", "b")
    }
    [closed] = tests_of(Options(tests=("client-ingress-knp",)), TWO)
    denied = next(check for check in closed.checks if not check.allowed)
    # With -w it would go on to ask until that.
    assert "-w" not in command_of(Options(), denied, "10.0.0.1")
    [whole] = tests_of(Options(tests=("no-frag",)), TWO)
    shell = command_of(Options(), whole.checks[0], "10.0.0.1")
    assert shell[:2] == ["sh", "-c"]
    assert "ping -c 1 -M do -s $(($(ip link show dev eth0 | sed" in shell[2]


def test_the_world_is_asked_only_where_there_is_one():
    [test] = tests_of(Options(tests=("^no-policies$",)), TWO)
    assert {c.server for c in test.checks if c.scenario == "pod-to-world"} == {
        "http://one.one.one.one.", "https://one.one.one.one.",
    }  # fmt: skip
    alone = Options(no_world="nothing is outside")
    [test] = tests_of(Options(tests=("^no-policies$",), no_world="nothing is outside"), TWO)
    assert test.left_out == (("pod-to-world", "nothing is outside"), ("pod-to-cidr", "nothing is outside"))
    assert not any(check.by is By.URL for check in test.checks)
    [cidr] = [test for test in tests_of(alone, TWO) if test.name == "to-cidr-external-knp"]
    assert (cidr.skipped, cidr.checks) == ("nothing is outside", ())
    [cidr] = [test for test in tests_of(Options(), TWO) if test.name == "to-cidr-external-knp"]
    assert {(c.server, c.allowed) for c in cidr.checks} == {("https://1.1.1.1", True), ("https://1.0.0.1", False)}
    [rule] = cidr.policies[0]["spec"]["egress"]
    assert rule == {"to": [{"ipBlock": {"cidr": "1.0.0.0/8", "except": ["1.0.0.1/32"]}}]}


def test_dns_alone_lets_names_be_resolved_and_nothing_be_reached():
    [test] = tests_of(Options(tests=("dns-only",)), TWO)
    assert {(c.scenario, c.allowed, c.resolved) for c in test.checks} == {
        ("pod-to-pod", False, False), ("pod-to-service", False, True),
    }  # fmt: skip
    [rule] = test.policies[0]["spec"]["egress"]
    assert rule == {"ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]}


def test_scenarios_that_are_left_out_are_counted():
    assert summary_of("ns", [Outcome("good", 3, left_out=2), Outcome("left", skipped="why")]) == [
        "✅ [ns] All 1 tests (3 actions) successful, 1 tests skipped, 2 scenarios skipped."
    ]
