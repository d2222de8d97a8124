"""The network of real pods without processes: each datapath proven by counters, and what is left when it is closed."""

import socket

import pytest

from kubedyno.cluster.processes import services
from kubedyno.cluster.processes.network import BRIDGE, EBPF, ROUTE, Network
from kubedyno.cluster.processes.services import ServicePort

PORT = 7000


@pytest.fixture(params=[ROUTE, BRIDGE, EBPF])
def network(request, needs):
    if request.param == EBPF:
        from kubedyno.datapath.topology import Path

        needs(Path.EBPF)
    made = Network(request.param)
    for number, name in ((1, "a"), (2, "b")):
        node, fresh = made.node(name, f"172.18.0.{number}", f"10.244.{number}.0/24")
        assert fresh
        for pod in (2, 3):
            node.add(f"{name}{pod}", f"10.244.{number}.{pod}")
    yield made
    made.close()


def talk(network, client, server, address, port=PORT, within_s=30):
    """Send a word from a pod to another, and back; returns what address the server saw."""
    ours, theirs = (network.nodes[name[0]].devices[name] for name in (client, server))
    with theirs.space.inside():
        listening = socket.create_server(("", PORT))
    with listening:
        with ours.space.inside():
            asking = socket.socket()
        with asking:
            asking.settimeout(within_s)
            asking.connect((address, port))
            accepted, peer = listening.accept()
            with accepted:
                asking.sendall(b"word")
                accepted.settimeout(30)
                assert accepted.recv(9) == b"word"
                accepted.sendall(b"back")
                assert asking.recv(9) == b"back"
    return peer[0]


def install(network, ports, hosts=()):
    """Put the rules of services and host ports into every node."""
    for node in network.nodes.values():
        own = services.Node(node.name, node.address, node.cidr)
        services.install(node.space, ports, hosts, own, masquerade_all=network.datapath != ROUTE)


def test_packets_take_the_chosen_way(network):
    before = {name: node.counted() for name, node in network.nodes.items()}
    assert talk(network, "a2", "a3", "10.244.1.3") == "10.244.1.2"
    same = {name: node.counted() for name, node in network.nodes.items()}
    assert talk(network, "a2", "b2", "10.244.2.2") == "10.244.1.2"
    other = {name: node.counted() for name, node in network.nodes.items()}

    def grew(name, counter, first, second):
        return second[name][counter] - first[name][counter]

    if network.datapath == EBPF:
        assert grew("a", "peer", before, same) >= 8
        assert grew("a", "neigh", before, same) == 0
        assert grew("a", "neigh", same, other) >= 4
        assert grew("b", "peer", same, other) >= 4
    elif network.datapath == ROUTE:
        assert grew("a", "forwarded", before, same) >= 8
        assert grew("b", "forwarded", same, other) >= 8
    else:
        # One segment on a node: the stack forwards between nodes alone.
        assert grew("a", "forwarded", before, same) == 0
        assert grew("a", "forwarded", same, other) >= 8


@pytest.mark.parametrize(("client", "server", "target"), [
    ("a2", "a3", "10.244.1.3"), ("a2", "b2", "10.244.2.2"), ("a2", "a2", "10.244.1.2"),
])  # fmt: skip
def test_a_service_is_translated_and_counted(network, client, server, target):
    port = ServicePort(("10.96.0.77",), "TCP", 80, ((target, PORT),))
    install(network, [port])
    seen = talk(network, client, server, "10.96.0.77", 80)
    space = network.nodes[client[0]].space
    assert services.translations(space) == 1
    if network.datapath == ROUTE and client != server:
        assert seen == "10.244.1.2"
    # A second set of rules takes the place of the first, and begins to count anew.
    install(network, [])
    assert services.translations(space) == 0
    with pytest.raises(OSError, match=r"unreachable|timed out|No route"):
        talk(network, client, server, "10.96.0.77", 80, within_s=3)


@pytest.mark.parametrize("node", ["a", "b"])
@pytest.mark.parametrize("server", ["a3", "b2"])
def test_a_node_port_is_on_every_node_and_a_local_one_on_its_own(network, node, server):
    number = {"a": 1, "b": 2}
    target = (f"10.244.{number[server[0]]}.{server[1]}", PORT)
    address = network.nodes[node].address
    install(network, [ServicePort(("10.96.0.81",), "TCP", 80, (target,), node_port=30080)])
    # Replies come back by the node that was asked, so the server sees an address of a node.
    assert talk(network, "a2", server, address, 30080) != "10.244.1.2"
    install(network, [ServicePort(("10.96.0.81",), "TCP", 80, (target,), node_port=30080, local=True)])
    if node != server[0]:
        with pytest.raises(OSError, match=r"refused|unreachable|timed out"):
            talk(network, "a2", server, address, 30080, within_s=3)
    elif network.datapath == ROUTE:
        # The point of externalTrafficPolicy Local: the client's own address is kept.
        assert talk(network, "a2", server, address, 30080) == "10.244.1.2"
    else:
        talk(network, "a2", server, address, 30080)


