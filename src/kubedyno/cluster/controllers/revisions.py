"""The history of a DaemonSet's or StatefulSet's templates, as ControllerRevisions."""

from functools import lru_cache
from typing import Any

import orjson

from kubedyno.cluster.controllers.podstates import metadata_of
from kubedyno.cluster.registry.trusted import Trusted
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.gohash import pod_template_hash, revision_hash
from kubedyno.kube.resources import CONTROLLERREVISIONS


class Revisions:
    """Keeps revisions of workloads.

    Args:
        trusted: Where it writes.
        hash_label: The label that a revision carries its hash in.
        of_data: The hash is of what the revision keeps, as a StatefulSet's; else of the template, as a DaemonSet's.
    """

    def __init__(self, trusted: Trusted, hash_label: str, *, of_data: bool) -> None:
        self._trusted = trusted
        self._hash_label = hash_label
        self._of_data = of_data
        self._table = trusted.store.table(CONTROLLERREVISIONS)

    def of(self, uid: str) -> list[ObjectRecord]:
        """Return a workload's revisions, the oldest first."""
        return sorted(self._table.by_index("owner", uid), key=lambda record: _number(record.obj))

    def current(self, obj: StoredObject, template: dict[str, Any], reference: dict[str, Any]) -> ObjectRecord:
        """Return the revision of a workload's template, made or brought to the front if need be.

        Args:
            obj: The workload.
            template: Its template.
            reference: The owner reference of its revisions.

        Raises:
            StatusError: It cannot be made.
        """
        existing = self.of(obj.uid)
        number = _number(existing[-1].obj) + 1 if existing else 1
        data = {"spec": {"template": {**template, "$patch": "replace"}}}
        hashed = (
            _hash_of_data(orjson.dumps(data, option=orjson.OPT_SORT_KEYS))
            if self._of_data
            else pod_template_hash(template)
        )
        for record in existing:
            if record.obj.labels.get(self._hash_label) == hashed:
                if record is existing[-1]:
                    return record
                # A template of before came back: its revision is the newest again.
                body = orjson.dumps({"data": _data(record.obj), "revision": number})[1:-1]
                return self._trusted.replace(CONTROLLERREVISIONS, record, body=body)
        labels = {**template.get("metadata", {}).get("labels", {}), self._hash_label: hashed}
        metadata: dict[str, Any] = {
            "name": f"{obj.name}-{hashed}",
            "labels": dict(sorted(labels.items())),
            "ownerReferences": [reference],
        }
        annotations = annotations_of(obj)
        if annotations:
            metadata["annotations"] = annotations
        revision = {"metadata": metadata, "data": data, "revision": number}
        return self._trusted.create(CONTROLLERREVISIONS, obj.namespace, revision)

    def clean(self, uid: str, live: set[str], limit: int) -> None:
        """Delete the oldest revisions beyond a history of `limit` that no pod has; `live` are the names in use."""
        unused = [record for record in self.of(uid) if record.obj.name not in live]
        for record in unused[: max(len(unused) - limit, 0)]:
            self._trusted.delete(CONTROLLERREVISIONS, record.key, uid=record.obj.uid)

    def hash_of(self, record: ObjectRecord) -> str:
        """Return a revision's hash."""
        return str(record.obj.labels.get(self._hash_label, ""))


@lru_cache(maxsize=1024)
def _hash_of_data(data: bytes) -> str:
    # A set without collisions counts them all the same.
    return revision_hash(data, 0)


def _number(obj: StoredObject) -> int:
    return int(orjson.loads(b"{" + obj.body + b"}").get("revision", 0))


def _data(obj: StoredObject) -> Any:
    return orjson.loads(b"{" + obj.body + b"}").get("data")


def template_of(record: ObjectRecord) -> dict[str, Any]:
    """Return the pod template that a revision keeps."""
    template = dict(_data(record.obj)["spec"]["template"])
    template.pop("$patch", None)
    return template


def annotations_of(obj: StoredObject) -> dict[str, str]:
    """Return a workload's annotations."""
    return dict(metadata_of(obj).get("annotations", {}))
