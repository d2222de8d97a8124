"""`kubedyno runs`: the store of runs, this machine's or a team's in an OpenSearch: list, show, tag, prune, import."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubedyno.documents.runstore import RunRecord, RunStore
    from kubedyno.lab.teamruns import TeamStore

# What a list shows of a run's figures; `show` has all of them.
_SHOWN = ("Ready.p99_ms", "reached_qps")
MOST_TAG = 63
# What is the store's alone.
_OWN = frozenset({"id", "process"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs and their flags."""
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="action", metavar="VERB", required=True)

    listed = verbs.add_parser("list", help="list runs, the latest last")
    listed.add_argument("--tag", action="append", default=[], metavar="NAME", help="only runs with this tag")
    listed.add_argument("--kind", help="only these: init, study, net lab, net perf, net test, experiment, kube-burner")
    listed.add_argument("--since", metavar="WHEN", help="a duration (24h, 7d) or a time (2026-01-31)")
    _output(listed)
    add_team_flags(listed)
    listed.set_defaults(handle=_list)

    show = verbs.add_parser("show", help="show a run with all its figures")
    show.add_argument("uuid", metavar="UUID", help="or the beginning of one")
    _output(show)
    add_team_flags(show)
    show.set_defaults(handle=_show)

    tag = verbs.add_parser("tag", help="give a run names, or take them away")
    tag.add_argument("uuid", metavar="UUID", help="or the beginning of one")
    tag.add_argument("names", nargs="+", metavar="NAME")
    tag.add_argument("--remove", action="store_true", help="take them away")
    add_team_flags(tag)
    tag.set_defaults(handle=_tag)

    prune = verbs.add_parser("prune", help="forget old runs; tagged ones stay")
    prune.add_argument("--keep", type=int, metavar="N", help="the latest N stay")
    prune.add_argument("--older-than", metavar="DURATION", help="only runs that began longer ago, e.g. 30d")
    prune.add_argument(
        "--files",
        action="store_true",
        help="remove their directories, too; each is named first; with --es-server: all their documents",
    )
    prune.add_argument("--dry-run", action="store_true", help="say what would go")
    add_team_flags(prune)
    prune.set_defaults(handle=_prune)

    imported = verbs.add_parser("import", help="bring in the runs of metrics directories")
    imported.add_argument("directories", nargs="+", type=Path, metavar="DIR")
    imported.add_argument("--tag", action="append", default=[], metavar="NAME", help="give them this tag")
    add_team_flags(imported)
    imported.set_defaults(handle=_import)


def add_team_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that name a team's store."""
    parser.add_argument("--es-server", metavar="URL", help="the store is an index of an OpenSearch or Elasticsearch")
    parser.add_argument("--es-index", metavar="NAME", help="of --es-server")
    parser.add_argument("--skip-tls-verify", action="store_true", help="of --es-server")


def team_of(arguments: argparse.Namespace) -> "TeamStore | None":
    """Return the team's store that the flags name, None for this machine's.

    Raises:
        KubedynoError: They name it by half, or it cannot be used.
    """
    from kubedyno.base.errors import KubedynoError

    if not arguments.es_server:
        if arguments.es_index or arguments.skip_tls_verify:
            raise KubedynoError("--es-index and --skip-tls-verify: name the server, too: --es-server URL")
        return None
    if not arguments.es_index:
        raise KubedynoError("--es-server: name the index, too: --es-index NAME")
    from kubedyno.lab.teamruns import TeamStore

    return TeamStore(arguments.es_server, arguments.es_index, insecure=arguments.skip_tls_verify)


def _store(arguments: argparse.Namespace) -> "RunStore | TeamStore":
    from kubedyno.lab import runs

    return team_of(arguments) or runs.store()


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml", "kyaml"), default="table")


def run(arguments: argparse.Namespace) -> int:
    """Do it."""
    return int(arguments.handle(arguments))


def _list(arguments: argparse.Namespace) -> int:
    from kubedyno.base.errors import KubedynoError
    from kubedyno.lab import runs

    if arguments.kind is not None and arguments.kind not in runs.KINDS:
        raise KubedynoError(f"--kind {arguments.kind}: must be one of {', '.join(runs.KINDS)}")
    since_s = None if arguments.since is None else _since(arguments.since)
    found = _store(arguments).select(kind=arguments.kind, tags=arguments.tag, since_s=since_s)
    if arguments.output != "table":
        return _write(found, arguments.output)
    if not found:
        print("no runs")
        return 0
    _table(("UUID", "KIND", "STARTED", "TOOK", "VERDICT", "P99 READY", "QPS", "TARGET", "CONFIG", "TAGS"), found)
    return 0


def _write(found: "list[RunRecord]", form: str) -> int:
    import msgspec

    from kubedyno.kube import forms

    documents = [{k: v for k, v in msgspec.to_builtins(record).items() if k not in _OWN} for record in found]
    print(forms.text_of(documents, form), end="")
    return 0


def _table(header: tuple[str, ...], found: "list[RunRecord]") -> None:
    from kubedyno.base.terminal import aligned, printable

    rows = [header]
    for record in found:
        ready, rate = (_figure(record, name) for name in _SHOWN)
        cells = (
            record.uuid, record.kind, record.started, _took(record), record.verdict,
            "-" if ready is None else f"{ready:.0f}ms", "-" if rate is None else f"{rate:.1f}",
            record.target or "-", record.config or "-", ",".join(record.tags) or "-",
        )  # fmt: skip
        rows.append(tuple(printable(cell) for cell in cells))
    print("\n".join(aligned(rows)))


