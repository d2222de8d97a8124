"""Every recorded rendering, and every recorded complaint, of Go's text/template with Sprig."""

import json
from pathlib import Path

import pytest

from kubedyno.load.plan.gotemplate.errors import TemplateError
from kubedyno.load.plan.gotemplate.execute import Template

GOLDEN = Path(__file__).parents[2] / "golden" / "load"
CASES = [
    json.loads(line)
    for name in ("templates.jsonl", "templates-further.jsonl")
    # Not splitlines: a case may hold what Unicode takes for the end of a line.
    for line in (GOLDEN / name).read_text().split("\n")
    if line
]


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_a_template_renders_as_in_go(case):
    given = case["input"]
    assert outcome_of(given) == (case.get("output"), case.get("error"))


def outcome_of(given):
    try:
        made = Template(given["template"], missing_key_error=given["missingkey"] == "error").render(given["vars"])
    except TemplateError as error:
        return None, str(error)
    return made, None
