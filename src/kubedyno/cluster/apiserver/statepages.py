"""kube-state-metrics' and node-exporter's series, from the tables: one page of each for the whole cluster.

What a pod says is kept as text by its revision, so that a page costs what has changed since the last one.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

from kubedyno.base import aio
from kubedyno.base.times import epoch_of
from kubedyno.cluster.apiserver import moreobjects
from kubedyno.cluster.apiserver.exposition import Page, labels_text, number
from kubedyno.cluster.apiserver.usage import Usage
from kubedyno.cluster.storage.store import ObjectRecord, Store
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.resources import (
    CONFIGMAPS,
    DAEMONSETS,
    DEPLOYMENTS,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SECRETS,
    SERVICES,
    STATEFULSETS,
    Resource,
)

Object = dict[str, Any]
# Between two turns of others: about a millisecond.
_RECORDS_A_STEP = 32
_PHASES = ("Pending", "Succeeded", "Failed", "Unknown", "Running")
_ROLE = "node-role.kubernetes.io/"
_UNITS = {"cpu": "core", "memory": "byte", "ephemeral-storage": "byte", "pods": "integer"}
# How a node's CPU time is split, where only its sum is modelled.
_MODES = (("user", 0.7), ("system", 0.28), ("iowait", 0.02))


class StatePages:
    """Makes the two pages.

    Args:
        store: The objects.
        usage: What pods and nodes use.
        now: Epoch seconds.
    """

    def __init__(self, store: Store, usage: Usage, now: Callable[[], float]) -> None:
        self._store = store
        self._usage = usage
        self._now = now
        # By key: a pod's revision and its lines by family.
        self._pods: dict[str, tuple[int, dict[str, str]]] = {}

    # --- kube-state-metrics ------------------------------------------------------------------------------------

    async def state(self) -> AsyncIterator[bytes]:
        """Yield kube-state-metrics' page piece by piece; lets others run in between."""
        page = Page()
        async for record in _in_turns(self._store.list(NODES)):
            _node(page, self._dict(NODES, record))
        async for record in _in_turns(self._store.list(NAMESPACES)):
            labels = {"namespace": record.obj.name}
            obj = self._dict(NAMESPACES, record)
            page.add("kube_namespace_created", "gauge", "Creation.", labels, _created(obj))
            for phase in ("Active", "Terminating"):
                here = (obj.get("status") or {}).get("phase") == phase
                page.add("kube_namespace_status_phase", "gauge", "Phase.", {**labels, "phase": phase}, float(here))
        yield page.text()
        for resource, family, label in (
            (CONFIGMAPS, "kube_configmap_info", "configmap"),
            (SECRETS, "kube_secret_info", "secret"),
        ):
            page = Page()
            async for record in _in_turns(self._store.list(resource)):
                labels = {"namespace": record.obj.namespace, label: record.obj.name}
                page.add(family, "gauge", "One there is.", labels, 1)
            yield page.text()
        page = Page()
        async for record in _in_turns(self._store.list(SERVICES)):
            spec = self._dict(SERVICES, record).get("spec") or {}
            labels = {
                "namespace": record.obj.namespace,
                "service": record.obj.name,
                "uid": record.obj.uid,
                "cluster_ip": str(spec.get("clusterIP", "")),
            }
            page.add("kube_service_info", "gauge", "A Service.", labels, 1)
        yield page.text()
        for resource in (DEPLOYMENTS, REPLICASETS, STATEFULSETS, DAEMONSETS):
            page = Page()
            async for record in _in_turns(self._store.list(resource)):
                _workload(page, resource, record, self._dict(resource, record))
            yield page.text()
        for resource in moreobjects.OBJECTS:
            page = Page()
            async for record in _in_turns(self._store.list(resource)):
                moreobjects.add(page, resource, self._dict(resource, record))
            yield page.text()
        async for piece in self._pod_pages():
            yield piece

    def _dict(self, resource: Resource, record: ObjectRecord) -> Object:
        return self._store.encode_dict(resource, record)

    async def _pod_pages(self) -> AsyncIterator[bytes]:
        records = self._store.list(PODS)
        known = self._pods
        if len(known) > 2 * len(records) + 1000:
            known.clear()
        fragments: list[dict[str, str]] = []
        async for record in _in_turns(records):
            entry = known.get(record.key)
            if entry is None or entry[0] != record.revision:
                entry = known[record.key] = (record.revision, _pod_lines(self._dict(PODS, record)))
            fragments.append(entry[1])
        for family, (sort, about) in _POD_FAMILIES.items():
            text = "".join([lines[family] for lines in fragments if family in lines])
            if text:
                yield f"# HELP {family} {about}\n# TYPE {family} {sort}\n{text}".encode()
            await aio.sleep(0)

    # --- node exporters ----------------------------------------------------------------------------------------

    async def nodes(self) -> AsyncIterator[bytes]:
        """Yield what node exporters say, each node's under its name as `instance`."""
        page = Page()
        now_s = self._now()
        async for record in _in_turns(self._store.list(NODES)):
            facts = record.obj.facts
            node = self._usage.node(record, now_s)
            of = {"instance": node.name}
            cpus = max(1, facts.cpu_milli // 1000)
            alive_s = max(0.0, now_s - node.started_s)
            each = min(node.core_seconds / cpus, alive_s)
            for cpu in range(cpus):
                modes = [(mode, each * share) for mode, share in _MODES]
                for mode, seconds in [*modes, ("idle", alive_s - each)]:
                    page.add(
                        "node_cpu_seconds_total", "counter", "Seconds of each mode.",
                        {**of, "cpu": str(cpu), "mode": mode}, seconds,
                    )  # fmt: skip
            total, used = facts.memory_bytes, node.memory_bytes
            for name, value in (
                ("MemTotal", total),
                ("MemAvailable", max(0, total - used)),
                ("MemFree", max(0, total - used)),
                ("Active", used),
                ("Cached", 0),
                ("Buffers", 0),
            ):
                page.add(f"node_memory_{name}_bytes", "gauge", "Memory.", of, value)
            for name in ("receive_bytes", "transmit_bytes", "receive_drop", "transmit_drop"):
                page.add(f"node_network_{name}_total", "counter", "Traffic; not modelled.", {**of, "device": "eth0"}, 0)
            for name in ("read_bytes", "written_bytes", "reads_completed", "writes_completed"):
                page.add(f"node_disk_{name}_total", "counter", "Disks; not modelled.", {**of, "device": "vda"}, 0)
            page.add("node_boot_time_seconds", "gauge", "Start, epoch seconds.", of, node.started_s)
            page.add("node_time_seconds", "gauge", "Now, epoch seconds.", of, now_s)
            info = (self._dict(NODES, record).get("status") or {}).get("nodeInfo") or {}
            about = {
                "sysname": "Linux",
                "machine": info.get("architecture", ""),
                "release": info.get("kernelVersion", ""),
            }
            page.add("node_uname_info", "gauge", "Its kernel.", {**of, **about, "nodename": node.name}, 1)
        yield page.text()


async def _in_turns(records: Sequence[ObjectRecord]) -> AsyncIterator[ObjectRecord]:
    """Yield records and let others run every so often."""
    for count, record in enumerate(records, 1):
        yield record
        if count % _RECORDS_A_STEP == 0:
            await aio.sleep(0)


def _created(obj: Object) -> float:
    return epoch_of(obj["metadata"]["creationTimestamp"])


def _node(page: Page, obj: Object) -> None:
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    name = meta["name"]
    of = {"node": name}
    addresses = {entry["type"]: entry["address"] for entry in status.get("addresses") or ()}
    page.add(
        "kube_node_info", "gauge", "A node.",
        {
            **of,
            "kernel_version": info.get("kernelVersion", ""),
            "os_image": info.get("osImage", ""),
            "container_runtime_version": info.get("containerRuntimeVersion", ""),
            "kubelet_version": info.get("kubeletVersion", ""),
            "kubeproxy_version": info.get("kubeProxyVersion", ""),
            "provider_id": spec.get("providerID", ""),
            "pod_cidr": spec.get("podCIDR", ""),
            "system_uuid": info.get("systemUUID", ""),
            "internal_ip": addresses.get("InternalIP", ""),
        },
        1,
    )  # fmt: skip
    page.add("kube_node_created", "gauge", "Creation.", of, _created(obj))
    roles = [label.removeprefix(_ROLE) for label in meta.get("labels") or () if label.startswith(_ROLE)]
    # Older profiles call a control plane a master, and others workers.
    roles += ["master"] if "control-plane" in roles else ["worker"] if "worker" not in roles else []
    for role in roles:
        page.add("kube_node_role", "gauge", "Its roles.", {**of, "role": role}, 1)
    for taint in spec.get("taints") or ():
        labels = {**of, "key": taint["key"], "value": taint.get("value", ""), "effect": taint["effect"]}
        page.add("kube_node_spec_taint", "gauge", "Its taints.", labels, 1)
    unschedulable = float(bool(spec.get("unschedulable")))
    page.add("kube_node_spec_unschedulable", "gauge", "No new pods.", of, unschedulable)
    for condition in status.get("conditions") or ():
        for value in ("true", "false", "unknown"):
            page.add(
                "kube_node_status_condition", "gauge", "Its conditions.",
                {**of, "condition": condition["type"], "status": value}, float(condition["status"].lower() == value),
            )  # fmt: skip
    for what in ("capacity", "allocatable"):
        for resource, amount in (status.get(what) or {}).items():
            page.add(
                f"kube_node_status_{what}", "gauge", "Resources.",
                {**of, "resource": resource.replace("-", "_"), "unit": _unit(resource)}, _amount(amount),
            )  # fmt: skip


def _unit(resource: str) -> str:
    return "byte" if resource.startswith("hugepages") else _UNITS.get(resource, "integer")


def _amount(text: Any) -> float:
    return float(Quantity.parse(str(text)).amount)


def _workload(page: Page, resource: Resource, record: ObjectRecord, obj: Object) -> None:
    kind = resource.singular
    of = {"namespace": record.obj.namespace, kind: record.obj.name}
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    page.add(f"kube_{kind}_created", "gauge", "Creation.", of, _created(obj))
    page.add(f"kube_{kind}_metadata_generation", "gauge", "Generation.", of, record.obj.generation)
    page.add(f"kube_{kind}_status_observed_generation", "gauge", "Seen.", of, status.get("observedGeneration", 0))
    if resource is DAEMONSETS:
        for name, field in (
            ("desired_number_scheduled", "desiredNumberScheduled"),
            ("current_number_scheduled", "currentNumberScheduled"),
            ("number_ready", "numberReady"),
            ("number_available", "numberAvailable"),
            ("number_unavailable", "numberUnavailable"),
            ("number_misscheduled", "numberMisscheduled"),
        ):
            page.add(f"kube_{kind}_status_{name}", "gauge", "Its pods.", of, status.get(field, 0))
        return
    wanted = "kube_statefulset_replicas" if resource is STATEFULSETS else f"kube_{kind}_spec_replicas"
    page.add(wanted, "gauge", "Wanted pods.", of, spec.get("replicas", 1))
    for name, field in (
        ("", "replicas"),
        ("_ready", "readyReplicas"),
        ("_available", "availableReplicas"),
        ("_updated", "updatedReplicas"),
        ("_unavailable", "unavailableReplicas"),
    ):
        page.add(f"kube_{kind}_status_replicas{name}", "gauge", "Its pods.", of, status.get(field, 0))
    if resource is REPLICASETS:
        _owners(page, of, obj)


def _owners(page: Page, of: Mapping[str, str], obj: Object) -> None:
    for owner in obj["metadata"].get("ownerReferences") or ():
        labels = {
            **of,
            "owner_kind": owner["kind"],
            "owner_name": owner["name"],
            "owner_is_controller": str(bool(owner.get("controller"))).lower(),
        }
        page.add("kube_replicaset_owner", "gauge", "Whose it is.", labels, 1)


_POD_FAMILIES: dict[str, tuple[str, str]] = {
    "kube_pod_info": ("gauge", "A pod."),
    "kube_pod_created": ("gauge", "Creation."),
    "kube_pod_start_time": ("gauge", "Start."),
    "kube_pod_owner": ("gauge", "Whose it is."),
    "kube_pod_status_phase": ("gauge", "Its phase."),
    "kube_pod_status_ready": ("gauge", "Whether it is ready."),
    "kube_pod_status_scheduled": ("gauge", "Whether it has a node."),
    "kube_pod_container_info": ("gauge", "A container."),
    "kube_pod_container_status_restarts_total": ("counter", "Restarts."),
    "kube_pod_container_status_ready": ("gauge", "Whether it is ready."),
    "kube_pod_container_status_running": ("gauge", "Whether it runs."),
    "kube_pod_container_status_waiting_reason": ("gauge", "Why it waits."),
    "kube_pod_container_resource_requests": ("gauge", "What it asks for."),
    "kube_pod_container_resource_limits": ("gauge", "What it may have."),
    "kube_pod_spec_volumes_persistentvolumeclaims_info": ("gauge", "A claim that it uses."),
}


def _pod_lines(obj: Object) -> dict[str, str]:
    """Return a pod's lines by family."""
    found: dict[str, list[str]] = {}

    def add(family: str, labels: Mapping[str, str], value: float) -> None:
        found.setdefault(family, []).append(f"{family}{labels_text({**of, **labels})} {number(value)}\n")

    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    of = {"namespace": meta["namespace"], "pod": meta["name"], "uid": meta["uid"]}
    node = spec.get("nodeName", "")
    owners = meta.get("ownerReferences") or ()
    controller: Object = next((owner for owner in owners if owner.get("controller")), {})
    add(
        "kube_pod_info",
        {
            "host_ip": status.get("hostIP", ""),
            "pod_ip": status.get("podIP", ""),
            "node": node,
            "created_by_kind": controller.get("kind", ""),
            "created_by_name": controller.get("name", ""),
            "priority_class": spec.get("priorityClassName", ""),
            "host_network": str(bool(spec.get("hostNetwork"))).lower(),
        },
        1,
    )
    add("kube_pod_created", {}, _created(obj))
    if status.get("startTime"):
        add("kube_pod_start_time", {}, epoch_of(status["startTime"]))
    for owner in owners:
        labels = {"owner_kind": owner["kind"], "owner_name": owner["name"]}
        add("kube_pod_owner", {**labels, "owner_is_controller": str(bool(owner.get("controller"))).lower()}, 1)
    for phase in _PHASES:
        add("kube_pod_status_phase", {"phase": phase}, float(status.get("phase") == phase))
    for condition in status.get("conditions") or ():
        family = {"Ready": "kube_pod_status_ready", "PodScheduled": "kube_pod_status_scheduled"}.get(condition["type"])
        if family:
            for value in ("true", "false", "unknown"):
                add(family, {"condition": value}, float(condition["status"].lower() == value))
    _containers(add, spec.get("containers") or (), status.get("containerStatuses") or (), node)
    for volume in spec.get("volumes") or ():
        claim = volume.get("persistentVolumeClaim")
        if claim:
            labels = {"volume": volume["name"], "persistentvolumeclaim": claim["claimName"]}
            add("kube_pod_spec_volumes_persistentvolumeclaims_info", labels, 1)
    return {family: "".join(lines) for family, lines in found.items()}


def _containers(
    add: Callable[[str, Mapping[str, str], float], None],
    containers: Iterable[Object],
    statuses: Iterable[Object],
    node: str,
) -> None:
    for entry in statuses:
        of = {"container": entry["name"]}
        info = {
            **of,
            "image": entry.get("image", ""),
            "image_id": entry.get("imageID", ""),
            "container_id": entry.get("containerID", ""),
        }
        add("kube_pod_container_info", info, 1)
        add("kube_pod_container_status_restarts_total", of, entry.get("restartCount", 0))
        add("kube_pod_container_status_ready", of, float(bool(entry.get("ready"))))
        state = entry.get("state") or {}
        add("kube_pod_container_status_running", of, float("running" in state))
        reason = (state.get("waiting") or {}).get("reason")
        if reason:
            add("kube_pod_container_status_waiting_reason", {**of, "reason": reason}, 1)
    for container in containers:
        resources = container.get("resources") or {}
        for what in ("requests", "limits"):
            for resource, amount in (resources.get(what) or {}).items():
                labels = {
                    "container": container["name"],
                    "node": node,
                    "resource": resource.replace("-", "_"),
                    "unit": _unit(resource),
                }
                add(f"kube_pod_container_resource_{what}", labels, _amount(amount))
