"""Rules on the document of a run: rates that were not reached, refusals, late starts, walls. And on a probed host."""

from typing import Any

from kubedyno.advisor.hostfacts import Host
from kubedyno.advisor.ruleset import PROBE, RUN, ProbeFacts, shown
from kubedyno.advisor.tuning import Advice
from kubedyno.documents.run import RunDocument

RUNS = "the run's document"
FAIRNESS = "Kubernetes documentation, API Priority and Fairness"
SLOS = "Kubernetes scalability SLIs and SLOs"
POD_START_MS = 5_000.0
REACHED = 0.9
AGAIN = "kubedyno init -c CONFIG, and kubedyno compare of the two runs"


@RUN
def run_rate(run: RunDocument) -> Advice | None:
    """Jobs that stayed below the rate they asked for: by the client, or by the API server."""
    found, server = [], False
    for job in run.jobs:
        if job.qps <= 0 or job.sent <= job.burst or job.reached_qps >= REACHED * job.qps:
            continue
        accept = job.accept_ms.p99 if job.accept_ms else 0.0
        late = job.late_ms.p99 if job.late_ms else 0.0
        server = server or accept >= late
        found.append(
            f"job {job.name}: {job.reached_qps:.1f} of {job.qps:g} a second; sent late by {late:.0f} ms, accepted after"
            f" {accept:.0f} ms (P99)"
        )
    if not found:
        return None
    return Advice(
        "run-rate",
        "warning",
        "the load did not reach its rate",
        evidence=shown(found),
        effect="the API server was slower than the load" if server else "this machine was slower than its schedule",
        effect_source=RUNS,
        applying="the next run",
        apply=(
            "lower qps and burst of the job to what was reached, or give the API server more"
            if server
            else "a machine with more CPUs, or several that share the load",
        ),
        check=(AGAIN,),
        undo=("the old qps and burst",),
        source=RUNS,
    )


@RUN
def run_refusals(run: RunDocument) -> Advice | None:
    """Requests that the API server refused or that had to be tried again."""
    found = []
    for job in run.jobs:
        failed = ", ".join(f"{count} x {why}" for why, count in sorted(job.failed.items()))
        if failed or job.retried:
            found.append(f"job {job.name}: {job.retried} tried again" + (f"; failed: {failed}" if failed else ""))
    if not found:
        return None
    return Advice(
        "run-refusals",
        "warning",
        "requests were refused or tried again",
        evidence=shown(found),
        effect="429: the priority level has no seat; the rate asked for is more than it admits",
        effect_source=FAIRNESS,
        applying="the next run",
        apply=("lower qps and burst, or give the load a priority level of its own (FlowSchema)",),
        check=("kubectl get --raw /metrics | grep apiserver_flowcontrol_rejected_requests_total", AGAIN),
        undo=("the old qps and burst",),
        source=RUNS,
    )


@RUN
def run_pod_starts(run: RunDocument) -> Advice | None:
    """Pods that became Ready later than the SLO says."""
    found = [
        f"job {job.name}: Ready after {figures.p99 / 1000:.1f} s (P99 of {figures.count})"
        for job in run.jobs
        if (figures := job.start_ms.get("Ready")) is not None and figures.p99 > POD_START_MS
    ]
    if not found:
        return None
    return Advice(
        "run-pod-starts",
        "improvement",
        "pods became Ready later than the SLO of 5 s",
        evidence=shown(found),
        effect="5 s (P99) without image pulls and init containers is what a tested cluster keeps",
        effect_source=SLOS,
        requires=("images that are already there: preLoadImages",),
        applying="the next run",
        apply=(
            "see which phase takes the time: kubedyno report; then kubelet-api-rate, controller-rates, image pulls",
        ),
        check=(AGAIN,),
        undo=("none needed",),
        source=SLOS,
    )


@RUN
def run_walls(run: RunDocument) -> Advice | None:
    """What kept the run's pods from running until its end."""
    found = [one for one in run.findings if one.at_end]
    if not found:
        return None
    return Advice(
        "run-walls",
        "error" if any(one.permanent for one in found) else "warning",
        f"pods did not run at the end of the run: {found[0].title}",
        evidence=shown([f"{one.title}: {line}" for one in found for line in one.evidence]),
        effect=found[0].next_wall or "the pods run",
        effect_source=RUNS,
        applying="as the command says",
        apply=tuple(line for one in found for line in one.remedy),
        check=("kubedyno explain",),
        undo=("the old setting",),
        source=RUNS,
    )


# --- a probed host ------------------------------------------------------------------------------------------------


