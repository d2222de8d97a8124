"""kube-state-metrics' series of what is neither node nor pod nor workload of replicas: jobs, claims, quotas, budgets, ….

One table: a kind, and what makes its lines of one object. Names and labels are those of kube-state-metrics 2.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kubedyno.base.times import epoch_of
from kubedyno.cluster.apiserver.exposition import Page
from kubedyno.kube.quantity import Quantity
from kubedyno.kube.resources import (
    AUTOSCALERS,
    CLAIMS,
    CRONJOBS,
    DISRUPTIONBUDGETS,
    INGRESSES,
    JOBS,
    RESOURCEQUOTAS,
    VOLUMES,
    Resource,
)

Object = dict[str, Any]
_Labels = Mapping[str, str]


_CLAIM_PHASES = ("Lost", "Bound", "Pending")
_VOLUME_PHASES = ("Pending", "Available", "Bound", "Released", "Failed")


def _gauge(page: Page, name: str, labels: _Labels, value: float, about: str) -> None:
    page.add(name, "gauge", about, labels, value)


def _fields(page: Page, prefix: str, of: _Labels, values: Object, names: Mapping[str, str], about: str) -> None:
    """Add the numbers that an object says; what it does not say has no sample."""
    for name, field in names.items():
        if values.get(field) is not None:
            _gauge(page, prefix + name, of, values[field], about)


def _times(page: Page, prefix: str, of: _Labels, values: Object, names: Mapping[str, str]) -> None:
    for name, field in names.items():
        if values.get(field):
            _gauge(page, prefix + name, of, epoch_of(values[field]), "Epoch seconds.")


def _bytes(text: object) -> float:
    return float(Quantity.parse(str(text)).amount)


def _job(page: Page, of: _Labels, obj: Object) -> None:
    spec, status = obj["spec"], obj.get("status") or {}
    _gauge(page, "kube_job_info", of, 1, "A Job.")
    _fields(page, "kube_job_spec_", of, spec, {"completions": "completions", "parallelism": "parallelism"}, "Wanted.")
    counted = {name: status.get(name, 0) for name in ("active", "succeeded", "failed")}
    _fields(page, "kube_job_status_", of, counted, {name: name for name in counted}, "Its pods.")
    _times(page, "kube_job_status_", of, status, {"start_time": "startTime", "completion_time": "completionTime"})
    for condition in status.get("conditions") or ():
        family = {"Complete": "kube_job_complete", "Failed": "kube_job_failed"}.get(condition["type"])
        if family:
            for value in ("true", "false", "unknown"):
                here = float(condition["status"].lower() == value)
                _gauge(page, family, {**of, "condition": value}, here, "How it ended.")
    for owner in obj["metadata"].get("ownerReferences") or ():
        labels = {"owner_kind": owner["kind"], "owner_name": owner["name"]}
        controls = str(bool(owner.get("controller"))).lower()
        _gauge(page, "kube_job_owner", {**of, **labels, "owner_is_controller": controls}, 1, "Whose it is.")


def _cronjob(page: Page, of: _Labels, obj: Object) -> None:
    spec, status = obj["spec"], obj.get("status") or {}
    labels = {"schedule": spec["schedule"], "concurrency_policy": spec.get("concurrencyPolicy", "")}
    _gauge(page, "kube_cronjob_info", {**of, **labels}, 1, "A CronJob.")
    _gauge(page, "kube_cronjob_spec_suspend", of, float(bool(spec.get("suspend"))), "It is held.")
    _gauge(page, "kube_cronjob_status_active", of, len(status.get("active") or ()), "Its Jobs that run.")
    last = {"last_schedule_time": "lastScheduleTime", "last_successful_time": "lastSuccessfulTime"}
    _times(page, "kube_cronjob_status_", of, status, last)


def _claim(page: Page, of: _Labels, obj: Object) -> None:
    spec = obj["spec"]
    labels = {"storageclass": spec.get("storageClassName", ""), "volumename": spec.get("volumeName", "")}
    _gauge(page, "kube_persistentvolumeclaim_info", {**of, **labels}, 1, "A claim.")
    _phases(page, "kube_persistentvolumeclaim_status_phase", of, obj, _CLAIM_PHASES)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is not None:
        _gauge(page, "kube_persistentvolumeclaim_resource_requests_storage_bytes", of, _bytes(storage), "Asked for.")


def _volume(page: Page, of: _Labels, obj: Object) -> None:
    spec = obj["spec"]
    claim = spec.get("claimRef") or {}
    _gauge(page, "kube_persistentvolume_info", {**of, "storageclass": spec.get("storageClassName", "")}, 1, "A volume.")
    _phases(page, "kube_persistentvolume_status_phase", of, obj, _VOLUME_PHASES)
    storage = (spec.get("capacity") or {}).get("storage")
    if storage is not None:
        _gauge(page, "kube_persistentvolume_capacity_bytes", of, _bytes(storage), "Its size.")
    if claim:
        labels = {"name": claim.get("name", ""), "claim_namespace": claim.get("namespace", "")}
        _gauge(page, "kube_persistentvolume_claim_ref", {**of, **labels}, 1, "Whose it is.")


def _phases(page: Page, family: str, of: _Labels, obj: Object, phases: tuple[str, ...]) -> None:
    phase = (obj.get("status") or {}).get("phase")
    for each in phases:
        _gauge(page, family, {**of, "phase": each}, float(phase == each), "Its phase.")


def _quota(page: Page, of: _Labels, obj: Object) -> None:
    status = obj.get("status") or {}
    for kind in ("hard", "used"):
        for resource, amount in (status.get(kind) or {}).items():
            _gauge(page, "kube_resourcequota", {**of, "resource": resource, "type": kind}, _bytes(amount), "A quota.")


def _budget(page: Page, of: _Labels, obj: Object) -> None:
    names = {
        "current_healthy": "currentHealthy",
        "desired_healthy": "desiredHealthy",
        "pod_disruptions_allowed": "disruptionsAllowed",
        "expected_pods": "expectedPods",
        "observed_generation": "observedGeneration",
    }
    _fields(page, "kube_poddisruptionbudget_status_", of, obj.get("status") or {}, names, "A budget.")


def _autoscaler(page: Page, of: _Labels, obj: Object) -> None:
    spec, status, scaled = obj["spec"], obj.get("status") or {}, obj["spec"]["scaleTargetRef"]
    labels = {"scaletargetref_kind": scaled["kind"], "scaletargetref_name": scaled["name"]}
    _gauge(page, "kube_horizontalpodautoscaler_info", {**of, **labels}, 1, "An autoscaler.")
    wanted = {"max_replicas": "maxReplicas", "min_replicas": "minReplicas"}
    _fields(page, "kube_horizontalpodautoscaler_spec_", of, spec, wanted, "Its bounds.")
    now = {"current_replicas": status.get("currentReplicas", 0), "desired_replicas": status.get("desiredReplicas", 0)}
    _fields(page, "kube_horizontalpodautoscaler_status_", of, now, {name: name for name in now}, "Pods.")


def _ingress(page: Page, of: _Labels, obj: Object) -> None:
    ingress_class = obj["spec"].get("ingressClassName", "")
    _gauge(page, "kube_ingress_info", {**of, "ingressclass": ingress_class}, 1, "An Ingress.")


# Kind → (its name in series, its label, what adds an object's lines).
OBJECTS: dict[Resource, tuple[str, str, Callable[[Page, _Labels, Object], None]]] = {
    JOBS: ("job", "job_name", _job),
    CRONJOBS: ("cronjob", "cronjob", _cronjob),
    CLAIMS: ("persistentvolumeclaim", "persistentvolumeclaim", _claim),
    VOLUMES: ("persistentvolume", "persistentvolume", _volume),
    RESOURCEQUOTAS: ("resourcequota", "resourcequota", _quota),
    DISRUPTIONBUDGETS: ("poddisruptionbudget", "poddisruptionbudget", _budget),
    AUTOSCALERS: ("horizontalpodautoscaler", "horizontalpodautoscaler", _autoscaler),
    INGRESSES: ("ingress", "ingress", _ingress),
}


def add(page: Page, resource: Resource, obj: Object) -> None:
    """Add the lines of an object of one of `OBJECTS`."""
    name, label, lines = OBJECTS[resource]
    meta = obj["metadata"]
    of = {"namespace": meta["namespace"], label: meta["name"]} if resource.namespaced else {label: meta["name"]}
    _gauge(page, f"kube_{name}_created", of, epoch_of(meta["creationTimestamp"]), "Creation.")
    lines(page, of, obj)
