"""The `tsdb` indexer: samples as OpenMetrics text, which `promtool tsdb create-blocks-from openmetrics` makes blocks of.

A document with `value` and `labels` is one sample; of any other document each number is one, labelled with the
document's texts and `field`. Samples of a metric must stand together and in order, so they are written by `close`: till
then they lie sorted in nameless files, a bounded number of samples in memory, and `close` merges these.
"""

import heapq
import re
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import epoch_of
from kubedyno.documents.stream import Document

FILE_NAME = "metrics.om"
# Rows that may lie in memory: 20 MB or so.
ROWS_KEPT = 100_000
# So many files of a size become one of the next: a hundred million samples are 25 open files, each row written thrice.
FILES_MERGED = 16
_NOT_NAME = re.compile(r"[^a-zA-Z0-9_]")


class OpenMetricsIndexer:
    """Keeps samples and writes `metrics.om` into `directory`.

    A row is metric, labels, time, number and value with zero bytes between them, so that rows sort as text, and of two
    samples of a series and moment the later one comes last.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._rows: list[bytes] = []
        self._number = 0
        # By how often their rows were merged.
        self._sorted: list[list[IO[bytes]]] = []
        # Open till the end of the indexer, as `write` may follow on `close`.
        weakref.finalize(self, _close_all, self._sorted)
        try:
            directory.mkdir(mode=0o744, parents=True, exist_ok=True)
        except OSError as error:
            raise KubedynoError(f"{directory}: cannot be made ({error.strerror}); choose another") from error

    def write(self, metric: str, documents: Iterable[Document]) -> str:
        """Keep samples; `metrics.om` has them after `close`.

        Raises:
            KubedynoError: They cannot be kept.
        """
        before = self._number
        for document in documents:
            name = _name(str(document.get("metricName") or metric))
            at_ms = _time_ms(document)
            for labels, value in _samples(document):
                row = f"{name}\0{labels}\0{at_ms:020}\0{self._number:015}\0{value!r}\n"
                self._rows.append(row.encode(errors="replace"))
                self._number += 1
            if len(self._rows) >= ROWS_KEPT:
                self._put_aside()
        return f"TSDB: {self._number - before} samples of {metric}"

    def close(self) -> str:
        """Write the file, whole or not at all.

        Raises:
            KubedynoError: It cannot be written.
        """
        path = self.directory / FILE_NAME
        draft = path.with_suffix(".part")
        series = 0
        last = b""
        last_series: tuple[bytes, bytes] | None = None
        try:
            with draft.open("wb", buffering=1 << 20) as out:
                for metric, labels, at_ms, value in self._merged():
                    if metric != last:
                        out.write(b"# TYPE %s gauge\n" % metric)
                        last = metric
                    if (metric, labels) != last_series:
                        series += 1
                        last_series = metric, labels
                    out.write(b"%s{%s} %s %d.%03d\n" % (metric, labels, value, at_ms // 1000, at_ms % 1000))
                out.write(b"# EOF\n")
            draft.replace(path)
        except OSError as error:
            raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
        return f"File {path} contains {series} series"

    def _put_aside(self) -> None:
        self._rows.sort()
        try:
            self._keep(self._rows, 0)
        except OSError as error:
            raise KubedynoError(f"{self.directory}: cannot be written ({error.strerror})") from error
        self._rows = []

    def _keep(self, rows: Iterable[bytes], merged: int) -> None:
        """Write sorted rows that were merged so often; with enough others like them they are merged once more."""
        if merged == len(self._sorted):
            self._sorted.append([])
        files = self._sorted[merged]
        file = tempfile.TemporaryFile(dir=self.directory)  # noqa: SIM115
        files.append(file)
        file.writelines(rows)
        file.flush()
        if len(files) == FILES_MERGED:
            self._keep(_read(files), merged + 1)
            _close(files)

    def _merged(self) -> Iterator[tuple[bytes, bytes, int, bytes]]:
        """Yield metric, labels, time in ms and value in order; of equal times the last one given."""
        self._rows.sort()
        kept: tuple[bytes, bytes, int, bytes] | None = None
        for row in heapq.merge(self._rows, *map(_read, self._sorted)):
            key, at_ms, _, value = row[:-1].rsplit(b"\0", 3)
            metric, _, labels = key.partition(b"\0")
            found = (metric, labels, int(at_ms), value)
            if kept is not None and kept[:3] != found[:3]:
                yield kept
            kept = found
        if kept is not None:
            yield kept


def _read(files: list[IO[bytes]]) -> Iterator[bytes]:
    """Return the rows of sorted files in order."""
    for file in files:
        file.seek(0)
    return heapq.merge(*files)


def _close(files: list[IO[bytes]]) -> None:
    for file in files:
        file.close()
    files.clear()


def _close_all(sorts: list[list[IO[bytes]]]) -> None:
    for files in sorts:
        _close(files)


def _name(text: str) -> str:
    name = _NOT_NAME.sub("_", text)
    return name if name and not name[0].isdigit() else f"_{name}"


def _time_ms(document: Mapping[str, Any]) -> int:
    text = document.get("timestamp")
    if not isinstance(text, str):
        return 0
    # Nanoseconds are more than a datetime holds.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    return max(int(epoch_of(text) * 1000), 0)


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
