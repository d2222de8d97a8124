"""Reports of runs in which every string is a stranger's: as text it is shown, as anything else it is not there."""

import json
import re
import unicodedata
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kubedyno.cli.main import main

RECORDED = Path(__file__).parents[2] / "golden" / "report" / "run"
EVIL = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\x1b[31m\x1b]0;own\x07\u202e\u2028|`*_"
    "[l](javascript:x)![i](x)]]>\x00\x7f\x9b\n\n# h\r&amp;-->"
)
# What has a form of its own, and is looked up by.
FORMED = frozenset({"metricName", "uuid", "started", "ended", "timestamp", "kind", "verb"})
NAMED_BY_STRANGERS = frozenset({"start_ms", "start_server_ms", "seen_ms", "hdr_us", "failed", "labels", "versions"})


def spoiled(value, key=""):
    if isinstance(value, dict):
        return {(k + EVIL if key in NAMED_BY_STRANGERS else k): spoiled(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [spoiled(one, key) for one in value]
    return value + EVIL if isinstance(value, str) and key not in FORMED else value


@pytest.fixture
def report(tmp_path):
    directory = tmp_path / "run"
    directory.mkdir()
    for path in RECORDED.glob("*.json"):
        (directory / path.name).write_text(json.dumps(spoiled(json.loads(path.read_text()))))

    def make(form):
        out = tmp_path / f"report.{form}"
        assert main(["report", str(directory), "-o", form, "--out", str(out)]) == 0
        return out.read_bytes().decode()

    return make


def unseen(text):
    """Return the characters that move a cursor, turn a line round or end one."""
    return {hex(ord(c)) for c in text if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp", "Cs"}}


@pytest.mark.parametrize("form", ["html", "markdown", "junit", "text"])
def test_nothing_invisible_is_left_in_a_report(report, form):
    page = report(form)
    assert "own" in page
    assert unseen(page) == set()


def test_html_has_the_one_script_and_no_element_of_a_strangers(report):
    found = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, dict(attrs)))

    page = report("html")
    Reader().feed(page)
    assert [attributes.get("type") for tag, attributes in found if tag == "script"] == ["application/json", None]
    assert {tag for tag, _ in found} & {"img", "a", "iframe", "link", "object"} == set()
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert page.count("&lt;img src=x") > 5


def test_markdown_has_no_tag_no_link_and_no_cell_of_a_strangers(report):
    page = report("markdown")
    plain = re.sub(r"`[^`\n]*`", "", re.sub(r"\\.", "", page))
    assert "<" not in plain
    assert "[" not in plain
    assert "# h" not in [line[:3] for line in page.splitlines()]
    rows = [line for line in plain.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {7, 9}


def test_junit_is_xml_whose_cases_are_as_many_as_it_says(report):
    (suite,) = ET.fromstring(report("junit"))
    assert len(suite) == int(suite.attrib["tests"])
    assert "own" in suite[0].attrib["name"]
