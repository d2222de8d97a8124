"""The store: objects in as parts, out as JSON, under both names that a resource may have."""

import orjson
import pytest

from kubedyno.base.clock import SYSTEM_CLOCK
from kubedyno.cluster.storage.objects import StoredObject, key_of
from kubedyno.cluster.storage.store import Store, members_of
from kubedyno.kube.resources import CONFIGMAPS, EVENTS, PODS, by_plural


def stored(name, namespace="ns", *, owners=(), body=b'"data":{"a":"1"}', status=b"", managed=b""):
    return StoredObject(
        key_of(namespace, name), namespace, name, f"uid-{name}", 1, {}, owners, 0.0, (),
        b'"name":"%s"' % name.encode(), managed, body, status, None,
    )  # fmt: skip


def test_an_object_comes_out_with_its_revision_and_all_its_parts():
    store = Store(SYSTEM_CLOCK)
    store.add(CONFIGMAPS)
    record = store.put(CONFIGMAPS, stored("c", status=b'{"x":1}', managed=b'[{"manager":"m"}]'))
    expected = {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "c", "resourceVersion": str(record.revision), "managedFields": [{"manager": "m"}]},
        "data": {"a": "1"},
        "status": {"x": 1},
    }
    assert orjson.loads(store.encode(CONFIGMAPS, record)) == store.encode_dict(CONFIGMAPS, record) == expected
    item = orjson.loads(store.encode_item(CONFIGMAPS, record))
    assert item == {key: value for key, value in expected.items() if key not in {"kind", "apiVersion"}}
    assert "resourceVersion" not in store.dict_of(CONFIGMAPS, record.obj)["metadata"]
    assert orjson.loads(b'{"metadata":{' + members_of(stored("d", body=b""), 0, b"")) == {"metadata": {"name": "d"}}


def test_resources_share_one_revision_and_are_listed_by_namespace_and_owner():
    store = Store(SYSTEM_CLOCK)
    store.add(CONFIGMAPS)
    store.add(PODS)
    store.put(CONFIGMAPS, stored("c"))
    store.put(PODS, stored("p", owners=("u1", "u2")))
    store.put(PODS, stored("q", "ns2", owners=("u2",)))
    assert store.revision == 3
    assert [record.key for record in store.list(PODS, "ns")] == ["ns/p"]
    assert [record.key for record in store.list(PODS)] == ["ns/p", "ns2/q"]
    assert [record.key for record in store.by_index(PODS, "owner", "u2")] == ["ns/p", "ns2/q"]
    assert store.remove(PODS, "ns/p").revision == 4
    assert store.get(PODS, "ns/p") is None
    assert store.remove(PODS, "ns/p") is None
    with pytest.raises(KeyError):
        store.table(EVENTS)


def test_a_second_name_of_a_resource_shares_the_table_and_converts_on_output():
    store = Store(SYSTEM_CLOCK)
    store.add(EVENTS)
    newer = by_plural("events.k8s.io", "v1", "events")
    store.add_view(newer, EVENTS, lambda obj: {**obj, "note": obj.pop("data")["a"]})
    record = store.put(newer, stored("e"))
    assert store.table(newer) is store.table(EVENTS)
    assert orjson.loads(store.encode(EVENTS, record))["apiVersion"] == "v1"
    converted = orjson.loads(store.encode(newer, record))
    assert (converted["apiVersion"], converted["note"]) == ("events.k8s.io/v1", "1")
    assert "kind" not in orjson.loads(store.encode_item(newer, record))
