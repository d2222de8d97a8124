"""The live page in a real browser, on a real cluster: what is drawn is what is there, now and before."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from kubedyno.client import kubeconfig
from kubedyno.client.api import Client
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings

ROOT = Path(__file__).parents[2]
PODS = "/api/v1/namespaces/default/pods"
COUNT = "return kubedyno.live.pods.size"


class Page:
    """A cluster and its page."""

    def __init__(self, browser, running, url) -> None:
        self.browser = browser
        self.running = running
        self.url = url

    def ask(self, method, path, body=None, status=(200, 201)):
        async def asked():
            async with Client(kubeconfig.load(self.running.kubeconfig, None)) as client:
                return await client.request(method, path, body=orjson.dumps(body) if body is not None else b"")

        answer = asyncio.run(asked())
        assert answer.status in status, answer.body
        return answer

    def pod(self, name, **spec):
        labels = {"app": name, "tier": "web"}
        spec = {"containers": [{"name": "c", "image": "nginx:alpine"}], **spec}
        self.ask("POST", PODS, {"metadata": {"name": name, "labels": labels}, "spec": spec})

    def open(self, fragment=""):
        self.browser.open("about:blank")
        self.browser.open(self.url + fragment)
        # What was told before it was opened is put in front, once: what a test does to the ribbon comes after that.
        self.browser.until("return kubedyno.live.nodes.size > 0 && kubedyno.filled !== null")
        return self.browser


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory) -> Iterator[Page]:
    home = tmp_path_factory.mktemp("home")
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(home)
    settings, _ = cluster_settings(name="page", nodes=3, max_pods=40, speed=0.0, idle_timeout="5m")
    running = embedded.up(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "kubedyno", "view", "--kubeconfig", str(running.kubeconfig)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip
    try:
        url = process.stdout.readline().split()[-1]
        yield Page(browser, running, url)
    finally:
        # Its console is the next tests' too: that this page's server ends is no error of theirs.
        browser.open("about:blank")
        process.terminate()
        process.wait(60)
        process.stdout.close()
        embedded.down("page")
        if before is None:
            del os.environ["KUBEDYNO_HOME"]
        else:
            os.environ["KUBEDYNO_HOME"] = before


def pixel(browser, name):
    """Return the colour of a pod's square as it is on the screen."""
    return browser.run(
        """
        const d = kubedyno.drawing;
        const pod = [...d.model.pods.values()].find((p) => p.name === arguments[0]);
        const place = d.places.get(pod.id);
        if (!place) return null;
        const [x, y] = d.at(place), s = d.scale * d.ratio;
        return [...d.context.getImageData((x + 5) * s + d.x, (y + 5) * s + d.y, 1, 1).data].slice(0, 3);
        """,
        name,
    )


def test_pods_appear_change_and_vanish_without_a_reload(page):
    browser = page.open()
    before = browser.run(COUNT)
    for number in range(5):
        page.pod(f"live-{number}")
    browser.until(f"return kubedyno.live.pods.size === {before + 5}")
    browser.until("return [...kubedyno.live.pods.values()].every((p) => p.state === 2)")
    browser.until("const d = kubedyno.drawing; return !d.animated.size && !d.dirty.size && !d.full && !d.relayout")
    assert pixel(browser, "live-3") == [0, 158, 115]
    page.ask("DELETE", f"{PODS}/live-3?gracePeriodSeconds=0")
    browser.until(f"return kubedyno.live.pods.size === {before + 4}")
    assert browser.console() == []


def test_typing_anywhere_filters_and_the_fragment_remembers(page):
    page.pod("findme")
    browser = page.open("#q=findme")
    browser.until("return kubedyno.drawing.match && !kubedyno.drawing.animated.size && !kubedyno.drawing.full")
    browser.run("document.getElementById('theme').value = 'dark'; document.getElementById('theme').onchange()")
    browser.until("return [...kubedyno.live.pods.values()].find((p) => p.name === 'findme')?.state === 2")
    browser.until("return !kubedyno.drawing.dirty.size && !kubedyno.drawing.full")
    assert pixel(browser, "findme") == [0, 158, 115]
    other = browser.run("return [...kubedyno.live.pods.values()].find((p) => p.name !== 'findme').name")
    assert pixel(browser, other) == [42, 50, 59]
    browser.run("document.getElementById('filter').value = 'namespace=kube-system'; filter.oninput()")
    assert "q=namespace%3Dkube-system" in browser.run("return location.hash")


