"""jq expressions: what is understood, what is refused by name, and that values which do not fit are no match."""

import pytest

from kubedyno.load.plan import jq

STATUS = {
    "phase": "Bound",
    "ready": True,
    "count": 3,
    "conditions": [
        {"type": "Ready", "status": "True", "reason": "Fine"},
        {"type": "Paused", "status": "False"},
    ],
    "odd key": {"a": None},
}


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        (".", [STATUS]),
        (".phase", ["Bound"]),
        ("(.phase)", ["Bound"]),
        ('."odd key".a', [None]),
        ('.["phase"]', ["Bound"]),
        (".missing.further", [None]),
        (".conditions[].type", ["Ready", "Paused"]),
        (".conditions.[].type", ["Ready", "Paused"]),
        ('.conditions[] | select(.type == "Ready") | .status', ["True"]),
        ('.conditions.[] | select(.type == "Ready").status', ["True"]),
        (".conditions[0].reason, .conditions[-1].type", ["Fine", "Paused"]),
        (".conditions[7]", [None]),
        (".conditions | length", [2]),
        ('.conditions | map(.status) | any(. == "True")', [True]),
        ('[.conditions[] | .status] | all(. == "True")', [False]),
        ('.phase == "Bound" and .count > 2', [True]),
        (".count >= 4 or (.ready | not)", [False]),
        ('.missing // "none"', ["none"]),
        ("(.phase[])? // 1", [1]),
        ('if .ready then "yes" else "no" end', ["yes"]),
        (".count + 1 - 2", [2]),
        ("-.count", [-3]),
        ('.phase | test("^Bo")', [True]),
        ('has("phase")', [True]),
        ('[.conditions[].type] | join("-")', ["Ready-Paused"]),
        (".count | tostring", ["3"]),
        ("[.. | strings]" if False else "[.conditions[0] | keys] | .[0]", [["reason", "status", "type"]]),
        ('1 < 2, null < false, "a" < "b"', [True, True, True]),
    ],
)
def test_an_expression_gives_what_jq_gives(text, outputs):
    assert list(jq.compiled(text)(STATUS)) == outputs


@pytest.mark.parametrize("text", [".phase |", "select(", ".[", "{a: 1}", "reduce . as $x (0; 1)", 'ltrimstr("a")', "!"])
def test_what_is_not_understood_is_refused_with_the_expression(text, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jq", None)
    jq.compiled.cache_clear()
    with pytest.raises(jq.JqError) as error:
        jq.compiled(text)
    assert text.strip() in str(error.value)
    assert "pip install jq" in str(error.value)


def test_a_value_that_does_not_fit_is_no_match():
    assert not jq.matches(".phase[]", STATUS, "Bound")
    assert not jq.matches(".conditions.type", STATUS, "Ready")
    assert jq.matches(".ready", STATUS, "true")
    assert jq.matches(".conditions[].type", STATUS, "Paused")
