"""What reports say of a run wherever they say it: its cluster, the requests of a job, and how its pods started."""

from kubedyno.documents.run import Figures, JobDocument, Target

# In the order in which a pod passes them; what a watch or an API does not show is left out.
CONDITIONS = (
    "PodScheduled",
    "PodReadyToStartContainers",
    "Initialized",
    "ContainersStarted",
    "ContainersReady",
    "Ready",
)
_SAMPLES = {"accepted": "sent → accepted", "corrected": "intended → accepted", "late": "due → sent"}
BY_WATCH, BY_STAMPS = "by watch", "by the API's stamps"


def cluster(target: Target) -> str:
    """Return what was loaded, as far as it is known."""
    context = f" (context {target.context})" if target.context else ""
    name = f"embedded cluster {target.embedded}" if target.embedded else f"{target.server}{context}"
    version = f"Kubernetes {target.version}" if target.version else ""
    nodes = "" if not target.nodes else "1 node" if target.nodes == 1 else f"{target.nodes} nodes"
    return ", ".join(part for part in (name or "a cluster that is not named", version, nodes) if part)


def requests(job: JobDocument) -> tuple[str, str, str]:
    """Return how many requests were asked for, accepted and given up, "-" where nobody counted."""
    if not job.counted:
        return "-", "-", "-"
    return str(job.asked), str(job.accepted), str(sum(job.failed.values()))


def rate(job: JobDocument) -> str:
    """Return the rate that was reached, "-" where it is not known, or all went at once: how fast is no rate, then."""
    return "-" if not job.reached_qps or within_burst(job) else f"{job.reached_qps:.1f}"


def within_burst(job: JobDocument) -> bool:
    """Say whether a job's requests were so few that its rate limited none."""
    return job.counted and job.sent <= job.burst


def sample_words(name: str) -> str:
    """Return what a sample of requests is called beside its figures (`JobDocument.requests`)."""
    return _SAMPLES.get(name) or f"sent → {name.removeprefix('seen ')} seen"


def asked_rate(job: JobDocument) -> str:
    """Return the rate that was asked for, "-" where it is not known."""
    return (f"{job.qps:.4g}" if job.qps < 1000 else f"{job.qps:.0f}") if job.counted or job.qps else "-"


def took(job: JobDocument) -> str:
    """Return the seconds that a job took, "-" where they are not known."""
    return f"{job.elapsed_s:.1f}" if job.counted or job.elapsed_s else "-"


def startup(job: JobDocument) -> dict[str, Figures]:
    """Return the latencies of a job's objects by what they came to, in their order.

    They are the watch's; of a run that only kube-burner's documents tell of, the API's own stamps', of all it measured.
    """
    found = job.start_ms if job.counted else job.start_server_ms
    known = {name: found[name] for name in CONDITIONS if name in found}
    return known if job.counted else known | found


def clock_of(jobs: list[JobDocument]) -> str:
    """Return by what the latencies of a run's jobs were taken."""
    return BY_WATCH if all(job.counted for job in jobs) else BY_STAMPS
