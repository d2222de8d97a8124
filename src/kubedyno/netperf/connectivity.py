"""Connectivity checks by the names that `cilium connectivity test` has for them, as far as they need no Cilium. Pure.

A test is a set of policies and of scenarios; a scenario is a list of actions, each a command in a client's pod that has to
succeed, or to be denied. What cannot be checked on a cluster is skipped with a reason, never passed.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubedyno.base.errors import KubedynoError

CONTAINER = "c"
PORT = 8080
_ECHO, _CLIENT = "echo", "client"


@dataclass(frozen=True, slots=True)
class Options:
    """What to check; names and defaults as the flags of `cilium connectivity test`.

    Attributes:
        tests: Regular expressions of names; one with "!" before it takes tests out; "/" and a name chooses by scenario.
        single_node: Nothing on a second node.
        connect_timeout_s: curl's.
        request_timeout_s: curl's.
        namespace: Its name; "-1" is appended.
        curl_image: Of clients.
        echo_image: Of servers.
        tolerations: Keys of NoSchedule taints that are tolerated.
    """

    tests: tuple[str, ...] = ()
    single_node: bool = False
    connect_timeout_s: int = 2
    request_timeout_s: int = 10
    namespace: str = "cilium-test"
    curl_image: str = "quay.io/cilium/alpine-curl:v1.10.0"
    echo_image: str = "quay.io/cilium/json-mock:v1.3.9"
    tolerations: tuple[str, ...] = ()

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


@dataclass(frozen=True, slots=True)
class Check:
    """One action.

    Attributes:
        scenario: Its scenario's name.
        client: Workload in which the command runs.
        server: Workload that is asked.
        by: How it is asked for: "pod" address, "service" or "headless" name.
        allowed: It has to succeed; else it has to be denied.
    """

    scenario: str
    client: str
    server: str
    by: str
    allowed: bool


@dataclass(frozen=True, slots=True)
class Test:
    """One test.

    Attributes:
        name: The original's.
        checks: Its actions.
        policies: NetworkPolicies that are there while it runs.
        skipped: Why it cannot be run, "" when it can.
    """

    name: str
    checks: tuple[Check, ...]
    policies: tuple[dict[str, Any], ...] = field(default=())
    skipped: str = ""


def workloads_of(options: Options, first: str, second: str) -> list[Workload]:
    """Return the workloads; `second` is "" or the name of another node."""
    found = [
        Workload("client", _CLIENT, first),
        Workload("client2", _CLIENT, first, other=True),
        Workload("echo-same-node", _ECHO, first),
        Workload("host-netns", "host", first),
    ]
    if second and not options.single_node:
        found += [Workload("client3", _CLIENT, second), Workload("echo-other-node", _ECHO, second)]
    return found


def tests_of(options: Options, workloads: Sequence[Workload]) -> list[Test]:
    """Return the tests in the original's order, those that are not asked for left out.

    Raises:
        KubedynoError: An expression is none.
    """
    every = [
        _open("no-policies", workloads, ("pod-to-pod", "pod-to-service", "host-to-pod")),
        _open("no-policies-extra", workloads, ("pod-to-headless",)),
        Test(
            "all-ingress-deny-knp",
            tuple(_pairs(workloads, "pod-to-pod", lambda _: False)),
            (_policy("all-ingress-deny", {}, ["Ingress"]),),
        ),
        Test(
            "all-egress-deny-knp",
            tuple(_pairs(workloads, "pod-to-pod", lambda _: False)),
            (_policy("all-egress-deny", {}, ["Egress"]),),
        ),
        Test(
            "echo-ingress-knp",
            tuple(_pairs(workloads, "pod-to-pod", lambda client: client.other)),
            (
                _policy(
                    "client-to-echo-knp",
                    {"matchLabels": {"kind": _ECHO}},
                    ["Ingress"],
                    ingress=[{"from": [_pods({"other": "client"})], "ports": _ports(PORT)}],
                ),
            ),
        ),
        Test(
            "client-egress-knp",
            tuple(_pairs(workloads, "pod-to-pod", lambda _: True)),
            (_egress("client-egress-to-echo", {"podSelector": {"matchLabels": {"kind": _ECHO}}}),),
        ),
        Test(
            "client-egress-expression-knp",
            tuple(_pairs(workloads, "pod-to-pod", lambda _: True)),
            (
                _egress(
                    "client-egress-to-echo-expression",
                    {"podSelector": {"matchExpressions": [{"key": "kind", "operator": "In", "values": [_ECHO]}]}},
                ),
            ),
        ),
    ]
    return [test for test in every if _chosen(options.tests, test)]


def _open(name: str, workloads: Sequence[Workload], scenarios: Sequence[str]) -> Test:
    return Test(name, tuple(check for one in scenarios for check in _pairs(workloads, one, lambda _: True)))


def _pairs(workloads: Sequence[Workload], scenario: str, allowed: Any) -> Iterator[Check]:
    kind = "host" if scenario.startswith("host-") else _CLIENT
    target = scenario.rpartition("-")[2]
    for client in (one for one in workloads if one.kind == kind):
        for server in (one for one in workloads if one.kind == _ECHO):
            yield Check(scenario, client.name, server.name, target, bool(allowed(client)))


def _pods(labels: dict[str, str]) -> dict[str, Any]:
    return {"podSelector": {"matchLabels": labels}}


def _ports(port: int) -> list[dict[str, Any]]:
    return [{"port": port, "protocol": "TCP"}]


def _policy(name: str, selector: dict[str, Any], types: list[str], **rules: Any) -> dict[str, Any]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": selector, "policyTypes": types, **rules},
    }


def _egress(name: str, peer: dict[str, Any]) -> dict[str, Any]:
    return _policy(
        name, {"matchLabels": {"kind": _CLIENT}}, ["Egress"], egress=[{"to": [peer], "ports": _ports(PORT)}]
    )  # fmt: skip


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


# --- objects and commands --------------------------------------------------------------------------------------------


def manifest_of(options: Options, workload: Workload) -> dict[str, Any]:
    """Return a Deployment's manifest."""
    labels = {"name": workload.name, "kind": workload.kind, **({"other": "client"} if workload.other else {})}
    server = workload.kind == _ECHO
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": options.echo_image if server else options.curl_image,
        "imagePullPolicy": "IfNotPresent",
    }
    if server:
        container |= {"env": [{"name": "PORT", "value": str(PORT)}], "ports": [{"containerPort": PORT}]}
        container["readinessProbe"] = {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1}
    else:
        container["command"] = ["sleep", "10000000"]
    selector = {"name": workload.name}
    spec = {
        "serviceAccountName": workload.name,
        "nodeSelector": {"kubernetes.io/hostname": workload.node},
        "hostNetwork": workload.host,
        "terminationGracePeriodSeconds": 1,
        "tolerations": [{"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in options.tolerations],
        "containers": [container],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": workload.name, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def services_of(workload: Workload) -> list[dict[str, Any]]:
    """Return a server's Services: one with an address, one without."""
    selector = {"name": workload.name}
    ports = [{"name": "http", "port": PORT, "targetPort": PORT}]
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": selector, "ports": ports, **more},
        }
        for name, more in ((workload.name, {}), (f"{workload.name}-headless", {"clusterIP": "None"}))
    ]


def url_of(check: Check, address: str) -> str:
    """Return what a check asks; `address` is its server's pod's."""
    host = {"pod": address, "service": check.server, "headless": f"{check.server}-headless"}[check.by]
    return f"http://{host}:{PORT}/"


def command_of(options: Options, check: Check, url: str) -> list[str]:
    """Return the command of a check: curl with the original's flags; what is to be denied is asked once."""
    words = [
        "curl", "--silent", "--fail", "--show-error", "--connect-timeout", str(options.connect_timeout_s),
        "--max-time", str(options.request_timeout_s), "-4", "-w",
        "%{local_ip}:%{local_port} -> %{remote_ip}:%{remote_port} = %{response_code}\\n", "--output", "/dev/null",
    ]  # fmt: skip
    if check.allowed:
        words += ["--retry", "3", "--retry-all-errors", "--retry-delay", "3"]
    return [*words, url]
