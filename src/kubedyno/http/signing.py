"""Certificates for requests of others: a PKCS#10 request in, what it asks for out, or a certificate by an authority."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SKEW = timedelta(minutes=5)
_KEY_USAGES = {
    "digital signature": "digital_signature", "signing": "digital_signature", "content commitment": "content_commitment",
    "key encipherment": "key_encipherment", "data encipherment": "data_encipherment", "key agreement": "key_agreement",
    "cert sign": "key_cert_sign", "crl sign": "crl_sign", "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}  # fmt: skip
_EXTENDED = {
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "code signing": ExtendedKeyUsageOID.CODE_SIGNING, "email protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "timestamping": ExtendedKeyUsageOID.TIME_STAMPING, "ocsp signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "any": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}  # fmt: skip
_MIN_RSA_BITS = 1024


class BadRequestError(ValueError):
    """It is no request that can be signed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for.

    Attributes:
        common_name: CN.
        organizations: O, each.
        names: DNS names and IP addresses.
        others: Mail addresses and URIs.
    """

    common_name: str
    organizations: tuple[str, ...]
    names: tuple[str, ...]
    others: tuple[str, ...]


def _request(pem: bytes) -> x509.CertificateSigningRequest:
    try:
        request = x509.load_pem_x509_csr(pem)
        valid = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise BadRequestError(f"unable to parse csr: {error}") from error
    if not valid:
        raise BadRequestError("the signature of the request is not valid")
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _MIN_RSA_BITS:
        raise BadRequestError(f"a key of {key.key_size} bits is too short")
    return request


def wanted_by(pem: bytes) -> Wanted:
    """Return what a request asks for.

    Raises:
        BadRequestError: It is none.
    """
    request = _request(pem)
    subject = request.subject
    common = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    names: list[str] = []
    others: list[str] = []
    try:
        alternatives = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        alternatives = None
    except ValueError as error:
        raise BadRequestError(f"unable to parse csr: {error}") from error
    for name in alternatives or ():
        (names if isinstance(name, x509.DNSName | x509.IPAddress) else others).append(str(name.value))
    return Wanted(
        str(common[0].value) if common else "", tuple(str(g.value) for g in groups), tuple(names), tuple(others)
    )


class Signer:
    """Signs with an authority's key.

    Args:
        certificate: Of the authority, PEM.
        key: Its private key, PEM.
    """

    def __init__(self, certificate: bytes, key: bytes) -> None:
        self._certificate = x509.load_pem_x509_certificate(certificate)
        loaded = serialization.load_pem_private_key(key, None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is none of ours")
        self._key = loaded
        self._identifier: x509.AuthorityKeyIdentifier | None = None
        try:
            own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
            self._identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own.value)
        except x509.ExtensionNotFound:
            pass

    def sign(self, request: bytes, usages: Sequence[str], lifetime_s: float, now_s: float) -> bytes:
        """Return the PEM of a certificate.

        Args:
            request: PEM.
            usages: As in a CertificateSigningRequest.
            lifetime_s: For how long, at most as long as the authority's.
            now_s: Epoch seconds.

        Raises:
            BadRequestError: The request cannot be signed.
        """
        asked = _request(request)
        now = datetime.fromtimestamp(int(now_s), UTC)
        flags = dict.fromkeys(set(_KEY_USAGES.values()), False)
        flags |= {_KEY_USAGES[usage]: True for usage in usages if usage in _KEY_USAGES}
        if not flags["key_agreement"]:
            flags["encipher_only"] = flags["decipher_only"] = False
        builder = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(self._certificate.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SKEW)
            .not_valid_after(min(now + timedelta(seconds=lifetime_s), self._certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if any(flags.values()):
            builder = builder.add_extension(x509.KeyUsage(**flags), critical=True)
        if self._identifier is not None:
            builder = builder.add_extension(self._identifier, critical=False)
        extended = [_EXTENDED[usage] for usage in usages if usage in _EXTENDED]
        if extended:
            builder = builder.add_extension(x509.ExtendedKeyUsage(extended), critical=False)
        try:
            names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            builder = builder.add_extension(names.value, critical=names.critical)
        except x509.ExtensionNotFound:
            pass
        try:
            signed = builder.sign(self._key, hashes.SHA256())
        except (ValueError, TypeError) as error:
            raise BadRequestError(str(error)) from error
        return signed.public_bytes(serialization.Encoding.PEM)
