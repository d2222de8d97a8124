"""The local indexer: one JSON array a metric in a directory, as kube-burner's `local` type writes it.

Documents are written as they come, one a line, into `<metric>.json.part`, which then takes the file's place: what is called
`.json` is a whole array at any moment, even after SIGKILL, at the price of copying what was there before. What a killed run
leaves in a `.part` is still there line by line: a line is a document after its first character, "[" or ",".
"""

from collections.abc import Iterable
from pathlib import Path
from typing import IO

import msgspec
import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.documents.stream import Document

_BUFFER = 1 << 20
# The end of an array with its white space is looked for in so much of a file.
_TAIL = 64
_count_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


def directory_of(parent: Path, uuid: str) -> Path:
    """Return where a run's documents go when nothing else is said."""
    return parent / f"collected-metrics-{uuid}"


class LocalIndexer:
    """Writes `<metric>.json` files into `directory`, which is made (0744) at once.

    A second call for the same metric appends to the array: later jobs and runs with the same directory add up.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        # What this indexer has written itself needs no counting.
        self._counts: dict[Path, int] = {}
        try:
            directory.mkdir(mode=0o744, parents=True, exist_ok=True)
        except OSError as error:
            raise KubedynoError(
                f"{directory}: cannot make the metrics directory ({error.strerror}); choose another place"
            ) from error

    def index(self, metric: str, documents: Iterable[Document]) -> tuple[Path, int]:
        """Append documents to `<metric>.json`; none of them is kept.

        Args:
            metric: File name without `.json`, e.g. "podLatencyMeasurement-create-deployments".
            documents: At least one.

        Returns:
            The file and how many documents it holds now.

        Raises:
            KubedynoError: The file cannot be read or written, or holds something else than a JSON array.
        """
        path = self.directory / f"{metric.replace('/', '_')}.json"
        draft = path.with_suffix(".json.part")
        try:
            count = self._known(path)
            with draft.open("wb", buffering=_BUFFER) as out:
                if count:
                    _copy_open(path, out)
                for document in documents:
                    out.write(b"\n," if count else b"[")
                    out.write(orjson.dumps(document))
                    count += 1
                out.write(b"]" if count else b"[]")
            draft.replace(path)
        except OSError as error:
            raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
        self._counts[path] = count
        return path, count

    def _known(self, path: Path) -> int:
        """Return how many documents a file holds; raises KubedynoError when it holds something else."""
        if not path.exists():
            return 0
        known = self._counts.get(path)
        if known is None:
            try:
                known = len(_count_of(path.read_bytes()))
            except msgspec.ValidationError:
                raise KubedynoError(f"{path}: holds no JSON array; move it away and run again") from None
            except msgspec.DecodeError as error:
                raise KubedynoError(f"{path}: is not JSON ({error}); move it away and run again") from error
        return known

    def write(self, metric: str, documents: Iterable[Document]) -> str:
        """Append documents and return the line that says so; raises as `index`."""
        path, count = self.index(metric, documents)
        return f"File {path} now contains {count} documents"

    def close(self) -> str:
        """Say nothing more: every write is complete."""
        return ""


def _copy_open(path: Path, out: IO[bytes]) -> None:
    """Copy an array without its end."""
    size = path.stat().st_size
    with path.open("rb") as old:
        old.seek(max(size - _TAIL, 0))
        tail = old.read()
        end = size - len(tail) + tail.rindex(b"]")
        old.seek(0)
        while end > 0 and (piece := old.read(min(_BUFFER, end))):
            out.write(piece)
            end -= len(piece)
