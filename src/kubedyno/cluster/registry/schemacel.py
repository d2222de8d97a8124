"""Validation rules of custom resources (x-kubernetes-validations), evaluated where `cel-expr-python` is installed.

That is the extra `cel`. Without it, and for rules that use functions which are not evaluated here (`UNKNOWN`), rules are
kept and not evaluated, and whoever writes a definition is told so. What rules cost is estimated when a definition is
written (`schemacosts`), and not counted when they are evaluated: there the evaluator's limit of iterations holds.
"""

import re
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any

import orjson

from kubedyno.cluster.registry import celformats, cellists, schematypes
from kubedyno.cluster.registry.celfunctions import (
    UNKNOWN,
    available,
    compile_problem,
    compiled,
    environment,
    evaluated,
    module,
    runtime_problem,
    type_name,
)
from kubedyno.cluster.registry.celnames import escaped
from kubedyno.cluster.registry.schema import FORMATS, NOTHING, RULES, Schema, counterparts
from kubedyno.cluster.registry.schemacosts import Bill, declared
from kubedyno.kube.status import Cause, invalid_value, not_supported, required

__all__ = ["Program", "available", "evaluate", "matches", "program", "rule_causes", "rule_warnings"]

Object = dict[str, Any]
_UNDECLARED = re.compile(r"undeclared reference to '(\w+)'")
_TRANSITION = re.compile(r"\boldSelf\b")
# What makes a value of a type out of a text, and what stands for one that there was not.
_MADE_BY = {"timestamp": "timestamp(self)", "duration": "duration(self)"}
_BEFORE: dict[str, Any] = {
    "timestamp": datetime.fromtimestamp(0, UTC), "duration": timedelta(), "byte": b"", "string": "", "boolean": False,
    "integer": 0, "number": 0.0,
}  # fmt: skip
# A step of a path: .name or ['name'].
_STEP = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)|\['((?:[^'\\]|\\.)+)'\]")
_OF_NUMBERS = re.compile(
    r"no matching overload for '_[<>]=?_' applied to '\((?:int|uint|double), (?:int|uint|double)\)'"
)
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
    types = {
        "string": cel.Type.STRING, "boolean": cel.Type.BOOL, "integer": cel.Type.INT, "number": cel.Type.DOUBLE,
        "byte": cel.Type.BYTES, "timestamp": cel.Type.TIMESTAMP, "duration": cel.Type.DURATION,
    }  # fmt: skip
    own = types.get(kind, cel.Type.DYN)
    return environment({"self": own, "oldSelf": own, "hasOldSelf": cel.Type.BOOL})


@lru_cache(maxsize=4096)
def program(rule: str, kind: str) -> Program:
    """Return a compiled rule about values of a type; only where rules are `available`."""
    function = cellists.beside_optionals(celformats.written_out(rule))
    if function:
        return Program(unknown=function)
    try:
        return Program(compiled(_environment(kind), rule))
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
    found = program("self.matches(oldSelf)", "string").expression.eval(
        data={"self": text, "oldSelf": pattern, "hasOldSelf": False}
    )
    return bool(found.value()) if found.type().name() == "BOOL" else None


def pattern_problem(pattern: str) -> str:
    """Return what is wrong with a pattern, in Go's words; "" for nothing, or where patterns are not looked at."""
    if not available():
        return ""
    found = program("self.matches(oldSelf)", "string").expression.eval(
        data={"self": "", "oldSelf": pattern, "hasOldSelf": False}
    )
    return "" if found.type().name() == "BOOL" else runtime_problem(found)


def _kind_of(raw: Object) -> str:
    if raw.get("nullable"):
        return ""
    kind = str(raw.get("type", ""))
    return FORMATS.get(raw.get("format", ""), kind) if kind == "string" else kind


def rule_causes(
    raw: Object, path: str, bill: Bill, count: int | None, *, resource: bool = False, correlatable: bool = True
) -> list[Cause]:
    """Return which rules of one node of a schema are no rules, or cost too much.

    Args:
        raw: The node.
        path: Of the node.
        bill: What the schema's rules cost; those of the node are added.
        count: How often the node can be in an object; None: without a bound.
        resource: The node is a whole resource.
        correlatable: What the node's values were before can be told.
    """
    rules = raw.get(RULES) or ()
    causes = [cause for i, rule in enumerate(rules) for cause in _plain_causes(raw, rule, f"{path}.{RULES}[{i}]")]
    if causes or not rules or not available():
        return causes
    sizes = declared(raw, resource=resource)
    for i, rule in enumerate(rules):
        where, text = f"{path}.{RULES}[{i}]", rule.get("rule", "")
        problem, returns, expression = _checked(raw, text, rule, resource=resource)
        if expression is not None and returns in {"bool", ""} and sizes is not None:
            causes += bill.rule_causes(expression, sizes, count, f"{where}.rule")
        if problem:
            causes.append(_unfit(f"{where}.rule", rule, f"compilation failed: {problem}"))
        elif returns not in {"bool", ""}:
            causes.append(_unfit(f"{where}.rule", rule, "cel expression must evaluate to a bool"))
        message = rule.get("messageExpression", "")
        if message:
            problem, returns, expression = _checked(raw, message, rule, resource=resource)
            if expression is not None and returns in {"string", ""} and sizes is not None:
                causes += bill.message_causes(expression, sizes, f"{where}.messageExpression")
            if problem:
                causes.append(
                    _unfit(f"{where}.messageExpression", rule, f"messageExpression compilation failed: {problem}")
                )
            elif returns not in {"string", ""}:
                causes.append(_unfit(f"{where}.messageExpression", rule, "messageExpression must evaluate to a string"))
        if not correlatable and _TRANSITION.search(text):
            why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {path.rpartition('.items')[0]}"
            causes.append(invalid_value(f"{where}.rule", text, why))
    return causes


