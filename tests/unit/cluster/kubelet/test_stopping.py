"""How containers are stopped: by which signal, in which order, and what their ends look like."""

from typing import Any

import pytest

from kubedyno.cluster.registry.featuregates import STOP_SIGNALS
from kubedyno.cluster.registry.kinds.stopsignals import number_of

from .conftest import Sim

SIDECAR = {"image": "busybox:1", "restartPolicy": "Always", "command": ["proxy"]}


def ended(sim: Sim, group: str = "containerStatuses") -> dict[str, dict[str, Any]]:
    last = sim.history("p")[-1]
    return {c["name"]: c["state"]["terminated"] for c in last[group]}


@pytest.mark.parametrize(
    ("signal", "code"),
    [
        ("SIGTERM", 0), ("SIGQUIT", 0), ("SIGUSR1", 138), ("SIGHUP", 129),
        ("SIGKILL", 137), ("SIGRTMIN+3", 165), ("SIGWINCH", 137),
    ],
)  # fmt: skip
def test_a_stop_signal_says_how_a_container_ends(make: Any, signal: str, code: int) -> None:
    sim = make(feature_gates={STOP_SIGNALS: True}, speed=1)
    sim.create(container={"lifecycle": {"stopSignal": signal}}, os={"name": "linux"})
    sim.run(30)
    sim.history("p")
    sim.delete(grace_s=10)
    sim.run(20)
    assert sim.gone()
    assert ended(sim)["c"]["exitCode"] == code


def test_a_signal_that_ends_nothing_takes_the_whole_grace_period(make: Any) -> None:
    sim = make(feature_gates={STOP_SIGNALS: True}, speed=1)
    sim.create(container={"lifecycle": {"stopSignal": "SIGWINCH"}}, os={"name": "linux"})
    sim.run(30)
    sim.delete(grace_s=10)
    sim.run(9)
    assert not sim.gone()
    sim.run(3)
    assert sim.gone()


def test_sidecars_stop_after_the_others_the_last_one_first(make: Any) -> None:
    sim = make(speed=1)
    sim.create(
        container={"lifecycle": {"preStop": {"sleep": {"seconds": 4}}}},
        initContainers=[{"name": "first", **SIDECAR}, {"name": "second", **SIDECAR}],
    )
    sim.run(30)
    sim.history("p")
    sim.delete(grace_s=30)
    sim.run(20)
    assert sim.gone()
    last = sim.history("p")[-1]
    at = {c["name"]: c["state"]["terminated"]["finishedAt"] for c in last["containerStatuses"]}
    at |= {c["name"]: c["state"]["terminated"]["finishedAt"] for c in last["initContainerStatuses"]}
    assert at["c"] <= at["second"] <= at["first"]


def test_a_sidecar_that_takes_no_signal_has_what_is_left(make: Any) -> None:
    sim = make(speed=1)
    stubborn = {**SIDECAR, "name": "stubborn", "command": ["sleep", "inf"]}
    sim.create(container={"lifecycle": {"preStop": {"sleep": {"seconds": 6}}}}, initContainers=[stubborn])
    sim.run(30)
    sim.delete(grace_s=10)
    sim.run(9)
    assert not sim.gone()
    sim.run(3)
    assert sim.gone()


@pytest.mark.parametrize(
    ("signal", "number"),
    [
        ("SIGHUP", 1),
        ("SIGUSR2", 12),
        ("SIGSTKFLT", 16),
        ("SIGCLD", 17),
        ("SIGPWR", 30),
        ("SIGRTMAX-1", 63),
        ("SIGRTMIN", 34),
    ],
)
def test_signals_have_linux_numbers(signal: str, number: int) -> None:
    assert number_of(signal) == number
