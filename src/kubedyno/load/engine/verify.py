"""Did what was sent arrive? Objects are counted by their labels, as metadata only."""

from urllib.parse import quote

import msgspec

from kubedyno.kube.status import StatusError
from kubedyno.load.engine.mapping import Mapping
from kubedyno.load.engine.patience import PatientClient

PAGE = 500
_EXPIRED = 410
# How often a list may be begun anew, as in the original.
_RESTARTS = 4
_METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"


class _ListMetadata(msgspec.Struct):
    resourceVersion: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMetadata = msgspec.field(default_factory=_ListMetadata)
    # A real server's list of metadata has null where there is nothing.
    items: list[msgspec.Raw] | None = None


_decode = msgspec.json.Decoder(_List).decode


async def count(client: PatientClient, mapping: Mapping, selector: str) -> int:
    """Return how many objects of a kind carry the labels, in all namespaces.

    Raises:
        StatusError: The API refuses.
    """
    found = restarts = 0
    token = ""
    while True:
        query = f"labelSelector={quote(selector)}&limit={PAGE}" + (f"&continue={quote(token)}" if token else "")
        path = f"{mapping.path()}?{query}"
        answer = await client.request("GET", path, headers=(("accept", _METADATA_LIST),))
        if answer.status == _EXPIRED and token and restarts < _RESTARTS:
            # The list's moment is forgotten. What is counted no longer changes, so going on from where we were, at a
            # later moment, counts the same; a server that offers no way to go on is asked from the beginning.
            token = _decode(answer.body).metadata.continue_
            if not token:
                restarts += 1
                found = 0
            continue
        if answer.status != 200:
            raise StatusError.from_response(answer.status, answer.body)
        page = _decode(answer.body)
        found += len(page.items or ())
        token = page.metadata.continue_
        if not token:
            return found
