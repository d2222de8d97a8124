"""Volumes, claims, storage classes and attachments."""

from kubedyno.cluster.apiserver.kubestate.samples import Object, Samples, amount

_CLAIM_PHASES = ("Lost", "Bound", "Pending")
_VOLUME_PHASES = ("Pending", "Available", "Bound", "Released", "Failed")
_CLASS = "volume.beta.kubernetes.io/storage-class"


def claim(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a PersistentVolumeClaim."""
    spec, status = obj["spec"], obj.get("status") or {}
    name = (meta.get("annotations") or {}).get(_CLASS) or spec.get("storageClassName") or "<none>"
    add.add(
        "kube_persistentvolumeclaim_info",
        storageclass=name,
        volumename=spec.get("volumeName", ""),
        volumemode=spec.get("volumeMode", ""),
    )
    add.states("kube_persistentvolumeclaim_status_phase", status.get("phase"), _CLAIM_PHASES, "phase")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is not None:
        add.add("kube_persistentvolumeclaim_resource_requests_storage_bytes", amount(storage))
    for mode in spec.get("accessModes") or ():
        add.add("kube_persistentvolumeclaim_access_mode", access_mode=mode)
    for condition in status.get("conditions") or ():
        add.verdict("kube_persistentvolumeclaim_status_condition", condition["status"], condition=condition["type"])
    add.times("kube_persistentvolumeclaim_", meta, deletion_timestamp="deletionTimestamp")


def volume(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a PersistentVolume."""
    spec, status = obj["spec"], obj.get("status") or {}
    source = {kind: spec.get(kind) or {} for kind in ("fc", "iscsi", "nfs", "csi", "local", "hostPath")}
    fc, iscsi = source["fc"], source["iscsi"]
    lun = fc.get("lun")
    add.add(
        "kube_persistentvolume_info",
        storageclass=spec.get("storageClassName", ""),
        gce_persistent_disk_name=(spec.get("gcePersistentDisk") or {}).get("pdName", ""),
        ebs_volume_id=(spec.get("awsElasticBlockStore") or {}).get("volumeID", ""),
        azure_disk_name=(spec.get("azureDisk") or {}).get("diskName", ""),
        fc_wwids=",".join(fc.get("wwids") or ()),
        fc_lun="" if lun is None else str(lun),
        fc_target_wwns=",".join(fc.get("targetWWNs") or ()),
        iscsi_target_portal=iscsi.get("targetPortal", ""),
        iscsi_iqn=iscsi.get("iqn", ""),
        iscsi_lun=str(iscsi.get("lun", 0)) if iscsi else "",
        iscsi_initiator_name=iscsi.get("initiatorName") or "",
        nfs_server=source["nfs"].get("server", ""),
        nfs_path=source["nfs"].get("path", ""),
        csi_driver=source["csi"].get("driver", ""),
        csi_volume_handle=source["csi"].get("volumeHandle", ""),
        local_path=source["local"].get("path", ""),
        local_fs=source["local"].get("fsType") or "",
        host_path=source["hostPath"].get("path", ""),
        host_path_type=source["hostPath"].get("type") or "",
        reclaim_policy=spec.get("persistentVolumeReclaimPolicy", ""),
    )
    add.states("kube_persistentvolume_status_phase", status.get("phase"), _VOLUME_PHASES, "phase")
    storage = (spec.get("capacity") or {}).get("storage")
    if storage is not None:
        add.add("kube_persistentvolume_capacity_bytes", amount(storage))
    reference = spec.get("claimRef")
    if reference:
        labels = {"name": reference.get("name", ""), "claim_namespace": reference.get("namespace", "")}
        add.add("kube_persistentvolume_claim_ref", **labels)
    add.add("kube_persistentvolume_volume_mode", volumemode=spec.get("volumeMode", "Filesystem"))
    for mode in spec.get("accessModes") or ():
        add.add("kube_persistentvolume_access_mode", access_mode=mode)
    add.times("kube_persistentvolume_", meta, deletion_timestamp="deletionTimestamp")


def storage_class(add: Samples, _: Object, obj: Object) -> None:
    """Say what there is of a StorageClass."""
    add.add(
        "kube_storageclass_info",
        provisioner=obj.get("provisioner", ""),
        reclaim_policy=obj.get("reclaimPolicy", "Delete"),
        volume_binding_mode=obj.get("volumeBindingMode", "Immediate"),
    )


def attachment(add: Samples, _: Object, obj: Object) -> None:
    """Say what there is of a VolumeAttachment."""
    spec, status = obj["spec"], obj.get("status") or {}
    add.add("kube_volumeattachment_info", attacher=spec["attacher"], node=spec["nodeName"])
    name = (spec.get("source") or {}).get("persistentVolumeName")
    if name:
        add.add("kube_volumeattachment_spec_source_persistentvolume", volumename=name)
    add.add("kube_volumeattachment_status_attached", float(bool(status.get("attached"))))
