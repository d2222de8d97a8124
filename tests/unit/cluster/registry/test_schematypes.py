"""Rules of custom resources are checked against the types of their schema."""

import pytest

pytest.importorskip("cel_expr_python", reason="the extra cel is not installed")
pytest.importorskip("google.protobuf", reason="protobuf is not installed")

from kubedyno.cluster.registry.celnames import escaped
from kubedyno.cluster.registry.schema import Schema
from kubedyno.cluster.registry.schemacel import evaluate
from kubedyno.cluster.registry.schemarules import schema_causes

TEXT, NUMBER = {"type": "string"}, {"type": "integer"}
SPEC = {
    "text": TEXT, "number": NUMBER, "share": {"type": "number"}, "list": {"type": "array", "items": TEXT},
    "map": {"type": "object", "additionalProperties": NUMBER}, "inner": {"type": "object", "properties": {"x": TEXT}},
    "when": {"type": "string", "format": "date-time"}, "data": {"type": "string", "format": "byte"},
    "either": {"x-kubernetes-int-or-string": True}, "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    "my-dash": TEXT, "if": TEXT, "lists": {"type": "array", "maxItems": 9, "items": {"type": "array", "maxItems": 9, "items": NUMBER}},
}  # fmt: skip


def complaint(rule, **more):
    """Return what is wrong with a rule about SPEC, without what all complaints begin with."""
    spec = {"type": "object", "properties": SPEC, "x-kubernetes-validations": [{"rule": rule, **more}]}
    causes = schema_causes({"type": "object", "properties": {"spec": spec}}, "S")
    return "; ".join(
        str(cause).partition("validations[0].")[2].partition('":null}: ')[2] or str(cause) for cause in causes
    )


@pytest.mark.parametrize(
    "rule",
    [
        "self.number > 0 && self.text.size() < 3", "self.list.all(x, x == 'a')", "self.map.all(k, self.map[k] > 0)",
        "self.map.all(k, v, v > 0)", "has(self.inner.x)", "self.when > timestamp('2020-01-01T00:00:00Z')",
        "self.data == b'a'", "self.either == 1 || self.either == 'a'", "self.any == self.any", "self.share > self.number",
        "self.my__dash__dash == 'a'", "self.__if__ == 'a' && self.if == 'a'", "self.lists.all(x, x.all(y, y > 0))",
        "self == oldSelf", "self.inner.?x.orValue('a') == 'a'",
    ],
)  # fmt: skip
def test_rules_that_go_with_their_schema_are_taken(rule):
    assert complaint(rule) == ""


@pytest.mark.parametrize(
    ("rule", "what"),
    [
        ("self.nope > 0", "1:5: undefined field 'nope'"),
        ("self.inner.y == 'x'", "1:11: undefined field 'y'"),
        ("self.any.foo == 1", "1:9: undefined field 'foo'"),
        ("self.metadata.name == 'x'", "1:5: undefined field 'metadata'"),
        ("self.number == 'a'", "1:13: found no matching overload for '_==_' applied to '(int, string)'"),
        ("self.list.all(x, x == 1)", "1:20: found no matching overload for '_==_' applied to '(string, int)'"),
        ("self.when == 'x'", "1:11: found no matching overload for '_==_' applied to '(timestamp, string)'"),
        ("self.text == null", "1:11: found no matching overload for '_==_' applied to '(string, null)'"),
        ("1 in self.list", "1:3: found no matching overload for '@in' applied to '(int, list(string))'"),
        ("has(self)", "1:5: invalid argument to has() macro"),
        ("foo.bar", "1:1: undeclared reference to 'foo' (in container '')"),
    ],
)
def test_rules_that_do_not_are_refused_in_the_real_words(rule, what):
    assert complaint(rule).splitlines()[0] == f"compilation failed: ERROR: <input>:{what}"


@pytest.mark.parametrize(
    ("rule", "more", "what"),
    [
        ("self.text", {}, "cel expression must evaluate to a bool"),
        ("true", {"messageExpression": "1"}, "messageExpression must evaluate to a string"),
        (" ", {}, "rule: Required value: rule is not specified"),
        ("true", {"message": "a\nb"}, 'message: Invalid value: "a\\nb": must not contain line breaks'),
        ("true", {"fieldPath": ".nope"}, 'fieldPath: Invalid value: ".nope": must be a valid path'),
        ("true", {"fieldPath": ".list[0]"}, 'fieldPath: Invalid value: ".list[0]": must be a valid path'),
        ("true", {"fieldPath": ".map['a']"}, ""),
        ("true", {"optionalOldSelf": True}, "may not be set if oldSelf is not used in rule"),
        ("oldSelf.hasValue()", {"optionalOldSelf": True}, ""),
    ],
)
def test_what_goes_with_a_rule_has_to_make_sense(rule, more, what):
    assert complaint(rule, **more).endswith(what)
    assert bool(what) is bool(complaint(rule, **more))


def test_rules_see_names_fractions_and_bytes_as_cel_has_them():
    rules = ["self.my__dash__dash == 'a'", "self.share + 0.5 == 1.5", "self.data == b'a'", "self.if == 'b'"]
    raw = {"type": "object", "properties": SPEC, "x-kubernetes-validations": [{"rule": rule} for rule in rules]}
    value = {"my-dash": "a", "share": 1, "data": "YQ==", "if": "b"}
    assert evaluate(Schema(raw), value) == []
    assert len(evaluate(Schema(raw), {**value, "my-dash": "z", "share": 2, "data": "Yg==", "if": "c"})) == len(rules)


def test_a_rule_may_know_that_there_was_nothing_before():
    rule = {"rule": "oldSelf.hasValue() ? oldSelf.value() == self : self == 'first'", "optionalOldSelf": True}
    raw = {"type": "string", "x-kubernetes-validations": [rule]}
    assert evaluate(Schema({"type": "object", "properties": {"a": raw}}), {"a": "first"}) == []
    assert len(evaluate(Schema({"type": "object", "properties": {"a": raw}}), {"a": "x"})) == 1
    assert len(evaluate(Schema({"type": "object", "properties": {"a": raw}}), {"a": "x"}, {"a": "y"})) == 1


@pytest.mark.parametrize(
    ("name", "expected"), [("a", "a"), ("a-b", "a__dash__b"), ("a.b/c", "a__dot__b__slash__c"), ("if", "__if__"), ("1a", ""), ("a__b", "a__underscores__b")]
)  # fmt: skip
def test_names_are_escaped_as_cel_asks(name, expected):
    assert escaped(name) == expected
