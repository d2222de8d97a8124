"""componentstatuses and bindings: two of the oldest kinds, answered and never stored.

The components of a cluster are parts of its one process here: while that answers, they are healthy.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import value_bytes
from kubedyno.cluster.apiserver.negotiation import COLLECTION_MEDIA, METADATA, TABLE, Form, check_shape
from kubedyno.cluster.apiserver.queries import list_options
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.storage.store import ResourceKey, resource_key
from kubedyno.kube.resources import built_in
from kubedyno.kube.status import NotFound

_COMPONENTS = built_in("", "componentstatuses")
_BINDINGS = built_in("", "bindings")
COMPONENTS = replace(_COMPONENTS, verbs=("get", "list"))
BINDINGS = _BINDINGS
_NAMES = ("scheduler", "controller-manager", "etcd-0")
_HEALTHY = {"type": "Healthy", "status": "True", "message": "ok"}
_DEPRECATED = "v1 ComponentStatus is deprecated in v1.19+"


class _ComponentStatuses(Kind):
    """core/v1 ComponentStatus."""

    legacy_fields = True

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        _ = now_s
        condition = obj["conditions"][0]
        return [obj["metadata"]["name"], "Healthy", condition["message"], condition.get("error", "")]


def oldest_kinds() -> dict[ResourceKey, Kind]:
    """Return the kinds that are answered here."""
    return {resource_key(kind.resource): kind for kind in (_ComponentStatuses(COMPONENTS), Kind(BINDINGS))}


def answer_components(call: Call) -> None:
    """Answer GET of one component's status, or of all.

    Raises:
        StatusError: There is no such component, or the query is wrong.
    """
    request, kind, name = call.request, call.route.kind, call.route.name
    call.warnings.append(_DEPRECATED)
    if name:
        form = call.form()
        if name not in _NAMES:
            # Its storage has a name of its own for it.
            raise NotFound(f'componentstatus "{name}" not found', {"name": name, "kind": "componentstatus"})
        names = [name]
    else:
        options = list_options(request.query)
        form = call.form(options.pretty, route=COLLECTION_MEDIA)
        for field, _, _ in options.fields.terms:
            kind.check_field(field)
        names = [
            each
            for each in _NAMES
            if options.labels.matches({}) and options.fields.matches({"metadata.name": each}.get)
        ]  # fmt: skip
    check_shape(form, "core.ComponentStatus" if name else "core.ComponentStatusList", listed=not name)
    objects: list[Object] = [{"metadata": {"name": each}, "conditions": [dict(_HEALTHY)]} for each in names]
    call.answer(200, form.media, value_bytes(_shaped(kind, objects, form, whole=not name), form))


def _shaped(kind: Kind, objects: list[Object], form: Form, *, whole: bool) -> Object:
    """Return an answer: a list where `whole`, else the one object; as a Table or as metadata where asked for."""
    version, meta = kind.resource.api_version, f"meta.k8s.io/{form.version}"
    parts = [{"kind": "PartialObjectMetadata", "apiVersion": meta, "metadata": each["metadata"]} for each in objects]
    if form.shape == TABLE:
        rows = [{"cells": kind.cells(each, 0.0), "object": part} for each, part in zip(objects, parts, strict=True)]
        head = {"kind": "Table", "apiVersion": meta, "metadata": {}}
        return {**head, "columnDefinitions": kind.columns(), "rows": rows}
    if form.shape == METADATA:
        if not whole:
            return parts[0]
        return {"kind": "PartialObjectMetadataList", "apiVersion": meta, "metadata": {}, "items": parts or None}
    name = kind.resource.kind
    if not whole:
        return {"kind": name, "apiVersion": version, **objects[0]}
    return {"kind": f"{name}List", "apiVersion": version, "metadata": {}, "items": objects}


def answer_binding(call: Call, bind: Callable[[Call], None]) -> None:
    """Answer POST of a Binding to its collection: of the pod that it names.

    Args:
        call: The request.
        bind: Answers it as one to that pod's subresource.
    """
    name = ""
    try:
        body = orjson.loads(call.request.body)
        name = str(body["metadata"]["name"])
    except (ValueError, KeyError, TypeError):
        # No JSON, or none with a name: whoever decodes it says what is wrong.
        name = ""
    call.route = replace(call.route, name=name)
    bind(call)
