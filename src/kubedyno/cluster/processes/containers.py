"""From a pod's spec to what its init is told: command lines, environments, files and mounts.

Pure functions of the pod, of what it names (ConfigMaps, Secrets), and of the image table.
"""

import re
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubedyno.cluster.processes import names
from kubedyno.cluster.processes.images import entry_of
from kubedyno.cluster.processes.network import Bandwidth
from kubedyno.kernel.cgroups import Limits
from kubedyno.kube.quantity import milli_of, value_of

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = frozenset({"NET_RAW", "NET_BIND_SERVICE"})
_VOLUMES = frozenset({"emptyDir", "configMap", "secret", "projected", "downwardAPI"})
_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
_SOURCE = str(Path(__file__).resolve().parents[3])

# ("configmap", "binary" (a ConfigMap's binaryData) or "secret", name) → its data, {} when it isn't there. What is no UTF-8
# has surrogates in it, as files' names have in Python.
Data = Callable[[str, str], dict[str, str]]
# (audience or "", seconds) → a token of the pod's ServiceAccount, "" where there are none.
Token = Callable[[str, int], str]
_TOKEN_S = 3600
_LEAST_BITS_S, _MOST_BITS_S = 1_000, 10**15


def refusal_of(pod: dict[str, Any], own_images: dict[str, list[str]]) -> str:
    """Return why a pod is not run as real processes, "" when it is."""
    spec = pod["spec"]
    for name in ("hostPID", "hostIPC"):
        if spec.get(name):
            return f"{name} is not given to real pods"
    for volume in spec.get("volumes", ()):
        kind = next((key for key in volume if key != "name"), "emptyDir")
        if kind not in _VOLUMES:
            return f"volume {volume['name']}: {kind} is not given to real pods"
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        context = container.get("securityContext") or {}
        if context.get("privileged"):
            return f"container {container['name']}: no real pod is privileged"
        added = set((context.get("capabilities") or {}).get("add", ())) - _CAPABILITIES
        if added:
            return f"container {container['name']}: capability {min(added)} is not given to real pods"
        if any(mount.get("subPath") or mount.get("subPathExpr") for mount in container.get("volumeMounts", ())):
            return f"container {container['name']}: subPath is not there for real pods"
        if entry_of(container["image"], own_images) is None:
            return f"image {container['image']} stands for no local command"
    return ""


def command_of(container: dict[str, Any], own_images: dict[str, list[str]], environment: dict[str, str]) -> list[str]:
    """Return a container's command line (kubernetes.io: Define a Command and Arguments for a Container)."""
    entry = entry_of(container["image"], own_images)
    assert entry is not None
    command, args = list(container.get("command", ())), list(container.get("args", ()))
    if not command:
        command = list(entry.entrypoint)
        args = args or list(entry.default)
    return [expanded(word, environment) for word in (*command, *args)]


