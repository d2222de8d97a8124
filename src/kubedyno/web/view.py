"""A page for a chosen cluster, from its first list until Ctrl-C."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from urllib.parse import quote

import orjson

from kubedyno.advisor import facts, why
from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import secret_token
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.lab import target as targets
from kubedyno.lab import top
from kubedyno.lab.metrics import Options, Recorder
from kubedyno.lab.ownmetrics import OwnMetrics
from kubedyno.lab.target import Choice
from kubedyno.promql.dashboards import DASHBOARDS
from kubedyno.promql.engine import Engine
from kubedyno.promql.mentions import wanted
from kubedyno.promql.readapi import ReadAPI
from kubedyno.web.feed import Feed
from kubedyno.web.prometheus import Door
from kubedyno.web.requests import Requests, requests_of, since
from kubedyno.web.server import Page

log = logger(__name__)

# The first list of a large cluster takes a while; the page says so meanwhile.
_SYNC_S = 5.0
# Without a browser for so many checks, a cluster that is followed lazily is followed no more.
_QUIET_CHECK_S = 30.0
_QUIET_CHECKS = 4
_LOOKER_S = 1.0
_ANSWERED_S = 5.0
_ANSWERED_SHARE = 50
_MOST_EVENTS = 50


class View:
    """The page of a cluster; follows it while a browser looks, and for a while after.

    Args:
        choice: The cluster.
        client: Of it.
        door: Answers dashboards; None: metrics are recorded here from the first look at one.
    """

    def __init__(self, choice: Choice, client: Client, door: Door | None = None) -> None:
        self._client = client
        self._door = door
        self._own_door = door is None
        self._recording: asyncio.Task[None] | None = None
        self._embedded = choice.running.name if choice.running else None
        self.feed = Feed(client, SYSTEM_CLOCK)
        self._page: Page | None = None
        self._lazy = False
        self._following: asyncio.Task[None] | None = None
        self._resting: asyncio.Task[None] | None = None

    async def start(self, port: int, secret: str, also: frozenset[str] = frozenset(), *, lazily: bool = True) -> str:
        """Listen and return the page's URL.

        Args:
            port: 0 picks a free one.
            secret: First part of every path; "" for none.
            also: Ports of this machine that lead here too.
            lazily: Follow the cluster from the first look on.

        Raises:
            KubedynoError: The port is in use.
        """
        self._lazy = lazily
        self._page = Page(self.feed, secret, self._explain, self._told, self.follow, self._metrics)
        url = await self._page.start(port, also)
        if not lazily:
            self.follow()
        return url

    def follow(self) -> None:
        """Follow the cluster from now on."""
        if self._following is None:
            self._following = asyncio.get_running_loop().create_task(self._follow())
            if self._lazy:
                self._resting = asyncio.get_running_loop().create_task(self._rest())

    async def _follow(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.feed.run())
            tasks.create_task(self._ask_uses())
            tasks.create_task(self._ask_answered())

    async def _ask_uses(self) -> None:
        """Ask metrics.k8s.io what nodes use, while somebody looks."""
        while True:
            if self.feed.watched:
                try:
                    uses = await top.node_uses(self._client)
                except (KubedynoError, StatusError, OSError) as error:
                    log.debug("metrics.k8s.io: %s", error)
                else:
                    self.feed.tell_uses(None if uses is None else [[name, *use] for name, use in uses.items()])
                await aio.sleep(top.pause_s(self.feed.nodes))
            else:
                await aio.sleep(_LOOKER_S)

    async def _ask_answered(self) -> None:
        """Ask the API server's metrics what it answers, while somebody looks and no run says it."""
        before: Requests | None = None
        while True:
            wait_s = _LOOKER_S
            if self.feed.watched and not self.feed.has_run:
                began_s = SYSTEM_CLOCK.monotonic()
                now = await self._answered(began_s)
                if now is None or before is not None:
                    self.feed.tell_answered(since(before, now) if before and now else [])
                before = now
                # A large server's page takes it a while: it is asked the more rarely.
                wait_s = max(_ANSWERED_S, _ANSWERED_SHARE * (SYSTEM_CLOCK.monotonic() - began_s))
            else:
                before = None
            await aio.sleep(wait_s)

    async def _answered(self, now_s: float) -> Requests | None:
        try:
            answer = await self._client.request("GET", "/metrics")
        except (KubedynoError, OSError) as error:
            log.debug("/metrics: %s", error)
            return None
        # Who may not read metrics (403) sees what the watch says.
        return requests_of(answer.body, now_s) if answer.status == 200 else None

    async def turn_to(self, choice: Choice, client: Client) -> None:
        """Follow another cluster from now on; those who look stay."""
        await aio.end(self._recording, self._following)
        self._recording = self._following = None
        if self._own_door:
            self._door = None
        self._client, self._embedded = client, choice.running.name if choice.running else None
        self.feed.turn_to(client)
        self.follow()

    async def _rest(self) -> None:
        """Follow no more once nobody has looked for some time: an open watch keeps a cluster from being idle."""
        quiet = 0
        while quiet < _QUIET_CHECKS:
            await aio.sleep(_QUIET_CHECK_S)
            quiet = 0 if self.feed.watched else quiet + 1
        following, self._following = self._following, None
        await aio.end(following)

    def _metrics(self) -> Door:
        """Return what answers dashboards."""
        if self._door is None:
            queries = [query.expr for board in DASHBOARDS for panel in board.panels for query in panel.queries]
            options = Options(keep=wanted([*queries, "up"]))
            recorder = Recorder(self._client, options, embedded=self._embedded is not None)
            self._door = Door(ReadAPI(Engine(recorder.store), recorder.targets))
            self._recording = asyncio.get_running_loop().create_task(recorder.run())
        return self._door

    async def _explain(self) -> bytes:
        seen = await facts.read(self._client, embedded=self._embedded)
        return orjson.dumps({"findings": [asdict(finding) for finding in why.explain(seen)], "missing": seen.missing})

    async def _told(self, namespace: str, name: str) -> bytes:
        """Return a pod's events, the latest first, and what its containers use."""
        selector = quote(f"involvedObject.kind=Pod,involvedObject.name={name}")
        events = await self._client.list_all(
            f"/api/v1/namespaces/{quote(namespace, safe='')}/events?fieldSelector={selector}"
        )
        found = [
            {
                "type": str(event.get("type") or ""),
                "reason": str(event.get("reason") or ""),
                "message": str(event.get("message") or ""),
                "count": (event.get("series") or {}).get("count") or event.get("count") or 1,
                "at": str(event.get("lastTimestamp") or event.get("eventTime") or event.get("firstTimestamp") or ""),
            }
            for event in events
        ]
        found.sort(key=lambda event: str(event["at"]), reverse=True)
        answer = await self._client.request(
            "GET", f"{top.METRICS}/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}"
        )
        containers = orjson.loads(answer.body)["containers"] if answer.status == 200 else []
        uses = [[each["name"], *top.milli(each["usage"])] for each in containers]
        return orjson.dumps({"events": found[:_MOST_EVENTS], "uses": uses})

    async def close(self) -> None:
        """Stop serving and following."""
        await aio.end(self._recording, self._resting, self._following)
        if self._page is not None:
            await self._page.close()


async def serve(choice: Choice, port: int, say: Callable[[str], None], own: OwnMetrics | None = None) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        choice: The cluster.
        port: 0 picks a free one.
        say: Prints a line.
        own: Is told of the page, for `--metrics-port`.

    Raises:
        KubedynoError: The port is in use, or the cluster cannot be reached.
    """
    stopped = aio.until_signalled()
    async with Client(choice.target) as client:
        await targets.greet(client)
        view = View(choice, client)
        if own is not None:
            own.parts.append(view.feed.tell_metrics)
        try:
            url = await view.start(port, secret_token(8), lazily=False)
            with suppress(TimeoutError):
                async with aio.timeout(_SYNC_S):
                    await view.feed.synced.wait()
            say(f"{view.feed.pods} pods of {choice.target.server}; open {url}")
            say("Ctrl-C ends it; the page's address is for this machine only")
            await stopped.wait()
        finally:
            await view.close()
