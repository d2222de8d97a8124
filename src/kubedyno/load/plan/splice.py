"""One shape of a template as JSON with holes: parsed once, spliced for each object.

A rendering is its shape (which texts stand in which order) and the values in its holes. For a new shape the holes are
filled with markers, the YAML is parsed, labels are added and JSON is written once; cutting that JSON at the markers
leaves a format string. For each object the values are checked, then formatted in.

That is right as long as a value cannot change what the YAML around it means. So a value may only hold characters that
mean nothing where it stands, a plain scalar that could be a number or a boolean is typed for each object, and what
cannot be decided (a hole in a key among others that it could equal, in a tag, in `kind`) has no program: such objects
take the whole way.
"""

import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import orjson
import yaml as pyyaml
from yaml import events as ev

from kubedyno.kube.yaml import float_text, scalar
from kubedyno.load.plan.body import json_of

_LOADER: Any = getattr(pyyaml, "CSafeLoader", pyyaml.SafeLoader)
_MARKER = re.compile(r"Zq(\d+)qZ")
# Between joined values: no YAML may hold it, so it cannot be part of a value that is taken.
_SEPARATOR = "\x00"
# Safe wherever a scalar may stand: begins with a letter or digit, and no indicator inside.
_SAFE_ALL = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_./-]*(?:\x00|\Z))*\Z").match
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]*\Z").match
# Safe inside quotes on one line: printable ASCII that neither YAML's quotes nor JSON's strings treat as special.
_SAFE_QUOTED = re.compile(r"[ !#-&(-\[\]-~]*\Z").match
# Anything may stand in a comment but the end of its line.
_SAFE_COMMENT = re.compile(r"[ -~]*\Z").match
_WORD_STARTS = frozenset("yYnNtTfFoO~")
_NUMBER_STARTS = frozenset("0123456789+-.")

Check = Callable[[str], object]


def marker(number: int) -> str:
    """Return the text that stands for a hole while a shape is parsed."""
    return f"Zq{number}qZ"


class NotSpliceable(Exception):
    """A shape whose objects must take the whole way; the text says why."""


class Program:
    """A shape's JSON with holes.

    Args:
        text: The shape with markers for values.
        holes: How many markers.
        body: `text` parsed, with labels added, whose values may hold markers numbered from `holes` on.

    Raises:
        NotSpliceable: Values could change more than themselves.
    """

    __slots__ = ("_checks", "_format", "_holes", "_lenient", "_pick", "_typed", "name", "namespace")

    def __init__(self, text: str, holes: int, body: dict[str, Any]) -> None:
        self._holes = holes
        scalars = _scalars(text)
        self._checks: list[Check] = [_check(text, number, scalars.get(number)) for number in range(holes)]
        # Without plain holes an empty value is as good as any other.
        self._lenient = any(check is not _SAFE for check in self._checks)
        _check_keys(body)
        if _MARKER.search(str(body.get("kind"))) or _MARKER.search(str(body.get("apiVersion"))):
            raise NotSpliceable("kind or apiVersion depends on a variable")
        self._typed: list[tuple[str, tuple[int, ...]]] = []
        source = json_of(body).decode()
        # In a plain scalar that may mean a number the quotes belong to the hole.
        pieces: list[str] = []
        order: list[int] = []
        position = 0
        for found in re.finditer(r'"((?:[^"\\]|\\.)*)"', source):
            inside = found[1]
            numbers = [int(n) for n in _MARKER.findall(inside)]
            if not numbers:
                continue
            style = scalars.get(numbers[0])
            if style is not None and style.plain and not _surely_text(inside):
                pieces.append(source[position : found.start()])
                order.append(-1 - len(self._typed))
                self._typed.append((_MARKER.sub("%s", inside.replace("%", "%%")), tuple(numbers)))
                position = found.end()
                continue
            for mark in _MARKER.finditer(inside):
                pieces.append(source[position : found.start(1) + mark.start()])
                order.append(int(mark[1]))
                position = found.start(1) + mark.end()
        pieces.append(source[position:])
        self._format = "%s".join(piece.replace("%", "%%") for piece in pieces)
        # Values are laid out as: holes, iteration, replica, typed scalars.
        self._pick = _picker([n if n >= 0 else holes + 2 + (-1 - n) for n in order])
        metadata = body.get("metadata")
        metadata = metadata if isinstance(metadata, dict) else {}
        self.name = _text_of(metadata.get("name") or metadata.get("generateName"))
        self.namespace = _text_of(metadata.get("namespace"))

    def fits(self, values: Sequence[str]) -> bool:
        """Say whether the values may be spliced."""
        joined = _SEPARATOR.join(values)
        if not self._holes or (
            joined
            and _SAFE_ALL(joined) is not None
            and joined.count(_SEPARATOR) == self._holes - 1
            and joined[-1] != _SEPARATOR
        ):
            return True
        return self._lenient and all(
            check(value) is not None for check, value in zip(self._checks, values, strict=True)
        )

    def splice(self, values: list[str]) -> bytes:
        """Return an object's JSON.

        Args:
            values: Of the holes, which `fits` found fitting, then iteration and replica.
        """
        if self._typed:
            values = values + [_typed(form % tuple([values[n] for n in numbers])) for form, numbers in self._typed]
        made: str = self._format % self._pick(values)
        return made.encode()


