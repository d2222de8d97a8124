"""When requests leave, other than at a rate with a burst: steps, ramps, Poisson arrivals, a recorded timeline.

Open loop: the schedule does not look at answers. Each shape is a sequence of due times, of the same interface as the
token bucket.
"""

import math
from collections.abc import Iterator
from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import Random
from kubedyno.load.config.sources import read_text
from kubedyno.load.config.spec import ArrivalSpec, JobSpec
from kubedyno.load.engine.bucket import TokenBucket


class Schedule:
    """Due times from a sequence of offsets; a request that comes late leaves at once and shifts nothing."""

    def __init__(self, offsets: Iterator[float]) -> None:
        self._offsets = offsets
        self._start_s: float | None = None
        self._last_s = 0.0

    def reserve(self, now_s: float) -> float:
        """Take the next arrival and say when its request may be sent: `now_s` when that has passed."""
        if self._start_s is None:
            self._start_s = now_s
        self._last_s = next(self._offsets, self._last_s)
        return max(self._start_s + self._last_s, now_s)


def pacing(job: JobSpec, directory: Path) -> TokenBucket | Schedule:
    """Return what paces a job's requests.

    Raises:
        KubedynoError: The file of a replay cannot be read or is wrong.
    """
    if job.arrival is None:
        return TokenBucket(job.qps, job.burst)
    return Schedule(offsets(job.arrival, job.qps, directory))


def offsets(spec: ArrivalSpec, qps: float, directory: Path) -> Iterator[float]:
    """Return seconds from the start at which requests are due, never descending.

    Raises:
        KubedynoError: The file of a replay cannot be read or is wrong.
    """
    if spec.shape == "steps":
        return _steps(spec)
    if spec.shape == "ramp":
        return _ramp(spec)
    if spec.shape == "poisson":
        return _poisson(qps, spec.seed)
    if spec.shape == "replay":
        return iter(_recorded(spec.file, directory))
    return (number / qps for number in range(1 << 62))


def _steps(spec: ArrivalSpec) -> Iterator[float]:
    """Equal gaps inside each step; the last step goes on."""
    grow = (spec.end_qps - spec.start_qps) / max(spec.steps - 1, 1)
    step, at_s = 0, 0.0
    while True:
        yield at_s
        at_s += 1.0 / (spec.start_qps + grow * step)
        while step < spec.steps - 1 and at_s >= (step + 1) * spec.step_s:
            step += 1


def _ramp(spec: ArrivalSpec) -> Iterator[float]:
    """The n-th arrival is where the integral of a linearly changing rate reaches n."""
    slope = (spec.end_qps - spec.start_qps) / spec.duration_s
    whole = (spec.start_qps + spec.end_qps) / 2 * spec.duration_s
    number = 0
    while True:
        if number >= whole:
            yield spec.duration_s + (number - whole) / spec.end_qps
        elif slope == 0:
            yield number / spec.start_qps
        else:
            root = math.sqrt(max(spec.start_qps**2 + 2 * slope * number, 0.0))
            yield (root - spec.start_qps) / slope
        number += 1


def _poisson(qps: float, seed: int) -> Iterator[float]:
    random = Random(seed)
    at_s = 0.0
    while True:
        at_s += random.expovariate(qps)
        yield at_s


def _recorded(file: str, directory: Path) -> list[float]:
    found: list[float] = []
    for number, line in enumerate(read_text(file, "arrival file", [directory]).splitlines(), 1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= 0):
            raise KubedynoError(f"{file} line {number}: {text!r} is no offset in seconds")
        found.append(value)
    if not found:
        raise KubedynoError(f"{file}: holds no offset; write one number of seconds a line")
    return sorted(found)
