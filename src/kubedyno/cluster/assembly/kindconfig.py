"""A kind configuration (kind.x-k8s.io/v1alpha4) to `ClusterSettings`.

What acts here acts as written, kubeadm's patches included; what has no meaning on simulated nodes is a warning that
names it; what is misspelt is an error with file, line and path.
"""

import ipaddress
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.assembly import schedulerconfig
from kubedyno.cluster.assembly.strict import Place, near
from kubedyno.cluster.registry import runtimeconfig
from kubedyno.cluster.settings import (
    DEFAULT_SECOND_SERVICE_SUBNET,
    DEFAULT_VERSION,
    GIT_VERSIONS,
    SUPPORTED_VERSIONS,
    ClusterSettings,
    NodeSettings,
    node_names,
)
from kubedyno.kube import yaml

API_VERSION = "kind.x-k8s.io/v1alpha4"
DEFAULT_NAME = "kubedyno"

_TOP = (
    "kind", "apiVersion", "name", "nodes", "networking", "featureGates", "runtimeConfig", "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902", "containerdConfigPatches", "containerdConfigPatchesJSON6902",
)  # fmt: skip
_NODE = (
    "role", "image", "labels", "extraMounts", "extraPortMappings", "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902",
)  # fmt: skip
_NETWORKING = (
    "ipFamily", "apiServerPort", "apiServerAddress", "podSubnet", "serviceSubnet", "disableDefaultCNI",
    "kubeProxyMode", "dnsSearch",
)  # fmt: skip
_PORT = ("containerPort", "hostPort", "listenAddress", "protocol")
_IMAGE_VERSION = re.compile(r":v?(\d+\.\d+)(\.\d+)?(?:[@-].*)?$")
_PATCH_KINDS = (
    "ClusterConfiguration", "InitConfiguration", "JoinConfiguration", "KubeletConfiguration", "KubeProxyConfiguration",
)  # fmt: skip
_CLUSTER_CONFIGURATION = (
    "kind", "apiVersion", "metadata", "apiServer", "controllerManager", "scheduler", "etcd", "networking", "dns", "proxy",
    "kubernetesVersion", "controlPlaneEndpoint", "certificatesDir", "imageRepository", "featureGates", "clusterName",
    "encryptionAlgorithm", "certificateValidityPeriod", "caCertificateValidityPeriod",
)  # fmt: skip
_COMPONENT = ("extraArgs", "extraVolumes", "extraEnvs", "certSANs", "timeoutForControlPlane")
# A larger one is refused by the real API server as well.
_MIN_IPV6_PREFIX = 64
_PROXY_MODES = ("iptables", "ipvs", "nftables", "none")


