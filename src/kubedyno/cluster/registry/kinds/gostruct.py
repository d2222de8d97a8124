"""Differences of objects as the real server prints them: its internal structs as JSON, compared line by line.

Internal structs have no JSON names: their members are Go's, all of them, in the order of the source. What is not listed
here is printed with Go-like names of the members that are there.
"""

import difflib
from collections.abc import Callable
from typing import Any

import orjson

from kubedyno.cluster.registry.kind import Object

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


_resources = _struct("Limits Requests Claims", Limits=_same, Requests=_same)
_probe = _struct(
    "Exec HTTPGet:httpGet TCPSocket:tcpSocket GRPC:grpc InitialDelaySeconds=0 TimeoutSeconds=0 PeriodSeconds=0 "
    "SuccessThreshold=0 FailureThreshold=0 TerminationGracePeriodSeconds",
    Exec=_struct("Command"),
    HTTPGet=_struct('Path="" Port=0 Host="" Scheme="" HTTPHeaders:httpHeaders'),
    TCPSocket=_struct('Port=0 Host=""'),
    GRPC=_struct("Port=0 Service"),
)
_key_selector = _struct('Name="" Key="" Optional')
_env = _struct(
    'Name="" Value="" ValueFrom',
    ValueFrom=_struct(
        "FieldRef ResourceFieldRef ConfigMapKeyRef SecretKeyRef FileKeyRef",
        FieldRef=_struct('APIVersion:apiVersion="" FieldPath=""'),
        ResourceFieldRef=_struct('ContainerName="" Resource="" Divisor="0"'),
        ConfigMapKeyRef=_key_selector,
        SecretKeyRef=_key_selector,
    ),
)
_selinux = _struct('User="" Role="" Type="" Level=""')
_profile = _struct('Type="" LocalhostProfile')
_container_security = _struct(
    "Capabilities Privileged SELinuxOptions:seLinuxOptions WindowsOptions RunAsUser RunAsGroup RunAsNonRoot "
    "ReadOnlyRootFilesystem AllowPrivilegeEscalation ProcMount SeccompProfile AppArmorProfile",
    Capabilities=_struct("Add Drop"),
    SELinuxOptions=_selinux,
    SeccompProfile=_profile,
    AppArmorProfile=_profile,
)
_container = _struct(
    'Name="" Image="" Command Args WorkingDir="" Ports EnvFrom Env Resources ResizePolicy RestartPolicy '
    "RestartPolicyRules VolumeMounts VolumeDevices LivenessProbe ReadinessProbe StartupProbe Lifecycle "
    'TerminationMessagePath="" TerminationMessagePolicy="" ImagePullPolicy="" SecurityContext Stdin=false '
    "StdinOnce=false TTY:tty=false",
    Ports=_each(_struct('Name="" HostPort=0 ContainerPort=0 Protocol="" HostIP=""')),
    Env=_each(_env),
    EnvFrom=_each(
        _struct(
            'Prefix="" ConfigMapRef SecretRef',
            ConfigMapRef=_struct('Name="" Optional'),
            SecretRef=_struct('Name="" Optional'),
        )
    ),
    Resources=_resources,
    VolumeMounts=_each(
        _struct(
            'Name="" ReadOnly=false RecursiveReadOnly MountPath="" SubPath="" MountPropagation SubPathExpr=""',
        )
    ),
    LivenessProbe=_probe,
    ReadinessProbe=_probe,
    StartupProbe=_probe,
    SecurityContext=_container_security,
)
_items = _each(_struct('Key="" Path="" Mode'))
_field_ref = _struct('APIVersion:apiVersion="" FieldPath=""')
_downward_items = _each(_struct('Path="" FieldRef ResourceFieldRef Mode', FieldRef=_field_ref))
_projection = _struct(
    "Secret DownwardAPI:downwardAPI ConfigMap ServiceAccountToken ClusterTrustBundle PodCertificate",
    Secret=_struct('Name="" Items Optional', Items=_items),
    DownwardAPI=_struct("Items", Items=_downward_items),
    ConfigMap=_struct('Name="" Items Optional', Items=_items),
    ServiceAccountToken=_struct('Audience="" ExpirationSeconds=0 Path=""'),
)
_volume = _struct(
    'Name="" HostPath EmptyDir GCEPersistentDisk:gcePersistentDisk AWSElasticBlockStore:awsElasticBlockStore GitRepo '
    "Secret NFS:nfs ISCSI:iscsi Glusterfs PersistentVolumeClaim RBD:rbd Quobyte FlexVolume Cinder CephFS:cephfs "
    "Flocker DownwardAPI:downwardAPI FC:fc AzureFile ConfigMap VsphereVolume AzureDisk PhotonPersistentDisk Projected "
    "PortworxVolume ScaleIO:scaleIO StorageOS:storageos CSI:csi Ephemeral Image",
    HostPath=_struct('Path="" Type'),
    EmptyDir=_struct('Medium="" SizeLimit'),
    Secret=_struct('SecretName="" Items DefaultMode Optional', Items=_items),
    ConfigMap=_struct('Name="" Items DefaultMode Optional', Items=_items),
    NFS=_struct('Server="" Path="" ReadOnly=false'),
    PersistentVolumeClaim=_struct('ClaimName="" ReadOnly=false'),
    DownwardAPI=_struct("Items DefaultMode", Items=_downward_items),
    Projected=_struct("Sources DefaultMode", Sources=_each(_projection)),
)
_security = _struct(
    "HostNetwork=false HostPID:hostPID=false HostIPC:hostIPC=false ShareProcessNamespace HostUsers "
    "SELinuxOptions:seLinuxOptions WindowsOptions RunAsUser RunAsGroup RunAsNonRoot SupplementalGroups "
    "SupplementalGroupsPolicy FSGroup:fsGroup FSGroupChangePolicy:fsGroupChangePolicy Sysctls SeccompProfile "
    "AppArmorProfile SELinuxChangePolicy:seLinuxChangePolicy",
    SELinuxOptions=_selinux,
    SeccompProfile=_profile,
    AppArmorProfile=_profile,
    Sysctls=_each(_struct('Name="" Value=""')),
)
_toleration = _struct('Key="" Operator="" Value="" Effect="" TolerationSeconds')
_device_claim = _struct('Name="" ResourceClaimName ResourceClaimTemplateName')
_pod_spec = _struct(
    'Volumes InitContainers Containers EphemeralContainers RestartPolicy="" TerminationGracePeriodSeconds '
    'ActiveDeadlineSeconds DNSPolicy:dnsPolicy="" NodeSelector ServiceAccountName="" AutomountServiceAccountToken '
    'NodeName="" SecurityContext ImagePullSecrets Hostname="" Subdomain="" SetHostnameAsFQDN:setHostnameAsFQDN Affinity '
    'SchedulerName="" Tolerations HostAliases PriorityClassName="" Priority PreemptionPolicy DNSConfig:dnsConfig '
    "ReadinessGates RuntimeClassName Overhead EnableServiceLinks TopologySpreadConstraints OS:os SchedulingGates "
    "ResourceClaims Resources HostnameOverride",
    Volumes=_each(_volume),
    InitContainers=_each(_container),
    Containers=_each(_container),
    EphemeralContainers=_each(_container),
    NodeSelector=_same,
    SecurityContext=_security,
    ImagePullSecrets=_each(_struct('Name=""')),
    Tolerations=_each(_toleration),
    HostAliases=_each(_struct('IP:ip="" Hostnames')),
    DNSConfig=_struct("Nameservers Searches Options"),
    ReadinessGates=_each(_struct('ConditionType=""')),
    Overhead=_same,
    OS=_struct('Name=""'),
    SchedulingGates=_each(_struct('Name=""')),
    ResourceClaims=_each(_device_claim),
    Resources=_resources,
)
# What v1 keeps beside the security context, and Go inside it.
_HOST = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")


