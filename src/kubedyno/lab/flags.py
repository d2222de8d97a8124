"""Values of command-line flags, checked: each wrong one is one clear line."""

from typing import Any, overload

from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import LEVELS
from kubedyno.base.times import duration_ns_of
from kubedyno.kube import yaml
from kubedyno.load.config.sources import read_text


@overload
def seconds(flag: str, text: str) -> float: ...
@overload
def seconds(flag: str, text: None) -> None: ...
@overload
def seconds(flag: str, text: str | None) -> float | None: ...
def seconds(flag: str, text: str | None) -> float | None:
    """Return the seconds of a Go duration, None for None.

    Raises:
        KubedynoError: It is no duration, or negative.
    """
    if text is None:
        return None
    try:
        value = duration_ns_of(text) / 1e9
    except ValueError as error:
        raise KubedynoError(f"{flag} {text}: {error}; write for example 30s or 1h30m") from error
    if value < 0:
        raise KubedynoError(f"{flag} {text}: must not be negative")
    return value


def log_level(text: str) -> str:
    """Return a log level's name.

    Raises:
        KubedynoError: There is no such level.
    """
    if text.lower() not in LEVELS:
        raise KubedynoError(f"Unknown log level {text}; one of {', '.join(LEVELS)}")
    return text.lower()


def user_metadata(path: str | None) -> dict[str, Any]:
    """Return the mapping of a `--user-metadata` file, {} without one.

    Raises:
        KubedynoError: It cannot be read, is empty or holds no mapping.
    """
    if path is None:
        return {}
    try:
        content = yaml.load(read_text(path, "user metadata file"), path)
    except yaml.YAMLError as error:
        raise KubedynoError(f"--user-metadata {path}: {error}") from error
    if not isinstance(content, dict) or not content:
        raise KubedynoError(f"--user-metadata {path}: holds no mapping; write for example `team: x`")
    return content
