"""Nodes."""

from kubedyno.cluster.apiserver.kubestate.samples import Object, Samples, amount, resource_label, unit_of

_ROLE = "node-role.kubernetes.io/"


def node(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a Node."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    info = status.get("nodeInfo") or {}
    addresses = status.get("addresses") or ()
    internal = next((entry["address"] for entry in addresses if entry["type"] == "InternalIP"), "")
    add.add(
        "kube_node_info",
        kernel_version=info.get("kernelVersion", ""),
        os_image=info.get("osImage", ""),
        container_runtime_version=info.get("containerRuntimeVersion", ""),
        kubelet_version=info.get("kubeletVersion", ""),
        kubeproxy_version="deprecated",
        provider_id=spec.get("providerID", ""),
        pod_cidr=spec.get("podCIDR", ""),
        system_uuid=info.get("systemUUID", ""),
        internal_ip=internal,
    )
    roles = [label.removeprefix(_ROLE) for label in meta.get("labels") or () if label.startswith(_ROLE)]
    # Older profiles call a control plane a master, and others workers.
    roles += ["master"] if "control-plane" in roles else ["worker"] if "worker" not in roles else []
    for role in roles:
        add.add("kube_node_role", role=role)
    for taint in spec.get("taints") or ():
        add.add("kube_node_spec_taint", key=taint["key"], value=taint.get("value", ""), effect=taint["effect"])
    for cidr in spec.get("podCIDRs") or ():
        add.add("kube_node_spec_pod_cidrs", pod_cidr=cidr)
    add.add("kube_node_spec_unschedulable", float(bool(spec.get("unschedulable"))))
    for address in addresses:
        add.add("kube_node_status_addresses", type=address["type"], address=address["address"])
    for condition in status.get("conditions") or ():
        add.verdict("kube_node_status_condition", condition["status"], condition=condition["type"])
    for what in ("capacity", "allocatable"):
        for name, text in (status.get(what) or {}).items():
            add.add(f"kube_node_status_{what}", amount(text), resource=resource_label(name), unit=unit_of(name))
