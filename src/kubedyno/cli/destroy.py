"""`kubedyno destroy`: deletes what the jobs of a configuration created, by job name."""

import argparse

from kubedyno.cli.init import add_target_flags
from kubedyno.cli.switches import add_switch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add kube-burner's flags."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("-c", "--config", help="configuration file: what any run of its jobs created is deleted")
    where.add_argument("--uuid", help="of one run: only what it created is deleted")
    parser.add_argument("--user-data", help="file of template variables, YAML or JSON")
    parser.add_argument("--timeout", default="4h", help="a Go duration (default %(default)s)")
    parser.add_argument("--log-level", default="info", help="error, warn, info, debug or trace (default %(default)s)")
    add_switch(parser, "--skip-log-file", "write no kube-burner-<uuid>.log")
    parser.add_argument("--yes", action="store_true", help="work on a real cluster without asking")
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Delete; exit code 0 when all is gone."""
    from kubedyno.base import aio
    from kubedyno.base.random import Random
    from kubedyno.lab import destroy, flags, session, target

    timeout_s = flags.seconds("--timeout", arguments.timeout)
    if arguments.uuid:
        choice = target.choose(arguments.kubeconfig, arguments.kube_context)
        removed = aio.run(destroy.by_uuid(arguments.uuid, choice, timeout_s, yes=arguments.yes))
        print(removed)
        return 0
    request = session.Request(
        config=arguments.config,
        user_data=arguments.user_data,
        allow_missing=True,
        timeout_s=timeout_s,
        log_level=flags.log_level(arguments.log_level),
        skip_log_file=arguments.skip_log_file,
    )
    session.prepare(request)
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    handlers = session.log_handlers(request, Random().uid())
    try:
        removed = aio.run(destroy.destroy(request, choice, yes=arguments.yes))
    finally:
        session.close_logs(handlers)
    print(removed)
    return 0
