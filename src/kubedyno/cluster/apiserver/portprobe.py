"""`nc -z` on simulated pods: the one command that is answered without a script, from the cluster's own Services.

A probe asks nothing but whether somebody accepts connections at an address and port. For a Service that is known here:
somebody does when it has a ready endpoint, nobody else ever does. In: the words of a command. Out: the exit code that it
ends with, and no output, as `nc -z` has none. Addresses of pods are not answered: what a simulated container listens on
is not known. Nothing is ever dialled.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import NODES, PODS, SERVICES, Resource

_SERVICE_NAME = "kubernetes.io/service-name"
_SHELLS = frozenset({"sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/bash"})
_NETCATS = frozenset({"nc", "ncat", "netcat", "/usr/bin/nc", "/usr/bin/ncat"})
# `while true; do nc … && break; sleep 0.05; done`, and `until nc …; do sleep 1; done`.
_WHILE = re.compile(r"while (?:true|:); do (nc[^;&|$`<>]*) && break; sleep [0-9.]+s?; done;?")
_UNTIL = re.compile(r"until (nc[^;&|$`<>]*); do sleep [0-9.]+s?; done;?")
_ALONE = re.compile(r"(nc[^;&|$`<>]*)")
_FLAGS = re.compile(r"-[46nvz]*z[46nvz]*|-[46nv]+")
MAX_WORDS = 512
# How often a loop looks again, and how long at most.
_EVERY_S = 0.05
MAX_LOOP_S = 3600.0
# ncat's own limit on a connection that nobody answers.
_CONNECT_S = 10.0
_DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class Probe:
    """Where it connects to; `repeats` until somebody accepts, `wait_s` is how long one try waits for an answer."""

    host: str
    port: int
    repeats: bool
    wait_s: float


def probe_of(words: Sequence[str]) -> Probe | None:
    """Return the probe that a command is, None for any other command."""
    if sum(map(len, words)) > MAX_WORDS or not words:
        return None
    if words[0] in _NETCATS:
        return _netcat(list(words[1:]), repeats=False)
    if len(words) != 3 or words[0] not in _SHELLS or words[1] != "-c":
        return None
    script = " ".join(words[2].split())
    for pattern, repeats in ((_WHILE, True), (_UNTIL, True), (_ALONE, False)):
        found = pattern.fullmatch(script)
        if found is not None:
            return _netcat(found[1].split()[1:], repeats=repeats)
    return None


def _netcat(arguments: list[str], *, repeats: bool) -> Probe | None:
    zero, wait_s, rest = False, _CONNECT_S, []
    pending = iter(arguments)
    for word in pending:
        if word == "-w":
            try:
                wait_s = min(_seconds(next(pending, "")), _CONNECT_S)
            except ValueError:
                return None
        elif word.startswith("-"):
            if not _FLAGS.fullmatch(word) or "v" in word:
                # What a talkative netcat says is its own.
                return None
            zero = zero or "z" in word
        else:
            rest.append(word)
    if not zero or len(rest) != 2 or not rest[1].isdigit() or not 0 < int(rest[1]) < 65536:
        return None
    return Probe(rest[0].lower(), int(rest[1]), repeats, wait_s)


def _seconds(text: str) -> float:
    return float(text) if text.replace(".", "", 1).isdigit() else duration_ns_of(text) / 1e9


class Ports:
    """Which addresses and ports of a cluster's Services accept connections."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    @property
    def _slices(self) -> Resource | None:
        return next((r for r in self._store.resources if r.plural == "endpointslices"), None)

    def answers(self, probe: Probe) -> bool:
        """Say whether it is known here who accepts connections at a probe's address: not at a pod's own."""
        return not any(record.obj.facts.pod_ip == probe.host for record in self._store.table(PODS).all())

    async def run(self, probe: Probe, namespace: str) -> int:
        """Do what a probe does, from a pod of a namespace; returns its exit code, 0 or 1."""
        until_s = self._clock.monotonic() + MAX_LOOP_S
        while True:
            found = self.accepts(probe.host, probe.port, namespace)
            if found:
                return 0
            if not probe.repeats or self._clock.monotonic() > until_s:
                if found is None:
                    # Nobody has the address: no answer, rather than a refusal.
                    await aio.sleep(probe.wait_s)
                return 1
            await aio.sleep(_EVERY_S)

    def accepts(self, host: str, port: int, namespace: str) -> bool | None:
        """Say whether a connection is accepted; None when nobody has the address. O(services)."""
        known: bool | None = None
        node = self._node_of(host)
        if node is not None:
            known = False
        for service in self._services():
            spec, meta = service.get("spec") or {}, service["metadata"]
            balanced = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
            addresses = [
                *(spec.get("clusterIPs") or ()),
                *(spec.get("externalIPs") or ()),
                *(str(entry.get("ip") or entry.get("hostname") or "") for entry in balanced),
            ]
            named = host in _names(meta["name"], meta["namespace"], namespace) and "None" not in addresses
            if not named and host not in addresses and node is None:
                continue
            if named or host in addresses:
                known = False
            for entry in spec.get("ports") or ():
                if entry.get("protocol", "TCP") != "TCP":
                    continue
                outside = node is not None and entry.get("nodePort") == port
                inside = (named or host in addresses) and entry["port"] == port
                local = node if outside and spec.get("externalTrafficPolicy") == "Local" else None
                if (outside or inside) and self._served(meta, entry.get("name", ""), local):
                    return True
        return known

    def _services(self) -> Iterator[dict[str, Any]]:
        for record in self._store.table(SERVICES).all():
            yield self._store.encode_dict(SERVICES, record)

    def _node_of(self, host: str) -> str | None:
        for record in self._store.table(NODES).all():
            node = self._store.encode_dict(NODES, record)
            addresses = (node.get("status") or {}).get("addresses") or ()
            if host == record.obj.name or any(entry.get("address") == host for entry in addresses):
                return record.obj.name
        return None

    def _served(self, meta: dict[str, Any], port_name: str, node: str | None) -> bool:
        """Say whether a Service's port has a ready endpoint, on one node where only its own count."""
        if self._slices is None:
            return False
        for record in self._store.list(self._slices, meta["namespace"]):
            if record.obj.labels.get(_SERVICE_NAME) != meta["name"]:
                continue
            body = self._store.encode_dict(self._slices, record)
            if not any((port.get("name") or "") == port_name for port in body.get("ports") or ()):
                continue
            for endpoint in body.get("endpoints") or ():
                ready = (endpoint.get("conditions") or {}).get("ready") is not False
                if ready and endpoint.get("addresses") and node in {None, endpoint.get("nodeName")}:
                    return True
        return False


def _names(name: str, namespace: str, own: str) -> frozenset[str]:
    """Return the names by which a pod of the namespace `own` can call a Service."""
    short = {name} if namespace == own else set()
    whole = f"{name}.{namespace}"
    return frozenset({*short, whole, f"{whole}.svc", f"{whole}.svc.{_DOMAIN}", f"{whole}.svc.{_DOMAIN}."})
