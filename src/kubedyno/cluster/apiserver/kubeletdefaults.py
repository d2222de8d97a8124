"""A kubelet's effective configuration, as /configz shows it: its file with every default filled in.

Source: SetDefaults_KubeletConfiguration (pkg/kubelet/apis/config/v1beta1/defaults.go).
"""

from typing import Any

import orjson

from kubedyno.base.times import duration_ns_of
from kubedyno.kube import yaml

# Filled in where absent; the first also where zero: Go's durations, numbers and texts that are no pointers.
_WHERE_ZERO: dict[str, Any] = {
    "syncFrequency": "1m0s", "fileCheckFrequency": "20s", "httpCheckFrequency": "20s", "address": "0.0.0.0",  # noqa: S104 - what a real kubelet would bind to; nothing does here
    "port": 10250, "registryBurst": 10, "eventBurst": 100, "healthzBindAddress": "127.0.0.1",
    "streamingConnectionIdleTimeout": "4h0m0s", "nodeStatusUpdateFrequency": "10s", "nodeLeaseDurationSeconds": 40,
    "imageMinimumGCAge": "2m0s", "volumeStatsAggPeriod": "1m0s", "cgroupDriver": "cgroupfs", "cpuManagerPolicy": "none",
    "cpuManagerReconcilePeriod": "10s", "memoryManagerPolicy": "None", "topologyManagerPolicy": "none",
    "topologyManagerScope": "container", "runtimeRequestTimeout": "2m0s", "hairpinMode": "promiscuous-bridge",
    "maxPods": 110, "maxOpenFiles": 1_000_000, "contentType": "application/vnd.kubernetes.protobuf", "kubeAPIBurst": 100,
    "evictionPressureTransitionPeriod": "5m0s", "containerLogMaxSize": "10Mi",
    "configMapAndSecretChangeDetectionStrategy": "Watch",
    "volumePluginDir": "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
    "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock", "podLogsDir": "/var/log/pods",
}  # fmt: skip
_WHERE_ABSENT: dict[str, Any] = {
    "enableServer": True, "registryPullQPS": 5, "eventRecordQPS": 50, "enableDebuggingHandlers": True,
    "healthzPort": 10248, "oomScoreAdj": -999, "imageMaximumGCAge": "0s", "imageGCHighThresholdPercent": 85,
    "imageGCLowThresholdPercent": 80, "cgroupsPerQOS": True, "podPidsLimit": -1, "resolvConf": "/etc/resolv.conf",
    "cpuCFSQuota": True, "cpuCFSQuotaPeriod": "100ms", "nodeStatusMaxImages": 50, "kubeAPIQPS": 50,
    "mergeDefaultEvictionSettings": False, "enableControllerAttachDetach": True, "makeIPTablesUtilChains": True,
    "iptablesMasqueradeBit": 14, "iptablesDropBit": 15, "failSwapOn": True, "memorySwap": {}, "containerLogMaxFiles": 5,
    "containerLogMaxWorkers": 1, "containerLogMonitorInterval": "10s", "enforceNodeAllocatable": ["pods"],
    "enableSystemLogHandler": True, "enableProfilingHandler": True, "enableDebugFlagsHandler": True,
    "seccompDefault": False, "failCgroupV1": False, "memoryThrottlingFactor": 0.9, "registerNode": True,
    "localStorageCapacityIsolation": True, "shutdownGracePeriod": "0s", "shutdownGracePeriodCriticalPods": "0s",
    "imagePullCredentialsVerificationPolicy": "NeverVerifyPreloadedImages",
    "logging": {"format": "text", "flushFrequency": "5s", "verbosity": 0,
                "options": {"text": {"infoBufferSize": "0"}, "json": {"infoBufferSize": "0"}}},
    "crashLoopBackOff": {"maxContainerRestartPeriod": "5m0s"},
}  # fmt: skip
_AUTHENTICATION: dict[str, Any] = {
    "x509": {},
    "webhook": {"enabled": True, "cacheTTL": "2m0s"},
    "anonymous": {"enabled": False},
}
_AUTHORIZATION: dict[str, Any] = {
    "mode": "Webhook",
    "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
}
_REPORT = "nodeStatusReportFrequency"
_NOT_SHOWN = ("kind", "apiVersion")


def effective(text: str) -> dict[str, Any]:
    """Return the whole configuration of a kubelet.

    Args:
        text: Its configuration file, which it could be started with.
    """
    # Plain containers: those of the YAML reader know their lines.
    given: dict[str, Any] = orjson.loads(orjson.dumps(yaml.load(text)))
    config = {name: value for name, value in given.items() if name not in _NOT_SHOWN and value is not None}
    update = config.get("nodeStatusUpdateFrequency")
    if _is_zero(config.get(_REPORT)):
        config[_REPORT] = "5m0s" if _is_zero(update) else update
    for name, value in _WHERE_ZERO.items():
        if _is_zero(config.get(name)):
            config[name] = value
    parallel = config.get("maxParallelImagePulls") or 0
    config.setdefault("serializeImagePulls", parallel < 2)
    for name, value in _WHERE_ABSENT.items():
        config.setdefault(name, value)
    for name, defaults in (("authentication", _AUTHENTICATION), ("authorization", _AUTHORIZATION)):
        config[name] = _filled(config.get(name) or {}, defaults)
    if not config["crashLoopBackOff"]:
        config["crashLoopBackOff"] = _WHERE_ABSENT["crashLoopBackOff"]
    if _is_zero(config["logging"].get("flushFrequency")):
        config["logging"] = _filled({**config["logging"], "flushFrequency": None}, _WHERE_ABSENT["logging"])
    return config


def _filled(given: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """Return a structure with its defaults, and theirs, in the place of what is absent or zero."""
    result = dict(given)
    for name, value in defaults.items():
        if isinstance(value, dict):
            result[name] = _filled(result.get(name) or {}, value)
        elif result.get(name) is not False and _is_zero(result.get(name)):
            result[name] = value
    return result


def _is_zero(value: Any) -> bool:
    if isinstance(value, str) and value[:1].isdigit():
        try:
            return duration_ns_of(value) == 0
        except ValueError:
            return False
    return not value
