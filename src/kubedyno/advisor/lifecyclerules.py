"""Rules on image pulls and pod ends: private images on shared nodes, sleep hooks, stop signals by operating system."""

from collections import defaultdict
from typing import Any

from kubedyno.advisor.clusterstate import ClusterState, name_of
from kubedyno.advisor.ruleset import CLUSTER, shown
from kubedyno.advisor.tuning import Advice

Json = dict[str, Any]
PULLS = "Kubernetes documentation, Images: Ensure image pull credential verification"
HOOKS = "Kubernetes documentation, Container Lifecycle Hooks"
SIGNALS = "Kubernetes documentation, Pod Lifecycle: stop signals"
WINDOWS_SIGNALS = ("SIGTERM", "SIGKILL")
_ON_BY_DEFAULT = (1, 35)


def _credentials(state: ClusterState, pod: Json) -> set[str]:
    """Return the pull secrets of a pod, its service account's among them."""
    spec = pod["spec"]
    namespace = pod["metadata"].get("namespace", "")
    found = {str(one.get("name")) for one in spec.get("imagePullSecrets") or ()}
    account = (namespace, spec.get("serviceAccountName") or "default")
    for one in state.service_accounts:
        if (one["metadata"].get("namespace", ""), one["metadata"]["name"]) == account:
            found |= {str(entry.get("name")) for entry in one.get("imagePullSecrets") or ()}
    return found


def _verifies(state: ClusterState, node: str) -> bool:
    """Say whether a node's kubelet asks again for the right to an image that it has pulled."""
    config = state.kubelets.get(node, {})
    gate = (config.get("featureGates") or {}).get("KubeletEnsureSecretPulledImages")
    on = bool(gate) if gate is not None else state.version >= _ON_BY_DEFAULT
    return on and config.get("imagePullCredentialsVerificationPolicy") != "NeverVerify"


def users_of_private_images(state: ClusterState) -> list[tuple[str, str, list[str], list[str]]]:
    """Return who uses whose private image without a right of its own.

    An image is private by its users: some pod asks for it with a pull secret. On a node where it lies, by such a pod or by
    the node's own list, another pod gets it under IfNotPresent or Never without showing a credential, unless the kubelet
    verifies.

    Returns:
        Image, node, pods with credentials for it (of other nodes where none is there), pods on that node that have none.
    """
    owners: dict[tuple[str, str], list[Json]] = defaultdict(list)
    others: dict[tuple[str, str], list[Json]] = defaultdict(list)
    for pod in state.live_pods():
        node = pod["spec"].get("nodeName", "")
        for container in pod["spec"].get("containers") or ():
            key = (str(container.get("image", "")), node)
            if _credentials(state, pod):
                owners[key].append(pod)
            elif container.get("imagePullPolicy") in {"IfNotPresent", "Never"}:
                others[key].append(pod)
    by_image: dict[str, list[Json]] = defaultdict(list)
    for (image, _), found in owners.items():
        by_image[image] += found
    for node, names in _images_of(state).items():
        for image, found in by_image.items():
            if (image, node) not in owners and _whole(image) in names:
                owners[image, node] = found
    return [
        (image, node, [name_of(pod) for pod in found], [name_of(pod) for pod in others[image, node]])
        for (image, node), found in sorted(owners.items())
        if node
    ]


def _images_of(state: ClusterState) -> dict[str, set[str]]:
    """Return node → names of the images on it; a kubelet lists 50 of them, the largest."""
    return {
        node["metadata"]["name"]: {
            _whole(str(name))
            for image in (node.get("status") or {}).get("images") or ()
            for name in image.get("names") or ()
        }
        for node in state.nodes
    }


def _whole(image: str) -> str:
    """Return an image's name with registry, folder and tag, as a node lists it."""
    head, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif "." not in head and ":" not in head and head != "localhost":
        image = f"docker.io/{image}"
    return image if "@" in image or ":" in image.rpartition("/")[2] else f"{image}:latest"


