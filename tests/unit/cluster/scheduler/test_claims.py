"""Pods that claim devices: who gets which, what is written, and what is said when there are none."""

import pytest

from kubedyno.cluster.scheduler.deviceselectors import device_of, matches
from kubedyno.cluster.scheduler.selectorvalues import Fault, Unsupported
from kubedyno.kube.resources import DEVICECLASSES, PODS, RESOURCECLAIMS, RESOURCESLICES

DRIVER = "gpu.example.com"
NONE = "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: "
NOT_HELPFUL = "0/1 nodes are available: 1 Preemption is not helpful for scheduling."


def device_class(sim, name="gpu", expression=f'device.driver == "{DRIVER}"', **more):
    spec = {"selectors": [{"cel": {"expression": expression}}], **more}
    sim.do(sim.registry.create, DEVICECLASSES, "", {"metadata": {"name": name}, "spec": spec})


def slice_(sim, node="n1", devices=2, name="", **place):
    made = devices if isinstance(devices, list) else [gpu(f"g{i}") for i in range(devices)]
    where = place or {"nodeName": node}
    name = name or f"s-{node}"
    spec = {
        "driver": DRIVER, "pool": {"name": name, "generation": 1, "resourceSliceCount": 1}, "devices": made, **where,
    }  # fmt: skip
    sim.do(sim.registry.create, RESOURCESLICES, "", {"metadata": {"name": name}, "spec": spec})


def gpu(name, model="a100", memory="40Gi", **more):
    attributes = {"model": {"string": model}, "index": {"int": int(name[1:])}}
    return {"name": name, "attributes": attributes, "capacity": {"memory": {"value": memory}}, **more}


def claim(sim, name="c", count=1, selector="", requests=None, **devices):
    exactly = {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": count}
    if count is None:
        exactly = {"deviceClassName": "gpu", "allocationMode": "All"}
    if selector:
        exactly["selectors"] = [{"cel": {"expression": selector}}]
    made = requests or [{"name": "gpus", "exactly": exactly}]
    spec = {"devices": {"requests": made, **devices}}
    sim.do(sim.registry.create, RESOURCECLAIMS, "ns", {"metadata": {"name": name}, "spec": spec})


def pod(sim, name="p", *claims, **spec):
    references = [{"name": c, "resourceClaimName": c} for c in claims or ("c",)]
    sim.pod(name, resourceClaims=references, **spec)


def status(sim, name="c"):
    return sim.store.encode_dict(RESOURCECLAIMS, sim.store.get(RESOURCECLAIMS, f"ns/{name}")).get("status", {})


def devices(sim, name="c"):
    return [r["device"] for r in status(sim, name).get("allocation", {}).get("devices", {}).get("results", [])]


def said(sim, name="p"):
    return sim.condition(name).get("message")


def test_a_claim_gets_a_device_and_is_reserved(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim)
    claim(sim)
    pod(sim)
    assert sim.node_of("p") == "n1"
    uid = sim.get("p")["metadata"]["uid"]
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}
    assert status(sim) == {
        "allocation": {
            "devices": {"results": [{"request": "gpus", "driver": DRIVER, "pool": "s-n1", "device": "g0"}]},
            "nodeSelector": {"nodeSelectorTerms": [term]},
        },
        "reservedFor": [{"resource": "pods", "name": "p", "uid": uid}],
    }
    assert sim.store.get(RESOURCECLAIMS, "ns/c").obj.finalizers == ("resource.kubernetes.io/delete-protection",)


def test_no_device_is_given_twice(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim, devices=2)
    for name in ("a", "b", "c"):
        claim(sim, name)
        pod(sim, f"p{name}", name)
    assert (devices(sim, "a"), devices(sim, "b"), devices(sim, "c")) == (["g0"], ["g1"], [])
    assert said(sim, "pc") == NONE + NOT_HELPFUL
    assert [event["message"] for event in sim.events("pc")] == [NONE + NOT_HELPFUL]


