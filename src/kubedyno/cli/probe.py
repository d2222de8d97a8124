"""`kubedyno probe`: what this host's kernel and devices can do, found by trying where that disturbs nothing."""

import argparse
from dataclasses import asdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml", "kyaml"), default="table")
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Probe and print; exit code 0 whatever is missing."""
    from kubedyno.advisor import hostprobe
    from kubedyno.cli.maps import print_document

    found = hostprobe.facts()
    if arguments.output != "table":
        print_document(arguments.output, {"facts": [asdict(fact) for fact in found]})
        return 0
    names = max(len(fact.name) for fact in found)
    values = max(len(fact.value) for fact in found if len(fact.value) <= 40)
    group = ""
    for fact in found:
        if fact.group != group:
            group = fact.group
            print(f"{group}:")
        why = f": {fact.why}" if fact.why else ""
        print(f"  {fact.name:<{names}}  {fact.value:<{values}}  {fact.sure}: {fact.how}{why}")
    return 0
