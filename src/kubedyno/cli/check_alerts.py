"""`kubedyno check-alerts`: evaluates an alert profile against a Prometheus."""

import argparse

from kubedyno.cli.index import add_server_flags, query_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add kube-burner's flags."""
    parser.add_argument("-u", "--prometheus-url", required=True, help="URL of the Prometheus")
    parser.add_argument("-a", "--alert-profile", default="alerts.yaml", help="file or URL (default %(default)s)")
    parser.add_argument("--metrics-directory", default="", help="store alerts there (default: nowhere)")
    add_server_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate; exit code 1 for an alert of severity error, 3 for a critical one."""
    from kubedyno.base import aio
    from kubedyno.lab import flags, measure, session

    query = query_of(arguments, (), (arguments.alert_profile,))
    request = session.Request("", log_level=flags.log_level(arguments.log_level), skip_log_file=True)
    handlers = session.log_handlers(request, query.uuid)
    try:
        return aio.run(measure.check_alerts(query))
    finally:
        session.close_logs(handlers)
