"""From a pod's spec to what its init is told: command lines, environments, users.

Pure functions of the pod, of what it names (ConfigMaps, Secrets), and of the image table. Files are in `volumes`.
"""

import re
import sys
from pathlib import Path
from typing import Any

from kubedyno.cluster.processes.fields import field_of, resource_of
from kubedyno.cluster.processes.images import entry_of
from kubedyno.cluster.processes.network import Bandwidth
from kubedyno.cluster.processes.volumes import SOURCE, Data, hostname_of
from kubedyno.kernel.cgroups import Limits
from kubedyno.kube.quantity import milli_of, value_of

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CAPABILITIES = frozenset({"NET_RAW", "NET_BIND_SERVICE"})
_VOLUMES = frozenset({"emptyDir", "configMap", "secret", "projected", "downwardAPI"})
_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))")
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
        facts: Field paths that the spec does not hold: status.podIP, status.hostIP, …; and what its node can give:
            allocatable.cpu, ….
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
            found[name] = field_of(pod, source["fieldRef"]["fieldPath"], facts)
        elif "configMapKeyRef" in source or "secretKeyRef" in source:
            kind = "configmap" if "configMapKeyRef" in source else "secret"
            reference = source.get("configMapKeyRef") or source["secretKeyRef"]
            known = _texts(data(kind, reference.get("name", "")))
            if reference["key"] in known:
                found[name] = known[reference["key"]]
        elif "resourceFieldRef" in source:
            found[name] = resource_of(container, source["resourceFieldRef"], facts)
    if is_ours(container):
        found["PATH"] = f"{Path(sys.executable).parent}:{found['PATH']}"
        found.setdefault("PYTHONPATH", SOURCE)
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


def breach_of(pod: dict[str, Any], container: dict[str, Any]) -> str:
    """Return why a container may not be created, "" when it may: it must not be root's (verifyRunAsNonRoot)."""
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    uid = own.get("runAsUser", whole.get("runAsUser"))
    if not own.get("runAsNonRoot", whole.get("runAsNonRoot")) or uid:
        return ""
    metadata = pod["metadata"]
    who = f'(pod: "{metadata["name"]}_{metadata["namespace"]}({metadata["uid"]})", container: {container["name"]})'
    # No image names a user here.
    what = "container has runAsNonRoot and image will run as root" if uid is None else (
        "container's runAsUser breaks non-root policy"
    )  # fmt: skip
    return f"{what} {who}"


def user_of(pod: dict[str, Any], container: dict[str, Any]) -> dict[str, Any]:
    """Return "uid", "gid" and "groups" that a container runs as."""
    whole, own = pod["spec"].get("securityContext") or {}, container.get("securityContext") or {}
    uid = own.get("runAsUser", whole.get("runAsUser", 0))
    gid = own.get("runAsGroup", whole.get("runAsGroup", 0))
    groups = {gid, *whole.get("supplementalGroups", ()), *([whole["fsGroup"]] if "fsGroup" in whole else ())}
    return {"uid": uid, "gid": gid, "groups": sorted(groups)}
