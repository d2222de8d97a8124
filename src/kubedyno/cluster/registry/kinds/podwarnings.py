"""What a client is warned of though its pod, or template, is accepted; texts as the real server's."""

from collections.abc import Iterable
from typing import Any

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds import apparmor
from kubedyno.cluster.registry.kinds.addresswarnings import ip_warnings
from kubedyno.cluster.registry.kinds.claimvalidation import claim_warnings
from kubedyno.cluster.registry.kinds.securityvalidation import containers_with_paths
from kubedyno.cluster.registry.kinds.volumesources import TOKEN_SOURCE
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_label_value
from kubedyno.kube.quantity import Quantity

_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_SECCOMP = "seccomp.security.alpha.kubernetes.io/pod"
_CONTAINER_SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP_TEXT = 'non-functional in v1.27+; use the "seccompProfile" field instead'
# Labels of nodes that have other names now.
_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": 'deprecated since v1.17; use "topology.kubernetes.io/region" instead',
    "failure-domain.beta.kubernetes.io/zone": 'deprecated since v1.17; use "topology.kubernetes.io/zone" instead',
    "beta.kubernetes.io/instance-type": 'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead',
}
NEW_LABELS = {old: text.split('"')[1] for old, text in _LABELS.items()}
# In the order in which a volume is looked at: its member, what it is called, what is said of it.
_VOLUMES = (
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
)
_VOLUME_ANNOTATIONS = {
    "volume.beta.kubernetes.io/storage-class": 'deprecated since v1.8; use "storageClassName" attribute instead',
    "volume.beta.kubernetes.io/mount-options": 'deprecated since v1.31; use "mountOptions" attribute instead',
}
_OLD_VOLUMES = frozenset(name for name, _, _ in _VOLUMES)
_NEED, _PREFER = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_PLACES = frozenset({"nodeSelector", "affinity", "topologySpreadConstraints"})
_NOTHING: dict[str, str] = {}
_BYTES = ("memory", "ephemeral-storage")


def pod_warnings(spec: Object, path: str, annotations: dict[str, str]) -> list[str]:
    """Return the warnings that the real server gives for a pod spec.

    Args:
        spec: Of a pod or template.
        path: Of it, e.g. "spec.template.spec".
        annotations: Of the pod or template.
    """
    above = path.removesuffix("spec")
    warnings = [] if _PLACES.isdisjoint(spec) else _scheduling(spec, path)
    for key, text in _ANNOTATIONS.items() if annotations else ():
        if key in annotations:
            warnings.append(f"{above}metadata.annotations[{key}]: {text}")
    volumes = spec.get("volumes")
    if volumes:
        for i, volume in enumerate(volumes):
            warnings += _volume(volume, f"{path}.volumes[{i}]")
        warnings += _overlaps(volumes)
    if "hostAliases" in spec:
        warnings += _duplicates(spec["hostAliases"], "ip", f"{path}.hostAliases")
    if "imagePullSecrets" in spec:
        secrets = spec["imagePullSecrets"]
        warnings += _duplicates(secrets, "name", f"{path}.imagePullSecrets")
        warnings += [
            f'{path}.imagePullSecrets[{i}].name: invalid empty name ""'
            for i, secret in enumerate(secrets)
            if not secret.get("name")
        ]
    if "overhead" in spec:
        warnings += _fractions(spec["overhead"], f"{path}.overhead")
    if _SECCOMP in annotations and "seccompProfile" not in spec.get("securityContext", {}):
        warnings.append(f"{above}metadata.annotations[{_SECCOMP}]: {_SECCOMP_TEXT}")
    containers = list(containers_with_paths(spec, path))
    for container, where in containers:
        if annotations:
            warnings += _profiles(container, above, annotations, spec)
        resources = container.get("resources")
        if resources:
            for name in _BYTES:
                for kind in ("limits", "requests"):
                    amount = resources.get(kind, _NOTHING).get(name)
                    if amount is not None and amount[-1] == "m":
                        warnings += _fractions({name: amount}, f"{where}.resources.{kind}")
        if len(container.get("env", ())) > 1:
            warnings += _variables(container["env"], f"{where}.env")
    warnings += _ports(containers)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        text = "must be >= 0; negative values are invalid and will be treated as 1"
        warnings.append(f"{path}.terminationGracePeriodSeconds: {text}")
    if "affinity" in spec:
        for name in ("podAffinity", "podAntiAffinity"):
            warnings += _unselecting(spec["affinity"].get(name, {}), f"{path}.affinity.{name}")
    for i, server in enumerate(spec["dnsConfig"].get("nameservers", ()) if "dnsConfig" in spec else ()):
        warnings += ip_warnings(f"{path}.dnsConfig.nameservers[{i}]", server)
    for i, alias in enumerate(spec.get("hostAliases", ())):
        warnings += ip_warnings(f"{path}.hostAliases[{i}].ip", alias.get("ip", ""))
    return warnings


def name_warnings(name: str, used_in: str = "Pod names and hostnames") -> list[str]:
    """Return the warnings for the name of what makes pods: theirs begin with it, and so do their hosts' names."""
    problems = problems_of_dns1123_label(name)
    if not problems:
        return []
    text = "which can result in surprising behavior; a DNS label is recommended"
    return [f"metadata.name: this is used in {used_in}, {text}: [{' '.join(problems)}]"]


