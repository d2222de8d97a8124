"""What KWOK's stages are written in: jq and Go templates, as the load side understands them, for the cluster.

Both are imported with the first stage: a cluster that has none needs neither, and starts 10 ms earlier.
"""

from collections.abc import Callable
from typing import Any

from kubedyno.cluster.kubelet.stagerules import Expression, Functions, Json


class StageLanguage:
    """Compiles both."""

    def expression(self, text: str) -> Expression:
        """Return a function from an object to the outputs of a jq expression.

        Raises:
            ValueError: It is malformed.
        """
        from kubedyno.load.plan import jq  # noqa: PLC0415 - see the module

        run = jq.compiled(text)

        def outputs(value: Any) -> list[Any]:
            try:
                return list(run(value))
            except jq.JqError:
                # As in KWOK: what an object does not have is no output.
                return []

        return outputs

    def template(self, text: str, functions: Functions) -> Callable[[Json], str]:
        """Return a function from an object to the text of a Go template.

        Raises:
            ValueError: It is malformed.
        """
        from kubedyno.load.plan.gotemplate.errors import FunctionError, TemplateError  # noqa: PLC0415 - see the module
        from kubedyno.load.plan.gotemplate.execute import Template  # noqa: PLC0415 - see the module

        try:
            compiled = Template(text, missing_key_error=False, functions=functions)
        except TemplateError as error:
            raise ValueError(str(error)) from error

        def render(obj: Json) -> str:
            try:
                return compiled.render(obj)
            except (TemplateError, FunctionError) as error:
                raise ValueError(str(error)) from error

        return render
