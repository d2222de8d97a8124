"""`kubedyno study`: the study's scenarios, told as one story."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its few flags."""
    parser.add_argument("--speed", type=float, default=1.0, help="speed of the modelled nodes (1 real, 0 at once)")
    parser.add_argument("--directory", type=Path, default=Path(), help="where reports and logs go (default: here)")
    parser.add_argument("--keep", action="store_true", help="leave the last cluster up")
    parser.add_argument(
        "--metrics-port", type=int, metavar="PORT", help="serve kubedyno's own metrics on 127.0.0.1:PORT/metrics"
    )
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Tell the story; exit code 0 when every scenario went as it should."""
    from kubedyno.lab import ownmetrics, study

    with ownmetrics.serving(arguments.metrics_port, "study") as own:
        return study.study(arguments.directory, speed=arguments.speed, keep=arguments.keep, own=own)
