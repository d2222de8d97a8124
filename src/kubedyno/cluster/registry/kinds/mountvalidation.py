"""What is wrong with a container's mounts and block devices, beside the volumes of its pod."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, not_found_field, not_supported, required

_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_RECURSIONS = ("Disabled", "Enabled", "IfPossible")


def descending_path_causes(path: str, text: str) -> list[Cause]:
    """Return what is wrong with a path that has to stay below where it begins."""
    causes = []
    if text.startswith("/"):
        causes.append(invalid_value(path, text, "must be a relative path"))
    if ".." in text.split("/"):
        causes.append(invalid_value(path, text, "must not contain '..'"))
    return causes


def mount_causes(container: Object, path: str, volumes: dict[str, Object]) -> list[Cause]:
    """Return what is wrong with a container's mounts.

    Args:
        container: It.
        path: Of its mounts.
        volumes: The pod's valid ones, by name.
    """
    mounts = container.get("volumeMounts")
    if not mounts:
        return []
    causes: list[Cause] = []
    seen: set[str] = set()
    devices = {device.get("name", ""): device.get("devicePath", "") for device in container.get("volumeDevices", ())}
    for i, mount in enumerate(mounts):
        where = f"{path}[{i}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            causes.append(required(f"{where}.name"))
        if name not in volumes:
            causes.append(not_found_field(f"{where}.name", name))
        if not target:
            causes.append(required(f"{where}.mountPath"))
        if target in seen:
            causes.append(invalid_value(f"{where}.mountPath", target, "must be unique"))
        seen.add(target)
        if name in devices:
            causes.append(invalid_value(f"{where}.name", name, "must not already exist in volumeDevices"))
        if devices and target in devices.values():
            text = "must not already exist as a path in volumeDevices"
            causes.append(invalid_value(f"{where}.mountPath", target, text))
        causes += _options(mount, where, path, container)
    return causes


def _options(mount: Object, where: str, path: str, container: Object) -> list[Cause]:
    """Return what is wrong with what a mount says beyond volume and place; most of it under the list's own path."""
    causes: list[Cause] = []
    if mount.get("subPath"):
        causes += descending_path_causes(f"{path}.subPath", mount["subPath"])
    if mount.get("subPathExpr"):
        if mount.get("subPath"):
            text = "subPathExpr and subPath are mutually exclusive"
            causes.append(invalid_value(f"{where}.subPathExpr", mount["subPathExpr"], text))
        causes += descending_path_causes(f"{path}.subPathExpr", mount["subPathExpr"])
    propagation = mount.get("mountPropagation")
    if propagation is not None:
        if propagation not in _PROPAGATIONS:
            causes.append(not_supported(f"{path}.mountPropagation", propagation, _PROPAGATIONS))
        if propagation == "Bidirectional" and not container.get("securityContext", {}).get("privileged"):
            text = "Bidirectional mount propagation is available only to privileged containers"
            causes.append(forbidden_field(f"{path}.mountPropagation", text))
    recursion = mount.get("recursiveReadOnly")
    if recursion in {"Enabled", "IfPossible"}:
        what = f"{path}.recursiveReadOnly"
        if not mount.get("readOnly"):
            causes.append(forbidden_field(what, "may only be specified when readOnly is true"))
        if propagation not in {None, "None"}:
            text = "may only be specified when mountPropagation is None or not specified"
            causes.append(forbidden_field(what, text))
    elif recursion is not None and recursion != "Disabled":
        causes.append(not_supported(f"{path}.recursiveReadOnly", recursion, _RECURSIONS))
    return causes


def device_causes(container: Object, path: str, volumes: dict[str, Object]) -> list[Cause]:
    """Return what is wrong with a container's block devices; arguments as in `mount_causes`."""
    devices = container.get("volumeDevices")
    if not devices:
        return []
    causes: list[Cause] = []
    names: set[str] = set()
    paths: set[str] = set()
    mounts = {mount.get("name", ""): mount.get("mountPath", "") for mount in container.get("volumeMounts", ())}
    for i, device in enumerate(devices):
        where, name, target = f"{path}[{i}]", device.get("name", ""), device.get("devicePath", "")
        if not name:
            causes.append(required(f"{where}.name"))
        if name in names:
            causes.append(invalid_value(f"{where}.name", name, "must be unique"))
        volume = volumes.get(name)
        if volume is None:
            causes.append(not_found_field(f"{where}.name", name))
        elif not ("persistentVolumeClaim" in volume or "ephemeral" in volume):
            text = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            causes.append(invalid_value(f"{where}.name", name, text))
        if not target:
            causes.append(required(f"{where}.devicePath"))
        if target in paths:
            causes.append(invalid_value(f"{where}.devicePath", target, "must be unique"))
        if ".." in target.split("/"):
            causes.append(invalid_value(f"{where}.devicePath", target, "can not contain backsteps ('..')"))
        else:
            paths.add(target)
        if name in mounts:
            causes.append(invalid_value(f"{where}.name", name, "must not already exist in volumeMounts"))
        if target in mounts.values():
            text = "must not already exist as a path in volumeMounts"
            causes.append(invalid_value(f"{where}.devicePath", target, text))
        if name:
            names.add(name)
    return causes
