"""Empty lists and maps of a client, which Go tells from those that are not there: only in what it says of them.

Decoding drops them, so that nobody has to look for them. Where an object is refused, they are put back for the texts.
"""

from collections.abc import Callable, Sequence
from typing import Any

from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.structure import Keeping
from kubedyno.kube.status import Cause, StatusError

_EMPTY: tuple[Any, ...] = ([], {})


def causes_told(
    kind: Kind,
    written: Any,
    new: Object,
    causes: list[Cause],
    validate: Callable[[], list[Cause]],
    *,
    parts: Sequence[str],
) -> list[Cause]:
    """Return the causes of a refusal with empty lists and maps shown as the client wrote them.

    Args:
        kind: Of the object.
        written: The client's JSON, or what its patch made.
        new: Decoded and defaulted; empties are put into it.
        causes: Those without empties.
        validate: Returns the causes of the object as it is now.
        parts: Members of the object that came from the client.
    """
    if not isinstance(written, dict) or not _has_empty([written.get(part) for part in parts]):
        return causes
    try:
        kept = kind.decode(written, "Ignore", Keeping())
    except StatusError:
        return causes
    for part in parts:
        _put_back(kept.get(part), new.get(part))
    told = validate()
    same = [(cause.reason, cause.field) for cause in told] == [(cause.reason, cause.field) for cause in causes]
    return told if same else causes


def _has_empty(value: Any) -> bool:
    if isinstance(value, dict):
        return not value or any(map(_has_empty, value.values()))
    return isinstance(value, list) and (not value or any(map(_has_empty, value)))


def _put_back(kept: Any, new: Any) -> None:
    if isinstance(kept, dict) and isinstance(new, dict):
        for name, value in kept.items():
            if value in _EMPTY:
                new.setdefault(name, value)
            elif name in new:
                _put_back(value, new[name])
    elif isinstance(kept, list) and isinstance(new, list):
        for a, b in zip(kept, new, strict=False):
            _put_back(a, b)
