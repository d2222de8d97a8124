"""Who may use the cluster, and how: its authority, the admin's credentials, the kubeconfig that holds them."""

import base64
import os
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from kubedyno.base.random import secret_token
from kubedyno.cluster.apiserver.authentication import User
from kubedyno.http.tls import Authority, KeyPair
from kubedyno.kube import yaml

ADMIN = User("kubernetes-admin", ("kubeadm:cluster-admins", "system:masters", "system:authenticated"))
HOST = "127.0.0.1"
# Names that a client may call the API server by.
_NAMES = (
    HOST,
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster's keys; made anew at each start unless the cluster is kept (see `keeping`).

    Attributes:
        ca: PEM of the authority's certificate.
        server: The API server's certificate and key.
        admin: The admin's client certificate and key.
        token: The admin's bearer token.
        signing_key: PEM of the key of ServiceAccount tokens; b"": the API server makes one.
        ca_key: PEM of the authority's key, for requests of certificates; b"": none is signed.
    """

    ca: bytes
    server: KeyPair
    admin: KeyPair
    token: str
    signing_key: bytes = b""
    ca_key: bytes = b""


def make_access(service_subnet: str) -> Access:
    """Return fresh keys; the server's certificate is good for loopback and for the service `kubernetes`."""
    service_address = str(ip_network(service_subnet.partition(",")[0])[1])
    authority = Authority("kubernetes")
    groups = [group for group in ADMIN.groups if group != "system:authenticated"]
    return Access(
        authority.certificate,
        authority.server((*_NAMES, service_address)),
        authority.client(ADMIN.name, groups),
        secret_token(),
        ca_key=authority.key,
    )


def write_kubeconfig(path: Path, name: str, access: Access, port: int) -> None:
    """Write the admin's kubeconfig, readable by its owner only, whole or not at all."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": f"https://{HOST}:{port}", "certificate-authority-data": _base64(access.ca)},
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "token": access.token,
                    "client-certificate-data": _base64(access.admin.certificate),
                    "client-key-data": _base64(access.admin.key),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
        "preferences": {},
    }
    write_secret(path, yaml.dump(document).encode())


def write_secret(path: Path, data: bytes, *, lasting: bool = False) -> None:
    """Write a file that only its owner may read, whole or not at all; `lasting`: over a power failure too."""
    draft = path.with_suffix(".part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        if lasting:
            os.fsync(descriptor)
    draft.replace(path)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
