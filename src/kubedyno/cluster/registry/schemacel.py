"""Validation rules of custom resources (x-kubernetes-validations), evaluated where `cel-expr-python` is installed.

That is the extra `cel`. Without it, and for rules that use functions which are not evaluated here (`UNKNOWN`), rules are
kept and not evaluated, and whoever writes a definition is told so. The costs of rules are not estimated.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import orjson

from kubedyno.cluster.registry import cellists
from kubedyno.cluster.registry.celfunctions import (
    UNKNOWN,
    available,
    compile_problem,
    environment,
    module,
    runtime_problem,
)
from kubedyno.cluster.registry.schema import LIST_KEYS, LIST_TYPE, RULES, Schema
from kubedyno.kube.status import Cause

__all__ = ["Program", "available", "evaluate", "matches", "program", "rule_causes", "rule_warnings"]

Object = dict[str, Any]
_UNDECLARED = re.compile(r"undeclared reference to '(\w+)'")
_TRANSITION = re.compile(r"\boldSelf\b")
_REASONS = {
    "": "FieldValueInvalid",
    "FieldValueInvalid": "FieldValueInvalid",
    "FieldValueForbidden": "FieldValueForbidden",
    "FieldValueRequired": "FieldValueRequired",
    "FieldValueDuplicate": "FieldValueDuplicate",
}
_SHOWN = {
    "FieldValueForbidden": "Forbidden",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
}
_NOTHING: Any = object()


@dataclass(frozen=True, slots=True)
class Program:
    """A rule that was compiled.

    Attributes:
        expression: What evaluates it; None: it is not evaluated.
        problem: What is wrong with its text, "" when nothing is.
        unknown: The function for whose sake it is not evaluated.
    """

    expression: Any = None
    problem: str = ""
    unknown: str = ""


@cache
def _environment(kind: str) -> Any:
    """Return the environment of rules about a value of a schema's type."""
    cel = module()
    own = {"string": cel.Type.STRING, "boolean": cel.Type.BOOL, "integer": cel.Type.INT}.get(kind, cel.Type.DYN)
    return environment({"self": own, "oldSelf": own})


@lru_cache(maxsize=4096)
def program(rule: str, kind: str) -> Program:
    """Return a compiled rule about values of a type; only where rules are `available`."""
    function = cellists.beside_optionals(rule) or cellists.unevaluated(rule)
    if function:
        return Program(unknown=function)
    try:
        return Program(_environment(kind).compile(rule))
    except RuntimeError as error:
        text = compile_problem(error)
    undeclared = _UNDECLARED.search(text)
    if undeclared is not None and undeclared[1] in UNKNOWN:
        return Program(unknown=undeclared[1])
    return Program(problem=text)


def matches(pattern: str, text: str) -> bool | None:
    """Say whether a pattern of Go's syntax is found in a text, in linear time; None when it is no pattern.

    Only where rules are `available`: their evaluator brings the engine.
    """
    found = program("self.matches(oldSelf)", "string").expression.eval(data={"self": text, "oldSelf": pattern})
    return bool(found.value()) if found.type().name() == "BOOL" else None


def _kind_of(raw: Object) -> str:
    return "" if raw.get("nullable") else str(raw.get("type", ""))


def rule_causes(raw: Object, path: str) -> list[Cause]:
    """Return which rules of one node of a schema are no rules."""
    causes: list[Cause] = []
    if not available():
        return causes
    for i, rule in enumerate(raw.get(RULES) or ()):
        where = f"{path}.{RULES}[{i}].rule"
        problem = program(rule.get("rule", ""), _kind_of(raw)).problem
        if problem:
            shown = orjson.dumps(
                {
                    "Rule": rule.get("rule", ""),
                    "Message": rule.get("message", ""),
                    "MessageExpression": rule.get("messageExpression", ""),
                    "Reason": rule.get("reason"),
                    "FieldPath": rule.get("fieldPath", ""),
                    "OptionalOldSelf": rule.get("optionalOldSelf"),
                }
            ).decode()
            causes.append(Cause("FieldValueInvalid", where, f"Invalid value: {shown}: compilation failed: {problem}"))
    return causes


