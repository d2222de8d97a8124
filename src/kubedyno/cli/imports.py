"""`kubedyno import`: stores the documents of a tarball."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add kube-burner's flags."""
    parser.add_argument("--tarball", required=True, help="a .tgz of a metrics directory")
    parser.add_argument("--metrics-directory", default="collected-metrics", help="(default %(default)s)")
    parser.add_argument("--es-server", default="", help="URL of an OpenSearch or Elasticsearch")
    parser.add_argument("--es-index", default="", help="its index")
    parser.add_argument("--log-level", default="info", help="error, warn, info, debug or trace (default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Store; exit code 1 when something was refused."""
    from kubedyno.lab import flags, measure, session

    spec = measure.indexer_spec("local", arguments.metrics_directory, arguments.es_server, arguments.es_index, "")
    request = session.Request("", log_level=flags.log_level(arguments.log_level), skip_log_file=True)
    handlers = session.log_handlers(request, "import")
    try:
        count, refused = measure.import_tarball(Path(arguments.tarball), spec)
    finally:
        session.close_logs(handlers)
    print(f"{count} documents imported")
    return 1 if refused else 0
