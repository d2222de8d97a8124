"""MutatingWebhookConfiguration and ValidatingWebhookConfiguration: who is asked, the review, and what its answer means.

Nothing here waits. A webhook whose answer is not there yet is named in `ReviewsNeeded`; whoever handles the request gets
the answers and begins anew, so that what is finally stored was decided in one step, from the newest version of the object.
"""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from kubedyno.cluster.apiserver.admissionpolicies import LabelsOf, data_of, meets
from kubedyno.cluster.apiserver.admissionrequests import GROUP, Asked, Match, Object, request_of
from kubedyno.cluster.apiserver.webhookclient import no_object
from kubedyno.cluster.registry import celfunctions
from kubedyno.cluster.registry.admissioncel import CONDITION, Authorize, EvaluationError, evaluate, program
from kubedyno.cluster.registry.registry import Registry
from kubedyno.kube.gojson import fault
from kubedyno.kube.patch import PatchError, json_patch
from kubedyno.kube.resources import Resource, built_in
from kubedyno.kube.status import InternalError, StatusError, forbidden

_VERSIONS = ("v1", "v1beta1")
_REVIEWS = tuple(f"admission.k8s.io/{version}" for version in _VERSIONS)
_FAILURE = 400
_MAX_WARNING = 4096


MUTATING, VALIDATING = (
    built_in(GROUP, "mutatingwebhookconfigurations"),
    built_in(GROUP, "validatingwebhookconfigurations"),
)


@dataclass(frozen=True, slots=True)
class Webhook:
    """One webhook of a configuration.

    Attributes:
        key: Configuration, name and place: no other has it.
        mutating: It may change the object.
        closed: A failed call counts as a refusal.
        version: Of AdmissionReview, the first that both know.
    """

    key: str
    name: str
    configuration: str
    mutating: bool
    closed: bool
    match: Match
    conditions: tuple[str, ...]
    client: Object
    timeout_s: int
    version: str
    reinvoked: bool
    index: int


@dataclass(frozen=True, slots=True)
class Review:
    """A call that has to be made.

    Attributes:
        key: Webhook, round and content: the same question has the same key.
        document: The AdmissionReview.
    """

    key: bytes
    webhook: Webhook
    uid: str
    document: Object


class ReviewsNeeded(Exception):
    """The request goes on when webhooks have answered."""

    def __init__(self, reviews: list[Review]) -> None:
        super().__init__()
        self.reviews = reviews


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call.

    Attributes:
        problem: Why there is no answer; "" when there is.
        response: AdmissionResponse.
        patch: Operations.
    """

    problem: str = ""
    response: Object | None = None
    patch: tuple[Object, ...] = ()


def read_webhooks(registry: Registry, configurations: Resource) -> list[Webhook]:
    """Return the webhooks of one sort, in the order in which they are asked."""
    store = registry.store
    found = []
    for record in store.list(configurations):
        configuration = store.encode_dict(configurations, record)
        for i, hook in enumerate(configuration.get("webhooks") or ()):
            known = [version for version in hook.get("admissionReviewVersions") or () if version in _VERSIONS]
            found.append(
                Webhook(
                    f"{record.obj.name}/{record.obj.uid}/{hook['name']}/{i}",
                    hook["name"],
                    record.obj.name,
                    configurations is MUTATING,
                    hook.get("failurePolicy") != "Ignore",
                    Match.of(hook, "rules"),
                    tuple(condition["expression"] for condition in hook.get("matchConditions") or ()),
                    hook.get("clientConfig") or {},
                    hook.get("timeoutSeconds") or 10,
                    known[0] if known else "v1",
                    hook.get("reinvocationPolicy") == "IfNeeded",
                    i,
                )
            )
    return found


def seen_by(
    webhook: Webhook, asked: Asked, others: tuple[Resource, ...], labels_of: LabelsOf, authorize: Authorize
) -> Resource | None:
    """Return the resource in whose version a webhook is asked about a write, None when it is not.

    Raises:
        Forbidden: Its match conditions failed, and that counts.
    """
    if not webhook.match.rules:
        return None
    seen_as = webhook.match.find(asked, others, labels_of)
    if seen_as is None or not webhook.conditions:
        return seen_as
    try:
        if not celfunctions.available():
            raise EvaluationError(f"expressions are not evaluated here: {celfunctions.INSTALL}")
        data = data_of(asked, asked.resource)
        holds = meets(webhook.conditions, lambda text: evaluate(program(text.strip(), CONDITION), data, authorize))
    except EvaluationError as error:
        if not webhook.closed:
            return None
        raise forbidden(asked.resource, asked.name, str(error)) from None
    return seen_as if holds else None


def review_of(webhook: Webhook, asked: Asked, seen_as: Resource, turn: int, uid: str) -> Review:
    """Return the call that asks a webhook about a write.

    Args:
        turn: 0, or 1 when it is asked again.
        uid: Of the review.
    """
    new, old = asked.objects(seen_as)
    request = {**request_of(asked, seen_as), "object": new, "oldObject": old}
    content = orjson.dumps([webhook.key, turn, request])
    document = {
        "kind": "AdmissionReview",
        "apiVersion": f"admission.k8s.io/{webhook.version}",
        "request": {"uid": uid, **request},
    }
    return Review(blake2b(content, digest_size=16).digest(), webhook, uid, document)


def answer_of(review: Review, document: Any) -> Answer:
    """Return what a webhook's answer says, or what is wrong with it."""
    webhook = review.webhook
    wanted = f"admission.k8s.io/{webhook.version}"
    if not isinstance(document, dict):
        document = {}
    api_version, kind = document.get("apiVersion") or "", document.get("kind") or ""
    response = document.get("response")
    if kind and (api_version not in _REVIEWS or kind != "AdmissionReview"):
        return failed(
            f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/runtime/scheme.go:111"'
        )
    if webhook.version == "v1" and (api_version, kind) != (wanted, "AdmissionReview"):
        shown = f"{api_version or '/'}, Kind={kind}"
        return _invalid(f"expected webhook response of {wanted}, Kind=AdmissionReview, got {shown}")
    if not isinstance(response, dict):
        return _invalid("webhook response was absent")
    uid = response.get("uid") or ""
    if webhook.version == "v1" and uid != review.uid:
        return _invalid(f'expected response.uid="{review.uid}", got "{uid}"')
    patch, kind_of_patch = response.get("patch"), response.get("patchType")
    if not webhook.mutating:
        if patch:
            return _invalid("validating webhook may not return response.patch")
        if kind_of_patch is not None and webhook.version == "v1":
            return _invalid("validating webhook may not return response.patchType")
        return Answer(response=response)
    if not patch:
        if kind_of_patch is not None and webhook.version == "v1":
            return _invalid("webhook returned response.patchType but not response.patch")
        return Answer(response=response)
    if kind_of_patch is None and webhook.version == "v1":
        return _invalid("webhook returned response.patch but not response.patchType")
    try:
        raw = base64.b64decode(patch)
    except (binascii.Error, ValueError, TypeError) as error:
        return _invalid(f"response.patch: {error}")
    try:
        operations = orjson.loads(raw)
    except ValueError:
        return Answer(f"received undecodable patch in webhook response: {fault(raw)}")
    if not isinstance(operations, list) or not all(isinstance(one, dict) for one in operations):
        return _invalid("response.patch is no list of operations")
    if operations and webhook.version == "v1" and kind_of_patch != "JSONPatch":
        return Answer(f'unsupported patch type "{kind_of_patch}"')
    return Answer(response=response, patch=tuple(operations))


