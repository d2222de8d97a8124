"""What is wrong with ephemeral containers: the ones that `kubectl debug` adds to a pod; texts as the real server's."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.containervalidation import Surroundings, common_causes
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_found_field

_PATH = "spec.ephemeralContainers"
_ALLOWED = frozenset({
    "name", "image", "command", "args", "workingDir", "envFrom", "env", "volumeMounts", "volumeDevices",
    "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin", "stdinOnce",
    "tty", "targetContainerName",
})  # fmt: skip


def ephemeral_causes(spec: Object, path: str, around: Surroundings) -> list[Cause]:
    """Return what is wrong with a pod's ephemeral containers as they are; `path` is theirs."""
    causes: list[Cause] = []
    others = {
        container.get("name", "") for name in ("initContainers", "containers") for container in spec.get(name, ())
    }
    taken = set(others)
    for i, container in enumerate(spec["ephemeralContainers"]):
        causes += _causes(container, f"{path}[{i}]", others, taken, around)
        taken.add(container.get("name", ""))
    return causes


def ephemeral_change_causes(spec: Object, before: Object) -> list[Cause]:
    """Return which of a pod's ephemeral containers are no longer what they were: more may come, none may change."""
    causes: list[Cause] = []
    by_name = {container.get("name", ""): container for container in spec.get("ephemeralContainers", [])}
    for old in before.get("ephemeralContainers", ()):
        name = old["name"]
        if name not in by_name:
            causes.append(forbidden_field(_PATH, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif by_name[name] != old:
            causes.append(forbidden_field(_PATH, f'existing ephemeral containers "{name}" may not be changed\n'))
    return causes


def _causes(container: Object, path: str, others: set[str], taken: set[str], around: Surroundings) -> list[Cause]:
    name, target = container.get("name", ""), container.get("targetContainerName", "")
    causes = common_causes(container, path, around)
    image = container.get("image", "")
    if image != image.strip():
        causes.append(invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))
    if name in taken:
        causes.append(duplicate(f"{path}.name", name))
    if target and target not in others:
        causes.append(not_found_field(f"{path}.targetContainerName", target))
    causes += [
        forbidden_field(f"{path}.{field}", "cannot be set for an Ephemeral Container")
        for field, value in container.items()
        if field not in _ALLOWED and (value or field == "lifecycle")
    ]
    return causes + [
        forbidden_field(f"{path}.volumeMounts[{i}].{member}", "cannot be set for an Ephemeral Container")
        for i, mount in enumerate(container.get("volumeMounts", ()))
        for member in ("subPath", "subPathExpr")
        if mount.get(member)
    ]
