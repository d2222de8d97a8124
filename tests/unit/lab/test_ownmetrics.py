"""`--metrics-port`: the page, who may ask, and what it counts."""

import urllib.error
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from kubedyno.base.errors import KubedynoError
from kubedyno.lab import ownmetrics
from kubedyno.lab.ownmetrics import OwnMetrics
from kubedyno.load.engine.record import JobRecord
from kubedyno.promql.exposition import Sample, labels_of, read
from ports import free_port


@dataclass
class FakeRun:
    """What a run shows of itself."""

    result: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(jobs=[], exit_code=0))
    current: SimpleNamespace | None = None

    def job(self, name: str, accepted: int, failed: int = 0) -> None:
        record = JobRecord(name, "create", 10.0, 10, asked=100, accepted=accepted)
        record.failed = Counter({"409": failed})
        self.current = SimpleNamespace(record=record, pods=None)
        self.result.jobs.append(self.current)


def values(page: bytes, name: str) -> dict[frozenset[tuple[str, str]], float]:
    return {
        frozenset((k, v) for k, v in labels_of(item.series).items() if k != "__name__"): item.value
        for item in read(page.decode())
        if isinstance(item, Sample) and item.series.partition("{")[0] == name
    }


def outcome(job: str, what: str) -> frozenset[tuple[str, str]]:
    return frozenset({("job_name", job), ("outcome", what)})


def ask(port: int, path: str = "/metrics", host: str = "", method: str = "GET") -> tuple[int, bytes]:
    headers = {"host": host} if host else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_requests_of_all_runs_add_up_while_one_goes_on():
    own = OwnMetrics("study")
    assert values(own.page(), "kubedyno_runs_total") == {}
    first, second = FakeRun(), FakeRun()
    own.follow(first)  # type: ignore[arg-type]
    first.job("a", accepted=5, failed=2)
    assert values(own.page(), "kubedyno_requests_total")[outcome("a", "accepted")] == 5
    assert values(own.page(), "kubedyno_requests_asked") == {frozenset({("job_name", "a")}): 100}
    first.result.exit_code = 1
    own.ended(first)  # type: ignore[arg-type]
    own.follow(second)  # type: ignore[arg-type]
    second.job("a", accepted=3)
    totals = values(own.page(), "kubedyno_requests_total")
    assert (totals[outcome("a", "accepted")], totals[outcome("a", "failed")]) == (8, 2)
    own.ended(second)  # type: ignore[arg-type]
    assert values(own.page(), "kubedyno_requests_total") == totals
    assert values(own.page(), "kubedyno_runs_total") == {frozenset(): 2}
    assert values(own.page(), "kubedyno_runs_failed_total") == {frozenset(): 1}
    assert values(own.page(), "kubedyno_run_active") == {frozenset(): 0}


def test_the_port_answers_this_machine_alone_and_is_free_again_afterwards():
    port = free_port()
    with ownmetrics.serving(port, "init"):
        status, body = ask(port)
        assert status == 200
        assert b'command="init"' in body
        assert b"process_resident_memory_bytes" in body
        assert ask(port, host="evil.example")[0] == 421
        assert ask(port, path="/")[0] == 404
        assert ask(port, method="POST")[0] == 405
        with (
            pytest.raises(KubedynoError, match=f"--metrics-port: 127.0.0.1:{port}: cannot listen"),
            ownmetrics.serving(port, "view"),
        ):
            pass
    with ownmetrics.serving(port, "init"):
        assert ask(port)[0] == 200


def test_without_a_port_nothing_is_served_and_a_wrong_one_is_told():
    with ownmetrics.serving(None, "init") as own:
        assert own.page()
    with pytest.raises(KubedynoError, match="--metrics-port 70000"), ownmetrics.serving(70000, "init"):
        pass


def test_a_free_port_is_told_where_the_user_sees_it(capsys: pytest.CaptureFixture[str]) -> None:
    with ownmetrics.serving(0, "init"):
        told = capsys.readouterr().err
        port = int(told.removeprefix("own metrics: http://127.0.0.1:").removesuffix("/metrics\n"))
        status, page = ask(port)
    assert status == 200
    assert b'command="init"' in page
