"""The sender when the cluster goes away, comes back, or says no for good."""

import asyncio
import json
import logging

import pytest

from kubedyno.base import aio
from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.client.api import Result
from kubedyno.http.exchange import ConnectionLost
from kubedyno.load.engine.bucket import TokenBucket
from kubedyno.load.engine.create import FINAL
from kubedyno.load.engine.record import JobRecord
from kubedyno.load.engine.sender import GoneError, Sender

RBAC = 'pods is forbidden: User "u" cannot create resource "pods" in API group "" in the namespace "n"'


class Cluster:
    """Answers in the loop's next turn, with what `answer` says."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = 0

    def submit(self, _method, _path, _body, done, _headers=()):
        self.asked += 1
        outcome = self.answer(self.asked)
        result = outcome
        if not isinstance(outcome, Result):
            result = Result(0, b"", outcome) if isinstance(outcome, OSError) else Result(*outcome)
        asyncio.get_running_loop().call_soon(done, result)

    def unreachable(self, error):
        return f"https://127.0.0.1:1: {error}"


def refusal(code, reason, message):
    return code, json.dumps({"kind": "Status", "code": code, "reason": reason, "message": message}).encode()


def send(answer, count, *, gone_after_s=60.0):
    cluster, record, lines = Cluster(answer), JobRecord("j", "create", 1000, 1000), []

    async def run():
        sender = Sender(
            cluster, TokenBucket(1000, 1000), record, SYSTEM_CLOCK, retry_budget_s=30,
            final=lambda status: status in FINAL, on_error=lines.append, gone_after_s=gone_after_s,
        )  # fmt: skip
        try:
            async with aio.timeout(60):
                for number in range(count):
                    await sender.send("POST", "/api/v1/namespaces/n/pods", b"{}", f"Pod/{number}")
                await sender.finish()
        finally:
            sender.close()

    return cluster, record, lines, run


def test_a_cluster_that_is_gone_is_said_once_and_ends_the_run(caplog):
    caplog.set_level(logging.INFO, "kubedyno")
    cluster, record, lines, run = send(
        lambda n: (201, b"{}") if n <= 5 else ConnectionRefusedError("refused"), 50, gone_after_s=1.0
    )
    with pytest.raises(GoneError, match=r"the cluster is gone: https://127\.0\.0\.1:1: refused; no answer for 1s"):
        aio.run(run())
    assert [r.getMessage() for r in caplog.records if "Retrying" in r.getMessage()] == []
    assert sum(r.getMessage().startswith("the cluster is gone") for r in caplog.records) == 1
    assert record.accepted == 5
    assert record.accepted + sum(record.failed.values()) == record.sent
    assert set(record.failed) == {"ClusterGone"}
    assert len(lines) == 1
    # Nobody hammers what is not there.
    assert cluster.asked <= record.sent + 3


def test_a_cluster_that_comes_back_gets_everything(caplog):
    caplog.set_level(logging.INFO, "kubedyno")
    cluster, record, lines, run = send(
        lambda n: ConnectionRefusedError("refused") if 5 < n <= 25 else (201, b"{}"), 24, gone_after_s=8.0
    )
    aio.run(run())
    assert record.accepted == record.sent == 24
    assert not record.failed
    assert not lines
    assert cluster.asked == 24 + record.retried
    assert any("answers again" in r.getMessage() for r in caplog.records)


def test_one_lost_connection_is_no_lost_cluster(caplog, monkeypatch):
    monkeypatch.setattr("kubedyno.load.engine.sender.RETRY_BASE_S", 0.01)
    _, record, _, run = send(lambda n: ConnectionLost("hung up") if n == 3 else (201, b"{}"), 10)
    aio.run(run())
    assert (record.accepted, record.retried) == (10, 1)
    assert "the cluster is gone" not in caplog.text


@pytest.mark.parametrize(
    ("code", "reason", "message"), [(422, "Invalid", "spec: bad"), (400, "BadRequest", "eh"), (403, "Forbidden", RBAC)]
)
def test_what_is_refused_for_good_is_asked_once_and_said_once(caplog, code, reason, message):
    cluster, record, lines, run = send(lambda _: refusal(code, reason, message), 4)
    aio.run(run())
    assert cluster.asked == 4
    assert record.failed == {reason: 4}
    assert len(lines) == 4
    assert caplog.text.count("trying again cannot help") == 1


def test_a_quota_may_pass_and_is_tried_again(monkeypatch):
    monkeypatch.setattr("kubedyno.load.engine.sender.RETRY_BASE_S", 0.01)
    full = refusal(403, "Forbidden", 'pods "a" is forbidden: exceeded quota: q, requested: pods=1, used: pods=9')
    _, record, _, run = send(lambda n: full if n == 1 else (201, b"{}"), 2)
    aio.run(run())
    assert (record.accepted, record.retried) == (2, 1)


def test_who_is_told_when_to_come_back_comes_back_then_ten_times_before_it_counts_as_a_try(caplog, monkeypatch):
    monkeypatch.setattr("kubedyno.load.engine.sender._ASKED_BACK_S", 0.01)
    slow_down = Result(429, refusal(429, "TooManyRequests", "slow")[1], None, {"retry-after": "30"})
    cluster, record, lines, run = send(lambda n: slow_down if n <= 10 else (201, b"{}"), 1)
    aio.run(run())
    assert (record.accepted, record.throttled, cluster.asked) == (1, 10, 11)
    assert not lines
    # As a failed try would be told.
    assert "Retrying" not in caplog.text
