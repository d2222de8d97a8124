"""Metrics directories as gzipped tar files, out and in."""

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError

# One file of a tarball is read whole.
_MAX_FILE = 2 << 30
# What gzip and Go take where nothing is said; Python's 9 takes twice as long for the same size.
_LEVEL = 6


def create(directory: Path, tarball: Path) -> None:
    """Write the files of a directory into a .tgz, by their names relative to it.

    Raises:
        KubedynoError: The directory is missing, or the file cannot be written.
    """
    if not directory.is_dir():
        raise KubedynoError(f"{directory}: no such directory; nothing to make {tarball} of")
    draft = tarball.with_name(tarball.name + ".part")
    try:
        with tarfile.open(draft, "w:gz", compresslevel=_LEVEL) as archive:
            for path in sorted(directory.rglob("*")):
                if path.is_file():
                    archive.add(path, path.relative_to(directory).as_posix(), recursive=False)
        draft.replace(tarball)
    except OSError as error:
        raise KubedynoError(f"{tarball}: cannot be written ({error.strerror or error})") from error


def documents(tarball: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield metric name and documents of each JSON file in a tarball.

    Raises:
        KubedynoError: It cannot be read, or a file in it is no JSON list of objects.
    """
    try:
        with tarfile.open(tarball, "r:gz") as archive:
            for member in archive:
                if not member.isfile() or not member.name.endswith(".json"):
                    continue
                if member.size > _MAX_FILE:
                    raise KubedynoError(f"{tarball}: {member.name} is larger than {_MAX_FILE >> 30} GiB")
                source = archive.extractfile(member)
                content = orjson.loads(source.read()) if source is not None else None
                if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
                    raise KubedynoError(f"{tarball}: {member.name} is no JSON list of documents")
                yield Path(member.name).stem, content
    except FileNotFoundError:
        raise KubedynoError(f"{tarball}: no such file") from None
    except orjson.JSONDecodeError as error:
        raise KubedynoError(f"{tarball}: holds a file that is no JSON ({error})") from error
    except (OSError, tarfile.TarError, EOFError) as error:
        raise KubedynoError(f"{tarball}: cannot be read as a .tgz ({error})") from error
