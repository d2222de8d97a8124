"""Fields that an API server takes only while their feature gate is on: of pods, and of autoscalers.

Off, they are dropped from what clients write, without a word, unless the stored object has them already (the strategies'
dropDisabledFields).
"""

from collections.abc import Callable, Iterator
from typing import Any

from kubedyno.cluster.registry.featuregates import (
    CLUSTER_TRUST_BUNDLES,
    GENERIC_WORKLOAD,
    HPA_TOLERANCE,
    IMAGE_VOLUME,
    POD_CERTIFICATES,
    RESTART_RULES,
    SET_MAX_UNAVAILABLE,
    SLEEP_ZERO,
    STOP_SIGNALS,
    gates_on,
)
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.kube.resources import Resource
from kubedyno.kube.status import Cause, invalid_value

Object = dict[str, Any]
# Groups and plural names of the resources that have a pod spec in them, and of autoscalers.
_GATED = frozenset({
    ("", "pods"), ("", "podtemplates"), ("", "replicationcontrollers"), ("apps", "daemonsets"), ("apps", "deployments"),
    ("apps", "replicasets"), ("apps", "statefulsets"), ("autoscaling", "horizontalpodautoscalers"), ("batch", "cronjobs"),
    ("batch", "jobs"),
})  # fmt: skip
_GROUPS = ("containers", "initContainers", "ephemeralContainers")


def has_gated_fields(resource: Resource) -> bool:
    """Say whether objects of a resource can have such fields; others' groups may use the same plural names."""
    return (resource.group, resource.plural) in _GATED


def _stop_signals(spec: Object) -> Iterator[tuple[Object, str]]:
    for container in _containers(spec):
        lifecycle = container.get("lifecycle")
        if lifecycle and "stopSignal" in lifecycle:
            yield lifecycle, "stopSignal"


def _restart_rules(spec: Object) -> Iterator[tuple[Object, str]]:
    for container in _containers(spec):
        if "restartPolicyRules" in container:
            yield container, "restartPolicyRules"
    for container in spec.get("containers") or ():
        if "restartPolicy" in container:
            yield container, "restartPolicy"


def _image_volumes(spec: Object) -> Iterator[tuple[Object, str]]:
    for volume in spec.get("volumes") or ():
        if "image" in volume:
            yield volume, "image"


def _projected(name: str) -> Callable[[Object], Iterator[tuple[Object, str]]]:
    """Return what finds a source of projected volumes."""

    def find(spec: Object) -> Iterator[tuple[Object, str]]:
        for volume in spec.get("volumes") or ():
            for source in volume["projected"].get("sources") or () if "projected" in volume else ():
                if name in source:
                    yield source, name

    return find


def _scheduling_groups(spec: Object) -> Iterator[tuple[Object, str]]:
    if "schedulingGroup" in spec:
        yield spec, "schedulingGroup"


def _tolerances(spec: Object) -> Iterator[tuple[Object, str]]:
    for rules in (spec.get("behavior") or {}).values():
        if rules and "tolerance" in rules:
            yield rules, "tolerance"


def _containers(spec: Object) -> Iterator[Object]:
    for group in _GROUPS:
        yield from spec.get(group) or ()


# Gate → finds the places of its fields in the spec of a pod or autoscaler.
_FIELDS: dict[str, Callable[[Object], Iterator[tuple[Object, str]]]] = {
    STOP_SIGNALS: _stop_signals,
    RESTART_RULES: _restart_rules,
    IMAGE_VOLUME: _image_volumes,
    HPA_TOLERANCE: _tolerances,
    GENERIC_WORKLOAD: _scheduling_groups,
}
# Gate → its source of projected volumes.
_SOURCES = {CLUSTER_TRUST_BUNDLES: "clusterTrustBundle", POD_CERTIFICATES: "podCertificate"}


