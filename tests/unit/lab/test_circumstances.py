"""What is gathered around a run: the API's histograms, pods over time, nodes, events."""

from kubedyno.documents.circumstances import PodsDocument
from kubedyno.lab.circumstances import _once, api_documents, counters_of, event_document, most_pods, pods_document
from kubedyno.load.measurements.pods import PodStart

PAGE = """# HELP apiserver_request_duration_seconds x
apiserver_request_duration_seconds_bucket{verb="POST",resource="pods",le="0.1"} %d
apiserver_request_duration_seconds_bucket{verb="POST",resource="pods",le="0.2"} %d
apiserver_request_duration_seconds_bucket{verb="POST",resource="pods",le="+Inf"} %d
apiserver_request_duration_seconds_bucket{verb="POST",resource="nodes",le="0.1"} %d
apiserver_request_duration_seconds_bucket{verb="POST",resource="nodes",le="0.2"} %d
apiserver_request_duration_seconds_bucket{verb="POST",resource="nodes",le="+Inf"} %d
apiserver_request_duration_seconds_bucket{verb="WATCH",le="+Inf"} %d
another_metric{le="0.1"} 7
"""


def pod(uid, node, seen, ready=None, gone=None):
    found = PodStart("ns", uid, uid, "j", 0, 0, 0.0, seen, {}, {"PodScheduled": seen} if node else {}, node)
    if ready is not None:
        found.seen_s["Ready"] = ready
    found.gone_s = gone
    return found


def test_quantiles_are_those_of_what_came_between_two_looks_over_all_resources():
    before, after = counters_of(PAGE % (10, 10, 10, 0, 0, 0, 3)), counters_of(PAGE % (60, 100, 110, 0, 10, 10, 9))
    (only,) = api_documents(before, after, "u")
    # 50 within 0.1 s, 50 within 0.2 s, 10 beyond: interpolated as histogram_quantile does it.
    assert (only.verb, only.requests, only.p50_ms, only.p95_ms) == ("POST", 110, 110.0, 200.0)
    assert only.buckets == [(0.1, 50), (0.2, 50), (0.0, 10)]


def test_a_server_that_was_restarted_between_gives_no_nonsense():
    before, after = counters_of(PAGE % (50, 50, 50, 0, 0, 0, 0)), counters_of(PAGE % (1, 2, 60, 0, 0, 0, 0))
    assert all(min(n for _, n in each.buckets) > 0 for each in api_documents(before, after, "u"))
    assert api_documents(after, after, "u") == []


def test_pods_become_columns_in_order_of_sight():
    found = pods_document([pod("b", "n2", 12.0, 13.5), pod("a", "", 11.0, gone=14.0)], "j", "u", 10.0)
    assert (found.nodes, found.node) == (["n2"], [-1, 0])
    assert (found.created, found.scheduled, found.ready, found.gone) == (
        [1000, 2000],
        [-1, 2000],
        [-1, 3500],
        [4000, -1],
    )


def test_the_most_pods_of_a_node_are_those_at_one_time():
    document = PodsDocument(
        "u", "", "j", ["n"], [0, 0, 0, -1], [0, 10, 25, 0], [0, 10, 25, -1], [-1] * 4, [20, -1, -1, -1]
    )
    assert most_pods([document]) == {"n": 2}


def test_a_pod_that_two_jobs_follow_counts_once():
    a, b = pod("a", "n", 1.0), pod("b", "n", 1.0)
    assert [[one.uid for one in pods] for _, pods in _once([("x", [a]), ("y", [a, b])])] == [["a"], ["b"]]


def test_events_of_both_groups_and_with_nothing_in_them_are_read():
    old = {
        "metadata": {"namespace": "ns"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "count": 3,
        "type": "Warning",
    }
    new = {"metadata": {}, "regarding": {"name": "q"}, "note": "n" * 5000, "series": {"count": 4}, "eventTime": "t"}
    assert (event_document(old, "u").namespace, event_document(old, "u").count) == ("ns", 3)
    assert (event_document(new, "u").name, event_document(new, "u").count) == ("q", 4)
    assert len(event_document(new, "u").message) == 1000
    assert event_document({"metadata": {}}, "u").reason == ""
