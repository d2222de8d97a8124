"""The measurements of a run's jobs: started before a job, let catch up after it, judged and written."""

import contextlib
from collections.abc import Iterable, Sequence
from urllib.parse import quote

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339_micro
from kubedyno.client.api import Client
from kubedyno.documents.stream import Again, Document
from kubedyno.load.config import measuring
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.engine.context import Kinds
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.measurements import latency
from kubedyno.load.measurements.kinds import KINDS, ConditionLatency
from kubedyno.load.measurements.measurement import ERROR_SHARE, Common, Measurement
from kubedyno.load.measurements.netpol import NetpolLatency
from kubedyno.load.measurements.podlatency import PodLatency
from kubedyno.load.measurements.podwatch import PodWatch
from kubedyno.load.measurements.pprof import Pprof
from kubedyno.load.measurements.sightings import Sightings
from kubedyno.load.outputs import Outputs
from kubedyno.load.plan.plan import JobPlan, ObjectPlan
from kubedyno.load.result import EXIT_MEASUREMENT, JobResult, Options, RunResult
from kubedyno.load.targets import BRINGING

log = logger(__name__)

# How often pods by phase are noted for the timeline.
SAMPLE_S = 0.25
# What waits have seen, measurements see on watches of their own: at most so much later.
SETTLE_S = 0.5


