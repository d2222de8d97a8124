"""What kubelets may do: read what pods on their own node refer to, and change their own node, pods and lease (mode Node).

A kubelet is a user in `system:nodes` named `system:node:NAME`. Beyond what is said here it may do what the role
`system:node` says, which nobody has to be bound to.
"""

from collections.abc import Callable, Iterator
from typing import Any

from kubedyno.cluster.apiserver.authorization import Attributes, Rule
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import PODS, VOLUMES, built_in
from kubedyno.kube.selectors import value_in

Object = dict[str, Any]
ROLE = "system:node"
_READS = frozenset({"get", "list", "watch"})
_CHANGES = frozenset({"get", "create", "update", "patch", "delete"})
_LEASE_NAMESPACE = "kube-node-lease"
_SECRETS, _MAPS, _CLAIM, _RESOURCE_CLAIM = "secrets", "configmaps", "persistentvolumeclaims", "resourceclaims"
_ATTACHMENTS = built_in("storage.k8s.io", "volumeattachments")
_NONE = "no relationship found between node '{}' and this object"


class NodeAuthorizer:
    """Answers for kubelets.

    Args:
        store: The pods and volumes.
        rules: Gives the rules of the role `system:node`.
    """

    def __init__(self, store: Store, rules: Callable[[], tuple[Rule, ...]]) -> None:
        self._store = store
        self._rules = rules

    def objection(self, node: str, asked: Attributes) -> str:
        """Return why a node may not do something; "" when it may, "-" when there is nothing to say of it."""
        if not asked.path:
            found = self._of_resource(node, asked)
            if found is not None:
                return found
        return "" if any(rule.allows(asked) for rule in self._rules()) else "-"

    def _of_resource(self, node: str, asked: Attributes) -> str | None:
        """Return the answer about resources that are ruled by what is on the node; None: the role decides."""
        what = (asked.group, asked.resource)
        if what in {("", _SECRETS), ("", _MAPS)}:
            return self._referenced(node, asked)
        if what == ("", _CLAIM):
            if asked.subresource == "status":
                return None
            return self._single(asked) or self._referenced(node, asked)
        if what == ("resource.k8s.io", _RESOURCE_CLAIM):
            return self._single(asked) or self._referenced(node, asked)
        if what == ("", "persistentvolumes"):
            return self._single(asked) or self._volume(node, asked)
        if what == ("storage.k8s.io", "volumeattachments"):
            return self._single(asked) or self._attachment(node, asked)
        if what == ("", "serviceaccounts"):
            return self._account(node, asked)
        if what == ("coordination.k8s.io", "leases"):
            return self._own(node, asked, "lease", _LEASE_NAMESPACE)
        if what == ("storage.k8s.io", "csinodes"):
            return self._own(node, asked, "CSINode", "")
        if what == ("", "nodes") and not asked.subresource and asked.verb in _READS:
            return self._node(node, asked)
        if what == ("", "pods") and not asked.subresource and asked.verb in _READS:
            return self._pods(node, asked)
        return None

    # --- kinds -------------------------------------------------------------------------------------------------

    def _single(self, asked: Attributes) -> str:
        if asked.verb != "get":
            return "can only get individual resources of this type"
        return "cannot get subresource" if asked.subresource else ""

    def _referenced(self, node: str, asked: Attributes) -> str:
        if asked.verb not in _READS:
            return "can only read resources of this type"
        if asked.subresource:
            return "cannot read subresource"
        if not asked.namespace:
            return "can only read namespaced object of this type"
        name = asked.name or value_in(asked.selector, "metadata.name")
        if not name:
            return "No Object name found"
        for pod in self._pods_on(node, asked.namespace):
            if (asked.resource, name) in references(pod):
                return ""
        return _NONE.format(node)

    def _volume(self, node: str, asked: Attributes) -> str:
        record = self._store.get(VOLUMES, asked.name)
        volume = self._store.encode_dict(VOLUMES, record) if record is not None else {}
        claim = volume.get("spec", {}).get("claimRef") or {}
        for pod in self._pods_on(node, claim["namespace"]) if claim else ():
            if (_CLAIM, claim["name"]) in references(pod):
                return ""
        return _NONE.format(node)

    def _attachment(self, node: str, asked: Attributes) -> str:
        record = self._store.get(_ATTACHMENTS, asked.name)
        if record is not None and self._store.encode_dict(_ATTACHMENTS, record)["spec"].get("nodeName") == node:
            return ""
        return _NONE.format(node)

    def _account(self, node: str, asked: Attributes) -> str:
        if asked.subresource != "token" or asked.verb != "create":
            return "can only create tokens for individual service accounts"
        if any(pod["spec"].get("serviceAccountName") == asked.name for pod in self._pods_on(node, asked.namespace)):
            return ""
        return _NONE.format(node)

    def _own(self, node: str, asked: Attributes, what: str, namespace: str) -> str:
        if asked.verb not in _CHANGES:
            return f"can only get, create, update, patch, or delete a {'node ' if what == 'lease' else ''}{what}"
        if asked.namespace != namespace:
            return f'can only access leases in the "{_LEASE_NAMESPACE}" system namespace'
        if asked.name != node and (asked.verb != "create" or asked.name):
            return (
                f"can only access {'node ' if what == 'lease' else ''}{what} with the same name as the requesting node"
            )
        return ""

    def _node(self, node: str, asked: Attributes) -> str:
        name = asked.name or value_in(asked.selector, "metadata.name")
        if name == node:
            return ""
        if asked.verb == "get":
            return f"node '{node}' cannot read '{asked.name}', only its own Node object"
        return f"node '{node}' cannot read all nodes, only its own Node object"

    def _pods(self, node: str, asked: Attributes) -> str:
        if asked.verb == "get":
            record = self._store.get(PODS, f"{asked.namespace}/{asked.name}")
            return "" if record is not None and record.obj.facts.node_name == node else _NONE.format(node)
        if value_in(asked.selector, "spec.nodeName") == node:
            return ""
        return "can only list/watch pods with spec.nodeName field selector"

    def _pods_on(self, node: str, namespace: str) -> Iterator[Object]:
        for record in self._store.list(PODS, namespace):
            if record.obj.facts.node_name == node:
                yield self._store.encode_dict(PODS, record)


