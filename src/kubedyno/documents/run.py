"""The document of one whole run: all that a report needs, so that one can be made long after the cluster is gone."""

from pathlib import Path
from typing import Any

import msgspec

from kubedyno.base.errors import KubedynoError
from kubedyno.documents.circumstances import Circumstances

FILE_NAME = "kubedynoRun"
# Members whose own are named after kinds, conditions and errors: an index cannot have a field for each.
UNSEARCHED = ("jobs",)


class Figures(msgspec.Struct, frozen=True):
    """A sample's summary, in ms. `count` is the sample size."""

    count: int
    p50: float
    p95: float
    p99: float
    min: float
    max: float
    avg: float


class Target(msgspec.Struct, frozen=True):
    """What was loaded. `embedded` is the embedded cluster's name, "" for a real one."""

    server: str
    context: str
    version: str
    nodes: int
    embedded: str = ""


class JobDocument(msgspec.Struct, frozen=True):
    """One job.

    Attributes:
        accept_ms: First try to acceptance by the API.
        late_ms: Schedule to first try.
        corrected_ms: When an open loop would have sent, to acceptance: waits behind a slow API and retries count.
        seen_ms: Kind → sending to the object's first sight by a watch.
        hdr_us: Name of a sample → HDR histogram: (largest value of the bucket in microseconds, count), three digits.
        pods_ready: Of the pods seen, those that are Ready, have succeeded, or were Ready until they were deleted.
        start_ms: Condition → first sight of the pod to first sight of the condition, by the watch.
        start_server_ms: The same from the API's own stamps (whole seconds where it has no finer ones).
        timeline: One entry a second: second, sent, accepted, failed, pods by phase.
        counted: Requests were counted; they were not where only kube-burner's documents tell of a run.
    """

    name: str
    type: str
    iterations: int
    qps: float
    burst: int
    asked: int
    sent: int
    accepted: int
    retried: int
    failed: dict[str, int]
    reached_qps: float
    elapsed_s: float
    pods_seen: int
    pods_ready: int
    accept_ms: Figures | None
    late_ms: Figures | None
    start_ms: dict[str, Figures]
    start_server_ms: dict[str, Figures]
    timeline: list[dict[str, Any]]
    corrected_ms: Figures | None = None
    seen_ms: dict[str, Figures] = {}
    hdr_us: dict[str, list[tuple[int, int]]] = {}
    counted: bool = True

    def requests(self) -> list[tuple[str, Figures]]:
        """Return what is known of a job's requests: three clocks, from sending and from when an open loop would have sent."""
        found = [
            ("sent → accepted", self.accept_ms),
            ("intended → accepted", self.corrected_ms),
            ("due → sent", self.late_ms),
            *((f"sent → {kind} seen", figures) for kind, figures in self.seen_ms.items()),
        ]
        return [(what, figures) for what, figures in found if figures is not None]


class FindingDocument(msgspec.Struct, frozen=True):
    """One wall: see `advisor.why.Finding`. `second` is the time of the run at which it was found."""

    cause: str
    title: str
    pods: list[str]
    evidence: list[str]
    remedy: list[str]
    next_wall: str
    permanent: bool
    second: float
    at_end: bool


class RunDocument(msgspec.Struct, frozen=True):
    """One run of a configuration; times are RFC 3339. `left` says what a run that did not end well left behind.

    Attributes:
        clock_ms: By how much the server's clock is ahead of ours, and by how much that may be off; None: not known.
        kind: init or study; kube-burner for what the original has written.
        config: Path or URL of the configuration.
        config_digest: SHA-256 of the effective one; its own uuid does not count.
        directory: Where it was written, "" when to a server alone; it may have moved since.
    """

    uuid: str
    kubedyno: str
    target: Target
    started: str
    ended: str
    exit_code: int
    errors: list[str]
    jobs: list[JobDocument]
    findings: list[FindingDocument]
    not_measured: list[str]
    left: list[str] = []
    clock_ms: tuple[float, float] | None = None
    kind: str = "init"
    config: str = ""
    config_digest: str = ""
    directory: str = ""
    metricName: str = FILE_NAME

    @property
    def interrupted(self) -> bool:
        """Whether somebody wanted it to end."""
        return "interrupted" in self.errors


class Chart(msgspec.Struct, frozen=True):
    """Means with half the width of their intervals, one a label; None where there is no value.

    `series` maps a name to as many values as there are labels.
    """

    title: str
    unit: str
    labels: list[str]
    series: dict[str, list[tuple[float, float] | None]]


class Chapter(msgspec.Struct, frozen=True):
    """One part of a report: what was done and why, and the run it led to.

    `table` begins with its head; `around` is what the run's directory has beside it.
    """

    title: str
    text: list[str]
    run: RunDocument | None = None
    table: list[list[str]] = []
    charts: list[Chart] = []
    around: Circumstances | None = None


def read_runs(directory: Path) -> list[RunDocument]:
    """Return the runs written into a metrics directory, oldest first.

    Raises:
        KubedynoError: The directory holds no run of kubedyno, or a damaged one.
    """
    path = directory / f"{FILE_NAME}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[RunDocument])
    except FileNotFoundError:
        raise KubedynoError(f"{directory}: no {path.name} in it; name the metrics directory of a run") from None
    except (OSError, msgspec.DecodeError) as error:
        raise KubedynoError(f"{path}: cannot be read as a run ({error})") from error
