"""A cluster's data directory: its journal, its keys, and what it was made with.

Keys, token and port are kept, so that a kubeconfig and the tokens of ServiceAccounts stay valid over a restart.
"""

import base64
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.base.errors import KubedynoError
from kubedyno.base.log import logger
from kubedyno.cluster.assembly.access import Access, make_access, write_secret
from kubedyno.cluster.settings import ClusterSettings
from kubedyno.cluster.storage.journal import Journal
from kubedyno.http.tls import KeyPair

# Settings that objects depend on; the flag that gives each.
_FIXED = {
    "name": "--name",
    "pod_subnet": "podSubnet",
    "service_subnet": "serviceSubnet",
    "second_service_subnet": "ipFamily",
    "node_cidr_mask": "--node-cidr-mask",
    "version": "--kubernetes-version",
}
# Keys are made anew when a certificate has less than this left.
_RENEW = timedelta(days=30)
_PEMS = ("ca", "signing_key", "ca_key")
_PAIRS = ("server", "admin")


@dataclass(slots=True)
class Keeping:
    """What a data directory gives a cluster that starts.

    Attributes:
        journal: Locked, read, to be followed.
        access: Keys, kept or new.
        port: The API's last one, 0 when there was none.
        made: The cluster was up before.
    """

    path: Path
    journal: Journal
    access: Access
    port: int
    made: bool

    def up(self, port: int, settings: ClusterSettings) -> None:
        """Note that the cluster is up."""
        self.journal.flush()
        self.port, self.made = port, True
        fixed = {name: getattr(settings, name) for name in _FIXED}
        write_secret(self.path / "cluster.json", orjson.dumps({"port": port, "settings": fixed}))


async def open_keeping(settings: ClusterSettings) -> Keeping:
    """Open a cluster's data directory, or make one.

    Raises:
        KubedynoError: Another cluster has it, it is another's, or it cannot be read.
    """
    path = Path(settings.data_dir)
    journal = Journal(path)
    try:
        known = _read(path / "cluster.json")
        for name, flag in _FIXED.items():
            was, now = known.get("settings", {}).get(name), getattr(settings, name)
            if was is not None and was != now:
                raise KubedynoError(
                    f"{path}: this cluster was made with {flag} {was}, not {now}; say so, or use another"
                )
        access = _access(path / "keys.json", settings.service_subnet)
    except BaseException:
        await journal.close()
        raise
    return Keeping(path, journal, access, int(known.get("port", 0)), bool(known))


def _read(path: Path) -> dict[str, Any]:
    try:
        document = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise KubedynoError(f"{path}: cannot be read ({error}); remove it to have it made anew") from error
    if not isinstance(document, dict):
        raise KubedynoError(f"{path}: holds no object; remove it to have it made anew")
    return document


def _access(path: Path, service_subnet: str) -> Access:
    """Return the keys of a file, or fresh ones, which are written there."""
    document = _read(path)
    if document:
        try:
            access = _access_of(document)
            until = x509.load_pem_x509_certificate(access.server.certificate).not_valid_after_utc
        except (KeyError, TypeError, ValueError) as error:
            raise KubedynoError(f"{path}: holds no keys ({error}); remove it to have it made anew") from error
        if until - datetime.fromtimestamp(SYSTEM_CLOCK.now(), UTC) > _RENEW:
            return access
        logger(__name__).info("%s: the certificates run out, new ones are made: the kubeconfig changes", path)
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    access = replace(make_access(service_subnet), signing_key=key)
    write_secret(path, orjson.dumps(_document_of(access)))
    return access


def _document_of(access: Access) -> dict[str, Any]:
    document: dict[str, Any] = {name: _text(getattr(access, name)) for name in _PEMS}
    for name in _PAIRS:
        pair: KeyPair = getattr(access, name)
        document[name] = {"certificate": _text(pair.certificate), "key": _text(pair.key)}
    return {**document, "token": access.token}


def _access_of(document: dict[str, Any]) -> Access:
    pairs = {
        name: KeyPair(base64.b64decode(document[name]["certificate"]), base64.b64decode(document[name]["key"]))
        for name in _PAIRS
    }
    pems = {name: base64.b64decode(document.get(name, "")) for name in _PEMS}
    return Access(
        pems["ca"], pairs["server"], pairs["admin"], str(document["token"]), pems["signing_key"], pems["ca_key"]
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
