"""CronJobs: when they are due, what runs at the same time, what is kept."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.registry.kinds.cronschedule import parse_schedule
from kubedyno.cluster.registry.kinds.crontimes import missed_s, next_s
from kubedyno.kube.resources import CRONJOBS, JOBS, PODS

from .conftest import Cluster, template


def cron(schedule="*/5 * * * *", **spec):
    job = {"template": template(restartPolicy="Never")}
    return {"metadata": {"name": "c"}, "spec": {"schedule": schedule, "jobTemplate": {"spec": job}, **spec}}


class Crons(Cluster):
    def __init__(self, *, runs=True, **settings):
        self.runs = runs
        super().__init__(speed=0.0, **settings)

    def run(self, pod, node="n1"):
        """Pods end at once, or never."""
        bound = self.trusted.bind(pod, node)
        self.set_ready(bound, ready=not self.runs, phase="Succeeded" if self.runs else "Running")


@pytest.mark.parametrize(
    ("schedule", "after", "zone", "due"),
    [
        ("*/5 * * * *", "2026-11-25T02:03:10Z", None, "2026-11-25T02:05:00Z"),
        ("*/5 * * * *", "2026-11-25T02:05:00Z", None, "2026-11-25T02:10:00Z"),
        ("0 0 29 2 *", "2026-11-25T02:05:00Z", None, "2028-02-29T00:00:00Z"),
        ("0 0 30 2 *", "2026-11-25T02:05:00Z", None, None),
        ("0 9 * * mon", "2026-11-25T02:05:00Z", "Europe/Berlin", "2026-11-30T08:00:00Z"),
        ("30 2 * * *", "2026-03-28T12:00:00Z", "Europe/Berlin", "2026-03-30T00:30:00Z"),
        ("30 2 * * *", "2026-10-24T12:00:00Z", "Europe/Berlin", "2026-10-25T00:30:00Z"),
        ("0 12 13 * fri", "2026-11-25T02:05:00Z", None, "2026-11-27T12:00:00Z"),
        ("@every 90s", "2026-11-25T02:05:00Z", None, "2026-11-25T02:06:30Z"),
        ("@monthly", "2026-11-25T02:05:00Z", None, "2026-12-01T00:00:00Z"),
    ],
)
def test_a_schedule_is_due(schedule, after, zone, due):
    found = next_s(parse_schedule(schedule), epoch_of(after), ZoneInfo(zone) if zone else UTC)
    assert (None if found is None else rfc3339(found)) == due


def test_missed_times_are_counted_up_to_a_hundred_and_the_last_is_found():
    schedule = parse_schedule("*/10 * * * *")
    since, now = epoch_of("2026-11-25T00:00:00Z"), epoch_of("2026-11-25T01:05:00Z")
    assert missed_s(schedule, since, now, UTC) == (epoch_of("2026-11-25T01:00:00Z"), 6)
    far = epoch_of("2027-11-25T01:05:00Z")
    assert missed_s(schedule, since, far, UTC) == (epoch_of("2027-11-25T01:00:00Z"), 101)


def test_a_job_comes_at_its_minute_and_is_named_after_it():
    cluster = Crons()
    cluster.create(CRONJOBS, cron())
    cluster.drain()
    assert cluster.names(JOBS) == []
    start = cluster.clock.now()
    due = start - start % 300 + 300
    cluster.advance(due - start - 1)
    assert cluster.names(JOBS) == []
    cluster.advance(2)
    (job,) = cluster.all(JOBS)
    assert job["metadata"]["name"] == f"c-{int(due) // 60}"
    stamp = datetime.fromtimestamp(due, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert job["metadata"]["annotations"] == {"batch.kubernetes.io/cronjob-scheduled-timestamp": stamp}
    assert job["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
    status = cluster.get(CRONJOBS, "c")["status"]
    assert status == {"lastScheduleTime": stamp, "lastSuccessfulTime": job["status"]["completionTime"]}
    name = job["metadata"]["name"]
    assert cluster.events("CronJob") == [
        f"Created job {name}", f"Saw completed job: {name}, condition: Complete"
    ]  # fmt: skip


def test_only_so_many_that_have_ended_are_kept():
    cluster = Crons()
    cluster.create(CRONJOBS, cron("* * * * *", successfulJobsHistoryLimit=2))
    cluster.advance(420)
    assert len(cluster.names(JOBS)) == 2
    assert int(cluster.names(JOBS)[-1][2:]) * 60 > cluster.clock.now() - 61
    assert len(cluster.events("CronJob", "SuccessfulDelete")) == 5


@pytest.mark.parametrize(("policy", "jobs"), [("Allow", 3), ("Forbid", 1), ("Replace", 1)])
def test_concurrency(policy, jobs):
    cluster = Crons(runs=False)
    cluster.create(CRONJOBS, cron("* * * * *", concurrencyPolicy=policy))
    cluster.advance(60 * 3)
    names = cluster.names(JOBS)
    assert len(names) == jobs
    active = cluster.get(CRONJOBS, "c")["status"]["active"]
    assert [a["name"] for a in active] == names
    newest = int(names[-1][2:]) * 60 > cluster.clock.now() - 61
    assert newest == (policy != "Forbid")
    if policy == "Forbid":
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        assert text in cluster.events("CronJob", "JobAlreadyActive")


def test_a_suspended_one_waits_and_does_not_catch_up_beyond_its_deadline():
    cluster = Crons()
    cluster.create(CRONJOBS, cron(suspend=True, startingDeadlineSeconds=30))
    start = cluster.clock.now()
    cluster.advance(300 - start % 300 + 120)
    assert cluster.names(JOBS) == []
    cluster.apply(CRONJOBS, "c", suspend=False)
    cluster.drain()
    assert cluster.names(JOBS) == []
    cluster.advance(300)
    assert len(cluster.names(JOBS)) == 1


def test_one_that_was_missed_is_started_late():
    cluster = Crons()
    cluster.create(CRONJOBS, cron(suspend=True))
    start = cluster.clock.now()
    cluster.advance(300 - start % 300 + 620)
    cluster.apply(CRONJOBS, "c", suspend=False)
    cluster.drain()
    (name,) = cluster.names(JOBS)
    assert int(name[2:]) * 60 == cluster.clock.now() - cluster.clock.now() % 300


def test_its_jobs_go_with_it():
    cluster = Crons()
    cluster.create(CRONJOBS, cron("* * * * *"))
    cluster.advance(130)
    assert len(cluster.names(JOBS)) == 2
    cluster.delete(CRONJOBS, "c")
    cluster.drain()
    assert (cluster.names(JOBS), cluster.names(PODS)) == ([], [])


def test_a_job_made_by_hand_of_its_template_counts_as_its_last_success():
    cluster = Crons()
    cluster.create(CRONJOBS, cron("0 0 1 1 *"))
    cluster.drain()
    made = cluster.get(CRONJOBS, "c")
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": "c",
        "uid": made["metadata"]["uid"],
        "controller": True,
    }
    spec = made["spec"]["jobTemplate"]["spec"]
    cluster.create(JOBS, {"metadata": {"name": "m", "ownerReferences": [owner]}, "spec": spec})
    cluster.advance(60)
    (job,) = cluster.all(JOBS)
    assert cluster.get(CRONJOBS, "c")["status"] == {"lastSuccessfulTime": job["status"]["completionTime"]}
    assert cluster.events("CronJob") == ["Saw a job that the controller did not create or forgot: m"]
