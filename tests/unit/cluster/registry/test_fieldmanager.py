"""What holds of ownership whatever is applied: nothing is taken silently, and nothing changes that is said twice."""

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubedyno.cluster.registry.kinds.networking import NetworkPolicies
from kubedyno.cluster.registry.managedfields import MAX_UPDATERS
from kubedyno.kube import fieldset
from kubedyno.kube.resources import CONFIGMAPS, DEPLOYMENTS, built_in
from kubedyno.kube.status import Conflict
from unit.cluster.registry.conftest import NS, Cluster

DATA = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"))
LABELS = st.dictionaries(st.sampled_from(("x", "y")), st.sampled_from("12"))
ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"


def configmap(data, labels=None):
    metadata = {"name": "c", **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def deployment(image, env=(), replicas=None):
    container = {"name": "c", "image": image, "env": [{"name": n, "value": v} for n, v in env]}
    spec = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}


def apply(cluster, obj, manager, resource=CONFIGMAPS, **options):
    name = obj["metadata"]["name"]
    return cluster.registry.apply(resource, NS, name, obj, manager=manager, **options)[0]


def data_of(cluster, record, resource=CONFIGMAPS):
    return cluster.store.encode_dict(resource, record)


def owners(record):
    return {
        (entry["manager"], entry["operation"]): entry["fieldsV1"] for entry in orjson.loads(record.obj.managed or b"[]")
    }


@given(DATA, LABELS)
def test_applying_twice_changes_nothing(data, labels):
    cluster = Cluster()
    first = apply(cluster, configmap(data, labels), "a")
    cluster.clock.now_s += 5
    again = apply(cluster, configmap(data, labels), "a")
    assert again.revision == first.revision
    assert again.obj.managed == first.obj.managed


@given(DATA, DATA, DATA)
def test_an_apply_makes_the_object_what_was_applied(first, second, other):
    cluster = Cluster()
    apply(cluster, configmap(other), "b")
    apply(cluster, configmap(first), "a", force=True)
    after = data_of(cluster, apply(cluster, configmap(second), "a", force=True)).get("data", {})
    kept = {key: value for key, value in other.items() if key not in first}
    assert after == {**kept, **{k: first[k] for k in first if k in other and first[k] == other[k]}, **second}


@given(DATA, DATA)
def test_another_manager_conflicts_exactly_on_owned_fields_that_it_would_change(mine, theirs):
    cluster = Cluster()
    apply(cluster, configmap(mine), "a")
    contested = sorted(f".data.{key}" for key in mine.keys() & theirs.keys() if mine[key] != theirs[key])
    if not mine:
        # An empty map is owned as a whole, though it is not stored: whoever applies one would add it.
        contested = [".data"]
    if contested:
        with pytest.raises(Conflict) as conflict:
            apply(cluster, configmap(theirs), "b")
        assert sorted(cause["field"] for cause in conflict.value.details["causes"]) == contested
    else:
        apply(cluster, configmap(theirs), "b")
    taken = apply(cluster, configmap(theirs), "b", force=True)
    data = data_of(cluster, taken).get("data", {})
    assert data == {**mine, **theirs}
    left = owners(taken).get(("a", "Apply"), {}).get("f:data", {})
    assert not any(f"f:{path.rpartition('.')[2]}" in left for path in contested)


@given(DATA, DATA, DATA)
def test_force_always_goes_through_and_every_field_has_an_owner(one, two, three):
    cluster = Cluster()
    apply(cluster, configmap(one), "a")
    cluster.registry.modify(CONFIGMAPS, NS, "c", lambda obj: {**obj, "data": two}, manager="u")
    record = apply(cluster, configmap(three), "b", force=True)
    owned = set()
    for fields in owners(record).values():
        owned |= set(fields.get("f:data", {}))
    assert {f"f:{key}" for key in data_of(cluster, record).get("data", {})} <= owned