class DisabledFields:
    """Drops them.

    Args:
        settings: Version and gates of the cluster.
    """

    def __init__(self, settings: ClusterSettings) -> None:
        on = gates_on(settings.minor, settings.feature_gates)
        self._sleeps_zero = SLEEP_ZERO in on
        self._one_at_a_time = SET_MAX_UNAVAILABLE not in on
        self._sources = frozenset(name for gate, name in _SOURCES.items() if gate not in on)
        self._finders = tuple(find for gate, find in _FIELDS.items() if gate not in on)

    def drop(self, new: Object, old: Object | None = None) -> None:
        """Drop the fields that are off from an object, in place.

        Args:
            new: A pod, anything with a pod template, or an autoscaler.
            old: What is stored: fields that it uses stay.
        """
        if self._one_at_a_time:
            rolling = _sets_rolling_update(new)
            if rolling is not None and (old is None or "maxUnavailable" not in (_sets_rolling_update(old) or {})):
                rolling.pop("maxUnavailable", None)
        if not (self._finders or self._sources):
            return
        spec = _spec_of(new)
        if spec is None:
            return
        before = _spec_of(old) if old is not None else None
        for volume in spec.get("volumes") or ():
            if "projected" in volume:
                for source in volume["projected"].get("sources") or ():
                    if not self._sources.isdisjoint(source):
                        self._drop_sources(source, before)
        for find in self._finders:
            places = list(find(spec))
            if places and not (before is not None and next(find(before), None)):
                for place, field in places:
                    del place[field]
                if find is _stop_signals:
                    for container in _containers(spec):
                        if container.get("lifecycle") == {}:
                            del container["lifecycle"]

    def _drop_sources(self, source: Object, before: Object | None) -> None:
        for name in self._sources.intersection(source):
            if before is None or next(_projected(name)(before), None) is None:
                del source[name]

    def causes(self, new: Object, old: Object | None = None) -> list[Cause]:
        """Return what is wrong with an object because a gate is off; what is stored already may stay."""
        spec = None if self._sleeps_zero else _spec_of(new)
        if spec is None:
            return []
        before = _spec_of(old) if old is not None else None
        if before is not None and next(_naps(before), None):
            return []
        grace = spec.get("terminationGracePeriodSeconds", 30)
        text = (
            f"must be greater than 0 and less than terminationGracePeriodSeconds ({grace}). Enable "
            f"{SLEEP_ZERO} feature gate for zero sleep."
        )
        return [invalid_value(f"{_path_of(new)}.{path}", 0, text) for path in _naps(spec)]


def _sets_rolling_update(obj: Object) -> Object | None:
    """Return how a StatefulSet replaces its pods, None for anything else."""
    spec = obj.get("spec")
    if not isinstance(spec, dict) or "podManagementPolicy" not in spec:
        return None
    rolling = spec["updateStrategy"].get("rollingUpdate")
    return rolling if isinstance(rolling, dict) else None


def _naps(spec: Object) -> Iterator[str]:
    """Yield the paths of hooks that sleep for no time."""
    for group in _GROUPS:
        for index, container in enumerate(spec.get(group) or ()):
            for hook, handler in (container.get("lifecycle") or {}).items():
                if isinstance(handler, dict) and (handler.get("sleep") or {}).get("seconds", 1) == 0:
                    yield f"{group}[{index}].lifecycle.{hook}.sleep"


def _path_of(obj: Object) -> str:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return "template.spec"
    if "containers" in spec:
        return "spec"
    return "spec.jobTemplate.spec.template.spec" if "jobTemplate" in spec else "spec.template.spec"


def _spec_of(obj: Object) -> Object | None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        template = obj.get("template")
        inner = template.get("spec") if isinstance(template, dict) else None
        return inner if isinstance(inner, dict) else None
    if "containers" in spec or "scaleTargetRef" in spec:
        return spec
    template = spec.get("template")
    if not isinstance(template, dict):
        job = spec.get("jobTemplate")
        template = (job.get("spec") or {}).get("template") if isinstance(job, dict) else None
    inner = template.get("spec") if isinstance(template, dict) else None
    return inner if isinstance(inner, dict) else None
