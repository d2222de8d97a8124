"""Who owns what components wrote: entries of managedFields for controllers, kubelets and the API server itself.

Such writes keep no entries (see `Trusted`): those of a pod are 2 KB, a third of what it takes, and working them out costs
40 us a status, more than most of these writes. They are made when somebody reads instead, of what is set in the object and no
client's entry has: the status is its controller's, and all of an object that no client made is its maker's. When a client
writes, what it would have read becomes what is stored, as far as it changes.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.leanpod import Shape
from kubedyno.cluster.registry.managedfields import (
    Entry,
    Managed,
    ManagerId,
    decode,
    encode,
    entry_bytes,
    printed,
    updater,
)
from kubedyno.cluster.storage.objects import StoredObject
from kubedyno.kube import fieldset
from kubedyno.kube.fieldset import Fields
from kubedyno.kube.resources import ALL, EVENTS, PODS, Resource, built_in

# Stored where a client owned nothing, or took all entries away: nothing is made up in their place.
EMPTIED = b"[]"
MANAGER, API_SERVER, KUBELET, SCHEDULER = "kube-controller-manager", "kube-apiserver", "kubelet", "kube-scheduler"
_INSTALLER = "kubeadm"
_STATUS = "status"
EVENTS_V1 = built_in("events.k8s.io", "events")
_TIME = re.compile(rb'"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)"')
_CREATED, _TIME_LENGTH = b'"creationTimestamp":"', 20
_HAS_STATUS = b'"f:status":{'
# Stands in for a time in texts that are kept.
_WHEN = b"KUBEDYNO-WHEN"
_KNOWN = 4096
# Objects that are no pods: as many of a kind as a large cluster has. Who lists more has each made anew, at 80 us.
_REMEMBERED = 8192
# The length of a status that says nothing, and the greatest one of a new pod's: phase and QoS class.
_EMPTY, _NEW = 2, 48
# Numbers that Go leaves out when they are 0, and one version of the API does not.
_NOT_ZERO = frozenset({"currentReplicas", "desiredReplicas"})
# Who a component's events are from, where that is not what it calls itself.
_RECORDERS = {"default-scheduler": SCHEDULER, KUBELET: KUBELET}


@dataclass(frozen=True, slots=True)
class Rule:
    """Who writes a kind's objects.

    Attributes:
        maker: Who makes those that no client made.
        status: Who writes their status, "" where nobody is named for it.
        annotations: Those that are written together with the status.
        others: Members of the metadata and of the spec that another component writes → who that is; "" is nobody.
        initial: The phase of a new object, which nobody has set.
        given: Members of the status that every object is made with.
    """

    maker: str = _INSTALLER
    status: str = ""
    annotations: tuple[str, ...] = ()
    others: tuple[tuple[str, str], ...] = ()
    initial: str = ""
    given: tuple[str, ...] = ()


_BY_MANAGER = Rule(MANAGER)
_WORKLOAD = Rule(MANAGER, MANAGER)
_BY_SERVER = Rule(API_SERVER)
_RULES: Mapping[str, Rule] = {
    "deployments": Rule(_INSTALLER, MANAGER, ("deployment.kubernetes.io/revision",)),
    "daemonsets": Rule(_INSTALLER, MANAGER),
    **dict.fromkeys(("statefulsets", "replicationcontrollers", "replicasets", "cronjobs", "horizontalpodautoscalers",
                     "poddisruptionbudgets", "resourcequotas"), _WORKLOAD),
    "jobs": Rule(MANAGER, MANAGER, (), (("spec.selector", ""),)),
    **dict.fromkeys(("endpoints", "endpointslices", "controllerrevisions", "configmaps", "secrets"), _BY_MANAGER),
    "persistentvolumeclaims": Rule(MANAGER, MANAGER, (), (("metadata.finalizers", ""),), "Pending"),
    "persistentvolumes": Rule(MANAGER, MANAGER, (), (("metadata.finalizers", ""),), "Pending", ("lastPhaseTransitionTime",)),
    "nodes": Rule(KUBELET, KUBELET, (), (
        ("spec.podCIDR", MANAGER), ("spec.podCIDRs", MANAGER), ("spec.taints", MANAGER),
        ("metadata.annotations.node.alpha.kubernetes.io/ttl", MANAGER),
    ), given=("phase",)),
    "leases": Rule(KUBELET), "csinodes": Rule(KUBELET),
    "namespaces": Rule(API_SERVER, MANAGER, (), (("spec.finalizers", ""),), given=("phase",)),
    "customresourcedefinitions": Rule(_INSTALLER, API_SERVER, given=("storedVersions",)), "apiservices": Rule(API_SERVER, API_SERVER),
    **dict.fromkeys(("services", "priorityclasses", "clusterroles", "clusterrolebindings", "roles", "rolebindings",
                     "ipaddresses", "flowschemas", "prioritylevelconfigurations"), _BY_SERVER),
    "servicecidrs": Rule(API_SERVER, MANAGER),
}  # fmt: skip
_NO_RULE = Rule()
# Custom resources may have the same plural names, and are nobody's but their clients'.
_RULE_OF = {(each.group, each.plural): _RULES[each.plural] for each in ALL if each.plural in _RULES}
# Of a pod's spec: what admission writes, or a binding, and nobody owns.
_ADMITTED = ("nodeName", "priority", "preemptionPolicy")
_DEFAULT_ACCOUNT = "default"
_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - how a volume is called
_TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where it is mounted
_DEFAULT_TOLERATIONS = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})


class Authors:
    """Makes the entries.

    Args:
        kind_of: A stored resource's kind.
    """

    def __init__(self, kind_of: Callable[[Resource], Kind]) -> None:
        self._kind_of = kind_of
        # By uid: the version that was read last, and what was made for it.
        self._shown: dict[str, tuple[StoredObject, bytes]] = {}
        # What pods share → the entry of who made them, with holes for when and for whom.
        self._makers: dict[tuple[Any, ...], bytes] = {}
        # Form of an event, whether it has a host, and whether it came again → the set of what it says.
        self._events: dict[tuple[bool, bool, bool], bytes] = {}
        # What pods that were just started share → the entry of their kubelets, with holes for when and for addresses.
        self._started: dict[Any, bytes] = {}

    def shown(self, resource: Resource, obj: StoredObject) -> bytes:
        """Return an object's managedFields as they are read, b"" for none.

        Args:
            resource: Under which it is stored.
            obj: The object.
        """
        managed = obj.managed
        if resource is PODS:
            # Of a lean pod: its status, or what that is made of.
            state: Any = getattr(obj, "state", None)
            if managed and type(state) is bytes and len(state) <= _NEW:
                return managed if managed != EMPTIED else b""
            return self._pod(obj)
        if managed == EMPTIED:
            return b""
        if resource is EVENTS:
            return managed or self._event(obj)
        rule = _RULE_OF.get((resource.group, resource.plural), _NO_RULE)
        if managed and (not rule.status or len(obj.status) <= _EMPTY):
            return managed
        known = self._shown.get(obj.uid)
        if known is not None and known[0] is obj:
            return known[1]
        made = self._object(self._kind_of(resource), obj, rule)
        if len(self._shown) >= _REMEMBERED:
            self._shown.clear()
        self._shown[obj.uid] = obj, made
        return made

    def _object(self, kind: Kind, obj: StoredObject, rule: Rule) -> bytes:
        managed = obj.managed
        if managed and (_HAS_STATUS in managed or any(name.encode() in managed for name in rule.annotations)):
            return self._mixed(kind, obj, rule)
        created, entries = _created(obj), list(decode(managed).items())
        version = kind.resource.api_version
        if not managed:
            entries += self._made(kind, obj, rule, created)
        # A client may bring a node's capacity along; conditions are what its kubelet tells.
        if rule.status and obj.status and (rule.status != KUBELET or b'"conditions":' in obj.status):
            fields = self._status_of(kind, obj, rule, managed)
            if fields:
                entries.append(
                    (
                        updater(rule.status, version, _STATUS),
                        Entry(version, _latest(obj, created), fields, in_order=True),
                    )
                )
        return printed(entries) if entries else managed

    # --- most kinds ---------------------------------------------------------------------------------------------

    def _made(self, kind: Kind, obj: StoredObject, rule: Rule, created: str) -> list[tuple[ManagerId, Entry]]:
        """Return the entries of those who made an object."""
        whole: Object = orjson.loads(b'{"metadata":{%b}%b}' % (obj.meta, b"," + obj.body if obj.body else b""))
        maker = rule.maker
        if maker is _INSTALLER and obj.owners:
            maker = MANAGER
        by: dict[str, Object] = {maker: whole}
        for path, other in rule.others:
            part, _, name = path.partition(".")
            _moved(whole, by.setdefault(other, {"metadata": {}}), (part, *_within(name)))
        if kind.resource.plural == "deployments":
            for name in rule.annotations:
                _moved(whole, {}, ("metadata", "annotations", name))
        version = kind.resource.api_version
        found = []
        for manager, said in by.items():
            fields = kind.fields.set_in(said) if manager else None
            if fields:
                if manager != maker:
                    # Who comes second finds the map there.
                    fields = _without_self(fields, ("f:metadata", "f:annotations"))
                found.append((updater(manager, version, ""), Entry(version, created, fields, in_order=True)))
        return found

    def _status_of(self, kind: Kind, obj: StoredObject, rule: Rule, managed: bytes) -> Fields:
        """Return what the writer of a status owns where no client has any of it."""
        status = _written(obj, rule)
        metadata: Object = {}
        if rule.annotations and b'"annotations":{' in obj.meta:
            annotations = orjson.loads(b"{%b}" % obj.meta)["annotations"]
            told = {name: annotations[name] for name in rule.annotations if name in annotations}
            metadata = {"annotations": told} if told else {}
        fields = kind.fields.set_in({"metadata": metadata, _STATUS: status})
        if b'"f:annotations":{' in managed or (not managed and len(metadata.get("annotations", ())) < 1):
            fields = _without_self(fields, ("f:metadata", "f:annotations"))
        return fields

    def _mixed(self, kind: Kind, obj: StoredObject, rule: Rule) -> bytes:
        """Return the entries of an object of which clients and components have written the same parts."""
        version = kind.resource.api_version
        entries: Managed = decode(obj.managed)
        writer = updater(rule.status, version, _STATUS)
        if _HAS_STATUS in obj.managed and writer not in entries:
            # A client writes this status.
            return obj.managed
        whole: Object = orjson.loads(b'{"metadata":{%b}%b}' % (obj.meta, b"," + obj.body if obj.body else b""))
        status = _written(obj, rule)
        there = kind.fields.set_in({**whole, _STATUS: status})
        owned: Fields = {}
        for entry in entries.values():
            owned = fieldset.union(owned, entry.fields)
        left = fieldset.difference(there, owned)
        names: Fields = {f"f:{name}": {} for name in rule.annotations}
        mine = fieldset.intersection(left, {"f:metadata": {"f:annotations": names}}) if names else {}
        if "f:status" in left:
            mine = fieldset.union(mine, {"f:status": left["f:status"]})
        before = entries.get(writer)
        kept = fieldset.intersection(before.fields, there) if before is not None else {}
        fields = fieldset.union(kept, mine)
        if before is not None and fields == before.fields:
            return obj.managed
        if fields:
            entries[writer] = Entry(version, _latest(obj, _created(obj)), fields)
        else:
            entries.pop(writer, None)
        return encode(entries)

    # --- events -------------------------------------------------------------------------------------------------

    def _event(self, obj: Any) -> bytes:
        """Return the entry of who recorded an event."""
        origin = getattr(obj, "origin", None)
        if origin is None:
            # It was recorded before this process began.
            whole = orjson.loads(b"{%b}" % obj.body)
            component = (whole.get("source") or {}).get("component") or whole.get("reportingComponent", "")
            resource = EVENTS_V1 if whole.get("eventTime") else EVENTS
            fields = self._event_set(resource, whole)
        else:
            component, resource = origin.component, EVENTS_V1 if origin.action else EVENTS
            key = (bool(origin.action), bool(obj.host), obj.count > 1)
            known = self._events.get(key)
            if known is None:
                known = self._events[key] = self._event_set(resource, orjson.loads(b"{%b}" % obj.body))
            fields = known
        return b"[%b]" % entry_bytes(
            updater(_RECORDERS.get(component, MANAGER), resource.api_version, ""),
            resource.api_version,
            _created(obj),
            fields,
        )

    def _event_set(self, resource: Resource, whole: Object) -> bytes:
        kind = self._kind_of(resource)
        return fieldset.dumps(kind.fields.set_in({"metadata": {}, **kind.from_stored(whole)}))

    # --- pods ---------------------------------------------------------------------------------------------------

    def _pod(self, obj: StoredObject) -> bytes:
        """Return a pod's entries."""
        managed = obj.managed
        if managed == EMPTIED:
            return b""
        if _HAS_STATUS in managed:
            return managed
        made = managed[1:-1] if managed else self._made_pod(obj)
        status = self._pod_status(obj)
        return b"[%b,%b]" % (made, status) if status else b"[%b]" % made

    def _made_pod(self, obj: StoredObject) -> bytes:
        """Return the entry of who made a pod."""
        meta, created = obj.meta, _created(obj)
        shape: Shape | None = getattr(obj, "shape", None)
        if shape is None or len(obj.owners) != 1 or b'"annotations":{' in meta:
            maker = KUBELET if b'"kubernetes.io/config.mirror"' in meta else MANAGER
            return self._maker_entry(obj, maker, created)
        key = (shape, tuple(obj.labels), b'"generateName":' in meta)
        text, owner = self._makers.get(key), obj.owners[0].encode()
        if text is None:
            if len(self._makers) >= _KNOWN:
                self._makers.clear()
            text = self._maker_entry(obj, MANAGER, _WHEN.decode()).replace(b"%", b"%%")
            text = self._makers[key] = text.replace(_WHEN, b"%(when)b").replace(owner, b"%(owner)b")
        return text % {b"when": created.encode(), b"owner": owner}

    def _maker_entry(self, obj: StoredObject, maker: str, created: str) -> bytes:
        parts = b",".join(filter(None, (self._meta_of(obj), self._spec_of(obj))))
        return entry_bytes(updater(maker, "v1", ""), "v1", created, b"{%b}" % parts)

    def _meta_of(self, obj: StoredObject) -> bytes:
        metadata = orjson.loads(b"{%b}" % obj.meta)
        metadata.pop("finalizers", None)
        return fieldset.dumps(self._kind_of(PODS).fields.set_in({"metadata": metadata}))[1:-1]

    def _spec_of(self, obj: StoredObject) -> bytes:
        """Return what a pod's maker owns of its spec: all but what admission has added."""
        spec = orjson.loads(b"{%b}" % obj.body).get("spec", {})
        for name in _ADMITTED:
            spec.pop(name, None)
        if spec.get("serviceAccountName") == _DEFAULT_ACCOUNT:
            spec.pop("serviceAccountName")
            spec.pop("serviceAccount", None)
        if {each.get("key") for each in spec.get("tolerations", ())} <= _DEFAULT_TOLERATIONS:
            spec.pop("tolerations", None)
        spec["volumes"] = [v for v in spec.get("volumes", ()) if not v["name"].startswith(_TOKEN_VOLUME)]
        for container in (*spec.get("containers", ()), *spec.get("initContainers", ())):
            mounts = [mount for mount in container.get("volumeMounts", ()) if mount.get("mountPath") != _TOKEN_PATH]
            container["volumeMounts"] = mounts
            if not mounts:
                del container["volumeMounts"]
        if not spec["volumes"]:
            del spec["volumes"]
        return fieldset.dumps(self._kind_of(PODS).fields.set_in({"metadata": {}, "spec": spec}))[1:-1]

    def _pod_status(self, obj: StoredObject) -> bytes:
        """Return the entry of a kubelet, or before it of the scheduler, b"" where neither has written anything."""
        # Of a lean pod: its status, or what that is made of.
        state: Any = getattr(obj, "state", b"")
        if state and type(state) is not bytes and state.ip != state.host:
            known = self._started.get(state.form)
            if known is None:
                if len(self._started) >= _KNOWN:
                    self._started.clear()
                known = self._status_entry(obj.status, KUBELET, _WHEN.decode()).replace(b"%", b"%%")
                for hole, address in ((b"%(ip)b", state.ip), (b"%(host)b", state.host)):
                    known = known.replace(b'\\"%b\\"' % address.encode(), b'\\"%b\\"' % hole)
                known = self._started[state.form] = known.replace(_WHEN, b"%(when)b")
            return known % {b"when": state.start, b"ip": state.ip.encode(), b"host": state.host.encode()}
        status = obj.status
        if b'"conditions":' not in status:
            return b""
        return self._status_entry(status, KUBELET if obj.facts.node_name else SCHEDULER, _latest(obj, _created(obj)))

    def _status_entry(self, status: bytes, writer: str, at: str) -> bytes:
        fields = self._status_text(status)
        return entry_bytes(updater(writer, "v1", _STATUS), "v1", at, fields) if fields else b""

    def _status_text(self, text: bytes) -> bytes:
        status = orjson.loads(text)
        status.pop("qosClass", None)
        if "startTime" in status:
            # A binding says that a pod is scheduled, and nobody owns what it says.
            status["conditions"] = [c for c in status["conditions"] if c.get("type") != "PodScheduled"]
        else:
            status = {"conditions": [c for c in status["conditions"] if c.get("type") == "PodScheduled"]}
            if not any(c.get("reason") == "Unschedulable" for c in status["conditions"]):
                return b""
        fields = self._kind_of(PODS).fields.set_in({"metadata": {}, _STATUS: status})
        if "startTime" in status:
            fields = _without_self(fields, ("f:status", "f:conditions"))
        return fieldset.dumps(fields) if fields else b""


