"""Pods that have a node and wait for their volumes to be bound: each is told on as soon as all are, or when it is too late."""

from collections.abc import Callable
from dataclasses import dataclass

from kubedyno.cluster.pump import Pump, Timer
from kubedyno.cluster.scheduler.volumes import Volumes


@dataclass(frozen=True, slots=True)
class Assumed:
    """A pod that counts on a node before it is bound.

    Attributes:
        key: Of the pod.
        uid: Of the pod.
        node: The node's name.
        claims: Keys of the claims that are being bound.
        volumes: Knows whether they are.
    """

    key: str
    uid: str
    node: str
    claims: tuple[str, ...]
    volumes: Volumes


class VolumeWaits:
    """The pods that wait.

    Args:
        pump: Gives time.
        timeout_s: For how long a pod waits.
        bound: Called with a pod whose claims are all bound.
        late: Called with a pod that waited for too long.
    """

    def __init__(
        self, pump: Pump, timeout_s: float, bound: Callable[[Assumed], None], late: Callable[[Assumed], None]
    ) -> None:
        self._pump = pump
        self._timeout_s = timeout_s
        self._bound = bound
        self._late = late
        self.pods: dict[str, Assumed] = {}
        self._timers: dict[str, Timer] = {}
        # Claim → pods that wait for it.
        self._by_claim: dict[str, set[str]] = {}

    def add(self, assumed: Assumed) -> None:
        """Let a pod wait."""
        self.pods[assumed.key] = assumed
        for claim in assumed.claims:
            self._by_claim.setdefault(claim, set()).add(assumed.key)
        due_s = self._pump.clock.monotonic() + self._timeout_s
        self._timers[assumed.key] = self._pump.call_at(due_s, lambda: self._is_late(assumed))

    def forget(self, key: str) -> None:
        """Let a pod wait no more."""
        assumed = self.pods.pop(key, None)
        if assumed is None:
            return
        self._timers.pop(key).cancel()
        for claim in assumed.claims:
            waiting = self._by_claim[claim]
            waiting.discard(key)
            if not waiting:
                del self._by_claim[claim]

    def claim_changed(self, claim: str) -> None:
        """Look whether the pods that wait for a claim have all of theirs."""
        for key in sorted(self._by_claim.get(claim, ())):
            assumed = self.pods[key]
            if assumed.volumes.bound(assumed.claims):
                self.forget(key)
                self._bound(assumed)

    def _is_late(self, assumed: Assumed) -> None:
        if self.pods.get(assumed.key) is assumed:
            self.forget(assumed.key)
            self._late(assumed)