def template_warnings(template: Object, path: str) -> list[str]:
    """Return the warnings for a pod template; `path` is its own."""
    return pod_warnings(template.get("spec", {}), f"{path}.spec", template.get("metadata", {}).get("annotations", {}))


def _scheduling(spec: Object, path: str) -> list[str]:
    warnings = [
        f"{path}.nodeSelector[{key}]: {_LABELS[key]}" for key in sorted(spec.get("nodeSelector", ())) if key in _LABELS
    ]
    node = spec.get("affinity", {}).get("nodeAffinity", {})
    where = f"{path}.affinity.nodeAffinity"
    for i, term in enumerate(node.get(_NEED, {}).get("nodeSelectorTerms", ())):
        warnings += _term(term, f"{where}.{_NEED}.nodeSelectorTerms[{i}]")
    for i, weighted in enumerate(node.get(_PREFER, ())):
        warnings += _term(weighted.get("preference", {}), f"{where}.{_PREFER}[{i}].preference", values=True)
    for i, constraint in enumerate(spec.get("topologySpreadConstraints", ())):
        place, key = f"{path}.topologySpreadConstraints[{i}]", constraint.get("topologyKey", "")
        if key in _LABELS:
            warnings.append(f"{place}.topologyKey: {key} is {_LABELS[key]}")
        if "labelSelector" not in constraint:
            warnings.append(f"{place}.labelSelector: {_NO_SELECTOR}")
    return warnings


def _term(term: Object, path: str, *, values: bool = False) -> list[str]:
    warnings: list[str] = []
    for i, expression in enumerate(term.get("matchExpressions", ())):
        where, key = f"{path}.matchExpressions[{i}]", expression.get("key")
        if key in _LABELS:
            warnings.append(f"{where}.key: {key} is {_LABELS[key]}")
        for j, value in enumerate(expression.get("values", ()) if values else ()):
            warnings += [f"{where}.values[{j}]: {value} is invalid, {p}" for p in problems_of_label_value(value)]
    return warnings


def _unselecting(affinity: Object, path: str) -> list[str]:
    warnings = [
        f"{path}.{_NEED}[{i}].labelSelector: {_NO_SELECTOR}"
        for i, term in enumerate(affinity.get(_NEED, ()))
        if "labelSelector" not in term
    ]
    return warnings + [
        f"{path}.{_PREFER}[{i}].podAffinityTerm.labelSelector: {_NO_SELECTOR}"
        for i, weighted in enumerate(affinity.get(_PREFER, ()))
        if "labelSelector" not in weighted.get("podAffinityTerm", {})
    ]


def _volume(volume: Object, path: str) -> list[str]:
    if "ephemeral" in volume:
        claim = volume["ephemeral"].get("volumeClaimTemplate", {}).get("spec", {})
        return claim_warnings(claim, f"{path}.ephemeral.volumeClaimTemplate.spec")
    if _OLD_VOLUMES.isdisjoint(volume):
        return []
    return [f"{path}.{called}: {text}" for name, called, text in _VOLUMES if name in volume]


