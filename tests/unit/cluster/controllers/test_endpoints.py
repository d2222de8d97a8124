"""EndpointSlices and Endpoints: who is in them, how they are cut, and what of others' they follow."""

import orjson

from kubedyno.base.times import rfc3339
from kubedyno.kube.resources import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES

from .conftest import NS, Cluster

TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"


def service(name="web", **spec):
    ports = spec.pop("ports", [{"port": 80}])
    return {"metadata": {"name": name}, "spec": {"selector": {"a": "b"}, "ports": ports, **spec}}


def add_pod(cluster, number, *, ready=True, node="n1", labels=None, **spec):
    name, address = f"p{number}", f"10.0.{number // 250}.{number % 250 + 1}"
    pod = {
        "metadata": {"name": name, "labels": labels or {"a": "b"}},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "i"}], **spec},
    }
    record = cluster.create(PODS, pod)
    set_pod(cluster, record.obj.name, ready=ready, address=address)


def set_pod(cluster, name, *, ready=True, address=None, phase="Running"):
    record = cluster.store.get(PODS, f"{NS}/{name}")
    status = orjson.loads(record.obj.status)
    status["phase"] = phase
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    status["conditions"] = [{"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-11-18T14:06:40Z"}]
    cluster.trusted.replace_status(PODS, record, status)


def make(**settings):
    cluster = Cluster(kubelet=False, **settings)
    cluster.create(SERVICES, {"metadata": {"name": "warm"}, "spec": {"type": "ExternalName", "externalName": "e.org"}})
    cluster.drain()
    return cluster


def slices(cluster, service="web"):
    return [s for s in cluster.all(ENDPOINTSLICES) if s["metadata"]["labels"]["kubernetes.io/service-name"] == service]


def test_a_slice_is_as_recorded_before_and_after_its_first_pod():
    cluster = make()
    cluster.create(SERVICES, service())
    cluster.drain()
    (empty,) = slices(cluster)
    name = empty["metadata"]["name"]
    assert (empty["addressType"], empty["endpoints"], empty["ports"]) == ("IPv4", None, None)
    add_pod(cluster, 1)
    cluster.drain()
    (slice_,) = slices(cluster)
    uid = cluster.get(SERVICES, "web")["metadata"]["uid"]
    metadata = slice_["metadata"]
    assert (metadata["name"], metadata["generateName"], metadata["generation"]) == (name, "web-", 2)
    assert metadata["annotations"] == {TRIGGER: rfc3339(cluster.clock.now())}
    assert metadata["labels"] == {
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io", "kubernetes.io/service-name": "web",
    }  # fmt: skip
    assert metadata["ownerReferences"] == [
        {"apiVersion": "v1", "kind": "Service", "name": "web", "uid": uid, "controller": True, "blockOwnerDeletion": True}
    ]  # fmt: skip
    pod = cluster.get(PODS, "p1")["metadata"]["uid"]
    assert slice_["endpoints"] == [{
        "addresses": ["10.0.0.2"], "conditions": {"ready": True, "serving": True, "terminating": False},
        "targetRef": {"kind": "Pod", "namespace": NS, "name": "p1", "uid": pod}, "nodeName": "n1",
    }]  # fmt: skip
    assert slice_["ports"] == [{"name": "", "protocol": "TCP", "port": 80}]


def test_a_hundred_pods_a_slice_and_each_pod_once():
    cluster = make()
    cluster.create(SERVICES, service())
    for number in range(250):
        add_pod(cluster, number)
    cluster.drain()
    assert sorted(len(s["endpoints"]) for s in slices(cluster)) == [50, 100, 100]
    addresses = [a for s in slices(cluster) for e in s["endpoints"] for a in e["addresses"]]
    assert len(set(addresses)) == len(addresses) == 250
    for number in range(0, 250, 2):
        cluster.registry.delete(PODS, NS, f"p{number}", {"gracePeriodSeconds": 0})
    cluster.drain()
    left = [a for s in slices(cluster) for e in s["endpoints"] for a in e["addresses"]]
    assert len(set(left)) == len(left) == 125


def test_one_change_touches_one_slice():
    cluster = make()
    cluster.create(SERVICES, service())
    for number in range(150):
        add_pod(cluster, number)
    cluster.drain()
    before = {s["metadata"]["name"]: s["metadata"]["resourceVersion"] for s in slices(cluster)}
    set_pod(cluster, "p7", ready=False)
    cluster.drain()
    changed = [s for s in slices(cluster) if before[s["metadata"]["name"]] != s["metadata"]["resourceVersion"]]
    assert len(changed) == 1
    (endpoint,) = [e for e in changed[0]["endpoints"] if e["targetRef"]["name"] == "p7"]
    assert endpoint["conditions"] == {"ready": False, "serving": False, "terminating": False}


