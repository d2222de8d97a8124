from typing import Any

import pytest

from kubedyno.base.random import Random
from kubedyno.cluster.kubelet.runs import Stage
from kubedyno.kube.resources import PODS

from .conftest import NS, Sim


def check(sim: Sim) -> None:
    """No address twice, none lost, and the node counts what is on it."""
    row = sim.nodes._rows["n0"]
    assert row.pool is not None
    live = [run for run in sim.nodes.pods.runs.values() if run.stage is not Stage.COMPLETED]
    held = [run.address for run in live if run.address and not run.plan.facts.host_network]
    assert len(held) == len(set(held)) == row.pool.capacity - row.pool.free
    assert row.pods == len(live)
    assert row.cpu_milli == 10 * len(live)
    assert set(row.waiting) == {run.key for run in live if run.stage is Stage.WAITING_ADDRESS}
    stored = {r.key: r.obj for r in sim.store.list(PODS, NS)}
    running = [o.facts for o in stored.values() if o.facts.phase == "Running" and not o.facts.spec.host_network]
    assert len({facts.pod_ip for facts in running}) == len(running)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("speed", [0, 1, 10])
def test_whatever_comes_addresses_and_counts_stay_right(make: Any, seed: int, speed: float) -> None:
    sim = make(cidr="10.244.0.0/28", speed=speed, max_pods=20)
    random = Random(seed)
    requests = {"resources": {"requests": {"cpu": "10m"}}}
    shapes: list[dict[str, Any]] = [
        {"container": requests},
        {"container": {**requests, "command": ["sleep", "3"]}, "restartPolicy": "Never"},
        {"container": {**requests, "command": ["false"]}},
        {"container": {**requests, "command": ["sleep", "infinity"]}, "terminationGracePeriodSeconds": 5},
        {"container": {**requests, "image": "no.invalid/a"}},
        {"container": requests, "hostNetwork": True},
        {"container": requests, "initContainers": [{"name": "i", "image": "busybox:1", "command": ["sleep", "1"]}]},
    ]
    good = sim.nodes.config_text("n0")
    names: list[str] = []
    for step in range(150):
        if random.random() < 0.6:
            names.append(f"p{step}")
            sim.create(names[-1], **random.choice(shapes))
        elif names:
            name = names.pop(random.randrange(len(names)))
            sim.delete(name, random.choice([None, None, 0, 1]))
        if random.random() < 0.1:
            # Now and then the kubelet fails over its file, and comes back with the next one.
            sim.nodes.write_config("n0", random.choice([good, "maxPods: ["]))
            sim.nodes.restart("n0")
        sim.run(random.choice([0.0, 0.3, 2.0, 12.0]))
        check(sim)
    sim.nodes.write_config("n0", good)
    assert sim.nodes.restart("n0")["state"] == "running"
    for name in names:
        sim.delete(name)
    sim.run(60)
    check(sim)
    assert sim.store.list(PODS, NS) == []
    assert sim.nodes.pods.runs == {}
    row = sim.nodes._rows["n0"]
    assert row.pool is not None
    assert (row.pool.free, row.pods, row.cpu_milli, row.memory_bytes) == (row.pool.capacity, 0, 0, 0)