def test_kube_ops_view_s_fragments_act(page):
    browser = page.open("#scale=1.5;dashboard=true")
    assert browser.run("return kubedyno.drawing.scale") == 1.5
    assert browser.run("return getComputedStyle(document.querySelector('header')).display") == "none"
    # A fragment that is edited acts without a reload, and one that is no percent-encoding harms nothing.
    browser.run("location.hash = '#scale=0.5;q=100%;colour=age;theme=contrast;sort=memory;walls=true;dashboard='")
    browser.until("return kubedyno.drawing.scale === 0.5 && document.getElementById('filter').value === '100%'")
    shown = "return [kubedyno.drawing.colour, kubedyno.drawing.sort, kubedyno.drawing.walls, document.documentElement.dataset.theme]"
    assert browser.run(shown) == ["age", "memory", True, "contrast"]
    assert browser.console() == []


@pytest.mark.parametrize(
    ("fragment", "says"),
    [
        ("renderer=canvas", "2D canvas"),
        ("clusters=elsewhere", "one cluster, page;"),
        ("theme=crt", "nearest here is green"),
        ("theme=none", "one of auto, dark"),
        ("scale=large", "no number"),
        ("scale=33", "between 1/32 and 32"),
        ("reload=soon", "no number of seconds"),
        ("dashboard=maybe", "neither true nor false"),
        ("sort=size", "one of name, age"),
        ("kiosk", "not known here"),
        ("q=<img%20src=x>;<b>=1", "<b>=1: not known here"),
    ],
)
def test_what_of_an_address_cannot_act_is_said(page, fragment, says):
    browser = page.open(f"#{fragment}")
    browser.until("return !document.getElementById('note').hidden")
    found = browser.run("return document.getElementById('note').innerText")
    assert says in found
    assert fragment.split(";")[-1].split("=")[0] in found
    assert browser.run("return document.getElementById('notes').children.length") == 1
    assert browser.run("return document.querySelectorAll('#note img, #note b').length") == 0
    browser.run("document.getElementById('noted').click()")
    assert browser.run("return document.getElementById('note').hidden")
    assert browser.console() == []


@pytest.mark.parametrize(
    ("fragment", "theme"), [("theme=default", "dark"), ("theme=polaroid", "light"), ("theme=sepia", "sepia")]
)
def test_kube_ops_view_s_themes_act_by_their_names(page, fragment, theme):
    browser = page.open(f"#{fragment}")
    assert browser.run("return document.documentElement.dataset.theme") == theme


def test_an_address_of_which_all_acts_is_not_commented(page):
    browser = page.open("#scale=1.5;q=;dashboard=1;reload=600;theme=green;clusters=page;sort=cpu;colour=age;walls=1")
    browser.until("return kubedyno.live.context")
    assert browser.run("return document.getElementById('note').hidden")
    assert browser.run("return getComputedStyle(document.querySelector('header')).display") == "none"
    assert browser.run("return kubedyno.drawing.walls && kubedyno.drawing.scale === 1.5")


def test_nodes_fill_the_width_at_the_scale_of_the_address(page):
    browser = page.open("#scale=2")
    browser.until("return !kubedyno.drawing.relayout && kubedyno.drawing.boxes.size > 0")
    right = (
        "return Math.max(...[...kubedyno.drawing.boxes.values()].map((b) => (b.x + b.w) * 2)) <= kubedyno.drawing.width"
    )
    assert browser.run(right)


def test_seconds_of_which_nothing_was_told_are_drawn_as_they_were(page):
    browser = page.open()
    pixel = """
        const r = kubedyno.ribbon, c = document.getElementById('ribbon'), k = devicePixelRatio || 1, t = r.current.second;
        const at = (second) => ({...r.current, second});
        r.samples = [at(t - 30)];
        r.draw(c, kubedyno.drawing.palette, t - 30, t, null);
        // In the middle of the time, at the foot of the lane of pods.
        const pods = r.lanes.findIndex(([name]) => name === 'pods');
        const foot = r.lanes.slice(0, pods + 1).reduce((sum, [, height]) => sum + height + 2, 0) - 5;
        return [...c.getContext('2d').getImageData(c.width / 2, foot * k, 1, 1).data].slice(0, 3);
    """
    browser.until("return kubedyno.live.pods.size && [...kubedyno.live.pods.values()].every((p) => p.state === 2)")
    assert browser.run(pixel) == [0, 158, 115]


