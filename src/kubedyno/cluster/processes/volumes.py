"""The files of a pod: its volumes with what they are filled from, and those of /etc that a kubelet writes.

Pure functions of the pod and of what it names: ConfigMaps, Secrets, its own fields, tokens of its ServiceAccount.
"""

import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubedyno.cluster.processes import names
from kubedyno.cluster.processes.fields import field_of, resource_of

# ("configmap", "binary" (a ConfigMap's binaryData) or "secret", name) → its data, {} when it isn't there. What is no UTF-8
# has surrogates in it, as files' names have in Python.
Data = Callable[[str, str], dict[str, str]]
# (audience or "", seconds) → a token of the pod's ServiceAccount, "" where there are none.
Token = Callable[[str, int], str]
# Text and mode.
File = tuple[str, int]
_TOKEN_S = 3600
_MODE = 0o644
SOURCE = str(Path(__file__).resolve().parents[3])


def hostname_of(pod: dict[str, Any]) -> str:
    """Return a pod's hostname: what it asks for, its name, or its node's name on the node's network."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return str(spec["nodeName"])
    return str(spec.get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def plan_of(
    pod: dict[str, Any], address: str, dns_address: str, data: Data, token: Token, facts: dict[str, str]
) -> dict[str, Any]:
    """Return what a pod's fence is made from (`fence.enter`).

    Args:
        pod: The pod.
        address: Its own.
        dns_address: Of the DNS service.
        data: ConfigMaps and Secrets.
        token: Mints tokens.
        facts: What its node can give, as for `fields.resource_of`.
    """
    spec = pod["spec"]
    hostname = hostname_of(pod)
    hosts = f"127.0.0.1\tlocalhost\n{address}\t{hostname}\n"
    for alias in spec.get("hostAliases", ()):
        hosts += f"{alias['ip']}\t{' '.join(alias.get('hostnames', ()))}\n"
    files = {
        "/etc/hosts": hosts,
        "/etc/hostname": f"{hostname}\n",
        "/etc/resolv.conf": names.resolv_conf(dns_address, pod),
    }
    volumes = {volume["name"]: _volume(volume, pod, data, token, facts) for volume in spec.get("volumes", ())}
    mounts = {
        mount["mountPath"]: mount["name"]
        for container in (*spec.get("initContainers", ()), *spec["containers"])
        for mount in container.get("volumeMounts", ())
    }
    return {
        "hostname": hostname,
        "programs": _programs(),
        "files": files,
        "volumes": volumes,
        "group": (spec.get("securityContext") or {}).get("fsGroup"),
        "mounts": [[name, path] for path, name in mounts.items()],
    }


def _programs() -> list[str]:
    """Return the folders of this very program and its interpreter, as far as they are not among the system's."""
    wanted = dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, sys.prefix, SOURCE, *_libraries()))
    return [path for path in wanted if not path.startswith(("/usr", "/opt")) and path != "/"]


def _libraries() -> list[str]:
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and Path(path).is_dir()]


def _volume(
    volume: dict[str, Any], pod: dict[str, Any], data: Data, token: Token, facts: dict[str, str]
) -> dict[str, File]:
    kind = next((key for key in volume if key != "name"), "emptyDir")
    source = volume.get(kind) or {}
    mode = source.get("defaultMode", _MODE)
    if kind == "projected":
        found: dict[str, File] = {}
        for one in source.get("sources", ()):
            part, content = next(iter(one.items()))
            found |= _files(part, content, mode, pod, data, token, facts)
        return found
    return _files(kind, source, mode, pod, data, token, facts)


def _files(
    kind: str,
    source: dict[str, Any],
    mode: int,
    pod: dict[str, Any],
    data: Data,
    token: Token,
    facts: dict[str, str],
) -> dict[str, File]:
    """Return the files of one source of a volume."""
    match kind:
        case "configMap":
            name = source.get("name", "")
            return _items({**data("configmap", name), **data("binary", name)}, source, mode)
        case "secret":
            return _items(data("secret", source.get("secretName", source.get("name", ""))), source, mode)
        case "serviceAccountToken":
            text = token(source.get("audience", ""), source.get("expirationSeconds", _TOKEN_S))
            return {source["path"]: (text, mode)} if text else {}
        case "downwardAPI":
            return {item["path"]: (_told(item, pod, facts), item.get("mode", mode)) for item in source.get("items", ())}
    return {}


def _told(item: dict[str, Any], pod: dict[str, Any], facts: dict[str, str]) -> str:
    if "fieldRef" in item:
        return field_of(pod, item["fieldRef"]["fieldPath"], {})
    asked, spec = item["resourceFieldRef"], pod["spec"]
    every = (*spec.get("initContainers", ()), *spec["containers"])
    container: dict[str, Any] = next((one for one in every if one["name"] == asked.get("containerName")), {})
    return resource_of(container, asked, facts)


def _items(data: dict[str, str], source: dict[str, Any], mode: int) -> dict[str, File]:
    items = source.get("items")
    if not items:
        return {name: (text, mode) for name, text in data.items()}
    return {item["path"]: (data[item["key"]], item.get("mode", mode)) for item in items if item["key"] in data}


def decoded(kind: str, obj: dict[str, Any] | None) -> dict[str, str]:
    """Return what a ConfigMap or Secret holds; see `Data` for kinds."""
    if obj is None:
        return {}
    if kind == "configmap":
        return dict(obj.get("data") or {})
    found = (obj.get("binaryData" if kind == "binary" else "data") or {}).items()
    return {name: b64decode(value).decode(errors="surrogateescape") for name, value in found}