def test_a_pod_that_stops_still_serves_and_one_that_has_ended_is_gone():
    cluster = make()
    cluster.create(SERVICES, service())
    add_pod(cluster, 1)
    add_pod(cluster, 2)
    cluster.drain()
    cluster.delete(PODS, "p1")
    cluster.drain()
    endpoints = {e["targetRef"]["name"]: e for e in slices(cluster)[0]["endpoints"]}
    assert endpoints["p1"]["conditions"] == {"ready": False, "serving": True, "terminating": True}
    (subset,) = cluster.get(ENDPOINTS, "web")["subsets"]
    assert [a["ip"] for a in subset["addresses"]] == ["10.0.0.3"]
    assert "notReadyAddresses" not in subset
    set_pod(cluster, "p2", ready=False, phase="Succeeded")
    cluster.drain()
    assert [e["targetRef"]["name"] for e in slices(cluster)[0]["endpoints"]] == ["p1"]


def test_pods_with_other_ports_are_in_another_slice():
    cluster = make()
    cluster.create(SERVICES, service(ports=[{"name": "http", "port": 80, "targetPort": "web"}]))
    for number, port in ((1, 8080), (2, 9090)):
        ports = [{"name": "web", "containerPort": port}]
        add_pod(cluster, number, containers=[{"name": "c", "image": "i", "ports": ports}])
    cluster.drain()
    found = {s["ports"][0]["port"]: [e["targetRef"]["name"] for e in s["endpoints"]] for s in slices(cluster)}
    assert found == {8080: ["p1"], 9090: ["p2"]}
    subsets = cluster.get(ENDPOINTS, "web")["subsets"]
    assert [s["ports"] for s in subsets] == [
        [{"name": "http", "port": port, "protocol": "TCP"}] for port in (8080, 9090)
    ]  # fmt: skip


def test_endpoints_are_as_a_real_one():
    cluster = make()
    cluster.create(SERVICES, service(clusterIP="None"))
    add_pod(cluster, 2)
    add_pod(cluster, 1, ready=False)
    cluster.drain()
    found = cluster.get(ENDPOINTS, "web")
    assert found["metadata"]["labels"] == {
        "endpoints.kubernetes.io/managed-by": "endpoint-controller", "service.kubernetes.io/headless": ""
    }  # fmt: skip
    (subset,) = found["subsets"]
    assert [(a["ip"], a["nodeName"], a["targetRef"]["name"]) for a in subset["addresses"]] == [("10.0.0.3", "n1", "p2")]
    assert [a["ip"] for a in subset["notReadyAddresses"]] == ["10.0.0.2"]
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert slices(cluster)[0]["metadata"]["labels"]["service.kubernetes.io/headless"] == ""


def test_a_pods_own_name_below_its_service():
    cluster = make()
    cluster.create(SERVICES, service(clusterIP="None"))
    add_pod(cluster, 1, hostname="first", subdomain="web")
    add_pod(cluster, 2, hostname="second", subdomain="other")
    cluster.drain()
    assert [e.get("hostname") for e in slices(cluster)[0]["endpoints"]] == ["first", None]


def test_traffic_stays_in_the_zone_or_on_the_node():
    for version, distribution, hints in (
        ("1.36", "PreferSameZone", {"forZones": [{"name": "z1"}]}),
        ("1.36", "PreferSameNode", {"forZones": [{"name": "z1"}], "forNodes": [{"name": "n1"}]}),
        ("1.33", "PreferClose", {"forZones": [{"name": "z1"}]}),
        ("1.33", "PreferSameNode", None),
    ):
        cluster = make(version=version)
        cluster.add_node("n1", labels={"topology.kubernetes.io/zone": "z1"})
        cluster.create(SERVICES, service(trafficDistribution=distribution))
        add_pod(cluster, 1)
        add_pod(cluster, 2, ready=False)
        cluster.drain()
        ready, waiting = slices(cluster)[0]["endpoints"]
        assert (ready["zone"], ready.get("hints")) == ("z1", hints)
        assert "hints" not in waiting


def test_labels_that_change_move_a_pod():
    cluster = make()
    cluster.create(SERVICES, service())
    add_pod(cluster, 1, labels={"a": "c"})
    cluster.drain()
    assert slices(cluster)[0]["endpoints"] is None
    for value, names in (("b", ["p1"]), ("c", [])):
        record = cluster.store.get(PODS, f"{NS}/p1")
        cluster.trusted.replace(PODS, record, labels={"a": value})
        cluster.drain()
        assert [e["targetRef"]["name"] for e in slices(cluster)[0]["endpoints"] or ()] == names


