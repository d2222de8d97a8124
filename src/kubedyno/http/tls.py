"""Certificates and TLS contexts: a small authority of our own, and the contexts of both sides.

Keys are P-256: an RSA key alone costs a fifth of a second.
"""

import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubedyno.base.clock import SYSTEM_CLOCK

# Certificates begin a while ago, for clocks that are behind, and last as kubeadm's do.
_SKEW = timedelta(minutes=5)
_YEAR = timedelta(days=365)
ALPN = ("h2", "http/1.1")


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


class Authority:
    """A certificate authority that lives as long as its process.

    Args:
        common_name: Its subject, e.g. "kubernetes".
        now_s: Epoch seconds that validity counts from.
    """

    def __init__(self, common_name: str = "kubernetes", now_s: float | None = None) -> None:
        self._now = datetime.fromtimestamp(SYSTEM_CLOCK.now() if now_s is None else now_s, UTC)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name(common_name, ())
        self._identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        certificate = (
            self._builder(self._name, self._key.public_key(), 10 * _YEAR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(self._identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        self.key = _pem(self._key)

    def server(self, names: Sequence[str], common_name: str = "kube-apiserver") -> KeyPair:
        """Return a server's certificate for these DNS names and IP addresses."""
        alternatives: list[x509.GeneralName] = []
        for name in names:
            try:
                alternatives.append(x509.IPAddress(ipaddress.ip_address(name)))
            except ValueError:
                alternatives.append(x509.DNSName(name))
        return self._issue(
            _name(common_name, ()), ExtendedKeyUsageOID.SERVER_AUTH, x509.SubjectAlternativeName(alternatives)
        )

    def client(self, common_name: str, organizations: Sequence[str] = ()) -> KeyPair:
        """Return a client's certificate: user name and groups, as Kubernetes reads them."""
        return self._issue(_name(common_name, organizations), ExtendedKeyUsageOID.CLIENT_AUTH, None)

    def _issue(
        self, subject: x509.Name, usage: x509.ObjectIdentifier, names: x509.SubjectAlternativeName | None
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            self._builder(subject, key.public_key(), _YEAR)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(self._identifier), critical=False
            )
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: timedelta
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self._now - _SKEW)
            .not_valid_after(self._now + lifetime)
        )


def _name(common_name: str, organizations: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_key_pair(context: ssl.SSLContext, pair: KeyPair) -> None:
    """Give a context its certificate.

    Raises:
        ssl.SSLError: The two do not belong together, or are no PEM.
    """
    # The ssl module reads chains from files only; this one is private, and gone before anyone can look.
    with tempfile.TemporaryDirectory(prefix="kubedyno-") as folder:
        path = Path(folder) / "pair.pem"
        path.touch(mode=0o600)
        path.write_bytes(pair.certificate.rstrip() + b"\n" + pair.key)
        context.load_cert_chain(path)


def server_context(pair: KeyPair, client_ca: bytes | None = None) -> ssl.SSLContext:
    """Return a server's context; with `client_ca`, clients may show certificates, and bad ones end the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_key_pair(context, pair)
    context.set_alpn_protocols(list(ALPN))
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_context(
    ca: bytes | None = None, pair: KeyPair | None = None, *, verify: bool = True, alpn: Sequence[str] = ALPN
) -> ssl.SSLContext:
    """Return a client's context.

    Args:
        ca: Whom to trust; None trusts the system's authorities.
        pair: The client's own certificate.
        verify: False trusts any server.
        alpn: What to offer, best first.

    Raises:
        ssl.SSLError: A certificate or key is malformed.
    """
    if verify:
        context = ssl.create_default_context(cadata=ca.decode() if ca else None)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if pair is not None:
        load_key_pair(context, pair)
    context.set_alpn_protocols(list(alpn))
    return context
