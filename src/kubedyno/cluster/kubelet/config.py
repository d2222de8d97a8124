"""A kubelet's configuration file: written as kubeadm writes it, read as the kubelet reads it.

The text is what counts: a restart reads it again. Broken YAML, a wrong type and a value out of range keep the kubelet
from starting; a field that it doesn't know is only logged, because the loader of v1beta1 falls back to a lenient one
(pkg/kubelet/kubeletconfig/util/codec).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.kubelet.images import image_of
from kubedyno.cluster.kubelet.latency import BACKOFF_S, MAX_BACKOFF_S
from kubedyno.cluster.kubelet.pullrecords import NEVER, NEVER_ALLOWLISTED, NEVER_PRELOADED, POLICIES, Verification
from kubedyno.cluster.registry.featuregates import (
    CRASH_LOOP_MAX,
    ENSURE_SECRET_PULLED_IMAGES,
    REDUCED_CRASH_LOOP,
    gates_on,
)
from kubedyno.cluster.settings import DEFAULT_MAX_PODS, ClusterSettings, NodeSettings
from kubedyno.kube import yaml
from kubedyno.kube.quantity import value_of

PATH = "/var/lib/kubelet/config.yaml"
API_VERSION = "kubelet.config.k8s.io/v1beta1"
KIND = "KubeletConfiguration"

# Field → Go type, or the fields of a structure. "?" after a structure's name means that its inside isn't looked at.
_WEBHOOK = {"enabled": "bool", "cacheTTL": "v1.Duration"}
_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("apiVersion", "kind"), "string"),
    **dict.fromkeys(
        (
            "staticPodPath", "podLogsDir", "staticPodURL", "address", "tlsCertFile", "tlsPrivateKeyFile",
            "tlsMinVersion", "imagePullCredentialsVerificationPolicy", "healthzBindAddress", "clusterDomain",
            "kubeletCgroups", "systemCgroups", "cgroupRoot", "cgroupDriver", "cpuManagerPolicy", "memoryManagerPolicy",
            "topologyManagerPolicy", "topologyManagerScope", "hairpinMode", "podCIDR", "resolvConf",
            "contentType", "containerLogMaxSize", "configMapAndSecretChangeDetectionStrategy", "systemReservedCgroup",
            "kubeReservedCgroup", "showHiddenMetricsForVersion", "reservedSystemCPUs", "volumePluginDir", "providerID",
            "containerRuntimeEndpoint", "imageServiceEndpoint", "memoryReservationPolicy",
        ),
        "string",
    ),
    **dict.fromkeys(
        (
            "syncFrequency", "fileCheckFrequency", "httpCheckFrequency", "streamingConnectionIdleTimeout",
            "nodeStatusUpdateFrequency", "nodeStatusReportFrequency", "imageMinimumGCAge", "imageMaximumGCAge",
            "volumeStatsAggPeriod", "cpuManagerReconcilePeriod", "runtimeRequestTimeout", "cpuCFSQuotaPeriod",
            "evictionPressureTransitionPeriod", "containerLogMonitorInterval", "shutdownGracePeriod",
            "shutdownGracePeriodCriticalPods", "draManagerReconcilePeriod",
        ),
        "v1.Duration",
    ),
    **dict.fromkeys(
        (
            "port", "readOnlyPort", "registryPullQPS", "registryBurst", "eventRecordQPS", "eventBurst", "healthzPort",
            "oomScoreAdj", "nodeLeaseDurationSeconds", "imageGCHighThresholdPercent", "imageGCLowThresholdPercent",
            "maxPods", "nodeStatusMaxImages", "kubeAPIQPS", "kubeAPIBurst", "maxParallelImagePulls",
            "evictionMaxPodGracePeriod", "podsPerCore", "containerLogMaxFiles", "containerLogMaxWorkers",
            "iptablesMasqueradeBit", "iptablesDropBit",
        ),
        "int32",
    ),
    **dict.fromkeys(("podPidsLimit", "maxOpenFiles"), "int64"),
    **dict.fromkeys(
        (
            "enableServer", "rotateCertificates", "serverTLSBootstrap", "enableDebuggingHandlers",
            "enableContentionProfiling", "cgroupsPerQOS", "runOnce", "cpuCFSQuota", "serializeImagePulls",
            "enableControllerAttachDetach", "protectKernelDefaults", "makeIPTablesUtilChains", "failSwapOn",
            "enableSystemLogHandler", "enableSystemLogQuery", "enableProfilingHandler", "enableDebugFlagsHandler",
            "seccompDefault", "registerNode", "localStorageCapacityIsolation", "failCgroupV1", "singleProcessOOMKill",
            "kernelMemcgNotification",
        ),
        "bool",
    ),
    **dict.fromkeys(
        (
            "evictionHard", "evictionSoft", "evictionSoftGracePeriod", "evictionMinimumReclaim", "qosReserved",
            "systemReserved", "kubeReserved", "cpuManagerPolicyOptions", "topologyManagerPolicyOptions",
        ),
        "map[string]string",
    ),
    **dict.fromkeys(
        (
            "tlsCipherSuites", "clusterDNS", "allowedUnsafeSysctls", "enforceNodeAllocatable",
            "preloadedImagesVerificationAllowlist",
        ),
        "[]string",
    ),
    **dict.fromkeys(
        (
            "staticPodURLHeader", "registerWithTaints", "reservedMemory", "shutdownGracePeriodByPodPriority",
            "tlsCurvePreferences", "logging", "tracing", "userNamespaces",
        ),
        "any",
    ),
    "memoryThrottlingFactor": "float64",
    "featureGates": "map[string]bool",
    "authentication": {
        "x509": {"clientCAFile": "string"},
        "webhook": _WEBHOOK,
        "anonymous": {"enabled": "bool"},
    },
    "authorization": {
        "mode": "string",
        "webhook": {"cacheAuthorizedTTL": "v1.Duration", "cacheUnauthorizedTTL": "v1.Duration"},
    },
    "memorySwap": {"swapBehavior": "string"},
    "crashLoopBackOff": {"maxContainerRestartPeriod": "v1.Duration"},
}  # fmt: skip
# Go names of the structures, as its JSON decoder's errors have them.
_STRUCTS = {
    "authentication": "KubeletAuthentication", "authentication.x509": "KubeletX509Authentication",
    "authentication.webhook": "KubeletWebhookAuthentication",
    "authentication.anonymous": "KubeletAnonymousAuthentication", "authorization": "KubeletAuthorization",
    "authorization.webhook": "KubeletWebhookAuthorization", "memorySwap": "MemorySwapConfiguration",
    "crashLoopBackOff": "CrashLoopBackOffConfig",
}  # fmt: skip
_INTEGERS = {"int32": 31, "int64": 63}
_MAX_PORT = 65535

Check = Callable[[dict[str, Any]], str]


class ConfigError(ValueError):
    """Why a kubelet doesn't start with a configuration; the message is the kubelet's own."""


@dataclass(frozen=True, slots=True)
class KubeletConfig:
    """What the model takes from a configuration.

    Attributes:
        max_pods: The pods that the node takes, after podsPerCore.
        parallel_pulls: How many images at once, 0: as many as are asked for.
        verification: When a pod's credentials count for an image that is there.
        gates: Feature gates that are on.
        memory_threshold: evictionHard's memory.available as written, "" for none.
        shutdown_grace_s: shutdownGracePeriod,
        shutdown_critical_s: and the part of it that is for critical pods.
        crash_backoff_s: The first pause before a crashing container is started again,
        crash_backoff_max_s: and the longest.
        lease_duration_s: Of the node's lease; it is renewed four times as often.
        status_report_s: Period of node statuses when nothing changes.
        warning: What the kubelet logs about fields that it doesn't know, "" when there are none.
    """

    max_pods: int = DEFAULT_MAX_PODS
    parallel_pulls: int = 1
    verification: Verification = field(default_factory=Verification)
    gates: frozenset[str] = frozenset()
    crash_backoff_s: float = BACKOFF_S
    crash_backoff_max_s: float = MAX_BACKOFF_S
    memory_threshold: str = ""
    shutdown_grace_s: float = 0.0
    shutdown_critical_s: float = 0.0
    lease_duration_s: int = 40
    status_report_s: float = 300.0
    warning: str = ""


def render(settings: ClusterSettings, node: NodeSettings, dns_address: str) -> str:
    """Return a node's file as kubeadm leaves it in a kind node.

    Args:
        settings: The cluster's.
        node: The node's; maxPods is there only if it says so.
        dns_address: Of cluster DNS.
    """
    config: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"cacheTTL": "0s", "enabled": True},
            "x509": {"clientCAFile": "/etc/kubernetes/pki/ca.crt"},
        },
        "authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "0s", "cacheUnauthorizedTTL": "0s"}},
        "cgroupDriver": "systemd",
        "cgroupRoot": "/kubelet",
        "clusterDNS": [dns_address],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": "",
        "cpuManagerReconcilePeriod": "0s",
        "crashLoopBackOff": {},
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
        "evictionPressureTransitionPeriod": "0s",
        "failSwapOn": False,
        "fileCheckFrequency": "0s",
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "httpCheckFrequency": "0s",
        "imageGCHighThresholdPercent": 100,
        "imageMaximumGCAge": "0s",
        "imageMinimumGCAge": "0s",
        "kind": KIND,
        "logging": {"flushFrequency": 0, "options": {"json": {"infoBufferSize": "0"}, "text": {"infoBufferSize": "0"}},
                    "verbosity": 0},
        "memorySwap": {},
        "nodeStatusReportFrequency": "0s",
        "nodeStatusUpdateFrequency": "0s",
        "rotateCertificates": True,
        "runtimeRequestTimeout": "0s",
        "shutdownGracePeriod": "0s",
        "shutdownGracePeriodCriticalPods": "0s",
        "staticPodPath": "/etc/kubernetes/manifests",
        "streamingConnectionIdleTimeout": "0s",
        "syncFrequency": "0s",
        "volumeStatsAggPeriod": "0s",
    }  # fmt: skip
    if settings.feature_gates:
        config["featureGates"] = dict(settings.feature_gates)
    if node.max_pods is not None:
        config["maxPods"] = node.max_pods
    return yaml.dump(config)


@lru_cache(maxsize=64)
def parse(text: str, cpu_milli: int, minor: int) -> KubeletConfig:
    """Read a configuration; the same text gives the same answer, which is kept.

    Args:
        text: The file's.
        cpu_milli: CPU capacity of the node, for podsPerCore.
        minor: Of the kubelet's version, for feature gates.

    Raises:
        ConfigError: The kubelet would not start with it.
    """
    where = f"failed to load kubelet config file, path: {PATH}, error: "
    load_failed = f"{where}failed to load Kubelet config file {PATH}, error "
    if not text.strip():
        raise ConfigError(f"{load_failed}kubelet config file {PATH!r} was empty".replace("'", '"'))
    try:
        config = yaml.load(text)
    except yaml.YAMLError as error:
        message = str(error).removeprefix("yaml: ")
        raise ConfigError(
            f"{load_failed}failed to decode: couldn't get version/kind; json parse error: error converting YAML to "
            f"JSON: yaml: {message}"
        ) from error
    if not isinstance(config, dict):
        what = "array" if isinstance(config, list) else _json_kind(config)
        raise ConfigError(
            f"{load_failed}failed to decode: couldn't get version/kind; json parse error: json: cannot unmarshal "
            f"{what} into Go value of type struct {{ APIVersion string; Kind string }}"
        )
    api_version, kind = config.get("apiVersion", ""), config.get("kind", "")
    if not kind:
        raise ConfigError(f"{load_failed}failed to decode: Object 'Kind' is missing in '{text}'")
    if kind != KIND or api_version != API_VERSION:
        raise ConfigError(
            f'{load_failed}failed to decode: no kind "{kind}" is registered for version "{api_version}" in scheme '
            '"pkg/kubelet/apis/config/scheme/scheme.go"'
        )
    unknown: list[str] = []
    problem = _check_struct(config, _FIELDS, "", unknown)
    if problem:
        raise ConfigError(f"{load_failed}failed to decode: {problem}")
    try:
        yaml.load(text, strict=True)
    except yaml.YAMLError as error:
        unknown.append(str(error))
    gates = gates_on(minor, config.get("featureGates") or {})
    problems = [text for text in (check(config) for check in _CHECKS) if text]
    problems += _verification_problems(config, gates) + _crash_loop_problems(config, gates)
    if problems:
        listed = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        raise ConfigError(f"failed to validate kubelet configuration, error: {listed}, path: {PATH}")
    warning = ""
    if unknown:
        listed = ", ".join(unknown)
        warning = f'"Using lenient decoding as strict decoding failed" err="strict decoding error: {listed}"'
    return _taken(config, cpu_milli, gates, warning)


def _taken(config: dict[str, Any], cpu_milli: int, gates: frozenset[str], warning: str) -> KubeletConfig:
    max_pods = config.get("maxPods") or DEFAULT_MAX_PODS
    per_core = config.get("podsPerCore") or 0
    if per_core:
        max_pods = min(max_pods, per_core * max(1, cpu_milli // 1000))
    parallel = (config.get("maxParallelImagePulls") or 0) if config.get("serializeImagePulls") is False else 1
    verification = Verification(NEVER)
    if ENSURE_SECRET_PULLED_IMAGES in gates:
        policy = config.get("imagePullCredentialsVerificationPolicy") or NEVER_PRELOADED
        verification = Verification(policy, tuple(config.get("preloadedImagesVerificationAllowlist") or ()))
    report_ns = duration_ns_of(str(config.get("nodeStatusReportFrequency") or "0"))
    return KubeletConfig(
        max_pods,
        parallel,
        verification,
        gates,
        *_crash_backoff(config, gates),
        str((config.get("evictionHard") or {}).get("memory.available", "")),
        _seconds(config, "shutdownGracePeriod"),
        _seconds(config, "shutdownGracePeriodCriticalPods"),
        config.get("nodeLeaseDurationSeconds") or 40,
        report_ns / 1e9 or 300.0,
        warning,
    )


def _seconds(config: dict[str, Any], name: str) -> float:
    return duration_ns_of(str(config.get(name) or "0")) / 1e9


def _check_shutdown(config: dict[str, Any]) -> str:
    whole, critical = (config.get(name) or "0s" for name in ("shutdownGracePeriod", "shutdownGracePeriodCriticalPods"))
    if duration_ns_of(critical) > duration_ns_of(whole):
        return f"invalid configuration: shutdownGracePeriodCriticalPods {{{critical}}} must be <= shutdownGracePeriod {{{whole}}}"
    return ""


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


def _crash_backoff(config: dict[str, Any], gates: frozenset[str]) -> tuple[float, float]:
    first_s, longest_s = (1.0, 60.0) if REDUCED_CRASH_LOOP in gates else (BACKOFF_S, MAX_BACKOFF_S)
    said = (config.get("crashLoopBackOff") or {}).get("maxContainerRestartPeriod")
    if said and CRASH_LOOP_MAX in gates:
        longest_s = duration_ns_of(said) / 1e9
    return min(first_s, longest_s), longest_s


def _json_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _check_struct(value: dict[str, Any], fields: dict[str, Any], path: str, unknown: list[str]) -> str:
    """Return Go's complaint about the first value of a wrong type, and collect unknown fields."""
    for name, entry in value.items():
        where = f"{path}.{name}" if path else name
        expected = fields.get(name)
        if expected is None:
            unknown.append(f'unknown field "{where}"')
        elif entry is None or expected == "any":
            continue
        elif isinstance(expected, dict):
            if not isinstance(entry, dict):
                return _wrong(entry, where, f"v1beta1.{_STRUCTS[where]}")
            problem = _check_struct(entry, expected, where, unknown)
            if problem:
                return problem
        else:
            problem = _check_value(entry, expected, where)
            if problem:
                return problem
    return ""


