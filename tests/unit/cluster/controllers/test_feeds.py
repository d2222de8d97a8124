"""Feeds: what followers are told when they were too far behind."""

from kubedyno.kube.resources import CONFIGMAPS


def behind(cluster, change):
    """Have something happen of which the feed of ConfigMaps hears only when its history is gone."""
    changed, gone = [], []
    cluster.manager._feeds.follow(CONFIGMAPS, lambda r: changed.append(r.obj.uid), lambda r: gone.append(r.obj.uid))
    for name in ("a", "b", "c"):
        cluster.create(CONFIGMAPS, {"metadata": {"name": name}})
    cluster.drain()
    changed.clear()
    change()
    db = cluster.store.db
    most, db.max_pinned = db.max_pinned, 0
    while db.compact(100_000):
        pass
    db.max_pinned = most
    cluster.drain()
    return changed, gone


def uid(cluster, name):
    return cluster.get(CONFIGMAPS, name)["metadata"]["uid"]


def test_a_deletion_that_is_no_longer_known_is_told(cluster):
    before = {}

    def change():
        before["b"] = uid(cluster, "b")
        cluster.delete(CONFIGMAPS, "b")

    changed, gone = behind(cluster, change)
    assert gone == [before["b"]]
    assert {uid(cluster, "a"), uid(cluster, "c")} <= set(changed)


def test_an_object_that_took_the_place_of_another_is_told_after_the_others_deletion(cluster):
    before = {}

    def change():
        before["b"] = uid(cluster, "b")
        cluster.delete(CONFIGMAPS, "b")
        cluster.delete(CONFIGMAPS, "a")
        cluster.create(CONFIGMAPS, {"metadata": {"name": "b"}})

    changed, gone = behind(cluster, change)
    assert before["b"] in gone
    assert len(gone) == 2
    assert uid(cluster, "b") in changed