@CLUSTER
def private_images(state: ClusterState) -> Advice | None:
    """Private images that other tenants' pods can start from a node's store without a credential."""
    found, used = [], False
    for image, node, owners, others in users_of_private_images(state):
        if _verifies(state, node):
            continue
        used = used or bool(others)
        does = f"{', '.join(others[:3])} {'does' if len(others) == 1 else 'do'}" if others else "any pod there could"
        found.append(
            f"{image} on {node}: pulled with the secret of {', '.join(owners[:3])}; without one, {does} use it"
        )
    if not found:
        return None
    return Advice(
        "private-images",
        "warning" if used else "note",
        f"{len(found)} private images lie on nodes where pods without a credential can start them",
        evidence=shown(found),
        effect="under IfNotPresent the kubelet asks no registry when the image is there: whoever knows its name may run it",
        effect_source=PULLS,
        requires=("Kubernetes 1.33 with the gate KubeletEnsureSecretPulledImages (on from 1.35)",),
        conflicts=("pods that rely on images that were loaded into the node: see NeverVerifyPreloadedImages",),
        applying="restart of the kubelet; running pods stay",
        apply=(
            "featureGates: {KubeletEnsureSecretPulledImages: true} in /var/lib/kubelet/config.yaml",
            "imagePullCredentialsVerificationPolicy: NeverVerifyPreloadedImages beside it",
            "systemctl restart kubelet",
        ),
        check=("two pods on one node, the second in another namespace without the secret: it must not start",),
        undo=("take the two keys out of /var/lib/kubelet/config.yaml", "systemctl restart kubelet"),
        source=PULLS,
        ready=False,
        kubelet=(
            ("featureGates.KubeletEnsureSecretPulledImages", "true"),
            ("imagePullCredentialsVerificationPolicy", "NeverVerifyPreloadedImages"),
        ),
    )


def _windows(pod: Json) -> bool:
    spec = pod["spec"]
    name = (spec.get("os") or {}).get("name") or (spec.get("nodeSelector") or {}).get("kubernetes.io/os")
    return bool(name == "windows")


@CLUSTER
def sleep_hooks(state: ClusterState) -> Advice | None:
    """PreStop sleeps that eat the grace period, or need a program that the image may not have."""
    eaten, programs = [], []
    for pod in state.live_pods():
        grace_s = pod["spec"].get("terminationGracePeriodSeconds", 30)
        for container in pod["spec"].get("containers") or ():
            hook = (container.get("lifecycle") or {}).get("preStop") or {}
            where = f"{name_of(pod)}: container {container['name']}"
            words = (hook.get("exec") or {}).get("command") or ()
            seconds = (hook.get("sleep") or {}).get("seconds")
            if seconds is not None and seconds >= grace_s:
                eaten.append(f"{where}: sleeps {seconds} s of {grace_s} s")
            elif any(str(word).split()[:1] == ["sleep"] or str(word).endswith("/sleep") for word in words):
                programs.append(
                    f"{where}: exec {' '.join(map(str, words))}{' (Windows has none)' if _windows(pod) else ''}"
                )
    if not eaten and not programs:
        return None
    return Advice(
        "sleep-hooks",
        "warning" if eaten or any("Windows" in line for line in programs) else "improvement",
        "a preStop sleep takes the whole grace period" if eaten else "preStop hooks start a program to sleep",
        evidence=shown(eaten + programs),
        effect="the application gets its stop signal when the kubelet kills it at once"
        if eaten
        else "no shell or sleep in the image is needed, and no process is started",
        effect_source=f"{HOOKS}; the sleep action is GA since 1.34, 0 s since 1.34",
        requires=("Kubernetes 1.30 or newer (PodLifecycleSleepAction)",) if programs else (),
        applying="restart pods: a rollout of each workload",
        apply=("lifecycle: {preStop: {sleep: {seconds: 5}}}, terminationGracePeriodSeconds: beyond it",),
        check=("kubectl delete pod NAME, and how long it takes",),
        undo=("kubectl -n NS rollout undo deployment/NAME",),
        source=HOOKS,
    )


@CLUSTER
def stop_signals(state: ClusterState) -> Advice | None:
    """Stop signals that the operating system does not have, or without spec.os."""
    found = []
    for pod in state.live_pods():
        for container in pod["spec"].get("containers") or ():
            signal = (container.get("lifecycle") or {}).get("stopSignal")
            where = f"{name_of(pod)}: container {container['name']}: {signal}"
            if signal and _windows(pod) and signal not in WINDOWS_SIGNALS:
                found.append(f"{where} on Windows")
            elif signal and not (pod["spec"].get("os") or {}).get("name"):
                found.append(f"{where} without spec.os.name")
    if not found:
        return None
    return Advice(
        "stop-signals",
        "warning",
        "stop signals that will not be sent",
        evidence=shown(found),
        effect="the runtime sends the image's own signal, or SIGTERM: the application ends otherwise than meant",
        effect_source=SIGNALS,
        requires=("the gate ContainerStopSignals on API server and kubelet (alpha in 1.33 to 1.35)",),
        conflicts=("Windows: SIGTERM and SIGKILL only",),
        applying="restart pods: a rollout of each workload",
        apply=("spec: {os: {name: linux}} beside lifecycle.stopSignal",),
        check=("kubectl get pods -A -o jsonpath='{..stopSignal}'",),
        undo=("kubectl -n NS rollout undo deployment/NAME",),
        source=SIGNALS,
    )
