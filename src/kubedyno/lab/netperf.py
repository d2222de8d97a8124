"""`kubedyno net perf`: a cluster chosen, measured, and left as it was."""

from pathlib import Path

from kubedyno.base import aio
from kubedyno.client.api import Client
from kubedyno.lab import target
from kubedyno.netperf.plan import Options
from kubedyno.netperf.run import Measurement


def run(options: Options, *, kubeconfig: str | None, context: str | None, yes: bool, report_dir: Path | None) -> int:
    """Measure and print; returns the exit code.

    Raises:
        KubedynoError: There is no cluster, it refuses, or a measurement fails.
    """
    choice = target.choose(kubeconfig, context)

    async def measure() -> list[str]:
        async with Client(choice.target) as client:
            target.confirm(await target.describe(client, choice), yes=yes, quiet=True)
            return await Measurement(client, options, report_dir).run()

    print("\n".join(aio.run(measure())))  # noqa: T201 - the output
    return 0
