"""Expressions of admission policies and of webhooks' match conditions: text to program, program and data to a result.

An expression sees the variables of its place only (`object`, `oldObject`, `request`, `authorizer`; `params`,
`namespaceObject` and `variables` where there are such). Mutations build objects: `Object.spec{replicas: 3}` and
`JSONPatch{op: "add"}` are read as the maps that they stand for.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from kubedyno.cluster.registry import celformats, celfunctions, cellists, schematypes
from kubedyno.cluster.registry.celfunctions import ConversionError
from kubedyno.kube.names import problems_of_qualified_name
from kubedyno.kube.status import Cause, duplicate, invalid_value, required

Object = dict[str, Any]
Data = Mapping[str, Any]
# Where an expression stands: which variables it has beyond those that all have.
CONDITION = frozenset[str]()
POLICY = frozenset({"namespaceObject", "variables"})
PARAMS = frozenset({"params"})
_COMMON = ("object", "oldObject", "request")
BOOL, STRING, MAP, LIST = "bool", "string", "map", "list"
_ANY = "dyn"
_VARIABLE = re.compile(r"\bvariables\.([A-Za-z_]\w*)")
_TOKEN = re.compile(
    r'''(?P<text>[rRbB]{0,2}(?:"""(?:.|\n)*?"""|\'\'\'(?:.|\n)*?\'\'\'|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))'''
    r"|(?P<comment>//[^\n]*)|(?P<name>[A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)|(?P<other>.|\n)"
)
_KEY = re.compile(r"\s*(\??)\s*(`[^`]+`|[A-Za-z_]\w*)\s*:")
_STRUCTS = ("Object", "JSONPatch")
_SEPARATOR = "\x1f"
_ASKED = ("user", "path", "group", "resource", "subresource", "namespace", "name", "verb")

# Says whether, and why or why not, the user may do what is asked (names of `_ASKED`); set by whoever evaluates.
Authorize = Callable[[dict[str, str]], tuple[bool, str]]
_authorizers: list[Authorize] = []


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression.

    Attributes:
        text: As written.
        problem: What is wrong with it, "" when nothing is.
        returns: Type of its value, e.g. "bool"; "dyn" when only a value tells.
        variables: The policy's variables that it names.
        unknown: The problem is ours alone: it is evaluated elsewhere.
    """

    text: str
    expression: Any = None
    problem: str = ""
    returns: str = _ANY
    variables: tuple[str, ...] = ()
    unknown: bool = False


class EvaluationError(Exception):
    """An expression has no value; the text says why."""


@lru_cache(maxsize=4096)
def program(text: str, place: frozenset[str]) -> Program:
    """Return a compiled expression; only where the evaluator is available."""
    function = cellists.beside_optionals(celformats.written_out(text))
    if function:
        return Program(text, problem=f"{function} is not evaluated here in an expression with optionals", unknown=True)
    try:
        expression = celfunctions.compiled(_environment(place), text, _read_structs)
        # Some types are only found to be none when they are named.
        returns = celfunctions.type_name(expression.return_type())
    except RuntimeError as error:
        return Program(text, problem=celfunctions.compile_problem(error))
    named = tuple(dict.fromkeys(_VARIABLE.findall(text))) if "variables" in place else ()
    return Program(text, expression, "", returns, named)


@cache
def _environment(place: frozenset[str]) -> Any:
    cel = celfunctions.module()
    variables = dict.fromkeys((*_COMMON, *place), cel.Type.DYN)
    strings = dict.fromkeys(("authorizer", "authorizer.requestResource"), cel.Type.STRING)
    return celfunctions.environment({**variables, **strings}, _questions())


def _questions() -> tuple[Any, ...]:
    """Return the functions of an authorizer: a question is a text, its parts in the order of `_ASKED`."""

    def put(name: str) -> Callable[[str, str], str]:
        at = _ASKED.index(name)

        def does(question: str, value: str) -> str:
            parts = question.split(_SEPARATOR)
            parts[at] = value.replace(_SEPARATOR, "")
            return _SEPARATOR.join(parts)

        return does

    def account(question: str, namespace: str, name: str) -> str:
        return put("user")(question, f"system:serviceaccount:{namespace}:{name}")

    setters = [
        celfunctions.function(name, ("s.s>s", "authz", put(name)))
        for name in ("path", "group", "resource", "subresource", "namespace", "name")
    ]
    return (
        *setters,
        celfunctions.function("serviceAccount", ("s.ss>s", "authz", account)),
        celfunctions.function("check", ("s.s>s", "authz", put("verb"))),
        celfunctions.function("allowed", ("s.>b", "authz", lambda question: _answer(question)[0])),
        celfunctions.function("reason", ("s.>s", "authz", lambda question: _answer(question)[1])),
        celfunctions.function("errored", ("s.>b", "authz", lambda _: False)),
        celfunctions.function("error", ("s.>s", "authz", lambda _: "")),
    )


