"""Each tuning rule: values that trigger it, and the nearest ones that do not."""

import io
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubedyno.advisor import advice, ciliumvalues
from kubedyno.advisor.ciliumvalues import Values, nested
from kubedyno.advisor.hostfacts import Host
from kubedyno.advisor.tuning import RULES, Setup, covers
from kubedyno.base.errors import KubedynoError
from kubedyno.cli.main import main
from kubedyno.kube import yaml

GIB = 2**30
# A cluster with nothing to find: every rule's second case starts from it.
GOOD: dict[str, Any] = {
    "routingMode": "native", "ipv4NativeRoutingCIDR": "10.0.0.0/8", "kubeProxyReplacement": True,
    "bpf.masquerade": True, "bpf.datapathMode": "veth", "bpf.mapDynamicSizeRatio": 0.08,
    "bpf.distributedLRU.enabled": True, "bpfClockProbe": True, "hubble.enabled": False,
    "bandwidthManager.enabled": True, "bandwidthManager.bbr": True, "loadBalancer.acceleration": "native",
    "enableIPv4BIGTCP": True, "ciliumEndpointSlice.enabled": True, "scheduling.mode": "kube-scheduler",
}  # fmt: skip
HOST = Host(
    kernel="6.12.1", drivers=("mlx5_core",), preempt="none", governor="performance", tuned="network-latency",
    irqbalance=False, netkit=False, fq=True, memory_b=64 * GIB, cpus=8, mtus=(("eth0", 9000),),
)  # fmt: skip


def setup(
    changes: dict[str, Any] | None = None,
    nodes: int = 500,
    version: str = "1.18.1",
    kube_proxy: bool | None = None,
    **host: Any,
) -> Setup:
    values = {path: value for path, value in {**GOOD, **(changes or {})}.items() if value is not None}
    return Setup(
        Values(nested(values), version), replace(HOST, **host), ("10.244.0.0/16",), nodes, kube_proxy=kube_proxy
    )


# Rule → what triggers it; everything else is as in GOOD and HOST, where no rule says anything.
TRIGGERS: dict[str, dict[str, Any]] = {
    "netkit": {"netkit": True},
    "host-routing": {"changes": {"bpf.hostLegacyRouting": True}},
    "ipv6-big-tcp": {"changes": {"ipv6.enabled": True}},
    "ipv4-big-tcp": {"changes": {"enableIPv4BIGTCP": False}},
    "bypass-iptables-conntrack": {"changes": {"bpf.hostLegacyRouting": True}},
    "hubble-off": {"changes": {"hubble.enabled": True}},
    "hubble-queue": {"changes": {"hubble.enabled": True}},
    "hubble-monitor-interval": {"changes": {"hubble.enabled": True}},
    "hubble-rate-limit": {"changes": {"bpf.events.default.rateLimit": 10_000}},
    "mtu": {"mtus": (("eth0", 1500),)},
    "bandwidth-manager": {"changes": {"bandwidthManager.enabled": False, "bandwidthManager.bbr": False}},
    "bbr": {"changes": {"bandwidthManager.bbr": False}},
    "xdp-acceleration": {"changes": {"loadBalancer.acceleration": "disabled"}},
    "map-sizing": {"changes": {"bpf.mapDynamicSizeRatio": "0.0025"}},
    "distributed-lru": {"changes": {"bpf.distributedLRU.enabled": False}},
    "bpf-clock": {"changes": {"bpfClockProbe": False}},
    "scheduling-mode": {"changes": {"scheduling.mode": "anti-affinity"}},
    "kernel": {"preempt": "full"},
    "tuned": {"tuned": "balanced"},
    "cpu-governor": {"governor": "powersave"},
    "irq": {"irqbalance": True},
    "netkit-legacy-routing": {"changes": {"bpf.datapathMode": "netkit", "bpf.hostLegacyRouting": True}},
    "netkit-kernel": {"changes": {"bpf.datapathMode": "netkit"}},
    "big-tcp-tunnel": {"changes": {"routingMode": "tunnel"}},
    "big-tcp-encryption": {"changes": {"encryption.enabled": True, "encryption.type": "wireguard"}},
    "big-tcp-legacy-routing": {"changes": {"bpf.masquerade": False}},
    "big-tcp-netkit": {"changes": {"bpf.datapathMode": "netkit-l2"}},
    "big-tcp-nic": {"drivers": ("virtio_net",)},
    "big-tcp-kernel": {"kernel": "6.2.9"},
    "bbr-without-bandwidth-manager": {"changes": {"bandwidthManager.enabled": False}},
    "bbr-legacy-routing": {"changes": {"bpf.hostLegacyRouting": True}},
    "bbr-kernel": {"kernel": "5.15.0-101-generic"},
    "bandwidth-manager-ipsec": {"changes": {"encryption.enabled": True}},
    "no-conntrack-tunnel": {"changes": {"routingMode": "tunnel", "installNoConntrackIptablesRules": True}},
    "distributed-lru-without-ratio": {"changes": {"bpf.mapDynamicSizeRatio": 0}},
    "map-ratio": {"changes": {"bpf.mapDynamicSizeRatio": 1.5}},
    "slices-egress-gateway": {"changes": {"egressGateway.enabled": True}},
    "slices-without-endpoints": {"changes": {"disableEndpointCRD": True}},
    "kube-proxy-needed": {"changes": {"kubeProxyReplacement": "false"}},
    "masquerade-host-routing": {"changes": {"bpf.masquerade": False}},
    "native-routing-cidr": {"changes": {"ipv4NativeRoutingCIDR": "172.20.0.0/16"}},
    "endpoint-slices": {"changes": {"ciliumEndpointSlice.enabled": False}},
    "api-server-urls": {"changes": {"k8sServiceHost": "10.0.0.1"}},
    "client-backoff": {"changes": {"k8sClientExponentialBackoff.enabled": False}},
    "client-rate-limits": {"changes": {"k8sClientRateLimit.qps": 11}},
    "kube-proxy-prerequisites": {"kube_proxy": False},
    "debug-log": {"changes": {"debug.enabled": True}},
    "hubble-metric-labels": {
        "changes": {"hubble.enabled": True, "hubble.metrics.enabled": ["httpV2:labelsContext=source_ip,source_pod"]}
    },
}