def test_a_device_that_comes_free_helps(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim, devices=1)
    claim(sim, "a")
    pod(sim, "pa", "a")
    claim(sim, "b")
    pod(sim, "pb", "b")
    record = sim.store.get(RESOURCECLAIMS, "ns/a")
    sim.do(sim.trusted.replace_status, RESOURCECLAIMS, record, {})
    sim.advance(2)
    assert sim.node_of("pb") == "n1"


def test_pods_share_a_claim_and_follow_its_device(sim):
    sim.node("n1")
    sim.node("n2")
    device_class(sim)
    slice_(sim, "n2", devices=1)
    claim(sim)
    pod(sim, "first")
    pod(sim, "second")
    assert (sim.node_of("first"), sim.node_of("second")) == ("n2", "n2")
    assert [entry["name"] for entry in status(sim)["reservedFor"]] == ["first", "second"]
    pod(sim, "third", nodeSelector={"kubernetes.io/hostname": "n1"})
    assert said(sim, "third").startswith(
        "0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 1 resourceclaim not available on "
        "the node. still not schedulable, preemption: "
    )


def test_a_claim_in_the_wrong_place_that_nobody_uses_is_given_back(sim):
    sim.node("n1")
    sim.node("n2")
    device_class(sim)
    slice_(sim, "n1")
    slice_(sim, "n2")
    claim(sim)
    pod(sim, "first", nodeSelector={"kubernetes.io/hostname": "n2"})
    record = sim.store.get(RESOURCECLAIMS, "ns/c")
    left = {"allocation": status(sim)["allocation"]}
    sim.do(sim.trusted.replace_status, RESOURCECLAIMS, record, left)
    pod(sim, "second", nodeSelector={"kubernetes.io/hostname": "n1"})
    assert "deallocation of ResourceClaim completed, preemption: " in sim.events("second")[0]["message"]
    sim.advance(2)
    assert sim.node_of("second") == "n1"


def test_a_class_that_there_is_not(sim):
    sim.node("n1")
    claim(sim)
    pod(sim)
    words = "0/1 nodes are available: request gpus: device class gpu does not exist. no new claims to deallocate, "
    assert said(sim) == f"{words}preemption: {NOT_HELPFUL}"
    device_class(sim)
    slice_(sim)
    sim.advance(2)
    assert sim.node_of("p") == "n1"


def test_a_pod_whose_claim_is_not_made_yet_is_not_even_tried(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim)
    pod(sim)
    assert (sim.condition("p"), sim.events("p")) == ({}, [])
    claim(sim)
    assert sim.node_of("p") == "n1"


