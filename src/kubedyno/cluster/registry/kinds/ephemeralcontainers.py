"""What is wrong with ephemeral containers: the ones that `kubectl debug` adds to a pod; texts as the real server's."""

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.names import problems_of_dns1123_label
from kubedyno.kube.status import Cause, duplicate, forbidden_field, invalid_value, not_found_field, required

_PATH = "spec.ephemeralContainers"
_ALLOWED = frozenset({
    "name", "image", "command", "args", "workingDir", "envFrom", "env", "volumeMounts", "volumeDevices",
    "terminationMessagePath", "terminationMessagePolicy", "imagePullPolicy", "securityContext", "stdin", "stdinOnce",
    "tty", "targetContainerName",
})  # fmt: skip


def validate_ephemeral_containers(spec: Object, before: Object) -> list[Cause]:
    """Return what is wrong with a pod's ephemeral containers, beside those that it had."""
    causes: list[Cause] = []
    others = {container["name"] for name in ("initContainers", "containers") for container in spec.get(name, ())}
    taken = set(others)
    wanted = spec.get("ephemeralContainers", [])
    for i, container in enumerate(wanted):
        causes += _causes(container, f"{_PATH}[{i}]", others, taken)
        taken.add(container.get("name", ""))
    by_name = {container.get("name", ""): container for container in wanted}
    for old in before.get("ephemeralContainers", ()):
        name = old["name"]
        if name not in by_name:
            causes.append(forbidden_field(_PATH, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif by_name[name] != old:
            causes.append(forbidden_field(_PATH, f'existing ephemeral containers "{name}" may not be changed\n'))
    return causes


def _causes(container: Object, path: str, others: set[str], taken: set[str]) -> list[Cause]:
    name, target = container.get("name", ""), container.get("targetContainerName", "")
    if not name:
        causes = [required(f"{path}.name")]
    else:
        causes = [invalid_value(f"{path}.name", name, problem) for problem in problems_of_dns1123_label(name)]
        if name in taken:
            causes.append(duplicate(f"{path}.name", name))
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    if target and target not in others:
        causes.append(not_found_field(f"{path}.targetContainerName", target))
    causes += [
        forbidden_field(f"{path}.{field}", "cannot be set for an Ephemeral Container")
        for field, value in container.items()
        if field not in _ALLOWED and value
    ]
    return causes
