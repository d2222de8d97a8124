"""The progress line on a terminal: log lines never share its row."""

import asyncio
import io
import logging
from types import SimpleNamespace

import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.lab import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(progress, "_REDRAW_S", 0.001)
    monkeypatch.setattr(progress, "line_of", lambda _run, _now_s: "job 1/2")
    return Terminal()


def test_a_log_line_takes_the_progress_line_off_before_it_is_written(terminal):
    log = logging.getLogger("kubedyno")
    handler = logging.StreamHandler(terminal)
    log.addHandler(handler)

    async def show():
        shown = progress.Progress(SimpleNamespace(), SYSTEM_CLOCK, terminal)
        shown.start()
        async with asyncio.timeout(60):
            while "job 1/2" not in terminal.getvalue():  # noqa: ASYNC110 - a stream has no event
                await asyncio.sleep(0.001)
        log.warning("told")
        await shown.close()

    try:
        asyncio.run(show())
    finally:
        log.removeHandler(handler)
    assert "\r\x1b[Kjob 1/2\r\x1b[Ktold\n" in terminal.getvalue()
    assert not handler.filters


def test_a_log_that_goes_to_a_file_leaves_the_line_alone(terminal):
    log = logging.getLogger("kubedyno")
    handler = logging.StreamHandler(io.StringIO())
    log.addHandler(handler)

    async def show():
        shown = progress.Progress(SimpleNamespace(), SYSTEM_CLOCK, terminal)
        shown.start()
        assert not handler.filters
        await shown.close()

    try:
        asyncio.run(show())
    finally:
        log.removeHandler(handler)