@PROBE
def conntrack_full(facts: ProbeFacts) -> Advice | None:
    """A connection tracking table of the kernel that is nearly full."""
    most, now = (_number(facts.get(("kernel", name), "")) for name in ("nf_conntrack_max", "nf_conntrack_count"))
    if not most or now is None or now < 0.8 * most:
        return None
    return Advice(
        "conntrack-full",
        "error" if now >= 0.95 * most else "warning",
        f"the kernel tracks {now} of at most {most} connections",
        evidence=(f"net.netfilter.nf_conntrack_count={now}", f"net.netfilter.nf_conntrack_max={most}"),
        effect="when it is full, new connections are dropped: nf_conntrack: table full, dropping packet",
        effect_source="Linux documentation, nf_conntrack-sysctl",
        requires=(f"about {most * 320 // 2**20} MiB of kernel memory for twice as many",),
        conflicts=("kube-proxy sets it at its start: conntrack.maxPerCore of its configuration",),
        applying="at once",
        apply=(f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}",),
        check=("sysctl net.netfilter.nf_conntrack_count",),
        undo=(f"sysctl -w net.netfilter.nf_conntrack_max={most}",),
        source="Linux documentation, nf_conntrack-sysctl",
    )


@PROBE
def bpf_jit(facts: ProbeFacts) -> Advice | None:
    """BPF programs that are interpreted."""
    if facts.get(("kernel", "BPF JIT")) != "no":
        return None
    return Advice(
        "bpf-jit",
        "improvement",
        "BPF programs are interpreted: the JIT is off",
        evidence=("net.core.bpf_jit_enable=0",),
        effect="native code instead of an interpreter for each packet",
        effect_source="Linux documentation, net.core.bpf_jit_enable; no figure is published",
        applying="programs that are loaded afterwards: the agents restart",
        apply=("sysctl -w net.core.bpf_jit_enable=1",),
        check=("sysctl net.core.bpf_jit_enable",),
        undo=("sysctl -w net.core.bpf_jit_enable=0",),
        source="Linux documentation, net.core.bpf_jit_enable",
    )


@PROBE
def small_backlog(facts: ProbeFacts) -> Advice | None:
    """A listen backlog of old kernels' size."""
    value = _number(facts.get(("sysctls", "net.core.somaxconn"), ""))
    if value is None or value >= 4096:
        return None
    return Advice(
        "small-backlog",
        "improvement",
        f"at most {value} connections may wait to be accepted",
        evidence=(f"net.core.somaxconn={value}",),
        effect="bursts of connections are dropped and tried again after 1 s; 4096 is the kernel's default since 5.4",
        effect_source="Linux documentation, net.core.somaxconn",
        applying="sockets that listen afterwards; pods have their own value (securityContext.sysctls)",
        apply=("sysctl -w net.core.somaxconn=4096",),
        check=("nstat -az TcpExtListenOverflows",),
        undo=(f"sysctl -w net.core.somaxconn={value}",),
        source="Linux documentation, net.core.somaxconn",
    )


def _number(text: str) -> int | None:
    first = text.split(" ", maxsplit=1)[0]
    return int(first) if first.isdigit() else None


def facts_of(document: Any) -> ProbeFacts:
    """Return the facts of a probe's document (`kubedyno probe -o json`); of a cluster's, the first node's that answered.

    Raises:
        KeyError: There are none.
        TypeError: It is something else.
    """
    if "nodes" in document:
        document = next((node for node in document["nodes"] if node["facts"]), {})
    return {(str(one["group"]), str(one["name"])): str(one["value"]) for one in document["facts"]}


def host_of(facts: ProbeFacts) -> Host:
    """Return what a probe tells the rules of hosts; what it could not try stays unknown."""

    def known(group: str, name: str) -> str | None:
        value = facts.get((group, name))
        return None if value is None or value == "unknown" else value

    def yes(group: str, name: str) -> bool | None:
        return {"yes": True, "no": False}.get(facts.get((group, name), ""))

    devices = sorted(group for group, name in facts if name == "driver")
    mtus = [
        (group.removeprefix("device "), size)
        for group in devices
        if (size := _number(facts.get((group, "MTU"), ""))) is not None
    ]
    governor = known("machine", "CPU governor")
    tuned = known("machine", "tuned profile")
    return Host(
        kernel=known("kernel", "release"),
        drivers=tuple(facts[group, "driver"] for group in devices) or None,
        preempt=known("kernel", "preemption"),
        governor="" if governor is not None and governor.startswith("none") else governor,
        tuned="" if tuned == "none" else tuned,
        irqbalance={"runs": True, "does not run": False}.get(facts.get(("machine", "irqbalance"), "")),
        netkit=yes("datapath", "netkit"),
        fq=yes("datapath", "fq"),
        jiffies=yes("BPF helpers", "jiffies64"),
        memory_b=_number(facts.get(("machine", "memory"), "")),
        cpus=_number(facts.get(("machine", "possible CPUs"), "")),
        mtus=tuple(mtus) or None,
    )
