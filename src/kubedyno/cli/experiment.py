"""`kubedyno experiment`: demonstrations, each with a table and a report."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the experiments."""
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    names = parser.add_subparsers(dest="action", metavar="EXPERIMENT", required=True)
    reconciler = names.add_parser(
        "reconciler",
        help="fill a BPF map past its size, and see a reconciler get over it",
        description="Services in StateDB are reconciled onto a hash map of the kernel: past its size each that finds no room "
        "fails with E2BIG, health degrades, lookups drop; once services are deleted the retries drain. As root or with "
        "CAP_BPF; without, on a modelled map.",
    )
    reconciler.add_argument(
        "--map-size", type=int, default=4096, metavar="N", help="entries of the map (default %(default)s)"
    )
    reconciler.add_argument(
        "--services", type=int, default=1500, metavar="N", help="desired services (default %(default)s)"
    )
    reconciler.add_argument(
        "--backends", type=int, default=3, metavar="N", help="backends of a service (default %(default)s)"
    )
    reconciler.add_argument("--model", action="store_true", help="a modelled map even where the kernel's may be had")
    reconciler.add_argument("--seed", type=int, default=1, metavar="N", help="of the probes (default %(default)s)")
    reconciler.add_argument("--json", action="store_true", help="print the run's document")
    reconciler.add_argument(
        "--directory", type=Path, default=Path(), help="where document and report go (default: here)"
    )
    reconciler.set_defaults(handle=_reconciler)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen experiment."""
    return int(arguments.handle(arguments))


def _reconciler(arguments: argparse.Namespace) -> int:
    from kubedyno.lab.experiments import reconciler

    return reconciler.run(
        reconciler.Request(
            map_size=arguments.map_size,
            services=arguments.services,
            backends=arguments.backends,
            model=arguments.model,
            json=arguments.json,
            directory=arguments.directory,
            seed=arguments.seed,
        )
    )
