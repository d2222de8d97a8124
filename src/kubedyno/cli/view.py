"""`kubedyno view`: the live page of a cluster."""

import argparse

from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C; exit code 0."""
    from kubedyno.base import aio
    from kubedyno.lab import target
    from kubedyno.web import view

    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    aio.run(view.serve(choice, arguments.port, say=lambda line: print(line, flush=True)))
    return 0
