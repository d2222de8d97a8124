"""Differences of objects as the real server prints them: its internal structs as JSON, compared line by line.

Internal structs have no JSON names: their members are Go's, all of them, in the order of the source. What is not listed
here is printed with Go-like names of the members that are there.
"""

import difflib
from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.gostructs import json_members_of, ordered, shown

Show = Callable[[Any], Any]
# (Go's member, JSON's, value when absent, how a value is shown)
Member = tuple[str, str, Any, Show]


def _lines(value: Any) -> list[str]:
    # orjson indents by two, Go's by one.
    lines = orjson.dumps(value, option=orjson.OPT_INDENT_2).decode().splitlines()
    return [line[: (len(line) - len(line.lstrip())) // 2] + line.lstrip() + "\n" for line in lines]


def difference(old: Any, new: Any) -> str:
    """Return the hunks of a unified diff of two values in Go's member order."""
    hunks = list(difflib.unified_diff(_lines(old), _lines(new)))
    return "".join(hunks[2:])


def _same(value: Any) -> Any:
    return value


def _map(value: Any) -> Any:
    """Show a map by its keys, as Go writes it."""
    return dict(sorted(value.items())) if isinstance(value, dict) else value


def go_selector(selector: Any) -> Any:
    """Return a label selector as Go writes it."""
    return ordered("meta.v1.LabelSelector", selector)


def _other(value: Any) -> Any:
    """Show a struct that is not listed: its members with Go-like names."""
    if isinstance(value, dict):
        return {name[:1].upper() + name[1:]: _other(member) for name, member in value.items()}
    return [_other(item) for item in value] if isinstance(value, list) else value


def _struct(text: str, **shows: Show) -> Show:
    """Return what shows a struct.

    Args:
        text: Go's members; "=" gives what one shows when absent (JSON, null without), ":" the JSON name where it is not
            Go's with a small first letter.
        shows: Go's member → how its value is shown.
    """
    members: list[Member] = []
    for part in text.split():
        declared, _, empty = part.partition("=")
        name, _, json_name = declared.partition(":")
        plain = name[:1].lower() + name[1:]
        members.append((name, json_name or plain, orjson.loads(empty or "null"), shows.get(name, _other)))

    def show(value: Any) -> Any:
        if value is None:
            return None
        return {name: show(value[key]) if key in value else empty for name, key, empty, show in members}

    return show


def _each(show: Show) -> Show:
    return lambda values: [show(value) for value in values]


_resources = _struct("Limits Requests Claims", Limits=_map, Requests=_map)


def _each_of(struct: str) -> Show:
    """Return what shows each item of a list by the struct of the API that it is; see `shown`."""
    return _each(_of(struct))


def _of(struct: str) -> Show:
    return lambda value: shown(struct, value)


# The internal struct has these in an order of its own.
_volume = _struct(
    'Name="" HostPath EmptyDir GCEPersistentDisk:gcePersistentDisk AWSElasticBlockStore:awsElasticBlockStore GitRepo '
    "Secret NFS:nfs ISCSI:iscsi Glusterfs PersistentVolumeClaim RBD:rbd Quobyte FlexVolume Cinder CephFS:cephfs "
    "Flocker DownwardAPI:downwardAPI FC:fc AzureFile ConfigMap VsphereVolume AzureDisk PhotonPersistentDisk Projected "
    "PortworxVolume ScaleIO:scaleIO StorageOS:storageos CSI:csi Ephemeral Image",
    **{member.go_name: _of(member.struct) for member in json_members_of("core.v1.VolumeSource").values()},
)
_volume_source = _struct(
    "GCEPersistentDisk:gcePersistentDisk AWSElasticBlockStore:awsElasticBlockStore HostPath Glusterfs NFS:nfs RBD:rbd "
    "Quobyte ISCSI:iscsi FlexVolume Cinder CephFS:cephfs FC:fc Flocker AzureFile VsphereVolume AzureDisk "
    "PhotonPersistentDisk PortworxVolume ScaleIO:scaleIO Local StorageOS:storageos CSI:csi",
    **{member.go_name: _of(member.struct) for member in json_members_of("core.v1.PersistentVolumeSource").values()},
)


def go_volume_source(source: Object) -> Object:
    """Return the source of a PersistentVolume with the internal struct's members."""
    told: Object = _volume_source(source)
    return told


_security = _struct(
    "HostNetwork=false HostPID:hostPID=false HostIPC:hostIPC=false ShareProcessNamespace HostUsers "
    "SELinuxOptions:seLinuxOptions WindowsOptions RunAsUser RunAsGroup RunAsNonRoot SupplementalGroups "
    "SupplementalGroupsPolicy FSGroup:fsGroup FSGroupChangePolicy:fsGroupChangePolicy Sysctls SeccompProfile "
    "AppArmorProfile SELinuxChangePolicy:seLinuxChangePolicy",
    SELinuxOptions=_of("core.v1.SELinuxOptions"),
    WindowsOptions=_of("core.v1.WindowsSecurityContextOptions"),
    SeccompProfile=_of("core.v1.SeccompProfile"),
    AppArmorProfile=_of("core.v1.AppArmorProfile"),
    Sysctls=_each_of("core.v1.Sysctl"),
)
_toleration = _struct('Key="" Operator="" Value="" Effect="" TolerationSeconds')
_device_claim = _struct('Name="" ResourceClaimName ResourceClaimTemplateName')
_pod_spec = _struct(
    'Volumes InitContainers Containers EphemeralContainers RestartPolicy="" TerminationGracePeriodSeconds '
    'ActiveDeadlineSeconds DNSPolicy:dnsPolicy="" NodeSelector ServiceAccountName="" AutomountServiceAccountToken '
    'NodeName="" SecurityContext ImagePullSecrets Hostname="" Subdomain="" SetHostnameAsFQDN:setHostnameAsFQDN Affinity '
    'SchedulerName="" Tolerations HostAliases PriorityClassName="" Priority PreemptionPolicy DNSConfig:dnsConfig '
    "ReadinessGates RuntimeClassName Overhead EnableServiceLinks TopologySpreadConstraints OS:os SchedulingGates "
    "ResourceClaims Resources HostnameOverride SchedulingGroup",
    Volumes=_each(_volume),
    InitContainers=_each_of("core.v1.Container"),
    Containers=_each_of("core.v1.Container"),
    EphemeralContainers=_each_of("core.v1.EphemeralContainer"),
    NodeSelector=_map,
    SecurityContext=_security,
    ImagePullSecrets=_each_of("core.v1.LocalObjectReference"),
    Affinity=_of("core.v1.Affinity"),
    Tolerations=_each(_toleration),
    HostAliases=_each_of("core.v1.HostAlias"),
    DNSConfig=_of("core.v1.PodDNSConfig"),
    ReadinessGates=_each_of("core.v1.PodReadinessGate"),
    Overhead=_map,
    TopologySpreadConstraints=_each_of("core.v1.TopologySpreadConstraint"),
    OS=_of("core.v1.PodOS"),
    SchedulingGates=_each_of("core.v1.PodSchedulingGate"),
    ResourceClaims=_each(_device_claim),
    Resources=_of("core.v1.ResourceRequirements"),
)
# What v1 keeps beside the security context, and Go inside it.
_HOST = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")


def go_pod_spec(spec: Object) -> Object:
    """Return a pod's spec with the internal struct's members."""
    host = {name: spec[name] for name in _HOST if name in spec}
    told: Object = _pod_spec({**spec, "securityContext": {**spec.get("securityContext", {}), **host}})
    return told


_budget_spec = _struct("MinAvailable Selector MaxUnavailable UnhealthyPodEvictionPolicy", Selector=go_selector)


def go_budget_spec(spec: Object) -> Object:
    """Return a PodDisruptionBudget's spec with the internal struct's members."""
    told: Object = _budget_spec(spec)
    return told


_role_ref = _struct('APIGroup:apiGroup="" Kind="" Name=""')


def go_role_ref(reference: Object) -> Object:
    """Return a binding's roleRef with the internal struct's members."""
    told: Object = _role_ref(reference)
    return told


_rolling_update = _struct("MaxUnavailable=0 MaxSurge=0", MaxUnavailable=_same, MaxSurge=_same)
_update_strategy = _struct('Type="" RollingUpdate', RollingUpdate=_rolling_update)


def go_update_strategy(strategy: Object) -> Object:
    """Return the strategy of a Deployment or DaemonSet with the internal struct's members."""
    told: Object = _update_strategy(strategy)
    return told


def go_toleration(toleration: Object) -> Object:
    """Return a toleration with the internal struct's members."""
    told: Object = _toleration(toleration)
    return told


def go_device_claim(claim: Object) -> Object:
    """Return a pod's claim on a device with the internal struct's members."""
    told: Object = _device_claim(claim)
    return told


_claim_spec = _struct(
    'AccessModes Selector Resources VolumeName="" StorageClassName VolumeMode DataSource DataSourceRef '
    "VolumeAttributesClassName",
    Selector=go_selector,
    Resources=_struct("Limits Requests", Limits=_map, Requests=_map),
    DataSource=_struct('APIGroup:apiGroup Kind="" Name=""'),
    DataSourceRef=_struct('APIGroup:apiGroup Kind="" Name="" Namespace'),
)


def go_claim_spec(spec: Object) -> Object:
    """Return a PersistentVolumeClaim's spec with the internal struct's members."""
    told: Object = _claim_spec(spec)
    return told


def go_template(template: Object) -> Object:
    """Return a pod template with the internal struct's members: its metadata's stand among them."""
    metadata = ordered("meta.v1.ObjectMeta", template.get("metadata", {}))
    return {**metadata, "Spec": go_pod_spec(template.get("spec", {}))}


_success_policy = _struct("Rules", Rules=_each(_struct("SucceededIndexes SucceededCount")))


def go_success_policy(policy: Object) -> Object:
    """Return a Job's success policy with the internal struct's members."""
    told: Object = _success_policy(policy)
    return told
