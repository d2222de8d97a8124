"""Hashes of templates, in the alphabet of Kubernetes' names.

The numbers are not Kubernetes' (it hashes Go's print of the structure); the form is: the decimal digits of 32 bits,
each as a letter or digit that makes no words.
"""

from typing import Any
from zlib import crc32

import orjson

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SAFE = str.maketrans({chr(c): _ALPHABET[c % len(_ALPHABET)] for c in range(ord("0"), ord("9") + 1)})
HASH_LABEL = "pod-template-hash"
REVISION_LABEL = "controller-revision-hash"


def template_hash(template: Any, collisions: int = 0) -> str:
    """Return the hash of a template, e.g. "6bcd64c5d4".

    Args:
        template: Any JSON; the order of members does not matter.
        collisions: The owner's collisionCount: another one gives another hash.
    """
    data = orjson.dumps(template, option=orjson.OPT_SORT_KEYS)
    if collisions:
        data += str(collisions).encode()
    return str(crc32(data)).translate(_SAFE)
