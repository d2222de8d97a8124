"""Which checks a test has, which are chosen, and how outcomes are told."""

from xml.etree import ElementTree as ET

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.netperf.connectivity import Options, command_of, manifest_of, tests_of, url_of, workloads_of
from kubedyno.netperf.outcome import Outcome, junit_of, summary_of

TWO = workloads_of(Options(), "a", "b")
tests_of.__test__ = False


def names(*expressions):
    return [test.name for test in tests_of(Options(tests=expressions), TWO)]


def test_expressions_choose_leave_out_and_look_at_scenarios():
    assert names("no-policies$") == ["no-policies"]
    assert names("!knp") == ["no-policies", "no-policies-extra"]
    assert names("knp", "!deny") == ["echo-ingress-knp", "client-egress-knp", "client-egress-expression-knp"]
    assert names("no-policies/headless") == ["no-policies-extra"]
    with pytest.raises(KubedynoError, match="no regular expression"):
        names("(")


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
    assert url_of(pod, "10.0.0.1") == "http://10.0.0.1:8080/"
    assert url_of(service, "10.0.0.1") == "http://echo-same-node:8080/"
    words = " ".join(command_of(Options(), pod, "URL"))
    assert words.startswith("curl --silent --fail --show-error --connect-timeout 2 --max-time 10 -4 -w ")
    assert words.endswith("--output /dev/null --retry 3 --retry-all-errors --retry-delay 3 URL")
    [denied] = tests_of(Options(tests=("all-ingress",)), TWO)
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
