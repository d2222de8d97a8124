"""`kubedyno study`: the study's scenarios, told as one story."""

import argparse
from pathlib import Path

from kubedyno.cli.init import add_view_flags


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its few flags."""
    parser.add_argument("--speed", type=float, default=1.0, help="speed of the modelled nodes (1 real, 0 at once)")
    parser.add_argument("--directory", type=Path, default=Path(), help="where reports and logs go (default: here)")
    parser.add_argument("--keep", action="store_true", help="leave the last cluster up")
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="serve kubedyno's own metrics on 127.0.0.1:PORT/metrics"
    )
    add_view_flags(parser)
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Tell the story; exit code 0 when every scenario went as it should."""
    from kubedyno.lab import liveview, ownmetrics, study

    port = liveview.port_of(view=arguments.view, port=arguments.view_port, stay=arguments.stay)
    with (
        ownmetrics.serving(arguments.metrics_port, "study") as own,
        liveview.opened(port, lambda line: print(line, flush=True)) as live,
    ):
        return study.study(
            arguments.directory, speed=arguments.speed, keep=arguments.keep, own=own, live=live, stay=arguments.stay
        )
