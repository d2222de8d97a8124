"""Messages whose members stand among those of another message in JSON, and names that JSON spells otherwise."""

import pytest

from kubedyno.kube import protobuf


def block(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    type_meta = block(1, api_version.encode()) + block(2, kind.encode())
    return b"k8s\x00" + block(1, type_meta) + block(2, raw)


def test_an_ingress_rule_s_paths_are_members_of_the_rule():
    path = block(1, b"/x") + block(3, b"Prefix")
    rule = block(1, b"a.b") + block(2, block(1, block(1, path)))
    body = envelope("networking.k8s.io/v1", "Ingress", block(2, block(3, rule)))
    rules = protobuf.decode(body)["spec"]["rules"]
    assert rules == [{"host": "a.b", "http": {"paths": [{"path": "/x", "pathType": "Prefix"}]}}]


@pytest.mark.parametrize(
    "document",
    [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "x"},
            "webhooks": [
                {"name": "a.b.c", "rules": [{"operations": ["CREATE"], "apiGroups": [""], "resources": ["pods"]}]}
            ],
        },
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": "x"},
            "spec": {"config": [{"opaque": {"driver": "d.io", "parameters": {"a": 1}}}]},
        },
    ],
    ids=["webhook", "device"],
)
def test_what_is_encoded_comes_back(document):
    assert protobuf.decode(protobuf.encode(document)) == document
