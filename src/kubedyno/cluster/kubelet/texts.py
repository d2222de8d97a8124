"""Messages of a kubelet's events, word for word for the version."""

from functools import lru_cache

from kubedyno.base.times import go_duration

# The first minor whose events leave the container's name to the field path.
_SHORT_TEXTS = 35
_CACHED_TEXTS = 1024
NETWORK_NOT_READY = (
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin "
    "returns error: cni plugin not initialized"
)


class Texts:
    """The texts of one minor version.

    Args:
        minor: E.g. 33.
    """

    def __init__(self, minor: int) -> None:
        self._short = minor >= _SHORT_TEXTS

    def created(self, container: str) -> str:
        return "Container created" if self._short else f"Created container: {container}"

    def started(self, container: str) -> str:
        return "Container started" if self._short else f"Started container {container}"


@lru_cache(_CACHED_TEXTS)
def present(image: str, *, verified: bool) -> str:
    """Return the text about an image that is there, the same string for all events that say it.

    Args:
        image: Its reference.
        verified: The kubelet has looked at who may use it.
    """
    more = " and can be accessed by the pod" if verified else ""
    return f'Container image "{image}" already present on machine{more}'


def pulled(image: str, pull_s: float, waited_s: float, size_bytes: int) -> str:
    """Return the text of a pull: how long it took, and with the wait for other pulls."""
    own, whole = (go_duration(round(seconds * 1e3) * 1_000_000) for seconds in (pull_s, waited_s))
    return f'Successfully pulled image "{image}" in {own} ({whole} including waiting). Image size: {size_bytes} bytes.'


def local(image: str) -> str:
    """Return the text about an image that needs no pull, because programs of the machine stand for it."""
    return f'Container image "{image}" stands for programs of this machine'


def crash_back_off(container: str, pod: str, namespace: str, uid: str) -> str:
    """Return the text of the event about a container that waits for its restart."""
    return f"Back-off restarting failed container {container} in pod {pod}_{namespace}({uid})"


def crash_waiting(container: str, pod: str, namespace: str, uid: str, backoff_s: float) -> str:
    """Return the message in the status of a container that waits for its restart."""
    return (
        f"back-off {go_duration(round(backoff_s * 1e9))} restarting failed container={container} "
        f"pod={pod}_{namespace}({uid})"
    )


def rejected(resource: str, requested: int, used: int, capacity: int) -> str:
    """Return why the kubelet's admission refuses a pod."""
    return f"Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
