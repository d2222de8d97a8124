"""`kubedyno destroy`: deletes what the jobs of a configuration created, by job name."""

import argparse

from kubedyno.cli.init import add_target_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add kube-burner's flags."""
    parser.add_argument("-c", "--config", required=True, help="configuration file")
    parser.add_argument("--user-data", help="file of template variables, YAML or JSON")
    parser.add_argument("--timeout", default="4h", help="a Go duration (default %(default)s)")
    parser.add_argument("--log-level", default="info", help="error, warn, info, debug or trace (default %(default)s)")
    parser.add_argument("--skip-log-file", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--yes", action="store_true", help="work on a real cluster without asking")
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Delete; exit code 0 when all is gone."""
    from kubedyno.base import aio
    from kubedyno.lab import destroy, flags, session, target

    request = session.Request(
        config=arguments.config,
        user_data=arguments.user_data,
        allow_missing=True,
        timeout_s=flags.seconds("--timeout", arguments.timeout),
        log_level=flags.log_level(arguments.log_level),
        skip_log_file=True,
    )
    session.prepare(request)
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    removed = aio.run(destroy.destroy(request, choice, yes=arguments.yes))
    print(f"{removed} namespaces and objects outside of them deleted")
    return 0
