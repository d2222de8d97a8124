"""Patterns that are matched in linear time, compared with Python's own."""

import re
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.cluster.apiserver.linearregex import Pattern, PatternError

ATOMS = st.one_of(
    st.sampled_from(["a", "b", ".", r"\.", r"\d", r"\W", r"\s", "[ab]", "[^a-c]", "[-x]", "[]a]", r"[\d_]", " ", "é"]),
)


def grown(inner):
    repeat = st.sampled_from(["", "*", "+", "?", "{2}", "{1,2}", "{0,}", "*?"])
    group = st.tuples(inner, repeat).map(lambda pair: f"({pair[0]}){pair[1]}")
    return st.one_of(
        st.tuples(ATOMS, repeat).map("".join),
        group,
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join).map(lambda text: f"(?:{text})"),
        st.tuples(inner, inner).map("|".join),
    )


PATTERNS = st.recursive(ATOMS, grown, max_leaves=6)
TEXTS = st.text("abcx1_. \néA]-", max_size=8)


@given(PATTERNS, TEXTS)
def test_a_pattern_matches_what_python_says(pattern, text):
    try:
        wanted = re.compile(pattern, re.ASCII)
    except re.error:
        return
    assert Pattern(pattern).fullmatch(text) is (wanted.fullmatch(text) is not None), pattern


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        ("cat /(proc|etc)/.*", "cat /etc/hosts", True),
        ("cat /(proc|etc)/.*", "cat /var/hosts", False),
        ("^ls( -[la]+)?$", "ls -la", True),
        ("^ls( -[la]+)?$", "ls -x", False),
        ("", "", True),
        ("a|", "", True),
        ("x{3}", "xxx", True),
        ("x{3}", "xx", False),
    ],
)
def test_patterns_of_commands(pattern, text, fits):
    assert Pattern(pattern).fullmatch(text) is fits


@pytest.mark.parametrize(
    "pattern",
    ["(", ")", "a)", "[", "[a", "*", "a**", "+a", "{2}", "a{2", "a{x}", "a{3,2}", "a{600}", r"a\b", "\\", "(?=a)",
     "(?P<x>a)", "[[:alpha:]]", "[z-a]", "a^b", "a$b", "(" * 60 + ")" * 60, "((a{40}){40})", "((){500}){500}", "a" * 2001],
)  # fmt: skip
def test_what_is_no_pattern_or_too_large_is_refused(pattern):
    with pytest.raises(PatternError):
        Pattern(pattern)


@given(st.text("ab(|)[]*+?{}\\^$.,-1 ", max_size=12))
def test_any_text_is_a_pattern_or_refused(text):
    with suppress(PatternError):
        Pattern(text).fullmatch("ab")


def test_what_would_take_a_backtracking_matcher_years_takes_moments():
    begun_s = time.process_time()
    assert not Pattern("(a+)+b").fullmatch("a" * 1000)
    assert not Pattern("(a|a)*b").fullmatch("a" * 1000)
    assert time.process_time() - begun_s < 5
