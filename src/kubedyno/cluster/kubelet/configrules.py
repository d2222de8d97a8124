"""What keeps a kubelet from starting with a configuration that can be read (pkg/kubelet/apis/config/validation)."""

from collections.abc import Callable
from typing import Any

from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.kubelet.images import image_of
from kubedyno.cluster.kubelet.latency import MAX_BACKOFF_S
from kubedyno.cluster.kubelet.pullrecords import NEVER_ALLOWLISTED, POLICIES
from kubedyno.cluster.registry.featuregates import CRASH_LOOP_MAX, ENSURE_SECRET_PULLED_IMAGES
from kubedyno.cluster.tracing import tracing_of
from kubedyno.kube.quantity import milli_of, value_of

Check = Callable[[dict[str, Any]], str]
_MAX_PORT = 65535
_RESERVATIONS = ("systemReserved", "kubeReserved")
_RESERVABLE = frozenset({"cpu", "ephemeral-storage", "memory", "pid"})


def threshold_bytes(text: str, capacity_bytes: int) -> int:
    """Return an eviction threshold: a quantity, or a share of the capacity ("5%"); 0 for none.

    Raises:
        ValueError: It is neither.
    """
    if text.endswith("%"):
        return int(float(text[:-1]) / 100 * capacity_bytes)
    return value_of(text) if text else 0


def _check_memory_threshold(config: dict[str, Any]) -> str:
    text = str((config.get("evictionHard") or {}).get("memory.available", ""))
    try:
        if threshold_bytes(text, 100) >= 0:
            return ""
    except ValueError:
        pass
    return f"invalid configuration: evictionHard memory.available: {text!r} is neither a quantity nor a percentage"


def reserved_of(config: dict[str, Any]) -> dict[str, int]:
    """Return what pods do not get: resource → milli-CPU or bytes, of kubeReserved and systemReserved together.

    Raises:
        ValueError: An amount is none; the text is the kubelet's.
    """
    found: dict[str, int] = {}
    for name in _RESERVATIONS:
        for resource, said in (config.get(name) or {}).items():
            if resource not in _RESERVABLE:
                raise ValueError(f'cannot reserve "{resource}" resource')
            try:
                amount = (milli_of if resource == "cpu" else value_of)(str(said))
            except ValueError as error:
                raise ValueError(f'failed to parse quantity "{said}" for "{resource}" resource: {error}') from error
            if amount < 0:
                raise ValueError(f'resource quantity for "{resource}" cannot be negative: {said}')
            found[resource] = found.get(resource, 0) + amount
    return found


def _check_reserved(config: dict[str, Any]) -> str:
    try:
        reserved_of(config)
    except ValueError as error:
        return str(error)
    return ""


def _check_tracing(config: dict[str, Any]) -> str:
    if config.get("tracing") is None:
        return ""
    try:
        tracing_of(config["tracing"])
    except ValueError as error:
        return f"tracing.{error}"
    return ""


