"""`kubedyno measure`: measures what others create."""

import argparse
from pathlib import Path

from kubedyno.cli.init import add_target_flags
from kubedyno.cli.switches import add_switch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add kube-burner's flags."""
    parser.add_argument("-c", "--config", default="config.yml", help="configuration file (default %(default)s)")
    parser.add_argument("--uuid", help="benchmark id (default: a random one)")
    parser.add_argument("--user-metadata", help="YAML file merged into documents")
    parser.add_argument("-j", "--job-name", default="kube-burner-measure", help="in documents (default %(default)s)")
    parser.add_argument("-l", "--selector", default="", help="label selector (default: everything)")
    parser.add_argument("--duration", help="how long, a Go duration (default 10m)")
    parser.add_argument(
        "-n",
        "--namespaces",
        default="",
        help="only these, comma separated; without --duration what there is already, as 1.x",
    )
    parser.add_argument("--past", action="store_true", help="measure what there is already, as 1.x did")
    parser.add_argument("--log-level", default="info", help="error, warn, info, debug or trace (default %(default)s)")
    add_switch(parser, "--skip-log-file", "write no kube-burner-<uuid>.log")
    add_target_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure; exit code 0."""
    from kubedyno.base import aio
    from kubedyno.lab import flags, measure, session, target

    request = session.Request(
        config=arguments.config,
        uuid=arguments.uuid,
        user_metadata=flags.user_metadata(arguments.user_metadata),
        user_metadata_file=arguments.user_metadata,
        log_level=flags.log_level(arguments.log_level),
        skip_log_file=arguments.skip_log_file,
        directory=Path(),
    )
    duration_s = flags.seconds("--duration", arguments.duration or "10m")
    namespaces = frozenset(measure.names_of([arguments.namespaces]))
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    work = measure.measure(
        request,
        choice,
        job=arguments.job_name,
        selector=arguments.selector,
        duration_s=duration_s,
        past=arguments.past or (bool(namespaces) and arguments.duration is None),
        namespaces=namespaces,
    )
    return aio.run(work)
