"""Feature gates that act in a kubelet: from which version they are on, unless its configuration says otherwise."""

ENSURE_SECRET_PULLED_IMAGES = "KubeletEnsureSecretPulledImages"  # noqa: S105 - a gate's name
TOKENS_FOR_CREDENTIAL_PROVIDERS = "KubeletServiceAccountTokenForCredentialProviders"
CRASH_LOOP_MAX = "KubeletCrashLoopBackOffMax"
REDUCED_CRASH_LOOP = "ReduceDefaultCrashLoopBackOffDecay"
RESTART_RULES = "ContainerRestartRules"
STOP_SIGNALS = "ContainerStopSignals"

# Gate → the first minor where it is on by default (pkg/features/kube_features.go); None: nowhere yet.
_ON_FROM = {
    ENSURE_SECRET_PULLED_IMAGES: 35,
    TOKENS_FOR_CREDENTIAL_PROVIDERS: 34,
    CRASH_LOOP_MAX: 35,
    REDUCED_CRASH_LOOP: None,
    RESTART_RULES: 35,
    STOP_SIGNALS: None,
}


def gates_on(minor: int, said: dict[str, bool]) -> frozenset[str]:
    """Return the gates that are on.

    Args:
        minor: Kubernetes' minor version.
        said: Gate → on or off, as a configuration's featureGates have it.
    """
    return frozenset(gate for gate, first in _ON_FROM.items() if said.get(gate, first is not None and minor >= first))
