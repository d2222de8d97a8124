"""`kubedyno view`: the live page of a cluster."""

import argparse

from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="serve kubedyno's own metrics on 127.0.0.1:PORT/metrics"
    )
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C; exit code 0."""
    from kubedyno.base import aio
    from kubedyno.lab import ownmetrics, target
    from kubedyno.web import view

    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    with ownmetrics.serving(arguments.metrics_port, "view") as own:
        aio.run(view.serve(choice, arguments.port, say=lambda line: print(line, flush=True), own=own))
    return 0
