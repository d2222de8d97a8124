"""Demonstrations of what a kubelet does: hooks, signals, images and who may have them, devices."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson

from kubedyno.cluster.kubelet.registries import LABEL
from kubedyno.kube.status import StatusError
from kubedyno.lab.demostage import Json, Shown, Stage, pod

_HOST = "private.example"
_DRIVER = "demo.kubedyno.io"
_COUNTERS = "kubelet_image_volume_"


async def sleep_zero(stage: Stage) -> Shown:
    """A preStop sleep of 0 s is taken, a negative one is not."""
    hook = {"lifecycle": {"preStop": {"sleep": {"seconds": 0}}}}
    said = await stage.refused("pods", pod("zero", hook))
    if said:
        stage.say(f"sleep of 0 s is refused: {said}")
        return stage.shown("off")
    await stage.create("pods", pod("zero", hook))
    if await stage.phase("zero", "Running") is None:
        stage.say("its pod did not run in time")
        return stage.shown("off")
    ended_s = await stage.ends("zero")
    stage.say(f"a pod with preStop.sleep.seconds 0 ran, and was gone {ended_s:.2f} s after its delete")
    negative = await stage.refused("pods", pod("less", {"lifecycle": {"preStop": {"sleep": {"seconds": -1}}}}))
    stage.say(f"-1 is refused: {negative}")
    return stage.shown()


async def stop_signal(stage: Stage) -> Shown:
    """Another signal than SIGTERM ends a container; Windows has two only."""
    hook = {"lifecycle": {"stopSignal": "SIGKILL"}, "command": ["sleep", "infinity"]}
    linux = {"os": {"name": "linux"}, "terminationGracePeriodSeconds": 5}
    made = await stage.create("pods", pod("kill", hook, **linux))
    kept = (made["spec"]["containers"][0].get("lifecycle") or {}).get("stopSignal")
    if kept is None:
        stage.say("lifecycle.stopSignal was dropped: ContainerStopSignals is off (alpha, in every version up to 1.36)")
        return stage.shown("off")
    stage.say(f"stopSignal: {kept} is kept")
    usual = {"command": ["sleep", "infinity"]}
    await stage.create("pods", pod("term", usual, **linux))
    for name in ("kill", "term"):
        running = await stage.phase(name, "Running")
        if running is None:
            stage.say(f"pod {name} did not run in time")
            return stage.shown("off")
        if name == "kill":
            shown = running["status"]["containerStatuses"][0].get("stopSignal", "nothing")
            stage.say(f"status.containerStatuses[].stopSignal: {shown}")
    stage.say(f"a program that ignores SIGTERM, 5 s of grace: gone after {await stage.ends('kill'):.2f} s")
    stage.say(f"the same without stopSignal: gone after {await stage.ends('term'):.2f} s")
    other = {"lifecycle": {"stopSignal": "SIGUSR1"}}
    windows = await stage.refused("pods", pod("windows", other, os={"name": "windows"}))
    stage.say(f"SIGUSR1 on Windows is refused: {windows}" if windows else "SIGUSR1 on Windows is taken, too")
    said = await stage.refused("pods", pod("none", other))
    stage.say(f"without spec.os.name it is refused: {said}" if said else "without spec.os.name it is taken, too")
    return stage.shown()


def _login(stage: Stage, name: str, namespace: str, labels: dict[str, str]) -> Json:
    """Return a pull secret for a host of the demonstration's own."""
    auth = b64encode(f"{stage.namespace}:demo".encode()).decode()
    config = orjson.dumps({"auths": {f"{_HOST}/{stage.namespace}": {"auth": auth}}})
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": b64encode(config).decode()},
    }


@asynccontextmanager
async def _kept_while(stage: Stage, path: str, thing: Json) -> AsyncIterator[None]:
    """Create an object outside of the demonstration's namespace, as long as that lasts."""
    await stage.client.create(path, thing)
    try:
        yield
    finally:
        await asyncio.shield(stage.client.delete(f"{path}/{thing['metadata']['name']}"))


async def image_credentials(stage: Stage) -> Shown:
    """Two pods on one node: the second has no secret for the private image that the first one pulled."""
    if not stage.embedded:
        stage.say("needs a private registry of yours: on a real cluster see kubedyno advise, rule private-images")
        return stage.shown("not modelled")
    registry = _login(stage, stage.namespace, "kube-system", {LABEL: "true"})
    async with _kept_while(stage, "/api/v1/namespaces/kube-system/secrets", registry):
        return await _two_pods(stage)


async def _two_pods(stage: Stage) -> Shown:
    image = f"{_HOST}/{stage.namespace}/app:1"
    nodes = [node["metadata"]["name"] for node in await stage.client.list_all("/api/v1/nodes")]
    await stage.create("secrets", _login(stage, "pull", stage.namespace, {}))
    container = {"image": image, "imagePullPolicy": "IfNotPresent"}
    secret, spec = {"imagePullSecrets": [{"name": "pull"}]}, {"nodeName": nodes[-1]}
    await stage.create("pods", pod("owner", container, **secret, **spec))
    if await stage.phase("owner", "Running") is None:
        stage.say(f"owner, with the secret, did not run: {await stage.waiting('owner')}")
        return stage.shown("off")
    stage.say(f"owner, with the secret, pulled {image} on {nodes[-1]}")
    await stage.create("pods", pod("stranger", container, **spec))
    why = await stage.waiting("stranger")
    if not why:
        stage.say("stranger, without one, on the same node, under IfNotPresent: runs")
        stage.say("KubeletEnsureSecretPulledImages is off: whoever comes to the node has its images")
        return stage.shown("off")
    stage.say(f"stranger, without one, on the same node, under IfNotPresent: {why}")
    await stage.create("pods", pod("friend", container, **secret, **spec))
    if await stage.phase("friend", "Running") is not None:
        stage.say("friend, with the secret, runs there from the image that is on the node")
    return stage.shown()