def _plain_causes(raw: Object, rule: Object, where: str) -> list[Cause]:
    """Return what is wrong with a rule besides its expressions."""
    causes: list[Cause] = []
    text, message = rule.get("rule", "").strip(), rule.get("message", "")
    if not text:
        causes.append(required(f"{where}.rule", "rule is not specified"))
    if message and not message.strip():
        causes.append(invalid_value(f"{where}.message", message, "must be non-empty if specified"))
    elif "\n" in message.strip():
        causes.append(invalid_value(f"{where}.message", message, "must not contain line breaks"))
    elif "\n" in text and not message.strip():
        causes.append(required(f"{where}.message", "message must be specified if rule contains line breaks"))
    expression = rule.get("messageExpression", "")
    if expression and not expression.strip():
        causes.append(required(f"{where}.messageExpression", "must be non-empty if specified"))
    reason = rule.get("reason")
    if reason is not None and (not reason or reason not in _REASONS):
        causes.append(not_supported(f"{where}.reason", reason, sorted(name for name in _REASONS if name)))
    place = rule.get("fieldPath", "")
    if place and not place.strip():
        causes.append(invalid_value(f"{where}.fieldPath", place, "must be non-empty if specified"))
    elif "\n" in place.strip():
        causes.append(invalid_value(f"{where}.fieldPath", place, "must not contain line breaks"))
    elif place and not _leads(raw, place):
        causes.append(invalid_value(f"{where}.fieldPath", place, "must be a valid path"))
    optional = rule.get("optionalOldSelf")
    if optional is not None and text and not _TRANSITION.search(text):
        causes.append(
            invalid_value(f"{where}.optionalOldSelf", optional, "may not be set if oldSelf is not used in rule")
        )  # fmt: skip
    return causes


def _leads(raw: Object, path: str) -> bool:
    """Say whether a path leads to a member that a schema knows."""
    position, node = 0, raw
    while position < len(path):
        found = _STEP.match(path, position)
        if found is None:
            return False
        name = found[1] or re.sub(r"\\(.)", r"\1", found[2])
        properties, more = node.get("properties") or {}, node.get("additionalProperties")
        if name in properties:
            node = properties[name]
        elif isinstance(more, dict):
            node = more
        else:
            return False
        position = found.end()
    return True


def _checked(raw: Object, text: str, rule: Object, *, resource: bool) -> tuple[str, str, Any]:
    """Return what is wrong with an expression, the type of its value, "" when only a value tells, and it as checked."""
    plain = program(_evaluated(rule, text), _kind_of(raw))
    if plain.unknown or plain.problem or not schematypes.available():
        return plain.problem, "", None
    optional = bool(rule.get("optionalOldSelf"))
    environment_ = schematypes.checker(raw, resource=resource, optional_old=optional)
    try:
        expression = compiled(environment_, text, only_checked=True)
    except RuntimeError as error:
        problem = compile_problem(error)
        # Go compares numbers of any type; this checker does not.
        return "" if _OF_NUMBERS.search(problem) else schematypes.readable(problem), "", None
    returns = type_name(expression.return_type())
    return "", "" if returns == "dyn" else returns, expression


def _unfit(field: str, rule: Object, why: str) -> Cause:
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
    for letter in "<>&":
        # As Go's JSON has them.
        shown = shown.replace(letter, f"\\u{ord(letter):04x}")
    return Cause("FieldValueInvalid", field, f"Invalid value: {shown}: {why}")


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
        _walk(schema, value, "", NOTHING if old is None else old, causes)
    return causes


def _walk(schema: Schema, value: Any, path: str, old: Any, causes: list[Cause]) -> None:
    if not schema.ruled or (old is not NOTHING and old == value):
        return
    for rule in schema.raw.get(RULES) or ():
        _judge(schema, rule, value, path, old, causes)
    if isinstance(value, dict):
        before = old if isinstance(old, dict) else {}
        for name in sorted(value):
            node = schema.properties.get(name) or schema.additional
            if isinstance(node, Schema):
                _walk(node, value[name], f"{path}.{name}" if path else name, before.get(name, NOTHING), causes)
    elif isinstance(value, list) and schema.items is not None:
        counterpart = counterparts(schema, old)
        for i, item in enumerate(value):
            _walk(schema.items, item, f"{path}[{i}]", counterpart(item), causes)


