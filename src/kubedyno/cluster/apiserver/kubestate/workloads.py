"""Workloads of replicas: Deployments, ReplicaSets, ReplicationControllers, StatefulSets, DaemonSets."""

import math

from kubedyno.cluster.apiserver.kubestate.samples import Object, Samples


def deployment(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a Deployment."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    replicas = spec.get("replicas", 1)
    add.owners("kube_deployment_owner", meta, controls=False)
    add.counts(
        "kube_deployment_status_", status,
        replicas="replicas", replicas_ready="readyReplicas", replicas_available="availableReplicas",
        replicas_unavailable="unavailableReplicas", replicas_updated="updatedReplicas",
        observed_generation="observedGeneration",
    )  # fmt: skip
    add.fields("kube_deployment_status_", status, terminating_replicas="terminatingReplicas")
    for condition in status.get("conditions") or ():
        labels = {"reason": condition.get("reason", ""), "condition": condition["type"]}
        add.verdict("kube_deployment_status_condition", condition["status"], **labels)
    add.add("kube_deployment_spec_replicas", replicas)
    add.add("kube_deployment_spec_paused", float(bool(spec.get("paused"))))
    rolling = (spec.get("strategy") or {}).get("rollingUpdate")
    if rolling:
        prefix = "kube_deployment_spec_strategy_rollingupdate_max_"
        add.add(prefix + "unavailable", math.floor(_part(rolling.get("maxUnavailable", 1), replicas)))
        add.add(prefix + "surge", math.ceil(_part(rolling.get("maxSurge", 1), replicas)))
    _generation(add, "deployment", meta)


def _part(value: int | str, of: int) -> float:
    """Return a number, or so many percent of another one."""
    return value if isinstance(value, int) else int(value.rstrip("%")) * of / 100


def _generation(add: Samples, kind: str, meta: Object) -> None:
    add.fields(f"kube_{kind}_", meta, metadata_generation="generation")
    add.times(f"kube_{kind}_", meta, deletion_timestamp="deletionTimestamp")


def replica_set(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a ReplicaSet."""
    _replicas(add, "replicaset", meta, obj)


def replication_controller(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a ReplicationController."""
    _replicas(add, "replicationcontroller", meta, obj, available_replicas="availableReplicas")


def _replicas(add: Samples, kind: str, meta: Object, obj: Object, **more: str) -> None:
    """Say what there is of a set of equal pods, with what one kind alone counts (`Samples.counts`)."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    add.counts(
        f"kube_{kind}_status_", status,
        replicas="replicas", fully_labeled_replicas="fullyLabeledReplicas", ready_replicas="readyReplicas", **more,
        observed_generation="observedGeneration",
    )  # fmt: skip
    add.fields(f"kube_{kind}_status_", status, terminating_replicas="terminatingReplicas")
    add.fields(f"kube_{kind}_", spec, spec_replicas="replicas")
    add.fields(f"kube_{kind}_", meta, metadata_generation="generation")
    add.owners(f"kube_{kind}_owner", meta)


def stateful_set(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a StatefulSet."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    add.counts(
        "kube_statefulset_status_", status,
        replicas="replicas", replicas_available="availableReplicas", replicas_current="currentReplicas",
        replicas_ready="readyReplicas", replicas_updated="updatedReplicas", observed_generation="observedGeneration",
    )  # fmt: skip
    add.fields("kube_statefulset_", spec, replicas="replicas")
    add.fields("kube_statefulset_ordinals_", spec.get("ordinals") or {}, start="start")
    policy = spec.get("persistentVolumeClaimRetentionPolicy")
    if policy:
        labels = {"when_deleted": policy.get("whenDeleted", ""), "when_scaled": policy.get("whenScaled", "")}
        add.add("kube_statefulset_persistentvolumeclaim_retention_policy", **labels)
    for which in ("current", "update"):
        add.add(f"kube_statefulset_status_{which}_revision", revision=status.get(f"{which}Revision", ""))
    _generation(add, "statefulset", meta)


def daemon_set(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a DaemonSet."""
    add.counts(
        "kube_daemonset_status_", obj.get("status") or {},
        current_number_scheduled="currentNumberScheduled", desired_number_scheduled="desiredNumberScheduled",
        number_available="numberAvailable", number_misscheduled="numberMisscheduled", number_ready="numberReady",
        number_unavailable="numberUnavailable", observed_generation="observedGeneration",
        updated_number_scheduled="updatedNumberScheduled",
    )  # fmt: skip
    _generation(add, "daemonset", meta)
