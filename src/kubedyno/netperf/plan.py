"""What is measured, in which order, between which deployments, by which commands. Pure.

The matrix, names and order are those of `cilium connectivity perf` 1.17 and later; what it cannot do is ours: one node,
iperf3 or our own generators instead of netperf, UDP at a rate, a service's address beside the pod's.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import go_duration
from kubedyno.datapath.remote import CONTROL_PORT
from kubedyno.netperf import deployments

NETPERF_PORT, IPERF3_PORT = 12865, 5201
CONTAINER, PROFILER = "perf", "profiler"
SERVER_PROFILER, CLIENT_PROFILER = "perf-server-profiling", "perf-client-other-node-profiling"
# Names by which netperf is asked for its figures, in the order in which it prints them.
_FIELDS = "MIN_LATENCY,MEAN_LATENCY,MAX_LATENCY,P50_LATENCY,P90_LATENCY,P99_LATENCY,TRANSACTION_RATE,THROUGHPUT,THROUGHPUT_UNITS"


class Tool(StrEnum):
    """What makes the traffic."""

    NETPERF = "netperf"
    IPERF3 = "iperf3"
    KUBEDYNO = "kubedyno"


IMAGES = {
    Tool.NETPERF: "quay.io/cilium/network-perf:3.20-1772622563-6fd6a90",
    Tool.IPERF3: "networkstatic/iperf3",
    Tool.KUBEDYNO: "kubedyno",
}
PORTS = {Tool.NETPERF: NETPERF_PORT, Tool.IPERF3: IPERF3_PORT, Tool.KUBEDYNO: CONTROL_PORT}
_SERVERS = {
    Tool.NETPERF: ["netserver", "-D"],
    Tool.IPERF3: ["iperf3", "-s"],
    Tool.KUBEDYNO: ["python3", "-m", "kubedyno.datapath.remote", "serve", str(CONTROL_PORT)],
}


@dataclass(frozen=True, slots=True)
class Options:
    """What to do; names and defaults as the flags of `cilium connectivity perf`.

    Attributes:
        duration_s: Of each run.
        setup_delay_s: Before the first one.
        samples: How often the whole matrix is repeated.
        msg_size: Bytes of a UDP stream's datagrams.
        messages: Bytes of a TCP stream's messages, 0 for the tool's own.
        rr: TCP_RR, and UDP_RR with `udp`.
        crr: TCP_CRR.
        udp: The UDP twin of each chosen family.
        throughput: TCP_STREAM.
        throughput_multi: TCP_STREAM_MULTI.
        streams: Of the *_MULTI tests.
        pod_net: Pod to pod.
        host_net: Host to host.
        pod_to_host: Pod to host.
        host_to_pod: Host to pod.
        same_node: Client and server on one node.
        other_node: On two.
        service: Pods are reached by the ClusterIP of a Service too.
        server_selector: Labels of the server's node.
        client_selector: Labels of the client's node.
        tool: What makes the traffic.
        image: Of all pods, "" for the tool's own.
        namespace: Its name; "-1" is appended, as the original does.
        namespace_labels: Its labels, for example for Pod Security admission.
        tolerations: Keys of taints with the effect NoSchedule that are tolerated.
        udp_rate: iperf3's -b of UDP streams, e.g. "20G".
        kernel_profiles: Both nodes are profiled by `perf` while pods on two of them talk.
    """

    duration_s: float = 10.0
    setup_delay_s: float = 0.0
    samples: int = 1
    msg_size: int = 1024
    messages: int = 0
    rr: bool = True
    crr: bool = False
    udp: bool = False
    throughput: bool = True
    throughput_multi: bool = True
    streams: int = 4
    pod_net: bool = True
    host_net: bool = True
    pod_to_host: bool = False
    host_to_pod: bool = False
    same_node: bool = True
    other_node: bool = True
    service: bool = False
    server_selector: str = ""
    client_selector: str = ""
    tool: Tool = Tool.NETPERF
    image: str = ""
    namespace: str = "cilium-test"
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[str, ...] = ()
    udp_rate: str = "1G"
    kernel_profiles: bool = False

    @property
    def full_namespace(self) -> str:
        return f"{self.namespace}-1"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment of one pod.

    Attributes:
        name: Its name, which says all about it.
        node: Where it is pinned to.
        host: It is on the node's network.
        server: It serves.
        annotations: Of its pod.
        profiler: It is there to profile its node: on its network, among its processes, privileged.
    """

    name: str
    node: str
    host: bool
    server: bool
    annotations: Mapping[str, str] = field(default_factory=dict)
    profiler: bool = False


