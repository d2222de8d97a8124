"""Metric and alert profiles that come with the package, by name: `kubedyno:api`, `kubedyno:alerts` and others.

They are for clusters that are no OpenShift: kubeadm's labels and namespaces, kube-prometheus' jobs. Documents have
the names that kube-burner's own profiles give them.
"""

from functools import cache
from pathlib import Path

from kubedyno.base.errors import KubedynoError

PREFIX = "kubedyno:"
_DATA = Path(__file__).parent / "data"


@cache
def names() -> tuple[str, ...]:
    """Return all names, with their prefix."""
    return tuple(f"{PREFIX}{path.stem}" for path in sorted(_DATA.glob("*.yml")))


def is_shipped(name: str) -> bool:
    """Say whether a name means a shipped profile."""
    return name.startswith(PREFIX)


def text_of(name: str) -> str:
    """Return a shipped profile's YAML.

    Raises:
        KubedynoError: There is no such profile.
    """
    if name not in names():
        raise KubedynoError(f"{name}: there is no such profile; there are {', '.join(names())}")
    return (_DATA / f"{name.removeprefix(PREFIX)}.yml").read_text(encoding="utf-8")


def about(name: str) -> str:
    """Return a shipped profile's first line: what it is for."""
    return text_of(name).partition("\n")[0].lstrip("# ")
