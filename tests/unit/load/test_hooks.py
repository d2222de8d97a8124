"""Hooks of a job: what background ones took, and that none outlives a run that ends early."""

import asyncio
import logging
import os

import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.load.config.spec import HookSpec
from kubedyno.load.engine.hooks import Hooks


class Clock:
    now_s = 0.0

    def monotonic(self):
        return self.now_s


def test_a_background_hook_took_as_long_as_it_ran_not_as_long_as_its_job(caplog):
    caplog.set_level(logging.INFO)

    async def run():
        failed, clock = [], Clock()
        hooks = Hooks([HookSpec(("true",), "beforeJobExecution", background=True)], clock, failed.append)
        await hooks.run("beforeJobExecution")
        # Its own end, long before that of its job.
        [(_, _, ending)] = hooks._background
        await asyncio.wait([ending], timeout=10)
        clock.now_s = 1000.0
        await hooks.close()
        return failed

    assert asyncio.run(run()) == []
    assert "Background hook completed successfully (duration: 0s)" in caplog.messages


def test_a_background_hook_that_failed_is_told(caplog):
    async def run():
        failed = []
        hooks = Hooks([HookSpec(("false",), "beforeJobExecution", background=True)], SYSTEM_CLOCK, failed.append)
        await hooks.run("beforeJobExecution")
        await hooks.close()
        return failed

    assert asyncio.run(run()) == ["exit status 1"]
    assert not any("completed successfully" in line for line in caplog.messages)


def test_no_background_hook_outlives_a_run_that_ended_early(tmp_path):
    pid = tmp_path / "pid"

    async def run():
        command = ("/bin/sh", "-c", f"echo $$ > {pid}; exec sleep 100")
        until = ("/bin/sh", "-c", f"while [ ! -s {pid} ]; do sleep 0.02; done")
        both = [HookSpec(command, "beforeJobExecution", background=True), HookSpec(until, "beforeJobExecution")]
        hooks = Hooks(both, SYSTEM_CLOCK, pytest.fail)
        await hooks.run("beforeJobExecution")
        await hooks.stop()

    asyncio.run(run())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
