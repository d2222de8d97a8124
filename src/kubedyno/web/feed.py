"""The cluster as a stream of small messages: a snapshot for whoever comes, then ten times a second what changed.

A message is one JSON object; its lists are positional, so that thousands of changes a second stay small:
`n` nodes [name, ready, control plane, unschedulable, cpu, memory, max pods, CIDR, addresses, why, labels], `p` pods
[id, namespace, name, node, state, created, ready, restarts, cpu, memory, addressed, why, labels], `u` changed pods
[id, node, state, ready, restarts, addressed, why], `g` ids of pods that are gone, `x` names of nodes that are gone.
"""

import asyncio
from collections.abc import Callable

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.kube.status import StatusError
from kubedyno.web.rows import NodeRow, PodRow, node_row, pod_row

log = logger(__name__)

TICK_S = 0.1
# A long reason is cut: it is a tooltip, and `explain` has it whole.
MAX_WHY = 400
_RETRY_S = 5.0


class Feed:
    """Follows a cluster and tells subscribers.

    Args:
        client: Where to.
        clock: Stamps messages.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._pods: dict[str, PodRow] = {}
        self._nodes: dict[str, NodeRow] = {}
        self._ids: dict[str, int] = {}
        self._next_id = 0
        # Since the last tick.
        self._new: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._gone: list[int] = []
        self._nodes_changed: dict[str, None] = {}
        self._nodes_gone: list[str] = []
        self._subscribers: dict[Callable[[bytes], None], None] = {}
        self.trouble = ""
        self.synced = asyncio.Event()

    @property
    def pods(self) -> int:
        """How many pods there are."""
        return len(self._pods)

    @property
    def watched(self) -> bool:
        """Say whether anybody is told."""
        return bool(self._subscribers)

    def tell_metrics(self, page: Page) -> None:
        """Add what is followed, and who looks, to a page of metrics."""
        page.add("kubedyno_view_nodes", "gauge", "Nodes that are followed.", {}, len(self._nodes))
        page.add("kubedyno_view_pods", "gauge", "Pods that are followed.", {}, len(self._pods))
        page.add("kubedyno_view_browsers", "gauge", "Streams that are open.", {}, len(self._subscribers))

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow("/api/v1/nodes", node_row, self._node))
            tasks.create_task(self._follow("/api/v1/pods", pod_row, self._pod, self.synced))
            tasks.create_task(self._tick())

    async def _follow(self, path: str, decode: Callable, apply: Callable, synced: asyncio.Event | None = None) -> None:  # type: ignore[type-arg]
        listed: set[str] | None = set()
        known = self._nodes if apply == self._node else self._pods
        while True:
            try:
                async with self._client.list_watch(path, "", decode) as events:
                    async for kind, row in events:
                        if kind == "RELIST":
                            listed = set()
                        elif kind == "SYNCED":
                            for key in [key for key in known if listed is not None and key not in listed]:
                                apply(key, None)
                            listed = None
                            self.trouble = ""
                            if synced is not None:
                                synced.set()
                        else:
                            if listed is not None:
                                listed.add(row.key)
                            apply(row.key, None if kind == "DELETED" else row)
            except StatusError as error:
                self.trouble = f"{path}: {error.message}"
            except OSError as error:
                self.trouble = f"{path}: {error}"
            log.warning("%s", self.trouble)
            if synced is not None:
                synced.set()
            listed = set()
            await aio.sleep(_RETRY_S)

    def _node(self, key: str, row: NodeRow | None) -> None:
        if row is None:
            if self._nodes.pop(key, None) is not None:
                self._nodes_changed.pop(key, None)
                self._nodes_gone.append(key)
        elif self._nodes.get(key) != row:
            self._nodes[key] = row
            self._nodes_changed[key] = None

    def _pod(self, key: str, row: PodRow | None) -> None:
        old = self._pods.get(key)
        if old is not None and (row is None or row.uid != old.uid):
            del self._pods[key]
            number = self._ids.pop(key)
            if self._new.pop(key, 0) is not None:
                self._gone.append(number)
            self._changed.pop(key, None)
            old = None
        if row is None or old == row:
            return
        self._pods[key] = row
        if old is None:
            self._ids[key] = self._next_id
            self._next_id += 1
            self._new[key] = None
        elif key not in self._new:
            self._changed[key] = None

    # --- messages ----------------------------------------------------------------------------------------------

    def subscribe(self, tell: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `tell` called with a snapshot now and with each message after; returns what ends that."""
        # What is not told yet is in the snapshot, and is told again: rows replace rows.
        tell(self._snapshot())
        self._subscribers[tell] = None
        return lambda: self._subscribers.pop(tell, None)

    def _snapshot(self) -> bytes:
        return orjson.dumps(
            {
                "t": self._clock.now(),
                "all": True,
                "n": [_node_values(row) for row in self._nodes.values()],
                "p": [self._pod_values(row) for row in self._pods.values()],
                "trouble": self.trouble,
            }
        )

    async def _tick(self) -> None:
        told = ""
        while True:
            await aio.sleep(TICK_S)
            if not self._subscribers and not (self._new or self._changed or self._gone):
                continue
            message: dict[str, object] = {"t": self._clock.now()}
            if self._nodes_changed:
                message["n"] = [_node_values(self._nodes[key]) for key in self._nodes_changed]
            if self._nodes_gone:
                message["x"] = self._nodes_gone
            if self._new:
                message["p"] = [self._pod_values(self._pods[key]) for key in self._new]
            if self._changed:
                message["u"] = [self._update(self._pods[key]) for key in self._changed]
            if self._gone:
                message["g"] = self._gone
            if self.trouble != told:
                told = message["trouble"] = self.trouble
            self._new, self._changed, self._gone = {}, {}, []
            self._nodes_changed, self._nodes_gone = {}, []
            if len(message) > 1 and self._subscribers:
                data = orjson.dumps(message)
                for tell in list(self._subscribers):
                    tell(data)

    def _pod_values(self, row: PodRow) -> list[object]:
        return [
            self._ids[row.key], row.namespace, row.name, row.node, int(row.state), row.created_s, row.ready_s,
            row.restarts, row.cpu_milli, row.memory_bytes, row.addressed, row.why[:MAX_WHY], row.labels,
        ]  # fmt: skip

    def _update(self, row: PodRow) -> list[object]:
        return [
            self._ids[row.key], row.node, int(row.state), row.ready_s, row.restarts, row.addressed, row.why[:MAX_WHY],
        ]  # fmt: skip


def _node_values(row: NodeRow) -> list[object]:
    return [
        row.name, row.ready, row.control_plane, row.unschedulable, row.cpu_milli, row.memory_bytes, row.max_pods,
        row.pod_cidr, row.addresses, row.why[:MAX_WHY], row.labels,
    ]  # fmt: skip
