"""Definitions in groups that are Kubernetes' own: they need an annotation that says who approved them."""

from urllib.parse import urlsplit

from kubedyno.cluster.registry.kind import Object
from kubedyno.kube.status import Cause, invalid_value, required

_APPROVED = "api-approved.kubernetes.io"
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"
CONFORMANT = "KubernetesAPIApprovalPolicyConformant"


def _is_protected(group: str) -> bool:
    return group in {"k8s.io", "kubernetes.io"} or group.endswith((".k8s.io", ".kubernetes.io"))


def approval_causes(definition: Object) -> list[Cause]:
    """Return what is wrong with the approval of a definition."""
    if not _is_protected(definition["spec"].get("group", "")):
        return []
    given, path = definition["metadata"].get("annotations", {}).get(_APPROVED, ""), f"metadata.annotations[{_APPROVED}]"
    if not given:
        return [required(path, f'protected groups must have approval annotation "{_APPROVED}", {_SEE}')]
    if approval_of(definition) is None:
        text = (
            f'protected groups must have approval annotation "{_APPROVED}" with either a URL or a reason starting with'
        )
        return [invalid_value(path, given, f'{text} "unapproved", {_SEE}')]
    return []


def approval_of(definition: Object) -> tuple[str, str, str] | None:
    """Return status, reason and message of the condition `CONFORMANT`; None where a definition has none."""
    if not _is_protected(definition["spec"].get("group", "")):
        return None
    given = definition["metadata"].get("annotations", {}).get(_APPROVED, "")
    if given.startswith("unapproved"):
        return "False", "UnapprovedAnnotation", f'not approved: "{given}"'
    try:
        address = urlsplit(given)
    except ValueError:
        return None
    return ("True", "ApprovedAnnotation", f"approved in {given}") if address.scheme and address.netloc else None
