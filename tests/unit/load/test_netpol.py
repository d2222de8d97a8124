"""Network policy latency: who connects to whom, the proxy's protocol, and what its results mean."""

import asyncio
from types import SimpleNamespace

import orjson
import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.client.portforward import Reply
from kubedyno.load.config.spec import JobSpec, MeasurementSpec
from kubedyno.load.measurements import netpol
from kubedyno.load.measurements.connections import Peer, connections_of, serves
from kubedyno.load.measurements.measurement import Common

SPACES = {f"ns-{n}": {"kubernetes.io/metadata.name": f"ns-{n}"} for n in range(3)}
PODS = [Peer(f"ns-{n}", {"num": str(number)}, f"10.0.{n}.{number}") for n in range(3) for number in (1, 2)]
IN_1 = {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["ns-1"]}]}


def policy(name="p", ports=({"protocol": "TCP", "port": 8080},), peers=None, pods=None):
    peers = [{"namespaceSelector": IN_1, "podSelector": {"matchLabels": {"num": "2"}}}] if peers is None else peers
    rule = {"from": peers, "ports": list(ports)}
    return {"metadata": {"name": name, "namespace": "ns-0"}, "spec": {"podSelector": pods or {}, "ingress": [rule]}}


def test_chosen_peers_connect_to_the_chosen_pods_of_the_policys_namespace():
    found = connections_of([("ns-0", policy(pods={"matchLabels": {"num": "1"}}))], PODS, SPACES)
    assert found.by_client == {"10.0.1.2": [{"addresses": ["10.0.0.1"], "ports": [8080], "netpol": "p"}]}
    assert found.policies == {("10.0.1.2", "10.0.0.1"): [("ns-0", "p")]}


def test_a_pair_is_tried_once_for_all_policies_that_allow_it():
    found = connections_of([("ns-0", policy("p")), ("ns-0", policy("q"))], PODS, SPACES)
    assert [one["netpol"] for one in found.by_client["10.0.1.2"]] == ["p"]
    assert found.policies["10.0.1.2", "10.0.0.2"] == [("ns-0", "p"), ("ns-0", "q")]


def test_peers_without_a_namespace_are_of_the_policys_own_and_nobody_connects_to_itself():
    found = connections_of([("ns-0", policy(peers=[{"podSelector": {}}]))], PODS, SPACES)
    assert {client: one[0]["addresses"] for client, one in found.by_client.items()} == {
        "10.0.0.1": ["10.0.0.2"], "10.0.0.2": ["10.0.0.1"],
    }  # fmt: skip
    assert not connections_of([("ns-0", policy(peers=[{"ipBlock": {"cidr": "0.0.0.0/0"}}]))], PODS, SPACES).by_client


@pytest.mark.parametrize(
    ("ports", "is_tried"),
    [
        ([], True),
        ([{"port": 8080}], True),
        ([{"port": 8000, "endPort": 9000}], True),
        ([{}], True),
        ([{"port": 80}, {"port": "http"}], False),
        ([{"port": 8080, "protocol": "UDP"}], False),
    ],
)
def test_only_rules_that_allow_the_served_port_are_tried(ports, is_tried):
    assert serves({"ports": ports}) is is_tried


# --- the protocol ------------------------------------------------------------------------------------------------


class Cluster:
    """Lists pods and namespaces; remembers what was made and deleted."""

    def __init__(self):
        self.log = []

    async def list_all(self, path):
        if path == "/api/v1/namespaces":
            return [{"metadata": {"name": name, "labels": labels}} for name, labels in SPACES.items()]
        return [
            {"metadata": {"namespace": p.namespace, "labels": p.labels}, "status": {"podIP": p.address}} for p in PODS
        ]

    async def create(self, path, body):
        self.log.append(("POST", path, body["metadata"]["name"]))

    async def delete(self, path):
        self.log.append(("DELETE", path))

    async def get(self, path):
        if any(entry[0] == "DELETE" for entry in self.log):
            raise KubedynoError("gone")
        return {"status": {"phase": "Running"}}


class Proxy:
    """The proxy pod's HTTP side: needs two looks before it is ready."""

    def __init__(self, results, status=200):
        self.results, self.status = results, status
        self.asked = []

    async def ask(self, _client, namespace, pod, port, method, path, body=b""):
        assert (namespace, pod, port) == ("network-policy-proxy", "network-policy-proxy", 9002)
        self.asked.append((method, path, body))
        if "Status" in path:
            return Reply(self.status, orjson.dumps({"result": [p for _, p, _ in self.asked].count(path) > 1}))
        return Reply(self.status, self.results if path == "/results" else b"")


