"""Whether a table is complete: who still fills it, and from which revision on it was."""

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

from kubedyno.statedb.watch import Watch, close_all

if TYPE_CHECKING:
    from kubedyno.statedb.table import Table


class Initializers:
    """The initializers of one table; it is complete when none is pending. One may be begun again later."""

    __slots__ = ("_complete", "_lock", "_pending", "_watch")

    def __init__(self) -> None:
        self._pending: frozenset[str] = frozenset()
        # Of the state that the last one completed.
        self._complete = 0
        self._watch: Watch | None = None
        self._lock = Lock()

    @property
    def pending(self) -> tuple[str, ...]:
        """The names of those that are not done, in order."""
        return tuple(sorted(self._pending))

    def complete_at(self, revision: int) -> bool:
        """True when the state of that revision was complete already."""
        return not self._pending and revision >= self._complete

    def watch(self) -> Watch:
        """Return a channel that closes when none is pending; closed already if so."""
        with self._lock:
            watch = self._watch
            if watch is None or watch.closed:
                watch = self._watch = Watch()
        # Looked at after it can be found: `done` in between sees it.
        return watch if self._pending else Watch(closed=True)

    def begin(self, table: "Table[Any]", name: str) -> Callable[[], None]:
        """Add one; returns what says that it is done.

        Raises:
            ValueError: One of that name is pending.
        """
        with table.db.lock:
            if name in self._pending:
                raise ValueError(f"table {table.name}: initializer {name} is pending")
            self._pending |= {name}

        def done() -> None:
            with table.db.lock:
                before, self._pending = self._pending, self._pending - {name}
                complete = bool(before) and not self._pending
                if complete:
                    self._complete = table.db.revision
            if complete:
                if self._watch is not None:
                    close_all((self._watch,))
                for call in table.subscribers:
                    call()

        return done
