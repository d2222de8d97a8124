"""`plan`: what a configuration would do, told without sending any load, and what the target cannot hold of it.

Every object is rendered, so that an error of a template at iteration 40,000 is told now. The requests of each second
come from the very schedules that pace the load.
"""

import ipaddress
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError
from kubedyno.lab import quotas
from kubedyno.lab.rights import rights_of
from kubedyno.lab.session import Prepared
from kubedyno.load.engine.arrival import pacing
from kubedyno.load.engine.steps import steps
from kubedyno.load.plan.plan import JobPlan, Plan
from kubedyno.load.targets import Targets

# More objects of one job than this are not rendered one by one.
MAX_RENDERED = 200_000
# Seconds of a job that are listed.
_SECONDS = 3600
# Kinds that ask for pods.
_WITH_PODS = frozenset({
    "Pod", "DaemonSet", "Job", "Deployment", "ReplicaSet", "StatefulSet", "ReplicationController",
})  # fmt: skip
# Of a /24 a node gives away all but the network, the gateway and the broadcast address.
_RESERVED_ADDRESSES = 3


@dataclass(slots=True)
class JobForecast:
    """What one job would do; seconds are of its sending, without waits.

    Attributes:
        objects: Kind → how many.
        per_second: Requests in each second, as far as listed.
        rights: "verb kind" that the user needs.
        pods: That its objects ask for, those of DaemonSets apart.
        pods_each_node: Of DaemonSets.
    """

    name: str
    type: str
    requests: int
    namespaces: int
    objects: dict[str, int]
    seconds: float
    per_second: list[int]
    rights: list[str]
    pods: int = 0
    pods_each_node: int = 0
    errors: list[str] = field(default_factory=list)


def forecast(prepared: Prepared) -> list[JobForecast]:
    """Return what each job would do.

    Raises:
        KubedynoError: A file of arrivals cannot be read.
    """
    return [_job(job, prepared) for job in prepared.plan.jobs]


def _job(job: JobPlan, prepared: Prepared) -> JobForecast:
    spec = job.spec
    if spec.job_type != "create":
        return JobForecast(
            spec.name, spec.job_type, 0, 0, {}, 0.0, [], rights_of(job, gc=prepared.spec.global_.gc, namespaces=False)
        )
    rounds = steps(spec.incremental) if spec.incremental is not None else [spec.job_iterations]
    made = JobForecast(spec.name, spec.job_type, 0, 0, {}, 0.0, [], [])
    counts: Counter[str] = Counter()
    for iterations in rounds:
        step = (
            job
            if iterations == spec.job_iterations
            else prepared.plan.remade(job, runid=job.runid, iterations=iterations)
        )
        counts.update({item.kind: 0 for item in step.objects})
        for item in step.objects:
            counts[item.kind] += item.expected
    made.objects = dict(counts)
    made.requests = sum(counts.values())
    made.namespaces = len(job.namespaces()) if spec.namespace and any(not item.namespace for item in job.objects) else 0
    _render(job, made)
    schedule = pacing(spec, prepared.beside)
    seconds: Counter[int] = Counter()
    for _ in range(made.requests):
        due_s = schedule.reserve(0.0)
        made.seconds = max(made.seconds, due_s)
        if due_s < _SECONDS:
            seconds[int(due_s)] += 1
    made.per_second = [seconds[second] for second in range(int(min(made.seconds, _SECONDS - 1)) + 1)]
    made.rights = rights_of(job, gc=prepared.spec.global_.gc, namespaces=bool(made.namespaces))
    return made


def _render(job: JobPlan, made: JobForecast) -> None:
    """Render what the job would create: counts its pods, and notes what goes wrong."""
    rendered = 0
    names: set[tuple[str, str, str]] = set()
    for item in job.objects:
        for iteration in range(job.spec.job_iterations):
            if not item.due(iteration):
                continue
            for replica in range(1, item.replicas + 1):
                rendered += 1
                if rendered > MAX_RENDERED:
                    return
                try:
                    one = item.render(iteration, replica)
                except KubedynoError as error:
                    made.errors.append(str(error))
                    break
                place = one.namespace or (job.namespace_of(iteration) if made.namespaces else "")
                key = (one.kind, place, one.name)
                if one.name and key in names:
                    made.errors.append(
                        f"{item.template}: {one.kind} {one.name} would be made twice in {place or 'the cluster'}"
                    )
                    break
                names.add(key)
                if one.kind in _WITH_PODS:
                    _count_pods(orjson.loads(one.body), made)
            else:
                continue
            break


def _count_pods(body: dict[str, Any], made: JobForecast) -> None:
    if body["kind"] == "DaemonSet":
        made.pods_each_node += 1
        return
    asked = quotas.pods_of(body)
    made.pods += 0 if asked is None else asked[1]


@dataclass(slots=True)
class Capacity:
    """What a target was compared with.

    Attributes:
        missing: What it cannot hold, one line each; empty when it can.
        unread: What could not be compared, because the user may not read it.
    """

    missing: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


