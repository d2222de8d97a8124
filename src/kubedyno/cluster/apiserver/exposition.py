"""Prometheus' text format, written."""

from collections.abc import Iterable, Mapping
from decimal import Decimal

from kubedyno.stats.histogram import Histogram

# Go's shortest form has an exponent from here on.
_EXPONENT_FROM = 1e6
_ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as they stand between a metric's name and its value; "" for none."""
    if not labels:
        return ""
    inner = ",".join([f'{name}="{escaped(value)}"' for name, value in labels.items()])
    return f"{{{inner}}}"


def escaped(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    return value.translate(_ESCAPED) if "\\" in value or '"' in value or "\n" in value else value


def number(value: float) -> str:
    """Return a value's text."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


class Page:
    """A page of metrics under way; samples of one family together, families in the order of their first sample."""

    __slots__ = ("_families",)

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, list[str]]] = {}

    def family(self, name: str, type: str, about: str) -> list[str]:
        """Return the lines of a family, to append samples to."""
        found = self._families.get(name)
        if found is None:
            found = self._families[name] = (f"# HELP {name} {about}\n# TYPE {name} {type}\n", [])
        return found[1]

    def add(self, name: str, type: str, about: str, labels: Mapping[str, str], value: float) -> None:
        """Add one sample."""
        self.family(name, type, about).append(f"{name}{labels_text(labels)} {number(value)}\n")

    def histogram(
        self, name: str, about: str, labels: Mapping[str, str], bounds: Iterable[float], counts: list[int], total: float
    ) -> None:
        """Add a histogram.

        Args:
            name: Without `_bucket`.
            about: What it counts.
            labels: Of all its series.
            bounds: Upper bounds, ascending, without infinity.
            counts: Observations in each bucket, that beyond the last bound at the end.
            total: Sum of what was observed.
        """
        lines = self.family(name, "histogram", about)
        inner = labels_text(labels)[1:-1]
        comma = "," if inner else ""
        below = 0
        for bound, count in zip([*map(_bound, bounds), "+Inf"], counts, strict=True):
            below += count
            lines.append(f'{name}_bucket{{{inner}{comma}le="{bound}"}} {below}\n')
        around = f"{{{inner}}}" if inner else ""
        lines.append(f"{name}_sum{around} {number(total)}\n{name}_count{around} {below}\n")

    def spread(self, name: str, about: str, labels: Mapping[str, str], histogram: Histogram) -> None:
        """Add a histogram that was counted as one; see `histogram`."""
        self.histogram(name, about, labels, histogram.bounds, histogram.counts, histogram.total)

    def text(self) -> bytes:
        """Return the page; families without a sample are left out."""
        return "".join(head + "".join(lines) for head, lines in self._families.values() if lines).encode()


def _bound(value: float) -> str:
    """Return a bound as Go writes it: it is a label's value, and has to be the same text everywhere."""
    if abs(value) >= _EXPONENT_FROM:
        mantissa, _, exponent = f"{Decimal(value).normalize():e}".partition("e")
        return f"{mantissa}e{exponent[0]}{exponent[1:]:0>2}"
    return str(int(value)) if value == int(value) else repr(value)
