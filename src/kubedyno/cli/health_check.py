"""`kubedyno health-check`: says whether a cluster is fit for a run."""

import argparse

from kubedyno.cli.init import add_target_flags
from kubedyno.cli.switches import add_switch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add kube-burner's flags."""
    parser.add_argument("--log-level", default="info", help="error, warn, info, debug or trace (default %(default)s)")
    add_switch(parser, "--skip-log-file", "write no kube-burner-<uuid>.log")
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check; exit code 1 for a cluster that is not healthy."""
    from kubedyno.base import aio
    from kubedyno.base.random import Random
    from kubedyno.client.api import Client
    from kubedyno.lab import flags, session, target
    from kubedyno.load.engine import health

    request = session.Request("", log_level=flags.log_level(arguments.log_level), skip_log_file=arguments.skip_log_file)
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)

    async def check() -> list[str]:
        async with Client(choice.target) as client:
            return await health.problems(client)

    handlers = session.log_handlers(request, Random().uid())
    try:
        session.log.info("🏥 Checking for Cluster Health")
        wrong = aio.run(check())
        for line in wrong:
            session.log.error("%s", line)
        if wrong:
            session.log.critical("Cluster is not healthy.")
            return 1
        session.log.info("Cluster is healthy.")
        session.log.info("👋 Exiting kube-burner ")
        return 0
    finally:
        session.close_logs(handlers)
