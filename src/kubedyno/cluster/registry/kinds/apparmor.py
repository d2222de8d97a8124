"""AppArmor's annotations, which the field `appArmorProfile` took the place of: what they say, and whether they may."""

from collections.abc import Mapping

from kubedyno.cluster.registry.kind import Object
from kubedyno.cluster.registry.kinds.securityvalidation import containers_with_paths
from kubedyno.kube.status import Cause, forbidden_field, invalid_value

# Before a container's name.
PREFIX = "container.apparmor.security.beta.kubernetes.io/"
DEPRECATED = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_LOCALHOST = "localhost/"
_TYPES = {"unconfined": "Unconfined", "runtime/default": "RuntimeDefault"}


def field_of(annotation: str) -> Object | None:
    """Return the field that says what an annotation does."""
    if annotation in _TYPES:
        return {"type": _TYPES[annotation]}
    if annotation.startswith(_LOCALHOST) and annotation != _LOCALHOST:
        return {"type": "Localhost", "localhostProfile": annotation.removeprefix(_LOCALHOST)}
    return None


def adopt(metadata: Object, spec: Object) -> list[str]:
    """Give the containers of a new pod the profiles that annotations name, and return the warnings about that.

    Args:
        metadata: Of the pod.
        spec: Of the pod; changed in place.
    """
    annotations: Mapping[str, str] = metadata.get("annotations") or {}
    if not any(key.startswith(PREFIX) for key in annotations) or spec.get("os", {}).get("name") == "windows":
        return []
    above = spec.get("securityContext", {}).get("appArmorProfile")
    warnings = []
    for container, _ in containers_with_paths(spec, "spec"):
        key = f"{PREFIX}{container.get('name', '')}"
        if key not in annotations or "appArmorProfile" in container.get("securityContext", {}):
            continue
        profile = field_of(annotations[key])
        if above is not None and above == profile:
            continue
        warnings.append(f"metadata.annotations[{key}]: {DEPRECATED}")
        if profile is not None:
            container.setdefault("securityContext", {})["appArmorProfile"] = profile
    return warnings


def annotation_causes(annotations: Mapping[str, str], spec: Object, path: str) -> list[Cause]:
    """Return which annotations name no container, or no profile.

    Args:
        annotations: Of a pod or a template.
        spec: Of its pods.
        path: Of the annotations.
    """
    causes = []
    for key in sorted(annotations):
        if not key.startswith(PREFIX):
            continue
        name, profile = key.removeprefix(PREFIX), annotations[key]
        if all(container.get("name", "") != name for container, _ in containers_with_paths(spec, "")):
            causes.append(invalid_value(f"{path}[{key}]", name, "container not found"))
        if profile and profile not in _TYPES and not profile.startswith(_LOCALHOST):
            causes.append(invalid_value(f"{path}[{key}]", profile, f'invalid AppArmor profile name: "{profile}"'))
    return causes


def agreement_causes(annotations: Mapping[str, str], spec: Object, path: str) -> list[Cause]:
    """Return where the annotation of a new pod's container says something else than its field."""
    if spec.get("os", {}).get("name") == "windows" or not any(key.startswith(PREFIX) for key in annotations):
        return []
    above, causes = spec.get("securityContext", {}).get("appArmorProfile"), []
    for container, where in containers_with_paths(spec, path):
        profile = container.get("securityContext", {}).get("appArmorProfile", above)
        annotation = annotations.get(f"{PREFIX}{container.get('name', '')}")
        if profile is None or annotation is None:
            continue
        field = f"{where}.securityContext.appArmorProfile"
        if profile.get("type") == "Localhost" and annotation.startswith(_LOCALHOST):
            if annotation.removeprefix(_LOCALHOST) != profile.get("localhostProfile"):
                text = "apparmor profile in annotation and field must match"
                causes.append(forbidden_field(f"{field}.localhostProfile", text))
        elif profile.get("type") != _TYPES.get(annotation):
            causes.append(forbidden_field(f"{field}.type", "apparmor type in annotation and field must match"))
    return causes
