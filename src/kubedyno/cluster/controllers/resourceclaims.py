"""Claims on devices: made for pods from templates, given back when nobody uses them, deleted with the work that is done.

As pkg/controller/resourceclaim. The scheduler allocates and reserves.
"""

from typing import Any

import orjson

from kubedyno.cluster.controllers.feeds import Feeds
from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.controllers.refusals import is_terminating
from kubedyno.cluster.pump import Pump
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.templates import owner_reference
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.cluster.workqueue import WorkQueue
from kubedyno.kube.resources import PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES
from kubedyno.kube.status import StatusError

_COMPONENT = "resource_claim"
_POD_CLAIM = "resource.kubernetes.io/pod-claim-name"
_FINALIZER = "resource.kubernetes.io/delete-protection"


class ResourceClaimsController:
    """The controller of ResourceClaims.

    Args:
        trusted: Where it writes.
        pump: Gives turns and time.
        feeds: Gives changes.
    """

    def __init__(self, trusted: Trusted, pump: Pump, feeds: Feeds) -> None:
        self._trusted = trusted
        self._store = trusted.store
        self._pods: WorkQueue[str] = WorkQueue(pump, "resourceclaim-pods", self._reconcile_pod)
        self._claims: WorkQueue[str] = WorkQueue(pump, "resourceclaims", self._reconcile_claim)
        # Uid of a pod → claims that are reserved for it or are its own.
        self._by_pod: dict[str, set[str]] = {}
        self._pods_of: dict[str, tuple[str, ...]] = {}
        # Pods whose claims could not be made.
        self._unmade: dict[str, None] = {}
        feeds.follow(RESOURCECLAIMTEMPLATES, self._template_changed)
        feeds.follow(RESOURCECLAIMS, self._claim_changed, self._claim_gone)
        feeds.follow(PODS, self._pod_changed, self._pod_gone)

    # --- news ------------------------------------------------------------------------------------------------------

    def _template_changed(self, record: ObjectRecord) -> None:
        _ = record
        for key in self._unmade:
            self._pods.add(key)

    def _claim_changed(self, record: ObjectRecord) -> None:
        self._unlink(record.key)
        status = orjson.loads(record.obj.status or b"{}")
        uids = tuple({entry.get("uid", "") for entry in status.get("reservedFor") or ()} | set(record.obj.owners))
        self._pods_of[record.key] = uids
        for uid in uids:
            self._by_pod.setdefault(uid, set()).add(record.key)
        self._claims.add(record.key)

    def _unlink(self, key: str) -> None:
        for uid in self._pods_of.pop(key, ()):
            keys = self._by_pod[uid]
            keys.discard(key)
            if not keys:
                del self._by_pod[uid]

    def _claim_gone(self, record: ObjectRecord) -> None:
        self._unlink(record.key)
        self._claims.forget(record.key)

    def _pod_changed(self, record: ObjectRecord) -> None:
        if record.obj.facts.spec.claims_devices:
            self._pods.add(record.key)
            if record.obj.facts.phase in ENDED or record.obj.deletion_s:
                self._touch_claims(record)

    def _pod_gone(self, record: ObjectRecord) -> None:
        if record.obj.facts.spec.claims_devices:
            self._unmade.pop(record.key, None)
            self._pods.forget(record.key)
            self._touch_claims(record)

    def _touch_claims(self, pod: ObjectRecord) -> None:
        for key in sorted(self._by_pod.get(pod.obj.uid, ())):
            self._claims.add(key)

    # --- pods ------------------------------------------------------------------------------------------------------

    def _reconcile_pod(self, key: str, budget: int) -> int:
        """Make the claims that a pod's templates describe, and say in its status which they are."""
        _ = budget
        record = self._store.get(PODS, key)
        if record is None or record.obj.deletion_s or record.obj.facts.phase in ENDED:
            self._unmade.pop(key, None)
            self._pods.forget(key)
            return 1
        spec = orjson.loads(b"{" + record.obj.body + b"}")["spec"]
        status = orjson.loads(record.obj.status or b"{}")
        known = {entry["name"]: entry for entry in status.get("resourceClaimStatuses") or ()}
        names = dict(known)
        for reference in spec.get("resourceClaims") or ():
            name = reference["name"]
            if not reference.get("resourceClaimTemplateName") or name in known:
                continue
            try:
                made = self._claim_of(record, reference)
            except StatusError as error:
                if is_terminating(error):
                    return 1
                self._unmade[key] = None
                text = f"PodResourceClaim {name}: {error.message}"
                self._trusted.event(
                    PODS, record, type="Warning", reason="FailedResourceClaimCreation", message=text,
                    component=_COMPONENT,
                )  # fmt: skip
                self._pods.retry(key, text)
                return 2
            names[name] = {"name": name, "resourceClaimName": made}
        self._unmade.pop(key, None)
        if names != known:
            status["resourceClaimStatuses"] = list(names.values())
            record = self._trusted.replace_status(PODS, record, status)
        if record.obj.facts.node_name:
            self._reserve(record, spec, names)
        self._pods.forget(key)
        return 2

    def _claim_of(self, pod: ObjectRecord, reference: dict[str, Any]) -> str:
        """Return the name of the claim made for one of a pod's templates; makes it when it is not there.

        Raises:
            StatusError: It cannot be made.
        """
        name, template_name = reference["name"], reference["resourceClaimTemplateName"]
        for key in sorted(self._by_pod.get(pod.obj.uid, ())):
            made = self._store.get(RESOURCECLAIMS, key)
            if made is not None and pod.obj.uid in made.obj.owners:
                annotations = metadata_of(made.obj).get("annotations", {})
                if annotations.get(_POD_CLAIM) == name:
                    return made.obj.name
        record = self._store.get(RESOURCECLAIMTEMPLATES, f"{pod.obj.namespace}/{template_name}")
        if record is None:
            text = f'resource claim template "{template_name}": resourceclaimtemplate.resource.k8s.io "{template_name}" not found'
            raise StatusError(text)
        template = self._store.encode_dict(RESOURCECLAIMTEMPLATES, record)["spec"]
        own = template.get("metadata") or {}
        metadata: dict[str, Any] = {
            "generateName": f"{pod.obj.name}-{name}-",
            "annotations": {**own.get("annotations", {}), _POD_CLAIM: name},
            "ownerReferences": [owner_reference("v1", "Pod", pod.obj.name, pod.obj.uid)],
        }
        if own.get("labels"):
            metadata["labels"] = own["labels"]
        # The front door: quotas are for these claims as for anyone's.
        made = self._trusted.registry.create(
            RESOURCECLAIMS, pod.obj.namespace, {"metadata": metadata, "spec": template.get("spec", {})}
        )
        self._claim_changed(made)
        return made.obj.name

    def _reserve(self, pod: ObjectRecord, spec: dict[str, Any], names: dict[str, Any]) -> None:
        """Reserve allocated claims for a pod that was given its node without the scheduler."""
        for reference in spec.get("resourceClaims") or ():
            name = reference.get("resourceClaimName") or names.get(reference["name"], {}).get("resourceClaimName")
            record = self._store.get(RESOURCECLAIMS, f"{pod.obj.namespace}/{name}") if name else None
            if record is None:
                continue
            status = orjson.loads(record.obj.status or b"{}")
            reserved = status.get("reservedFor") or []
            if status.get("allocation") and all(entry.get("uid") != pod.obj.uid for entry in reserved):
                entry = {"resource": "pods", "name": pod.obj.name, "uid": pod.obj.uid}
                self._trusted.replace_status(RESOURCECLAIMS, record, {**status, "reservedFor": [*reserved, entry]})

    # --- claims ----------------------------------------------------------------------------------------------------

    def _reconcile_claim(self, key: str, budget: int) -> int:
        """Drop reservations of pods that are done, give devices back, delete the claims of pods that are done."""
        _ = budget
        record = self._store.get(RESOURCECLAIMS, key)
        if record is None:
            return 1
        status = orjson.loads(record.obj.status or b"{}")
        reserved = status.get("reservedFor") or []
        kept = [entry for entry in reserved if self._needs(record.obj.namespace, entry)]
        if len(kept) < len(reserved):
            new = {name: value for name, value in status.items() if name != "reservedFor"}
            if kept:
                new["reservedFor"] = kept
            elif _FINALIZER in record.obj.finalizers:
                new.pop("allocation", None)
            status = new
            record = self._trusted.replace_status(RESOURCECLAIMS, record, new)
        if record.obj.deletion_s and not kept and "allocation" in status:
            status = {name: value for name, value in status.items() if name not in {"allocation", "reservedFor"}}
            record = self._trusted.replace_status(RESOURCECLAIMS, record, status)
        if not kept and "allocation" not in status and _FINALIZER in record.obj.finalizers:
            finalizers = [name for name in record.obj.finalizers if name != _FINALIZER]
            record = self._trusted.replace(RESOURCECLAIMS, record, finalizers=finalizers)
        if not kept and not record.obj.deletion_s and self._is_of_ended_pod(record):
            self._trusted.delete(RESOURCECLAIMS, key, uid=record.obj.uid)
        self._claims.forget(key)
        return 2

    def _needs(self, namespace: str, entry: dict[str, Any]) -> bool:
        """Say whether what a claim is reserved for still needs it."""
        if entry.get("apiGroup") or entry.get("resource") != "pods":
            return True
        pod = self._store.get(PODS, f"{namespace}/{entry['name']}")
        if pod is None or pod.obj.uid != entry.get("uid") or pod.obj.facts.phase in ENDED:
            return False
        return not pod.obj.deletion_s or bool(pod.obj.facts.node_name)

    def _is_of_ended_pod(self, record: ObjectRecord) -> bool:
        for reference in metadata_of(record.obj).get("ownerReferences", ()):
            if reference.get("kind") == "Pod" and reference.get("controller"):
                pod = self._store.get(PODS, f"{record.obj.namespace}/{reference['name']}")
                return pod is not None and pod.obj.uid == reference["uid"] and pod.obj.facts.phase in ENDED
        return False
