"""Who owns the number of replicas: an object's managedFields as those of its Scale, and back.

A Scale is an object of its own to those who write it, with managers of its own. What they own is found in the entries of
the object before, and written back into them after; whoever updates is another manager there, because the versions differ.
"""

from typing import Any

from kubedyno.cluster.registry.fieldmanager import FieldManager
from kubedyno.cluster.registry.managedfields import APPLY, UPDATE, Entry, Managed, ManagerId, decode, encode, printed
from kubedyno.kube import fieldset
from kubedyno.kube.resources import Resource

Object = dict[str, Any]
SCALE = Resource("autoscaling", "v1", "scales", "Scale", namespaced=True)
FIELDS = FieldManager(SCALE, has_status=True, status_keeps=("labels",))
_REPLICAS = ("f:spec", "f:replicas")
_PART = "scale"


class ScaleOwners:
    """The owners of one object's replicas.

    Args:
        managed: The object's stored managedFields.
        path: Of the replicas in the object.
        api_version: The object's.
    """

    def __init__(self, managed: bytes, path: tuple[str, ...], api_version: str) -> None:
        self._managed = managed
        self._entries = decode(managed)
        self._steps = tuple(f"f:{name}" for name in path)
        self._version = api_version

    def applied(self, live: Object, patch: Object, manager: str, now: str, *, force: bool) -> tuple[Object, bytes]:
        """Return the Scale that an apply makes, and the managedFields of the object.

        Raises:
            StatusError: It is no Scale.
            Conflict: Others own the number, and it would change.
        """
        wanted, owners = FIELDS.applied(live, patch, self._owners(), manager, _PART, now, force=force)
        return wanted, self._written(decode(owners))

    def updated(self, old: Object, new: Object, manager: str, now: str) -> bytes:
        """Return the managedFields of an object after its Scale was written."""
        if not self._entries:
            return self._managed
        owners = FIELDS.updated(old, new, self._owners(), manager, _PART, now)
        return self._written(decode(owners))

    def _owners(self) -> bytes:
        """Return the managedFields of the Scale."""
        fields = fieldset.of_path(_REPLICAS)
        return encode({
            _as_scales(identity): Entry(SCALE.api_version, entry.time, fields)
            for identity, entry in self._entries.items()
            if fieldset.has(entry.fields, self._steps)
        })  # fmt: skip

    def _written(self, owners: Managed) -> bytes:
        """Return the object's managedFields for those of its Scale."""
        fields = fieldset.of_path(self._steps)
        found: list[tuple[ManagerId, Entry]] = []
        for identity, entry in self._entries.items():
            if identity in owners or not fieldset.has(entry.fields, self._steps):
                found.append((identity, entry))
            elif left := fieldset.difference(entry.fields, fields):
                found.append((identity, Entry(entry.api_version, entry.time, left)))
        for identity in owners:
            if identity not in self._entries:
                # The real server forgets the time here.
                version = "" if identity.operation == APPLY else self._version
                found.append((identity._replace(api_version=version), Entry(self._version, "", fields)))
        return printed(found)


def _as_scales(identity: ManagerId) -> ManagerId:
    return identity._replace(api_version=SCALE.api_version) if identity.operation == UPDATE else identity
