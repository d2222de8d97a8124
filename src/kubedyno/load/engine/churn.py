"""Churn: a share of what a create job made is deleted and made again, cycle by cycle, by namespaces or by objects."""

import asyncio
import re
from typing import Any
from urllib.parse import quote

import orjson

from kubedyno.base import aio
from kubedyno.base.log import logger
from kubedyno.base.times import go_duration
from kubedyno.load.engine.cleanup import delete_collection
from kubedyno.load.engine.create import CreateJob
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.namespaces import LOOKAHEAD, delete_labelled
from kubedyno.load.plan.labels import ITERATION

log = logger(__name__)

# At most so long for the namespaces of a cycle to go, as in the original.
_DELETION_S = 3600.0
_POLL_S = 0.1
_SERVER_FIELDS = (
    "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp",
    "deletionGracePeriodSeconds", "ownerReferences",
)  # fmt: skip


def window(count: int, percent: int, multiple: int = 1) -> int:
    """Return how many of `count` a cycle takes: at least one, whole multiples, never more than there are."""
    size = max(percent * count // 100, 1)
    return min(-(-size // multiple) * multiple, count)


def natural(name: str) -> list[tuple[int, int | str]]:
    """Return a sort key in which a-2 comes before a-10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def announce(job: CreateJob) -> None:
    """Say how there will be churn, in the original's lines."""
    churn, compat = job.job.spec.churn, job.context.compat
    log.info("Churning enabled")
    log.info("Churn cycles: %d", churn.cycles)
    log.info("Churn duration: %s", go_duration(int(churn.duration_s * 1e9)))
    log.info("Churn percent: %d", churn.percent)
    log.info("Churn delay: %s", go_duration(int(churn.delay_s * 1e9)))
    if compat == 2:
        log.info("Churn delete delay: %s", go_duration(int(churn.delete_delay_s * 1e9)))
        log.info("Churn type: %s", churn.mode or "namespaces")
    else:
        log.info("Using deletion strategy: default")


async def churn(job: CreateJob) -> None:
    """Churn until the cycles are done or the time is up.

    Raises:
        KubedynoError: It cannot go on.
        StatusError: The API refuses.
        WaitTimeoutError: What was made again was not ready in time.
    """
    spec, compat = job.job.spec.churn, job.context.compat
    objects = spec.mode == "objects"
    if compat == 2:
        log.info("Churning mode: %s", "objects" if objects else "namespaces")
    began_s = job.context.clock.monotonic()
    cycle = 0
    tail = "" if compat == 2 and not objects else ", stopping churn job"
    while True:
        if spec.cycles and cycle >= spec.cycles:
            log.info("Reached specified number of churn cycles (%d)%s", spec.cycles, tail)
            return
        if spec.duration_s and job.context.clock.monotonic() - began_s >= spec.duration_s:
            log.info("Churn job complete")
            return
        if objects:
            log.info("Deleting objects in churn cycle %d", cycle)
            await _objects(job)
        elif not await _namespaces(job):
            log.warning("Churn: there are no namespaces of this job, nothing to churn")
            return
        log.info("Sleeping for %s", go_duration(int(spec.delay_s * 1e9)))
        await aio.sleep(spec.delay_s)
        cycle += 1


async def _namespaces(job: CreateJob) -> int:
    plan, context, spec = job.job, job.context, job.job.spec
    label = context.label
    selector = f"{job.selector},{label('uuid')}={context.uuid}"
    path = f"/api/v1/namespaces?labelSelector={quote(selector)}"
    there = {item["metadata"]["name"] for item in await context.patient.list_all(path)}
    names = sorted((name for name in plan.namespaces() if name in there), key=natural)
    if not names:
        return 0
    repeat = max(item.repeat_every for item in plan.objects)
    # What is made every N iterations goes and comes as a whole.
    multiple = -(-repeat // spec.iterations_per_namespace) if spec.namespaced_iterations else 1
    size = window(len(names), spec.churn.percent, multiple)
    first = context.random.randrange((len(names) - size) // multiple + 1) * multiple
    chosen = names[first : first + size]
    iterations = [n for n in range(spec.job_iterations) if plan.namespace_of(n) in set(chosen)]
    mark = "kube-burner.io/churn-delete" if context.compat == 2 else "churndelete"
    value = "" if context.compat == 2 else "delete"
    body = orjson.dumps({"metadata": {"labels": {mark: value}}})
    merge = (("Content-Type", "application/merge-patch+json"),)
    for position in range(0, len(chosen), LOOKAHEAD):
        await asyncio.gather(
            *(
                context.client.request("PATCH", f"/api/v1/namespaces/{name}", body=body, headers=merge)
                for name in chosen[position : position + LOOKAHEAD]
            )
        )
    await _cluster_scoped(job, iterations)
    told = mark if context.compat == 2 else f"{mark}={value}"
    marked = f"{selector},{told}"
    await delete_labelled(context.patient, marked, context.clock, _DELETION_S, told)
    job.namespaces.forget(chosen)
    if spec.churn.delete_delay_s:
        log.info("Sleeping for %s after deletion", go_duration(int(spec.churn.delete_delay_s * 1e9)))
        await aio.sleep(spec.churn.delete_delay_s)
    if context.compat == 2:
        log.info("Re-creating %d deleted namespaces", len(chosen))
    else:
        log.info("Re-creating deleted objects")
    # What runs once was not in these namespaces unless iteration 0 was.
    again = [n for n in iterations if any(item.due(n) for item in plan.objects)]
    job.record.asked += sum(item.replicas for n in again for item in plan.objects if item.due(n))
    await job.create(iterations)
    return len(chosen)


async def _cluster_scoped(job: CreateJob, iterations: list[int]) -> None:
    context = job.context
    for item, mapping in zip(job.job.objects, job.mappings, strict=True):
        if mapping is None or mapping.namespaced or mapping.kind == "Namespace":
            continue
        numbers = ",".join(str(n) for n in iterations if item.due(n))
        if numbers:
            selector = f"{job.selector},{context.label('index')}={item.index},{ITERATION} in ({numbers})"
            await delete_collection(
                context.patient, mapping, None, selector, context.clock, _DELETION_S, wait=True
            )  # fmt: skip


async def _objects(job: CreateJob) -> None:
    plan, context, spec = job.job, job.context, job.job.spec
    label = context.label
    churned: list[tuple[Mapping, dict[str, Any]]] = []
    for item, mapping in zip(plan.objects, job.mappings, strict=True):
        if not item.churn or mapping is None:
            continue
        selector = f"{job.selector},{label('uuid')}={context.uuid},{label('index')}={item.index}"
        path = f"{mapping.path()}?labelSelector={quote(selector)}"
        items = await context.patient.list_all(path)
        if not items:
            log.warning("No %s found with label selector %s, skipping churn cycle", mapping.plural, selector)
            continue
        items.sort(key=lambda found: (found["metadata"]["creationTimestamp"], natural(found["metadata"]["name"])))
        chosen = items[: window(len(items), spec.churn.percent)]
        log.info("Deleting %d %s", len(chosen), mapping.plural)
        job.record.asked += 2 * len(chosen)
        options = orjson.dumps({"propagationPolicy": "Foreground"})
        for found in chosen:
            meta = found["metadata"]
            path = mapping.path(meta.get("namespace"), meta["name"])
            await job.sender.send("DELETE", path, options, f"{mapping.kind}/{meta['name']}")
        await job.sender.finish()
        churned += [(mapping, found) for found in chosen]
    churned.sort(key=lambda one: str(one[1]["metadata"]["creationTimestamp"]))
    for mapping, found in churned:
        await _gone(job, mapping, found)
    if spec.churn.delete_delay_s:
        log.info("Sleeping for %s after deletion", go_duration(int(spec.churn.delete_delay_s * 1e9)))
        await aio.sleep(spec.churn.delete_delay_s)
    log.info("Re-creating %d deleted objects", len(churned))
    for mapping, found in churned:
        namespace = found["metadata"].get("namespace")
        where = f" in namespace {namespace}" if namespace else ""
        name = f"{mapping.kind}/{found['metadata']['name']}{where}"
        await job.sender.send("POST", mapping.path(namespace), fresh(found, mapping.api_version, mapping.kind), name)
    await job.sender.finish()
    places = list(dict.fromkeys(found["metadata"].get("namespace", "") for _, found in churned))
    if any(places):
        await job.wait_ready([place for place in places if place])


async def _gone(job: CreateJob, mapping: Mapping, found: dict[str, Any]) -> None:
    """Return when an object is gone: not there, or another one of its name."""
    meta = found["metadata"]
    path, client = mapping.path(meta.get("namespace"), meta["name"]), job.context.patient
    while True:
        answer = await client.request("GET", path)
        if answer.status == 404 or (
            answer.status == 200 and orjson.loads(answer.body)["metadata"]["uid"] != meta["uid"]
        ):
            return
        job.context.waiting(f"{mapping.kind} {meta['name']} to be deleted")
        await aio.sleep(_POLL_S)


def fresh(found: dict[str, Any], api_version: str, kind: str) -> bytes:
    """Return a live object as one to create: without what the server filled in.

    Args:
        found: As a list has it, whose items do not say their kind.
        api_version: Of the kind.
        kind: The kind.
    """
    made: dict[str, Any] = {"apiVersion": api_version, "kind": kind}
    made |= {key: value for key, value in found.items() if key != "status"}
    made["metadata"] = {key: value for key, value in found["metadata"].items() if key not in _SERVER_FIELDS}
    spec = made.get("spec")
    if kind == "Service" and isinstance(spec, dict):
        made["spec"] = {
            key: value for key, value in spec.items() if key not in {"clusterIPs", "healthCheckNodePort"}
        } | {"clusterIP": "None" if spec.get("clusterIP") == "None" else ""}
        made["spec"]["ports"] = [
            {key: value for key, value in port.items() if key != "nodePort"} for port in spec.get("ports") or ()
        ]
    elif kind == "Pod" and isinstance(spec, dict):
        made["spec"] = {key: value for key, value in spec.items() if key != "nodeName"}
    elif kind == "Job" and isinstance(spec, dict):
        made["spec"] = {key: value for key, value in spec.items() if key != "selector"}
        template = made["spec"].get("template", {})
        meta = template.get("metadata", {})
        labels = {
            key: value
            for key, value in (meta.get("labels") or {}).items()
            if key.rpartition("/")[2] not in {"controller-uid", "job-name"}
        }
        made["spec"]["template"] = template | {"metadata": meta | {"labels": labels}}
    return orjson.dumps(made)
