"""Whether a cluster's traffic shaping holds: priorities and bandwidth annotations, as `cilium connectivity perf` checks. Pure.

Both are Cilium's bandwidth manager's (bandwidth limits also the CNI plugin `bandwidth`'s). All clients send at once, by
TCP with large messages, to the other node; what each reached decides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from kubedyno.netperf.plan import Action, Deployment, Options, Tool

DURATION_S = 30.0
MESSAGE_BYTES = 1_500_000
TEST = "TCP_STREAM"
_LIMIT = "10M"
# What 10 Mbit/s may come to: the original's bound, in whole Mbit/s.
_MOST_MBPS = 11
_LEAST_RATIO, _MOST_RATIO = 8, 9
_PRIORITY = "bandwidth.cilium.io/priority"
_LOW, _HIGH = "perf-client-low-priority", "perf-client-high-priority"


class Shaping(StrEnum):
    """What is checked; its name is that of the actions."""

    NET_QOS = "netQos"
    BANDWIDTH = "bandwidth"


@dataclass(frozen=True, slots=True)
class Pair:
    """A client and the server that it sends to: names of deployments."""

    client: str
    server: str


def deployments_of(kind: Shaping, tool: Tool, server: str, client: str) -> list[Deployment]:
    """Return the deployments; `server` and `client` are nodes."""
    if kind is Shaping.NET_QOS:
        clients = [
            Deployment(_LOW, client, host=False, server=False, annotations={_PRIORITY: "5"}),
            Deployment(_HIGH, client, host=False, server=False, annotations={_PRIORITY: "6"}),
        ]
        servers = dict.fromkeys(pair.server for pair in pairs_of(kind, tool))
        return [*clients, *(Deployment(name, server, host=False, server=True) for name in servers)]
    egress, ingress = {"kubernetes.io/egress-bandwidth": _LIMIT}, {"kubernetes.io/ingress-bandwidth": _LIMIT}
    return [
        Deployment("perf-client-egress", client, host=False, server=False, annotations=egress),
        Deployment("perf-client-ingress", client, host=False, server=False),
        Deployment("perf-server-egress", server, host=False, server=True),
        Deployment("perf-server-ingress", server, host=False, server=True, annotations=ingress),
    ]


def pairs_of(kind: Shaping, tool: Tool) -> list[Pair]:
    """Return who sends to whom; a server that takes one client at a time is there once for each."""
    if kind is Shaping.BANDWIDTH:
        return [Pair(f"perf-client-{way}", f"perf-server-{way}") for way in ("egress", "ingress")]
    if tool is Tool.NETPERF:
        return [Pair(_LOW, "perf-server"), Pair(_HIGH, "perf-server")]
    return [Pair(name, name.replace("client", "server")) for name in (_LOW, _HIGH)]


def action_of(kind: Shaping, pair: Pair, sample: int) -> Action:
    """Return a pair's run."""
    return Action(TEST, pair.client, pair.server, "pod-to-pod", "other-node", sample, tool=kind)


def options_of(options: Options) -> Options:
    """Return the options of the clients' commands."""
    return replace(options, messages=MESSAGE_BYTES)


def failure_of(kind: Shaping, bps: Mapping[str, float]) -> str:
    """Return why shaping does not hold, "" when it does.

    Args:
        kind: What was checked.
        bps: Client → bits a second, the mean of its samples.
    """
    mbps = {name: int(value / 1e6) for name, value in bps.items()}
    if kind is Shaping.BANDWIDTH:
        over = [f"{name}: {value} Mb/s" for name, value in mbps.items() if value > _MOST_MBPS]
        return f"Bandwidth limit failed to enforced: {_LIMIT}bit/s asked, {', '.join(over)}" if over else ""
    high, low = mbps[_HIGH], mbps[_LOW]
    text = f"QoS ratio not enforced between high and low priority traffic; High : {high}, Low: {low}"
    if not high or not low:
        return text
    return "" if _LEAST_RATIO <= high // low <= _MOST_RATIO else f"{text}, ratio: {high // low}"
