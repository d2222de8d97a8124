"""`kubedyno report`: a report of finished runs, made from their directories, with limits that a CI can fail on."""

import argparse
from pathlib import Path

EXIT_BREACHED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add its flags."""
    parser.add_argument(
        "runs", nargs="+", metavar="DIR", help="metrics directory of a run, or its uuid in the run store, or tag:NAME"
    )
    parser.add_argument(
        "-o", "--output", choices=("html", "markdown", "junit", "json", "text"), default="html", help="form (html)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where to (default: standard output; html: a file)")
    parser.add_argument(
        "--slo", type=Path, metavar="FILE", help="limits, for example `Ready.p99_ms: 5000`; exit code 1"
    )
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Write the report; exit code 1 when a limit is not kept."""
    import sys

    import msgspec

    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.files import write_whole
    from kubedyno.base.terminal import printable
    from kubedyno.documents import circumstances
    from kubedyno.documents.kubeburner import has_any, runs_in
    from kubedyno.documents.run import Chapter
    from kubedyno.lab.runs import directories_for, records_in
    from kubedyno.report import figures, forms, html, text

    directories = [directory for word in arguments.runs for directory in directories_for(word)]
    for directory in directories:
        if not has_any(directory):
            # Or raises, where there is no run at all.
            other = records_in(directory)[0]
            raise KubedynoError(
                f"{directory}: a run of `kubedyno {other.kind}`, which tells its results itself; its figures: "
                f"kubedyno runs show {other.uuid}; beside others: kubedyno compare"
            )
    found = [(document, directory) for directory in directories for document in runs_in(directory)]
    runs = [document for document, _ in found]
    breached = []
    if arguments.slo is not None:
        breached = figures.breaches(runs, figures.read_limits(arguments.slo), str(arguments.slo))
    lines = [breach.line for breach in breached]
    if arguments.output == "html":
        chapters = [
            Chapter(f"Run {document.uuid}", [], document, around=circumstances.read(directory, document.uuid))
            for document, directory in found
        ]
        if lines:
            chapters.insert(0, Chapter("Limits not kept", lines))
        content = html.page("kubedyno report", chapters)
    elif arguments.output == "markdown":
        content = forms.markdown(runs, breached)
    elif arguments.output == "junit":
        content = forms.junit(runs, breached)
    elif arguments.output == "json":
        content = msgspec.json.format(msgspec.json.encode(runs), indent=2).decode() + "\n"
    else:
        content = "\n\n".join("\n".join(text.summary(document)) for document in runs) + "\n"
    out = arguments.out
    if out is None and arguments.output == "html":
        out = Path(f"kubedyno-report-{runs[-1].uuid.replace('/', '_')}.html")
    if out is None:
        sys.stdout.write(content)
    else:
        write_whole(out, content)
        print(f"report: {out}")
    for line in lines:
        print(f"limit not kept: {printable(line)}", file=sys.stderr)
    return EXIT_BREACHED if lines else 0