def _answer(question: str) -> tuple[bool, str]:
    parts = question.split(_SEPARATOR)
    if len(parts) != len(_ASKED) or not _authorizers:
        raise ValueError("no such overload")
    return _authorizers[-1](dict(zip(_ASKED, parts, strict=True)))


def question(**parts: str) -> str:
    """Return what an authorizer is about to be asked, as expressions have it."""
    return _SEPARATOR.join(parts.get(name, "") for name in _ASKED)


def evaluate(compiled: Program, data: Data, authorize: Authorize) -> Any:
    """Return an expression's value as JSON knows it.

    Args:
        compiled: An expression without problems.
        data: The variables of its place.
        authorize: Answers what it asks the authorizer.

    Raises:
        EvaluationError: It has none.
    """
    if compiled.problem:
        raise EvaluationError(f"compilation failed: {compiled.problem}")
    _authorizers.append(authorize)
    try:
        value = celfunctions.evaluated(compiled.expression, data)
        if value.type().name() == "ERROR":
            raise EvaluationError(celfunctions.runtime_problem(value))
        return celfunctions.plain(value)
    except (ConversionError, TypeError, RuntimeError) as error:
        # The evaluator's own TypeError says that it has no Python value for an optional.
        raise EvaluationError(str(error).partition("\n")[0]) from None
    finally:
        _authorizers.pop()


# --- structs -----------------------------------------------------------------------------------------------------


def _read_structs(text: str) -> str:
    """Return an expression with maps in place of `Object…{…}` and `JSONPatch{…}`."""
    if not any(name in text for name in _STRUCTS):
        return text
    out: list[str] = []
    # For each open bracket: is it a struct's brace?
    nesting: list[bool] = []
    position, struct = 0, False
    while position < len(text):
        found = _TOKEN.match(text, position)
        assert found is not None
        piece = found[0]
        position = found.end()
        if found["name"] and re.split(r"\s*\.\s*", piece)[0] in _STRUCTS and text[position:].lstrip()[:1] == "{":
            struct = True
            continue
        out.append(piece)
        if piece in "([{" and found["other"]:
            nesting.append(piece == "{" and struct)
            struct = False
        elif piece in ")]}" and found["other"] and nesting:
            nesting.pop()
        if nesting and nesting[-1] and piece in {"{", ","}:
            key = _KEY.match(text, position)
            if key is not None:
                out.append(f' {key[1]}"{key[2].strip("`")}":')
                position = key.end()
    return "".join(out)


# --- validation --------------------------------------------------------------------------------------------------


def expression_causes(
    path: str, text: str, place: frozenset[str], *types: str, declared: Mapping[str, str] | None = None,
    authorized: bool = True, mutating: bool = False,
) -> list[Cause]:  # fmt: skip
    """Return what is wrong with an expression.

    Args:
        path: Of the field.
        text: Of the expression.
        place: The variables that it has.
        types: What it may evaluate to; anything when there are none.
        declared: The policy's variables so far → types of their values.
        authorized: It may ask the authorizer.
        mutating: It makes objects and patches.
    """
    if not text.strip():
        return [required(path, "expression is not specified")]
    if not celfunctions.available():
        return []
    problem, returns = checked(text, place, declared or {}, authorized=authorized, mutating=mutating)
    if problem:
        return [invalid_value(path, text, f"compilation failed: {problem}")]
    if types and returns and returns.partition("(")[0] not in types:
        wanted = types[0] if len(types) == 1 else f"one of [{' '.join(types)}]"
        return [invalid_value(path, text, f"must evaluate to {wanted} but got {returns}")]
    return []


def checked(
    text: str, place: frozenset[str], declared: Mapping[str, str], *, authorized: bool = True, mutating: bool = False
) -> tuple[str, str]:
    """Return what is wrong with an expression, and the type of its value, "" when only a value tells."""
    compiled = program(text.strip(), place)
    untyped = mutating or not schematypes.available()
    if untyped or compiled.unknown or (compiled.problem and not _is_of_names(compiled.problem)):
        problem = compiled.problem or _undefined(text.strip(), compiled, frozenset(declared))
        return problem, "" if compiled.returns == _ANY else compiled.returns
    environment = _checker(place, tuple(sorted(declared.items())), authorized)
    try:
        return "", celfunctions.type_name(
            celfunctions.compiled(environment, text.strip(), only_checked=True).return_type()
        )
    except RuntimeError as error:
        return schematypes.readable(celfunctions.compile_problem(error)), ""


