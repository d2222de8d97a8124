"""One line that says how a run goes: redrawn on a terminal, plain lines elsewhere, colour only where wanted."""

import asyncio
import logging
import os
import sys
from typing import TextIO

from kubedyno.base import aio
from kubedyno.base.clock import Clock
from kubedyno.load.run import Run

_REDRAW_S = 0.2
_PLAIN_S = 5.0
_GREEN, _RED, _RESET = "\x1b[32m", "\x1b[31m", "\x1b[0m"


def coloured(stream: TextIO) -> bool:
    """Say whether to colour: a terminal, no NO_COLOR, not a dumb one."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def line_of(run: Run, now_s: float) -> str:
    """Return e.g. "create-deployments 57/100 · 298.1/300 q/s · pods 41/57 ready · 0 errors · waiting: …"."""
    current = run.current
    if current is None:
        return ""
    record = current.record
    done = record.accepted + sum(record.failed.values())
    parts = [f"{record.name} {done}/{record.asked}"]
    rate = record.reached_qps
    parts.append(f"{rate:.1f}/{record.qps:g} q/s")
    if current.pods is not None:
        tracker = current.pods.tracker
        live = sum(n for n in tracker.phases.values() if n > 0)
        parts.append(f"pods {tracker.ready}/{live} ready")
    errors = sum(record.failed.values()) + record.retried
    parts.append(f"{errors} errors")
    parts.append(f"{now_s - record.started_s:.0f}s")
    if run.waiting_for:
        parts.append(f"waiting: {run.waiting_for}")
    return " · ".join(parts)


class Progress:
    """Shows a run's line on stderr until closed.

    On a terminal, log lines that go to one take the line off first, so that each stands on a row of its own.
    """

    def __init__(self, run: Run, clock: Clock, stream: TextIO | None = None) -> None:
        self._run = run
        self._clock = clock
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._shown = ""
        self._handlers: list[logging.Handler] = []
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to show the line."""
        self._task = asyncio.create_task(self._show())
        if self._live:
            for handler in logging.getLogger("kubedyno").handlers:
                if isinstance(handler, logging.StreamHandler) and handler.stream.isatty():
                    handler.addFilter(self._make_way)
                    self._handlers.append(handler)

    async def close(self) -> None:
        """Stop and leave the terminal clean."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for handler in self._handlers:
            handler.removeFilter(self._make_way)
        self._handlers.clear()
        self.clear()

    def _make_way(self, _: logging.LogRecord) -> bool:
        self.clear()
        return True

    def clear(self) -> None:
        """Take the line off the terminal; the next redraw brings it back."""
        if self._live and self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._shown = ""

    async def _show(self) -> None:
        while True:
            await aio.sleep(_REDRAW_S if self._live else _PLAIN_S)
            line = line_of(self._run, self._clock.monotonic())
            if not line or (line == self._shown):
                continue
            if self._live:
                width = _columns()
                text = line if len(line) < width else line[: width - 2] + "…"
                errors = " 0 errors" not in line
                painted = f"{_RED if errors else _GREEN}{text}{_RESET}" if coloured(self._stream) else text
                self._stream.write(f"\r\x1b[K{painted}")
                self._stream.flush()
                self._shown = line
            else:
                self._stream.write(line + "\n")
                self._stream.flush()


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 120
