"""What stands in for the study's add-ons behind mapped ports: the page, Prometheus' read API, Grafana or our dashboards.

One process beside the embedded cluster, started by it: it records the cluster's metrics, serves the three on loopback
ports, and tells the cluster which. It ends with the cluster.
"""

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import orjson

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube.status import StatusError
from kubedyno.lab import grafana
from kubedyno.lab.embedded import Running
from kubedyno.lab.metrics import Options, Recorder
from kubedyno.lab.target import Choice
from kubedyno.promql.engine import Engine
from kubedyno.promql.limits import EngineOptions
from kubedyno.promql.readapi import ReadAPI
from kubedyno.web.prometheus import Door
from kubedyno.web.view import View

log = logger(__name__)

_PARENT_CHECK_S = 1.0
_GRAFANA_READY_S = 60.0
_GRAFANA_TRIES = 3
# As /proc/net/tcp writes 127.0.0.1, in this machine's order of bytes, and a socket that listens.
_LOOPBACK, _LISTENS = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}", "0A"


def main(arguments: list[str]) -> int:
    """Serve the applications of the cluster whose state directory is given; returns the exit code."""
    directory = Path(arguments[0])
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = msgspec.json.decode((directory / "settings.json").read_bytes(), type=ClusterSettings)
    try:
        aio.run(_serve(directory, settings, os.getppid()))
    except (KubedynoError, StatusError) as error:
        log.error("%s", error)  # noqa: TRY400 - a line is all there is to say
        return 1
    return 0


async def _serve(directory: Path, settings: ClusterSettings, parent: int) -> None:
    stopped = aio.until_signalled()
    ports = frozenset(str(host) for node in settings.nodes for host, _ in node.port_mappings)
    target = kubeconfig.load(directory / "kubeconfig", None)
    choice = Choice(target, Running(settings.name, directory, parent, int(target.server.rpartition(":")[2])))
    monitoring = settings.monitoring
    async with Client(target) as client:
        recorder = Recorder(client, Options(monitoring.scrape_interval_s, own=True), embedded=True)
        options = EngineOptions(subquery_step_ms=round(monitoring.evaluation_interval_s * 1000))
        engine = Engine(recorder.store, options)
        prometheus = Door(ReadAPI(engine, recorder.targets), timezone=monitoring.timezone)
        boards = Door(ReadAPI(engine, recorder.targets), home="dashboards", timezone=monitoring.timezone)
        view = View(choice, client, boards)
        recording = asyncio.create_task(recorder.run())
        process: subprocess.Popen[bytes] | None = None
        try:
            apps = {
                "prometheus": _port_of(await prometheus.start(0, ports)),
                "grafana": _port_of(await boards.start(0, ports)),
                "view": _port_of(await view.start(0, "", ports)),
            }
            await _announce(client, apps)
            started = await _grafana(directory, settings, apps["prometheus"], stopped)
            if started is not None:
                process, port = started
                await _announce(client, {**apps, "grafana": port})
            while not stopped.is_set() and os.getppid() == parent:
                with contextlib.suppress(TimeoutError):
                    async with aio.timeout(_PARENT_CHECK_S):
                        await stopped.wait()
                if recording.done():
                    recording.result()
        finally:
            if process is not None:
                process.terminate()
            await aio.end(recording)
            for each in (prometheus, boards, view):
                await each.close()


def _port_of(url: str) -> int:
    return int(url.split(":")[2].split("/", maxsplit=1)[0])


async def _announce(client: Client, apps: dict[str, int]) -> None:
    answer = await client.request("PUT", "/kubedyno/apps", body=orjson.dumps(apps))
    if answer.status != 200:
        raise KubedynoError(f"/kubedyno/apps: HTTP {answer.status}")


async def _grafana(
    directory: Path, settings: ClusterSettings, prometheus: int, stopped: asyncio.Event
) -> tuple[subprocess.Popen[bytes], int] | None:
    """Start this machine's Grafana where there is one; returns it and its port once it listens there.

    It cannot be given a port that is bound already: one that was free a moment ago may be another's when it begins to listen.
    It ends then, and is started again on another.
    """
    for _ in range(_GRAFANA_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        process = _started(directory, settings, prometheus, port)
        if process is None:
            return None
        try:
            if await _listens(process, port, stopped):
                return process, port
        except BaseException:
            process.terminate()
            raise
        if process.poll() is None:
            process.terminate()
            break
        log.warning("grafana ended with exit code %d before it listened on port %d", process.returncode, port)
    log.warning("grafana does not answer (see grafana.log): our own dashboards stay in its place")
    return None


def _started(directory: Path, settings: ClusterSettings, prometheus: int, port: int) -> subprocess.Popen[bytes] | None:
    monitoring, home = settings.monitoring, directory / "grafana"
    home.mkdir(mode=0o700, exist_ok=True)
    found = grafana.command(
        home, port, f"http://127.0.0.1:{prometheus}", timezone=monitoring.timezone, password=monitoring.admin_password
    )
    if found is None:
        log.info("no grafana on this machine: our own dashboards are in its place")
        return None
    words, environment = found
    with (directory / "grafana.log").open("ab") as file:
        try:
            return subprocess.Popen(  # noqa: S603 - a command of this machine by a fixed name
                words, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=home
            )
        except OSError as error:
            log.warning("%s: cannot be started (%s): our own dashboards are in its place", words[0], error)
            return None


async def _listens(process: subprocess.Popen[bytes], port: int, stopped: asyncio.Event) -> bool:
    """Say whether a process listens on a port within a time; somebody else there is not it."""
    with contextlib.suppress(TimeoutError):
        async with aio.timeout(_GRAFANA_READY_S):
            while not stopped.is_set() and process.poll() is None:
                if _owns(process.pid, port):
                    return True
                await aio.sleep(0.2)
    return False


def _owns(pid: int, port: int) -> bool:
    """Say whether a process, or one that it has started, holds the listening socket of a loopback port."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{row[9]}]" for row in rows if row[1] == f"{_LOOPBACK}:{port:04X}" and row[3] == _LISTENS}
    pids, found = [pid], False
    while pids and sockets and not found:
        one = Path("/proc") / str(pids.pop())
        with contextlib.suppress(OSError):
            # A process that has just ended holds nothing.
            found = any(str(path.readlink()) in sockets for path in (one / "fd").iterdir())
            pids += map(int, (one / "task" / one.name / "children").read_text().split())
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
