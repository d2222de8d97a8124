"""The live view in a terminal: the cluster followed by watch, frames drawn as it changes, keys read; leaves no trace.

The alternate screen and the terminal's mode are put back however it ends, short of SIGKILL.
"""

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TextIO

import msgspec
import orjson

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.kube.status import Expired, StatusError
from kubedyno.lab import target, top
from kubedyno.lab.progress import coloured
from kubedyno.lab.target import Choice
from kubedyno.web.frame import SORTS, Event, Look, frame
from kubedyno.web.rows import NodeRow, PodRow, node_row, pod_row

log = logger(__name__)

_DRAW_S = 0.2
# A frame of 100,000 pods takes a while: those who have so many see one a second.
_MANY, _DRAW_MANY_S = 20_000, 1.0
_SYNC_S = 30.0
_ASK_S = 10.0
_SERVER = "the server"
_UNKNOWN_USER = 401
_RETRY_S = 5.0
_EVENTS_KEPT = 100
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_UP, _DOWN = ("\x1b[A", "\x1bOA", "k"), ("\x1b[B", "\x1bOB", "j")


class Followed:
    """What is known of a cluster, kept true by watches.

    Args:
        client: Of the cluster.
    """

    def __init__(self, client: Client) -> None:
        self.nodes: dict[str, NodeRow] = {}
        self.pods: dict[str, PodRow] = {}
        self.events: deque[Event] = deque(maxlen=_EVENTS_KEPT)
        self.troubles: dict[str, str] = {}
        # What nodes use, by metrics.k8s.io; None where it says nothing.
        self.uses: dict[str, tuple[int, int]] | None = None
        self.changed = True
        self._synced = {path: asyncio.Event() for path in ("/api/v1/nodes", "/api/v1/pods", top.METRICS)}
        self._client = client

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow("/api/v1/nodes", node_row, self.nodes))
            tasks.create_task(self._follow("/api/v1/pods", pod_row, self.pods))
            tasks.create_task(self._tail())
            tasks.create_task(self._ask_uses())

    async def synced(self) -> None:
        """Return once nodes, pods and what nodes use are known, or it is known why they are not."""
        for event in self._synced.values():
            await event.wait()

    async def _follow(self, path: str, decode: Callable[[bytes], Any], known: dict[str, Any]) -> None:
        while True:
            listed: set[str] | None = set()
            try:
                async with self._client.list_watch(path, "", decode) as events:
                    async for kind, row in events:
                        if kind == "RELIST":
                            listed = set()
                        elif kind == "SYNCED":
                            for key in [key for key in known if listed is not None and key not in listed]:
                                del known[key]
                            listed = None
                            self._trouble(path, "")
                            self._synced[path].set()
                        elif kind == "DELETED":
                            known.pop(row.key, None)
                        else:
                            if listed is not None:
                                listed.add(row.key)
                            known[row.key] = row
                        self.changed = True
            except StatusError as error:
                self._trouble(path, f"{path}: {error.message}")
            except (KubedynoError, OSError) as error:
                self._trouble(path, f"{path}: {error}")
            except msgspec.DecodeError as error:
                self._trouble(path, f"{path}: an object cannot be read ({error})")
            self._synced[path].set()
            await aio.sleep(_RETRY_S)

    async def _ask_uses(self) -> None:
        while True:
            uses = self.uses
            try:
                async with aio.timeout(_ASK_S):
                    uses = await top.node_uses(self._client)
                self._trouble(_SERVER, "")
            except StatusError as error:
                # Bars are requests then, and the legend says so; why is the server's affair.
                log.debug("metrics.k8s.io: %s", error)
                uses = None
                gone = (
                    f"{self._client.server} does not take these credentials any more (401); what is shown is as it was"
                )
                self._trouble(_SERVER, gone if error.code == _UNKNOWN_USER else "")
            except TimeoutError:
                self._trouble(_SERVER, f"{self._client.server} does not answer; what is shown is as it was")
            except (KubedynoError, OSError) as error:
                # A watch goes on by itself when a server comes back, and says nothing meanwhile.
                self._trouble(_SERVER, f"{error}; what is shown is as it was")
            self.changed |= uses != self.uses
            self.uses = uses
            self._synced[top.METRICS].set()
            await aio.sleep(top.pause_s(len(self.nodes)))

    async def _tail(self) -> None:
        """Keep the latest events: the first page of a list, then the watch from there."""
        path = "/api/v1/events"
        while True:
            try:
                version = ""
                async for items, listed in self._client.list_pages(f"{path}?limit={_EVENTS_KEPT}"):
                    version = listed
                    for raw in items:
                        self._event(bytes(raw))
                    # The rest of a loaded cluster's is history.
                    break
                self._trouble(path, "")
                async for event in self._client.watch(path, "", version):
                    if event.type != "DELETED":
                        self._event(event.raw)
            except Expired:
                continue
            except StatusError as error:
                self._trouble(path, f"{path}: {error.message}")
            except (KubedynoError, OSError) as error:
                self._trouble(path, f"{path}: {error}")
            await aio.sleep(_RETRY_S)

    def _trouble(self, of: str, text: str) -> None:
        """Note why something is not followed, "" when it is again."""
        self.changed |= self.troubles.get(of, "") != text
        if text:
            self.troubles[of] = text
        else:
            self.troubles.pop(of, None)

    def _event(self, raw: bytes) -> None:
        event = orjson.loads(raw)
        about = event.get("involvedObject") or {}
        self.events.append(
            Event(
                str(
                    event.get("lastTimestamp")
                    or event.get("eventTime")
                    or event["metadata"].get("creationTimestamp")
                    or ""
                ),
                event.get("type") == "Warning",
                str(event.get("reason") or ""),
                f"{about.get('namespace') or ''}/{about.get('name') or ''}".removeprefix("/"),
                str(event.get("message") or ""),
            )
        )
        self.changed = True

    def lines(self, server: str, look: Look, now_s: float) -> list[str]:
        """Return a frame of what is known now."""
        events = sorted(self.events, key=lambda event: event.time)
        trouble = "; ".join(self.troubles.values())
        nodes, pods = list(self.nodes.values()), list(self.pods.values())
        return frame(server, nodes, pods, events, look, trouble, now_s, self.uses)


