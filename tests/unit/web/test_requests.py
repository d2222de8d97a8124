"""What an API server has answered, from its metrics."""

from kubedyno.web.requests import Requests, requests_of, since

PAGE = b"""# TYPE apiserver_request_total counter
apiserver_request_total{code="201",group="",resource="pods",verb="POST"} 40
apiserver_request_total{code="429",group="",resource="pods",verb="POST"} 2
apiserver_request_total{code="429",group="",resource="a}b",verb="LIST"} 1e+01
apiserver_request_total{code="200",resource="pods",verb="WATCH"} 7
apiserver_request_duration_seconds_count{verb="POST"} 1000
"""


def test_writes_and_refusals_are_counted():
    assert requests_of(PAGE, 1.0) == Requests(1.0, 42, 12)


def test_a_page_that_counts_no_requests_says_nothing():
    assert requests_of(b"up 1\n", 1.0) is None


def test_rates_are_of_the_time_between_and_a_new_server_counts_from_0():
    assert since(Requests(1.0, 40, 2), Requests(5.0, 60, 5)) == [5.0, 3, 4.0]
    assert since(Requests(1.0, 40, 2), Requests(5.0, 8, 1)) == [2.0, 1, 4.0]
