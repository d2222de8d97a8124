"""The page: what a frame takes in headless Chromium while a real cluster's pods come and go, and what serving it costs.

A container has no GPU: Chromium draws in software, on the cores that the cluster, the load and `kubedyno view` use too.
`frame_ms_p95` is what a frame takes: the time from one requestAnimationFrame to the next with the limit of 60 a second
switched off (script, style, paint, raster and composition, whatever waits for whatever), of frames in which something was
drawn. `far_ms_p95` is the same zoomed out until every pod's square is in the window or just seen. `interval_ms_p95` is the same with the limit, as a user has it: 16.7 means that no frame was missed. `pan_ms_p95` is a
frame while the map is dragged with as many pods in view as are drawn one by one: everything is drawn anew. `filter_ms` is
what a letter of the filter takes until it is drawn, `layout_ms` another order of the nodes. `script_ms_p95` is
the page's own part of such a frame, `long_tasks_per_s` the browser's count of tasks beyond 50 ms, `view_cpu_percent` the
server's share of a core meanwhile. `changes_per_s` are changes that reach the page: pods that are made, become Ready and are
deleted again, with a node's usual durations, and others whose labels change. `events_per_s` are the watch events that it
took: what happens to a pod within a tenth of a second is told together.
"""

import asyncio
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
from tests.browser.webdriver import Browser, installed, opened

from benchmarks.measure import cluster, cpu_s, rss_mb
from kubedyno.base import aio
from kubedyno.client import kubeconfig
from kubedyno.client.api import Client, Result
from kubedyno.lab.embedded import Running

_PODS = "/api/v1/namespaces/default/pods"
_WINDOW = 400
_MEASURE_S = 10.0
# Pods made, and as many deleted, a second: three changes of the page and six events each; and pods whose labels change.
_PAIRS_PER_S = 80
_LABELLED_PER_S = 280
# Others than were labelled within the last tick.
_LABELLED = 5000
_MERGE = (("content-type", "application/merge-patch+json"),)
_UNLIMITED = ("--disable-frame-rate-limit", "--disable-gpu-vsync")
_WATCH_FRAMES = """
    const d = kubedyno.drawing, seen = window.seen = {frames: [], script: [], tasks: 0, changes: 0};
    let last = 0, drew = false;
    const frame = d.frame.bind(d), draw = d.draw.bind(d), apply = kubedyno.live.apply.bind(kubedyno.live);
    let work = 0, now = false;
    d.draw = (at) => { now = true; draw(at); };
    d.frame = (at) => { const t = performance.now(); frame(at); work += performance.now() - t; };
    kubedyno.live.apply = (message, tell) => {
      const t = performance.now();
      seen.changes += (message.p?.length || 0) + (message.u?.length || 0) + (message.g?.length || 0);
      apply(message, tell);
      work += performance.now() - t;
    };
    new PerformanceObserver((list) => { seen.tasks += list.getEntries().length; }).observe({type: "longtask"});
    const step = (at) => {
      if (last && drew) { seen.frames.push(at - last); }
      if (now) seen.script.push(work);
      [last, drew, now, work] = [at, now, false, 0];
      requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
"""


_PAN = """
    const d = kubedyno.drawing, seen = window.panned = [];
    d.home();
    d.scale = 0.21;
    let last = 0, left = 120;
    const step = (at) => {
      if (last) seen.push(at - last);
      last = at;
      d.move(left % 2 ? 3 : -3, 0);
      if (left-- > 0) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
"""


# Until what was asked for is drawn.
_TAKES = """
    const d = kubedyno.drawing, box = document.getElementById(arguments[0]), took = [];
    for (const value of arguments[1]) {
      const began = performance.now();
      box.value = value;
      box.oninput ? box.oninput() : box.onchange();
      d.frame(began);
      took.push(performance.now() - began);
    }
    return took;
"""
_FAR = "kubedyno.drawing.home(); kubedyno.drawing.scale = 0.21; kubedyno.drawing.full = true"


def figures(*, quick: bool) -> dict[str, float]:
    """Return the figures; with `quick` only those of 10,000 pods."""
    found = _at(10_000, 100, "")
    if not quick:
        found |= _at(100_000, 5000, "_100k")
    return found


