"""Queries of profiles over a job's window, and what they become: metric documents and alerts.

Queries run at once, but no further ahead of what is stored than `CONCURRENCY` metrics, and documents are made while they
are stored: a day of a large cluster never lies in memory as a whole.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.base.goquote import go_quote
from kubedyno.base.log import logger
from kubedyno.base.times import rfc3339, rfc3339_go
from kubedyno.documents.stream import Again
from kubedyno.load.metrics.profiles import AlertRule, MetricQuery, described, rendered
from kubedyno.load.metrics.prometheus import CONCURRENCY, Prometheus, Series

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


@dataclass(frozen=True, slots=True)
class Found:
    """What a metric's queries have returned; `documents` begin anew each time."""

    metric: str
    count: int
    documents: Again


@dataclass(frozen=True, slots=True)
class _Query:
    ask: Callable[[], Awaitable[list[Series]]]
    query: str
    ranged: bool
    at_s: float


async def scrape(
    server: Prometheus, queries: Sequence[MetricQuery], window: Window, env: Mapping[str, str]
) -> AsyncIterator[Found]:
    """Yield each metric of a profile in its order; a failed query is a warning and gives no document."""
    pending = deque(_by_metric(server, queries, window, env).items())
    asked: deque[tuple[str, asyncio.Task[Found]]] = deque()
    try:
        while pending or asked:
            while pending and len(asked) < CONCURRENCY:
                name, parts = pending.popleft()
                asked.append((name, asyncio.create_task(_metric(name, parts, window))))
            yield await asked.popleft()[1]
    finally:
        for _, task in asked:
            task.cancel()


def _by_metric(
    server: Prometheus, queries: Sequence[MetricQuery], window: Window, env: Mapping[str, str]
) -> dict[str, list[_Query]]:
    """Return what is to be asked, by the names of the metrics' documents."""
    elapsed = f"{int(window.end_s - window.start_s)}s"
    found: dict[str, list[_Query]] = {}
    for entry in queries:
        try:
            query = rendered(entry.query, env, elapsed)
        except KubedynoError as error:
            log.warning("%s", error)
            continue
        whole = found.setdefault(entry.name, [])
        if not entry.instant:
            step_s = server.login.step_s
            ask = partial(server.range, query, window.start_s, window.end_s, step_s)
            whole.append(_Query(ask, query, ranged=True, at_s=window.end_s))
            if not int((window.end_s - window.start_s) * 1000) % max(int(step_s * 1000), 1):
                continue
            # The window is no whole number of steps: its last state is asked for, too.
        whole.append(_Query(partial(server.instant, query, window.end_s), query, ranged=False, at_s=window.end_s))
        if entry.instant and entry.capture_start:
            start = _Query(partial(server.instant, query, window.start_s), query, ranged=False, at_s=window.start_s)
            found.setdefault(f"{entry.name}-start", []).append(start)
    return found


async def _metric(name: str, parts: Sequence[_Query], window: Window) -> Found:
    answers = await asyncio.gather(*(part.ask() for part in parts), return_exceptions=True)
    answered: list[tuple[_Query, list[Series]]] = []
    for part, answer in zip(parts, answers, strict=True):
        if isinstance(answer, KubedynoError):
            log.warning("Error found with query %s: %s", part.query, answer)
        elif isinstance(answer, BaseException):
            raise answer
        elif not answer:
            span = f"in range {rfc3339(window.start_s)} - {rfc3339(window.end_s)}"
            when = span if part.ranged else f"at {rfc3339(part.at_s)}"
            text = "No datapoints returned from metric %s for job %s %s with query %s"
            log.warning(text, name, window.job, when, go_quote(part.query))
        else:
            answered.append((part, answer))

    def documents() -> Iterator[Json]:
        for part, answer in answered:
            for series in answer:
                for at_s, value in series:
                    yield _document(series.labels, at_s, value, name, part, window)

    return Found(name, sum(len(series.values) for _, answer in answered for series in answer), Again(documents))


def _document(labels: Mapping[str, str], at_s: float, value: float, name: str, part: _Query, window: Window) -> Json:
    document: Json = {
        "timestamp": rfc3339_go(at_s),
        **({"labels": labels} if labels else {}),
        "value": _number(value),
        "uuid": window.uuid,
        "query": part.query,
    }
    if part.ranged and window.churned(at_s):
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
            _raise(rule, series, window, result)
    return result


def _raise(rule: AlertRule, series: Series, window: Window, result: Alerts) -> None:
    at_s = series.at_s[0]
    text = described(rule, series.labels, series.values[0])
    line = f"alert at {rfc3339(at_s)}: '{text}'"
    if rule.severity == "critical":
        log.error("🚨 %s", line)
        result.critical = True
    elif rule.severity == "error":
        # Told by whoever fails by it.
        result.errors.append(line)
    elif rule.severity == "warning":
        log.warning("🚨 %s", line)
    else:
        log.info("🚨 %s", line)
    document: Json = {
        "timestamp": rfc3339_go(at_s),
        "uuid": window.uuid,
        "severity": rule.severity,
        "description": text,
        "metricName": "alert",
    }
    if window.churned(at_s):
        document["churnMetric"] = True
    if window.metadata:
        document["metadata"] = dict(window.metadata)
    result.documents.append(document)