def test_a_claim_of_a_template_is_waited_for(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim)
    sim.pod("p", resourceClaims=[{"name": "gpu", "resourceClaimTemplateName": "t"}])
    assert sim.node_of("p") == ""
    record = sim.store.get(PODS, "ns/p")
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": record.obj.uid, "controller": True}
    exactly = {"deviceClassName": "gpu"}
    sim.do(sim.registry.create, RESOURCECLAIMS, "ns", {
        "metadata": {"name": "p-gpu-x", "ownerReferences": [owner]},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": exactly}]}},
    })  # fmt: skip
    whole = sim.get("p")["status"] | {"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "p-gpu-x"}]}
    sim.do(sim.trusted.replace_status, PODS, sim.store.get(PODS, "ns/p"), whole)
    assert sim.node_of("p") == "n1"


def test_selectors_of_class_and_request_must_all_hold(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim, devices=[gpu("g0", "h100"), gpu("g1", memory="10Gi"), gpu("g2", memory="80Gi")])
    own = f'device.attributes["{DRIVER}"]'
    text = f'{own}.model == "a100" && device.capacity["{DRIVER}"].memory.compareTo(quantity("40Gi")) >= 0'
    claim(sim, selector=text)
    pod(sim)
    assert devices(sim) == ["g2"]


def test_a_selector_that_cannot_be_evaluated_says_so(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim, devices=1)
    claim(sim, selector=f'device.attributes["{DRIVER}"].missing == 1')
    pod(sim)
    assert said(sim) == (
        'running "DynamicResources" filter plugin: claim ns/c: selector #1: CEL runtime error: no such key: missing '
        f"(device {DRIVER}/s-n1/g0)"
    )
    assert sim.condition("p")["reason"] == "SchedulerError"


def test_counts_all_and_alternatives(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim, devices=3)
    claim(sim, "two", count=2)
    pod(sim, "p2", "two")
    assert devices(sim, "two") == ["g0", "g1"]
    claim(sim, "all", count=None)
    pod(sim, "pall", "all")
    assert "1 cannot allocate all claims" in said(sim, "pall")
    alternatives = [
        {"name": "big", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2},
        {"name": "small", "deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
    ]
    claim(sim, "some", requests=[{"name": "r", "firstAvailable": alternatives}])
    pod(sim, "psome", "some")
    (result,) = status(sim, "some")["allocation"]["devices"]["results"]
    assert (result["request"], result["device"]) == ("r/small", "g2")


def test_devices_of_a_claim_must_match_where_it_says_so(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim, devices=[gpu("g0", "a100"), gpu("g1", "h100"), gpu("g2", "h100")])
    claim(sim, count=2, constraints=[{"requests": ["gpus"], "matchAttribute": f"{DRIVER}/model"}])
    pod(sim)
    assert devices(sim) == ["g1", "g2"]


def test_tainted_devices_are_for_those_who_tolerate_it(sim):
    sim.node("n1")
    device_class(sim)
    taint = {"key": "sick", "value": "yes", "effect": "NoSchedule"}
    slice_(sim, devices=[gpu("g0", taints=[taint])])
    claim(sim)
    pod(sim)
    assert "1 cannot allocate all claims" in said(sim)
    tolerant = {"deviceClassName": "gpu", "tolerations": [{"key": "sick", "operator": "Exists"}]}
    claim(sim, "brave", requests=[{"name": "r", "exactly": tolerant}])
    pod(sim, "p2", "brave")
    assert devices(sim, "brave") == ["g0"]


def test_devices_for_all_nodes_and_of_an_older_generation(sim):
    sim.node("n1")
    device_class(sim)
    slice_(sim, devices=1, name="wide", allNodes=True)
    claim(sim)
    pod(sim)
    assert (devices(sim), "nodeSelector" in status(sim)["allocation"]) == (["g0"], False)
    newer = {"driver": DRIVER, "pool": {"name": "wide", "generation": 2, "resourceSliceCount": 1}, "devices": []}
    sim.do(sim.registry.create, RESOURCESLICES, "", {"metadata": {"name": "w2"}, "spec": {**newer, "allNodes": True}})
    claim(sim, "late")
    pod(sim, "p2", "late")
    assert "1 cannot allocate all claims" in said(sim, "p2")


def test_without_the_gate_claims_mean_nothing(simulate):
    sim = simulate("1.33")
    sim.node(pods=0)
    sim.pod("p")
    assert "claims" not in said(sim)


DEVICE = device_of(DRIVER, gpu("g3") | {"attributes": {
    "model": {"string": "a100"}, "x.y/n": {"int": 3}, "v": {"version": "1.2.3"}, "on": {"bool": True},
}})  # fmt: skip
OWN = f'device.attributes["{DRIVER}"]'


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        (f"{OWN}.model == 'a100'", True),
        (f'{OWN}["model"].startsWith("a") && !({OWN}.model.endsWith("x"))', True),
        ('device.attributes["x.y"].n in [1, 3]', True),
        ('device.attributes["x.y"].n * 2 + 1 > 6', True),
        (f'"model" in {OWN}', True),
        (f"has({OWN}.missing)", False),
        (f"{OWN}.?missing.orValue('z') == 'z'", True),
        (f'{OWN}.v.isGreaterThan(semver("1.2.0")) && {OWN}.v.major() == 1', True),
        (f'{OWN}.v.isLessThan(semver("1.2.3-rc.1"))', False),
        (f'device.capacity["{DRIVER}"].memory == quantity("40960Mi")', True),
        (f"true || {OWN}.missing == 1", True),
        (f"{OWN}.missing == 1 || true", True),
        (f"{OWN}.on ? {OWN}.model == 'a100' : false", True),
        (f"cel.bind(d, {OWN}, d.model == 'a100' && d.on)", True),
        ("['a', 'b'].exists(x, x == 'b') && ['a', 'b'].all(x, size(x) == 1)", True),
        ("!('x' in device.attributes['none'])", True),
        ("9223372036854775807 / 2 == 4611686018427387903 && -7 / 2 == -3 && -7 % 2 == -1 && 7 % -2 == 1", True),
        ("7.0 / 2.0 == 3.5", True),
    ],
)
def test_expressions(expression, answer):
    assert matches(expression, DEVICE) is answer


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("gpu.model", "names gpu, which there is not"),
        ("device.driver ==", "where a value is expected"),
        ("device.driver == 'x' )", "after its end"),
        ("sets.contains([1], [1])", "names sets"),
        ("device.driver.format()", "calls format()"),
        ("(" * 200 + "1" + ")" * 200, "nested too deeply"),
        ("!" * 200 + "true", "nested too deeply"),
        ("'\\q' == 'x'", "the escape"),
        ("'" + "x" * 20_000 + "' == 'x'", "longer than"),
        ("device.driver ~ 'x'", "not understood here"),
        ("9" * 5000 + " > 1", "beyond 64 bits"),
        ("9223372036854775808 > 1", "beyond 64 bits"),
    ],
)
def test_what_is_no_expression_says_why(expression, words):
    with pytest.raises(Unsupported, match="(?s)" + words.replace("(", r"\(").replace(")", r"\)")):
        matches(expression, DEVICE)


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("device.driver", "result is string, must be bool"),
        ("device.driver > 1", "no such overload: string > int"),
        (f"{OWN}.model.compareTo(1) == 0", "no such overload"),
        ("1 / 0 == 1", "division by zero"),
        ("9223372036854775807 + 1 > 1", "integer overflow"),
        (" * ".join(["9000000000000000000"] * 300) + " / 3 > 1", "integer overflow"),
        ("'a' && true", "string is used as bool"),
        ("quantity('x') == quantity('1')", "quantities must match"),
        ("device.driver.x == 1", "string has no members"),
    ],
)
def test_what_cannot_be_evaluated_says_why(expression, words):
    with pytest.raises(Fault, match=words):
        matches(expression, DEVICE)


