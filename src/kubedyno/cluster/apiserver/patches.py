"""The bodies of PATCH: three media types to one function from the current object to the wanted one."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import orjson

from kubedyno.cluster.apiserver.bodies import check_duplicates, duplicates, json_error, media_of, yaml_error
from kubedyno.cluster.registry.structure import Patched, invalid_patch
from kubedyno.cluster.registry.unstructured import misfit, whole_numbers
from kubedyno.kube import yaml
from kubedyno.kube.patch import PatchError, json_patch, merge_patch
from kubedyno.kube.status import BadRequest, Invalid, RequestEntityTooLarge, StatusError, UnsupportedMediaType
from kubedyno.kube.strategicpatch import MalformedPatchError, UnprocessablePatchError, go_text, strategic_of_kind
from kubedyno.kube.yaml import YAMLError

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_MAX_OPERATIONS = 10_000
_OPERATION = frozenset({"op", "path", "from", "value"})
_CONVERTING = "error converting YAML to JSON: "
_DECODING, _NO_MERGE = "error decoding patch: ", "Invalid JSON Patch"

Change = Callable[[dict[str, Any]], dict[str, Any]]


def change_of(
    headers: Mapping[str, str],
    body: bytes,
    api_version: str,
    kind: str,
    *,
    strategic: bool = True,
    validation: str = "Ignore",
    warnings: list[str] | None = None,
    flaws: list[str] | None = None,
) -> Change:
    """Return what a patch does to an object.

    Args:
        headers: Of the request.
        body: Of the request.
        api_version: Of the object; its merge keys are those of a strategic merge patch.
        kind: Likewise.
        strategic: The kind has merge keys: it takes strategic merge patches.
        validation: What becomes of members that are there twice, or unknown to a JSON patch: see `check_duplicates`.
        warnings: Receives warnings.
        flaws: Receives what strict decoding has against the text, to be told with what it has against the result.

    Raises:
        UnsupportedMediaType: Another medium.
        BadRequest: The body is no patch.
    """
    warnings = [] if warnings is None else warnings
    media = media_of(headers)
    strictly = flaws if flaws is not None and validation == "Strict" else None
    if media == STRATEGIC and strategic:
        patch = _checked(_mapping(body, ""), body, validation, warnings, strictly)
        return partial(_strategic, patch, api_version, kind)
    if media == MERGE:
        # What nobody reads strictly is told by who applies it.
        patch = _mapping(body, _DECODING) if validation != "Ignore" else _merge_patch(body)
        if body.strip() == b"null":
            raise BadRequest(_NO_MERGE)
        return partial(_merge, _checked(patch, body, validation, warnings, strictly))
    if media == JSON_PATCH:
        read = validation != "Ignore"
        doing = _DECODING if read else ""
        operations = _parsed(body, doing)
        if operations is None:
            operations = []
        if not isinstance(operations, list):
            kind_of = (
                "object" if isinstance(operations, dict) else "string" if isinstance(operations, str) else "number"
            )
            raise BadRequest(
                f"{doing}json: cannot unmarshal {kind_of} into Go value of type "
                + ("[]handlers.jsonPatchOp" if read else "jsonpatch.Patch")
            )
        if len(operations) > _MAX_OPERATIONS:
            raise RequestEntityTooLarge(
                f"Request entity too large: The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(operations)}"
            )
        if validation == "Warn":
            warnings += _unknown_members(operations)
        elif strictly is not None:
            strictly += _unknown_members(operations)
        return partial(_operations, operations)
    if not strategic:
        # Of a custom resource, whose paths are no routes: they take whatever comes.
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{JSON_PATCH}, {MERGE}, {APPLY}"
        )
    raise UnsupportedMediaType("415: Unsupported Media Type", {})


def applied_object(body: bytes, validation: str, warnings: list[str]) -> dict[str, Any]:
    """Return the object that a server-side apply brings.

    Args:
        body: YAML or JSON.
        validation: What becomes of members that are there twice: "Strict" refuses, "Warn" warns.
        warnings: Receives warnings.

    Raises:
        BadRequest: It is no mapping, or has members twice.
    """
    value = None
    if body.startswith(b"{"):
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError:
            # Perhaps it is YAML in braces.
            value = None
    if value is None:
        try:
            # Plain containers: those of the YAML reader know their lines.
            value = orjson.loads(orjson.dumps(yaml.load(body.decode())))
        except (YAMLError, UnicodeDecodeError) as error:
            raise BadRequest(f"error decoding YAML: error converting YAML to JSON: {yaml_error(error)}") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        shown = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(value), "null")
        raise BadRequest(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal "
            f"{shown} into Go value of type map[string]interface {{}}"
        )
    if validation != "Ignore" and not (_is_json(body) and not duplicates(body, value)):
        try:
            yaml.load(body.decode(), strict=True)
        except YAMLError as error:
            if validation == "Strict":
                raise BadRequest(f"error strict decoding YAML: {_CONVERTING}{error}") from None
            warnings.append(str(error))
    return value


def _is_json(body: bytes) -> bool:
    """Say whether what begins like an object is JSON, and not YAML in braces."""
    if not body.startswith(b"{"):
        return False
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _checked(
    patch: dict[str, Any], body: bytes, validation: str, warnings: list[str], strictly: list[str] | None
) -> dict[str, Any]:
    """Return a patch, with its doubled members told: as warnings, or where strict decoding tells of them."""
    if strictly is not None:
        strictly += [f'duplicate field "{path}"' for path in duplicates(body, patch)]
    else:
        check_duplicates(body, patch, validation, warnings)
    return patch


def _unknown_members(operations: list[Any]) -> list[str]:
    return [
        f'json patch unknown field "[{i}].{name}"'
        for i, operation in enumerate(operations)
        if isinstance(operation, dict)
        for name in operation
        if name not in _OPERATION
    ]


def _parsed(body: bytes, doing: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(doing + json_error(error, body)) from None


def _mapping(body: bytes, doing: str) -> dict[str, Any]:
    value = _parsed(body, doing)
    if value is None:
        return {}
    if not isinstance(value, dict):
        shown = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(value), "null")
        raise BadRequest(f"{doing}json: cannot unmarshal {shown} into Go value of type map[string]interface {{}}")
    return value


def _merge_patch(body: bytes) -> dict[str, Any]:
    try:
        return _mapping(body, "")
    except BadRequest:
        raise BadRequest(_NO_MERGE) from None


def _operations(operations: list[Any], document: dict[str, Any]) -> dict[str, Any]:
    try:
        return dict(json_patch(document, operations))
    except PatchError:
        raise Invalid("the server rejected our request due to an error in our request", {}) from None


def _merge(patch: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    return dict(merge_patch(document, patch))


def _strategic(patch: dict[str, Any], api_version: str, kind: str, document: dict[str, Any]) -> dict[str, Any]:
    # What a patch says nothing of fits, is as it was, and need not be looked through: nobody patches the managedFields.
    managed = document["metadata"].pop("managedFields", None) if _leaves_managed(patch) else None
    try:
        wanted, left = strategic_of_kind(document, patch, api_version, kind)
    except MalformedPatchError as error:
        raise BadRequest(str(error)) from None
    except UnprocessablePatchError as error:
        raise StatusError(str(error), code=422, reason="") from None
    except PatchError as error:
        # As the real server: it does not know whose fault this was.
        raise StatusError(str(error), code=500, reason="") from None
    why = misfit(api_version, kind, wanted, patch)
    if why:
        raise invalid_patch(go_text(left), why)
    if _has_fractions(patch):
        wanted = whole_numbers(wanted)
    if managed is not None:
        wanted["metadata"]["managedFields"] = managed
    # It is applied to a typed object: a type in the patch means nothing.
    return Patched({**wanted, "kind": document["kind"], "apiVersion": document["apiVersion"]}, go_text(left))


def _leaves_managed(patch: dict[str, Any]) -> bool:
    """Say whether a strategic merge patch cannot touch the managedFields: it names neither them nor any directive."""
    metadata = patch.get("metadata", {})
    if not isinstance(metadata, dict) or "managedFields" in metadata:
        return False
    return not any(name.startswith("$") for name in (*patch, *metadata))


def _has_fractions(value: Any) -> bool:
    """Say whether JSON has a number that was written with a fraction or an exponent."""
    if isinstance(value, dict):
        return any(map(_has_fractions, value.values()))
    if isinstance(value, list):
        return any(map(_has_fractions, value))
    return isinstance(value, float)
