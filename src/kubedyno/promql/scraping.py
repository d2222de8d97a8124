"""A target's pages become samples: looked-up series, the target's labels, markers where a series has ended.

What a page names and its target names too stays the target's; the page's own becomes `exported_…`, as Prometheus does.
"""

from collections.abc import Callable, Mapping

from kubedyno.promql.errors import ExpositionError, StoreFullError
from kubedyno.promql.exposition import About, labels_of, read
from kubedyno.promql.rows import NAME, Labels
from kubedyno.promql.store import Column, Metadata, SeriesStore

Keep = Callable[[str], bool]
# No column, and not None, which is one that is not wanted.
_UNKNOWN = Column({})


class Target:
    """One page that is read again and again.

    Args:
        store: Where samples go.
        labels: Of all its series, `job` and `instance` among them.
        keep: Says which metrics are wanted; None: all.
        honor_labels: The page's own labels win over the target's.

    Attributes:
        error: Why the last scrape failed, "" when it did not.
        last_ms: When it was.
        duration_s: How long it took.
    """

    def __init__(
        self, store: SeriesStore, labels: Mapping[str, str], keep: Keep | None = None, *, honor_labels: bool = False
    ) -> None:
        self.labels = dict(labels)
        self.error = ""
        self.last_ms = 0
        self.duration_s = 0.0
        self._store = store
        self._keep = keep
        self._honor_labels = honor_labels
        # By series as written: its column, None when it is not wanted.
        self._known: dict[str, Column | None] = {}
        # Lines about metrics that were noted.
        self._noted: set[str] = set()
        # What the last page had, when all of it was known: the next one mostly has the same.
        self._same: list[Column] | None = None
        self._present: dict[int, Column] = {}
        self._own: dict[str, Column] = {}

    def take(self, text: str, now_ms: int, duration_s: float, *, openmetrics: bool = False) -> int:
        """Take a page and return how many samples were wanted.

        Raises:
            ExpositionError: The page cannot be read; nothing but the failure is recorded.
            StoreFullError: There are too many series; what fitted is recorded.
        """
        columns: list[Column] = []
        values: list[float] = []
        try:
            rest = text if openmetrics else self._known_lines(text, columns, values)
            try:
                items = list(read(rest, openmetrics=openmetrics))
            except ExpositionError:
                # Once more as a whole, so that the error names the line.
                list(read(text, openmetrics=openmetrics))
                raise
        except ExpositionError as error:
            self.lost(str(error), now_ms, duration_s)
            raise
        store, known, before = self._store, self._known, self._present
        store.append_all(columns, now_ms, values)
        count = len(columns)
        if not items and columns == self._same:
            self._say(now_ms, duration_s, up=1.0, samples=count)
            self.error = ""
            return count
        self._same = None if items else columns
        if len(known) > 2 * (len(items) + count) + 1000:
            known.clear()
            self._noted.clear()
        present: dict[int, Column] = {id(column): column for column in columns}
        full: StoreFullError | None = None
        for item in items:
            if isinstance(item, About):
                self._note(item)
                continue
            column = known.get(item.series)
            # One without samples may have been forgotten by the store.
            if (column is None and item.series not in known) or (column is not None and not column.times):
                try:
                    column = self._column(item.series)
                except StoreFullError as error:
                    full = error
                    continue
            if column is not None:
                count += 1
                store.append(column, now_ms if item.time_ms is None else item.time_ms, item.value)
                if item.time_ms is None:
                    present[id(column)] = column
        store.end((column for key, column in before.items() if key not in present), now_ms)
        self._present = present
        self._say(now_ms, duration_s, up=1.0, samples=count)
        self.error = "" if full is None else str(full)
        if full is not None:
            raise full
        return count

    def lost(self, error: str, now_ms: int, duration_s: float) -> None:
        """Take note that the target did not answer: all its series end."""
        self._store.end(self._present.values(), now_ms)
        self._present = {}
        self._same = None
        self.error = error
        self._say(now_ms, duration_s, up=0.0, samples=0)

    def _known_lines(self, text: str, columns: list[Column], values: list[float]) -> str:
        """Take the samples of series that were met before and say nothing but a value; returns the other lines.

        A page of ten thousand lines is the same but for its numbers each time: two look-ups a line instead of a grammar.
        """
        known, noted, others = self._known, self._noted, []
        unknown = _UNKNOWN
        for line in text.split("\n"):
            series, _, value = line.rpartition(" ")
            column = known.get(series, unknown)
            if column is unknown:
                if line and line not in noted:
                    others.append(line)
                    if line[0] == "#":
                        noted.add(line)
            # One without samples may have been forgotten by the store.
            elif column is not None and not column.times:
                others.append(line)
            elif column is not None:
                try:
                    values.append(float(value))
                except ValueError:
                    others.append(line)
                    continue
                columns.append(column)
        return "\n".join(others)

    def _say(self, now_ms: int, duration_s: float, *, up: float, samples: int) -> None:
        self.last_ms = now_ms
        self.duration_s = duration_s
        own = {"up": up, "scrape_duration_seconds": duration_s, "scrape_samples_scraped": float(samples)}
        for name, value in own.items():
            column = self._own.get(name)
            if column is None or not column.times:
                column = self._own[name] = self._store.column({NAME: name, **self.labels})
            self._store.append(column, now_ms, value)

    def _note(self, about: About) -> None:
        if self._keep is not None and not self._keep(about.metric):
            return
        metadata = self._store.metadata
        old = metadata.get(about.metric, Metadata())
        if about.what == "type":
            metadata[about.metric] = Metadata(about.text, old.help, old.unit)
        elif about.what == "help":
            metadata[about.metric] = Metadata(old.type, about.text, old.unit)
        else:
            metadata[about.metric] = Metadata(old.type, old.help, about.text)

    def _column(self, series: str) -> Column | None:
        name = series.partition("{")[0].rstrip()
        column = None
        if self._keep is None or self._keep(name):
            column = self._store.column(self._labelled(labels_of(series)))
        self._known[series] = column
        return column

    def _labelled(self, own: Labels) -> Labels:
        labels = dict(own)
        for name, value in self.labels.items():
            if name not in own:
                labels[name] = value
            elif not self._honor_labels:
                labels[f"exported_{name}"] = own[name]
                labels[name] = value
        return labels