@dataclass(frozen=True, slots=True)
class Action:
    """One run.

    Attributes:
        test: E.g. "TCP_STREAM_MULTI".
        client: Deployment.
        server: Deployment.
        scenario: E.g. "pod-to-host"; through a service "pod-to-service".
        node: "same-node" or "other-node".
        sample: From 1.
        tool: What its name begins with.
    """

    test: str
    client: str
    server: str
    scenario: str
    node: str
    sample: int
    tool: str = "netperf"

    @property
    def name(self) -> str:
        return f"{self.tool}_{self.test}_{self.scenario}_{self.node}"

    @property
    def is_latency(self) -> bool:
        return self.test.endswith("RR")


def tests_of(options: Options) -> list[str]:
    """Return the tests, in the original's order."""
    families = (
        (options.throughput, "TCP_STREAM"),
        (options.throughput and options.udp, "UDP_STREAM"),
        (options.throughput_multi, "TCP_STREAM_MULTI"),
        (options.throughput_multi and options.udp, "UDP_STREAM_MULTI"),
        (options.crr, "TCP_CRR"),
        (options.rr, "TCP_RR"),
        (options.rr and options.udp, "UDP_RR"),
    )
    return [name for wanted, name in families if wanted]


def skipped_tests(options: Options) -> list[str]:
    """Return the tests that the tool has no way to run."""
    return [name for name in tests_of(options) if name.endswith("RR")] if options.tool is Tool.IPERF3 else []


def pairs_of(what: str, text: str) -> dict[str, str]:
    """Return what "KEY=VALUE,…" says.

    Raises:
        KubedynoError: It says something else; the message begins with `what`.
    """
    found = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise KubedynoError(f"{what} {pair}: write KEY=VALUE,…")
        found[key] = value
    return found


def candidates(nodes: list[dict[str, Any]], selector: str, tolerations: tuple[str, ...]) -> dict[str, str]:
    """Return the nodes that a selector finds and on which pods may run: host name label → zone.

    Args:
        nodes: Node objects.
        selector: "KEY=VALUE,…", "" for all.
        tolerations: Keys of NoSchedule taints that are tolerated.

    Raises:
        KubedynoError: The selector is none.
    """
    wanted = pairs_of("node selector", selector)
    found = {}
    for node in nodes:
        taints = {taint["key"] for taint in node["spec"].get("taints", ()) if taint.get("effect") == "NoSchedule"}
        labels = node["metadata"].get("labels", {})
        if taints <= set(tolerations) and wanted.items() <= labels.items():
            name = labels.get("kubernetes.io/hostname", node["metadata"]["name"])
            found[name] = labels.get("topology.kubernetes.io/zone", "")
    return found


def tainted(nodes: list[dict[str, Any]], tolerations: tuple[str, ...]) -> list[str]:
    """Return the nodes that take no pods, each with the taints that keep them off."""
    found = []
    for node in nodes:
        keys = [taint["key"] for taint in node["spec"].get("taints", ()) if taint.get("effect") == "NoSchedule"]
        if kept := [key for key in keys if key not in tolerations]:
            found.append(f"{node['metadata']['name']} ({', '.join(kept)})")
    return found


