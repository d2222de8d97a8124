"""Calls of conversion webhooks: ConversionReview both ways, and what is wrong with an answer."""

from typing import Any

from kubedyno.base.random import Random
from kubedyno.cluster.apiserver.webhookclient import CallError, WebhookClient
from kubedyno.cluster.registry.conversion import ConversionNeeded, Wanted, failure

Object = dict[str, Any]
# As the real server waits for one.
_TIMEOUT_S = 30
_IMMUTABLE = ("name", "namespace", "uid")


class Conversions:
    """Converts what requests need.

    Args:
        client: Calls webhooks.
        random: Makes the reviews' uids.
    """

    def __init__(self, client: WebhookClient, random: Random) -> None:
        self._client = client
        self._random = random

    async def settle(self, asked: ConversionNeeded) -> None:
        """Convert, a call for each version.

        Raises:
            StatusError: The webhook failed, and the request cannot go on without.
        """
        by_target: dict[str, list[Wanted]] = {}
        for wanted in asked.wanted:
            by_target.setdefault(wanted.target, []).append(wanted)
        for target, batch in by_target.items():
            try:
                objects = await self._convert(asked, target, [wanted.obj for wanted in batch])
            except CallError as error:
                if asked.needed:
                    raise failure(asked.conversion, str(batch[0].obj["apiVersion"]), str(error)) from None
                for wanted in batch:
                    asked.conversion.learn(wanted, None)
                continue
            for wanted, converted in zip(batch, objects, strict=True):
                asked.conversion.learn(wanted, converted)

    async def _convert(self, asked: ConversionNeeded, target: str, objects: list[Object]) -> list[Object]:
        conversion = asked.conversion
        known = [version for version in conversion.review_versions if version in {"v1", "v1beta1"}]
        version = f"apiextensions.k8s.io/{known[0] if known else 'v1'}"
        uid = self._random.uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": version,
            "request": {"uid": uid, "desiredAPIVersion": target, "objects": objects},
        }
        answer = await self._client.post(conversion.client, review, _TIMEOUT_S, f"timeout={_TIMEOUT_S}s")
        return converted_of(answer, version, uid, target, objects)


def converted_of(answer: Any, version: str, uid: str, target: str, objects: list[Object]) -> list[Object]:
    """Return the objects of a webhook's answer.

    Raises:
        CallError: It is none, or says that it could not.
    """
    answer = answer if isinstance(answer, dict) else {}
    if (answer.get("apiVersion"), answer.get("kind")) != (version, "ConversionReview"):
        got = f"{answer.get('apiVersion') or '/'}, Kind={answer.get('kind') or ''}"
        raise CallError(f"expected webhook response of {version}, Kind=ConversionReview, got {got}")
    response = answer.get("response")
    if not isinstance(response, dict):
        raise CallError("no response provided")
    if response.get("uid") != uid:
        raise CallError(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    result = response.get("result")
    result = result if isinstance(result, dict) else {}
    if result.get("status") != "Success":
        raise CallError(str(result.get("message") or f"response.result.status was '{result.get('status') or ''}'"))
    converted = response.get("convertedObjects")
    converted = converted if isinstance(converted, list) else []
    if len(converted) != len(objects):
        raise CallError(f"webhook returned {len(converted)} objects, expected {len(objects)}")
    for i, (obj, before) in enumerate(zip(converted, objects, strict=True)):
        _check(i, obj, before, target)
    return converted


def _check(i: int, obj: Any, before: Object, target: str) -> None:
    where = f"invalid converted object at index {i}"
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
        raise CallError(f"{where}: no metadata")
    if obj.get("apiVersion") != target:
        raise CallError(f"{where}: invalid groupVersion (expected {target}, received {obj.get('apiVersion') or ''})")
    if obj.get("kind") != before["kind"]:
        raise CallError(f"{where}: invalid kind (expected {before['kind']}, received {obj.get('kind') or ''})")
    metadata, old = obj["metadata"], before["metadata"]
    for name in _IMMUTABLE:
        if (metadata.get(name) or "") != (old.get(name) or ""):
            text = f"metadata.{name} must be '{old.get(name) or ''}', got '{metadata.get(name) or ''}'"
            raise CallError(f"invalid metadata of object at index {i}: {text}")
