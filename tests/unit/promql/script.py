"""Scripts in the manner of Prometheus' promqltest: `load STEP`, `eval instant at T QUERY`, `eval range from … QUERY`.

Series are written as `name{labels} 1 2 _ 3+1x4 stale`: a value a step, `_` for none, `A+BxN` for N further ones.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from kubedyno.base.times import duration_ns_of
from kubedyno.promql.engine import Engine
from kubedyno.promql.errors import QueryError
from kubedyno.promql.exposition import labels_of, number_of
from kubedyno.promql.limits import EngineOptions
from kubedyno.promql.rows import STALE
from kubedyno.promql.store import SeriesStore

_SERIES = re.compile(r"\s*((?:[a-zA-Z_:][\w:]*)?(?:\{[^}]*\})?)\s+(.*)\Z")
_RUN = re.compile(r"(-?[\d.eE]+|NaN|[+-]?Inf|stale|_)(?:([+-][\d.eE]+))?(?:x(\d+))?\Z")


def milliseconds(text: str) -> int:
    return int(float(text) * 1000) if re.fullmatch(r"[\d.]+", text) else duration_ns_of(text) // 1_000_000


def values(text: str) -> list[float | None]:
    found: list[float | None] = []
    for word in text.split():
        run = _RUN.match(word)
        assert run is not None, word
        first: float | None
        first = None if run[1] == "_" else STALE if run[1] == "stale" else number_of(run[1])
        more = int(run[3] or 0)
        if first is None or run[2] is None:
            # `_x3` is three gaps, `1x3` is 1 and three more of it.
            found += [first] * (more if first is None and more else more + 1)
        else:
            found += [first + float(run[2]) * i for i in range(more + 1)]
    return found


@dataclass
class Script:
    """Runs scripts on one store."""

    options: EngineOptions = field(default_factory=EngineOptions)
    store: SeriesStore = field(default_factory=SeriesStore)

    def run(self, text: str) -> None:
        blocks = list(_blocks(text))
        assert blocks
        for head, body in blocks:
            words = head.split(None, 3)
            if words[0] == "load":
                self._load(milliseconds(words[1]), body)
            elif words[:3] == ["eval", "instant", "at"]:
                at, _, query = words[3].partition(" ")
                self._instant(milliseconds(at), query, body)
            elif words[:2] == ["eval", "range"]:
                _, _, _, rest = words
                start, _, end, _, step, query = rest.split(None, 5)
                self._range(milliseconds(start), milliseconds(end), milliseconds(step), query, body)
            elif words[0] == "fail":
                with pytest.raises(QueryError):
                    self._engine().instant(head.removeprefix("fail at 0 "), 0)
            else:
                raise AssertionError(head)

    def _engine(self) -> Engine:
        return Engine(self.store, self.options)

    def _load(self, step_ms: int, body: list[str]) -> None:
        for line in body:
            found = _SERIES.match(line)
            assert found is not None
            labels = labels_of(found[1])
            for i, value in enumerate(values(found[2])):
                if value is not None:
                    self.store.add(labels, i * step_ms, value)

    def _instant(self, at_ms: int, query: str, body: list[str]) -> None:
        answer = self._engine().instant(query, at_ms)
        found = [(series.labels, [series.points[0][1]]) for series in answer.series]
        if answer.type == "scalar":
            assert len(body) == 1
            assert _same(found[0][1][0], number_of(body[0].strip())), (query, found)
            return
        self._compare(query, found, body)

    def _range(self, start_ms: int, end_ms: int, step_ms: int, query: str, body: list[str]) -> None:
        answer = self._engine().range(query, start_ms, end_ms, step_ms)
        found = []
        for series in answer.series:
            by_time = dict(series.points)
            found.append((series.labels, [by_time.get(at) for at in range(start_ms, end_ms + 1, step_ms)]))
        self._compare(query, found, body)

    @staticmethod
    def _compare(query: str, found: list[tuple[dict[str, str], list[float | None]]], body: list[str]) -> None:
        expected = {}
        for line in body:
            series = _SERIES.match(line)
            assert series is not None
            labels = {name: value for name, value in labels_of(series[1]).items() if value}
            expected[frozenset(labels.items())] = values(series[2])
        ours = {frozenset(labels.items()): points for labels, points in found}
        assert ours.keys() == expected.keys(), query
        for labels, points in ours.items():
            wanted = expected[labels]
            assert len(points) == len(wanted), (query, dict(labels), points)
            assert all(_same(a, b) for a, b in zip(points, wanted, strict=True)), (query, dict(labels), points, wanted)


def _same(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12)


def _blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    head, body = "", []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not line[0].isspace():
            if head:
                yield head, body
            head, body = line.strip(), []
        else:
            body.append(line)
    if head:
        yield head, body
