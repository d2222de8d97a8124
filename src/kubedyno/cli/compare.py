"""`kubedyno compare A… -- B…`: repeated runs against repeated runs, and what can be said of the difference."""

import argparse
from functools import cache
from itertools import islice
from pathlib import Path

from kubedyno.cli.runs import add_team_flags, team_of

EXIT_WORSE = 1
# Of names of figures in a message.
_SHOWN = 10
_ALONE = frozenset({"-h", "--help", "--skip-tls-verify"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.usage = "kubedyno compare [flags] A1 [A2 …] -- B1 [B2 …]  |  --baseline tag:NAME -- B1 [B2 …]"
    parser.add_argument(
        "before", nargs="*", metavar="A", help="runs before: metrics directories, uuids of the run store, or tag:NAME"
    )
    parser.add_argument("--baseline", metavar="tag:NAME", help="the runs before are those of the store with this tag")
    parser.add_argument(
        "--slo", type=Path, metavar="FILE", help="limits that the runs after must keep, e.g. `Ready.p99_ms: 5000`"
    )
    parser.add_argument("--tolerance", default="5%", metavar="N%", help="changes within this count as the same (5%%)")
    parser.add_argument(
        "--figure", action="append", default=[], metavar="NAME", help="only these, for example Ready.p99_ms"
    )
    parser.add_argument("-o", "--output", choices=("text", "json", "markdown", "junit"), default="text")
    add_team_flags(parser)
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words before the first "--" with all flags, and the runs after it; most flags have a value."""
    at = words.index("--") if "--" in words else len(words)
    before, after, rest = words[:at], [], iter(words[at + 1 :])
    flags: list[str] = []
    for word in rest:
        if not word.startswith("-"):
            after.append(word)
        elif "=" in word or word in _ALONE:
            flags.append(word)
        else:
            flags += [word, *islice(rest, 1)]
    return before + flags, after


def run(arguments: argparse.Namespace) -> int:
    """Compare; exit code 1 when something is worse."""
    import json
    import sys
    from dataclasses import asdict

    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.terminal import printable
    from kubedyno.lab import runs
    from kubedyno.report import figures
    from kubedyno.report.forms import junit_of_comparison, markdown_table
    from kubedyno.report.text import table
    from kubedyno.stats.comparison import Verdict, compare

    before = [*arguments.before, *([arguments.baseline] if arguments.baseline else [])]
    if arguments.baseline and not arguments.baseline.startswith(runs.TAG):
        raise KubedynoError(f"--baseline {arguments.baseline}: write tag:NAME")
    if not before or not arguments.after:
        raise KubedynoError("compare needs two sides: kubedyno compare A1 A2 A3 -- B1 B2 B3")
    tolerance = _share(arguments.tolerance)

    @cache
    def store() -> runs.Runs:
        return team or runs.store()

    team = team_of(arguments)
    groups = runs.comparable(
        # A run that two words name is one.
        [
            list({one.key: one for word in side for one in runs.figures_for(word, store)}.values())
            for side in (before, arguments.after)
        ]
    )
    for doubt in runs.doubts(groups):
        print(f"kubedyno: warning: {printable(doubt)}", file=sys.stderr)
    sides: list[dict[str, list[float]]] = []
    better: dict[str, bool] = {}
    for group in groups:
        values: dict[str, list[float]] = {}
        for one in group:
            for figure in one.figures:
                values.setdefault(figure.name, []).append(figure.value)
                better[figure.name] = figure.lower_is_better
        sides.append(values)
    names = [name for name in sides[0] if name in sides[1] and _wanted(name, arguments.figure)]
    if not names and arguments.figure and sides[0].keys() & sides[1].keys():
        known = ", ".join(sorted(sides[0].keys() & sides[1].keys())[:_SHOWN])
        raise KubedynoError(
            f"--figure {' '.join(arguments.figure)}: the two sides have no such figure; there are {known} …"
        )
    if not names:
        raise KubedynoError("the two sides have no figure in common; were the same jobs run?")
    found = {
        name: compare(sides[0][name], sides[1][name], tolerance=tolerance, lower_is_better=better[name])
        for name in names
    }
    breached = []
    if arguments.slo is not None:
        limits = figures.read_limits(arguments.slo)
        breached = figures.breaches_of([(one.uuid, one.figures) for one in groups[1]], limits, str(arguments.slo))
    if arguments.output == "junit":
        print(junit_of_comparison(found, breached), end="")
    elif arguments.output == "json":
        print(json.dumps({name: asdict(comparison) for name, comparison in found.items()}, indent=2))
    else:
        rows = [
            (
                printable(name),
                f"{c.before:.6g}",
                f"{c.after:.6g}",
                "-" if c.change is None else f"{c.change:+.1%}",
                "-" if c.low is None or c.high is None else f"{c.low:+.1%} … {c.high:+.1%}",
                f"{c.runs[0]}, {c.runs[1]}",
                c.verdict.value,
            )
            for name, c in found.items()
        ]
        header = ("FIGURE", "BEFORE", "AFTER", "CHANGE", "95 % INTERVAL", "RUNS", "VERDICT")
        print("\n".join((markdown_table if arguments.output == "markdown" else table)(header, rows)))
    for breach in breached:
        print(f"limit not kept: {printable(breach.line)}", file=sys.stderr)
    return EXIT_WORSE if breached or any(c.verdict is Verdict.WORSE for c in found.values()) else 0


def _wanted(name: str, asked: list[str]) -> bool:
    return not asked or any(name == a or name.endswith(f".{a}") for a in asked)


def _share(text: str) -> float:
    from kubedyno.base.errors import KubedynoError

    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise KubedynoError(f"--tolerance {text}: must be a share such as 5% or 0.05")
    return value
