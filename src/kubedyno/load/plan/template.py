"""Template files: found, read, compiled once, and rendered to pieces; every error names file and line."""

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.load.config.sources import read_text
from kubedyno.load.plan.functions import functions
from kubedyno.load.plan.gotemplate.builtins import BUILTINS
from kubedyno.load.plan.gotemplate.errors import TemplateError
from kubedyno.load.plan.gotemplate.execute import HOLE, Template
from kubedyno.load.plan.gotemplate.sprig.functions import SPRIG

_UNKNOWN = re.compile(r'function "(\w+)" not defined')

Shape = tuple[int, ...]


def render_config(text: str, values: Mapping[str, Any], missing_key_error: bool) -> str:
    """Render a configuration file.

    Raises:
        ValueError: It is malformed, or an action failed.
    """
    template = Template(text, missing_key_error=missing_key_error, functions=functions(Path()))
    return template.render(values)


def read_template(name: str, directory: Path) -> str:
    """Return the text of a template: from the working directory, else beside the configuration, or a URL.

    Raises:
        KubedynoError: It is in neither, or cannot be read.
    """
    try:
        return read_text(name, "config file", [directory])
    except KubedynoError as error:
        raise KubedynoError(f"Error reading template {name}: {error}") from error


class TemplateFile:
    """One object template.

    Args:
        name: As the configuration names it; in messages.
        directory: Of the configuration.
        missing_key_error: A missing variable is an error; else it prints `<no value>`.
        more: Texts whose `define`d templates it may call.

    Raises:
        KubedynoError: It cannot be read, is malformed, or uses a function that is not known.
    """

    def __init__(
        self, name: str, directory: Path, *, missing_key_error: bool = True, more: tuple[str, ...] = ()
    ) -> None:
        self.name = name
        self.raw = read_template(name, directory)
        own = functions(directory)
        try:
            self._template = Template(self.raw, missing_key_error=missing_key_error, functions=own, more=more)
        except TemplateError as error:
            raise self._error("parsing", error, _hint(str(error), own)) from error
        self.trace_raw = self._template.trace

    def _error(self, doing: str, error: TemplateError, hint: str = "") -> KubedynoError:
        return KubedynoError(
            f"Template error in {self.name}: {doing} error: {error} ({self.name} line {error.line}){hint}"
        )

    def trace(self, data: Mapping[str, Any]) -> tuple[Shape, list[str]]:
        """Render to a shape and the values in its holes.

        Raises:
            KubedynoError: An action failed.
        """
        try:
            return self.trace_raw(data)
        except TemplateError as error:
            raise self._error("rendering", error) from error

    def render(self, data: Mapping[str, Any]) -> str:
        """Render to text; raises as `trace`."""
        return self.text(*self.trace(data))

    def text(self, shape: Shape, values: list[str]) -> str:
        """Join what `trace` returned."""
        following = iter(values)
        texts = self._template.texts
        return "".join([next(following) if number == HOLE else texts[number] for number in shape])


def _hint(message: str, own: Mapping[str, Any]) -> str:
    unknown = _UNKNOWN.search(message)
    if unknown is None:
        return ""
    near = difflib.get_close_matches(unknown[1], [*own, *SPRIG, *BUILTINS], 1, 0.6)
    return f"; did you mean {near[0]}?" if near else ""