def test_every_rule_has_a_case_here() -> None:
    assert set(TRIGGERS) == set(RULES)


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_rule_speaks_when_it_should_and_not_of_a_good_cluster(name: str) -> None:
    found = RULES[name](setup(**TRIGGERS[name]))
    assert found is not None
    assert found.rule == name
    assert found.evidence
    assert found.source
    assert found.effect
    assert found.effect_source
    assert found.check
    assert found.applying or not found.values
    assert RULES[name](setup()) is None


def test_a_good_cluster_has_no_findings() -> None:
    assert advice.findings(setup()) == []


@pytest.mark.parametrize(
    ("name", "near_miss"),
    [
        ("bypass-iptables-conntrack", {"changes": {"bpf.hostLegacyRouting": True, "routingMode": "tunnel"}}),
        ("ipv4-big-tcp", {"changes": {"enableIPv4BIGTCP": False}, "kernel": "6.2.0"}),
        ("ipv6-big-tcp", {"changes": {"ipv6.enabled": True}, "kernel": "5.18.0"}),
        ("netkit", {"netkit": True, "kernel": "6.6.0"}),
        ("xdp-acceleration", {"changes": {"loadBalancer.acceleration": "disabled"}, "drivers": ("vmxnet3",)}),
        ("scheduling-mode", {"changes": {"scheduling.mode": "anti-affinity"}, "nodes": 50}),
        ("endpoint-slices", {"changes": {"ciliumEndpointSlice.enabled": False}, "nodes": 99}),
        ("big-tcp-netkit", {"changes": {"bpf.datapathMode": "netkit"}, "version": "1.19.0"}),
        ("mtu", {"mtus": (("eth0", 1501),)}),
        ("bpf-clock", {"changes": {"bpfClockProbe": False}, "jiffies": False}),
        ("client-rate-limits", {"changes": {"k8sClientRateLimit.qps": 11}, "nodes": 454}),
        ("client-rate-limits", {"changes": {"k8sClientRateLimit.operator.qps": 20}, "nodes": 99}),
        ("client-rate-limits", {"changes": {"ciliumEndpointSlice.rateLimits": [{"limit": 50, "burst": 100}]}}),
        ("kube-proxy-prerequisites", {"kube_proxy": True}),
        ("kube-proxy-prerequisites", {"kube_proxy": False, "changes": {"k8sServiceHost": "auto"}}),
        ("kube-proxy-prerequisites", {"kube_proxy": False, "changes": {"kubeProxyReplacement": False}}),
        ("hubble-rate-limit", {"changes": {"bpf.events.default.rateLimit": 1, "bpf.events.default.burstLimit": 2}}),
        ("hubble-monitor-interval", {"changes": {"hubble.enabled": True, "bpf.monitorInterval": "10s"}}),
        ("native-routing-cidr", {"changes": {"routingMode": "tunnel", "ipv4NativeRoutingCIDR": None}}),
        ("masquerade-host-routing", {"changes": {"bpf.masquerade": False, "enableIPv4Masquerade": False}}),
        ("bandwidth-manager-ipsec", {"changes": {"encryption.enabled": True, "encryption.type": "wireguard"}}),
    ],
)
def test_just_beside_a_rule_it_is_silent(name: str, near_miss: dict[str, Any]) -> None:
    assert RULES[name](setup(**near_miss)) is None


