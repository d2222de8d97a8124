"""ResourceQuota: what a namespace's objects use together, and whether one more may come.

Use is a running sum: each table with a quota on it is followed by a cursor, and only what changed is measured anew.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.podfacts import ENDED
from kubedyno.cluster.registry.kinds.podqos import qos_class
from kubedyno.cluster.registry.kinds.volumes import class_of
from kubedyno.cluster.registry.limitranger import Amounts, pod_amounts
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.resources import PODS, SERVICES, Resource, by_plural
from kubedyno.statedb.changes import Changes
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Tombstone

_ONE = Quantity.parse("1")
_ZERO = Quantity.parse("0")
_COMPUTE = ("cpu", "memory")
_COUNTED = frozenset({
    "configmaps", "persistentvolumeclaims", "replicationcontrollers", "resourcequotas", "secrets", "services",
})  # fmt: skip
_CLASS_SUFFIX = ".storageclass.storage.k8s.io/"
# What a quota on a pod's compute resources obliges every container to say.
_REQUIRED = ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "cpu", "memory")


def measure(resource: Resource, obj: Object) -> Amounts:
    """Return what an object uses of the resources that quotas know."""
    used: Amounts = {f"count/{resource.group_resource}": _ONE}
    if resource is PODS:
        if obj.get("status", {}).get("phase") in ENDED:
            # What has ended uses nothing; it still counts as an object.
            return used
        used["pods"] = _ONE
        spec = obj["spec"]
        for name, amount in pod_amounts(spec, "requests").items():
            used[f"requests.{name}"] = amount
            if name in {*_COMPUTE, "ephemeral-storage"} or name.startswith("hugepages-"):
                used[name] = amount
        for name, amount in pod_amounts(spec, "limits").items():
            used[f"limits.{name}"] = amount
        return used
    if not resource.group and resource.plural in _COUNTED:
        used[resource.plural] = _ONE
    if resource is SERVICES:
        spec = obj.get("spec", {})
        ports = Quantity.parse(str(len(spec.get("ports", ()))))
        if spec.get("type") == "LoadBalancer":
            used["services.loadbalancers"] = _ONE
            if spec.get("allocateLoadBalancerNodePorts", True):
                used["services.nodeports"] = ports
        elif spec.get("type") == "NodePort":
            used["services.nodeports"] = ports
    elif resource.plural == "persistentvolumeclaims" and not resource.group:
        storage = obj.get("spec", {}).get("resources", {}).get("requests", {}).get("storage")
        prefix = class_of(obj) + _CLASS_SUFFIX
        used[prefix + "persistentvolumeclaims"] = _ONE
        if storage is not None:
            used["requests.storage"] = used[prefix + "requests.storage"] = Quantity.parse(storage)
    return used


def _tags(resource: Resource, obj: Object) -> frozenset[tuple[str, str]]:
    """Return the scopes that an object is in; PriorityClass with its name."""
    if resource is not PODS:
        return frozenset()
    spec = obj["spec"]
    best = qos_class(spec) == "BestEffort"
    ends = spec.get("activeDeadlineSeconds") is not None
    tags = {("BestEffort" if best else "NotBestEffort", ""), ("Terminating" if ends else "NotTerminating", "")}
    if spec.get("priorityClassName"):
        tags.add(("PriorityClass", spec["priorityClassName"]))
    for name in ("podAffinity", "podAntiAffinity"):
        for terms in (spec.get("affinity") or {}).get(name, {}).values():
            for term in terms:
                inner = term.get("podAffinityTerm", term)
                if inner.get("namespaces") or inner.get("namespaceSelector") is not None:
                    tags.add(("CrossNamespacePodAffinity", ""))
    return frozenset(tags)


def _in_scopes(quota: Object, tags: frozenset[tuple[str, str]]) -> bool:
    spec = quota["spec"]
    names = {name for name, _ in tags}
    if not set(spec.get("scopes", ())) <= names:
        return False
    for expression in spec.get("scopeSelector", {}).get("matchExpressions", ()):
        scope, operator = expression.get("scopeName"), expression.get("operator")
        values = {value for name, value in tags if name == scope}
        wanted = set(expression.get("values", ()))
        matches = {
            "Exists": bool(values),
            "DoesNotExist": not values,
            "In": bool(values & wanted),
            "NotIn": not values & wanted,
        }
        if not matches.get(str(operator), False):
            return False
    return True


def _is_scoped(quota: Object) -> bool:
    return bool(quota["spec"].get("scopes") or quota["spec"].get("scopeSelector"))


@dataclass(slots=True)
class _Use:
    """What the objects of one namespace and resource use."""

    by_key: dict[str, tuple[Amounts, frozenset[tuple[str, str]]]] = field(default_factory=dict)
    total: Amounts = field(default_factory=dict)

    def replace(self, key: str, new: tuple[Amounts, frozenset[tuple[str, str]]] | None) -> None:
        old = self.by_key.pop(key, None)
        if old is not None:
            for name, amount in old[0].items():
                self.total[name] = self.total[name] - amount
        if new is not None:
            self.by_key[key] = new
            for name, amount in new[0].items():
                self.total[name] = self.total[name] + amount if name in self.total else amount


class _Ledger:
    """The use of one resource, for the namespaces that somebody asked about."""

    def __init__(self, store: Store, resource: Resource) -> None:
        self._store = store
        self._resource = resource
        self._uses: dict[str, _Use] = {}
        self._changes: Changes[StoredObject] = store.table(resource).changes(max(1, store.revision))

    def use(self, namespace: str) -> _Use:
        """Return the present use of a namespace."""
        self._catch_up()
        use = self._uses.get(namespace)
        if use is None:
            use = self._uses[namespace] = _Use()
            for record in self._store.list(self._resource, namespace):
                use.replace(record.key, self._measured(record))
        return use

    def _measured(self, record: ObjectRecord) -> tuple[Amounts, frozenset[tuple[str, str]]]:
        obj = self._store.dict_of(self._resource, record.obj)
        return measure(self._resource, obj), _tags(self._resource, obj)

    def _catch_up(self) -> None:
        try:
            records = self._changes.next()
        except ExpiredError:
            # Too much went by: measure everything again when asked.
            self._uses.clear()
            self._changes = self._store.table(self._resource).changes(self._store.revision)
            return
        for record in records:
            use = self._uses.get(record.obj.namespace)
            if use is not None:
                use.replace(record.key, None if type(record) is Tombstone else self._measured(record))


class Quotas:
    """Knows what namespaces use.

    Args:
        store: Whose objects.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ledgers: dict[int, _Ledger] = {}

    def _ledger(self, resource: Resource) -> _Ledger:
        ledger = self._ledgers.get(id(resource))
        if ledger is None:
            ledger = self._ledgers[id(resource)] = _Ledger(self._store, resource)
        return ledger

    def _used(self, quota: Object, namespace: str, resources: Iterable[Resource]) -> Amounts:
        """Return what is used of the quota's resources."""
        hard = quota["spec"].get("hard", {})
        used: Amounts = {}
        for resource in resources:
            use = self._ledger(resource).use(namespace)
            if not _is_scoped(quota):
                parts: Iterable[Amounts] = (use.total,)
            else:
                parts = (amounts for amounts, tags in use.by_key.values() if _in_scopes(quota, tags))
            for amounts in parts:
                for name in hard:
                    if name in amounts:
                        used[name] = used[name] + amounts[name] if name in used else amounts[name]
        return used

    def status_of(self, quota: Object) -> Object:
        """Return the status that a quota should have: its limits, and what its namespace uses of them."""
        hard = quota["spec"].get("hard", {})
        used = self._used(quota, quota["metadata"]["namespace"], resources_of(hard))
        return {"hard": dict(hard), "used": {name: str(used.get(name, _ZERO)) for name in hard}}

    def problem(
        self, resource: Resource, namespace: str, obj: Object, quotas: Sequence[Object], old: Object | None = None
    ) -> str:
        """Return why an object to be created or changed is too much for its namespace, "" when it is not.

        Args:
            resource: What it is.
            namespace: Where.
            obj: Complete.
            quotas: The namespace's ResourceQuotas, by name.
            old: The version until now: what it used is counted already. None for a new object.
        """
        asked, tags = measure(resource, obj), _tags(resource, obj)
        if old is not None:
            had = measure(resource, old)
            asked = {name: amount - had.get(name, _ZERO) for name, amount in asked.items()}
        for quota in quotas:
            hard = {name: Quantity.parse(text) for name, text in quota["spec"].get("hard", {}).items()}
            if not _in_scopes(quota, tags) or not hard.keys() & {*asked, *(_REQUIRED if resource is PODS else ())}:
                continue
            name = quota["metadata"]["name"]
            if resource is PODS and old is None:
                missing = unsaid(obj["spec"], hard)
                if missing:
                    return f"failed quota: {name}: must specify {missing}"
            used = self._used(quota, namespace, resources_of(hard, resource))
            over = [
                key
                for key in sorted(hard.keys() & asked.keys())
                if asked[key] > _ZERO and used.get(key, _ZERO) + asked[key] > hard[key]
            ]
            if over:
                return (
                    f"exceeded quota: {name}, requested: {_listed(over, asked)}, used: {_listed(over, used)}, "
                    f"limited: {_listed(over, hard)}"
                )
        return ""


