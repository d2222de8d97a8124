"""Versions of API groups, in the order in which Kubernetes prefers them."""

import re

_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?\Z")


def priority(version: str) -> tuple[int, int, int, str]:
    """Return what versions of a group are sorted by: v2, v1, v1beta2, v1beta1, v1alpha1, then other names."""
    found = _VERSION.match(version)
    if found is None:
        return 3, 0, 0, version
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return stage, -int(found[1]), -int(found[3] or 0), version
