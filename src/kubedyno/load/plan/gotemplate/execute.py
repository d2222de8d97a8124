"""A tree to closures, and closures to text: what `Template.render` runs.

Rendering yields pieces: the number of a text that stands in the template, or the value that an action printed. The
numbers alone are the *shape* of a rendering: equal shapes differ only in their values.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kubedyno.load.plan.gotemplate import tree
from kubedyno.load.plan.gotemplate.builtins import BUILTINS, LAZY, truth
from kubedyno.load.plan.gotemplate.evaluate import Evaluator, Function, Scope, last_of
from kubedyno.load.plan.gotemplate.gofmt import printed, show
from kubedyno.load.plan.gotemplate.lex import Source
from kubedyno.load.plan.gotemplate.parse import Parser
from kubedyno.load.plan.gotemplate.sprig.functions import SPRIG
from kubedyno.load.plan.gotemplate.tree import Node

HOLE = -1
MAX_OUTPUT = 64 * 1024 * 1024
_MAX_DEPTH = 200


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


Run = Callable[[Scope], None]


class Template:
    """A compiled template.

    Args:
        text: The template.
        name: In error messages; kube-burner leaves it empty.
        missing_key_error: A missing key of a map is an error; else it prints `<no value>`.
        functions: More functions, or others under the same names.

    Raises:
        TemplateError: It is malformed, or uses a function that is not known.
    """

    def __init__(
        self,
        text: str,
        *,
        name: str = "",
        missing_key_error: bool = True,
        functions: Mapping[str, Function] | None = None,
        more: tuple[str, ...] = (),
    ) -> None:
        self.functions: dict[str, Function] = {**BUILTINS, **SPRIG, **(functions or {})}
        names = {*self.functions, *LAZY}
        self.strict = missing_key_error
        self.texts: list[str] = []
        self.templates: dict[str, list[Run]] = {}
        parsed: dict[str, tuple[Source, list[Node]]] = {}
        for extra in more:
            other = Parser(name, extra, names)
            other.parse()
            parsed.update({key: (other.source, nodes) for key, nodes in other.templates.items()})
        parser = Parser(name, text, names)
        nodes = parser.parse()
        parsed.update({key: (parser.source, body) for key, body in parser.templates.items()})
        for key, (source, body) in parsed.items():
            self.templates[key] = _Compiler(self, source, key).nodes(body)
        self._main = _Compiler(self, parser.source, name).nodes(nodes)
        # A template of texts and actions alone always has the same shape.
        self.static = all(isinstance(node, tree.Text | tree.Action) for node in nodes) and all(
            not node.pipe.declared for node in nodes if isinstance(node, tree.Action)
        )

    def trace(self, data: Mapping[str, Any]) -> tuple[tuple[int, ...], list[str]]:
        """Render to pieces.

        Returns:
            The shape (text numbers, `HOLE` for each value), and the values in order.

        Raises:
            TemplateError: An action failed.
        """
        scope = Scope(data)
        for run in self._main:
            run(scope)
        return tuple(scope.shape), scope.holes

    def render(self, data: Mapping[str, Any]) -> str:
        """Render to text.

        Raises:
            TemplateError: An action failed.
        """
        shape, holes = self.trace(data)
        values = iter(holes)
        texts = self.texts
        return "".join([texts[i] if i >= 0 else next(values) for i in shape])


class _Compiler:
    """Turns the nodes of one template into closures.

    Args:
        template: Shared by all that a file defines.
        source: Where the nodes stand.
        name: Of the template that is executed, for messages.
    """

    def __init__(self, template: Template, source: Source, name: str) -> None:
        self._texts = template.texts
        self._templates = template.templates
        self._evaluator = Evaluator(source, name, template.functions, strict=template.strict)

    def nodes(self, nodes: list[Node]) -> list[Run]:
        return [self._node(node) for node in nodes]

    def _node(self, node: Node) -> Run:
        if isinstance(node, tree.Text):
            number = len(self._texts)
            self._texts.append(node.text)

            def text(scope: Scope) -> None:
                scope.shape.append(number)

            return text
        if isinstance(node, tree.Action):
            return self._action(node)
        if isinstance(node, tree.Branch):
            return self._range(node) if node.keyword == "range" else self._branch(node)
        if isinstance(node, tree.Jump):
            jump = _Break if node.keyword == "break" else _Continue

            def leave(_scope: Scope) -> None:
                raise jump

            return leave
        assert isinstance(node, tree.Call)
        return self._call(node)

    def _action(self, node: tree.Action) -> Run:
        evaluate = self._evaluator.pipe(node.pipe)
        if node.pipe.declared:
            assign = self._assign(node.pipe)

            def declare(scope: Scope) -> None:
                assign(scope, evaluate(scope))

            return declare

        def write(scope: Scope) -> None:
            value = evaluate(scope)
            text = value if type(value) is str else printed(value)
            scope.size += len(text)
            if scope.size > MAX_OUTPUT:
                raise self._evaluator.fail(node.pipe, "output is too large")
            scope.shape.append(HOLE)
            scope.holes.append(text)

        return write

    def _assign(self, pipe: tree.Pipe) -> Callable[[Scope, Any], None]:
        name = pipe.declared[-1]
        if pipe.assigns:

            def assign(scope: Scope, value: Any) -> None:
                known = scope.variables.get(name)
                if not known:
                    raise self._evaluator.fail(last_of(pipe), f"undefined variable: {name}")
                known[-1] = value

            return assign

        def declare(scope: Scope, value: Any) -> None:
            scope.variables.setdefault(name, []).append(value)

        return declare

    def _body(self, nodes: list[Node]) -> Run:
        runs = self.nodes(nodes)

        def body(scope: Scope) -> None:
            known = {name: len(stack) for name, stack in scope.variables.items()}
            try:
                for run in runs:
                    run(scope)
            finally:
                for name, stack in scope.variables.items():
                    del stack[known.get(name, 0) :]

        if not any(_declares(node) for node in nodes):

            def plain(scope: Scope) -> None:
                for run in runs:
                    run(scope)

            return plain
        return body

    def _branch(self, node: tree.Branch) -> Run:
        evaluate = self._evaluator.pipe(node.pipe)
        body = self._body(node.body)
        other = self._body(node.other) if node.other is not None else None
        changes_dot = node.keyword == "with"
        names = node.pipe.declared
        assign = self._assign(node.pipe) if names else None
        declares = bool(names) and not node.pipe.assigns

        def branch(scope: Scope) -> None:
            value = evaluate(scope)
            if assign is not None:
                assign(scope, value)
            try:
                if truth(value):
                    if changes_dot:
                        outer, scope.dot = scope.dot, value
                        try:
                            body(scope)
                        finally:
                            scope.dot = outer
                    else:
                        body(scope)
                elif other is not None:
                    other(scope)
            finally:
                if declares:
                    scope.variables[names[-1]].pop()

        return branch

    def _range(self, node: tree.Branch) -> Run:
        evaluate = self._evaluator.pipe(node.pipe)
        body = self._body(node.body)
        other = self._body(node.other) if node.other is not None else None
        names, assigns = node.pipe.declared, node.pipe.assigns

        def bind(scope: Scope, key: Any, value: Any) -> None:
            bound = [value] if len(names) == 1 else [key, value]
            for name, entry in zip(names, bound, strict=True):
                if assigns:
                    if not scope.variables.get(name):
                        raise self._evaluator.fail(last_of(node.pipe), f"undefined variable: {name}")
                    scope.variables[name][-1] = entry
                else:
                    scope.variables.setdefault(name, []).append(entry)

        def loop(scope: Scope) -> None:
            value = evaluate(scope)
            items = self._items(node, value)
            if not items:
                if other is not None:
                    other(scope)
                return
            outer = scope.dot
            try:
                for key, entry in items:
                    scope.dot = entry
                    if names:
                        bind(scope, key, entry)
                    try:
                        body(scope)
                    except _Continue:
                        pass
                    finally:
                        if names and not assigns:
                            for name in names:
                                scope.variables[name].pop()
            except _Break:
                pass
            finally:
                scope.dot = outer

        return loop

    def _items(self, node: tree.Branch, value: Any) -> list[tuple[Any, Any]]:
        if isinstance(value, dict):
            return sorted(value.items())
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            if len(node.pipe.declared) > 1:
                raise self._evaluator.fail(
                    last_of(node.pipe), f"can't use {value} to iterate over more than one variable"
                )
            return [(i, i) for i in range(value)]
        if value is None:
            return []
        raise self._evaluator.fail(last_of(node.pipe), f"range can't iterate over {show(value)}")

    def _call(self, node: tree.Call) -> Run:
        evaluate = self._evaluator.pipe(node.pipe) if node.pipe is not None else None

        def call(scope: Scope) -> None:
            runs = self._templates.get(node.name)
            if runs is None:
                raise self._evaluator.fail(node, f'template "{node.name}" not defined')
            if scope.depth >= _MAX_DEPTH:
                raise self._evaluator.fail(node, "exceeded maximum template depth (100000)")
            value = evaluate(scope) if evaluate is not None else None
            outer, variables = scope.dot, scope.variables
            scope.dot, scope.variables = value, {"$": [value]}
            scope.depth += 1
            try:
                for run in runs:
                    run(scope)
            finally:
                scope.dot, scope.variables = outer, variables
                scope.depth -= 1

        return call


def _declares(node: Node) -> bool:
    return isinstance(node, tree.Action) and bool(node.pipe.declared) and not node.pipe.assigns
