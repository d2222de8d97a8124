"""What is read of a Job: its spec as typed values, and the names that its pods carry."""

from typing import Any

import msgspec

INDEX_KEY = "batch.kubernetes.io/job-completion-index"
FAILURES_KEY = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES_KEY = "batch.kubernetes.io/job-index-ignored-failure-count"
TRACKING = "batch.kubernetes.io/job-tracking"
CONTROLLER = "kubernetes.io/job-controller"


class ExitCodes(msgspec.Struct, frozen=True):
    """Exit codes of containers, or all others."""

    operator: str
    values: list[int]
    containerName: str | None = None


class PodCondition(msgspec.Struct, frozen=True):
    """A condition that a failed pod has."""

    type: str
    status: str = "True"


class FailureRule(msgspec.Struct, frozen=True):
    """What a kind of failure leads to."""

    action: str
    onExitCodes: ExitCodes | None = None
    onPodConditions: list[PodCondition] = []


class FailurePolicy(msgspec.Struct, frozen=True):
    """Rules, the first that matches counts."""

    rules: list[FailureRule] = []


class SuccessRule(msgspec.Struct, frozen=True):
    """Which indexes, and how many of them, are enough."""

    succeededIndexes: str | None = None
    succeededCount: int | None = None


class SuccessPolicy(msgspec.Struct, frozen=True):
    """Rules, one is enough."""

    rules: list[SuccessRule] = []


class JobSpec(msgspec.Struct, frozen=True):
    """A Job's spec."""

    template: dict[str, Any]
    selector: dict[str, Any] | None = None
    parallelism: int = 1
    completions: int | None = None
    backoffLimit: int = 6
    backoffLimitPerIndex: int | None = None
    maxFailedIndexes: int | None = None
    completionMode: str = "NonIndexed"
    suspend: bool = False
    activeDeadlineSeconds: int | None = None
    ttlSecondsAfterFinished: int | None = None
    podFailurePolicy: FailurePolicy | None = None
    successPolicy: SuccessPolicy | None = None
    podReplacementPolicy: str = "TerminatingOrFailed"
    managedBy: str = CONTROLLER

    @property
    def indexed(self) -> bool:
        return self.completionMode == "Indexed"

    @property
    def replaces_failed_only(self) -> bool:
        """A pod counts as failed, and is replaced, only when it has ended."""
        return self.podReplacementPolicy == "Failed"


class _Body(msgspec.Struct):
    spec: JobSpec


_decoder = msgspec.json.Decoder(_Body)


def spec_of(body: bytes) -> JobSpec:
    """Return the spec in a stored Job's body."""
    return _decoder.decode(b"{" + body + b"}").spec


def stamped_template(spec: JobSpec) -> dict[str, Any]:
    """Return the template that a Job's pods are made from: an indexed one tells each container its index."""
    template = {**spec.template, "metadata": {**spec.template.get("metadata", {})}}
    finalizers = template["metadata"].get("finalizers", [])
    template["metadata"]["finalizers"] = [*finalizers, TRACKING]
    if spec.indexed:
        source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX_KEY}']"}}
        variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}
        pod_spec = template["spec"] = dict(template["spec"])
        for member in ("initContainers", "containers"):
            if member in pod_spec:
                pod_spec[member] = [_told(container, variable) for container in pod_spec[member]]
    return template


def _told(container: dict[str, Any], variable: dict[str, Any]) -> dict[str, Any]:
    env = container.get("env", [])
    if any(entry["name"] == variable["name"] for entry in env):
        return container
    return {**container, "env": [*env, variable]}
