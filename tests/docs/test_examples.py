"""Every interactive example of the documentation says what really happens."""

import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```pycon" in page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_the_examples_of_a_page_run(page):
    text = page.read_text()
    # What stands outside of the fences becomes empty lines, so that line numbers are those of the page.
    code, inside = [], False
    for line in text.splitlines():
        if line.startswith("```"):
            inside = line == "```pycon"
            code.append("")
        else:
            code.append(line if inside else "")
    examples = doctest.DocTestParser().get_doctest("\n".join(code), {"__name__": "docs"}, page.name, str(page), 0)
    assert len(examples.examples) == len(re.findall(r"^>>> ", text, re.MULTILINE))
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    failed, _ = runner.run(examples, out=report.append)
    assert not failed, "".join(report)


def test_there_are_pages_with_examples():
    assert {"statedb", "reconciler"} <= {page.stem for page in PAGES}
