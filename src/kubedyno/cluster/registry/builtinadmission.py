"""The admission plugins that every API server has: what they change in an object, and what they check once it is valid.

Quotas are no part of it: they come last, after policies and webhooks.
"""

from kubedyno.base.random import Random
from kubedyno.cluster.registry.accounts import admitting_account
from kubedyno.cluster.registry.admission import (
    PodClasses,
    admit_claim,
    admit_ingress,
    admit_pod,
    admit_pod_change,
    check_expansion,
    check_namespace,
)
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.certificates import check_subject
from kubedyno.cluster.registry.namespacerules import NamespaceRules
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import (
    CERTIFICATESIGNINGREQUESTS,
    CLAIMS,
    INGRESSES,
    NAMESPACES,
    PODS,
    PRIORITYCLASSES,
    Resource,
)


class BuiltInAdmission:
    """The plugins over one store.

    Args:
        store: Has what they look at.
        random: Makes the names of volumes.
        classes: What pods get by the name of a class.
        rules: What namespaces ask.
    """

    def __init__(self, store: Store, random: Random, classes: PodClasses, rules: NamespaceRules) -> None:
        self._store = store
        self._random = random
        self._classes = classes
        self._rules = rules

    def mutate(self, resource: Resource, namespace: str, new: Object, suffix: str) -> bool:
        """Change an object that is to be created.

        Args:
            resource: What it is.
            namespace: Where.
            new: The object, with its defaults.
            suffix: Of the volume's name that a pod gets for its token; "" for a random one.

        Returns:
            Whether its namespace has rules for it.

        Raises:
            StatusError: Its namespace, account or classes do not take it.
        """
        if resource.namespaced:
            check_namespace(self._store, resource, namespace, new["metadata"].get("name", ""))
        ruled = resource.namespaced and self._rules.apply_to(namespace)
        if resource is PODS:
            if ruled:
                self._rules.mutate(resource, namespace, new)
            account = admitting_account(self._store, namespace, new)
            admit_pod(new, self._random, self._classes, volume_suffix=suffix, account=account)
        elif resource is CLAIMS:
            admit_claim(self._store, new)
        elif resource is INGRESSES:
            admit_ingress(self._store, new)
        return ruled

    def mutate_changed(self, resource: Resource, subresource: str, new: Object, old: Object) -> None:
        """Change a new version of an object."""
        if resource is PODS and not subresource:
            admit_pod_change(new, old)

    def check_created(
        self, resource: Resource, namespace: str, new: Object, warnings: list[str] | None,
        notes: dict[str, str] | None, *, ruled: bool,
    ) -> None:  # fmt: skip
        """Check a valid new object; `ruled` is what `mutate` said. Raises StatusError."""
        if ruled:
            self._rules.check_bounds(resource, namespace, new)
        if ruled or (notes is not None and resource is PODS):
            self._rules.check_security(resource, namespace, new, warnings, notes=notes)
        if resource is CERTIFICATESIGNINGREQUESTS:
            check_subject(new)
        if resource is PRIORITYCLASSES and new.get("globalDefault"):
            self._classes.check_default(new["metadata"].get("name", ""))

    def check_updated(
        self, resource: Resource, subresource: str, new: Object, old: Object, warnings: list[str] | None,
        notes: dict[str, str] | None,
    ) -> None:  # fmt: skip
        """Check a valid new version; raises StatusError."""
        metadata = new["metadata"]
        if resource is NAMESPACES:
            if warnings is not None and not subresource:
                labels = metadata.get("labels", {})
                warnings += self._rules.relabel_warnings(metadata["name"], labels, old["metadata"].get("labels", {}))
        elif resource.namespaced and self._rules.apply_to(metadata["namespace"]):
            if subresource == "resize" or (resource is CLAIMS and not subresource):
                self._rules.check_bounds(resource, metadata["namespace"], new)
            if resource is PODS or not subresource:
                self._rules.check_security(resource, metadata["namespace"], new, warnings, old, notes)
        if resource is CLAIMS and not subresource:
            check_expansion(self._store, new, old)
        elif resource is PRIORITYCLASSES and new.get("globalDefault"):
            self._classes.check_default(metadata["name"])
