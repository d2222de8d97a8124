"""`kubedyno watch`: nodes, pods and events of a cluster, live in a terminal."""

import argparse

from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("--once", action="store_true", help="print one frame and end, for pipes")
    parser.add_argument(
        "--filter", default="", metavar="TEXT", help="only pods and nodes that have it in name or label"
    )
    parser.add_argument(
        "--sort", choices=("name", "pods", "cpu", "memory"), default="name", help="of nodes (%(default)s)"
    )
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Show it; exit code 0."""
    from kubedyno.base import aio
    from kubedyno.lab import target
    from kubedyno.web import terminal
    from kubedyno.web.frame import Look

    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    aio.run(terminal.watch(choice, once=arguments.once, look=Look(filter=arguments.filter, sort=arguments.sort)))
    return 0
