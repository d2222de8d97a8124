"""The query page and our dashboards in a real browser, over a cluster that is really recorded."""

import asyncio
import os
import threading
from collections.abc import Iterator

import pytest

from browser.webdriver import Browser
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.lab import embedded
from kubedyno.lab.metrics import Options, Recorder
from kubedyno.promql.engine import Engine
from kubedyno.promql.readapi import ReadAPI
from kubedyno.web.prometheus import Door

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("home"))
    running = embedded.up(ClusterSettings(name="metric-pages", speed=0.0, bind_addresses={"scheduler": "0.0.0.0"}))
    found: list[str] = []
    up, stop = threading.Event(), threading.Event()

    async def serve() -> None:
        async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
            recorder = Recorder(client, Options(0.5), embedded=True)
            door = Door(ReadAPI(Engine(recorder.store), recorder.targets), timezone="Asia/Seoul")
            # Pages ask once: let there be something.
            await recorder.round()
            await asyncio.sleep(1)
            recording = asyncio.create_task(recorder.run())
            found.append(await door.start(0))
            up.set()
            await asyncio.to_thread(stop.wait)
            recording.cancel()
            await asyncio.gather(recording, return_exceptions=True)
            await door.close()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert up.wait(60)
        yield found[0]
    finally:
        # Its console is the next tests' too: that this server ends is no error of theirs.
        browser.open("about:blank")
        stop.set()
        thread.join(60)
        embedded.down("metric-pages")
        if before is None:
            del os.environ["KUBEDYNO_HOME"]
        else:
            os.environ["KUBEDYNO_HOME"] = before


def test_an_expression_is_answered_as_a_table_and_as_a_plot(browser, url):
    browser.open(f"{url}/graph#expr=sum+by+(job)+(up)&tab=table")
    browser.until("return document.querySelectorAll('#table tr').length > 4")
    assert 'job="apiserver"' in browser.run("return document.getElementById('table').textContent")
    browser.run("document.querySelector('input[value=graph]').click()")
    browser.until("return document.querySelectorAll('#legend li').length > 4")
    drawn = """
        const c = document.getElementById('plot');
        return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((value) => value !== 0);
    """
    browser.until(drawn)
    assert browser.console() == []


def test_a_wrong_expression_and_hostile_labels_are_shown_as_text(browser, url):
    browser.open(f"{url}/graph#expr=sum(")
    browser.until("return !document.getElementById('error').hidden")
    assert "bad_data" in browser.run("return document.getElementById('error').textContent")
    hostile = 'label_replace(vector(1), "x", "<img src=x onerror=document.title=\'owned\'>", "", "")'
    browser.run("document.getElementById('expr').value = arguments[0]; document.getElementById('run').click()", hostile)
    browser.until("return document.getElementById('table').textContent.includes('<img')")
    assert browser.run("return document.querySelectorAll('#table img').length") == 0
    assert browser.run("return document.title") == "kubedyno metrics"
    # The browser tells of the answer to the wrong one; of nothing else.
    assert all("400" in line for line in browser.console())


def test_targets_show_why_they_are_down_and_what_to_do(browser, url):
    browser.open(f"{url}/targets")
    browser.until("return document.querySelectorAll('#table tr').length > 6")
    text = browser.run("return document.getElementById('table').textContent")
    assert "dial tcp 172.18.0.2:10257: connect: connection refused" in text
    assert "kubedyno explain" in browser.run("return document.getElementById('hint').textContent")


def test_cilium_s_own_series_are_said_not_to_be_there(browser, url):
    browser.open(f"{url}/graph#expr=cilium_identity")
    browser.until("return !document.getElementById('hint').hidden")
    assert "does not have them" in browser.run("return document.getElementById('hint').textContent")


