"""The subresource `serviceaccounts/token`: a TokenRequest in, a signed token out."""

from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.cluster.apiserver.admissionrequests import CREATE
from kubedyno.cluster.apiserver.bodies import decode
from kubedyno.cluster.apiserver.call import Call
from kubedyno.cluster.apiserver.encoding import metadata_of, value_bytes
from kubedyno.cluster.apiserver.negotiation import form_of
from kubedyno.cluster.apiserver.queries import manager_name, write_options
from kubedyno.cluster.apiserver.reads import Reads
from kubedyno.cluster.apiserver.tokens import BOUND, ISSUER, ServiceAccountTokens
from kubedyno.cluster.registry.fieldmanager import FieldManager
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.structure import decode as decode_object
from kubedyno.cluster.storage.objects import key_of
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import Resource
from kubedyno.kube.status import BadRequest, Cause, Conflict, invalid, invalid_value, not_found

_GROUP = "authentication.k8s.io"
_REQUESTS = Resource(_GROUP, "v1", "tokenrequests", "TokenRequest", namespaced=True)
_FIELDS = FieldManager(_REQUESTS, has_status=True, status_keeps=())
# Of the metadata that came, in the order of the answer.
_KEPT = ("labels", "annotations", "ownerReferences", "finalizers")
_DEFAULT_S = 3600
_SHORTEST_S = 600
_LONGEST_S = 1 << 32


