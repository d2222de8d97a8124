"""certificates.k8s.io: requests for certificates, and their approval."""

import base64
from typing import Any

from kubedyno.base.times import human_duration
from kubedyno.cluster.registry.cells import NONE, age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import unchanged
from kubedyno.kube.names import problems_of_dns1123_subdomain
from kubedyno.kube.status import Cause, duplicate, invalid_value, not_supported, required

_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
_SIGNER_TEXT = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
_MIN_EXPIRATION_S = 600
_CONDITIONS = ("Approved", "Denied", "Failed")


class CertificateSigningRequests(Kind):
    """certificates.k8s.io/v1 CertificateSigningRequest."""

    has_status = True
    field_paths = ("spec.signerName",)

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("request", None)
        spec.setdefault("signerName", "")

    def prepare_update(self, obj: Object, old: Object) -> None:
        super().prepare_update(obj, old)
        # The spec is what was asked: it never changes.
        obj["spec"] = old["spec"]

    def validate(self, obj: Object) -> list[Cause]:
        spec = obj["spec"]
        causes = _request(spec["request"])
        usages = spec.get("usages", [])
        if not usages:
            causes.append(required("spec.usages"))
        for i, usage in enumerate(usages):
            if usage not in _USAGES:
                causes.append(not_supported(f"spec.usages[{i}]", usage, _USAGES))
            elif usage in usages[:i]:
                causes.append(duplicate(f"spec.usages[{i}]", usage))
        causes += _signer(spec["signerName"])
        seconds = spec.get("expirationSeconds")
        if seconds is not None and seconds < _MIN_EXPIRATION_S:
            text = "may not specify a duration less than 600 seconds (10 minutes)"
            causes.append(invalid_value("spec.expirationSeconds", seconds, text))
        return causes + _conditions(obj.get("status", {}).get("conditions", ()))

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return unchanged("spec", obj["spec"], old["spec"])

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        _ = old
        return _conditions(obj.get("status", {}).get("conditions", ()))

    def cells(self, obj: Object, now_s: float) -> list[Any]:
        spec = obj.get("spec", {})
        seconds = spec.get("expirationSeconds")
        return [
            obj["metadata"]["name"],
            age(obj, now_s),
            spec.get("signerName") or NONE,
            spec.get("username", ""),
            NONE if seconds is None else human_duration(seconds),
            _state(obj.get("status", {})),
        ]


def _state(status: Object) -> str:
    kinds = {c.get("type") for c in status.get("conditions", ())}
    text = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    if "Failed" in kinds:
        text += ",Failed"
    if status.get("certificate"):
        text += ",Issued"
    return text


def _request(text: str | None) -> list[Cause]:
    path = "spec.request"
    try:
        pem = base64.b64decode(text or "", validate=True)
    except ValueError:
        pem = b""
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in pem:
        return [invalid_value(path, [], "PEM block type must be CERTIFICATE REQUEST")]
    return []


def _signer(name: str) -> list[Cause]:
    path = "spec.signerName"
    if not name:
        return [required(path)]
    if name.count("/") != 1:
        return [invalid_value(path, name, _SIGNER_TEXT)]
    domain, _, rest = name.partition("/")
    causes = [
        invalid_value(path, name, f"validating label {label!r}: {problem}".replace("'", '"', 2))
        for label, problems in ((domain, problems_of_dns1123_subdomain(domain)),)
        for problem in problems
    ]
    if len(domain.split(".")) < 2:
        causes.append(invalid_value(path, name, "should be a domain with at least two segments separated by dots"))
    causes += [invalid_value(path, name, problem) for problem in problems_of_dns1123_subdomain(rest.replace(":", "-"))]
    return causes


def _conditions(conditions: Any) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for i, condition in enumerate(conditions):
        path, kind, status = f"status.conditions[{i}]", condition.get("type", ""), condition.get("status", "")
        if not kind:
            causes.append(required(f"{path}.type"))
        if not status:
            causes.append(required(f"{path}.status"))
        elif kind in _CONDITIONS and status != "True":
            causes.append(not_supported(f"{path}.status", status, ("True",)))
        if kind in seen:
            causes.append(duplicate(f"{path}.type", kind))
        seen.add(kind)
    if {"Approved", "Denied"} <= seen:
        causes.append(
            invalid_value("status.conditions", "Denied", "Approved and Denied conditions are mutually exclusive")
        )
    return causes
