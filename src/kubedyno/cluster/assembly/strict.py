"""Reading a mapping strictly: known keys and right types, and for each mistake its file, line and path."""

import difflib
from collections.abc import Iterable
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube.yaml import line_of

Path = tuple[str | int, ...]


class Place:
    """A value of a document, and where it stands.

    Args:
        document: The whole document, for lines.
        file: Named in errors.
        path: From the document's root to the value.
        line_offset: Added to lines, for a document inside another one.
        prefix: Where that document stands in the other one, e.g. "nodes[0].kubeadmConfigPatches[0]".
    """

    def __init__(self, document: Any, file: str, path: Path = (), *, line_offset: int = 0, prefix: str = "") -> None:
        self._document = document
        self._file = file
        self._path = path
        self._offset = line_offset
        self._prefix = prefix
        self.value: Any = document
        for step in path:
            self.value = self.value[step]

    @property
    def line(self) -> int:
        """The 1-based line of the value in its file."""
        return line_of(self._document, *self._path) + self._offset

    @property
    def dotted(self) -> str:
        """The path as text, e.g. "nodes[0].role"."""
        text = self._prefix
        for step in self._path:
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text or "the file"

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self._file}:{self.line}"

    def at(self, *more: str | int) -> "Place":
        """Return a part of this value."""
        return Place(self._document, self._file, (*self._path, *more), line_offset=self._offset, prefix=self._prefix)

    def fail(self, message: str) -> KubedynoError:
        """Return the error about this value."""
        return KubedynoError(f"{self.where}: {self.dotted} {message}")

    def mapping(self, known: Iterable[str]) -> dict[str, Any]:
        """Return the value as a mapping, {} for null.

        Raises:
            KubedynoError: It is none, or has a key that is not known.
        """
        if self.value is None:
            return {}
        if not isinstance(self.value, dict):
            raise self.fail("must be a mapping")
        known = list(known)
        for key in self.value:
            if key not in known:
                raise self.at(key).fail(f"is unknown{near(key, known)}")
        return self.value

    def items(self) -> list["Place"]:
        """Return the parts of a list, none for null.

        Raises:
            KubedynoError: It is no list.
        """
        if self.value is None:
            return []
        if not isinstance(self.value, list):
            raise self.fail("must be a list")
        return [self.at(index) for index in range(len(self.value))]

    def text(self) -> str:
        """Return the value as text.

        Raises:
            KubedynoError: It is a list or a mapping.
        """
        value = self.value
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str | int | float):
            raise self.fail("must be text")
        return str(value)

    def integer(self, low: int, high: int) -> int:
        """Return the value as a whole number within limits.

        Raises:
            KubedynoError: It is none.
        """
        value = self.value
        try:
            number = int(value) if isinstance(value, str) else value
        except ValueError:
            number = None
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise self.fail(f"must be a whole number between {low} and {high}, not {value!r}")
        return number

    def boolean(self) -> bool:
        """Return the value as a boolean; the texts "true" and "false" count, as kubeadm's flags have them.

        Raises:
            KubedynoError: It is none.
        """
        if isinstance(self.value, bool):
            return self.value
        if self.value in {"true", "false"}:
            return bool(self.value == "true")
        raise self.fail(f"must be true or false, not {self.value!r}")

    def choice(self, *choices: str) -> str:
        """Return the value as one of some texts.

        Raises:
            KubedynoError: It is none of them.
        """
        text = self.text()
        if text not in choices:
            raise self.fail(f"is {text!r}, must be one of {', '.join(choices)}{near(text, list(choices))}")
        return text


def near(word: str, known: list[str]) -> str:
    """Return e.g. "; did you mean role?", "" when nothing is near."""
    found = difflib.get_close_matches(word, known, 1, 0.6)
    return f"; did you mean {found[0]}?" if found else ""
