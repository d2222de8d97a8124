"""Cilium's Helm values from files and command lines, as one tree of what is set.

In: values files, `cilium install`/`cilium upgrade` and `helm install`/`helm upgrade` lines with their `--set`. Out:
`Values`, which answers for a dotted path what is set or what the chart's default is. Sources: Helm's strvals grammar;
defaults of the chart of Cilium 1.18.
"""

import copy
import difflib
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kubedyno.base.errors import KubedynoError
from kubedyno.kube import yaml

# The chart's defaults of what the rules look at.
DEFAULTS: dict[str, Any] = {
    "bandwidthManager.bbr": False,
    "bandwidthManager.enabled": False,
    "bpf.datapathMode": "veth",
    "bpf.distributedLRU.enabled": False,
    "bpf.events.default.burstLimit": 0,
    "bpf.events.default.rateLimit": 0,
    "bpf.hostLegacyRouting": False,
    "bpf.lbMapMax": 65_536,
    "bpf.mapDynamicSizeRatio": 0.0025,
    "bpf.masquerade": False,
    "bpf.monitorInterval": "5s",
    "bpfClockProbe": False,
    "ciliumEndpointSlice.enabled": False,
    "debug.enabled": False,
    "disableEndpointCRD": False,
    "egressGateway.enabled": False,
    "enableIPv4BIGTCP": False,
    "enableIPv4Masquerade": True,
    "enableIPv6BIGTCP": False,
    "encryption.enabled": False,
    "encryption.type": "ipsec",
    "hubble.enabled": True,
    "installNoConntrackIptablesRules": False,
    "ipam.mode": "cluster-pool",
    "ipam.operator.clusterPoolIPv4PodCIDRList": ["10.0.0.0/8"],
    "ipv4.enabled": True,
    "ipv4NativeRoutingCIDR": "",
    "ipv6.enabled": False,
    "k8sClientExponentialBackoff.enabled": True,
    "kubeProxyReplacement": "false",
    "loadBalancer.acceleration": "disabled",
    "routingMode": "tunnel",
    "scheduling.mode": "anti-affinity",
    "MTU": 0,
}
# What the rules look at beside them, by the shape that it must have.
_LISTS = ("ciliumEndpointSlice.rateLimits", "extraEnv", "hubble.metrics.enabled")
_NUMBERS = (
    "hubble.eventQueueSize", "k8sClientRateLimit.burst", "k8sClientRateLimit.operator.burst",
    "k8sClientRateLimit.operator.qps", "k8sClientRateLimit.qps",
)  # fmt: skip
_WORDS = ("bpf.events.monitorInterval", "k8s.apiServerURLs", "k8sServiceHost", "k8sServiceHostRef.name")
_POOL = "ipam.operator.clusterPoolIPv4PodCIDRList"
# First parts of paths that the chart knows.
KNOWN = frozenset(
    [
        "upgradeCompatibility",
        "debug",
        "rbac",
        "imagePullSecrets",
        "iptablesRandomFully",
        "kubeConfigPath",
        "k8sServiceHostRef",
        "k8sServiceHost",
        "k8sServicePort",
        "k8sServiceLookupConfigMapName",
        "k8sServiceLookupNamespace",
        "k8s",
        "k8sClientRateLimit",
        "k8sClientExponentialBackoff",
        "cluster",
        "serviceAccounts",
        "terminationGracePeriodSeconds",
        "agent",
        "name",
        "image",
        "scheduling",
        "affinity",
        "tolerations",
        "nodeSelector",
        "updateStrategy",
        "podAnnotations",
        "podLabels",
        "resources",
        "podSecurityContext",
        "podManagementPolicy",
        "initResources",
        "securityContext",
        "cleanState",
        "cleanBpfState",
        "waitForKubeProxy",
        "annotateK8sNode",
        "aksbyocni",
        "autoDirectNodeRoutes",
        "directRoutingSkipUnreachable",
        "bandwidthManager",
        "bgpControlPlane",
        "pmtuDiscovery",
        "bpf",
        "bpfClockProbe",
        "enableXTSocketFallback",
        "enableLBIPAM",
        "defaultLBServiceIPAM",
        "installNoConntrackIptablesRules",
        "ipMasqAgent",
        "ipv4NativeRoutingCIDR",
        "ipv6NativeRoutingCIDR",
        "monitor",
        "loadBalancer",
        "nodePort",
        "policyEnforcementMode",
        "policyAuditMode",
        "policyCIDRMatchMode",
        "prometheus",
        "dashboards",
        "envoyConfig",
        "ingressController",
        "gatewayAPI",
        "enableRuntimeDeviceDetection",
        "sctp",
        "secretsNamespaceAnnotations",
        "tunnelProtocol",
        "routingMode",
        "tunnelPort",
        "tunnelSourcePortRange",
        "serviceNoBackendResponse",
        "underlayProtocol",
        "enableIPv4Masquerade",
        "enableIPv6Masquerade",
        "enableMasqueradeToRouteSource",
        "enableIPv4BIGTCP",
        "enableIPv6BIGTCP",
        "nat",
        "egressGateway",
        "vtep",
        "encryption",
        "endpointHealthChecking",
        "endpointLockdownOnMapOverflow",
        "endpointRoutes",
        "k8sNetworkPolicy",
        "endpointCRDGC",
        "eni",
        "gke",
        "azure",
        "alibabacloud",
        "nodeinit",
        "preflight",
        "enableCriticalPriorityClass",
        "disableEnvoyVersionCheck",
        "etcd",
        "externalWorkloads",
        "hostFirewall",
        "hostPort",
        "hubble",
        "identityAllocationMode",
        "identityChangeGracePeriod",
        "identityManagementMode",
        "ipam",
        "ipMasqAgent",
        "ipv4",
        "ipv6",
        "keepDeprecatedLabels",
        "keepDeprecatedProbes",
        "kubeProxyReplacement",
        "kubeProxyReplacementHealthzBindAddr",
        "l2NeighDiscovery",
        "l2announcements",
        "l2podAnnouncements",
        "l7Proxy",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
        "localRedirectPolicy",
        "localRedirectPolicies",
        "logSystemLoad",
        "logOptions",
        "maglev",
        "MTU",
        "sessionAffinity",
        "ciliumEndpointSlice",
        "cni",
        "crdWaitTimeout",
        "customCalls",
        "daemon",
        "devices",
        "forceDeviceDetection",
        "dnsPolicy",
        "dnsProxy",
        "dnsPolicy",
        "disableEndpointCRD",
        "wellKnownIdentities",
        "envoy",
        "operator",
        "clustermesh",
        "cgroup",
        "sysctlfix",
        "enableK8sEventHandover",
        "conntrackGCInterval",
        "conntrackGCMaxInterval",
        "commonLabels",
        "certgen",
        "authentication",
        "standaloneDnsProxy",
        "tls",
        "tunnel",
        "namespaceOverride",
        "extraArgs",
        "extraConfig",
        "extraContainers",
        "extraEnv",
        "extraHostPathMounts",
        "extraInitContainers",
        "extraVolumes",
        "extraVolumeMounts",
        "healthChecking",
        "healthPort",
        "apiRateLimit",
        "highScaleIPcache",
        "bpfMapDynamicSizeRatio",
        "enableCiliumEndpointSlice",
        "enableCnpStatusUpdates",
        "enableIPv4EgressGateway",
        "enableInternalTrafficPolicy",
        "enableNonDefaultDenyPolicies",
        "ciliumEndpointSlice",
        "synchronizeK8sNodes",
        "nodeSelectorLabels",
        "resourceQuotas",
        "hostAliases",
        "skipCiliumEndpointSlice",
        "svcSourceRangeCheck",
        "remoteNodeIdentity",
        "socketLB",
        "scheduling",
        "kubeProxyReplacement",
        "preferredIPFamily",
        "global",
    ]
)
# Keys that are so alike are one mistyped (1: the same).
_NEARLY = 0.9
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_INDEX = re.compile(r"^(.*?)\[(\d+)\]$")
_MAX_INDEX = 65_536