class _Draft:
    """Settings under way."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.changes: dict[str, Any] = {}
        self.bind_addresses: dict[str, str] = {}
        self.gates: dict[str, bool] = {}
        self.runtime_config: dict[str, bool] = {}
        # Of all nodes that have none of their own.
        self.max_pods: int | None = None
        self.kubelet: dict[str, Any] = {}
        # --config of the scheduler, where it says so, and (path in its pod, path on the node) of its volumes.
        self.scheduler_config: Place | None = None
        self.scheduler_volumes: list[tuple[str, str]] = []
        # The same of the API server: its audit flags, and its volumes.
        self.audit_log: Place | None = None
        self.audit_policy: Place | None = None
        self.tracing: Place | None = None
        self.api_volumes: list[tuple[str, str]] = []

    def ignore(self, place: Place, why: str) -> None:
        self.warnings.append(f"{place.dotted} (line {place.line}) {why}")


def parse(text: str, path: str, *, name: str | None = None) -> tuple[ClusterSettings, list[str]]:
    """Return the settings that a configuration asks for, and warnings about what means nothing here.

    Args:
        text: The file's content.
        path: Named in errors.
        name: Of the cluster; None takes the configuration's, else "kubedyno".

    Raises:
        KubedynoError: It is no kind configuration, or something in it is wrong.
    """
    document = yaml.load(text, path, strict=True)
    if not isinstance(document, dict):
        raise KubedynoError(f"{path}: holds no kind configuration; it begins with `kind: Cluster`")
    top = Place(document, path)
    given = top.mapping(_TOP)
    if given.get("kind") != "Cluster":
        raise KubedynoError(f"{path}: kind is {given.get('kind')!r}, must be Cluster")
    if given.get("apiVersion") != API_VERSION:
        raise KubedynoError(f"{path}: apiVersion is {given.get('apiVersion')!r}, must be {API_VERSION}")
    name = name or (top.at("name").text() if given.get("name") else DEFAULT_NAME)
    draft = _Draft()
    if "networking" in given:
        _networking(top.at("networking"), draft)
    if "featureGates" in given:
        for gate in top.at("featureGates").value or {}:
            draft.gates[gate] = top.at("featureGates", gate).boolean()
    if given.get("runtimeConfig"):
        _runtime_config(top.at("runtimeConfig"), draft)
    for key in ("containerdConfigPatches", "containerdConfigPatchesJSON6902"):
        if given.get(key):
            draft.ignore(top.at(key), "has no meaning here: there is no container runtime")
    if given.get("kubeadmConfigPatchesJSON6902"):
        draft.ignore(top.at("kubeadmConfigPatchesJSON6902"), "is not applied: write it as kubeadmConfigPatches")
    if "kubeadmConfigPatches" in given:
        for place in top.at("kubeadmConfigPatches").items():
            _patch(place, path, draft, None)
    nodes = _nodes(top, path, name, draft)
    settings = ClusterSettings(name=name, nodes=nodes, bind_addresses=draft.bind_addresses, feature_gates=draft.gates)
    settings = replace(settings, runtime_config=draft.runtime_config)
    if draft.scheduler_config is not None:
        scheduler, more = schedulerconfig.read(_scheduler_config(draft.scheduler_config, top, draft))
        draft.changes["scheduler"] = scheduler
        draft.warnings += more
    _audit(top, draft)
    if draft.tracing is not None:
        draft.changes["tracing"] = _api_file(draft.tracing, draft, top, "--tracing-config-file")
    settings = replace(settings, **draft.changes)
    _check_subnets(settings, path)
    return settings, draft.warnings


def _scheduler_config(place: Place, top: Place, draft: _Draft) -> Path:
    """Return the file on this machine that the scheduler's --config is."""
    path, found = _brought_in(place, draft.scheduler_volumes, top)
    if found is None:
        raise place.fail(
            f"is {path}, which no extraMounts of a control-plane node brings in; or use --scheduler-config"
        )
    return Path(found)


def _audit(top: Place, draft: _Draft) -> None:
    """Take over the API server's audit flags."""
    if draft.audit_log is not None:
        _, found = _brought_in(draft.audit_log, draft.api_volumes, top)
        draft.changes["audit_log"] = found or "audit.log"
        if found is None:
            draft.ignore(draft.audit_log, "is in the node, which is none: the log is audit.log in the cluster's folder")
    if draft.audit_policy is not None:
        if draft.audit_log is None:
            draft.ignore(draft.audit_policy, "has no effect without --audit-log-path")
            return
        draft.changes["audit_policy"] = _api_file(draft.audit_policy, draft, top, "--audit-policy-file")


def _api_file(place: Place, draft: _Draft, top: Place, flag: str) -> str:
    """Return the file on this machine that one of the API server's flags names."""
    path, found = _brought_in(place, draft.api_volumes, top)
    if found is None:
        raise place.fail(f"is {path}, which no extraMounts of a control-plane node brings in; or use {flag}")
    return str(Path(found).expanduser().absolute())