def _at(pods: int, nodes: int, suffix: str) -> dict[str, float]:
    chromium = installed()
    if chromium is None:
        raise SystemExit("no chromium and chromedriver: install the distribution's chromium and chromium-driver")
    with cluster(nodes=nodes, max_pods=-(-pods // nodes) + 30, speed=1.0) as running:
        asyncio.run(_make(running, pods))
        with _view(running) as (process, url, metrics), _churning(running):
            with opened(*chromium) as browser:
                usual = _measure(process, url, metrics, browser, pods)
            with opened(*chromium, _UNLIMITED) as browser:
                free = _measure(process, url, metrics, browser, pods)
                browser.run(_FAR)
                far = _frames(process, metrics, browser)
                taken = {
                    "filter_ms": max(browser.run(_TAKES, "filter", ["s", "st", "sta", "stay", ""])),
                    "layout_ms": max(browser.run(_TAKES, "sort", ["cpu", "memory", "pods", "name"])),
                }
                browser.run(_PAN)
                browser.until("return window.panned.length >= 120", wait_s=60)
                pan_ms = _p95(sorted(browser.run("return window.panned")))
    usual["interval_ms_p95"], usual["frame_ms_p50"] = usual.pop("frame_ms_p95"), free["frame_ms_p50"]
    found = {"frame_ms_p95": free["frame_ms_p95"], "far_ms_p95": far["frame_ms_p95"], "pan_ms_p95": pan_ms, **taken}
    return {f"{name}{suffix}": value for name, value in {**found, **usual}.items()}


def _measure(process: "subprocess.Popen[str]", url: str, metrics: int, browser: Browser, pods: int) -> dict[str, float]:
    browser.open(url)
    browser.until(f"return window.kubedyno && kubedyno.live.pods.size >= {pods}", wait_s=120)
    browser.until("return !kubedyno.drawing.relayout && !kubedyno.drawing.full", wait_s=60)
    time.sleep(3)
    return _frames(process, metrics, browser)


def _frames(process: "subprocess.Popen[str]", metrics: int, browser: Browser) -> dict[str, float]:
    browser.run(_WATCH_FRAMES)
    began_s, spent_s, events = time.monotonic(), cpu_s(process.pid), _events(metrics)
    time.sleep(_MEASURE_S)
    took_s, spent_s, events = time.monotonic() - began_s, cpu_s(process.pid) - spent_s, _events(metrics) - events
    seen = browser.run("return window.seen")
    frames, script = sorted(seen["frames"]), sorted(seen["script"])
    return {
        "frame_ms_p95": _p95(frames),
        "frame_ms_p50": frames[len(frames) // 2] if frames else 0.0,
        "script_ms_p95": _p95(script),
        "frames_drawn_per_s": len(frames) / took_s,
        "long_tasks_per_s": seen["tasks"] / took_s,
        "changes_per_s": seen["changes"] / took_s,
        "events_per_s": events / took_s,
        "view_cpu_percent": 100 * spent_s / took_s,
        "view_rss_mb": rss_mb(process.pid),
    }


def _events(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("kubedyno_view_events_total "))


def _p95(ordered: list[float]) -> float:
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))] if ordered else 0.0


def _pod(name: str) -> bytes:
    resources = {"requests": {"cpu": "10m", "memory": "16Mi"}}
    labels = {"app": "bench", "kube-burner.io/job": "bench", "kube-burner.io/job-iteration": name.rpartition("-")[2]}
    spec = {"containers": [{"name": "c", "image": "registry.k8s.io/pause:3.10", "resources": resources}]}
    return orjson.dumps(
        {"metadata": {"name": name, "labels": labels}, "spec": {**spec, "terminationGracePeriodSeconds": 0}}
    )


async def _make(running: Running, count: int) -> None:
    """Make pods, and return when all are Ready."""
    async with Client(kubeconfig.load(running.kubeconfig, None)) as client:
        room, failed = asyncio.Semaphore(_WINDOW), []

        def done(result: Result) -> None:
            room.release()
            if result.status != 201:
                failed.append(result)

        for number in range(count):
            await room.acquire()
            client.submit("POST", _PODS, _pod(f"stays-{number}"), done)
        for _ in range(_WINDOW):
            await room.acquire()
        assert not failed, failed[0]
        while True:
            left = await client.get(f"{_PODS}?fieldSelector=status.phase%21%3DRunning&limit=1")
            if not left["items"]:
                return
            await aio.sleep(0.5)


@contextmanager
def _churning(running: Running) -> Iterator[None]:
    """Make, delete and label pods in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.web", str(running.kubeconfig)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def _churn(path: str) -> None:

    loop = asyncio.get_running_loop()
    async with Client(kubeconfig.load(Path(path), None)) as client:
        began_s, number, lag, labelled = loop.time(), 0, 6 * _PAIRS_PER_S, 0
        while True:
            while labelled < (loop.time() - began_s) * _LABELLED_PER_S:
                patch = orjson.dumps({"metadata": {"labels": {"turn": str(labelled)}}})
                client.submit("PATCH", f"{_PODS}/stays-{labelled % _LABELLED}", patch, lambda _: None, _MERGE)
                labelled += 1
            while number < (loop.time() - began_s) * _PAIRS_PER_S:
                client.submit("POST", _PODS, _pod(f"comes-{number}"), lambda _: None)
                if number >= lag:
                    client.submit("DELETE", f"{_PODS}/comes-{number - lag}", b"", lambda _: None)
                number += 1
            await aio.sleep(0.02)


@contextmanager
def _view(running: Running) -> Iterator[tuple["subprocess.Popen[str]", str, int]]:
    """Start `kubedyno view`; its process, its URL and its metrics port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        metrics = int(probe.getsockname()[1])
    words = ["view", "--kubeconfig", str(running.kubeconfig), "--metrics-port", str(metrics)]
    process = subprocess.Popen([sys.executable, "-m", "kubedyno", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().split()[-1], metrics
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    asyncio.run(_churn(sys.argv[1]))
