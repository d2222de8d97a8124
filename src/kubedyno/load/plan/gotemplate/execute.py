"""A tree to closures, and closures to text: what `Template.render` runs.

Rendering yields pieces: the number of a text that stands in the template, or the value that an action printed. The
numbers alone are the *shape* of a rendering: equal shapes differ only in their values.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kubedyno.load.plan.gotemplate import parse
from kubedyno.load.plan.gotemplate.builtins import BUILTINS, LAZY, truth
from kubedyno.load.plan.gotemplate.errors import FunctionError, TemplateError
from kubedyno.load.plan.gotemplate.gofmt import printed, show, type_name
from kubedyno.load.plan.gotemplate.gotime import GoTime
from kubedyno.load.plan.gotemplate.lex import Source
from kubedyno.load.plan.gotemplate.parse import Node, Parser
from kubedyno.load.plan.gotemplate.signatures import GO_TYPES, NILABLE, SIGNATURES
from kubedyno.load.plan.gotemplate.sprig.functions import SPRIG

HOLE = -1
MAX_OUTPUT = 64 * 1024 * 1024
_MAX_DEPTH = 200
_MISSING = object()

Function = Callable[..., Any]


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class Scope:
    """One execution: dot, variables, output."""

    __slots__ = ("depth", "dot", "holes", "shape", "size", "variables")

    def __init__(self, data: Any) -> None:
        self.dot = data
        self.variables: dict[str, list[Any]] = {"$": [data]}
        self.shape: list[int] = []
        self.holes: list[str] = []
        self.size = 0
        self.depth = 0


Run = Callable[[Scope], None]
Eval = Callable[[Scope], Any]


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
        self.static = all(isinstance(node, parse.Text | parse.Action) for node in nodes) and all(
            not node.pipe.declared for node in nodes if isinstance(node, parse.Action)
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
        self._source = source
        self._name = name
        self._texts = template.texts
        self._functions = template.functions
        self._templates = template.templates
        self._strict = template.strict

    def _fail(self, node: Node, message: str) -> TemplateError:
        source = self._source
        before = source.text[: node.position]
        line = before.count("\n") + 1
        column = len(before.encode()) - (before.encode().rfind(b"\n") + 1)
        return TemplateError(
            f'template: {source.name}:{line}:{column}: executing "{self._name}" at <{node}>: {message}', line
        )

    def nodes(self, nodes: list[Node]) -> list[Run]:
        return [self._node(node) for node in nodes]

    def _node(self, node: Node) -> Run:
        if isinstance(node, parse.Text):
            number = len(self._texts)
            self._texts.append(node.text)

            def text(scope: Scope) -> None:
                scope.shape.append(number)

            return text
        if isinstance(node, parse.Action):
            return self._action(node)
        if isinstance(node, parse.Branch):
            return self._range(node) if node.keyword == "range" else self._branch(node)
        if isinstance(node, parse.Jump):
            jump = _Break if node.keyword == "break" else _Continue

            def leave(_scope: Scope) -> None:
                raise jump

            return leave
        assert isinstance(node, parse.Call)
        return self._call(node)

    def _action(self, node: parse.Action) -> Run:
        evaluate = self._pipe(node.pipe)
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
                raise self._fail(node.pipe, "output is too large")
            scope.shape.append(HOLE)
            scope.holes.append(text)

        return write

    def _assign(self, pipe: parse.Pipe) -> Callable[[Scope, Any], None]:
        name = pipe.declared[-1]
        if pipe.assigns:

            def assign(scope: Scope, value: Any) -> None:
                known = scope.variables.get(name)
                if not known:
                    raise self._fail(_last(pipe), f"undefined variable: {name}")
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

    def _branch(self, node: parse.Branch) -> Run:
        evaluate = self._pipe(node.pipe)
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

    def _range(self, node: parse.Branch) -> Run:
        evaluate = self._pipe(node.pipe)
        body = self._body(node.body)
        other = self._body(node.other) if node.other is not None else None
        names, assigns = node.pipe.declared, node.pipe.assigns

        def bind(scope: Scope, key: Any, value: Any) -> None:
            bound = [value] if len(names) == 1 else [key, value]
            for name, entry in zip(names, bound, strict=True):
                if assigns:
                    if not scope.variables.get(name):
                        raise self._fail(_last(node.pipe), f"undefined variable: {name}")
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

    def _items(self, node: parse.Branch, value: Any) -> list[tuple[Any, Any]]:
        if isinstance(value, dict):
            return sorted(value.items())
        if isinstance(value, list | tuple):
            return list(enumerate(value))
        if isinstance(value, int) and not isinstance(value, bool):
            if len(node.pipe.declared) > 1:
                raise self._fail(_last(node.pipe), f"can't use {value} to iterate over more than one variable")
            return [(i, i) for i in range(value)]
        if value is None:
            return []
        raise self._fail(_last(node.pipe), f"range can't iterate over {show(value)}")

    def _call(self, node: parse.Call) -> Run:
        evaluate = self._pipe(node.pipe) if node.pipe is not None else None

        def call(scope: Scope) -> None:
            runs = self._templates.get(node.name)
            if runs is None:
                raise self._fail(node, f'template "{node.name}" not defined')
            if scope.depth >= _MAX_DEPTH:
                raise self._fail(node, "exceeded maximum template depth (100000)")
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

    # --- values ---

    def _pipe(self, pipe: parse.Pipe) -> Eval:
        stages = [self._command(command, first=index == 0) for index, command in enumerate(pipe.commands)]
        if len(stages) == 1:
            single = stages[0]
            return lambda scope: single(scope, _MISSING)

        def run(scope: Scope) -> Any:
            value: Any = _MISSING
            for stage in stages:
                value = stage(scope, value)
            return value

        return run

    def _command(self, command: parse.Command, *, first: bool) -> Callable[[Scope, Any], Any]:
        head, arguments = command.arguments[0], command.arguments[1:]
        if isinstance(head, parse.Function):
            return self._function(command, head, arguments)
        value = self._value(head)
        if isinstance(head, parse.Nil):
            if first and not arguments:

                def nil(_scope: Scope, _final: Any) -> Any:
                    raise self._fail(head, "nil is not a command")

                return nil
            raise self._fail(head, "can't give argument to non-function nil")
        if isinstance(head, parse.Fields | parse.Variable | parse.Chain) and head.names:
            return self._method(head, arguments)

        def evaluate(scope: Scope, final: Any) -> Any:
            if arguments or final is not _MISSING:
                value(scope)
                raise self._fail(head, f"can't give argument to non-function {head}")
            return value(scope)

        return evaluate

    def _method(
        self, head: "parse.Fields | parse.Variable | parse.Chain", arguments: list[Node]
    ) -> Callable[[Scope, Any], Any]:
        """Compile a command that begins with a field, which may turn out to be a method of its value."""
        value = self._value(head)
        name = head.names[-1]
        given = [self._value(argument) for argument in arguments]
        owner: Eval | None = None
        if isinstance(head, parse.Chain):
            term = self._value(head.term)
            owner = lambda scope: self._walk(head, term(scope), head.names[:-1])  # noqa: E731 - as short as its kin
        elif isinstance(head, parse.Variable):
            variable = head.name
            owner = lambda scope: self._walk(head, scope.variables[variable][-1], head.names[:-1])  # noqa: E731
        elif len(head.names) > 1:
            owner = lambda scope: self._walk(head, scope.dot, head.names[:-1])  # noqa: E731

        def evaluate(scope: Scope, final: Any) -> Any:
            if not given and final is _MISSING:
                return value(scope)
            place = owner(scope) if owner is not None else scope.dot
            methods = getattr(place, "go_methods", {})
            if name not in methods:
                self._step(_last(head), place, name)
                raise self._fail(_last(head), f"{name} is not a method but has arguments")
            values = [argument(scope) for argument in given]
            if final is not _MISSING:
                values.append(final)
            try:
                return methods[name](place, *values)
            except FunctionError as error:
                raise self._fail(head, f"error calling {name}: {error}") from error
            except (TypeError, ValueError) as error:
                raise self._fail(head, f"wrong number of args for {name}: got {len(values)}") from error

        return evaluate

    def _function(
        self, command: parse.Command, head: parse.Function, arguments: list[Node]
    ) -> Callable[[Scope, Any], Any]:
        name = head.name
        if name in LAZY:
            return self._lazy(head, [self._value(argument) for argument in arguments], wanted=name == "or")
        function = self._functions[name]
        if name == "call":
            function = _calling(str(arguments[0]) if arguments else "")
        signature = SIGNATURES.get(name, "a*")
        fixed, variadic = (signature[:-2], signature[-2]) if signature.endswith("*") else (signature, "")
        count = len(arguments)
        kinds = fixed + variadic * max(0, count + 1 - len(fixed))
        last = _last(command)
        values = [self._argument(node, kind) for node, kind in zip(arguments, kinds, strict=False)]
        final_kind = kinds[count] if count < len(kinds) else ""
        check_final = final_kind not in {"", "a"}
        least = len(fixed)
        plain_fits = count >= least if variadic else count == least
        piped_fits = count + 1 >= least if variadic else count + 1 == least

        def call(scope: Scope, final: Any) -> Any:
            if final is _MISSING:
                if not plain_fits:
                    raise self._fail(head, _arity(name, least, count, 0, variadic=bool(variadic)))
                given = [value(scope) for value in values]
            else:
                if not piped_fits:
                    raise self._fail(head, _arity(name, least, count, 1, variadic=bool(variadic)))
                given = [value(scope) for value in values]
                if check_final and type(final) is not _EXACT.get(final_kind):
                    final = self._converted(final, final_kind, last, piped=True)
                given.append(final)
            try:
                return function(*given)
            except (FunctionError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
                raise self._fail(_At(head.position, str(command)), f"error calling {name}: {error}") from error

        return call

    def _argument(self, node: Node, kind: str) -> Eval:
        """Compile an argument that must be of a kind of `SIGNATURES`."""
        if isinstance(node, parse.Constant):
            return self._constant(node, kind)
        if isinstance(node, parse.Nil):
            if kind not in NILABLE:

                def refuse(_scope: Scope) -> Any:
                    raise self._fail(node, f"cannot assign nil to {GO_TYPES[kind]}")

                return refuse
            empty: Any = {} if kind == "m" else None
            return lambda _scope: empty
        value = self._value(node)
        if kind == "a":
            return value
        exact = _EXACT[kind]
        last = _last(node)
        piped = isinstance(node, parse.Pipe)

        def evaluate(scope: Scope) -> Any:
            found = value(scope)
            return found if type(found) is exact else self._converted(found, kind, last, piped=piped)

        return evaluate

    def _constant(self, node: parse.Constant, kind: str) -> Eval:
        value = node.value
        wanted = {"s": "string", "b": "bool", "i": "integer", "u": "unsigned integer", "f": "float"}.get(kind)
        fits = (
            kind == "a"
            or (kind == "s" and isinstance(value, str))
            or (kind == "b" and isinstance(value, bool))
            or (kind in "iu" and _is_whole(value) and (kind == "i" or value >= 0))
            or (kind == "f" and isinstance(value, int | float) and not isinstance(value, bool))
        )
        if not fits:
            message = (
                f"expected {wanted}; found {node}"
                if wanted
                else f"can't handle {node} for arg of type {GO_TYPES[kind]}"
            )

            def refuse(_scope: Scope) -> Any:
                raise self._fail(node, message)

            return refuse
        if kind == "a":
            return self._value(node)
        made = int(value) if kind in "iu" else float(value) if kind == "f" else value
        return lambda _scope: made

    def _converted(self, value: Any, kind: str, place: Node, *, piped: bool) -> Any:
        """Return a value as its kind, or refuse it in Go's words."""
        wanted = GO_TYPES[kind]
        if value is None and piped:
            if kind in NILABLE:
                return {}
            raise self._fail(place, f"invalid value; expected {wanted}")
        if isinstance(value, _EXACT[kind]) and type_name(value) == wanted:
            return value
        shown = "interface {}" if value is None else type_name(value)
        raise self._fail(place, f"wrong type for value; expected {wanted}; got {shown}")

    def _lazy(self, head: parse.Function, values: list[Eval], *, wanted: bool) -> Callable[[Scope, Any], Any]:
        def call(scope: Scope, final: Any) -> Any:
            found: Any = _MISSING
            for value in values:
                found = value(scope)
                if truth(found) is wanted:
                    return found
            if final is not _MISSING:
                return final
            if found is _MISSING:
                raise self._fail(head, f"wrong number of args for {head.name}: want at least 1 got 0")
            return found

        return call

    def _value(self, node: Node) -> Eval:
        if isinstance(node, parse.Constant):
            constant = node.value
            if type(constant) is int and constant >= 1 << 63:

                def refuse(_scope: Scope) -> Any:
                    raise self._fail(node, f"{node} overflows int")

                return refuse
            return lambda _scope: constant
        if isinstance(node, parse.Dot):
            return lambda scope: scope.dot
        if isinstance(node, parse.Nil):
            return lambda _scope: None
        if isinstance(node, parse.Fields):
            names = node.names
            if len(names) == 1:
                name = names[0]

                def field(scope: Scope) -> Any:
                    dot = scope.dot
                    if type(dot) is dict and name in dot:
                        return dot[name]
                    return self._step(node, dot, name)

                return field
            return lambda scope: self._walk(node, scope.dot, names)
        if isinstance(node, parse.Variable):
            variable, names = node.name, node.names
            if not names:
                return lambda scope: scope.variables[variable][-1]
            return lambda scope: self._walk(node, scope.variables[variable][-1], names)
        if isinstance(node, parse.Chain):
            term = self._value(node.term)
            place = _last(node)
            typed = _returns_its_type(node.term)
            return lambda scope: self._walk(place, term(scope), node.names, typed=typed)
        if isinstance(node, parse.Pipe):
            return self._pipe(node)
        assert isinstance(node, parse.Function)
        run = self._function(parse.Command(node.position, [node]), node, [])
        return lambda scope: run(scope, _MISSING)

    def _walk(self, node: Node, value: Any, names: list[str], *, typed: bool = False) -> Any:
        for position, name in enumerate(names):
            value = self._step(node, value, name, typed=typed and position == 0)
        return value

    def _step(self, node: Node, value: Any, name: str, *, typed: bool = False) -> Any:
        if isinstance(value, dict):
            if name in value:
                return value[name]
            if self._strict:
                raise self._fail(node, f'map has no entry for key "{name}"')
            return None
        if value is None:
            if isinstance(node, parse.Fields) and len(node.names) == 1:
                # Dot itself is nil: the template was called without data.
                if self._strict:
                    raise self._fail(node, f'nil data; no entry for key "{name}"')
                return None
            raise self._fail(node, f"nil pointer evaluating interface {{}}.{name}")
        methods = getattr(value, "go_methods", {})
        if name in methods:
            try:
                return methods[name](value)
            except TypeError as error:
                raise self._fail(node, f"wrong number of args for {name}: want 1 got 0") from error
        known = type_name(value) if typed and not isinstance(value, list | tuple | dict) else "interface {}"
        raise self._fail(node, f"can't evaluate field {name} in type {known}")