def test_a_list_with_keys_is_owned_by_its_elements():
    cluster = Cluster()
    apply(cluster, deployment("i:1", [("A", "1"), ("B", "1")]), "a", DEPLOYMENTS)
    record = apply(cluster, deployment("i:1", [("C", "1")]), "b", DEPLOYMENTS)
    assert [e["name"] for e in env_of(cluster, record)] == ["A", "B", "C"]
    record = apply(cluster, deployment("i:1", [("B", "1")]), "a", DEPLOYMENTS)
    assert [e["name"] for e in env_of(cluster, record)] == ["B", "C"]
    with pytest.raises(
        Conflict, match=r'conflict with "a": .spec.template.spec.containers\[name="c"\].env\[name="B"\]'
    ):
        apply(cluster, deployment("i:1", [("B", "2"), ("C", "1")]), "b", DEPLOYMENTS)


def env_of(cluster, record):
    return data_of(cluster, record, DEPLOYMENTS)["spec"]["template"]["spec"]["containers"][0]["env"]


def test_what_nobody_tracked_belongs_to_before_first_apply():
    cluster = Cluster()
    cluster.registry.create(CONFIGMAPS, NS, configmap({"x": "1"}), manager="m")
    reset = configmap({"x": "1"})
    reset["metadata"]["managedFields"] = []
    emptied = cluster.registry.update(CONFIGMAPS, NS, "c", reset, manager="m")
    assert not owners(emptied)
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using v1: \.data\.x'):
        apply(cluster, configmap({"x": "2"}), "a")
    record = apply(cluster, configmap({"x": "1"}), "a")
    assert set(owners(record)) == {("a", "Apply"), ("before-first-apply", "Update")}


def test_kubectl_takes_over_what_its_client_side_apply_left():
    applied = configmap({"x": "1", "y": "1"})
    created = configmap({"x": "1", "y": "1"})
    created["metadata"]["annotations"] = {ANNOTATION: json.dumps(applied)}
    cluster = Cluster()
    cluster.registry.create(CONFIGMAPS, NS, created, manager="kubectl-client-side-apply")
    with pytest.raises(Conflict):
        apply(cluster, configmap({"x": "2"}), "somebody")
    record = apply(cluster, configmap({"x": "2", "y": "1"}), "kubectl")
    obj = data_of(cluster, record)
    assert obj["data"] == {"x": "2", "y": "1"}
    assert json.loads(obj["metadata"]["annotations"][ANNOTATION])["data"] == {"x": "2", "y": "1"}


def test_kubectl_still_conflicts_where_the_object_was_changed_since():
    created = configmap({"x": "1"})
    created["metadata"]["annotations"] = {ANNOTATION: json.dumps(configmap({"x": "1"}))}
    cluster = Cluster()
    cluster.registry.create(CONFIGMAPS, NS, created, manager="kubectl-client-side-apply")
    cluster.registry.modify(CONFIGMAPS, NS, "c", lambda obj: {**obj, "data": {"x": "9"}}, manager="edit")
    with pytest.raises(Conflict, match='conflict with "edit"'):
        apply(cluster, configmap({"x": "2"}), "kubectl")


def test_updaters_are_kept_few():
    cluster = Cluster()
    cluster.registry.create(CONFIGMAPS, NS, configmap({"x": "1"}), manager="u0")
    for i in range(1, 2 * MAX_UPDATERS):
        cluster.clock.now_s += 1
        change = {f"k{i}": "1"}
        record = cluster.registry.modify(
            CONFIGMAPS, NS, "c", lambda obj, change=change: {**obj, "data": {**obj["data"], **change}}, manager=f"u{i}"
        )
    entries = owners(record)
    assert len(entries) == MAX_UPDATERS
    assert set(entries["ancient-changes", "Update"]["f:data"]) == {".", "f:x", *(f"f:k{i}" for i in range(1, 11))}


def test_an_update_that_changes_nothing_is_no_new_version():
    cluster = Cluster()
    first = apply(cluster, configmap({"x": "1"}), "a")
    again = cluster.registry.modify(CONFIGMAPS, NS, "c", lambda obj: obj, manager="u")
    assert again is first


