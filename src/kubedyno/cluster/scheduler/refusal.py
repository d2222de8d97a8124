"""What a plugin says of a pod that no node can help, before it looks at any."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a pod cannot have any node now.

    Attributes:
        plugin: The plugin that says so.
        message: Its words; "" for a pod that is not even tried until something changes.
        before_claims: The plugin for dynamic resources comes after it, and so knows nothing of the pod.
    """

    plugin: str
    message: str
    before_claims: bool = False
