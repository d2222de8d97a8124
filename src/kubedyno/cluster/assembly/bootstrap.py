"""What a fresh cluster holds: namespaces, the API's own Service, kubeadm's ConfigMaps, system pods and add-ons.

Manifests lie under `data/` with `${…}` for what the settings decide; they go through the same door as a client's.
"""

import base64
import ipaddress
import string
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from kubedyno.cluster.kubelet import registries
from kubedyno.cluster.kubelet.credentials import DOCKER_CONFIG_JSON
from kubedyno.cluster.registry.bootstrapobjects import bootstrap_objects
from kubedyno.cluster.registry.registry import Registry
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.objects import key_of
from kubedyno.kube import yaml
from kubedyno.kube.resources import CONFIGMAPS, NAMESPACES, SECRETS, SERVICES, Resource, by_kind

Object = dict[str, Any]

_DATA = Path(__file__).parent / "data"
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
# What kubeadm of each version installs (kubernetes/cmd/kubeadm/app/constants).
_ETCD = {"1.33": "3.5.21-0", "1.34": "3.6.4-0", "1.35": "3.6.6-0", "1.36": "3.6.8-0"}
_COREDNS = {"1.33": "v1.12.0", "1.34": "v1.12.1", "1.35": "v1.13.1", "1.36": "v1.14.1"}
# Where components serve metrics unless told otherwise: the reason why a Prometheus outside of them sees nothing.
_LOOPBACK = "127.0.0.1"
_API_PORT = 6443
# Who owns the fields of what the API server makes itself.
_MANAGER, _FAIRNESS = "kube-apiserver", "api-priority-and-fairness-config-producer-v1"


class _Template(string.Template):
    """`${name}`; `$$` is a dollar sign."""

    braceidpattern = r"[a-z_]+"


@cache
def _text(name: str) -> str:
    return (_DATA / name).read_text(encoding="utf-8")


def _values(settings: ClusterSettings) -> dict[str, str]:
    subnet = ipaddress.ip_network(settings.service_subnet)
    bind = settings.bind_addresses
    return {
        "cluster": settings.name,
        "version": settings.git_version,
        "etcd": _ETCD[settings.version],
        "coredns": _COREDNS[settings.version],
        "pod_subnet": settings.pod_subnet,
        "service_subnet": ",".join(settings.service_subnets),
        "node_cidr_mask": str(settings.node_cidr_mask),
        "allocate_node_cidrs": str(settings.allocate_node_cidrs).lower(),
        "kube_proxy_mode": settings.kube_proxy_mode,
        "dns_ip": str(subnet[10]),
        "prometheus_port": str(settings.monitoring.prometheus_port),
        "grafana_port": str(settings.monitoring.grafana_port),
        "bind_controller_manager": bind.get("controller-manager", _LOOPBACK),
        "bind_scheduler": bind.get("scheduler", _LOOPBACK),
        "bind_etcd": bind.get("etcd", _LOOPBACK),
        "bind_kube_proxy": bind.get("kube-proxy", ""),
    }


def _documents(name: str, settings: ClusterSettings, **more: str) -> Iterator[Object]:
    text = _Template(_text(name)).substitute({**_values(settings), **more})
    # Plain dicts: the registry takes what JSON decoders make, not mappings that know their lines.
    yield from orjson.loads(orjson.dumps(yaml.load_all(text, name)))


def static_pods(settings: ClusterSettings, node: str, address: str) -> list[Object]:
    """Return the manifests of a control-plane node's static pods.

    Args:
        settings: Of the cluster.
        node: The node's name.
        address: The node's InternalIP.
    """
    return list(_documents("control-plane.yaml", settings, node=node, node_ip=address))


