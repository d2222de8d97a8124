"""A kind configuration (kind.x-k8s.io/v1alpha4) to `ClusterSettings`.

What acts here acts as written, kubeadm's patches included; what has no meaning on simulated nodes is a warning that
names it; what is misspelt is an error with file, line and path.
"""

import ipaddress
import re
from dataclasses import replace
from pathlib import Path

import orjson

from kubedyno.base.errors import KubedynoError
from kubedyno.cluster.assembly import kubeadmpatches, schedulerconfig
from kubedyno.cluster.assembly.draft import PROXY_MODES, Draft, service_subnets, subnet
from kubedyno.cluster.assembly.strict import Place
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
    draft = Draft()
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
            kubeadmpatches.apply(place, path, draft, None)
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


def _scheduler_config(place: Place, top: Place, draft: Draft) -> Path:
    """Return the file on this machine that the scheduler's --config is."""
    path, found = _brought_in(place, draft.scheduler_volumes, top)
    if found is None:
        raise place.fail(
            f"is {path}, which no extraMounts of a control-plane node brings in; or use --scheduler-config"
        )
    return Path(found)


def _audit(top: Place, draft: Draft) -> None:
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


def _api_file(place: Place, draft: Draft, top: Place, flag: str) -> str:
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


def _networking(place: Place, draft: Draft) -> None:
    given, changes = place.mapping(_NETWORKING), draft.changes
    for key in given:
        value = place.at(key)
        if key == "podSubnet":
            changes["pod_subnet"] = subnet(value)
        elif key == "serviceSubnet":
            service_subnets(value, changes)
        elif key == "disableDefaultCNI":
            if value.boolean():
                changes["cni"] = "none"
        elif key == "kubeProxyMode":
            changes["kube_proxy_mode"] = value.choice(*PROXY_MODES)
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


def _nodes(top: Place, path: str, cluster: str, draft: Draft) -> tuple[NodeSettings, ...]:
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


def _node(place: Place, path: str, node: NodeSettings, draft: Draft) -> tuple[NodeSettings, str]:
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
            node = kubeadmpatches.apply(patch, path, draft, node) or node
    return node, version


def _version(place: Place, draft: Draft) -> str:
    found = _IMAGE_VERSION.search(place.text())
    if found is None:
        raise place.fail(f"is {place.text()!r}: names no Kubernetes version; write for example kindest/node:v1.33.2")
    if found[1] not in SUPPORTED_VERSIONS:
        raise place.fail(f"names Kubernetes {found[1]}; supported are {', '.join(SUPPORTED_VERSIONS)}")
    named, served = f"v{found[1]}{found[2] or ''}", GIT_VERSIONS[found[1]]
    if found[2] and named != served:
        draft.ignore(place, f"names {named}; {served} is what the cluster says it is")
    return found[1]


def _port(place: Place, draft: Draft) -> tuple[int, int]:
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


def _runtime_config(place: Place, draft: Draft) -> None:
    """Read runtimeConfig: key → "true" or "false", as a text or plain."""
    if not isinstance(place.value, dict):
        raise place.fail("must be a mapping such as api/beta: 'true'")
    texts = {
        str(key): str(value).lower() if isinstance(value, bool) else str(value) for key, value in place.value.items()
    }
    draft.runtime_config.update(runtimeconfig.checked(texts, f"{place.where}: {place.dotted}"))
