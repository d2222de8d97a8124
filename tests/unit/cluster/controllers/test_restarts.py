"""Controllers that begin anew with what is there: nothing is made twice, nothing is forgotten."""

from kubedyno.cluster.controllers.manager import ControllerManager
from kubedyno.kube.resources import ENDPOINTS, ENDPOINTSLICES, JOBS, PODS, SERVICES

from .conftest import HandPump
from .test_endpoints import add_pod, make, service, slices
from .test_jobs import Jobs

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"


def restart(cluster):
    cluster.pump = HandPump(cluster.clock, slice_items=1600)
    cluster.manager = ControllerManager(cluster.trusted, cluster.pump, cluster.settings, ca_pem=b"CA")
    cluster.manager.start()
    cluster.drain()


def test_slices_are_taken_over_as_they_are():
    cluster = make()
    cluster.create(SERVICES, service())
    for number in range(150):
        add_pod(cluster, number)
    cluster.drain()
    before = slices(cluster), cluster.get(ENDPOINTS, "web")
    restart(cluster)
    assert (slices(cluster), cluster.get(ENDPOINTS, "web")) == before


def test_what_changed_meanwhile_is_made_good():
    cluster = make()
    cluster.create(SERVICES, service())
    for number in range(3):
        add_pod(cluster, number)
    cluster.drain()
    cluster.registry.delete(PODS, "ns", "p1", {"gracePeriodSeconds": 0})
    add_pod(cluster, 7)
    restart(cluster)
    (slice_,) = slices(cluster)
    assert sorted(e["targetRef"]["name"] for e in slice_["endpoints"]) == ["p0", "p2", "p7"]
    assert len(cluster.names(ENDPOINTSLICES)) == 1


def test_a_job_goes_on_where_it_was():
    jobs = Jobs()
    jobs.start(completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=2)
    jobs.end("Failed", code=1, index=0)
    jobs.advance(11)
    jobs.end("Failed", code=1, index=0)
    restart(jobs)
    jobs.advance(25)
    pods = [p["metadata"]["annotations"] for p in jobs.all(PODS) if p["status"]["phase"] == "Pending"]
    assert {p[INDEX]: p[FAILURES] for p in pods} == {"0": "2", "1": "0", "2": "0"}
    jobs.end("Failed", code=1, index=0)
    jobs.end(index=1)
    restart(jobs)
    jobs.end(index=2)
    status = jobs.get(JOBS, "j")["status"]
    assert (status["completedIndexes"], status["failedIndexes"]) == ("1,2", "0")
    assert jobs.conditions()[-1][1] == "FailedIndexes"
