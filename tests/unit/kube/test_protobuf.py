"""Messages whose members stand among those of another message in JSON, and names that JSON spells otherwise."""

from typing import Any

import pytest

from kubedyno.kube import protobuf, protobuftypes


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
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "x"},
            "spec": {
                "versions": [
                    {
                        "name": "v1",
                        "schema": {
                            "openAPIV3Schema": {
                                "$ref": "#/a",
                                "type": "object",
                                "default": {"a": [1, None]},
                                "x-kubernetes-preserve-unknown-fields": True,
                                "x-kubernetes-validations": [{"rule": "self.a > 1"}],
                                "properties": {
                                    "a": {"items": {"type": "string", "maxLength": 3}, "minimum": 0.5},
                                    "b": {"items": [{"type": "string"}, {"type": "integer"}]},
                                    "c": {"additionalProperties": False},
                                    "d": {"additionalProperties": {"enum": ["a", 1]}},
                                    "e": {"dependencies": {"x": ["y", "z"], "y": {"nullable": True}}},
                                },
                            }
                        },
                    }
                ],
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "x"},
            "spec": {"storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "x", "creationTimestamp": "2026-11-18T10:06:40Z", "labels": {"": "", "a": "b"}},
            "spec": {"replicas": 0, "strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": -1}}},
        },
    ],
    ids=["webhook", "device", "definition", "no class", "rollout"],
)
def test_what_is_encoded_comes_back(document):
    found = protobuf.decode(protobuf.encode(document))
    assert_holds(found, document)
    # What came along is what Go has where nothing is set.
    assert protobuf.encode(found) == protobuf.encode(document)


def assert_holds(found: Any, document: Any) -> None:
    if isinstance(document, dict):
        for name, member in document.items():
            assert_holds(found[name], member)
    elif isinstance(document, list):
        assert len(found) == len(document)
        for one, other in zip(found, document, strict=True):
            assert_holds(one, other)
    else:
        assert found == document


def test_what_is_no_pointer_is_written_when_it_is_zero_in_the_order_of_its_numbers():
    container = {"tty": None, "image": "i", "name": "c"}
    document = {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]}}
    texts = block(1, b"c") + block(2, b"i") + block(5, b"") + block(8, b"") + block(13, b"") + block(14, b"")
    flags = bytes([0x80, 1, 0, 0x88, 1, 0, 0x90, 1, 0])
    assert block(2, texts + flags + bytes([0xA2, 1, 0])) in protobuf.encode(document)


def test_what_a_client_sends_unset_is_unset():
    """Go writes every text that is no pointer: an empty name, a zero generation."""
    metadata = block(1, b"") + block(3, b"") + bytes([7 << 3, 0]) + block(8, b"")
    assert protobuf.decode(envelope("v1", "ConfigMap", block(1, metadata)))["metadata"] == {}


@pytest.mark.parametrize(
    "raw",
    [
        b"\x0a",
        b"\x0a\x05ab",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x08\x01",
        b"\x0b",
        b"\x12\x03\x0a\x01\xff",
    ],
    ids=["no length", "too short", "no number", "another type", "a group", "no text"],
)
def test_bytes_that_are_no_message_are_refused(raw):
    with pytest.raises(protobuftypes.ProtobufError):
        protobuf.decode(envelope("v1", "ConfigMap", raw))


def test_a_kind_of_somebody_else_s_group_has_no_message():
    with pytest.raises(protobuftypes.ProtobufError):
        protobuf.encode({"apiVersion": "apps.example.com/v1", "kind": "Deployment", "metadata": {"name": "x"}})
