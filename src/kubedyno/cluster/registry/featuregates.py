"""Feature gates that act in the cluster's parts: from which version they are on, unless a configuration says otherwise."""

from collections.abc import Mapping

CLUSTER_TRUST_BUNDLES = "ClusterTrustBundleProjection"
CRASH_LOOP_MAX = "KubeletCrashLoopBackOffMax"
ENSURE_SECRET_PULLED_IMAGES = "KubeletEnsureSecretPulledImages"  # noqa: S105 - a gate's name
# Was to let a Deployment wait for terminating pods; no release has it.
DEPLOYMENT_POD_REPLACEMENT = "DeploymentPodReplacementPolicy"
DYNAMIC_RESOURCES = "DynamicResourceAllocation"
GENERIC_WORKLOAD = "GenericWorkload"
HPA_TOLERANCE = "HPAConfigurableTolerance"
IMAGE_VOLUME = "ImageVolume"
OBSERVED_GENERATION = "PodObservedGenerationTracking"
POD_CERTIFICATES = "PodCertificateRequest"
POP_FROM_BACKOFF = "SchedulerPopFromBackoffQ"
PREFER_SAME = "PreferSameTrafficDistribution"
REDUCED_CRASH_LOOP = "ReduceDefaultCrashLoopBackOffDecay"
SET_MAX_UNAVAILABLE = "MaxUnavailableStatefulSet"
TERMINATING_REPLICAS = "DeploymentReplicaSetTerminatingReplicas"
RESTART_RULES = "ContainerRestartRules"
SLEEP_ZERO = "PodLifecycleSleepActionAllowZero"
STOP_SIGNALS = "ContainerStopSignals"
TOKENS_FOR_CREDENTIAL_PROVIDERS = "KubeletServiceAccountTokenForCredentialProviders"

# Gate → the first minor where it is on by default (pkg/features/kube_features.go); None: nowhere yet.
_ON_FROM = {
    CLUSTER_TRUST_BUNDLES: None,
    CRASH_LOOP_MAX: 35,
    ENSURE_SECRET_PULLED_IMAGES: 35,
    DEPLOYMENT_POD_REPLACEMENT: None,
    DYNAMIC_RESOURCES: 34,
    GENERIC_WORKLOAD: None,
    HPA_TOLERANCE: 35,
    IMAGE_VOLUME: 35,
    OBSERVED_GENERATION: 34,
    POD_CERTIFICATES: None,
    POP_FROM_BACKOFF: 33,
    PREFER_SAME: 34,
    SET_MAX_UNAVAILABLE: 35,
    TERMINATING_REPLICAS: 35,
    REDUCED_CRASH_LOOP: None,
    RESTART_RULES: 35,
    SLEEP_ZERO: 33,
    STOP_SIGNALS: None,
    TOKENS_FOR_CREDENTIAL_PROVIDERS: 34,
}
# Gate → the first minor where it is off again.
_OFF_FROM = {SET_MAX_UNAVAILABLE: 36}
# Gate → the first minor where it is beta, though off.
_BETA_FROM = {CLUSTER_TRUST_BUNDLES: 33, POD_CERTIFICATES: 35}
# Gate → the first minor where it is general availability.
_GENERAL_FROM = {DYNAMIC_RESOURCES: 34, IMAGE_VOLUME: 36, OBSERVED_GENERATION: 35, PREFER_SAME: 35, SLEEP_ZERO: 34}
# Those that an API server lists; one that no release has is listed only when it is set.
GATES = tuple(gate for gate in _ON_FROM if gate != DEPLOYMENT_POD_REPLACEMENT)

# Every gate that acts somewhere in the cluster; the last one in the API server's answers.
ACTING = frozenset(_ON_FROM) | {"APIResponseCompression"}


def gates_on(minor: int, said: Mapping[str, bool]) -> frozenset[str]:
    """Return the gates that are on.

    Args:
        minor: Kubernetes' minor version.
        said: Gate → on or off, as a configuration's featureGates have it.
    """
    return frozenset(
        gate
        for gate, first in _ON_FROM.items()
        if said.get(gate, first is not None and first <= minor < _OFF_FROM.get(gate, minor + 1))
    )


def stage_of(gate: str, minor: int) -> str:
    """Return a gate's stage as `kubernetes_feature_enabled` has it: "ALPHA", "BETA", or "" for general availability."""
    if minor >= _GENERAL_FROM.get(gate, minor + 1):
        return ""
    first = _BETA_FROM.get(gate, _ON_FROM.get(gate))
    return "BETA" if first is not None and minor >= first else "ALPHA"
