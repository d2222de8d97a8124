"""Silence is waited through, refusals are not."""

import asyncio

import pytest

from kubedyno.client.api import Unreachable
from kubedyno.kube.status import StatusError
from kubedyno.load.engine import patience


def asked(*answers, silence_s=5.0):
    """Ask until the answers are used up; returns what came, and how often was asked."""
    pending = list(answers)

    async def ask():
        found = pending.pop(0) if len(pending) > 1 else pending[0]
        if isinstance(found, Exception):
            raise found
        return found

    return asyncio.run(patience.patiently(ask, silence_s)), len(answers) - len(pending)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(patience, "_FIRST_S", 0.001)


def test_what_comes_after_a_silence_is_the_answer():
    assert asked(Unreachable("a"), Unreachable("b"), "here") == ("here", 2)


def test_silence_has_an_end():
    with pytest.raises(Unreachable, match="gone"):
        asked(Unreachable("gone"), silence_s=0.02)


def test_a_refusal_is_the_callers():
    with pytest.raises(StatusError):
        asked(StatusError("no"), "never")
