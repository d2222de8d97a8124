"""Structural schemas: pruning, defaults, validation, paths, and rules where they can be evaluated."""

import time
from typing import Any

import pytest

from kubedyno.cluster.apiserver.discovery import priority
from kubedyno.cluster.registry import customresourcepaths as paths
from kubedyno.cluster.registry import schemacel
from kubedyno.cluster.registry.schema import Schema
from kubedyno.cluster.registry.schemacosts import Bill
from kubedyno.cluster.registry.schemavalidation import validate, validate_lists

needs_cel = pytest.mark.skipif(not schemacel.available(), reason="the extra cel is not installed")


def texts(raw: dict[str, Any], value: Any, old: Any = None) -> list[str]:
    """Return the causes of a member "a"."""
    schema = Schema({"type": "object", "properties": {"a": raw}}, resource=True)
    before = None if old is None else {"a": old}
    return [str(cause) for cause in validate(schema, {"a": value}, before)]


def pruned(raw: dict[str, Any], value: Any) -> tuple[Any, list[str]]:
    unknown: list[str] = []
    Schema(raw, resource=True).prune(value, "", unknown)
    return value, unknown


def test_unknown_members_go_and_are_named():
    raw = {"properties": {"a": {"type": "array", "items": {"properties": {"b": {}}}}}}
    value = {"kind": "K", "metadata": {"x": 1}, "a": [{"b": 1, "c": 2}], "d": 3}
    assert pruned(raw, value) == ({"kind": "K", "metadata": {"x": 1}, "a": [{"b": 1}]}, ["a[0].c", "d"])


def test_what_is_preserved_is_pruned_where_it_is_known_again():
    raw = {"x-kubernetes-preserve-unknown-fields": True, "properties": {"a": {"type": "object", "properties": {}}}}
    assert pruned(raw, {"free": {"x": 1}, "a": {"y": 1}}) == ({"free": {"x": 1}, "a": {}}, ["a.y"])


def test_maps_keep_their_keys():
    raw = {"properties": {"m": {"additionalProperties": {"type": "object", "properties": {"b": {}}}}}}
    assert pruned(raw, {"m": {"k": {"b": 1, "c": 1}}}) == ({"m": {"k": {"b": 1}}}, ["m.k.c"])


def test_an_embedded_resource_keeps_its_type():
    raw = {"properties": {"e": {"x-kubernetes-embedded-resource": True, "type": "object", "properties": {}}}}
    assert pruned(raw, {"e": {"kind": "K", "apiVersion": "v1", "spec": {}}})[1] == ["e.spec"]
    causes = validate_lists(Schema(raw), {"e": {"kind": "K"}})
    assert [str(cause) for cause in causes] == ["e.apiVersion: Required value"]


def test_defaults_fill_in_what_is_absent_deeply_and_are_never_shared():
    node = {"type": "object", "default": {}, "properties": {"b": {"type": "array", "default": [1]}}}
    schema = Schema({"properties": {"a": node}})
    first: dict[str, Any] = {}
    schema.fill(first)
    assert first == {"a": {"b": [1]}}
    first["a"]["b"].append(2)
    second: dict[str, Any] = {}
    schema.fill(second)
    assert second == {"a": {"b": [1]}}


def test_null_is_a_value_only_where_it_may_be():
    properties = {
        "nullable": {"type": "string", "nullable": True, "default": "x"},
        "default": {"type": "string", "default": "x"},
        "plain": {"type": "string"},
    }
    value = dict.fromkeys(properties)
    Schema({"properties": properties}).fill(value)
    assert value == {"nullable": None, "default": "x"}