class TokenRequests:
    """Answers TokenRequests.

    Args:
        registry: Where accounts are.
        reads: Finds the account.
        tokens: Makes tokens.
        gate_of: Gives what a request has to pass, None for nothing.
    """

    def __init__(
        self, registry: Registry, reads: Reads, tokens: ServiceAccountTokens, gate_of: Callable[[Call], Any]
    ) -> None:
        self._gate_of = gate_of
        self._registry = registry
        self._reads = reads
        self._tokens = tokens

    def create(self, call: Call) -> None:
        """Answer POST token.

        Raises:
            StatusError: No such account, or a request that will not do.
        """
        request = call.request
        options = write_options(request.query, "CreateOptions")
        form = form_of(request.headers, options.pretty, tables=False)
        body = decode(request.headers, request.body, f"{_GROUP}/v1", "TokenRequest")
        asked = decode_object(_REQUESTS, body, options.field_validation, call.warnings)
        asked.setdefault("spec", {}).setdefault("expirationSeconds", _DEFAULT_S)
        owned = asked
        gate = self._gate_of(call)
        if gate is None:
            asked = self._completed(call, asked)
        else:
            shown = {
                "kind": "TokenRequest", "apiVersion": f"{_GROUP}/v1", **asked,
                "spec": {"audiences": None, "boundObjectRef": None, **asked["spec"]},
                "status": {"token": "", "expirationTimestamp": None},
            }  # fmt: skip
            asked = gate.pass_part(
                CREATE, (_GROUP, "v1", "TokenRequest"), shown,
                completed=lambda wanted: self._completed(call, decode_object(_REQUESTS, wanted, "Ignore", None)),
            )  # fmt: skip
        account = self._reads.record(call)
        spec = asked["spec"]
        audiences, lifetime_s = spec["audiences"], spec["expirationSeconds"]
        reference = spec.get("boundObjectRef")
        bound = None if reference is None else self._bound(reference, account)
        token = self._tokens.issue(account, audiences, lifetime_s, bound)
        now_s = self._registry.clock.now()
        manager = manager_name(options.field_manager, request.headers.get("user-agent", ""))
        given = asked["metadata"]
        answer: dict[str, Any] = {
            "kind": "TokenRequest",
            "apiVersion": f"{_GROUP}/v1",
            "metadata": {
                "name": account.obj.name,
                "namespace": account.obj.namespace,
                "uid": account.obj.uid,
                "creationTimestamp": rfc3339(now_s),
                **{name: given[name] for name in _KEPT if given.get(name)},
                "managedFields": _managed(owned, manager, rfc3339(now_s)),
            },
            "spec": {"audiences": audiences, "expirationSeconds": lifetime_s, "boundObjectRef": reference},
            "status": {"token": token, "expirationTimestamp": rfc3339(now_s + lifetime_s)},
        }
        shown = metadata_of(answer, form, "authentication.TokenRequest")
        call.answer(201, form.media, value_bytes(shown, form))

    def _completed(self, call: Call, asked: dict[str, Any]) -> dict[str, Any]:
        """Return a TokenRequest with what its account says.

        Raises:
            StatusError: It is about another account, or lasts too short or too long.
        """
        given, namespace, name = asked.get("metadata") or {}, call.route.namespace, call.route.name
        if given.get("namespace", namespace) != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")
        if given.get("name", name) != name:
            text = "must match the service account name if specified"
            raise invalid(_REQUESTS, name, [invalid_value("metadata.name", given["name"], text)])
        account = self._reads.record(call)
        if given.get("uid", account.obj.uid) != account.obj.uid:
            text = f"the UID in the token request ({given['uid']}) does not match the UID of the service account ({account.obj.uid})"
            details = {"name": name, "group": _GROUP, "kind": "TokenRequest"}
            raise Conflict(f'Operation cannot be fulfilled on TokenRequest.{_GROUP} "{name}": {text}', details)
        spec = asked.get("spec") or {}
        lifetime_s = spec.get("expirationSeconds", _DEFAULT_S)
        causes: list[Cause] = []
        if lifetime_s < _SHORTEST_S:
            text = "may not specify a duration less than 10 minutes"
            causes.append(invalid_value("spec.expirationSeconds", lifetime_s, text))
        if lifetime_s > _LONGEST_S:
            text = "may not specify a duration larger than 2^32 seconds"
            causes.append(invalid_value("spec.expirationSeconds", lifetime_s, text))
        if causes:
            raise invalid(_REQUESTS, given.get("name", ""), causes)
        return {
            **asked,
            "metadata": {**given, "name": name, "namespace": namespace, "uid": account.obj.uid},
            "spec": {**spec, "audiences": spec.get("audiences") or [ISSUER], "expirationSeconds": lifetime_s},
        }

    def _bound(self, reference: dict[str, Any], account: ObjectRecord) -> tuple[str, ObjectRecord]:
        """Return what a token is to die with.

        Raises:
            StatusError: A kind that cannot be, or an object that is not there, or another one.
        """
        kind, name, uid = (reference.get(member, "") for member in ("kind", "name", "uid"))
        group, _, version = str(reference.get("apiVersion", "")).rpartition("/")
        if group or kind not in BOUND:
            text = f"cannot bind token to object of type {group}/{version}, Kind={kind}"
            raise BadRequest(text)
        if not name:
            raise BadRequest("Name parameter required.")
        resource, _, namespaced = BOUND[kind]
        record = self._registry.store.get(resource, key_of(account.obj.namespace if namespaced else "", name))
        if record is None:
            raise not_found(resource, name)
        if kind == "Pod":
            spec_account = self._registry.store.encode_dict(resource, record)["spec"].get("serviceAccountName", "")
            if spec_account != account.obj.name:
                text = f"cannot bind token for serviceaccount {account.obj.name!r} to pod running with different serviceaccount name."
                raise BadRequest(text.replace("'", '"'))
        if uid and uid != record.obj.uid:
            why = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. The object might have "
                "been deleted and then recreated"
            )
            text = f'Operation cannot be fulfilled on {kind} "{name}": {why}'
            raise Conflict(text, {"name": name, "kind": kind})
        return kind, record


def _managed(owned: dict[str, Any], manager: str, now: str) -> list[Any]:
    """Return the managedFields of a request: what is not as in an empty one, where no object and no token is missing."""
    managed: list[Any] = orjson.loads(_FIELDS.created(owned, manager, now, "token"))
    fields = managed[0]["fieldsV1"]
    fields["f:spec"].get("f:boundObjectRef", {}).pop(".", None)
    status = [name for name in ("token", "expirationTimestamp") if (owned.get("status") or {}).get(name)]
    if status:
        fields["f:status"] = {f"f:{name}": {} for name in status}
    return managed
