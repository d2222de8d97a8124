"""What a pod's annotations ask its kubelet to make happen.

| kubedyno.io/… | what happens |
|---|---|
| run-seconds, exit-code | the containers run so long ("30", "5m"), and end with that code (at once without the first) |
| exit-reason | … and with that reason, e.g. OOMKilled (with exit code 137 unless one is named) |
| fail-pull | no image can be pulled |
| not-ready | no readiness probe succeeds |
| fail-readiness | readiness probes fail from so long after the start ("30s"), up to a second time ("30s-90s") |
| fail-liveness | liveness probes fail from so long after each start |
| fail-startup | startup probes never succeed |
| fail-hook | "postStart", "preStop" or both: these hooks fail |
| image-paths | the directories that image volumes have ("models,models/v1") |
"""

from dataclasses import dataclass
from math import inf

from kubedyno.cluster.kubelet.programs import seconds

ANNOTATIONS = tuple(
    f"kubedyno.io/{name}"
    for name in (
        "run-seconds", "exit-code", "exit-reason", "fail-pull", "not-ready", "fail-readiness", "fail-liveness",
        "fail-startup", "fail-hook", "image-paths",
    )
)  # fmt: skip
_OUT_OF_MEMORY = "OOMKilled"
_SIGKILLED = 137


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for.

    Attributes:
        run_s: How long the containers run; None: as they say themselves.
        exit_code: How they end then.
        exit_reason: Why, "" for what the code says.
        fail_pull: No image can be pulled.
        not_ready: Readiness probes never succeed.
        unready_s: From when and until when after their start they fail.
        liveness_s: From when on liveness probes fail, inf: never.
        fail_startup: Startup probes never succeed.
        fail_hooks: Hooks that fail.
        image_paths: The directories that image volumes have; None: all.
    """

    run_s: float | None = None
    exit_code: int = 0
    exit_reason: str = ""
    fail_pull: bool = False
    not_ready: bool = False
    unready_s: tuple[float, float] = (inf, inf)
    liveness_s: float = inf
    fail_startup: bool = False
    fail_hooks: frozenset[str] = frozenset()
    image_paths: tuple[str, ...] | None = None


NO_WISHES = Wishes()


def wishes_of(values: tuple[str, ...]) -> Wishes:
    """Return what annotations ask for; what cannot be read asks for nothing.

    Args:
        values: Of ANNOTATIONS, in their order, "" for those that are not there.
    """
    run, code, reason, pull, unready, readiness, liveness, startup, hooks, paths = values
    exit_code = int(code) if code.isdecimal() else _SIGKILLED if reason == _OUT_OF_MEMORY else 0
    since, dash, until = readiness.partition("-")
    return Wishes(
        seconds(run) if run else 0.0 if code or reason else None,
        exit_code,
        reason,
        _true(pull),
        _true(unready),
        (seconds(since), seconds(until) if dash else inf) if readiness else (inf, inf),
        seconds(liveness) if liveness else inf,
        _true(startup),
        frozenset(_words(hooks)),
        tuple(part.strip("/") for part in _words(paths)) if paths else None,
    )


def _true(text: str) -> bool:
    return text.lower() in {"true", "1", "yes"}


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
