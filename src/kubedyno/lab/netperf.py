"""`kubedyno net perf`: a cluster chosen, measured, and left as it was."""

import asyncio
import signal
from pathlib import Path

from kubedyno.base import aio
from kubedyno.base.errors import KubedynoError
from kubedyno.client.api import Client
from kubedyno.lab import target
from kubedyno.lab.target import Choice
from kubedyno.netperf.plan import Options
from kubedyno.netperf.run import Measurement

_INTERRUPTED = 130


def run(options: Options, *, kubeconfig: str | None, context: str | None, yes: bool, report_dir: Path | None) -> int:
    """Measure and print; returns the exit code.

    Raises:
        KubedynoError: There is no cluster, it refuses, a measurement fails, or it was interrupted.
    """
    choice = target.choose(kubeconfig, context)
    print("\n".join(aio.run(_measured(choice, options, report_dir, yes=yes))))  # noqa: T201 - the output
    return 0


async def _measured(choice: Choice, options: Options, report_dir: Path | None, *, yes: bool) -> list[str]:
    """Measure; the first Ctrl-C or SIGTERM ends it and removes all, a second one ends that too."""
    async with Client(choice.target) as client:
        target.confirm(await target.describe(client, choice), yes=yes, quiet=True)
        task = asyncio.ensure_future(Measurement(client, options, report_dir).run())
        loop = asyncio.get_running_loop()
        numbers = (signal.SIGINT, signal.SIGTERM)
        for number in numbers:
            loop.add_signal_handler(number, task.cancel)
        try:
            return await task
        except asyncio.CancelledError:
            raise KubedynoError("net perf: interrupted; what it had created is removed", _INTERRUPTED) from None
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)
