"""A broken invariant: which, when, about what; the first one ends a run."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Broken:
    """What does not hold.

    Attributes:
        invariant: Its name, as docs/simulate.md lists it.
        message: What was seen.
        at_s: Simulated seconds.
        keys: "table key" of the objects concerned, the most telling first.
    """

    invariant: str
    message: str
    at_s: float
    keys: tuple[str, ...] = ()
