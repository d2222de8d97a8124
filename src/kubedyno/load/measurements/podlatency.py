"""`podLatency` as a measurement among others, over the pod watch that the progress line and the report share."""

from collections.abc import Iterator
from typing import Any

from kubedyno.base.clock import Clock
from kubedyno.client.api import Client
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.measurements import latency
from kubedyno.load.measurements.measurement import Common, Measurement
from kubedyno.load.measurements.pods import PodTracker
from kubedyno.stats.quantiles import Summary


class PodLatency(Measurement):
    """Documents of what a pod watch has seen; the watch itself is started and stopped by its owner."""

    name, metric = "podLatency", "podLatencyMeasurement"
    kind, plural = "Pod", "pods"

    def __init__(
        self, spec: MeasurementSpec, client: Client, clock: Clock, selector: str, tracker: PodTracker, compat: int
    ) -> None:
        super().__init__(spec, client, clock, selector)
        self._tracker = tracker
        self._compat = compat

    async def start(self) -> None:
        """Do nothing: the watch is another's."""

    def documents(self, common: Common) -> Iterator[dict[str, Any]]:
        for pod in self._tracker.pods.values():
            if "Ready" not in pod.seen_s:
                continue
            document = latency.pod_document(
                pod, job=common.job, uuid=common.uuid, metadata=common.metadata, compat=self._compat
            )
            if common.churned(pod.created_s):
                document["churnMetric"] = True
            yield document

    def summaries(self) -> dict[str, Summary]:
        return latency.quantiles(self._tracker.pods.values(), self._compat)

    def error_share(self) -> float:
        ready = [pod for pod in self._tracker.pods.values() if "Ready" in pod.seen_s]
        wrong = sum(any(at_s < pod.created_s for at_s in pod.server_s.values()) for pod in ready)
        return wrong / len(ready) if ready else 0.0
