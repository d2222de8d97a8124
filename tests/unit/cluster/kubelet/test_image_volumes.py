"""Volumes that are images: pulled with the pod's credentials, mounted with a sub path, counted."""

from typing import Any

import pytest

from kubedyno.kube.resources import SECRETS

from .conftest import Sim
from .test_private_images import IMAGE, NO_CREDENTIALS, private, secret

DATA = "quay.io/data/models:v2"


def start(
    sim: Sim, name: str = "p", reference: str = DATA, policy: str = "IfNotPresent", **more: Any
) -> dict[str, Any]:
    mount = {"name": "data", "mountPath": "/data", **more.pop("mount", {})}
    container = {"volumeMounts": [mount], **more.pop("container", {})}
    volume = {"name": "data", "image": {"reference": reference, "pullPolicy": policy}}
    sim.create(name, container=container, volumes=[volume], **more)
    sim.run(0.1)
    state: dict[str, Any] = sim.pod(name)["containerStatuses"][0]["state"]
    return state


def counts(sim: Sim) -> list[int]:
    return [value for _, _, value in sim.nodes.counters("n0")]


def test_it_is_pulled_before_the_container_and_mounted(sim: Sim) -> None:
    assert "running" in start(sim)
    texts = [text for _, text in sim.events() if "image" in text]
    assert texts[0] == f'Pulling image "{DATA}"'
    assert texts[2] == 'Pulling image "nginx:1"'
    assert counts(sim) == [1, 1, 0]
    assert [name for name, _, _ in sim.nodes.counters("n0")] == [
        "kubelet_image_volume_requested_total",
        "kubelet_image_volume_mounted_succeed_total",
        "kubelet_image_volume_mounted_errors_total",
    ]


@pytest.mark.parametrize("speed", [0, 1])
def test_one_that_cannot_be_pulled_holds_up_who_mounts_it(make: Any, speed: float) -> None:
    sim = make(speed=speed)
    private(sim)
    secret(sim, "pull")
    mounting = {"name": "mounting", "image": "nginx:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    volume = {"name": "data", "image": {"reference": IMAGE, "pullPolicy": "IfNotPresent"}}
    sim.create(containers=[mounting, {"name": "other", "image": "nginx:1"}], volumes=[volume])
    sim.run(7)
    first, second = (status["state"] for status in sim.pod()["containerStatuses"])
    assert first["waiting"]["reason"] == "ImagePullBackOff"
    assert first["waiting"]["message"].endswith(NO_CREDENTIALS)
    assert "running" in second
    assert counts(sim) == [1, 0, 0]
    assert any(text in {"Error: ErrImagePull", "Error: ImagePullBackOff"} for _, text in sim.events())
    # As soon as the registry lets anybody have it, the container begins.
    sim.trusted.delete(SECRETS, "kube-system/corp")
    sim.run(40)
    assert sim.pod()["phase"] == "Running"
    assert counts(sim) == [1, 1, 0]


def test_its_pull_policy_counts(sim: Sim) -> None:
    assert start(sim, policy="Never")["waiting"] == {
        "reason": "ErrImageNeverPull",
        "message": f'Container image "{DATA}" is not present with pull policy of Never',
    }


def test_a_sub_path_that_is_there(sim: Sim) -> None:
    annotations = {"kubedyno.io/image-paths": "models/v1, docs"}
    for number, path in enumerate(("models", "models/v1", "docs")):
        assert "running" in start(sim, f"p{number}", mount={"subPath": path}, annotations=annotations)


def test_one_that_is_not_fails_the_creation(sim: Sim) -> None:
    state = start(sim, mount={"subPath": "model"}, annotations={"kubedyno.io/image-paths": "models"})
    waiting = state["waiting"]
    assert waiting["reason"] == "CreateContainerError"
    head, tail = (
        'failed to mount image volume: ImageVolumeMountFailed: failed to ensure image subpath "model" in "/run/',
        ('": openat model: no such file or directory'),
    )
    assert waiting["message"].startswith(head)
    assert waiting["message"].endswith(tail)
    assert ("Failed", f"Error: {waiting['message']}") in sim.events()
    assert counts(sim) == [1, 0, 1]
    sim.run(16)
    assert counts(sim)[2] == 2


def test_a_sub_path_of_variables(sim: Sim) -> None:
    env = [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "WHERE", "value": "of-$(POD)"},
    ]
    annotations = {"kubedyno.io/image-paths": "of-p"}
    for name, word in (("p", "running"), ("q", "waiting")):
        more: dict[str, Any] = {"mount": {"subPathExpr": "$(WHERE)"}, "container": {"env": env}}
        assert word in start(sim, name, annotations=annotations, **more)


def test_a_variable_that_there_is_not(sim: Sim) -> None:
    waiting = start(sim, mount={"subPathExpr": "$(NONE)"})["waiting"]
    assert (waiting["reason"], waiting["message"]) == ("CreateContainerConfigError", 'missing value for "NONE"')
