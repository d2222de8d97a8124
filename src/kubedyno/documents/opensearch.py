"""The `opensearch` and `elastic` indexers, by the opensearch-py package, an extra: `pip install 'kubedyno[opensearch]'`.

`_id` is the hash of a document, as in the original, so that the same document is stored once however often it is sent.
"""

import hashlib
import importlib
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import orjson

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import go_duration
from kubedyno.documents.stream import Document

_CHUNK = 500
# Documents of runs are large.
_PAGE = 50
_LOGIN = re.compile(r"(?<=://)[^/@\s]+@")
_TIMEOUT_S = 60
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
        # Without logins: it stands in messages.
        self._servers = ", ".join(_LOGIN.sub("", server) for server in servers)
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
                self._client.indices.create(index=self._index)
        except opensearchpy.exceptions.OpenSearchException as error:
            raise KubedynoError(f"{self._servers}: the indexer cannot use it ({_short(error)})") from error

    def write(self, metric: str, documents: Iterable[Document]) -> str:
        """Store documents; those that are there already are skipped.

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
                yield {"_op_type": "index", "_index": self._index, "_id": key.hex(), "_source": document}

        if self._client is None:
            # What is known only at the very end, such as the run's own document, comes after `close`.
            self._client = self._connect()
        created = updated = 0
        failed: list[str] = []
        try:
            for ok, item in self._package.helpers.streaming_bulk(
                self._client,
                actions(),
                chunk_size=_CHUNK,
                raise_on_error=False,
                max_retries=_BUSY_TRIES,
                initial_backoff=1,
            ):
                result = next(iter(item.values()))
                if not ok:
                    failed.append(str(result.get("error")))
                elif result.get("result") == "created":
                    created += 1
                else:
                    updated += 1
        except self._package.exceptions.OpenSearchException as error:
            raise KubedynoError(f"{self._servers}: cannot store {metric} ({_short(error)})") from error
        if failed:
            raise KubedynoError(f"{self._servers}: {len(failed)} documents of {metric} refused: {failed[0][:200]}")
        took = go_duration(int((SYSTEM_CLOCK.monotonic() - began_s) * 1000) * 1_000_000)
        counts = {"created": created, "updated": updated, "redundantskipped": skipped}
        return f"Indexing finished in {took}: " + " ".join(f"{key}={n}" for key, n in counts.items() if n)

    def close(self) -> str:
        """Close the connections; a later write opens new ones."""
        if self._client is not None:
            self._client.close()
            self._client = None
        return ""

    def read(self, metric: str) -> list[dict[str, Any]]:
        """Return the stored documents of a metric.

        Raises:
            KubedynoError: The server or the index cannot be read.
        """
        query = {"query": {"match": {"metricName": metric}}}
        try:
            hits = self._package.helpers.scan(self._client, index=self._index, query=query, size=_PAGE)
            found = [hit["_source"] for hit in hits]
        except self._package.exceptions.OpenSearchException as error:
            raise KubedynoError(f"{self._servers}: index {self._index} cannot be read ({_short(error)})") from error
        # A text field matches words, not the whole.
        return [document for document in found if document.get("metricName") == metric]


def _short(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