def _invalid(why: str) -> Answer:
    return Answer(f"received invalid webhook response: {why}")


def failed(why: str) -> Answer:
    """Return what came of a call without an answer."""
    return Answer(f"failed to call webhook: {why}")


def refusal(webhook: Webhook, answer: Answer) -> StatusError | None:
    """Return the error of a write that a webhook does not let pass, None when it does."""
    if answer.problem:
        if not webhook.closed:
            return None
        return _internal(f'failed calling webhook "{webhook.name}": {answer.problem}')
    response = answer.response or {}
    if response.get("allowed") is True:
        return None
    status = response.get("status")
    status = status if isinstance(status, dict) else {}
    denied = f'admission webhook "{webhook.name}" denied the request'
    why = status.get("message") or status.get("reason")
    code = status.get("code")
    details = status.get("details")
    return StatusError(
        f"{denied}: {why}" if why else f"{denied} without explanation",
        details if isinstance(details, dict) else None,
        code=code if isinstance(code, int) and _FAILURE <= code < 600 else _FAILURE,
        reason=str(status.get("reason") or ""),
    )


def told(webhook: Webhook, answer: Answer, warnings: list[str], annotations: dict[str, str]) -> None:
    """Hand on a webhook's warnings and audit annotations."""
    response = answer.response or {}
    given = response.get("warnings")
    warnings += [str(text)[:_MAX_WARNING] for text in given if text] if isinstance(given, list) else []
    notes = response.get("auditAnnotations")
    for key, value in notes.items() if isinstance(notes, dict) else ():
        annotations[f"{webhook.name}/{key}"] = str(value)
    if answer.problem and not webhook.closed:
        sort = "mutating" if webhook.mutating else "validating"
        annotations[f"failed-open.{sort}.webhook.admission.k8s.io/round_0_index_{webhook.index}"] = webhook.name


def patched(answer: Answer, new: Object) -> Object:
    """Return an object with a webhook's patch.

    Raises:
        InternalError: The patch does not fit.
    """
    try:
        wanted = json_patch(orjson.loads(orjson.dumps(new)), list(answer.patch))
    except PatchError as error:
        raise _internal(str(error)) from None
    if not isinstance(wanted, dict):
        raise _internal(no_object(wanted))
    return wanted


def unpatchable(webhook: Webhook) -> StatusError:
    """Return the error of a webhook that would change what is no object to be written."""
    return _internal(
        f'admission webhook "{webhook.name}" attempted to modify the object, which is not supported for this operation'
    )


def _internal(text: str) -> StatusError:
    return InternalError(f"Internal error occurred: {text}", {"causes": [{"message": text}]})


def outcomes(
    webhooks: list[Webhook], asked: Asked, seen: dict[str, Resource], answers: dict[bytes, Answer], uid: str
) -> Iterator[tuple[Webhook, Answer]]:
    """Yield what validating webhooks say, all of which are asked at once.

    Raises:
        ReviewsNeeded: Some have not answered yet.
    """
    reviews = [review_of(webhook, asked, seen[webhook.key], 0, uid) for webhook in webhooks if webhook.key in seen]
    missing = [review for review in reviews if review.key not in answers]
    if missing:
        raise ReviewsNeeded(missing)
    for review in reviews:
        yield review.webhook, answers[review.key]
