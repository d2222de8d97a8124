"""`kubedyno statedb`: a running cluster's tables."""

import argparse

DEFAULT_NAME = "kubedyno"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of the shell."""
    parser.add_argument("--log-level", default="info", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    listed = verbs.add_parser("list", help="list tables: objects, deleted ones still kept, cursors, revision, indexes")
    _common(listed)
    listed.set_defaults(handle=_list)

    show = verbs.add_parser("show", help="show what is in a table")
    _table(show)
    show.set_defaults(handle=_show, key="", prefix="")

    get = verbs.add_parser("get", help="show one object by its key, or all that have a key in an index")
    _table(get)
    get.add_argument("key", metavar="KEY", help='"namespace/name" or "name"; with --index a key of that index')
    get.set_defaults(handle=_show, prefix="")

    prefix = verbs.add_parser("prefix", help="show the objects whose key, or index key, starts with a text")
    _table(prefix)
    prefix.add_argument("prefix", metavar="PREFIX")
    prefix.set_defaults(handle=_show, key="")

    watch = verbs.add_parser("watch", help="show what changes, all that is there first, until interrupted")
    watch.add_argument("table", metavar="TABLE")
    watch.add_argument("prefix", metavar="PREFIX", nargs="?", default="", help="only keys that start with it")
    watch.add_argument("--since", type=int, default=0, metavar="REVISION", help="only what changed after it")
    watch.add_argument("--full", action="store_true", help="every version, not only the newest of each key")
    watch.add_argument("--limit", type=int, metavar="N", help="end after so many changes")
    _common(watch)
    watch.set_defaults(handle=_watch)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default=DEFAULT_NAME, help="cluster name (default %(default)s)")
    parser.add_argument("-o", "--output", choices=("table", "json", "yaml", "kyaml"), default="table")


def _table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", metavar="TABLE", help="its name, as `kubedyno statedb list` shows it")
    parser.add_argument("--index", metavar="NAME", help="ask by this index instead of by key")
    parser.add_argument("--limit", type=int, metavar="N", help="objects at most (default all)")
    parser.add_argument("--lower-bound", default="", metavar="KEY", help="only from this key on")
    parser.add_argument("--reverse", action="store_true", help="from the high end")
    _common(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    return int(arguments.handle(arguments))


def _list(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import statedb

    print(statedb.overview_text(statedb.overview(arguments.name), arguments.output), end="")
    return 0


def _positive(limit: int | None) -> None:
    from kubedyno.base.errors import KubedynoError

    if limit is not None and limit < 1:
        raise KubedynoError(f"--limit {limit}: write a number above zero")


def _show(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import statedb

    _positive(arguments.limit)
    asked = {
        "key": arguments.key,
        "prefix": arguments.prefix,
        "index": arguments.index or "",
        "lowerbound": arguments.lower_bound,
        "reverse": "true" if arguments.reverse else "",
    }
    document = statedb.show(arguments.name, arguments.table, asked, arguments.limit)
    print(statedb.text(document, arguments.output), end="")
    return 0


def _watch(arguments: argparse.Namespace) -> int:
    from kubedyno.base import aio
    from kubedyno.lab import statedb

    _positive(arguments.limit)
    asked = {
        "prefix": arguments.prefix,
        "since": str(max(arguments.since, 0)),
        "full": "true" if arguments.full else "",
    }
    aio.run(statedb.watch(arguments.name, arguments.table, asked, arguments.output, arguments.limit))
    return 0
