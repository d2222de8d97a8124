"""The cluster as a stream of small messages: a snapshot for whoever comes, then ten times a second what changed.

A message is one JSON object that begins with its time, `t`; its lists are positional, so that thousands of changes a second
stay small. `n` nodes [name, ready, control plane, unschedulable, cpu, memory, max pods, CIDR, addresses, why, labels,
created, taints], `p` pods [id, namespace, name, node, state, created, ready, restarts, cpu, memory, addressed, why,
labels, seen, seen ready], `u` changed pods [id, node, state, ready, restarts, addressed, why, seen ready], `g` ids of
pods that are gone, `x` names of nodes that are gone, `m` what nodes use [[name, cpu, memory]…] or null where nobody
says it, `r` how a run goes (`lab.liveview`), `q` what the API server has answered lately [writes a second, 429s,
seconds], nothing of it where it does not say it and null before it was asked, `server` and `context` which cluster,
`trouble` why it is not followed. `all` marks a snapshot. Times are epoch seconds: created and ready are the API's, seen
ones the watch's.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.client.watch import ListWatch
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.kube.status import StatusError
from kubedyno.web.history import History
from kubedyno.web.rows import NodeRow, PodRow, PodText, State, may_be_ready, node_row, pod_row, pod_text

log = logger(__name__)

TICK_S = 0.1
# A long reason is cut: it is a tooltip, and `explain` has it whole.
MAX_WHY = 400
_RETRY_S = 5.0
# What is watched is read with each tick, as it is told; beyond so many bytes at once. When it came is kept.
_PATIENCE_BYTES = 1 << 20
# A watch goes on by itself when a server comes back, and says nothing meanwhile; so that is asked here.
_ALIVE_S = 3.0
_UNKNOWN_USER = 401


# A watch event: its type, and what has a `key`.
Told = tuple[str, Any]


class Feed:
    """Follows a cluster and tells subscribers.

    Args:
        client: Where to.
        clock: Stamps messages.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._clock = clock
        self._subscribers: dict[Callable[[bytes], None], None] = {}
        self._next_id = 0
        self.events = 0
        self._run: dict[str, object] | None = None
        self.history = History(self._snapshot)
        self.synced = asyncio.Event()
        self._forget(client)

    def _forget(self, client: Client) -> None:
        """Know nothing, of a cluster."""
        self._client = client
        self._followers: dict[str, ListWatch[Any]] = {}
        self._pods: dict[str, PodRow] = {}
        self._nodes: dict[str, NodeRow] = {}
        self._ids: dict[str, int] = {}
        # Pods as they were said to be since the last tick, with when that was first and last said: what a pod was in
        # between need not be read.
        self._unread: dict[str, tuple[bytes, float, float]] = {}
        # When each pod was seen first and first seen Ready; 0 for what was there before.
        self._seen: dict[str, list[float]] = {}
        self._uses: list[list[object]] | None = None
        self._answered: list[float] | None = None
        # Since the last tick.
        self._new: dict[str, None] = {}
        self._changed: dict[str, None] = {}
        self._again: dict[str, None] = {}
        self._gone: list[int] = []
        self._nodes_changed: dict[str, None] = {}
        self._nodes_gone: list[str] = []
        self._uses_changed = self._run_changed = self._answered_changed = False
        self.trouble = ""
        self.synced.clear()

    def turn_to(self, client: Client) -> None:
        """Follow another cluster from now on; `run` must have been cancelled, and be begun anew."""
        self._forget(client)
        self._send(self._snapshot(), whole=True)

    @property
    def pods(self) -> int:
        """How many pods there are."""
        return len(self._pods)

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._nodes)

    @property
    def watched(self) -> bool:
        """Say whether anybody is told."""
        return bool(self._subscribers)

    def tell_metrics(self, page: Page) -> None:
        """Add what is followed, and who looks, to a page of metrics."""
        page.add("kubedyno_view_nodes", "gauge", "Nodes that are followed.", {}, len(self._nodes))
        page.add("kubedyno_view_pods", "gauge", "Pods that are followed.", {}, len(self._pods))
        page.add(
            "kubedyno_view_events_total", "counter", "Nodes and pods that were listed or changed.", {}, self.events
        )
        page.add("kubedyno_view_browsers", "gauge", "Streams that are open.", {}, len(self._subscribers))

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow("/api/v1/nodes", node_row, self._nodes, self._nodes_told))
            tasks.create_task(self._follow("/api/v1/pods", pod_text, self._pods, self._pods_told, self.synced))
            tasks.create_task(self._tick())
            tasks.create_task(self._look_alive())

    async def _look_alive(self) -> None:
        """Say when the server does not answer, and when it does again."""
        told = ""
        while True:
            await aio.sleep(_ALIVE_S)
            line = ""
            try:
                async with aio.timeout(_ALIVE_S):
                    answer = await self._client.request("GET", "/version")
                if answer.status == _UNKNOWN_USER:
                    # What is watched goes on until its time is over, and not again.
                    line = f"{self._client.server} does not take these credentials any more (401)"
            except TimeoutError:
                line = f"{self._client.server} does not answer"
            except (KubedynoError, OSError) as error:
                line = str(error)
            if line:
                line += "; what is shown is as it was"
            if line or self.trouble == told:
                self.trouble = line
            told = line

    def tell_uses(self, uses: list[list[object]] | None) -> None:
        """Tell what nodes use, [name, thousandths of a core, bytes] each; None where nobody says it."""
        if uses != self._uses:
            self._uses, self._uses_changed = uses, True

    def tell_answered(self, answered: list[float]) -> None:
        """Tell what the API server has answered lately, [writes a second, 429s, seconds]; [] where it does not say it."""
        if answered or answered != self._answered:
            self._answered, self._answered_changed = answered, True

    @property
    def has_run(self) -> bool:
        """Say whether a run tells how it goes."""
        return self._run is not None

    def tell_run(self, run: dict[str, object]) -> None:
        """Tell how a run goes."""
        self._run, self._run_changed = run, True

    async def _follow(
        self,
        path: str,
        decode: Callable[[bytes], Any],
        known: Mapping[str, object],
        told: Callable[[Sequence[Told], float], None],
        synced: asyncio.Event | None = None,
    ) -> None:
        listed: set[str] | None = set()
        while True:
            try:
                async with self._client.list_watch(path, "", decode, patience=_PATIENCE_BYTES) as follower:
                    self._followers[path] = follower
                    async for events in follower.together:
                        if events[0][0] == "RELIST":
                            listed = set()
                        elif events[0][0] == "SYNCED":
                            self._read()
                            gone = [key for key in known if listed is not None and key not in listed]
                            told([("DELETED", PodText(key, b"")) for key in gone], 0.0)
                            listed = None
                            self.trouble = ""
                            if synced is not None:
                                synced.set()
                        else:
                            if listed is not None:
                                listed.update([row.key for _, row in events])
                            told(events, self._at(follower.came_s))
                            self.events += len(events)
            except StatusError as error:
                self.trouble = f"{path}: {error.message}"
            except (KubedynoError, OSError) as error:
                self.trouble = f"{path}: {error}"
            except msgspec.DecodeError as error:
                self.trouble = f"{path}: not what Kubernetes says there: {error}"
            log.warning("%s", self.trouble)
            if synced is not None:
                synced.set()
            listed = set()
            await aio.sleep(_RETRY_S)

    def _nodes_told(self, events: Sequence[Told], _: float) -> None:
        for kind, row in events:
            if kind == "DELETED":
                if self._nodes.pop(row.key, None) is not None:
                    self._nodes_changed.pop(row.key, None)
                    self._nodes_gone.append(row.key)
            elif self._nodes.get(row.key) != row:
                self._nodes[row.key] = row
                self._nodes_changed[row.key] = None

    def _at(self, loop_s: float) -> float:
        """Return the epoch seconds of a loop's time; 0 of what the first list has: it was not seen coming."""
        return round(self._clock.now() - self._clock.monotonic() + loop_s, 3) if self.synced.is_set() else 0.0

    def _pods_told(self, events: Sequence[Told], at_s: float) -> None:
        unread, seen = self._unread, self._seen
        for kind, text in events:
            key = text.key
            if kind == "DELETED":
                unread.pop(key, None)
                self._pod(key, None)
                continue
            waiting = unread.get(key)
            unread[key] = text.raw, at_s if waiting is None else waiting[1], at_s
            times = seen.get(key)
            if (times is None or (times[0] and not times[1])) and may_be_ready(text.raw):
                # Its startup ends now, not with the next tick, whatever becomes of it until then.
                self._read_pod(key)

    def _read(self) -> None:
        for key in list(self._unread):
            self._read_pod(key)

    def _read_pod(self, key: str) -> None:
        raw, first_s, last_s = self._unread.pop(key)
        try:
            row = pod_row(raw, self._pods.get(key))
        except msgspec.DecodeError as error:
            self.trouble = f"pod {key}: not what Kubernetes says of one: {error}"
            return
        self._pod(key, row, first_s, last_s)

    def _pod(self, key: str, row: PodRow | None, first_s: float = 0.0, last_s: float = 0.0) -> None:
        """Take what a pod is, None: gone; that was said since first_s and last at last_s, 0 by the first list."""
        old = self._pods.get(key)
        if old is not None and (row is None or row.uid != old.uid):
            del self._pods[key]
            number = self._ids.pop(key)
            del self._seen[key]
            if self._new.pop(key, 0) is not None:
                self._gone.append(number)
            self._changed.pop(key, None)
            self._again.pop(key, None)
            old = None
        if row is None or old == row:
            return
        self._pods[key] = row
        ready = row.state is State.READY
        if old is None:
            self._ids[key] = self._next_id
            self._next_id += 1
            self._seen[key] = [first_s, last_s if ready else 0.0]
            self._new[key] = None
        else:
            seen = self._seen[key]
            if ready and not seen[1] and seen[0]:
                seen[1] = last_s
            if key not in self._new:
                # Most changes touch only what an update has; the rest is told whole again.
                (self._changed if _same(old, row) else self._again)[key] = None

    # --- messages ----------------------------------------------------------------------------------------------

    def subscribe(self, tell: Callable[[bytes], None]) -> Callable[[], None]:
        """Have `tell` called with a snapshot now and with each message after; returns what ends that."""
        # What is not told yet is in the snapshot, and is told again: rows replace rows.
        tell(self._snapshot())
        self._subscribers[tell] = None
        return lambda: self._subscribers.pop(tell, None)

    def _send(self, message: bytes, *, whole: bool = False) -> None:
        self.history.add(message, whole=whole)
        for tell in list(self._subscribers):
            tell(message)

    def _snapshot(self) -> bytes:
        return orjson.dumps(
            {
                "t": round(self._clock.now(), 3),
                "all": True,
                "server": self._client.server,
                "context": self._client.target.context,
                "n": [_node_values(row) for row in self._nodes.values()],
                "p": [self._pod_values(row) for row in self._pods.values()],
                "m": self._uses,
                "r": self._run,
                "q": self._answered,
                "trouble": self.trouble,
            }
        )

    async def _tick(self) -> None:
        told = ""
        while True:
            await aio.sleep(TICK_S)
            for follower in self._followers.values():
                follower.turn()
            # Who follows has its turn.
            await aio.sleep(0)
            self._read()
            message: dict[str, object] = {"t": round(self._clock.now(), 3)}
            if self._nodes_changed:
                message["n"] = [_node_values(self._nodes[key]) for key in self._nodes_changed]
            if self._nodes_gone:
                message["x"] = self._nodes_gone
            if self._new or self._again:
                message["p"] = [self._pod_values(self._pods[key]) for key in (*self._new, *self._again)]
            if self._changed:
                message["u"] = [self._update(self._pods[key]) for key in self._changed if key not in self._again]
            if self._gone:
                message["g"] = self._gone
            if self._uses_changed:
                message["m"] = self._uses
            if self._run_changed:
                message["r"] = self._run
            if self._answered_changed:
                message["q"] = self._answered
            if self.trouble != told:
                told = message["trouble"] = self.trouble
            if len(message) == 1:
                continue
            self._new, self._changed, self._again, self._gone = {}, {}, {}, []
            self._nodes_changed, self._nodes_gone = {}, []
            self._uses_changed = self._run_changed = self._answered_changed = False
            self._send(orjson.dumps(message))

    def _pod_values(self, row: PodRow) -> list[object]:
        return [
            self._ids[row.key], row.namespace, row.name, row.node, int(row.state), row.created_s, row.ready_s,
            row.restarts, row.cpu_milli, row.memory_bytes, row.addressed, row.why[:MAX_WHY], row.labels,
            *self._seen[row.key],
        ]  # fmt: skip

    def _update(self, row: PodRow) -> list[object]:
        return [
            self._ids[row.key], row.node, int(row.state), row.ready_s, row.restarts, row.addressed, row.why[:MAX_WHY],
            self._seen[row.key][1],
        ]  # fmt: skip


def _same(old: PodRow, new: PodRow) -> bool:
    """Say whether two rows of a pod differ only in what an update tells."""
    return old.labels == new.labels and old.cpu_milli == new.cpu_milli and old.memory_bytes == new.memory_bytes


def _node_values(row: NodeRow) -> list[object]:
    return [
        row.name, row.ready, row.control_plane, row.unschedulable, row.cpu_milli, row.memory_bytes, row.max_pods,
        row.pod_cidr, row.addresses, row.why[:MAX_WHY], row.labels, row.created_s, row.taints,
    ]  # fmt: skip