def test_an_operator_that_is_held_back_and_slices_beyond_their_cap_are_told() -> None:
    slow = RULES["client-rate-limits"](setup({"k8sClientRateLimit.operator.burst": 20}))
    assert slow is not None
    assert slow.values == (("k8sClientRateLimit.operator.burst", 200),)
    capped = RULES["client-rate-limits"](setup({"ciliumEndpointSlice.rateLimits": [{"nodes": 0, "limit": 80}]}))
    assert capped is not None
    assert (capped.severity, capped.values) == ("note", ())


def test_cilium_cli_finds_the_api_server_by_itself_and_helm_does_not(tmp_path: Path) -> None:
    kind = tmp_path / "kind.yaml"
    kind.write_text("{kind: Cluster, networking: {kubeProxyMode: none}}")
    for word, told in (("cilium", False), ("helm", True)):
        file = tmp_path / word
        file.write_text(f"{word} install cilium cilium/cilium --set kubeProxyReplacement=true\n")
        said = io.StringIO()
        with redirect_stdout(said):
            main(["advise", "--cilium-command", str(file), "--kind-config", str(kind)])
        assert ("[kube-proxy-prerequisites]" in said.getvalue()) is told


def test_a_misplaced_monitor_interval_is_told() -> None:
    found = RULES["hubble-monitor-interval"](
        setup({"hubble.enabled": True, "bpf.monitorInterval": "10s", "bpf.events.monitorInterval": "10s"})
    )
    assert found is not None
    assert "bpf.events.monitorInterval is set, which the chart does not read" in found.evidence


def test_a_backoff_set_twice_is_an_error_in_the_charts_words() -> None:
    found = RULES["client-backoff"](setup({"extraEnv": [{"name": "KUBE_CLIENT_BACKOFF_BASE", "value": "1"}]}))
    assert found is not None
    assert found.severity == "error"
    assert any("cannot be enabled when extraEnv contains" in line for line in found.evidence)


STUDY = (
    "cilium install --version 1.18.1 --set ipam.mode=kubernetes --set ipv4NativeRoutingCIDR=172.20.0.0/16 "
    "--set routingMode=native --set kubeProxyReplacement=true --set bpf.masquerade=true --set debug.enabled=true\n"
)


def test_the_studys_native_routing_cidr_is_found() -> None:
    values = ciliumvalues.of_command(STUDY, "install.txt")
    found = advice.findings(Setup(values))
    worst = found[0]
    assert (worst.severity, worst.rule) == ("error", "native-routing-cidr")
    assert worst.title == "ipv4NativeRoutingCIDR=172.20.0.0/16 does not cover the pod CIDR 10.244.0.0/16"
    assert dict(worst.values) == {"ipv4NativeRoutingCIDR": "10.244.0.0/16"}
    assert advice.undo_command(worst, Setup(values)).endswith("--set ipv4NativeRoutingCIDR=172.20.0.0/16")


def test_on_one_node_that_cidr_is_a_warning() -> None:
    values = ciliumvalues.of_command(STUDY, "install.txt")
    assert RULES["native-routing-cidr"](Setup(values, nodes=1)).severity == "warning"  # type: ignore[union-attr]


