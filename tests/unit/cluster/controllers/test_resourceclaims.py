"""Claims on devices and on a pod's own volumes: made for it, given back, and deleted with it."""

from kubedyno.kube.resources import CLAIMS, PODS, RESOURCECLAIMS, RESOURCECLAIMTEMPLATES

from .conftest import NS, Cluster

FINALIZER = "resource.kubernetes.io/delete-protection"
ALLOCATION = {"devices": {"results": [{"request": "r", "driver": "d.example.com", "pool": "p", "device": "x"}]}}


def template(cluster, name="t", **metadata):
    spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    cluster.create(RESOURCECLAIMTEMPLATES, {"metadata": {"name": name}, "spec": {"metadata": metadata, "spec": spec}})


def pod(cluster, name="p", template="t", **spec):
    claims = [{"name": "gpu", "resourceClaimTemplateName": template}]
    containers = [{"name": "c", "image": "i"}]
    cluster.create(
        PODS, {"metadata": {"name": name}, "spec": {"containers": containers, "resourceClaims": claims, **spec}}
    )
    cluster.drain()


def claim(cluster):
    (found,) = cluster.all(RESOURCECLAIMS)
    return found


def allocate(cluster, *pods):
    """Do what the scheduler does."""
    record = cluster.store.get(RESOURCECLAIMS, f"{NS}/{claim(cluster)['metadata']['name']}")
    reserved = [{"resource": "pods", "name": p, "uid": cluster.get(PODS, p)["metadata"]["uid"]} for p in pods]
    record = cluster.trusted.replace(RESOURCECLAIMS, record, finalizers=[FINALIZER])
    cluster.trusted.replace_status(RESOURCECLAIMS, record, {"allocation": ALLOCATION, "reservedFor": reserved})
    cluster.drain()


def test_a_template_becomes_a_claim_of_the_pod():
    cluster = Cluster(kubelet=False)
    template(cluster, labels={"a": "b"}, annotations={"x": "y"})
    pod(cluster)
    made = claim(cluster)
    metadata, owner = made["metadata"], made["metadata"]["ownerReferences"][0]
    assert metadata["name"].startswith("p-gpu-")
    assert metadata["generateName"] == "p-gpu-"
    assert metadata["labels"] == {"a": "b"}
    assert metadata["annotations"] == {"x": "y", "resource.kubernetes.io/pod-claim-name": "gpu"}
    assert (owner["kind"], owner["name"], owner["controller"], owner["blockOwnerDeletion"]) == ("Pod", "p", True, True)
    assert made["spec"]["devices"]["requests"][0]["exactly"]["count"] == 1
    assert cluster.get(PODS, "p")["status"]["resourceClaimStatuses"] == [
        {"name": "gpu", "resourceClaimName": metadata["name"]}
    ]


def test_a_template_that_is_missing_is_told_and_waited_for():
    cluster = Cluster(kubelet=False)
    pod(cluster)
    (text,) = set(cluster.events("Pod", "FailedResourceClaimCreation"))
    assert text == (
        'PodResourceClaim gpu: resource claim template "t": resourceclaimtemplate.resource.k8s.io "t" not found'
    )
    template(cluster)
    cluster.drain()
    assert cluster.get(PODS, "p")["status"]["resourceClaimStatuses"][0]["name"] == "gpu"
    assert len(cluster.all(RESOURCECLAIMS)) == 1


def test_devices_are_given_back_when_the_pod_is_done_and_its_claim_goes():
    cluster = Cluster(kubelet=False)
    template(cluster)
    pod(cluster)
    allocate(cluster, "p")
    cluster.set_ready(cluster.trusted.bind(cluster.store.get(PODS, f"{NS}/p"), "n1"))
    cluster.drain()
    assert claim(cluster)["status"]["allocation"] == ALLOCATION
    cluster.set_ready(cluster.store.get(PODS, f"{NS}/p"), ready=False, phase="Succeeded")
    cluster.drain()
    assert cluster.all(RESOURCECLAIMS) == []


def test_a_claim_that_pods_share_stays_until_the_last_one():
    cluster = Cluster(kubelet=False)
    spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}
    cluster.create(RESOURCECLAIMS, {"metadata": {"name": "c"}, "spec": spec})
    for name in ("a", "b"):
        claims = [{"name": "gpu", "resourceClaimName": "c"}]
        containers = [{"name": "c", "image": "i"}]
        cluster.create(PODS, {"metadata": {"name": name}, "spec": {"containers": containers, "resourceClaims": claims}})
    allocate(cluster, "a", "b")
    cluster.delete(PODS, "a")
    cluster.drain()
    assert [entry["name"] for entry in claim(cluster)["status"]["reservedFor"]] == ["b"]
    cluster.delete(RESOURCECLAIMS, "c")
    cluster.drain()
    assert claim(cluster)["status"]["allocation"] == ALLOCATION
    cluster.delete(PODS, "b")
    cluster.drain()
    assert cluster.all(RESOURCECLAIMS) == []


def test_a_pod_that_was_given_its_node_by_hand_has_its_claim_reserved():
    cluster = Cluster(kubelet=False)
    template(cluster)
    pod(cluster)
    allocate(cluster)
    cluster.trusted.bind(cluster.store.get(PODS, f"{NS}/p"), "n1")
    cluster.drain()
    assert [entry["name"] for entry in claim(cluster)["status"]["reservedFor"]] == ["p"]


def test_before_1_34_nothing_is_made():
    cluster = Cluster(kubelet=False, version="1.33")
    template(cluster)
    pod(cluster)
    assert cluster.all(RESOURCECLAIMS) == []


# --- ephemeral volumes ---------------------------------------------------------------------------------------------


def scratch(cluster, name="p"):
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    own = {"metadata": {"labels": {"a": "b"}}, "spec": wanted}
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": own}}]
    containers = [{"name": "c", "image": "i"}]
    cluster.create(PODS, {"metadata": {"name": name}, "spec": {"containers": containers, "volumes": volumes}})
    cluster.drain()


def test_a_pods_own_volume_has_a_claim_that_goes_with_it():
    cluster = Cluster(kubelet=False)
    scratch(cluster)
    made = cluster.get(CLAIMS, "p-scratch")
    assert made["metadata"]["labels"] == {"a": "b"}
    assert [r["name"] for r in made["metadata"]["ownerReferences"]] == ["p"]
    cluster.delete(PODS, "p")
    cluster.advance(60)
    assert cluster.all(CLAIMS) == []


def test_a_claim_of_somebody_else_is_not_taken():
    cluster = Cluster(kubelet=False)
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    cluster.create(CLAIMS, {"metadata": {"name": "p-scratch"}, "spec": wanted})
    scratch(cluster)
    assert set(cluster.events("Pod", "FailedBinding")) == {
        f"ephemeral volume scratch: PVC {NS}/p-scratch was not created for pod {NS}/p (pod is not owner)"
    }
    cluster.delete(CLAIMS, "p-scratch")
    cluster.advance(60)
    assert cluster.get(CLAIMS, "p-scratch")["metadata"]["ownerReferences"][0]["name"] == "p"
