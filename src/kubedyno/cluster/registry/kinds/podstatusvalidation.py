"""What is wrong with a new status of a pod; texts as the real server's."""

from ipaddress import ip_address

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.podupdates import annotation_update_causes
from kubedyno.cluster.registry.kinds.schedulingvalidation import ip_causes
from kubedyno.kube.gostructs import shown
from kubedyno.kube.names import problems_of_dns1123_subdomain, problems_of_qualified_name
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_supported, required, too_long

_SYSTEM_CONDITIONS = frozenset({"PodScheduled", "Ready", "Initialized"})
_HEALTHS = ("Healthy", "Unhealthy", "Unknown")
_MAX_HEALTH_MESSAGE = 1024
_MAX_ID = 2**31 - 1
_ID_TEXT = f"must be between 0 and {_MAX_ID}, inclusive"
_NOT_NEGATIVE = "must be a non-negative integer"
_CLAIM_TEXT = (
    "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or "
    "'claim:<claimName>' if request is empty"
)
_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
_ONE_PER_FAMILY = "may specify no more than one IP for each IP family"


def validate_pod_status(pod: Object, old: Object) -> list[Cause]:
    """Return what is wrong with a pod's new status."""
    status, before, spec = pod.get("status", {}), old.get("status", {}), old["spec"]
    causes = annotation_update_causes(pod, old)
    if status == before:
        return causes
    for i, condition in enumerate(status.get("conditions", ())):
        where, kind = f"status.conditions[{i}]", condition.get("type", "")
        if condition.get("observedGeneration", 0) < 0:
            causes.append(invalid_value(f"{where}.observedGeneration", condition["observedGeneration"], _NOT_NEGATIVE))
        if kind not in _SYSTEM_CONDITIONS:
            causes += [invalid_value(f"{where}.Type", kind, p) for p in problems_of_qualified_name(kind)]
    nominated = status.get("nominatedNodeName", "")
    if nominated and nominated != before.get("nominatedNodeName", ""):
        where = "status.nominatedNodeName"
        causes += [invalid_value(where, nominated, p) for p in problems_of_dns1123_subdomain(nominated)]
        if spec.get("nodeName"):
            causes.append(forbidden_field(where, "may not be set on pods that are already bound to a node"))
    if status.get("observedGeneration", 0) < 0:
        causes.append(invalid_value("status.observedGeneration", status["observedGeneration"], _NOT_NEGATIVE))
    if status.get("qosClass", "") != before.get("qosClass", ""):
        causes.append(invalid_value("status.qosClass", status.get("qosClass", ""), "field is immutable"))
    for name in _STATUSES:
        causes += _revived(status, before, name, spec)
    causes += _claims(status, spec)
    causes += _addresses(status, before, "podIPs")
    if status.get("hostIPs"):
        first = status["hostIPs"][0].get("ip", "")
        if first != status.get("hostIP", ""):
            causes.append(invalid_value("status.hostIPs[0].ip", first, "must be equal to `hostIP`"))
        causes += _addresses(status, before, "hostIPs")
    for name in _STATUSES:
        causes += _users(status.get(name, ()), f"status.{name}", spec)
    causes += _allocated(status, "containerStatuses", spec.get("containers", ()))
    causes += _allocated(status, "initContainerStatuses", spec.get("initContainers", ()))
    return causes + [
        forbidden_field(
            f"status.ephemeralContainerStatuses[{i}].allocatedResourcesStatus",
            "must not be specified in container status",
        )
        for i, container in enumerate(status.get("ephemeralContainerStatuses", ()))
        if container.get("allocatedResourcesStatus")
    ]


def _revived(status: Object, before: Object, name: str, spec: Object) -> list[Cause]:
    """Return which containers run again though they had ended for good."""
    group = {"containerStatuses": "containers", "initContainerStatuses": "initContainers"}.get(name)
    if group is not None and any(
        rule.get("action") == "RestartAllContainers"
        for members in ("initContainers", "containers")
        for container in spec.get(members, ())
        for rule in container.get("restartPolicyRules", ())
    ):
        return []
    causes = []
    for i, was in enumerate(before.get(name, ())):
        ended = was.get("state", {}).get("terminated")
        if ended is None:
            continue
        now = [each for each in status.get(name, ()) if each.get("name") == was.get("name")]
        if not any("terminated" not in each.get("state", {}) for each in (now if group is None else now[:1])):
            continue
        mine = [each for each in spec.get(group or "", ()) if each.get("name") == was.get("name")]
        if group is None or not mine or not _restarts(mine[0], spec, ended.get("exitCode", 0)):
            text = "may not be transitioned to non-terminated state"
            causes.append(forbidden_field(f"status.{name}[{i}].state", text))
    return causes