def _check_shutdown(config: dict[str, Any]) -> str:
    whole, critical = (config.get(name) or "0s" for name in ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods"))
    if duration_ns_of(critical) > duration_ns_of(whole):
        return f"invalid configuration: shutdownGracePeriodCriticalPods {{{critical}}} must be <= shutdownGracePeriod {{{whole}}}"
    return ""


def _not_negative(name: str, flag: str) -> Check:
    def check(config: dict[str, Any]) -> str:
        value = config.get(name) or 0
        if value >= 0:
            return ""
        return f"invalid configuration: {name} (--{flag}) {value} must not be a negative number"

    return check


def _percent(name: str, flag: str) -> Check:
    def check(config: dict[str, Any]) -> str:
        value = config.get(name) or 0
        if 0 <= value <= 100:
            return ""
        return f"invalid configuration: {name} (--{flag}) {value} must be between 0 and 100, inclusive"

    return check


def _check_port(config: dict[str, Any]) -> str:
    port = config.get("port") or 1
    if 1 <= port <= _MAX_PORT:
        return ""
    return f"invalid configuration: port (--port) {port} must be between 1 and 65535, inclusive"


def _check_thresholds(config: dict[str, Any]) -> str:
    low, high = config.get("imageGCLowThresholdPercent", 80), config.get("imageGCHighThresholdPercent", 85)
    if low < high:
        return ""
    return (
        f"invalid configuration: imageGCLowThresholdPercent (--image-gc-low-threshold) {low} must be less than "
        f"imageGCHighThresholdPercent (--image-gc-high-threshold) {high}"
    )


def _check_lease(config: dict[str, Any]) -> str:
    if (config.get("nodeLeaseDurationSeconds") or 40) > 0:
        return ""
    return "invalid configuration: nodeLeaseDurationSeconds must be greater than 0"


def _check_parallel_pulls(config: dict[str, Any]) -> str:
    limit = config.get("maxParallelImagePulls")
    if limit is None:
        return ""
    if limit < 1:
        return f"invalid configuration: maxParallelImagePulls {limit} must be a positive number"
    if limit > 1 and config.get("serializeImagePulls") is not False:
        return (
            "invalid configuration: maxParallelImagePulls cannot be larger than 1 unless SerializeImagePulls "
            "(--serialize-image-pulls) is set to false"
        )
    return ""


def crash_loop_problems(config: dict[str, Any], gates: frozenset[str]) -> list[str]:
    """Return what is wrong with crashLoopBackOff while these gates are on."""
    said = (config.get("crashLoopBackOff") or {}).get("maxContainerRestartPeriod")
    if said is None:
        return []
    if CRASH_LOOP_MAX not in gates:
        return [
            (
                f"invalid configuration: FeatureGate {CRASH_LOOP_MAX} not enabled, CrashLoopBackOff.MaxContainerRestartPeriod "
                "must not be set"
            )
        ]
    seconds = duration_ns_of(said) / 1e9
    if 1 <= seconds <= MAX_BACKOFF_S:
        return []
    return [
        (
            f"invalid configuration: CrashLoopBackOff.MaxContainerRestartPeriod (got: {seconds:g} seconds) must be set between "
            "1s and 300s"
        )
    ]


def verification_problems(config: dict[str, Any], gates: frozenset[str]) -> list[str]:
    """Return what is wrong with the verification of credentials for images while these gates are on."""
    policy = config.get("imagePullCredentialsVerificationPolicy") or ""
    allowlist = config.get("preloadedImagesVerificationAllowlist") or []
    if ENSURE_SECRET_PULLED_IMAGES not in gates:
        return [
            f"invalid configuration: `{name}` must not be set if {ENSURE_SECRET_PULLED_IMAGES} feature gate is not enabled"
            for name in ("imagePullCredentialsVerificationPolicy", "preloadedImagesVerificationAllowlist")
            if config.get(name)
        ]
    problems = []
    if policy and policy not in POLICIES:
        *first, last = (f'"{one}"' for one in POLICIES)
        problems.append(
            f'invalid configuration: option "{policy}" specified for imagePullCredentialsVerificationPolicy. '
            f"Valid options are {', '.join(first)} or {last}"
        )
    if allowlist and policy != NEVER_ALLOWLISTED:
        # The misspelt name is the kubelet's.
        problems.append(
            "invalid configuration: can't set `preloadedImagesVerificationAllowlist` if "
            f'`imagePullCredentialsVertificationPolicy` is not "{NEVER_ALLOWLISTED}"'
        )
    else:
        wrong = next((text for text in map(_allowlist_problem, allowlist) if text), "")
        if wrong:
            where = "invalid image pattern in `preloadedImagesVerificationAllowlist`"
            problems.append(f"invalid configuration: {where}: {wrong}")
    return problems


def _allowlist_problem(pattern: str) -> str:
    if pattern != pattern.strip():
        return f"leading/trailing spaces are not allowed: {pattern}"
    prefix = pattern[:-1] if pattern.endswith("/*") else pattern
    if not prefix:
        return f"the supplied pattern is too short: {pattern}"
    if "*" in prefix:
        return f"not a valid wildcard pattern, only patterns ending with '/*' are allowed: {pattern}"
    if pattern.endswith("/*"):
        return "at least registry hostname is required" if prefix == "/" else ""
    if image_of(pattern).repository != pattern:
        return f"neither tag nor digest is accepted in an image reference: {pattern}"
    return ""


CHECKS: tuple[Check, ...] = (
    _check_parallel_pulls,
    _check_shutdown,
    _check_tracing,
    _check_memory_threshold,
    _check_reserved,
    _check_lease,
    _not_negative("eventBurst", "event-burst"),
    _not_negative("eventRecordQPS", "event-qps"),
    _percent("imageGCHighThresholdPercent", "image-gc-high-threshold"),
    _percent("imageGCLowThresholdPercent", "image-gc-low-threshold"),
    _check_thresholds,
    _not_negative("kubeAPIBurst", "kube-api-burst"),
    _not_negative("kubeAPIQPS", "kube-api-qps"),
    _not_negative("maxOpenFiles", "max-open-files"),
    _not_negative("maxPods", "max-pods"),
    _not_negative("podsPerCore", "pods-per-core"),
    _check_port,
)