def test_a_long_ribbon_is_drawn_in_as_many_columns_as_there_is_room_for_and_loses_no_peak(page):
    browser = page.open()
    found = browser.run(
        """
        const r = kubedyno.ribbon, t = r.current.second, quiet = {...r.current, made: 1, ready: 0, p50: 0, p99: 0, refused: 0};
        r.samples = Array.from({length: 3500}, (_, i) => ({...quiet, second: t - 3500 + i}));
        Object.assign(r.samples[1001], {ready: 77, p50: 2, p99: 9, refused: 3, run: {job: "j", phase: "create"}});
        const all = r.columns(t - 3500, 3500, 500), one = all.find((sample) => sample.refused);
        const few = r.columns(t - 3500, 3500, 5000);
        return [all.length, few.length, one.made, one.ready, one.p50, one.p99, one.refused, one.run.phase, r.samples[1000].ready];
        """
    )
    assert found == [501, 3501, 1, 77, 2, 9, 3, "create", 0]


def test_a_page_that_is_to_reload_does(page):
    browser = page.open("#reload=3")
    browser.run("window.before = true")
    browser.until("return window.before === undefined && kubedyno.live.nodes.size > 0")


def test_the_scrubber_shows_what_was(page):
    browser = page.open()
    start, before = browser.run(f"{COUNT.replace('return', 'return [')}, kubedyno.live.time]")
    for number in range(8):
        page.pod(f"later-{number}")
    browser.until(f"return kubedyno.live.pods.size === {start + 8}")
    seek = """
        const r = kubedyno.recording, time = document.getElementById('time');
        time.value = Math.floor(1000 * (arguments[0] - r.start) / (r.end - r.start));
        time.oninput();
    """
    browser.run(seek, before)
    browser.until(f"return kubedyno.drawing.model.pods.size === {start}")
    assert browser.run("return document.getElementById('moment').textContent").endswith("s ago")
    browser.run("document.getElementById('live').onclick()")
    assert browser.run("return kubedyno.drawing.model.pods.size") == start + 8


def test_one_click_says_why_a_pod_does_not_run(page):
    page.pod("nowhere", nodeSelector={"no": "where"})
    browser = page.open()
    browser.until("return [...kubedyno.live.pods.values()].some((p) => p.name === 'nowhere' && p.why)")
    browser.run("document.getElementById('why').click()")
    browser.until("return document.querySelector('#panel h3')")
    assert "node affinity/selector" in browser.run("return document.getElementById('panel').textContent")
    browser.run("document.getElementById('list').click()")
    assert "default/nowhere" in browser.run("return document.getElementById('panel').textContent")
    page.ask("DELETE", f"{PODS}/nowhere")


def test_nothing_of_the_cluster_becomes_markup_and_no_script_but_its_own_runs(page):
    browser = page.open()
    hostile = "<img src=x onerror=window.ran=1>"
    browser.run(
        """
        const t = arguments[0];
        kubedyno.take({t: kubedyno.live.time, p: [[900000, t, t, "page-worker", 6, 1, 0, 0, 0, 0, false, t, {[t]: t}, 0, 0]]});
        document.getElementById("list").click();
        """,
        hostile,
    )
    browser.until("return document.getElementById('panel').textContent.includes('onerror')")
    browser.until("return kubedyno.drawing.width === document.getElementById('stage').clientWidth")
    browser.until(
        "const d = kubedyno.drawing; return d.places.has(900000) && !d.full && !d.relayout && !d.animated.size"
    )
    x, y = browser.run(
        """
        const d = kubedyno.drawing, [x, y] = d.at(d.places.get(900000)), r = d.canvas.getBoundingClientRect();
        return [Math.round(r.left + x + 5), Math.round(r.top + y + 5)];
        """
    )
    browser.move(x, y)
    assert "onerror" in browser.until("return document.getElementById('tip').textContent")
    assert browser.run("return document.querySelectorAll('#panel img, #tip img').length") == 0
    inline = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    assert browser.run(f"{inline}; return window.ran === undefined")


def test_the_keyboard_moves_and_zooms(page):
    browser = page.open()
    browser.run("dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}))")
    assert browser.run("return kubedyno.drawing.x") == -60
    browser.run("dispatchEvent(new KeyboardEvent('keydown', {key: '+'}))")
    assert browser.run("return kubedyno.drawing.scale") == 1.25