def _restarts(container: Object, spec: Object, exit_code: int) -> bool:
    """Say whether a container runs again after it ended so."""
    policy = container.get("restartPolicy")
    if policy is not None:
        for rule in container.get("restartPolicyRules", ()):
            codes = rule.get("exitCodes", {})
            if (exit_code in codes.get("values", ())) == (codes.get("operator") == "In"):
                return True
    policy = policy or spec.get("restartPolicy")
    return exit_code != 0 if policy == "OnFailure" else policy != "Never"


def _claims(status: Object, spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    known = {claim.get("name") for claim in spec.get("resourceClaims", ())}
    seen: set[str] = set()
    for i, claim in enumerate(status.get("resourceClaimStatuses", ())):
        name, where = claim.get("name", ""), f"status.resourceClaimStatuses[{i}]"
        if name not in known:
            text = "must match the name of an entry in `spec.resourceClaims`"
            causes.append(invalid_value(f"{where}.name", name, text))
        if name in seen:
            causes.append(duplicate(f"{where}.name", name))
        seen.add(name)
        made = claim.get("resourceClaimName")
        if made is not None:
            causes += [
                invalid_value(f"{where}.resourceClaimName", made, p) for p in problems_of_dns1123_subdomain(made)
            ]
    return causes


def _addresses(status: Object, before: Object, name: str) -> list[Cause]:
    given = [address.get("ip", "") for address in status.get(name, ())]
    known = {address.get("ip", "") for address in before.get(name, ())}
    causes = [
        cause
        for i, address in enumerate(given)
        if address not in known
        for cause in ip_causes(f"status.{name}[{i}]", address)
    ]
    if len(given) > 1:
        families = [_version(address) for address in given]
        if None in families:
            at = families.index(None)
            text = f"failed to check for dual stack with error:invalid IP[{at}]: {given[at]}"
            causes.append(Cause("InternalError", f"status.{name}", f"Internal error: {text}"))
        if None in families or len(set(families)) != 2 or len(given) > 2:
            struct = "core.v1.PodIP" if name == "podIPs" else "core.v1.HostIP"
            value = [shown(struct, address) for address in status[name]]
            causes.append(invalid_value(f"status.{name}", value, _ONE_PER_FAMILY))
    return causes


def _version(text: str) -> int | None:
    try:
        return ip_address(text).version
    except ValueError:
        return None


def _users(statuses: list[Object], path: str, spec: Object) -> list[Cause]:
    causes: list[Cause] = []
    windows = spec.get("os", {}).get("name") == "windows"
    for i, container in enumerate(statuses):
        user, where = container.get("user", {}).get("linux"), f"{path}[{i}].user.linux"
        if user is None:
            continue
        if windows:
            causes.append(forbidden_field(where, "cannot be set for a windows pod"))
            continue
        ids = [(member, user.get(member, 0)) for member in ("uid", "gid")]
        ids += [(f"supplementalGroups[{j}]", number) for j, number in enumerate(user.get("supplementalGroups", ()))]
        causes += [
            invalid_value(f"{where}.{member}", number, _ID_TEXT) for member, number in ids if not 0 <= number <= _MAX_ID
        ]
    return causes


def _allocated(status: Object, name: str, containers: list[Object]) -> list[Cause]:
    """Return what is wrong with what is told of the health of devices."""
    causes: list[Cause] = []
    by_name = {container.get("name", ""): container for container in containers}
    for i, told in enumerate(status.get(name, ())):
        mine = by_name.get(told.get("name", ""))
        for j, allocated in enumerate(told.get("allocatedResourcesStatus", ())):
            where, resource = f"status.{name}[{i}].allocatedResourcesStatus[{j}]", allocated.get("name", "")
            if mine is not None:
                resources = mine.get("resources", {})
                text, known = "must match one of the container's resource requests", set(resources.get("requests", ()))
                if resource.startswith("claim:"):
                    text = _CLAIM_TEXT
                    known = {
                        f"claim:{claim['name']}" + (f"/{claim['request']}" if claim.get("request") else "")
                        for claim in resources.get("claims", ())
                    }
                if resource not in known:
                    causes.append(invalid_value(f"{where}.name", resource, text))
            causes += _health(allocated.get("resources", ()), f"{where}.resources")
    return causes


def _health(resources: list[Object], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for k, device in enumerate(resources):
        where, message = f"{path}[{k}]", device.get("message")
        if device.get("health", "") not in _HEALTHS:
            causes.append(not_supported(f"{where}.health", device.get("health", ""), _HEALTHS))
        if message == "":
            causes.append(required(f"{where}.message", "must be non-empty if specified"))
        elif message is not None and len(message) > _MAX_HEALTH_MESSAGE:
            causes.append(too_long(f"{where}.message", _MAX_HEALTH_MESSAGE))
        if device.get("resourceID", "") in seen:
            causes.append(duplicate(f"{where}.resourceID", device.get("resourceID", "")))
        seen.add(device.get("resourceID", ""))
    return causes