def _brought_in(place: Place, volumes: list[tuple[str, str]], top: Place) -> tuple[str, str | None]:
    """Return a file's path on its node, and on this machine: through a pod's volumes and the node's mounts."""
    path = _mapped(place.text(), volumes)
    mounts: list[tuple[str, str]] = []
    for node in top.at("nodes").items() if top.value.get("nodes") else []:
        if _role(node) == "control-plane":
            for mount in node.at("extraMounts").items() if node.value.get("extraMounts") else []:
                given = mount.mapping(("containerPath", "hostPath", "readOnly", "selinuxRelabel", "propagation"))
                if given.get("containerPath") and given.get("hostPath"):
                    mounts.append((mount.at("containerPath").text(), mount.at("hostPath").text()))
    found = _mapped(path, mounts)
    return path, None if found == path else found


def _mapped(path: str, places: list[tuple[str, str]]) -> str:
    """Return where a path leads through mounts (inside, outside); itself when none has it."""
    for inside, outside in places:
        if path == inside:
            return outside
        if path.startswith(inside.rstrip("/") + "/"):
            return f"{outside.rstrip('/')}/{path[len(inside.rstrip('/')) + 1 :]}"
    return path


def _networking(place: Place, draft: _Draft) -> None:
    given, changes = place.mapping(_NETWORKING), draft.changes
    for key in given:
        value = place.at(key)
        if key == "podSubnet":
            changes["pod_subnet"] = _subnet(value)
        elif key == "serviceSubnet":
            _service_subnets(value, changes)
        elif key == "disableDefaultCNI":
            if value.boolean():
                changes["cni"] = "none"
        elif key == "kubeProxyMode":
            changes["kube_proxy_mode"] = value.choice(*_PROXY_MODES)
        elif key == "apiServerPort":
            changes["port"] = max(value.integer(-1, 65535), 0)
        elif key == "apiServerAddress":
            if value.text() != "127.0.0.1":
                draft.ignore(value, "is not taken: the API server listens on 127.0.0.1 only")
        elif key == "ipFamily":
            family = value.choice("ipv4", "ipv6", "dual")
            if family == "dual":
                changes.setdefault("second_service_subnet", DEFAULT_SECOND_SERVICE_SUBNET)
                draft.ignore(value, "is taken for Services only: pods get IPv4 addresses")
            elif family == "ipv6":
                draft.ignore(value, "is not modelled: pods and services get IPv4 addresses")
        else:
            draft.ignore(value, "has no meaning here: there is no resolver in simulated nodes")


def _subnet(place: Place) -> str:
    return _network(place, place.text(), 4)


def _network(place: Place, text: str, version: int) -> str:
    try:
        network = ipaddress.ip_network(text.strip())
    except ValueError as error:
        raise place.fail(f"is no subnet: {error}; write for example 10.244.0.0/16") from error
    if network.version != version:
        raise place.fail(f"must be an IPv{version} subnet")
    return str(network)


def _service_subnets(place: Place, changes: dict[str, Any]) -> None:
    """Read one subnet, or "IPv4,IPv6"."""
    first, comma, second = place.text().partition(",")
    changes["service_subnet"] = _network(place, first, 4)
    if comma:
        changes["second_service_subnet"] = _network(place, second, 6)
        if ipaddress.ip_network(changes["second_service_subnet"]).prefixlen < _MIN_IPV6_PREFIX:
            raise place.fail(f"must have an IPv6 subnet of /{_MIN_IPV6_PREFIX} or smaller")


def _check_subnets(settings: ClusterSettings, path: str) -> None:
    prefix = ipaddress.ip_network(settings.pod_subnet).prefixlen
    if settings.node_cidr_mask < prefix:
        raise KubedynoError(
            f"{path}: node-cidr-mask-size {settings.node_cidr_mask} is larger than podSubnet {settings.pod_subnet}"
        )
    if settings.node_cidr_mask - prefix > 16:
        raise KubedynoError(
            f"{path}: node-cidr-mask-size {settings.node_cidr_mask} leaves too many subnets in {settings.pod_subnet}: "
            "New CIDR set failed; the node CIDR size is too big"
        )