def _is_of_names(problem: str) -> bool:
    return "undeclared reference" in problem or "undefined field" in problem


@lru_cache(maxsize=256)
def _checker(place: frozenset[str], declared: tuple[tuple[str, str], ...], authorized: bool) -> Any:
    """Return an environment in which expressions are compiled to check them."""
    cel = celfunctions.module()
    schemas: dict[str, Object] = {"request": _REQUEST}
    if "namespaceObject" in place:
        schemas["namespaceObject"] = _NAMESPACE
    if "variables" in place:
        members = {name: schematypes.schema_of(kind) for name, kind in declared}
        schemas["variables"] = {"type": "object", "properties": members}
    types, pool = schematypes.described(schemas)
    types |= dict.fromkeys(("object", "oldObject", *(place & PARAMS)), cel.Type.DYN)
    if authorized:
        types |= dict.fromkeys(("authorizer", "authorizer.requestResource"), cel.Type.STRING)
    return celfunctions.environment(types, _questions(), pool)


def _object(**members: Any) -> Object:
    return {"type": "object", "properties": members}


_TEXT, _NUMBER, _TIME = {"type": "string"}, {"type": "integer"}, {"type": "string", "format": "date-time"}
_TEXTS, _BY_NAME = {"type": "array", "items": _TEXT}, {"type": "object", "additionalProperties": _TEXT}
_KIND = _object(group=_TEXT, version=_TEXT, kind=_TEXT)
_RESOURCE = _object(group=_TEXT, version=_TEXT, resource=_TEXT)
_USER = _object(
    username=_TEXT,
    uid=_TEXT,
    groups=_TEXTS,
    extra={"type": "object", "additionalProperties": {"x-kubernetes-int-or-string": True}},
)
# What the real server's compiler knows of a request, and of a namespace.
_REQUEST = _object(
    kind=_KIND, resource=_RESOURCE, subResource=_TEXT, requestKind=_KIND, requestResource=_RESOURCE,
    requestSubResource=_TEXT, name=_TEXT, namespace=_TEXT, operation=_TEXT, userInfo=_USER, dryRun={"type": "boolean"},
    options={"x-kubernetes-int-or-string": True},
)  # fmt: skip
_NAMESPACE = _object(
    metadata=_object(
        name=_TEXT, generateName=_TEXT, namespace=_TEXT, labels=_BY_NAME, annotations=_BY_NAME, UID=_TEXT,
        creationTimestamp=_TIME, deletionGracePeriodSeconds=_NUMBER, deletionTimestamp=_TIME, generation=_NUMBER,
        resourceVersion=_TEXT, finalizers=_TEXTS,
    ),
    spec=_object(finalizers=_TEXTS),
    status=_object(phase=_TEXT),
)  # fmt: skip


def _undefined(text: str, compiled: Program, declared: frozenset[str]) -> str:
    for name in compiled.variables:
        if name not in declared:
            found = re.search(rf"\bvariables\.{name}\b", text)
            column = found.start() + len("variables") if found else 0
            return f"ERROR: <input>:1:{column + 1}: undefined field '{name}'\n | {text}\n | {'.' * column}^"
    return ""


def condition_causes(path: str, conditions: Iterable[Object], place: frozenset[str]) -> list[Cause]:
    """Return what is wrong with match conditions."""
    causes: list[Cause] = []
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        where, name = f"{path}[{i}]", condition.get("name", "")
        text = condition.get("expression", "")
        if text.strip():
            causes += expression_causes(f"{where}.expression", text, place, BOOL)
        else:
            causes.append(required(f"{where}.expression"))
        if not name:
            causes.append(required(f"{where}.name"))
        else:
            causes += [invalid_value(f"{where}.name", name, problem) for problem in problems_of_qualified_name(name)]
        if name and name in seen:
            causes.append(duplicate(f"{where}.name", name))
        seen.add(name)
    return causes


def unevaluated(obj: Object) -> list[str]:
    """Return what the author of an object with expressions has to know where they are not evaluated."""
    if celfunctions.available():
        return []
    name = obj["metadata"].get("name", "")
    return [f"{name}: expressions are not evaluated here, and failurePolicy decides instead: {celfunctions.INSTALL}"]
