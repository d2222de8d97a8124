"""What a namespace asks of what is created in it: LimitRanges, ResourceQuotas and Pod Security labels.

Most namespaces ask nothing, and that costs two look-ups: the set of those with a LimitRange or quota is made anew only
after one of those changed.
"""

from kubedyno.cluster.registry import limitranger, podsecurity
from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.quota import Find, Quotas
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import CLAIMS, LIMITRANGES, NAMESPACES, PODS, RESOURCEQUOTAS, Resource
from kubedyno.kube.status import forbidden

# So many pods are looked at when a namespace gets a stricter Pod Security level.
_MAX_RELABELLED = 3000


class NamespaceRules:
    """The rules of all namespaces.

    Args:
        store: Whose objects.
        find: Returns what is served, and stored, by its group and plural.

    Attributes:
        quotas: What namespaces use.
    """

    def __init__(self, store: Store, find: Find) -> None:
        self.quotas = Quotas(store, find)
        self._store = store
        self._namespaces = store.table(NAMESPACES)
        self._strict: frozenset[str] = frozenset()
        self._stale = True
        for resource in (LIMITRANGES, RESOURCEQUOTAS):
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
        return namespace in self._strict or (len(labels) > 1 and any(name in labels for name in podsecurity.MODES))

    def _refresh(self) -> None:
        self._stale = False
        records = (*self._store.list(LIMITRANGES), *self._store.list(RESOURCEQUOTAS))
        self._strict = frozenset(record.obj.namespace for record in records)

    def _objects(self, resource: Resource, namespace: str) -> list[Object]:
        return [self._store.encode_dict(resource, record) for record in self._store.list(resource, namespace)]

    def mutate(self, resource: Resource, namespace: str, obj: Object) -> None:
        """Give a pod what the namespace's LimitRanges say, in place; before it is validated."""
        if resource is PODS:
            ranges = self._objects(LIMITRANGES, namespace)
            if ranges:
                limitranger.apply_defaults(obj, ranges)

    def check(self, resource: Resource, namespace: str, obj: Object, warnings: list[str] | None) -> None:
        """Check a valid object that is to be created, by all rules.

        Args:
            resource: What it is.
            namespace: Where.
            obj: Complete.
            warnings: Receives what the namespace only warns of.

        Raises:
            Forbidden: The namespace does not allow it.
        """
        self.check_bounds(resource, namespace, obj)
        self.check_security(resource, namespace, obj, warnings)
        self.check_quota(resource, namespace, obj)

    def check_bounds(self, resource: Resource, namespace: str, obj: Object) -> None:
        """Check a new object, or a new version of one, by LimitRanges.

        Raises:
            Forbidden: It asks for more, or less, than they let it.
        """
        if resource not in {PODS, CLAIMS}:
            return
        ranges = self._objects(LIMITRANGES, namespace)
        find = limitranger.pod_problems if resource is PODS else limitranger.claim_problems
        problem = find(obj, ranges) if ranges else ""
        if problem:
            raise forbidden(resource, obj["metadata"].get("name", ""), problem)

    def check_quota(self, resource: Resource, namespace: str, obj: Object, old: Object | None = None) -> None:
        """Check a new object, or one that may come to use more: a resized pod, a Service, a larger claim.

        Args:
            resource: What it is.
            namespace: Where.
            obj: The new version, valid.
            old: The one until now; None for a new object.

        Raises:
            Forbidden: The namespace has not that much left.
        """
        quotas = self._objects(RESOURCEQUOTAS, namespace)
        if not quotas:
            return
        # What one step creates together counts one by one.
        self._store.tell()
        problem = self.quotas.problem(resource, namespace, obj, quotas, old)
        if problem:
            raise forbidden(resource, obj["metadata"].get("name", ""), problem)

    def are_noted(self, resource: Resource) -> bool:
        """Say whether Pod Security has something to say of a resource in an audit log."""
        return resource is PODS or (resource.plural in _TEMPLATES and resource.group in _TEMPLATE_GROUPS)

    def check_security(
        self, resource: Resource, namespace: str, obj: Object, warnings: list[str] | None, old: Object | None = None,
        notes: dict[str, str] | None = None,
    ) -> None:  # fmt: skip
        """Check a pod, or warn of a workload's, by the namespace's Pod Security labels.

        Args:
            resource: What it is.
            namespace: Where.
            obj: Complete.
            warnings: Receives what the namespace only warns of.
            old: The version until now; None for a new object. A pod is looked at again when its images change.
            notes: Receives what an audit log is to say.

        Raises:
            Forbidden: A pod does what the enforced level forbids.
        """
        record = self._store.get(NAMESPACES, namespace)
        pod = _pod_of(resource, obj)
        if record is None or pod is None:
            return
        policy = podsecurity.policy_of(record.obj.labels)
        if (
            len(record.obj.labels) > 1
            and resource is PODS
            and old is not None
            and not podsecurity.is_significant(obj, old)
        ):
            return
        if notes is not None:
            found = podsecurity.violations(pod, policy.audit)
            if resource is PODS:
                notes[podsecurity.ENFORCED_POLICY] = str(policy.enforce)
            if found:
                text = f'would violate PodSecurity "{policy.audit}": {podsecurity.text_of(found)}'
                notes[podsecurity.AUDIT_VIOLATIONS] = text
        if resource is PODS:
            found = podsecurity.violations(pod, policy.enforce)
            if found:
                why = f'violates PodSecurity "{policy.enforce}": {podsecurity.text_of(found)}'
                raise forbidden(resource, obj["metadata"].get("name", ""), why)
        if warnings is not None:
            found = podsecurity.violations(pod, policy.warn)
            if found:
                warnings.append(f'would violate PodSecurity "{policy.warn}": {podsecurity.text_of(found)}')

    def relabel_warnings(self, namespace: str, labels: dict[str, str], old: dict[str, str]) -> list[str]:
        """Return what new Pod Security labels of a namespace mean for the pods in it."""
        standard, before = podsecurity.policy_of(labels).enforce, podsecurity.policy_of(old).enforce
        relaxed = standard.version == before.version and not standard.is_stricter(before)
        if relaxed or standard == before or standard.level == podsecurity.LEVELS[0]:
            return []
        records = list(self._store.list(PODS, namespace))
        by_text: dict[str, list[str]] = {}
        for record in records[:_MAX_RELABELLED]:
            found = podsecurity.violations(self._store.dict_of(PODS, record.obj), standard)
            if found:
                by_text.setdefault(", ".join(violation.reason for violation in found), []).append(record.obj.name)
        head = []
        if len(records) > _MAX_RELABELLED:
            head.append(
                f"new PodSecurity enforce level only checked against the first {_MAX_RELABELLED} of {len(records)} "
                "existing pods"
            )
        if by_text:
            head.append(
                f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
            )
        lines = []
        for text, names in by_text.items():
            more = len(names) - 1
            others = f" (and {more} other pod{'s' if more > 1 else ''})" if more else ""
            lines.append(f"{min(names)}{others}: {text}")
        return [*head, *sorted(lines)]


def _pod_of(resource: Resource, obj: Object) -> Object | None:
    """Return the pod that an object is, or the template that it makes pods from; None when it does neither."""
    if resource is PODS:
        return obj
    path = _TEMPLATES.get(resource.plural) if resource.group in _TEMPLATE_GROUPS else None
    if path is None:
        return None
    found = obj
    for name in path:
        found = found.get(name) or {}
    return found if "spec" in found else None


_TEMPLATE_GROUPS = frozenset({"", "apps", "batch"})
_TEMPLATES = {
    "podtemplates": ("template",),
    "cronjobs": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(
        ("daemonsets", "deployments", "jobs", "replicasets", "replicationcontrollers", "statefulsets"),
        ("spec", "template"),
    ),
}
