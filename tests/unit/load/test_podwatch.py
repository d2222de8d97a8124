"""A pod watch that is behind when a run ends: what is Ready by then is measured all the same."""

import asyncio

import orjson
import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.client.api import Unreachable
from kubedyno.load.measurements import podwatch
from kubedyno.load.measurements.podwatch import PodWatch


def pod(name, *, ready):
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"}] if ready else []
    meta = {"name": name, "namespace": "n", "uid": name, "creationTimestamp": "2026-01-01T00:00:07Z"}
    status = {"phase": "Running" if ready else "Pending", "conditions": conditions}
    return orjson.dumps({"metadata": meta, "spec": {"nodeName": "node"}, "status": status})


class Behind:
    """A cluster whose watch tells some pods, and then no more."""

    def __init__(self, told, there, error=None):
        self.told, self.there, self.error = told, there, error
        self.asked = []

    def list_watch(self, path, query, *, skip_list):
        async def together():
            yield [("SYNCED", None)]
            yield [("ADDED", raw) for raw in self.told]
            await asyncio.Event().wait()

        return type("Watch", (), {"together": together()})

    async def list_pages(self, path):
        self.asked.append(path)
        if self.error is not None:
            raise self.error
        for raw in self.there:
            yield [raw], "1"


def stopped(cluster, *, own=True, expected=0):
    async def work():
        watch = PodWatch(cluster, "a=b", SYSTEM_CLOCK, events=False, own=own)
        watch.expected = expected
        await watch.start()
        await asyncio.sleep(0)
        await watch.stop()
        # Whoever stops it again changes nothing.
        await watch.stop()
        return watch

    return asyncio.run(work())


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(podwatch, "SETTLE_S", 0.05)


def test_what_became_ready_and_was_not_told_is_looked_up_at_the_end():
    cluster = Behind([pod("a", ready=True), pod("b", ready=False)], [pod("a", ready=True), pod("b", ready=True)])
    watch = stopped(cluster)
    assert cluster.asked == ["/api/v1/pods?labelSelector=a%3Db"]
    assert {name for name, one in watch.tracker.pods.items() if "Ready" in one.seen_s} == {"a", "b"}
    assert watch.tracker.pods["b"].server_s["Ready"] - watch.tracker.pods["b"].created_s == 2
    assert watch.tracker.came_up == watch.tracker.ready == 2


@pytest.mark.parametrize(("own", "seen"), [(True, {"a", "b"}), (False, {"a"})])
def test_a_pod_that_was_not_told_at_all_counts_where_it_can_only_be_the_jobs(own, seen):
    cluster = Behind([pod("a", ready=False)], [pod("a", ready=True), pod("b", ready=True)])
    assert set(stopped(cluster, own=own).tracker.pods) == seen


def test_pods_that_are_through_are_not_asked_for_unless_some_are_missing():
    cluster = Behind([pod("a", ready=True)], [pod("a", ready=True), pod("b", ready=True)])
    assert set(stopped(cluster, expected=1).tracker.pods) == {"a"}
    assert cluster.asked == []
    assert set(stopped(cluster, expected=2).tracker.pods) == {"a", "b"}


def test_a_cluster_that_does_not_answer_any_more_is_told():
    watch = stopped(Behind([pod("a", ready=False)], [], Unreachable("https://x: nothing listens there")))
    assert watch.trouble == ["/api/v1/pods: a last look at the pods: https://x: nothing listens there"]
