"""Reviews: may I, may somebody else, what may I do at all, and who am I? Answered, never stored."""

from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.accessattributes import TYPES, access_causes, attributes_of
from kubedyno.cluster.apiserver.admissionrequests import user_info
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.cluster.apiserver.authorization import Authorizer
from kubedyno.cluster.apiserver.bodies import decode
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import metadata_of, value_bytes
from kubedyno.cluster.apiserver.members import checked
from kubedyno.cluster.apiserver.negotiation import form_of
from kubedyno.cluster.apiserver.queries import manager_name, write_options
from kubedyno.cluster.apiserver.tokens import ISSUER, ServiceAccountTokens
from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.structure import decode as decode_object
from kubedyno.cluster.storage.store import ResourceKey, resource_key
from kubedyno.kube.resources import Resource, built_in
from kubedyno.kube.status import BadRequest, Invalid, Unauthorized, invalid

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


_ACCESS = {
    **TYPES,
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
        form = form_of(request.headers, tables=False)
        body = decode(request.headers, request.body, resource.api_version, resource.kind)
        options = write_options(request.query, "CreateOptions")
        review = decode_object(resource, body, options.field_validation, call.warnings)
        if resource.kind.endswith("AccessReview"):
            review |= checked(resource.kind, resource.version, {"spec": review.get("spec", {})}, _ACCESS)
        metadata, spec = review["metadata"], review.get("spec", {})
        status: Object
        if resource.kind not in _MADE_ANEW:
            self._place(call, metadata)
            manager = manager_name(options.field_manager, request.headers.get("user-agent", ""))
            managed = call.route.kind.fields.created(review, manager, rfc3339(self._now()))
            if managed:
                metadata["managedFields"] = orjson.loads(managed)
        if resource.kind == "SelfSubjectRulesReview":
            status = self._rules(call.user, spec.get("namespace", ""))
            metadata, spec = {}, {}
        elif resource.kind == "SelfSubjectReview":
            metadata = {"creationTimestamp": rfc3339(self._now())}
            status = {"userInfo": user_info(call.user)}
        elif resource.kind == "TokenReview":
            status = self._token_status(spec.get("token", ""), spec.get("audiences") or [])
        else:
            status = self._access(call, resource, spec, metadata)
        answer: Object = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        if resource.kind != "SelfSubjectReview":
            answer["spec"] = spec
        shown = metadata_of({**answer, "status": status}, form, f"{resource.group.partition('.')[0]}.{resource.kind}")
        call.answer(201, form.media, value_bytes(shown, form))

    # --- access --------------------------------------------------------------------------------------------------

    def _place(self, call: Call, metadata: Object) -> None:
        """Put a review into the namespace of its request.

        Raises:
            BadRequest: It names another one.
        """
        namespace = call.route.namespace
        if namespace and metadata.get("namespace", namespace) != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        metadata.pop("namespace", None)
        if namespace:
            metadata["namespace"] = namespace

    def _access(self, call: Call, resource: Resource, spec: Object, metadata: Object) -> Object:
        causes = access_causes(resource, spec, metadata)
        if causes:
            refused = invalid(resource, "", causes)
            # The real server names no kind of what it only answers.
            details = {key: value for key, value in (refused.details or {}).items() if key != "kind"}
            raise Invalid(refused.message.removeprefix(resource.kind), details)
        user = call.user
        if resource.kind != "SelfSubjectAccessReview":
            extra = tuple((key, tuple(values)) for key, values in spec.get("extra", {}).items())
            user = User(spec.get("user", ""), tuple(spec.get("groups", ())), spec.get("uid", ""), extra)
        asked, problems = attributes_of(spec)
        reason = self._authorizer.reason(user, asked)
        told = reason if reason.startswith("RBAC") else "" if reason else self._authorizer.objection(user, asked)
        status: Object = {"allowed": bool(reason)}
        if told:
            status["reason"] = told
        if problems:
            status["evaluationError"] = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        return status

    def _rules(self, user: User, namespace: str) -> Object:
        """Return all that a user may do in a namespace, as roles have it.

        Raises:
            BadRequest: There is no namespace.
        """
        if not namespace:
            raise BadRequest("no namespace on request")
        resources: list[Object] = []
        paths: list[Object] = []
        if self._authorizer.always:
            resources.append({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
            paths.append({"verbs": ["*"], "nonResourceURLs": ["*"]})
        for grant in self._authorizer.grants(user, namespace):
            # As often as it is given: nothing is merged.
            (paths if grant.rule.urls else resources).append(grant.rule.raw)
        status: Object = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
        problems = self._authorizer.dangling(user, namespace)
        if user.node and self._authorizer.kubelets is not None:
            status["incomplete"] = True
            problems.insert(0, "node authorizer does not support user rule resolution")
        if problems:
            status["evaluationError"] = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        return status

    # --- tokens --------------------------------------------------------------------------------------------------

    def _token_status(self, token: str, audiences: list[str]) -> Object:
        """Return whose a token is.

        Raises:
            BadRequest: There is none.
        """
        if not token:
            raise BadRequest("token is required for TokenReview in authentication")
        wanted = audiences or [ISSUER]
        own: tuple[str, ...] = (ISSUER,)
        try:
            # It may be somebody else's, and good for them.
            claims = self._tokens.claims_of(token)
        except Unauthorized:
            try:
                user = self._user_of_token(token)
            except Unauthorized:
                return {"user": {}, "error": "invalid bearer token"}
            problem = "invalid bearer token"
        else:
            user, own = claims.user, claims.audiences
            listed = (" ".join(f'"{audience}"' for audience in each) for each in (own, wanted))
            text = "token audiences [{}] is invalid for the target audiences [{}]".format(*listed)
            problem = f"[invalid bearer token, {text}]"
        shared = [audience for audience in wanted if audience in own]
        if not shared:
            return {"user": {}, "error": problem}
        return {"authenticated": True, "user": user_info(user), "audiences": shared}
