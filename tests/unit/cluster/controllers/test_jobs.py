"""Jobs: counting, indexes, policies, suspension, and the ends that they come to."""

import orjson
import pytest

from kubedyno.kube.resources import JOBS, PODS

from .conftest import NS, Cluster, template

TRACKING = "batch.kubernetes.io/job-tracking"


def job(name: str = "j", **spec):
    restart = spec.pop("restartPolicy", "Never")
    made = template({"a": "b"}, restartPolicy=restart)
    return {"metadata": {"name": name}, "spec": {"template": made, **spec}}


class Jobs(Cluster):
    """A cluster whose pods end when the test says so."""

    def __init__(self, **settings) -> None:
        super().__init__(kubelet=False, speed=0.0, **settings)
        self.ended: set[str] = set()

    def start(self, **spec):
        self.create(JOBS, job(**spec))
        self.drain()

    def end(self, phase: str = "Succeeded", *, code: int = 0, index: int | None = None, reason: str = "") -> None:
        """End one pod that runs."""
        for pod in self.pods():
            label = pod.obj.labels.get("batch.kubernetes.io/job-completion-index")
            if pod.obj.facts.phase in {"Succeeded", "Failed"} or (index is not None and label != str(index)):
                continue
            bound = self.trusted.bind(pod, "n1")
            status = orjson.loads(bound.obj.status)
            now = "2026-11-18T14:06:40Z"
            status["phase"] = phase
            ended = {"exitCode": code, "reason": "x", "startedAt": now, "finishedAt": self.now()}
            status["containerStatuses"] = [
                {"name": "c", "image": "i", "imageID": "", "restartCount": 0, "ready": False, "state": {"terminated": ended}}
            ]  # fmt: skip
            if reason:
                status.setdefault("conditions", []).append(
                    {"type": reason, "status": "True", "lastTransitionTime": now}
                )
            self.trusted.replace_status(PODS, bound, status)
            self.drain()
            return
        raise AssertionError("no pod runs")

    def now(self) -> str:
        from kubedyno.base.times import rfc3339

        return rfc3339(self.clock.now())

    @property
    def status(self):
        return self.get(JOBS, "j")["status"]

    def running(self):
        return [p for p in self.pods() if p.obj.facts.phase not in {"Succeeded", "Failed"} and not p.obj.deletion_s]

    def conditions(self):
        return [(c["type"], c["reason"], c["message"]) for c in self.status.get("conditions", [])]


@pytest.fixture
def jobs():
    return Jobs()


def test_a_job_completes_as_recorded(jobs):
    seen = []
    table = jobs.store.table(JOBS)
    changes = table.changes()
    table.subscribe(lambda: seen.extend(orjson.loads(r.obj.status) for r in changes.next()))
    jobs.start()
    (pod,) = jobs.all(PODS)
    assert pod["metadata"]["name"].startswith("j-")
    assert pod["metadata"]["generateName"] == "j-"
    assert pod["metadata"]["finalizers"] == [TRACKING]
    uid = jobs.get(JOBS, "j")["metadata"]["uid"]
    assert pod["metadata"]["labels"] == {
        "a": "b", "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": "j",
        "controller-uid": uid, "job-name": "j",
    }  # fmt: skip
    assert pod["metadata"]["ownerReferences"][0]["kind"] == "Job"
    now = jobs.now()
    assert jobs.status == {
        "active": 1, "ready": 0, "startTime": now, "terminating": 0, "uncountedTerminatedPods": {}
    }  # fmt: skip
    jobs.end()
    reached = {"status": "True", "lastProbeTime": now, "lastTransitionTime": now, "reason": "CompletionsReached",
               "message": "Reached expected number of succeeded pods"}  # fmt: skip
    assert jobs.status == {
        "conditions": [{"type": "SuccessCriteriaMet", **reached}, {"type": "Complete", **reached}],
        "startTime": now, "completionTime": now, "succeeded": 1, "terminating": 0, "uncountedTerminatedPods": {},
        "ready": 0,
    }  # fmt: skip
    # The pod is named before it is a number.
    assert seen[-2]["uncountedTerminatedPods"] == {"succeeded": [pod["metadata"]["uid"]]}
    assert "succeeded" not in seen[-2]
    (pod,) = jobs.all(PODS)
    assert "finalizers" not in pod["metadata"]
    assert jobs.events("Job") == [f"Created pod: {pod['metadata']['name']}", "Job completed"]


def test_pods_are_made_as_far_as_parallelism_and_completions_allow(jobs):
    jobs.start(completions=5, parallelism=2)
    assert len(jobs.running()) == 2
    for left in (2, 2, 2, 1, 0):
        jobs.end()
        assert len(jobs.running()) == left
    assert (jobs.status["succeeded"], len(jobs.pods())) == (5, 5)
    assert jobs.conditions()[-1][0] == "Complete"


def test_a_work_queue_ends_with_its_last_pod_once_one_has_succeeded(jobs):
    jobs.start(parallelism=3)
    jobs.end()
    assert (len(jobs.running()), jobs.status["active"]) == (2, 2)
    jobs.end("Failed", code=1)
    assert len(jobs.running()) == 1
    jobs.end()
    assert jobs.conditions()[-1][0] == "Complete"


