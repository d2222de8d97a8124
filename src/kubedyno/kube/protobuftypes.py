r"""What the messages of Kubernetes' protobuf are made of, and where their JSON is another than their fields.

Field numbers and types come from `data/protobuf.json`: message → number → [name, type, "o" optional | "r" repeated |
"m" map].
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson

from kubedyno.kube.resources import ALL

_FILE = Path(__file__).parent / "data" / "protobuf.json"
META = "k8s.io.apimachinery.pkg.apis.meta.v1."
EXTENSIONS = "k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1."
SCALARS = frozenset(("string", "bytes", "bool", "int32", "int64", "double"))
# Messages whose JSON stands among the fields of the message that holds them.
_INLINE = frozenset({
    "volumeSource", "persistentVolumeSource", "handler", "ephemeralContainerCommon", "localObjectReference",
    "ingressRuleValue", "ruleWithOperations", "rule", "deviceConfiguration",
})  # fmt: skip
# Wire names that are not the JSON's.
_JSON_NAMES = {"Webhooks": "webhooks", "Expression": "expression", "Name": "name", "uID": "uid", "aPIGroup": "apiGroup"}
_SCHEMA_NAMES = {
    "schema": "$schema",
    "ref": "$ref",
    "xKubernetesPreserveUnknownFields": "x-kubernetes-preserve-unknown-fields",
    "xKubernetesEmbeddedResource": "x-kubernetes-embedded-resource",
    "xKubernetesIntOrString": "x-kubernetes-int-or-string",
    "xKubernetesListMapKeys": "x-kubernetes-list-map-keys",
    "xKubernetesListType": "x-kubernetes-list-type",
    "xKubernetesMapType": "x-kubernetes-map-type",
    "xKubernetesValidations": "x-kubernetes-validations",
}
_NAMES_OF = {f"{EXTENSIONS}JSONSchemaProps": _SCHEMA_NAMES}
# Types whose JSON is the list inside them.
FLATTENED = {
    "k8s.io.api.authentication.v1.ExtraValue": "items",
    "k8s.io.api.authorization.v1.ExtraValue": "items",
    "k8s.io.api.certificates.v1.ExtraValue": "items",
    f"{META}Verbs": "items",
}


class ProtobufError(ValueError):
    """Bytes that are no message of that type, or an object that has no protobuf form."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a message.

    Attributes:
        number: On the wire.
        name: In JSON.
        scalar: The wire type's name, "" for a message. Of a map: of its values.
        message: The full name of a message, "" for a scalar. Of a map: of its values.
        repeated: A list.
        mapped: A mapping of texts.
        inline: Its members stand among those of the message that holds it.
    """

    number: int
    name: str
    scalar: str
    message: str
    repeated: bool
    mapped: bool
    inline: bool


@cache
def _built_in() -> frozenset[tuple[str, str]]:
    return frozenset((resource.group, resource.kind) for resource in ALL)


@cache
def _table() -> dict[str, dict[str, list[str]]]:
    table: dict[str, dict[str, list[str]]] = orjson.loads(_FILE.read_bytes())
    return table


@cache
def fields_of(message: str) -> tuple[Field, ...]:
    """Return a message's fields, by number.

    Raises:
        ProtobufError: There is no such message.
    """
    entries = _table().get(message)
    if entries is None:
        raise ProtobufError(f"unknown message {message}")
    names = _NAMES_OF.get(message, _JSON_NAMES)
    found = []
    for number in sorted(entries, key=int):
        name, kind, label = entries[number]
        mapped = label == "m"
        if mapped:
            kind = kind[4:-1].partition(",")[2].strip()
        inner = "" if kind in SCALARS else _full_name(message, kind)
        scalar = "" if inner else kind
        inline = bool(inner) and name in _INLINE
        found.append(Field(int(number), names.get(name, name), scalar, inner, label == "r", mapped, inline))
    return tuple(found)


def _full_name(inside: str, name: str) -> str:
    return name[1:] if name.startswith(".") else f"{inside.rpartition('.')[0]}.{name}"


@cache
def message_of(api_version: str, kind: str) -> str:
    """Return the message of a kind.

    Raises:
        ProtobufError: The kind has none.
    """
    group, _, version = api_version.rpartition("/")
    package, _, domain = group.partition(".")
    names = [f"{META}{kind}"]
    if not domain or domain.endswith("k8s.io"):
        names = [
            f"k8s.io.api.{package or 'core'}.{version}.{kind}",
            *names,
            f"k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.{version}.{kind}",
            f"k8s.io.kube_aggregator.pkg.apis.apiregistration.{version}.{kind}",
        ]
    for name in names:
        if name in _table():
            return name
    # What was to become the v1 of a built-in kind has its messages: fields keep their numbers from version to version.
    final = f"k8s.io.api.{package}.v1.{kind}"
    if (group, kind) in _built_in() and final in _table():
        return final
    raise ProtobufError(f"no protobuf message for {kind} of {api_version}")


def struct_of(message: str) -> str:
    """Return the name in the vocabulary of what a message carries."""
    package, _, name = message.rpartition(".")
    if package.startswith("k8s.io.api."):
        return f"{package.removeprefix('k8s.io.api.')}.{name}"
    if package.startswith("k8s.io.apimachinery."):
        return f"{'.'.join(package.split('.')[-2:])}.{name}"
    return f"{package.removeprefix('k8s.io.').replace('_', '-')}.{name}"