def _listed(names: Iterable[str], amounts: Amounts) -> str:
    return ",".join(f"{name}={amounts.get(name, _ZERO)}" for name in names)


def unsaid(spec: Object, hard: Any) -> str:
    """Return which containers do not say what a quota on compute resources obliges them to."""
    parts = []
    pod_level = spec.get("resources", {})
    for key in sorted(set(_REQUIRED) & set(hard)):
        kind, _, name = key.rpartition(".")
        member = kind or "requests"
        if name in pod_level.get(member, {}):
            continue
        silent = [
            c.get("name", "")
            for c in (*spec.get("containers", ()), *spec.get("initContainers", ()))
            if name not in c.get("resources", {}).get(member, {})
        ]
        if silent:
            parts.append(f"{key} for: {','.join(sorted(silent))}")
    return "; ".join(parts)


def resources_of(names: Iterable[str], only: Resource | None = None) -> list[Resource]:
    """Return the resources whose objects use what a quota limits.

    Args:
        names: Of its `hard`.
        only: The one that is asked about; None for all.
    """
    found: dict[int, Resource] = {}
    for name in names:
        resource = _resource_of(name)
        if resource is not None and (only is None or resource is only):
            found[id(resource)] = resource
    return list(found.values())


def _core(plural: str) -> Resource | None:
    return by_plural("", "v1", plural)


def _resource_of(name: str) -> Resource | None:
    if name.startswith("count/"):
        plural, _, group = name[len("count/") :].partition(".")
        return by_plural(group, "v2" if group == "autoscaling" else "v1", plural)
    if name == "requests.storage" or _CLASS_SUFFIX in name:
        return _core("persistentvolumeclaims")
    plain = name.partition(".")[0]
    return _core(plain) if plain in _COUNTED else PODS
