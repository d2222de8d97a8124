"""`metricsEndpoints` of a configuration, or of the file that `--metrics-endpoint` names instead."""

from collections.abc import Mapping
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml
from kubedyno.load.config.fields import Section
from kubedyno.load.config.sources import read_text
from kubedyno.load.config.spec import EndpointSpec, IndexerSpec

_ENDPOINT = dict.fromkeys(
    ("indexer", "alias", "step", "skipTLSVerify", "endpoint", "metrics", "alerts", "token", "username", "password")
)
_INDEXER = dict.fromkeys(
    (
        "type", "metricsDirectory", "esServers", "defaultIndex", "insecureSkipVerify", "createTarball", "tarballName",
    )
)  # fmt: skip
INDEXERS = ("local", "opensearch", "elastic", "tsdb")


def endpoints(document: Any, path: tuple[str | int, ...], count: int, compat: int) -> tuple[EndpointSpec, ...]:
    """Return the endpoints that stand at `path` of a document.

    Raises:
        KubedynoError: One is wrong.
    """
    found = tuple(_endpoint(document, (*path, index), index, compat) for index in range(count))
    for index, entry in enumerate(found):
        if entry.metrics and entry.indexer is None:
            raise KubedynoError(
                f"Metrics profile is configured for endpoint #{index} but no indexer was defined; add an indexer"
            )
    return found


def from_file(name: str, render: Any, env: Mapping[str, str], compat: int) -> tuple[EndpointSpec, ...]:
    """Return the endpoints of a `--metrics-endpoint` file: a YAML list, rendered with the environment alone.

    Raises:
        KubedynoError: It cannot be read or is wrong.
    """
    text = read_text(name, "metrics endpoint file")
    try:
        document = yaml.load(render(text, env, True), strict=True, words=False)
    except ValueError as error:
        raise KubedynoError(f"--metrics-endpoint {name}: {error}") from error
    if not isinstance(document, list):
        raise KubedynoError(f"--metrics-endpoint {name}: must hold a list of endpoints")
    return endpoints(document, (), len(document), compat)


def _endpoint(document: Any, path: tuple[str | int, ...], number: int, compat: int) -> EndpointSpec:
    section = Section(document, path, "config.MetricsEndpoint", _ENDPOINT)
    indexer = None
    if section.has("indexer"):
        inner = Section(document, (*path, "indexer"), "config.IndexerConfig", _INDEXER)
        kind = inner.text("type")
        if kind not in INDEXERS:
            raise inner.fail(
                ("type",),
                f"Error creating indexer {number}: Indexer not found: {kind}; {', '.join(INDEXERS)} are known",
            )
        servers = inner.texts("esServers")
        if kind in {"opensearch", "elastic"}:
            if not servers:
                raise inner.fail((), "needs esServers, the URLs of the server")
            if not inner.text("defaultIndex"):
                raise inner.fail((), "needs defaultIndex, where documents go")
        default = "collected-metrics-{{.UUID}}" if compat == 2 else "collected-metrics"
        indexer = IndexerSpec(
            kind,
            inner.text("metricsDirectory", default),
            servers,
            inner.text("defaultIndex").lower(),
            inner.boolean("insecureSkipVerify", False),
            inner.boolean("createTarball", False),
            inner.text("tarballName", "kube-burner-metrics.tgz"),
        )
    return EndpointSpec(
        alias=section.text("alias"),
        indexer=indexer,
        endpoint=section.text("endpoint"),
        metrics=section.texts("metrics"),
        alerts=section.texts("alerts"),
        step_s=section.seconds("step", 30.0),
        skip_tls_verify=section.boolean("skipTLSVerify", True),
        token=section.text("token"),
        username=section.text("username"),
        password=section.text("password"),
    )
