"""Queries of profiles over a job's window, and what they become: metric documents and alerts. Queries run at once."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339_go, rfc3339_micro
from kubedyno.load.metrics.profiles import AlertRule, MetricQuery, described, rendered
from kubedyno.load.metrics.prometheus import Prometheus, Sample

log = logger(__name__)
# From here on Go writes exponents.
_WHOLE = 1e21

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Window:
    """What a job's queries cover; epoch seconds.

    Attributes:
        churned: Whether a moment lies in the job's churn.
        metadata: Of every document.
    """

    job: str
    start_s: float
    end_s: float
    uuid: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    churned: Callable[[float], bool] = lambda _at_s: False


async def scrape(
    server: Prometheus, queries: Sequence[MetricQuery], window: Window, env: Mapping[str, str]
) -> dict[str, list[Json]]:
    """Return the documents of a profile by metric name, in its order; a failed query is a warning and gives none."""
    elapsed = f"{int(window.end_s - window.start_s)}s"
    jobs: list[tuple[str, Any, str, bool]] = []
    for entry in queries:
        try:
            query = rendered(entry.query, env, elapsed)
        except KubedynoError as error:
            log.warning("%s", error)
            continue
        if entry.instant:
            jobs.append((entry.name, server.instant(query, window.end_s), query, False))
            if entry.capture_start:
                jobs.append((f"{entry.name}-start", server.instant(query, window.start_s), query, False))
        else:
            jobs.append((entry.name, _whole(server, query, window), query, True))
    answers = await asyncio.gather(*(ask for _, ask, _, _ in jobs), return_exceptions=True)
    found: dict[str, list[Json]] = {}
    for (name, _, query, ranged), answer in zip(jobs, answers, strict=True):
        documents = found.setdefault(name, [])
        if isinstance(answer, KubedynoError):
            log.warning("Error found with query %s: %s", query, answer)
            continue
        if isinstance(answer, BaseException):
            raise answer
        made = [_document(sample, name, query, window, ranged=ranged) for series in answer for sample in series]
        if not made:
            log.warning("No datapoints returned from metric %s for job %s", name, window.job)
        documents += made
    return found


async def _whole(server: Prometheus, query: str, window: Window) -> list[list[Sample]]:
    """Return a range, and its last state when the window is no whole number of steps."""
    step_s = server.login.step_s
    found = await server.range(query, window.start_s, window.end_s, step_s)
    if int((window.end_s - window.start_s) * 1000) % max(int(step_s * 1000), 1):
        found += await server.instant(query, window.end_s)
    return found


def _document(sample: Sample, name: str, query: str, window: Window, *, ranged: bool) -> Json:
    document: Json = {
        "timestamp": rfc3339_go(sample.at_s),
        **({"labels": sample.labels} if sample.labels else {}),
        "value": _number(sample.value),
        "uuid": window.uuid,
        "query": query,
    }
    if ranged and window.churned(sample.at_s):
        document["churnMetric"] = True
    document |= {"metricName": name, "jobName": window.job}
    if window.metadata:
        document["metadata"] = dict(window.metadata)
    return document


def _number(value: float) -> float:
    """Return a value as Go's encoding/json writes it: a whole one without a point."""
    return int(value) if value.is_integer() and abs(value) < _WHOLE else value


@dataclass(slots=True)
class Alerts:
    """What alert rules found: documents, texts of severity error, and whether one was critical."""

    documents: list[Json] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    critical: bool = False


async def alerts(server: Prometheus, rules: Sequence[AlertRule], window: Window, env: Mapping[str, str]) -> Alerts:
    """Evaluate alert rules over a window: one alert for each series, at its first sample."""
    # A window under a minute is a minute, where the original asks for "0m" and the query fails.
    elapsed = f"{max(int((window.end_s - window.start_s) / 60), 1)}m"
    result = Alerts()
    queries = []
    for rule in rules:
        try:
            queries.append((rule, rendered(rule.expr, env, elapsed)))
        except KubedynoError as error:
            log.warning("%s", error)
    answers = await asyncio.gather(
        *(server.range(query, window.start_s, window.end_s, server.login.step_s) for _, query in queries),
        return_exceptions=True,
    )
    for (rule, query), answer in zip(queries, answers, strict=True):
        if isinstance(answer, KubedynoError):
            log.warning("Error performing query %s: %s", query, answer)
            continue
        if isinstance(answer, BaseException):
            raise answer
        for series in answer:
            if series:
                _raise(rule, series[0], window, result)
    return result


def _raise(rule: AlertRule, sample: Sample, window: Window, result: Alerts) -> None:
    text = described(rule, sample.labels, sample.value)
    line = f"🚨 alert at {rfc3339_micro(sample.at_s)}: '{text}'"
    if rule.severity == "critical":
        log.error("%s", line)
        result.critical = True
    elif rule.severity == "error":
        log.error("%s", line)
        result.errors.append(line)
    elif rule.severity == "warning":
        log.warning("%s", line)
    else:
        log.info("%s", line)
    document: Json = {
        "timestamp": rfc3339_go(sample.at_s),
        "uuid": window.uuid,
        "severity": rule.severity,
        "description": text,
        "metricName": "alert",
    }
    if window.churned(sample.at_s):
        document["churnMetric"] = True
    if window.metadata:
        document["metadata"] = dict(window.metadata)
    result.documents.append(document)