def _nodes(top: Place, path: str, cluster: str, draft: _Draft) -> tuple[NodeSettings, ...]:
    places = top.at("nodes").items() if top.value.get("nodes") else []
    roles = [_role(place) for place in places] or ["control-plane"]
    planes = roles.count("control-plane")
    if not planes:
        raise top.at("nodes").fail("must have a node with role control-plane")
    names = iter(node_names(cluster, planes, 0)), iter(node_names(cluster, 0, len(roles) - planes))
    nodes, versions = [], []
    for index, role in enumerate(roles):
        node = NodeSettings(next(names[0 if role == "control-plane" else 1]), control_plane=role == "control-plane")
        if places:
            node, version = _node(places[index], path, node, draft)
            versions.append((places[index], version))
        kubelet = {**draft.kubelet, **orjson.loads(node.kubelet or "{}")}
        nodes.append(
            replace(
                node,
                max_pods=node.max_pods if node.max_pods is not None else draft.max_pods,
                kubelet=orjson.dumps(kubelet).decode() if kubelet else "",
            )
        )
    # The first control plane decides, as the API server is its.
    chosen = next((v for (_, v), role in zip(versions, roles, strict=False) if role == "control-plane"), "")
    for place, version in versions:
        if version and version != (chosen or DEFAULT_VERSION):
            draft.ignore(
                place.at("image"), f"is not taken: the whole cluster is Kubernetes {chosen or DEFAULT_VERSION}"
            )
    if chosen:
        draft.changes["version"] = chosen
    return tuple(nodes)


def _role(place: Place) -> str:
    given = place.mapping(_NODE)
    return place.at("role").choice("control-plane", "worker") if given.get("role") else "control-plane"


def _node(place: Place, path: str, node: NodeSettings, draft: _Draft) -> tuple[NodeSettings, str]:
    """Return a node with what its mapping says, and the version that its image names."""
    given, version = place.value, ""
    if given.get("image"):
        version = _version(place.at("image"), draft)
    if given.get("labels"):
        labels = place.at("labels")
        if not isinstance(labels.value, dict):
            raise labels.fail("must be a mapping")
        node = replace(node, labels=tuple((key, labels.at(key).text()) for key in labels.value))
    if given.get("extraMounts"):
        draft.ignore(place.at("extraMounts"), "means nothing to pods here: simulated nodes have no file system")
    if given.get("extraPortMappings"):
        ports = tuple(_port(entry, draft) for entry in place.at("extraPortMappings").items())
        node = replace(node, port_mappings=ports)
    if given.get("kubeadmConfigPatchesJSON6902"):
        draft.ignore(place.at("kubeadmConfigPatchesJSON6902"), "is not applied: write it as kubeadmConfigPatches")
    if given.get("kubeadmConfigPatches"):
        for patch in place.at("kubeadmConfigPatches").items():
            node = _patch(patch, path, draft, node) or node
    return node, version


def _version(place: Place, draft: _Draft) -> str:
    found = _IMAGE_VERSION.search(place.text())
    if found is None:
        raise place.fail(f"is {place.text()!r}: names no Kubernetes version; write for example kindest/node:v1.33.2")
    if found[1] not in SUPPORTED_VERSIONS:
        raise place.fail(f"names Kubernetes {found[1]}; supported are {', '.join(SUPPORTED_VERSIONS)}")
    named, served = f"v{found[1]}{found[2] or ''}", GIT_VERSIONS[found[1]]
    if found[2] and named != served:
        draft.ignore(place, f"names {named}; {served} is what the cluster says it is")
    return found[1]


