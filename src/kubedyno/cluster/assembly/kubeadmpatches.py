"""kubeadm's patches within a kind configuration: those of its own kinds that act here, onto settings under way."""

import re
from dataclasses import replace
from typing import Any

import orjson

from kubedyno.cluster.assembly.draft import PROXY_MODES, Draft, address, service_subnets, subnet
from kubedyno.cluster.assembly.strict import Place, near
from kubedyno.cluster.registry import runtimeconfig
from kubedyno.cluster.settings import NodeSettings
from kubedyno.kube import yaml

_PATCH_KINDS = (
    "ClusterConfiguration", "InitConfiguration", "JoinConfiguration", "KubeletConfiguration", "KubeProxyConfiguration",
)  # fmt: skip
_CLUSTER_CONFIGURATION = (
    "kind", "apiVersion", "metadata", "apiServer", "controllerManager", "scheduler", "etcd", "networking", "dns", "proxy",
    "kubernetesVersion", "controlPlaneEndpoint", "certificatesDir", "imageRepository", "featureGates", "clusterName",
    "encryptionAlgorithm", "certificateValidityPeriod", "caCertificateValidityPeriod",
)  # fmt: skip
_COMPONENT = ("extraArgs", "extraVolumes", "extraEnvs", "certSANs", "timeoutForControlPlane")
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
# Members of a KubeletConfiguration that a kubelet here acts by.
_ACTING_MEMBERS = frozenset({
    "crashLoopBackOff", "evictionHard", "imagePullCredentialsVerificationPolicy", "kubeReserved", "maxParallelImagePulls",
    "nodeLeaseDurationSeconds", "nodeStatusReportFrequency", "podsPerCore", "preloadedImagesVerificationAllowlist",
    "serializeImagePulls", "shutdownGracePeriod", "shutdownGracePeriodCriticalPods", "systemReserved", "tracing",
})  # fmt: skip


def apply(place: Place, path: str, draft: Draft, node: NodeSettings | None) -> NodeSettings | None:
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


def _cluster_configuration(place: Place, draft: Draft) -> None:
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
                    draft.changes["pod_subnet"] = subnet(value.at(part))
                else:
                    service_subnets(value.at(part), draft.changes)
        elif key == "featureGates":
            draft.ignore(value, "are kubeadm's own; Kubernetes' gates stand under the configuration's featureGates")
        else:
            draft.ignore(value, "has no meaning here")


def _arguments(place: Place, component: str, draft: Draft) -> None:
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
            draft.bind_addresses[component] = address(value, value.text())
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
            draft.changes["pod_subnet"] = subnet(value)
        elif name == "service-cluster-ip-range":
            service_subnets(value, draft.changes)
        else:
            draft.changes["node_cidr_mask"] = value.integer(8, 30)


def _url_address(place: Place) -> str:
    found = re.match(r"https?://\[?([0-9a-fA-F.:]+?)\]?(?::\d+)?/?$", place.text().split(",", maxsplit=1)[0])
    if found is None:
        raise place.fail(f"is {place.text()!r}: no URL such as http://0.0.0.0:2381")
    return address(place, found[1])


def _kube_proxy(place: Place, draft: Draft) -> None:
    if not isinstance(place.value, dict):
        raise place.fail("must be a mapping")
    for key in place.value:
        value = place.at(key)
        if key == "metricsBindAddress":
            text = value.text()
            draft.bind_addresses["kube-proxy"] = address(
                value, text.rpartition(":")[0] if text.count(":") == 1 else text
            )
        elif key == "mode":
            draft.changes.setdefault("kube_proxy_mode", value.choice(*PROXY_MODES[:3]))
        elif key in {"kind", "apiVersion"}:
            continue
        elif near(key, ["metricsBindAddress"]):
            raise value.fail("is unknown; did you mean metricsBindAddress?")
        else:
            draft.ignore(value, "has no effect: kube-proxy is not modelled that far")


def _kubelet(place: Place, draft: Draft, more: dict[str, Any]) -> int | None:
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


def _registration(place: Place, draft: Draft, node: NodeSettings | None) -> NodeSettings | int | None:
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
