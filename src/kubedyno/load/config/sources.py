"""Files that a configuration names: a path, or an http(s) URL that answers 200, as in the original."""

import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from kubedyno.base.errors import KubedynoError

# A URL that answers slower is as good as absent.
_TIMEOUT_S = 30.0
_MAX_BYTES = 64 << 20


def is_url(name: str) -> bool:
    """Say whether a name is fetched rather than opened."""
    return name.startswith(("http://", "https://"))


def read_text(name: str, what: str, beside: Sequence[Path] = ()) -> str:
    """Return the text of a file or URL.

    Args:
        name: Path, relative to the working directory, or URL.
        what: "config file", "template" …, for messages.
        beside: Directories that are looked in after the working directory.

    Raises:
        KubedynoError: It cannot be read.
    """
    if is_url(name):
        return _fetch(name, what)
    places = [Path(name), *(folder / name for folder in beside)]
    for place in places:
        if place.is_dir():
            raise KubedynoError(f"failed to open {what} {name}: is a directory; name a file in it")
        if place.is_file():
            try:
                return place.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise KubedynoError(f"failed to open {what} {name}: is no UTF-8 text ({error})") from error
            except OSError as error:
                raise KubedynoError(f"failed to open {what} {name}: {error.strerror}") from error
    others = [str(place) for place in places[1:] if place != Path(name)]
    also = f" (nor {', '.join(others)})" if others else ""
    raise KubedynoError(f"failed to open {what} {name}: open {name}: no such file or directory{also}; check the path")


def _fetch(url: str, what: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 - http(s) only, see is_url
            body: bytes = answer.read(_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise KubedynoError(f"failed to open {what} {url}: the server answers {error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise KubedynoError(f"failed to open {what} {url}: {error}; check the URL") from error
    if len(body) > _MAX_BYTES:
        raise KubedynoError(f"failed to open {what} {url}: larger than {_MAX_BYTES >> 20} MiB")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise KubedynoError(f"failed to open {what} {url}: is no UTF-8 text ({error})") from error
