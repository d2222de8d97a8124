"""`kubedyno version`."""

import argparse
import platform
import sys

from kubedyno import __version__


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take no flags of its own."""
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def run(_arguments: argparse.Namespace) -> int:
    """Print version lines in kube-burner's form."""
    print(f"Version: {__version__}")
    print(f"Python Version: {platform.python_version()}")
    print(f"OS/Arch: {sys.platform} {platform.machine()}")
    return 0
