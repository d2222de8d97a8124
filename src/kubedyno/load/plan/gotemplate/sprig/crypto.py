"""Sprig on checksums, and what derives and encrypts."""

import base64
import binascii
import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Any

from kubedyno.load.plan.gotemplate.errors import FunctionError
from kubedyno.load.plan.gotemplate.sprig.values import RANDOM, text_of, to_int

_BLOCK = 16
# Master Password's templates by kind of password, and what each of their letters stands for.
_TEMPLATES = {
    "maximum": "anoxxxxxxxxxxxxxxxxx axxxxxxxxxxxxxxxxxno",
    "long": "CvcvnoCvcvCvcv CvcvCvcvnoCvcv CvcvCvcvCvcvno CvccnoCvcvCvcv CvccCvcvnoCvcv CvccCvcvCvcvno CvcvnoCvccCvcv "
    "CvcvCvccnoCvcv CvcvCvccCvcvno CvcvnoCvcvCvcc CvcvCvcvnoCvcc CvcvCvcvCvccno CvccnoCvccCvcv CvccCvccnoCvcv "
    "CvccCvccCvcvno CvcvnoCvccCvcc CvcvCvccnoCvcc CvcvCvccCvccno CvccnoCvcvCvcc CvccCvcvnoCvcc CvccCvcvCvccno",
    "medium": "CvcnoCvc CvcCvcno",
    "short": "Cvcn",
    "basic": "aaanaaan aannaaan aaannaaa",
    "pin": "nnnn",
}
_LETTERS = {
    "V": "AEIOU",
    "C": "BCDFGHJKLMNPQRSTVWXYZ",
    "v": "aeiou",
    "c": "bcdfghjklmnpqrstvwxyz",
    "A": "AEIOUBCDFGHJKLMNPQRSTVWXYZ",
    "a": "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
    "n": "0123456789",
    "o": "@&%?,=[]_:-+*$#!'^~;()/.",
    "x": "AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
}
_SCOPE = b"com.lyndir.masterpassword"


def _counted(text: str) -> bytes:
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw


def _derive_password(counter: int, kind: str, password: str, user: str, site: str) -> str:
    """Return the password that the Master Password algorithm derives; costs ~100 ms and 32 MB."""
    templates = _TEMPLATES.get(kind)
    if templates is None:
        return f"cannot find password template {kind}"
    key = hashlib.scrypt(password.encode(), salt=_SCOPE + _counted(user), n=32768, r=8, p=2, maxmem=1 << 26, dklen=64)
    seed = hmac.new(key, _SCOPE + _counted(site) + counter.to_bytes(4, "big"), hashlib.sha256).digest()
    choices = templates.split()
    template = choices[seed[0] % len(choices)]
    return "".join(
        _LETTERS[letter][seed[place] % len(_LETTERS[letter])] for place, letter in enumerate(template, start=1)
    )


def _cipher(password: str, start: bytes) -> Any:
    # Only these functions need it: importing it costs more than starting a run.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415

    key = password.encode()[:32].ljust(32, b"\0")
    return Cipher(algorithms.AES(key), modes.CBC(start))


def _encrypt_aes(password: str, text: str) -> str:
    """Return base64 of AES-256-CBC with a random start and PKCS#7 padding."""
    raw = text.encode()
    missing = _BLOCK - len(raw) % _BLOCK
    start = RANDOM.randbytes(_BLOCK)
    encryptor = _cipher(password, start).encryptor()
    sealed = encryptor.update(raw + bytes([missing]) * missing) + encryptor.finalize()
    return base64.b64encode(start + sealed).decode()


def _decrypt_aes(password: str, text: str) -> str:
    """Return what `_encrypt_aes` encrypted.

    Raises:
        FunctionError: The text is no base64, or no whole blocks.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise FunctionError("illegal base64 data at input byte 0") from error
    if len(raw) < 2 * _BLOCK or len(raw) % _BLOCK:
        raise FunctionError("crypto/cipher: input not full blocks")
    decryptor = _cipher(password, raw[:_BLOCK]).decryptor()
    clear = decryptor.update(raw[_BLOCK:]) + decryptor.finalize()
    return bytes(clear[: -clear[-1]]).decode("utf-8", "replace")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "randBytes": lambda size: base64.b64encode(RANDOM.randbytes(max(0, to_int(size)))).decode(),
    "sha1sum": lambda t: hashlib.sha1(text_of(t).encode()).hexdigest(),  # noqa: S324 - a checksum
    "sha256sum": lambda t: hashlib.sha256(text_of(t).encode()).hexdigest(),
    "sha512sum": lambda t: hashlib.sha512(text_of(t).encode()).hexdigest(),
    "adler32sum": lambda t: str(zlib.adler32(text_of(t).encode())),
    "derivePassword": _derive_password,
    "encryptAES": _encrypt_aes,
    "decryptAES": _decrypt_aes,
}
