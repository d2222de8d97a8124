"""`kubedyno index`: queries a Prometheus by metric profiles and stores the documents."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from kubedyno.cli.promlogin import add_login_flags, login_of
from kubedyno.cli.switches import add_switch

if TYPE_CHECKING:
    from kubedyno.lab.measure import Query

DIRECTORY = "collected-metrics-{{.UUID}}"
_WINDOW_S = 3600


def add_server_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `index` and `check-alerts` share."""
    add_login_flags(parser, skip_tls_verify="true", short=True)
    parser.add_argument("-s", "--step", default="30s", help="of range queries (default %(default)s)")
    parser.add_argument("--start", type=int, help="epoch seconds (default: an hour ago)")
    parser.add_argument("--end", type=int, help="epoch seconds (default: now)")
    parser.add_argument("--uuid", help="benchmark id (default: a random one)")
    parser.add_argument("--es-server", default="", help="URL of an OpenSearch or Elasticsearch")
    parser.add_argument("--es-index", default="", help="its index")
    parser.add_argument("--log-level", default="info", help="error, warn, info, debug or trace (default %(default)s)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add kube-burner's flags."""
    parser.add_argument("-u", "--prometheus-url", default="", help="URL of the Prometheus")
    parser.add_argument(
        "-m", "--metrics-profile", action="append", help="file or URL, several by comma (default metrics.yml)"
    )
    parser.add_argument("-e", "--metrics-endpoint", help="YAML list of endpoints instead")
    parser.add_argument("-j", "--job-name", default="kube-burner-indexing", help="in documents (default %(default)s)")
    parser.add_argument("--user-metadata", help="YAML file merged into documents")
    parser.add_argument("--metrics-directory", default=DIRECTORY, help="of local documents")
    parser.add_argument("--tarball-name", default="", help="also write the directory as this .tgz")
    parser.add_argument("--indexer-type", default="local", choices=("local", "tsdb"), help="(default %(default)s)")
    add_switch(parser, "--skip-log-file", "write no kube-burner-<uuid>.log")
    add_server_flags(parser)


def query_of(arguments: argparse.Namespace, metrics: tuple[str, ...], alerts: tuple[str, ...]) -> "Query":
    """Return what the flags ask for."""
    from kubedyno.base.clock import SYSTEM_CLOCK
    from kubedyno.base.errors import KubedynoError
    from kubedyno.base.random import Random
    from kubedyno.lab import flags, measure
    from kubedyno.load.config.spec import EndpointSpec

    file = getattr(arguments, "metrics_endpoint", None)
    if not arguments.prometheus_url and not file:
        raise KubedynoError("give --prometheus-url, the URL of the Prometheus")
    now_s = int(SYSTEM_CLOCK.now())
    start_s = arguments.start if arguments.start is not None else now_s - _WINDOW_S
    end_s = arguments.end if arguments.end is not None else now_s
    if start_s > end_s:
        raise KubedynoError(f"--start {start_s}: lies after the end, {end_s}")
    directory = arguments.metrics_directory
    server = bool(arguments.es_server and arguments.es_index)
    indexer = None
    if directory or server:
        indexer = measure.indexer_spec(
            getattr(arguments, "indexer_type", "local"),
            directory,
            arguments.es_server,
            arguments.es_index,
            getattr(arguments, "tarball_name", ""),
        )
    endpoint = EndpointSpec(
        indexer=indexer,
        endpoint=arguments.prometheus_url,
        metrics=metrics,
        alerts=alerts,
        step_s=flags.seconds("--step", arguments.step),
        **login_of(arguments),
    )
    return measure.Query(
        arguments.uuid or Random().uid(),
        float(start_s),
        float(end_s),
        None if file else endpoint,
        file,
        getattr(arguments, "job_name", ""),
        flags.user_metadata(getattr(arguments, "user_metadata", None)),
        Path(),
    )


def run(arguments: argparse.Namespace) -> int:
    """Query and store; exit code 0."""
    from kubedyno.base import aio
    from kubedyno.lab import flags, measure, session

    query = query_of(arguments, measure.names_of(arguments.metrics_profile or ["metrics.yml"]), ())
    request = session.Request(
        "", log_level=flags.log_level(arguments.log_level), skip_log_file=arguments.skip_log_file
    )  # fmt: skip
    handlers = session.log_handlers(request, query.uuid)
    try:
        return aio.run(measure.index(query))
    finally:
        session.close_logs(handlers)
