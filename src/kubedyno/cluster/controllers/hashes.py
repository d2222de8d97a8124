"""Labels that carry the hash of a template, and what tells templates apart.

The hashes themselves are `kube.gohash`'s; they cost some ten times as much as a fingerprint.
"""

from typing import Any
from zlib import crc32

import orjson

HASH_LABEL = "pod-template-hash"
REVISION_LABEL = "controller-revision-hash"


def fingerprint(template: Any) -> int:
    """Return what two equal templates have in common; the order of their members does not matter."""
    return crc32(orjson.dumps(template, option=orjson.OPT_SORT_KEYS))