async def capacity(client: Client, jobs: Sequence[JobForecast], plan: Plan) -> Capacity:
    """Compare a plan with the target; what the user may not read is named, and the rest compared.

    Raises:
        StatusError: The target refuses to answer for another reason.
        KubedynoError: It cannot be reached, or a template fails.
    """
    found = Capacity()

    async def items(path: str, unknown: str) -> list[dict[str, Any]] | None:
        try:
            return await client.list_all(path)
        except StatusError as error:
            if error.code != 403:
                raise
            found.unread.append(f"{unknown}: {error.message}")
            return None

    found.missing += await _unserved(client, plan)
    nodes = await items("/api/v1/nodes", "maxPods and PodCIDR")
    pods = None if nodes is None else await items("/api/v1/pods", "maxPods and PodCIDR")
    if nodes is not None and pods is not None:
        found.missing += _without_room(jobs, nodes, pods)
    if not any(job.errors for job in jobs):
        limits = await items("/api/v1/limitranges", "LimitRanges")
        asked = await items("/api/v1/resourcequotas", "ResourceQuotas")
        found.missing += quotas.lines(plan, asked or (), limits or ())
    return found


def _without_room(
    jobs: Sequence[JobForecast], nodes: Sequence[dict[str, Any]], pods: Sequence[dict[str, Any]]
) -> list[str]:
    """Return a line when nodes have no room, or no addresses, for all pods."""
    nodes = [node for node in nodes if not _closed(node)]
    pods = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}]
    asked = sum(job.pods + job.pods_each_node * len(nodes) for job in jobs)
    running: Counter[str] = Counter(str((pod.get("spec") or {}).get("nodeName", "")) for pod in pods)
    addressed: Counter[str] = Counter(
        str((pod.get("spec") or {}).get("nodeName", ""))
        for pod in pods
        if not (pod.get("spec") or {}).get("hostNetwork")
    )
    by_pods = by_addresses = 0
    for node in nodes:
        name = node["metadata"]["name"]
        allowed = int((node.get("status") or {}).get("allocatable", {}).get("pods", 0))
        room = max(allowed - running[name], 0)
        by_pods += room
        cidr = (node.get("spec") or {}).get("podCIDR")
        addresses = room
        if cidr:
            usable = ipaddress.ip_network(cidr).num_addresses - _RESERVED_ADDRESSES
            addresses = max(usable - addressed[name], 0)
        by_addresses += min(room, addresses)
    if asked > by_pods:
        return [
            f"maxPods: {asked} pods asked, room for {by_pods} on {len(nodes)} nodes: {asked - by_pods} would stay Pending"
        ]
    if asked > by_addresses:
        return [
            f"PodCIDR: {asked} pods asked, addresses for {by_addresses}: {asked - by_addresses} would get no sandbox"
        ]
    return []


async def _unserved(client: Client, plan: Plan) -> list[str]:
    """Return the kind for which a run would end before it has begun, as a line; jobs of other clusters are not asked for."""
    targets = Targets(client, None)
    await targets.kinds.refresh()
    try:
        await targets.check_kinds([job for job in plan.jobs if not job.spec.kubeconfig])
    except KubedynoError as error:
        return [str(error)]
    return []


def _closed(node: dict[str, Any]) -> bool:
    spec = node.get("spec") or {}
    return bool(spec.get("unschedulable")) or any(
        taint.get("effect") in {"NoSchedule", "NoExecute"} for taint in spec.get("taints") or ()
    )


def lines_of(jobs: Sequence[JobForecast], held: Capacity | None) -> list[str]:
    """Return the plan as text, and what it was compared with; None when no target was asked."""
    lines = []
    for job in jobs:
        lines.append(f"job {job.name} ({job.type})")
        if job.type != "create":
            lines.append("  works on what is there when it runs")
        else:
            objects = ", ".join(f"{count} {kind}" for kind, count in job.objects.items()) or "nothing"
            lines.append(f"  creates {objects}" + (f" in {job.namespaces} namespaces" if job.namespaces else ""))
            lines.append(f"  {job.requests} requests in {job.seconds:.1f}s: {_rates(job.per_second)}")
            if job.pods or job.pods_each_node:
                each = f", and {job.pods_each_node} on every node" if job.pods_each_node else ""
                lines.append(f"  {job.pods} pods{each}")
        lines.append(f"  needs the rights: {', '.join(job.rights)}")
        lines += [f"  error: {text}" for text in job.errors]
    if held is not None:
        lines += [f"cannot be held: {text}" for text in held.missing]
        lines += [f"not compared: {text}" for text in held.unread]
        if not held.missing:
            lines.append("the cluster can hold it" + (", as far as was compared" if held.unread else ""))
    return lines


def _rates(per_second: Sequence[int]) -> str:
    """Return requests by second, equal neighbours together: "0s: 30, 1-9s: 10 each"."""
    parts: list[str] = []
    start = 0
    for second in range(1, len(per_second) + 1):
        if second == len(per_second) or per_second[second] != per_second[start]:
            last = second - 1
            span = f"{start}s: {per_second[start]}" if last == start else f"{start}-{last}s: {per_second[start]} each"
            parts.append(span)
            start = second
            if len(parts) == 12 and second < len(per_second):
                parts.append("…")
                break
    return ", ".join(parts)
