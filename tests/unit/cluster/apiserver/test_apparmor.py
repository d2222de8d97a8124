"""AppArmor's old annotations beside the field, and mirror pods that no kubelet has made."""

import pytest

from kubedyno.base import aio
from kubedyno.cluster.registry.templates import Templates
from unit.cluster.apiserver.harness import NS, running

PATH = f"/api/v1/namespaces/{NS}/pods"
KEY = "container.apparmor.security.beta.kubernetes.io/"
MATCH = "apparmor profile in annotation and field must match"
PINNED = "must set spec.nodeName if mirror pod annotation is set"
DEPRECATED = 'deprecated since v1.30; use the \\"appArmorProfile\\" field instead'


def asked(annotations, **spec):
    """Return the answer to a pod with an init container c and containers a and b."""

    async def inside():
        async with running() as api:
            containers = [{"name": name, "image": "i"} for name in "ab"]
            whole = {"containers": containers, "initContainers": [{"name": "c", "image": "i"}], **spec}
            return api.call("POST", PATH, {"metadata": {"name": "p", "annotations": annotations}, "spec": whole})

    return aio.run(inside())


def test_an_annotation_becomes_the_field_and_is_warned_of():
    answer = asked({f"{KEY}a": "unconfined", f"{KEY}b": "runtime/default", f"{KEY}c": "localhost/x"})
    spec = answer.json["spec"]
    profiles = [c["securityContext"]["appArmorProfile"] for c in (*spec["initContainers"], *spec["containers"])]
    assert profiles == [
        {"type": "Localhost", "localhostProfile": "x"}, {"type": "Unconfined"}, {"type": "RuntimeDefault"},
    ]  # fmt: skip
    assert answer.header("warning") == [f'299 - "metadata.annotations[{KEY}{name}]: {DEPRECATED}"' for name in "cab"]


@pytest.mark.parametrize(("annotation", "warned"), [("localhost/", True), ("", True), ("runtime/default", False)])
def test_what_names_no_profile_or_that_of_the_pod_sets_none(annotation, warned):
    answer = asked({f"{KEY}a": annotation}, securityContext={"appArmorProfile": {"type": "RuntimeDefault"}})
    if warned:
        assert answer.header("warning") != []
    else:
        assert answer.status == 201
        assert answer.header("warning") == []
        assert "securityContext" not in answer.json["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("annotations", "profile", "message"),
    [
        ({f"{KEY}a": "bad"}, None, f'metadata.annotations[{KEY}a]: Invalid value: "bad": invalid AppArmor profile name: "bad"'),
        ({f"{KEY}z": "unconfined"}, None, f'metadata.annotations[{KEY}z]: Invalid value: "z": container not found'),
        ({f"{KEY}a": "unconfined"}, {"type": "RuntimeDefault"},
         "spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match"),
        ({f"{KEY}a": "localhost/x"}, {"type": "Localhost", "localhostProfile": "y"},
         f"spec.containers[0].securityContext.appArmorProfile.localhostProfile: Forbidden: {MATCH}"),
        ({"kubernetes.io/config.mirror": "x"}, None,
         f'metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": {PINNED}'),
    ],
)  # fmt: skip
def test_what_an_annotation_may_not_say(annotations, profile, message):
    security = {"securityContext": {"appArmorProfile": profile}} if profile else {}
    answer = asked(annotations, containers=[{"name": "a", "image": "i", **security}])
    assert (answer.status, answer.json["message"]) == (422, f'Pod "p" is invalid: {message}')


def test_pods_of_a_template_have_the_field_too():
    async def inside():
        async with running() as api:
            templates = Templates(api.registry.random, api.registry.classes)
            metadata = {"labels": {"a": "b"}, "annotations": {f"{KEY}a": "unconfined"}}
            return templates.of({"metadata": metadata, "spec": {"containers": [{"name": "a"}]}}, pinned=False)

    assert b'"appArmorProfile":{"type":"Unconfined"}' in b"".join(aio.run(inside()).body)
