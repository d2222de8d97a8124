"""The bodies of PATCH: three media types to one function from the current object to the wanted one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from kubedyno.cluster.apiserver.bodies import json_error, media_of
from kubedyno.kube import yaml
from kubedyno.kube.patch import PatchError, json_patch, merge_patch, strategic_of_kind
from kubedyno.kube.status import BadRequest, Invalid, RequestEntityTooLarge, StatusError, UnsupportedMediaType
from kubedyno.kube.yaml import YAMLError

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_MAX_OPERATIONS = 10_000

Change = Callable[[dict[str, Any]], dict[str, Any]]


def change_of(headers: Mapping[str, str], body: bytes, api_version: str, kind: str) -> Change:
    """Return what a patch does to an object.

    Args:
        headers: Of the request.
        body: Of the request.
        api_version: Of the object; its merge keys are those of a strategic merge patch.
        kind: Likewise.

    Raises:
        UnsupportedMediaType: Another medium.
        BadRequest: The body is no patch.
    """
    media = media_of(headers)
    if media == STRATEGIC:
        return partial(_strategic, _mapping(body), api_version, kind)
    if media == MERGE:
        return partial(_merge, _mapping(body))
    if media == JSON_PATCH:
        operations = _parsed(body)
        if not isinstance(operations, list):
            kind_of = (
                "object" if isinstance(operations, dict) else "string" if isinstance(operations, str) else "number"
            )
            raise BadRequest(
                f"error decoding patch: json: cannot unmarshal {kind_of} into Go value of type []handlers.jsonPatchOp"
            )
        if len(operations) > _MAX_OPERATIONS:
            raise RequestEntityTooLarge(
                f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(operations)}"
            )
        return partial(_operations, operations)
    if media == APPLY:
        # What kubectl reads as "this server has no server-side apply".
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{JSON_PATCH}, {MERGE}, {STRATEGIC}"
        )
    raise UnsupportedMediaType("415: Unsupported Media Type", {})


def _parsed(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        try:
            # The real server turns YAML into JSON first.
            return yaml.load(body.decode())
        except (YAMLError, UnicodeDecodeError):
            raise BadRequest(f"error decoding patch: {json_error(error, body)}") from None


def _mapping(body: bytes) -> dict[str, Any]:
    value = _parsed(body)
    if not isinstance(value, dict):
        shown = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(value), "null")
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {shown} into Go value of type map[string]interface {{}}"
        )
    return value


def _operations(operations: list[Any], document: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(json_patch(document, operations))
    except PatchError:
        raise Invalid("the server rejected our request due to an error in our request", {}) from None


def _merge(patch: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    return dict(merge_patch(document, patch))


def _strategic(patch: dict[str, Any], api_version: str, kind: str, document: dict[str, Any]) -> dict[str, Any]:
    try:
        return strategic_of_kind(document, patch, api_version, kind)
    except PatchError as error:
        # As the real server: it does not know whose fault this was.
        raise StatusError(str(error), code=500, reason="") from None