def volume_warnings(spec: Object, annotations: dict[str, str]) -> list[str]:
    """Return the warnings for a PersistentVolume."""
    warnings = [
        f"metadata.annotations[{key}]: {text}" for key, text in _VOLUME_ANNOTATIONS.items() if key in annotations
    ]
    if spec.get("persistentVolumeReclaimPolicy") == "Recycle":
        text = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning."
        warnings.append(f"spec.persistentVolumeReclaimPolicy: {text}")
    path = "spec.nodeAffinity.required.nodeSelectorTerms"
    for i, term in enumerate(spec.get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms", ())):
        warnings += _term(term, f"{path}[{i}]")
    texts = {name: f"spec.{called}: {text}" for name, called, text in _VOLUMES}
    order = ("cephfs", "photonPersistentDisk", "scaleIO", "storageos", "glusterfs", "rbd")
    return warnings + [texts[name] for name in order if name in spec]


def _duplicates(items: Iterable[Object], member: str, path: str) -> list[str]:
    warnings, seen = [], set()
    for i, item in enumerate(items):
        value = item.get(member, "")
        if value in seen:
            warnings.append(f'{path}[{i}].{member}: duplicate {member} "{value}"')
        seen.add(value)
    return warnings


def _fractions(amounts: dict[str, str], path: str) -> list[str]:
    """Return the warnings for amounts of bytes that are no whole number."""
    return [
        f'{path}[{name}]: fractional byte value "{amounts[name]}" is invalid, must be an integer'
        for name in _BYTES
        if name in amounts and amounts[name].endswith("m") and Quantity.parse(amounts[name]).milli_value() % 1000
    ]


def _profiles(container: Object, above: str, annotations: dict[str, str], spec: Object) -> list[str]:
    """Return the warnings for annotations that fields took the place of."""
    warnings, security = [], container.get("securityContext", {})
    key = f"{_CONTAINER_SECCOMP}{container.get('name', '')}"
    if key in annotations and "seccompProfile" not in security:
        warnings.append(f"{above}metadata.annotations[{key}]: {_SECCOMP_TEXT}")
    key = f"{apparmor.PREFIX}{container.get('name', '')}"
    if above and key in annotations and "appArmorProfile" not in security:
        profile = spec.get("securityContext", {}).get("appArmorProfile")
        if profile is None or profile != apparmor.field_of(annotations[key]):
            warnings.append(f"{above}metadata.annotations[{key}]: {apparmor.DEPRECATED}")
    return warnings


def _variables(variables: list[Object], path: str) -> list[str]:
    """Return the warnings for variables that hide one of the same name, and say nothing of it."""
    warnings, names = [], set()
    for i, variable in enumerate(variables):
        name, value = variable.get("name", ""), variable.get("value", "")
        before = f"$({name})"
        if name in names:
            if "valueFrom" in variable or value == before or before not in value:
                text = f'hides previous definition of "{name}", which may be dropped when using apply'
                warnings.append(f"{path}[{i}]: {text}")
        else:
            names.add(name)
    return warnings


def _ports(containers: list[tuple[Object, str]]) -> list[str]:
    """Return the warnings for ports that are told twice, or that hide one another."""
    warnings: list[str] = []
    known: dict[tuple[int, str], list[tuple[str, str, int]]] = {}
    names: dict[str, str] = {}
    named: list[str] = []
    for container, path in containers:
        for i, port in enumerate(container.get("ports", ())):
            where, address, host = f"{path}.ports[{i}]", port.get("hostIP", ""), port.get("hostPort", 0)
            if address and not host:
                warnings.append(f"{where}: hostIP set without hostPort: {_go_port(port)}")
            others = known.setdefault((port.get("containerPort", 0), port.get("protocol", "")), [])
            for other, other_address, other_host in others:
                if (address, host) == (other_address, other_host):
                    warnings.append(f"{where}: duplicate port definition with {other}")
                elif not host or not other_host:
                    warnings.append(f"{where}: overlapping port definition with {other}")
                elif host == other_host and bool(address) != bool(other_address):
                    warnings.append(f"{where}: dangerously ambiguous port definition with {other}")
            others.append((where, address, host))
            name = port.get("name", "")
            if name and name in names:
                other = names[name]
                text = f"services and probes that select ports by name will use {other}"
                named.append(f'{where}: duplicate port name "{name}" with {other}, {text}')
            elif name:
                names[name] = where
    return warnings + named


def _go_port(port: Object) -> str:
    return (
        f"{{Name:{port.get('name', '')} HostPort:{port.get('hostPort', 0)} ContainerPort:{port.get('containerPort', 0)} "
        f"Protocol:{port.get('protocol', '')} HostIP:{port.get('hostIP', '')}}}"
    )


def _overlaps(volumes: list[Object]) -> list[str]:
    """Return the warnings for files of one volume that stand in each other's place."""
    warnings: list[str] = []
    for volume in volumes:
        name = volume.get("name", "")
        found: list[tuple[str, list[str]]] = []
        for member, title, key in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
            if "items" in volume.get(member, {}):
                what = f'{title} "{volume[member].get(key, "")}"'
                found.append((what, _colliding((item.get("path", ""), "") for item in volume[member]["items"])))
        if "items" in volume.get("downwardAPI", {}):
            items = volume["downwardAPI"]["items"]
            found.append(("DownwardAPI", _colliding((item.get("path", ""), "") for item in items)))
        if "projected" in volume and volume["projected"] != TOKEN_SOURCE:
            sources = volume["projected"].get("sources", ())
            warnings += [f'volume "{name}" (Projected) has no sources provided' for source in sources if not source]
            found.append(("Projected", _colliding(path for source in sources for path in _paths_of(source))))
        warnings += [
            f'volume "{name}" ({what}): overlapping paths: {overlap}'
            for what, overlaps in found
            for overlap in overlaps
        ]
    return warnings


def _paths_of(source: Object) -> list[tuple[str, str]]:
    for member, title in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if "items" in source.get(member, {}):
            what = f'{title} "{source[member].get("name", "")}"'
            return [(item.get("path", ""), what) for item in source[member]["items"]]
    if "items" in source.get("downwardAPI", {}):
        return [(item.get("path", ""), "DownwardAPI") for item in source["downwardAPI"]["items"]]
    if "serviceAccountToken" in source:
        return [(source["serviceAccountToken"].get("path", ""), "ServiceAccountToken")]
    return []


def _colliding(paths: Iterable[tuple[str, str]]) -> list[str]:
    overlaps: list[str] = []
    before: list[tuple[str, str]] = []
    for given, source in paths:
        path = given.rstrip("/")
        if path:
            overlaps += [
                f"{_told(path, source)} with {_told(*other)}"
                for other in before
                if other[0] and (f"{other[0]}/".startswith(f"{path}/") or f"{path}/".startswith(f"{other[0]}/"))
            ]
        before.append((path, source))
    return overlaps


def _told(path: Any, source: str) -> str:
    return f'"{path}" ({source})' if source else f'"{path}"'