switches = st.fixed_dictionaries(
    {},
    optional={
        "bpf.datapathMode": st.sampled_from(["veth", "netkit"]),
        "bpf.hostLegacyRouting": st.booleans(),
        "bpf.masquerade": st.booleans(),
        "bpf.mapDynamicSizeRatio": st.sampled_from([0, "0.0025", 0.08, 2]),
        "bpf.distributedLRU.enabled": st.booleans(),
        "kubeProxyReplacement": st.booleans(),
        "routingMode": st.sampled_from(["native", "tunnel"]),
        "enableIPv4BIGTCP": st.booleans(),
        "enableIPv6BIGTCP": st.booleans(),
        "ipv6.enabled": st.booleans(),
        "encryption.enabled": st.booleans(),
        "encryption.type": st.sampled_from(["ipsec", "wireguard"]),
        "bandwidthManager.enabled": st.booleans(),
        "bandwidthManager.bbr": st.booleans(),
        "installNoConntrackIptablesRules": st.booleans(),
        "ciliumEndpointSlice.enabled": st.booleans(),
        "egressGateway.enabled": st.booleans(),
        "disableEndpointCRD": st.booleans(),
        "hubble.enabled": st.booleans(),
        "loadBalancer.acceleration": st.sampled_from(["disabled", "native"]),
        "ipv4NativeRoutingCIDR": st.sampled_from(["", "10.0.0.0/8", "172.20.0.0/16", "x"]),
        "debug.enabled": st.booleans(),
    },
)
hosts = st.builds(
    Host,
    kernel=st.sampled_from([None, "5.15.0", "6.2.0", "6.12.0"]),
    drivers=st.sampled_from([None, ("mlx5_core",), ("virtio_net",)]),
    netkit=st.sampled_from([None, True, False]),
    fq=st.sampled_from([None, True, False]),
    cpus=st.just(4),
    memory_b=st.just(16 * GIB),
)


@given(switches, hosts, st.sampled_from([None, 1, 500]))
@settings(max_examples=200)
def test_an_overlay_is_valid_yaml_and_leaves_no_errors(values: dict[str, Any], host: Host, nodes: int | None) -> None:
    before = Setup(Values(nested(values), "1.18.1"), host, ("10.244.0.0/16",), nodes)
    overlay = advice.overlay(before, advice.findings(before))
    tree = yaml.load(overlay.text(), strict=True) or {}
    assert tree == nested(overlay.values)
    after = Setup(Values(ciliumvalues.merge(before.values.tree, tree), "1.18.1"), host, before.pod_cidrs, nodes)
    assert [one.rule for one in advice.findings(after) if one.severity == "error"] == []
    assert set(overlay.before) == set(overlay.values)


def test_of_two_improvements_that_exclude_each_other_one_is_left_out() -> None:
    before = setup({"enableIPv4BIGTCP": False}, netkit=True)
    overlay = advice.overlay(before, advice.findings(before))
    assert overlay.values == {"enableIPv4BIGTCP": True}
    assert overlay.left_out == (("netkit", "would cause big-tcp-netkit"),)


def test_what_is_not_known_to_be_there_is_left_out_with_what_it_requires() -> None:
    before = setup({"enableIPv4BIGTCP": False}, drivers=None)
    overlay = advice.overlay(before, advice.findings(before))
    assert overlay.values == {}
    assert overlay.left_out[0][0] == "ipv4-big-tcp"
    assert "mlx5" in overlay.left_out[0][1]


# --- values -------------------------------------------------------------------------------------------------------


def test_helms_set_grammar() -> None:
    assert ciliumvalues.parse_set(r"a.b=c\,d,e={x,y},f=1,g=true,h=0.01,i=", "x") == [
        ("a.b", "c,d"), ("e", ["x", "y"]), ("f", 1), ("g", True), ("h", "0.01"), ("i", ""),
    ]  # fmt: skip


def test_a_dot_behind_a_backslash_is_part_of_a_name_and_indexes_make_lists() -> None:
    values = ciliumvalues.of_command(r"helm install cilium x --set 'podLabels.a\.b=1,extraEnv[1].name=N'", "x")
    assert values.tree == {"podLabels": {"a.b": 1}, "extraEnv": [None, {"name": "N"}]}


