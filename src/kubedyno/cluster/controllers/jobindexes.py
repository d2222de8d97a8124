"""Sets of completion indexes, in the text in which a Job's status has them: "1,3-5,7"."""

from collections.abc import Iterable, Iterator


def parse(text: str | None, completions: int) -> set[int]:
    """Return the indexes below `completions` of a text."""
    found: set[int] = set()
    for part in (text or "").split(","):
        if part:
            low, _, high = part.partition("-")
            found.update(range(int(low), min(int(high or low) + 1, completions)))
    return found


def _runs(indexes: Iterable[int]) -> Iterator[tuple[int, int]]:
    first = last = -2
    for index in sorted(indexes):
        if index == last + 1:
            last = index
            continue
        if first >= 0:
            yield first, last
        first = last = index
    if first >= 0:
        yield first, last


def text_of(indexes: Iterable[int]) -> str:
    """Return the text of a set of indexes; two neighbours are written apart, more as a range."""
    parts = []
    for low, high in _runs(indexes):
        if low == high:
            parts.append(str(low))
        else:
            parts.append(f"{low},{high}" if high == low + 1 else f"{low}-{high}")
    return ",".join(parts)