def _port(place: Place, draft: _Draft) -> tuple[int, int]:
    given = place.mapping(_PORT)
    for key in ("containerPort", "hostPort"):
        if key not in given and key == "containerPort":
            raise place.fail(f"needs {key}")
    if given.get("listenAddress", "127.0.0.1") not in {"127.0.0.1", "0.0.0.0"}:  # noqa: S104 - a value to compare with
        draft.ignore(place.at("listenAddress"), "is not taken: ports are opened on 127.0.0.1 only")
    if given.get("protocol") and place.at("protocol").choice("TCP", "UDP", "SCTP") != "TCP":
        draft.ignore(place.at("protocol"), "is not taken: only TCP ports are opened")
    host = place.at("hostPort").integer(-1, 65535) if "hostPort" in given else 0
    return max(host, 0), place.at("containerPort").integer(1, 65535)


# --- kubeadm's patches ---------------------------------------------------------------------------------------------


def _patch(place: Place, path: str, draft: _Draft, node: NodeSettings | None) -> NodeSettings | None:
    """Apply one patch: to one node, or with None to the cluster. Returns the node with what the patch says of it."""
    # A block scalar's text begins on the line after its key.
    documents = yaml.load_all(place.text(), f"{path}:{place.line}: {place.dotted}", strict=True)
    for document in documents:
        inner = Place(document, path, line_offset=place.line, prefix=place.dotted)
        if not isinstance(document, dict) or not document.get("kind"):
            raise inner.fail("needs a kind, such as ClusterConfiguration")
        kind = document["kind"]
        if kind not in _PATCH_KINDS:
            raise inner.at("kind").fail(f"is {kind!r}{near(str(kind), list(_PATCH_KINDS))}")
        if kind == "ClusterConfiguration":
            _cluster_configuration(inner, draft)
        elif kind == "KubeProxyConfiguration":
            _kube_proxy(inner, draft)
        else:
            more: dict[str, Any] = {}
            if kind == "KubeletConfiguration":
                found: NodeSettings | int | None = _kubelet(inner, draft, more)
            else:
                found = _registration(inner, draft, node)
            if node is None:
                draft.kubelet |= more
            elif more:
                node = replace(node, kubelet=orjson.dumps({**orjson.loads(node.kubelet or "{}"), **more}).decode())
            if isinstance(found, NodeSettings):
                node = found
            elif isinstance(found, int):
                if node is None:
                    draft.max_pods = found
                else:
                    node = replace(node, max_pods=found)
    return node


def _cluster_configuration(place: Place, draft: _Draft) -> None:
    given = place.mapping(_CLUSTER_CONFIGURATION)
    for key in given:
        value = place.at(key)
        if key in {"kind", "apiVersion", "metadata"}:
            continue
        if key in {"controllerManager", "scheduler", "apiServer"}:
            component = {"controllerManager": "controller-manager", "scheduler": "scheduler"}.get(key, "apiserver")
            for part in value.mapping(_COMPONENT):
                if part == "extraArgs":
                    _arguments(value.at(part), component, draft)
                elif part == "extraVolumes" and component in {"scheduler", "apiserver"}:
                    volumes = draft.scheduler_volumes if component == "scheduler" else draft.api_volumes
                    for volume in value.at(part).items():
                        paths = volume.mapping(("name", "hostPath", "mountPath", "readOnly", "pathType"))
                        if paths.get("hostPath") and paths.get("mountPath"):
                            volumes.append((volume.at("mountPath").text(), volume.at("hostPath").text()))
                else:
                    draft.ignore(value.at(part), "has no meaning here")
        elif key == "etcd":
            for part in value.mapping(("local", "external")):
                if part == "external":
                    draft.ignore(value.at(part), "is not taken: the cluster has a store of its own")
                    continue
                local = value.at(part)
                for member in local.mapping(("extraArgs", "dataDir", "imageRepository", "imageTag", "serverCertSANs")):
                    if member == "extraArgs":
                        _arguments(local.at(member), "etcd", draft)
                    else:
                        draft.ignore(local.at(member), "has no meaning here")
        elif key == "networking":
            for part in value.mapping(("podSubnet", "serviceSubnet", "dnsDomain")):
                if part == "dnsDomain":
                    draft.ignore(value.at(part), "has no meaning here")
                elif part == "podSubnet":
                    draft.changes["pod_subnet"] = _subnet(value.at(part))
                else:
                    _service_subnets(value.at(part), draft.changes)
        elif key == "featureGates":
            draft.ignore(value, "are kubeadm's own; Kubernetes' gates stand under the configuration's featureGates")
        else:
            draft.ignore(value, "has no meaning here")