class Observer:
    """Measures the jobs of one run; a job with metricsAggregate is measured on through the next one."""

    def __init__(self, options: Options, clock: Clock, outputs: Outputs, result: RunResult) -> None:
        self.carried: JobResult | None = None
        self._options = options
        self._clock = clock
        self._outputs = outputs
        self._result = result

    async def start(self, current: JobResult, client: Client, kinds: Kinds) -> None:
        """Begin to measure a job; raises KubedynoError for a measurement that is wrongly configured."""
        spec, runid = current.plan.spec, current.plan.runid
        if self._options.compat == 2 and self.carried is None:
            log.info("Initializing measurements for job: %s", spec.name)
        wanted = []
        for m in spec.measurements:
            if not measuring.suits(m.name, spec.job_type):
                if self._options.compat == 2:
                    log.warning("Skipped measurement [%s] not compatible with job type %s", m.name, spec.job_type)
            else:
                wanted.append(m)
        if self.carried is not None:
            # Its measurements are still running, under the first job's name.
            current.pods = self.carried.pods
            return
        selector = f"kube-burner.io/runid={runid}"
        if current.step:
            selector += f",kube-burner.io/uuid={self._options.uuid}"
        await self.begin(current, wanted, client, kinds, selector)
        if spec.job_type == "create":
            await self._watch_made(current, client, kinds)

    async def _watch_made(self, current: JobResult, client: Client, kinds: Kinds) -> None:
        """Begin to note when what the job makes is seen, each kind by one watch."""
        plan, tracker = current.plan, current.pods.tracker if current.pods is not None else None
        current.sightings = sightings = Sightings(client, self._clock, current.record.on_seen)
        mappings = {item.kind: await self._served(item, plan, kinds) for item in plan.objects}
        if tracker is not None and "Pod" in mappings:
            sightings.expect("Pod")
            tracker.on_first = lambda pod: sightings.first("Pod", pod.name, pod.namespace)
        query = f"labelSelector={quote(f'kube-burner.io/runid={plan.runid},kube-burner.io/job={plan.spec.name}')}"
        await sightings.start(
            [
                (kind, m.path(None))
                for kind, m in mappings.items()
                if m is not None and "watch" in m.verbs and kind != "Pod"
            ],
            query,
        )

    @staticmethod
    async def _served(item: ObjectPlan, plan: JobPlan, kinds: Kinds) -> Mapping | None:
        """Return the mapping of a kind; an earlier job may have brought it a moment ago, this one brings its own too late."""
        known = kinds.known(item.api_version, item.kind)
        if known is None and not plan.spec.hooks and not any(other.kind in BRINGING for other in plan.objects):
            with contextlib.suppress(KubedynoError):
                # What is not served is told by the job, when it makes the first.
                known = await kinds.find(item.api_version, item.kind, item.template)
        return known

    async def begin(
        self,
        current: JobResult,
        wanted: Sequence[MeasurementSpec],
        client: Client,
        kinds: Kinds,
        selector: str,
        *,
        past: bool = False,
        namespaces: frozenset[str] = frozenset(),
    ) -> None:
        """Begin some measurements of what has a label, in some namespaces or all; raises as `start`."""
        spec = current.plan.spec
        pods = next((m for m in wanted if m.name == "podLatency"), None)
        if spec.job_type == "create" or pods is not None:
            narrow = (
                f",kube-burner.io/job={spec.name}" if not spec.metrics_aggregate and spec.job_type == "create" else ""
            )
            # Other jobs meet pods that were started before them.
            older = spec.job_type != "create"
            current.pods = PodWatch(
                client,
                selector + narrow,
                self._clock,
                events=pods is not None,
                past=past,
                older=older,
                own=bool(narrow),
            )
            if narrow:
                current.pods.expected = current.plan.pods
            current.pods.tracker.namespaces = namespaces
        for m in wanted:
            made = await self._measurement(m, current, client, kinds, selector)
            if made is None:
                continue
            log.info("%sRegistered measurement: %s", "📈 " if self._options.compat == 1 else "", m.name)
            current.measurements.append(made)
        for made in current.measurements:
            using = f" using selector [{selector}]" if self._options.compat == 2 else ""
            log.info("Creating %s latency watcher for %s%s", made.resource, spec.name, using)
        if current.pods is not None:
            await current.pods.start()
        for made in current.measurements:
            made.past, made.namespaces = past, namespaces
            await made.start()

    async def _measurement(
        self, m: MeasurementSpec, current: JobResult, client: Client, kinds: Kinds, selector: str
    ) -> Measurement | None:
        if m.name == "podLatency":
            assert current.pods is not None, "podLatency has a pod watch"
            return PodLatency(m, client, self._clock, selector, current.pods.tracker, self._options.compat)
        if m.name == "conditionLatency":
            mapping = await kinds.find(m.api_version, m.kind, "measurement conditionLatency")
            return ConditionLatency(m, client, self._clock, selector, mapping.plural)
        if m.name == "pprof":
            return Pprof(m, client, self._clock, selector, current.plan.spec.name)
        if m.name == "netpolLatency":
            return NetpolLatency(m, client, self._clock, selector, current.plan)
        known = KINDS[m.name]
        if kinds.known(known.api_version, known.kind) is None:
            log.warning("Measurement [%s]: the cluster serves no %s: not measured", m.name, known.kind)
            return None
        return known(m, client, self._clock, selector)

    async def sample(self, current: JobResult) -> None:
        """Note a job's pods by phase, until cancelled."""
        last: dict[str, int] | None = None
        while current.pods is not None:
            phases = {name: n for name, n in current.pods.tracker.phases.items() if n}
            if phases != last:
                last = phases
                current.record.phases.append((self._clock.monotonic() - current.record.started_s, phases))
            await aio.sleep(SAMPLE_S)

    async def settle(self, current: JobResult) -> None:
        """Let the watches of a job catch up with what its waits have seen."""
        if not current.plan.spec.wait_when_finished:
            return
        until_s = self._clock.monotonic() + SETTLE_S
        while self._clock.monotonic() < until_s and not _settled(current):
            await aio.sleep(0.01)

    async def end(self, current: JobResult, *, early: bool, last: bool) -> bool:
        """Measure no more, unless the next job goes on with it; says whether the job's measuring is over.

        Args:
            current: The job.
            early: The run ended in it.
            last: No job follows.
        """
        carried = self.carried
        if current.sightings is not None:
            await current.sightings.stop()
        if current.plan.spec.metrics_aggregate and not early and not last:
            self.carried = current if carried is None else carried
            return False
        if carried is not None:
            self.carried = None
            await self.finish(carried)
            if current.pods is not None and current.pods is not carried.pods:
                await current.pods.stop()
        else:
            await self.finish(current)
        return True

    async def finish(self, current: JobResult) -> None:
        """Stop a job's measurements, judge them and write their documents."""
        if current.pods is not None:
            await current.pods.stop()
        for measurement in current.measurements:
            await measurement.stop()
        for measurement in current.measurements:
            await self._measured(measurement, current)

    async def _measured(self, measurement: Measurement, current: JobResult) -> None:
        options, spec = self._options, measurement.spec
        name, job = measurement.name, current.measured_as
        log.info("Stopping measurement: %s", name)
        summaries = measurement.summaries()
        if spec.thresholds:
            log.info("Evaluating latency thresholds")
        # Figures in ns are told in ms, and whose they are, as in the original.
        unit, ms = " ms" if options.compat == 2 else "", measurement.unit_s * 1000
        whose = job if measurement.unit_s == 0.001 else f"{name}: {job}"
        for condition, s in summaries.items():
            p99, most, average = (int(value * ms) for value in (s.p99, s.maximum, s.average))
            log.info("%s: %s 99th: %d%s max: %d%s avg: %d%s", whose, condition, p99, unit, most, unit, average, unit)
        label = measurement.quantiles_metric if options.compat == 2 else "podLatency"
        for line in latency.violations(summaries, spec.thresholds, label, measurement.unit_s):
            self._result.fail(line, EXIT_MEASUREMENT)
        share = measurement.error_share()
        if share > ERROR_SHARE:
            self._result.fail(
                f"something is wrong with system under test. {name} latencies error rate was: {share * 100:.2f}",
                EXIT_MEASUREMENT,
            )
        elif share:
            log.info("%s error rate was: %.2f", name, share * 100)
        if current.plan.spec.skip_indexing or name == "pprof":
            return
        log.info("Indexing collected data from measurement: %s", name)
        metadata = options.metadata | ({"incrementalLoadUUID": current.step} if current.step else {})
        common = Common(job, options.uuid, metadata, current.record.churned)
        documents = Again(lambda: measurement.documents(common))
        quantiles = latency.quantile_documents(
            summaries,
            metric=measurement.quantiles_metric,
            job=job,
            uuid=options.uuid,
            timestamp=rfc3339_micro(self._clock.now()),
            metadata=metadata,
        )
        written: tuple[tuple[str, Iterable[Document], str], ...] = (
            (measurement.metric, documents, spec.timeseries_indexer),
            (measurement.quantiles_metric, quantiles, spec.quantiles_indexer),
        )
        for metric, made, only in written:
            await self._outputs.index(f"{metric}-{job}", made, announce=metric, only=only)


def _settled(current: JobResult) -> bool:
    if current.sightings is not None and current.sightings.waiting:
        return False
    if current.pods is not None and current.plan.pods:
        tracker = current.pods.tracker
        live = sum(n for n in tracker.phases.values() if n > 0)
        # Lists run ahead of watches: pods that waits know of may not have been seen at all.
        if live < current.plan.pods or tracker.ready < live - tracker.phases["Succeeded"]:
            return False
    return all(subject.done or subject.deleted for m in current.measurements for subject in m.subjects.values())
