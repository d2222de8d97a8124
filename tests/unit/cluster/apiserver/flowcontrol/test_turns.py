"""Turns by themselves: who is served at once."""

from kubedyno.cluster.apiserver.flowcontrol.turns import SHARED_TURN_S, Turns


class Work:
    """Items that take as long as they say."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.turns: Turns[float] = Turns(self.run, lambda: self.now_s)

    def run(self, takes_s: float) -> bool:
        self.now_s += takes_s
        return True

    def at_once(self, key: str, takes_s: float) -> bool:
        """Do an item if it may be done at once."""
        free = self.turns.free(key, self.now_s)
        if free:
            self.run(takes_s)
            self.turns.ended_s = self.now_s
        return free


def test_after_a_long_item_others_may_have_one_at_once_and_not_the_same_again() -> None:
    work = Work()
    work.turns.note("flood", work.now_s)
    work.turns.note("calm", work.now_s)
    long_s = 10 * SHARED_TURN_S
    assert work.at_once("flood", long_s)
    # The end of a turn, with which the loop looks at its sockets.
    work.turns._one_more = True
    assert not work.at_once("flood", long_s)
    assert work.at_once("calm", SHARED_TURN_S)
    assert not work.at_once("another", SHARED_TURN_S)
    work.now_s += 10 * SHARED_TURN_S
    assert work.at_once("flood", long_s)
