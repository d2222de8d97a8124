"""What is wrong with the source of a volume: of a pod's volume, or of a PersistentVolume; texts as the real server's."""

import re
from collections.abc import Callable, Iterable

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.claimvalidation import claim_causes
from kubedyno.cluster.registry.kinds.envvalidation import field_reference_causes, resource_reference_causes
from kubedyno.cluster.registry.kinds.mountvalidation import descending_path_causes
from kubedyno.cluster.registry.metadata import annotation_causes, label_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain
from kubedyno.kube.quantity import value_of
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_supported, required, too_long

_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_DOWNWARD_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_MIN_TOKEN_S, _MAX_TOKEN_S, _TOKEN_S = 600, 1 << 32, 3607
_MAX_BYTE = 255
_BYTE_TEXT = f"must be between 0 and {_MAX_BYTE}, inclusive"
_PARTITION_TEXT = f"must be between 1 and {_MAX_BYTE}, inclusive"
_MAX_DRIVER, _MAX_TENANT = 63, 64
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_DISK_CACHES, _DISK_KINDS = ("None", "ReadOnly", "ReadWrite"), ("Dedicated", "Managed", "Shared")
_MANAGED_DISK = (
    "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
    "/subscriptions/",
)
_BLOB_DISK = ("https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd", "https://")
_PAIRS = "must be a host:port pair or multiple pairs separated by commas"
_IQN = re.compile(r"iqn\.\d{4}-\d{2}\.([A-Za-z0-9-.]+)(:[^,;*&$|\s]+)\Z")
_EUI = re.compile(r"eui\.[0-9A-Fa-f]{16}\Z")
_NAA = re.compile(r"naa\.[0-9A-Fa-f]{32}\Z")
_INITIATORS = {"iqn": _IQN, "eui": _EUI, "naa": _NAA}
_DUPLICATE_PATH = "conflicting duplicate paths"
_REQUIRED = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "configMap": ("name",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "hostPath": ("path",),
    "iscsi": ("targetPortal",),
    "local": ("path",),
    "nfs": ("server", "path"),
    "persistentVolumeClaim": ("claimName",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "secret": ("secretName",),
    "storageos": ("volumeName",),
    "vsphereVolume": ("volumePath",),
}


def token_source() -> Object:
    """Return the source of the volume that gives a container its account's token, as admission mounts it."""
    namespace: Object = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _TOKEN_S, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
        "defaultMode": 420,
    }


# Right by itself, and in nearly every pod.
TOKEN_SOURCE = token_source()


def source_causes(kind: str, source: Object, path: str, *, pod: bool, persistent: bool = False) -> list[Cause]:
    """Return what is wrong with a volume's source.

    Args:
        kind: Its member name, e.g. "hostPath".
        source: What it says.
        path: Of it.
        pod: It is of a pod, not of a template.
        persistent: It is of a PersistentVolume.
    """
    if kind == "gcePersistentDisk":
        # So the real server calls it.
        path = path.removesuffix(kind) + "persistentDisk"
    causes = [required(f"{path}.{name}") for name in _REQUIRED.get(kind, ()) if not source.get(name)]
    if kind == "image":
        return _image(source, path, pod=pod)
    rule = (_OF_PERSISTENT.get(kind) if persistent else None) or _RULES.get(kind)
    return causes if rule is None else causes + rule(source, path)


def _image(source: Object, path: str, *, pod: bool) -> list[Cause]:
    causes = [required(f"{path}.reference")] if pod and not source.get("reference") else []
    policy = source.get("pullPolicy")
    if policy not in _PULL_POLICIES:
        where = f"{path}.pullPolicy"
        causes.append(not_supported(where, policy, _PULL_POLICIES) if policy else required(where))
    return causes


def _host_path(source: Object, path: str) -> list[Cause]:
    if not source.get("path"):
        return []
    causes = _no_backsteps(source, path)
    if source.get("type", "") not in _HOST_PATH_TYPES:
        causes.append(not_supported(f"{path}.type", source["type"], _HOST_PATH_TYPES))
    return causes


def _no_backsteps(source: Object, path: str) -> list[Cause]:
    if ".." not in source.get("path", "").split("/"):
        return []
    return [invalid_value(f"{path}.path", source["path"], "must not contain '..'")]


def _git(source: Object, path: str) -> list[Cause]:
    return descending_path_causes(f"{path}.directory", source.get("directory", ""))


