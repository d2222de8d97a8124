from collections.abc import Callable, Iterator
from typing import Any

import pytest

from unit.cluster.scheduler.sim import Sim


@pytest.fixture
def simulate() -> Iterator[Callable[..., Sim]]:
    made: list[Sim] = []

    def make(*args: Any, **named: Any) -> Sim:
        made.append(Sim(*args, **named))
        return made[-1]

    yield make
    for sim in made:
        sim.close()


@pytest.fixture
def sim(simulate: Callable[..., Sim]) -> Sim:
    return simulate()
