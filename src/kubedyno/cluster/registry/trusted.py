"""The door for the cluster's own parts: typed changes of what is already defaulted, without parsing or validation.

All else is as for anyone: resourceVersion, uid, generation, namespaces that are going away, finalizers, watch. With
`verify` each write is decoded and validated too, as tests and simulation run it.
"""

import copy
from typing import Any, Self, cast

import orjson

from kubedyno.base.clock import elapsed_ns
from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry import deletion
from kubedyno.cluster.registry.accounts import PLAIN, Account, account_of, check_secrets, give, no_service_account
from kubedyno.cluster.registry.admission import check_namespace
from kubedyno.cluster.registry.binding import bound
from kubedyno.cluster.registry.codec import meta_dict, stored_of, with_parts
from kubedyno.cluster.registry.eventrecorder import EventRecorder
from kubedyno.cluster.registry.gate import OwnGate
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.podfacts import PodFacts
from kubedyno.cluster.registry.kinds.podqos import qos_class
from kubedyno.cluster.registry.leanpod import Formed, LeanPod
from kubedyno.cluster.registry.metadata import metadata_causes
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.registry.templates import OwnerRef, PodTemplate, Templates, body_of, members
from kubedyno.cluster.storage.objects import StoredObject, key_of, packed
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import NAMESPACES, PODS, PRIORITYCLASSES, SERVICEACCOUNTS, Resource
from kubedyno.kube.status import already_exists, conflict, invalid, not_found
from kubedyno.stats.histogram import Histogram

# Those of client-go's rest_client_request_duration_seconds.
WRITE_BOUNDS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_GENERATE_ATTEMPTS = 8
_MAX_GENERATED_PREFIX = 58


