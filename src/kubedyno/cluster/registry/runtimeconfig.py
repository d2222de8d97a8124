"""Which versions of the built-in APIs are served: kube-apiserver's --runtime-config, keys and meaning.

Keys are `api/all`, `api/ga`, `api/beta`, `api/alpha`, a group and version, or these and a resource; what says more wins. What
is switched off is hidden from clients alone: the cluster's own parts go on. Beta and alpha versions that look as v1 does
are other names of the same objects.
"""

import re
from collections.abc import Mapping

from kubedyno.base.errors import KubedynoError
from kubedyno.kube.resources import ALL, Resource, by_plural

_STAGES = {
    "api/ga": re.compile(r"v\d+"),
    "api/beta": re.compile(r"v\d+beta\d+"),
    "api/alpha": re.compile(r"v\d+alpha\d+"),
}
_ALL = "api/all"
# What strconv.ParseBool takes; nothing after the key means true.
_VALUES = {
    **dict.fromkeys(("", "1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
# Whose objects have the fields of v1, and the minor version in which each came.
_AS_V1 = {
    "admissionregistration.k8s.io/v1beta1": 34,
    "networking.k8s.io/v1beta1": 31,
    "resource.k8s.io/v1beta2": 33,
    "storage.k8s.io/v1beta1": 31,
    "admissionregistration.k8s.io/v1alpha1": 32,
}
# A version is deprecated and removed so many minor versions after it came.
_DEPRECATED_AFTER, _REMOVED_AFTER = 3, 6


def parse(text: str, where: str = "--runtime-config") -> dict[str, bool]:
    """Return what a flag says, e.g. "api/beta=true,apps/v1=false".

    Raises:
        KubedynoError: A value is none, or a key is unknown.
    """
    pairs = (part.partition("=") for part in filter(None, (word.strip() for word in text.split(","))))
    return checked({key.strip(): value.strip() for key, _, value in pairs}, where)


def checked(given: Mapping[str, str], where: str) -> dict[str, bool]:
    """Return keys and what they say, as the real server takes them.

    Raises:
        KubedynoError: A value is none, or a key is unknown.
    """
    said: dict[str, bool] = {}
    for key, value in given.items():
        if value not in _VALUES:
            raise KubedynoError(f"{where}: invalid value of {key}: {value}: write true or false")
        said[key] = _VALUES[value]
    if said == {_ALL: False}:
        raise KubedynoError(f"{where}: invalid key with only {_ALL}=false: nothing would be served")
    keys = [key for key in said if key != _ALL and key not in _STAGES]
    groups = {r.group for r in ALL}
    parts = {key: _split(key, where) for key in keys}
    unknown = sorted({group for group, _, _ in parts.values()} - groups)
    if unknown:
        raise KubedynoError(f"{where}: unknown api groups {','.join(unknown)}")
    for key, (group, version, plural) in parts.items():
        api_version = f"{group}/{version}" if group else version
        versions = {r.version for r in ALL if r.group == group}
        if version not in versions:
            known = ", ".join(sorted(versions))
            raise KubedynoError(
                f"{where}: group version {api_version} that has not been registered; versions of {group or 'v1'}: {known}"
            )
        if plural and by_plural(group, version, plural) is None:
            raise KubedynoError(f"{where}: {key}: {api_version} has no resource {plural}")
    return said


def _split(key: str, where: str) -> tuple[str, str, str]:
    """Return group, version and resource of a key."""
    parts = key.split("/")
    if parts[0] == "v1":
        parts = ["", *parts]
    if len(parts) not in {2, 3} or not all(parts[1:]):
        raise KubedynoError(f"{where}: invalid key {key}: write GROUP/VERSION, api/all, api/ga, api/beta or api/alpha")
    return parts[0], parts[1], parts[2] if len(parts) > 2 else ""


class RuntimeConfig:
    """What a configuration says.

    Args:
        said: Key → on or off.
    """

    def __init__(self, said: Mapping[str, bool]) -> None:
        self._said = said

    def enables(self, resource: Resource) -> bool:
        """Say whether a built-in resource is to be served."""
        said = self._said
        for key in (f"{resource.api_version}/{resource.plural}", resource.api_version):
            if key in said:
                return said[key]
        stage = next((key for key, form in _STAGES.items() if form.fullmatch(resource.version)), "")
        if stage in said:
            return said[stage]
        return said.get(_ALL, stage == "api/ga")

    def hides(self, resource: Resource) -> bool:
        """Say whether a resource, built in or not, is kept from clients."""
        return bool(self._said) and self._is_built_in(resource) and not self.enables(resource)

    def more(self) -> list[tuple[Resource, Resource]]:
        """Return the resources that are served beside those of v1, each with the one whose objects it shows."""
        found: list[tuple[Resource, Resource]] = []
        for api_version in _AS_V1 if self._said else ():
            for resource in ALL:
                of = by_plural(resource.group, "v1", resource.plural)
                if resource.api_version == api_version and of is not None and self.enables(resource):
                    found.append((resource, of))
        return found

    def unserved(self) -> list[str]:
        """Return what is asked for and not served here, e.g. "coordination.k8s.io/v1beta1 (leasecandidates)"."""
        served = {id(resource) for resource, _ in self.more()}
        missing: dict[str, list[str]] = {}
        for resource in ALL if self._said else ():
            ga = _STAGES["api/ga"].fullmatch(resource.version)
            if not ga and id(resource) not in served and self.enables(resource):
                missing.setdefault(resource.api_version, []).append(resource.plural)
        return [f"{api_version} ({', '.join(plurals)})" for api_version, plurals in missing.items()]

    def _is_built_in(self, resource: Resource) -> bool:
        return by_plural(resource.group, resource.version, resource.plural) is resource


def deprecation_of(resource: Resource, minor: int) -> str:
    """Return what the real server warns of a version that is served on demand, "" for nothing yet."""
    since = _AS_V1[resource.api_version]
    if minor < since + _DEPRECATED_AFTER:
        return ""
    return (
        f"{resource.api_version} {resource.kind} is deprecated in v1.{since + _DEPRECATED_AFTER}+, "
        f"unavailable in v1.{since + _REMOVED_AFTER}+"
    )
