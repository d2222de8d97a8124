"""Sweeps and the search for a limit: grids, intervals, where a value breaks and why."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.base.errors import KubedynoError
from kubedyno.base.terminal import aligned
from kubedyno.documents.run import Chapter, Figures, JobDocument, RunDocument, Target
from kubedyno.lab import trials
from kubedyno.lab.trials import (
    Slo,
    Trial,
    broken,
    charts,
    effects,
    grid,
    interval,
    search,
    slo_of,
    span_of,
    table,
)
from kubedyno.report import html


def figures(p99, p50=1.0):
    return Figures(10, p50, p99, p99, 0.0, p99, p50)


def job(**changes):
    values = {
        "name": "j", "type": "create", "iterations": 10, "qps": 10.0, "burst": 1, "asked": 10, "sent": 10, "accepted": 10,
        "retried": 0, "failed": {}, "reached_qps": 10.0, "elapsed_s": 1.0, "pods_seen": 10, "pods_ready": 10,
        "accept_ms": figures(5), "late_ms": figures(0.1, 0.1), "start_ms": {"Ready": figures(100)},
        "start_server_ms": {}, "timeline": [],
    }  # fmt: skip
    return JobDocument(**(values | changes))


def run(*jobs, exit_code=0, errors=()):
    return RunDocument("u", "0", Target("s", "c", "v", 1), "", "", exit_code, list(errors), list(jobs), [], [])


def test_a_grid_is_every_combination_as_often_as_asked():
    assert grid(["a=1,2", "b=x"], 2) == [
        (("a", "1"), ("b", "x")),
        (("a", "1"), ("b", "x")),
        (("a", "2"), ("b", "x")),
        (("a", "2"), ("b", "x")),
    ]
    for wrong in ("a", "=1", "a="):
        with pytest.raises(KubedynoError, match="write PATH"):
            grid([wrong], 1)
    with pytest.raises(KubedynoError, match="more than 500"):
        grid(["a=" + ",".join("x" * 501)], 1)


def test_an_interval_is_students():
    mean, half = interval([1.0, 2.0, 3.0])
    assert (mean, half) == (2.0, pytest.approx(4.30 / math.sqrt(3)))
    assert interval([5.0]) == (5.0, 0.0)


@given(st.integers(1, 1000), st.integers(1, 5000), st.integers(1, 8000))
def test_a_search_ends_between_a_value_that_held_and_one_that_broke(low, more, threshold):
    high = low + more
    tried = []

    def attempt(value):
        tried.append(value)
        return ["no"] if value >= threshold else []

    kept, broke, why = search(low, high, attempt)
    assert all(low <= value <= high for value in tried)
    assert (kept is None) == (threshold <= low)
    assert (broke is None) == (threshold > high)
    if kept is not None:
        assert kept < threshold
    if broke is not None:
        assert broke >= threshold
        assert why == ("no",)
    if kept is not None and broke is not None:
        # Halved four times, or as near as a twentieth.
        assert broke - kept <= max(kept / 20, 1) or broke - kept <= math.ceil(kept / 16) + 1


def test_each_part_of_an_slo_says_what_broke_it():
    slo = Slo()
    assert broken(run(job()), slo) == []
    (line,) = broken(run(job(start_ms={"Ready": figures(6000)})), slo)
    assert line == "j: pod startup P99 6.00s is above 5s"
    (line,) = broken(run(job(accept_ms=figures(1500))), slo)
    assert "API P99 1.50s" in line
    (line,) = broken(run(job(failed={"TooManyRequests": 2})), slo)
    assert "2 of 10 requests failed" in line
    (line,) = broken(run(job(reached_qps=5.0)), slo)
    assert "5 of 10 q/s reached; the API was the limit" in line
    (line,) = broken(run(job(pods_ready=9)), slo)
    assert "1 of 10 pods are not Ready" in line
    assert broken(run(job(), exit_code=1, errors=["object verification failed"]), slo) == ["object verification failed"]


def test_an_slo_is_read_part_by_part():
    assert slo_of(None) == Slo()
    assert slo_of("api-p99=500ms,errors=0.5%") == Slo(api_p99_s=0.5, errors=0.005)
    for wrong in ("errors=1", "p99=1s", "api-p99=soon"):
        with pytest.raises(KubedynoError, match="--slo"):
            slo_of(wrong)


@pytest.mark.parametrize("text", ["a", "a=1", "a=5..1", "a=0..3", "a=x..y", "=1..2"])
def test_a_wrong_span_says_how_to_write_one(text):
    with pytest.raises(KubedynoError, match=r"PATH=FIRST\.\.LAST"):
        span_of(text)
    assert span_of("jobs.0.qps=10..100") == ("jobs.0.qps", 10, 100)


def test_a_table_has_a_row_a_combination_and_says_when_the_burst_hid_the_rate():
    trials = [
        Trial((("q", "10"),), run(job())),
        Trial((("q", "10"),), run(job(reached_qps=8.0), exit_code=1)),
        Trial((("q", "99"),), run(job(burst=10))),
    ]
    head, first, second = table(trials)
    assert head[0] == "q"
    assert first[1:5] == ["10", "10", "9 ± 13", "10%"]
    assert first[-1] == "1/2"
    assert second[3] == "burst only"
    lines = aligned([head, first, second])
    assert lines[0].index("requests") == lines[1].index("10", 2)


def swept():
    """Two runs each of preloading on and off, at two rates; preloading makes pods 300 ms faster, and runs 2 s longer."""
    trials = []
    for preload in ("false", "true"):
        for qps in (10, 100):
            for repeat in (0, 1):
                fast = preload == "true"
                made = job(
                    qps=float(qps),
                    reached_qps=qps - 1.0 - repeat,
                    start_ms={"Ready": figures(900, 500 + repeat - 300 * fast)},
                )
                document = run(made)
                times = {"started": "2026-01-01T00:00:00Z", "ended": f"2026-01-01T00:00:{5 + 2 * fast:02d}Z"}
                document = RunDocument(**{name: getattr(document, name) for name in document.__struct_fields__} | times)
                trials.append(Trial((("jobs.0.preLoadImages", preload), ("jobs.0.qps", str(qps))), document))
    return trials


def test_what_a_value_changes_is_told_from_the_runs_that_differ_in_it_alone():
    preload, qps = effects(swept())
    assert preload == (
        "jobs.0.preLoadImages: false → true: Ready P50 -300 ± 0 ms, job +0 ± 0 s, whole run +2 ± 0 s (2 pairs)"
    )
    assert qps.startswith("jobs.0.qps: 10 → 100: Ready P50 +0 ± 0 ms")
    assert effects([trial for trial in swept() if trial.values[0][1] == "true"])[0].startswith("jobs.0.qps")
    assert effects([]) == []


def test_the_pictures_of_a_sweep_show_each_combination_with_its_interval():
    rates, ready = charts(swept())
    assert rates.labels[0] == "1: jobs.0.preLoadImages=false, jobs.0.qps=10"
    assert rates.series["asked"] == [(10.0, 0.0), (100.0, 0.0)] * 2
    assert rates.series["reached"][0] == (8.5, pytest.approx(12.71 * 0.5))
    assert [mean for mean, _ in ready.series["Ready P50"]] == [500.5, 500.5, 200.5, 200.5]
    page = html.page("t", [Chapter("sweep", [], None, table(swept()), [rates, ready])])
    assert page.count("<svg") == 2
    assert page.count("<circle") == 4 * len(rates.series) + 4 * len(ready.series)
    assert "reached 8.5 ± 6.4 1/s" in page
    assert "<th>reached q/s</th>" in page


@pytest.mark.parametrize(("given", "used"), [(None, trials.LIMIT_STUCK_S), (3.0, 3.0)])
def test_a_search_for_the_limit_does_not_wait_for_what_stands_still(monkeypatch, given, used):
    asked = []

    def trial(request, _choice, values):
        asked.append(request.fail_when_stuck_s)
        return Trial(values, run(job(pods_ready=9 if int(values[0][1]) > 4 else 10)))

    monkeypatch.setattr(trials, "_trial", trial)
    monkeypatch.setattr(trials.session, "prepare", lambda _request: None)
    request = trials.session.Request("c.yml", fail_when_stuck_s=given)
    limit, done = trials.find_limit(request, None, "jobs.0.jobIterations=1..8", Slo(), lambda _line: None)
    assert (limit.kept, limit.broke, set(asked)) == (4, 5, {used})
    assert len(done) == len(asked)