class _Style:
    """How the scalar around a hole is written."""

    __slots__ = ("one_line", "plain")

    def __init__(self, event: Any) -> None:
        self.plain = event.implicit[0]
        self.one_line = event.style in {"'", '"'} and event.start_mark.line == event.end_mark.line


def _scalars(text: str) -> dict[int, _Style]:
    """Return the style of the scalar in which each hole stands; holes elsewhere are absent."""
    found: dict[int, _Style] = {}
    for event in pyyaml.parse(text, Loader=_LOADER):
        if type(event) is ev.ScalarEvent:
            for number in _MARKER.findall(event.value):
                found[int(number)] = _Style(event)
            if event.tag is not None and event.tag != "!" and _MARKER.search(event.value):
                raise NotSpliceable("a variable stands in a scalar with a tag")
        if _MARKER.search(str(getattr(event, "anchor", None))) or _MARKER.search(str(getattr(event, "tag", None))):
            raise NotSpliceable("a variable stands in an anchor, alias or tag")
    return found


def _check(text: str, number: int, style: _Style | None) -> Check:
    if style is None:
        place = text.index(marker(number))
        line = text[text.rfind("\n", 0, place) + 1 : place]
        if not re.search(r"(^|\s)#", line):
            raise NotSpliceable("a variable stands outside of scalars and comments")
        return _SAFE_COMMENT
    return _SAFE_QUOTED if style.one_line else _SAFE


def _check_keys(value: Any) -> None:
    """Refuse keys with holes that could equal another key of their mapping, or be read as something else."""
    if isinstance(value, list):
        for entry in value:
            _check_keys(entry)
    if not isinstance(value, dict):
        return
    for key, entry in value.items():
        _check_keys(entry)
        if not _MARKER.search(key):
            continue
        if not _surely_text(key):
            raise NotSpliceable(f"the key {key} could be read as a number")
        pattern = re.compile(".*".join(re.escape(part) for part in _MARKER.split(key)[::2]), re.DOTALL)
        if any(other is not key and (_MARKER.search(other) or pattern.fullmatch(other)) for other in value):
            raise NotSpliceable(f"the key {key} could equal another one")


def _surely_text(content: str) -> bool:
    """Say whether a plain scalar is text whatever stands in its holes.

    Numbers begin with a digit, sign or dot; the words that mean a boolean or nothing are made of letters alone.
    """
    first = _MARKER.match(content)
    if first is not None or not content or content[0] in _NUMBER_STARTS:
        return False
    constant = _MARKER.sub("", content)
    return content[0] not in _WORD_STARTS or not constant.isalpha()


def _typed(text: str) -> str:
    """Return the JSON of a plain scalar made of safe characters."""
    value = scalar(text)
    if type(value) is str:
        return f'"{value}"'
    if type(value) is float:
        return float_text(value)
    return orjson.dumps(value).decode()


def _picker(order: list[int]) -> Callable[[list[str]], Any]:
    if len(order) > 1:
        return itemgetter(*order)
    return lambda values: tuple([values[n] for n in order])


class Text:
    """A text with holes."""

    __slots__ = ("_form", "_numbers", "constant")

    def __init__(self, form: str, numbers: tuple[int, ...]) -> None:
        self._form = form
        self._numbers = numbers
        self.constant = None if numbers else form % ()

    def of(self, values: Sequence[str]) -> str:
        """Return the text for an object's values."""
        if self.constant is not None:
            return self.constant
        return self._form % tuple([values[n] for n in self._numbers])


def _text_of(value: Any) -> Text:
    text = "" if value is None else str(value)
    return Text(_MARKER.sub("%s", text.replace("%", "%%")), tuple(int(n) for n in _MARKER.findall(text)))
