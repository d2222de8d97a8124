"""Requests for certificates: who is approved without asking, what is signed, what is refused, what is cleared away."""

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubedyno.cluster.registry.kinds.certificates import check_subject
from kubedyno.http.tls import Authority
from kubedyno.kube.resources import CERTIFICATESIGNINGREQUESTS as REQUESTS

from .conftest import START_S, Cluster

CLIENT = ["client auth", "digital signature"]
SERVER = ["server auth", "digital signature"]
NODE = "system:node:n1"


@pytest.fixture
def cluster():
    authority = Authority("kubernetes", START_S)
    made = Cluster(ca=(authority.certificate, authority.key))
    made.authority = x509.load_pem_x509_certificate(authority.certificate)
    return made


def pem(name="jane", groups=(), names=()):
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([*subject, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    request = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def ask(cluster, request, signer="kube-apiserver-client", usages=CLIENT, user="jane", groups=(), **spec):
    whole = {
        "request": base64.b64encode(request).decode(), "signerName": f"kubernetes.io/{signer}", "usages": list(usages),
        "username": user, "groups": list(groups), **spec,
    }  # fmt: skip
    cluster.trusted.create(REQUESTS, "", {"metadata": {"name": "r"}, "spec": whole, "status": {}})
    cluster.drain()


def approve(cluster, kind="Approved"):
    record = cluster.store.get(REQUESTS, "r")
    condition = {
        "type": kind,
        "status": "True",
        "reason": "r",
        "message": "m",
        "lastUpdateTime": "2026-11-18T11:06:40Z",
    }
    cluster.trusted.replace_status(REQUESTS, record, {"conditions": [condition]})
    cluster.drain()


def status(cluster):
    return cluster.get(REQUESTS, "r").get("status", {})


def issued(cluster):
    return x509.load_pem_x509_certificate(base64.b64decode(status(cluster)["certificate"]))


def test_an_approved_request_is_signed(cluster):
    ask(cluster, pem("jane", ["dev"]), expirationSeconds=7200)
    assert status(cluster) == {}
    approve(cluster)
    made = issued(cluster)
    made.verify_directly_issued_by(cluster.authority)
    assert made.subject.rfc4514_string() == "CN=jane,O=dev"
    assert list(made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]
    assert made.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert made.not_valid_after_utc.timestamp() == START_S + 7200


def test_a_kubelets_own_request_is_approved_and_signed(cluster):
    ask(cluster, pem(NODE, ["system:nodes"]), "kube-apiserver-client-kubelet", user=NODE, groups=["system:nodes"])
    (condition,) = status(cluster)["conditions"]
    assert (condition["type"], condition["reason"]) == ("Approved", "AutoApproved")
    assert condition["message"] == "Auto approving self kubelet client certificate after SubjectAccessReview."
    assert issued(cluster).subject.rfc4514_string() == f"CN={NODE},O=system:nodes"


def test_a_new_nodes_request_is_approved(cluster):
    token = ["system:bootstrappers:kubeadm:default-node-token"]
    ask(cluster, pem(NODE, ["system:nodes"]), "kube-apiserver-client-kubelet", user="system:bootstrap:x", groups=token)
    (condition,) = status(cluster)["conditions"]
    assert condition["message"] == "Auto approving kubelet client certificate after SubjectAccessReview."


@pytest.mark.parametrize(("user", "groups"), [("system:node:other", ["system:nodes"]), (NODE, []), ("jane", ["dev"])])
def test_nobody_else_is_approved(cluster, user, groups):
    ask(cluster, pem(NODE, ["system:nodes"]), "kube-apiserver-client-kubelet", user=user, groups=groups)
    assert status(cluster) == {}


def test_a_serving_certificate_has_the_names_that_were_asked_for(cluster):
    ask(cluster, pem(NODE, ["system:nodes"], ["n1.example"]), "kubelet-serving", SERVER)
    assert status(cluster) == {}
    approve(cluster)
    names = issued(cluster).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["n1.example"]


def of_version(number):
    request = x509.load_pem_x509_csr(pem()).public_bytes(serialization.Encoding.DER)
    written = base64.encodebytes(request.replace(b"\x02\x01\x00", b"\x02\x01%c" % number, 1)).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{written}-----END CERTIFICATE REQUEST-----\n".encode()


def test_of_a_request_that_nobody_can_read_nobody_asks_for_whom_it_is():
    request = base64.b64encode(of_version(5)).decode()
    check_subject({"metadata": {}, "spec": {"signerName": "kubernetes.io/kube-apiserver-client", "request": request}})


@pytest.mark.parametrize(("request_", "signer", "usages", "words"), [
    (pem(), "kube-apiserver-client", SERVER, "invalid usage for client certificate"),
    (pem(), "kube-apiserver-client-kubelet", CLIENT, "subject organization is not system:nodes"),
    (pem("x", ["system:nodes"]), "kubelet-serving", SERVER, "subject common name does not begin with system:node:"),
    (pem(NODE, ["system:nodes"]), "kubelet-serving", SERVER, "DNS or IP subjectAltName is required"),
    (pem(NODE, ["system:nodes"], ["a"]), "kube-apiserver-client-kubelet", CLIENT, "names are not allowed"),
    (pem(NODE, ["system:nodes"], ["a"]), "kubelet-serving", CLIENT, "usages did not match"),
    (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "legacy-unknown", CLIENT,
     "unable to parse csr"),
    (of_version(5), "kube-apiserver-client", CLIENT, "unable to parse csr: 5 is not a valid CSR version"),
])  # fmt: skip
def test_what_cannot_be_signed_has_failed(cluster, request_, signer, usages, words):
    ask(cluster, request_, signer, usages)
    approve(cluster)
    failed = status(cluster)["conditions"][-1]
    assert (failed["type"], failed["reason"]) == ("Failed", "SignerValidationFailure")
    assert words in failed["message"]
    assert "certificate" not in status(cluster)


def test_denied_ones_and_other_signers_are_left_alone(cluster):
    ask(cluster, pem())
    approve(cluster, "Denied")
    assert "certificate" not in status(cluster)
    cluster.delete(REQUESTS, "r")
    cluster.trusted.create(REQUESTS, "", {"metadata": {"name": "r"}, "spec": {
        "request": base64.b64encode(pem()).decode(), "signerName": "example.com/mine", "usages": CLIENT,
    }, "status": {}})  # fmt: skip
    approve(cluster)
    assert "certificate" not in status(cluster)


def test_old_requests_go(cluster):
    ask(cluster, pem())
    cluster.advance(23 * 3600)
    assert cluster.names(REQUESTS) == ["r"]
    cluster.advance(2 * 3600)
    assert cluster.names(REQUESTS) == []
    ask(cluster, pem())
    record = cluster.store.get(REQUESTS, "r")
    cluster.trusted.replace_status(REQUESTS, record, {"conditions": [{"type": "Denied", "status": "True"}]})
    cluster.advance(3601)
    assert cluster.names(REQUESTS) == []


def test_a_certificate_for_clients_alone_says_nothing_of_its_key(cluster):
    # With a key usage that allows nothing, TLS would refuse it.
    ask(cluster, pem(), usages=["client auth"])
    approve(cluster)
    extensions = issued(cluster).extensions
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.KeyUsage)
    own = cluster.authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == own.digest
