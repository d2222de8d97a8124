"""What components say of themselves: samples of a /metrics page by family, and flags of a command line."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kubedyno.promql import exposition
from kubedyno.promql.exposition import Sample

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Metrics:
    """The wanted families of one page: name → labels and value of each sample."""

    families: dict[str, list[tuple[Labels, float]]] = field(default_factory=dict)

    def samples(self, name: str) -> list[tuple[Labels, float]]:
        """Return a family's samples, none when the page has none."""
        return self.families.get(name, [])

    def sums(self, name: str, *by: str) -> dict[tuple[str, ...], float]:
        """Return the sums of a family by some of its labels, without those that are 0."""
        found: dict[tuple[str, ...], float] = defaultdict(float)
        for labels, value in self.samples(name):
            found[tuple(labels.get(label, "") for label in by)] += value
        return {key: value for key, value in found.items() if value}

    def quantiles(
        self, name: str, share: float, *by: str, keep: Callable[[Labels], bool] | None = None
    ) -> dict[tuple[str, ...], tuple[float, int]]:
        """Return a histogram's quantile (its buckets' unit) and number of observations, by some of its labels.

        Linear within a bucket, as Prometheus' histogram_quantile; the highest finite bound where it lies beyond.

        Args:
            share: 0 to 1.
            keep: Which samples count.
        """
        buckets: dict[tuple[str, ...], dict[float, float]] = defaultdict(lambda: defaultdict(float))
        for labels, value in self.samples(f"{name}_bucket"):
            if keep is None or keep(labels):
                buckets[tuple(labels.get(label, "") for label in by)][float(labels["le"])] += value
        return {key: (_quantile(found, share), int(max(found.values()))) for key, found in buckets.items()}


def _quantile(buckets: dict[float, float], share: float) -> float:
    bounds = sorted(buckets.items())
    wanted = share * bounds[-1][1]
    before_bound = before_count = 0.0
    for bound, count in bounds:
        if count >= wanted and count > 0:
            if bound == float("inf"):
                return before_bound
            inside = count - before_count
            return before_bound + (bound - before_bound) * ((wanted - before_count) / inside if inside else 0.0)
        before_bound, before_count = bound, count
    return before_bound


def metrics_of(page: str, wanted: Iterable[str]) -> Metrics:
    """Return the wanted families of a page; a large cluster's has hundreds of thousands of lines, so the rest is skipped.

    Args:
        wanted: Names of families; of a histogram its name without a suffix.

    Raises:
        ExpositionError: A wanted line is no sample.
    """
    names = set(wanted)
    kept = [line for line in page.splitlines() if _family(line) in names]
    families: dict[str, list[tuple[Labels, float]]] = defaultdict(list)
    for sample in exposition.read("\n".join(kept) + "\n"):
        if isinstance(sample, Sample):
            labels = dict(exposition.labels_of(sample.series))
            families[labels.pop("__name__")].append((labels, sample.value))
    return Metrics(dict(families))


def _family(line: str) -> str:
    name = line.split("{", 1)[0].split(" ", 1)[0]
    for suffix in ("_bucket", "_sum", "_count"):
        if name.endswith(suffix):
            return name.removesuffix(suffix)
    return name


def flags_of(words: Iterable[str]) -> dict[str, str]:
    """Return flag → value of a command line's words; a flag without a value is "true"."""
    found: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("-"):
            name, separator, value = word.lstrip("-").partition("=")
            found[name] = value if separator else "true"
            if separator:
                name = ""
        elif name:
            # `--flag value`
            found[name] = word
            name = ""
    return found
