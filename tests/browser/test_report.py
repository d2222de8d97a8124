"""The replay of a report in a real browser: its script runs under the page's policy, and draws what was at each time."""

from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parents[1] / "golden" / "report" / "report.html"
MOVE = """
const slider = document.querySelector(".replay input");
slider.value = arguments[0];
slider.dispatchEvent(new Event("input"));
return document.querySelector(".replay output").textContent;
"""
COLOURS = """
const canvas = document.querySelector(".replay canvas");
const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
let blue = 0;
for (let i = 0; i < data.length; i += 4) if (data[i] === 0 && data[i + 1] === 0x72 && data[i + 2] === 0xb2) blue++;
return blue;
"""


def test_the_slider_shows_the_pods_of_that_time_and_nothing_is_refused(browser):
    browser.open(GOLDEN.as_uri())
    assert browser.run(MOVE, 0) == "0.0 s: 0 ready, 0 starting, 1 pending"
    assert browser.run(COLOURS) == 0
    middle = browser.run(MOVE, 500)
    assert "ready" in middle
    assert not middle.split(": ")[1].startswith("0 ready")
    # Two of the twelve never found a node.
    assert browser.run(MOVE, 1000).endswith(": 10 ready, 0 starting, 2 pending")
    assert browser.run(COLOURS) > 100
    assert not [line for line in browser.console() if "Content Security Policy" in str(line)]


def test_play_moves_the_slider(browser):
    browser.open(GOLDEN.as_uri())
    browser.run("document.querySelector('.replay button').click()")
    assert browser.until("return +document.querySelector('.replay input').value > 20 && 1")
    browser.run("document.querySelector('.replay button').click()")
    assert browser.run("return document.querySelector('.replay button').textContent") == "play"