def nodes_of(options: Options, servers: list[str], clients: list[str], left_out: Sequence[str] = ()) -> tuple[str, str]:
    """Choose the server's and the client's node, from the names of those that the selectors find.

    `left_out` are those that take no pods, for the message.

    Raises:
        KubedynoError: There is none, or but one for a test over two nodes.
    """
    if servers and clients:
        server = servers[0]
        other = next((name for name in clients if name != server), "")
        if other:
            return server, other
        if not options.other_node:
            return server, server
    raise KubedynoError(
        f"Insufficient number of nodes selected with selectors: {options.server_selector or '(all)'}, "
        f"{options.client_selector or '(all)'}: {'two are' if options.other_node else 'one is'} needed"
        + ("; with one node, add --other-node=false" if options.other_node else "")
        + (f"; tainted, see --tolerations: {', '.join(left_out)}" if left_out else "")
    )


def deployments_of(options: Options, server: str, client: str) -> list[Deployment]:
    """Return the deployments that the scenarios need, in the original's order."""
    wanted: tuple[tuple[bool, str, str, bool, bool], ...] = (
        ((options.pod_net or options.pod_to_host) and options.same_node, "perf-client", server, False, False),
        ((options.pod_net or options.pod_to_host) and options.other_node, "perf-client-other-node", client, False, False),
        (options.pod_net or options.host_to_pod, "perf-server", server, False, True),
        ((options.host_net or options.host_to_pod) and options.same_node, "perf-client-host-net", server, True, False),
        (
            (options.host_net or options.host_to_pod) and options.other_node,
            "perf-client-other-node-host-net", client, True, False,
        ),
        (options.host_net or options.pod_to_host, "perf-server-host-net", server, True, True),
    )  # fmt: skip
    found = [Deployment(name, node, host, serves) for needed, name, node, host, serves in wanted if needed]
    if options.kernel_profiles and options.other_node:
        for name, node in ((SERVER_PROFILER, server), (CLIENT_PROFILER, client)):
            found.append(Deployment(name, node, host=True, server=False, profiler=True))
    return found


def actions_of(options: Options, deployments: list[Deployment]) -> list[Action]:
    """Return all runs in order: sample, client, server, test; clients and servers by name."""
    switches = {
        ("host", "host"): options.host_net,
        ("host", "pod"): options.host_to_pod,
        ("pod", "host"): options.pod_to_host,
        ("pod", "pod"): options.pod_net,
    }
    skipped = skipped_tests(options)
    tests = [test for test in tests_of(options) if test not in skipped]
    ordered = sorted(deployments, key=lambda one: one.name)
    found = []
    for sample in range(1, options.samples + 1):
        for client in (one for one in ordered if not one.server and not one.profiler):
            for server in (one for one in ordered if one.server):
                kinds = tuple("host" if one.host else "pod" for one in (client, server))
                if not switches[kinds[0], kinds[1]]:
                    continue
                node = "other-node" if "-other-node" in client.name else "same-node"
                ends = [f"{kinds[0]}-to-{kinds[1]}"]
                if options.service and kinds[1] == "pod":
                    ends.append(f"{kinds[0]}-to-service")
                found += [Action(t, client.name, server.name, end, node, sample) for end in ends for t in tests]
    return found


# --- objects ---------------------------------------------------------------------------------------------------------


def manifest_of(options: Options, deployment: Deployment) -> dict[str, Any]:
    """Return a Deployment's manifest."""
    port = PORTS[options.tool]
    labels = {"name": deployment.name, "kind": "perf"}
    rights = {"privileged": True} if deployment.profiler else {"capabilities": {"add": ["NET_RAW"]}}
    container: dict[str, Any] = {
        "name": PROFILER if deployment.profiler else CONTAINER,
        "image": options.image or IMAGES[options.tool],
        "imagePullPolicy": "IfNotPresent",
        "command": _SERVERS[options.tool] if deployment.server else ["sleep", "10000000"],
        "securityContext": rights,
    }
    if deployment.server:
        name = "netserver-ctrl" if options.tool is Tool.NETPERF else "perf-ctrl"
        container["ports"] = [{"name": name, "containerPort": port}]
        container["env"] = [{"name": "PORT", "value": str(port)}, {"name": "NAMED_PORT", "value": name}]
    role = "profiling" if deployment.profiler else "server" if deployment.server else "client"
    return deployments.pinned(
        deployment.name,
        deployment.node,
        container,
        labels=labels,
        selector=labels,
        pod_labels={**labels, "role": role},
        tolerations=options.tolerations,
        host=deployment.host,
        host_processes=deployment.profiler,
        annotations=deployment.annotations,
    )