def expanded(text: str, environment: dict[str, str]) -> str:
    """Replace $(NAME) by the variable's value where there is one; $$ is one dollar sign (third_party/expansion)."""

    def one(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return environment.get(match[2], match[0])

    return _REFERENCE.sub(one, text)


def environment_of(
    pod: dict[str, Any], container: dict[str, Any], facts: dict[str, str], services: dict[str, str], data: Data
) -> dict[str, str]:
    """Return a container's environment.

    Args:
        pod: The pod.
        container: Its container.
        facts: Field paths that the spec does not hold: status.podIP, status.hostIP, ….
        services: Variables of the services of its namespace.
        data: ConfigMaps and Secrets.
    """
    found = {"PATH": _PATH, "HOSTNAME": hostname_of(pod), "HOME": "/root", **services}
    for source in container.get("envFrom", ()):
        kind = "configmap" if "configMapRef" in source else "secret"
        reference = source.get("configMapRef") or source.get("secretRef") or {}
        for name, value in _texts(data(kind, reference.get("name", ""))).items():
            found[source.get("prefix", "") + name] = value
    for variable in container.get("env", ()):
        name, source = variable["name"], variable.get("valueFrom")
        if source is None:
            found[name] = expanded(variable.get("value", ""), found)
        elif "fieldRef" in source:
            found[name] = _field(pod, source["fieldRef"]["fieldPath"], facts)
        elif "configMapKeyRef" in source or "secretKeyRef" in source:
            kind = "configmap" if "configMapKeyRef" in source else "secret"
            reference = source.get("configMapKeyRef") or source["secretKeyRef"]
            known = _texts(data(kind, reference.get("name", "")))
            if reference["key"] in known:
                found[name] = known[reference["key"]]
        elif "resourceFieldRef" in source:
            found[name] = _resource(container, source["resourceFieldRef"]["resource"])
    if is_ours(container):
        found["PATH"] = f"{Path(sys.executable).parent}:{found['PATH']}"
        found.setdefault("PYTHONPATH", _SOURCE)
    return found


def _texts(data: dict[str, str]) -> dict[str, str]:
    """Return what a variable can hold: no bytes that are no text, no NUL."""
    return {
        name: value
        for name, value in data.items()
        if "\0" not in value and not any("\ud800" <= letter <= "\udfff" for letter in value)
    }


def is_ours(container: dict[str, Any]) -> bool:
    """Say whether a container's image stands for this very program."""
    entry = entry_of(container["image"], {})
    return entry is not None and "kubedyno" in entry.entrypoint


def _field(pod: dict[str, Any], path: str, facts: dict[str, str]) -> str:
    if path in facts:
        return facts[path]
    for kind in ("labels", "annotations"):
        head = f"metadata.{kind}['"
        if path.startswith(head):
            return str((pod["metadata"].get(kind) or {}).get(path[len(head) : -2], ""))
    value: Any = pod
    for part in path.split("."):
        value = value.get(part, "") if isinstance(value, dict) else ""
    return str(value)


def _resource(container: dict[str, Any], name: str) -> str:
    kind, _, resource = name.partition(".")
    return str(((container.get("resources") or {}).get(kind) or {}).get(resource, "0"))


def limits_of(container: dict[str, Any]) -> Limits:
    """Return what a container's control group is to allow it."""
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    return Limits(
        milli_cpu=milli_of(str(limits.get("cpu", "0"))),
        milli_request=milli_of(str(requests.get("cpu", "0"))),
        memory_bytes=value_of(str(limits.get("memory", "0"))),
    )


def bandwidth_of(pod: dict[str, Any]) -> Bandwidth:
    """Return what a pod's annotations let it send and be sent (k8s.io/kubernetes/pkg/util/bandwidth).

    Raises:
        ValueError: One is no amount, or out of bounds.
    """
    annotations = pod["metadata"].get("annotations") or {}
    found = []
    for name in ("egress", "ingress"):
        text = annotations.get(f"kubernetes.io/{name}-bandwidth")
        bits_s = value_of(str(text)) if text is not None else 0
        if text is not None and bits_s < _LEAST_BITS_S:
            raise ValueError("resource is unreasonably small (< 1kbit)")
        if bits_s > _MOST_BITS_S:
            raise ValueError("resource is unreasonably large (> 1Pbit)")
        found.append(bits_s // 8)
    return Bandwidth(*found)


def hostname_of(pod: dict[str, Any]) -> str:
    """Return a pod's hostname: what it asks for, its name, or its node's name on the node's network."""
    spec = pod["spec"]
    if spec.get("hostNetwork"):
        return str(spec["nodeName"])
    return str(spec.get("hostname") or pod["metadata"]["name"])[:63].rstrip("-.")


def user_of(pod: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    """Return "uid", "gid" and "groups" that a container runs as."""
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    uid = own.get("runAsUser", whole.get("runAsUser", 0))
    gid = own.get("runAsGroup", whole.get("runAsGroup", 0))
    groups = {gid, *whole.get("supplementalGroups", ()), *([whole["fsGroup"]] if "fsGroup" in whole else ())}
    return {"uid": uid, "gid": gid, "groups": sorted(groups)}


def plan_of(pod: dict[str, Any], address: str, dns_address: str, data: Data, token: Token) -> dict[str, Any]:
    """Return what a pod's fence is made from (`fence.enter`)."""
    spec, metadata = pod["spec"], pod["metadata"]
    hostname = hostname_of(pod)
    hosts = f"127.0.0.1\tlocalhost\n{address}\t{hostname}\n"
    for alias in spec.get("hostAliases", ()):
        hosts += f"{alias['ip']}\t{' '.join(alias.get('hostnames', ()))}\n"
    files = {
        "/etc/hosts": hosts,
        "/etc/hostname": f"{hostname}\n",
        "/etc/resolv.conf": names.resolv_conf(dns_address, metadata["namespace"]),
    }
    volumes = {volume["name"]: _volume(volume, metadata, data, token) for volume in spec.get("volumes", ())}
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
        "mounts": [[name, path] for path, name in mounts.items()],
    }


def _programs() -> list[str]:
    """Return the folders of this very program and its interpreter, as far as they are not among the system's."""
    wanted = dict.fromkeys((sys.base_prefix, sys.base_exec_prefix, sys.prefix, _SOURCE, *_libraries()))
    return [path for path in wanted if not path.startswith(("/usr", "/opt")) and path != "/"]


def _libraries() -> list[str]:
    return [path for path in sys.path if path.endswith(("site-packages", "dist-packages")) and Path(path).is_dir()]


def _volume(volume: dict[str, Any], metadata: dict[str, Any], data: Data, token: Token) -> dict[str, str]:
    if "configMap" in volume:
        return _items(_config(data, volume["configMap"]), volume["configMap"])
    if "secret" in volume:
        return _items(data("secret", volume["secret"].get("secretName", "")), volume["secret"])
    found: dict[str, str] = {}
    for source in (volume.get("projected") or {}).get("sources", ()):
        if "configMap" in source:
            found |= _items(_config(data, source["configMap"]), source["configMap"])
        if "secret" in source:
            found |= _items(data("secret", source["secret"].get("name", "")), source["secret"])
        if "serviceAccountToken" in source:
            asked = source["serviceAccountToken"]
            text = token(asked.get("audience", ""), asked.get("expirationSeconds", _TOKEN_S))
            found |= {asked["path"]: text} if text else {}
        for item in (source.get("downwardAPI") or {}).get("items", ()):
            if "fieldRef" in item:
                pod = {"metadata": metadata}
                found[item["path"]] = _field(pod, item["fieldRef"]["fieldPath"], {})
    return found


def _config(data: Data, source: dict[str, Any]) -> dict[str, str]:
    name = source.get("name", "")
    return {**data("configmap", name), **data("binary", name)}


def _items(data: dict[str, str], source: dict[str, Any]) -> dict[str, str]:
    items = source.get("items")
    if not items:
        return data
    return {item["path"]: data[item["key"]] for item in items if item["key"] in data}


def decoded(kind: str, obj: dict[str, Any] | None) -> dict[str, str]:
    """Return what a ConfigMap or Secret holds; see `Data` for kinds."""
    if obj is None:
        return {}
    if kind == "configmap":
        return dict(obj.get("data") or {})
    found = (obj.get("binaryData" if kind == "binary" else "data") or {}).items()
    return {name: b64decode(value).decode(errors="surrogateescape") for name, value in found}
