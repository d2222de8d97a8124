"""Reviews: what may I do, and who am I? Whoever is known may do everything here, and these say so."""

from collections.abc import Callable
from typing import Any

from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.bodies import decode
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import value_bytes
from kubedyno.cluster.apiserver.negotiation import form_of
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.structure import decode as decode_object
from kubedyno.cluster.storage.store import ResourceKey, resource_key
from kubedyno.kube.resources import by_plural
from kubedyno.kube.status import Unauthorized

_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
_PLURALS = (
    (_AUTHORIZATION, "selfsubjectaccessreviews"),
    (_AUTHORIZATION, "selfsubjectrulesreviews"),
    (_AUTHORIZATION, "subjectaccessreviews"),
    (_AUTHENTICATION, "selfsubjectreviews"),
    (_AUTHENTICATION, "tokenreviews"),
)


def review_kinds() -> dict[ResourceKey, Kind]:
    """Return the kinds that are answered and never stored."""
    resources = [by_plural(group, "v1", plural) for group, plural in _PLURALS]
    return {resource_key(resource): Kind(resource) for resource in resources if resource is not None}


class Reviews:
    """Answers reviews.

    Args:
        now: Epoch seconds.
        user_of_token: Who a bearer token is; raises Unauthorized.
    """

    def __init__(self, now: Callable[[], float], user_of_token: Callable[[str], User]) -> None:
        self._now = now
        self._user_of_token = user_of_token

    def create(self, call: Call) -> None:
        """Answer POST of a review."""
        request, resource = call.request, call.route.kind.resource
        form = form_of(request.headers)
        body = decode(request.headers, request.body, resource.api_version, resource.kind)
        review = decode_object(resource, body, "Warn", call.warnings)
        metadata, spec = review["metadata"], review.get("spec", {})
        status: dict[str, Any]
        if resource.kind == "SelfSubjectRulesReview":
            spec = {}
            every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
            urls = {"verbs": ["*"], "nonResourceURLs": ["*"]}
            status = {"resourceRules": [every], "nonResourceRules": [urls], "incomplete": False}
        elif resource.kind == "SelfSubjectReview":
            metadata = {"creationTimestamp": rfc3339(self._now())}
            status = {"userInfo": _user_info(call.user)}
        elif resource.kind == "TokenReview":
            status = self._token_status(spec.get("token", ""))
        else:
            known = resource.kind == "SelfSubjectAccessReview" or spec.get("user") != "system:anonymous"
            status = {"allowed": known}
        answer: dict[str, Any] = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if resource.kind != "SelfSubjectReview":
            answer["spec"] = spec
        call.answer(201, form.media, value_bytes({**answer, "status": status}, form))

    def _token_status(self, token: str) -> dict[str, Any]:
        try:
            return {"authenticated": True, "user": _user_info(self._user_of_token(token))}
        except Unauthorized:
            return {"user": {}, "error": "invalid bearer token"}


def _user_info(user: User) -> dict[str, Any]:
    return {"username": user.name, "groups": list(user.groups)}