def references(pod: Object) -> set[tuple[str, str]]:
    """Return what a pod refers to: (resource, name) of secrets, config maps and claims of its namespace."""
    found: set[tuple[str, str]] = set()
    spec = pod["spec"]
    _walk(spec, found)
    found.update((_SECRETS, each.get("name", "")) for each in spec.get("imagePullSecrets", ()))
    name = pod["metadata"]["name"]
    for volume in spec.get("volumes", ()):
        if "ephemeral" in volume:
            found.add((_CLAIM, f"{name}-{volume['name']}"))
    for each in pod.get("status", {}).get("resourceClaimStatuses", ()):
        found.add((_RESOURCE_CLAIM, each.get("resourceClaimName", "")))
    for each in spec.get("resourceClaims", ()):
        found.add((_RESOURCE_CLAIM, each.get("resourceClaimName", "")))
    return found


_NAMED = {
    "secretRef": _SECRETS, "secretKeyRef": _SECRETS, "nodePublishSecretRef": _SECRETS, "configMapRef": _MAPS,
    "configMapKeyRef": _MAPS,
}  # fmt: skip


def _walk(value: Any, found: set[tuple[str, str]]) -> None:
    if isinstance(value, list):
        for item in value:
            _walk(item, found)
    if not isinstance(value, dict):
        return
    for key, member in value.items():
        if isinstance(member, dict):
            if key in _NAMED:
                found.add((_NAMED[key], str(member.get("name", ""))))
            elif key == "secret":
                # A volume names it otherwise than a projection does.
                found.add((_SECRETS, str(member.get("secretName") or member.get("name", ""))))
            elif key == "configMap":
                found.add((_MAPS, str(member.get("name", ""))))
            elif key == "persistentVolumeClaim":
                found.add((_CLAIM, str(member.get("claimName", ""))))
        _walk(member, found)