class Trusted:
    """Writes of controllers, scheduler and kubelets.

    Records that are given must be the newest: within one step of the pump they are, if read in that step.

    Args:
        registry: Gives kinds, store, clock and random.
        verify: Decode and validate each write.

    Attributes:
        writes: Seconds that the store took for what was written through this door, by the method that a client would
            have used; events apart.
    """

    def __init__(self, registry: Registry, *, verify: bool = False) -> None:
        self.writes = _no_writes()
        self.registry = registry
        self.store = registry.store
        self.verify = verify
        self.events = EventRecorder(registry.store, registry.clock, registry.random)
        self.event = self.events.record
        self._clock = registry.clock
        self._random = registry.random
        self._templates = Templates(registry.random, registry.classes)
        self.store.table(PRIORITYCLASSES).subscribe(self._templates.clear)
        self._rules = registry.rules
        self._namespaces = self.store.table(NAMESPACES)
        self._accounts = self.store.table(SERVICEACCOUNTS)
        self._pods = self.store.table(PODS)

    def of_its_own(self) -> Self:
        """Return a door that counts for one part of the cluster alone, and is the same else."""
        door = copy.copy(self)
        door.writes = _no_writes()
        return door

    # --- create ----------------------------------------------------------------------------------------------

    def create(self, resource: Resource, namespace: str, obj: Object | StoredObject) -> ObjectRecord:
        """Store a new object.

        Args:
            resource: What it is.
            namespace: Its namespace, "" when cluster-scoped.
            obj: Defaulted; as a dict it gets uid, creationTimestamp, generation, a generated name, and the status of
                a new object unless it has one. Its metadata is changed.

        Raises:
            StatusError: The name is taken, or the namespace is missing or going away.
        """
        kind = self.registry.kind(resource)
        if isinstance(obj, StoredObject):
            stored = obj
            if resource.namespaced:
                check_namespace(self.store, resource, namespace, obj.name)
        else:
            metadata = obj["metadata"]
            if resource.namespaced:
                check_namespace(self.store, resource, namespace, metadata.get("name", ""))
                metadata["namespace"] = namespace
            if not metadata.get("name"):
                prefix = metadata["generateName"][:_MAX_GENERATED_PREFIX]
                metadata["name"] = self._free_name(resource, namespace, prefix)
            metadata["uid"] = self._random.uid()
            metadata["creationTimestamp"] = rfc3339(self._clock.now())
            if kind.has_generation:
                metadata["generation"] = 1
            if kind.has_status and "status" not in obj:
                kind.prepare_create(obj)
            stored = stored_of(kind, obj)
        if self.store.get(resource, stored.key) is not None:
            raise already_exists(resource, stored.name)
        if resource.namespaced and self._rules.apply_to(namespace):
            self._rules.check(resource, namespace, self.store.dict_of(resource, stored), None)
        gate = self.registry.own_gate(resource, stored.meta)
        if gate is not None:
            stored = self._passed(gate, kind, stored)
        return self._put(kind, stored, "POST")

    def _passed(self, gate: OwnGate, kind: Kind, stored: StoredObject, old: ObjectRecord | None = None) -> StoredObject:
        """Return an object that is to be stored, over the old version of it if there is one, as admission wants it.

        Raises:
            StatusError: It is not allowed.
            Postponed: Webhooks have yet to answer.
        """
        obj = self.store.dict_of(kind.resource, stored)
        new = gate.passed(kind, obj, old)
        if new is obj:
            return stored
        wanted = stored_of(kind, new, managed=stored.managed)
        if old is None and wanted.key != stored.key and self.store.get(kind.resource, wanted.key) is not None:
            # Its name was free when webhooks were asked.
            raise already_exists(kind.resource, wanted.name)
        if old is None or not kind.has_generation or wanted.body == old.obj.body:
            return wanted
        new["metadata"]["generation"] = old.obj.generation + 1
        return stored_of(kind, new, managed=stored.managed)

    def _ruled(self, namespace: str, stored: StoredObject) -> StoredObject:
        """Return a new pod as its namespace's rules make it.

        Raises:
            Forbidden: They do not allow it.
        """
        pod = self.store.dict_of(PODS, stored)
        self._rules.mutate(PODS, namespace, pod)
        pod["status"]["qosClass"] = qos_class(pod["spec"])
        self._rules.check(PODS, namespace, pod, None)
        return stored_of(self.registry.kind(PODS), pod)

    def _free_name(self, resource: Resource, namespace: str, prefix: str) -> str:
        name = prefix + self._random.suffix()
        for _ in range(_GENERATE_ATTEMPTS):
            if self.store.get(resource, key_of(namespace, name)) is None:
                break
            name = prefix + self._random.suffix()
        return name

    def pod_template(self, template: Object, *, pinned: bool = False) -> PodTemplate:
        """Return a workload's template ready for `create_pod`; what depends on its spec alone is cached.

        Args:
            template: A PodTemplateSpec; not changed.
            pinned: Its pods name their node, as a DaemonSet's do.

        Raises:
            Forbidden: Its priority class does not exist.
        """
        return self._templates.of(template, pinned=pinned)

    def create_pod(
        self,
        namespace: str,
        template: PodTemplate,
        owner: OwnerRef | None = None,
        *,
        name: str = "",
        generate_name: str = "",
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        hostname: str = "",
        node: str = "",
    ) -> ObjectRecord:
        """Create a pod from a template: the fast path.

        Args:
            namespace: Where.
            template: From `pod_template`.
            owner: Its controller.
            name: Its name.
            generate_name: The beginning of its name, which the pod tells; without `name` the rest is made up.
            labels: More labels, over the template's.
            annotations: More annotations, over the template's.
            hostname: spec.hostname.
            node: The node that a pinned template's pod is for.

        Raises:
            StatusError: The name is taken, the namespace missing or going away, or the service account missing.
        """
        random, table = self._random, self._pods
        record = self._namespaces.get(namespace)
        if record is None or record.obj.deletion_s:
            check_namespace(self.store, PODS, namespace, name)
        account = PLAIN
        if template.facts.service_account:
            account_record = self._accounts.get(f"{namespace}/{template.facts.service_account}")
            if account_record is None:
                raise no_service_account(namespace, template.facts.service_account, name or generate_name)
            account = account_of(account_record)
        generated = f'"generateName":"{generate_name}",' if generate_name else ""
        if not name:
            prefix = generate_name[:_MAX_GENERATED_PREFIX]
            name = prefix + random.suffix()
            if table.get(f"{namespace}/{name}") is not None:
                name = self._free_name(PODS, namespace, prefix)
        elif table.get(f"{namespace}/{name}") is not None:
            raise already_exists(PODS, name)
        all_labels, tail = template.labels, template.meta
        if labels or annotations:
            all_labels = {**template.labels, **(labels or {})}
            tail = members(all_labels, {**template.annotations, **(annotations or {})})
        uid = random.uid()
        meta = b"%b%b%b%b" % (
            (
                f'"name":"{name}",{generated}"namespace":"{namespace}","uid":"{uid}","generation":1,'
                f'"creationTimestamp":"{rfc3339(self._clock.now())}"'
            ).encode(),
            tail,
            b',"ownerReferences":' + owner.json if owner is not None else b"",
            b',"finalizers":' + orjson.dumps(template.finalizers) if template.finalizers else b"",
        )
        status = template.status
        if template.facts.gated:
            status = self._gated_status(status)
        key, owners = f"{namespace}/{name}", (owner.uid,) if owner is not None else ()
        facts = PodFacts(template.node_name, "Pending", False, "", template.facts, node)
        suffix = random.suffix()
        ruled = self._rules.apply_to(namespace)
        gate = self.registry.own_gate(PODS, owner.json if owner is not None else b"")
        whole = template.pinned or template.node_name or template.finalizers
        if gate is not None or whole or hostname or ruled or account is not PLAIN:
            stored = StoredObject(
                key, namespace, name, uid, 1, all_labels, owners, 0.0, template.finalizers, meta, b"",
                body_of(template, suffix, node, hostname), status, facts,
            )  # fmt: skip
            if account is not PLAIN:
                stored = self._with_account(stored, account)
            if ruled:
                stored = self._ruled(namespace, stored)
            if gate is not None:
                stored = self._passed(gate, self.registry.kind(PODS), stored)
        else:
            lean = LeanPod(
                key, namespace, name, uid, 1, all_labels, owners, meta, b"",
                template.body, suffix.encode() if len(template.body) > 1 else b"", status, facts,
            )  # fmt: skip
            stored = cast("StoredObject", lean)
        if self.verify:
            return self._put(self.registry.kind(PODS), stored, "POST")
        began_ns = elapsed_ns()
        record = self.store.put_in(table, stored)
        self._took("POST", began_ns)
        return record

    def _with_account(self, stored: StoredObject, account: Account) -> StoredObject:
        """Return a new pod as its service account makes it.

        Raises:
            Forbidden: It references what the account does not list.
        """
        pod = self.store.dict_of(PODS, stored)
        check_secrets(pod, account)
        give(pod, account)
        return stored_of(self.registry.kind(PODS), pod)

    def _gated_status(self, status: bytes) -> bytes:
        parsed = orjson.loads(status)
        pod: Object = {"spec": {"schedulingGates": [{}]}}
        self.registry.kind(PODS).prepare_create(pod)
        conditions = pod["status"]["conditions"]
        conditions[0]["lastTransitionTime"] = rfc3339(self._clock.now())
        return orjson.dumps({**parsed, "conditions": conditions})

    # --- change ----------------------------------------------------------------------------------------------

    def _check_newest(self, resource: Resource, record: ObjectRecord) -> None:
        current = self.store.get(resource, record.key)
        if current is not record:
            if current is None:
                raise not_found(resource, record.obj.name)
            raise conflict(resource, record.obj.name)

    def form_status(self, record: ObjectRecord, status: Formed, facts: PodFacts) -> ObjectRecord:
        """Store a pod's new status, which is another one for sure, to be written out when it is read.

        Raises:
            StatusError: The record is not the newest.
        """
        obj = record.obj
        if not isinstance(obj, LeanPod):
            # Its text holds the suffix; the form asks for it again.
            raise TypeError(f"pod {obj.key} is not a lean one")
        self._check_newest(PODS, record)
        return self._put(self.registry.kind(PODS), cast("StoredObject", obj.with_status(status, facts)), "PATCH")

    def replace_status(
        self, resource: Resource, record: ObjectRecord, status: bytes | Object, facts: Any = None
    ) -> ObjectRecord:
        """Store a new status.

        Args:
            resource: What it is.
            record: The newest version.
            status: The whole status.
            facts: The kind's facts of the new version where the caller has them; else they are worked out.

        Returns:
            The new record, or the given one when the status is the same.

        Raises:
            StatusError: The record is not the newest.
        """
        self._check_newest(resource, record)
        obj = record.obj
        encoded = status if isinstance(status, bytes) else packed(status)
        if encoded == obj.status:
            return record
        kind = self.registry.kind(resource)
        if facts is None and kind.has_facts:
            facts = kind.facts({**self.store.encode_dict(resource, record), "status": orjson.loads(encoded)})
        if isinstance(obj, LeanPod):
            return self._put(kind, cast("StoredObject", obj.with_status(encoded, facts)), "PUT")
        return self._put(kind, with_parts(obj, status=encoded, facts=facts), "PUT")

    def replace(
        self,
        resource: Resource,
        record: ObjectRecord,
        *,
        body: bytes | Object | None = None,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
        status: bytes | Object | None = None,
        finalizers: list[str] | None = None,
        owners: list[Object] | None = None,
    ) -> ObjectRecord:
        """Store a version with some parts replaced; None keeps a part. Policies are asked, unless only the status changes.

        Args:
            resource: What it is.
            record: The newest version.
            body: The members between metadata and status: without braces as bytes, or as a dict. Another one bumps
                the generation of kinds that have one.
            labels: All labels.
            annotations: All annotations.
            status: The whole status.
            finalizers: All finalizers; when the last one of an object that is being deleted goes, so does the object.
            owners: All ownerReferences.

        Returns:
            The new record; the tombstone when the object went.

        Raises:
            StatusError: The record is not the newest, or a policy does not allow it.
        """
        self._check_newest(resource, record)
        kind, obj = self.registry.kind(resource), record.obj
        new_body = orjson.dumps(body)[1:-1] if isinstance(body, dict) else body
        new_status = packed(status) if isinstance(status, dict) else status
        metadata = None
        changed_body = new_body is not None and new_body != obj.body
        bumped = changed_body and kind.has_generation
        if bumped or any(part is not None for part in (labels, annotations, finalizers, owners)):
            metadata = meta_dict(obj)
            parts = {
                "labels": labels, "annotations": annotations, "finalizers": finalizers, "ownerReferences": owners,
            }  # fmt: skip
            for name, part in parts.items():
                if part:
                    metadata[name] = part
                elif part is not None:
                    metadata.pop(name, None)
            if bumped:
                metadata["generation"] = obj.generation + 1
        facts = obj.facts
        if kind.has_facts and (changed_body or (new_status is not None and new_status != obj.status)):
            whole = self.store.encode_dict(resource, record)
            members_ = orjson.loads(b"{" + (obj.body if new_body is None else new_body) + b"}")
            new: Object = {"metadata": whole["metadata"], **members_}
            new["status"] = orjson.loads((obj.status if new_status is None else new_status) or b"{}")
            facts = kind.facts(new)
        stored = with_parts(obj, metadata=metadata, body=new_body, status=new_status, facts=facts)
        if metadata is not None or changed_body:
            gate = self.registry.own_gate(resource, stored.meta)
            if gate is not None:
                stored = self._passed(gate, kind, stored, record)
        if finalizers is not None and stored.deletion_s and not stored.finalizers and self._finished(kind, stored):
            began_ns = elapsed_ns()
            gone = self.registry.remove(kind, stored.key)
            self._took("PUT", began_ns)
            return gone or record
        return self._put(kind, stored, "PUT")

    def bind(self, record: ObjectRecord, node: str) -> ObjectRecord:
        """Assign a pod to a node: spec.nodeName and the PodScheduled condition in one version.

        Raises:
            StatusError: It is assigned already, being deleted, or the record is not the newest.
        """
        self._check_newest(PODS, record)
        return self._put(self.registry.kind(PODS), bound(record, node, self._clock.now()), "POST")

    # --- delete ----------------------------------------------------------------------------------------------

    def _finished(self, kind: Kind, stored: StoredObject) -> bool:
        """Say whether a marked object without finalizers waits for nothing else."""
        if kind.graceful:
            return not meta_dict(stored).get("deletionGracePeriodSeconds")
        return kind.resource is not NAMESPACES or b'"finalizers":["' not in stored.body

    def delete(
        self,
        resource: Resource,
        key: str,
        grace_s: int | None = None,
        *,
        uid: str | None = None,
        policy: str | None = None,
    ) -> ObjectRecord | None:
        """Delete an object as a client would.

        Args:
            resource: What it is.
            key: "ns/name" or "name".
            grace_s: Grace period; None: the object's own.
            uid: Only the object with this uid.
            policy: Propagation policy: "Foreground", "Background" or "Orphan".

        Returns:
            The marked object, or its tombstone; None when it is not there (or is another one).
        """
        record = self.store.get(resource, key)
        if record is None or (uid is not None and record.obj.uid != uid):
            return None
        options: Object = {}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        if policy is not None:
            options["propagationPolicy"] = policy
        gate = self.registry.own_gate(resource, record.obj.meta)
        if gate is not None:
            gate.passed(self.registry.kind(resource), None, record)
        began_ns = elapsed_ns()
        found = self.registry.delete(resource, record.obj.namespace, record.obj.name, options)[0]
        self._took("DELETE", began_ns)
        return found

    def finish_delete(self, resource: Resource, key: str, *, uid: str | None = None) -> ObjectRecord | None:
        """Remove an object whose grace period is over; one with finalizers stays, with no grace left.

        Args:
            resource: What it is.
            key: "ns/name" or "name".
            uid: Only the object with this uid.

        Returns:
            The tombstone, or the object that stays; None when it is not there (or is another one).
        """
        record = self.store.get(resource, key)
        if record is None or (uid is not None and record.obj.uid != uid):
            return None
        kind, obj = self.registry.kind(resource), record.obj
        if not obj.finalizers:
            began_ns = elapsed_ns()
            gone = self.registry.remove(kind, key)
            self._took("DELETE", began_ns)
            return gone
        metadata = meta_dict(obj)
        if obj.deletion_s and not metadata.get("deletionGracePeriodSeconds"):
            return record
        deletion.mark(metadata, self._clock.now(), 0)
        metadata["deletionGracePeriodSeconds"] = 0
        return self._put(kind, with_parts(obj, metadata=metadata, facts=obj.facts), "DELETE")

    # --- verification ----------------------------------------------------------------------------------------

    def _put(self, kind: Kind, stored: StoredObject, method: str) -> ObjectRecord:
        if self.verify:
            self._verify(kind, stored)
        began_ns = elapsed_ns()
        record = self.store.put(kind.resource, stored)
        self._took(method, began_ns)
        return record

    def _took(self, method: str, began_ns: int) -> None:
        self.writes[method].add((elapsed_ns() - began_ns) / 1e9)

    def _verify(self, kind: Kind, stored: StoredObject) -> None:
        """Check that an object is what the front door would have stored.

        Raises:
            StatusError: It is not.
            AssertionError: Its parts contradict each other.
        """
        whole = self.store.dict_of(kind.resource, stored)
        decoded = kind.decode(whole, "Strict")
        causes = metadata_causes(kind, decoded["metadata"]) + kind.validate_stored(decoded)
        if causes:
            raise invalid(kind.resource, stored.name, causes)
        again = stored_of(kind, whole)
        for field in StoredObject.__struct_fields__:
            if field not in {"meta", "managed", "body", "status"} and getattr(again, field) != getattr(stored, field):
                found, given = getattr(again, field), getattr(stored, field)
                raise AssertionError(
                    f"{kind.resource.plural} {stored.key}: {field} is {given!r}, its JSON says {found!r}"
                )


def _no_writes() -> dict[str, Histogram]:
    return {method: Histogram(WRITE_BOUNDS_S) for method in ("POST", "PUT", "PATCH", "DELETE")}


__all__ = ["OwnerRef", "PodTemplate", "Trusted"]
