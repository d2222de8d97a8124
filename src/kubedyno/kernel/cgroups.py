"""Control groups of both versions: how much CPU and memory the processes in one may use, and what they have used.

`Groups.made` makes one folder of its own in each hierarchy that it needs, below which each container gets a group, and
removes those that owners which are gone have left, known by name and empty. `sweep` ends what runs below a folder and
removes it. Of what is not its own it changes one thing: version 2's root may have to hand controllers on.
"""

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "kubedyno-"
_NEEDED = ("cpu", "memory")
_PERIOD_US = 100_000
# What the kernel takes at least.
_LEAST_QUOTA_US = 1_000
_LEAST_SHARES, _MOST_SHARES = 2, 262_144
# Tries to remove a group whose processes are being killed, and the pause between them.
_KILL_ROUNDS = 200
_KILL_PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Limits:
    """What a group may use.

    Attributes:
        milli_cpu: Thousandths of a core, 0 for no limit.
        milli_request: Thousandths of a core that it gets when all cores are busy; 0: what is left over.
        memory_bytes: Of memory, 0 for no limit; whoever uses more is killed.
    """

    milli_cpu: int = 0
    milli_request: int = 0
    memory_bytes: int = 0

    @property
    def shares(self) -> int:
        """The request as `cpu.shares` of version 1 has it (as in the kubelet)."""
        return min(max(self.milli_request * 1024 // 1000, _LEAST_SHARES), _MOST_SHARES)

    @property
    def weight(self) -> int:
        """The request as `cpu.weight` of version 2 has it: 1 to 10,000 (as in the kubelet)."""
        return 1 + (self.shares - _LEAST_SHARES) * 9999 // (_MOST_SHARES - _LEAST_SHARES)

    @property
    def quota_us(self) -> int:
        """CPU time in each 100 ms, 0 for no limit."""
        return max(self.milli_cpu * _PERIOD_US // 1000, _LEAST_QUOTA_US) if self.milli_cpu else 0


@dataclass(frozen=True, slots=True)
class Use:
    """What a group's processes have used.

    Attributes:
        cpu_s: Seconds of CPU since the group was made.
        memory_bytes: The working set: what cannot be taken back at once.
        killed: Processes that were killed for want of memory.
    """

    cpu_s: float
    memory_bytes: int
    killed: int


class Group:
    """One group: a folder in each hierarchy."""

    def __init__(self, folders: dict[str, Path], *, unified: bool) -> None:
        self._folders = folders
        self._unified = unified

    def open(self) -> list[int]:
        """Return descriptors: a process that writes "0" to each of them is in the group. They are to be closed.

        Raises:
            OSError: The group is gone.
        """
        found: list[int] = []
        try:
            for folder in dict.fromkeys(self._folders.values()):
                descriptor = os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                found.append(descriptor)
        except OSError:
            for descriptor in found:
                os.close(descriptor)
            raise
        return found

    def limit(self, limits: Limits) -> None:
        """Set what it may use.

        Raises:
            OSError: The kernel refuses a value.
        """
        cpu, memory = self._folders["cpu"], self._folders["memory"]
        if self._unified:
            (cpu / "cpu.weight").write_text(str(limits.weight))
            (cpu / "cpu.max").write_text(f"{limits.quota_us or 'max'} {_PERIOD_US}")
            (memory / "memory.max").write_text(str(limits.memory_bytes or "max"))
            _write_where_there(memory / "memory.swap.max", "0" if limits.memory_bytes else "max")
            # As the kubelet has it: a container dies whole.
            _write_where_there(memory / "memory.oom.group", "1")
            return
        (cpu / "cpu.shares").write_text(str(limits.shares))
        # Only where the kernel was built with quotas.
        if limits.quota_us or (cpu / "cpu.cfs_quota_us").exists():
            (cpu / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
            (cpu / "cpu.cfs_quota_us").write_text(str(limits.quota_us or -1))
        most = str(limits.memory_bytes or -1)
        # The two limits hold each other: memory alone may never be over memory and swap.
        names = ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]
        swap = (memory / names[1]).exists()
        with suppress(OSError):
            (memory / names[0]).write_text(most)
        if swap:
            (memory / names[1]).write_text(most)
        (memory / names[0]).write_text(most)

    def use(self) -> Use:
        """Return what it has used.

        Raises:
            OSError: The group is gone.
        """
        memory = self._folders["memory"]
        stat = _table(memory / "memory.stat")
        if self._unified:
            used = int((memory / "memory.current").read_text())
            inactive, killed = stat.get("inactive_file", 0), _table(memory / "memory.events").get("oom_kill", 0)
            cpu_s = _table(self._folders["cpu"] / "cpu.stat").get("usage_usec", 0) / 1e6
        else:
            used = int((memory / "memory.usage_in_bytes").read_text())
            inactive = stat.get("total_inactive_file", 0)
            killed = _table(memory / "memory.oom_control").get("oom_kill", 0)
            account = self._folders.get("cpuacct")
            cpu_s = int((account / "cpuacct.usage").read_text()) / 1e9 if account is not None else 0.0
        return Use(cpu_s, max(used - inactive, 0), killed)

    def remove(self) -> bool:
        """Kill what is left in it, and remove it; False when that takes another call, as processes take a moment to end."""
        return all(_emptied(folder) for folder in dict.fromkeys(self._folders.values()))


class Groups:
    """All groups of one owner.

    Args:
        roots: By controller: the owner's folder in its hierarchy.
        unified: They are one folder of version 2.
    """

    def __init__(self, roots: dict[str, Path], *, unified: bool) -> None:
        self._roots = roots
        self._unified = unified

    @staticmethod
    def made(owner: int) -> "Groups":
        """Make the owner's folders.

        Args:
            owner: A process id; another one with this id may take what it leaves.

        Raises:
            OSError: There are no control groups here, or not for us; its text says why.
        """
        parents, unified = _hierarchies()
        made: dict[str, Path] = {}
        try:
            for controller, parent in parents.items():
                _remove_left(parent)
                made[controller] = parent / f"{_PREFIX}{owner}"
                made[controller].mkdir(exist_ok=True)
            if unified:
                (made["cpu"] / "cgroup.subtree_control").write_text("+cpu +memory")
        except OSError:
            for folder in made.values():
                with suppress(OSError):
                    folder.rmdir()
            raise
        return Groups(made, unified=unified)

    @property
    def folders(self) -> list[str]:
        """Paths of the owner's folders, for `sweep`."""
        return [str(folder) for folder in dict.fromkeys(self._roots.values())]

    def add(self, name: str, limits: Limits) -> Group:
        """Make a group.

        Raises:
            OSError: It cannot be made.
        """
        folders = {controller: root / name for controller, root in self._roots.items()}
        group = Group(folders, unified=self._unified)
        try:
            for folder in dict.fromkeys(folders.values()):
                folder.mkdir()
            group.limit(limits)
        except OSError:
            group.remove()
            raise
        return group


def sweep(folders: Iterable[str]) -> None:
    """Kill all that runs in an owner's groups, and remove them all."""
    left = [Path(folder) for folder in folders]
    for _ in range(_KILL_ROUNDS):
        left = [folder for folder in left if not _emptied(folder)]
        if not left:
            return
        # In a process that has no event loop.
        select.select([], [], [], _KILL_PAUSE_S)


def _hierarchies() -> tuple[dict[str, Path], bool]:
    """Return where groups may be made, by controller, and whether that is version 2.

    Raises:
        OSError: Nowhere.
    """
    mounts: dict[str, Path] = {}
    unified: Path | None = None
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        place = Path(before.split()[4])
        kind, _, options = (*after.split(), "", "")[:3]
        if kind == "cgroup2":
            unified = unified or place
        elif kind == "cgroup":
            for controller in options.split(","):
                mounts.setdefault(controller, place)
    if unified is not None:
        allowed = (unified / "cgroup.subtree_control").read_text().split()
        if all(controller in allowed for controller in _NEEDED):
            return dict.fromkeys(_NEEDED, unified), True
    if all(controller in mounts for controller in _NEEDED):
        return {name: mounts[name] for name in (*_NEEDED, "cpuacct") if name in mounts}, False
    if unified is not None:
        # As whoever starts a container does: only the root may hand controllers on while processes are in it.
        (unified / "cgroup.subtree_control").write_text("+cpu +memory")
        return dict.fromkeys(_NEEDED, unified), True
    raise FileNotFoundError("no hierarchy of control groups is mounted")


def _remove_left(parent: Path) -> None:
    """Remove what owners that are gone have left, as far as it is empty."""
    for folder in parent.glob(f"{_PREFIX}*"):
        owner = folder.name.removeprefix(_PREFIX)
        if owner.isdecimal() and not Path("/proc", owner).exists():
            with suppress(OSError):
                for child in folder.iterdir():
                    if child.is_dir():
                        child.rmdir()
                folder.rmdir()


def _emptied(folder: Path) -> bool:
    """Kill what runs in a folder and those below it, and remove them; False while they are busy."""
    try:
        places = [*(child for child in folder.iterdir() if child.is_dir()), folder]
        for place in places:
            for process in (place / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
        for place in places:
            place.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file of "name number" lines; {} where there is none."""
    found: dict[str, int] = {}
    with suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            name, _, value = line.partition(" ")
            if value.isdecimal():
                found[name] = int(value)
    return found


def _write_where_there(path: Path, text: str) -> None:
    if path.exists():
        path.write_text(text)
