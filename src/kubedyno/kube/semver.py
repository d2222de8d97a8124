"""Semantic versions as semver.org has them: three numbers, a pre-release, a build; how they are ordered and written.

What is read more loosely elsewhere (templates take "v1.2") is read there, and is one of these afterwards.
"""

import re
from dataclasses import dataclass, field
from functools import total_ordering

_NUMBER = r"(0|[1-9][0-9]{0,18})"
_PART = r"(?:0|[1-9][0-9]{0,18}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)


@total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A version; its build neither orders it nor tells it from another."""

    numbers: tuple[int, int, int]
    prerelease: str = ""
    build: str = field(default="", compare=False)

    @classmethod
    def parse(cls, text: str, *, normalize: bool = False) -> "Version":
        """Return the version of a text.

        Args:
            text: Such as "1.2.3-rc.1+linux".
            normalize: Allow "v1", "1.2" and leading zeros.

        Raises:
            ValueError: It is none.
        """
        found = _VERSION.fullmatch(_normalized(text) if normalize else text)
        if found is None:
            raise ValueError(f"invalid semantic version {text!r}")
        return cls((int(found[1]), int(found[2]), int(found[3])), found[4] or "", found[5] or "")

    def __lt__(self, other: "Version") -> bool:
        return self._rank < other._rank

    def __str__(self) -> str:
        text = ".".join(map(str, self.numbers))
        return text + (f"-{self.prerelease}" if self.prerelease else "") + (f"+{self.build}" if self.build else "")

    @property
    def _rank(self) -> tuple[tuple[int, int, int], bool, list[tuple[bool, int, str]]]:
        """A pre-release stands before its release, numbers before words."""
        parts = self.prerelease.split(".")
        ranks = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
        return self.numbers, not self.prerelease, ranks


def _normalized(text: str) -> str:
    numbers, mark, rest = re.fullmatch(r"([^-+]*)([-+]?)(.*)", text.removeprefix("v"), re.DOTALL).groups()  # type: ignore[union-attr]
    parts = [part.lstrip("0") or "0" if part else part for part in numbers.split(".")]
    return ".".join([*parts, "0", "0"][: max(len(parts), 3)]) + mark + rest