def go_pod_spec(spec: Object) -> Object:
    """Return a pod's spec with the internal struct's members."""
    host = {name: spec[name] for name in _HOST if name in spec}
    shown: Object = _pod_spec({**spec, "securityContext": {**spec.get("securityContext", {}), **host}})
    return shown


_budget_spec = _struct("MinAvailable Selector MaxUnavailable UnhealthyPodEvictionPolicy", Selector=_same)


def go_budget_spec(spec: Object) -> Object:
    """Return a PodDisruptionBudget's spec with the internal struct's members."""
    shown: Object = _budget_spec(spec)
    return shown


_role_ref = _struct('APIGroup:apiGroup="" Kind="" Name=""')


def go_role_ref(reference: Object) -> Object:
    """Return a binding's roleRef with the internal struct's members."""
    shown: Object = _role_ref(reference)
    return shown


_rolling_update = _struct("MaxUnavailable=0 MaxSurge=0", MaxUnavailable=_same, MaxSurge=_same)
_update_strategy = _struct('Type="" RollingUpdate', RollingUpdate=_rolling_update)


def go_update_strategy(strategy: Object) -> Object:
    """Return the strategy of a Deployment or DaemonSet with the internal struct's members."""
    shown: Object = _update_strategy(strategy)
    return shown


def go_toleration(toleration: Object) -> Object:
    """Return a toleration with the internal struct's members."""
    shown: Object = _toleration(toleration)
    return shown


def go_device_claim(claim: Object) -> Object:
    """Return a pod's claim on a device with the internal struct's members."""
    shown: Object = _device_claim(claim)
    return shown


_claim_spec = _struct(
    'AccessModes Selector Resources VolumeName="" StorageClassName VolumeMode DataSource DataSourceRef '
    "VolumeAttributesClassName",
    Selector=_same,
    Resources=_struct("Limits Requests", Limits=_same, Requests=_same),
    DataSource=_struct('APIGroup:apiGroup Kind="" Name=""'),
    DataSourceRef=_struct('APIGroup:apiGroup Kind="" Name="" Namespace'),
)


def go_claim_spec(spec: Object) -> Object:
    """Return a PersistentVolumeClaim's spec with the internal struct's members."""
    shown: Object = _claim_spec(spec)
    return shown


def go_template(template: Object) -> Object:
    """Return a pod template with the internal struct's members: its metadata's stand among them."""
    return {**template.get("metadata", {}), "Spec": go_pod_spec(template.get("spec", {}))}


_success_policy = _struct("Rules", Rules=_each(_struct("SucceededIndexes SucceededCount")))


def go_success_policy(policy: Object) -> Object:
    """Return a Job's success policy with the internal struct's members."""
    shown: Object = _success_policy(policy)
    return shown
