"""Creation as a real API server answered it: defaults, refusals, warnings; and kubectl's rows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from kubedyno.base.times import epoch_of
from kubedyno.cluster.registry.celfunctions import available
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube.resources import Resource, by_plural
from kubedyno.kube.status import StatusError
from unit.cluster.registry.conftest import Cluster

UID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")
GOLDEN = Path(__file__).parents[3] / "golden" / "registry"
DEFAULTING = [json.loads(line) for line in (GOLDEN / "defaulting.jsonl").read_text().splitlines()]
VALIDATION = [json.loads(line) for line in (GOLDEN / "validation.jsonl").read_text().splitlines()]
# What was recorded of a server with other settings or parts → why it is not asked of this one.
_COMPILED = ("vap", "vap-syntax", "vap-type", "vap-undeclared")
GAPS = (
    {}
    if available()
    else dict.fromkeys(_COMPILED, "without the extra cel expressions are not compiled, and that is said")
)


def cases(entries: list[dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(e, id=e["name"], marks=[pytest.mark.skip(GAPS[e["name"]])] if e["name"] in GAPS else [])
        for e in entries
    ]


@pytest.fixture
def cluster() -> Cluster:
    # The recorded server had service subnets of both families.
    return Cluster(settings=ClusterSettings(second_service_subnet="fd00:10:96::/112"))


TABLES = json.loads((GOLDEN / "tables.json").read_text())


def resource_of(api: str) -> Resource:
    group, version, plural = ("", *api.split("/")) if api.count("/") == 1 else api.split("/")
    resource = by_plural(group, version, plural)
    assert resource is not None
    return resource


def comparable(obj: dict[str, Any]) -> Any:
    """Blank out what differs by nature: ids, times, random names, addresses."""
    for member in ("uid", "creationTimestamp", "resourceVersion"):
        obj["metadata"].pop(member, None)
    text = json.dumps(obj, sort_keys=True)
    text = re.sub(r"kube-api-access-\w{5}", "kube-api-access-X", text)
    text = re.sub(r'"10\.[\d.]+"', '"10.96.0.0"', text)
    text = re.sub(r'"(nodePort|healthCheckNodePort)": 3\d+', r'"\1": 3', text)
    text = re.sub(r'"(last\w*TransitionTime)": "[^"]*"', r'"\1": "T"', text)
    text = UID.sub("UID", text)
    text = re.sub(r'"name": "(\w+-)\w{5}"(, "namespace")', r'"name": "\1X"\2', text)
    return json.loads(text)


def steady(message: str) -> str:
    """Blank out what differs by nature in a message: generated names and uids."""
    return UID.sub("UID", re.sub(r"A_\w{5}\b", "A_X", message))


def namespaces_of(entry: dict[str, Any]) -> str:
    namespace = entry["body"].get("metadata", {}).get("namespace") or entry.get("object", {}).get("metadata", {}).get(
        "namespace", ""
    )
    return namespace or "gold-b"


def create(cluster, entry: dict[str, Any], warnings: list[str]) -> Any:
    resource = resource_of(entry["api"])
    namespace = namespaces_of(entry) if resource.namespaced else ""
    if namespace:
        cluster.add_namespace(namespace)
    return resource, cluster.registry.create(
        resource,
        namespace,
        entry["body"],
        dry_run=True,
        field_validation=entry.get("fieldValidation", "Warn"),
        warnings=warnings,
    )


@pytest.mark.parametrize("entry", cases(DEFAULTING))
def test_accepted_objects_are_completed_as_recorded(cluster, entry):
    warnings: list[str] = []
    resource, record = create(cluster, entry, warnings)
    assert comparable(cluster.store.encode_dict(resource, record)) == comparable(entry["object"])
    # That a kind is deprecated is said with every answer, whatever is done: by the API server.
    deprecation = cluster.registry.kind(resource).deprecation
    assert [*([deprecation] if deprecation else []), *warnings] == entry.get("warnings", [])


@pytest.mark.parametrize("entry", cases(VALIDATION))
def test_refused_objects_are_refused_with_the_recorded_words(cluster, entry):
    with pytest.raises(StatusError) as caught:
        create(cluster, entry, [])
    error = caught.value
    causes = [[c["reason"], c["field"]] for c in (error.details or {}).get("causes", [])]
    assert steady(error.message) == steady(entry["message"])
    assert (error.code, error.reason, causes) == (entry["status"], entry["reason"], entry["causes"])


@pytest.mark.parametrize("entry", TABLES, ids=[f"{t['api']}:{t['object']['metadata']['name']}" for t in TABLES])
def test_rows_are_those_that_kubectl_was_shown(cluster, entry):
    kind = cluster.registry.kind(resource_of(entry["api"]))
    assert [c["name"] for c in kind.columns()] == entry["columns"]
    now_s = epoch_of(entry["object"]["metadata"]["creationTimestamp"]) + 14
    ages = {"Age", "Last Seen", "First Seen"}
    shown = [
        c for c, name in zip(kind.cells(entry["object"], now_s), entry["columns"], strict=True) if name not in ages
    ]
    assert shown == [c for c, name in zip(entry["cells"], entry["columns"], strict=True) if name not in ages]


def test_every_kind_has_a_cell_for_each_of_its_columns(cluster):
    for kind in cluster.registry.kinds.values():
        obj = {"metadata": {"name": "x"}}
        kind.default(obj)
        assert len(kind.cells(obj, 0.0)) == len(kind.columns()), kind.resource.plural


def test_texts_too_long_are_refused_with_their_limit(cluster):
    with pytest.raises(StatusError, match=r"\[\]: Too long: may not be more than 1048576 bytes"):
        cluster.create(resource_of("v1/configmaps"), data={"a": "x" * (1 << 20) + "y"})
    with pytest.raises(StatusError, match=r"metadata.annotations: Too long: may not be more than 262144 bytes"):
        cluster.create(resource_of("v1/configmaps"), metadata={"annotations": {"a": "x" * (256 << 10)}})
