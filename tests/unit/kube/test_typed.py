"""How objects merge and differ by their types."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.kube import fieldset
from kubedyno.kube.shapes import shape_of_kind, shape_of_schema, skeleton
from kubedyno.kube.typed import compare, field_set, merge, named_members, problems, remove

POD = shape_of_kind("v1", "Pod")
TEXT = {"type": "string"}
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
SCHEMA = {
    "type": "object",
    "properties": {
        "set": {"type": "array", "items": TEXT, "x-kubernetes-list-type": "set"},
        "list": {"type": "array", "items": TEXT},
        "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": TEXT},
        "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"a": TEXT, "b": TEXT}}},
        "any": ANYTHING,
        "keyed": {
            "type": "array",
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "properties": {"k": {**TEXT, "default": "d"}, "v": TEXT}},
        },
    },
}
SHAPE = shape_of_schema(SCHEMA, resource=True)
NAMES = st.lists(st.sampled_from("ABCDEF"), unique=True, max_size=5)
OBJECTS = st.fixed_dictionaries(
    {},
    optional={
        "set": st.lists(st.sampled_from("abc"), unique=True),
        "list": st.lists(st.sampled_from("ab"), max_size=2),
        "atom": st.dictionaries(st.sampled_from("ab"), st.sampled_from("12")),
        "map": st.dictionaries(
            st.sampled_from("xy"), st.fixed_dictionaries({}, optional={"a": st.sampled_from("12"), "b": st.just("1")})
        ),
        "any": st.dictionaries(st.sampled_from("xy"), st.one_of(st.just(1), st.dictionaries(st.just("z"), st.just(2)))),
        "keyed": st.lists(
            st.fixed_dictionaries({"k": st.sampled_from("pq")}, optional={"v": st.sampled_from("12")}),
            unique_by=lambda item: item["k"],
            max_size=2,
        ),
    },
)


@pytest.mark.parametrize(
    ("live", "patch", "merged"),
    [
        ("ab", "ca", "cab"),
        ("axb", "ba", "xba"),
        ("xaby", "ba", "xbya"),
        ("abc", "", "abc"),
        ("", "ba", "ba"),
        ("xy", "ab", "xyab"),
        ("axbyc", "cab", "xycab"),
    ],
)
def test_lists_merge_in_the_patchs_order_with_the_others_in_their_places(live, patch, merged):
    assert merge(SHAPE, {"set": list(live)}, {"set": list(patch)})["set"] == list(merged)


@given(OBJECTS, OBJECTS)
def test_what_a_patch_sets_is_there_after_the_merge(live, patch):
    merged = merge(SHAPE, live, patch)
    again = compare(SHAPE, merged, merge(SHAPE, merged, patch))
    assert again.same
    assert merge(SHAPE, patch, patch) == patch
    owned = field_set(SHAPE, patch)
    difference = compare(SHAPE, patch, merged)
    assert not fieldset.intersection(owned, difference.modified)
    assert not fieldset.intersection(owned, difference.removed)


@given(OBJECTS, OBJECTS)
def test_a_comparison_is_the_opposite_of_the_one_the_other_way(old, new):
    there, back = compare(SHAPE, old, new), compare(SHAPE, new, old)
    assert there.added == back.removed
    assert there.modified == back.modified
    assert compare(SHAPE, old, old).same


@given(OBJECTS)
def test_without_all_that_is_in_it_nothing_is_left(obj):
    left = remove(SHAPE, obj, named_members(SHAPE, field_set(SHAPE, obj)))
    assert not any((left or {}).values())


@given(NAMES, NAMES)
def test_merged_lists_have_each_element_once_and_keep_both_orders(live, patch):
    merged = merge(SHAPE, {"set": live}, {"set": patch})["set"]
    assert sorted(merged) == sorted({*live, *patch})
    assert [name for name in merged if name in patch] == patch
    alone = [name for name in live if name not in patch]
    assert [name for name in merged if name in alone] == alone


def test_what_does_not_fit_is_told_with_its_path():
    spec = {
        "containers": [
            {"name": "c", "image": 1, "stdin": "yes", "ports": [{"containerPort": 80}, {"containerPort": 80}]},
            {"image": "x"},
        ],
        "terminationGracePeriodSeconds": "x",
        "nodeSelector": [],
        "foo": 1,
    }
    assert problems(POD, {"spec": spec}) == [
        '.spec.containers[name="c"].image: expected string, got &value.valueUnstructured{Value:1}',
        '.spec.containers[name="c"].stdin: expected boolean, got &value.valueUnstructured{Value:"yes"}',
        '.spec.containers[name="c"].ports: duplicate entries for key [containerPort=80,protocol="TCP"]',
        (
            '.spec.containers: element 1: associative list with keys has an element that omits all key fields ["name"] '
            "(and doesn't have default values for any key fields)"
        ),
        ".spec.terminationGracePeriodSeconds: expected numeric (int or float), got string",
        ".spec.nodeSelector: expected map, got &{[]}",
        ".spec.foo: field not declared in schema",
    ]
    assert problems(SHAPE, {"any": {"x": [1, {"y": 2}]}, "metadata": {"labels": {"a": "b"}}}) == []


def test_elements_that_are_there_twice_are_one_thing_that_comes_and_goes():
    once, twice = {"set": ["a"]}, {"set": ["a", "a"]}
    assert compare(SHAPE, {"set": ["b"]}, {"set": ["b", "a", "a"]}).added == {"f:set": {'v:"a"': {}}}
    assert compare(SHAPE, once, twice).added == {"f:set": {'v:"a"': {}}}
    assert compare(SHAPE, twice, twice).same


def test_an_empty_object_has_what_go_holds_by_value():
    empty = skeleton("apps/v1", "Deployment")
    assert empty["spec"]["strategy"] == {}
    assert empty["spec"]["template"] == {"metadata": {}, "spec": {"containers": None}}
    assert "replicas" not in empty["spec"]