def _empty_dir(source: Object, path: str) -> list[Cause]:
    if "sizeLimit" in source and value_of(source["sizeLimit"]) < 0:
        return [forbidden_field(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def _nfs(source: Object, path: str) -> list[Cause]:
    place = source.get("path", "")
    return [] if place.startswith("/") else [invalid_value(f"{path}.path", place, "must be an absolute path")]


def _partition(source: Object, path: str) -> list[Cause]:
    number = source.get("partition", 0)
    return [] if 0 <= number <= _MAX_BYTE else [invalid_value(f"{path}.partition", number, _PARTITION_TEXT)]


def _iscsi(source: Object, path: str, *, persistent: bool = False) -> list[Cause]:
    causes: list[Cause] = []
    name, secret = source.get("iqn", ""), source.get("secretRef")
    if not name:
        causes.append(required(f"{path}.iqn"))
    else:
        causes += _initiator(name, f"{path}.iqn", persistent=persistent)
    number = source.get("lun", 0)
    if not 0 <= number <= _MAX_BYTE:
        causes.append(invalid_value(f"{path}.lun", number, _BYTE_TEXT))
    if (source.get("chapAuthDiscovery") or source.get("chapAuthSession")) and secret is None:
        causes.append(required(f"{path}.secretRef"))
    if persistent and secret is not None and not secret.get("name"):
        causes.append(required(f"{path}.secretRef.name"))
    if "initiatorName" in source:
        causes += _initiator(source["initiatorName"], f"{path}.initiatorname", persistent=persistent)
    return causes


def _initiator(name: str, path: str, *, persistent: bool) -> list[Cause]:
    rule = _INITIATORS.get(name[:3])
    if rule is None:
        more = "" if persistent else " starting with iqn, eui, or naa"
        return [invalid_value(path, name, f"must be valid format{more}")]
    return [] if rule.match(name) else [invalid_value(path, name, "must be valid format")]


def _fibre(source: Object, path: str) -> list[Cause]:
    names, ids, where = source.get("targetWWNs", []), source.get("wwids", []), f"{path}.targetWWNs"
    causes: list[Cause] = []
    if not names and not ids:
        causes.append(required(where, "must specify either targetWWNs or wwids, but not both"))
    if names and ids:
        causes.append(invalid_value(where, names, "targetWWNs and wwids can not be specified simultaneously"))
    if names:
        number = source.get("lun")
        if number is None:
            causes.append(required(f"{path}.lun", "lun is required if targetWWNs is specified"))
        elif not 0 <= number <= _MAX_BYTE:
            causes.append(invalid_value(f"{path}.lun", number, _BYTE_TEXT))
    return causes


def _quobyte(source: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    registry = source.get("registry", "")
    if not registry:
        causes.append(required(f"{path}.registry", _PAIRS))
    elif len(source.get("tenant", "")) > _MAX_TENANT:
        text = f"must be a UUID and may not exceed a length of {_MAX_TENANT} characters"
        causes.append(required(f"{path}.tenant", text))
    else:
        causes += [
            invalid_value(f"{path}.registry", registry, _PAIRS)
            for pair in registry.split(",")
            if not re.fullmatch(r"([^:\[\]]*|\[[^\[\]]*\]):[^:\[\]]*", pair)
        ]
    return causes if source.get("volume") else [*causes, required(f"{path}.volume")]


def _flocker(source: Object, path: str) -> list[Cause]:
    name, uuid = source.get("datasetName", ""), source.get("datasetUUID", "")
    causes: list[Cause] = []
    if not name and not uuid:
        causes.append(required(path, "one of datasetName and datasetUUID is required"))
    if name and uuid:
        text = "datasetName and datasetUUID can not be specified simultaneously"
        causes.append(invalid_value(path, "resource", text))
    if "/" in name:
        causes.append(invalid_value(f"{path}.datasetName", name, "must not contain '/'"))
    return causes


def _azure_disk(source: Object, path: str) -> list[Cause]:
    causes: list[Cause] = []
    cache, kind, uri = source.get("cachingMode"), source.get("kind"), source.get("diskURI", "")
    if cache is not None and cache not in _DISK_CACHES:
        causes.append(not_supported(f"{path}.cachingMode", cache, _DISK_CACHES))
    if kind is None:
        return causes
    if kind not in _DISK_KINDS:
        causes.append(not_supported(f"{path}.kind", kind, _DISK_KINDS))
    form, beginning = _MANAGED_DISK if kind == "Managed" else _BLOB_DISK
    if not uri.startswith(beginning):
        causes.append(not_supported(f"{path}.diskURI", uri, (form,)))
    return causes


def _flex(source: Object, path: str) -> list[Cause]:
    text = "kubernetes.io and k8s.io namespaces are reserved"
    return [
        invalid_value(f"{path}.options[{key}]", key, text)
        for key in sorted(source.get("options", {}))
        if f".{key.partition('/')[0].lower()}".endswith((".kubernetes.io", ".k8s.io"))
    ]


def _storage_os(source: Object, path: str) -> list[Cause]:
    return [
        invalid_value(f"{path}.{member}", source[member], problem)
        for member in ("volumeName", "volumeNamespace")
        if source.get(member)
        for problem in problems_of_dns1123_label(source[member])
    ]


def _with_secret(*members: str, then: Callable[[Object, str], list[Cause]] | None = None) -> Callable[..., list[Cause]]:
    """Return the rule of a source whose secret must have members, after what else is asked of it."""

    def rule(source: Object, path: str) -> list[Cause]:
        causes = [] if then is None else then(source, path)
        secret = source.get("secretRef")
        if secret is None:
            return causes
        return causes + [required(f"{path}.secretRef.{member}") for member in members if not secret.get(member)]

    return rule


def _driver(source: Object, path: str) -> list[Cause]:
    name, where = source.get("driver", ""), f"{path}.driver"
    if not name:
        return [required(where)]
    causes = [too_long(where, _MAX_DRIVER)] if len(name) > _MAX_DRIVER else []
    return causes + [invalid_value(where, name, p) for p in problems_of_dns1123_subdomain(name.lower())]


def _csi(source: Object, path: str) -> list[Cause]:
    causes = _driver(source, path)
    secret = source.get("nodePublishSecretRef")
    if secret is None:
        return causes
    name = secret.get("name", "")
    if not name:
        return [*causes, required(f"{path}.nodePublishSecretRef.name")]
    return causes + [invalid_value(f"{path}.name", name, p) for p in problems_of_dns1123_subdomain(name)]


def _persistent_csi(source: Object, path: str) -> list[Cause]:
    causes = _driver(source, path)
    if not source.get("volumeHandle"):
        causes.append(required(f"{path}.volumeHandle"))
    for purpose in ("controllerPublish", "controllerExpand", "nodePublish", "nodeExpand"):
        secret, where = source.get(f"{purpose}SecretRef"), f"{path}.{purpose}SecretRef"
        if secret is None:
            continue
        for member, problems in (("name", problems_of_dns1123_subdomain), ("namespace", problems_of_dns1123_label)):
            text = secret.get(member, "")
            if not text:
                causes.append(required(f"{where}.{member}"))
            else:
                causes += [invalid_value(f"{where}.{member}", text, p) for p in problems(text)]
    return causes


def _persistent_glusterfs(source: Object, path: str) -> list[Cause]:
    namespace, where = source.get("endpointsNamespace"), f"{path}.endpointsNamespace"
    if namespace is None:
        return []
    if not namespace:
        text = "if the endpointnamespace is set, it must be a valid namespace name"
        return [invalid_value(where, namespace, text)]
    return [invalid_value(where, namespace, p) for p in problems_of_dns1123_label(namespace)]


def _persistent_azure_file(source: Object, path: str) -> list[Cause]:
    return [required(f"{path}.secretNamespace")] if source.get("secretNamespace") == "" else []


def _persistent_iscsi(source: Object, path: str) -> list[Cause]:
    return _iscsi(source, path, persistent=True)


# As Go's names become fields' there.
_META_NAMES = {"uid": "uID"}


def _ephemeral(source: Object, path: str) -> list[Cause]:
    template, where = source.get("volumeClaimTemplate"), f"{path}.volumeClaimTemplate"
    if template is None:
        return [required(where)]
    metadata = template.get("metadata", {})
    causes = annotation_causes(metadata.get("annotations", {}), f"{where}.metadata.annotations")
    causes += label_causes(metadata.get("labels", {}), f"{where}.metadata.labels")
    causes += [
        forbidden_field(f"{where}.metadata.{_META_NAMES.get(name, name)}", "cannot be set")
        for name, value in metadata.items()
        if value and name not in {"annotations", "labels"}
    ]
    return causes + claim_causes(template.get("spec", {}), f"{where}.spec")


def _mode(mode: int | None, path: str) -> list[Cause]:
    return [invalid_value(path, mode, _MODE_TEXT)] if mode is not None and not 0 <= mode <= 0o777 else []


def _local_path(text: str, path: str) -> list[Cause]:
    causes = [] if text else [required(path)]
    causes += descending_path_causes(path, text)
    if text.startswith("..") and not text.startswith("../"):
        causes.append(invalid_value(path, text, "must not start with '..'"))
    return causes


def _items(items: Iterable[Object], path: str, taken: Callable[[str], list[Cause]] | None = None) -> list[Cause]:
    """Return what is wrong with which keys are shown where; `taken` says what is wrong with a path beside others."""
    causes: list[Cause] = []
    for i, item in enumerate(items):
        if not item.get("key"):
            causes.append(required(f"{path}[{i}].key"))
        causes += _local_path(item.get("path", ""), f"{path}[{i}].path")
        causes += _mode(item.get("mode"), f"{path}[{i}].mode")
        if taken is not None:
            causes += taken(item.get("path", ""))
    return causes


def _keys(source: Object, path: str) -> list[Cause]:
    causes = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    return causes + _items(source.get("items", ()), f"{path}.items")


def _downward(source: Object, path: str) -> list[Cause]:
    causes = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for item in source.get("items", ()):
        causes += _downward_item(item, path)
    return causes


def _downward_item(item: Object, path: str) -> list[Cause]:
    causes = _local_path(item.get("path", ""), f"{path}.path")
    if "fieldRef" in item:
        causes += field_reference_causes(item["fieldRef"], f"{path}.fieldRef", _DOWNWARD_FIELDS)
        if "resourceFieldRef" in item:
            text = "fieldRef and resourceFieldRef can not be specified simultaneously"
            causes.append(invalid_value(path, "resource", text))
    elif "resourceFieldRef" in item:
        causes += resource_reference_causes(item["resourceFieldRef"], f"{path}.resourceFieldRef", volume=True)
    else:
        causes.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return causes + _mode(item.get("mode"), f"{path}.mode")


def _projected(source: Object, path: str) -> list[Cause]:
    if source == TOKEN_SOURCE:
        return []
    causes = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    paths: set[str] = set()

    def taken(shown: str) -> Callable[[str], list[Cause]]:
        def check(place: str) -> list[Cause]:
            twice = place in paths
            paths.add(place)
            return [invalid_value(path, shown or place, _DUPLICATE_PATH)] if twice and place else []

        return check

    for i, part in enumerate(source.get("sources", ())):
        where = f"{path}.sources[{i}]"
        for name in ("secret", "configMap"):
            if name in part:
                named = part[name].get("name", "")
                if not named:
                    causes.append(required(f"{where}.{name}.name"))
                causes += _items(part[name].get("items", ()), f"{where}.{name}.items", taken(named))
        for item in part.get("downwardAPI", {}).get("items", ()):
            causes += _downward_item(item, f"{where}.downwardAPI")
            causes += taken("")(item.get("path", ""))
        if "serviceAccountToken" in part:
            causes += _token(part["serviceAccountToken"], f"{where}.serviceAccountToken", path)
        if len(part) > 1:
            causes.append(forbidden_field(where, "may not specify more than 1 volume type per source"))
    return causes


def _token(token: Object, path: str, volume: str) -> list[Cause]:
    causes: list[Cause] = []
    seconds = token.get("expirationSeconds", _MIN_TOKEN_S)
    if seconds < _MIN_TOKEN_S:
        text = "may not specify a duration less than 10 minutes"
        causes.append(invalid_value(f"{path}.expirationSeconds", seconds, text))
    if seconds > _MAX_TOKEN_S:
        text = "may not specify a duration larger than 2^32 seconds"
        causes.append(invalid_value(f"{path}.expirationSeconds", seconds, text))
    # Go gives the volume's path here.
    return causes + _local_path(token.get("path", ""), f"{volume}.path")


_RULES: dict[str, Callable[[Object, str], list[Cause]]] = {
    "awsElasticBlockStore": _partition,
    "azureDisk": _azure_disk,
    "cinder": _with_secret("name"),
    "configMap": _keys,
    "csi": _csi,
    "downwardAPI": _downward,
    "emptyDir": _empty_dir,
    "ephemeral": _ephemeral,
    "fc": _fibre,
    "flexVolume": _flex,
    "flocker": _flocker,
    "gcePersistentDisk": _partition,
    "gitRepo": _git,
    "hostPath": _host_path,
    "iscsi": _iscsi,
    "local": _no_backsteps,
    "nfs": _nfs,
    "projected": _projected,
    "quobyte": _quobyte,
    "secret": _keys,
    "storageos": _with_secret("name", then=_storage_os),
}
# Of a PersistentVolume, where they differ: its secrets are in namespaces.
_OF_PERSISTENT: dict[str, Callable[[Object, str], list[Cause]]] = {
    "azureFile": _persistent_azure_file,
    "cinder": _with_secret("name", "namespace"),
    "csi": _persistent_csi,
    "glusterfs": _persistent_glusterfs,
    "iscsi": _persistent_iscsi,
    "storageos": _with_secret("name", "namespace", then=_storage_os),
}