def _took(record: "RunRecord") -> str:
    """Return how long a run took, so far where it still runs; when it was killed may not be known."""
    from kubedyno.base.clock import SYSTEM_CLOCK
    from kubedyno.lab import runs

    if record.verdict == runs.RUNNING:
        return f"{SYSTEM_CLOCK.now() - record.started_s:.0f}s"
    return "-" if record.verdict == runs.KILLED and not record.took_s else f"{record.took_s:.0f}s"


def _figure(record: "RunRecord", name: str) -> float | None:
    """Return the largest of a figure over the jobs that have it."""
    values = [value for key, value in record.figures.items() if key.endswith(f".{name}")]
    return max(values, default=None)


def _show(arguments: argparse.Namespace) -> int:
    from kubedyno.base.terminal import printable
    from kubedyno.lab import runs

    found = _store(arguments).find(arguments.uuid)
    if arguments.output != "table":
        return _write(found, arguments.output)
    for number, record in enumerate(found):
        lines: dict[str, str] = {
            "uuid": record.uuid,
            "kind": record.kind,
            "started": record.started,
            "took": _took(record),
            "verdict": f"{record.verdict} (exit code {record.exit_code})"
            if record.verdict != runs.RUNNING
            else runs.RUNNING,
            "target": record.target or "-",
            "config": record.config or "-",
            "config digest": record.config_digest or "-",
            "directory": record.directory or "-",
            "tags": ", ".join(record.tags) or "-",
        }
        if record.directory and not Path(record.directory).is_dir():
            lines["directory"] += " (gone)"
        lines |= {name: f"{value:.6g}" for name, value in record.figures.items()}
        width = max(len(printable(name)) for name in lines)
        print("\n" * bool(number), end="")
        for name, value in lines.items():
            print(f"{printable(name).ljust(width)}  {printable(value)}")
    return 0


def _tag(arguments: argparse.Namespace) -> int:
    _check_tags(arguments.names)
    store = _store(arguments)
    store.tag(store.find(arguments.uuid), arguments.names, remove=arguments.remove)
    return 0


def _check_tags(names: list[str]) -> None:
    from kubedyno.base.errors import KubedynoError

    for name in names:
        if not name.isprintable() or not 0 < len(name) <= MOST_TAG or set(name) & set(" ,:"):
            raise KubedynoError(f"tag {name!r}: 1 to {MOST_TAG} printable characters, no space, comma or colon")


def _prune(arguments: argparse.Namespace) -> int:
    from kubedyno.base.clock import SYSTEM_CLOCK
    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.terminal import printable
    from kubedyno.lab import runremoval

    if arguments.keep is None and arguments.older_than is None:
        raise KubedynoError("prune: say what goes: --keep N, --older-than 30d, or both")
    if arguments.keep is not None and arguments.keep < 0:
        raise KubedynoError(f"--keep {arguments.keep}: must be 0 or more")
    older_s = None if arguments.older_than is None else _duration("--older-than", arguments.older_than)
    team = team_of(arguments)
    store = team or _store(arguments)
    records = store.select()
    going = runremoval.to_prune(records, keep=arguments.keep, older_than_s=older_s, now_s=SYSTEM_CLOCK.now())
    for record in going:
        print(f"run {printable(record.uuid)} of {printable(record.started)}")
    removals = runremoval.removals(going, records) if arguments.files and not team else []
    for removal in removals:
        name = printable(str(removal.directory))
        print(f"kept: {name}: {removal.why_not}" if removal.why_not else f"{name}: {len(removal.files)} files")
    if arguments.dry_run:
        print(f"{len(going)} of {len(records)} runs would go")
        return 0
    for removal in removals:
        if not removal.why_not:
            runremoval.remove(removal)
    # A uuid that a user chose may stand for several runs.
    needed = {record.uuid for record in records if record not in going}
    for uuid in dict.fromkeys(record.uuid for record in going if record.uuid not in needed) if arguments.files else ():
        if team:
            print(f"{printable(uuid)}: {team.remove_documents(uuid)} documents removed")
    store.remove(going)
    print(f"{len(going)} of {len(records)} runs forgotten")
    return 0


def _import(arguments: argparse.Namespace) -> int:
    """Bring in directories; those that cannot be read are told, the others come in. Exit code 1 for any that could not."""
    import sys

    import msgspec

    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.terminal import printable
    from kubedyno.documents import kubeburner
    from kubedyno.documents.run import RunDocument
    from kubedyno.lab import runs

    _check_tags(arguments.tag)
    team = team_of(arguments)
    found: list[RunRecord] = []
    documents: list[RunDocument] = []
    failed = 0
    for directory in arguments.directories:
        try:
            if team:
                documents += kubeburner.runs_in(directory)
            else:
                found += runs.records_in(directory)
        except KubedynoError as error:
            print(f"kubedyno: {printable(str(error))}", file=sys.stderr)
            failed += 1
    if team:
        found = team.add(documents)
        team.tag(found, arguments.tag)
    else:
        runs.store().add(msgspec.structs.replace(record, tags=tuple(arguments.tag)) for record in found)
    print(f"{len(found)} runs of {len(arguments.directories)} directories")
    return 1 if failed else 0


def _duration(flag: str, text: str) -> float:
    """Return seconds; days and weeks as well, which Go's durations lack."""
    from kubedyno.base.errors import KubedynoError
    from kubedyno.lab import flags

    unit = {"d": 86_400.0, "w": 7 * 86_400.0}.get(text[-1:])
    if unit is None:
        return flags.seconds(flag, text)
    try:
        value = float(text[:-1]) * unit
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise KubedynoError(f"{flag} {text}: write for example 12h, 30d or 2w")
    return value


def _since(text: str) -> float:
    from kubedyno.base.clock import SYSTEM_CLOCK
    from kubedyno.base.times import epoch_of

    try:
        return epoch_of(text)
    except ValueError:
        return SYSTEM_CLOCK.now() - _duration("--since", text)
