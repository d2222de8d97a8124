"""A kubelet's configuration file: written as kubeadm writes it, read as the kubelet reads it.

The text is what counts: a restart reads it again. Broken YAML, a wrong type and a value out of range keep the kubelet
from starting; a field that it doesn't know is only logged, because the loader of v1beta1 falls back to a lenient one
(pkg/kubelet/kubeletconfig/util/codec).
"""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import orjson

from kubedyno.base.times import duration_ns_of
from kubedyno.cluster.kubelet.configrules import CHECKS, crash_loop_problems, reserved_of, verification_problems
from kubedyno.cluster.kubelet.configtypes import FIELDS, KIND, check_struct, json_kind
from kubedyno.cluster.kubelet.latency import BACKOFF_S, MAX_BACKOFF_S
from kubedyno.cluster.kubelet.pullrecords import NEVER, NEVER_PRELOADED, Verification
from kubedyno.cluster.registry.featuregates import (
    CRASH_LOOP_MAX,
    ENSURE_SECRET_PULLED_IMAGES,
    REDUCED_CRASH_LOOP,
    gates_on,
)
from kubedyno.cluster.settings import DEFAULT_MAX_PODS, ClusterSettings, NodeSettings
from kubedyno.cluster.tracing import Tracing, tracing_of
from kubedyno.kube import yaml

PATH = "/var/lib/kubelet/config.yaml"
API_VERSION = "kubelet.config.k8s.io/v1beta1"


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
        reserved: (resource, amount) of kubeReserved and systemReserved, which pods do not get: milli-CPU, else bytes.
        memory_threshold: evictionHard's memory.available as written, "" for none.
        shutdown_grace_s: shutdownGracePeriod,
        shutdown_critical_s: and the part of it that is for critical pods.
        crash_backoff_s: The first pause before a crashing container is started again,
        crash_backoff_max_s: and the longest.
        lease_duration_s: Of the node's lease; it is renewed four times as often.
        status_report_s: Period of node statuses when nothing changes.
        warning: What the kubelet logs about fields that it doesn't know, "" when there are none.
        tracing: What it traces; None: nothing.
    """

    max_pods: int = DEFAULT_MAX_PODS
    parallel_pulls: int = 1
    verification: Verification = field(default_factory=Verification)
    gates: frozenset[str] = frozenset()
    crash_backoff_s: float = BACKOFF_S
    crash_backoff_max_s: float = MAX_BACKOFF_S
    reserved: tuple[tuple[str, int], ...] = ()
    memory_threshold: str = ""
    shutdown_grace_s: float = 0.0
    shutdown_critical_s: float = 0.0
    lease_duration_s: int = 40
    status_report_s: float = 300.0
    warning: str = ""
    tracing: Tracing | None = None


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
    if node.kubelet:
        config.update(orjson.loads(node.kubelet))
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
        what = "array" if isinstance(config, list) else json_kind(config)
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
    problem = check_struct(config, FIELDS, "", unknown)
    if problem:
        raise ConfigError(f"{load_failed}failed to decode: {problem}")
    try:
        yaml.load(text, strict=True)
    except yaml.YAMLError as error:
        unknown.append(str(error))
    gates = gates_on(minor, config.get("featureGates") or {})
    problems = [text for text in (check(config) for check in CHECKS) if text]
    problems += verification_problems(config, gates) + crash_loop_problems(config, gates)
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
        tuple(reserved_of(config).items()),
        str((config.get("evictionHard") or {}).get("memory.available", "")),
        _seconds(config, "shutdownGracePeriod"),
        _seconds(config, "shutdownGracePeriodCriticalPods"),
        config.get("nodeLeaseDurationSeconds") or 40,
        report_ns / 1e9 or 300.0,
        warning,
        tracing_of(config["tracing"]) if config.get("tracing") is not None else None,
    )


def _seconds(config: dict[str, Any], name: str) -> float:
    return duration_ns_of(str(config.get(name) or "0")) / 1e9


def _crash_backoff(config: dict[str, Any], gates: frozenset[str]) -> tuple[float, float]:
    first_s, longest_s = (1.0, 60.0) if REDUCED_CRASH_LOOP in gates else (BACKOFF_S, MAX_BACKOFF_S)
    said = (config.get("crashLoopBackOff") or {}).get("maxContainerRestartPeriod")
    if said and CRASH_LOOP_MAX in gates:
        longest_s = duration_ns_of(said) / 1e9
    return min(first_s, longest_s), longest_s
