"""What a page keeps of its messages."""

from kubedyno.web import history
from kubedyno.web.history import History


def lines(kept):
    return b"".join(kept.texts()).split(b"\n")[:-1]


def test_it_begins_with_a_snapshot_and_keeps_what_follows():
    kept = History(lambda: b"whole")
    for number in range(3):
        kept.add(b"%d" % number)
    assert lines(kept) == [b"whole", b"1", b"2"]


def test_another_cluster_begins_a_segment_of_its_own():
    kept = History(lambda: b"whole")
    kept.add(b"a")
    kept.add(b"other cluster", whole=True)
    kept.add(b"b")
    assert lines(kept) == [b"whole", b"other cluster", b"b"]


def test_beyond_its_size_it_begins_at_a_later_snapshot(monkeypatch):
    monkeypatch.setattr(history, "_MIN_SEGMENT_BYTES", 100)
    told = iter(range(1000))
    kept = History(lambda: b"whole %d" % next(told), most_bytes=1000)
    for number in range(500):
        kept.add(b"message %d" % number)
    found = lines(kept)
    assert found[0].startswith(b"whole ")
    assert found[0] != b"whole 0"
    assert found[-1] == b"message 499"
    assert sum(map(len, found)) <= 1000
