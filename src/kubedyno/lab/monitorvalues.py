"""Values of the chart kube-prometheus-stack to what acts here: scrape interval, NodePorts, time zone, password.

What is misspelt in the parts that act is an error with its line; what has no meaning here is a warning that names it.
"""

from dataclasses import replace
from pathlib import Path

from kubedyno.base.errors import KubedynoError
from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.assembly.strict import Place
from kubedyno.cluster.settings import MonitoringSettings
from kubedyno.kube import yaml
from kubedyno.lab.grafana import check_timezone

# kube-apiserver's --service-node-port-range.
_LEAST_PORT, _MOST_PORT = 30000, 32767
# What the study switches off; there is none of it here anyway.
_OFF = (("alertmanager", "enabled"), ("defaultRules", "create"))


def read(path: Path) -> tuple[MonitoringSettings, list[str]]:
    """Return what a values file asks for, and warnings about what has no effect.

    Raises:
        KubedynoError: It cannot be read, or a value is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise KubedynoError(f"{path}: cannot be read ({error})") from error
    return parse(text, str(path))


def parse(text: str, path: str) -> tuple[MonitoringSettings, list[str]]:
    """Return what values ask for; see `read`."""
    document = yaml.load(text, path, strict=True)
    settings = MonitoringSettings()
    warnings: list[str] = []
    if document is None:
        return settings, warnings
    if not isinstance(document, dict):
        raise KubedynoError(f"{path}: holds no values; they are a mapping")
    top = Place(document, path)

    def ignore(place: Place) -> None:
        warnings.append(f"{place.dotted} (line {place.line}) has no effect here")

    def mapping(place: Place) -> list[str]:
        if place.value is not None and not isinstance(place.value, dict):
            raise place.fail("must be a mapping")
        return list(place.value or {})

    def off(place: Place) -> None:
        if place.boolean():
            warnings.append(f"{place.dotted} (line {place.line}) has no effect here: there is none of it")

    for key in document:
        part = top.at(key)
        if key == "prometheus":
            for inner in mapping(part):
                if inner == "prometheusSpec":
                    spec = part.at(inner)
                    for name in mapping(spec):
                        if name == "scrapeInterval":
                            settings = replace(settings, scrape_interval_s=_seconds(spec.at(name)))
                        elif name == "evaluationInterval":
                            settings = replace(settings, evaluation_interval_s=_seconds(spec.at(name)))
                        else:
                            ignore(spec.at(name))
                elif inner == "service":
                    port = _node_port(part.at(inner), mapping(part.at(inner)), ignore)
                    settings = replace(settings, prometheus_port=port or settings.prometheus_port)
                else:
                    ignore(part.at(inner))
        elif key == "grafana":
            for inner in mapping(part):
                value = part.at(inner)
                if inner == "defaultDashboardsTimezone":
                    check_timezone(value.text(), f"{path}:{value.line}: {value.dotted}")
                    settings = replace(settings, timezone=value.text())
                elif inner == "adminPassword":
                    settings = replace(settings, admin_password=value.text())
                elif inner == "service":
                    port = _node_port(value, mapping(value), ignore)
                    settings = replace(settings, grafana_port=port or settings.grafana_port)
                else:
                    ignore(value)
        elif any(key == name for name, _ in _OFF):
            for inner in mapping(part):
                if (key, inner) in _OFF:
                    off(part.at(inner))
                else:
                    ignore(part.at(inner))
        elif key != "prometheus-windows-exporter":
            # Nodes are Linux: whatever is said of that one has no meaning, and needs no word.
            ignore(part)
    if settings.prometheus_port == settings.grafana_port:
        raise KubedynoError(f"{path}: Prometheus and Grafana both ask for NodePort {settings.grafana_port}; change one")
    return settings, warnings


def _seconds(place: Place) -> float:
    text = place.text()
    try:
        seconds = duration_ns_of(text) / 1e9
    except ValueError as error:
        raise place.fail(f"is {text!r}: {error}; write for example 15s") from error
    if not 1 <= seconds <= 3600:
        raise place.fail(f"is {text!r}: must be between 1s and 1h")
    return seconds


def _node_port(place: Place, keys: list[str], ignore: object) -> int:
    """Return the NodePort of a service's values, 0 when it names none."""
    assert callable(ignore)
    port = 0
    for key in keys:
        if key == "nodePort":
            port = place.at(key).integer(_LEAST_PORT, _MOST_PORT)
        elif key != "type" or place.at(key).text() not in {"NodePort", "LoadBalancer"}:
            ignore(place.at(key))
    return port
