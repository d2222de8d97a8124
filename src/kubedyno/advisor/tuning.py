"""What a tuning rule judges by and what it says: values, host and cluster in, a finding out.

A rule is one function with its source; `rule` registers it. Every figure of a finding says where it was measured.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubedyno.advisor.ciliumvalues import Values
from kubedyno.advisor.hostfacts import Host

SEVERITIES = ("error", "warning", "improvement", "note")
# kind's default, taken where nothing says which addresses pods have.
ASSUMED_POD_CIDR = "10.244.0.0/16"


@dataclass(frozen=True, slots=True)
class Setup:
    """What the rules see.

    Attributes:
        values: Cilium's Helm values.
        host: Of the nodes.
        pod_cidrs: The cluster's pod addresses; empty: not known.
        nodes: How many, None: not known.
        pods: How many, None: not known.
        kube_proxy: Whether it is there beside Cilium, None: not known.
    """

    values: Values
    host: Host = field(default_factory=Host)
    pod_cidrs: tuple[str, ...] = ()
    nodes: int | None = None
    pods: int | None = None
    kube_proxy: bool | None = None

    @property
    def kube_proxy_replacement(self) -> bool:
        """Whether Cilium does services."""
        return self.values.on("kubeProxyReplacement")

    @property
    def tunnel(self) -> bool:
        """Whether pod traffic is encapsulated."""
        return bool(self.values.get("routingMode") != "native")

    @property
    def masquerade_in_bpf(self) -> bool:
        """Whether iptables is not needed for masquerading."""
        return self.values.on("bpf.masquerade") or not self.values.on("enableIPv4Masquerade")

    @property
    def host_routing(self) -> bool:
        """Whether the agent will use eBPF host routing with these values, on a kernel that has it."""
        return self.kube_proxy_replacement and self.masquerade_in_bpf and not self.values.on("bpf.hostLegacyRouting")

    @property
    def netkit(self) -> bool:
        """Whether pods get netkit devices."""
        return str(self.values.get("bpf.datapathMode")).startswith("netkit")

    @property
    def big_tcp(self) -> bool:
        """Whether BIG TCP is asked for in any family."""
        return self.values.on("enableIPv4BIGTCP") or self.values.on("enableIPv6BIGTCP")

    @property
    def ipsec(self) -> bool:
        """Whether pod traffic is encrypted by IPsec."""
        return self.values.on("encryption.enabled") and self.values.get("encryption.type") == "ipsec"

    @property
    def xdp(self) -> bool:
        """Whether XDP acceleration is asked for."""
        return self.values.get("loadBalancer.acceleration") in {"native", "best-effort"}

    @property
    def ratio(self) -> float | None:
        """The map size ratio, None when it is no number."""
        try:
            return float(self.values.get("bpf.mapDynamicSizeRatio"))
        except (TypeError, ValueError):
            return None

    def older_than(self, major: int, minor: int) -> bool:
        """Say whether the kernel is known to be older."""
        version = self.host.version
        return version is not None and version < (major, minor)

    def at_least(self, major: int, minor: int) -> bool:
        """Say whether the kernel is known to be new enough."""
        version = self.host.version
        return version is not None and version >= (major, minor)

    def big_tcp_driver(self) -> bool | None:
        """Say whether every NIC's driver does BIG TCP; None when not known."""
        if self.host.drivers is None:
            return None
        return all(driver.startswith(("mlx4", "mlx5", "ice")) for driver in self.host.drivers)

    def pod_networks(self) -> tuple[tuple[str, ...], str]:
        """Return the pods' CIDRs, and where they are from."""
        if self.pod_cidrs:
            return self.pod_cidrs, "given"
        if self.values.get("ipam.mode") in {"cluster-pool", "multi-pool"}:
            pool = self.values.get("ipam.operator.clusterPoolIPv4PodCIDRList")
            return tuple(pool if isinstance(pool, list) else [str(pool)]), "ipam.operator.clusterPoolIPv4PodCIDRList"
        return (ASSUMED_POD_CIDR,), "assumed: the default of kind and of many kubeadm clusters; give --pod-cidr"


@dataclass(frozen=True, slots=True)
class Patch:
    """A change of one API object by JSON Patch, and the one that takes it back.

    Attributes:
        target: As kubectl names it, such as "deployment/web".
        namespace: "" for objects without one.
        path: Of the object in the API.
        change: Operations.
        undo: Operations.
    """

    target: str
    namespace: str
    path: str
    change: tuple[dict[str, Any], ...]
    undo: tuple[dict[str, Any], ...]

    def command(self, *, undo: bool = False) -> str:
        """Return the kubectl command that does the same."""
        text = orjson.dumps(list(self.undo if undo else self.change)).decode()
        where = f"-n {self.namespace} " if self.namespace else ""
        return f"kubectl {where}patch {self.target} --type json -p '{text}'"


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding.

    Attributes:
        rule: Name of the rule.
        severity: One of SEVERITIES.
        title: One line.
        evidence: What was seen.
        effect: What the change is expected to give, with unit.
        effect_source: Where that was measured or stated.
        requires: What must be so first.
        conflicts: What it does not go with.
        applying: What happens when it is applied.
        values: Dotted Helm path → value of the change.
        apply: Commands that are no Helm values.
        check: Commands, and what they show.
        undo: Commands that are no Helm values.
        source: Of the rule.
        ready: Whether all that it requires is known to be so; only then it is part of the overlay.
        patches: Changes of API objects.
        kubelet: Key of KubeletConfiguration → value, of what `apply` does to kubelets' files.
    """

    rule: str
    severity: str
    title: str
    evidence: tuple[str, ...] = ()
    effect: str = ""
    effect_source: str = ""
    requires: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    applying: str = ""
    values: tuple[tuple[str, Any], ...] = ()
    apply: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    source: str = ""
    ready: bool = True
    patches: tuple[Patch, ...] = ()
    kubelet: tuple[tuple[str, str], ...] = ()


Rule = Callable[[Setup], Advice | None]
RULES: dict[str, Rule] = {}


def rule(function: Rule) -> Rule:
    """Register a rule by its function's name, dashes for underscores."""
    name = function.__name__.removesuffix("_").replace("_", "-")
    if name in RULES:
        raise ValueError(f"two rules are named {name}")
    RULES[name] = function
    return function


def covers(outer: str, inner: str) -> bool | None:
    """Say whether one network holds another; None when they are not of one family, or no networks.

    Args:
        outer: Such as "10.0.0.0/8".
        inner: Such as "10.244.0.0/16".
    """
    try:
        big, small = ipaddress.ip_network(outer, strict=False), ipaddress.ip_network(inner, strict=False)
    except ValueError:
        return None
    if isinstance(big, ipaddress.IPv4Network) and isinstance(small, ipaddress.IPv4Network):
        return small.subnet_of(big)
    if isinstance(big, ipaddress.IPv6Network) and isinstance(small, ipaddress.IPv6Network):
        return small.subnet_of(big)
    return None
