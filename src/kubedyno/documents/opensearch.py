"""The `opensearch` and `elastic` indexers, by the opensearch-py package, an extra: `pip install 'kubedyno[opensearch]'`.

`_id` is the hash of a document, as in the original, so that the same document is stored once however often it is sent.

An index knows 1,000 fields (index.mapping.total_fields.limit) and refuses documents with more. A run's own document has
fields by the kinds, conditions and errors that it met: those parts are kept, but not made searchable (`run.UNSEARCHED`).
"""

import hashlib
import importlib
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import orjson

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import go_duration
from kubedyno.documents.run import FILE_NAME, UNSEARCHED
from kubedyno.documents.stream import Document

Json = dict[str, Any]

_CHUNK = 500
# A server takes 100 MB a request if nobody has said less; hosted ones take 10.
_CHUNK_BYTES = 8 << 20
# Documents of runs are large.
_PAGE = 50
_PAGE_OF_IDS = 5000
# Up to the last @ before a path: passwords have some, and a server may come without a scheme.
_LOGIN = re.compile(r"^(\w+://)?[^/\s]*@")
# A server waits a minute for a shard that is gone, and then says so.
_TIMEOUT_S = 90
# Of what a server says.
_LONGEST = 300
_MAPPING = {"properties": {name: {"type": "object", "enabled": False} for name in UNSEARCHED}}
# A server that answers 429, to a whole request or to one document, is asked again after 1, 2, 4, 8 and 16 s.
_BUSY_TRIES = 5


