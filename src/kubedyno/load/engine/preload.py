"""Image preload: a DaemonSet pulls every image of a job's templates on every node before the load starts."""

from collections.abc import Mapping, Sequence
from urllib.parse import quote

import orjson

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.random import Random
from kubedyno.base.times import go_duration
from kubedyno.client.api import Client
from kubedyno.kube.status import StatusError

log = logger(__name__)

PAUSE_IMAGE = "registry.k8s.io/pause:3.1"
_POLL_S = 0.2
# A DaemonSet that nobody schedules would otherwise wait for the whole period.
_NOBODY_SCHEDULES_S = 15.0
_FORBIDDEN = 403
_PULL_TROUBLE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RegistryUnavailable"})


def daemonset(images: Sequence[str], node_labels: Mapping[str, str]) -> dict[str, object]:
    """Return the DaemonSet that pulls the images: `pause` keeps the pod up beside one container an image."""
    containers: list[dict[str, object]] = [{"name": "pause", "image": PAUSE_IMAGE}]
    containers += [
        {
            "name": f"pull-{index}",
            "image": image,
            "imagePullPolicy": "Always",
            "command": ["override", "command"],
        }
        for index, image in enumerate(images)
    ]
    spec: dict[str, object] = {"containers": containers, "terminationGracePeriodSeconds": 0}
    if node_labels:
        spec["nodeSelector"] = dict(node_labels)
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"generateName": "preload"},
        "spec": {
            "selector": {"matchLabels": {"app": "preload"}},
            "template": {"metadata": {"labels": {"app": "preload"}}, "spec": spec},
        },
    }


async def preload(
    client: Client,
    job: str,
    images: Sequence[str],
    *,
    period_s: float,
    fixed_sleep: bool,
    node_labels: Mapping[str, str],
    namespace_labels: Mapping[str, str],
    clock: Clock,
    random: Random,
) -> None:
    """Pull `images` on every node and remove what that took.

    Args:
        client: Where to.
        job: Name of the job, for messages.
        images: Without duplicates; none is nothing to do.
        period_s: Upper bound of the wait; a longer pull is a warning and the run goes on.
        fixed_sleep: Sleep for the whole period instead of looking, as 1.x did.
        node_labels: Only on nodes with these labels.
        namespace_labels: On the namespace of the DaemonSet.
        clock: For the bound.
        random: For the namespace's name.

    A user without the rights to do so is told; the load goes on without.

    Raises:
        StatusError: The API refuses the namespace or the DaemonSet for another reason.
        KubedynoError: What answers is no Kubernetes API.
    """
    log.info("Pre-load: images from job %s", job)
    if not images:
        log.info("No images found to pre-load, continuing")
        return
    namespace = f"preload-kube-burner-{random.randrange(10_000, 100_000)}"
    shown = go_duration(int(period_s * 1e9))
    labels = {**namespace_labels, "kube-burner.io/job": "preload"}
    # Before it is asked for: who is interrupted by then does not learn what came of it.
    made = True
    try:
        try:
            await _create(client, "/api/v1/namespaces", {"metadata": {"name": namespace, "labels": labels}})
        except StatusError:
            made = False
            raise
        log.info("Pre-load: Creating DaemonSet using images [%s] in namespace %s", " ".join(images), namespace)
        path = f"/apis/apps/v1/namespaces/{namespace}/daemonsets"
        name = await _create(client, path, daemonset(images, node_labels))
        if fixed_sleep:
            log.info("Pre-load: Sleeping for %s", shown)
            await aio.sleep(period_s)
        else:
            await _wait_pulled(client, namespace, f"{path}/{name}", period_s, clock)
    except StatusError as error:
        if error.code != _FORBIDDEN:
            raise
        log.warning("Pre-load: %s; continuing without (preLoadImages: false leaves it out)", error.message)
    finally:
        if made:
            log.info("Deleting 1 namespaces with label: kube-burner.io/job=preload")
            await client.request("DELETE", f"/api/v1/namespaces/{namespace}")


async def _create(client: Client, path: str, body: dict[str, object]) -> str:
    answer = await client.request("POST", path, body=orjson.dumps(body))
    if answer.status not in {200, 201}:
        raise StatusError.from_response(answer.status, answer.body)
    try:
        return str(orjson.loads(answer.body)["metadata"]["name"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise KubedynoError(
            f"{client.server}: answered POST {path} with {answer.body[:60]!r}, which is no object; "
            "is this a Kubernetes API server?"
        ) from None


async def _wait_pulled(client: Client, namespace: str, path: str, period_s: float, clock: Clock) -> None:
    start_s = clock.monotonic()
    told = False
    while True:
        status = (await client.get(path)).get("status", {})
        wanted = status.get("desiredNumberScheduled", 0)
        waited_s = clock.monotonic() - start_s
        if wanted:
            if not told:
                told = True
                shown = go_duration(int(period_s * 1e9))
                log.info("Pre-load: Waiting for images to be pulled on %d nodes (timeout %s)", wanted, shown)
            pods = await client.list_all(f"/api/v1/namespaces/{namespace}/pods?labelSelector={quote('app=preload')}")
            if sum(_pulled(pod) for pod in pods) >= wanted:
                log.info("Pre-load: All images pulled on %d nodes", wanted)
                return
        elif waited_s > min(period_s, _NOBODY_SCHEDULES_S):
            log.warning(
                "Pre-load: no node takes the DaemonSet after %.0fs, continuing without (is any node Ready?)", waited_s
            )
            return
        if waited_s > period_s:
            log.warning("Pre-load: images not pulled on all nodes after %gs, continuing", period_s)
            return
        await aio.sleep(_POLL_S)


def _pulled(pod: dict[str, object]) -> bool:
    """Say whether every pull container came as far as having its image."""
    status = pod.get("status")
    statuses = status.get("containerStatuses", []) if isinstance(status, dict) else []
    pulls = [entry for entry in statuses if entry["name"].startswith("pull-")]
    return bool(pulls) and all(_has_image(entry) for entry in pulls)


def _has_image(entry: dict[str, object]) -> bool:
    if entry.get("restartCount") or entry.get("lastState"):
        return True
    state = entry.get("state")
    if not isinstance(state, dict):
        return False
    if "running" in state or "terminated" in state:
        return True
    reason = state.get("waiting", {}).get("reason", "ContainerCreating")
    return reason not in _PULL_TROUBLE and reason not in {"ContainerCreating", "PodInitializing"}