async def image_volume(stage: Stage) -> Shown:
    """An image's files as a read-only volume, without a container of it."""
    reference = "registry.k8s.io/conformance:v1.34.0"
    volumes = [{"name": "data", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}]
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data", "subPath": "etc"}]}
    # Simulated nodes are told which directories an image has.
    paths = {"kubedyno.io/image-paths": "etc,usr"}
    thing = pod("volume", mount, volumes=volumes)
    thing["metadata"]["annotations"] = paths
    try:
        made = await stage.create("pods", thing)
    except StatusError as error:
        stage.say(f"refused: {error.message}")
        return stage.shown("off")
    if not any("image" in one for one in made["spec"].get("volumes") or ()):
        stage.say("volumes[].image was dropped: ImageVolume is off")
        return stage.shown("off")
    stage.say(f"volumes[].image: {reference} with subPath etc is taken")
    found = await stage.phase("volume", "Running")
    stage.say("the pod runs with it" if found else f"the pod does not run: {await stage.waiting('volume')}")
    bad = pod(
        "missing", {"volumeMounts": [{**mount["volumeMounts"][0], "subPath": "no-such-directory"}]}, volumes=volumes
    )
    bad["metadata"]["annotations"] = paths
    bad["spec"]["nodeName"] = (found or {}).get("spec", {}).get("nodeName")
    await stage.create("pods", bad)
    stage.say(f"with a subPath that is not there: {await stage.waiting('missing') or 'nothing is wrong'}")
    await _say_counters(stage, str(bad["spec"]["nodeName"]))
    return stage.shown("shown" if found else "off")


async def _say_counters(stage: Stage, node: str) -> None:
    answer = await stage.client.request("GET", f"/api/v1/nodes/{node}/proxy/metrics")
    if answer.status != 200:
        stage.say(f"the metrics of the kubelet on {node} may not be read")
        return
    for line in answer.body.decode().splitlines():
        if line.startswith(_COUNTERS):
            stage.say(f"{node}: {line}")


async def dra_claim(stage: Stage) -> Shown:
    """A pod asks for a device by a claim, and is placed where there is one."""
    group = "resource.k8s.io/v1"
    request = {"name": "gpu", "exactly": {"deviceClassName": stage.namespace}}
    claim = {
        "apiVersion": group,
        "kind": "ResourceClaim",
        "metadata": {"name": "one"},
        "spec": {"devices": {"requests": [request]}},
    }
    try:
        await stage.create("resourceclaims", claim, group)
    except StatusError as error:
        stage.say(f"ResourceClaims are not served: {error.message}")
        return stage.shown("off")
    if not stage.embedded:
        stage.say("ResourceClaims are served; devices need a driver on a node, which this does not install")
        return stage.shown("not modelled")
    device_class = {
        "apiVersion": group,
        "kind": "DeviceClass",
        "metadata": {"name": stage.namespace},
        "spec": {"selectors": [{"cel": {"expression": f'device.driver == "{_DRIVER}"'}}]},
    }
    nodes = [node["metadata"]["name"] for node in await stage.client.list_all("/api/v1/nodes")]
    node = nodes[-1]
    resource_slice = {
        "apiVersion": group,
        "kind": "ResourceSlice",
        "metadata": {"name": stage.namespace},
        "spec": {
            "driver": _DRIVER,
            "nodeName": node,
            "pool": {"name": node, "generation": 1, "resourceSliceCount": 1},
            "devices": [{"name": "gpu-0"}],
        },
    }
    async with (
        _kept_while(stage, f"/apis/{group}/deviceclasses", device_class),
        _kept_while(stage, f"/apis/{group}/resourceslices", resource_slice),
    ):
        return await _claimed(stage, group, node)


async def _claimed(stage: Stage, group: str, node: str) -> Shown:
    claims = [{"name": "gpu", "resourceClaimName": "one"}]
    await stage.create("pods", pod("user", {"resources": {"claims": [{"name": "gpu"}]}}, resourceClaims=claims))
    stage.say(f"a ResourceSlice offers gpu-0 of driver {_DRIVER} on {node}; pod user claims one")

    async def allocation() -> Json | None:
        found = await stage.client.get(stage.path("resourceclaims", "one", group))
        return (found.get("status") or {}).get("allocation") or None

    allocated = await stage.until(allocation, 15.0)
    user = await stage.client.get(stage.path("pods", "user"))
    if allocated is None:
        if user["spec"].get("nodeName"):
            stage.say(
                "the pod was bound and the claim never allocated: DynamicResourceAllocation is off (on from 1.34)"
            )
            return stage.shown("off")
        said = [str(one.get("message", "")) for one in (user.get("status") or {}).get("conditions") or ()]
        stage.say(f"the pod waits: {' '.join(said) or 'nothing is said'}")
        return stage.shown("off")
    result = allocated["devices"]["results"][0]
    stage.say(f"the claim is allocated: {result['device']} of pool {result['pool']}, driver {result['driver']}")
    running = await stage.phase("user", "Running")
    stage.say(f"the pod runs on {running['spec']['nodeName']}" if running else "the pod does not run in time")
    await stage.create("pods", pod("other", {"resources": {"claims": [{"name": "gpu"}]}}, resourceClaims=claims))
    shared = await stage.phase("other", "Running")
    stage.say(f"a second pod shares the claim on {shared['spec']['nodeName']}" if shared else "a second pod does not")
    # The node's device is free again before its slice goes.
    for name in ("user", "other"):
        await stage.ends(name)
    return stage.shown("shown" if running else "off")
