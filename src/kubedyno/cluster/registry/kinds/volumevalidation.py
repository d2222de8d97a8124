"""What is wrong with a pod's volumes: their names, and that each is of one type."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.volumesources import source_causes
from kubedyno.kube.names import problems_of_dns1123_label, problems_of_dns1123_subdomain
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, required

# In this order they are looked at: of several types the first is the volume's.
_ORDER = (
    "emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi",
    "glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc",
    "flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume", "azureDisk",
    "storageos", "projected", "scaleIO", "csi", "ephemeral", "image",
)  # fmt: skip
# What two types are called where they are one too many.
_MISSPELT = {"cephfs": "cephFS", "downwardAPI": "downwarAPI"}
_MAX_PORTAL = 64
_PORTAL_TEXT = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."


def validate_volumes(spec: Object, path: str, *, pod: str | None = None) -> tuple[list[Cause], dict[str, Object]]:
    """Return what is wrong with the volumes, and the valid ones by name: those that containers may mount.

    Args:
        spec: The pod's.
        path: Of its volumes.
        pod: The pod's name; None: a template's.
    """
    causes: list[Cause] = []
    found: dict[str, Object] = {}
    volumes = spec.get("volumes", ())
    made = {f"{pod}-{volume.get('name', '')}" for volume in volumes if pod and "ephemeral" in volume}
    for i, volume in enumerate(volumes):
        where, name = f"{path}[{i}]", volume.get("name", "")
        flaws = _type_causes(volume, where, name, pod)
        if not name:
            flaws.append(required(f"{where}.name"))
        else:
            flaws += [invalid_value(f"{where}.name", name, p) for p in problems_of_dns1123_label(name)]
        if name in found:
            flaws.append(duplicate(f"{where}.name", name))
        if flaws:
            causes += flaws
        else:
            found[name] = volume
        claim = volume.get("persistentVolumeClaim", {}).get("claimName", "")
        if claim in made:
            text = "must not reference a PVC that gets created for an ephemeral volume"
            causes.append(invalid_value(f"{where}.persistentVolumeClaim.claimName", claim, text))
    return causes, found


def _type_causes(volume: Object, path: str, name: str, pod: str | None) -> list[Cause]:
    types = [member for member in volume if member != "name"]
    if len(types) > 1:
        types.sort(key=_ORDER.index)
    causes: list[Cause] = []
    for i, member in enumerate(types):
        if i:
            called = _MISSPELT.get(member, member)
            causes.append(forbidden_field(f"{path}.{called}", "may not specify more than 1 volume type"))
        else:
            causes += source_causes(member, volume[member], f"{path}.{member}", pod=pod is not None)
        if member == "iscsi" and "initiatorName" in volume[member]:
            portal = volume[member].get("targetPortal", "")
            if len(f"{name}:{portal}") > _MAX_PORTAL:
                causes.append(invalid_value(f"{path}.name", name, _PORTAL_TEXT))
        elif member == "ephemeral" and not i and pod and name:
            claim = f"{pod}-{name}"
            causes += [
                invalid_value(f"{path}.name", name, f'PVC name "{claim}": {problem}')
                for problem in problems_of_dns1123_subdomain(claim)
            ]
    return causes if types else [required(path, "must specify a volume type")]
