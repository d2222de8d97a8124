"""Waiting until a job's objects are ready: one list and one watch a kind, counted by namespace.

The original lists every kind in every namespace once a second; here the API is asked once and then watched.
"""

from collections.abc import Callable, Iterable
from urllib.parse import quote

from kubedyno.base.log import logger
from kubedyno.client.api import Client
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.patience import patiently
from kubedyno.load.engine.readiness import RULES, Rule, decode_subject
from kubedyno.load.engine.sender import GONE_S

log = logger(__name__)


class ReadyWait:
    """Waits for all objects of one kind that carry a label, by namespace.

    Args:
        client: Where to.
        mapping: The kind.
        selector: Label selector of the objects.
        namespaces: Wait for these only; None for wherever they are.
        on_change: Called after each change of what is ready.
        rule: When an object is ready; None for the kind's own rule.
        silence_s: How long nobody may answer.
    """

    def __init__(
        self,
        client: Client,
        mapping: Mapping,
        selector: str,
        namespaces: Iterable[str] | None,
        on_change: Callable[[], None],
        rule: Rule | None = None,
        silence_s: float = GONE_S,
    ) -> None:
        self._silence_s = silence_s
        self._client = client
        self._mapping = mapping
        self._selector = selector
        self._only = None if namespaces is None else frozenset(namespaces)
        self._on_change = on_change
        self._rule = rule or Rule(decode_subject, RULES[mapping.kind])
        self._waiting: dict[str, set[str]] = {}
        self.total = 0
        self.ready = 0
        self._objects: dict[tuple[str, str], bool] = {}

    @property
    def plural(self) -> str:
        """The kind as a path names it."""
        return self._mapping.plural

    @property
    def waiting(self) -> dict[str, set[str]]:
        """Namespace → names not ready yet; namespaces without any are absent."""
        return self._waiting

    def _set(self, namespace: str, name: str, ready: bool | None) -> None:
        key = (namespace, name)
        before = self._objects.get(key)
        if ready is None:
            if before is None:
                return
            del self._objects[key]
            self.total -= 1
            self.ready -= before
        else:
            if before is None:
                self.total += 1
            self._objects[key] = ready
            self.ready += ready - bool(before)
        names = self._waiting.get(namespace)
        if ready is False:
            if names is None:
                names = self._waiting[namespace] = set()
            names.add(name)
        elif names is not None:
            names.discard(name)
            if not names:
                del self._waiting[namespace]
                log.debug("All %s in namespace %s are ready", self._mapping.plural, namespace)

    def _forget(self) -> None:
        self._objects.clear()
        self._waiting.clear()
        self.total = self.ready = 0

    async def run(self) -> None:
        """Return when every object there is ready. No object at all counts as ready, as in the original.

        Raises:
            Unreachable: Nobody answers for longer than one waits for that.
        """
        await patiently(self._run, self._silence_s, lasting=True)

    async def _run(self) -> None:
        self._forget()
        log.debug("Waiting for replicas from %s with %s to be ready", self._mapping.kind, self._selector)
        path = self._mapping.path()
        query = f"labelSelector={quote(self._selector)}"
        async with self._client.list_watch(path, query, self._rule.decode) as events:
            async for kind, subject in events:
                if kind == "SYNCED":
                    # The list is through: what it showed is all there is.
                    pass
                elif kind == "RELIST":
                    self._forget()
                    continue
                elif self._only is None or subject.metadata.namespace in self._only:
                    meta = subject.metadata
                    ready = None if kind == "DELETED" else self._rule.is_ready(subject)
                    self._set(meta.namespace, meta.name, ready)
                    if events.synced:
                        self._on_change()
                if events.synced and not self._waiting:
                    self._on_change()
                    return
