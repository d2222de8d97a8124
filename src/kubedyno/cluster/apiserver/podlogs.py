"""What simulated containers have written: the lines of their script, of an annotation, or that they have started.

A log with a rate grows while its container runs: line n comes n / rate seconds after the start, so that it needs no
memory, and everybody who reads it sees the same.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kubedyno.base import aio
from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.apiserver.execscript import Script
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import PODS
from kubedyno.kube.status import BadRequest

# What a simulated container writes, where its pod says so.
LOG_ANNOTATION = "kubedyno.io/log"
# What is kept of a log that grows; the rest counts as rotated away.
MAX_LINES = 10_000
# Lines are sent at most so often.
_TICK_S = 0.05


def containers_of(pod: Object) -> list[Object]:
    """Return all containers of a pod's spec, of every kind."""
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec["containers"], *spec.get("ephemeralContainers", [])]


def container_of(pod: Object, wanted: str) -> Object:
    """Return a container of a pod's spec; "" is the only one.

    Raises:
        BadRequest: There is no such container, or it is not clear which one is meant; in the real server's words.
    """
    name, spec = pod["metadata"]["name"], pod["spec"]
    if not wanted:
        if len(spec["containers"]) > 1:
            text = f"a container name must be specified for pod {name}, choose one of: [{_names(spec, 'containers')}]"
            if spec.get("initContainers"):
                text += f" or one of the init containers: [{_names(spec, 'initContainers')}]"
            raise BadRequest(text)
        return dict(spec["containers"][0])
    container = next((c for c in containers_of(pod) if c["name"] == wanted), None)
    if container is None:
        raise BadRequest(f"container {wanted} is not valid for pod {name}")
    return container


def _names(spec: Object, which: str) -> str:
    return " ".join(container["name"] for container in spec[which])


def state_of(pod: Object, container: str, which: str = "state") -> Object:
    """Return a container's state, or its lastState; empty when its kubelet has not told any."""
    status = pod.get("status", {})
    for name in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for found in status.get(name, []):
            if found["name"] == container:
                return dict(found.get(which, {}))
    return {}


def is_running(pod: Object, container: str) -> bool:
    """Say whether a container runs now."""
    return "running" in state_of(pod, container)


@dataclass(frozen=True, slots=True)
class Log:
    """One container's log.

    Attributes:
        lines: Of the log; over and over when it has a rate.
        rate: Lines a second, 0 when all are there from the start.
        start: RFC 3339 time of the container's start, "" when it is not known.
        end_s: Epoch seconds at which the container ended, None while it runs.
    """

    lines: Sequence[str]
    rate: float = 0.0
    start: str = ""
    end_s: float | None = None

    def count(self, now_s: float) -> int:
        """Return how many lines have been written by then."""
        if not self.rate:
            return len(self.lines)
        until_s = now_s if self.end_s is None else min(now_s, self.end_s)
        return max(0, int((until_s - epoch_of(self.start)) * self.rate)) if self.start else 0

    def between(self, first: int, end: int) -> list[tuple[str, str]]:
        """Return lines by their numbers, each with its time."""
        if not self.rate:
            return [(self.start, line) for line in self.lines[first:end]]
        begin_s, size = epoch_of(self.start), len(self.lines)
        return [(rfc3339(begin_s + (n + 1) / self.rate), self.lines[n % size]) for n in range(first, end)]

    def written(self, now_s: float) -> list[tuple[str, str]]:
        """Return what has been written by then and is still kept."""
        count = self.count(now_s)
        return self.between(max(0, count - MAX_LINES) if self.rate else 0, count)


def log_of(pod: Object, container: Object, script: Script, *, previous: bool = False) -> Log:
    """Return a container's log, or that of the run before its last restart.

    Raises:
        BadRequest: It has not started, or not been restarted.
    """
    metadata, name = pod["metadata"], container["name"]
    state = state_of(pod, name, "lastState" if previous else "state")
    begun = state.get("running") or state.get("terminated")
    if begun is None and previous:
        raise BadRequest(f'previous terminated container "{name}" in pod "{metadata["name"]}" not found')
    if begun is None:
        reason = state.get("waiting", {}).get("reason", "ContainerCreating")
        if not pod["spec"].get("nodeName"):
            # Nobody runs it yet: the real server answers this with no text at all.
            return Log(())
        raise BadRequest(f'container "{name}" in pod "{metadata["name"]}" is waiting to start: {reason}')
    start = begun.get("startedAt") or pod.get("status", {}).get("startTime", "")
    finished = begun.get("finishedAt")
    end_s = epoch_of(finished) if finished else None
    scripted = script.log(name)
    if scripted is not None:
        return Log(scripted.lines, scripted.rate, start, end_s)
    own = (metadata.get("annotations") or {}).get(LOG_ANNOTATION)
    text = own if own is not None else f"container {name} started from image {container.get('image', '')}"
    return Log(text.splitlines(), 0.0, start, end_s)


async def follow(registry: Registry, record: ObjectRecord, container: str, log: Log, first: int) -> AsyncIterator[Any]:
    """Yield lines with their times as they are written, from number `first` on, until the container has stopped."""
    store, clock, uid = registry.store, registry.clock, record.obj.uid
    table = store.table(PODS)
    pause_s = max(1 / log.rate, _TICK_S) if log.rate else None
    current: ObjectRecord | None = record
    running = True
    while current is not None and current.obj.uid == uid and running:
        pod = store.encode_dict(PODS, current)
        running = is_running(pod, container)
        if not running:
            # What it wrote before it ended.
            ended = state_of(pod, container).get("terminated", {}).get("finishedAt")
            log = replace(log, end_s=epoch_of(ended) if ended else None)
        while True:
            count = log.count(clock.now())
            if count > first:
                yield log.between(max(first, count - MAX_LINES), count)
                first = count
            if not running:
                break
            changed = table.watch(key=record.key, since=current.revision)
            try:
                await aio.wait_for(changed.wait(), pause_s)
            except TimeoutError:
                continue
            current = store.get(PODS, record.key)
            break


def cancel_on_close(stream: Any) -> None:
    """Have the running task cancelled when a stream's reader goes."""
    task = asyncio.current_task()
    assert task is not None
    stream.on_close = lambda: _cancel(task)


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
