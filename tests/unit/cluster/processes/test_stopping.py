"""Pods that are to stop before their processes have started, or failed to."""

import asyncio
from types import SimpleNamespace

import pytest

from kubedyno.base.simulation import simulate
from kubedyno.cluster.processes.confinement import Confinement
from kubedyno.cluster.processes.link import Command
from kubedyno.cluster.processes.runtime import PodProcesses, _Container, _Pod

SPEC = {"name": "c", "image": "busybox", "command": ["sleep", "inf"]}


class Link:
    """Takes orders; a test says what becomes of them."""

    def __init__(self):
        self.signals = []

    def signal(self, command, number, *, everyone):
        self.signals.append((command, number, everyone))


def stopped_while_it_starts(monkeypatch, then):
    """Stop a pod whose only command is on its way; returns what was told, and the signals."""

    async def scene():
        link, told = Link(), []
        body = {"metadata": {"namespace": "n", "name": "p", "uid": "u"}, "spec": {"containers": [SPEC]}}
        containers = {"c": _Container(SPEC, Confinement(asyncio.get_running_loop()))}
        pod = _Pod("u", body, "10.0.0.2", SimpleNamespace(node="n1"), None, None, containers, link)
        command = Command(0, link, tty=False)
        one = PodProcesses.__new__(PodProcesses)
        one._pods, one._images, one._helper, one._group_ids = {"u": pod}, {}, SimpleNamespace(groups=None), iter("0")
        one._clock = SimpleNamespace(now=lambda: 0.0)
        monkeypatch.setattr(one, "_environment", lambda *_: {}, raising=False)
        monkeypatch.setattr(one, "_run", lambda *_, **__: command, raising=False)
        one.start("u", "c", told.append, lambda code, _: told.append(code))
        one.stop("u", 1.0, lambda: told.append("stopped"), told.append)
        await asyncio.sleep(2)
        then(command)
        await asyncio.sleep(2)
        return told, link.signals

    return simulate(scene())


def test_one_that_cannot_start_has_stopped(monkeypatch):
    told, signals = stopped_while_it_starts(monkeypatch, lambda command: command.started("no such file"))
    assert told[0].endswith("unable to start container process: no such file: unknown")
    assert (told[1:], signals) == (["stopped"], [])


@pytest.mark.parametrize("ends", [True, False])
def test_one_that_starts_after_its_grace_period_is_killed_at_once(monkeypatch, ends):
    def then(command):
        command.started("")
        if ends:
            command.ended(137)

    told, signals = stopped_while_it_starts(monkeypatch, then)
    assert signals == [(0, 9, True)]
    assert told == (["", 137, "stopped"] if ends else [""])
