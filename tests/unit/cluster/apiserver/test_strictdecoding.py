"""Doubled and unknown members: told in the order in which they are read, as the real server's strict decoder does."""

import pytest

from kubedyno.cluster.apiserver.bodies import in_order
from unit.cluster.apiserver.harness import NS, TOKEN, Api

CONFIGMAPS = f"/api/v1/namespaces/{NS}/configmaps"
TEXT = (
    b'{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "u", "foo": 1}, "data": {"a": "b", "a": "c"}, '
    b'"bar": {"x": 1, "x": 2}, "bar": 2}'
)  # fmt: skip
TOLD = ['unknown field "metadata.foo"', 'duplicate field "data.a"', 'unknown field "bar"']


def test_a_new_object_is_warned_of_in_the_order_of_its_text(api: Api):
    answer = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Warn", TEXT)
    assert answer.status == 201
    assert [text.removeprefix('299 - "')[:-1].replace("\\", "") for text in answer.header("warning")] == TOLD


def test_a_new_object_is_refused_in_the_order_of_its_text(api: Api):
    answer = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Strict", TEXT)
    what = 'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
    assert (answer.status, answer.json["message"]) == (400, what + ", ".join(TOLD))


def test_what_does_not_fit_its_type_is_told_of_that_alone(api: Api):
    body = b'{"metadata": {"name": "u"}, "data": {"a": "b", "a": 1}}'
    answer = api.call("POST", f"{CONFIGMAPS}?fieldValidation=Strict", body)
    assert "cannot unmarshal number" in answer.json["message"]
    assert "duplicate" not in answer.json["message"]


@pytest.mark.parametrize("media", ["merge-patch", "strategic-merge-patch"])
def test_a_patch_is_refused_with_what_its_text_and_its_result_have(api: Api, media):
    api.call("POST", CONFIGMAPS, {"metadata": {"name": "c"}})
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": f"application/{media}+json"}
    path = f"{CONFIGMAPS}/c?fieldValidation=Strict"
    answer = api.call("PATCH", path, b'{"data": {"q": "1", "q": "2"}, "nope": 1}', headers)
    assert answer.status == 422
    told = 'strict decoding error: duplicate field "data.q", unknown field "nope"'
    assert answer.json["message"].endswith(told)
    answer = api.call("PATCH", path, b'{"data": {"q": "1", "q": "2"}}', headers)
    assert answer.json["message"].endswith('strict decoding error: duplicate field "data.q"')


def test_members_of_list_items_have_their_place():
    body = b'{"l": [{"a": 1}, {"b": 1, "a": 1, "a": 2}], "c": 1}'
    assert in_order(body, ["l[1].a"], ["c", "l[1].b"]) == [
        'unknown field "l[1].b"', 'duplicate field "l[1].a"', 'unknown field "c"',
    ]  # fmt: skip


def test_times_that_a_status_leaves_out_are_null_as_go_writes_them(api: Api):
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/merge-patch+json"}
    api.call("POST", "/api/v1/nodes", {"metadata": {"name": "n"}})
    body = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    (found,) = api.call("PATCH", "/api/v1/nodes/n/status", body, headers).json["status"]["conditions"]
    assert found == {"type": "Ready", "status": "True", "lastHeartbeatTime": None, "lastTransitionTime": None}
