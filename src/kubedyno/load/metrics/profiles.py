"""Metric and alert profiles: YAML lists of queries, whose texts are templates of the environment and `.elapsed`."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml
from kubedyno.load.config.sources import read_text
from kubedyno.load.metrics.shipped import is_shipped, text_of
from kubedyno.load.plan.gotemplate.errors import TemplateError
from kubedyno.load.plan.gotemplate.execute import Template

SEVERITIES = ("warning", "error", "critical", "info")


@dataclass(frozen=True, slots=True)
class MetricQuery:
    """One entry of a metric profile."""

    query: str
    name: str
    instant: bool = False
    capture_start: bool = False


@dataclass(frozen=True, slots=True)
class AlertRule:
    """One entry of an alert profile; an unknown severity is as good as info."""

    expr: str
    description: str
    severity: str


def metric_profile(name: str, directory: Path) -> list[MetricQuery]:
    """Return the queries of a metric profile.

    Args:
        name: File, URL, or the name of one that is shipped.
        directory: Looked in after the working directory.

    Raises:
        KubedynoError: It cannot be read, or an entry is wrong.
    """
    found = []
    for where, entry in _entries(
        name, directory, ("query", "metricName", "instant", "captureStart"), "metrics profile"
    ):
        query, metric = entry.get("query"), entry.get("metricName")
        if not query or not metric:
            raise KubedynoError(f"{where}: needs query and metricName")
        found.append(MetricQuery(str(query), str(metric), bool(entry.get("instant")), bool(entry.get("captureStart"))))
    return found


def alert_profile(name: str, directory: Path) -> list[AlertRule]:
    """Return the rules of an alert profile; raises as `metric_profile`, and for a description that is no template."""
    found = []
    for where, entry in _entries(name, directory, ("expr", "description", "severity"), "alert profile"):
        if not entry.get("expr"):
            raise KubedynoError(f"{where}: needs expr")
        rule = AlertRule(str(entry["expr"]), str(entry.get("description") or ""), str(entry.get("severity") or ""))
        try:
            described(rule, {}, 0.0)
        except TemplateError as error:
            raise KubedynoError(f"{where}: description: {error}") from error
        found.append(rule)
    return found


def _entries(name: str, directory: Path, keys: tuple[str, ...], what: str) -> list[tuple[str, Mapping[str, Any]]]:
    text = text_of(name) if is_shipped(name) else read_text(name, what, [directory])
    try:
        content = yaml.load(text, strict=True, words=False)
    except yaml.YAMLError as error:
        raise KubedynoError(f"{what} {name}: {error}") from error
    if not isinstance(content, list):
        raise KubedynoError(f"{what} {name}: must be a list")
    found: list[tuple[str, Mapping[str, Any]]] = []
    for index, entry in enumerate(content):
        where = f"{what} {name} line {yaml.line_of(content, index)}"
        if not isinstance(entry, dict):
            raise KubedynoError(f"{where}: must be a mapping")
        unknown = [key for key in entry if key not in keys]
        if unknown:
            raise KubedynoError(f"{where}: field {unknown[0]} not found; {', '.join(keys)} are known")
        found.append((where, entry))
    return found


def rendered(query: str, env: Mapping[str, str], elapsed: str) -> str:
    """Return a query with its variables filled in; a missing one prints `<no value>`.

    Raises:
        KubedynoError: It is a malformed template.
    """
    if "{{" not in query:
        return query
    try:
        return Template(query, missing_key_error=False).render({**env, "elapsed": elapsed})
    except TemplateError as error:
        raise KubedynoError(f"query {query!r}: {error}") from error


def _rounded(value: float) -> float:
    """Return a value with three decimals, halves away from zero."""
    if not math.isfinite(value):
        return value
    return math.copysign(math.floor(abs(value) * 1000 + 0.5) / 1000, value)


def described(rule: AlertRule, labels: Mapping[str, str], value: float) -> str:
    """Return an alert's text for a series: `{{$labels.x}}` and `{{$value}}` filled in.

    Raises:
        TemplateError: It is malformed.
    """
    text = "{{$labels := .Labels}}{{$value := .Value}}" + rule.description
    made = Template(text, missing_key_error=False).render({"Labels": dict(labels), "Value": _rounded(value)})
    return re.sub(r"\s+$", "", made)
