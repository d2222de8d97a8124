"""What a run's page is told, and the process that is told it."""

from types import SimpleNamespace

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.lab import liveview
from kubedyno.lab.liveview import LiveView, Sampler, phase_of
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.measurements.pods import PodTracker


class Clock:
    def __init__(self) -> None:
        self.at_s = 1000.0

    def now(self):
        return self.at_s

    monotonic = now


def job_of(name="job", kind="create"):
    return SimpleNamespace(record=JobRecord(name, kind, 10.0, 10), pods=SimpleNamespace(tracker=PodTracker()))


def run_of(*jobs):
    result = SimpleNamespace(jobs=list(jobs), exit_code=0)
    return SimpleNamespace(
        options=SimpleNamespace(uuid="u"), result=result, current=jobs[-1] if jobs else None, waiting_for=""
    )


def pod_event(uid, ready):
    condition = '{"type":"Ready","status":"True","lastTransitionTime":"2026-01-01T00:00:00Z"}' if ready else ""
    return f'{{"metadata":{{"uid":"{uid}"}},"status":{{"conditions":[{condition}]}}}}'.encode()


def test_a_job_s_phase_is_what_it_does_now():
    job = job_of()
    assert phase_of(job) == "create"
    job.record.asked, job.record.accepted = 10, 9
    assert phase_of(job) == "create"
    job.record.failed["Invalid"] = 1
    assert phase_of(job) == "wait"
    job.record.churn_started_at = 1.0
    assert phase_of(job) == "churn"
    job.record.churn_ended_at = 2.0
    assert phase_of(job) == "wait"
    assert phase_of(job_of(kind="delete")) == "delete"


def test_rates_are_those_since_the_last_look_and_429s_those_of_all_jobs():
    clock, first, second = Clock(), job_of("a"), job_of("b")
    first.record.throttled, second.record.throttled = 3, 4
    sampler = Sampler(run_of(first, second), clock)
    sampler.sample()
    second.record.sent = 30
    clock.at_s += 2
    found = sampler.sample()
    assert (found["job"], found["reached"], found["throttled"]) == ("b", 15.0, 7)
    clock.at_s += 1
    assert sampler.sample()["reached"] == 0.0


def test_startup_is_told_of_all_pods_and_of_the_latest():
    clock, job = Clock(), job_of()
    sampler, tracker = Sampler(run_of(job), clock), job.pods.tracker
    for number in range(100):
        tracker.pod_event("ADDED", pod_event(number, ready=False), clock.at_s)
    assert sampler.sample()["startup"] is None
    for number in range(99):
        tracker.pod_event("MODIFIED", pod_event(number, ready=True), clock.at_s + 1)
    tracker.pod_event("DELETED", pod_event(99, ready=False), clock.at_s + 1)
    clock.at_s += 1
    p50_s, p99_s, count = sampler.sample()["startup"]
    assert (round(p50_s, 2), round(p99_s, 2), count) == (1.0, 1.0, 99)
    clock.at_s += 6
    tracker.pod_event("ADDED", pod_event("late", ready=False), clock.at_s)
    tracker.pod_event("MODIFIED", pod_event("late", ready=True), clock.at_s + 3)
    found = sampler.sample()
    assert found["startup"][2] == 100
    assert [round(value, 2) for value in found["recent"]] == [3.0, 3.0, 1]


def test_before_and_after_the_jobs_there_is_something_to_say():
    clock, job = Clock(), job_of()
    run = run_of()
    sampler = Sampler(run, clock)
    assert (sampler.sample()["phase"], sampler.sample()["asked"]) == ("prepare", 0)
    run.current = job
    sampler.sample()
    run.current = None
    found = sampler.sample(ended=True)
    assert (found["phase"], found["job"], found["ended"]) == ("clean up", "job", True)


def test_a_page_that_ends_early_ends_no_run(monkeypatch, caplog):
    monkeypatch.setattr(liveview, "_MODULE", "kubedyno.base")
    live = LiveView(0, print)
    with pytest.raises(KubedynoError, match="--view: the page did not start"):
        live.look("/nowhere")
    live.ended()
    live.stay()
    live.close()


def test_a_wrong_port_is_one_line():
    with pytest.raises(KubedynoError, match="must be between 0 and 65535"), liveview.opened(70000, print):
        pass
