"""What a kubelet remembers of its pulls, and whether a pod may use an image that is there.

Decided as by the kubelet's pull manager (pkg/kubelet/images/pullmanager): with the gate KubeletEnsureSecretPulledImages
an image that was pulled with a secret is only for pods that have that secret, or one of the same content; any other pod
has to ask the registry itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from kubedyno.cluster.kubelet.credentials import Credential, Source
from kubedyno.cluster.kubelet.images import Image

NEVER = "NeverVerify"
NEVER_PRELOADED = "NeverVerifyPreloadedImages"
NEVER_ALLOWLISTED = "NeverVerifyAllowlistedImages"
ALWAYS = "AlwaysVerify"
POLICIES = (NEVER, NEVER_PRELOADED, NEVER_ALLOWLISTED, ALWAYS)


@dataclass(frozen=True, slots=True)
class Verification:
    """When a kubelet looks at credentials for an image that is there.

    Attributes:
        policy: imagePullCredentialsVerificationPolicy; NEVER while the gate is off.
        allowlist: preloadedImagesVerificationAllowlist: repositories, or prefixes that end in "/*".
    """

    policy: str = NEVER_PRELOADED
    allowlist: tuple[str, ...] = ()

    def required(self, image: Image, *, pulled: bool) -> bool:
        """Say whether a pod's credentials for an image count.

        Args:
            image: The image.
            pulled: This kubelet has pulled it.
        """
        if self.policy == NEVER:
            return False
        if self.policy == NEVER_PRELOADED:
            return pulled
        if self.policy == ALWAYS:
            return True
        return not any(
            image.repository.startswith(entry[:-1]) if entry.endswith("/*") else image.repository == entry
            for entry in self.allowlist
        )


@dataclass(slots=True)
class _Record:
    anyone: bool = False
    sources: set[Source] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)


class PullRecords:
    """The records of one node: of images that needed a credential, and of preloaded ones that were pulled again.

    An image without a record that did not come with the node was pulled for everybody.
    """

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: dict[str, _Record] = {}

    def note(self, image: Image, credential: Credential | None) -> None:
        """Take note of a pull.

        Args:
            image: What was pulled.
            credential: What it was given for; None: to anybody.
        """
        record = self._records.get(image.image_id)
        if credential is None:
            if record is not None or image.preloaded:
                self._records[image.image_id] = _Record(anyone=True)
            return
        if record is None:
            record = self._records[image.image_id] = _Record()
        record.sources.add(credential.source)
        if credential.digest:
            record.digests.add(credential.digest)

    def must_ask(self, image: Image, verification: Verification, credentials: Iterable[Credential]) -> bool:
        """Say whether a pod has to ask the registry though the image is there.

        Args:
            image: An image on the node.
            verification: The kubelet's policy.
            credentials: What the pod has for it. One that is known to be good is remembered with its new source.
        """
        record = self._records.get(image.image_id)
        pulled = record is not None or not image.preloaded
        if not verification.required(image, pulled=pulled):
            return False
        if record is None:
            return not pulled
        if record.anyone:
            return False
        for credential in credentials:
            if credential.digest in record.digests or credential.source in record.sources:
                # A rotated secret stays good by its name, one of the same content by that.
                self.note(image, credential)
                return False
        return True
