"""What a list or a watch is about: a kind, a namespace, selectors; and how to find it cheaply."""

from collections.abc import Sequence
from typing import Any

from kubedyno.cluster.registry.kind import Kind
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.selectors import FieldSelector, LabelSelector
from kubedyno.statedb.records import Record

AnyRecord = Record[Any]

# Field selectors that an index of the table answers: (plural, field) → index.
_INDEXED = {("pods", "spec.nodeName"): "node", ("events", "involvedObject.uid"): "involved"}


class Selection:
    """Objects of one kind that a request is about.

    Args:
        registry: Reads fields for selectors.
        kind: Whose objects.
        namespace: "" for all.
        labels: Label selector.
        fields: Field selector.
        name: Only the object of that name; "" for all.

    Raises:
        BadRequest: The kind has no such field selector.
    """

    __slots__ = ("_fields", "_labels", "_registry", "key", "kind", "namespace", "selective", "table_key")

    def __init__(
        self, registry: Registry, kind: Kind, namespace: str, labels: LabelSelector, fields: FieldSelector
    ) -> None:
        registry.check_fields(kind, fields)
        self._registry = registry
        self.kind = kind
        self.namespace = namespace
        self._labels = None if labels.empty else labels
        self._fields = fields if fields.terms else None
        self.selective = not labels.empty or bool(fields.terms)
        self.key = (namespace, str(labels), str(fields))
        # A watch or list of one name is a look-up.
        named = [value for field, operator, value in fields.terms if field == "metadata.name" and operator == "="]
        self.table_key = ""
        within = namespace or (fields.value_of("metadata.namespace") if named else "")
        if named and (within or not kind.resource.namespaced):
            self.table_key = f"{within}/{named[0]}" if kind.resource.namespaced else named[0]

    def in_namespace(self, record: AnyRecord) -> bool:
        """Say whether a record lies in the namespace, whatever else is selected."""
        return not self.namespace or record.obj.namespace == self.namespace

    def matches(self, record: AnyRecord) -> bool:
        """Say whether the selectors take a record; the namespace is not looked at."""
        if self._labels is not None and not self._labels.matches(record.obj.labels):
            return False
        if self._fields is None:
            return True
        return self._fields.matches(lambda field: self._registry.field(self.kind.resource, record, field))

    @property
    def index(self) -> str:
        """The index that `candidates` are found by, "f:FIELD" as in the real server; "" for none."""
        if self.table_key or self._fields is None:
            return ""
        plural = self.kind.resource.plural
        found = (
            f for f, operator, value in self._fields.terms if (plural, f) in _INDEXED and operator == "=" and value
        )
        return next((f"f:{field}" for field in found), "")

    def candidates(self, store: Store) -> Sequence[AnyRecord]:
        """Return records at head, in key order, that are the selected ones or among which these are."""
        resource = self.kind.resource
        if self.table_key:
            record = store.get(resource, self.table_key)
            return [record] if record is not None else []
        found = self._indexed(store)
        return store.span(resource, self.namespace) if found is None else found

    def _indexed(self, store: Store) -> Sequence[AnyRecord] | None:
        """Return a superset of the selected records by an index; None when no index helps."""
        if self._fields is None:
            return None
        resource = self.kind.resource
        for field, operator, value in self._fields.terms:
            index = _INDEXED.get((resource.plural, field))
            if index is not None and operator == "=" and value:
                found = sorted(store.by_index(resource, index, value), key=lambda record: record.key)
                return [record for record in found if self.in_namespace(record)]
        return None