def _judge(schema: Schema, rule: Object, value: Any, path: str, old: Any, causes: list[Cause]) -> None:
    text = _evaluated(rule, rule.get("rule", ""))
    compiled = program(text, _kind_of(schema.raw))
    optional = bool(rule.get("optionalOldSelf"))
    if compiled.expression is None or (old is NOTHING and not optional and _TRANSITION.search(text)):
        return
    before = _BEFORE.get(_kind_of(schema.raw)) if old is NOTHING else _root(schema, old)
    try:
        data = {"self": _root(schema, value), "oldSelf": before, "hasOldSelf": old is not NOTHING}
    except ValueError as error:
        shown = orjson.dumps(value).decode()
        causes.append(Cause("FieldValueInvalid", path, f"Invalid value: {shown}: {error}"))
        return
    result: Any = None
    try:
        result = evaluated(compiled.expression, data)
        problem = None if result.type().name() == "BOOL" else runtime_problem(result)
    except RuntimeError as error:
        problem = str(error)
    field = path + rule.get("fieldPath", "") if path else rule.get("fieldPath", "").removeprefix(".") or "<nil>"
    if problem is not None and schema.timed and "no such overload" in problem:
        # Times and durations within a value are texts to the evaluator: such a rule is not evaluated.
        return
    if problem is not None:
        message = f"{problem} evaluating rule: {(rule.get('message') or rule['rule']).strip()}"
        shown = schema.raw.get("type", "")
        causes.append(Cause("FieldValueInvalid", path or "<nil>", f'Invalid value: "{shown}": {message}'))
    elif not result.value():
        reason = _REASONS.get(rule.get("reason") or "", "FieldValueInvalid")
        message = _message(schema, rule, data)
        shown = _SHOWN.get(reason, "Invalid value")
        if reason in {"FieldValueInvalid", "FieldValueDuplicate"} and not isinstance(value, dict | list):
            # What is whole is not shown.
            causes.append(Cause(reason, field, f"{shown}: {orjson.dumps(value).decode()}: {message}"))
        else:
            causes.append(Cause(reason, field, f"{shown}: {message}"))


def _evaluated(rule: Object, text: str) -> str:
    """Return an expression as it is evaluated: `oldSelf` may be an optional, which no value from outside is."""
    if not rule.get("optionalOldSelf"):
        return text
    return _TRANSITION.sub("(hasOldSelf ? optional.of(oldSelf) : optional.none())", text)


def _root(schema: Schema, value: Any) -> Any:
    """Return the value that a rule is about as its environment has it: a time as such, at its root.

    Raises:
        ValueError: It is no time, or no duration.
    """
    kind = _kind_of(schema.raw)
    if kind not in _MADE_BY or not isinstance(value, str):
        return _seen(schema, value)
    text = f"{value}T00:00:00Z" if schema.raw.get("format") == "date" else value
    made = program(_MADE_BY[kind], "string").expression.eval(data={"self": text, "oldSelf": "", "hasOldSelf": False})
    if made.type().name() == "ERROR":
        raise ValueError(runtime_problem(made))
    return made.value()


def _seen(schema: Schema, value: Any) -> Any:
    """Return a value as expressions see it: names that CEL can name, numbers that may be fractions as such, bytes."""
    if not schema.translated:
        return value
    if isinstance(value, dict):
        more = schema.additional if isinstance(schema.additional, Schema) else None
        found = {}
        for name, member in value.items():
            node = schema.properties.get(name) or more
            own = escaped(name) if name in schema.properties else name
            if own:
                found[own] = member if node is None else _seen(node, member)
                if own == f"__{name}__":
                    found[name] = found[own]
        return found
    if isinstance(value, list):
        return value if schema.items is None else [_seen(schema.items, item) for item in value]
    kind = schema.raw.get("type")
    if kind == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind == "string" and isinstance(value, str):
        try:
            return b64decode(value, validate=True)
        except ValueError:
            return value
    return value


def _message(schema: Schema, rule: Object, data: Object) -> str:
    """Return what a rule says when it is not kept."""
    expression = rule.get("messageExpression", "")
    if expression:
        compiled = program(_evaluated(rule, expression), _kind_of(schema.raw)).expression
        try:
            value = evaluated(compiled, data).value() if compiled is not None else None
        except RuntimeError:
            # It says nothing then, and the message stands in for it.
            value = None
        if isinstance(value, str) and value.strip():
            return value
    message = str(rule.get("message", "")).strip()
    return message or f"failed rule: {rule.get('rule', '').strip()}"