def test_dashboards_are_drawn_from_the_read_api(browser, url):
    browser.open(f"{url}/dashboards#kubedyno-apiserver")
    # Rates need two looks at a target, and the page looks again only after a while.
    browser.until("return document.getElementById('every').onchange !== null")
    browser.run("document.getElementById('every').value = '5'; document.getElementById('every').onchange()")
    browser.until("return document.querySelectorAll('section.panel[data-state=drawn]').length >= 7")
    states = browser.run("return [...document.querySelectorAll('section.panel')].map((s) => s.dataset.state)")
    assert "error" not in states
    browser.run(
        "document.getElementById('which').value = 'kubedyno-cilium'; document.getElementById('which').onchange()"
    )
    browser.until("return document.getElementById('note').textContent.includes('does not have them')")
    browser.until("return [...document.querySelectorAll('section.panel')].every((s) => s.dataset.state === 'empty')")
    assert browser.console() == []


def test_a_stacked_panel_is_filled_and_its_axis_is_in_whole_units(browser, url):
    browser.open(f"{url}/dashboards#kubedyno-cluster")
    browser.until("return document.querySelectorAll('section.panel[data-state=drawn]').length >= 7")
    drawn = """
        window.written = null;
        import(new URL("charts.js", location.href)).then(({draw}) => {
          const canvas = document.querySelector("section.panel canvas"), c = canvas.getContext("2d"), ratio = devicePixelRatio;
          const fillText = CanvasRenderingContext2D.prototype.fillText, words = [];
          CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
            words.push([text, x - (this.textAlign === "right" ? this.measureText(text).width : 0)]);
            fillText.call(this, text, x, y);
          };
          const lines = (v) => [[0, v], [50, v], [100, v]];
          draw(canvas, [{name: "a", colour: "#ff0000", values: lines(3 * 2 ** 30)}, {name: "b", colour: "#0000ff", values: lines(6 * 2 ** 30)}],
            {start: 0, end: 100, unit: "bytes", stacked: true});
          CanvasRenderingContext2D.prototype.fillText = fillText;
          const at = (part) => [...c.getImageData(canvas.width / 2, 8 * ratio + (canvas.height - 28 * ratio) * part, 1, 1).data].slice(0, 3);
          window.written = {words, upper: at(0.3), lower: at(0.9)};
        });
    """
    browser.run(drawn)
    found = browser.until("return window.written")
    assert found["upper"] == [0, 0, 255]
    assert found["lower"] == [255, 0, 0]
    words = [text for text, _ in found["words"]]
    assert words[:2] == ["0 B", "5 GiB"]
    assert min(left for _, left in found["words"]) >= 0


def test_a_wrong_expression_leaves_no_answer_of_the_one_before(browser, url):
    browser.open(f"{url}/graph#expr=up&tab=graph")
    browser.until("return document.querySelectorAll('#legend li').length > 4")
    browser.run("document.getElementById('expr').value = 'sum('; document.getElementById('run').click()")
    browser.until("return !document.getElementById('error').hidden")
    assert browser.run("return document.querySelectorAll('#legend li').length") == 0
    assert all("400" in line for line in browser.console())


def test_a_kubelet_s_pages_are_told_apart_and_no_word_is_broken_in_a_narrow_window(browser, url):
    browser.open(f"{url}/targets")
    browser.until("return document.querySelectorAll('#table tr').length > 6")
    rows = browser.run(
        "return [...document.querySelectorAll('#table tr')].map((r) => r.innerText.split('\\t').slice(0, 3).join(' '))"
    )
    assert len(set(rows)) == len(rows)
    try:
        browser.size(600, 900)
        browser.until("return innerWidth <= 600")
        high = "return [...document.querySelectorAll('#table td:nth-child(-n+5)')].map((d) => { const r = document.createRange(); r.selectNodeContents(d); return r.getClientRects().length; })"
        assert max(browser.run(high)) == 1
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.size(1400, 900)


def test_a_page_of_metrics_alone_has_no_link_to_a_page_of_nodes(browser, url):
    browser.open(f"{url}/graph")
    assert browser.run("return document.getElementById('home').hidden")
