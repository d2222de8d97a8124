"""Feature gates that act in the cluster's parts: from which version they are on, unless a configuration says otherwise."""

from collections.abc import Mapping

CRASH_LOOP_MAX = "KubeletCrashLoopBackOffMax"
ENSURE_SECRET_PULLED_IMAGES = "KubeletEnsureSecretPulledImages"  # noqa: S105 - a gate's name
# Was to let a Deployment wait for terminating pods; no release has it.
DEPLOYMENT_POD_REPLACEMENT = "DeploymentPodReplacementPolicy"
DYNAMIC_RESOURCES = "DynamicResourceAllocation"
HPA_TOLERANCE = "HPAConfigurableTolerance"
IMAGE_VOLUME = "ImageVolume"
OBSERVED_GENERATION = "PodObservedGenerationTracking"
POP_FROM_BACKOFF = "SchedulerPopFromBackoffQ"
PREFER_SAME = "PreferSameTrafficDistribution"
REDUCED_CRASH_LOOP = "ReduceDefaultCrashLoopBackOffDecay"
SET_MAX_UNAVAILABLE = "MaxUnavailableStatefulSet"
TERMINATING_REPLICAS = "DeploymentReplicaSetTerminatingReplicas"
RESTART_RULES = "ContainerRestartRules"
STOP_SIGNALS = "ContainerStopSignals"
TOKENS_FOR_CREDENTIAL_PROVIDERS = "KubeletServiceAccountTokenForCredentialProviders"

# Gate → the first minor where it is on by default (pkg/features/kube_features.go); None: nowhere yet.
_ON_FROM = {
    CRASH_LOOP_MAX: 35,
    ENSURE_SECRET_PULLED_IMAGES: 35,
    DEPLOYMENT_POD_REPLACEMENT: None,
    DYNAMIC_RESOURCES: 34,
    HPA_TOLERANCE: 35,
    IMAGE_VOLUME: 35,
    OBSERVED_GENERATION: 34,
    POP_FROM_BACKOFF: 33,
    PREFER_SAME: 34,
    SET_MAX_UNAVAILABLE: 35,
    TERMINATING_REPLICAS: 35,
    REDUCED_CRASH_LOOP: None,
    RESTART_RULES: 35,
    STOP_SIGNALS: None,
    TOKENS_FOR_CREDENTIAL_PROVIDERS: 34,
}
GATES = tuple(_ON_FROM)

# Every gate that acts somewhere in the cluster; the last one in the API server's answers.
ACTING = frozenset(_ON_FROM) | {"APIResponseCompression"}


def gates_on(minor: int, said: Mapping[str, bool]) -> frozenset[str]:
    """Return the gates that are on.

    Args:
        minor: Kubernetes' minor version.
        said: Gate → on or off, as a configuration's featureGates have it.
    """
    return frozenset(gate for gate, first in _ON_FROM.items() if said.get(gate, first is not None and minor >= first))
