"""certificates.k8s.io: requests for certificates, and their approval."""

import base64
from types import MappingProxyType
from typing import Any

from kubedyno.base.times import human_duration
from kubedyno.cluster.registry.cells import NONE, age
from kubedyno.cluster.registry.kind import Kind, Object
from kubedyno.cluster.registry.kinds.rules import repeated, unchanged
from kubedyno.kube.names import problems_of_dns1123_subdomain, problems_of_path_segment
from kubedyno.kube.resources import CERTIFICATESIGNINGREQUESTS
from kubedyno.kube.status import Cause, duplicate, forbidden, forbidden_field, invalid_value, not_supported, required

_USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
_CLIENT_SIGNER, _MASTERS = "kubernetes.io/kube-apiserver-client", "system:masters"
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_SIGNER_TEXT = "must be a fully qualified domain and path of the form 'example.com/signer-name'"
_MIN_EXPIRATION_S = 600
# What the subresource approval alone sets.
_DECISIONS = ("Approved", "Denied")
_CONDITIONS = ("Approved", "Denied", "Failed")


class CertificateSigningRequests(Kind):
    """certificates.k8s.io/v1 CertificateSigningRequest."""

    metadata_checks = "wu"
    name_problems = staticmethod(problems_of_path_segment)
    has_status = True
    # What is asked for stays as it is, and conditions are the approver's.
    unowned = MappingProxyType(
        {"": {"f:spec": {}}, "status": {"f:status": {"f:conditions": {}}}, "approval": {"f:spec": {}}}
    )
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
        again = {i for i, _ in repeated(usages)}
        for i, usage in enumerate(usages):
            if usage not in _USAGES:
                causes.append(not_supported(f"spec.usages[{i}]", usage, _USAGES))
            elif i in again:
                causes.append(duplicate(f"spec.usages[{i}]", usage))
        causes += _signer(spec["signerName"])
        seconds = spec.get("expirationSeconds")
        if seconds is not None and seconds < _MIN_EXPIRATION_S:
            text = "may not specify a duration less than 600 seconds (10 minutes)"
            causes.append(invalid_value("spec.expirationSeconds", seconds, text))
        return causes + _conditions(obj.get("status", {}).get("conditions", ()))

    def prepare_status(self, obj: Object, old: Object) -> Object:
        new = super().prepare_status(obj, old)
        # Who may write the status may not approve: such conditions stay as they are.
        given = [c for c in new["status"].get("conditions", ()) if c.get("type") not in _DECISIONS]
        held = [c for c in old.get("status", {}).get("conditions", ()) if c.get("type") in _DECISIONS]
        _set_conditions(new, [*held, *given])
        return new

    def prepare_part(self, subresource: str, obj: Object, old: Object) -> Object:
        _ = subresource
        metadata = {**old["metadata"], "resourceVersion": obj["metadata"].get("resourceVersion", "")}
        new = {**old, "metadata": metadata, "status": dict(old.get("status", {}))}
        _set_conditions(new, obj.get("status", {}).get("conditions", []))
        return new

    def validate_part(self, subresource: str, obj: Object, old: Object) -> list[Cause]:
        _ = subresource
        conditions = obj["status"].get("conditions", [])
        return _conditions(conditions) + _changes(conditions, old.get("status", {}).get("conditions", []), _DECISIONS)

    def stamp(self, obj: Object, old: Object, now: str) -> None:
        before = {c.get("type"): c for c in old.get("status", {}).get("conditions", ())}
        for condition in obj.get("status", {}).get("conditions", ()):
            was = before.get(condition.get("type"), {})
            same = was.get("status") == condition.get("status")
            since = was.get("lastTransitionTime") if same else None
            condition["lastUpdateTime"] = condition.get("lastUpdateTime") or now
            condition["lastTransitionTime"] = condition.get("lastTransitionTime") or since or now

    def sign(self, obj: Object, user: str, uid: str, groups: list[str], extra: dict[str, list[str]]) -> None:
        spec = obj["spec"]
        for name, value in (("username", user), ("uid", uid), ("groups", groups), ("extra", extra)):
            spec.pop(name, None)
            if value:
                spec[name] = value

    def validate_update(self, obj: Object, old: Object) -> list[Cause]:
        return unchanged("spec", obj["spec"], old["spec"])

    def validate_status(self, obj: Object, old: Object) -> list[Cause]:
        given = obj.get("status", {}).get("certificate")
        if given and given != old.get("status", {}).get("certificate") and _CERTIFICATE not in _decoded(given):
            text = "must contain at least one CERTIFICATE PEM block"
            return [invalid_value("status.certificate", "<certificate data>", text)]
        conditions = obj.get("status", {}).get("conditions", [])
        return _conditions(conditions) + _changes(conditions, old.get("status", {}).get("conditions", []), ("Failed",))

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


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def check_subject(obj: Object) -> None:
    """Let nobody have a certificate of the API server's clients signed that says "system:masters".

    Raises:
        Forbidden: Its request does.
    """
    spec = obj["spec"]
    if spec.get("signerName") != _CLIENT_SIGNER:
        return
    # Imported with the first such request: it takes its time.
    from cryptography import x509  # noqa: PLC0415

    try:
        subject = x509.load_pem_x509_csr(_decoded(spec.get("request") or "")).subject
    except (ValueError, x509.InvalidVersion):
        return
    groups = [str(part.value) for part in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
    if _MASTERS in groups:
        why = f"use of {_CLIENT_SIGNER} signer with {_MASTERS} group is not allowed"
        raise forbidden(CERTIFICATESIGNINGREQUESTS, obj["metadata"].get("name", ""), why)


def _request(text: str | None) -> list[Cause]:
    path = "spec.request"
    if b"-----BEGIN CERTIFICATE REQUEST-----" not in _decoded(text or ""):
        return [invalid_value(path, text, "PEM block type must be CERTIFICATE REQUEST")]
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


def _set_conditions(obj: Object, conditions: list[Object]) -> None:
    if conditions:
        obj["status"] = {**obj["status"], "conditions": conditions}
    else:
        obj["status"].pop("conditions", None)


def _changes(new: list[Object], old: list[Object], may_add: tuple[str, ...]) -> list[Cause]:
    """Return what may not change: decisions stay, and each is made by its own subresource."""
    causes = []
    for kind in _CONDITIONS:
        now, before = ([c for c in of if c.get("type") == kind] for of in (new, old))
        if len(now) < len(before):
            text = f'updates may not remove a condition of type "{kind}"'
        elif len(now) > len(before) and kind not in may_add:
            text = f'updates may not add a condition of type "{kind}"'
        elif len(now) == len(before) and now != before:
            text = f'updates may not modify a condition of type "{kind}"'
        else:
            continue
        causes.append(forbidden_field("status.conditions", text))
    return causes