@dataclass(frozen=True, slots=True)
class Values:
    """What is set, as a tree, and where it comes from.

    Attributes:
        tree: Nested mappings as a values file has them.
        version: Of the chart, "" when not named.
        notes: What could not be taken as it stands, a line each.
        finds_server: They are given to cilium-cli, which sets the API server's address by itself.
    """

    tree: dict[str, Any]
    version: str = ""
    notes: tuple[str, ...] = ()
    finds_server: bool = False

    def is_set(self, path: str) -> bool:
        """Say whether a path has a value of its own."""
        return _lookup(self.tree, path) is not None

    def get(self, path: str) -> Any:
        """Return what a path is: as set, else the chart's default, else None."""
        found = _lookup(self.tree, path)
        return DEFAULTS.get(path) if found is None else found

    def on(self, path: str) -> bool:
        """Say whether a switch is on."""
        return str(self.get(path)).lower() in {"true", "strict"}

    def with_overlay(self, overlay: Mapping[str, Any]) -> "Values":
        """Return these values with dotted paths set over them."""
        return replace(self, tree=merge(self.tree, nested(overlay)))


def _lookup(tree: Any, path: str) -> Any:
    for part in path.split("."):
        if not isinstance(tree, Mapping):
            return None
        tree = tree.get(part)
    return tree


