"""The `tsdb` indexer: samples as OpenMetrics text, which `promtool tsdb create-blocks-from openmetrics` makes blocks of.

A document with `value` and `labels` is one sample; of any other document each number is one, labelled with the
document's texts and `field`. Samples of a metric must stand together and in order, so they are written by `close`.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import epoch_of
from kubedyno.documents.stream import Document

FILE_NAME = "metrics.om"
_NOT_NAME = re.compile(r"[^a-zA-Z0-9_]")

# (metric, labels as text) → {time in ms: value}
_Series = dict[tuple[str, str], dict[int, float]]


class OpenMetricsIndexer:
    """Keeps samples and writes `metrics.om` into `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._series: _Series = {}
        try:
            directory.mkdir(mode=0o744, parents=True, exist_ok=True)
        except OSError as error:
            raise KubedynoError(f"{directory}: cannot be made ({error.strerror}); choose another") from error

    def write(self, metric: str, documents: Iterable[Document]) -> str:
        """Keep samples; nothing is written yet."""
        before = sum(len(samples) for samples in self._series.values())
        for document in documents:
            name = str(document.get("metricName") or metric)
            for labels, value in _samples(document):
                at_ms = _time_ms(document)
                self._series.setdefault((_name(name), labels), {})[at_ms] = value
        count = sum(len(samples) for samples in self._series.values()) - before
        return f"TSDB: {count} samples of {metric}"

    def close(self) -> str:
        """Write the file, whole or not at all.

        Raises:
            KubedynoError: It cannot be written.
        """
        path = self.directory / FILE_NAME
        lines: list[str] = []
        last = ""
        for metric, labels in sorted(self._series):
            if metric != last:
                lines.append(f"# TYPE {metric} gauge")
                last = metric
            for at_ms, value in sorted(self._series[metric, labels].items()):
                lines.append(f"{metric}{{{labels}}} {value!r} {at_ms / 1000:.3f}")
        lines.append("# EOF\n")
        draft = path.with_suffix(".part")
        try:
            draft.write_text("\n".join(lines), encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
        return f"File {path} contains {len(self._series)} series"


def _name(text: str) -> str:
    name = _NOT_NAME.sub("_", text)
    return name if name and not name[0].isdigit() else f"_{name}"


def _time_ms(document: Mapping[str, Any]) -> int:
    text = document.get("timestamp")
    if not isinstance(text, str):
        return 0
    # Nanoseconds are more than a datetime holds.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    return int(epoch_of(text) * 1000)


def _samples(document: Mapping[str, Any]) -> list[tuple[str, float]]:
    own = {key: value for key, value in document.items() if isinstance(value, str) and key not in _SKIPPED}
    labels = document.get("labels")
    if isinstance(labels, Mapping) and _is_number(document.get("value")):
        return [(_labels(own | {str(k): str(v) for k, v in labels.items()}), float(document["value"]))]
    return [(_labels(own | {"field": key}), float(value)) for key, value in document.items() if _is_number(value)]


_SKIPPED = frozenset({"timestamp", "endTimestamp", "metricName", "query"})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _labels(values: Mapping[str, str]) -> str:
    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    return ",".join(f'{_name(key)}="{quoted(value)}"' for key, value in sorted(values.items()) if value)