def test_a_failed_pod_is_replaced_after_a_back_off_that_doubles(jobs):
    jobs.start(backoffLimit=2)
    jobs.end("Failed", code=1)
    assert (jobs.status["failed"], jobs.running()) == (1, [])
    jobs.advance(9.5)
    assert jobs.running() == []
    jobs.advance(1)
    jobs.end("Failed", code=1)
    jobs.advance(19)
    assert jobs.running() == []
    jobs.advance(1.5)
    jobs.end("Failed", code=1)
    text = "Job has reached the specified backoff limit"
    assert jobs.conditions() == [
        ("FailureTarget", "BackoffLimitExceeded", text), ("Failed", "BackoffLimitExceeded", text)
    ]  # fmt: skip
    assert "completionTime" not in jobs.status
    assert jobs.status["failed"] == 3
    assert jobs.events("Job", "BackoffLimitExceeded") == [text]


def test_a_job_that_fails_stops_its_other_pods_and_waits_for_them(jobs):
    jobs.start(completions=3, parallelism=3, backoffLimit=0)
    for pod in jobs.running():
        jobs.trusted.bind(pod, "n1")
    jobs.drain()
    first = jobs.running()[0]
    jobs.set_ready(first, ready=False, phase="Failed")
    jobs.drain()
    assert [c[0] for c in jobs.conditions()] == ["FailureTarget"]
    assert (jobs.status["terminating"], jobs.status["failed"]) == (2, 3)
    for pod in jobs.pods():
        if pod.obj.deletion_s:
            jobs.trusted.finish_delete(PODS, pod.key)
    jobs.drain()
    assert [c[0] for c in jobs.conditions()] == ["FailureTarget", "Failed"]
    assert jobs.status["terminating"] == 0


def test_indexed_pods_know_their_index(jobs):
    jobs.start(completions=3, parallelism=2, completionMode="Indexed")
    pods = jobs.all(PODS)
    assert [p["metadata"]["generateName"] for p in pods] == ["j-0-", "j-1-"]
    assert [p["spec"]["hostname"] for p in pods] == ["j-0", "j-1"]
    key = "batch.kubernetes.io/job-completion-index"
    assert [(p["metadata"]["annotations"][key], p["metadata"]["labels"][key]) for p in pods] == [("0", "0"), ("1", "1")]
    assert pods[0]["spec"]["containers"][0]["env"] == [{
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{key}']"}},
    }]  # fmt: skip
    jobs.end(index=1)
    assert (jobs.status["completedIndexes"], jobs.status["succeeded"]) == ("1", 1)
    jobs.end(index=2)
    jobs.end(index=0)
    assert (jobs.status["completedIndexes"], jobs.conditions()[-1][0]) == ("0-2", "Complete")