# Flags of the audit log's rotation → the setting.
_AUDIT_NUMBERS = {
    "audit-log-maxsize": "audit_maxsize_mb", "audit-log-maxage": "audit_maxage_days",
    "audit-log-maxbackup": "audit_maxbackup",
}  # fmt: skip
_KNOWN_ARGUMENTS = {
    "controller-manager": (
        "bind-address", "allocate-node-cidrs", "cluster-cidr", "node-cidr-mask-size", "node-cidr-mask-size-ipv4",
        "service-cluster-ip-range",
    ),
    "scheduler": ("bind-address", "config"),
    "etcd": ("listen-metrics-urls",),
    "apiserver": ("service-cluster-ip-range", "audit-log-path", "audit-policy-file", "tracing-config-file", "runtime-config",
                  *_AUDIT_NUMBERS),
}  # fmt: skip


def _arguments(place: Place, component: str, draft: _Draft) -> None:
    """Read extraArgs: a mapping, or kubeadm v1beta4's list of name and value."""
    values: list[tuple[str, Place]] = []
    if isinstance(place.value, list):
        for entry in place.items():
            given = entry.mapping(("name", "value"))
            if "name" not in given or "value" not in given:
                raise entry.fail("needs name and value")
            values.append((entry.at("name").text(), entry.at("value")))
    elif isinstance(place.value, dict):
        values = [(key, place.at(key)) for key in place.value]
    elif place.value is not None:
        raise place.fail("must be a mapping, or a list of name and value")
    known = list(_KNOWN_ARGUMENTS[component])
    for name, value in values:
        if name not in known:
            hint = near(name, known)
            if hint:
                raise value.fail(f"sets --{name}, which {component} does not know{hint}")
            draft.ignore(value, f"has no effect: --{name} of the {component} is not modelled")
        elif name == "bind-address":
            draft.bind_addresses[component] = _address(value, value.text())
        elif name == "config":
            draft.scheduler_config = value
        elif name == "audit-log-path":
            draft.audit_log = value
        elif name == "audit-policy-file":
            draft.audit_policy = value
        elif name in _AUDIT_NUMBERS:
            draft.changes[_AUDIT_NUMBERS[name]] = value.integer(0, 1_000_000)
        elif name == "tracing-config-file":
            draft.tracing = value
        elif name == "runtime-config":
            draft.runtime_config.update(runtimeconfig.parse(value.text(), f"{value.where}: {value.dotted}"))
        elif name == "listen-metrics-urls":
            draft.bind_addresses["etcd"] = _url_address(value)
        elif name == "allocate-node-cidrs":
            draft.changes["allocate_node_cidrs"] = value.boolean()
        elif name == "cluster-cidr":
            draft.changes["pod_subnet"] = _subnet(value)
        elif name == "service-cluster-ip-range":
            _service_subnets(value, draft.changes)
        else:
            draft.changes["node_cidr_mask"] = value.integer(8, 30)


def _runtime_config(place: Place, draft: _Draft) -> None:
    """Read runtimeConfig: key → "true" or "false", as a text or plain."""
    if not isinstance(place.value, dict):
        raise place.fail("must be a mapping such as api/beta: 'true'")
    texts = {
        str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in place.value.items()
    }
    draft.runtime_config.update(runtimeconfig.checked(texts, f"{place.where}: {place.dotted}"))


