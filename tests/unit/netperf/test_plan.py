"""The matrix: tests, deployments and runs in the original's order."""

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.netperf import plan
from kubedyno.netperf.plan import (
    Options,
    Tool,
    actions_of,
    candidates,
    command_of,
    deployments_of,
    manifest_of,
    nodes_of,
    skipped_tests,
    tainted,
)


def test_the_defaults_are_three_tests_of_four_pairs():
    options = Options()
    assert plan.tests_of(options) == ["TCP_STREAM", "TCP_STREAM_MULTI", "TCP_RR"]
    actions = actions_of(options, deployments_of(options, "a", "b"))
    assert len(actions) == 12
    assert actions[0].name == "netperf_TCP_STREAM_pod-to-pod_same-node"
    assert [(one.client, one.server) for one in actions[::3]] == [
        ("perf-client", "perf-server"),
        ("perf-client-host-net", "perf-server-host-net"),
        ("perf-client-other-node", "perf-server"),
        ("perf-client-other-node-host-net", "perf-server-host-net"),
    ]


def test_all_families_stand_in_the_originals_order():
    assert plan.tests_of(Options(udp=True, crr=True)) == [
        "TCP_STREAM", "UDP_STREAM", "TCP_STREAM_MULTI", "UDP_STREAM_MULTI", "TCP_CRR", "TCP_RR", "UDP_RR",
    ]  # fmt: skip


def test_scenarios_bring_the_deployments_that_they_need_and_no_others():
    def names(**switches):
        off = {"pod_net": False, "host_net": False, "pod_to_host": False, "host_to_pod": False}
        return [(d.name, d.node) for d in deployments_of(Options(**{**off, **switches}), "s", "c")]

    assert names(pod_net=True) == [("perf-client", "s"), ("perf-client-other-node", "c"), ("perf-server", "s")]
    assert names(pod_to_host=True, other_node=False) == [("perf-client", "s"), ("perf-server-host-net", "s")]
    assert names(host_to_pod=True, same_node=False) == [
        ("perf-server", "s"),
        ("perf-client-other-node-host-net", "c"),
    ]
    assert names() == []


def test_pairs_that_are_switched_off_are_skipped():
    options = Options(
        pod_net=False, host_net=False, pod_to_host=True, host_to_pod=True, rr=False, throughput_multi=False
    )
    found = {(one.scenario, one.node) for one in actions_of(options, deployments_of(options, "s", "c"))}
    assert found == {(a, b) for a in ("pod-to-host", "host-to-pod") for b in ("same-node", "other-node")}


def test_samples_repeat_the_whole_matrix_and_services_come_behind_their_pods():
    options = Options(samples=2, service=True, host_net=False, other_node=False, rr=False, throughput_multi=False)
    actions = actions_of(options, deployments_of(options, "s", "s"))
    assert [(one.sample, one.scenario) for one in actions] == [
        (1, "pod-to-pod"), (1, "pod-to-service"), (2, "pod-to-pod"), (2, "pod-to-service"),
    ]  # fmt: skip


def test_nodes_are_two_unless_one_is_enough():
    assert nodes_of(Options(), ["a", "b"], ["a", "b"]) == ("a", "b")
    assert nodes_of(Options(other_node=False), ["a"], ["a"]) == ("a", "a")
    with pytest.raises(KubedynoError, match="Insufficient number of nodes"):
        nodes_of(Options(), ["a"], ["a"])
    with pytest.raises(KubedynoError, match="Insufficient number of nodes"):
        nodes_of(Options(other_node=False), [], ["a"])


def test_nodes_that_take_no_pods_are_named_and_a_selector_that_is_none_is_refused():
    taint = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
    nodes = [{"metadata": {"name": "cp"}, "spec": {"taints": [taint]}}, {"metadata": {"name": "a"}, "spec": {}}]
    assert list(candidates(nodes, "", ())) == ["a"]
    left_out = tainted(nodes, ())
    with pytest.raises(
        KubedynoError, match=r"tainted, see --tolerations: cp \(node-role.kubernetes.io/control-plane\)$"
    ):
        nodes_of(Options(), ["a"], ["a"], left_out)
    assert tainted(nodes, ("node-role.kubernetes.io/control-plane",)) == []
    for selector in ("zone", "=a"):
        with pytest.raises(KubedynoError, match="write KEY=VALUE"):
            candidates(nodes, selector, ())


def test_a_deployment_is_pinned_and_has_its_own_account():
    options = Options(tolerations=("special",))
    [client, server] = deployments_of(Options(host_net=False, other_node=False), "s", "s")
    body = manifest_of(options, server)
    spec = body["spec"]["template"]["spec"]
    assert body["metadata"]["labels"] == {"name": "perf-server", "kind": "perf"}
    assert body["spec"]["template"]["metadata"]["labels"]["role"] == "server"
    assert spec["nodeSelector"] == {"kubernetes.io/hostname": "s"}
    assert spec["serviceAccountName"] == "perf-server"
    assert spec["terminationGracePeriodSeconds"] == 1
    assert spec["tolerations"] == [{"key": "special", "operator": "Exists", "effect": "NoSchedule"}]
    assert spec["containers"][0]["command"] == ["netserver", "-D"]
    assert manifest_of(options, client)["spec"]["template"]["spec"]["containers"][0]["command"] == ["sleep", "10000000"]
    assert manifest_of(Options(image="mine"), client)["spec"]["template"]["spec"]["containers"][0]["image"] == "mine"


def test_netperf_is_asked_as_the_original_does():
    words = " ".join(command_of(Options(), "TCP_RR", "10.0.0.1"))
    assert words == (
        "netperf -H 10.0.0.1 -l 10s -t TCP_RR -- -R 1 -o MIN_LATENCY,MEAN_LATENCY,MAX_LATENCY,P50_LATENCY,P90_LATENCY,"
        "P99_LATENCY,TRANSACTION_RATE,THROUGHPUT,THROUGHPUT_UNITS"
    )
    assert command_of(Options(msg_size=99), "UDP_STREAM", "h")[-2:] == ["-m", "99"]
    shell = command_of(Options(streams=7), "TCP_STREAM_MULTI", "h")
    assert shell[:2] == ["/bin/bash", "-c"]
    assert "seq 1 7" in shell[2]
    assert "-t TCP_STREAM --" in shell[2]


def test_iperf3_has_no_request_response_test_and_says_so():
    options = Options(tool=Tool.IPERF3, udp=True)
    assert skipped_tests(options) == ["TCP_RR", "UDP_RR"]
    assert not any(one.is_latency for one in actions_of(options, deployments_of(options, "s", "c")))
    assert command_of(Options(tool=Tool.IPERF3, udp_rate="20G"), "UDP_STREAM", "h")[8:11] == ["-u", "-b", "20G"]
    with pytest.raises(KubedynoError, match="--udp-rate lots"):
        command_of(Options(tool=Tool.KUBEDYNO, udp_rate="lots"), "UDP_STREAM", "h")
