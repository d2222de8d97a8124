"""A tree of modules and how they are: OK, Degraded with the reason, or Stopped; and one line about all of them."""

from collections.abc import Iterator
from enum import Enum


class Level(Enum):
    """How a module is, the worst first."""

    STOPPED = "Stopped"
    DEGRADED = "Degraded"
    OK = "OK"


class Health:
    """One module; its parts hang below it.

    Args:
        name: One word, unique among its neighbours.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.level: Level | None = None
        self.text = ""
        self.parts: dict[str, Health] = {}

    def part(self, name: str) -> "Health":
        """Return a part of the module, new unless it is there."""
        part = self.parts.get(name)
        if part is None:
            part = self.parts[name] = Health(name)
        return part

    def ok(self, text: str = "") -> None:
        """Say that it works."""
        self.level, self.text = Level.OK, text

    def degraded(self, text: str) -> None:
        """Say that it works in part, and why."""
        self.level, self.text = Level.DEGRADED, text

    def stopped(self, text: str = "") -> None:
        """Say that it does not run."""
        self.level, self.text = Level.STOPPED, text

    def stop_all(self) -> None:
        """Say of all below it that have said something, and of itself, that they run no more."""
        if self.level is not None:
            self.stopped()
        for part in self.parts.values():
            part.stop_all()

    def remove(self, name: str) -> None:
        """Take a part away."""
        self.parts.pop(name, None)

    def reports(self, prefix: str = "") -> Iterator[tuple[str, Level, str]]:
        """Yield (dotted name, level, text) of all that have said something, parts in order of name."""
        name = f"{prefix}.{self.name}" if prefix and self.name else prefix or self.name
        if self.level is not None:
            yield name, self.level, self.text
        for part in sorted(self.parts):
            yield from self.parts[part].reports(name)

    def summary(self) -> str:
        """Return the counts in one line, as Cilium's agent shows them."""
        levels = [level for _, level, _ in self.reports()]
        counts = " ".join(f"{level.value}({levels.count(level)})" for level in Level)
        return f"Modules Health: {counts}"
