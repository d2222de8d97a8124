"""`kubedyno explain`: which pods do not run, why, what to change, and what stops them next."""

import argparse

from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("-n", "--namespace", help="only pods of this namespace")
    parser.add_argument("-o", "--output", choices=("text", "json", "yaml", "kyaml"), default="text")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Explain; exit code 0 whatever is found, 1 when the cluster cannot be read."""
    from kubedyno.base import aio
    from kubedyno.lab import explain, target

    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    print(aio.run(explain.explain(choice, arguments.namespace, arguments.output)), end="")
    return 0
