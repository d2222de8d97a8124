"""What a controller makes of the API's answer "no"."""

from kubedyno.kube.status import StatusError


def is_terminating(error: StatusError) -> bool:
    """Say whether a creation failed because the namespace is being deleted: no reason to try again."""
    causes = (error.details or {}).get("causes", ())
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)
