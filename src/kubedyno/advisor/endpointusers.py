"""Who still reads or writes Endpoints: manifests, roles, code, an API server's metrics and its audit log.

In: texts. Out: `Use`s with the place and the change. Nothing here reads a cluster.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.advisor import endpoints
from kubedyno.base.errors import KubedynoError

# Suffixes of files that are looked at.
SUFFIXES = (".go", ".py", ".yaml", ".yml", ".json", ".sh", ".md", ".tf", ".tpl")
_YAML = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Use:
    """One place that uses Endpoints; `line` is 0 when it has none."""

    path: str
    line: int
    what: str
    change: str


# Pattern, suffixes, what it is, what to do.
_PATTERNS: tuple[tuple[re.Pattern[str], tuple[str, ...], str, str], ...] = (
    (
        re.compile(r"\bCoreV1\(\)\.Endpoints\("),
        (".go",),
        "client-go: Endpoints of the core group",
        "DiscoveryV1().EndpointSlices(ns) with the label kubernetes.io/service-name=NAME",
    ),
    (
        re.compile(r"\bCore\(\)\.V1\(\)\.Endpoints\(\)"),
        (".go",),
        "client-go: informer of Endpoints",
        "Discovery().V1().EndpointSlices(), indexed by kubernetes.io/service-name",
    ),
    (
        re.compile(r"\b(?:core)?v1\.(?:EndpointsList|EndpointSubset|EndpointAddress|EndpointPort|Endpoints)\b"),
        (".go",),
        "Go type of Endpoints",
        "discoveryv1.EndpointSlice, .Endpoint and .EndpointPort; join all slices of a Service",
    ),
    (
        re.compile(r"\bEndpoints(?:Leases)?ResourceLock\b|\"endpoints(?:leases)?\""),
        (".go",),
        "leader election by Endpoints",
        "resourcelock.LeasesResourceLock",
    ),
    (
        re.compile(
            r"\b(?:list|read|create|patch|replace|delete)_namespaced_endpoints\b|\blist_endpoints_for_all_namespaces\b"
        ),
        (".py",),
        "Python client: Endpoints of CoreV1Api",
        "DiscoveryV1Api().list_namespaced_endpoint_slice(ns, label_selector='kubernetes.io/service-name=NAME')",
    ),
    (
        re.compile(r"\bV1Endpoint(?:s|Subset|Address)\b|\bCoreV1EndpointPort\b"),
        (".py",),
        "Python type of Endpoints",
        "V1EndpointSlice and V1Endpoint",
    ),
    (
        re.compile(r"\bkubectl\b[^|;&\n]*\b(?:get|describe|edit|delete|patch|watch|wait)\b[^|;&\n]*\s(?:endpoints|ep)(?:[\s/]|$)"),
        (".sh", ".md", ".yaml", ".yml", ".py", ".go"),
        "kubectl on Endpoints",
        "kubectl get endpointslices -l kubernetes.io/service-name=NAME",
    ),
    (
        re.compile(r"^\s*-?\s*role:\s*[\"']?endpoints[\"']?\s*(?:#.*)?$"),
        (".yaml", ".yml", ".tpl"),
        "Prometheus discovery by Endpoints",
        "role: endpointslice; labels are __meta_kubernetes_endpointslice_…",
    ),
    (
        re.compile(r"/api/v1/(?:namespaces/[^/\s\"']+/)?endpoints\b"),
        SUFFIXES,
        "URL of Endpoints",
        "/apis/discovery.k8s.io/v1/namespaces/NS/endpointslices?labelSelector=kubernetes.io/service-name=NAME",
    ),
)  # fmt: skip
_METRIC = re.compile(r"^apiserver_requested_deprecated_apis\{([^}]*)\}\s+([0-9.e+]+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_CHANGE_OBJECT = "kubedyno migrate endpoints makes EndpointSlices of it"


def in_text(text: str, path: str) -> Iterator[Use]:
    """Yield the uses in one file; a YAML file that cannot be read is searched by pattern alone."""
    suffix = path[path.rfind(".") :].lower()
    if suffix in _YAML:
        try:
            found = list(endpoints.documents(text, path))
        except KubedynoError:
            found = []  # a template, say
        for line, _, document in found:
            yield from in_object(document, path, line)
    for number, line_text in enumerate(text.splitlines(), 1):
        for pattern, suffixes, what, change in _PATTERNS:
            if suffix in suffixes and pattern.search(line_text):
                yield Use(path, number, what, change)


def in_object(document: Any, path: str, line: int = 0) -> Iterator[Use]:
    """Yield the uses in one API object: Endpoints themselves, and roles that allow them."""
    if not isinstance(document, dict):
        return
    if endpoints.is_endpoints(document):
        yield Use(path, line, f"Endpoints {_name(document)}", _CHANGE_OBJECT)
    for item in endpoints.items_of(document):
        yield from in_object(item, path, line)
    if document.get("kind") not in {"Role", "ClusterRole"}:
        return
    name, given = _name(document), document.get("rules")
    rules = [rule for rule in given if isinstance(rule, dict)] if isinstance(given, list) else []
    for rule in rules:
        if "" not in _words(rule, "apiGroups") or not {"endpoints", "endpoints/restricted"} & set(
            _words(rule, "resources")
        ):
            continue
        verbs = _words(rule, "verbs")
        allowed = any(
            "discovery.k8s.io" in _words(other, "apiGroups") and "endpointslices" in _words(other, "resources")
            for other in rules
        )
        change = (
            "it allows endpointslices already: drop endpoints when nobody asks for them"
            if allowed
            else f'add apiGroups ["discovery.k8s.io"], resources ["endpointslices"], verbs {verbs}, then drop endpoints'
        )
        yield Use(path, line, f"{document['kind']} {name} allows {', '.join(verbs)} of endpoints", change)


def _name(document: dict[str, Any]) -> str:
    metadata = document.get("metadata")
    return str(metadata.get("name", "?")) if isinstance(metadata, dict) else "?"


def _words(rule: dict[str, Any], field: str) -> list[str]:
    found = rule.get(field)
    return [str(one) for one in found] if isinstance(found, list) else []


def in_metrics(text: str, path: str) -> Iterator[Use]:
    """Yield what an API server's metrics say of deprecated Endpoints; the metric names no client."""
    for found in _METRIC.finditer(text):
        labels = dict(_LABEL.findall(found[1]))
        if labels.get("resource") == "endpoints" and not labels.get("group") and float(found[2]) > 0:
            yield Use(
                path, 0, "someone asked for v1 Endpoints since the API server began", "see its audit log for whom"
            )


def in_audit_log(text: str, path: str) -> Iterator[Use]:
    """Yield who asked for Endpoints, by an audit log of a JSON event a line, the most frequent first.

    Raises:
        KubedynoError: No line of it is an event.
    """
    asked: Counter[tuple[str, str, str]] = Counter()
    events = 0
    for line in text.splitlines():
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue  # the last line of a log that is being written
        reference = event.get("objectRef") if isinstance(event, dict) else None
        if not isinstance(event, dict) or event.get("kind") != "Event":
            continue
        events += 1
        if not reference or reference.get("resource") != "endpoints" or reference.get("apiGroup"):
            continue
        if event.get("stage") == "RequestReceived":
            continue  # the same request comes again when it is complete
        user = (event.get("user") or {}).get("username", "?")
        asked[user, event.get("userAgent", "?"), event.get("verb", "?")] += 1
    if not events:
        raise KubedynoError(f"{path}: no audit events in it (a JSON object a line)")
    for (user, agent, verb), count in asked.most_common():
        times = "once" if count == 1 else f"{count} times"
        yield Use(path, 0, f"{user} ({agent}): {verb} of endpoints, {times}", "endpointslices of discovery.k8s.io/v1")
