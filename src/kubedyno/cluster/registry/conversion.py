"""Custom resources whose versions a webhook converts: what is converted already, and what has to be.

Nothing here waits. A conversion is a function of an object's content (all but its metadata, and labels and annotations), so
its results are kept by content. Who needs one that is not there raises `ConversionNeeded`; whoever handles the request gets
it, and begins anew. Each write converts into all served versions at once, so that watches find what they need.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from kubedyno.kube.status import StatusError

Object = dict[str, Any]
_NOT_CONTENT = frozenset({"kind", "apiVersion", "metadata"})
# What a conversion may change of the metadata.
_LABELS = ("labels", "annotations")
# Conversions that are kept; forgotten all at once.
_MOST = 100_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A conversion that has to be made: of which object, into which apiVersion."""

    key: bytes
    obj: Object
    target: str


class ConversionNeeded(Exception):
    """The request goes on when a webhook has converted.

    Attributes:
        conversion: Whose.
        wanted: All into one apiVersion or several.
        needed: The request cannot be answered without.
    """

    def __init__(self, conversion: "Conversion", wanted: list[Wanted], *, needed: bool) -> None:
        super().__init__()
        self.conversion = conversion
        self.wanted = wanted
        self.needed = needed


class Conversion:
    """The conversions of one definition.

    Args:
        webhook: spec.conversion.webhook.
        group_kind: E.g. "example.com/v1, Kind=Widget", for errors.
        storage: apiVersion in which objects are stored.
        served: apiVersions that are served.
    """

    def __init__(self, webhook: Object, kind: str, storage: str, served: list[str]) -> None:
        self.client: Object = webhook.get("clientConfig") or {}
        self.review_versions: list[str] = webhook.get("conversionReviewVersions") or []
        self.kind = kind
        self._storage = storage
        self._others = [version for version in served if version != storage]
        # None: it was tried and failed, for a write that did not need it.
        self._known: dict[bytes, bytes | None] = {}
        # apiVersion → revisions of records that are known to be converted.
        self._seen: dict[str, set[int]] = {}

    def read(self, obj: Object, target: str) -> Object:
        """Return a stored object in a served version.

        Raises:
            ConversionNeeded: It is not converted yet.
        """
        if target == self._storage:
            return obj
        return self._converted(obj, self._storage, target)

    def write(self, obj: Object, source: str) -> Object:
        """Return an object in the version in which it is stored, once it is converted into all that are served.

        Raises:
            ConversionNeeded: It is not yet.
        """
        stored = obj if source == self._storage else self._converted(obj, source, self._storage)
        missing = [
            wanted
            for wanted in (self._wanted(stored, self._storage, target) for target in self._others)
            if wanted.key not in self._known
        ]
        if missing:
            raise ConversionNeeded(self, missing, needed=False)
        return stored

    def check(self, records: Any, encode: Any, target: str) -> None:
        """Check that records can be read in a version: before a list begins, or a watch.

        Args:
            records: Of the table.
            encode: Record → object as stored.
            target: apiVersion.

        Raises:
            ConversionNeeded: Some are not converted yet; it names them all.
        """
        if target == self._storage:
            return
        seen, now = self._seen.get(target, set()), set()
        missing = []
        for record in records:
            if record.revision not in seen:
                wanted = self._wanted(encode(record), self._storage, target)
                if self._known.get(wanted.key) is None:
                    missing.append(wanted)
                    continue
            now.add(record.revision)
        self._seen[target] = now
        if missing:
            raise ConversionNeeded(self, missing, needed=True)

    def learn(self, wanted: Wanted, converted: Object | None) -> None:
        """Keep a conversion, or that it failed."""
        if len(self._known) >= _MOST:
            self._known.clear()
            self._seen.clear()
        if converted is None:
            self._known.setdefault(wanted.key, None)
            return
        metadata = converted.get("metadata") or {}
        content = {name: value for name, value in converted.items() if name not in _NOT_CONTENT}
        labels = {name: metadata[name] for name in _LABELS if metadata.get(name)}
        self._known[wanted.key] = orjson.dumps([content, labels])

    def _wanted(self, obj: Object, source: str, target: str) -> Wanted:
        metadata = obj.get("metadata") or {}
        content = {name: value for name, value in obj.items() if name not in _NOT_CONTENT}
        text = orjson.dumps(
            [source, target, content, [metadata.get(name) or {} for name in _LABELS]], option=orjson.OPT_SORT_KEYS
        )
        whole = {**obj, "apiVersion": source, "kind": self.kind}
        return Wanted(blake2b(text, digest_size=16).digest(), whole, target)

    def _converted(self, obj: Object, source: str, target: str) -> Object:
        wanted = self._wanted(obj, source, target)
        known = self._known.get(wanted.key)
        if known is None:
            raise ConversionNeeded(self, [wanted], needed=True)
        content, labels = orjson.loads(known)
        metadata = {name: value for name, value in obj["metadata"].items() if name not in _LABELS}
        whole: Object = {"kind": self.kind, "apiVersion": target, "metadata": {**metadata, **labels}, **content}
        return whole


def failure(conversion: Conversion, target: str, why: str) -> StatusError:
    """Return the error of a request that needs a conversion which failed."""
    text = f"conversion webhook for {target}, Kind={conversion.kind} failed: {why}"
    return StatusError(text, code=500, reason="")
