"""What a wrong query is answered: where and what, in the words that a real Prometheus 2.42 was heard to use."""

import json
from pathlib import Path

import pytest

from kubedyno.promql.complaints import complaint
from kubedyno.promql.errors import BadQueryError
from kubedyno.promql.language import MAX_DEPTH, MAX_OPERATORS, parsed, parsed_selector

RECORDED = json.loads((Path(__file__).parents[2] / "golden" / "promql" / "complaints.json").read_text())


def said(query):
    try:
        parsed(query)
    except BadQueryError as error:
        return str(error)
    return None


def test_every_wrong_query_is_answered_as_it_was_recorded():
    assert sum(one is not None for one in RECORDED.values()) > 300
    assert {query: said(query) for query in RECORDED} == RECORDED


@pytest.mark.parametrize(
    "query",
    ["foo offset NaN", "foo[1e400]", "foo[Inf]", "foo offset 1e300", "rate(foo[NaN:1m])"],
)
def test_what_makes_the_parser_panic_is_a_wrong_query(query):
    for later in (False, True):
        with pytest.raises(BadQueryError):
            parsed(query, later=later)


def test_numbers_that_no_machine_holds_are_refused_as_prometheus_does():
    assert said(f"foo[{'9' * 5000}s]") == "1:5: parse error: duration out of range"
    assert said(f"foo[{'0' * 5000}5s]") is None
    assert said("0x7fffffffffffffff") is None
    for text in ("0x8000000000000000", f"0x{'f' * 300}"):
        why = f'error parsing number: strconv.ParseFloat: parsing "{text}": invalid syntax'
        assert said(f"1 + {text}") == f"1:5: parse error: {why}"
        with pytest.raises(BadQueryError):
            parsed(text, later=True)


def test_what_came_later_is_refused_unless_it_is_asked_for():
    assert said("foo[300]") == "1:5: parse error: missing unit character in duration"
    for query in ("foo[300]", "foo offset 5", 'sort_by_label(foo, "a")', '{"a.b"}', "5m + 1"):
        assert said(query) is not None
        parsed(query, later=True)
    with pytest.raises(BadQueryError, match='1:1: parse error: unknown function with name "holt_winters"'):
        parsed("holt_winters(foo[5m], 0.5, 0.5)", later=True)
    with pytest.raises(BadQueryError, match="1:4: parse error: unexpected right parenthesis"):
        parsed("5m)", later=True)


@pytest.mark.parametrize(
    "deep", ["(" * 2000 + "1" + ")" * 2000, "-" * 60_000 + "1", "1" + "^1" * 30_000, "1" + "+1" * 30_000]
)
def test_a_deep_query_is_refused_without_running_deep(deep):
    with pytest.raises(BadQueryError, match=f"nested more than {MAX_DEPTH} deep|more than {MAX_OPERATORS} operators"):
        parsed(deep)


def test_a_selector_stands_alone():
    parsed_selector('foo{a="b"}')
    for text, words in {
        "foo + bar": "1:5: parse error: unexpected <op:+>",
        "foo[5m]": '1:4: parse error: unexpected "["',
        "sum(foo)": '1:4: parse error: unexpected "("',
        "foo offset 5m": "1:5: parse error: unexpected <offset>",
        "": "1:1: parse error: unexpected end of input",
        "5": '1:1: parse error: unexpected number "5"',
    }.items():
        with pytest.raises(BadQueryError) as caught:
            parsed_selector(text)
        assert str(caught.value) == words


def test_columns_are_bytes_and_lines_are_counted():
    assert complaint('foo{a="ü"} ü') == "1:13: parse error: unexpected character: 'ü'"
    assert complaint("sum(\n foo\n bar)") == '3:2: parse error: unexpected identifier "bar" in aggregation'
