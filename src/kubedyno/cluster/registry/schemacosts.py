"""What the validation rules of a definition cost: estimates per rule and for a whole schema, and their limits.

A rule costs what its expression does (`celcosts`) times how often its value can be in an object. How large values can be is
told by maxItems, maxProperties, maxLength and enum, and where those are missing by what fits in a request of 3 MiB.
"""

from dataclasses import dataclass, field
from typing import Any

from kubedyno.cluster.registry import celcosts, celtrees
from kubedyno.cluster.registry.celnames import escaped
from kubedyno.cluster.registry.schema import EMBEDDED, INT_OR_STRING
from kubedyno.kube.status import Cause, forbidden_field

Object = dict[str, Any]
RULE_LIMIT, SCHEMA_LIMIT = 10_000_000, 100_000_000
_REQUEST_BYTES = 3 << 20
_QUOTED = 2
# Texts of a format: how long at most, and how long at least in JSON.
_FORMAT_SIZES = {"duration": (32, 3), "date": (12, 12), "date-time": (32, 21)}
_SCALAR_BYTES = {"boolean": 4, "number": 1, "integer": 1}
_CHARACTER_BYTES = 4
_SHOWN_RULES = 4
_HINT = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
_MANY, _FEW = 100.0, 1.5


@dataclass(frozen=True, slots=True)
class Declared:
    """How large values of a node of a schema are.

    Attributes:
        most: Characters, items or members at most.
        fewest_bytes: In JSON, at least.
        members: Of an object, by the names that expressions have.
        item: Of a list or a map.
        keyed: It is a map.
    """

    most: int = 0
    fewest_bytes: int = 1
    members: dict[str, "Declared"] = field(default_factory=dict)
    item: "Declared | None" = None
    keyed: bool = False

    def at(self, path: celcosts.Path) -> int | None:
        """Return how large a value at a path of `self` or `oldSelf` is at most, None when that is not known."""
        node: Declared | None = self
        for step in path[1:]:
            if node is None:
                return None
            if step in {"@items", "@values"}:
                node = node.item
            elif step == "@keys":
                node = Declared() if node.keyed else None
            else:
                node = node.members.get(step)
        return None if node is None else node.most


def declared(raw: Object, *, resource: bool = False) -> Declared | None:
    """Return what a schema says of its values' sizes; None: expressions cannot name them."""
    kind, form = raw.get("type", ""), raw.get("format", "")
    if raw.get(INT_OR_STRING):
        return Declared(_text_length(raw), 1)
    if kind == "array":
        item = _child(raw.get("items"))
        if item is None:
            return None
        limit = raw.get("maxItems")
        most = (_REQUEST_BYTES - 2) // (item.fewest_bytes + 1) if limit is None else max(limit, 0)
        return Declared(most, 2, item=item)
    if kind == "object":
        return _declared_object(raw, resource=resource)
    if kind == "string":
        if form in _FORMAT_SIZES:
            return Declared(*_FORMAT_SIZES[form])
        if form == "byte":
            limit = raw.get("maxLength")
            return Declared(_REQUEST_BYTES - 2 if limit is None else max(limit, 0), _QUOTED)
        return Declared(_text_length(raw), _QUOTED)
    return Declared(0, _SCALAR_BYTES[kind]) if kind in _SCALAR_BYTES else None


def _child(raw: Any) -> Declared | None:
    return declared(raw, resource=bool(raw.get(EMBEDDED))) if isinstance(raw, dict) else None


def _text_length(raw: Object) -> int:
    if raw.get("maxLength") is not None:
        return max(int(raw["maxLength"]), 0) * _CHARACTER_BYTES
    texts = [value for value in raw.get("enum") or () if isinstance(value, str)]
    if raw.get("enum") and not raw.get(INT_OR_STRING):
        return max((len(value.encode()) for value in texts), default=0)
    return _REQUEST_BYTES - 2


def _declared_object(raw: Object, *, resource: bool) -> Declared | None:
    more = raw.get("additionalProperties")
    if isinstance(more, dict):
        item = _child(more)
        if item is None:
            return None
        limit = raw.get("maxProperties")
        most = (_REQUEST_BYTES - 2) // (item.fewest_bytes + 6) if limit is None else max(limit, 0)
        return Declared(most, 2, item=item, keyed=True)
    nodes = dict(raw.get("properties") or {})
    if resource:
        text = {"type": "string"}
        named = {"type": "object", "properties": {"name": text, "generateName": text}}
        nodes |= {"apiVersion": text, "kind": text, "metadata": named}
    members, fewest = {}, 2
    for name, node in nodes.items():
        made = _child(node)
        if made is None:
            continue
        if escaped(name):
            members[escaped(name)] = made
        if name in (raw.get("required") or ()) and node.get("default") is None:
            fewest += len(name.encode()) + made.fewest_bytes + 4
    return Declared(0, fewest, members)


def children_of(count: int | None, raw: Object) -> int | None:
    """Return how often a value below a node can be in an object; `count`: how often the node; None: without a bound."""
    if count is None:
        return None
    if raw.get("type") == "array":
        limit = raw.get("maxItems")
    elif raw.get("type") == "object" and raw.get("additionalProperties"):
        limit = raw.get("maxProperties")
    else:
        return count
    return None if limit is None else min(count * max(limit, 0), celcosts.UNKNOWN)


@dataclass(slots=True)
class Bill:
    """What the rules of one schema cost together."""

    total: int = 0
    expensive: list[tuple[int, str]] = field(default_factory=list)

    def rule_causes(self, expression: Any, sizes: Declared, count: int | None, where: str) -> list[Cause]:
        """Add a rule, and return what is to be said of its cost.

        Args:
            expression: As the evaluator has compiled it.
            sizes: Of what the rule is about.
            count: How often that can be in an object; None: without a bound.
            where: The rule's field.
        """
        cost = celcosts.estimate(celtrees.read(expression.serialize()), sizes.at)
        times = _REQUEST_BYTES // (sizes.fewest_bytes + 1) if count is None else count
        return self._observed(min(cost * times, celcosts.UNKNOWN), where, "estimated rule cost")

    def message_causes(self, expression: Any, sizes: Declared, where: str) -> list[Cause]:
        """Add a messageExpression, and return what is to be said of its cost."""
        cost = celcosts.estimate(celtrees.read(expression.serialize()), sizes.at)
        return self._observed(cost, where, "estimated messageExpression cost")

    def _observed(self, cost: int, where: str, what: str) -> list[Cause]:
        self.total = min(self.total + cost, celcosts.UNKNOWN)
        if cost >= SCHEMA_LIMIT // 100:
            # Of equals, the one that was there first stays before.
            self.expensive = sorted([*self.expensive, (cost, where)], key=lambda each: -each[0])[:_SHOWN_RULES]
        return [forbidden_field(where, _exceeds(what, cost, RULE_LIMIT))] if cost > RULE_LIMIT else []

    def causes(self, path: str) -> list[Cause]:
        """Return what is to be said of the whole schema at a path."""
        if self.total <= SCHEMA_LIMIT:
            return []
        text = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        told = [forbidden_field(where, text) for _, where in self.expensive]
        return [*told, forbidden_field(path, _exceeds(what, self.total, SCHEMA_LIMIT))]


def _exceeds(what: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100" if factor > _MANY else f"{factor:.6f}" if factor < _FEW else f"{factor:.1f}"
    return f"{what} exceeds budget by factor of {shown}x {_HINT}"
