"""Differences of objects as the real server prints them: its internal structs as JSON, compared line by line."""

import difflib
from typing import Any

import orjson

from kubedyno.cluster.registry.kind import Object


def _lines(value: Any) -> list[str]:
    # orjson indents by two, Go's by one.
    lines = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode().splitlines()
    return [line[: (len(line) - len(line.lstrip())) // 2] + line.lstrip() + "\n" for line in lines]


def difference(old: Any, new: Any) -> str:
    """Return the hunks of a unified diff of two values in Go's member order."""
    hunks = list(difflib.unified_diff(_lines(old), _lines(new)))
    return "".join(hunks[2:])


def go_claim_spec(spec: Object) -> Object:
    """Return a PersistentVolumeClaim's spec with the internal struct's members."""
    resources = spec.get("resources", {})
    return {
        "AccessModes": spec.get("accessModes"),
        "Selector": spec.get("selector"),
        "Resources": {"Limits": resources.get("limits"), "Requests": resources.get("requests")},
        "VolumeName": spec.get("volumeName", ""),
        "StorageClassName": spec.get("storageClassName"),
        "VolumeMode": spec.get("volumeMode"),
        "DataSource": _reference(spec.get("dataSource"), namespaced=False),
        "DataSourceRef": _reference(spec.get("dataSourceRef"), namespaced=True),
        "VolumeAttributesClassName": spec.get("volumeAttributesClassName"),
    }


def _reference(reference: Object | None, *, namespaced: bool) -> Object | None:
    if reference is None:
        return None
    shown: Object = {
        "APIGroup": reference.get("apiGroup"), "Kind": reference.get("kind", ""), "Name": reference.get("name", ""),
    }  # fmt: skip
    return {**shown, "Namespace": reference.get("namespace")} if namespaced else shown
