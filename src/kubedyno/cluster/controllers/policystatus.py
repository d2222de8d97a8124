"""Status of ValidatingAdmissionPolicies: which generation has been taken note of. Types are not checked here."""

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import built_in

_POLICIES = built_in("admissionregistration.k8s.io", "validatingadmissionpolicies")


class PolicyStatus:
    """The controller of policies' status.

    Args:
        trusted: Where it writes.
        pump: Gives turns.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._policies = _POLICIES
        self._trusted = trusted
        self._queue: WorkQueue[str] = WorkQueue(pump, "policy-status", self._reconcile)
        feeds.follow(
            self._policies, lambda record: self._queue.add(record.key), lambda record: self._queue.forget(record.key)
        )

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._trusted.store.get(self._policies, key)
        if record is None:
            return 1
        status = self._trusted.store.encode_dict(self._policies, record).get("status", {})
        if status.get("observedGeneration") != record.obj.generation:
            self._trusted.replace_status(
                self._policies, record, {**status, "observedGeneration": record.obj.generation}
            )  # fmt: skip
        return 1
