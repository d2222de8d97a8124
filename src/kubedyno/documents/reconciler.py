"""What the reconciler experiment writes: a row a phase, and samples for its plot."""

import msgspec

FILE_NAME = "reconciler-experiment.json"


class Sample(msgspec.Struct, frozen=True):
    """The state at one time.

    Attributes:
        at_s: Since the beginning.
        wanted_rows: That all desired services need.
        rows: In the map.
        failing: Services whose reconciliation fails.
        probes: Lookups since the sample before.
        drops: Those of them that led to no backend.
        degraded: The reconciler's health.
    """

    at_s: float
    wanted_rows: int
    rows: int
    failing: int
    probes: int
    drops: int
    degraded: bool


class Phase(msgspec.Struct, frozen=True):
    """The end of one phase.

    Attributes:
        name: What was done.
        services: Desired.
        wanted_rows: That they need.
        pressure: Wanted rows by map size.
        rows: In the map.
        done: Services with status Done.
        failing: Services with status Error.
        torn: Services of which only a part is in the map.
        error: The first of the errors.
        health: The reconciler's level and text.
        probes: Lookups in this phase, once it had settled.
        drops: Those that led to no backend.
        took_s: Until all was attempted, or done.
    """

    name: str
    services: int
    wanted_rows: int
    pressure: float
    rows: int
    done: int
    failing: int
    torn: int
    error: str
    health: str
    probes: int
    drops: int
    took_s: float


class ReconcilerRun(msgspec.Struct, frozen=True):
    """A whole run.

    Attributes:
        started: Wall time.
        kubedyno: Version.
        kernel: Whose map it was; "" when the map was a model.
        why_model: Why it was a model.
        map_size: Entries at most.
        backends: Of each service.
        every_s: Between two samples, on average.
        phases: In order.
        samples: In order.
        attempts: Operations on the map, ever.
        errors: Those that failed.
        checks: What was to be shown → whether it was.
    """

    started: str
    kubedyno: str
    kernel: str
    why_model: str
    map_size: int
    backends: int
    every_s: float
    phases: list[Phase]
    samples: list[Sample]
    attempts: int
    errors: int
    checks: dict[str, bool]
    uuid: str = ""
