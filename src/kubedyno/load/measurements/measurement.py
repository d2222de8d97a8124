"""What all latency measurements share: subjects with moments, their documents, quantiles and the verdict on errors.

A measurement folds watch events into `Subject`s, one an object. A moment that was not seen counts as absent, never as
failure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.client.api import Client
from kubedyno.load.config.spec import MeasurementSpec
from kubedyno.load.measurements.follow import Follower
from kubedyno.stats.quantiles import Summary, summary_of

Json = dict[str, Any]
# More than this share of subjects with a moment before their time zero is an error of the system under test.
ERROR_SHARE = 0.1


@dataclass(slots=True)
class Subject:
    """One measured object; times are epoch seconds.

    Attributes:
        zero_s: What latencies count from.
        moments: Condition → when it was reached.
        names: Fields that say which object it is, as documents have them.
        extra: More fields.
        done: Whether it has come as far as it must for a document.
    """

    zero_s: float
    labels: Mapping[str, str]
    namespace: str
    names: Json
    moments: dict[str, float] = field(default_factory=dict)
    extra: Json = field(default_factory=dict)
    done: bool = False
    deleted: bool = False

    def number(self, key: str) -> int:
        """Return a numeric label of the run, 0 when absent."""
        text = self.labels.get(f"kube-burner.io/{key}", "")
        return int(text) if text.isdigit() else 0


@dataclass(frozen=True, slots=True)
class Common:
    """What documents of one job's measurements share."""

    job: str
    uuid: str
    metadata: Mapping[str, Any]
    churned: Callable[[float], bool]


class Measurement:
    """One measurement of one job: started before it, stopped after it, then asked for documents.

    Subclasses set the class attributes and override `take`; those that watch more override `start`.

    Attributes:
        name: kube-burner's name.
        metric: Name of its documents.
        fields: Condition → document field.
        unit_s: What figures are counted in, in seconds: 0.001, or 1e-9 where the original counts nanoseconds.
        optional: Conditions whose field is left out when it is not known.
        placed: Documents say which namespace.
        numbered: They say which iteration and replica, too.
    """

    name = ""
    metric = ""
    api_version = "v1"
    kind = ""
    plural = ""
    fields: Mapping[str, str] = {}
    unit_s = 0.001
    optional: frozenset[str] = frozenset()
    placed = True
    numbered = True

    def __init__(self, spec: MeasurementSpec, client: Client, clock: Clock, selector: str) -> None:
        self.spec = spec
        self.subjects: dict[str, Subject] = {}
        self.followed = Follower(client)
        # Also what there is already when it starts; set before `start`.
        self.past = False
        # Of what is measured; empty: all. Set before `start`.
        self.namespaces: frozenset[str] = frozenset()
        self._clock = clock
        self._selector = selector

    @property
    def resource(self) -> str:
        """What is watched, in the words of the original's log."""
        group = self.api_version if "/" in self.api_version else f"/{self.api_version}"
        return f"{group}, Resource={self.plural}"

    @property
    def quantiles_metric(self) -> str:
        """Name of the quantile documents."""
        return self.metric.replace("Measurement", "QuantilesMeasurement")

    @property
    def path(self) -> str:
        """Of the watched collection, in all namespaces."""
        return f"/{'apis' if '/' in self.api_version else 'api'}/{self.api_version}/{self.plural}"

    async def start(self) -> None:
        """Begin to watch."""
        await self.followed.begin(self.path, _query(self._selector), self.event, skip_list=not self.past)

    async def stop(self) -> None:
        """Stop watching."""
        await self.followed.stop()

    def event(self, kind: str, raw: bytes) -> None:
        """Take one watch event."""
        obj = orjson.loads(raw)
        subject = self.subject(obj, kind)
        if subject is None:
            return
        if kind == "DELETED":
            subject.deleted = True
        else:
            self.take(subject, obj, self._clock.now())

    def subject(self, obj: Json, kind: str) -> Subject | None:
        """Return an object's subject, a new one for a new object, None for one that was never seen alive."""
        meta = obj["metadata"]
        uid = meta.get("uid", "")
        found = self.subjects.get(uid)
        if self.namespaces and found is None and meta.get("namespace", "") not in self.namespaces:
            return None
        if found is None and kind != "DELETED":
            zero_s = epoch_of(meta["creationTimestamp"]) if meta.get("creationTimestamp") else self._clock.now()
            found = Subject(zero_s, meta.get("labels") or {}, meta.get("namespace", ""), self.names_of(obj))
            self.subjects[uid] = found
        return found

    def names_of(self, obj: Json) -> Json:
        """Return the fields that say which object a document is of."""
        return {"name": obj["metadata"]["name"]}

    def take(self, subject: Subject, obj: Json, now_s: float) -> None:
        """Note what an object's new state says."""
        raise NotImplementedError

    # --- results -----------------------------------------------------------------------------------------------

    def documents(self, common: Common) -> Iterator[Json]:
        """Yield one document for each subject that is done."""
        for subject in self.subjects.values():
            if not subject.done:
                continue
            document: Json = {"timestamp": rfc3339(subject.zero_s)}
            for condition, name in self.fields.items():
                # kube-burner writes 0 for a moment that it does not know; the quantiles leave it out.
                figure = self._figure(subject, condition)
                if figure is not None or condition not in self.optional:
                    document[name] = max(0, figure or 0)
            document |= {"metricName": self.metric, "uuid": common.uuid, "jobName": common.job}
            if self.placed and self.numbered:
                document |= {"jobIteration": subject.number("job-iteration"), "replica": subject.number("replica")}
            if self.placed:
                document["namespace"] = subject.namespace
            document |= subject.names | subject.extra
            if common.churned(subject.zero_s):
                document["churnMetric"] = True
            if common.metadata:
                document["metadata"] = dict(common.metadata)
            yield document

    def _figure(self, subject: Subject, condition: str) -> int | None:
        at_s = subject.moments.get(condition)
        return None if at_s is None else int(round((at_s - subject.zero_s) / self.unit_s, 3))

    def summaries(self) -> dict[str, Summary]:
        """Return condition → summary of its latencies."""
        samples: dict[str, list[int]] = {}
        for subject in self.subjects.values():
            if subject.done:
                for condition in self.fields:
                    figure = self._figure(subject, condition)
                    if figure is not None:
                        samples.setdefault(condition, []).append(max(0, figure))
        return {name: summary_of(values) for name, values in samples.items()}

    def error_share(self) -> float:
        """Return which share of documents has a moment before its time zero."""
        done = [subject for subject in self.subjects.values() if subject.done]
        wrong = sum(any(at_s < subject.zero_s for at_s in subject.moments.values()) for subject in done)
        return wrong / len(done) if done else 0.0


def _query(selector: str) -> str:
    return f"labelSelector={quote(selector)}" if selector else ""


def conditions(obj: Json) -> Sequence[Json]:
    """Return `status.conditions`."""
    found = (obj.get("status") or {}).get("conditions")
    return found if isinstance(found, list) else ()


def first(subject: Subject, condition: str, at_s: float) -> None:
    """Note a moment unless it was noted before."""
    subject.moments.setdefault(condition, at_s)


def transition(entry: Json) -> float | None:
    """Return when a condition changed last."""
    text = entry.get("lastTransitionTime")
    return epoch_of(text) if text else None