def test_what_talks_to_its_own_address_without_a_service_keeps_it(network):
    node = network.nodes["a"]
    # The API server is such an endpoint: a process on the node's own network.
    install(network, [ServicePort(("10.96.0.1",), "TCP", 443, ((node.address, 6443),))])
    with node.space.inside():
        serving, asking = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with serving, asking:
        serving.bind(("", PORT))
        serving.settimeout(30)
        asking.settimeout(30)
        asking.connect((node.address, PORT))
        asking.send(b"word")
        _, peer = serving.recvfrom(9)
        assert peer[0] == node.address
        # As iperf3 does: the answer comes from the address that the route prefers.
        serving.connect(peer)
        serving.send(b"back")
        assert asking.recv(9) == b"back"


def test_a_host_port_is_on_the_pods_node_alone(network):
    install(network, [], [services.HostPort("b", "TCP", 4000, ("10.244.2.2", PORT))])
    talk(network, "a2", "b2", network.nodes["b"].address, 4000)
    with pytest.raises(ConnectionRefusedError):
        talk(network, "a2", "b2", network.nodes["a"].address, 4000)


@pytest.mark.parametrize("client", ["a2", ""])
def test_who_comes_before_the_rules_is_refused_and_served_after_them(network, client):
    node = network.nodes["a"]
    node.space.rtnetlink.add_route("10.96.0.0/16", node.wire.index)
    services.refuse_unserved(node.space, "10.96.0.0/16")
    # As a cluster's: with rules for other services, the kernel tracks connections already.
    install(network, [])
    port = ServicePort(("10.96.0.79",), "TCP", 80, (("10.244.1.3", PORT),))
    space = node.devices[client].space if client else node.space
    with node.devices["a3"].space.inside():
        listening = socket.create_server(("", PORT))
    with listening:
        # One source port: the same connection to conntrack.
        for served in (False, True):
            if served:
                install(network, [port])
            with space.inside():
                asking = socket.socket()
            with asking:
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                asking.bind(("", 34567))
                asking.settimeout(30)
                if served:
                    asking.connect(("10.96.0.79", 80))
                    continue
                with pytest.raises(ConnectionRefusedError):
                    asking.connect(("10.96.0.79", 80))


def test_a_datagram_to_an_address_that_nothing_serves_is_refused(network):
    node = network.nodes["a"]
    node.space.rtnetlink.add_route("10.96.0.0/16", node.wire.index)
    services.refuse_unserved(node.space, "10.96.0.0/16")
    with node.devices["a2"].space.inside():
        asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with asking:
        asking.settimeout(30)
        asking.connect(("10.96.0.79", 81))
        asking.send(b"word")
        with pytest.raises(ConnectionRefusedError):
            asking.recv(9)


def test_connections_are_spread_over_endpoints(network):
    targets = (("10.244.1.3", PORT), ("10.244.2.2", PORT), ("10.244.2.3", PORT))
    port = ServicePort(("10.96.0.78",), "TCP", 80, targets)
    install(network, [port])
    listening = {}
    for name in ("a3", "b2", "b3"):
        with network.nodes[name[0]].devices[name].space.inside():
            listening[name] = socket.create_server(("", PORT), backlog=200)
    for _ in range(120):
        with network.nodes["a"].devices["a2"].space.inside():
            asking = socket.create_connection(("10.96.0.78", 80), 30)
        asking.close()
    counts = []
    for one in listening.values():
        one.settimeout(0)
        number = 0
        while True:
            try:
                one.accept()[0].close()
            except BlockingIOError:
                break
            number += 1
        counts.append(number)
        one.close()
    assert sum(counts) == 120
    # 40 each on average; five standard deviations are 26.
    assert min(counts) >= 14


def test_a_removed_pods_address_can_be_another_pods(network):
    node = network.nodes["b"]
    for client in ("a2", "b3"):
        talk(network, client, "b2", "10.244.2.2")
    node.remove("b2")
    node.add("b4", "10.244.2.2")
    assert talk(network, "a2", "b4", "10.244.2.2") == "10.244.1.2"
    assert talk(network, "b3", "b4", "10.244.2.2") == "10.244.2.3"


def test_a_bridge_keeps_its_address_when_pods_come_and_go(network):
    if network.datapath != BRIDGE:
        pytest.skip("of the bridge datapath")
    node = network.nodes["a"]
    before = node.space.rtnetlink.link("br0").mac
    for number in range(10, 30):
        node.add(f"a{number}", f"10.244.1.{number}")
    assert node.space.rtnetlink.link("br0").mac == before