@pytest.mark.parametrize(
    ("raw", "value", "text"),
    [
        ({"type": "string"}, 1, 'a: Invalid value: "integer": a in body must be of type string: "integer"'),
        ({"type": "string"}, None, 'a: Invalid value: "null": a in body must be of type string: "null"'),
        ({"type": "boolean"}, "x", 'a: Invalid value: "string": a in body must be of type boolean: "string"'),
        ({"minLength": 2}, "x", 'a: Invalid value: "x": a in body should be at least 2 chars long'),
        ({"maximum": 3, "exclusiveMaximum": True}, 3, "a: Invalid value: 3: a in body should be less than 3"),
        ({"minimum": 3, "exclusiveMinimum": True}, 3, "a: Invalid value: 3: a in body should be greater than 3"),
        ({"multipleOf": 2}, 3, "a: Invalid value: 3: a in body should be a multiple of 2"),
        ({"minItems": 2}, [1], "a: Invalid value: 1: a in body should have at least 2 items"),
        ({"minProperties": 1}, {}, "a: Invalid value: 0: a in body should have at least 1 properties"),
        ({"maxProperties": 1}, {"x": 1, "y": 1}, "a: Too many: 2: must have at most 1 items"),
        ({"enum": [1, "b"]}, 2, 'a: Unsupported value: 2: supported values: "1", "b"'),
        ({"format": "date-time"}, "x", 'a: Invalid value: "x": a in body must be of type date-time: "x"'),
        ({"format": "ipv4"}, "::1", 'a: Invalid value: "::1": a in body must be of type ipv4: "::1"'),
        ({"format": "byte"}, "?", 'a: Invalid value: "?": a in body must be of type byte: "?"'),
        (
            {"type": "integer", "format": "int32"}, 1 << 31,
            '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in a',
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_as_the_real_server_says_it(raw, value, text):
    assert texts(raw, value) == [text]


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ({"type": "integer"}, 2.0),
        ({"type": "number"}, 2),
        ({"type": "string", "nullable": True}, None),
        ({"format": "date-time"}, "2026-01-01T00:00:00Z"),
        ({"format": "ipv6"}, "::1"),
        ({"format": "cidr"}, "10.0.0.0/8"),
        ({"format": "anything"}, "x"),
        ({"x-kubernetes-int-or-string": True}, "5%"),
        ({"enum": [1]}, 1),
    ],
)
def test_what_fits_is_accepted(raw, value):
    assert not texts(raw, value)


def test_schemas_of_schemas():
    number, text = {"type": "integer"}, {"type": "string"}
    assert (
        texts({"anyOf": [number, text]}, True)[0]
        == '<nil>: Invalid value: "": "a" must validate at least one schema (anyOf)'
    )
    assert not texts({"anyOf": [number, text]}, "x")
    assert "(oneOf). Found 2 valid alternatives" in texts({"oneOf": [number, {"minimum": 0}]}, 1)[0]
    assert "must not validate the schema (not)" in texts({"not": number}, 1)[0]
    assert "must validate all the schemas (allOf)" in texts({"allOf": [{"minimum": 3}, number]}, 1)[1]


def test_what_an_update_leaves_as_it_was_is_not_judged_again():
    raw = {"type": "object", "properties": {"b": {"maximum": 1}, "c": {"maximum": 1}}}
    assert not texts(raw, {"b": 5, "c": 0}, {"b": 5, "c": 1})
    assert texts(raw, {"b": 6, "c": 0}, {"b": 5, "c": 1}) == [
        "a.b: Invalid value: 6: a.b in body should be less than or equal to 1"
    ]


def test_items_of_long_lists_are_found_again_in_no_more_than_the_time_of_the_lists():
    item = {"type": "object", "properties": {"k": {}, "v": {"maximum": 1}}}
    raw = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    old = [{"k": i, "v": 5} for i in range(10_000)]
    began_s = time.process_time()
    assert not texts(raw, list(reversed(old)), old)
    assert time.process_time() - began_s < 3
    assert len(texts(raw, [*old, {"k": -1, "v": 5}], old)) == 1


def test_items_of_other_lists_are_judged_again_when_the_list_changes():
    for kind in ("set", "atomic"):
        raw = {"type": "array", "items": {"maximum": 1}, "x-kubernetes-list-type": kind}
        assert not texts(raw, [5, 0], [5, 0])
        assert len(texts(raw, [5, 1], [5, 0])) == 1


def test_the_order_of_a_map_is_no_change_of_what_holds_it():
    items = {"type": "object", "properties": {"k": {}, "v": {}}}
    held = {"type": "array", "items": items, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"]}
    raw = {"type": "object", "required": ["new"], "properties": {"l": held}}
    old = {"l": [{"k": 1, "v": 5}, {"k": 2, "v": 6}]}
    assert not texts(raw, {"l": old["l"][::-1]}, old)
    assert texts(raw, {"l": [{"k": 2, "v": 6}, {"k": 1, "v": 6}]}, old)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"), ("isbn10", "0-306-40615-2", "0-306-40615-3"),
        ("isbn13", "978-3-16-148410-0", "978-3-16-148410-1"), ("isbn", "0-306-40615-2", ""),
        ("creditcard", "4111 1111 1111 1111", "4111111111111112"), ("ssn", "123-45-6789", "123456789"),
        ("hexcolor", "#fff", "#ff"), ("rgbcolor", "rgb(1, 2,255)", "rgb(1,2,256)"),
        ("uuid3", "a3bb189e-8bf9-3888-9912-ace4e6543002", "a3bb189e-8bf9-4888-9912-ace4e6543002"),
        ("uuid4", "a3bb189e-8bf9-4888-9912-ace4e6543002", "a3bb189e-8bf9-4888-7912-ace4e6543002"),
    ],
)  # fmt: skip
def test_texts_have_the_formats_that_their_schema_names(kind, good, bad):
    raw = {"type": "string", "format": kind}
    assert not texts(raw, good)
    assert texts(raw, bad) == [f'a: Invalid value: "{bad}": a in body must be of type {kind}: "{bad}"']


