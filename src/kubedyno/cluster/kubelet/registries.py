"""Private image registries, and what they answer.

There is no registry behind a simulated node, so the cluster says which are private: by Secrets in kube-system with the
label kubedyno.io/private-registry, of a pull secret's type and form. Each key of `auths` is a private registry, or a
part of one, and its user and password are right; several may be. The annotation kubedyno.io/service-accounts names the
accounts whose tokens it takes as well ("team/builder,ops/*").
"""

from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

import orjson

from kubedyno.cluster.kubelet.credentials import Credential, auths_of, is_for
from kubedyno.cluster.kubelet.images import Image, denied
from kubedyno.cluster.storage.store import Store
from kubedyno.kube.resources import SECRETS
from kubedyno.statedb.errors import ExpiredError
from kubedyno.statedb.records import Tombstone

NAMESPACE = "kube-system"
LABEL = "kubedyno.io/private-registry"
SERVICE_ACCOUNTS = "kubedyno.io/service-accounts"
_PREFIX = f"{NAMESPACE}/"
_MARK = f'"{LABEL}"'.encode()


class Registries:
    """The private registries of a cluster.

    Args:
        store: Holds the Secrets.
    """

    def __init__(self, store: Store) -> None:
        self._table = store.table(SECRETS)
        self._changes = self._table.changes()
        # Key of the Secret → (registry key, user, password), and the patterns of accounts.
        self._secrets: dict[str, tuple[list[tuple[str, str, str]], tuple[str, ...]]] = {}
        # Registry key → its Secrets; the longest key first.
        self._registries: list[tuple[str, list[str]]] = []

    def __bool__(self) -> bool:
        """True when there are any."""
        return bool(self._registries)

    def refresh(self) -> None:
        """Take note of what has changed. O(1) when nothing has."""
        try:
            records = self._changes.next()
        except ExpiredError:
            self._changes = self._table.changes()
            self._secrets.clear()
            records = self._changes.next()
        news = False
        for record in records:
            if not record.key.startswith(_PREFIX):
                continue
            if type(record) is not Tombstone and _MARK in record.obj.meta:
                self._secrets[record.key] = _read(record.obj.meta, record.obj.body)
                news = True
            else:
                news |= self._secrets.pop(record.key, None) is not None
        if news:
            found: dict[str, list[str]] = defaultdict(list)
            for key, (auths, _) in self._secrets.items():
                for registry, _, _ in auths:
                    if key not in found[registry]:
                        found[registry].append(key)
            self._registries = sorted(found.items(), reverse=True)

    def is_private(self, image: Image) -> bool:
        """Say whether an image is only given to who may have it."""
        return self._owners(image) is not None

    def tokens_taken(self, image: Image) -> bool:
        """Say whether an image's registry takes tokens of service accounts."""
        return any(self._secrets[key][1] for key in self._owners(image) or ())

    def _owners(self, image: Image) -> list[str] | None:
        return next((keys for registry, keys in self._registries if is_for(registry, image.repository)), None)

    def refusal(self, image: Image, credential: Credential | None) -> str:
        """Return the runtime's words when a registry does not give an image to somebody, "" when it does.

        Args:
            image: What is asked for.
            credential: Who asks; None: nobody in particular.
        """
        owners = self._owners(image)
        if owners is None:
            return ""
        if credential is None:
            return denied(image, anonymous=True)
        source = credential.source
        for key in owners:
            auths, accounts = self._secrets[key]
            if source.kind != "Secret":
                account = f"{source.namespace}/{source.name}"
                if any(fnmatchcase(account, pattern) for pattern in accounts):
                    return ""
            elif any(
                (user, password) == (credential.user, credential.password) and is_for(registry, image.repository)
                for registry, user, password in auths
            ):
                return ""
        return denied(image, anonymous=not credential.user)

    def granted(self, image: Image, credentials: Iterable[Credential]) -> tuple[Credential | None, str]:
        """Try to get an image with each credential in turn, without any when there are none.

        Returns:
            The one that it was given for (None: to anybody), and the runtime's words when it was given for none.
        """
        errors: list[str] = []
        tries: list[Credential | None] = [*credentials]
        for credential in tries or [None]:
            error = self.refusal(image, credential)
            if not error:
                return credential, ""
            if error not in errors:
                errors.append(error)
        return None, errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"


def _read(meta: bytes, body: bytes) -> tuple[list[tuple[str, str, str]], tuple[str, ...]]:
    annotations: dict[str, Any] = orjson.loads(b"{" + meta + b"}").get("annotations") or {}
    data = orjson.loads(b"{" + body + b"}").get("data") or {}
    accounts = tuple(part.strip() for part in annotations.get(SERVICE_ACCOUNTS, "").split(",") if part.strip())
    return auths_of(data), accounts
