"""What validation rules cost: estimates as a real server of Kubernetes 1.36 told them, by the factor of its refusals."""

import pytest

pytest.importorskip("cel_expr_python", reason="the extra cel is not installed")
pytest.importorskip("google.protobuf", reason="protobuf is not installed")

from kubedyno.cluster.registry import celcosts, celfunctions, celtrees, schematypes
from kubedyno.cluster.registry.schemacosts import declared
from kubedyno.cluster.registry.schemarules import schema_causes

TEXT, NUMBER = {"type": "string", "maxLength": 10}, {"type": "integer"}
SPEC = {
    "type": "object",
    "properties": {
        "s": TEXT, "us": {"type": "string"}, "i": NUMBER, "b": {"type": "boolean"},
        "l": {"type": "array", "maxItems": 50, "items": {"type": "string", "maxLength": 5}},
        "li": {"type": "array", "maxItems": 9, "items": NUMBER},
    },
}  # fmt: skip


def cost(rule):
    expression = celfunctions.compiled(
        schematypes.checker(SPEC, resource=False, optional_old=False), rule, only_checked=True
    )
    return celcosts.estimate(celtrees.read(expression.serialize()), declared(SPEC).at)


@pytest.mark.parametrize(
    ("rule", "units"),
    [
        ("quantity(self.s) == quantity('1')", 8), ("semver(self.s, true).isLessThan(semver('1.2.3'))", 8),
        ("self.l.sort() == ['a']", 5274), ("self.l.distinct() == ['a']", 5024), ("self.l.slice(0, 1) == ['a']", 25),
        ("self.l.reverse() == ['a']", 74), ("[self.l, self.l].flatten() == ['a']", 38), ("self.li.sort() == [1]", 186),
        ("self.li.sortBy(x, -x) == [1]", 335), ("self.l.reverse().all(x, x == 'a')", 264),
        ("self.l.indexOf('a') == 1", 153), ("lists.range(3).all(x, x > 1)", 30),
        ("format.dns1123Label().validate(self.s).hasValue()", 132), ("format.named(self.s).hasValue()", 4),
        ("format.qualifiedName().validate(self.us).hasValue()", 10066340),
    ],
)  # fmt: skip
def test_a_rule_costs_what_the_real_server_estimates(rule, units):
    assert cost(rule) == units


def causes(rules, *, most=None, **node):
    items = {**SPEC, "x-kubernetes-validations": rules, **node}
    raw = {"type": "object", "properties": {"l": {"type": "array", "items": items}}}
    if most is not None:
        raw["properties"]["l"]["maxItems"] = most
    return [str(cause) for cause in schema_causes(raw, "S")]


def test_a_rule_beyond_its_limit_is_refused_with_the_factor():
    assert not causes([{"rule": "self.i > 0"}], most=1000)
    (told,) = causes([{"rule": "self.l.sort() == ['a']"}], most=2000)
    assert "S.properties[l].items.x-kubernetes-validations[0].rule" in told
    assert "estimated rule cost exceeds budget by factor of 1.054800x (try simplifying the rule" in told
    assert "by factor of 5.3x" in causes([{"rule": "self.l.sort() == ['a']"}], most=10_000)[0]
    # Without a bound there are as many as fit in a request.
    assert "more than 100x" in causes([{"rule": "self.l.sort() == ['a']"}])[0]


def test_the_rules_of_a_schema_have_a_limit_together():
    told = causes([{"rule": "self.l.sort() == ['a']"}] * 12, most=1800)
    assert len(told) == 5
    assert "[0].rule: Forbidden: contributed to estimated rule cost total" in told[0]
    assert "total for entire OpenAPIv3 schema exceeds budget by factor of 1.139184x" in told[4]


def test_a_message_is_paid_for_too():
    told = causes([{"rule": "true", "messageExpression": "self.us + self.us.replace('a', self.us)"}], most=1)
    assert "messageExpression: Forbidden: estimated messageExpression cost exceeds budget" in told[0]
