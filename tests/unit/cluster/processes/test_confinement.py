"""A container's control group: what it uses by its figures, and its end."""

import asyncio

import pytest

from kubedyno.base.simulation import simulate
from kubedyno.cluster.processes.confinement import Confinement, dissolve, is_out_of_memory
from kubedyno.cluster.runtime import Use
from kubedyno.kernel.cgroups import Limits
from kubedyno.kernel.cgroups import Use as Spent


class Clock:
    now_s = 100.0

    def monotonic(self):
        return self.now_s


class Group:
    """A group that is removed after so many tries, and says what it is told to."""

    def __init__(self, busy=0):
        self.busy, self.tries, self.spent = busy, 0, Spent(0.0, 1, 0)

    def add(self, _name, _limits):
        return self

    def remove(self):
        self.tries += 1
        return self.tries > self.busy

    def use(self):
        if self.spent is None:
            raise FileNotFoundError
        return self.spent


@pytest.fixture
def begun():
    clock, group = Clock(), Group()
    confinement = Confinement(clock)
    confinement.begin(group, "g", Limits())
    return clock, group, confinement


def test_cores_are_those_since_the_look_before_a_second_ago_at_least(begun):
    clock, group, confinement = begun
    found = []
    for after_s, cpu_s in ((2.0, 1.0), (0.5, 1.4), (1.0, 1.75)):
        clock.now_s += after_s
        group.spent = Spent(cpu_s, 7, 0)
        found.append(confinement.use())
    assert found == [Use(0.5, 1.0, 7), Use(0.5, 1.4, 7), Use(0.5, 1.75, 7)]


def test_what_is_not_there_or_just_ending_is_not_measured(begun):
    _, group, confinement = begun
    group.spent = None
    assert confinement.use() is None
    assert not is_out_of_memory(group)
    unconfined = Confinement(Clock())
    unconfined.begin(None, "g", Limits())
    assert unconfined.use() is None
    assert not is_out_of_memory(None)


def test_who_was_killed_for_want_of_memory_is_told_apart():
    group = Group()
    assert not is_out_of_memory(group)
    group.spent = Spent(1.0, 1, 1)
    assert is_out_of_memory(group)


def test_a_group_is_removed_once_its_processes_have_ended_and_is_given_up_if_they_never_do(caplog):
    async def scene():
        slow, stuck = Group(busy=3), Group(busy=10_000)
        dissolve(slow)
        dissolve(stuck)
        await asyncio.sleep(1000)
        return slow.tries, stuck.tries

    assert simulate(scene()) == (4, 201)
    assert caplog.text.count("a control group is left") == 1
