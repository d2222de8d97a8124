"""Node ports of Services, and the ports at which load balancers ask for a node's health."""

from itertools import chain
from typing import Any

from kubedyno.base.random import Random
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.serviceaddresses import needs_health_check
from kubedyno.kube.resources import SERVICES
from kubedyno.kube.status import InternalError, StatusError, invalid, invalid_value

NODE_PORTS = range(30000, 32768)
# The lower part is for ports that are asked for by number.
_STATIC = 86
# Random picks before a full scan: a free one is found at once unless the range is nearly full.
_PICKS = 32
_EXTERNAL = frozenset({"NodePort", "LoadBalancer"})
_TAKEN = "provided port is already allocated"
_OUTSIDE = f"provided port is not in the valid range. The range of valid ports is {NODE_PORTS[0]}-{NODE_PORTS[-1]}"


class NodePorts:
    """Ports in use, whatever their protocol: one Service may use a port for several.

    Args:
        random: Picks.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._owners: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._owners)

    def allocate(self, service: Object, before: Object, uid: str, *, dry_run: bool) -> None:
        """Give a Service the ports that it needs, in place; those that it had and needs no more are free again.

        Args:
            service: Valid.
            before: Its spec until now, {} for a new one.
            uid: Whose they become.
            dry_run: Take nothing.

        Raises:
            Invalid: A port that was asked for is taken or outside the range.
            StatusError: Two ports of the same protocol ask for one node port.
            InternalError: None is left.
        """
        spec, taken = service["spec"], set[int]()
        name = service["metadata"].get("name", "")
        had = ports_of(before)
        if spec["type"] in _EXTERNAL:
            self._allocate_ports(spec, name, had, taken, first=not before, dry_run=dry_run)
        if needs_health_check(spec):
            taken.add(self._health_port(spec, had, taken, dry_run=dry_run))
        elif needs_health_check(before):
            spec.pop("healthCheckNodePort", None)
        if dry_run:
            return
        for port in had - ports_of(spec):
            if self._owners.get(port) == uid:
                del self._owners[port]
        self._owners |= dict.fromkeys(taken, uid)

    def release(self, spec: Object, uid: str) -> None:
        """Take a deleted Service's ports back."""
        for port in ports_of(spec):
            if self._owners.get(port) == uid:
                del self._owners[port]

    def hold(self, spec: Object, uid: str) -> None:
        """Take note of a Service that has its ports already."""
        self._owners |= dict.fromkeys(ports_of(spec), uid)

    def _allocate_ports(
        self, spec: Object, name: str, had: set[int], taken: set[int], *, first: bool, dry_run: bool
    ) -> None:
        ports: list[Any] = spec.get("ports", [])
        automatic = spec["type"] == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
        # In a new Service, ports of one number share a node port: TCP and UDP of DNS.
        shared: dict[int, int] = {}
        for port in ports:
            if first and port.get("nodePort"):
                shared.setdefault(port.get("port", 0), port["nodePort"])
        seen: set[tuple[str, int]] = set()
        for i, port in enumerate(ports):
            asked = port.get("nodePort") or 0
            if not asked and not automatic:
                continue
            if not asked:
                asked = (shared.get(port.get("port", 0)) if first else None) or self._free_port(had | taken)
                if first:
                    shared.setdefault(port.get("port", 0), asked)
            if asked not in had and asked not in taken and (why := self._refusal(asked, dry_run=dry_run)):
                raise invalid(SERVICES, name, [invalid_value(f"spec.ports[{i}].nodePort", asked, why)])
            port["nodePort"] = asked
            key = (port.get("protocol", "TCP"), asked)
            if key in seen and not first:
                raise StatusError(f"duplicate nodePort: {{{key[0]} {key[1]}}}", code=500, reason="")
            seen.add(key)
            taken.add(asked)

    def _refusal(self, port: int, *, dry_run: bool) -> str:
        if port in self._owners:
            return _TAKEN
        return _OUTSIDE if port not in NODE_PORTS and not dry_run else ""

    def _health_port(self, spec: Object, had: set[int], taken: set[int], *, dry_run: bool) -> int:
        asked = spec.get("healthCheckNodePort") or 0
        if asked and asked not in had:
            why = _TAKEN if asked in taken else self._refusal(asked, dry_run=dry_run)
            if why:
                text = f"failed to allocate requested HealthCheck NodePort {asked}: {why}"
                raise InternalError(f"Internal error occurred: {text}")
        port: int = asked or self._free_port(had | taken)
        spec["healthCheckNodePort"] = port
        return port

    def _free_port(self, other: set[int]) -> int:
        upper = NODE_PORTS[_STATIC:]
        picks = (self._random.choice(upper) for _ in range(_PICKS))
        for port in chain(picks, upper, NODE_PORTS[:_STATIC]):
            if port not in self._owners and port not in other:
                return port
        raise InternalError("Internal error occurred: failed to allocate a nodePort: range is full")


def ports_of(spec: Object) -> set[int]:
    """Return the node ports that a Service holds."""
    ports = {port["nodePort"] for port in spec.get("ports", ()) if port.get("nodePort")}
    return ports | {spec["healthCheckNodePort"]} if spec.get("healthCheckNodePort") else ports
