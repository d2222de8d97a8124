"""The door for clients' writes: decode, default, admit, validate, store; and what kinds know for reads.

Each method is one atomic step: nothing awaits between reading an object and storing its next version.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import orjson

from kubedyno.base.clock import Clock
from kubedyno.base.random import Random
from kubedyno.base.times import rfc3339
from kubedyno.cluster.registry import deletion
from kubedyno.cluster.registry.accounts import admitting_account
from kubedyno.cluster.registry.admission import (
    PodClasses,
    admit_claim,
    admit_ingress,
    admit_pod,
    check_expansion,
    check_namespace,
)
from kubedyno.cluster.registry.allocation import Allocator
from kubedyno.cluster.registry.binding import bound
from kubedyno.cluster.registry.catalogue import kinds
from kubedyno.cluster.registry.codec import meta_dict, stored_of, with_parts
from kubedyno.cluster.registry.disabledfields import WITH_GATED_FIELDS, DisabledFields
from kubedyno.cluster.registry.gate import Gate
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.namespaces import PROTECTED
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.leanpod import Shapes
from kubedyno.cluster.registry.managedfields import same_but_for_times
from kubedyno.cluster.registry.metadata import deduplicate_owners, metadata_causes, metadata_update_causes
from kubedyno.cluster.registry.namespacerules import NamespaceRules
from kubedyno.cluster.registry.runtimeconfig import RuntimeConfig
from kubedyno.cluster.registry.structure import STRICT, DecodeError, invalid_patch
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import StoredObject, key_of
from kubedyno.cluster.storage.store import ObjectRecord, ResourceKey, Store, resource_key
from kubedyno.kube.resources import CLAIMS, INGRESSES, NAMESPACES, PODS, PRIORITYCLASSES, SERVICES, Resource, by_kind
from kubedyno.kube.selectors import FieldSelector
from kubedyno.kube.status import (
    BadRequest,
    StatusError,
    already_exists,
    conflict,
    forbidden,
    invalid,
    invalid_value,
    not_found,
)
from kubedyno.statedb.records import Record

__all__ = ["Kind", "Registry"]

# How often a generated name is tried again when it is taken.
_GENERATE_ATTEMPTS = 5
_MAX_GENERATED_PREFIX = 58


class Registry:
    """All served kinds over a store.

    Args:
        store: Gets a table a kind.
        clock: Stamps creations and deletions.
        random: Makes uids and generated names.
        settings: Gives the service subnet.

    Attributes:
        kinds: (group, version, plural) → kind.
        classes: What pods get by the name of a class.
        rules: What namespaces ask of what is created in them.
        own_gate: Says what an object of the cluster's own parts has to pass (resource, its metadata or ownerReferences as
            JSON).
    """

    def __init__(self, store: Store, clock: Clock, random: Random, settings: ClusterSettings) -> None:
        self.store = store
        self.clock = clock
        self.random = random
        self.settings = settings
        self.kinds: dict[ResourceKey, Kind] = {}
        self._by_id: dict[int, Kind] = {}
        for kind in kinds(RuntimeConfig(settings.runtime_config).more(), settings.minor):
            if kind.stored_as is not None:
                alike = type(kind).from_stored is Kind.from_stored
                store.add_view(kind.resource, kind.stored_as, None if alike else kind.from_stored)
            else:
                store.add(kind.resource, kind.indexes)
            self.kinds[resource_key(kind.resource)] = kind
            self._by_id[id(kind.resource)] = kind
        self.classes = PodClasses(store)
        self.rules = NamespaceRules(store, self.stored_resource)
        self.own_gate: Callable[[Resource, bytes], Gate | None] = lambda _, __: None
        self.shapes = Shapes()
        self._disabled = DisabledFields(settings)
        self.allocator = Allocator(store, clock, random, settings.service_subnets)

    def kind(self, resource: Resource) -> Kind:
        """Return a resource's kind.

        Raises:
            KeyError: It is not served.
        """
        kind = self._by_id.get(id(resource))
        return kind if kind is not None else self.kinds[resource_key(resource)]

    def serve(self, kind: Kind) -> None:
        """Serve one kind more; the store has its resource already."""
        self.kinds[resource_key(kind.resource)] = kind
        self.know(kind)

    def know(self, kind: Kind) -> None:
        """Take writes of a kind that clients cannot name: the form in which objects of others are stored."""
        self._by_id[id(kind.resource)] = kind

    def forget(self, kind: Kind) -> None:
        """Serve a kind no more."""
        if self.kinds.get(resource_key(kind.resource)) is kind:
            del self.kinds[resource_key(kind.resource)]
        self._by_id.pop(id(kind.resource), None)

    def stored_resource(self, group: str, plural: str) -> Resource | None:
        """Return what objects of a group and plural are stored as, in whatever version they are served; None: not served."""
        kind = self.kinds.get((group, "v1", plural))
        if kind is None:
            kind = next((k for (g, _, p), k in self.kinds.items() if g == group and p == plural), None)
        return None if kind is None else kind.stored_as or kind.resource

    def resource_of(self, api_version: str, kind: str) -> Resource | None:
        """Return what is served for e.g. ("apps/v1", "Deployment"), custom resources too; None when nothing is."""
        known = by_kind(api_version, kind)
        if known is not None:
            return known if resource_key(known) in self.kinds else None
        group, _, version = api_version.rpartition("/")
        return next(
            (
                r
                for (g, v, _), k in self.kinds.items()
                if g == group and v == version and (r := k.resource).kind == kind
            ),
            None,
        )

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
        if metadata.get("resourceVersion", "") not in {"", "0"}:
            raise StatusError("resourceVersion should not be set on objects to be created", code=500, reason="")
        self._check_scope(resource, namespace, metadata)
        if namespace and resource.namespaced:
            metadata["namespace"] = namespace
        kind.default(new)
        managed = b"" if manager is None else self._owned(kind, new, manager)
        if not metadata.get("name") and metadata.get("generateName"):
            return self._create_generated(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate)
        return self._create(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate)

    def _owned(self, kind: Kind, new: Object, manager: str) -> bytes:
        """Return the managedFields of an object to be created: in the version in which the client wrote it."""
        written = new if kind.stored_as is None else kind.from_stored(deepcopy(new))
        return kind.fields.created(written, manager, rfc3339(self.clock.now()))

    def _create_generated(
        self, kind: Kind, namespace: str, new: Object, managed: bytes, *, dry_run: bool, warnings: list[str] | None,
        gate: Gate | None,
    ) -> ObjectRecord:  # fmt: skip
        prefix = new["metadata"]["generateName"][:_MAX_GENERATED_PREFIX]
        for attempt in range(_GENERATE_ATTEMPTS):
            name = prefix + (gate.suffix if gate is not None and not attempt else self.random.suffix())
            taken = self.store.get(kind.resource, key_of(namespace, name)) is not None
            if not taken or attempt == _GENERATE_ATTEMPTS - 1:
                new["metadata"]["name"] = name
                break
        return self._create(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate)

    def _create(
        self, kind: Kind, namespace: str, new: Object, managed: bytes, *, dry_run: bool, warnings: list[str] | None,
        gate: Gate | None,
    ) -> ObjectRecord:  # fmt: skip
        resource, metadata, store = kind.resource, new["metadata"], self.store
        name = metadata.get("name", "")
        if resource.namespaced:
            check_namespace(store, resource, namespace, name)
        ruled = resource.namespaced and self.rules.apply_to(namespace)
        if resource is PODS:
            if ruled:
                self.rules.mutate(resource, namespace, new)
            account = admitting_account(store, namespace, new)
            suffix = "" if gate is None else gate.suffix
            admit_pod(new, self.random, self.classes, volume_suffix=suffix, account=account)
        elif resource is CLAIMS:
            admit_claim(store, new)
        elif resource is INGRESSES:
            admit_ingress(store, new)
        if gate is not None:
            new = gate.mutated(kind, "", new, None)
            metadata = new["metadata"]
        for member in (
            "selfLink",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "resourceVersion",
            "managedFields",
        ):
            metadata.pop(member, None)
        metadata["uid"] = self.random.uid() if gate is None else gate.uid
        now = metadata["creationTimestamp"] = rfc3339(self.clock.now() if gate is None else gate.now_s)
        if kind.has_generation:
            metadata["generation"] = 1
        if resource.plural in WITH_GATED_FIELDS:
            self._disabled.drop(new)
        if name or kind.resource is not NAMESPACES:
            kind.prepare_create(new)
        deduplicate_owners(metadata, warnings)
        causes = metadata_causes(kind, metadata)
        causes += kind.validate(new)
        if resource.plural in WITH_GATED_FIELDS:
            causes += self._disabled.causes(new)
        if causes:
            raise invalid(kind.stored_as or resource, name, causes)
        if warnings is not None:
            warnings += kind.warnings(new)
        core = kind.stored_as or resource
        if ruled:
            self.rules.check_bounds(core, namespace, new)
        notes = None if gate is None else gate.annotations
        if ruled or (notes is not None and resource is PODS):
            self.rules.check_security(core, namespace, new, warnings, notes=notes)
        if resource is PRIORITYCLASSES and new.get("globalDefault"):
            self.classes.check_default(name)
        if gate is not None:
            gate.check(kind, "", new, None)
        if ruled:
            self.rules.check_quota(core, namespace, new)
        key = key_of(namespace if resource.namespaced else "", name)
        if store.get(resource, key) is not None:
            raise already_exists(resource, name)
        if resource is SERVICES:
            self.allocator.allocate(new, None, metadata["uid"], dry_run=dry_run)
        if resource is PODS:
            _stamp_conditions(new, now)
        if kind.converts:
            new = kind.to_stored(new)
        stored = stored_of(kind, new, managed=managed)
        if resource is PODS:
            stored = self.shapes.lean(stored)
        return _unstored(stored, 0) if dry_run else store.put(resource, stored)

    def _check_scope(self, resource: Resource, namespace: str, metadata: Object) -> None:
        given = metadata.get("namespace", "")
        if resource.namespaced and given and given != namespace:
            raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")

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
        self._check_scope(resource, namespace, metadata)
        _keep_emptied(obj, metadata)
        given = metadata.setdefault("name", "")
        if not given:
            raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        if given != name:
            raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")
        old = self.store.get(resource, key_of(namespace, name))
        if old is None:
            if not kind.create_on_update or subresource:
                raise not_found(resource, name)
            kind.default(new)
            if resource.namespaced:
                metadata["namespace"] = namespace
            metadata.pop("resourceVersion", None)
            managed = b"" if manager is None else self._owned(kind, new, manager)
            return self._create(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate)
        if not kind.unconditional_update and metadata.get("resourceVersion", "") in {"", "0"}:
            cause = invalid_value("metadata.resourceVersion", 0, "must be specified for an update")
            raise invalid(resource, name, [cause])
        self._check_version(resource, old, metadata)
        self._check_uid(resource, old, metadata)
        return self._update(kind, old, new, subresource, manager=manager, dry_run=dry_run, warnings=warnings, gate=gate)

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
        wanted = change(self.store.encode_dict(resource, old))
        try:
            self._check_type(resource, wanted)
            new = kind.decode(wanted, field_validation, warnings)
        except DecodeError as error:
            more = error.why.removeprefix(STRICT)
            why = STRICT + ", ".join([*flaws, more]) if flaws and more != error.why else error.why
            raise invalid_patch(wanted, why) from None
        if flaws:
            raise invalid_patch(wanted, STRICT + ", ".join(flaws))
        metadata = new["metadata"]
        _keep_emptied(wanted, metadata)
        given = metadata.get("name", "")
        if not given:
            raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        if given != name:
            raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")
        self._check_scope(resource, namespace, metadata)
        self._check_version(resource, old, metadata)
        return self._update(kind, old, new, subresource, manager=manager, dry_run=dry_run, warnings=warnings, gate=gate)

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
            live, stored = self.store.encode_dict(resource, old), old.obj.managed
        elif subresource:
            raise not_found(resource, name)
        now = rfc3339(self.clock.now())
        wanted, managed = kind.fields.applied(live, patch, stored, manager, subresource, now, force=force)
        try:
            new = kind.decode(wanted, "Ignore", warnings)
        except DecodeError as error:
            raise invalid_patch(wanted, error.why) from None
        metadata = new["metadata"]
        given = metadata.get("name", "")
        if not given:
            raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
        if given != name:
            raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")
        self._check_scope(resource, namespace, metadata)
        if old is not None:
            self._check_version(resource, old, metadata)
            return (
                self._update(
                    kind, old, new, subresource, applied=managed, dry_run=dry_run, warnings=warnings, gate=gate
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
        return self._create(kind, namespace, new, managed, dry_run=dry_run, warnings=warnings, gate=gate), True

    def rescale(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        replicas: int,
        *,
        manager: str,
        applies: bool = False,
        force: bool = False,
        dry_run: bool = False,
    ) -> ObjectRecord:
        """Set how many replicas an object wants (its scale subresource).

        Args:
            resource: What it is.
            namespace: Of the request.
            name: Of the request.
            replicas: So many.
            manager: Who owns the number then.
            applies: By a server-side apply.
            force: Of the apply: take the number from others rather than raise a conflict.
            dry_run: As in `update`.

        Raises:
            StatusError: What the real server would answer.
        """
        kind = self.kind(resource)
        record = self.store.get(resource, key_of(namespace, name))
        if record is None:
            raise not_found(resource, name)
        current = self.store.encode_dict(resource, record)
        changed = kind.scale(current)[0] != replicas
        managed = kind.fields.scaled(
            record.obj.managed, manager, kind.scale_path(), applies=applies, changed=changed, force=force
        )
        new = kind.decode(kind.rescaled(current, replicas), "Ignore")
        return self._update(kind, record, new, "", applied=managed, dry_run=dry_run, warnings=None)

    def _update(
        self,
        kind: Kind,
        record: ObjectRecord,
        new: Object,
        subresource: str,
        *,
        manager: str | None = None,
        applied: bytes | None = None,
        dry_run: bool,
        warnings: list[str] | None,
        gate: Gate | None = None,
    ) -> ObjectRecord:
        """Store a decoded new version of an object, by the rules of its kind; `applied` is what an apply owns."""
        resource, store = kind.resource, self.store
        core = kind.stored_as or resource
        old = store.encode_dict(core, record, managed=False)
        name, metadata = record.obj.name, new["metadata"]
        kind.default(new)
        managed = record.obj.managed if applied is None else applied
        if manager is not None:
            now = rfc3339(self.clock.now())
            managed = self.kind(core).fields.updated(old, new, managed, manager, subresource, now)
        if gate is not None:
            new = gate.mutated(kind, subresource, new, record)
            metadata = new["metadata"]
        # What a client may leave out, or never changes.
        before = old["metadata"]
        for member in ("uid", "namespace", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"):
            if member in before:
                metadata.setdefault(member, before[member])
        for member in ("selfLink", "managedFields"):
            metadata.pop(member, None)
        if "generation" in before:
            metadata["generation"] = before["generation"]
        else:
            metadata.pop("generation", None)
        if subresource == "status":
            new = kind.prepare_status(new, old)
            metadata = new["metadata"]
        elif subresource == "finalize":
            new = {**old, "metadata": dict(before), "spec": new.get("spec", {})}
            metadata = new["metadata"]
        elif subresource:
            new = kind.prepare_part(subresource, new, old)
            metadata = new["metadata"]
        else:
            if resource.plural in WITH_GATED_FIELDS:
                self._disabled.drop(new, old)
            kind.prepare_update(new, old)
        if kind.stamped:
            kind.stamp(new, old, rfc3339(self.clock.now()))
        deduplicate_owners(metadata, warnings)
        causes = metadata_update_causes(metadata, before)
        whole = subresource not in {"status", "finalize"}
        if not subresource:
            causes += kind.validate_update(new, old)
            if resource.plural in WITH_GATED_FIELDS:
                causes += self._disabled.causes(new, old)
        elif whole:
            causes += kind.validate_part(subresource, new, old)
        else:
            causes += kind.validate_status(new, old)
        if causes:
            raise invalid(core, name, causes)
        if warnings is not None and not subresource:
            warnings += kind.warnings(new)
        if whole:
            self._admit_update(core, subresource, new, old, warnings, None if gate is None else gate.annotations)
        if gate is not None:
            gate.check(kind, subresource, new, record)
        # What may come to use more of a namespace's quota by a change.
        measured = subresource == "resize" or (not subresource and (resource is SERVICES or resource is CLAIMS))
        if measured and self.rules.apply_to(metadata["namespace"]):
            self.rules.check_quota(resource, metadata["namespace"], new, old)
        if resource is SERVICES and not subresource:
            self.allocator.allocate(new, old, record.obj.uid, dry_run=dry_run)
        if kind.has_generation and whole and kind.spec_of(new) != kind.spec_of(old):
            metadata["generation"] = before.get("generation", 0) + 1
        metadata.pop("resourceVersion", None)
        if kind.converts:
            new = kind.to_stored(new)
        stored = stored_of(kind, new, managed=managed)
        if dry_run:
            return _unstored(stored, record.revision)
        if stored.deletion_s and self._is_finished(kind, stored, new):
            # The last finalizer went: the answer is the new version at the old revision.
            self.remove(kind, stored.key)
            return _unstored(stored, record.revision)
        if _same(stored, record.obj) and same_but_for_times(managed, record.obj.managed):
            return record
        return store.put(resource, stored)

    def _admit_update(
        self, resource: Resource, subresource: str, new: Object, old: Object, warnings: list[str] | None,
        notes: dict[str, str] | None,
    ) -> None:  # fmt: skip
        """Do what admission does about a valid new version, before policies, webhooks and quotas."""
        metadata = new["metadata"]
        if resource is NAMESPACES:
            if warnings is not None and not subresource:
                labels = metadata.get("labels", {})
                warnings += self.rules.relabel_warnings(metadata["name"], labels, old["metadata"].get("labels", {}))
        elif resource.namespaced and self.rules.apply_to(metadata["namespace"]):
            if subresource == "resize" or (resource is CLAIMS and not subresource):
                self.rules.check_bounds(resource, metadata["namespace"], new)
            if resource is PODS or not subresource:
                self.rules.check_security(resource, metadata["namespace"], new, warnings, old, notes)
        if resource is CLAIMS and not subresource:
            check_expansion(self.store, new, old)
        elif resource is PRIORITYCLASSES and new.get("globalDefault"):
            self.classes.check_default(metadata["name"])

    def _check_version(self, resource: Resource, record: ObjectRecord, metadata: Object) -> None:
        """Compare the resourceVersion that a client sent with the current one."""
        version = metadata.get("resourceVersion", "")
        if version not in {"", "0"}:
            if not version.isdigit():
                raise StatusError(f'strconv.ParseUint: parsing "{version}": invalid syntax', code=500, reason="")
            if int(version) != record.revision:
                raise conflict(resource, record.obj.name)

    def _check_uid(self, resource: Resource, record: ObjectRecord, metadata: Object) -> None:
        """Compare the uid that a client sent in a whole object with the current one."""
        uid = metadata.get("uid", "")
        if uid and uid != record.obj.uid:
            why = (
                f"StorageError: invalid object, Code: 4, Key: /{resource.plural}/{record.key}, ResourceVersion: 0, "
                f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: "
                f"{record.obj.uid}"
            )
            raise conflict(resource, record.obj.name, why)

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
        record = self.store.get(resource, key_of(namespace, name))
        if record is None:
            raise not_found(resource, name)
        deletion.check_preconditions(kind, record, options)
        dry_run = bool(options.get("dryRun"))
        if gate is not None:
            gate.check(kind, "", None, record)
        if resource is NAMESPACES:
            return self._delete_namespace(kind, record, dry_run=dry_run)
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

    def _grace_of(self, kind: Kind, record: ObjectRecord) -> int:
        """Return how long the kubelet may take to stop a pod; 0 when no kubelet is concerned."""
        if not kind.graceful:
            return 0
        facts = record.obj.facts
        if not facts.node_name or facts.phase in ENDED:
            return 0
        return int(facts.spec.grace_s)

    def _delete_namespace(self, kind: Kind, record: ObjectRecord, *, dry_run: bool) -> tuple[ObjectRecord, bool]:
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
        target = binding.get("target") or {} if isinstance(binding, dict) else {}
        given = binding.get("metadata", {}).get("name", "") if isinstance(binding, dict) else ""
        if given and given != name:
            raise BadRequest("name in URL does not match name in Binding object")
        if target.get("kind", "") not in {"", "Node"}:
            text = f'target.kind: Unsupported value: "{target["kind"]}": supported values: "Node", "<empty>"'
            raise StatusError(text, code=500, reason="")
        if not target.get("name"):
            raise StatusError("target.name: Required value", code=500, reason="")
        record = self.store.get(PODS, key_of(namespace, name))
        if record is None:
            raise not_found(PODS, name)
        stored = bound(record, target["name"], self.clock.now())
        return _unstored(stored, record.revision) if dry_run else self.store.put(PODS, stored)

    # --- reads -----------------------------------------------------------------------------------------------

    def field(self, resource: Resource, record: ObjectRecord, name: str) -> str:
        """Return the text of an object's field for a field selector.

        Raises:
            BadRequest: The kind has no such field selector.
        """
        kind = self.kind(resource)
        kind.check_field(name)
        text = kind.field(record, name)
        return kind.field_of(self.store.encode_dict(resource, record), name) if text is None else text

    def check_fields(self, kind: Kind, selector: FieldSelector) -> None:
        """Check a field selector's labels.

        Raises:
            BadRequest: The kind has no such field selector.
        """
        for field, _, _ in selector.terms:
            kind.check_field(field)

    def metadata_of(self, record: ObjectRecord) -> Object:
        """Return an object's metadata, with resourceVersion, without managedFields."""
        metadata = meta_dict(record.obj)
        metadata["resourceVersion"] = str(record.revision)
        return metadata


def _stamp_conditions(pod: Object, now: str) -> None:
    """Give the conditions of a pod to be created their time."""
    for condition in pod["status"].get("conditions", ()):
        condition["lastTransitionTime"] = now


def _keep_emptied(obj: Any, metadata: Object) -> None:
    """Keep an empty list of managedFields, which means something, though decoding drops empty lists."""
    given = obj.get("metadata")
    if isinstance(given, dict) and given.get("managedFields") == []:
        metadata["managedFields"] = []


def _unstored(obj: StoredObject, revision: int) -> ObjectRecord:
    """Return a record that is in no table: an answer."""
    return Record(obj.key, obj, revision, None)


def _same(new: StoredObject, old: StoredObject) -> bool:
    """Say whether two versions are the same apart from the order of members."""
    return (
        _alike(b"{%b}" % new.meta, b"{%b}" % old.meta)
        and _alike(b"{%b}" % new.body, b"{%b}" % old.body)
        and _alike(new.status or b"null", old.status or b"null")
    )


def _alike(a: bytes, b: bytes) -> bool:
    return a == b or orjson.loads(a) == orjson.loads(b)
