"""Credentials for image registries: what a pod's pull secrets hold, and which of it is for which image.

The rules are those of the kubelet's keyring (pkg/credentialprovider): keys of `auths` are hosts with an optional path,
with `*` in parts of the host; the longest key comes first; docker.io has another name there.
"""

import fnmatch
from base64 import b64decode
from binascii import Error as NotBase64
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson

DOCKER_CONFIG_JSON = ".dockerconfigjson"
DOCKER_CONFIG = ".dockercfg"
_DEFAULT_REGISTRY = "index.docker.io"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a credential came from: what a kubelet's record of a pull names.

    Attributes:
        kind: "Secret" or "ServiceAccount".
        namespace: Of that object.
        name: Its name.
        uid: Its uid.
    """

    kind: str
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Credential:
    """A way to prove who pulls.

    Attributes:
        source: Where it came from.
        user: User name; "" for a token of a service account.
        password: Its password.
    """

    source: Source
    user: str = ""
    password: str = ""

    @property
    def digest(self) -> str:
        """What a record keeps of it; equal for equal user and password whatever secret has them; "" for a token."""
        if self.source.kind != "Secret":
            return ""
        return sha256(orjson.dumps([self.user, self.password])).hexdigest()


def auths_of(data: dict[str, str]) -> list[tuple[str, str, str]]:
    """Return (registry key, user, password) of a pull secret's data; what is no credential gives none.

    Args:
        data: Secret.data: values in base64.
    """
    try:
        if DOCKER_CONFIG_JSON in data:
            auths = orjson.loads(b64decode(data[DOCKER_CONFIG_JSON])).get("auths")
        elif DOCKER_CONFIG in data:
            auths = orjson.loads(b64decode(data[DOCKER_CONFIG]))
        else:
            return []
    except (NotBase64, ValueError, AttributeError):
        return []
    if not isinstance(auths, dict):
        return []
    found = []
    for key, entry in auths.items():
        if isinstance(entry, dict):
            user, password = _user_and_password(entry)
            found.append((_registry(key), user, password))
    # The longest first, as paths within a registry go before the whole of it.
    return sorted(found, reverse=True)


def _user_and_password(entry: dict[str, Any]) -> tuple[str, str]:
    if entry.get("auth"):
        try:
            user, _, password = b64decode(str(entry["auth"])).decode().partition(":")
        except (NotBase64, ValueError):
            return "", ""
        return user, password.rstrip("\x00")
    return str(entry.get("username", "")), str(entry.get("password", ""))


def _registry(key: str) -> str:
    """Return a key without its scheme and the version path that old tools wrote ("https://index.docker.io/v1/")."""
    rest = key.partition("://")[2] or key
    host, _, path = rest.strip("/").partition("/")
    if path.partition("/")[0] in {"v1", "v2"}:
        path = path.partition("/")[2]
    return f"{host}/{path}" if path else host


def is_for(key: str, repository: str) -> bool:
    """Say whether a registry key is for an image.

    Args:
        key: E.g. "ghcr.io", "*.example.com/team", "index.docker.io".
        repository: E.g. "docker.io/library/nginx".
    """
    host, _, path = repository.partition("/")
    wanted_host, _, wanted_path = key.partition("/")
    if wanted_host in {_DEFAULT_REGISTRY, "docker.io"}:
        return host == "docker.io" and path.startswith(wanted_path)
    if not path.startswith(wanted_path):
        return False
    if "*" not in wanted_host and "?" not in wanted_host and "[" not in wanted_host:
        return host == wanted_host
    wanted_name, _, wanted_port = wanted_host.partition(":")
    name, _, port = host.partition(":")
    wanted_parts, parts = wanted_name.split("."), name.split(".")
    return (
        port == wanted_port
        and len(parts) == len(wanted_parts)
        and all(fnmatch.fnmatchcase(part, wanted) for part, wanted in zip(parts, wanted_parts, strict=True))
    )
