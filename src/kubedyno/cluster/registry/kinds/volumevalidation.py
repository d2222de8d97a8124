"""What is wrong with a pod's volumes."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.claimvalidation import claim_causes
from kubedyno.kube.names import problems_of_dns1123_label
from kubedyno.kube.quantity import value_of
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required

_HOST_PATH_TYPES = (
    "", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
)  # fmt: skip
_DOWNWARD_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_MODE_TEXT = "must be a number between 0 and 0777 (octal), both inclusive"
_MIN_TOKEN_S = 600
_REQUIRED = {
    "awsElasticBlockStore": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "azureFile": ("secretName", "shareName"),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "csi": ("driver",),
    "flexVolume": ("driver",),
    "gcePersistentDisk": ("pdName",),
    "gitRepo": ("repository",),
    "glusterfs": ("endpoints", "path"),
    "iscsi": ("targetPortal", "iqn"),
    "local": ("path",),
    "nfs": ("server", "path"),
    "persistentVolumeClaim": ("claimName",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "quobyte": ("registry", "volume"),
    "rbd": ("monitors", "image"),
    "scaleIO": ("gateway", "system", "volumeName"),
    "vsphereVolume": ("volumePath",),
}
_ENUMS = {
    "azureDisk": (("cachingMode", ("None", "ReadOnly", "ReadWrite")), ("kind", ("Dedicated", "Managed", "Shared"))),
    "image": (("pullPolicy", ("Always", "IfNotPresent", "Never")),),
}


def validate_volumes(spec: Object, path: str) -> tuple[list[Cause], set[str]]:
    """Return what is wrong with the volumes, and the names that containers may mount."""
    causes: list[Cause] = []
    names: set[str] = set()
    for i, volume in enumerate(spec.get("volumes", ())):
        where, name = f"{path}[{i}]", volume.get("name", "")
        source = _source(volume, where)
        if not name:
            source.append(required(f"{where}.name"))
        else:
            source += [invalid_value(f"{where}.name", name, p) for p in problems_of_dns1123_label(name)]
        if name in names:
            source.append(duplicate(f"{where}.name", name))
        if source:
            causes += source
        names.add(name)
    return causes, names


def _source(volume: Object, path: str) -> list[Cause]:
    found = [name for name in volume if name != "name"]
    if not found:
        return [required(path, "must specify a volume type")]
    causes = [forbidden_field(f"{path}.{name}", "may not specify more than 1 volume type") for name in found[1:]]
    return causes + source_causes(found[0], volume[found[0]], f"{path}.{found[0]}")


def source_causes(kind: str, source: Object, where: str) -> list[Cause]:
    """Return what is wrong with a volume's source.

    Args:
        kind: Its member name, e.g. "hostPath".
        source: What it says.
        where: Its path.
    """
    causes = [required(f"{where}.{name}") for name in _REQUIRED.get(kind, ()) if not source.get(name)]
    for name, values in _ENUMS.get(kind, ()):
        if source.get(name) is not None and source[name] not in values:
            causes.append(not_supported(f"{where}.{name}", source[name], values))
    match kind:
        case "hostPath":
            if not source.get("path"):
                causes.append(required(f"{where}.path"))
            elif ".." in source["path"].split("/"):
                causes.append(invalid_value(f"{where}.path", source["path"], "must not contain '..'"))
            if source.get("type", "") not in _HOST_PATH_TYPES:
                causes.append(not_supported(f"{where}.type", source["type"], _HOST_PATH_TYPES))
        case "secret":
            if not source.get("secretName"):
                causes.append(required(f"{where}.secretName"))
            causes += _modes_and_items(source, where)
        case "configMap":
            if not source.get("name"):
                causes.append(required(f"{where}.name"))
            causes += _modes_and_items(source, where)
        case "emptyDir":
            if "sizeLimit" in source and value_of(source["sizeLimit"]) < 0:
                causes.append(
                    forbidden_field(f"{where}.sizeLimit", "SizeLimit field must be a valid resource quantity")
                )
        case "nfs":
            if source.get("path") and not source["path"].startswith("/"):
                causes.append(invalid_value(f"{where}.path", source["path"], "must be an absolute path"))
        case "downwardAPI":
            causes += _mode(source.get("defaultMode"), f"{where}.defaultMode")
            for item in source.get("items", ()):
                causes += _downward_item(item, where)
        case "projected":
            causes += _projected(source, where)
        case "ephemeral":
            if "volumeClaimTemplate" not in source:
                causes.append(required(f"{where}.volumeClaimTemplate"))
            else:
                causes += claim_causes(source["volumeClaimTemplate"]["spec"], f"{where}.volumeClaimTemplate.spec")
    return causes


def _mode(mode: int | None, path: str) -> list[Cause]:
    return [invalid_value(path, mode, _MODE_TEXT)] if mode is not None and not 0 <= mode <= 0o777 else []


def _local_path(text: str, path: str) -> list[Cause]:
    if not text:
        return [required(path)]
    if text.startswith("/"):
        return [invalid_value(path, text, "must be a relative path")]
    if ".." in text.split("/"):
        return [invalid_value(path, text, "must not contain '..'")]
    if text.startswith(".."):
        return [invalid_value(path, text, "must not start with '..'")]
    return []


def _modes_and_items(source: Object, path: str) -> list[Cause]:
    causes = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for i, item in enumerate(source.get("items", ())):
        if not item.get("key"):
            causes.append(required(f"{path}.items[{i}].key"))
        causes += _local_path(item.get("path", ""), f"{path}.items[{i}].path")
        causes += _mode(item.get("mode"), f"{path}.items[{i}].mode")
    return causes


def _downward_item(item: Object, path: str) -> list[Cause]:
    causes = []
    if not item.get("path"):
        causes.append(required(f"{path}.path"))
    if "fieldRef" in item:
        field = item["fieldRef"].get("fieldPath", "")
        if not field:
            causes.append(required(f"{path}.fieldRef.fieldPath"))
        elif field.partition("[")[0] not in _DOWNWARD_FIELDS:
            causes.append(not_supported(f"{path}.fieldRef.fieldPath", field, _DOWNWARD_FIELDS))
        if "resourceFieldRef" in item:
            causes.append(
                invalid_value(path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously")
            )
    elif "resourceFieldRef" not in item:
        causes.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return causes


def _projected(source: Object, path: str) -> list[Cause]:
    causes = _mode(source.get("defaultMode"), f"{path}.defaultMode")
    for i, part in enumerate(source.get("sources", ())):
        where = f"{path}.sources[{i}]"
        for name in ("secret", "configMap"):
            if name in part:
                if not part[name].get("name"):
                    causes.append(required(f"{where}.{name}.name"))
                causes += _modes_and_items(part[name], f"{where}.{name}")
        for item in part.get("downwardAPI", {}).get("items", ()):
            causes += _downward_item(item, f"{where}.downwardAPI")
        token = part.get("serviceAccountToken")
        if token is not None:
            seconds = token.get("expirationSeconds", _MIN_TOKEN_S)
            if seconds < _MIN_TOKEN_S:
                text = "may not specify a duration less than 10 minutes"
                causes.append(invalid_value(f"{where}.serviceAccountToken.expirationSeconds", seconds, text))
            if not token.get("path"):
                causes.append(required(f"{where}.serviceAccountToken.path"))
    return causes