def _address(place: Place, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise place.fail(f"is {text!r}: no IP address") from error


def _url_address(place: Place) -> str:
    found = re.match(r"https?://\[?([0-9a-fA-F.:]+?)\]?(?::\d+)?/?$", place.text().split(",", maxsplit=1)[0])
    if found is None:
        raise place.fail(f"is {place.text()!r}: no URL such as http://0.0.0.0:2381")
    return _address(place, found[1])


def _kube_proxy(place: Place, draft: _Draft) -> None:
    if not isinstance(place.value, dict):
        raise place.fail("must be a mapping")
    for key in place.value:
        value = place.at(key)
        if key == "metricsBindAddress":
            text = value.text()
            draft.bind_addresses["kube-proxy"] = _address(
                value, text.rpartition(":")[0] if text.count(":") == 1 else text
            )
        elif key == "mode":
            draft.changes.setdefault("kube_proxy_mode", value.choice(*_PROXY_MODES[:3]))
        elif key in {"kind", "apiVersion"}:
            continue
        elif near(key, ["metricsBindAddress"]):
            raise value.fail("is unknown; did you mean metricsBindAddress?")
        else:
            draft.ignore(value, "has no effect: kube-proxy is not modelled that far")


# Members of a KubeletConfiguration that a kubelet here acts by.
_ACTING_MEMBERS = frozenset({
    "crashLoopBackOff", "evictionHard", "imagePullCredentialsVerificationPolicy", "kubeReserved", "maxParallelImagePulls",
    "nodeLeaseDurationSeconds", "nodeStatusReportFrequency", "podsPerCore", "preloadedImagesVerificationAllowlist",
    "serializeImagePulls", "shutdownGracePeriod", "shutdownGracePeriodCriticalPods", "systemReserved", "tracing",
})  # fmt: skip


def _kubelet(place: Place, draft: _Draft, more: dict[str, Any]) -> int | None:
    """Return maxPods of a KubeletConfiguration, None when it does not say; what else acts goes into `more`."""
    max_pods = None
    for key in place.value:
        value = place.at(key)
        if key == "maxPods":
            max_pods = value.integer(1, 1_000_000)
        elif key in {"kind", "apiVersion"}:
            continue
        elif key == "featureGates":
            for gate in value.value or {}:
                draft.gates[gate] = value.at(gate).boolean()
        elif key in _ACTING_MEMBERS:
            more[key] = value.value
        elif near(key, ["maxPods"]):
            raise value.fail("is unknown; did you mean maxPods?")
        else:
            draft.ignore(value, "has no effect at start: change it with `kubedyno cluster kubelet NODE --set`")
    return max_pods


def _registration(place: Place, draft: _Draft, node: NodeSettings | None) -> NodeSettings | int | None:
    """Apply nodeRegistration of an InitConfiguration or JoinConfiguration."""
    result: NodeSettings | int | None = None
    for key in place.value:
        value = place.at(key)
        if key in {"kind", "apiVersion"}:
            continue
        if key != "nodeRegistration":
            draft.ignore(value, "has no meaning here")
            continue
        for part in value.value or {}:
            if part != "kubeletExtraArgs":
                draft.ignore(value.at(part), "has no meaning here")
                continue
            arguments = value.at(part)
            if not isinstance(arguments.value, dict):
                raise arguments.fail("must be a mapping")
            for argument in arguments.value:
                entry = arguments.at(argument)
                if argument == "max-pods":
                    number = entry.integer(1, 1_000_000)
                    if node is None:
                        result = number
                    else:
                        node = result = replace(node, max_pods=number)
                elif argument == "node-labels" and node is not None:
                    pairs = tuple(tuple(pair.partition("=")[::2]) for pair in entry.text().split(",") if pair)
                    node = result = replace(node, labels=(*node.labels, *pairs))  # type: ignore[arg-type]
                else:
                    draft.ignore(entry, f"has no effect: --{argument} of the kubelet is not modelled")
    return result