def test_an_index_may_fail_alone(jobs):
    jobs.start(completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1)
    jobs.end("Failed", code=1, index=0)
    jobs.end(index=1)
    assert jobs.running() == []
    jobs.advance(11)
    (pod,) = jobs.running()
    assert jobs.get(PODS, pod.obj.name)["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
    jobs.end("Failed", code=1, index=0)
    assert (jobs.status["failedIndexes"], jobs.status["completedIndexes"]) == ("0", "1")
    assert jobs.conditions()[-1] == ("Failed", "FailedIndexes", "Job has failed indexes")


def test_too_many_failed_indexes_end_it(jobs):
    jobs.start(completions=4, parallelism=4, completionMode="Indexed", backoffLimitPerIndex=0, maxFailedIndexes=1)
    jobs.end("Failed", code=1, index=0)
    assert jobs.conditions() == []
    jobs.end("Failed", code=1, index=1)
    assert jobs.conditions()[0][1] == "MaxFailedIndexesExceeded"


def rule(action, *values, **more):
    return {"action": action, "onExitCodes": {"operator": "In", "values": list(values), **more}}


def test_the_failure_policy_ends_a_job_at_once(jobs):
    jobs.start(podFailurePolicy={"rules": [rule("FailJob", 42, containerName="c")]})
    jobs.end("Failed", code=42)
    name = jobs.pods()[0].obj.name
    text = f"Container c for pod {NS}/{name} failed with exit code 42 matching FailJob rule at index 0"
    assert jobs.conditions()[-1] == ("Failed", "PodFailurePolicy", text)


def test_the_failure_policy_ignores_disruptions(jobs):
    condition = {"type": "DisruptionTarget"}
    policy = {"rules": [{"action": "Ignore", "onPodConditions": [condition]}]}
    jobs.start(backoffLimit=0, podFailurePolicy=policy)
    jobs.end("Failed", code=137, reason="DisruptionTarget")
    assert jobs.conditions() == []
    assert "failed" not in jobs.status
    jobs.advance(11)
    jobs.end()
    assert jobs.conditions()[-1][0] == "Complete"


def test_the_success_policy_needs_not_all(jobs):
    policy = {"rules": [{"succeededIndexes": "0-1", "succeededCount": 1}]}
    jobs.start(completions=3, parallelism=3, completionMode="Indexed", successPolicy=policy)
    jobs.end(index=2)
    assert jobs.conditions() == []
    jobs.end(index=1)
    assert jobs.conditions()[-1] == ("Complete", "SuccessPolicy", "Matched rules at index 0")
    assert "failed" not in jobs.status


def test_a_suspended_job_has_no_pods_and_begins_anew(jobs):
    jobs.start(suspend=True)
    assert jobs.pods() == []
    assert jobs.conditions() == [("Suspended", "JobSuspended", "Job suspended")]
    assert "startTime" not in jobs.status
    jobs.advance(5)
    jobs.apply(JOBS, "j", suspend=False)
    jobs.drain()
    assert jobs.conditions() == [("Suspended", "JobResumed", "Job resumed")]
    assert (jobs.status["startTime"], jobs.status["active"]) == (jobs.now(), 1)
    jobs.apply(JOBS, "j", suspend=True)
    jobs.drain()
    assert jobs.running() == []
    assert "failed" not in jobs.status
    assert jobs.events("Job")[0:1] == ["Job suspended"]


def test_a_deadline_ends_it(jobs):
    jobs.start(activeDeadlineSeconds=30)
    jobs.advance(29)
    assert jobs.conditions() == []
    jobs.advance(1.5)
    text = "Job was active longer than specified deadline"
    assert jobs.conditions()[-1] == ("Failed", "DeadlineExceeded", text)
    assert jobs.running() == []


def test_a_finished_job_goes_when_its_time_is_over(jobs):
    jobs.start(ttlSecondsAfterFinished=60)
    jobs.end()
    jobs.advance(59)
    assert jobs.names(JOBS) == ["j"]
    jobs.advance(2)
    assert (jobs.names(JOBS), jobs.names(PODS)) == ([], [])


def test_pods_of_a_deleted_job_are_let_go(jobs):
    jobs.start(completions=3, parallelism=3)
    jobs.delete(JOBS, "j", policy="Background")
    jobs.drain()
    assert (jobs.names(JOBS), jobs.names(PODS)) == ([], [])


def test_fewer_are_run_when_parallelism_falls(jobs):
    jobs.start(completions=10, parallelism=4)
    jobs.apply(JOBS, "j", parallelism=1)
    jobs.drain()
    assert (len(jobs.running()), jobs.status["active"]) == (1, 1)
    assert "failed" not in jobs.status
    assert len(jobs.events("Job", "SuccessfulDelete")) == 3


def test_another_controllers_job_is_left_alone(jobs):
    jobs.start(managedBy="example.com/other")
    assert (jobs.pods(), jobs.status) == ([], {})


def test_pods_changes_are_gathered_for_a_second():
    cluster = Cluster(kubelet=False)
    cluster.create(JOBS, job())
    cluster.drain()
    (pod,) = cluster.pods()
    cluster.set_ready(cluster.trusted.bind(pod, "n1"), ready=False, phase="Succeeded")
    cluster.advance(0.9)
    assert "conditions" not in cluster.get(JOBS, "j")["status"]
    cluster.advance(0.2)
    assert cluster.get(JOBS, "j")["status"]["succeeded"] == 1


def test_no_pod_is_lost_or_counted_twice_when_letting_go_fails(jobs, monkeypatch, caplog):
    caplog.set_level("CRITICAL")
    jobs.start(completions=6, parallelism=3)
    real, calls = jobs.trusted.replace, []

    def flaky(resource, record, **parts):
        calls.append(parts)
        if len(calls) % 2:
            raise ZeroDivisionError("flaky")
        return real(resource, record, **parts)

    monkeypatch.setattr(jobs.trusted, "replace", flaky)
    for _ in range(6):
        running = jobs.running()
        if not running:
            jobs.advance(30)
        for pod in jobs.running():
            jobs.set_ready(jobs.trusted.bind(pod, "n1"), ready=False, phase="Succeeded")
        jobs.advance(30)
    assert jobs.status["succeeded"] == 6
    assert len(jobs.pods()) == 6
    assert jobs.conditions()[-1][0] == "Complete"


def test_a_pod_that_stops_is_replaced_at_once_or_only_when_it_has_ended():
    for policy, running in (("TerminatingOrFailed", 1), ("Failed", 0)):
        jobs = Jobs()
        jobs.start(podReplacementPolicy=policy)
        (pod,) = jobs.running()
        jobs.trusted.bind(pod, "n1")
        jobs.delete(PODS, pod.obj.name)
        jobs.drain()
        jobs.advance(11)
        assert len(jobs.running()) == running
        assert (jobs.status["terminating"], jobs.status.get("failed", 0)) == (1, running)


def test_a_container_that_ended_well_matches_no_exit_code(jobs):
    codes = {"operator": "NotIn", "values": [1]}
    jobs.start(podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": codes}]})
    jobs.end("Failed", code=0)
    assert jobs.conditions() == []
    jobs.advance(11)
    jobs.end("Failed", code=7)
    assert jobs.conditions()[-1][1] == "PodFailurePolicy"
