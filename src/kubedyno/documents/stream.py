"""Documents that are made while they are written, so that a million of them never lie in memory together."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

Document = Mapping[str, Any]


class Again:
    """An iterable that begins anew each time: documents go to more than one indexer.

    Args:
        make: Returns them from the first on.
    """

    __slots__ = ("_make",)

    def __init__(self, make: Callable[[], Iterable[Document]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[Document]:
        return iter(self._make())


def is_empty(documents: Iterable[Document]) -> bool:
    """Say whether there is none; the first is made for that."""
    return next(iter(documents), None) is None
