"""CertificateSigningRequests: kubelets' own are approved, approved ones signed, old ones removed.

As pkg/controller/certificates, for the signers kubernetes.io/*; requests to any other signer are left to whoever has it.
"""

import base64
from typing import Any

import orjson

from kubedyno.base.times import epoch_of, rfc3339
from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.http.signing import BadRequestError, Signer, Wanted, wanted_by
from kubedyno.kube.resources import CERTIFICATESIGNINGREQUESTS

_CLIENT = "kubernetes.io/kube-apiserver-client"
_KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
_SERVING = "kubernetes.io/kubelet-serving"
_LEGACY = "kubernetes.io/legacy-unknown"
_SIGNERS = frozenset({_CLIENT, _KUBELET_CLIENT, _SERVING, _LEGACY})
_NODES, _NODE = "system:nodes", "system:node:"
_BOOTSTRAPPERS = "system:bootstrappers:"
# --cluster-signing-duration.
_DURATION_S = 8760 * 3600.0
# For how long a request is kept (pkg/controller/certificates/cleaner).
_DECIDED_S, _PENDING_S = 3600.0, 24 * 3600.0


class CertificateRequests:
    """The controller.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
        signer: Has the cluster's key.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds, signer: Signer) -> None:
        self._trusted = trusted
        self._store = trusted.store
        self._clock = pump.clock
        self._signer = signer
        self._queue: WorkQueue[str] = WorkQueue(pump, "certificates", self._reconcile)
        feeds.follow(CERTIFICATESIGNINGREQUESTS, self._changed, self._gone)

    def _changed(self, record: ObjectRecord) -> None:
        self._queue.add(record.key)

    def _gone(self, record: ObjectRecord) -> None:
        self._queue.forget(record.key)

    def _reconcile(self, key: str, budget: int) -> int:
        _ = budget
        record = self._store.get(CERTIFICATESIGNINGREQUESTS, key)
        if record is None or record.obj.deletion_s:
            return 1
        obj = self._store.encode_dict(CERTIFICATESIGNINGREQUESTS, record)
        if self._is_old(record, obj):
            self._trusted.delete(CERTIFICATESIGNINGREQUESTS, key, uid=record.obj.uid)
            return 1
        spec, status = obj["spec"], obj.get("status") or {}
        kinds = {c.get("type") for c in status.get("conditions", ())}
        if spec.get("signerName") in _SIGNERS and not kinds & {"Denied", "Failed"} and not status.get("certificate"):
            self._serve(record, spec, status, approved="Approved" in kinds)
        self._queue.forget(key)
        return 4

    def _is_old(self, record: ObjectRecord, obj: dict[str, Any]) -> bool:
        """Say whether a request is to go; looks again when it will be."""
        conditions = (obj.get("status") or {}).get("conditions") or []
        since = metadata_of(record.obj)["creationTimestamp"]
        decided = [c for c in conditions if c.get("type") in {"Approved", "Denied", "Failed"}]
        if decided:
            due_s = epoch_of(decided[-1].get("lastUpdateTime") or since) + _DECIDED_S
        else:
            due_s = epoch_of(since) + _PENDING_S
        left_s = due_s - self._clock.now()
        if left_s > 0:
            self._queue.add_after(record.key, left_s)
        return left_s <= 0

    def _serve(self, record: ObjectRecord, spec: dict[str, Any], status: dict[str, Any], *, approved: bool) -> None:
        pem = base64.b64decode(spec.get("request") or "")
        try:
            wanted = wanted_by(pem)
            if not approved:
                message = _own_message(spec, wanted)
                if message:
                    self._condition(record, status, "Approved", "AutoApproved", message)
                return
            _check(spec, wanted)
            seconds = spec.get("expirationSeconds")
            lifetime_s = min(float(seconds), _DURATION_S) if seconds is not None else _DURATION_S
            certificate = self._signer.sign(pem, spec.get("usages") or (), lifetime_s, self._clock.now())
        except BadRequestError as error:
            if approved:
                self._condition(record, status, "Failed", "SignerValidationFailure", str(error))
            return
        new = {**status, "certificate": base64.b64encode(certificate).decode()}
        self._trusted.replace_status(CERTIFICATESIGNINGREQUESTS, record, new)

    def _condition(self, record: ObjectRecord, status: dict[str, Any], kind: str, reason: str, message: str) -> None:
        now = rfc3339(self._clock.now())
        condition = {
            "type": kind, "status": "True", "reason": reason, "message": message, "lastUpdateTime": now,
            "lastTransitionTime": now,
        }  # fmt: skip
        new = {**status, "conditions": [*(status.get("conditions") or ()), condition]}
        self._trusted.replace_status(CERTIFICATESIGNINGREQUESTS, record, orjson.loads(orjson.dumps(new)))


def _is_node_client(spec: dict[str, Any], wanted: Wanted) -> bool:
    usages = set(spec.get("usages") or ())
    return (
        wanted.organizations == (_NODES,)
        and wanted.common_name.startswith(_NODE)
        and not wanted.names
        and not wanted.others
        and {"digital signature", "client auth"} <= usages <= {"digital signature", "client auth", "key encipherment"}
    )


def _own_message(spec: dict[str, Any], wanted: Wanted) -> str:
    """Return with which words a kubelet's request is approved without anybody's doing, "" when it is not."""
    if spec["signerName"] != _KUBELET_CLIENT or not _is_node_client(spec, wanted):
        return ""
    groups = spec.get("groups") or ()
    if spec.get("username") == wanted.common_name and _NODES in groups:
        return "Auto approving self kubelet client certificate after SubjectAccessReview."
    if any(group.startswith(_BOOTSTRAPPERS) for group in groups):
        return "Auto approving kubelet client certificate after SubjectAccessReview."
    return ""


def _check(spec: dict[str, Any], wanted: Wanted) -> None:
    """Refuse what a signer does not sign.

    Raises:
        BadRequestError: It does not.
    """
    signer, usages = spec["signerName"], set(spec.get("usages") or ())
    if signer == _LEGACY:
        return
    if signer == _CLIENT:
        allowed = {"digital signature", "key encipherment", "client auth"}
        if "client auth" not in usages or not usages <= allowed:
            raise BadRequestError("invalid usage for client certificate: must be client auth, and digital signature or "
                                  "key encipherment besides")  # fmt: skip
        return
    if wanted.organizations != (_NODES,):
        raise BadRequestError("subject organization is not system:nodes")
    if not wanted.common_name.startswith(_NODE):
        raise BadRequestError("subject common name does not begin with system:node:")
    if signer == _KUBELET_CLIENT:
        if wanted.names or wanted.others:
            raise BadRequestError("subject alternative names are not allowed")
        if not _is_node_client(spec, wanted):
            raise BadRequestError("usages did not match [key encipherment digital signature client auth]")
        return
    if wanted.others or not wanted.names:
        raise BadRequestError("DNS or IP subjectAltName is required, and no other kind is allowed")
    if not {"digital signature", "server auth"} <= usages <= {"digital signature", "server auth", "key encipherment"}:
        raise BadRequestError("usages did not match [key encipherment digital signature server auth]")
