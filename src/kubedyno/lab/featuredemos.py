"""`kubedyno features demo`: ten features shown on a cluster, in namespaces of their own that are gone afterwards.

A demonstration makes real objects, waits for what the cluster makes of them, and says what it saw: "shown", "off" where
the cluster does not have the feature, or "not modelled" where it takes what this cluster cannot be given.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson

from kubedyno.advisor import features
from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.random import secret_token
from kubedyno.client.api import Client
from kubedyno.cluster.controllers.deploysync import REPLACEMENT
from kubedyno.kube.status import StatusError
from kubedyno.lab import poddemos, target
from kubedyno.lab.demostage import IMAGE, WAIT_S, Json, Shown, Stage, pod
from kubedyno.lab.target import Choice

LIST_OBJECTS = 300
_BACKENDS = 4
# Somewhat more than --horizontal-pod-autoscaler-sync-period.
_SYNC_S = 20.0
_REPLACEMENT_GATE = "DeploymentPodReplacementPolicy"
_ZONE = "topology.kubernetes.io/zone"


def _deployment(name: str, replicas: int, annotations: Json | None = None, **container: Any) -> Json:
    labels = {"app": name}
    one = {"name": "c", "image": IMAGE, **container}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations or {}},
                "spec": {"containers": [one]},
            },
        },
    }


async def _hpa_tolerance(stage: Stage) -> Shown:
    """Usage 8 % beyond the target: scaled with a tolerance of 0.05, left alone within the default of 0.1."""
    # Simulated pods say by annotation what they use.
    usage = {"kubedyno.io/usage-cpu": "54m"}
    for name, rules in (("default", {}), ("fine", {"scaleUp": {"tolerance": "0.05"}})):
        requests = {"resources": {"requests": {"cpu": "100m"}}}
        await stage.create("deployments", _deployment(name, _BACKENDS, usage, **requests), "apps/v1")
        # All pods first: what an autoscaler sees before stands until it looks again, in 15 s.
        await stage.available(name, _BACKENDS)
        metric = {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
        }
        scaler = {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": name},
            "spec": {
                "minReplicas": 1,
                "maxReplicas": 10,
                "metrics": [metric],
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                "behavior": rules,
            },
        }
        made = await stage.create("horizontalpodautoscalers", scaler, "autoscaling/v2")
        if rules and "tolerance" not in ((made["spec"].get("behavior") or {}).get("scaleUp") or {}):
            stage.say("behavior.scaleUp.tolerance was dropped: HPAConfigurableTolerance is off")
            return stage.shown("off")

    async def sizes(name: str) -> tuple[int, int] | None:
        scaler = await stage.client.get(stage.path("horizontalpodautoscalers", name, "autoscaling/v2"))
        status = scaler.get("status") or {}
        seen = status.get("currentMetrics")
        return (int(status.get("currentReplicas", 0)), int(status.get("desiredReplicas", 0))) if seen else None

    async def scaled() -> bool:
        found = await sizes("fine")
        return found is not None and found[1] > _BACKENDS

    async def judged() -> bool:
        return await sizes("fine") is not None

    if not await stage.until(judged) or not await stage.until(scaled, _SYNC_S):
        if not stage.embedded:
            stage.say("needs pods that use 54 % of their request, which only a simulated one does by annotation")
            return stage.shown("not modelled")
        stage.say("the autoscaler with tolerance 0.05 did not scale: HPAConfigurableTolerance is off in its controller")
        return stage.shown("off")
    stage.say(
        f"use 54 % of a target of 50 %, ratio 1.08, 4 pods; tolerance 0.05: {(await sizes('fine') or (0, 0))[1]} wanted"
    )
    default = await sizes("default")
    stage.say(f"the same with the default tolerance 0.1: {default[1] if default else 'not yet'} wanted")
    return stage.shown()


@asynccontextmanager
async def _zones(stage: Stage) -> AsyncIterator[None]:
    """Give simulated nodes without a zone two zones, as long as a demonstration lasts; real nodes are left alone."""
    nodes = await stage.client.list_all("/api/v1/nodes")
    if not stage.embedded or any(_ZONE in (node["metadata"].get("labels") or {}) for node in nodes):
        yield
        return

    async def label(zones: list[str | None]) -> None:
        for node, zone in zip(nodes, zones, strict=True):
            body = {"metadata": {"labels": {_ZONE: zone}}}
            await stage.client.patch(f"/api/v1/nodes/{node['metadata']['name']}", body, "application/merge-patch+json")

    await label([f"zone-{'ab'[number % 2]}" for number in range(len(nodes))])
    stage.say("nodes were given zone-a and zone-b in turn, for as long as this lasts")
    try:
        yield
    finally:
        await asyncio.shield(label([None] * len(nodes)))


def _distribution(value: str) -> Callable[[Stage], Awaitable[Shown]]:
    async def demo(stage: Stage) -> Shown:
        """Hints of EndpointSlices keep traffic near its client."""
        async with _zones(stage):
            return await hinted(stage)

    async def hinted(stage: Stage) -> Shown:
        await stage.create("deployments", _deployment("web", _BACKENDS), "apps/v1")
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}], "trafficDistribution": value},
        }
        try:
            await stage.create("services", service)
        except StatusError as error:
            stage.say(f"refused: {error.message}")
            return stage.shown("off")
        field = "forNodes" if value.endswith("Node") else "forZones"

        async def hints() -> list[str]:
            query = "?labelSelector=kubernetes.io%2Fservice-name%3Dweb"
            found = await stage.client.list_all(stage.path("endpointslices", group="discovery.k8s.io/v1") + query)
            ends = [end for one in found for end in one.get("endpoints") or ()]
            lines = [
                f"endpoint {end['addresses'][0]} on {end.get('nodeName')}: {field}"
                f" {', '.join(hint['name'] for hint in (end.get('hints') or {}).get(field) or ())}"
                for end in ends
                if (end.get("hints") or {}).get(field)
            ]
            return lines if len(lines) == _BACKENDS else []

        lines = await stage.until(hints, 15.0)
        if not lines:
            nodes = await stage.client.list_all("/api/v1/nodes")
            zones = {(node["metadata"].get("labels") or {}).get("topology.kubernetes.io/zone", "") for node in nodes}
            why = "no node has the label topology.kubernetes.io/zone" if zones == {""} else "the slices got no hints"
            stage.say(why)
            return stage.shown("off")
        stage.say(f"trafficDistribution: {value}")
        for line in lines:
            stage.say(line)
        stage.say("a proxy that knows the hints sends a client on that node (or in that zone) there, and only there")
        return stage.shown()

    return demo


async def _pod_replacement(stage: Stage) -> Shown:
    """The field that was announced for Deployments in 1.34 and did not ship, and what it was to do."""
    thing = _deployment("web", 1)
    thing["spec"]["podReplacementPolicy"] = "TerminationComplete"
    said = await stage.refused("deployments", thing, "apps/v1")
    stage.say(f"a strict dry run says: {said}" if said else "a strict dry run takes it")
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job"},
        "spec": {
            "podReplacementPolicy": "Failed",
            "template": {"spec": {**pod("x")["spec"], "restartPolicy": "Never"}},
        },
    }
    said_job = await stage.refused("jobs", job, "batch/v1")
    stage.say(f"of a Job, which has it since 1.29: {said_job or 'taken'}")
    stage.say("marked: announced for Deployments in 1.34, not in any release up to 1.36")
    if said and await _has_replacement(stage):
        stage.say(f"this cluster does what was announced, by the annotation {REPLACEMENT}; a rollout of 4 replicas,")
        stage.say("maxSurge 1, maxUnavailable 1, whose pods take 2 s to end:")
        for policy in ("TerminationStarted", "TerminationComplete"):
            most = await _most_pods(stage, policy)
            stage.say(f"  {policy}: at most {most} pods at a time, those that end among them")
        return stage.shown()
    if said and stage.embedded:
        stage.say("what it was to do is shown with cluster up --feature-gates DeploymentPodReplacementPolicy=true")
    return stage.shown("off" if said else "shown")


async def _has_replacement(stage: Stage) -> bool:
    page = await stage.client.request("GET", "/metrics")
    return stage.embedded and features.gates_of(page.body.decode(errors="replace")).get(_REPLACEMENT_GATE, False)


async def _most_pods(stage: Stage, policy: str) -> int:
    """Roll a Deployment out and return the most pods that it had at a time."""
    name = policy.lower()
    thing = _deployment(name, _BACKENDS, command=["sleep", "infinity"])
    thing["metadata"]["annotations"] = {REPLACEMENT: policy}
    thing["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
    thing["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 2
    await stage.create("deployments", thing, "apps/v1")
    await stage.available(name, _BACKENDS)
    change = {"spec": {"template": {"metadata": {"annotations": {"version": "2"}}}}}
    path = stage.path("deployments", name, "apps/v1")
    await stage.client.patch(path, change, "application/merge-patch+json")
    most = 0

    async def rolled() -> bool:
        nonlocal most
        pods = await stage.client.list_all(stage.path("pods") + f"?labelSelector=app%3D{name}")
        most = max(most, len(pods))
        status = (await stage.client.get(path)).get("status") or {}
        new = status.get("updatedReplicas") == status.get("availableReplicas") == _BACKENDS
        return new and len(pods) == _BACKENDS

    await stage.until(rolled)
    return most


async def _streaming_list(stage: Stage) -> Shown:
    """A list as a watch: items one by one and a bookmark at their end, instead of one large answer."""
    for number in range(LIST_OBJECTS):
        thing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c{number}"}, "data": {"x": "y" * 500}}
        await stage.create("configmaps", thing)
    whole = await stage.client.request("GET", stage.path("configmaps"))
    stage.say(f"a plain list: one answer of {len(whole.body)} bytes")
    query = (
        "?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=10"
    )
    stream = await stage.client.open_stream(stage.path("configmaps") + query)
    events, largest, ended, rest = 0, 0, False, b""
    try:
        async with aio.timeout(WAIT_S):
            async for piece in stream:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    event = orjson.loads(line)
                    if event.get("kind") == "Status" or event.get("type") == "ERROR":
                        stage.say(f"refused: {event.get('message') or event.get('object')}")
                        return stage.shown("off")
                    largest = max(largest, len(line))
                    events += event["type"] == "ADDED"
                    notes = (event["object"].get("metadata") or {}).get("annotations") or {}
                    ended = notes.get("k8s.io/initial-events-end") == "true"
                if ended:
                    break
    finally:
        stream.close()
    if not ended:
        stage.say(f"the watch gave {events} objects and no bookmark at their end: WatchList is off")
        return stage.shown("off")
    stage.say(
        f"as a stream: {events} objects one by one, the largest {largest} bytes, then the bookmark initial-events-end"
    )
    stage.say("neither side holds the whole list in memory at once")
    return stage.shown()


async def _endpoints_warning(stage: Stage) -> Shown:
    """Who asks for Endpoints is warned."""
    result = await stage.client.request("GET", stage.path("endpoints"))
    warning = result.headers.get("warning", "")
    if not warning:
        stage.say("GET endpoints: no Warning header (an API server sends one from 1.33 on)")
        return stage.shown("off")
    stage.say(f"GET endpoints: Warning: {warning}")
    slices = await stage.client.request("GET", stage.path("endpointslices", group="discovery.k8s.io/v1"))
    stage.say(f"GET endpointslices: {slices.headers.get('warning') or 'no warning'}")
    return stage.shown()


DEMOS: dict[str, Callable[[Stage], Awaitable[Shown]]] = {
    "hpa-tolerance": _hpa_tolerance,
    "prefer-same-zone": _distribution("PreferSameZone"),
    "prefer-same-node": _distribution("PreferSameNode"),
    "sleep-zero": poddemos.sleep_zero,
    "stop-signal": poddemos.stop_signal,
    "image-credentials": poddemos.image_credentials,
    "image-volume": poddemos.image_volume,
    "dra-claim": poddemos.dra_claim,
    "pod-replacement-policy": _pod_replacement,
    "streaming-list": _streaming_list,
    "endpoints-warning": _endpoints_warning,
}


async def demonstrate(choice: Choice, name: str, *, yes: bool) -> Shown:
    """Run one demonstration on a cluster and remove its namespace, also when it is interrupted.

    Raises:
        KubedynoError: There is none of that name, it is not confirmed, or the cluster refuses.
    """
    demo = DEMOS.get(name)
    if demo is None:
        raise KubedynoError(f"features demo {name}: there are {', '.join(DEMOS)}")
    async with Client(choice.target) as client:
        seen = await target.describe(client, choice)
        target.confirm(seen, yes=yes, quiet=True)
        major, minor, *_ = seen.version.removeprefix("v").split(".")
        namespace = f"kubedyno-demo-{secret_token(6).lower().replace('_', 'x').replace('-', 'x')}"
        thing = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        try:
            await client.create("/api/v1/namespaces", thing)
        except StatusError as error:
            raise target.refused(client, error) from error
        try:
            stage = Stage(client, namespace, embedded=choice.running is not None, version=(int(major), int(minor)))
            await _account(stage)
            return await demo(stage)
        except StatusError as error:
            raise target.refused(client, error) from error
        finally:
            await asyncio.shield(_remove(client, namespace))


async def _account(stage: Stage) -> None:
    """Wait for the namespace's service account, which pods need."""

    async def there() -> bool:
        try:
            await stage.client.get(stage.path("serviceaccounts", "default"))
        except StatusError as error:
            if error.code == 404:
                return False
            raise
        return True

    await stage.until(there)


async def _remove(client: Client, namespace: str) -> None:
    try:
        await client.delete(f"/api/v1/namespaces/{namespace}")
    except StatusError as error:
        if error.code != 404:
            raise