def service_of(options: Options, deployment: Deployment) -> dict[str, Any]:
    """Return the Service of a server: its control port and the data port behind it, TCP and UDP."""
    first = PORTS[options.tool]
    ports = [
        {"name": f"{protocol.lower()}-{port}", "protocol": protocol, "port": port, "targetPort": port}
        for port in (first, first + 1)
        for protocol in ("TCP", "UDP")
    ]
    return deployments.service(deployment.name, {"name": deployment.name, "kind": "perf"}, ports)


# --- commands --------------------------------------------------------------------------------------------------------


def command_of(options: Options, test: str, address: str) -> list[str]:
    """Return the client's command line of a test."""
    build = {Tool.NETPERF: _netperf, Tool.IPERF3: _iperf3, Tool.KUBEDYNO: _own}[options.tool]
    return build(options, test, address)


def _netperf(options: Options, test: str, address: str) -> list[str]:
    profile = test.removesuffix("_MULTI")
    words = ["netperf", "-H", address, "-l", go_duration(round(options.duration_s * 1e9)), "-t", profile]
    words += ["--", "-R", "1", "-o", _FIELDS]
    if profile == "UDP_STREAM" or options.messages:
        words += ["-m", str(options.messages or options.msg_size)]
    if not test.endswith("_MULTI"):
        return words
    one = shlex.join(words)
    script = (
        f"DIR=$(mktemp -d); for i in $(seq 1 {options.streams}); do {one} > $DIR/out$i.out & done; wait; "
        "cat $DIR/*; rm -rf $DIR"
    )
    return ["/bin/bash", "-c", script]


def _iperf3(options: Options, test: str, address: str) -> list[str]:
    seconds = max(1, round(options.duration_s))
    words = ["iperf3", "-J", "-c", address, "-p", str(IPERF3_PORT), "-t", str(seconds)]
    if test.startswith("UDP"):
        words += ["-u", "-b", options.udp_rate, "-l", str(options.msg_size)]
    return words + (["-P", str(options.streams)] if test.endswith("_MULTI") else [])


def _own(options: Options, test: str, address: str) -> list[str]:
    modes = {"TCP_RR": "tcp-rr", "TCP_CRR": "tcp-crr", "UDP_RR": "udp-rr"}
    order: dict[str, Any] = {
        "mode": modes.get(test, "datagrams" if test.startswith("UDP") else "stream"),
        "address": address,
        "port": CONTROL_PORT + 1,
        "seconds": options.duration_s,
    }
    if order["mode"] == "stream" and test.endswith("_MULTI"):
        order["forward"] = options.streams
    if order["mode"] == "datagrams":
        order |= {"bytes": options.msg_size, "rate_bps": bits_of(options.udp_rate)}
    return [
        "python3", "-m", "kubedyno.datapath.remote", "drive", address, str(CONTROL_PORT), orjson.dumps(order).decode(),
    ]  # fmt: skip


def bits_of(text: str) -> float:
    """Return the bits a second of iperf3's notation: a number with K, M or G.

    Raises:
        KubedynoError: It is none.
    """
    factor = {"K": 1e3, "M": 1e6, "G": 1e9}.get(text[-1:].upper(), 1.0)
    digits = text[:-1] if factor > 1 else text
    try:
        return float(digits) * factor
    except ValueError:
        raise KubedynoError(f"--udp-rate {text}: write for example 500M or 20G") from None
