"""Files that are there whole or not at all."""

from pathlib import Path

from kubedyno.base.errors import KubedynoError


def write_whole(path: Path, text: str) -> None:
    """Write a text file beside its place and move it there, so that nobody ever reads half of it.

    Raises:
        KubedynoError: It cannot be written; what stood there before still does.
    """
    draft = path.with_suffix(".part")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error