def _created(obj: StoredObject) -> str:
    at = obj.meta.find(_CREATED)
    begin = at + len(_CREATED)
    return obj.meta[begin : begin + _TIME_LENGTH].decode() if at >= 0 else ""


def _latest(obj: StoredObject, created: str) -> str:
    """Return the latest time that a status tells, or when the object was made: that of its last write, more or less."""
    return max((text.decode() for text in _TIME.findall(obj.status)), default=created)


def _written(obj: StoredObject, rule: Rule) -> Object:
    """Return what of a status somebody has set."""
    status = orjson.loads(obj.status or b"{}")
    if rule.initial and status.get("phase") == rule.initial:
        del status["phase"]
    return {
        name: value for name, value in status.items() if name not in rule.given and (value or name not in _NOT_ZERO)
    }


def _within(name: str) -> tuple[str, ...]:
    """Return the path of a member; the name of an annotation has dots of its own."""
    first, _, rest = name.partition(".")
    return (first, rest) if first == "annotations" else tuple(name.split("."))


def _moved(whole: Object, to: Object, path: tuple[str, ...]) -> None:
    """Move a member of an object to another one."""
    source, target = whole, to
    for name in path[:-1]:
        if not isinstance(source.get(name), dict):
            return
        source, target = source[name], target.setdefault(name, {})
    if path[-1] in source:
        target[path[-1]] = source.pop(path[-1])


def _without_self(fields: Fields, path: tuple[str, ...]) -> Fields:
    """Return a set without the member at a path, but with what is below."""
    first, *rest = path
    if first not in fields:
        return fields
    if rest:
        below = _without_self(fields[first], tuple(rest))
    else:
        below = {step: inner for step, inner in fields[first].items() if step != fieldset.SELF}
    return {**fields, first: below}
