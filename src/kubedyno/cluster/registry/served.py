"""Which kinds are served, under which names, and what they know for reads."""

from kubedyno.cluster.registry.catalogue import kinds
from kubedyno.cluster.registry.codec import meta_dict
from kubedyno.cluster.registry.fieldmanager import FieldManager
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.runtimeconfig import RuntimeConfig
from kubedyno.cluster.registry.structure import DecodeError
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.store import ObjectRecord, ResourceKey, Store, resource_key
from kubedyno.kube.resources import Resource, by_kind
from kubedyno.kube.selectors import FieldSelector


def _acquaint(kind: Kind, stored: Kind) -> None:
    """Let the managers of two versions look at objects as the other one does."""

    def as_stored(version: str, obj: Object) -> tuple[FieldManager, Object] | None:
        if version != stored.resource.api_version:
            return None
        converted = _decoded(kind, obj)
        if converted is None:
            return None
        kind.default(converted)
        return stored.fields, converted

    def as_served(version: str, obj: Object) -> tuple[FieldManager, Object] | None:
        if version != kind.resource.api_version:
            return None
        converted = _decoded(stored, obj)
        return None if converted is None else (kind.fields, kind.from_stored(converted))

    kind.fields.others, stored.fields.others = as_stored, as_served


def _decoded(kind: Kind, obj: Object) -> Object | None:
    """Return an object that may be what somebody applies as its type has it, None where it does not fit."""
    try:
        return kind.decode({name: value for name, value in obj.items() if name not in {"kind", "apiVersion"}}, "Ignore")
    except DecodeError:
        return None


class ServedKinds:
    """The kinds of a cluster; custom resources come and go.

    Args:
        store: Gets a table a kind.
        settings: Which of the built-in ones are served.

    Attributes:
        kinds: (group, version, plural) → kind.
    """

    def __init__(self, store: Store, settings: ClusterSettings) -> None:
        self.store = store
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
        for kind in self.kinds.values():
            stored = kind.stored_as
            # Another group's names mean nothing to this one's managers.
            if (
                stored is not None
                and stored.group == kind.resource.group
                and type(kind).from_stored is not Kind.from_stored
            ):
                _acquaint(kind, self.kind(stored))

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
