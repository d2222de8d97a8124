"""A store as OpenMetrics text and back: what promtool backfills a Prometheus from, and what a recording is kept as."""

from collections.abc import Iterator

from kubedyno.promql.exposition import Sample, labels_of, read
from kubedyno.promql.rows import NAME, Labels, is_stale, plain
from kubedyno.promql.store import Column, SeriesStore

_EVER_MS = 1 << 52


def written(store: SeriesStore) -> Iterator[str]:
    """Yield the lines of a dump; markers of ended series are left out, as the format has none."""
    slices = store.select([], -_EVER_MS, _EVER_MS)
    slices.sort(key=lambda piece: (piece.labels.get(NAME, ""), sorted(piece.labels.items())))
    for piece in slices:
        series = series_text(piece.labels)
        for time_ms, value in zip(piece.times, piece.values, strict=True):
            if value == value or not is_stale(value):  # noqa: PLR0124 - only a NaN can be a marker
                yield f"{series} {plain(value)} {time_ms / 1000:.3f}\n"
    yield "# EOF\n"


def load(store: SeriesStore, text: str) -> int:
    """Add a dump's samples to a store and return the time of the latest, in milliseconds.

    Raises:
        ExpositionError: It is no dump, or cut off.
        StoreFullError: It has too many series.
    """
    latest = 0
    columns: dict[str, Column] = {}
    for item in read(text, openmetrics=True):
        if isinstance(item, Sample) and item.time_ms is not None:
            column = columns.get(item.series)
            if column is None:
                column = columns[item.series] = store.column(labels_of(item.series))
            store.append(column, item.time_ms, item.value)
            latest = max(latest, item.time_ms)
    return latest


def series_text(labels: Labels) -> str:
    """Return a series as an exposition writes it."""
    inner = ",".join(f'{name}="{escaped(value)}"' for name, value in sorted(labels.items()) if name != NAME)
    return f"{labels.get(NAME, '')}{{{inner}}}" if inner else labels.get(NAME, "")


def escaped(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
