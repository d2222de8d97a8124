"""Pipelines to closures: functions, fields and methods on the values of a scope, refused where Go refuses them."""

from collections.abc import Callable, Mapping
from typing import Any

from kubedyno.load.plan.gotemplate import tree
from kubedyno.load.plan.gotemplate.builtins import LAZY, truth
from kubedyno.load.plan.gotemplate.errors import FunctionError, TemplateError
from kubedyno.load.plan.gotemplate.gofmt import type_name
from kubedyno.load.plan.gotemplate.gotime import GoTime
from kubedyno.load.plan.gotemplate.lex import Source
from kubedyno.load.plan.gotemplate.signatures import GO_TYPES, NILABLE, SIGNATURES
from kubedyno.load.plan.gotemplate.tree import Node

Function = Callable[..., Any]

_MISSING = object()
_EXACT: dict[str, Any] = {"s": str, "b": bool, "i": int, "u": int, "f": float, "m": dict, "t": GoTime}
# Functions whose result is of type interface{} in Go, whatever it holds.
_UNTYPED = frozenset([
    "first", "last", "mustFirst", "mustLast", "get", "dig", "default", "coalesce", "ternary", "fromJson", "mustFromJson",
    "plural", "deepCopy", "mustDeepCopy", "merge", "mergeOverwrite", "mustMerge", "mustMergeOverwrite", "call", "and", "or",
])  # fmt: skip


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


Eval = Callable[[Scope], Any]


