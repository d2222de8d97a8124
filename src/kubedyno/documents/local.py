"""The local indexer: one JSON array a metric in a directory, as kube-burner's `local` type writes it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError

Document = Mapping[str, Any]


class LocalIndexer:
    """Writes `<metric>.json` files into `directory`, which is made (0744) at once.

    A second call for the same metric appends to the array: later jobs and runs with the same directory add up.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            directory.mkdir(mode=0o744, parents=True, exist_ok=True)
        except OSError as error:
            raise KubedynoError(
                f"{directory}: cannot make the metrics directory ({error.strerror}); choose another metricsDirectory"
            ) from error

    def index(self, metric: str, documents: Sequence[Document]) -> tuple[Path, int]:
        """Append documents to `<metric>.json`.

        Args:
            metric: File name without `.json`, e.g. "podLatencyMeasurement-create-deployments".
            documents: At least one.

        Returns:
            The file and how many documents it holds now.

        Raises:
            KubedynoError: The file cannot be read or written, or holds something else than a JSON array.
        """
        path = self.directory / f"{metric.replace('/', '_')}.json"
        known: list[Any] = []
        try:
            if path.exists():
                known = orjson.loads(path.read_bytes())
                if not isinstance(known, list):
                    raise KubedynoError(f"{path}: holds no JSON array; move it away and run again")
            known.extend(documents)
            draft = path.with_suffix(".json.part")
            draft.write_bytes(orjson.dumps(known))
            draft.replace(path)
        except orjson.JSONDecodeError as error:
            raise KubedynoError(f"{path}: is not JSON ({error}); move it away and run again") from error
        except OSError as error:
            raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
        return path, len(known)

    def write(self, metric: str, documents: Sequence[Document]) -> str:
        """Append documents and return the line that says so; raises as `index`."""
        path, count = self.index(metric, documents)
        return f"File {path} now contains {count} documents"

    def close(self) -> str:
        """Say nothing more: every write is complete."""
        return ""
