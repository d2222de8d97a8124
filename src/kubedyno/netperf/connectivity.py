"""Connectivity checks by the names that `cilium connectivity test` has for them, as far as they need no Cilium. Pure.

A test is a set of policies and of scenarios; a scenario is a list of actions, each a command in a client's pod that has to
succeed, or to be denied. What cannot be checked on a cluster is skipped with a reason, never passed.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.netperf import absent

CONTAINER = "c"
PORT, HOST_PORT = 8080, 4000
ECHO, _CLIENT = "echo", "client"
_DNS_PORT = 53
# Ports around that of servers, for policies of ranges.
_FIRST_PORT, _LAST_PORT = 4096, 32767


@dataclass(frozen=True, slots=True)
class Options:
    """What to check; names and defaults as the flags of `cilium connectivity test`.

    Attributes:
        tests: Regular expressions of names; one with "!" before it takes tests out; "/" and a name chooses by scenario.
        single_node: Nothing on a second node.
        connect_timeout_s: curl's and ping's.
        request_timeout_s: curl's and ping's.
        namespace: Its name; "-1" is appended.
        curl_image: Of clients.
        echo_image: Of servers.
        namespace_labels: Of the namespace, for example for Pod Security admission.
        tolerations: Keys of NoSchedule taints that are tolerated.
        external_target: A name outside of the cluster.
        external_cidr: A network outside, which holds both of these addresses.
        external_ip: An address that the policy of to-cidr-external-knp allows.
        external_other_ip: One that it does not.
        verbose: Scenarios and actions are told as they run, not only those of tests that fail.
        timeout_s: Of all tests together; 0: none.
        no_world: Why nothing outside of the cluster can be asked, "" when it can.
    """

    tests: tuple[str, ...] = ()
    single_node: bool = False
    connect_timeout_s: int = 2
    request_timeout_s: int = 10
    namespace: str = "cilium-test"
    curl_image: str = "quay.io/cilium/alpine-curl:v1.10.0"
    echo_image: str = "quay.io/cilium/json-mock:v1.3.9"
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[str, ...] = ()
    external_target: str = "one.one.one.one."
    external_cidr: str = "1.0.0.0/8"
    external_ip: str = "1.1.1.1"
    external_other_ip: str = "1.0.0.1"
    verbose: bool = False
    timeout_s: float = 0.0
    no_world: str = ""

    @property
    def full_namespace(self) -> str:
        return f"{self.namespace}-1"


@dataclass(frozen=True, slots=True)
class Workload:
    """A deployment of one pod.

    Attributes:
        name: Of it; its pods carry it as the label `name`.
        kind: "client", "echo" or "host"; the label `kind`.
        node: Where it is pinned to.
        other: It carries the label other=client.
    """

    name: str
    kind: str
    node: str
    other: bool = False

    @property
    def host(self) -> bool:
        return self.kind == "host"


class By(StrEnum):
    """How a target is asked."""

    POD = "pod"
    SERVICE = "service"
    HEADLESS = "headless"
    HOST_PORT = "hostport"
    NODE_PORT = "nodeport"
    URL = "url"
    PING = "ping"
    PING_HOST = "ping-host"
    PING_WHOLE = "ping-whole"

    @property
    def pings(self) -> bool:
        return self in {By.PING, By.PING_HOST, By.PING_WHOLE}


@dataclass(frozen=True, slots=True)
class Check:
    """One action.

    Attributes:
        scenario: Its scenario's name.
        client: Workload in which the command runs.
        server: Workload that is asked, or the URL, or the node of PING_HOST.
        by: How it is asked.
        allowed: It has to succeed; else it has to be denied.
        node: Whose node port.
        resolved: Where it is denied, its name has to be resolved all the same.
    """

    scenario: str
    client: str
    server: str
    by: By
    allowed: bool
    node: str = ""
    resolved: bool = False


@dataclass(frozen=True, slots=True)
class Test:
    """One test.

    Attributes:
        name: The original's.
        checks: Its actions.
        policies: NetworkPolicies that are there while it runs.
        skipped: Why it cannot be run, "" when it can.
        left_out: (scenario, why) of those that cannot be run here.
    """

    name: str
    checks: tuple[Check, ...]
    policies: tuple[dict[str, Any], ...] = field(default=())
    skipped: str = ""
    left_out: tuple[tuple[str, str], ...] = ()


def workloads_of(options: Options, first: str, second: str) -> list[Workload]:
    """Return the workloads; `second` is "" or the name of another node."""
    found = [
        Workload("client", _CLIENT, first),
        Workload("client2", _CLIENT, first, other=True),
        Workload("echo-same-node", ECHO, first),
        Workload("host-netns", "host", first),
    ]
    if second and not options.single_node:
        found += [Workload("client3", _CLIENT, second), Workload("echo-other-node", ECHO, second)]
    return found


# A workload that asks → whether it may.
_Allowed = Callable[[Workload], bool]


class _Scenarios:
    """The checks of each scenario, among these workloads."""

    def __init__(self, options: Options, workloads: Sequence[Workload]) -> None:
        self._options = options
        self._echoes = [one for one in workloads if one.kind == ECHO]
        self._clients = [one for one in workloads if one.kind == _CLIENT]
        self._hosts = [one for one in workloads if one.host]
        self._nodes = list(dict.fromkeys(one.node for one in workloads))

    def _to_echoes(self, scenario: str, by: By, allowed: _Allowed, *, resolved: bool = False) -> Iterator[Check]:
        for client in self._hosts if scenario.startswith("host-") else self._clients:
            for server in self._echoes:
                yield Check(scenario, client.name, server.name, by, allowed(client), resolved=resolved)

    def pod_to_pod(self, allowed: _Allowed) -> Iterator[Check]:
        return self._to_echoes("pod-to-pod", By.POD, allowed)

    def pod_to_service(self, allowed: _Allowed, *, resolved: bool = False) -> Iterator[Check]:
        return self._to_echoes("pod-to-service", By.SERVICE, allowed, resolved=resolved)

    def pod_to_headless(self) -> Iterator[Check]:
        return self._to_echoes("pod-to-headless", By.HEADLESS, _anyone)

    def pod_to_hostport(self) -> Iterator[Check]:
        return self._to_echoes("pod-to-hostport", By.HOST_PORT, _anyone)

    def host_to_pod(self) -> Iterator[Check]:
        return self._to_echoes("host-to-pod", By.POD, _anyone)

    def client_to_client(self, allowed: _Allowed) -> Iterator[Check]:
        for client in self._clients:
            for server in self._clients:
                if client is not server:
                    yield Check("client-to-client", client.name, server.name, By.PING, allowed(client))

    def pod_to_pod_whole(self) -> Iterator[Check]:
        for client in self._clients:
            for server in self._echoes:
                yield Check("pod-to-pod-no-frag", client.name, server.name, By.PING_WHOLE, allowed=True)

    def pod_to_host(self) -> Iterator[Check]:
        for client in self._clients:
            for node in self._nodes:
                yield Check("pod-to-host", client.name, node, By.PING_HOST, allowed=True)

    def pod_to_nodeport(self, *, remote: bool) -> Iterator[Check]:
        scenario = f"pod-to-{'remote' if remote else 'local'}-nodeport"
        for client in self._clients:
            for server in self._echoes:
                for node in self._nodes:
                    if (node != client.node) is remote:
                        yield Check(scenario, client.name, server.name, By.NODE_PORT, allowed=True, node=node)

    def pod_to_world(self) -> Iterator[Check]:
        for client in self._clients:
            for scheme in ("http", "https"):
                url = f"{scheme}://{self._options.external_target}"
                yield Check("pod-to-world", client.name, url, By.URL, allowed=True)

    def pod_to_cidr(self, refused: str = "") -> Iterator[Check]:
        for client in self._clients:
            for address in (self._options.external_ip, self._options.external_other_ip):
                yield Check("pod-to-cidr", client.name, f"https://{address}", By.URL, allowed=address != refused)

    def pod_to_api(self) -> Iterator[Check]:
        for client in self._clients:
            yield Check("pod-to-k8s", client.name, "https://kubernetes.default/healthz", By.URL, allowed=True)


def _anyone(_: Workload) -> bool:
    return True


def _nobody(_: Workload) -> bool:
    return False


def _the_other(client: Workload) -> bool:
    return client.other


def tests_of(options: Options, workloads: Sequence[Workload]) -> list[Test]:
    """Return the tests in the original's order, those that cannot be run as skipped; what is not asked for is left out.

    Raises:
        KubedynoError: An expression is none.
    """
    may = _Scenarios(options, workloads)
    world = options.no_world
    outside = (*may.pod_to_world(), *may.pod_to_cidr()) if not world else ()
    every = [
        Test(
            "no-policies",
            (
                *may.pod_to_pod(_anyone),
                *may.client_to_client(_anyone),
                *may.pod_to_service(_anyone),
                *may.pod_to_hostport(),
                *may.pod_to_host(),
                *may.host_to_pod(),
                *outside,
            ),
            left_out=tuple((name, world) for name in ("pod-to-world", "pod-to-cidr") if world),
        ),
        Test(
            "no-policies-extra",
            (*may.pod_to_nodeport(remote=True), *may.pod_to_nodeport(remote=False), *may.pod_to_headless()),
        ),
        Test(
            "client-ingress-knp",
            tuple(may.client_to_client(_the_other)),
            (
                _policy(
                    "client-ingress-from-client2",
                    {"matchLabels": {"kind": _CLIENT}},
                    ["Ingress"],
                    ingress=[{"from": [_pods({"other": "client"})]}],
                ),
            ),
        ),
        Test(
            "all-ingress-deny-knp",
            tuple(may.pod_to_pod(_nobody)),
            (_policy("all-ingress-deny", {}, ["Ingress"]),),
        ),
        Test(
            "all-egress-deny-knp",
            tuple(may.pod_to_pod(_nobody)),
            (_policy("all-egress-deny", {}, ["Egress"]),),
        ),
        Test(
            "echo-ingress-knp",
            tuple(may.pod_to_pod(_the_other)),
            (
                _policy(
                    "client-to-echo-knp",
                    {"matchLabels": {"kind": ECHO}},
                    ["Ingress"],
                    ingress=[{"from": [_pods({"other": "client"})], "ports": _ports("TCP", PORT)}],
                ),
            ),
        ),
        Test(
            "client-egress-knp",
            tuple(may.pod_to_pod(_anyone)),
            (_egress("client-egress-to-echo", _ports("TCP", PORT), _pods({"kind": ECHO})),),
        ),
        Test(
            "client-egress-expression-knp",
            tuple(may.pod_to_pod(_anyone)),
            (
                _egress(
                    "client-egress-to-echo-expression",
                    _ports("TCP", PORT),
                    {"podSelector": {"matchExpressions": [{"key": "kind", "operator": "In", "values": [ECHO]}]}},
                ),
            ),
        ),
        Test(
            "client-egress-expression-knp-port-range",
            tuple(may.pod_to_pod(_anyone)),
            (
                _egress(
                    "client-egress-to-echo-expression",
                    [{**port, "endPort": _LAST_PORT} for port in _ports("TCP", _FIRST_PORT)],
                    {"podSelector": {"matchExpressions": [{"key": "kind", "operator": "In", "values": [ECHO]}]}},
                ),
            ),
        ),
        Test(
            "to-cidr-external-knp",
            tuple(may.pod_to_cidr(refused=options.external_other_ip)) if not world else (),
            (
                _egress(
                    "client-egress-to-cidr",
                    None,
                    {"ipBlock": {"cidr": options.external_cidr, "except": [f"{options.external_other_ip}/32"]}},
                ),
            ),
            skipped=world,
        ),
        Test(
            "dns-only",
            (*may.pod_to_pod(_nobody), *may.pod_to_service(_nobody, resolved=True)),
            (_egress("client-egress-only-dns", [*_ports("UDP", _DNS_PORT), *_ports("TCP", _DNS_PORT)]),),
        ),
        Test("pod-to-k8s", tuple(may.pod_to_api())),
        Test("pod-to-pod-no-frag", tuple(may.pod_to_pod_whole())),
    ]
    ours = {test.name: test for test in every}
    told = [ours.get(name) or Test(name, (), skipped=why) for name, why in absent.NEEDS.items()]
    return [test for test in told if _chosen(options.tests, test)]


def _pods(labels: dict[str, str]) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": labels}}


def _ports(protocol: str, port: int) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": protocol}]


def _policy(name: str, selector: dict[str, Any], types: list[str], **rules: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": selector, "policyTypes": types, **rules},
    }


def _egress(name: str, ports: list[dict[str, Any]] | None, *peers: dict[str, Any]) -> dict[str, Any]:
    """Return what clients may send: to these peers or to all, to these ports or to all."""
    rule: dict[str, Any] = {"to": list(peers)} if peers else {}
    if ports is not None:
        rule["ports"] = ports
    return _policy(name, {"matchLabels": {"kind": _CLIENT}}, ["Egress"], egress=[rule])


def _chosen(expressions: tuple[str, ...], test: Test) -> bool:
    wanted: list[str] = []
    unwanted: list[str] = []
    for text in expressions:
        (unwanted if text.startswith("!") else wanted).append(text.removeprefix("!"))

    def matches(text: str) -> bool:
        name, slash, scenario = text.partition("/")
        try:
            if slash and not any(re.search(scenario, check.scenario) for check in test.checks):
                return False
            return re.search(name, test.name) is not None
        except re.error as error:
            raise KubedynoError(f"--test {text}: no regular expression ({error})") from error

    return (not wanted or any(map(matches, wanted))) and not any(map(matches, unwanted))