def measured(monkeypatch, proxy, labels=None, created="2026-09-21T14:13:20Z", policies=None):
    """Run one job of one policy; returns the measurement and what the cluster was asked."""
    monkeypatch.setattr(netpol.portforward, "ask", proxy.ask)
    monkeypatch.setattr(netpol, "_FIRST_POLL_S", 0.0)
    item = SimpleNamespace(
        kind="NetworkPolicy", replicas=1, due=lambda _iteration: True,
        render=lambda _iteration, _replica: SimpleNamespace(namespace="ns-0", body=orjson.dumps(policies or policy())),
    )  # fmt: skip
    plan = SimpleNamespace(spec=JobSpec("job", job_iterations=1, namespace_labels=labels or {}), objects=[item])
    client = Cluster()

    async def run():
        one = netpol.NetpolLatency(MeasurementSpec("netpolLatency"), client, SYSTEM_CLOCK, "", plan)

        async def begin(*_args, **_more):
            pass

        one.followed.begin = begin
        await one.start()
        made = policy()
        made["metadata"] |= {"uid": "u", "creationTimestamp": created}
        one.event("ADDED", orjson.dumps(made))
        await one.stop()
        return one

    return asyncio.run(run()), client


def results(*stamps):
    return orjson.dumps({"10.0.1.2": [
        {"address": f"10.0.0.{n + 1}", "port": 8080, "connectionidx": 0, "npname": "p", "timestamp": stamp}
        for n, stamp in enumerate(stamps)
    ]})  # fmt: skip


def test_the_first_and_the_last_connection_are_the_policys_figures(monkeypatch):
    proxy = Proxy(results("2026-09-21T14:13:20.250123456Z", "2026-09-21T14:13:21.5Z"))
    one, client = measured(monkeypatch, proxy)
    (document,) = one.documents(Common("job", "u", {"team": "x"}, lambda _at_s: False))
    assert document == {
        "timestamp": "2026-09-21T14:13:20Z", "minReady": 250, "ready": 1500, "metricName": "netpolLatencyMeasurement",
        "uuid": "u", "jobName": "job", "namespace": "ns-0", "netpol": "p", "metadata": {"team": "x"},
    }  # fmt: skip
    assert [(m, p) for m, p, _ in proxy.asked] == [
        ("POST", "/initiate"), *[("GET", "/checkConnectionsStatus")] * 2, ("GET", "/stop"),
        *[("GET", "/checkStopStatus")] * 2, ("GET", "/results"),
    ]  # fmt: skip
    assert orjson.loads(proxy.asked[0][2]) == {
        "10.0.1.2": [{"addresses": ["10.0.0.1", "10.0.0.2"], "ports": [8080], "netpol": "p"}]
    }
    assert {name: s.maximum for name, s in one.summaries().items()} == {"MinReady": 250, "Ready": 1500}
    assert client.log == [
        ("POST", "/api/v1/namespaces", "network-policy-proxy"),
        ("POST", "/api/v1/namespaces/network-policy-proxy/pods", "network-policy-proxy"),
        ("DELETE", "/api/v1/namespaces/network-policy-proxy"),
    ]
    assert one.followed.trouble == []


def test_the_job_that_makes_the_pods_is_left_out(monkeypatch):
    one, client = measured(monkeypatch, Proxy(b"{}"), {netpol.SKIP: "true"})
    assert (client.log, one.followed.trouble, list(one.documents(Common("j", "u", {}, lambda _: False)))) == (
        [],
        [],
        [],
    )


@pytest.mark.parametrize(
    ("proxy", "said"),
    [
        (Proxy(b"{}", status=404), "answers /initiate with 404"),
        (Proxy(b"[1]"), "no object by client address"),
        (Proxy(b'{"10.0.1.2": [{"address": "x"}]}'), "a result without address or time"),
        (Proxy(b'{"10.0.1.2": true}'), "no list of results"),
        (Proxy(b"<html>"), "unexpected"),
    ],
)
def test_what_is_no_such_proxy_is_told_and_measures_nothing(monkeypatch, proxy, said):
    one, client = measured(monkeypatch, proxy)
    (line,) = one.followed.trouble
    assert line.startswith("netpolLatency: not measured: ")
    assert said in line
    assert not list(one.documents(Common("j", "u", {}, lambda _: False)))
    assert client.log[-1][0] == "DELETE"


def test_a_policy_that_lets_nobody_in_is_told_before_a_pod_is_made(monkeypatch):
    one, client = measured(monkeypatch, Proxy(b"{}"), policies=policy(peers=[]))
    assert "no connection to try" in one.followed.trouble[0]
    assert client.log == []


def test_a_connection_before_its_policy_counts_as_nothing_and_is_told(monkeypatch, caplog):
    one, _ = measured(monkeypatch, Proxy(results("2026-09-21T14:13:19Z")))
    (document,) = one.documents(Common("job", "u", {}, lambda _at_s: False))
    assert (document["ready"], one.error_share()) == (0, 0.0)
