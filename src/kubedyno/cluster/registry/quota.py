"""ResourceQuota: what a namespace's objects use together, and whether one more may come.

Use is a running sum: each table with a quota on it is followed by a cursor, and only what changed is measured anew.
"""

from collections.abc import Callable, Iterable, Sequence
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
from kubedyno.kube.resources import CLAIMS, PODS, RESOURCECLAIMS, SERVICES, Resource, built_in
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
_DEVICES_SUFFIX = ".deviceclass.resource.k8s.io/devices"
# So many devices a request for "All" may come to.
_MAX_DEVICES = 32
_POD_SCOPES = frozenset({
    "BestEffort", "NotBestEffort", "Terminating", "NotTerminating", "PriorityClass", "CrossNamespacePodAffinity",
})  # fmt: skip
_CLAIM_SCOPES = frozenset({"VolumeAttributesClass"})
# What a quota on a pod's compute resources obliges every container to say.
_REQUIRED = ("requests.cpu", "requests.memory", "limits.cpu", "limits.memory", "cpu", "memory")
Find = Callable[[str, str], Resource | None]


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
            if name in {*_COMPUTE, "ephemeral-storage"}:
                used[f"limits.{name}"] = amount
        return used
    if not resource.group and resource.plural in _COUNTED:
        used[resource.plural] = _ONE
    if resource is SERVICES:
        used |= _of_service(obj.get("spec", {}))
    elif resource is CLAIMS:
        used |= _of_claim(obj)
    elif resource is RESOURCECLAIMS:
        used |= _of_devices(obj.get("spec", {}))
    return used


def _of_service(spec: Object) -> Amounts:
    kind, ports = spec.get("type"), spec.get("ports", ())
    balanced = kind == "LoadBalancer"
    if balanced and not spec.get("allocateLoadBalancerNodePorts", True):
        ports = [port for port in ports if port.get("nodePort")]
    taken = len(ports) if balanced or kind == "NodePort" else 0
    return {
        "services.loadbalancers": _ONE if balanced else _ZERO,
        "services.nodeports": Quantity.parse(str(taken)),
    }


def _of_claim(claim: Object) -> Amounts:
    prefix = class_of(claim) + _CLASS_SUFFIX
    used: Amounts = {prefix + "persistentvolumeclaims": _ONE}
    amounts = [
        Quantity.parse(amount["storage"])
        for amount in (
            claim.get("spec", {}).get("resources", {}).get("requests", {}),
            claim.get("status", {}).get("allocatedResources", {}),
        )
        if "storage" in amount
    ]
    if amounts:
        # A claim that was made smaller after its volume could not grow still holds what was set aside for it.
        used["requests.storage"] = used[prefix + "requests.storage"] = max(amounts)
    return used


def _of_devices(spec: Object) -> Amounts:
    """Return how many devices of which class a ResourceClaim may take: of alternatives the most."""
    used: Amounts = {}
    for request in spec.get("devices", {}).get("requests", ()):
        most: dict[str, int] = {}
        for part in (request.get("exactly"), *request.get("firstAvailable", ())):
            if part and part.get("deviceClassName"):
                count = part.get("count", 1) if part.get("allocationMode") != "All" else _MAX_DEVICES
                name = part["deviceClassName"] + _DEVICES_SUFFIX
                most[name] = max(most.get(name, 0), count)
        for name, count in most.items():
            used[name] = used.get(name, _ZERO) + Quantity.parse(str(count))
    return used


def _tags(resource: Resource, obj: Object) -> frozenset[tuple[str, str]]:
    """Return the scopes that an object is in; those of classes with their name."""
    if resource is CLAIMS:
        status = obj.get("status", {})
        names = {
            obj.get("spec", {}).get("volumeAttributesClassName"),
            status.get("currentVolumeAttributesClassName"),
            status.get("modifyVolumeStatus", {}).get("targetVolumeAttributesClassName"),
        }
        return frozenset({("VolumeAttributesClass", name) for name in names if name})
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


def _in_scopes(quota: Object, resource: Resource, tags: frozenset[tuple[str, str]]) -> bool:
    spec = quota["spec"]
    if not _is_scoped(quota):
        return True
    known = _POD_SCOPES if resource is PODS else _CLAIM_SCOPES if resource is CLAIMS else frozenset()
    asked = {*spec.get("scopes", ())}
    asked |= {each.get("scopeName") for each in spec.get("scopeSelector", {}).get("matchExpressions", ())}
    if not asked <= known:
        # A scope says nothing about objects of other kinds: the quota is not about them.
        return False
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
        find: Returns what is served, and stored, by its group and plural.
    """

    def __init__(self, store: Store, find: Find) -> None:
        self._store = store
        self._find = find
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
                parts = (a for a, tags in use.by_key.values() if _in_scopes(quota, resource, tags))
            for amounts in parts:
                for name in hard:
                    if name in amounts:
                        used[name] = used[name] + amounts[name] if name in used else amounts[name]
        return used

    def status_of(self, quota: Object) -> Object:
        """Return the status that a quota should have: its limits, and what its namespace uses of them."""
        hard = quota["spec"].get("hard", {})
        used = self._used(quota, quota["metadata"]["namespace"], self.resources_of(hard))
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
        had, was = (measure(resource, old), _tags(resource, old)) if old is not None else ({}, frozenset())
        about: list[tuple[Object, Amounts]] = []
        for quota in quotas:
            hard = {name: Quantity.parse(text) for name, text in quota["spec"].get("hard", {}).items()}
            if not _in_scopes(quota, resource, tags) or not self.resources_of(hard, resource):
                continue
            missing = unsaid(obj["spec"], hard) if resource is PODS else ""
            if missing:
                return f"failed quota: {quota['metadata']['name']}: must specify {missing}"
            about.append((quota, hard))
        for quota, hard in about:
            counted = had if old is not None and _in_scopes(quota, resource, was) else {}
            more = {name: amount - counted.get(name, _ZERO) for name, amount in asked.items()}
            used = self._used(quota, namespace, self.resources_of(hard, resource))
            over = [
                key
                for key in sorted(hard.keys() & more.keys())
                if more[key] > _ZERO and used.get(key, _ZERO) + more[key] > hard[key]
            ]
            if over:
                name = quota["metadata"]["name"]
                return (
                    f"exceeded quota: {name}, requested: {_listed(over, more)}, used: {_listed(over, used)}, "
                    f"limited: {_listed(over, hard)}"
                )
        return ""

    def resources_of(self, names: Iterable[str], only: Resource | None = None) -> list[Resource]:
        """Return the resources whose objects use what a quota limits.

        Args:
            names: Of its `hard`.
            only: The one that is asked about; None for all.
        """
        found: dict[int, Resource] = {}
        for name in names:
            resource = self._resource_of(name)
            if resource is not None and (only is None or resource is only):
                found[id(resource)] = resource
        return list(found.values())

    def _resource_of(self, name: str) -> Resource | None:
        if name.startswith("count/"):
            plural, _, group = name[len("count/") :].partition(".")
            return self._find(group, plural)
        if name == "requests.storage" or _CLASS_SUFFIX in name:
            return CLAIMS
        if name.endswith(_DEVICES_SUFFIX):
            return RESOURCECLAIMS
        plain = name.partition(".")[0]
        return built_in("", plain) if plain in _COUNTED else PODS


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