def create_foundation(registry: Registry, settings: ClusterSettings, *, ca_pem: bytes, server: str) -> None:
    """Create what controllers and nodes rely on: the four namespaces, roles and classes, the API's Service, ConfigMaps.

    Args:
        registry: Of an empty cluster, or of one that was kept: what is there stays as it is.
        settings: Of the cluster.
        ca_pem: The certificate that signs the API server's.
        server: URL of the API server.
    """
    for name in _NAMESPACES:
        _ensure(registry, NAMESPACES, "", {"metadata": {"name": name}}, _MANAGER)
    for document in bootstrap_objects():
        _create(registry, document, _FAIRNESS if document["apiVersion"].startswith("flowcontrol") else _MANAGER)
    _create(
        registry,
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": list(settings.service_subnets)},
        },
    )
    labels = {"component": "apiserver", "provider": "kubernetes"}
    port = {"name": "https", "port": 443, "protocol": "TCP", "targetPort": _API_PORT}
    _ensure(
        registry,
        SERVICES,
        "default",
        {
            "metadata": {"name": "kubernetes", "labels": labels},
            "spec": {"clusterIP": str(ipaddress.ip_network(settings.service_subnet)[1]), "ports": [port]},
        },
        _MANAGER,
    )
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "",
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(ca_pem).decode()},
            }
        ],
    }
    _config_map(registry, "kube-public", "cluster-info", {"kubeconfig": yaml.dump(kubeconfig)})
    _config_map(registry, "kube-system", "kubeadm-config", {"ClusterConfiguration": _cluster_configuration(settings)})
    _config_map(registry, "kube-system", "extension-apiserver-authentication", {"client-ca-file": ca_pem.decode()})
    if settings.private_registries:
        _private_registries(registry, settings)


def _private_registries(registry: Registry, settings: ClusterSettings) -> None:
    """Say which registries are private, in the form in which it can be said later too."""
    for number, (host, user, password) in enumerate(settings.private_registries):
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        config = orjson.dumps({"auths": {host: {"auth": auth}}})
        secret = {
            "metadata": {"name": f"private-registry-{number}", "labels": {registries.LABEL: "true"}},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {DOCKER_CONFIG_JSON: base64.b64encode(config).decode()},
        }
        _ensure(registry, SECRETS, registries.NAMESPACE, secret)


def _config_map(registry: Registry, namespace: str, name: str, data: dict[str, str]) -> None:
    _ensure(registry, CONFIGMAPS, namespace, {"metadata": {"name": name}, "data": data})


def create_kubelet_config(registry: Registry, text: str) -> None:
    """Create the ConfigMap that kubeadm keeps of the kubelets' file; as with kubeadm, nobody reads it afterwards."""
    _config_map(registry, "kube-system", "kubelet-config", {"kubelet": text})


def _cluster_configuration(settings: ClusterSettings) -> str:
    bind = settings.bind_addresses
    controller_manager = {
        "allocate-node-cidrs": str(settings.allocate_node_cidrs).lower(),
        "node-cidr-mask-size": str(settings.node_cidr_mask),
        **({"bind-address": bind["controller-manager"]} if "controller-manager" in bind else {}),
    }
    document: Object = {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "clusterName": settings.name,
        "controllerManager": {"extraArgs": _arguments(controller_manager)},
        "kind": "ClusterConfiguration",
        "kubernetesVersion": settings.git_version,
        "networking": {
            "dnsDomain": "cluster.local",
            "podSubnet": settings.pod_subnet,
            "serviceSubnet": ",".join(settings.service_subnets),
        },
    }
    if "scheduler" in bind:
        document["scheduler"] = {"extraArgs": _arguments({"bind-address": bind["scheduler"]})}
    if "etcd" in bind:
        urls = {"listen-metrics-urls": f"http://{bind['etcd']}:2381"}
        document["etcd"] = {"local": {"dataDir": "/var/lib/etcd", "extraArgs": _arguments(urls)}}
    return yaml.dump(document)


def _arguments(values: dict[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in values.items()]


def create_system(registry: Registry, settings: ClusterSettings) -> None:
    """Create the system's workloads and the add-ons that the settings name."""
    names = ["system.yaml", "metrics-server.yaml"]
    if settings.cni == "kindnet":
        names.append("kindnet.yaml")
    elif settings.cni == "cilium":
        names.append("cilium.yaml")
    if settings.kube_proxy_mode != "none":
        names.append("kube-proxy.yaml")
    names += [f"{addon}.yaml" for addon in settings.addons]
    for name in names:
        for document in _documents(name, settings):
            _create(registry, document)


def _create(registry: Registry, document: Object, manager: str | None = None) -> None:
    resource = by_kind(document["apiVersion"], document["kind"])
    assert resource is not None
    _ensure(registry, resource, document["metadata"].get("namespace", ""), document, manager)


def _ensure(
    registry: Registry, resource: Resource, namespace: str, document: Object, manager: str | None = None
) -> None:
    """Create an object unless it is there: a cluster that was kept has most of them."""
    if registry.store.get(resource, key_of(namespace, document["metadata"]["name"])) is None:
        registry.create(resource, namespace, document, manager=manager)
