"""Namespaces, ConfigMaps, Secrets, quotas, limits, budgets, autoscalers and leases."""

from kubedyno.base.times import epoch_of
from kubedyno.cluster.apiserver.kubestate.samples import Object, Samples, amount, resource_label

_CONSTRAINTS = ("min", "max", "default", "defaultRequest", "maxLimitRequestRatio")


def namespace(add: Samples, _: Object, obj: Object) -> None:
    """Say what there is of a Namespace."""
    status = obj.get("status") or {}
    add.states("kube_namespace_status_phase", status.get("phase"), ("Active", "Terminating"), "phase")
    for condition in status.get("conditions") or ():
        add.verdict("kube_namespace_status_condition", condition["status"], condition=condition["type"])


def config_map(add: Samples, meta: Object, _: Object) -> None:
    """Say what there is of a ConfigMap."""
    add.add("kube_configmap_info")
    add.add("kube_configmap_metadata_resource_version", float(meta["resourceVersion"]))


def secret(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a Secret, but not its data."""
    add.add("kube_secret_info")
    add.add("kube_secret_type", type=obj.get("type", ""))
    add.add("kube_secret_metadata_resource_version", float(meta["resourceVersion"]))
    add.owners("kube_secret_owner", meta)


def quota(add: Samples, _: Object, obj: Object) -> None:
    """Say what there is of a ResourceQuota."""
    status = obj.get("status") or {}
    for kind in ("hard", "used"):
        for name, text in (status.get(kind) or {}).items():
            add.add("kube_resourcequota", amount(text), resource=name, type=kind)


def limit_range(add: Samples, _: Object, obj: Object) -> None:
    """Say what there is of a LimitRange."""
    for item in (obj.get("spec") or {}).get("limits") or ():
        for constraint in _CONSTRAINTS:
            for name, text in (item.get(constraint) or {}).items():
                labels = {"resource": name, "type": item["type"], "constraint": constraint}
                add.add("kube_limitrange", amount(text), **labels)


def budget(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a PodDisruptionBudget."""
    add.counts(
        "kube_poddisruptionbudget_status_", obj.get("status") or {},
        current_healthy="currentHealthy", desired_healthy="desiredHealthy",
        pod_disruptions_allowed="disruptionsAllowed", expected_pods="expectedPods",
        observed_generation="observedGeneration",
    )  # fmt: skip
    add.times("kube_poddisruptionbudget_", meta, deletion_timestamp="deletionTimestamp")


def autoscaler(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a HorizontalPodAutoscaler."""
    prefix = "kube_horizontalpodautoscaler_"
    spec, status = obj["spec"], obj.get("status") or {}
    scaled = spec["scaleTargetRef"]
    labels = {"scaletargetref_kind": scaled["kind"], "scaletargetref_name": scaled["name"]}
    if scaled.get("apiVersion"):
        labels = {"scaletargetref_api_version": scaled["apiVersion"], **labels}
    add.add(prefix + "info", **labels)
    add.counts(prefix, meta, metadata_generation="generation")
    add.fields(prefix + "spec_", spec, max_replicas="maxReplicas", min_replicas="minReplicas")
    add.counts(prefix + "status_", status, current_replicas="currentReplicas", desired_replicas="desiredReplicas")
    for metric in spec.get("metrics") or ():
        _target(add, prefix + "spec_target_metric", metric, "target")
    for metric in status.get("currentMetrics") or ():
        _target(add, prefix + "status_target_metric", metric, "current")
    for condition in status.get("conditions") or ():
        add.verdict(prefix + "status_condition", condition["status"], condition=condition["type"])
    for way, field in (("up", "scaleUp"), ("down", "scaleDown")):
        tolerance = ((spec.get("behavior") or {}).get(field) or {}).get("tolerance")
        if tolerance is not None:
            add.add(f"{prefix}spec_behavior_scale_{way}_tolerance", amount(tolerance))
    add.times(prefix, meta, deletion_timestamp="deletionTimestamp")


def _target(add: Samples, family: str, metric: Object, member: str) -> None:
    kind = metric.get("type", "")
    source = metric.get(kind[:1].lower() + kind[1:]) or {}
    name = source.get("name") or (source.get("metric") or {}).get("name", "")
    about = {"metric_name": resource_label(name), "container": source.get("container", "")}
    for field, label in (("value", "value"), ("averageUtilization", "utilization"), ("averageValue", "average")):
        value = (source.get(member) or {}).get(field)
        if value is not None:
            add.add(family, amount(value), **about, metric_target_type=label)


def lease(add: Samples, meta: Object, obj: Object) -> None:
    """Say what there is of a Lease."""
    spec = obj.get("spec") or {}
    of = {"namespace": meta["namespace"]}
    add.owners("kube_lease_owner", meta, controls=False, **of, lease_holder=spec.get("holderIdentity") or "")
    if spec.get("renewTime"):
        add.add("kube_lease_renew_time", epoch_of(spec["renewTime"]), **of)


def signing_request(add: Samples, _: Object, obj: Object) -> None:
    """Say what there is of a CertificateSigningRequest."""
    status = obj.get("status") or {}
    verdicts = [condition["type"] for condition in status.get("conditions") or ()]
    for verdict in ("Approved", "Denied", "Failed"):
        family = "kube_certificatesigningrequest_condition"
        add.add(family, float(verdicts.count(verdict)), condition=verdict.lower())
    add.add("kube_certificatesigningrequest_cert_length", len(status.get("certificate") or ""))