class Evaluator:
    """Turns the pipelines of one template into closures.

    Args:
        source: Where the nodes stand.
        name: Of the template that is executed, for messages.
        functions: By name.
        strict: A missing key of a map is an error; else it is nil.
    """

    def __init__(self, source: Source, name: str, functions: Mapping[str, Function], *, strict: bool) -> None:
        self._source = source
        self._name = name
        self._functions = functions
        self._strict = strict

    def fail(self, node: Node, message: str) -> TemplateError:
        """Return the error of what failed at a node, as Go words it."""
        source = self._source
        before = source.text[: node.position]
        line = before.count("\n") + 1
        column = len(before.encode()) - (before.encode().rfind(b"\n") + 1)
        return TemplateError(
            f'template: {source.name}:{line}:{column}: executing "{self._name}" at <{node}>: {message}', line
        )

    def pipe(self, pipe: tree.Pipe) -> Eval:
        """Return what a pipeline evaluates to."""
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

    def _command(self, command: tree.Command, *, first: bool) -> Callable[[Scope, Any], Any]:
        head, arguments = command.arguments[0], command.arguments[1:]
        if isinstance(head, tree.Function):
            return self._function(command, head, arguments)
        value = self._value(head)
        if isinstance(head, tree.Nil):
            if first and not arguments:

                def nil(_scope: Scope, _final: Any) -> Any:
                    raise self.fail(head, "nil is not a command")

                return nil
            raise self.fail(head, "can't give argument to non-function nil")
        if isinstance(head, tree.Fields | tree.Variable | tree.Chain) and head.names:
            return self._method(head, arguments)

        def evaluate(scope: Scope, final: Any) -> Any:
            if arguments or final is not _MISSING:
                value(scope)
                raise self.fail(head, f"can't give argument to non-function {head}")
            return value(scope)

        return evaluate

    def _method(
        self, head: tree.Fields | tree.Variable | tree.Chain, arguments: list[Node]
    ) -> Callable[[Scope, Any], Any]:
        """Compile a command that begins with a field, which may turn out to be a method of its value."""
        value = self._value(head)
        name = head.names[-1]
        given = [self._value(argument) for argument in arguments]
        owner: Eval | None = None
        if isinstance(head, tree.Chain):
            term = self._value(head.term)
            owner = lambda scope: self._walk(head, term(scope), head.names[:-1])  # noqa: E731 - as short as its kin
        elif isinstance(head, tree.Variable):
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
                self._step(last_of(head), place, name)
                raise self.fail(last_of(head), f"{name} is not a method but has arguments")
            values = [argument(scope) for argument in given]
            if final is not _MISSING:
                values.append(final)
            try:
                return methods[name](place, *values)
            except FunctionError as error:
                raise self.fail(head, f"error calling {name}: {error}") from error
            except (TypeError, ValueError) as error:
                raise self.fail(head, f"wrong number of args for {name}: got {len(values)}") from error

        return evaluate

    def _function(
        self, command: tree.Command, head: tree.Function, arguments: list[Node]
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
        last = last_of(command)
        values = [self._argument(node, kind) for node, kind in zip(arguments, kinds, strict=False)]
        final_kind = kinds[count] if count < len(kinds) else ""
        check_final = final_kind not in {"", "a"}
        least = len(fixed)
        plain_fits = count >= least if variadic else count == least
        piped_fits = count + 1 >= least if variadic else count + 1 == least

        def call(scope: Scope, final: Any) -> Any:
            if final is _MISSING:
                if not plain_fits:
                    raise self.fail(head, _arity(name, least, count, 0, variadic=bool(variadic)))
                given = [value(scope) for value in values]
            else:
                if not piped_fits:
                    raise self.fail(head, _arity(name, least, count, 1, variadic=bool(variadic)))
                given = [value(scope) for value in values]
                if check_final and type(final) is not _EXACT.get(final_kind):
                    final = self._converted(final, final_kind, last, piped=True)
                given.append(final)
            try:
                return function(*given)
            except (FunctionError, ValueError, ArithmeticError, LookupError, AttributeError, TypeError) as error:
                raise self.fail(_At(head.position, str(command)), f"error calling {name}: {error}") from error

        return call

    def _argument(self, node: Node, kind: str) -> Eval:
        """Compile an argument that must be of a kind of `SIGNATURES`."""
        if isinstance(node, tree.Constant):
            return self._constant(node, kind)
        if isinstance(node, tree.Nil):
            if kind not in NILABLE:

                def refuse(_scope: Scope) -> Any:
                    raise self.fail(node, f"cannot assign nil to {GO_TYPES[kind]}")

                return refuse
            empty: Any = {} if kind == "m" else None
            return lambda _scope: empty
        value = self._value(node)
        if kind == "a":
            return value
        exact = _EXACT[kind]
        last = last_of(node)
        piped = isinstance(node, tree.Pipe)

        def evaluate(scope: Scope) -> Any:
            found = value(scope)
            return found if type(found) is exact else self._converted(found, kind, last, piped=piped)

        return evaluate

    def _constant(self, node: tree.Constant, kind: str) -> Eval:
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
                raise self.fail(node, message)

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
            raise self.fail(place, f"invalid value; expected {wanted}")
        if isinstance(value, _EXACT[kind]) and type_name(value) == wanted:
            return value
        shown = "interface {}" if value is None else type_name(value)
        raise self.fail(place, f"wrong type for value; expected {wanted}; got {shown}")

    def _lazy(self, head: tree.Function, values: list[Eval], *, wanted: bool) -> Callable[[Scope, Any], Any]:
        def call(scope: Scope, final: Any) -> Any:
            found: Any = _MISSING
            for value in values:
                found = value(scope)
                if truth(found) is wanted:
                    return found
            if final is not _MISSING:
                return final
            if found is _MISSING:
                raise self.fail(head, f"wrong number of args for {head.name}: want at least 1 got 0")
            return found

        return call

    def _value(self, node: Node) -> Eval:
        if isinstance(node, tree.Constant):
            constant = node.value
            if type(constant) is int and constant >= 1 << 63:

                def refuse(_scope: Scope) -> Any:
                    raise self.fail(node, f"{node} overflows int")

                return refuse
            return lambda _scope: constant
        if isinstance(node, tree.Dot):
            return lambda scope: scope.dot
        if isinstance(node, tree.Nil):
            return lambda _scope: None
        if isinstance(node, tree.Fields):
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
        if isinstance(node, tree.Variable):
            variable, names = node.name, node.names
            if not names:
                return lambda scope: scope.variables[variable][-1]
            return lambda scope: self._walk(node, scope.variables[variable][-1], names)
        if isinstance(node, tree.Chain):
            term = self._value(node.term)
            place = last_of(node)
            typed = _returns_its_type(node.term)
            return lambda scope: self._walk(place, term(scope), node.names, typed=typed)
        if isinstance(node, tree.Pipe):
            return self.pipe(node)
        assert isinstance(node, tree.Function)
        run = self._function(tree.Command(node.position, [node]), node, [])
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
                raise self.fail(node, f'map has no entry for key "{name}"')
            return None
        if value is None:
            if isinstance(node, tree.Fields) and len(node.names) == 1:
                # Dot itself is nil: the template was called without data.
                if self._strict:
                    raise self.fail(node, f'nil data; no entry for key "{name}"')
                return None
            raise self.fail(node, f"nil pointer evaluating interface {{}}.{name}")
        methods = getattr(value, "go_methods", {})
        if name in methods:
            try:
                return methods[name](value)
            except TypeError as error:
                raise self.fail(node, f"wrong number of args for {name}: want 1 got 0") from error
        known = type_name(value) if typed and not isinstance(value, list | tuple | dict) else "interface {}"
        raise self.fail(node, f"can't evaluate field {name} in type {known}")


def _returns_its_type(term: Node) -> bool:
    """Say whether a term in parentheses is a call whose result has a type of its own, which errors then name."""
    if not isinstance(term, tree.Pipe):
        return False
    head = term.commands[-1].arguments[0]
    return isinstance(head, tree.Function) and head.name not in _UNTYPED


def _calling(text: str) -> Function:
    """Return `call`, which names what it was asked to call: no value here is a function."""

    def call(value: Any, *_: Any) -> Any:
        if value is None:
            raise FunctionError("call of nil")
        raise FunctionError(f"non-function {text} of type {type_name(value)}")

    return call


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


def last_of(node: Node) -> Node:
    """Return where an evaluation is when it is done: at what was looked at last, which is where Go's errors point."""
    while True:
        if isinstance(node, tree.Pipe):
            node = node.commands[-1]
        elif isinstance(node, tree.Command):
            node = node.arguments[-1] if isinstance(node.arguments[0], tree.Function) else node.arguments[0]
        elif isinstance(node, tree.Chain):
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


def _arity(name: str, least: int, given: int, piped: int, *, variadic: bool) -> str:
    if variadic:
        return f"wrong number of args for {name}: want at least {least} got {given}"
    return f"wrong number of args for {name}: want {least} got {given + piped}"
