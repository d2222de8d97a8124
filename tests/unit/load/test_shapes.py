"""Churn windows, steps of incremental loads and shapes of arrivals: properties over all inputs."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.base.errors import KubedynoError
from kubedyno.load.config.spec import ArrivalSpec, IncrementalSpec
from kubedyno.load.engine.arrival import Schedule, offsets
from kubedyno.load.engine.churn import fresh, natural, window
from kubedyno.load.engine.steps import steps


@given(st.integers(1, 10_000), st.integers(0, 100), st.integers(1, 20))
def test_a_churn_window_is_never_empty_nor_larger_than_what_there_is(count, percent, multiple):
    size = window(count, percent, multiple)
    assert 1 <= size <= count
    assert size == count or size % multiple == 0
    assert size >= min(percent * count // 100, count)


def test_names_are_sorted_as_people_count():
    assert sorted(["a-10", "a-2", "a-1", "b-0"], key=natural) == ["a-1", "a-2", "a-10", "b-0"]


@given(
    st.integers(1, 50), st.integers(0, 500), st.sampled_from(["linear", "exponential"]), st.integers(0, 10),
    st.integers(1, 60), st.integers(0, 40), st.integers(0, 5),
)  # fmt: skip
def test_steps_ascend_from_the_first_to_the_total(start, more, pattern, least, size, increase, warm):
    load = IncrementalSpec(start, start + more, 0, pattern, least, size, 2.0, increase, warm)
    found = steps(load)
    assert found[0] == start
    assert found[-1] == start + more
    assert all(a < b for a, b in itertools.pairwise(found))
    if pattern == "linear" and more >= least * least:
        assert len(found) > least


def test_linear_and_exponential_steps_are_those_of_the_original():
    # The figures of a run of kube-burner's own configuration.
    assert steps(IncrementalSpec(5, 20, min_steps=4, step_size=5)) == [5, 9, 13, 17, 20]
    assert steps(IncrementalSpec(2, 10, step_size=3)) == [2, 5, 8, 10]
    assert steps(IncrementalSpec(5, 100, pattern="exponential")) == [5, 25, 65, 100]
    assert steps(IncrementalSpec(5, 100, pattern="exponential", warmup_steps=3)) == [5, 10, 15, 25, 45, 85, 100]
    assert steps(IncrementalSpec(5, 40, pattern="exponential", max_increase=15)) == [5, 20, 35, 40]


def first(spec, count, qps=10.0, tmp=None):
    return list(itertools.islice(offsets(spec, qps, tmp), count))


def test_a_ramp_reaches_its_end_rate_and_sends_the_integral_of_its_rate():
    due = first(ArrivalSpec("ramp", 10, 30, 10), 400)
    assert len([at_s for at_s in due if at_s < 10]) == 200
    assert due[-1] - due[-2] == pytest.approx(1 / 30)
    assert all(a <= b for a, b in itertools.pairwise(due))
    falling = first(ArrivalSpec("ramp", 30, 10, 10), 300)
    assert len([at_s for at_s in falling if at_s < 10]) == 200


def test_steps_of_rates_send_each_rate_for_its_time():
    due = first(ArrivalSpec("steps", 10, 30, steps=3, step_s=2), 200)
    counts = [len([at_s for at_s in due if low <= at_s < low + 2]) for low in (0, 2, 4)]
    assert counts == pytest.approx([20, 40, 60], abs=1)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_their_kind():
    due = first(ArrivalSpec("poisson", seed=1), 5000, qps=50)
    gaps = [b - a for a, b in itertools.pairwise(due)]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(1 / 50, rel=0.05)
    # Of an exponential distribution the deviation is the mean.
    assert (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5 == pytest.approx(mean, rel=0.05)
    assert due == first(ArrivalSpec("poisson", seed=1), 5000, qps=50)


def test_a_recorded_timeline_is_sent_again_and_a_wrong_line_is_named(tmp_path):
    (tmp_path / "a.txt").write_text("0.5\n0 # first\n\n2\n")
    assert first(ArrivalSpec("replay", file="a.txt"), 9, tmp=tmp_path) == [0.0, 0.5, 2.0]
    (tmp_path / "a.txt").write_text("0\nsoon\n")
    with pytest.raises(KubedynoError, match=r"a.txt line 2: 'soon'"):
        offsets(ArrivalSpec("replay", file="a.txt"), 1, tmp_path)


def test_a_late_request_leaves_at_once_and_shifts_nothing():
    schedule = Schedule(iter([0.0, 1.0, 2.0]))
    assert schedule.reserve(10.0) == 10.0
    assert schedule.reserve(11.5) == 11.5
    assert schedule.reserve(11.5) == 12.0
    assert schedule.reserve(13.0) == 13.0


def test_a_live_object_is_made_again_without_what_the_server_gave_it():
    live = {
        "metadata": {"name": "a", "uid": "u", "resourceVersion": "1", "labels": {"x": "y"}},
        "spec": {"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"], "ports": [{"port": 80, "nodePort": 30000}]},
        "status": {"loadBalancer": {}},
    }
    made = fresh(live, "v1", "Service")
    for gone in (b"uid", b"10.0.0.1", b"nodePort", b"status", b"resourceVersion"):
        assert gone not in made
    assert b'"labels":{"x":"y"}' in made
    assert b'"kind":"Service"' in made


def test_a_live_job_loses_the_labels_of_its_controller():
    labels = {"app": "x", "batch.kubernetes.io/controller-uid": "u", "controller-uid": "u", "job-name": "a"}
    live = {
        "metadata": {"name": "a"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {}}},
    }
    made = fresh(live, "batch/v1", "Job")
    assert b"controller-uid" not in made
    assert b"job-name" not in made
    assert b'"labels":{"app":"x"}' in made
