"""Checks of shaping: who sends to whom, what the pods say, and what counts as held."""

import pytest

from kubedyno.netperf import plan, shaping
from kubedyno.netperf.plan import Options, Tool
from kubedyno.netperf.shaping import Shaping


def annotations(kind, tool=Tool.NETPERF):
    found = {}
    for one in shaping.deployments_of(kind, tool, "a", "b"):
        template = plan.manifest_of(Options(), one)["spec"]["template"]
        found[one.name] = (one.node, template["metadata"].get("annotations"))
    return found


def test_priorities_are_two_clients_of_one_node_and_a_server_on_the_other():
    assert annotations(Shaping.NET_QOS) == {
        "perf-client-low-priority": ("b", {"bandwidth.cilium.io/priority": "5"}),
        "perf-client-high-priority": ("b", {"bandwidth.cilium.io/priority": "6"}),
        "perf-server": ("a", None),
    }
    # A server of iperf3 or of ours takes one client at a time.
    assert set(annotations(Shaping.NET_QOS, Tool.IPERF3)) >= {"perf-server-low-priority", "perf-server-high-priority"}


def test_bandwidth_is_limited_on_the_client_that_sends_and_on_the_server_that_receives():
    assert annotations(Shaping.BANDWIDTH) == {
        "perf-client-egress": ("b", {"kubernetes.io/egress-bandwidth": "10M"}),
        "perf-client-ingress": ("b", None),
        "perf-server-egress": ("a", None),
        "perf-server-ingress": ("a", {"kubernetes.io/ingress-bandwidth": "10M"}),
    }


def test_clients_send_large_messages():
    [pair, _] = shaping.pairs_of(Shaping.NET_QOS, Tool.NETPERF)
    action = shaping.action_of(Shaping.NET_QOS, pair, 1)
    assert action.name == "netQos_TCP_STREAM_pod-to-pod_other-node"
    words = plan.command_of(shaping.options_of(Options()), action.test, "10.0.0.1")
    assert words[-2:] == ["-m", "1500000"]
    assert "-m" not in plan.command_of(Options(), action.test, "10.0.0.1")


@pytest.mark.parametrize(("high", "low", "failure"), [
    (8.9e9, 1e9, ""), (9.9e9, 1e9, ""), (7.9e9, 1e9, "ratio: 7"), (1.1e10, 1e9, "ratio: 11"), (1e9, 1e5, "Low: 0"),
])  # fmt: skip
def test_priorities_hold_at_eight_and_nine_to_one(high, low, failure):
    reached = {"perf-client-high-priority": high, "perf-client-low-priority": low}
    found = shaping.failure_of(Shaping.NET_QOS, reached)
    assert found.endswith(failure)
    assert bool(found) is bool(failure)


def test_a_limit_holds_up_to_a_tenth_more():
    reached = {"perf-client-egress": 11.9e6, "perf-client-ingress": 9.6e6}
    assert shaping.failure_of(Shaping.BANDWIDTH, reached) == ""
    reached["perf-client-ingress"] = 940e6
    text = shaping.failure_of(Shaping.BANDWIDTH, reached)
    assert text == "Bandwidth limit failed to enforced: 10Mbit/s asked, perf-client-ingress: 940 Mb/s"
