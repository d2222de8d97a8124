"""Images on their way to a node: presence, credentials, pull, back-off (the kubelet's image manager)."""

from collections.abc import Callable
from typing import Any

from kubedyno.cluster.kubelet.desk import Desk, Step
from kubedyno.cluster.kubelet.images import WantedImage, pull_error
from kubedyno.cluster.kubelet.latency import BACKOFF_S, MAX_BACKOFF_S
from kubedyno.cluster.kubelet.runs import PodRun
from kubedyno.cluster.kubelet.texts import local, present, pulled
from kubedyno.cluster.registry.featuregates import ENSURE_SECRET_PULLED_IMAGES

NEVER = "ErrImageNeverPull"
FAILED = "ErrImagePull"
BACK_OFF = "ImagePullBackOff"

# Called with a pod, why its image does not come, and more of that.
Held = Callable[[PodRun, str, str], None]


class Pulls:
    """Pulls of all pods.

    Args:
        desk: Timers, events, statuses.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._latency = desk.latency

    def ensure(self, run: PodRun, wanted: WantedImage, got: Step, held: Held) -> None:
        """Bring an image to a pod's node if it is not there, or if the pod has to show that it may have it.

        Args:
            run: The pod.
            wanted: The image; its back-off goes on from call to call.
            got: Called once, when the pod has it.
            held: Called each time that it fails or has to wait; the next attempt comes by itself.
        """
        image, reference, node, say = wanted.image, wanted.reference, run.node, self._desk.event
        if run.real and image.exists and not run.plan.wishes.fail_pull:
            node.images.add(image)
            say(run, "Normal", "Pulled", local(reference), wanted.field_path)
            got(run)
            return
        is_there = node.images.has(image)
        credentials = self._desk.credentials(run, image)
        must_ask = is_there and node.pulls.must_ask(image, node.config.verification, credentials)
        if is_there and not must_ask and wanted.policy != "Always":
            node.images.add(image)
            verified = ENSURE_SECRET_PULLED_IMAGES in node.config.gates
            say(run, "Normal", "Pulled", present(reference, verified=verified), wanted.field_path)
            got(run)
            return
        if wanted.policy == "Never":
            why = "not present with pull policy of Never"
            if is_there:
                why = "present with pull policy of Never but does not have the proper credentials to access the image"
            text = f'Container image "{reference}" is {why}'
            say(run, "Warning", NEVER, text, wanted.field_path)
            held(run, NEVER, text)
            self._desk.after(run, self._latency.retry(), lambda run: self.ensure(run, wanted, got, held))
            return
        say(run, "Normal", "Pulling", f'Pulling image "{reference}"', wanted.field_path)
        credential, error = None, ""
        if run.plan.wishes.fail_pull or not image.exists:
            error = pull_error(image, forced=run.plan.wishes.fail_pull)
        else:
            credential, error = self._desk.registries.granted(image, credentials)
        if error:
            delay_s = self._latency.failed_pull()
            self._desk.after(run, delay_s, lambda run: self._failed(run, wanted, error, got, held))
            return
        now_s = self._desk.pump.clock.monotonic()
        begin_s, own_s = node.images.pull(
            image,
            now_s,
            whole_s=self._latency.pull(image.size_bytes, present=False),
            known_s=self._latency.pull(image.size_bytes, present=True),
            parallel=node.config.parallel_pulls,
        )
        waited_s = begin_s + own_s - now_s

        def arrived(run: PodRun) -> None:
            node.images.add(image)
            node.pulls.note(image, credential)
            text = pulled(reference, own_s, waited_s, image.size_bytes)
            say(run, "Normal", "Pulled", text, wanted.field_path)
            got(run)

        self._desk.after(run, waited_s, arrived)

    def _failed(self, run: PodRun, wanted: WantedImage, error: str, got: Step, held: Held) -> None:
        reference, path, say = wanted.reference, wanted.field_path, self._desk.event
        say(run, "Warning", "Failed", f'Failed to pull image "{reference}": {error}', path)
        wanted.backoff_s = min(wanted.backoff_s * 2 or BACKOFF_S, MAX_BACKOFF_S)

        def hold(run: PodRun) -> None:
            text = f'Back-off pulling image "{reference}"'
            say(run, "Normal", "BackOff", text, path)
            held(run, BACK_OFF, f"{text}: {FAILED}: {error}")

        def again(run: PodRun) -> None:
            self.tell_missing_secrets(run)
            self.ensure(run, wanted, got, held)

        pause_s = self._latency.paced(wanted.backoff_s)
        # The next sync, a moment later, finds the image in its back-off.
        self._desk.after(run, min(self._latency.paced(1.0), pause_s / 2), hold)
        self._desk.after(run, pause_s, again)
        held(run, FAILED, error)

    def tell_missing_secrets(self, run: PodRun) -> None:
        """Say which pull secrets of a pod are not there; its images are tried without."""
        missing = self._desk.missing_pull_secrets(run)
        if missing:
            text = (
                f"Unable to retrieve some image pull secrets ({', '.join(missing)}); attempting to pull the image may "
                "not succeed."
            )
            self._desk.event(run, "Warning", "FailedToRetrieveImagePullSecret", text)

    def note_images(self, run: PodRun, status: dict[str, Any]) -> None:
        """Take note of the images that a pod had before the cluster was started again, and whom they are for."""
        plan = run.plan
        shown = (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ()))
        # Of a container whose image never came the status has none.
        came = {one["name"] for one in shown if one.get("imageID")}
        images = [container.image for container in (*plan.init, *plan.containers) if container.name in came]
        for image in (*images, *(volume.image for volume in plan.image_volumes)):
            run.node.images.add(image)
            if self._desk.registries.is_private(image):
                credential, error = self._desk.registries.granted(image, self._desk.credentials(run, image))
                if not error:
                    run.node.pulls.note(image, credential)
