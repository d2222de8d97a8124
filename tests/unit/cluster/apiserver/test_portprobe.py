"""Port probes on simulated pods: which commands are some, and who accepts a connection."""

import asyncio

import pytest

from kubedyno.cluster.apiserver import portprobe
from kubedyno.cluster.apiserver.portprobe import Ports, Probe, probe_of
from kubedyno.kube.resources import NODES, PODS, SERVICES, by_plural
from unit.cluster.apiserver.harness import Api

LOOP = "while true; do nc -w 0.1s -z 10.96.0.9 80 && break; sleep 0.05; done"
SLICES = by_plural("discovery.k8s.io", "v1", "endpointslices")


@pytest.mark.parametrize(
    ("words", "probe"),
    [
        (["nc", "-z", "a.b", "80"], Probe("a.b", 80, False, 10.0)),
        (["nc", "-zn", "-w", "2", "10.0.0.1", "443"], Probe("10.0.0.1", 443, False, 2.0)),
        (["bash", "-c", LOOP], Probe("10.96.0.9", 80, True, 0.1)),
        (["sh", "-c", "until nc -z db 5432; do sleep 1; done"], Probe("db", 5432, True, 10.0)),
        (["/bin/sh", "-c", "nc -z DB 1"], Probe("db", 1, False, 10.0)),
        (["nc", "10.0.0.1", "80"], None),
        (["nc", "-zv", "10.0.0.1", "80"], None),
        (["nc", "-z", "-u", "10.0.0.1", "80"], None),
        (["nc", "-z", "10.0.0.1", "80-90"], None),
        (["nc", "-z", "10.0.0.1", "70000"], None),
        (["nc", "-z", "-w", "soon", "10.0.0.1", "80"], None),
        (["nc", "-z", "-w"], None),
        (["bash", "-c", "nc -z a 1; rm -rf /"], None),
        (["bash", "-c", "nc -z $(id) 1"], None),
        (["bash", "-c", LOOP, "x"], None),
        (["curl", "-z", "a", "1"], None),
        (["nc", "-z", "a" * 600, "1"], None),
        ([], None),
    ],
)
def test_only_a_silent_look_at_one_tcp_port_is_a_probe(words, probe):
    assert probe_of(words) == probe


@pytest.fixture
def api():
    made = Api()
    spec = {"clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"], "type": "NodePort", "selector": {"a": "b"}}
    ports = [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    made.registry.create(SERVICES, "ns", {"metadata": {"name": "s"}, "spec": {**spec, "ports": ports}})
    return made


def serve(api, *, ready=True, name="http", service="s"):
    api.registry.create(
        SLICES,
        "ns",
        {
            "metadata": {
                "name": f"{service}-{name}-{ready}".lower(),
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "ports": [{"name": name, "port": 8080, "protocol": "TCP"}],
            "endpoints": [{"addresses": ["10.244.0.5"], "conditions": {"ready": ready}}],
        },
    )


def ports(api):
    return Ports(api.registry.store, api.registry.clock)


def test_a_service_accepts_with_its_first_ready_endpoint(api):
    assert ports(api).accepts("10.96.0.9", 80, "ns") is False
    serve(api, ready=False)
    serve(api, name="other")
    assert ports(api).accepts("10.96.0.9", 80, "ns") is False
    serve(api)
    assert ports(api).accepts("10.96.0.9", 80, "ns") is True
    assert ports(api).accepts("10.96.0.9", 53, "ns") is False
    assert ports(api).accepts("10.96.0.9", 8080, "ns") is False
    assert ports(api).accepts("10.96.0.10", 80, "ns") is None


def test_services_have_names_and_those_of_other_namespaces_only_whole_ones(api):
    serve(api)
    for name in ("s", "s.ns", "s.ns.svc", "s.ns.svc.cluster.local", "s.ns.svc.cluster.local."):
        assert ports(api).accepts(name, 80, "ns") is True
    assert ports(api).accepts("s", 80, "elsewhere") is None
    assert ports(api).accepts("s.ns", 80, "elsewhere") is True


def test_node_ports_are_accepted_on_nodes_alone(api):
    api.registry.create(NODES, "", {"metadata": {"name": "n1"}})
    serve(api)
    assert ports(api).accepts("n1", 30080, "ns") is True
    assert ports(api).accepts("n1", 80, "ns") is False
    assert ports(api).accepts("10.96.0.9", 30080, "ns") is False


def test_what_a_pod_listens_on_is_not_known(api):
    probe = Probe("10.244.0.5", 8080, False, 0.0)
    assert ports(api).answers(probe)
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    api.registry.create(PODS, "ns", {"metadata": {"name": "p"}, "spec": spec})
    status = {"phase": "Running", "podIP": probe.host, "podIPs": [{"ip": probe.host}]}
    api.registry.modify(PODS, "ns", "p", lambda pod: {**pod, "status": status}, subresource="status")
    assert not ports(api).answers(probe)


def test_a_loop_ends_when_somebody_accepts(api, monkeypatch):
    monkeypatch.setattr(portprobe, "_EVERY_S", 0.001)

    async def run():
        task = asyncio.ensure_future(ports(api).run(Probe("s", 80, True, 0.1), "ns"))
        await asyncio.sleep(0.02)
        assert not task.done()
        serve(api)
        return await asyncio.wait_for(task, 60)

    assert asyncio.run(run()) == 0


def test_a_single_look_is_refused_or_gets_no_answer(api):
    assert asyncio.run(ports(api).run(Probe("s", 80, False, 5.0), "ns")) == 1
    assert asyncio.run(ports(api).run(Probe("nobody", 80, False, 0.01), "ns")) == 1
