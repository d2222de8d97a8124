"""`kubedyno simulate SCENARIO`: a cluster on simulated time, from one seed, with faults; what must hold is looked at."""

import argparse
import sys
from pathlib import Path
from typing import TextIO

from kubedyno.base.errors import KubedynoError

EXIT_BROKEN = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help="scenario files, or names of those that ship")
    parser.add_argument("--list", action="store_true", help="list the scenarios that ship")
    parser.add_argument("--seed", type=int, metavar="N", help="run this seed (default: the scenario's)")
    parser.add_argument("--seeds", metavar="A-B", help="run all seeds from A to B, and stop at the first that breaks")
    parser.add_argument("--keep-going", action="store_true", help="with --seeds: run them all, whatever breaks")
    parser.add_argument("--json", action="store_true", help="print one JSON object a run instead of text")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write a line for each commit (one run only)")
    parser.add_argument(
        "--dump", type=Path, metavar="FILE", help="write all objects as they are at the end (one run only)"
    )
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Run them; exit code 1 when something did not hold."""
    from kubedyno.lab.simulation import scenario, shipped, story
    from kubedyno.lab.simulation.run import run as simulate

    if arguments.list:
        print("\n".join(story.listed(shipped.all_scenarios())))
        return 0
    if not arguments.scenario:
        raise KubedynoError("simulate: name a scenario file, or one that ships; kubedyno simulate --list shows those")
    scenarios = [scenario.read(shipped.path_of(word)) for word in arguments.scenario]
    seeds = _seeds(arguments.seeds) if arguments.seeds else None
    if seeds is not None and arguments.seed is not None:
        raise KubedynoError("--seed and --seeds: give one of them")
    if (arguments.log or arguments.dump) and (len(scenarios) > 1 or (seeds is not None and len(seeds) > 1)):
        raise KubedynoError("--log and --dump: are for one run; give one scenario and one --seed")
    code = 0
    for word, one in zip(arguments.scenario, scenarios, strict=True):
        for warning in one.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        chosen = seeds if seeds is not None else [arguments.seed if arguments.seed is not None else one.seed]
        for seed in chosen:
            dump: list[bytes] = []
            if arguments.log:
                with _opened(arguments.log) as file:
                    result = simulate(one, seed, log=file, dump=dump)
            else:
                result = simulate(one, seed, dump=dump)
            if arguments.dump:
                try:
                    arguments.dump.write_bytes(dump[0])
                except OSError as error:
                    raise KubedynoError(f"{arguments.dump}: cannot be written ({error.strerror})") from error
            if arguments.json:
                print(story.document(one, result, word), flush=True)
            else:
                print("\n".join(story.lines(one, result, word, brief=len(chosen) > 1)), flush=True)
            if result.broken is not None:
                code = EXIT_BROKEN
                if not arguments.keep_going:
                    return code
    return code


def _opened(path: Path) -> TextIO:
    try:
        return path.open("w", encoding="utf-8")
    except OSError as error:
        raise KubedynoError(f"{path}: cannot be written ({error.strerror})") from error


def _seeds(text: str) -> range:
    first, dash, last = text.partition("-")
    if not dash:
        last = first
    if not (first.isdecimal() and last.isdecimal()) or int(first) > int(last):
        raise KubedynoError(f"--seeds {text}: write the first and the last, for example 0-200")
    return range(int(first), int(last) + 1)