def test_numbers_are_told_from_integers_as_go_does():
    assert texts({"type": "number", "multipleOf": 0.5}, 3) == [
        "a: Invalid value: 0: factor MultipleOf declared for a must be positive: 0"
    ]
    assert not texts({"type": "number", "multipleOf": 0.5}, 3.5)
    assert 'must be of type integer: "number"' in texts({"type": "integer"}, 1 << 63)[0]
    assert "number with format float in a" in texts({"type": "number", "format": "float"}, 1e39)[0]


DOCUMENT = {
    "a": {"b.c": 1, "list": [{"type": "X", "status": "no"}, {"type": "Y", "status": "yes", "on": True}]},
    "n": [1, 2, 3],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".n[1]", [2]),
        (".n[-1]", [3]),
        (".n[7]", []),
        (".n[*]", [1, 2, 3]),
        (".a.b\\.c", [1]),
        (".a['b.c']", [1]),
        ('.a.list[?(@.type=="Y")].status', ["yes"]),
        (".a.list[?(@.type!='Y')].status", ["no"]),
        (".a.list[?(@.on==true)].type", ["Y"]),
        (".a.none.x", []),
        (".n.x", []),
    ],
)
def test_paths_lead_to_what_they_name(path, found):
    assert paths.find(path, DOCUMENT) == found


@pytest.mark.parametrize("path", ["a", ".a[", ".a..b", ".a[?(x)]", "{.a}"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="not understood"):
        paths.parse(path)


def test_versions_are_listed_best_first():
    names = ["v1alpha1", "foo", "v2beta1", "v1", "v10", "v1beta2", "v1alpha2"]
    assert sorted(names, key=priority) == ["v10", "v1", "v2beta1", "v1beta2", "v1alpha2", "v1alpha1", "foo"]


RULED = {
    "type": "object",
    "x-kubernetes-validations": [
        {"rule": "self.low <= self.high", "messageExpression": "'low is ' + string(self.low)"},
        {"rule": "self.fixed == oldSelf.fixed", "message": "fixed is fixed", "fieldPath": ".fixed"},
    ],
    "properties": {
        "low": {"type": "integer"},
        "high": {
            "type": "integer",
            "x-kubernetes-validations": [{"rule": "self < 100", "reason": "FieldValueForbidden"}],
        },
        "fixed": {"type": "string"},
    },
}


@needs_cel
def test_patterns_never_take_long():
    assert texts({"pattern": "^(a+)+$"}, "a" * 64 + "b") == [
        f"a: Invalid value: \"{'a' * 64}b\": a in body should match '^(a+)+$'"
    ]


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [("^a+$", "aa", True), ("^a+$", "aa\n", False), ("b", "abc", True), (r"^a\z", "a", True), ("(", "x", True)],
)
def test_patterns_are_go_s(pattern, value, fits):
    assert (not texts({"pattern": pattern}, value)) is fits


@needs_cel
def test_rules_are_evaluated():
    schema = Schema({"type": "object", "properties": {"spec": RULED}}, resource=True)

    def judged(value: Any, old: Any = None) -> list[str]:
        before = None if old is None else {"spec": old}
        return [str(cause) for cause in schemacel.evaluate(schema, {"spec": value}, before)]

    fine = {"low": 1, "high": 2, "fixed": "x"}
    assert not judged(fine)
    assert judged({**fine, "low": 3}) == ["spec: Invalid value: low is 3"]
    assert judged({**fine, "high": 100}) == ["spec.high: Forbidden: failed rule: self < 100"]
    assert judged({**fine, "fixed": "y"}, fine) == ["spec.fixed: Invalid value: fixed is fixed"]
    assert judged({"high": 2, "fixed": "x"}) == [
        'spec: Invalid value: "object": no such key: low evaluating rule: self.low <= self.high'
    ]


