"""What every indexer can do, and the choice of one by its type."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from kubedyno.base.errors import KubedynoError
from kubedyno.documents.local import LocalIndexer
from kubedyno.documents.openmetrics import OpenMetricsIndexer
from kubedyno.documents.opensearch import OpenSearchIndexer
from kubedyno.documents.stream import Document


class Indexer(Protocol):
    """Where documents go. Calls may block; none is made by two threads at once."""

    def write(self, metric: str, documents: Iterable[Document]) -> str:
        """Store at least one document and return the log line that says so.

        Raises:
            KubedynoError: They cannot be stored.
        """
        ...

    def close(self) -> str:
        """Complete what is still open; returns a log line, "" for none."""
        ...


def indexer(kind: str, directory: Path, servers: Sequence[str], index: str, *, insecure: bool) -> Indexer:
    """Return an indexer.

    Args:
        kind: local, tsdb, opensearch or elastic.
        directory: Of local and tsdb.
        servers: URLs, of opensearch and elastic.
        index: Of opensearch and elastic.
        insecure: Do not check the server's certificate.

    Raises:
        KubedynoError: There is no such kind, or the server cannot be used.
    """
    if kind == "local":
        return LocalIndexer(directory)
    if kind == "tsdb":
        return OpenMetricsIndexer(directory)
    if kind in {"opensearch", "elastic"}:
        return OpenSearchIndexer(servers, index, insecure=insecure)
    raise KubedynoError(f"Indexer not found: {kind}; local, opensearch, elastic and tsdb are known")
