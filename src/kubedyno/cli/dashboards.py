"""`kubedyno dashboards`: what there is to look at, and the files that Grafana shows it from."""

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|export")
    actions.add_parser("list", help="list the dashboards")
    export = actions.add_parser("export", help="write them as Grafana's JSON, with files that provision them")
    export.add_argument(
        "--dir", type=Path, default=Path("dashboards"), help="folder to write to (default: %(default)s)"
    )
    export.add_argument(
        "--url", default="http://127.0.0.1:9090", help="of the Prometheus that is asked (default: %(default)s)"
    )
    export.add_argument("--timezone", default="browser", help="browser, utc or a name such as Asia/Seoul")


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; exit code 0."""
    from kubedyno.promql.dashboards import DASHBOARDS
    from kubedyno.report.text import table

    if arguments.action == "export":
        return _export(arguments)
    rows = [(board.uid, board.title, str(len(board.panels)), board.note) for board in DASHBOARDS]
    print("\n".join(table(("NAME", "TITLE", "PANELS", "NOTE"), rows)))
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from kubedyno.lab import grafana

    for path in grafana.export(arguments.dir, arguments.url, arguments.timezone):
        print(path)
    print(
        f"Grafana: GF_PATHS_PROVISIONING={(arguments.dir / 'provisioning').absolute()} shows them; "
        "or import each JSON by hand",
        file=sys.stderr,
    )
    return 0
