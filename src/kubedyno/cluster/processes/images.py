"""Which local command stands for an image: a table that users extend.

There is no registry and no image here: a container of a known image runs the machine's own programs. An image that isn't
known stays modelled.
"""

import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase

SHELL = ("sh",)


@dataclass(frozen=True, slots=True)
class Entry:
    """What stands for an image.

    Attributes:
        entrypoint: Comes before a container's args.
        default: What runs where neither command nor args are given, after the entrypoint.
    """

    entrypoint: tuple[str, ...] = ()
    default: tuple[str, ...] = ()


_OWN = Entry((sys.executable, "-m", "kubedyno"), ("--help",))
# Patterns of repositories without host, tag and digest.
KNOWN: tuple[tuple[str, Entry], ...] = (
    ("*iperf3*", Entry(("iperf3",))),
    ("*network-perf", Entry((), SHELL)),
    ("*netperf*", Entry((), ("netserver", "-D"))),
    ("*/busybox", Entry((), SHELL)),
    ("*/alpine", Entry((), SHELL)),
    ("*/debian", Entry((), SHELL)),
    ("*/ubuntu", Entry((), SHELL)),
    ("*/bash", Entry((), ("bash",))),
    ("*/python", Entry((), ("python3",))),
    ("*/netshoot", Entry((), ("bash",))),
    ("*/curl", Entry(("curl",), ("--help",))),
    ("*/alpine-curl", Entry((), SHELL)),
    ("*/json-mock", Entry((sys.executable, "-m", "http.server", "8080"))),
    ("*/kubedyno", _OWN),
)


def repository_of(reference: str) -> str:
    """Return an image's repository without its registry's host, e.g. "library/busybox", "networkstatic/iperf3"."""
    name = reference.partition("@")[0]
    head, slash, rest = name.partition("/")
    path = rest if slash and ("." in head or ":" in head or head == "localhost") else name
    path = path.partition(":")[0]
    return path if "/" in path else f"library/{path}"


def entry_of(reference: str, own: dict[str, list[str]]) -> Entry | None:
    """Return what stands for an image, None when it isn't known.

    Args:
        reference: As a container names it.
        own: The user's additions, pattern → entrypoint; they come first. A pattern names a whole reference or a
            repository.
    """
    repository = repository_of(reference)
    for pattern, command in own.items():
        if fnmatchcase(reference, pattern) or fnmatchcase(repository, pattern):
            return Entry(tuple(command))
    return next((entry for pattern, entry in KNOWN if fnmatchcase(repository, pattern)), None)
