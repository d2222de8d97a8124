"""Errors of templates, with Go's texts."""


class TemplateError(ValueError):
    """A template that cannot be parsed or executed; `line` is 1-based."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


class FunctionError(ValueError):
    """A function refused its arguments; the executor says where."""
