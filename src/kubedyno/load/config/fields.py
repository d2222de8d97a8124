"""Reading mappings strictly: known keys, right types, and for each mistake its file, line and path."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import duration_ns_of
from kubedyno.kube.yaml import BOOLEANS, line_of

# Go's integers have 64 bits.
_MOST = (1 << 63) - 1


class Section:
    """One mapping of a file.

    Args:
        document: The whole document, for lines.
        path: Where the mapping stands, e.g. ("jobs", 0).
        type_name: kube-burner's name of its type, which its error texts carry.
        known: Keys that mean something here.
        later: Keys that are kube-burner's but not supported yet → what says that they are in use.
    """

    def __init__(
        self,
        document: Any,
        path: tuple[str | int, ...],
        type_name: str,
        known: Mapping[str, Any],
        later: Mapping[str, Callable[[Any], bool]] | None = None,
    ) -> None:
        self._document = document
        self._path = path
        self._type = type_name
        place = document
        for step in path:
            place = place[step]
        if place is None:
            place = {}
        if not isinstance(place, dict):
            raise self.fail((), f"must be a mapping, not {_kind(place)}")
        self.values: dict[str, Any] = place
        self._check(known, later or {})

    def _check(self, known: Mapping[str, Any], later: Mapping[str, Callable[[Any], bool]]) -> None:
        unknown = [key for key in self.values if key not in known and key not in later]
        if unknown:
            lines = []
            for key in unknown:
                line = line_of(self._document, *self._path, key)
                near = difflib.get_close_matches(key, [*known, *later], 1, 0.6)
                hint = f" (at {self._dotted((key,))}" + (f"; did you mean {near[0]}?)" if near else ")")
                lines.append(f"line {line}: field {key} not found in type {self._type}{hint}")
            raise KubedynoError("failed to parse config file: configuration file: \n" + "\n".join(lines))
        for key, in_use in later.items():
            if key in self.values and in_use(self.values[key]):
                raise self.fail((key,), "is not supported yet; remove it")

    def _dotted(self, more: tuple[str | int, ...]) -> str:
        text = ""
        for step in (*self._path, *more):
            text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
        return text or "the file"

    def fail(self, more: tuple[str | int, ...], message: str) -> KubedynoError:
        """Return an error about a part of this section."""
        line = line_of(self._document, *self._path, *more) or 1
        return KubedynoError(
            f"failed to parse config file: configuration file: line {line}: {self._dotted(more)} {message}"
        )

    def has(self, key: str) -> bool:
        return self.values.get(key) is not None

    def text(self, key: str, default: str = "") -> str:
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool | int | float):
            # kube-burner's decoder takes a plain scalar for a string.
            return str(value).lower() if isinstance(value, bool) else str(value)
        if not isinstance(value, str):
            raise self.fail((key,), f"must be text, not {_kind(value)}")
        return value

    def integer(self, key: str, default: int) -> int:
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            if not (isinstance(value, float) and value.is_integer()):
                raise self.fail((key,), f"must be a whole number, not {_kind(value)}")
            value = int(value)
        if abs(value) > _MOST:
            raise self.fail((key,), f"must be at most {_MOST}, not {value}")
        return value

    def number(self, key: str, default: float) -> float:
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail((key,), f"must be a number, not {_kind(value)}")
        return float(value)

    def boolean(self, key: str, default: bool) -> bool:
        value = self.values.get(key)
        if value is None:
            return default
        if isinstance(value, str):
            # Where a boolean is wanted, the words of YAML 1.1 are understood.
            value = BOOLEANS.get(value, value)
        if not isinstance(value, bool):
            raise self.fail((key,), f"must be true or false, not {_kind(value)}")
        return value

    def seconds(self, key: str, default_s: float) -> float:
        """Return a duration; a bare number is nanoseconds, as in Go."""
        value = self.values.get(key)
        if value is None:
            return default_s
        if isinstance(value, int) and not isinstance(value, bool):
            return value / 1e9
        if not isinstance(value, str):
            raise self.fail((key,), f"must be a duration such as 30s, not {_kind(value)}")
        try:
            return duration_ns_of(value) / 1e9
        except ValueError as error:
            raise self.fail((key,), f"is no duration: {error}; write for example 30s") from error

    def strings(self, key: str) -> dict[str, str]:
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail((key,), f"must be a mapping of text to text, not {_kind(value)}")
        result = {}
        for name, entry in value.items():
            if isinstance(entry, dict | list):
                raise self.fail((key, name), f"must be text, not {_kind(entry)}")
            result[name] = "" if entry is None else str(entry).lower() if isinstance(entry, bool) else str(entry)
        return result

    def mapping(self, key: str) -> dict[str, Any]:
        value = self.values.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.fail((key,), f"must be a mapping, not {_kind(value)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; a single text is a list of one."""
        value = self.values.get(key)
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        if not isinstance(value, list):
            raise self.fail((key,), f"must be a list of texts, not {_kind(value)}")
        for index, entry in enumerate(value):
            if isinstance(entry, dict | list) or entry is None:
                raise self.fail((key, index), f"must be text, not {_kind(entry)}")
        return tuple(str(entry) for entry in value)

    def count(self, key: str) -> int:
        """Return how many items a list has; 0 when it is absent."""
        value = self.values.get(key)
        if value is None:
            return 0
        if not isinstance(value, list):
            raise self.fail((key,), f"must be a list, not {_kind(value)}")
        return len(value)


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}"
    return "a list" if isinstance(value, list) else "a mapping"