def test_a_changed_selector_or_port_rewrites_the_slices():
    cluster = make()
    cluster.create(SERVICES, service())
    add_pod(cluster, 1)
    add_pod(cluster, 2, labels={"x": "y"})
    cluster.drain()
    cluster.apply(SERVICES, "web", selector={"x": "y"}, ports=[{"port": 81, "protocol": "TCP", "targetPort": 8081}])
    cluster.drain()
    (slice_,) = slices(cluster)
    assert [e["targetRef"]["name"] for e in slice_["endpoints"]] == ["p2"]
    assert slice_["ports"][0]["port"] == 8081


def test_a_deleted_or_changed_slice_is_made_good():
    cluster = make()
    cluster.create(SERVICES, service())
    add_pod(cluster, 1)
    cluster.drain()
    cluster.delete(ENDPOINTSLICES, slices(cluster)[0]["metadata"]["name"])
    cluster.drain()
    (slice_,) = slices(cluster)
    record = cluster.store.get(ENDPOINTSLICES, f"{NS}/{slice_['metadata']['name']}")
    cluster.trusted.replace(ENDPOINTSLICES, record, body={"addressType": "IPv4", "endpoints": None, "ports": None})
    cluster.drain()
    assert len(slices(cluster)[0]["endpoints"]) == 1
    cluster.delete(ENDPOINTS, "web")
    cluster.drain()
    assert len(cluster.get(ENDPOINTS, "web")["subsets"]) == 1


def test_all_goes_with_the_service():
    cluster = make()
    cluster.create(SERVICES, service())
    add_pod(cluster, 1)
    cluster.drain()
    cluster.delete(SERVICES, "web")
    cluster.drain()
    assert (slices(cluster), cluster.names(ENDPOINTS)) == ([], [])


def test_endpoints_that_people_write_are_mirrored():
    cluster = make()
    cluster.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}})
    addresses = [{"ip": f"192.0.{i // 200}.{i % 200 + 1}"} for i in range(120)]
    subset = {"addresses": addresses, "notReadyAddresses": [{"ip": "192.0.2.250"}], "ports": [{"port": 80}]}
    cluster.create(ENDPOINTS, {"metadata": {"name": "web", "labels": {"l": "m"}}, "subsets": [subset]})
    cluster.drain()
    found = slices(cluster)
    assert sorted(len(s["endpoints"]) for s in found) == [21, 100]
    assert found[0]["metadata"]["labels"] == {
        "endpointslice.kubernetes.io/managed-by": "endpointslicemirroring-controller.k8s.io",
        "kubernetes.io/service-name": "web", "l": "m",
    }  # fmt: skip
    assert found[0]["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"
    assert sum(not e["conditions"]["ready"] for s in found for e in s["endpoints"]) == 1
    record = cluster.store.get(ENDPOINTS, f"{NS}/web")
    cluster.trusted.replace(ENDPOINTS, record, labels={"endpointslice.kubernetes.io/skip-mirror": "true"})
    cluster.drain()
    assert slices(cluster) == []


def test_the_api_server_tells_where_it_is():
    cluster = make()
    port = {"name": "https", "port": 443, "targetPort": 6443, "protocol": "TCP"}
    cluster.create(SERVICES, {"metadata": {"name": "kubernetes"}, "spec": {"ports": [port]}}, namespace="default")
    status = {"addresses": [{"type": "InternalIP", "address": "172.18.0.2"}]}
    labels = {"node-role.kubernetes.io/control-plane": ""}
    cluster.create(NODES, {"metadata": {"name": "cp", "labels": labels}, "status": status})
    cluster.drain()
    endpoints = cluster.get(ENDPOINTS, "kubernetes", "default")
    assert endpoints["metadata"]["labels"] == {"endpointslice.kubernetes.io/skip-mirror": "true"}
    assert endpoints["subsets"] == [{
        "addresses": [{"ip": "172.18.0.2"}], "ports": [{"name": "https", "port": 6443, "protocol": "TCP"}],
    }]  # fmt: skip
    (slice_,) = cluster.all(ENDPOINTSLICES, "default")
    assert slice_["metadata"]["labels"] == {"kubernetes.io/service-name": "kubernetes"}
    assert slice_["endpoints"] == [{"addresses": ["172.18.0.2"], "conditions": {"ready": True}}]
    assert slice_["ports"] == [{"name": "https", "protocol": "TCP", "port": 6443}]


def test_pods_move_to_a_slice_with_the_new_port():
    cluster = make()
    cluster.create(SERVICES, service())
    for number in range(3):
        add_pod(cluster, number)
    cluster.drain()
    cluster.apply(SERVICES, "web", ports=[{"port": 81, "protocol": "TCP", "targetPort": 8081}])
    cluster.drain()
    (slice_,) = slices(cluster)
    assert [p["port"] for p in slice_["ports"]] == [8081]
    assert len(slice_["endpoints"]) == 3
