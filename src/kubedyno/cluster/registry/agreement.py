"""What a client's object must agree with: the URL that it was sent to, and the version that is stored."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.storage.store import ObjectRecord
from kubedyno.kube.resources import Resource, by_kind
from kubedyno.kube.status import BadRequest, Conflict, StatusError, conflict
from kubedyno.kube.strconv import parse_uint

# Where etcd keeps what lies under another name than its plural's.
_PLACES = {
    ("", "endpoints"): "services/endpoints",
    ("", "nodes"): "minions",
    ("", "replicationcontrollers"): "controllers",
    ("", "services"): "services/specs",
    ("networking.k8s.io", "ingresses"): "ingress",
    ("apiregistration.k8s.io", "apiservices"): "apiregistration.k8s.io/apiservices",
    ("apiextensions.k8s.io", "customresourcedefinitions"): "apiextensions.k8s.io/customresourcedefinitions",
}


def check_scope(resource: Resource, namespace: str, metadata: Object) -> None:
    """Raise BadRequest when an object names another namespace than its URL; where there is none, what it names goes."""
    if not resource.namespaced:
        metadata.pop("namespace", None)
        return
    given = metadata.get("namespace", "")
    if given and given != namespace:
        raise BadRequest("the namespace of the provided object does not match the namespace sent on the request")


def check_name(name: str, metadata: Object) -> None:
    """Raise BadRequest when an object has no name, or another one than its URL."""
    given = metadata.get("name", "")
    if not given:
        raise BadRequest(f"the name of the object ({name} based on URL) was undeterminable: name must be provided")
    if given != name:
        raise BadRequest(f"the name of the object ({given}) does not match the name on the URL ({name})")


def check_version(resource: Resource, record: ObjectRecord, metadata: Object) -> None:
    """Compare the resourceVersion that a client sent with the current one.

    Raises:
        StatusError: It is another one (Conflict), or none.
    """
    version = metadata.get("resourceVersion", "")
    if version not in {"", "0"}:
        try:
            revision = parse_uint(version)
        except ValueError as error:
            raise StatusError(str(error), code=500, reason="") from None
        if revision != record.revision:
            raise conflict(resource, record.obj.name)


def check_uid(resource: Resource, record: ObjectRecord, metadata: Object) -> None:
    """Compare the uid that a client sent in a whole object with the current one; raises Conflict."""
    uid = metadata.get("uid", "")
    if uid and uid != record.obj.uid:
        raise other_uid(resource, record.key, record.obj.name, uid, record.obj.uid)


def other_uid(resource: Resource, key: str, name: str, wanted: str, uid: str) -> Conflict:
    """Return the error of a whole object that names another uid than the one that is there."""
    place = _PLACES.get((resource.group, resource.plural))
    if place is None:
        known = by_kind(resource.api_version, resource.kind)
        place = resource.plural if known is not None else f"{resource.group}/{resource.plural}"
    why = (
        f"StorageError: invalid object, Code: 4, Key: /registry/{place}/{key}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, UID in object meta: {uid}"
    )
    return conflict(resource, name, why)