def test_an_object_sent_back_keeps_its_owners():
    cluster = Cluster()
    record = apply(cluster, configmap({"x": "1"}), "a")
    obj = data_of(cluster, record)
    obj["data"]["y"] = "1"
    record = cluster.registry.update(CONFIGMAPS, NS, "c", obj, manager="u")
    assert owners(record) == {("a", "Apply"): {"f:data": {"f:x": {}}}, ("u", "Update"): {"f:data": {"f:y": {}}}}


def test_objects_of_one_structure_share_what_says_who_owns_them():
    cluster = Cluster()
    first, second = (
        cluster.registry.create(
            CONFIGMAPS, NS, {**configmap({"x": value}), "metadata": {"generateName": "g-"}}, manager="m"
        )
        for value in "12"
    )
    assert first.obj.managed is second.obj.managed
    other = cluster.registry.create(CONFIGMAPS, NS, configmap({"z": "1"}), manager="m")
    assert owners(other) == {("m", "Update"): {"f:data": {".": {}, "f:z": {}}}}


KINDS = Cluster().registry
NAMES = st.sampled_from(("A", "B", "C", "a%b", 'q"', "\\"))
ENV = st.lists(st.tuples(NAMES, st.sampled_from("12")), max_size=4)
PORTS = st.lists(
    st.fixed_dictionaries({"containerPort": st.sampled_from((80, 443))}, optional={"protocol": st.just("UDP")}),
    max_size=3,
)


@given(ENV, PORTS, st.sampled_from((None, 0, 3)), st.lists(st.sampled_from(("x.io/a", "x.io/b")), unique=True))
def test_what_is_remembered_of_a_structure_is_what_the_object_says(env, ports, replicas, finalizers):
    kind = KINDS.kind(DEPLOYMENTS)
    obj = deployment("i", env, replicas)
    obj["spec"]["template"]["spec"]["containers"][0]["ports"] = ports
    obj["metadata"]["finalizers"] = finalizers
    new = kind.decode(obj)
    kind.default(new)
    for _ in range(2):
        managed = kind.fields.created(new, "m", "2026-01-01T00:00:00Z")
        (entry,) = orjson.loads(managed)
        assert orjson.dumps(entry["fieldsV1"]) == fieldset.dumps(kind.fields._set_of(new))


def test_an_empty_selector_is_owned_by_nobody_even_after_one_that_is_not_empty():
    kind = NetworkPolicies(built_in("networking.k8s.io", "networkpolicies"))

    def owned(selector):
        policy = kind.decode({"metadata": {"name": "p"}, "spec": {"podSelector": selector}})
        kind.default(policy)
        return orjson.loads(kind.fields.created(policy, "m", "t"))[0]["fieldsV1"]["f:spec"]

    assert owned({"matchLabels": {"a": "b"}}) == {"f:podSelector": {}, "f:policyTypes": {}}
    assert owned({}) == {"f:policyTypes": {}}


def autoscaler(version, **spec):
    target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
    return {
        "apiVersion": f"autoscaling/{version}", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 3, **spec},
    }  # fmt: skip


def test_each_version_s_owners_lose_what_changes_by_their_own_names():
    cluster = Cluster()
    v1 = cluster.registry.resource_of("autoscaling/v1", "HorizontalPodAutoscaler")
    v2 = cluster.registry.resource_of("autoscaling/v2", "HorizontalPodAutoscaler")
    cluster.registry.create(v1, NS, autoscaler("v1", targetCPUUtilizationPercentage=50), manager="old")

    def slower(obj):
        obj["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 60
        return obj

    record = cluster.registry.modify(v2, NS, "h", slower, manager="new")
    found = owners(record)
    assert "f:targetCPUUtilizationPercentage" not in found["old", "Update"]["f:spec"]
    assert found["new", "Update"] == {"f:spec": {"f:metrics": {}}}
    with pytest.raises(Conflict, match=r'conflict with "new" using autoscaling/v2: \.spec\.metrics'):
        apply(cluster, autoscaler("v1", targetCPUUtilizationPercentage=70), "me", resource=v1)
