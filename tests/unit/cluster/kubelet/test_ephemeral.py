"""Ephemeral containers: added to a pod that runs, never restarted, no part of its phase."""

from typing import Any

import pytest

from kubedyno.kube.resources import PODS
from kubedyno.kube.status import Invalid

from .conftest import NS, Sim


def debug(sim: Sim, *containers: dict[str, Any], name: str = "p") -> None:
    def added(pod: dict[str, Any]) -> dict[str, Any]:
        kept = pod["spec"].get("ephemeralContainers", [])
        return {**pod, "spec": {**pod["spec"], "ephemeralContainers": [*kept, *containers]}}

    sim.registry.modify(PODS, NS, name, added, subresource="ephemeralcontainers")
    sim.run()


def states(sim: Sim) -> dict[str, str]:
    return {s["name"]: next(iter(s["state"])) for s in sim.pod()["ephemeralContainerStatuses"]}


def test_it_runs_beside_the_others_and_changes_nothing_about_them(sim: Sim) -> None:
    sim.create()
    sim.run()
    before = sim.pod()
    debug(sim, {"name": "dbg", "image": "nginx:2", "targetContainerName": "c"})
    after = sim.pod()
    (status,) = after.pop("ephemeralContainerStatuses")
    assert next(iter(status["state"])) == "running"
    assert (status["ready"], status["restartCount"]) == (False, 0)
    assert status["imageID"].startswith("docker.io/library/nginx@sha256:")
    for condition in after["conditions"]:
        assert condition.pop("observedGeneration") == 2
    for condition in before["conditions"]:
        condition.pop("observedGeneration")
    assert (before.pop("observedGeneration"), after.pop("observedGeneration")) == (1, 2)
    assert after == before
    assert [reason for reason, _ in sim.events()][4:] == ["Pulling", "Pulled", "Created", "Started"]


def test_one_that_ends_stays_ended_and_the_pod_goes_on(sim: Sim) -> None:
    sim.create()
    sim.run()
    debug(sim, {"name": "one", "image": "busybox", "command": ["sh", "-c", "exit 1"]})
    debug(sim, {"name": "two", "image": "nginx:2"})
    sim.run(600)
    assert states(sim) == {"one": "terminated", "two": "running"}
    assert sim.pod()["phase"] == "Running"
    assert [s["restartCount"] for s in sim.pod()["ephemeralContainerStatuses"]] == [0, 0]


def test_a_shell_that_somebody_may_type_into_waits(sim: Sim) -> None:
    sim.create()
    sim.run()
    debug(sim, {"name": "dbg", "image": "busybox", "stdin": True, "tty": True})
    sim.run(600)
    assert states(sim) == {"dbg": "running"}


def test_it_stops_with_its_pod(sim: Sim) -> None:
    sim.create()
    sim.run()
    debug(sim, {"name": "dbg", "image": "nginx:2"})
    sim.history()
    sim.delete()
    sim.run(60)
    assert sim.gone()
    last = sim.history()[-1]
    assert [next(iter(s["state"])) for s in last["ephemeralContainerStatuses"]] == ["terminated"]


def test_one_that_was_added_before_the_pod_could_run_begins_with_it(make: Any) -> None:
    sim = make(cidr=None)
    sim.create()
    sim.run()
    debug(sim, {"name": "dbg", "image": "nginx:2"})
    assert "ephemeralContainerStatuses" not in sim.pod()
    sim.set_cidr()
    sim.run(60)
    assert states(sim) == {"dbg": "running"}


@pytest.mark.parametrize(
    ("container", "text"),
    [
        ({"image": "i"}, "spec.ephemeralContainers[0].name: Required value"),
        ({"name": "A", "image": "i"}, 'spec.ephemeralContainers[0].name: Invalid value: "A"'),
        ({"name": "c", "image": "i"}, 'spec.ephemeralContainers[0].name: Duplicate value: "c"'),
        ({"name": "x"}, "spec.ephemeralContainers[0].image: Required value"),
        (
            {"name": "x", "image": "i", "targetContainerName": "y"},
            'spec.ephemeralContainers[0].targetContainerName: Not found: "y"',
        ),
        (
            {"name": "x", "image": "i", "livenessProbe": {"exec": {"command": ["a"]}}},
            "spec.ephemeralContainers[0].livenessProbe: Forbidden: cannot be set for an Ephemeral Container",
        ),
    ],
)
def test_what_cannot_be_one_is_refused(sim: Sim, container: dict[str, Any], text: str) -> None:
    sim.create()
    sim.run()
    with pytest.raises(Invalid) as caught:
        debug(sim, container)
    assert text in caught.value.message


def test_one_that_is_there_can_be_neither_changed_nor_removed(sim: Sim) -> None:
    sim.create()
    sim.run()
    debug(sim, {"name": "dbg", "image": "nginx:2"})

    def write(containers: list[dict[str, Any]]) -> None:
        def changed(pod: dict[str, Any]) -> dict[str, Any]:
            return {**pod, "spec": {**pod["spec"], "ephemeralContainers": containers}}

        sim.registry.modify(PODS, NS, "p", changed, subresource="ephemeralcontainers")

    with pytest.raises(Invalid, match='"dbg" may not be removed'):
        write([])
    with pytest.raises(Invalid, match='"dbg" may not be changed'):
        write([{"name": "dbg", "image": "nginx:3"}])
