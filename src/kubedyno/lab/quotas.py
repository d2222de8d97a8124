"""What the quotas and LimitRanges of namespaces that are there already say to a plan, before a request is sent.

In a plan, the ResourceQuotas and the LimitRanges; out one line for each that the plan does not fit into. Objects are measured
by the very rules of the embedded cluster's admission, pods of workloads with the defaults that their namespace gives them.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from kubedyno.cluster.registry.limitranger import Amounts, apply_defaults, claim_problems, pod_problems
from kubedyno.cluster.registry.quota import measure, unsaid
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.resources import PODS, by_kind
from kubedyno.load.plan.plan import JobPlan, Plan

Json = dict[str, Any]
_ZERO = Quantity.parse("0")
_WITH_REPLICAS = frozenset({"Deployment", "ReplicaSet", "StatefulSet", "ReplicationController"})
# What a workload makes beside its pods.
_CHILDREN = {"Deployment": "count/replicasets.apps"}


def pods_of(body: Json) -> tuple[Json, int] | None:
    """Return the pod that an object asks for, and how many; None when it asks for none. A DaemonSet's count is not known."""
    kind, spec = body.get("kind"), body.get("spec") or {}
    if kind == "Pod":
        return {"metadata": {}, "spec": spec}, 1
    template = (spec.get("template") or {}).get("spec")
    if not isinstance(template, dict):
        return None
    if kind == "Job":
        return {"metadata": {}, "spec": template}, min(
            int(spec.get("parallelism", 1)), int(spec.get("completions", 1) or 1)
        )
    if kind in _WITH_REPLICAS:
        replicas = spec.get("replicas")
        return {"metadata": {}, "spec": template}, 1 if replicas is None else int(replicas)
    return None


def lines(plan: Plan, quotas: Sequence[Json], ranges: Sequence[Json]) -> list[str]:
    """Return what quotas and LimitRanges refuse of a plan; every object of their namespaces is rendered.

    Args:
        plan: What would be made.
        quotas: The ResourceQuotas of all namespaces.
        ranges: Their LimitRanges.

    Raises:
        KubedynoError: A template fails.
    """
    limited = {item["metadata"]["namespace"] for item in (*quotas, *ranges)}
    if not limited:
        return []
    asked: dict[str, Amounts] = {}
    refused: dict[tuple[str, str], list[str]] = {}
    for job in plan.jobs:
        for namespace, body in _objects(job, limited):
            there = [item for item in ranges if item["metadata"]["namespace"] == namespace]
            own = [item for item in quotas if item["metadata"]["namespace"] == namespace]
            what = f"{body.get('kind')} {namespace}/{body['metadata'].get('name', '')}"
            for reason in _one(body, namespace, there, own, asked.setdefault(namespace, {})):
                refused.setdefault(reason, []).append(what)
    # One line a reason: a template that does not fit makes many such objects.
    found = [
        f"{who}{objects[0]}{f' and {len(objects) - 1} more' if objects[1:] else ''}{why}"
        for (who, why), objects in refused.items()
    ]
    for quota in quotas:
        found += _beyond(quota, asked.get(quota["metadata"]["namespace"], {}))
    return list(dict.fromkeys(found))


def _objects(job: JobPlan, limited: set[str]) -> Iterator[tuple[str, Json]]:
    for item in job.objects:
        if item.namespace and item.namespace not in limited:
            continue
        for iteration in range(job.spec.job_iterations):
            if not item.due(iteration) or (
                not item.namespace and not limited.intersection({job.namespace_of(iteration)})
            ):
                continue
            for replica in range(1, item.replicas + 1):
                one = item.render(iteration, replica)
                namespace = one.namespace or job.namespace_of(iteration)
                if namespace in limited:
                    yield namespace, orjson.loads(one.body)


def _one(
    body: Json, namespace: str, ranges: Sequence[Json], quotas: Sequence[Json], total: Amounts
) -> list[tuple[str, str]]:  # fmt: skip
    """Add what an object uses to what its namespace is asked for; returns what stands before and after its name if refused."""
    resource = by_kind(body.get("apiVersion", ""), body.get("kind", ""))
    found: list[tuple[str, str]] = []
    if body.get("kind") == "PersistentVolumeClaim":
        problem = claim_problems(body, ranges)
        found += [("LimitRange: ", f": {problem}")] if problem else []
    pods = pods_of(body)
    if resource is not None and resource is not PODS:
        _add(total, measure(resource, body), 1)
    if pods is None:
        return found
    pod, count = copy.deepcopy(pods[0]), pods[1]
    _default(pod["spec"])
    apply_defaults(pod, ranges)
    problem = pod_problems(pod, ranges)
    found += [("LimitRange: pods of ", f": {problem}")] if problem else []
    for quota in quotas:
        missing = unsaid(pod["spec"], quota["spec"].get("hard", {}))
        if missing and not _is_scoped(quota):
            name = quota["metadata"]["name"]
            found.append((f"quota {namespace}/{name}: pods of ", f" must specify {missing}"))
    _add(total, measure(PODS, pod), count)
    child = _CHILDREN.get(body["kind"])
    if child:
        _add(total, {child: Quantity.parse("1")}, 1)
    return found


def _default(spec: Json) -> None:
    """Do what the API server does before admission: a limit is a request, too."""
    for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
        resources = container.get("resources") or {}
        limits = resources.get("limits") or {}
        container["resources"] = {**resources, "requests": {**limits, **(resources.get("requests") or {})}}


def _add(total: Amounts, more: Mapping[str, Quantity], times: int) -> None:
    for name, amount in more.items():
        left, power = times, amount
        # By doubling: a quantity keeps its unit when it is added to itself.
        while left:
            if left & 1:
                total[name] = total[name] + power if name in total else power
            power, left = power + power, left >> 1


def _is_scoped(quota: Json) -> bool:
    return bool(quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"))


def _beyond(quota: Json, asked: Mapping[str, Quantity]) -> list[str]:
    meta, hard = quota["metadata"], quota["spec"].get("hard") or {}
    where = f"quota {meta['namespace']}/{meta['name']}"
    if _is_scoped(quota):
        return [f"{where}: holds for some pods only (scopes): not compared"] if asked else []
    used = (quota.get("status") or {}).get("used") or {}
    found = []
    for name in sorted(hard):
        if name not in asked:
            continue
        limit, now = Quantity.parse(str(hard[name])), Quantity.parse(str(used.get(name, "0")))
        if asked[name] > _ZERO and now + asked[name] > limit:
            found.append(f"{where}: {name}: {asked[name]} asked, {now} of {limit} used already")
    return found
