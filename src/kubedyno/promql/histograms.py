"""Quantiles of classic histograms: counters of observations up to a bound each, in series that `le` tells apart."""

import math
from bisect import bisect_left

from kubedyno.promql.exposition import number_of
from kubedyno.promql.rows import INF, NAME, NAN, Grid, Labels, Row, Values, key_of

BOUND = "le"


def quantile(q: float, buckets: list[tuple[float, float]]) -> float:
    """Return the value below which a share of the observations lies, taken as even within a bucket.

    Args:
        q: The share.
        buckets: (upper bound, observations up to it), ascending; equal bounds are added.
    """
    if math.isnan(q):
        return NAN
    if q < 0:
        return -INF
    if q > 1:
        return INF
    if not buckets or buckets[-1][0] != INF:
        return NAN
    bounds: list[float] = []
    counts: list[float] = []
    for bound, count in buckets:
        if bounds and bounds[-1] == bound:
            counts[-1] += count
        else:
            bounds.append(bound)
            counts.append(count)
    if len(bounds) < 2:
        return NAN
    # Buckets that were scraped at slightly different times may fall: they never do here.
    highest = counts[0]
    for i, count in enumerate(counts):
        if count > highest:
            highest = count
        elif count < highest:
            counts[i] = highest
    observations = counts[-1]
    if observations == 0 or math.isnan(observations):
        return NAN
    rank = q * observations
    at = bisect_left(counts, rank, 0, len(counts) - 1)
    if at == len(counts) - 1:
        return bounds[-2]
    if at == 0 and bounds[0] <= 0:
        return bounds[0]
    low = bounds[at - 1] if at else 0.0
    below = counts[at - 1] if at else 0.0
    inside = counts[at] - below
    if inside == 0:
        return NAN
    return low + (bounds[at] - low) * ((rank - below) / inside)


def quantiles(q: Values, rows: list[Row], grid: Grid) -> list[Row]:
    """Return a row of quantiles for each histogram.

    Args:
        q: The share at each step.
        rows: Buckets; series without a readable `le` are left out.
        grid: The steps.
    """
    groups: dict[frozenset[tuple[str, str]], tuple[Labels, list[tuple[float, Values]]]] = {}
    for row in rows:
        try:
            bound = number_of(row.labels.get(BOUND, ""))
        except ValueError:
            continue
        labels = row.labels.copy()
        del labels[BOUND]
        labels.pop(NAME, None)
        groups.setdefault(key_of(labels), (labels, []))[1].append((bound, row.values))
    found: list[Row] = []
    for labels, buckets in groups.values():
        buckets.sort(key=lambda bucket: bucket[0])
        bounds = [bound for bound, _ in buckets]
        columns = list(zip(*(values for _, values in buckets), strict=True))
        values: Values = []
        for step in range(grid.count):
            present = [(bound, count) for bound, count in zip(bounds, columns[step], strict=True) if count is not None]
            share = q[step]
            values.append(quantile(share, present) if present and share is not None else None)
        found.append(Row(labels, values))
    return found