def pressed(look: Look, keys: str) -> Look | None:
    """Return how the next frame is to be after some keys, None to quit."""
    if look.typing:
        if keys in {"\r", "\n"}:
            return replace(look, typing=False)
        if keys == "\x1b":
            return replace(look, typing=False, filter="")
        if keys in {"\x7f", "\b"}:
            return replace(look, filter=look.filter[:-1])
        return replace(look, filter=look.filter + "".join(c for c in keys if c.isprintable()), top=0)
    if keys in _UP or keys in _DOWN:
        return replace(look, top=max(look.top + (1 if keys in _DOWN else -1), 0))
    if keys == "\x1b":
        return replace(look, filter="", top=0)
    for key in keys if keys.isprintable() else "":
        if key == "q":
            return None
        if key == "/":
            look = replace(look, typing=True)
        elif key == "s":
            look = replace(look, sort=SORTS[(SORTS.index(look.sort) + 1) % len(SORTS)], top=0)
    return look


@contextmanager
def _screen(out: TextIO) -> Iterator[None]:
    """Take the terminal, and give it back as it was."""
    there = sys.stdin.fileno()
    before = termios.tcgetattr(there)
    try:
        tty.setcbreak(there)
        out.write(_ENTER)
        out.flush()
        yield
    finally:
        out.write(_LEAVE)
        out.flush()
        termios.tcsetattr(there, termios.TCSADRAIN, before)


async def watch(choice: Choice, *, once: bool, look: Look, clock: Clock = SYSTEM_CLOCK) -> None:
    """Show a cluster until q, SIGINT or SIGTERM; or one frame (`once`).

    Raises:
        KubedynoError: The cluster cannot be reached, or there is no terminal.
    """
    if not once and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise KubedynoError("watch: this is no terminal; print one frame with --once")
    if not once and os.environ.get("TERM", "dumb") == "dumb":
        raise KubedynoError("watch: TERM says that this terminal can move no cursor; print one frame with --once")
    async with Client(choice.target) as client:
        await target.greet(client)
        followed = Followed(client)
        following = asyncio.ensure_future(followed.run())
        try:
            with suppress(TimeoutError):
                async with aio.timeout(_SYNC_S):
                    await followed.synced()
            look = replace(look, colour=coloured(sys.stdout))
            if once:
                # Events come by a list of their own, a moment later.
                await aio.sleep(_DRAW_S)
                width = shutil.get_terminal_size((look.width, 0)).columns
                print("\n".join(followed.lines(client.server, replace(look, width=width), clock.now())))  # noqa: T201
                if followed.troubles:
                    raise KubedynoError(f"watch: {'; '.join(followed.troubles.values())}")
            else:
                with _screen(sys.stdout):
                    await _interact(followed, client.server, look, clock)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def _interact(followed: Followed, server: str, look: Look, clock: Clock) -> None:
    loop, stopped, keyed = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def on_keys() -> None:
        nonlocal look
        data = os.read(sys.stdin.fileno(), 64)
        after = pressed(look, data.decode(errors="ignore")) if data else None
        if after is None:
            stopped.set()
        else:
            look = after
        keyed.set()

    def stop() -> None:
        stopped.set()
        keyed.set()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    loop.add_signal_handler(signal.SIGWINCH, keyed.set)
    loop.add_reader(sys.stdin.fileno(), on_keys)
    try:
        while not stopped.is_set():
            size = shutil.get_terminal_size()
            followed.changed = False
            keyed.clear()
            lines = followed.lines(server, replace(look, width=size.columns, height=size.lines), clock.now())
            sys.stdout.write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
            sys.stdout.flush()
            wait_s = _DRAW_MANY_S if len(followed.pods) > _MANY else _DRAW_S
            while not stopped.is_set():
                with suppress(TimeoutError):
                    async with aio.timeout(wait_s):
                        await keyed.wait()
                if keyed.is_set() or followed.changed:
                    break
    finally:
        loop.remove_reader(sys.stdin.fileno())
        for number in (*numbers, signal.SIGWINCH):
            loop.remove_signal_handler(number)
