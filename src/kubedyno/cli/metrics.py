"""`kubedyno metrics`: record a cluster's metrics, serve them as a Prometheus would, ask them."""

import argparse
import sys
from pathlib import Path
from typing import Any

from kubedyno.cli.init import add_target_flags
from kubedyno.cli.promlogin import add_login_flags, given_login_flag, login_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their flags."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="serve|query|record|profiles")
    serve = actions.add_parser("serve", help="record, and answer Prometheus' read API on 127.0.0.1")
    serve.add_argument("--port", type=int, default=9090, help="port on 127.0.0.1 (default: %(default)s; 0: a free one)")
    serve.add_argument("--retention", type=float, default=6.0, metavar="HOURS", help="default: %(default)s")
    record = actions.add_parser("record", help="record for some time into a file that promtool can backfill from")
    record.add_argument("--duration", type=float, default=60.0, metavar="SECONDS", help="default: %(default)s")
    record.add_argument("-o", "--output", type=Path, default=Path("metrics.om"), help="default: %(default)s")
    profiles = actions.add_parser("profiles", help="list the profiles that come with kubedyno, or print one")
    profiles.add_argument("name", nargs="?", help="e.g. kubedyno:api")
    query = actions.add_parser("query", help="evaluate a PromQL expression and print the answer")
    query.add_argument("expression")
    source = query.add_mutually_exclusive_group()
    source.add_argument("--prometheus-url", metavar="URL", help="ask this Prometheus, or a `kubedyno metrics serve`")
    source.add_argument("--from", dest="recording", type=Path, metavar="FILE", help="ask what `record` has written")
    add_login_flags(query, skip_tls_verify="false", short=False)
    query.add_argument(
        "--timeout", default="1m", metavar="DURATION", help="of --prometheus-url's answer (default: %(default)s)"
    )
    query.add_argument("--rounds", type=int, default=2, help="without either: look so often first (default: 2)")
    query.add_argument("-o", "--output", choices=("table", "json"), default="table")
    for action in (serve, record, query):
        action.add_argument(
            "--interval", type=float, default=2.0 if action is query else 15.0, metavar="SECONDS",
            help="between two looks at a target (default: %(default)s)",
        )  # fmt: skip
        action.add_argument(
            "--for", dest="queries", type=Path, action="append", default=[], metavar="FILE",
            help="record only what this profile, alert file or dashboard speaks of; again for more",
        )  # fmt: skip
        action.add_argument(
            "--max-series", type=int, default=500_000, help="series that are kept at once (default: %(default)s)"
        )
        add_target_flags(action)


def run(arguments: argparse.Namespace) -> int:
    """Do what is asked; exit code 0, or 1 when a query has no answer."""
    from kubedyno.base.errors import KubedynoError

    if arguments.action == "profiles":
        return _profiles(arguments.name)
    if arguments.interval <= 0:
        raise KubedynoError("--interval: has to be more than 0 seconds")
    if arguments.action == "serve":
        return _serve(arguments)
    if arguments.action == "record":
        return _record(arguments)
    return _query(arguments)


def _profiles(name: str | None) -> int:
    from kubedyno.load.metrics import shipped
    from kubedyno.report.text import table

    if name is None:
        print("\n".join(table(("NAME", "FOR"), [(each, shipped.about(each)) for each in shipped.names()])))
    else:
        print(shipped.text_of(name), end="")
    return 0


def _options(arguments: argparse.Namespace, retention_h: float) -> Any:
    from kubedyno.lab import metrics
    from kubedyno.promql.store import StoreLimits

    limits = StoreLimits(retention_ms=round(retention_h * 3600_000), max_series=arguments.max_series)
    return metrics.Options(arguments.interval, tuple(arguments.queries), limits)


def _serve(arguments: argparse.Namespace) -> int:
    from kubedyno.base import aio
    from kubedyno.lab import target
    from kubedyno.web import prometheus

    options = _options(arguments, arguments.retention)
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    aio.run(prometheus.serve(choice, options, arguments.port, say=lambda line: print(line, flush=True)))
    return 0


def _record(arguments: argparse.Namespace) -> int:
    from kubedyno.base import aio
    from kubedyno.lab import metrics, target

    options = _options(arguments, arguments.duration / 3600 + 1)
    choice = target.choose(arguments.kubeconfig, arguments.kube_context)
    series, samples = aio.run(metrics.record(choice, options, arguments.duration, arguments.output))
    print(f"{arguments.output}: {samples} samples of {series} series", file=sys.stderr)
    print(f"backfill: promtool tsdb create-blocks-from openmetrics {arguments.output} DIRECTORY", file=sys.stderr)
    return 0


def _query(arguments: argparse.Namespace) -> int:
    import orjson

    from kubedyno.base import aio
    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.terminal import printable
    from kubedyno.lab import flags, metrics, target
    from kubedyno.load.metrics.prometheus import Login
    from kubedyno.promql.engine import Engine
    from kubedyno.promql.language import parsed
    from kubedyno.promql.readapi import ReadAPI

    given = {"query": arguments.expression}
    if arguments.prometheus_url:
        timeout_s = flags.seconds("--timeout", arguments.timeout)
        if timeout_s <= 0:
            raise KubedynoError(f"--timeout {arguments.timeout}: has to be more than 0")
        login = Login(arguments.prometheus_url, **login_of(arguments), timeout_s=timeout_s)
        status, body = aio.run(metrics.ask(login, "query", given))
    else:
        if flag := given_login_flag(arguments):
            raise KubedynoError(f"{flag}: is of a Prometheus; give --prometheus-url too")
        # A wrong query is told before anything is waited for.
        parsed(arguments.expression)
        if arguments.recording:
            store, at_ms = metrics.loaded(arguments.recording)
        else:
            choice = target.choose(arguments.kubeconfig, arguments.kube_context)
            store, at_ms = aio.run(metrics.snapshot(choice, _options(arguments, 1.0), arguments.rounds))
        status, body = ReadAPI(Engine(store)).answer(
            "query", {"query": [arguments.expression], "time": [f"{at_ms / 1000:.3f}"]}
        )
    if arguments.output == "json":
        print(body.decode(errors="replace").strip())
        return 0 if status == 200 else 1
    document = orjson.loads(body)
    if document["status"] == "error":
        said = f"{document.get('errorType', status)}: {document.get('error', '')}"
        print(f"kubedyno: {printable(said)}", file=sys.stderr)
        return 1
    for line in _lines(document["data"]):
        print(line)
    return 0


def _lines(data: dict[str, Any]) -> list[str]:
    """Return an answer as lines: series, then its values."""
    from kubedyno.base.terminal import printable
    from kubedyno.promql.dump import series_text

    if data["resultType"] in {"scalar", "string"}:
        return [printable(str(data["result"][1]))]
    lines = []
    for entry in data["result"]:
        points = entry.get("values") or ([entry["value"]] if "value" in entry else [])
        shown = " ".join(str(value) for _, value in points)
        lines.append(printable(f"{series_text(entry['metric']) or '{}'} {shown}"))
    return lines