def test_a_thousand_pods_are_drawn_and_hit_where_they_are(page):
    browser = page.open()
    made = browser.run(
        """
        const rows = [];
        for (let i = 0; i < 1000; i++)
          rows.push([100000 + i, "many", "pod-" + i, "page-worker", 2, 1, 1, 0, 10, 1024, true, "", {}, 0, 0]);
        kubedyno.take({t: kubedyno.live.time, p: rows});
        return rows.length;
        """
    )
    assert made == 1000
    browser.until("return kubedyno.drawing.places.size > 1000 && !kubedyno.drawing.full")
    hit = browser.run(
        """
        const d = kubedyno.drawing, pod = d.model.pods.get(100777), [x, y] = d.at(d.places.get(pod.id));
        return d.hit((x + 5) * d.scale + d.x, (y + 5) * d.scale + d.y).pod?.name;
        """
    )
    assert hit == "pod-777"


def test_the_page_s_own_dashboards_record_from_the_first_look_on(page):
    browser = page.open()
    browser.console()
    browser.run("document.getElementById('dashboards').click()")
    browser.until("return document.getElementById('every').onchange !== null")
    panels = "const panels = [...document.querySelectorAll('section.panel')]; return "
    browser.until(f"{panels} panels.length && panels.every((s) => s.dataset.state)")
    browser.run("document.getElementById('every').value = '5'; document.getElementById('every').onchange()")
    browser.until(f"{panels} panels.some((s) => s.dataset.state === 'drawn')")
    assert browser.console() == []


def test_beside_a_run_that_is_not_ours_the_api_server_s_own_counts_are_shown(page):
    browser = page.open()
    text = "const t = document.getElementById('run').textContent; return "
    browser.until(f"{text}t.includes('the rate asked for is not known')")
    browser.until("return kubedyno.live.answered?.length")
    for number in range(20):
        page.pod(f"counted-{number}")
    assert browser.until("return kubedyno.live.answered[0] > 0 && kubedyno.live.answered[1] === 0")
    browser.until(f"{text}t.includes('writes/s, 429s 0 in ')")
    told = "const m = {t: kubedyno.live.time, q: [5, 3, 5.1]}; kubedyno.take(m); kubedyno.ribbon.note(m, kubedyno.live)"
    assert browser.run(f"{told}; return [kubedyno.ribbon.current.refused, kubedyno.ribbon.current.writes]") == [3, 5]
    # The server's own word comes in between, and the text is made once a second.
    browser.until("kubedyno.take({t: kubedyno.live.time, q: []}); " + f"{text}t.includes('429s not known')")
    page.ask("DELETE", f"{PODS}?labelSelector=tier%3Dweb")


