"""Container images: names, sizes, ids, and what a node has of them.

There is no registry: every image exists, except on hosts under ".invalid", which by RFC 6761 never resolve; who may
have it `registries` says. Sizes of some well-known images are theirs; others have one that follows from their name.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from heapq import heappop, heappush

_MB = 1_000_000
# Compressed size on linux/amd64, by the last part of the name and the tag's end; "" is any tag.
_SIZES = (
    ("pause", "", 321_520),
    ("busybox", "", 2_223_659),
    ("alpine", "", 3_806_000),
    ("hello-world", "", 10_072),
    ("nginx", "alpine", 21_554_000),
    ("nginx", "", 72_200_000),
    ("redis", "", 45_600_000),
    ("postgres", "", 150_300_000),
    ("etcd", "", 58_938_593),
    ("kube-apiserver", "", 28_100_000),
    ("kube-controller-manager", "", 26_300_000),
    ("kube-scheduler", "", 20_300_000),
    ("kube-proxy", "", 30_900_000),
    ("coredns", "", 18_562_039),
    ("kindnetd", "", 44_500_000),
    ("local-path-provisioner", "", 20_400_000),
)
# What a kind node image brings along.
_PRELOADED = ("registry.k8s.io/kube-", "registry.k8s.io/etcd", "registry.k8s.io/coredns/", "registry.k8s.io/pause",
              "docker.io/kindest/")  # fmt: skip
_NEVER_RESOLVES = ".invalid"


@dataclass(frozen=True, slots=True)
class Image:
    """An image.

    Attributes:
        name: Normal form, e.g. "docker.io/library/nginx:1.27".
        repository: The name without tag and digest.
        digest: "sha256:…".
        size_bytes: Compressed.
        host: Of its registry.
        exists: It can be pulled.
        preloaded: Every node has it from the beginning.
    """

    name: str
    repository: str
    digest: str
    size_bytes: int
    host: str
    exists: bool
    preloaded: bool

    @property
    def image_id(self) -> str:
        """What a container status has as imageID."""
        return f"{self.repository}@{self.digest}"


@dataclass(slots=True)
class WantedImage:
    """An image that a pod wants.

    Attributes:
        image: The image.
        reference: Its name in the pod.
        policy: imagePullPolicy.
        field_path: For events.
        backoff_s: The pause after the last failed pull.
    """

    image: Image
    reference: str
    policy: str
    field_path: str = ""
    backoff_s: float = 0.0


@lru_cache(maxsize=4096)
def image_of(reference: str) -> Image:
    """Return the image of a reference as pods name it."""
    name, _, digest = reference.partition("@")
    head, slash, rest = name.partition("/")
    if not slash or not ("." in head or ":" in head or head == "localhost"):
        host, path = "docker.io", name if slash else f"library/{name}"
    else:
        host, path = head, rest
    repository, colon, tag = path.rpartition(":")
    if not colon:
        repository, tag = path, "" if digest else "latest"
    full = f"{host}/{repository}"
    complete = full + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    hashed = sha256(complete.encode())
    return Image(
        complete,
        full,
        digest or f"sha256:{hashed.hexdigest()}",
        _size(repository.rpartition("/")[2], tag, hashed.digest()),
        host,
        not host.partition(":")[0].endswith(_NEVER_RESOLVES),
        complete.startswith(_PRELOADED),
    )


def _size(last: str, tag: str, digest: bytes) -> int:
    for name, end, size in _SIZES:
        if last == name and tag.endswith(end):
            return size
    # 10 … 200 MB, most of them small.
    fraction = int.from_bytes(digest[:4], "big") / 2**32
    return int(10 * _MB + 190 * _MB * fraction**2)


class NodeImages:
    """The images on one node, and its puller."""

    __slots__ = ("_busy_until_s", "_coming", "_present", "news")

    def __init__(self) -> None:
        # Name → image, in the order of arrival.
        self._present: dict[str, Image] = {}
        # Monotonic seconds at which the pulls are done that count against the limit, one for each place that is used.
        self._busy_until_s: list[float] = []
        # Images that are being pulled → monotonic seconds of their arrival.
        self._coming: dict[str, float] = {}
        # An image came since the node's status was last written.
        self.news = False

    def has(self, image: Image) -> bool:
        return image.name in self._present or image.preloaded

    def add(self, image: Image) -> None:
        if image.name not in self._present:
            self._present[image.name] = image
            self.news = True
            self._coming.pop(image.name, None)

    def pull(self, image: Image, now_s: float, *, whole_s: float, known_s: float, parallel: int) -> tuple[float, float]:
        """Enter a pull.

        Args:
            image: What is pulled.
            now_s: Monotonic seconds.
            whole_s: How long it takes from the registry.
            known_s: How long it takes when the runtime finds that it has it all.
            parallel: How many at once, 0: as many as there are. A second pull of an image joins the first.

        Returns:
            Monotonic seconds at which it begins, and how long it then takes.
        """
        busy = self._busy_until_s
        while busy and busy[0] <= now_s:
            heappop(busy)
        begin_s = now_s
        while parallel and len(busy) >= parallel:
            begin_s = heappop(busy)
        arrives_s = self._coming.get(image.name, now_s)
        known = self.has(image) or image.name in self._coming
        own_s = max(known_s, arrives_s - begin_s) if known else whole_s
        if parallel:
            heappush(busy, begin_s + own_s)
        if not known:
            self._coming[image.name] = begin_s + own_s
        return begin_s, own_s

    def listed(self, limit: int = 50) -> list[dict[str, object]]:
        """Return status.images: the largest first, at most nodeStatusMaxImages."""
        images = sorted(self._present.values(), key=lambda image: (-image.size_bytes, image.name))
        return [{"names": [image.image_id, image.name], "sizeBytes": image.size_bytes} for image in images[:limit]]


def pull_error(image: Image, *, forced: bool) -> str:
    """Return containerd's words for a pull that fails.

    Args:
        image: The image.
        forced: Its registry answers, but has no such image.
    """
    head = f'failed to pull and unpack image "{image.name}": failed to resolve reference "{image.name}": '
    if not forced:
        return (
            f"rpc error: code = Unknown desc = {head}failed to do request: "
            f'Head "{_manifest(image)}": dial tcp: lookup {image.host}: no such host'
        )
    return f"rpc error: code = NotFound desc = {head}{image.name}: not found"


def denied(image: Image, *, anonymous: bool) -> str:
    """Return containerd's words when a registry does not let somebody have an image.

    Args:
        image: The image.
        anonymous: No user and password were shown; else they were wrong.
    """
    head = f'failed to pull and unpack image "{image.name}": failed to resolve reference "{image.name}": '
    if anonymous:
        return (
            f"rpc error: code = Unknown desc = {head}pull access denied, repository does not exist or may require "
            "authorization: authorization failed: no basic auth credentials"
        )
    return f"rpc error: code = Unknown desc = {head}unexpected status from HEAD request to {_manifest(image)}: 401 Unauthorized"


def _manifest(image: Image) -> str:
    path = image.repository.removeprefix(f"{image.host}/")
    tag = image.name.rpartition("@")[2] if "@" in image.name else image.name.rpartition(":")[2]
    host = "registry-1.docker.io" if image.host == "docker.io" else image.host
    return f"https://{host}/v2/{path}/manifests/{tag}"
