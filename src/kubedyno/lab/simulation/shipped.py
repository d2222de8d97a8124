"""The scenarios that ship: by name, from the package or from a checkout's examples."""

from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.lab.simulation.scenario import Scenario, read

_SUFFIX = ".yaml"


def folder() -> Path:
    """Return where they are."""
    here = Path(__file__).resolve()
    installed = here.parents[1] / "simulations"
    return installed if installed.is_dir() else here.parents[4] / "examples" / "simulations"


def names() -> list[str]:
    """Return their names, in order."""
    return sorted(path.stem for path in folder().glob(f"*{_SUFFIX}"))


def all_scenarios() -> list[Scenario]:
    """Return them."""
    return [read(folder() / f"{name}{_SUFFIX}") for name in names()]


def path_of(word: str) -> Path:
    """Return the file that is meant: one that is there, or one that ships.

    Raises:
        KubedynoError: There is neither.
    """
    path = Path(word)
    if path.is_file():
        return path
    if word in names():
        return folder() / f"{word}{_SUFFIX}"
    raise KubedynoError(
        f"{word}: there is no such file, and no such scenario ships; those that do: {', '.join(names())}"
    )