@needs_cel
def test_a_rule_that_takes_more_steps_than_are_granted_refuses_its_object():
    rule = {
        "rule": "self.all(x, x > 0)",
        "messageExpression": "string(self.all(x, x >= 0))",
        "message": "some are none",
    }
    listed = {"type": "array", "items": {"type": "integer"}, "x-kubernetes-validations": [rule]}
    schema = Schema({"type": "object", "properties": {"l": listed}}, resource=True)
    assert not schemacel.evaluate(schema, {"l": [1] * 9_000})
    why = "operation cancelled: actual cost limit exceeded evaluating rule: some are none"
    assert [str(cause) for cause in schemacel.evaluate(schema, {"l": [1] * 11_000})] == [
        f'l: Invalid value: "array": {why}'
    ]
    # The message's own limit is none of the rule's.
    assert [str(cause) for cause in schemacel.evaluate(schema, {"l": [0, *[1] * 11_000]})] == [
        "l: Invalid value: some are none"
    ]


@needs_cel
def test_rules_that_are_none_are_refused_and_those_of_kubernetes_alone_are_said():
    text = {"type": "string", "x-kubernetes-validations": [{"rule": "self.foo"}]}
    (cause,) = schemacel.rule_causes(text, "p", Bill(), 1)
    assert "compilation failed: ERROR: <input>:1:5: type 'string' does not support field selection" in cause.message
    other = {"type": "string", "x-kubernetes-validations": [{"rule": "[?optional.of(1)].min() > 0"}]}
    assert not schemacel.rule_causes(other, "p", Bill(), 1)
    assert schemacel.rule_warnings({"openAPIV3Schema": {"properties": {"a": other}}}) == [
        "x-kubernetes-validations: rules with min() are kept, and not evaluated here"
    ]
    assert not schemacel.evaluate(Schema(other), "x")
    found = {"type": "string", "x-kubernetes-validations": [{"rule": "self.findAll('[a-c]').all(i, v, i < 2)"}]}
    assert not schemacel.rule_warnings({"openAPIV3Schema": {"properties": {"a": found}}})
    assert not schemacel.evaluate(Schema(found), "xaxb")
    assert schemacel.evaluate(Schema(found), "abc")


@pytest.mark.parametrize(
    ("kind", "value", "fits"),
    [
        ("hostname", "a.example.com", True), ("hostname", "a.b", False), ("hostname", "", False),
        ("k8s-short-name", "a-b", True), ("k8s-short-name", "a.b", False), ("k8s-long-name", "a.b", True),
        ("byte", "YWJj", True), ("byte", "", False), ("nobodys", "anything", True),
    ],
)  # fmt: skip
def test_formats_are_those_of_the_real_server(kind, value, fits):
    assert (not validate(Schema({"type": "string", "format": kind}), value)) is fits


@pytest.mark.parametrize(
    ("raw", "value", "texts"),
    [
        ({"type": "string", "format": "date"}, 5, ['must be of type date: "int64"']),
        ({"type": "string", "format": "date"}, [], []),
        ({"type": "number", "minimum": 0.5}, 0, []),
        ({"type": "integer", "multipleOf": 2}, 2**63 - 1, ["should be a multiple of 2"]),
        (
            {"type": "integer", "format": "int32"}, 1.5,
            ['must be of type int32: "float64"', "must be of type integer with format int32 in "],
        ),
    ],
)  # fmt: skip
def test_numbers_and_formats_are_judged_in_the_type_that_go_has(raw, value, texts):
    found = [cause.message for cause in validate(Schema(raw), value)]
    assert len(found) == len(texts)
    assert all(text in message for text, message in zip(texts, found, strict=True)), found


def test_a_format_is_looked_for_in_no_more_than_the_time_of_the_text():
    raw = {"type": "string", "format": "duration"}
    began_s = time.process_time()
    assert texts(raw, "1ms" * 24 + "!") != []
    assert time.process_time() - began_s < 1
    assert [texts(raw, good) for good in ("1ms", "1m", "2h 3 minutes", "1ms" * 24)] == [[]] * 4


def test_embedded_resources_say_what_they_are():
    schema = Schema({"type": "object", "properties": {"e": {"type": "object", "x-kubernetes-embedded-resource": True}}})
    causes = validate_lists(schema, {"e": {"apiVersion": "a/b/c", "kind": "", "metadata": {"name": "x/y"}}})
    assert [str(cause) for cause in causes] == [
        'e.kind: Invalid value: "": must not be empty',
        'e.apiVersion: Invalid value: "a/b/c": unexpected GroupVersion string: a/b/c',
        "e.metadata.name: Invalid value: \"x/y\": may not contain '/'",
    ]