def rule_warnings(raw: Any) -> list[str]:
    """Return what is to be said of rules anywhere in a schema that are not evaluated."""
    rules = list(_rules(raw))
    if not rules:
        return []
    if not available():
        return [f"{RULES}: rules are kept, and not evaluated here: install the extra cel"]
    unknown = sorted({found for rule, kind in rules if (found := program(rule, kind).unknown)})
    return [f"{RULES}: rules with {name}() are kept, and not evaluated here" for name in unknown]


def _rules(raw: Any) -> Iterator[tuple[str, str]]:
    if isinstance(raw, list):
        for item in raw:
            yield from _rules(item)
    elif isinstance(raw, dict):
        given = raw.get(RULES)
        if isinstance(given, list):
            yield from ((rule.get("rule", ""), _kind_of(raw)) for rule in given if isinstance(rule, dict))
        for value in raw.values():
            if isinstance(value, dict | list):
                yield from _rules(value)


def evaluate(schema: Schema, value: Any, old: Any = None) -> list[Cause]:
    """Return which rules a valid object does not keep.

    Args:
        schema: Of its version.
        value: The object.
        old: Its version before an update; None on creation, when rules about changes say nothing.
    """
    causes: list[Cause] = []
    if schema.ruled and available():
        _walk(schema, value, "", _NOTHING if old is None else old, causes)
    return causes


def _walk(schema: Schema, value: Any, path: str, old: Any, causes: list[Cause]) -> None:
    if not schema.ruled or (old is not _NOTHING and old == value):
        return
    for rule in schema.raw.get(RULES) or ():
        _judge(schema, rule, value, path, old, causes)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name in sorted(value):
            node = schema.properties.get(name) or schema.additional
            if isinstance(node, Schema):
                _walk(node, value[name], f"{path}.{name}" if path else name, before.get(name, _NOTHING), causes)
    elif isinstance(value, list) and schema.items is not None:
        for i, item in enumerate(value):
            _walk(schema.items, item, f"{path}[{i}]", _counterpart(schema, item, old), causes)


def _counterpart(schema: Schema, item: Any, old: Any) -> Any:
    """Return what an item of a list was before, where items can be told apart."""
    if schema.raw.get(LIST_TYPE) != "map" or not isinstance(old, list) or not isinstance(item, dict):
        return _NOTHING
    keys = schema.raw.get(LIST_KEYS) or ()
    wanted = [item.get(key) for key in keys]
    found = (o for o in old if isinstance(o, dict) and [o.get(key) for key in keys] == wanted)
    return next(found, _NOTHING)


def _judge(schema: Schema, rule: Object, value: Any, path: str, old: Any, causes: list[Cause]) -> None:
    text = rule.get("rule", "")
    compiled = program(text, _kind_of(schema.raw))
    if compiled.expression is None or (old is _NOTHING and _TRANSITION.search(text)):
        return
    data = {"self": value, "oldSelf": None if old is _NOTHING else old}
    result = compiled.expression.eval(data=data)
    field = path + rule.get("fieldPath", "") if path else rule.get("fieldPath", "").removeprefix(".") or "<nil>"
    kind = str(result.type().name())
    if kind != "BOOL":
        message = f"{runtime_problem(result)} evaluating rule: {(rule.get('message') or text).strip()}"
        shown = schema.raw.get("type", "")
        causes.append(Cause("FieldValueInvalid", field, f'Invalid value: "{shown}": {message}'))
    elif not result.value():
        reason = _REASONS.get(rule.get("reason") or "", "FieldValueInvalid")
        message = _message(schema, rule, data)
        shown = _SHOWN.get(reason, "Invalid value")
        if reason in {"FieldValueInvalid", "FieldValueDuplicate"} and not isinstance(value, dict | list):
            # What is whole is not shown.
            causes.append(Cause(reason, field, f"{shown}: {orjson.dumps(value).decode()}: {message}"))
        else:
            causes.append(Cause(reason, field, f"{shown}: {message}"))


def _message(schema: Schema, rule: Object, data: Object) -> str:
    """Return what a rule says when it is not kept."""
    expression = rule.get("messageExpression", "")
    if expression:
        compiled = program(expression, _kind_of(schema.raw)).expression
        value = compiled.eval(data=data).value() if compiled is not None else None
        if isinstance(value, str) and value.strip():
            return value
    message = str(rule.get("message", "")).strip()
    return message or f"failed rule: {rule.get('rule', '').strip()}"
