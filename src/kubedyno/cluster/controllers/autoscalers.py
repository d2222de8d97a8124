"""HorizontalPodAutoscalers: as many replicas as the use of their pods asks for.

Where metrics come from is in `autoscalermetrics`, how fast may be scaled in `autoscalerrules`.
"""

from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.controllers.autoscalermetrics import Metrics, NoMetricError, Proposal, Uses
from kubedyno.cluster.controllers.autoscalerrules import TOLERANCE, History, Verdict, limited
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.featuregates import HPA_TOLERANCE, gates_on
from kubedyno.cluster.registry.scaleowners import ScaleOwners
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.resources import AUTOSCALERS
from kubedyno.kube.selectors import LabelSelector
from kubedyno.kube.status import StatusError

_COMPONENT = "horizontal-pod-autoscaler"
# --horizontal-pod-autoscaler-sync-period.
SYNC_S = 15.0


class Autoscalers:
    """The autoscaling controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
        settings: Of the cluster.
        uses: What pods use.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, settings: ClusterSettings, uses: Uses) -> None:
        self.uses = uses
        self._queue: WorkQueue[str] = WorkQueue(pump, "horizontal-pod-autoscaler", self._reconcile)
        self._trusted = trusted
        self._store = trusted.store
        self._clock = pump.clock
        self._own_tolerance = HPA_TOLERANCE in gates_on(settings.minor, settings.feature_gates)
        self._histories: dict[str, History] = {}
        self._generations: dict[str, int] = {}
        feeds.follow(AUTOSCALERS, self._changed, self._gone)

    def _changed(self, record: ObjectRecord) -> None:
        # Its kind has no generation: another body is another spec.
        body = hash(record.obj.body)
        if self._generations.get(record.obj.uid) != body:
            self._generations[record.obj.uid] = body
            self._queue.add(record.key)

    def _gone(self, record: ObjectRecord) -> None:
        self._histories.pop(record.obj.uid, None)
        self._generations.pop(record.obj.uid, None)
        self._queue.forget(record.key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(AUTOSCALERS, key)
        if record is None:
            return 1
        if record.obj.deletion_s:
            return 1
        self._queue.add_after(key, SYNC_S)
        spec = orjson.loads(b"{" + record.obj.body + b"}")["spec"]
        status: dict[str, Any] = orjson.loads(record.obj.status or b"{}")
        _Scaling(self, record, spec, status).run()
        self._queue.forget(key)
        return 8

    def history(self, uid: str) -> History:
        """Return what an autoscaler has done."""
        return self._histories.setdefault(uid, History())

    def tolerance(self, spec: dict[str, Any], *, up: bool) -> float:
        """Return how far use may be from its target before anything is done."""
        rules = (spec.get("behavior") or {}).get("scaleUp" if up else "scaleDown") or {}
        if self._own_tolerance and rules.get("tolerance") is not None:
            return float(Quantity.parse(str(rules["tolerance"])).amount)
        return TOLERANCE


class _Scaling:
    """One look at one autoscaler."""

    def __init__(self, owner: Autoscalers, record: ObjectRecord, spec: dict[str, Any], status: dict[str, Any]) -> None:
        self._owner = owner
        self._trusted, self._store = owner._trusted, owner._trusted.store
        self._record, self._spec, self._status = record, spec, status
        self._now_s = owner._clock.now()
        self._now = rfc3339(self._now_s)
        self._conditions: list[dict[str, Any]] = list(status.get("conditions") or ())
        self._metrics: list[dict[str, Any]] = []

    def run(self) -> None:
        """Look, scale if need be, and write the status."""
        reference, registry = self._spec["scaleTargetRef"], self._trusted.registry
        resource = registry.resource_of(reference.get("apiVersion", "v1"), reference["kind"])
        namespace, name = self._record.obj.namespace, reference["name"]
        target = None if resource is None else self._store.get(resource, f"{namespace}/{name}")
        if resource is None or target is None:
            plural = reference["kind"] if resource is None else resource.group_resource
            text = f'{plural} "{name}" not found'
            self._event("Warning", "FailedGetScale", text)
            why = f"the HPA controller was unable to get the target's current scale: {text}"
            self._set("AbleToScale", ("False", "FailedGetScale", why))
            self._write(self._status.get("currentReplicas", 0), self._status.get("desiredReplicas", 0))
            return
        text = "the HPA controller was able to get the target's current scale"
        self._set("AbleToScale", ("True", "SucceededGetScale", text))
        kind = registry.kind(resource)
        current, present, selector = kind.scale(self._store.encode_dict(resource, target))
        wanted, why = self._decide(current, LabelSelector.parse(selector))
        if wanted is None:
            self._write(present, self._status.get("desiredReplicas", 0))
            return
        if wanted != current:
            try:
                owners = ScaleOwners(
                    self._store.managed_of(resource, target.obj), kind.scale_path(), resource.api_version
                )
                before, after = ({"metadata": {}, "spec": {"replicas": count}} for count in (current, wanted))
                managed = owners.updated(before, after, "kube-controller-manager", self._now)
                registry.rescale(resource, namespace, name, wanted, managed=managed)
            except StatusError as error:
                self._event("Warning", "FailedRescale", f"New size: {wanted}; reason: {why}; error: {error.message}")
                text = f"the HPA controller was unable to update the target scale: {error.message}"
                self._set("AbleToScale", ("False", "FailedUpdateScale", text))
                self._write(present, self._status.get("desiredReplicas", 0))
                raise
            self._event("Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {why}")
            text = f"the HPA controller was able to update the target scale to {wanted}"
            self._set("AbleToScale", ("True", "SucceededRescale", text))
            self._owner.history(self._record.obj.uid).changes.append((self._now_s, wanted - current))
            self._status["lastScaleTime"] = self._now
        self._write(present, wanted)

    def _decide(self, current: int, selector: LabelSelector) -> tuple[int | None, str]:
        """Return how many replicas there should be, and why; None when that cannot be said."""
        least, most = self._spec.get("minReplicas", 1), self._spec["maxReplicas"]
        if current == 0 and least != 0:
            text = "scaling is disabled since the replica count of the target is zero"
            self._set("ScalingActive", ("False", "ScalingDisabled", text))
            return 0, ""
        if current > most:
            return most, "Current number of replicas above Spec.MaxReplicas"
        if current < least:
            return least, "Current number of replicas below Spec.MinReplicas"
        proposal = self._propose(current, selector)
        if proposal is None:
            return None, ""
        text = f"the HPA was able to successfully calculate a replica count from {proposal.name}"
        self._set("ScalingActive", ("True", "ValidMetricFound", text))
        why = f"{proposal.name} above target" if proposal.replicas > current else "All metrics below target"
        history = self._owner.history(self._record.obj.uid)
        behavior = self._spec.get("behavior") or {}
        wanted, able, bound = limited(behavior, history, self._now_s, current, proposal.replicas, (least, most))
        self._set("AbleToScale", able)
        self._set("ScalingLimited", bound)
        return wanted, why

    def _propose(self, current: int, selector: LabelSelector) -> Proposal | None:
        """Return the largest proposal of all metrics; None, and the reason in the conditions, when there is none."""
        metrics = self._spec.get("metrics", [])
        owner = self._owner
        metrics_of = Metrics(
            self._store, self._record.obj.namespace, lambda up: owner.tolerance(self._spec, up=up), owner.uses
        )  # fmt: skip
        best: Proposal | None = None
        wrong: list[NoMetricError] = []
        for metric in metrics:
            try:
                found = metrics_of.proposal(metric, current, selector)
            except NoMetricError as error:
                self._event("Warning", error.reason, error.text)
                wrong.append(error)
                self._metrics.append({"type": ""})
                continue
            self._metrics.append(found.current)
            if best is None or found.replicas > best.replicas:
                best = found
        if wrong and (best is None or best.replicas < current):
            first = wrong[0]
            text = f"the HPA was unable to compute the replica count: {first.text}"
            self._set("ScalingActive", ("False", first.reason, text))
            text = (
                f"invalid metrics ({len(wrong)} invalid out of {len(metrics)}), first error is: failed to get "
                f"{first.kind} metric value: {first.text}"
            )
            self._event("Warning", "FailedComputeMetricsReplicas", text)
            return None
        return best

    # --- status ------------------------------------------------------------------------------------------------------

    def _set(self, type: str, verdict: Verdict) -> None:
        state, reason, message = verdict
        old = next((c for c in self._conditions if c["type"] == type), None)
        since = old["lastTransitionTime"] if old is not None and old["status"] == state else self._now
        new = {"type": type, "status": state, "lastTransitionTime": since, "reason": reason, "message": message}
        if old is None:
            self._conditions.append(new)
        else:
            self._conditions[self._conditions.index(old)] = new

    def _write(self, current: int, wanted: int) -> None:
        record = self._store.get(AUTOSCALERS, self._record.key)
        if record is None:
            return
        members = {
            "lastScaleTime": self._status.get("lastScaleTime"), "currentReplicas": current or None, "desiredReplicas": wanted,
            "currentMetrics": self._metrics or None, "conditions": self._conditions,
        }  # fmt: skip
        always = {"currentMetrics"}
        kept = {name: value for name, value in members.items() if value is not None or name in always}
        self._trusted.replace_status(AUTOSCALERS, record, kept)

    def _event(self, type: str, reason: str, message: str) -> None:
        self._trusted.event(
            AUTOSCALERS, self._record, type=type, reason=reason, message=message, component=_COMPONENT
        )  # fmt: skip
