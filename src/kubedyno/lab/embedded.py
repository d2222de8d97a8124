"""Embedded clusters as processes: start, find, stop.

Each cluster is one process with a folder of its own under the state directory; the folder holds its settings,
kubeconfig (0600), process id and log, and is gone when the cluster is down.
"""

import fcntl
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.settings import ClusterSettings

DEFAULT_NAME = "kubedyno"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
_POLL_S = 0.01
# Clusters that this very process started: they outlive it, and are collected when it takes them down.
_children: dict[int, "subprocess.Popen[bytes]"] = {}


@dataclass(frozen=True, slots=True)
class Running:
    """A cluster that answers for its process; `started` is False when it was there already."""

    name: str
    directory: Path
    pid: int
    port: int
    started: bool = False

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def log(self) -> Path:
        return self.directory / "log"


def state_root() -> Path:
    """Return the folder of all embedded clusters: $KUBEDYNO_HOME, else $XDG_STATE_HOME/kubedyno, else ~/.local/state/kubedyno."""
    home = os.environ.get("KUBEDYNO_HOME")
    if home:
        return Path(home)
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "kubedyno"


def directory_of(name: str) -> Path:
    """Return the folder of one cluster, there or not."""
    return state_root() / "clusters" / name


@contextmanager
def _locked(name: str, clock: Clock) -> Iterator[None]:
    """Hold the cluster's name against another `up` or `down` of the same user; waits for that one's end."""
    root = state_root() / "clusters"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise KubedynoError(
            f"{root}: cannot be made ({error.strerror}); set KUBEDYNO_HOME to another folder"
        ) from error
    lock = root / f".{name}.lock"
    deadline_s = clock.monotonic() + START_TIMEOUT_S
    while (file := _lock(lock)) is None:
        if clock.monotonic() > deadline_s:
            raise KubedynoError(f"cluster {name}: another kubedyno is starting or stopping it; try again")
        select.select([], [], [], _POLL_S)
    with file:
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _lock(path: Path) -> IO[str] | None:
    """Return the file with its lock held, None while another holds it or took it away with its own end."""
    try:
        file = path.open("w")
    except OSError as error:
        raise KubedynoError(
            f"{path}: cannot be written ({error.strerror}); set KUBEDYNO_HOME to another folder"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            return file
    except OSError:
        # Held, or removed between opening and looking.
        file.close()
        return None
    file.close()
    return None


def _is_ours(pid: int, directory: Path) -> bool:
    """Say whether that process is alive and serves this very folder: process ids are re-used."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z" and os.fsencode(directory) in arguments


def find(name: str) -> Running | None:
    """Return the cluster of that name if its process lives, else None."""
    directory = directory_of(name)
    try:
        state = msgspec.json.decode((directory / "state.json").read_bytes())
        pid, port = int(state["pid"]), int(state["port"])
    except (OSError, KeyError, TypeError, ValueError, msgspec.DecodeError):
        return None
    return Running(name, directory, pid, port) if _is_ours(pid, directory) else None


def names() -> list[str]:
    """Return the names of all clusters that have a folder, running or left over."""
    root = state_root() / "clusters"
    if not root.is_dir():
        return []
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir())


def up(settings: ClusterSettings, clock: Clock = SYSTEM_CLOCK) -> Running:
    """Start a cluster and return once its nodes are Ready by its own account, or re-use a running one.

    Raises:
        KubedynoError: It did not start; the line says why and where its log is.
    """
    with _locked(settings.name, clock):
        _reap_ended()
        running = find(settings.name)
        if running is not None:
            return running
        directory = directory_of(settings.name)
        if directory.exists():
            # Left by a process that was killed: nothing in it is of use to a new one.
            shutil.rmtree(directory)
        directory.mkdir(mode=0o700, parents=True)
        try:
            return _spawn(settings, directory, clock)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise


def _spawn(settings: ClusterSettings, directory: Path, clock: Clock) -> Running:
    path = directory / "settings.json"
    # It may hold logins of registries.
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(settings))
    log = directory / "log"
    read_end, write_end = os.pipe()
    try:
        with log.open("wb") as log_file:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "kubedyno.lab.boot", str(directory), str(write_end)],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                cwd="/",
                pass_fds=(write_end,),
                start_new_session=True,
                env=_child_environment(),
            )
    finally:
        os.close(write_end)
    try:
        message = _read_line(read_end, clock.monotonic() + START_TIMEOUT_S, clock)
    except BaseException:
        process.kill()
        process.wait()
        raise
    finally:
        os.close(read_end)
    report: dict[str, Any] = msgspec.json.decode(message) if message else {}
    if "port" in report:
        _children[process.pid] = process
        return Running(settings.name, directory, process.pid, int(report["port"]), started=True)
    process.kill()
    process.wait()
    if "error" in report:
        raise KubedynoError(str(report["error"]))
    tail = log.read_text(errors="replace").strip().splitlines()[-3:]
    raise KubedynoError(f"cluster {settings.name} did not start: {' / '.join(tail) or 'no message'}")


def _child_environment() -> dict[str, str]:
    """The child finds this very package, wherever it was imported from."""
    source = str(Path(__file__).resolve().parents[2])
    paths = [source, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _read_line(descriptor: int, deadline_s: float, clock: Clock) -> bytes:
    """Read the child's one line; b"" when it ended without one."""
    data = b""
    while not data.endswith(b"\n"):
        left_s = deadline_s - clock.monotonic()
        if left_s <= 0:
            raise KubedynoError(f"the embedded cluster did not start within {START_TIMEOUT_S:.0f} s")
        if select.select([descriptor], [], [], left_s)[0]:
            part = os.read(descriptor, 4096)
            if not part:
                break
            data += part
    return data


def down(name: str, clock: Clock = SYSTEM_CLOCK) -> bool:
    """Stop a cluster and remove its folder.

    Returns:
        False when there was nothing of that name.
    """
    with _locked(name, clock):
        _reap_ended()
        directory = directory_of(name)
        if not directory.exists():
            return False
        running = find(name)
        if running is not None:
            deadline_s = clock.monotonic() + STOP_TIMEOUT_S
            try:
                os.kill(running.pid, signal.SIGTERM)
                while _is_ours(running.pid, directory) and clock.monotonic() < deadline_s:
                    select.select([], [], [], _POLL_S)
                if _is_ours(running.pid, directory):
                    os.kill(running.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            _reap(running.pid)
        shutil.rmtree(directory, ignore_errors=True)
        return True


def _reap_ended() -> None:
    """Collect children that ended by themselves, as idle clusters do."""
    for pid, child in list(_children.items()):
        if child.poll() is not None:
            del _children[pid]


def _reap(pid: int) -> None:
    """Collect the process if it is our child; a cluster started by another command is not."""
    child = _children.pop(pid, None)
    if child is not None:
        child.wait()