class OpenSearchIndexer:
    """Stores documents into `index`, which is made if missing, and reads them back.

    Args:
        servers: URLs.
        index: Its name.
        insecure: Do not check the server's certificate.
        making: Make the index if missing.

    Raises:
        KubedynoError: The package is missing, or the server cannot be used.
    """

    def __init__(self, servers: Sequence[str], index: str, *, insecure: bool, making: bool = True) -> None:
        try:
            opensearchpy: Any = importlib.import_module("opensearchpy")
        except ImportError as error:
            raise KubedynoError(
                "the opensearch indexer needs the package opensearch-py: pip install opensearch-py"
            ) from error
        self._package = opensearchpy
        self._index = index.lower()
        if not self._index:
            raise KubedynoError("the indexer needs the name of an index")
        if making and "*" in self._index:
            # A server says of a pattern that it is there, and refuses the first document.
            raise KubedynoError(f"index {self._index}: is a pattern; documents go to an index with a name")
        for server in servers:
            _check(server)
        # Without logins: it stands in messages.
        self._servers = ", ".join(_LOGIN.sub(r"\1", server) for server in servers)
        # What this machine trusts, or SSL_CERT_FILE names, as in the original.
        trust = (
            {"verify_certs": False, "ssl_show_warn": False}
            if insecure
            else {"ssl_context": ssl.create_default_context()}
        )
        self._connect: Callable[[], Any] = lambda: opensearchpy.OpenSearch(
            list(servers), timeout=_TIMEOUT_S, max_retries=2, **trust
        )
        self._client: Any = self._connect()
        if not making:
            return
        try:
            if not self._client.indices.exists(index=self._index):
                self._client.indices.create(index=self._index, body={"mappings": _MAPPING})
        except opensearchpy.exceptions.OpenSearchException as error:
            raise KubedynoError(f"{self._servers}: the indexer cannot use it ({_said(error)})") from error

    def write(self, metric: str, documents: Iterable[Document], *, at_once: bool = False) -> str:
        """Store documents; those that are there already are skipped.

        Args:
            metric: What they are, for messages.
            documents: The documents.
            at_once: They are found by whoever reads from now on, not within a second.

        Raises:
            KubedynoError: Some could not be stored.
        """
        began_s = SYSTEM_CLOCK.monotonic()
        seen: set[bytes] = set()
        skipped = 0

        def actions() -> Iterator[dict[str, Any]]:
            nonlocal skipped
            for document in documents:
                body = orjson.dumps(document)
                key = hashlib.sha256(body).digest()
                if key in seen:
                    skipped += 1
                    continue
                seen.add(key)
                yield {"_op_type": "index", "_index": self._index, "_id": key.hex(), "_source": body.decode()}

        if self._client is None:
            # What is known only at the very end, such as the run's own document, comes after `close`.
            self._client = self._connect()
        if metric == FILE_NAME:
            self._leave_unsearched()
        created = updated = 0
        failed: list[str] = []
        for ok, result in self._bulk(actions(), f"cannot store {metric}", at_once=at_once):
            if not ok:
                failed.append(_refusal(result.get("error")))
            elif result.get("result") == "created":
                created += 1
            else:
                updated += 1
        if failed:
            raise KubedynoError(f"{self._servers}: {len(failed)} documents of {metric} refused: {failed[0]}")
        took = go_duration(int((SYSTEM_CLOCK.monotonic() - began_s) * 1000) * 1_000_000)
        counts = {"created": created, "updated": updated, "redundantskipped": skipped}
        return f"Indexing finished in {took}: " + " ".join(f"{key}={n}" for key, n in counts.items() if n)

    def _bulk(self, actions: Iterator[Json], what: str, *, at_once: bool) -> Iterator[tuple[bool, Json]]:
        """Yield whether each action was done and what the server says of it; raises KubedynoError, beginning with `what`."""
        try:
            for ok, item in self._package.helpers.streaming_bulk(
                self._client,
                actions,
                chunk_size=_CHUNK,
                max_chunk_bytes=_CHUNK_BYTES,
                raise_on_error=False,
                max_retries=_BUSY_TRIES,
                initial_backoff=1,
                **({"refresh": "true"} if at_once else {}),
            ):
                yield ok, next(iter(item.values()))
        except self._package.exceptions.OpenSearchException as error:
            raise KubedynoError(f"{self._servers}: {what} ({_said(error)})") from error

    def _leave_unsearched(self) -> None:
        """Tell an index that somebody else has made what it need not search in.

        One where these are searched in already says no (with 500), and so does one whose mapping is not ours to change: it
        takes the documents as long as it has room for their fields, and says so when it has not.
        """
        try:
            self._client.indices.put_mapping(index=self._index, body=_MAPPING)
        except self._package.exceptions.OpenSearchException as error:
            if not isinstance(getattr(error, "status_code", None), int):
                raise KubedynoError(f"{self._servers}: index {self._index} cannot be used ({_said(error)})") from error

    def close(self) -> str:
        """Close the connections; a later write opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None
        return ""

    def read(self, metric: str, *, without: Sequence[str] = ()) -> list[Json]:
        """Return the stored documents of a metric, without some of their members.

        Raises:
            KubedynoError: The server or the index cannot be read.
        """
        return [source for _, source in self._scan("metricName", metric, _PAGE, _source_excludes=",".join(without))]

    def remove(self, member: str, value: str, wanted: Callable[[Json], bool], *, told: Sequence[str] = ()) -> int:
        """Remove documents, and return how many; they are gone for whoever reads from now on.

        Args:
            member: One of a document's own members.
            value: Its value.
            wanted: Says of a document with it whether it goes.
            told: What `wanted` must know beside `member`.

        Raises:
            KubedynoError: The index cannot be read, or some could not be removed.
        """
        found = self._scan(member, value, _PAGE_OF_IDS, _source_includes=",".join({member, *told}))
        going = [key for key, source in found if wanted(source)]
        actions = ({"_op_type": "delete", "_index": self._index, "_id": key} for key in going)
        failed = [
            _refusal(result.get("error") or result.get("result"))
            for ok, result in self._bulk(actions, "cannot remove documents", at_once=True)
            # Somebody else may have been faster.
            if not ok and result.get("status") != HTTPStatus.NOT_FOUND
        ]
        if failed:
            raise KubedynoError(f"{self._servers}: {len(failed)} documents not removed: {failed[0]}")
        return len(going)

    def _scan(self, member: str, value: str, page: int, **parts: str) -> list[tuple[str, Json]]:
        # A text field matches words, a keyword the whole: both find what is equal.
        query = {"query": {"match": {member: {"query": value, "operator": "and"}}}}
        try:
            hits = self._package.helpers.scan(
                self._client,
                index=self._index,
                query=query,
                size=page,
                # Part of the runs is worse than none.
                allow_partial_search_results="false",
                **{name: members for name, members in parts.items() if members},
            )
            found = [(str(hit["_id"]), hit["_source"]) for hit in hits]
        except self._package.exceptions.OpenSearchException as error:
            raise KubedynoError(f"{self._servers}: index {self._index} cannot be read ({_said(error)})") from error
        return [(key, source) for key, source in found if source.get(member) == value]


def _check(server: str) -> None:
    """Raise KubedynoError unless a text is the URL of a server."""
    shown = _LOGIN.sub(r"\1", server)
    try:
        parts = urlsplit(server if "://" in server else f"http://{server}")
        right = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise KubedynoError(f"{shown or 'an empty text'}: is no URL of a server; write for example https://host:9200")


def _said(error: Any) -> str:
    """Return what a server said, or what kept us from hearing it, in a line."""
    status, info = getattr(error, "status_code", None), getattr(error, "info", None)
    if isinstance(status, int):
        reason = info.get("error") if isinstance(info, dict) else None
        phrase = _refusal(reason) if isinstance(reason, dict) else HTTPStatus(status).phrase
        return f"{status} {phrase}" + (": wrong user or password" if status == HTTPStatus.UNAUTHORIZED else "")
    text = str(info) if isinstance(info, Exception) else str(error)
    return (text.splitlines() or [""])[0][:_LONGEST]


def _refusal(error: Any) -> str:
    """Return the words of a server's error: its type, its reason and what that came from."""
    words: list[str] = []
    while isinstance(error, dict):
        words += [str(error[name]) for name in ("type", "reason") if error.get(name)]
        error = error.get("caused_by")
    return ": ".join(words or [str(error)]).replace("\n", " ").rstrip(";. ")[:_LONGEST]
