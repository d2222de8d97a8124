"""KWOK's Stage objects, read: which objects a stage is for, after which pause, and what it does."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from kubedyno.base.times import duration_ns_of, epoch_of

Json = dict[str, Any]
Expression = Callable[[Any], list[Any]]
# Template functions by name.
Functions = dict[str, Callable[..., Any]]
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class Language(Protocol):
    """What stages are written in; brought by whoever starts the cluster."""

    def expression(self, text: str) -> Expression:
        """Return a function from an object to the outputs of a jq expression; none where it does not fit.

        Raises:
            ValueError: It is malformed.
        """

    def template(self, text: str, functions: Functions) -> Callable[[Json], str]:
        """Return a function from an object to the text of a Go template; it raises ValueError when an action fails.

        Raises:
            ValueError: It is malformed.
        """


@dataclass(frozen=True, slots=True)
class _Requirement:
    expression: Expression
    operator: str
    values: frozenset[str]

    def holds(self, obj: Json) -> bool:
        found = [value for value in self.expression(obj) if value is not None]
        if self.operator == "Exists":
            return bool(found)
        if self.operator == "DoesNotExist":
            return not found
        same = any(_text(value) in self.values for value in found)
        return same if self.operator == "In" else not same


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage.

    Attributes:
        name: Its object's name.
        kind: Of the objects that it is for, e.g. "Pod".
        weight: Of its chance among those that fit; 0 only counts when no other has more.
        steps: What it does, in order: one of event, finalizers, delete, patch each, as `spec.steps` has them.
    """

    name: str
    kind: str
    weight: int
    steps: tuple[Json, ...]
    _requirements: tuple[_Requirement, ...]
    _from: dict[str, Expression]
    _delays_s: tuple[float, float | None]

    def fits(self, obj: Json) -> bool:
        """Say whether an object is in the state that this stage leads on from."""
        return all(requirement.holds(obj) for requirement in self._requirements)

    def weight_for(self, obj: Json) -> int:
        """Return the weight for an object, which may say it itself."""
        said = self._said(obj, "weight")
        try:
            return int(said) if said is not None else self.weight
        except (TypeError, ValueError):
            return self.weight

    def delay_s(self, obj: Json, now_s: float, uniform: Callable[[float, float], float]) -> float:
        """Return the pause before it acts: between its duration and its jitter, at most the jitter."""
        least_s, most_s = self._delays_s
        said, jitter = (_seconds(self._said(obj, name), now_s) for name in ("duration", "jitter"))
        least_s = said if said is not None else least_s
        most_s = jitter if jitter is not None else most_s
        if most_s is None:
            return max(least_s, 0.0)
        return max(uniform(least_s, most_s) if most_s > least_s else most_s, 0.0)

    def _said(self, obj: Json, name: str) -> Any:
        expression = self._from.get(name)
        found = [value for value in expression(obj) if value is not None] if expression is not None else []
        return found[0] if found else None


def stage_of(obj: Json, language: Language) -> Stage:
    """Read a Stage object.

    Raises:
        ValueError: It is malformed, or asks for what is not done here; the text says where.
    """
    spec = obj.get("spec") or {}
    selector, delay, reference = spec.get("selector"), spec.get("delay") or {}, spec.get("resourceRef") or {}
    kind = str(reference.get("kind", ""))
    if not kind:
        raise ValueError("spec.resourceRef.kind: is missing")
    steps = [dict(step) for step in spec.get("steps") or ()] or _steps_of(spec.get("next") or {})
    for i, step in enumerate(steps):
        if "apply" in step:
            raise ValueError(f"spec.steps[{i}].apply: other objects are not made here")
    sources = {
        "weight": spec.get("weightFrom"),
        "duration": delay.get("durationFrom"),
        "jitter": delay.get("jitterDurationFrom"),
    }
    found = {name: _expression(source, language) for name, source in sources.items() if source}
    jitter = delay.get("jitterDurationMilliseconds")
    delays_s = (float(delay.get("durationMilliseconds") or 0) / 1e3, None if jitter is None else float(jitter) / 1e3)
    name = str(obj["metadata"]["name"])
    # Without a selector it is for no object.
    requirements = _requirements(selector, language) if selector is not None else (_NEVER,)
    return Stage(name, kind, int(spec.get("weight") or 0), tuple(steps), requirements, found, delays_s)


def _steps_of(after: Json) -> list[Json]:
    """Return the steps of the older form."""
    steps: list[Json] = [{name: after[name]} for name in ("event", "finalizers") if after.get(name)]
    if after.get("delete"):
        return [*steps, {"delete": True}]
    steps += [{"patch": patch} for patch in after.get("patches") or ()]
    if after.get("statusTemplate"):
        patch = {"template": after["statusTemplate"], "root": "status"}
        steps.append({"patch": {**patch, "subresource": after.get("statusSubresource") or "status"}})
    return steps


_NEVER = _Requirement(lambda _: [], "Exists", frozenset())


def _requirements(selector: Json, language: Language) -> tuple[_Requirement, ...]:
    found = []
    for member, place in (("matchLabels", "labels"), ("matchAnnotations", "annotations")):
        for key, value in (selector.get(member) or {}).items():
            found.append(_Requirement(_member(place, key), "In", frozenset({str(value)})))
    for i, one in enumerate(selector.get("matchExpressions") or ()):
        where = f"spec.selector.matchExpressions[{i}]"
        if one.get("cel"):
            raise ValueError(f"{where}.cel: only jq expressions are understood here")
        inner = one.get("jq") or one
        text = inner.get("expression") or inner.get("key") or ""
        operator = inner.get("operator", "")
        if operator not in _OPERATORS:
            raise ValueError(f"{where}.operator: {operator!r} is none of {', '.join(_OPERATORS)}")
        try:
            expression = language.expression(text)
        except ValueError as error:
            raise ValueError(f"{where}.key: {error}") from error
        found.append(_Requirement(expression, operator, frozenset(map(str, inner.get("values") or ()))))
    return tuple(found)


def _member(place: str, key: str) -> Expression:
    return lambda obj: [
        value for value in [((obj.get("metadata") or {}).get(place) or {}).get(key)] if value is not None
    ]


def _expression(source: Json, language: Language) -> Expression:
    text = source.get("expressionFrom") or (source.get("jq") or {}).get("expression")
    if not text:
        raise ValueError("an expression of weightFrom or delay is not jq: only that is understood here")
    return language.expression(str(text))


def _seconds(said: Any, now_s: float) -> float | None:
    if said is None:
        return None
    text = str(said)
    try:
        return epoch_of(text) - now_s if re.match(r"\d{4}-", text) else duration_ns_of(text) / 1e9
    except ValueError:
        return None


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
