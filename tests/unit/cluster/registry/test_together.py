import pytest
from tests.unit.cluster.registry.conftest import NS, Cluster, pod_spec

from kubedyno.cluster.storage.objects import packed
from kubedyno.kube.resources import CONFIGMAPS, PODS


def test_writes_together_are_told_once_and_read_at_once(cluster: Cluster) -> None:
    cluster.create(CONFIGMAPS, "a")
    store = cluster.store
    table = store.table(CONFIGMAPS)
    record = store.get(CONFIGMAPS, f"{NS}/a")
    assert record is not None
    changes, told = table.changes(store.revision), []
    table.subscribe(lambda: told.append(store.revision))
    together = store.together(CONFIGMAPS)
    with together:
        second = cluster.trusted.replace(CONFIGMAPS, record, labels={"n": "2"})
        third = cluster.trusted.replace(CONFIGMAPS, second, labels={"n": "3"})
        assert store.get(CONFIGMAPS, record.key) is third
        assert changes.next() == []
    assert told == [third.revision]
    assert changes.next() == [third]
    assert third.revision == second.revision + 1
    with together:
        assert store.remove(CONFIGMAPS, record.key) is not None
    assert store.get(CONFIGMAPS, record.key) is None


def test_what_was_written_before_an_error_stays(cluster: Cluster) -> None:
    cluster.create(CONFIGMAPS, "a")
    store = cluster.store
    record = store.get(CONFIGMAPS, f"{NS}/a")
    assert record is not None

    def write() -> None:
        with store.together(CONFIGMAPS):
            cluster.trusted.replace(CONFIGMAPS, record, labels={"n": "2"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert cluster.get(CONFIGMAPS, "a")["metadata"]["labels"] == {"n": "2"}
    # And the next write is one of its own again.
    cluster.create(PODS, "p", spec=pod_spec())


def test_a_write_of_another_resource_is_one_more(cluster: Cluster) -> None:
    cluster.create(CONFIGMAPS, "a")
    store = cluster.store
    record = store.get(CONFIGMAPS, f"{NS}/a")
    assert record is not None
    together = store.together(CONFIGMAPS)
    for name in ("p", "q"):
        with together:
            record = cluster.trusted.replace(CONFIGMAPS, record, labels={"n": name})
            cluster.create(PODS, name, spec=pod_spec())
    assert len(store.list(PODS)) == 2
    assert cluster.get(CONFIGMAPS, "a")["metadata"]["labels"] == {"n": "q"}


def test_packed_json_is_the_same(cluster: Cluster) -> None:
    _ = cluster
    assert packed({"a": [1, "é"]}) == '{"a":[1,"é"]}'.encode()
