"""Kinds that are only kept: ConfigMap, Secret, ServiceAccount, Lease, ControllerRevision."""

import base64
from typing import Any

import orjson

from kubedyno.cluster.registry.accounts import ENFORCE_SECRETS
from kubedyno.cluster.registry.cells import age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import not_negative
from kubedyno.kube import gojson
from kubedyno.kube.names import problems_of_config_key
from kubedyno.kube.status import Cause, forbidden_field, invalid_value, required, too_long

_SSH_KEY = "ssh-privatekey"
_MAX_BYTES = 1 << 20


def _immutable_causes(obj: Object, old: Object, names: tuple[str, ...]) -> list[Cause]:
    """Return what an update changes of an object that is immutable."""
    if not old.get("immutable"):
        return []
    causes = []
    if not obj.get("immutable"):
        causes.append(forbidden_field("immutable", "field is immutable when `immutable` is set"))
    causes += [
        forbidden_field(name, "field is immutable when `immutable` is set")
        for name in names
        if obj.get(name) != old.get(name)
    ]
    return causes


def _no_mapping(text: bytes) -> str:
    """Return what Go has against a text that is to be a JSON mapping, "" when it is one."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return gojson.fault(text) or "unexpected end of JSON input"
    if value is None or isinstance(value, dict):
        return ""
    found = "array" if isinstance(value, list) else "bool" if isinstance(value, bool) else "string"
    found = "number" if type(value) in {int, float} else found
    return f"json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"


class ConfigMaps(Kind):
    """core/v1 ConfigMap."""

    metadata_checks = "uw"

    def validate(self, obj: Object) -> list[Cause]:
        data, binary = obj.get("data", {}), obj.get("binaryData", {})
        causes = []
        size = 0
        for key, text in data.items():
            causes += [invalid_value(f"data[{key}]", key, p) for p in problems_of_config_key(key)]
            if key in binary:
                causes.append(invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData"))
            size += len(text.encode())
        for key, text in binary.items():
            causes += [invalid_value(f"binaryData[{key}]", key, p) for p in problems_of_config_key(key)]
            size += len(text) * 3 // 4
        if size > _MAX_BYTES:
            causes.append(too_long("[]", _MAX_BYTES))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return _immutable_causes(obj, old, ("data", "binaryData")) + self.validate(obj)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        count = len(obj.get("data", ())) + len(obj.get("binaryData", ()))
        return [obj["metadata"]["name"], count, age(obj, now_s)]


_SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_SA_TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type's name
_SA_ANNOTATION = "kubernetes.io/service-account.name"


class Secrets(Kind):
    """core/v1 Secret."""

    metadata_checks = "uw"
    legacy_fields = True
    field_paths = ("type",)

    def default(self, obj: Object) -> None:
        obj.setdefault("type", "Opaque")
        strings = obj.pop("stringData", None)
        if strings:
            data = obj.setdefault("data", {})
            for key, text in strings.items():
                data[key] = base64.b64encode(text.encode()).decode()

    def validate(self, obj: Object) -> list[Cause]:
        data, kind = obj.get("data", {}), obj["type"]
        causes = []
        for key in data:
            causes += [invalid_value(f"data[{key}]", key, p) for p in problems_of_config_key(key)]
        if sum(len(text) * 3 // 4 for text in data.values()) > _MAX_BYTES:
            causes.append(too_long("data", _MAX_BYTES))
        if kind == _SA_TOKEN and not obj["metadata"].get("annotations", {}).get(_SA_ANNOTATION):
            causes.append(required(f"metadata.annotations[{_SA_ANNOTATION}]"))
        if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & set(data):
            causes += [required("data[username]"), required("data[password]")]
        for key in _SECRET_KEYS.get(kind, ()):
            if key not in data or (key == _SSH_KEY and not data[key]):
                causes.append(required(f"data[{key}]"))
            elif key.startswith(".docker"):
                wrong = _no_mapping(base64.b64decode(data[key]))
                if wrong:
                    causes.append(invalid_value(f"data[{key}]", "<secret contents redacted>", wrong))
        return causes

    def warnings(self, obj: Object) -> list[str]:
        certificate = obj.get("data", {}).get("tls.crt")
        if obj.get("type") != "kubernetes.io/tls" or certificate is None:
            return []
        found = b"-----BEGIN " in base64.b64decode(certificate)
        return [] if found else ["tls: failed to find any PEM data in certificate input"]

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = []
        if obj["type"] != old["type"]:
            causes.append(invalid_value("type", obj["type"], "field is immutable"))
        return causes + _immutable_causes(obj, old, ("data",)) + self.validate(obj)

    def prepare_update(self, obj: Object, old: Object) -> None:
        _ = old
        obj.setdefault("type", "Opaque")

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], obj.get("type", ""), len(obj.get("data", ())), age(obj, now_s)]


class ServiceAccounts(Kind):
    """core/v1 ServiceAccount."""

    def prepare_create(self, obj: Object) -> None:
        # Of what its references to secrets say only the names count.
        for secret in obj.get("secrets", ()):
            for member in secret.keys() - {"name"}:
                del secret[member]

    def prepare_update(self, obj: Object, old: Object) -> None:
        _ = old
        self.prepare_create(obj)

    metadata_checks = "uw"
    returns_deleted = True

    def warnings(self, obj: Object) -> list[str]:
        if ENFORCE_SECRETS not in obj["metadata"].get("annotations", {}):
            return []
        why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
        return [f"metadata.annotations[{ENFORCE_SECRETS}]: {why}"]

    def warnings_of_change(self, obj: Object, old: Object) -> list[str]:
        return [] if ENFORCE_SECRETS in old["metadata"].get("annotations", {}) else self.warnings(obj)

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], age(obj, now_s)]


class Leases(Kind):
    """coordination.k8s.io/v1 Lease."""

    standard_finalizers = False
    unconditional_update = False
    create_on_update = True

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def prepare_create(self, obj: Object) -> None:
        # Elections that a coordinator holds are off.
        for name in ("strategy", "preferredHolder"):
            obj["spec"].pop(name, None)

    def prepare_update(self, obj: Object, old: Object) -> None:
        _ = old
        self.prepare_create(obj)

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj.get("spec", {})
        causes = []
        duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
        if duration is not None and duration <= 0:
            causes.append(invalid_value("spec.leaseDurationSeconds", duration, "must be greater than 0"))
        if transitions is not None and transitions < 0:
            causes.append(invalid_value("spec.leaseTransitions", transitions, "must be greater than or equal to 0"))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"]["name"], obj.get("spec", {}).get("holderIdentity", ""), age(obj, now_s)]


class ControllerRevisions(Kind):
    """apps/v1 ControllerRevision."""

    metadata_checks = "uw"

    def default(self, obj: Object) -> None:
        obj.setdefault("revision", 0)

    def validate(self, obj: Object) -> list[Cause]:
        causes = not_negative("revision", obj["revision"])
        if obj.get("data") is None:
            causes.append(required("data", "data is mandatory"))
        elif not isinstance(obj["data"], dict):
            causes.append(required("data", "data must be a valid JSON object"))
        return causes

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        causes = not_negative("revision", obj["revision"])
        # As text: 1 and true are two.
        if orjson.dumps(obj.get("data")) != orjson.dumps(old.get("data")):
            causes.append(invalid_value("data", obj.get("data"), "field is immutable"))
        return causes

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        controller = "<none>"
        for owner in obj["metadata"].get("ownerReferences", ()):
            if owner.get("controller"):
                group = owner.get("apiVersion", "").rpartition("/")[0]
                controller = f"{owner['kind'].lower()}{'.' + group if group else ''}/{owner['name']}"
        return [obj["metadata"]["name"], controller, obj.get("revision", 0), age(obj, now_s)]