def test_a_device_that_another_namespace_gives_back_helps(sim):
    sim.node("n1")
    sim.namespace("far")
    device_class(sim)
    slice_(sim, devices=1)
    spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    sim.do(sim.registry.create, RESOURCECLAIMS, "far", {"metadata": {"name": "a"}, "spec": spec})
    sim.pod("pa", namespace="far", resourceClaims=[{"name": "a", "resourceClaimName": "a"}])
    claim(sim, "b")
    pod(sim, "pb", "b")
    sim.advance(20)
    assert sim.node_of("pb") == ""
    sim.do(sim.trusted.replace_status, RESOURCECLAIMS, sim.store.get(RESOURCECLAIMS, "far/a"), {})
    assert sim.node_of("pb") == "n1"


def test_hundreds_of_claims_are_given_out_and_none_twice(sim):
    for i in range(10):
        sim.node(f"n{i}")
        slice_(sim, f"n{i}", devices=20)
    device_class(sim)
    for i in range(220):
        claim(sim, f"c{i}")
        pod(sim, f"p{i}", f"c{i}")
    results = [status(sim, f"c{i}").get("allocation", {}).get("devices", {}).get("results", []) for i in range(220)]
    given = [(r["pool"], r["device"]) for found in results for r in found]
    assert (len(given), len(set(given))) == (200, 200)
    assert sim.bound() == 200