def test_bars_say_whether_they_are_use_or_requests(page):
    browser = page.open()
    browser.until("return kubedyno.live.uses?.size > 0")
    browser.until("return document.getElementById('source').textContent.includes('use (metrics.k8s.io)')")
    page.ask("DELETE", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")
    browser.until("return kubedyno.live.uses === null")
    browser.until("return document.getElementById('source').textContent.includes('requests (no metrics.k8s.io)')")
    shares = "return kubedyno.live.shares(kubedyno.live.nodes.get('page-control-plane'))"
    assert browser.run(shares)["shown"][0] > 0


def test_nodes_at_a_wall_are_marked_one_click_from_the_event(page):
    for number in range(60):
        page.pod(f"wall-{number}", nodeSelector={"kubernetes.io/hostname": "page-worker2"})
    browser = page.open()
    # All of them are where they stay.
    walls = "[...kubedyno.live.pods.values()].filter((p) => p.name.startsWith('wall-'))"
    browser.until(
        f"const w = {walls}; return w.length === 60 && w.every((p) => p.why || p.state === 2) && w.some((p) => p.why)"
    )
    browser.until("return !kubedyno.drawing.relayout && !kubedyno.drawing.full && kubedyno.drawing.boxes.has('')")
    spot = """
        const d = kubedyno.drawing, pod = [...kubedyno.live.pods.values()].find((p) => p.name.startsWith('wall-') && p.why);
        const [x, y] = d.at(d.places.get(pod.id)), r = d.canvas.getBoundingClientRect();
        return [Math.round(r.left + x + 5), Math.round(r.top + y + 5)];
    """
    browser.click(*browser.run(spot))
    browser.until("return document.querySelector('#panel table')?.textContent.includes('Too many pods')")
    browser.run(
        "[...document.querySelectorAll('#panel td .link')].find((b) => b.textContent.includes('Too many')).click()"
    )
    browser.until("return kubedyno.drawing.boxes.get('page-worker2').walls?.some(([short]) => short === 'maxPods')")
    assert "walls=true" in browser.run("return location.hash")
    assert browser.run("return kubedyno.drawing.boxes.get('page-worker').walls") == []
    page.ask("DELETE", f"{PODS}?labelSelector=tier%3Dweb")


def test_what_a_cluster_says_of_itself_is_text_wherever_it_is_shown(page):
    hostile = "<img src=x onerror=window.ran=1>"
    browser = page.open()
    page.ask(
        "POST",
        PODS,
        {
            "metadata": {"name": "hostile", "annotations": {"a": hostile}},
            "spec": {"containers": [{"name": "c", "image": "x"}], "nodeSelector": {"no": "where"}},
        },
    )
    event = {
        "metadata": {"name": "hostile.1"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "hostile"},
        "type": "Warning",
        "reason": hostile,
        "message": hostile,
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    page.ask("POST", "/api/v1/namespaces/default/events", event)
    browser.until("return [...kubedyno.live.pods.values()].some((p) => p.name === 'hostile')")
    browser.run("document.getElementById('list').click()")
    find = "return [...document.querySelectorAll('#panel .link')].find((b) => b.textContent === 'default/hostile')"
    browser.until(find)
    browser.run(f"{find.replace('return ', '')}.click()")
    browser.until(
        "return document.querySelectorAll('#panel table').length && document.getElementById('panel').textContent.includes('onerror')"
    )
    assert browser.run("return document.querySelectorAll('img, #panel script').length") == 0
    assert browser.run("return window.ran === undefined")
    page.ask("DELETE", f"{PODS}/hostile")


def test_many_pods_at_once_are_told_by_a_number(page):
    browser = page.open()
    browser.until("return !kubedyno.drawing.relayout && !kubedyno.drawing.full")
    found = browser.seen(
        "const {passing: {puffs}, animated} = kubedyno.drawing; return puffs.length && [puffs[0].text, animated.size]",
        after="""
        const rows = [];
        for (let i = 0; i < 30; i++)
          rows.push([200000 + i, "crowd", "pod-" + i, "page-worker", 2, 1, 1, 0, 0, 0, true, "", {}, 0, 0]);
        kubedyno.drawing.layout.make(kubedyno.live, "name", 1000);
        kubedyno.take({t: kubedyno.live.time, p: rows});
        """,
    )
    assert found[0].startswith("+")
    assert found[1] <= 12


ROW = """
    const row = (state, labels = {}) => [300000, "sight", "seen", "page-worker", state, 1, 1, 0, 0, 0, true, "", labels, 0, 0];
    const take = (more) => kubedyno.take({t: kubedyno.live.time, ...more});
"""


def test_what_is_out_of_sight_or_looks_as_it_did_is_not_drawn(page):
    browser = page.open()
    browser.until("return !kubedyno.drawing.relayout && !kubedyno.drawing.full")
    browser.run(f"{ROW} take({{p: [row(2)]}})")
    browser.until("return kubedyno.drawing.places.has(300000) && !kubedyno.drawing.animated.size")

    def news(what):
        """Return how many squares and heads are to be drawn because of it."""
        still = "const d = kubedyno.drawing; if (d.animated.size) return null; d.dirty.clear(); d.heads.clear();"
        return browser.until(f"{ROW} {still} {what}; return [d.dirty.size, d.heads.size, d.animated.size]")

    assert news("take({p: [row(2, {a: 'b'})]})") == [0, 0, 0]
    assert news("take({u: [[300000, 'page-worker', 2, 1, 0, true, 'why', 0]]})") == [0, 0, 0]
    assert news("take({u: [[300000, 'page-worker', 2, 1, 1, true, 'why', 0]]})") == [1, 0, 0]
    assert news("take({u: [[300000, 'page-worker', 4, 0, 0, false, '', 0]]})") == [1, 1, 0]
    browser.until("return !kubedyno.drawing.dirty.size")
    assert pixel(browser, "seen") == [213, 94, 0]
    assert news("d.move(0, -5000); take({u: [[300000, 'page-worker', 2, 1, 0, true, '', 0]]})") == [0, 0, 0]
    assert news("take({g: [300000]}); take({p: [row(1)]})") == [0, 0, 0]
    assert news("take({u: [[300000, 'page-worker', 2, 1, 0, true, '', 0]]})") == [0, 0, 0]
    browser.run("kubedyno.drawing.home()")
    browser.until("return !kubedyno.drawing.full")
    assert pixel(browser, "seen") == [0, 158, 115]


def test_a_pod_that_is_told_again_is_one_with_what_is_drawn_of_it(page):
    browser = page.open()
    browser.until("return !kubedyno.drawing.relayout && !kubedyno.drawing.full")
    told = """
        take({p: [row(2)]});
        take({p: [row(2, {a: "b"})]});
        take({u: [[300000, "page-worker", 4, 0, 0, false, "", 0]]});
        const d = kubedyno.drawing, [x, y] = d.at(d.places.get(300000));
        const {state, labels} = d.hit((x + 5) * d.scale + d.x, (y + 5) * d.scale + d.y).pod;
        return [state, labels, kubedyno.live.group("page-worker").pods.size - d.boxes.get("page-worker").pods.size];
    """
    assert browser.run(ROW + told) == [4, {"a": "b"}, 0]


def test_the_layer_for_what_passes_is_there_only_while_something_does(page):
    browser = page.open()
    browser.until("return !kubedyno.drawing.relayout && !kubedyno.drawing.full")
    shown = "return getComputedStyle(document.getElementById('over')).display !== 'none'"
    assert not browser.run(shown)
    browser.run("kubedyno.drawing.find('page-worker')")
    browser.until(shown)
    ink = """
        const d = kubedyno.drawing, {data} = d.passing.context.getImageData(0, 0, d.over.width, d.over.height);
        return data.some((value) => value);
    """
    browser.until(ink)
    browser.press("\ue00c")
    browser.until(shown.replace("!==", "==="))
    rows = """
        const rows = [];
        for (let i = 0; i < 30; i++)
          rows.push([400000 + i, "crowd", "pod-" + i, "page-worker", 2, 1, 1, 0, 0, 0, true, "", {}, 0, 0]);
        kubedyno.drawing.layout.make(kubedyno.live, "name", 1000);
        kubedyno.take({t: kubedyno.live.time, p: rows});
    """
    looks = f"const shown = (() => {{ {shown} }})(), ink = (() => {{ {ink} }})(); return shown && ink"
    assert browser.seen(looks, after=rows)
    browser.until(shown.replace("!==", "==="))


def test_a_ribbon_has_a_lane_of_phases_once_a_run_tells_itself(page):
    browser = page.open()
    lanes = "return kubedyno.ribbon.lanes.map(([name]) => name)"
    assert browser.run(lanes) == ["pods", "rate", "startup"]
    strip = "const c = document.getElementById('ribbon'); return [c.clientHeight, kubedyno.ribbon.height, c.height / (devicePixelRatio || 1)]"
    low = browser.run(strip)
    assert len(set(low)) == 1
    run = "{job: 'j', phase: 'create', throttled: 0, done: 1, asked: 2, qps: 1, reached: 1, ready: 0, pods: 1}"
    browser.run(
        f"const m = {{t: kubedyno.live.time, r: {run}}}; kubedyno.take(m); kubedyno.ribbon.note(m, kubedyno.live)"
    )
    assert browser.run(lanes) == ["phase", "pods", "rate", "startup"]
    browser.until(f"{strip.replace('return', 'return new Set(')}).size === 1 && c.clientHeight > {low[0]}")
    assert browser.console() == []


def test_what_stands_beside_the_counts_stays_where_it_is_while_they_change(page):
    browser = page.open()
    # Of as many digits before and after, whatever is left of the cluster's pods.
    browser.run("kubedyno.live.counts.fill(0); kubedyno.live.counts[2] = 20")
    browser.until("return document.getElementById('counts').textContent.includes('20 Ready')")
    beside = """
        const counts = document.getElementById("counts"), range = document.createRange();
        range.selectNodeContents(counts);
        return [counts.textContent, document.getElementById("filter").getBoundingClientRect().left,
          range.getBoundingClientRect().width <= counts.clientWidth, range.getClientRects().length];
    """
    before = browser.run(beside)
    browser.run("for (let i = 0; i < 2; i++) kubedyno.live.counts[2] += 1")
    browser.until("return document.getElementById('counts').textContent !== arguments[0]", before[0])
    after = browser.run(beside)
    assert after[1:] == before[1:]
    assert after[2:] == [True, 1]
    # Many states at once are wider, and are all there.
    browser.run("kubedyno.live.counts.fill(12345)")
    browser.until("return document.getElementById('counts').textContent.includes('12345 Trouble')")
    assert browser.run(beside)[2:] == [True, 1]


def test_colours_sorts_and_themes_all_draw(page):
    browser = page.open()
    for what in ("colour", "sort", "theme"):
        for value in browser.run(f"return [...document.getElementById('{what}').options].map((o) => o.value)"):
            browser.run(f"const s = document.getElementById('{what}'); s.value = arguments[0]; s.onchange()", value)
            browser.until("return !kubedyno.drawing.full && !kubedyno.drawing.relayout")
            usual = {"colour": "phase", "sort": "name", "theme": "auto"}[what]
            assert (f"{what}={value}" in browser.run("return location.hash")) == (value != usual)
    assert browser.console() == []


def test_everything_is_reached_by_keys(page):
    browser = page.open()
    browser.run("document.getElementById('stage').focus()")
    browser.press("\ue007")
    browser.until("return document.querySelectorAll('#panel table').length === 2")
    assert "page-control-plane" in browser.run("return document.getElementById('panel').textContent")
    browser.press("\ue00c")
    browser.until("return document.getElementById('panel').hidden && document.activeElement.id === 'stage'")
    browser.press("?")
    browser.until("return document.getElementById('panel').textContent.includes('filter pods by name')")
    browser.press("\ue00c")
    for letter in "core":
        browser.press(letter)
    browser.until("return document.getElementById('filter').value === 'core' && kubedyno.drawing.match !== null")
    browser.press("\ue00c")
    browser.until("return kubedyno.drawing.match === null && !location.hash.includes('q=')")
    browser.press(" ")
    browser.until(
        "return document.getElementById('play').textContent === 'stop' || kubedyno.drawing.model === kubedyno.live"
    )
    browser.run("document.getElementById('live').click()")


def test_a_summary_is_spoken(page):
    browser = page.open()
    spoken = "return document.querySelector('[aria-live=polite]').textContent"
    assert "3 nodes · " in browser.until(spoken)


def test_who_prefers_less_motion_and_light_gets_it(page):
    browser = page.open()
    try:
        browser.prefer(prefers_reduced_motion="reduce", prefers_color_scheme="light")
        browser.until("return kubedyno.drawing.still && document.documentElement.dataset.theme === 'light'")
        page.pod("still")
        browser.until("return [...kubedyno.live.pods.values()].some((p) => p.name === 'still')")
        assert browser.run("return kubedyno.drawing.animated.size + kubedyno.drawing.passing.puffs.length") == 0
        browser.prefer(prefers_color_scheme="dark")
        browser.until("return !kubedyno.drawing.still && document.documentElement.dataset.theme === 'dark'")
    finally:
        browser.prefer()


def test_a_narrow_window_has_it_all(page):
    browser = page.open()
    try:
        browser.size(420, 860)
        browser.until("return kubedyno.drawing.width < 430 && !kubedyno.drawing.relayout && !kubedyno.drawing.full")
        wide = "return document.documentElement.scrollWidth <= innerWidth && kubedyno.drawing.tall > 150"
        assert browser.run(wide)
        browser.run("document.getElementById('list').click()")
        assert browser.run("return document.getElementById('panel').getBoundingClientRect().width <= innerWidth")
    finally:
        browser.size(1400, 900)


def test_a_window_that_changes_its_size_shows_no_empty_map_meanwhile(page):
    browser = page.open()
    browser.until("return !kubedyno.drawing.full && !kubedyno.drawing.relayout")
    browser.run(
        """
        window.left = [];
        const stage = document.getElementById("stage"), field = document.getElementById("field");
        // Observers of the page's own come first.
        new ResizeObserver(() => left.push(kubedyno.drawing.full || kubedyno.drawing.relayout)).observe(stage);
        field.style.setProperty("margin-top", "40px");
        """
    )
    try:
        browser.until("return window.left.length > 1")
        assert browser.run("return window.left.some(Boolean)") is False
    finally:
        browser.run("document.getElementById('field').style.removeProperty('margin-top')")


def test_why_most_pods_wait_stands_above_them(page):
    page.pod("apart", nodeSelector={"no": "where"})
    browser = page.open()
    browser.until("return kubedyno.drawing.boxes.get('')?.drawn?.below.includes('node affinity/selector')")
    page.ask("DELETE", f"{PODS}/apart")


def test_a_node_that_is_clicked_tells_what_it_holds(page):
    browser = page.open()
    browser.until("return !kubedyno.drawing.relayout && !kubedyno.drawing.full")
    x, y = browser.run(
        """
        const d = kubedyno.drawing, box = d.boxes.get("page-control-plane"), r = d.canvas.getBoundingClientRect();
        return [Math.round(r.left + box.x + 20), Math.round(r.top + box.y + 10)];
        """
    )
    browser.move(x, y)
    browser.until("return !document.getElementById('tip').hidden")
    browser.click(x, y)
    text = browser.until("const t = document.getElementById('panel').innerText; return t.includes('maxPods') && t")
    assert "taint node-role.kubernetes.io/control-plane:NoSchedule" in text
    assert "kube-system/etcd-page-control-plane" in text
    assert browser.run("return kubedyno.drawing.selected") == "page-control-plane"
    assert browser.run("return document.getElementById('tip').hidden")


def test_a_tip_tells_what_is_true_now(page):
    browser = page.open()
    browser.until("return !kubedyno.drawing.relayout && !kubedyno.drawing.full")
    browser.run(f"{ROW} take({{p: [row(2)]}})")
    browser.until("return kubedyno.drawing.places.has(300000) && !kubedyno.drawing.relayout")
    x, y = browser.run(
        """
        const d = kubedyno.drawing, [x, y] = d.at(d.places.get(300000)), r = d.canvas.getBoundingClientRect();
        return [Math.round(r.left + x + 5), Math.round(r.top + y + 5)];
        """
    )
    browser.move(x, y)
    browser.until("return document.getElementById('tip').textContent.includes('Ready on page-worker')")
    browser.run(f"{ROW} take({{u: [[300000, 'page-worker', 5, 0, 0, true, '', 0]]}})")
    browser.until("return document.getElementById('tip').textContent.includes('Terminating')")
    browser.move(2, 2)


def test_how_many_pods_match_is_said(page):
    browser = page.open("#q=kube-proxy")
    browser.until("return document.getElementById('matches').textContent === '3 match'")
    browser.run("document.getElementById('filter').value = ''; document.getElementById('filter').oninput()")
    assert browser.run("return document.getElementById('matches').textContent") == ""


def test_marks_of_direction_are_made_visible(page):
    browser = page.open()
    turn = "\u202e"
    event = {
        "metadata": {"name": "turned.1"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "turned"},
        "type": "Warning",
        "reason": f"{turn}gnp.exe",
        "message": "m",
        "lastTimestamp": "2026-01-01T00:00:00Z",
    }
    page.pod("turned", nodeSelector={"no": "where"})
    page.ask("POST", "/api/v1/namespaces/default/events", event)
    browser.until("return [...kubedyno.live.pods.values()].some((p) => p.name === 'turned')")
    browser.run("document.getElementById('list').click()")
    find = "return [...document.querySelectorAll('#panel .link')].find((b) => b.textContent === 'default/turned')"
    browser.until(find)
    browser.run(f"{find.replace('return ', '')}.click()")
    text = browser.until("const t = document.getElementById('panel').innerText; return t.includes('gnp.exe') && t")
    assert "\ufffdgnp.exe" in text
    assert turn not in text
    page.ask("DELETE", f"{PODS}/turned")


def test_colours_of_names_are_none_too_dark_to_be_told_apart(page):
    browser = page.open()
    browser.run(
        """
        const names = Array.from({length: 200}, (_, i) => "a-namespace-of-the-load-" + i);
        import(new URL("palette.js", location.href)).then(({COLOURS}) => {
          window.lightness = names.map((namespace) => +/(\\d+)%\\)$/.exec(COLOURS.namespace({namespace}))[1]);
        });
        """
    )
    found = browser.until("return window.lightness")
    assert min(found) >= 40
    assert max(found) <= 70


def test_an_empty_cluster_is_said_to_be_one(page):
    browser = page.open()
    assert browser.run("return document.getElementById('nothing').hidden")
    browser.run(
        "kubedyno.take({t: kubedyno.live.time + 1, all: true, server: 's', context: 'c', n: [], p: [], m: null})"
    )
    browser.until("return !document.getElementById('nothing').hidden")
    assert browser.run("return document.getElementById('counts').textContent") == "0 nodes · 0 pods"


def test_a_theme_is_taken_along_to_the_other_pages_and_back(page):
    browser = page.open("#theme=sepia")
    assert browser.run("return document.getElementById('dashboards').href").endswith("dashboards?theme=sepia")
    browser.run("document.getElementById('dashboards').click()")
    browser.until(
        "return location.pathname.endsWith('dashboards') && document.documentElement.dataset.theme === 'sepia'"
    )
    browser.until("return document.querySelectorAll('section.panel').length")
    browser.run("document.querySelector('header a[href^=query], header a[href^=graph]').click()")
    browser.until("return location.pathname.endsWith('graph') && document.documentElement.dataset.theme === 'sepia'")
    browser.run("document.getElementById('home').click()")
    browser.until("return window.kubedyno && document.documentElement.dataset.theme === 'sepia'")
