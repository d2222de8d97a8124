"""Which pods connect to which, so that a NetworkPolicy shows when it takes effect: policies and pods in, pairs out.

As in the original, ingress rules whose peers are chosen by selectors are tried, on the one port that the test pods serve.
Each pair of addresses is tried once, for all policies that allow it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubedyno.kube.selectors import LabelSelector

Json = Mapping[str, Any]
# (namespace, name) of a policy.
Key = tuple[str, str]
# What the pods of the original's workload serve.
TEST_PORT = 8080


@dataclass(frozen=True, slots=True)
class Peer:
    """A pod with an address."""

    namespace: str
    labels: Mapping[str, str]
    address: str


@dataclass(slots=True)
class Connections:
    """What is tried.

    Attributes:
        by_client: Address of the pod that connects → connections, as the proxy pod wants them.
        policies: (client's address, server's address) → the policies that allow the pair.
    """

    by_client: dict[str, list[Json]] = field(default_factory=dict)
    policies: dict[tuple[str, str], list[Key]] = field(default_factory=dict)


def connections_of(
    policies: Iterable[tuple[str, Json]], pods: Sequence[Peer], namespaces: Mapping[str, Mapping[str, str]]
) -> Connections:
    """Return the connections that show policies at work.

    Args:
        policies: Namespace and object of each, in the order in which they will be made.
        pods: What can connect.
        namespaces: Name → labels.

    Raises:
        ValueError: A selector is wrong.
    """
    found = Connections()
    by_namespace: dict[str, list[Peer]] = {}
    for pod in pods:
        by_namespace.setdefault(pod.namespace, []).append(pod)
    for namespace, policy in policies:
        key = (namespace, str(policy["metadata"]["name"]))
        spec = policy.get("spec") or {}
        chosen = LabelSelector.of(spec.get("podSelector") or {})
        servers = [pod.address for pod in by_namespace.get(namespace, ()) if chosen.matches(pod.labels)]
        for rule in spec.get("ingress") or ():
            if not serves(rule):
                continue
            for peer in rule.get("from") or ():
                for client in _clients(peer, namespace, by_namespace, namespaces):
                    _add(found, client, servers, key)
    return found


def serves(rule: Json) -> bool:
    """Say whether an ingress rule allows the port that is tried."""
    ports = rule.get("ports") or ()
    return not ports or any(
        port.get("protocol", "TCP") == "TCP"
        and (
            port.get("port") is None
            or (isinstance(port["port"], int) and port["port"] <= TEST_PORT <= port.get("endPort", port["port"]))
        )
        for port in ports
    )


def _clients(
    peer: Json,
    namespace: str,
    by_namespace: Mapping[str, Sequence[Peer]],
    namespaces: Mapping[str, Mapping[str, str]],
) -> Iterable[str]:
    if "namespaceSelector" not in peer and "podSelector" not in peer:
        return
    spaces = [namespace]
    if peer.get("namespaceSelector") is not None:
        selector = LabelSelector.of(peer["namespaceSelector"])
        spaces = [name for name, labels in namespaces.items() if selector.matches(labels)]
    chosen = LabelSelector.of(peer.get("podSelector") or {})
    for space in spaces:
        yield from (pod.address for pod in by_namespace.get(space, ()) if chosen.matches(pod.labels))


def _add(found: Connections, client: str, servers: Sequence[str], key: Key) -> None:
    new = []
    for server in servers:
        if server == client:
            continue
        known = found.policies.get((client, server))
        if known is None:
            found.policies[client, server] = [key]
            new.append(server)
        elif key not in known:
            known.append(key)
    if new:
        one = {"addresses": new, "ports": [TEST_PORT], "netpol": key[1]}
        found.by_client.setdefault(client, []).append(one)
