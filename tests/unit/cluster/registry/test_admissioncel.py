"""Expressions of admission: structs, Kubernetes' functions, and values that are none."""

import pytest

from kubedyno.cluster.registry import admissioncel
from kubedyno.cluster.registry.admissioncel import PARAMS, POLICY, EvaluationError, evaluate, program
from kubedyno.cluster.registry.celfunctions import available

pytestmark = pytest.mark.skipif(not available(), reason="the extra cel is not installed")
DATA = {
    "object": {"n": 3, "name": "x", "list": [{"a": 1}]}, "oldObject": None, "request": {}, "params": None,
    "namespaceObject": None, "variables": {}, "authorizer": admissioncel.question(user="u"),
    "authorizer.requestResource": admissioncel.question(user="u", resource="pods"),
}  # fmt: skip


def value(text):
    compiled = program(text, POLICY | PARAMS)
    assert not compiled.problem, compiled.problem
    return evaluate(compiled, DATA, lambda asked: (asked["verb"] == "get", f"{asked['resource']}/{asked['name']}"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("quantity('1Gi').isGreaterThan(quantity('500Mi'))", True), ("quantity('1000m') == quantity('1')", True),
        ("quantity('1500m').add(quantity('500m')).asInteger()", 2), ("quantity('3').sub(1).compareTo(quantity('2'))", 0),
        ("quantity('0.5').isInteger()", False), ("isQuantity('1Q')", False), ("quantity('-1').sign()", -1),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", True), ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')", True),
        ("cidr('10.1.2.3/8').masked()", "10.0.0.0/8"), ("cidr('10.0.0.0/8').prefixLength()", 8), ("isCIDR('10.0.0.0')", False),
        ("ip('::1').isLoopback()", True), ("ip('fe80::1').family()", 6), ("ip.isCanonical('0:0::1')", False),
        ("isIP('10.0.0.256')", False), ("ip('8.8.8.8').isGlobalUnicast()", True),
        ("url('https://a.b:8080/c?d=1').getPort()", "8080"), ("url('https://[::1]:80/x').getHostname()", "::1"),
        ("isURL('a b')", False), ("'%d of %s'.format([object.n, object.name])", "3 of x"),
        ("authorizer.group('apps').resource('deployments').name('d').check('get').allowed()", True),
        ("authorizer.requestResource.check('list').allowed()", False),
        ("authorizer.group('').resource('pods').name('p').check('get').reason()", "pods/p"),
        ("semver('1.2.3-rc.2').isLessThan(semver('1.2.3-rc.10'))", True), ("semver('1.0.0').compareTo(semver('1.0.0-a'))", 1),
        ("semver('1.2.3+a') == semver('1.2.3+b')", True), ("semver('v01.2', true).minor()", 2), ("isSemver('1.2')", False),
        ("isSemver('1.02.3')", False), ("isSemver('v1', true)", True), ("semver('9.0.0').isGreaterThan(semver('10.0.0'))", False),
        ("[1, 2, 3].sum()", 6), ("[1.5, 2.5].sum()", 4.0), ("[].sum()", 0), ("object.list.map(x, x.a).max()", 1),
        ("['b', 'a'].min()", "a"), ("['a', 'b'].isSorted() && ![2, 1].isSorted() && [].isSorted()", True),
        ("sets.contains([1, 2], dyn([2.0]))", True), ("sets.contains([1, 2], dyn([true]))", False), ("sets.equivalent([1, 1, 2], [2, 1])", True),
        ("sets.intersects([{'a': [1]}], object.list)", False), ("sets.intersects([{'a': 1}], object.list)", True),
        ("sets.contains([{'a': object.?b}], [])", True), ("[optional.of(1)].flatten()[0].value()", 1),
        ("[3, 1, 2].sort()", [1, 2, 3]), ("[[1], [2, 3]].flatten()", [1, 2, 3]), ("[1, 2, 3].slice(1, 3)", [2, 3]),
        ("[2, 1].sortBy(x, x)[0]", 1), ("[1, 1].distinct()", [1]), ("['a', 'b'].reverse()[0]", "b"),
        ("object.list.all(i, v, i == 0 && v.a == 1)", True), ("{'a': 1}.exists(k, v, k == 'a' && v == 2)", False),
        ("[5, 6].transformList(i, v, i * v)", [0, 6]), ("format.dns1123Label().validate('a-b').hasValue()", False),
        ("format.uuid().validate('x').value()", ["does not match the UUID format"]), ("format.named('uri').hasValue()", True),
        ("format.byte().validate(format.date().validate('a)').value()[0]).orValue([])", ["invalid base64"]), ("format.named('x').hasValue()", False), ("{'a': 1}.transformMap(k, v, v + 1)", {"a": 2}),
        ("{'a': 1, 'b': 0}.transformMap(k, v, v > 0, k + '),')", {"a": "a),"}), ("['x'].transformMapEntry(i, v, {v: i})", {"x": 0}),
        ("{'a': {'b': 1}}.transformMap(k, v, v.transformMap(l, w, [dyn(w), dyn(k)]))", {"a": {"b": [1, "a"]}}), ("['a', 'b'].existsOne(i, v, i == 1)", True),
        ("'abc 123 45'.find('[0-9]+')", "123"), ("'abc'.find('[0-9]')", ""), ("'a1b2c3'.findAll('([a-z])([0-9])')", ["a1", "b2", "c3"]),
        ("'a1b2c3'.findAll('[0-9]', 2)", ["1", "2"]), ("'abab'.findAll('(?P<x>a)[)b(]')", ["ab", "ab"]), ("'a'.findAll('b')", []),
        ("'(a)'.find('\\\\(a\\\\)')", "(a)"), ("object.?none.orValue(7)", 7), ("[dyn(1), dyn(2.5), dyn('a'), dyn(null), dyn(true)]", [1, 2.5, "a", None, True]),
    ],
)  # fmt: skip
def test_kubernetes_functions_answer_as_they_should(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Object{spec: Object.spec{replicas: object.n > 2 ? 1 : 0}}", {"spec": {"replicas": 1}}),
        ("Object{metadata: Object.metadata{labels: Object.metadata.labels{`a/b`: 'c,{'}}}", {"metadata": {"labels": {"a/b": "c,{"}}}),
        ("Object{spec: Object.spec{?gone: optional.none(), here: [Object.spec.here{a: 1}, Object.spec.here{a: 2}]}}",
         {"spec": {"here": [{"a": 1}, {"a": 2}]}}),
        ("[JSONPatch{op: 'add', path: '/a/' + jsonpatch.escapeKey('x/~'), value: {'k': 'Object{a: 1}'}}]",
         [{"op": "add", "path": "/a/x~1~0", "value": {"k": "Object{a: 1}"}}]),
        ("Object { spec : Object . spec { a : 1 } }", {"spec": {"a": 1}}),
    ],
)  # fmt: skip
def test_structs_are_the_maps_that_they_stand_for(text, expected):
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("object.none", "no such key: none"), ("object.name + 1", "no such overload"), ("1 / 0", "division by zero"),
        ("[1][3]", "index out of bounds: 3"), ("quantity('x')", "quantities must match the regular expression"),
        ("[optional.of(1)]", "unsupported"), ("{'a': optional.none()}", "unsupported"), ("duration('1s')", "unsupported"),
        ("dyn({'a': optional.none()}).isLoopback()", "no such overload"), ("params.x", "no such overload"),
        ("[].max()", "max called on empty list"), ("[dyn(1), dyn('a')].sum()", "no such overload"), ("['a'].sum()", "no such overload"),
        ("[9223372036854775807, 1].sum()", "integer overflow"), ("semver('1')", "No Major.Minor.Patch elements found"),
        ("semver('01.2.3')", 'Major number must not contain leading zeroes "01"'), ("ip('1.2.3')", "IPv4 address too short"),
        ("cidr('1.2.3.4/33')", "prefix length out of range"), ("url('a')", 'parse "a": invalid URI for request'),
        ("'1'.major()", "no such overload"),
        ("lists.range(1000001).size()", "actual cost limit exceeded"),
        ("lists.range(3).map(i, lists.range(400000).size())", "actual cost limit exceeded"),
        ("lists.range(20000).all(i, i >= 0)", "actual cost limit exceeded"),
        ("quantity('1.5').asInteger()", "cannot convert value to integer"),
    ],
)  # fmt: skip
def test_what_has_no_value_says_why_and_ends_nothing(text, why):
    with pytest.raises(EvaluationError, match=why.replace("(", "\\(")):
        value(text)


def test_each_evaluation_has_all_items_of_ranges_to_itself():
    assert [value("lists.range(600000).size()") for _ in range(3)] == [600_000] * 3


@pytest.mark.parametrize(
    "text",
    [
        "{optional.of(1): 1}",
        "object.",
        "foo",
        "[1].indexOf()",
        "lists . // x\nrange()",
        "'a'.matches('[')",
        "[1, 'a'] == []",
        "Object{a: }",
        "Object{",
        "'''",
    ],
)
def test_what_is_no_expression_is_a_problem(text):
    assert program(text, POLICY).problem


@pytest.mark.parametrize(
    "text",
    [
        "dyn([{'a': optional.none()}]).sum()", "[{'a': object.?b}].min ()",
        "[{'a': object.list[ ?0]}].isSorted// x\n()", "object.?list.orValue([]).max()",
    ],
)  # fmt: skip
def test_lists_are_not_taken_from_what_may_hold_optionals(text):
    assert program(text, POLICY).problem.endswith("is not evaluated here in an expression with optionals")
