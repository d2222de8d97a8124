"""Settings of a cluster under way: what the parts of a configuration have said so far, and what they leave open."""

import ipaddress
from dataclasses import dataclass, field
from typing import Any

from kubedyno.cluster.assembly.strict import Place

PROXY_MODES = ("iptables", "ipvs", "nftables", "none")
# A larger one is refused by the real API server as well.
_MIN_IPV6_PREFIX = 64


@dataclass(slots=True)
class Draft:
    """Settings under way.

    Attributes:
        warnings: For the user.
        changes: Member of `ClusterSettings` → value.
        bind_addresses: Component → address.
        gates: Feature gates.
        runtime_config: Of the API server.
        max_pods: Of all nodes that have none of their own.
        kubelet: Configuration of all kubelets.
        scheduler_config: --config of the scheduler, where it says so.
        scheduler_volumes: (path in the scheduler's pod, path on the node).
        audit_log: The API server's --audit-log-path.
        audit_policy: Its --audit-policy-file.
        tracing: Its --tracing-config-file.
        api_volumes: Likewise of the API server's pod.
    """

    warnings: list[str] = field(default_factory=list)
    changes: dict[str, Any] = field(default_factory=dict)
    bind_addresses: dict[str, str] = field(default_factory=dict)
    gates: dict[str, bool] = field(default_factory=dict)
    runtime_config: dict[str, bool] = field(default_factory=dict)
    max_pods: int | None = None
    kubelet: dict[str, Any] = field(default_factory=dict)
    scheduler_config: Place | None = None
    scheduler_volumes: list[tuple[str, str]] = field(default_factory=list)
    audit_log: Place | None = None
    audit_policy: Place | None = None
    tracing: Place | None = None
    api_volumes: list[tuple[str, str]] = field(default_factory=list)

    def ignore(self, place: Place, why: str) -> None:
        """Warn that something written has no effect."""
        self.warnings.append(f"{place.dotted} (line {place.line}) {why}")


def subnet(place: Place) -> str:
    """Return an IPv4 subnet; raises KubedynoError when it is none."""
    return _network(place, place.text(), 4)


def _network(place: Place, text: str, version: int) -> str:
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise place.fail(f"is no subnet: {error}; write for example 10.244.0.0/16") from error
    if network.version != version:
        raise place.fail(f"must be an IPv{version} subnet")
    return str(network)


def service_subnets(place: Place, changes: dict[str, Any]) -> None:
    """Read one subnet, or "IPv4,IPv6"; raises KubedynoError when it is neither."""
    first, comma, second = place.text().partition(",")
    changes["service_subnet"] = _network(place, first, 4)
    if comma:
        changes["second_service_subnet"] = _network(place, second, 6)
        if ipaddress.ip_network(changes["second_service_subnet"]).prefixlen < _MIN_IPV6_PREFIX:
            raise place.fail(f"must have an IPv6 subnet of /{_MIN_IPV6_PREFIX} or smaller")


def address(place: Place, text: str) -> str:
    """Return an IP address; raises KubedynoError when the text is none."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise place.fail(f"is {text!r}: no IP address") from error
