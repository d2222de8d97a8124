"""Reviews: may I, may somebody else, what may I do at all, and who am I? Answered, never stored."""

from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.admissionrequests import user_info
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.authorization import Attributes, Authorizer
from kubedyno.cluster.apiserver.bodies import decode
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import value_bytes
from kubedyno.cluster.apiserver.members import checked
from kubedyno.cluster.apiserver.negotiation import form_of
from kubedyno.cluster.apiserver.queries import manager_name, parameters
from kubedyno.cluster.apiserver.tokens import ISSUER, ServiceAccountTokens
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.structure import decode as decode_object
from kubedyno.cluster.storage.store import ResourceKey, resource_key
from kubedyno.kube.resources import Resource, built_in
from kubedyno.kube.status import Cause, Unauthorized, invalid, invalid_value

_AUTHORIZATION, _AUTHENTICATION = "authorization.k8s.io", "authentication.k8s.io"
# Answered with an object of their own: who asked owns nothing of it.
_MADE_ANEW = frozenset({"SelfSubjectReview", "SelfSubjectRulesReview"})
_PLURALS = (
    (_AUTHORIZATION, "localsubjectaccessreviews"),
    (_AUTHORIZATION, "selfsubjectaccessreviews"),
    (_AUTHORIZATION, "selfsubjectrulesreviews"),
    (_AUTHORIZATION, "subjectaccessreviews"),
    (_AUTHENTICATION, "selfsubjectreviews"),
    (_AUTHENTICATION, "tokenreviews"),
)
Object = dict[str, Any]


def review_kinds() -> dict[ResourceKey, Kind]:
    """Return the kinds that are answered and never stored."""
    resources = [built_in(group, plural) for group, plural in _PLURALS]
    return {resource_key(resource): Kind(resource) for resource in resources}


_SUBJECT = {
    "spec.user": (str, "string"),
    "spec.uid": (str, "string"),
    "spec.groups": (list, "[]string"),
    "spec.groups[]": (str, "string"),
    "spec.extra": (dict, "map[string]v1.ExtraValue"),
    "spec.extra[]": (list, "v1.ExtraValue"),
}


class Reviews:
    """Answers reviews.

    Args:
        now: Epoch seconds.
        user_of_token: Who a bearer token is; raises Unauthorized.
        tokens: Knows ServiceAccount tokens for any audience.
        authorizer: Knows who may what.
    """

    def __init__(
        self,
        now: Callable[[], float],
        user_of_token: Callable[[str], User],
        tokens: ServiceAccountTokens,
        authorizer: Authorizer,
    ) -> None:
        self._now = now
        self._user_of_token = user_of_token
        self._tokens = tokens
        self._authorizer = authorizer

    def create(self, call: Call) -> None:
        """Answer POST of a review.

        Raises:
            StatusError: It asks for nothing, or for two things.
        """
        request, resource = call.request, call.route.kind.resource
        form = form_of(request.headers)
        body = decode(request.headers, request.body, resource.api_version, resource.kind)
        review = decode_object(resource, body, "Warn", call.warnings)
        metadata, spec = review["metadata"], review.get("spec", {})
        status: Object
        if resource.kind == "SelfSubjectRulesReview":
            status = self._rules(call.user, spec.get("namespace", ""))
            spec = {}
        elif resource.kind == "SelfSubjectReview":
            metadata = {"creationTimestamp": rfc3339(self._now())}
            status = {"userInfo": user_info(call.user)}
        elif resource.kind == "TokenReview":
            status = self._token_status(spec.get("token", ""), spec.get("audiences") or [])
        else:
            status = self._access(call, resource, spec)
        if resource.kind not in _MADE_ANEW:
            manager = parameters(request.query).get("fieldManager", "")
            manager = manager_name(manager, request.headers.get("user-agent", ""))
            managed = call.route.kind.fields.created(review, manager, rfc3339(self._now()))
            if managed:
                metadata["managedFields"] = orjson.loads(managed)
        answer: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if resource.kind != "SelfSubjectReview":
            answer["spec"] = spec
        call.answer(201, form.media, value_bytes({**answer, "status": status}, form))

    # --- access --------------------------------------------------------------------------------------------------

    def _access(self, call: Call, resource: Resource, spec: Object) -> Object:
        causes = _access_causes(resource, spec, call.route.namespace)
        if causes:
            raise invalid(resource, "", causes)
        user = call.user
        if resource.kind != "SelfSubjectAccessReview":
            spec = checked(resource.kind, resource.version, {"spec": spec}, _SUBJECT)["spec"]
            extra = tuple((key, tuple(values)) for key, values in spec.get("extra", {}).items())
            user = User(spec.get("user", ""), tuple(spec.get("groups", ())), spec.get("uid", ""), extra)
        reason = self._authorizer.reason(user, attributes_of(spec))
        status: Object = {"allowed": bool(reason)}
        if reason.startswith("RBAC"):
            status["reason"] = reason
        return status

    def _rules(self, user: User, namespace: str) -> Object:
        """Return all that a user may do in a namespace, as roles have it."""
        resources: list[Object] = []
        paths: list[Object] = []
        if self._authorizer.always:
            resources.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
            paths.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
        for grant in self._authorizer.grants(user, namespace):
            raw = grant.rule.raw
            kept = paths if raw.get("nonResourceURLs") else resources
            if raw not in kept:
                kept.append(raw)
        return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}

    # --- tokens --------------------------------------------------------------------------------------------------

    def _token_status(self, token: str, audiences: list[str]) -> Object:
        try:
            user = self._user_of_token(token)
            own: tuple[str, ...] = (ISSUER,)
        except Unauthorized:
            # It may be somebody else's, and good for them.
            try:
                claims = self._tokens.claims_of(token)
            except Unauthorized:
                return {"user": {}, "error": "invalid bearer token"}
            user, own = claims.user, claims.audiences
        shared = [audience for audience in audiences or [ISSUER] if audience in own]
        if not shared:
            wanted = " ".join(f'"{audience}"' for audience in audiences or [ISSUER])
            given = " ".join(f'"{audience}"' for audience in own)
            text = f"token audiences [{given}] is invalid for the target audiences [{wanted}]"
            return {"user": {}, "error": f"[invalid bearer token, {text}]"}
        return {"authenticated": True, "user": user_info(user), "audiences": shared}


def attributes_of(spec: Object) -> Attributes:
    """Return what an access review asks for."""
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    asked = spec["resourceAttributes"]
    return Attributes(
        asked.get("verb", ""),
        asked.get("group", ""),
        asked.get("resource", ""),
        asked.get("subresource", ""),
        asked.get("namespace", ""),
        asked.get("name", ""),
    )


def _access_causes(resource: Resource, spec: Object, namespace: str) -> list[Cause]:
    asked, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    causes: list[Cause] = []
    if (asked is None) is (path is None):
        causes.append(
            invalid_value(
                "spec.resourceAttributes",
                asked,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified"
                if asked is None
                else "cannot be specified in combination with nonResourceAttributes",
            )
        )
    if resource.kind != "SelfSubjectAccessReview" and not spec.get("user") and not spec.get("groups"):
        causes.append(invalid_value("spec.user", "", "at least one of user or group must be specified"))
    if resource.namespaced and asked is not None and asked.get("namespace", "") != namespace:
        causes.append(
            invalid_value(
                "spec.resourceAttributes.namespace",
                asked.get("namespace", ""),
                f"must match metadata.namespace: {namespace}",
            )
        )
    return causes
