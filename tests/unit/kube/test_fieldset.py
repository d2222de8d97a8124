"""Sets of field paths obey the laws of sets, and print as the real server prints them."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.kube import fieldset
from kubedyno.kube.fieldset import FieldSetError

STEPS = st.sampled_from(["f:a", "f:b", "f:c", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"p"', "v:3", "i:0"])
PATHS = st.lists(STEPS, min_size=1, max_size=4).map(tuple)
SETS = st.lists(PATHS, max_size=8).map(frozenset)


def fields_of(paths):
    fields = {}
    for path in paths:
        fields = fieldset.union(fields, fieldset.of_path(path))
    return fields


def paths_of(fields):
    return set(fieldset.paths(fields))


@given(SETS, SETS)
def test_the_algebra_is_that_of_sets_of_paths(a, b):
    left, right = fields_of(a), fields_of(b)
    assert paths_of(left) == a
    assert paths_of(fieldset.union(left, right)) == a | b
    assert paths_of(fieldset.intersection(left, right)) == a & b
    assert paths_of(fieldset.difference(left, right)) == a - b
    assert paths_of(fieldset.without(left, right)) == {
        path for path in a if not any(path[:length] in b for length in range(1, len(path) + 1))
    }


@given(SETS, SETS)
def test_arguments_are_never_changed(a, b):
    left, right = fields_of(a), fields_of(b)
    before = orjson.dumps([left, right])
    for operation in (fieldset.union, fieldset.intersection, fieldset.difference, fieldset.without):
        operation(left, right)
    fieldset.ordered(left)
    assert orjson.dumps([left, right]) == before


@given(SETS, SETS)
def test_equal_sets_print_alike_and_are_read_again(a, b):
    one, other = fieldset.union(fields_of(a), fields_of(b)), fieldset.union(fields_of(b), fields_of(a))
    assert one == other
    assert fieldset.dumps(one) == fieldset.dumps(other)
    assert fieldset.parse(orjson.loads(fieldset.dumps(one))) == one


@given(SETS, PATHS)
def test_a_set_has_its_paths(a, path):
    assert fieldset.has(fields_of(a), path) == (path in a)


def test_keys_are_ordered_by_their_values_and_spelled_one_way():
    given_fields = {
        'k:{"protocol":"TCP","port":443}': {},
        'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}},
        "f:z": {".": {}},
    }
    fields = fieldset.parse(given_fields)
    assert fieldset.dumps(fields) == (
        b'{"f:z":{},"k:{\\"port\\":80,\\"protocol\\":\\"TCP\\"}":{".":{},"f:port":{}},'
        b'"k:{\\"port\\":443,\\"protocol\\":\\"TCP\\"}":{}}'
    )


def test_paths_read_as_in_conflicts():
    path = ("f:spec", 'k:{"containerPort":80,"protocol":"TCP"}', 'v:"x.io/a"', "i:2", "f:image")
    assert fieldset.path_text(path) == '.spec[containerPort=80,protocol="TCP"][="x.io/a"][2].image'


@pytest.mark.parametrize("value", [[], "x", {"x:y": {}}, {"k:[1]": {}}, {"v:{": {}}, {"i:x": {}}, {"f:a": 1}, {"": {}}])
def test_what_is_no_set_is_refused(value):
    with pytest.raises(FieldSetError):
        fieldset.parse(value)
