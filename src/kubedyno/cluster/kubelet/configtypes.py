"""The fields of a kubelet's configuration with their Go types, and what Go's decoder says of a value that is of none."""

from typing import Any

from kubedyno.base.times import duration_ns_of

KIND = "KubeletConfiguration"
# Field → Go type, or the fields of a structure. "?" after a structure's name means that its inside isn't looked at.
_WEBHOOK = {"enabled": "bool", "cacheTTL": "v1.Duration"}
FIELDS: dict[str, Any] = {
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


def json_kind(value: Any) -> str:
    """Return what JSON calls a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def check_struct(value: dict[str, Any], fields: dict[str, Any], path: str, unknown: list[str]) -> str:
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
            problem = check_struct(entry, expected, where, unknown)
            if problem:
                return problem
        else:
            problem = _check_value(entry, expected, where)
            if problem:
                return problem
    return ""


def _wrong(value: Any, where: str, go_type: str) -> str:
    kind = json_kind(value)
    shown = f"number {value}" if kind == "number" and go_type in _INTEGERS else kind
    return f"json: cannot unmarshal {shown} into Go struct field {KIND}.{where} of type {go_type}"


def _check_value(value: Any, go_type: str, where: str) -> str:
    if go_type in _INTEGERS:
        bound = 1 << _INTEGERS[go_type]
        fits = isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound
        return "" if fits else _wrong(value, where, go_type)
    if go_type == "v1.Duration":
        if not isinstance(value, str):
            return f"json: cannot unmarshal {json_kind(value)} into Go value of type string"
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