def test_an_upgrade_adds_to_an_install_and_continued_lines_are_one() -> None:
    values = ciliumvalues.of_command(
        "cilium install --set a=1 \\\n  --set hubble.enabled=true\n# no\nhelm upgrade cilium c --set=hubble.enabled=false\n",
        "x",
    )
    assert values.tree["hubble"] == {"enabled": False}
    assert values.tree["a"] == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no `cilium install`"),
        ("cilium install --set", "the value is missing"),
        ("cilium install --set a", "has no value"),
        ("cilium install --set a={b", "does not end"),
        ("cilium install --set .a=b", "an empty name"),
        ("cilium install --set 'a", "no closing quotation"),
        ("cilium install --set a[999999999]=1", "index 999999999"),
    ],
)
def test_a_malformed_command_is_one_line(text: str, said: str) -> None:
    with pytest.raises(KubedynoError) as caught:
        ciliumvalues.of_command(text, "install.txt")
    assert said in str(caught.value)
    assert str(caught.value).startswith("install.txt: ")
    assert "\n" not in str(caught.value)


def test_an_unknown_key_is_told_with_the_near_one_and_the_rest_is_judged() -> None:
    values = ciliumvalues.of_text("routingmode: native\ndebug:\n  enabled: true\n", "values.yaml")
    assert values.notes == (
        "values.yaml: routingmode: not a value of the chart of Cilium 1.18; did you mean routingMode?",
    )
    assert RULES["debug-log"](Setup(values)) is not None


def test_what_has_not_the_charts_shape_is_told_and_the_rest_is_judged() -> None:
    text = """
bpf: 5
extraEnv: 7
routingMode: native
ipv4NativeRoutingCIDR: [10.0.0.0/8]
debug: {enabled: maybe}
MTU: abc
bandwidthManager: {enabledd: true}
hubble: {eventQueueSize: 4096, metrics: {enabled: {}}}
"""
    values = ciliumvalues.of_text(text, "v")
    assert sorted(values.notes) == [
        "v: MTU: must be a number, not 'abc'; left out",
        "v: bandwidthManager.enabledd: did you mean bandwidthManager.enabled?",
        "v: bpf: must be a mapping, not '5'; left out",
        "v: debug.enabled: must be true or false, not 'maybe'; left out",
        "v: extraEnv: must be a list, not '7'; left out",
        "v: hubble.metrics.enabled: must be a list, not '{}'; left out",
        "v: ipv4NativeRoutingCIDR: must be a text, not \"['10.0.0.0/8']\"; left out",
    ]
    assert "native-routing-cidr" in {one.rule for one in advice.findings(Setup(values))}


_any_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "x", "true", "0.5", "native", "1s"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["limit", "name", "enabled"]), inner),
    max_leaves=3,
)
_LOOKED_AT = (*ciliumvalues.DEFAULTS, "extraEnv", "ciliumEndpointSlice.rateLimits", "hubble.metrics.enabled",
              "k8sClientRateLimit.qps", "k8sClientRateLimit.operator.qps", "hubble.eventQueueSize", "k8sServiceHost",
              "bpf.events.monitorInterval", "k8s.apiServerURLs")  # fmt: skip


@given(st.dictionaries(st.sampled_from(_LOOKED_AT), _any_value, max_size=8), hosts)
@settings(max_examples=300)
def test_no_value_is_a_fault_of_a_rule(values: dict[str, Any], host: Host) -> None:
    tree: dict[str, Any] = {}
    for path, value in values.items():
        tree = ciliumvalues.merge(tree, nested({path: value}))
    before = Setup(ciliumvalues.checked(tree, "v"), host, (), 500)
    overlay = advice.overlay(before, advice.findings(before))
    assert (yaml.load(overlay.text(), strict=True) or {}) == nested(overlay.values)


def test_networks_cover_only_their_own_family() -> None:
    assert covers("10.0.0.0/8", "10.244.0.0/16") is True
    assert covers("172.20.0.0/16", "10.244.0.0/16") is False
    assert covers("fd00::/8", "10.244.0.0/16") is None
    assert covers("x", "10.244.0.0/16") is None
