"""The difference between a server's clock and ours, from stamps of whole seconds."""

import math
from email.utils import formatdate

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import rfc3339
from kubedyno.client import clockgap
from kubedyno.client.api import Result
from kubedyno.client.clockgap import Gap

T0 = 1_790_000_000.25


class Server:
    """Answers after 2 ms each way, with a clock of its own; `clock` is the client's."""

    def __init__(self, ahead_s, dates=True, status=200):
        self.ahead_s, self.dates, self.status = ahead_s, dates, status
        self.at_s = T0
        self.asked = []

    def now(self):
        return self.at_s

    monotonic = now

    async def request(self, method, path, *, body=b""):
        self.asked.append((method, path))
        self.at_s += 0.002
        stamp_s = math.floor(self.at_s + self.ahead_s)
        self.at_s += 0.002
        fields = {"date": formatdate(stamp_s, usegmt=True)} if self.dates else {}
        made = {"metadata": {"creationTimestamp": rfc3339(stamp_s)}} if self.status == 200 else {"message": "no"}
        return Result(self.status, orjson.dumps(made), None, fields)


def measured(server, monkeypatch):
    async def sleep(wait_s):
        server.at_s += wait_s

    monkeypatch.setattr(clockgap.aio, "sleep", sleep)
    gap = Gap()
    aio.run(clockgap.measure(server, server, gap))
    return gap


@pytest.mark.parametrize("ahead_s", [0.0, 0.3, -0.7, 12.345, -3600.5])
@pytest.mark.parametrize("dates", [True, False])
def test_the_difference_is_known_to_a_few_milliseconds_after_a_few_stamps(monkeypatch, ahead_s, dates):
    server = Server(ahead_s, dates)
    gap = measured(server, monkeypatch)
    assert gap.low_s - 1e-6 <= ahead_s <= gap.high_s + 1e-6
    assert gap.half_s <= 0.005
    assert server.at_s - T0 < 17
    assert ("POST" in {method for method, _ in server.asked}) is not dates


def test_without_any_stamp_nothing_is_known(monkeypatch):
    assert not measured(Server(0, dates=False, status=403), monkeypatch).known


def test_a_server_that_is_gone_leaves_what_was_known():
    class Gone(Server):
        async def request(self, *_args, **_more):
            raise KubedynoError("gone")

    server, gap = Gone(0), Gap()
    gap.narrow(100.0, 100.2, 100.3)
    aio.run(clockgap.measure(server, server, gap))
    assert (round(gap.low_s, 3), round(gap.high_s, 3)) == (-0.3, 0.8)


def test_a_clock_that_was_set_begins_anew():
    gap = Gap()
    gap.narrow(100.0, 100.2, 100.3)
    gap.narrow(200.0, 100.4, 100.5)
    assert (round(gap.low_s, 3), round(gap.high_s, 3)) == (99.5, 100.6)
