"""What a namespace asks of what is created in it: LimitRanges, ResourceQuotas and Pod Security labels.

Most namespaces ask nothing, and that costs two look-ups: the set of those with a LimitRange or quota is made anew only
after one of those changed.
"""

from kubedyno.cluster.registry import limitranger, podsecurity
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.quota import Quotas
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import NAMESPACES, PODS, Resource, by_plural
from kubedyno.kube.status import forbidden


def _resource(plural: str) -> Resource:
    resource = by_plural("", "v1", plural)
    assert resource is not None
    return resource


LIMIT_RANGES = _resource("limitranges")
RESOURCE_QUOTAS = _resource("resourcequotas")
CLAIMS = _resource("persistentvolumeclaims")


class NamespaceRules:
    """The rules of all namespaces.

    Args:
        store: Whose objects.

    Attributes:
        quotas: What namespaces use.
    """

    def __init__(self, store: Store) -> None:
        self.quotas = Quotas(store)
        self._store = store
        self._namespaces = store.table(NAMESPACES)
        self._strict: frozenset[str] = frozenset()
        self._stale = True
        for resource in (LIMIT_RANGES, RESOURCE_QUOTAS):
            store.table(resource).subscribe(self._changed)

    def _changed(self) -> None:
        self._stale = True

    def apply_to(self, namespace: str) -> bool:
        """Say whether a namespace asks anything."""
        record = self._namespaces.get(namespace)
        return self.apply_to_labelled(namespace, record.obj.labels if record is not None else {})

    def apply_to_labelled(self, namespace: str, labels: dict[str, str]) -> bool:
        """Say whether a namespace asks anything, given its labels."""
        if self._stale:
            self._refresh()
        # Each namespace has one label of its own.
        return namespace in self._strict or (
            len(labels) > 1 and (podsecurity.ENFORCE in labels or podsecurity.WARN in labels)
        )

    def _refresh(self) -> None:
        self._stale = False
        records = (*self._store.list(LIMIT_RANGES), *self._store.list(RESOURCE_QUOTAS))
        self._strict = frozenset(record.obj.namespace for record in records)

    def _objects(self, resource: Resource, namespace: str) -> list[Object]:
        return [self._store.encode_dict(resource, record) for record in self._store.list(resource, namespace)]

    def mutate(self, resource: Resource, namespace: str, obj: Object) -> None:
        """Give a pod what the namespace's LimitRanges say, in place; before it is validated."""
        if resource is PODS:
            ranges = self._objects(LIMIT_RANGES, namespace)
            if ranges:
                limitranger.apply_defaults(obj, ranges)

    def check(self, resource: Resource, namespace: str, obj: Object, warnings: list[str] | None) -> None:
        """Check a valid object that is to be created.

        Args:
            resource: What it is.
            namespace: Where.
            obj: Complete.
            warnings: Receives what the namespace only warns of.

        Raises:
            Forbidden: The namespace does not allow it.
        """
        name = obj["metadata"].get("name", "")
        ranges = self._objects(LIMIT_RANGES, namespace) if resource in {PODS, CLAIMS} else []
        if ranges:
            find = limitranger.pod_problems if resource is PODS else limitranger.claim_problems
            problem = find(obj, ranges)
            if problem:
                raise forbidden(resource, name, problem)
        self.check_security(resource, namespace, obj, warnings)
        quotas = self._objects(RESOURCE_QUOTAS, namespace)
        if quotas:
            # What one step creates together counts one by one.
            self._store.tell()
            problem = self.quotas.problem(resource, namespace, obj, quotas)
            if problem:
                raise forbidden(resource, name, problem)

    def check_change(self, resource: Resource, namespace: str, obj: Object, old: Object) -> None:
        """Check a new version that may use more than the one until now: a resized pod, a Service, a larger claim.

        Args:
            resource: What it is.
            namespace: Where.
            obj: The new version, valid.
            old: The one until now.

        Raises:
            Forbidden: The namespace does not allow it.
        """
        name = obj["metadata"].get("name", "")
        ranges = self._objects(LIMIT_RANGES, namespace) if resource in {PODS, CLAIMS} else []
        find = limitranger.pod_problems if resource is PODS else limitranger.claim_problems
        problem = find(obj, ranges) if ranges else ""
        if not problem:
            quotas = self._objects(RESOURCE_QUOTAS, namespace)
            problem = self.quotas.problem(resource, namespace, obj, quotas, old) if quotas else ""
        if problem:
            raise forbidden(resource, name, problem)

    def check_security(self, resource: Resource, namespace: str, obj: Object, warnings: list[str] | None) -> None:
        """Check a pod, or warn of a workload's, by the namespace's Pod Security labels.

        Raises:
            Forbidden: A pod does what the enforced level forbids.
        """
        record = self._store.get(NAMESPACES, namespace)
        spec = _pod_spec(resource, obj)
        if record is None or spec is None:
            return
        labels = record.obj.labels
        if resource is PODS:
            level, version = podsecurity.level_of(labels, podsecurity.ENFORCE)
            found = podsecurity.violations(spec, level)
            if found:
                why = f'violates PodSecurity "{level}:{version}": {podsecurity.text_of(found)}'
                raise forbidden(resource, obj["metadata"].get("name", ""), why)
        level, version = podsecurity.level_of(labels, podsecurity.WARN)
        if warnings is not None:
            found = podsecurity.violations(spec, level)
            if found:
                warnings.append(f'would violate PodSecurity "{level}:{version}": {podsecurity.text_of(found)}')

    def relabel_warnings(self, namespace: str, labels: dict[str, str], old: dict[str, str]) -> list[str]:
        """Return what new Pod Security labels of a namespace mean for the pods in it."""
        level, version = podsecurity.level_of(labels, podsecurity.ENFORCE)
        if podsecurity.level_of(old, podsecurity.ENFORCE) == (level, version):
            return []
        by_text: dict[str, list[str]] = {}
        for record in self._store.list(PODS, namespace):
            found = podsecurity.violations(self._store.dict_of(PODS, record.obj)["spec"], level)
            if found:
                by_text.setdefault(", ".join(violation.reason for violation in found), []).append(record.obj.name)
        if not by_text:
            return []
        head = f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{level}:{version}"'
        lines = []
        for text, names in by_text.items():
            more = len(names) - 1
            others = f" (and {more} other pod{'s' if more > 1 else ''})" if more else ""
            lines.append(f"{names[0]}{others}: {text}")
        return [head, *sorted(lines)]


def _pod_spec(resource: Resource, obj: Object) -> Object | None:
    """Return the pod spec that an object is or makes pods from, None when it does not."""
    if resource is PODS:
        spec: Object = obj["spec"]
        return spec
    found = obj
    path = _TEMPLATES.get(resource.plural) if resource.group in {"", "apps", "batch"} else None
    for name in path or ():
        found = found.get(name) or {}
    return found or None if path else None


_TEMPLATES = {
    "podtemplates": ("template", "spec"),
    "cronjobs": ("spec", "jobTemplate", "spec", "template", "spec"),
    **dict.fromkeys(
        ("daemonsets", "deployments", "jobs", "replicasets", "replicationcontrollers", "statefulsets"),
        ("spec", "template", "spec"),
    ),
}