def nested(paths: Mapping[str, Any]) -> dict[str, Any]:
    """Return dotted paths as a tree."""
    tree: dict[str, Any] = {}
    for path, value in paths.items():
        *parents, last = path.split(".")
        place = tree
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = value
    return tree


def merge(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return the second tree laid over the first, as Helm does: mappings are merged, all else replaced."""
    result = dict(under)
    for key, value in over.items():
        mine = result.get(key)
        result[key] = merge(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return result


def of_text(text: str, path: str) -> Values:
    """Return the values of a values file.

    Raises:
        KubedynoError: It is no YAML mapping.
    """
    tree = yaml.load(text, path)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise KubedynoError(f"{path}: a values file is a mapping, not a {type(tree).__name__.lower()}")
    return checked(tree, path)


def checked(tree: Mapping[str, Any], path: str, version: str = "") -> Values:
    """Return values without those that have not the chart's shape; a note tells of each, and of unknown keys.

    Args:
        tree: As a values file has them.
        path: Named in the notes.
        version: Of the chart.
    """
    notes = list(_unknown(tree, path))
    kept: dict[str, Any] = copy.deepcopy(dict(tree))
    shapes = {name: _shape_of(name, default) for name, default in DEFAULTS.items()}
    shapes |= dict.fromkeys(_LISTS, "a list") | dict.fromkeys(_NUMBERS, "a number") | dict.fromkeys(_WORDS, "a text")
    for name, shape in shapes.items():
        *parents, last = name.split(".")
        place: Any = kept
        for number, part in enumerate(parts := [*parents, last]):
            value = place.get(part)
            wanted = shape if number + 1 == len(parts) else "a mapping"
            if value is None:
                break
            if not _has_shape(name, value, wanted):
                shown = ".".join(parts[: number + 1])
                notes.append(f"{path}: {shown}: must be {wanted}, not {str(value)[:40]!r}; left out")
                del place[part]
                break
            place = value
    return Values(kept, version, tuple(notes))


def _shape_of(name: str, default: Any) -> str:
    if name == "bpf.mapDynamicSizeRatio":
        return "a text"  # a rule of its own tells what is no ratio
    kinds = {bool: "true or false", int: "a number", list: "a list"}
    return kinds.get(type(default), "a text")


def _has_shape(name: str, value: Any, wanted: str) -> bool:
    if wanted == "a mapping":
        return isinstance(value, dict)
    if isinstance(value, list):
        return wanted == "a list"
    if isinstance(value, dict):
        return False
    if wanted == "true or false":
        return str(value).lower() in {"true", "false"}
    if wanted == "a number":
        return not isinstance(value, bool) and (value == "" or _NUMBER.fullmatch(str(value)) is not None)
    return wanted == "a text" or name == _POOL


def _unknown(tree: Mapping[str, Any], path: str) -> Iterator[str]:
    for key in tree:
        if key not in KNOWN:
            close = difflib.get_close_matches(str(key), KNOWN, 1)
            near = f"; did you mean {close[0]}?" if close else ""
            yield f"{path}: {key}: not a value of the chart of Cilium 1.18{near}"
    yield from _misspelt(tree, path, "")


def _misspelt(tree: Mapping[str, Any], path: str, above: str) -> Iterator[str]:
    """Yield keys below the first level that are nearly, and not, one that the rules look at."""
    known = {
        name[len(above) :].partition(".")[0]
        for name in (*DEFAULTS, *_LISTS, *_NUMBERS, *_WORDS)
        if name.startswith(above)
    }
    for key, value in tree.items():
        if above and key not in known and (close := difflib.get_close_matches(str(key), known, 1, _NEARLY)):
            yield f"{path}: {above}{key}: did you mean {above}{close[0]}?"
        elif isinstance(value, dict) and key in known:
            yield from _misspelt(value, path, f"{above}{key}.")


# --- command lines ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Command:
    tree: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    notes: list[str] = field(default_factory=list)
    finds_server: bool = False


def of_command(text: str, path: str, folder: Path | None = None) -> Values:
    """Return the values that command lines set, the later over the earlier.

    Args:
        text: Lines such as `cilium install --version 1.18.1 --set a.b=c`; a backslash continues a line, # comments.
        path: Named in errors.
        folder: Where files named by `-f` are looked up; the working directory if None.

    Raises:
        KubedynoError: No line installs or upgrades, or a `--set` is malformed.
    """
    made = _Command()
    found = False
    for line in text.replace("\\\n", " ").splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise KubedynoError(f"{path}: {str(error).lower()} in: {line.strip()[:60]}") from error
        if not words or not _installs(words):
            continue
        found = True
        _take(words, made, path, folder or Path())
    if not found:
        raise KubedynoError(f"{path}: no `cilium install`, `cilium upgrade`, `helm install` or `helm upgrade` in it")
    values = checked(made.tree, path, made.version)
    return replace(values, notes=(*made.notes, *values.notes), finds_server=made.finds_server)


def _installs(words: list[str]) -> bool:
    return any(Path(word).name in {"cilium", "helm"} for word in words[:2]) and any(
        word in {"install", "upgrade", "template"} for word in words
    )


def _take(words: list[str], made: _Command, path: str, folder: Path) -> None:
    position = 0
    if "upgrade" not in words:
        made.tree = {}
    made.finds_server = any(Path(word).name == "cilium" for word in words[:2]) and "helm" not in words[:2]
    while position < len(words):
        word = words[position]
        position += 1
        flag, joined, value = word.partition("=")
        if flag not in {"--set", "--set-string", "--set-json", "--set-file", "-f", "--values", "--version"}:
            continue
        if not joined:
            if position == len(words):
                raise KubedynoError(f"{path}: {flag}: the value is missing")
            value = words[position]
            position += 1
        if flag == "--version":
            made.version = value.removeprefix("v")
        elif flag in {"-f", "--values"}:
            file = folder / value
            try:
                made.tree = merge(made.tree, of_text(file.read_text(), str(file)).tree)
            except OSError as error:
                made.notes.append(f"{path}: {flag} {value}: {error.strerror}; its values are not judged")
        elif flag == "--set-file":
            made.notes.append(f"{path}: --set-file {value}: not judged")
        elif flag == "--set-json":
            name, _, literal = value.partition("=")
            _place(made.tree, name, yaml.load(literal, f"{path}: --set-json {name}"), path)
        else:
            for name, entry in parse_set(value, path, strings=flag == "--set-string"):
                _place(made.tree, name, entry, path)


def parse_set(text: str, path: str, *, strings: bool = False) -> list[tuple[str, Any]]:
    r"""Return the assignments of a `--set`: commas part them, braces make lists, a backslash takes a sign as it is.

    Raises:
        KubedynoError: A key has no value, or a list does not end.
    """
    found: list[tuple[str, Any]] = []
    position = 0
    while position < len(text):
        key, position, stop = _until(text, position, "=,")
        if stop != "=":
            raise KubedynoError(f"{path}: --set {text}: key {key!r} has no value")
        if text[position : position + 1] == "{":
            items: list[Any] = []
            position += 1
            stop = ","
            while stop != "}":
                item, position, stop = _until(text, position, ",}")
                if not stop:
                    raise KubedynoError(f"{path}: --set {key}: the list that begins with {{ does not end")
                if item or stop == "," or items:
                    items.append(_typed(item, strings=strings))
            position += text[position : position + 1] == ","
            found.append((key, items))
            continue
        value, position, _ = _until(text, position, ",")
        found.append((key, _typed(value, strings=strings)))
    return found


def _until(text: str, position: int, stops: str) -> tuple[str, int, str]:
    out: list[str] = []
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\" and position < len(text):
            # An escaped dot stays part of a name.
            out.append("\0" if text[position] == "." else text[position])
            position += 1
        elif char in stops:
            return "".join(out), position, char
        else:
            out.append(char)
    return "".join(out), position, ""


def _typed(text: str, *, strings: bool) -> Any:
    text = text.replace("\0", ".")
    if strings:
        return text
    if text in {"true", "false"}:
        return text == "true"
    if text == "null":
        return None
    if re.fullmatch(r"-?(0|[1-9]\d*)", text):
        return int(text)
    return text


def _place(tree: dict[str, Any], name: str, value: Any, path: str) -> None:
    parts = [part.replace("\0", ".") for part in name.split(".")]
    if not all(parts):
        raise KubedynoError(f"{path}: --set {name}: an empty name between dots")
    place: Any = tree
    for number, part in enumerate(parts):
        last = number + 1 == len(parts)
        index = _INDEX.match(part)
        if index:
            items = place.get(index[1])
            if not isinstance(items, list):
                items = place[index[1]] = []
            at = int(index[2])
            if at > _MAX_INDEX:
                raise KubedynoError(f"{path}: --set {name}: index {at} is more than {_MAX_INDEX}")
            items += [None] * (at + 1 - len(items))
            if last:
                items[at] = value
            else:
                if not isinstance(items[at], dict):
                    items[at] = {}
                place = items[at]
        elif last:
            place[part] = value
        else:
            if not isinstance(place.get(part), dict):
                place[part] = {}
            place = place[part]