_EXACT: dict[str, Any] = {"s": str, "b": bool, "i": int, "u": int, "f": float, "m": dict, "t": GoTime}


# Functions whose result is of type interface{} in Go, whatever it holds.
_UNTYPED = frozenset(
    [
        "first",
        "last",
        "mustFirst",
        "mustLast",
        "get",
        "dig",
        "default",
        "coalesce",
        "ternary",
        "fromJson",
        "mustFromJson",
        "plural",
        "deepCopy",
        "mustDeepCopy",
        "merge",
        "mergeOverwrite",
        "mustMerge",
        "mustMergeOverwrite",
        "call",
        "and",
        "or",
    ]
)


def _returns_its_type(term: Node) -> bool:
    """Say whether a term in parentheses is a call whose result has a type of its own, which errors then name."""
    if not isinstance(term, parse.Pipe):
        return False
    head = term.commands[-1].arguments[0]
    return isinstance(head, parse.Function) and head.name not in _UNTYPED


def _calling(text: str) -> Function:
    """Return `call`, which names what it was asked to call: no value here is a function."""

    def call(value: Any, *_: Any) -> Any:
        if value is None:
            raise FunctionError("call of nil")
        raise FunctionError(f"non-function {text} of type {type_name(value)}")

    return call


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def _last(node: Node) -> Node:
    """Return where an evaluation is when it is done: at what was looked at last, which is where Go's errors point."""
    while True:
        if isinstance(node, parse.Pipe):
            node = node.commands[-1]
        elif isinstance(node, parse.Command):
            node = node.arguments[-1] if isinstance(node.arguments[0], parse.Function) else node.arguments[0]
        elif isinstance(node, parse.Chain):
            node = node.term
        else:
            return node


class _At(Node):
    """A place and what stands there, for a message."""

    __slots__ = ("text",)

    def __init__(self, position: int, text: str) -> None:
        super().__init__(position)
        self.text = text

    def __str__(self) -> str:
        return self.text


def _declares(node: Node) -> bool:
    return isinstance(node, parse.Action) and bool(node.pipe.declared) and not node.pipe.assigns


def _arity(name: str, least: int, given: int, piped: int, *, variadic: bool) -> str:
    if variadic:
        return f"wrong number of args for {name}: want at least {least} got {given}"
    return f"wrong number of args for {name}: want {least} got {given + piped}"