def _wrong(value: Any, where: str, go_type: str) -> str:
    kind = _json_kind(value)
    shown = f"number {value}" if kind == "number" and go_type in _INTEGERS else kind
    return f"json: cannot unmarshal {shown} into Go struct field {KIND}.{where} of type {go_type}"


def _check_value(value: Any, go_type: str, where: str) -> str:
    if go_type in _INTEGERS:
        bound = 1 << _INTEGERS[go_type]
        fits = isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound
        return "" if fits else _wrong(value, where, go_type)
    if go_type == "v1.Duration":
        if not isinstance(value, str):
            return f"json: cannot unmarshal {_json_kind(value)} into Go value of type string"
        try:
            duration_ns_of(value)
        except ValueError as error:
            return str(error)
        return ""
    if go_type == "float64":
        return "" if isinstance(value, int | float) and not isinstance(value, bool) else _wrong(value, where, go_type)
    if go_type.startswith("map[string]"):
        inner = bool if go_type.endswith("bool") else str
        if not isinstance(value, dict):
            return _wrong(value, where, go_type)
        bad = next((entry for entry in value.values() if not isinstance(entry, inner)), None)
        return "" if bad is None else _wrong(bad, where, go_type.removeprefix("map[string]"))
    if go_type == "[]string":
        if not isinstance(value, list):
            return _wrong(value, where, go_type)
        bad = next((entry for entry in value if not isinstance(entry, str)), None)
        return "" if bad is None else _wrong(bad, where, "string")
    return "" if isinstance(value, {"bool": bool, "string": str}[go_type]) else _wrong(value, where, go_type)


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


def _crash_loop_problems(config: dict[str, Any], gates: frozenset[str]) -> list[str]:
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


def _verification_problems(config: dict[str, Any], gates: frozenset[str]) -> list[str]:
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


_CHECKS: tuple[Check, ...] = (
    _check_parallel_pulls,
    _check_shutdown,
    _check_memory_threshold,
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
