"""Semantic versions as templates have them, and constraints on them, by the rules of Masterminds/semver."""

import re
from collections.abc import Callable
from typing import Any

from kubedyno.kube import semver
from kubedyno.load.plan.gotemplate.errors import FunctionError

_VERSION = re.compile(
    r"v?(0|[1-9]\d*)(\.(?:0|[1-9]\d*))?(\.(?:0|[1-9]\d*))?(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?\Z"
)
_PART = re.compile(
    r"\s*(=|!=|>=|=>|<=|=<|>|<|~>|~|\^)?\s*v?(\d+|[xX*])(?:\.(\d+|[xX*]))?(?:\.(\d+|[xX*]))?"
    r"(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+[0-9A-Za-z.-]+)?\s*"
)


class Version:
    """A version and how it was written."""

    __slots__ = ("original", "value")

    def __init__(self, text: str) -> None:
        match = _VERSION.match(text)
        if match is None:
            raise FunctionError("Invalid Semantic Version")
        major, minor, patch = (int((match[i] or "0").lstrip(".")) for i in (1, 2, 3))
        self.original = text
        self.value = semver.Version((major, minor, patch), match[4] or "", match[5] or "")

    def __str__(self) -> str:
        return str(self.value)

    def compare(self, other: "Version") -> int:
        """Return -1, 0 or 1."""
        return int(self.value > other.value) - int(self.value < other.value)

    def raised(self, place: int) -> "Version":
        """Return the next version: a prerelease's next patch is its release."""
        numbers = self.value.numbers
        if place != 2 or not self.value.prerelease:
            major, minor, patch = [*numbers[:place], numbers[place] + 1, 0, 0][:3]
            numbers = (major, minor, patch)
        return self._with(semver.Version(numbers))

    def changed(self, prerelease: str | None = None, metadata: str | None = None) -> "Version":
        """Return the version with another prerelease or build metadata, "" for none.

        Raises:
            FunctionError: It is malformed.
        """
        before = self.value.prerelease if prerelease is None else prerelease
        build = self.value.build if metadata is None else metadata
        for text, what in ((before, "prerelease"), (build, "metadata")):
            if text and re.fullmatch(r"[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*", text) is None:
                raise FunctionError(f"invalid {what} string")
        return self._with(semver.Version(self.value.numbers, before, build))

    def _with(self, value: semver.Version) -> "Version":
        return Version("v" * self.original.startswith("v") + str(value))

    @property
    def go_methods(self) -> dict[str, Callable[..., Any]]:
        """What a template may call on it."""
        return _METHODS


_METHODS: dict[str, Callable[..., Any]] = {
    "Compare": lambda v, other: v.compare(other),
    "Equal": lambda v, other: v.compare(other) == 0,
    "LessThan": lambda v, other: v.compare(other) < 0,
    "GreaterThan": lambda v, other: v.compare(other) > 0,
    "Major": lambda v: v.value.numbers[0],
    "Minor": lambda v: v.value.numbers[1],
    "Patch": lambda v: v.value.numbers[2],
    "Prerelease": lambda v: v.value.prerelease,
    "Metadata": lambda v: v.value.build,
    "Original": lambda v: v.original,
    "GreaterThanEqual": lambda v, other: v.compare(other) >= 0,
    "LessThanEqual": lambda v, other: v.compare(other) <= 0,
    "IncMajor": lambda v: v.raised(0),
    "IncMinor": lambda v: v.raised(1),
    "IncPatch": lambda v: v.raised(2),
    "SetPrerelease": lambda v, text: v.changed(prerelease=text),
    "SetMetadata": lambda v, text: v.changed(metadata=text),
    "String": str,
}


def _matches(constraint: str, version: str) -> bool:
    """Say whether a version fits a constraint such as ">=1.2, <2 || ^3.1".

    Raises:
        FunctionError: One of them is malformed.
    """
    checks = [_conjunction(part, constraint) for part in constraint.split("||")]
    actual = Version(version)
    return any(all(check(actual) for check in group) for group in checks)


def _conjunction(text: str, whole: str) -> list[Callable[[Version], bool]]:
    text = re.sub(r"(\S+)\s+-\s+(\S+)", r">=\1 <=\2", text)
    found: list[Callable[[Version], bool]] = []
    at = 0
    text = text.strip()
    while at < len(text):
        match = _PART.match(text, at)
        if match is None or match.end() == at:
            raise FunctionError(f"improper constraint: {whole}")
        found.append(_check(match))
        at = match.end()
        if text[at : at + 1] == ",":
            at += 1
        elif at < len(text) and not text[at - 1].isspace():
            raise FunctionError(f"improper constraint: {whole}")
    if not found:
        raise FunctionError(f"improper constraint: {whole}")
    return found


def _check(match: re.Match[str]) -> Callable[[Version], bool]:
    operator = (match[1] or "").replace("=>", ">=").replace("=<", "<=").replace("~>", "~")
    numbers: list[int | None] = []
    for part in (match[2], match[3], match[4]):
        # After a part that is left open, the others are open too.
        is_open = part is None or part in "xX*" or (bool(numbers) and numbers[-1] is None)
        numbers.append(None if is_open else int(part))
    pre = match[5] or ""
    known = sum(n is not None for n in numbers)
    low = Version(".".join(str(n or 0) for n in numbers) + (f"-{pre}" if pre else ""))
    if operator in {"", "="} and known < 3:
        operator = "~" if known else "*"
    upper = _upper(operator, numbers, known)

    def fits(version: Version) -> bool:
        if version.value.prerelease and not pre:
            # A prerelease is only taken by a constraint that names one.
            return operator == "!="
        order = version.compare(low)
        if operator == "*":
            return True
        if operator in {"~", "^"}:
            return order >= 0 and (upper is None or version.value.numbers < upper)
        if operator == ">" and known < 3:
            return version.value.numbers[:known] > low.value.numbers[:known]
        if operator == "<=" and known < 3:
            return version.value.numbers[:known] <= low.value.numbers[:known]
        if operator == "!=" and known < 3:
            return version.value.numbers[:known] != low.value.numbers[:known]
        return {
            "": order == 0, "=": order == 0, "!=": order != 0, ">": order > 0, "<": order < 0, ">=": order >= 0,
            "<=": order <= 0,
        }[operator]  # fmt: skip

    return fits


def _upper(operator: str, numbers: list[int | None], known: int) -> tuple[int, int, int] | None:
    """Return the first version that ~ or ^ no longer takes."""
    if known == 0:
        return None
    major, minor, patch = (n or 0 for n in numbers)
    if operator == "~":
        return (major + 1, 0, 0) if known == 1 else (major, minor + 1, 0)
    if major or known == 1:
        return (major + 1, 0, 0)
    if minor or known == 2:
        return (0, minor + 1, 0)
    return (0, 0, patch + 1)


FUNCTIONS: dict[str, Callable[..., Any]] = {"semver": Version, "semverCompare": _matches}
