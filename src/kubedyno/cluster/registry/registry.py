"""The door for clients' writes: decode, default, admit, validate, store; and what kinds know for reads.

Each method is one atomic step: nothing awaits between reading an object and storing its next version.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry import deletion
from kubedyno.cluster.registry.admission import PodClasses
from kubedyno.cluster.registry.admissiontimes import AdmissionTimes
from kubedyno.cluster.registry.agreement import check_name, check_scope, check_uid, check_version, other_uid
from kubedyno.cluster.registry.allocation import Allocator
from kubedyno.cluster.registry.authors import EMPTIED, Authors
from kubedyno.cluster.registry.binding import bound, node_of
from kubedyno.cluster.registry.builtinadmission import BuiltInAdmission
from kubedyno.cluster.registry.codec import same_version, stored_of, with_parts
from kubedyno.cluster.registry.disabledfields import DisabledFields, has_gated_fields
from kubedyno.cluster.registry.emptied import causes_told
from kubedyno.cluster.registry.gate import Gate, OwnGate
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds import apparmor
from kubedyno.cluster.registry.kinds.namespaces import PROTECTED
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.kinds.serviceaddresses import address_causes
from kubedyno.cluster.registry.leanpod import Shapes
from kubedyno.cluster.registry.managedfields import same_but_for_times
from kubedyno.cluster.registry.metadata import deduplicate_owners, metadata_causes, metadata_update_causes
from kubedyno.cluster.registry.namespacerules import NamespaceRules
from kubedyno.cluster.registry.served import ServedKinds
from kubedyno.cluster.registry.structure import STRICT, DecodeError, invalid_patch
from kubedyno.cluster.registry.unstructured import whole_numbers
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject, key_of
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.resources import CLAIMS, NAMESPACES, PODS, SERVICES, Resource
from kubedyno.kube.status import (
    Cause,
    StatusError,
    already_exists,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
)
from kubedyno.kube.strconv import whole
from kubedyno.statedb.records import Record

__all__ = ["Kind", "Registry"]

# How often a generated name is tried again when it is taken.
_HAS_VERSION = "resourceVersion should not be set on objects to be created"
_GENERATE_ATTEMPTS = 5
_MAX_GENERATED_PREFIX = 58


class Registry(ServedKinds):
    """All served kinds over a store, and what clients may write of them.

    Args:
        store: Gets a table a kind.
        clock: Stamps creations and deletions.
        random: Makes uids and generated names.
        settings: Gives the service subnet.

    Attributes:
        classes: What pods get by the name of a class.
        rules: What namespaces ask of what is created in them.
        admission_times: How long clients' writes were in admission.
        own_gate: Says what an object of the cluster's own parts has to pass (resource, its metadata or ownerReferences as
            JSON).
    """

    def __init__(self, store: Store, clock: Clock, random: Random, settings: ClusterSettings) -> None:
        super().__init__(store, settings)
        self.clock = clock
        self.random = random
        self.settings = settings
        self.classes = PodClasses(store)
        self.rules = NamespaceRules(store, self.stored_resource)
        self._builtin = BuiltInAdmission(store, random, self.classes, self.rules)
        self.own_gate: Callable[[Resource, bytes], OwnGate | None] = lambda _, __: None
        self.admission_times = AdmissionTimes()
        self.shapes = Shapes()
        self._disabled = DisabledFields(settings)
        store.shown = Authors(self.kind).shown
        self.allocator = Allocator(store, clock, random, settings.service_subnets)

    # --- create ----------------------------------------------------------------------------------------------

    def create(
        self,
        resource: Resource,
        namespace: str,
        obj: Any,
        *,
        manager: str | None = None,
        dry_run: bool = False,
        field_validation: str = "Warn",
        warnings: list[str] | None = None,
        gate: Gate | None = None,
    ) -> ObjectRecord:
        """Create an object.

        Args:
            resource: What it is.
            namespace: Of the request; "" for cluster-scoped kinds.
            obj: The client's JSON; not changed.
            manager: Who owns its fields; None: nobody, and its managedFields are not kept.
            dry_run: Do everything but store; the record has revision 0 then.
            field_validation: "Strict", "Warn" or "Ignore" for unknown fields.
            warnings: Receives warnings for the client.
            gate: Admission beyond the built-in; None: nothing else is asked.

        Returns:
            The stored record.

        Raises:
            StatusError: What the real server would answer.
        """
        kind = self.kind(resource)
        new = kind.decode(obj, field_validation, warnings)
        metadata = new["metadata"]
        if metadata.get("resourceVersion", "") not in {"", "0"} and not dry_run:
            raise StatusError(_HAS_VERSION, code=500, reason="")
        check_scope(resource, namespace, metadata)
        for member in ("deletionTimestamp", "deletionGracePeriodSeconds"):
            metadata.pop(member, None)
        if namespace and resource.namespaced:
            metadata["namespace"] = namespace
        kind.default(new)
        managed = b"" if manager is None else self._owned(kind, new, obj, manager)
        if not metadata.get("name") and kind.names_itself and not metadata.get("generateName"):
            metadata["name"] = self.random.uid()
        make = self._create
        if not metadata.get("name") and metadata.get("generateName"):
            make = self._create_generated
        return make(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate, sent=obj)

    def _owned(self, kind: Kind, new: Object, sent: Any, manager: str) -> bytes:
        """Return the managedFields of an object to be created: in the version in which the client wrote it."""
        written = new if kind.stored_as is None else kind.from_stored(deepcopy(new))
        written = kind.fields.as_sent(written, sent)
        # Who owns nothing leaves a note: no component has made this.
        return kind.fields.created(written, manager, rfc3339(self.clock.now())) or EMPTIED

    def _create_generated(
        self, kind: Kind, namespace: str, new: Object, managed: bytes, *, dry_run: bool, warnings: list[str] | None,
        gate: Gate | None, sent: Any,
    ) -> ObjectRecord:  # fmt: skip
        prefix = new["metadata"]["generateName"][:_MAX_GENERATED_PREFIX]
        for attempt in range(_GENERATE_ATTEMPTS):
            name = prefix + (gate.suffix if gate is not None and not attempt else self.random.suffix())
            taken = self.store.get(kind.resource, key_of(namespace, name)) is not None
            if not taken or attempt == _GENERATE_ATTEMPTS - 1:
                new["metadata"]["name"] = name
                break
        return self._create(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate, sent=sent)

    def _create(
        self, kind: Kind, namespace: str, new: Object, managed: bytes, *, dry_run: bool, warnings: list[str] | None,
        gate: Gate | None, sent: Any,
    ) -> ObjectRecord:  # fmt: skip
        resource, metadata, store = kind.resource, new["metadata"], self.store
        name = metadata.get("name", "")
        with self.admission_times.create_admit:
            ruled = self._builtin.mutate(resource, namespace, new, "" if gate is None else gate.suffix)
            if gate is not None:
                new = gate.mutated(kind, "", new, None)
                metadata = new["metadata"]
                if metadata.get("resourceVersion", "") not in {"", "0"} and not dry_run:
                    raise StatusError(_HAS_VERSION, code=500, reason="")
                check_scope(resource, namespace, metadata)
                if namespace and resource.namespaced:
                    metadata["namespace"] = namespace
                name = metadata.get("name", "")
        for member in ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"):
            metadata.pop(member, None)
        given = metadata.pop("resourceVersion", "")
        metadata["uid"] = self.random.uid() if gate is None else gate.uid
        now = metadata["creationTimestamp"] = rfc3339(self.clock.now() if gate is None else gate.now_s)
        if kind.has_generation and kind.born_with_generation:
            metadata["generation"] = 1
        if has_gated_fields(resource):
            self._disabled.drop(new)
        if name or kind.resource is not NAMESPACES:
            if resource is PODS and "annotations" in metadata:
                adopted = apparmor.adopt(metadata, new["spec"])
                if warnings is not None:
                    warnings += adopted
            kind.prepare_create(new)
        deduplicate_owners(metadata, warnings)
        causes = self._causes_of_new(kind, new)
        if causes:
            if resource is SERVICES:
                self._check_addresses(new, None)
            told = causes_told(
                kind, sent, new, causes, lambda: self._causes_of_new(kind, new), parts=("metadata", *kind.told_members)
            )
            raise invalid(kind.stored_as or resource, name, told)
        if warnings is not None:
            warnings += kind.warnings(new)
        core = kind.stored_as or resource
        notes = None if gate is None else gate.annotations
        with self.admission_times.create_validate:
            self._builtin.check_created(core, namespace, new, warnings, notes, ruled=ruled)
            if gate is not None:
                gate.check(kind, "", new, None)
            if ruled:
                self.rules.check_quota(core, namespace, new)
        key = key_of(namespace if resource.namespaced else "", name)
        if store.get(resource, key) is not None:
            if resource is SERVICES:
                self._check_addresses(new, None)
            raise already_exists(resource, name)
        if resource is SERVICES:
            self.allocator.allocate(new, None, metadata["uid"], dry_run=dry_run)
        if resource is PODS:
            _stamp_conditions(new, now)
        if kind.completed:
            kind.complete(new)
        if kind.converts:
            new = kind.to_stored(new)
        stored = stored_of(kind, new, managed=managed)
        if resource is PODS:
            stored = self.shapes.lean(stored)
        # What is only tried shows the version that it came with.
        return _unstored(stored, whole(given, 0)) if dry_run else store.put(resource, stored)

    def admit_again(
        self, kind: Kind, subresource: str, namespace: str, new: Object, old: ObjectRecord | None, suffix: str
    ) -> None:
        """Let the built-in plug-ins change an object once more that something has changed after them.

        Raises:
            StatusError: They do not take it.
        """
        core = kind.stored_as or kind.resource
        if old is None:
            self._builtin.mutate(kind.resource, namespace, new, suffix)
        else:
            before = self.store.encode_dict(core, old, managed=False)
            self._builtin.mutate_changed(core, subresource, new, before)

    def _causes_of_new(self, kind: Kind, new: Object) -> list[Cause]:
        causes = [] if kind.metadata_last else metadata_causes(kind, new["metadata"])
        causes += kind.validate(new)
        if kind.metadata_last and not causes:
            causes = metadata_causes(kind, new["metadata"])
        return causes + self._disabled.causes(new) if has_gated_fields(kind.resource) else causes

    def _check_addresses(self, service: Object, old: Object | None) -> None:
        """Refuse a Service whose addresses, families or ports cannot be: that comes before all else that is wrong.

        Raises:
            StatusError: They cannot.
        """
        causes = address_causes(service["spec"], old["spec"] if old is not None else {})
        if causes:
            raise invalid(SERVICES, service["metadata"].get("name", ""), causes)
        self.allocator.allocate(deepcopy(service), old, "", dry_run=True)

    # --- update ----------------------------------------------------------------------------------------------

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        obj: Any,
        *,
        manager: str | None = None,
        subresource: str = "",
        dry_run: bool = False,
        field_validation: str = "Warn",
        warnings: list[str] | None = None,
        gate: Gate | None = None,
    ) -> ObjectRecord:
        """Replace an object (PUT).

        Args:
            resource: What it is.
            namespace: Of the request.
            name: Of the request.
            obj: The client's JSON; its resourceVersion, if any, must be the current one.
            manager: Who owns the fields that change; None: managedFields stay as they are.
            subresource: "", "status", "finalize" (namespaces), or one of the kind's own (see `Kind.prepare_part`).
            dry_run: As in `create`; the record keeps the current revision then.
            field_validation: As in `create`.
            warnings: As in `create`.
            gate: As in `create`.

        Returns:
            The stored record; the current one when nothing changed. A kind that says so is created when absent.

        Raises:
            StatusError: What the real server would answer.
        """
        kind = self.kind(resource)
        new = kind.decode(obj, field_validation, warnings)
        metadata = new["metadata"]
        check_scope(resource, namespace, metadata)
        _keep_emptied(obj, metadata)
        check_name(name, metadata)
        old = self.store.get(resource, key_of(namespace, name))
        if old is None:
            if not kind.create_on_update:
                raise not_found(resource, name)
            if metadata.get("uid"):
                raise other_uid(resource, key_of(namespace, name), name, metadata["uid"], "")
            kind.default(new)
            if resource.namespaced:
                metadata["namespace"] = namespace
            metadata.pop("resourceVersion", None)
            managed = b"" if manager is None else self._owned(kind, new, obj, manager)
            return self._create(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate, sent=obj)
        check_uid(resource, old, metadata)
        if not kind.unconditional_update and metadata.get("resourceVersion", "") in {"", "0"}:
            cause = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(replace(resource, kind=resource.plural), name, [cause])
        check_version(resource, old, metadata)
        return self._update(
            kind, old, new, subresource, sent=obj, manager=manager, dry_run=dry_run, warnings=warnings, gate=gate
        )

    def modify(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: Callable[[Object], Object],
        *,
        manager: str | None = None,
        subresource: str = "",
        dry_run: bool = False,
        field_validation: str = "Warn",
        warnings: list[str] | None = None,
        flaws: Sequence[str] = (),
        gate: Gate | None = None,
    ) -> ObjectRecord:
        """Change an object by a function of its current version (PATCH).

        Args:
            resource: What it is.
            namespace: Of the request.
            name: Of the request.
            change: Current object (a fresh dict) → the object wanted. What it raises goes through.
            manager: As in `update`.
            subresource: As in `update`.
            dry_run: As in `update`.
            field_validation: As in `create`.
            warnings: As in `create`.
            flaws: What is wrong with the text of the patch itself, in the words of strict decoding.
            gate: As in `create`.

        Returns:
            The stored record; the current one when nothing changed.

        Raises:
            StatusError: What the real server would answer.
        """
        kind = self.kind(resource)
        old = self.store.get(resource, key_of(namespace, name))
        if old is None:
            raise not_found(resource, name)
        wanted = change(self.store.encode_dict(resource, old, shown=True))
        try:
            self._check_type(resource, wanted)
            kind.check_patched(wanted, subresource)
            new = kind.decode(wanted, field_validation, warnings)
        except DecodeError as error:
            more = error.why.removeprefix(STRICT)
            why = STRICT + ", ".join([*flaws, more]) if flaws and more != error.why else error.why
            raise invalid_patch(wanted, why) from None
        if flaws:
            raise invalid_patch(wanted, STRICT + ", ".join(flaws))
        metadata = new["metadata"]
        _keep_emptied(wanted, metadata)
        check_scope(resource, namespace, metadata)
        check_name(name, metadata)
        check_version(resource, old, metadata)
        return self._update(
            kind, old, new, subresource, sent=wanted, manager=manager, dry_run=dry_run, warnings=warnings, gate=gate
        )

    def _check_type(self, resource: Resource, wanted: Object) -> None:
        """Decode what a patch made of another type as that, as the real server does before it tells the two apart.

        Raises:
            DecodeError: It does not fit that type either.
        """
        version, name = wanted.get("apiVersion"), wanted.get("kind")
        if name != resource.kind and isinstance(version, str) and isinstance(name, str):
            other = self.resource_of(version, name)
            if other is not None:
                self.kind(other).decode(wanted, "Ignore")

    def apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        patch: Object,
        *,
        manager: str,
        force: bool = False,
        subresource: str = "",
        dry_run: bool = False,
        warnings: list[str] | None = None,
        gate: Gate | None = None,
    ) -> tuple[ObjectRecord, bool]:
        """Make an object what a manager wants of it (server-side apply).

        Args:
            resource: What it is.
            namespace: Of the request.
            name: Of the request.
            patch: The fields that the manager wants to own, with their values.
            manager: Its name.
            force: Take fields from others rather than raise a conflict.
            subresource: As in `update`.
            dry_run: As in `update`.
            warnings: As in `create`.
            gate: As in `create`.

        Returns:
            The stored record, and whether it was created.

        Raises:
            StatusError: What the real server would answer.
        """
        kind = self.kind(resource)
        old = self.store.get(resource, key_of(namespace, name))
        live, stored = None, b""
        if old is not None:
            live, stored = self.store.encode_dict(resource, old), self.store.managed_of(resource, old.obj)
        elif subresource and not kind.create_on_update:
            raise not_found(resource, name)
        now = rfc3339(self.clock.now())
        wanted, managed = kind.fields.applied(live, patch, stored, manager, subresource, now, force=force)
        wanted = whole_numbers(wanted)
        try:
            new = kind.decode(wanted, "Ignore", warnings)
        except DecodeError as error:
            raise _unconverted(resource, patch, error.why) from None
        metadata = new["metadata"]
        check_scope(resource, namespace, metadata)
        check_name(name, metadata)
        if old is not None:
            check_version(resource, old, metadata)
            return (
                self._update(
                    kind,
                    old,
                    new,
                    subresource,
                    applied=managed,
                    dry_run=dry_run,
                    warnings=warnings,
                    gate=gate,
                    sent=wanted,
                ),
                False,
            )
        if metadata.get("uid"):
            uid = metadata["uid"]
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(resource, name, why)
        kind.default(new)
        if resource.namespaced:
            metadata["namespace"] = namespace
        managed = managed or EMPTIED
        made = self._create(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate, sent=patch)
        return made, True

    def rescale(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        replicas: int,
        *,
        managed: bytes,
        dry_run: bool = False,
    ) -> ObjectRecord:
        """Set how many replicas an object wants (its scale subresource).

        Args:
            resource: What it is.
            namespace: Of the request.
            name: Of the request.
            replicas: So many.
            managed: The object's managedFields then.
            dry_run: As in `update`.

        Raises:
            StatusError: What the real server would answer.
        """
        kind = self.kind(resource)
        record = self.store.get(resource, key_of(namespace, name))
        if record is None:
            raise not_found(resource, name)
        current = self.store.encode_dict(resource, record)
        new = kind.decode(kind.rescaled(current, replicas), "Ignore")
        return self._update(kind, record, new, "", applied=managed, dry_run=dry_run, warnings=None)

    def _update(
        self,
        kind: Kind,
        record: ObjectRecord,
        new: Object,
        subresource: str,
        *,
        sent: Any = None,
        manager: str | None = None,
        applied: bytes | None = None,
        dry_run: bool,
        warnings: list[str] | None,
        gate: Gate | None = None,
    ) -> ObjectRecord:
        """Store a decoded new version of an object, by the rules of its kind.

        `applied` is what an apply owns, `sent` the JSON that was decoded.
        """
        resource, store = kind.resource, self.store
        core = kind.stored_as or resource
        old = store.encode_dict(core, record, managed=False)
        name, metadata = record.obj.name, new["metadata"]
        kind.default(new)
        shown = record.obj.managed if manager is None and applied is None else store.managed_of(core, record.obj)
        managed = shown if applied is None else applied
        if manager is not None:
            now = rfc3339(self.clock.now())
            managed = self._owned_after(kind, old, kind.fields.as_sent(new, sent), managed, manager, subresource, now)
        with self.admission_times.update_admit:
            self._builtin.mutate_changed(core, subresource, new, old)
            if gate is not None:
                if "namespace" in old["metadata"]:
                    metadata.setdefault("namespace", old["metadata"]["namespace"])
                new = gate.mutated(kind, subresource, new, record)
                metadata = new["metadata"]
                check_scope(resource, old["metadata"].get("namespace", ""), metadata)
        # What a client may leave out, or never changes.
        before = old["metadata"]
        for member in ("uid", "namespace", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
            if member in before:
                metadata.setdefault(member, before[member])
        metadata.pop("managedFields", None)
        if "generation" in before:
            metadata["generation"] = before["generation"]
        else:
            metadata.pop("generation", None)
        if subresource == "status":
            new = kind.prepare_status(new, old)
            metadata = new["metadata"]
        elif subresource == "finalize":
            new = {**new, "status": old.get("status", {})}
        elif subresource:
            new = kind.prepare_part(subresource, new, old)
            metadata = new["metadata"]
        else:
            if has_gated_fields(resource):
                self._disabled.drop(new, old)
            kind.prepare_update(new, old)
        if kind.stamped:
            kind.stamp(new, old, rfc3339(self.clock.now()))
        deduplicate_owners(metadata, warnings)
        whole = subresource not in {"status", "finalize"}
        causes = self._causes_of_change(kind, new, old, subresource)
        if causes:
            if resource is SERVICES and not subresource:
                self._check_addresses(new, old)
            parts = () if subresource not in {"", "status"} else ("status",) if subresource else kind.told_members
            told = causes_told(
                kind, sent, new, causes, lambda: self._causes_of_change(kind, new, old, subresource), parts=parts
            )
            raise invalid(core, name, told)
        if warnings is not None and not subresource:
            warnings += kind.warnings_of_change(new, old)
        elif warnings is not None and subresource == "status":
            warnings += kind.warnings_of_status(new, old)
        if kind.has_generation and whole and kind.spec_of(new) != kind.spec_of(old):
            metadata["generation"] = before.get("generation", 0) + 1
        with self.admission_times.update_validate:
            if whole:
                self._builtin.check_updated(
                    core, subresource, new, old, warnings, None if gate is None else gate.annotations
                )
            if gate is not None:
                metadata.setdefault("resourceVersion", before["resourceVersion"])
                gate.check(kind, subresource, new, record)
            # What may come to use more of a namespace's quota by a change.
            measured = subresource == "resize" or (not subresource and (resource is SERVICES or resource is CLAIMS))
            if measured and self.rules.apply_to(metadata["namespace"]):
                self.rules.check_quota(resource, metadata["namespace"], new, old)
        if resource is SERVICES and not subresource:
            self.allocator.allocate(new, old, record.obj.uid, dry_run=dry_run)
        metadata.pop("resourceVersion", None)
        if kind.completed:
            kind.complete(new)
        if kind.converts:
            new = kind.to_stored(new)
        if managed == shown:
            managed = record.obj.managed
        elif not managed and shown:
            managed = EMPTIED
        stored = stored_of(kind, new, managed=managed)
        if dry_run:
            return _unstored(stored, record.revision)
        if stored.deletion_s and self._is_finished(kind, stored, new):
            # The last finalizer went: the answer is the new version at the old revision.
            self.remove(kind, stored.key)
            return _unstored(stored, record.revision)
        if same_version(stored, record.obj) and (managed is record.obj.managed or same_but_for_times(managed, shown)):
            return record
        return store.put(resource, stored)

    def _causes_of_change(self, kind: Kind, new: Object, old: Object, subresource: str) -> list[Cause]:
        checks = kind.metadata_checks.partition("|")[0]
        if subresource:
            checks = "u" if "u" in kind.metadata_checks else ""
        causes = metadata_update_causes(kind, new["metadata"], old["metadata"], checks)
        if not subresource:
            causes += kind.validate_update(new, old)
            if has_gated_fields(kind.resource):
                causes += self._disabled.causes(new, old)
        elif subresource in {"status", "finalize"}:
            causes += kind.validate_status(new, old)
        else:
            causes += kind.validate_part(subresource, new, old)
        return causes

    def _owned_after(
        self, kind: Kind, old: Object, new: Object, managed: bytes, manager: str, subresource: str, now: str
    ) -> bytes:
        """Return the managedFields of a new version: of the members that the version of the API has in which it came."""
        if kind.stored_as is None or type(kind).from_stored is Kind.from_stored:
            return self.kind(kind.stored_as or kind.resource).fields.updated(
                old, new, managed, manager, subresource, now
            )
        before, after = (kind.from_stored(deepcopy(obj)) for obj in (old, new))
        return kind.fields.updated(before, after, managed, manager, subresource, now)

    def _is_finished(self, kind: Kind, stored: StoredObject, new: Object) -> bool:
        """Say whether an object that is being deleted waits for nothing more."""
        if stored.finalizers or new["metadata"].get("deletionGracePeriodSeconds"):
            return False
        return kind.resource is not NAMESPACES or not new.get("spec", {}).get("finalizers")

    # --- delete ----------------------------------------------------------------------------------------------

    def delete(
        self, resource: Resource, namespace: str, name: str, options: Object | None = None, gate: Gate | None = None
    ) -> tuple[ObjectRecord, bool]:
        """Delete an object, now or when its grace period and finalizers are over.

        Args:
            resource: What it is.
            namespace: Of the request.
            name: Of the request.
            options: DeleteOptions as JSON.
            gate: As in `create`.

        Returns:
            The object as it is to be answered, and whether it is gone.

        Raises:
            StatusError: What the real server would answer.
        """
        options = options or {}
        deletion.check_options(options)
        kind = self.kind(resource)
        if name in kind.undeletable:
            raise forbidden(resource, name, kind.undeletable[name])
        record = self.store.get(resource, key_of(namespace, name))
        if record is None:
            raise not_found(resource, name)
        deletion.check_preconditions(kind, record, options)
        dry_run = bool(options.get("dryRun"))
        if gate is not None:
            gate.check(kind, "", None, record)
        if resource is NAMESPACES:
            return self._delete_namespace(kind, record, options, dry_run=dry_run)
        decision = deletion.decide(kind, record, options, self.clock.now(), self._grace_of(kind, record))
        answer = record
        if decision.metadata is not None:
            stored = with_parts(record.obj, metadata=decision.metadata, facts=record.obj.facts)
            answer = _unstored(stored, record.revision) if dry_run else self.store.put(resource, stored)
        if decision.remove and not dry_run:
            tombstone = self.remove(kind, answer.key)
            assert tombstone is not None
            answer = tombstone
        return answer, decision.remove

    def _grace_of(self, kind: Kind, record: ObjectRecord) -> int | None:
        """Return how long the kubelet may take to stop a pod; None when no kubelet is concerned."""
        if not kind.graceful:
            return None
        facts = record.obj.facts
        if not facts.node_name or facts.phase in ENDED:
            return None
        return int(facts.spec.grace_s)

    def _delete_namespace(
        self, kind: Kind, record: ObjectRecord, options: Object, *, dry_run: bool
    ) -> tuple[ObjectRecord, bool]:
        """Mark a namespace; its controller empties it and takes the finalizer away."""
        name = record.obj.name
        if name in PROTECTED:
            raise forbidden(NAMESPACES, name, "this namespace may not be deleted")
        if record.obj.deletion_s:
            namespace = self.store.encode_dict(NAMESPACES, record)
            if not namespace["spec"].get("finalizers") and not record.obj.finalizers:
                return (record if dry_run else self.remove(kind, record.key) or record), True
            return record, False
        namespace = self.store.encode_dict(NAMESPACES, record)
        namespace["metadata"]["deletionTimestamp"] = rfc3339(self.clock.now())
        finalizers = deletion.finalizers_of(kind, namespace["metadata"], options)
        namespace["metadata"]["finalizers"] = finalizers
        if not finalizers:
            del namespace["metadata"]["finalizers"]
        namespace["metadata"].pop("resourceVersion", None)
        namespace["status"] = {**namespace.get("status", {}), "phase": "Terminating"}
        stored = stored_of(kind, namespace, managed=record.obj.managed)
        return (_unstored(stored, record.revision) if dry_run else self.store.put(NAMESPACES, stored)), False

    def remove(self, kind: Kind, key: str) -> ObjectRecord | None:
        """Remove an object at once, and what was allocated for it; returns its tombstone."""
        if kind.resource is SERVICES:
            record = self.store.get(SERVICES, key)
            if record is not None:
                self.allocator.release(self.store.encode_dict(SERVICES, record))
        return self.store.remove(kind.resource, key)

    # --- subresources ----------------------------------------------------------------------------------------

    def bind(self, namespace: str, name: str, binding: Any, *, dry_run: bool = False) -> ObjectRecord:
        """Assign a pod to a node (POST pods/NAME/binding).

        Args:
            namespace: Of the request.
            name: The pod's.
            binding: A Binding as JSON.
            dry_run: Do everything but store.

        Raises:
            StatusError: What the real server would answer.
        """
        node = node_of(name, binding)
        record = self.store.get(PODS, key_of(namespace, name))
        if record is None:
            raise not_found(PODS, name)
        stored = bound(record, node, self.clock.now())
        return _unstored(stored, record.revision) if dry_run else self.store.put(PODS, stored)


def _stamp_conditions(pod: Object, now: str) -> None:
    """Give the conditions of a pod to be created their time."""
    for condition in pod["status"].get("conditions", ()):
        condition["lastTransitionTime"] = now


def _keep_emptied(obj: Any, metadata: Object) -> None:
    """Keep an empty list of managedFields, which means something, though decoding drops empty lists."""
    given = obj.get("metadata")
    if isinstance(given, dict) and given.get("managedFields") == []:
        metadata["managedFields"] = []


def _unconverted(resource: Resource, patch: Object, why: str) -> StatusError:
    """Return the error of what somebody applies whose values do not fit, though its structure does."""
    metadata, kind = patch.get("metadata") or {}, f"{resource.group}/{resource.version}, Kind={resource.kind}"
    what = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}; {kind}"
    if why.startswith("illegal base64"):
        why = f"error decoding from json: {why}"
    text = f"failed to convert new object ({what}) to proper version: unable to convert unstructured object to {kind}: {why}"
    return StatusError(text, code=500, reason="")


def _unstored(obj: StoredObject, revision: int) -> ObjectRecord:
    """Return a record that is in no table: an answer."""
    return Record(obj.key, obj, revision, None)
