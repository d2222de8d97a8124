"""Volumes that are images: pulled before the containers, mounted when one of them is created.

Nothing of an image is there, so every directory of it is, unless the pod's annotation kubedyno.io/image-paths names those
that are ("models,models/v1"); a sub path that is none of them fails the container's creation with containerd's words.
"""

from collections.abc import Callable
from hashlib import sha256

from kubedyno.cluster.kubelet.desk import Step
from kubedyno.cluster.kubelet.environment import expanded
from kubedyno.cluster.kubelet.images import WantedImage
from kubedyno.cluster.kubelet.plan import ContainerPlan, ImageVolume
from kubedyno.cluster.kubelet.pulls import Pulls
from kubedyno.cluster.kubelet.runs import PodRun, VolumeRun

CREATE_FAILED = "CreateContainerError"
_TARGETS = "/run/containerd/io.containerd.grpc.v1.cri/image-volumes"


class ImageVolumes:
    """The image volumes of all pods.

    Args:
        pulls: Brings the images.
        changed: Told of a pod when a volume of it has come, or why it has not.
    """

    def __init__(self, pulls: Pulls, changed: Callable[[PodRun], None]) -> None:
        self._pulls = pulls
        self._changed = changed

    def pull(self, run: PodRun, then: Step) -> None:
        """Pull a pod's image volumes one after the other, then go on: one that fails holds up only who mounts it."""
        volumes = run.plan.image_volumes
        run.volumes = {volume.name: VolumeRun() for volume in volumes}
        run.node.volumes.requested += len(volumes)
        self._pull_from(run, list(volumes), then)

    def _pull_from(self, run: PodRun, volumes: list[ImageVolume], then: Step) -> None:
        if not volumes:
            then(run)
            return
        volume, *others = volumes
        state, told = run.volumes[volume.name], False

        def on(run: PodRun) -> None:
            nonlocal told
            if told:
                self._changed(run)
            else:
                told = True
                self._pull_from(run, others, then)

        def got(run: PodRun) -> None:
            state.ready, state.reason, state.message = True, "", ""
            on(run)

        def held(run: PodRun, reason: str, message: str) -> None:
            state.reason, state.message = reason, message
            on(run)

        self._pulls.ensure(run, WantedImage(volume.image, volume.reference, volume.pull_policy), got, held)

    def problem(self, run: PodRun, plan: ContainerPlan) -> tuple[str, str] | None:
        """Mount what a container mounts of images; return (reason, message) when it cannot be created for that."""
        counts = run.node.volumes
        for mount in plan.image_mounts:
            state = run.volumes.get(mount.volume)
            if state is not None and not state.ready:
                return state.reason, state.message
        for mount in plan.image_mounts:
            path = mount.sub_path
            if mount.expression:
                path, missing = expanded(run, mount.expression, plan.env)
                if missing:
                    return "CreateContainerConfigError", f'missing value for "{missing}"'
            paths = run.plan.wishes.image_paths
            if path and paths is not None and not any(f"{known}/".startswith(f"{path}/") for known in paths):
                counts.failed += 1
                image = next(volume.image for volume in run.plan.image_volumes if volume.name == mount.volume)
                sandbox = sha256(f"{run.uid}/sandbox".encode()).hexdigest()
                target = f"{_TARGETS}/{sandbox}/{image.digest.partition(':')[2]}"
                return CREATE_FAILED, (
                    f'failed to mount image volume: ImageVolumeMountFailed: failed to ensure image subpath "{path}" in '
                    f'"{target}": openat {path}: no such file or directory'
                )
            counts.mounted += 1
        return None
