"""A local copy of a collection that follows the server, with calls on each change."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from kubedyno.client.api import Client

Json = dict[str, Any]
# (old, new): None for old when it is new, None for new when it is gone.
OnChange = Callable[[Json | None, Json | None], None]


class Informer:
    """Follows a collection until its task is cancelled.

    Args:
        client: Where to.
        path: Of the collection.
        on_change: Called for each change with the object before and after; never with two equal ones.
        query: Selectors, percent-encoded.
        on_synced: Called when the copy is complete, at the first list and after each new one.
    """

    def __init__(
        self,
        client: "Client",
        path: str,
        on_change: OnChange,
        query: str = "",
        on_synced: Callable[[], None] | None = None,
    ) -> None:
        self._client = client
        self._path = path
        self._query = query
        self._on_change = on_change
        self._on_synced = on_synced
        self._objects: dict[str, Json] = {}
        self.synced = False

    @property
    def objects(self) -> Mapping[str, Json]:
        """The copy: "namespace/name" or "name" → object."""
        return self._objects

    async def run(self) -> None:
        """Follow; returns only by an error, or cancelled.

        Raises:
            StatusError: The API says no.
            Unreachable: The server is gone for too long.
        """
        # Keys seen in the list that is being read; None while events come.
        listed: set[str] | None = set()
        async with self._client.list_watch(self._path, self._query, orjson.loads) as events:
            async for kind, item in events:
                if kind == "RELIST":
                    self.synced = False
                    listed = set()
                elif kind == "SYNCED":
                    for key in [key for key in self._objects if listed is not None and key not in listed]:
                        self._on_change(self._objects.pop(key), None)
                    listed = None
                    self.synced = True
                    if self._on_synced is not None:
                        self._on_synced()
                else:
                    key = _key_of(item)
                    if listed is not None:
                        listed.add(key)
                    self._apply(key, None if kind == "DELETED" else item)

    def _apply(self, key: str, new: Json | None) -> None:
        old = self._objects.get(key)
        if new is None:
            if old is not None:
                del self._objects[key]
                self._on_change(old, None)
        elif old != new:
            self._objects[key] = new
            self._on_change(old, new)


def _key_of(item: Json) -> str:
    meta = item["metadata"]
    namespace = meta.get("namespace")
    return f"{namespace}/{meta['name']}" if namespace else str(meta["name"])
