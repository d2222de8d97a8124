"""Randomness and ids from one seed. The only module that may use `random`, `uuid` or `os.urandom`."""

import os
import random
from hashlib import blake2b

# The alphabet of Kubernetes' rand.String: no vowels and no look-alikes, so that no word appears.
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
_SUFFIXES = len(_SUFFIX_ALPHABET) ** SUFFIX_LENGTH
_PAIRS = [a + b for a in _SUFFIX_ALPHABET for b in _SUFFIX_ALPHABET]


class Random(random.Random):
    """A seeded generator that also makes Kubernetes' ids.

    Args:
        seed: Same seed, same sequence. None takes entropy from the system.
    """

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(int.from_bytes(os.urandom(16), "big") if seed is None else seed)

    def uid(self) -> str:
        """Return a random (version 4) UUID as text."""
        return _uid_text(f"{self.getrandbits(128):032x}")

    def suffix(self, length: int = SUFFIX_LENGTH) -> str:
        """Return the random end of a generated name, as `generateName` appends it."""
        if length == SUFFIX_LENGTH:
            # One number for all five letters: a pod needs two such ends, and `choices` takes four times as long.
            rest, low = divmod(int(self.random() * _SUFFIXES), len(_PAIRS))
            first, middle = divmod(rest, len(_PAIRS))
            return _SUFFIX_ALPHABET[first] + _PAIRS[middle] + _PAIRS[low]
        return "".join(self.choices(_SUFFIX_ALPHABET, k=length))

    def hex(self, digits: int) -> str:
        """Return that many lower-case hexadecimal digits."""
        return f"{self.getrandbits(4 * digits):0{digits}x}"


def derived_uid(salt: bytes, number: int) -> str:
    """Return the UUID of a number: always the same, unlike any other number's or salt's (of at most 64 bytes)."""
    return _uid_text(blake2b(b"%d" % number, digest_size=16, key=salt).hexdigest())


def _uid_text(digits: str) -> str:
    variant = "89ab"[int(digits[-1], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def secret_token(n_bytes: int = 24) -> str:
    """Return an unguessable hexadecimal token from the system's entropy, never from a seed."""
    return os.urandom(n_bytes).hex()
