"""Feature gates that act in API server and kubelets: from which version they are on, unless a configuration says otherwise."""

from collections.abc import Mapping

CRASH_LOOP_MAX = "KubeletCrashLoopBackOffMax"
ENSURE_SECRET_PULLED_IMAGES = "KubeletEnsureSecretPulledImages"  # noqa: S105 - a gate's name
IMAGE_VOLUME = "ImageVolume"
REDUCED_CRASH_LOOP = "ReduceDefaultCrashLoopBackOffDecay"
RESTART_RULES = "ContainerRestartRules"
STOP_SIGNALS = "ContainerStopSignals"
TOKENS_FOR_CREDENTIAL_PROVIDERS = "KubeletServiceAccountTokenForCredentialProviders"

# Gate → the first minor where it is on by default (pkg/features/kube_features.go); None: nowhere yet.
_ON_FROM = {
    CRASH_LOOP_MAX: 35,
    ENSURE_SECRET_PULLED_IMAGES: 35,
    IMAGE_VOLUME: 35,
    REDUCED_CRASH_LOOP: None,
    RESTART_RULES: 35,
    STOP_SIGNALS: None,
    TOKENS_FOR_CREDENTIAL_PROVIDERS: 34,
}


def gates_on(minor: int, said: Mapping[str, bool]) -> frozenset[str]:
    """Return the gates that are on.

    Args:
        minor: Kubernetes' minor version.
        said: Gate → on or off, as a configuration's featureGates have it.
    """
    return frozenset(gate for gate, first in _ON_FROM.items() if said.get(gate, first is not None and minor >= first))
