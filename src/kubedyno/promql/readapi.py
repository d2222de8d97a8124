"""Prometheus' read API: a request's path and parameters to a status and JSON. No sockets here.

Grafana's data source and kube-burner's metrics endpoint ask no more than this.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import orjson

from kubedyno.base.clock import SYSTEM_CLOCK, Clock
from kubedyno.base.times import epoch_of
from kubedyno.promql.engine import Answer, Engine, Series
from kubedyno.promql.errors import BadQueryError, QueryError, QueryTimeoutError
from kubedyno.promql.exposition import number_of
from kubedyno.promql.language import formatted, matchers_of, parsed, parsed_selector
from kubedyno.promql.limits import Budget
from kubedyno.promql.matching import EMPTY_SELECTOR, Matcher, matches_all
from kubedyno.promql.rows import NAME, json_number
from kubedyno.promql.scraping import Target

PREFIX = "/api/v1/"
JSON = "application/json"
MAX_POINTS = 11_000
VERSION = "2.42.0"
_DURATION = re.compile(r"(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?\Z")
_UNITS_S = (365 * 86400, 7 * 86400, 86400, 3600, 60, 1, 0.001)
# The widest span a series request without bounds is about.
_EVER_MS = 1 << 52
T = TypeVar("T")
Parameters = Mapping[str, Sequence[str]]
Reply = tuple[int, bytes]
_STATUS = {"bad_data": 400, "execution": 422, "timeout": 503, "not_found": 404}


class ReadAPI:
    """Answers the paths under /api/v1.

    Args:
        engine: Evaluates.
        targets: What is scraped now, for /targets.
        clock: Of queries that name no time.
    """

    def __init__(
        self, engine: Engine, targets: Callable[[], Iterable[Target]] = tuple, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._engine = engine
        self._store = engine.store
        self._targets = targets
        self._clock = clock
        self._paths: dict[str, Callable[[Parameters], Any]] = {
            "query": self._query,
            "query_range": self._query_range,
            "series": self._series,
            "labels": self._labels,
            "metadata": self._metadata,
            "targets": self._target_list,
            "targets/metadata": self._target_metadata,
            "scrape_pools": self._scrape_pools,
            "alertmanagers": lambda _given: {"activeAlertmanagers": [], "droppedAlertmanagers": []},
            "format_query": self._format_query,
            "status/config": self._config,
            "status/tsdb": self._tsdb,
            "rules": self._rules,
            "alerts": lambda _given: {"alerts": []},
            "query_exemplars": self._exemplars,
            "status/buildinfo": lambda _given: {
                "version": VERSION,
                "revision": "kubedyno",
                "branch": "",
                "buildUser": "",
                "buildDate": "",
                "goVersion": "",
            },
            "status/walreplay": lambda _given: {"min": 0, "max": 0, "current": 0},
            "status/runtimeinfo": self._runtime,
            "status/flags": lambda _given: {"query.lookback-delta": f"{engine.options.lookback_ms // 60_000}m"},
        }

    def answer(self, path: str, given: Parameters) -> Reply:
        """Answer a path below /api/v1/.

        Args:
            path: e.g. "query" or "label/job/values".
            given: Parameters, those of the query and of a form together.
        """
        data: Any
        try:
            found = re.fullmatch(r"label/([^/]+)/values", path)
            if found is not None:
                data = self._label_values(found[1], given)
            elif path in self._paths:
                data = self._paths[path](given)
            else:
                return _failure("not_found", f"no such path: {PREFIX}{path}")
        except QueryError as error:
            return _failure(error.kind, str(error))
        return 200, b'{"status":"success","data":' + (data if isinstance(data, bytes) else orjson.dumps(data)) + b"}\n"

    # --- queries -----------------------------------------------------------------------------------------------

    def _query(self, given: Parameters) -> bytes:
        time = _one(given, "time", "")
        time_ms = _time_ms(time, "time", round(self._clock.now() * 1000))
        with _asked():
            return _answer_bytes(self._within(given).instant(_one(given, "query", ""), time_ms), time_ms)

    def _within(self, given: Parameters) -> Engine:
        """Return the engine for a request that may ask to be given up earlier, or how old a current sample may be."""
        timeout, lookback = _one(given, "timeout", ""), _one(given, "lookback_delta", "")
        if not (timeout or lookback):
            return self._engine
        options = self._engine.options
        if timeout:
            seconds = _duration_ms(timeout, "timeout") / 1000
            if seconds <= 0:
                raise QueryTimeoutError("query timed out in query execution")
            options = replace(options, timeout_s=min(options.timeout_s, seconds))
        if lookback:
            try:
                lookback_ms = _duration_ms(lookback, "lookback_delta")
            except BadQueryError as error:
                said = str(error).removeprefix('invalid parameter "lookback_delta": ')
                raise BadQueryError(f"error parsing lookback delta duration: {said}") from error
            if lookback_ms > 0:
                options = replace(options, lookback_ms=lookback_ms)
        return Engine(self._store, options)

    def _query_range(self, given: Parameters) -> bytes:
        start = _time_ms(_one(given, "start", ""), "start")
        end = _time_ms(_one(given, "end", ""), "end")
        step = _step_ms(_one(given, "step", ""))
        if end < start:
            raise BadQueryError('invalid parameter "end": end timestamp must not be before start time')
        if step <= 0:
            raise BadQueryError(
                'invalid parameter "step": zero or negative query resolution step widths are not accepted. '
                "Try a positive integer"
            )
        if (end - start) // step > MAX_POINTS:
            raise BadQueryError(
                f"exceeded maximum resolution of {MAX_POINTS:,} points per timeseries. "
                "Try decreasing the query resolution (?step=XX)"
            )
        # Only later versions say which parameter it was.
        with _asked() if self._engine.options.later else nullcontext():
            return _answer_bytes(self._within(given).range(_one(given, "query", ""), start, end, step))

    def _format_query(self, given: Parameters) -> str:
        with _asked():
            return formatted(self._parsed(given))

    def _parsed(self, given: Parameters) -> Any:
        return parsed(_one(given, "query", ""), later=self._engine.options.later)

    def _exemplars(self, given: Parameters) -> list[Any]:
        """Return none: there are none, but of wrong queries that is not said."""
        _time_ms(_one(given, "start", ""), "start", -_EVER_MS)
        _time_ms(_one(given, "end", ""), "end", _EVER_MS)
        self._parsed(given)
        return []

    def _rules(self, given: Parameters) -> dict[str, Any]:
        kind = _one(given, "type", "")
        if kind.lower() not in {"", "alert", "record"}:
            raise BadQueryError(f'invalid parameter "type": not supported value "{kind.lower()}"')
        return {"groups": []}

    # --- what there is -----------------------------------------------------------------------------------------

    def _selected(self, given: Parameters, *, required: bool) -> list[dict[str, str]]:
        start = _time_ms(_one(given, "start", ""), "start", -_EVER_MS)
        end = _time_ms(_one(given, "end", ""), "end", _EVER_MS)
        texts = given.get("match[]", ())
        if not texts:
            if required:
                raise BadQueryError("no match[] parameter provided")
            return self._store.series([], start, end)
        found: dict[int, dict[str, str]] = {}
        options = self._engine.options
        budget = Budget(options, self._clock)
        for text in texts:
            try:
                matchers = _matchers(text, later=options.later)
            except BadQueryError as error:
                raise BadQueryError(f'invalid parameter "match[]": {error}' if required else str(error)) from error
            for labels in self._store.series(matchers, start, end, lambda: budget.spend(0)):
                found[id(labels)] = labels
        return list(found.values())

    def _series(self, given: Parameters) -> list[dict[str, str]]:
        found = sorted(self._selected(given, required=True), key=lambda labels: sorted(labels.items()))
        return _limited(found, given)

    def _labels(self, given: Parameters) -> list[str]:
        return _limited(sorted({name for labels in self._selected(given, required=False) for name in labels}), given)

    def _label_values(self, name: str, given: Parameters) -> list[str]:
        if re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) is None:
            raise BadQueryError(f'invalid label name: "{name}"')
        found = {labels[name] for labels in self._selected(given, required=False) if name in labels}
        return _limited(sorted(found), given)

    def _metadata(self, given: Parameters) -> dict[str, Any]:
        metric = _one(given, "metric", "")
        limit = _limit(given)
        chosen = {metric: self._store.metadata.get(metric)} if metric else dict(sorted(self._store.metadata.items()))
        entries = [(name, about) for name, about in chosen.items() if about is not None]
        if limit and int(limit) >= 0:
            entries = entries[: int(limit)]
        return {name: [{"type": about.type, "help": about.help, "unit": about.unit}] for name, about in entries}

    def _target_metadata(self, given: Parameters) -> list[dict[str, Any]]:
        metric = _one(given, "metric", "")
        limit, wanted = _limit(given), _one(given, "match_target", "")
        targets = [target.labels for target in self._targets()]
        if wanted:
            try:
                matchers = matchers_of(parsed_selector(wanted, later=self._engine.options.later))
            except BadQueryError as error:
                raise BadQueryError(f'invalid parameter "match_target": {error}') from error
            targets = [labels for labels in targets if matches_all(matchers, labels)]
        found = [
            {"target": labels, "metric": name, "type": about.type, "help": about.help, "unit": about.unit}
            for name, about in sorted(self._store.metadata.items())
            if not metric or name == metric
            for labels in targets[:1]
        ]
        return found[: int(limit)] if limit and int(limit) >= 0 else found

    def _scrape_pools(self, given: Parameters) -> dict[str, Any]:
        _ = given
        return {"scrapePools": sorted({target.labels.get("job", "") for target in self._targets()})}

    def _config(self, given: Parameters) -> dict[str, Any]:
        _ = given
        jobs = sorted({target.labels.get("job", "") for target in self._targets()})
        return {"yaml": "scrape_configs:\n" + "".join(f"- job_name: {job}\n" for job in jobs)}

    def _tsdb(self, given: Parameters) -> dict[str, Any]:
        most = int(_limit(given) or 10)
        counts = sorted(self._store.counts().items(), key=lambda pair: (-pair[1], pair[0]))[:most]
        head = {"numSeries": len(self._store), "numLabelPairs": 0, "chunkCount": 0, "minTime": 0, "maxTime": 0}
        by_name = [{"name": name, "value": count} for name, count in counts]
        return {
            "headStats": head,
            "seriesCountByMetricName": by_name,
            "labelValueCountByLabelName": [],
            "memoryInBytesByLabelName": [],
            "seriesCountByLabelValuePair": [],
        }

    def _target_list(self, given: Parameters) -> dict[str, Any]:
        state = _one(given, "state", "any")
        if state == "dropped":
            return {"activeTargets": [], "droppedTargets": []}
        active = [
            {
                "discoveredLabels": {},
                "labels": target.labels,
                "scrapePool": target.labels.get("job", ""),
                "scrapeUrl": target.labels.get("instance", ""),
                "globalUrl": "",
                "lastError": target.error,
                "lastScrape": _rfc3339(target.last_ms),
                "lastScrapeDuration": target.duration_s,
                "health": "unknown" if not target.last_ms else "down" if target.error else "up",
            }
            for target in self._targets()
        ]
        return {"activeTargets": active, "droppedTargets": []}

    def _runtime(self, given: Parameters) -> dict[str, Any]:
        _ = given
        retention_s = self._store.limits.retention_ms // 1000
        return {"timeSeriesCount": len(self._store), "storageRetention": f"{retention_s}s", "reloadConfigSuccess": True}


def _limit(given: Parameters) -> str:
    """Return how much of an answer is wanted, "" for all."""
    limit = _one(given, "limit", "")
    if limit and not re.fullmatch(r"-?\d{1,9}", limit):
        raise BadQueryError("limit must be a number")
    return limit


def _limited(found: list[T], given: Parameters) -> list[T]:
    limit = _limit(given)
    return found[: int(limit)] if limit and int(limit) > 0 else found


def _failure(kind: str, message: str) -> Reply:
    return _STATUS[kind], orjson.dumps({"status": "error", "errorType": kind, "error": message}) + b"\n"


def _one(given: Parameters, name: str, default: str) -> str:
    values = given.get(name, ())
    return values[0] if values else default


@contextmanager
def _asked() -> Iterator[None]:
    """Say of a query that is none which parameter it is.

    Raises:
        BadQueryError: It is none.
    """
    try:
        yield
    except BadQueryError as error:
        if "parse error: " in str(error):
            raise BadQueryError(f'invalid parameter "query": {error}') from error
        raise


def _time_ms(text: str, name: str, default: int | None = None) -> int:
    """Return a moment; of one that may be left out Prometheus says so at more length that it is none."""
    if not text and default is not None:
        return default
    said = "" if default is None else f"Invalid time value for '{name}': "
    wrong = BadQueryError(f'invalid parameter "{name}": {said}cannot parse "{text}" to a valid timestamp')
    try:
        seconds = number_of(text)
    except ValueError:
        try:
            seconds = epoch_of(text)
        except ValueError as error:
            raise wrong from error
    if not math.isfinite(seconds) or abs(seconds) > _EVER_MS / 1000:
        raise wrong
    return round(seconds * 1000)


def _step_ms(text: str) -> int:
    return _duration_ms(text, "step")


def _duration_ms(text: str, name: str) -> int:
    try:
        seconds = number_of(text)
    except ValueError:
        found = _DURATION.match(text)
        if not text or found is None:
            raise BadQueryError(f'invalid parameter "{name}": cannot parse "{text}" to a valid duration') from None
        seconds = sum(int(part) * unit for part, unit in zip(found.groups(), _UNITS_S, strict=True) if part)
    if not math.isfinite(seconds) or abs(seconds) > _EVER_MS / 1000:
        raise BadQueryError(f'invalid parameter "{name}": cannot parse "{text}" to a valid duration')
    return round(seconds * 1000)


def _matchers(text: str, *, later: bool) -> list[Matcher]:
    try:
        return matchers_of(parsed_selector(text, later=later))
    except BadQueryError as error:
        said = str(error)
        if said.endswith(EMPTY_SELECTOR):
            said = "match[] must contain at least one non-empty matcher"
        raise BadQueryError(said) from error


def _rfc3339(time_ms: int) -> str:
    from datetime import UTC, datetime  # noqa: PLC0415 - only /targets needs it

    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat().replace("+00:00", "Z")


def _answer_bytes(answer: Answer, time_ms: int = 0) -> bytes:
    if answer.type == "string":
        return orjson.dumps({"resultType": "string", "result": [time_ms / 1000, answer.text]})
    if answer.type == "scalar":
        return b'{"resultType":"scalar","result":' + _point(*answer.series[0].points[0]) + b"}"
    form = _vector if answer.type == "vector" else _matrix
    parts = b",".join([form(series) for series in answer.series])
    return b'{"resultType":"' + answer.type.encode() + b'","result":[' + parts + b"]}"


def _vector(series: Series) -> bytes:
    return b'{"metric":' + _metric(series) + b',"value":' + _point(*series.points[0]) + b"}"


def _matrix(series: Series) -> bytes:
    points = b",".join([_point(*point) for point in series.points])
    return b'{"metric":' + _metric(series) + b',"values":[' + points + b"]}"


def _metric(series: Series) -> bytes:
    labels = series.labels
    if NAME in labels:
        return orjson.dumps({NAME: labels[NAME], **dict(sorted(labels.items()))})
    return orjson.dumps(dict(sorted(labels.items())))


def _point(time_ms: int, value: float) -> bytes:
    seconds, rest = divmod(time_ms, 1000)
    time = f"{seconds}.{rest:03d}".rstrip("0") if rest else str(seconds)
    return f'[{time},"{json_number(value)}"]'.encode()
