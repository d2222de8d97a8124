"""Claims and volumes: bound, provisioned for the first consumer, released and lost."""

import pytest

from kubedyno.kube.resources import CLAIMS, PODS, STATEFULSETS, STORAGECLASSES, VOLUMES

from .conftest import NS, Cluster, workload

WAIT_TEXT = "waiting for first consumer to be created before binding"


def make(**settings):
    cluster = Cluster(**settings)
    cluster.create(STORAGECLASSES, {
        "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "rancher.io/local-path", "volumeBindingMode": "WaitForFirstConsumer",
    })  # fmt: skip
    cluster.create(STORAGECLASSES, {
        "metadata": {"name": "fast"}, "provisioner": "kubedyno.io/disk", "allowVolumeExpansion": True,
    })  # fmt: skip
    return cluster


def claim(name="data", size="1Gi", **spec):
    modes = ["ReadWriteOnce"]
    made = {"accessModes": modes, "resources": {"requests": {"storage": size}}, **spec}
    return {"metadata": {"name": name}, "spec": made}


def volume(name="v", size="1Gi", **spec):
    made = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}, **spec}
    return {"metadata": {"name": name}, "spec": made}


def user(name="p", claim="data"):
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}}


def phase(cluster, name="data"):
    return cluster.get(CLAIMS, name)["status"]["phase"]


def test_a_claim_waits_for_a_pod_and_then_has_a_volume():
    cluster = make()
    cluster.create(CLAIMS, claim())
    cluster.drain()
    assert (phase(cluster), cluster.events("PersistentVolumeClaim")) == ("Pending", [WAIT_TEXT])
    cluster.create(PODS, user())
    cluster.drain()
    found = cluster.get(CLAIMS, "data")
    name = f"pvc-{found['metadata']['uid']}"
    assert found["spec"]["volumeName"] == name
    assert found["status"] == {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    assert found["metadata"]["annotations"] == {
        "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
        "volume.beta.kubernetes.io/storage-provisioner": "rancher.io/local-path",
        "volume.kubernetes.io/selected-node": "n1", "volume.kubernetes.io/storage-provisioner": "rancher.io/local-path",
    }  # fmt: skip
    made = cluster.get(VOLUMES, name)
    assert made["status"]["phase"] == "Bound"
    assert made["spec"]["claimRef"]["uid"] == found["metadata"]["uid"]
    assert made["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
    term = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert term == {"key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"]}
    assert cluster.events("PersistentVolumeClaim", "ProvisioningSucceeded") == [
        f"Successfully provisioned volume {name}"
    ]
    assert cluster.events("PersistentVolumeClaim", "Provisioning") == [
        f'External provisioner is provisioning volume for claim "{NS}/data"'
    ]


def test_a_class_that_does_not_wait_gives_at_once():
    cluster = make()
    cluster.create(CLAIMS, claim(storageClassName="fast"))
    cluster.drain()
    assert phase(cluster) == "Bound"
    assert "nodeAffinity" not in cluster.all(VOLUMES)[0]["spec"]


def test_the_smallest_volume_that_is_enough_is_bound():
    cluster = make()
    cluster.create(VOLUMES, volume("small", "1Gi"))
    cluster.create(VOLUMES, volume("large", "50Gi"))
    cluster.create(VOLUMES, volume("right", "5Gi"))
    cluster.create(VOLUMES, volume("other", "5Gi", storageClassName="standard"))
    cluster.drain()
    assert {v["status"]["phase"] for v in cluster.all(VOLUMES)} == {"Available"}
    cluster.create(CLAIMS, claim(size="4Gi", storageClassName=""))
    cluster.drain()
    assert (phase(cluster), cluster.get(CLAIMS, "data")["spec"]["volumeName"]) == ("Bound", "right")
    assert cluster.get(CLAIMS, "data")["status"]["capacity"] == {"storage": "5Gi"}
    assert cluster.get(VOLUMES, "right")["metadata"]["annotations"] == {"pv.kubernetes.io/bound-by-controller": "yes"}


def test_a_volume_that_comes_later_is_bound_too():
    cluster = make()
    cluster.create(CLAIMS, claim(storageClassName=""))
    cluster.drain()
    assert cluster.events("PersistentVolumeClaim", "FailedBinding") == [
        "no persistent volumes available for this claim and no storage class is set"
    ]
    cluster.create(VOLUMES, volume())
    cluster.drain()
    assert phase(cluster) == "Bound"


def test_a_class_that_is_not_there_is_said():
    cluster = make()
    cluster.create(CLAIMS, claim(storageClassName="none"))
    cluster.drain()
    assert cluster.events("PersistentVolumeClaim", "ProvisioningFailed") == [
        'storageclass.storage.k8s.io "none" not found'
    ]


def test_a_driver_that_does_not_run_gives_nothing():
    cluster = make()
    cluster.create(STORAGECLASSES, {"metadata": {"name": "csi"}, "provisioner": "csi.example.com"})
    cluster.create(CLAIMS, claim(storageClassName="csi"))
    cluster.advance(60)
    assert (phase(cluster), cluster.names(VOLUMES)) == ("Pending", [])
    (text,) = cluster.events("PersistentVolumeClaim", "ExternalProvisioning")
    assert text.startswith("Waiting for a volume to be created either by the external provisioner 'csi.example.com'")


def test_a_deleted_claim_releases_its_volume_by_its_policy():
    cluster = make()
    cluster.create(VOLUMES, volume("kept"))
    cluster.drain()
    cluster.create(CLAIMS, claim("one", storageClassName=""))
    cluster.create(CLAIMS, claim("two", storageClassName="fast"))
    cluster.drain()
    assert [phase(cluster, name) for name in ("one", "two")] == ["Bound", "Bound"]
    for name in ("one", "two"):
        cluster.delete(CLAIMS, name)
    cluster.drain()
    assert [(v["metadata"]["name"], v["status"]["phase"]) for v in cluster.all(VOLUMES)] == [("kept", "Released")]


def test_a_claim_whose_volume_goes_is_lost():
    cluster = make()
    cluster.create(VOLUMES, volume())
    cluster.create(CLAIMS, claim(storageClassName=""))
    cluster.drain()
    record = cluster.store.get(VOLUMES, "v")
    cluster.trusted.replace(VOLUMES, record, finalizers=[])
    cluster.delete(VOLUMES, "v")
    cluster.drain()
    assert phase(cluster) == "Lost"


def test_a_claim_grows():
    cluster = make()
    cluster.create(CLAIMS, claim(storageClassName="fast"))
    cluster.drain()
    cluster.apply(CLAIMS, "data", resources={"requests": {"storage": "3Gi"}})
    cluster.drain()
    cluster.create(PODS, user("p"))
    cluster.advance(5)
    assert cluster.get(CLAIMS, "data")["status"]["capacity"] == {"storage": "3Gi"}
    assert cluster.all(VOLUMES)[0]["spec"]["capacity"] == {"storage": "3Gi"}


def claims_set(**spec):
    template = {"metadata": {"name": "data", "labels": {"x": "y"}}, "spec": claim()["spec"]}
    made = workload("w", serviceName="s", replicas=2, volumeClaimTemplates=[template], **spec)
    made["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] = [{"name": "data", "mountPath": "/d"}]
    return made


def test_a_statefulset_makes_its_claims_and_keeps_them():
    cluster = make()
    cluster.create(STATEFULSETS, claims_set())
    cluster.drain()
    assert cluster.names(CLAIMS) == ["data-w-0", "data-w-1"]
    made = cluster.get(CLAIMS, "data-w-0")
    assert (made["metadata"]["labels"], made["status"]["phase"]) == ({"a": "b", "x": "y"}, "Bound")
    assert "ownerReferences" not in made["metadata"]
    assert cluster.events("StatefulSet", "SuccessfulCreate")[:2] == [
        "Create Claim data-w-0 Pod w-0 in StatefulSet w success", "Create Pod w-0 in StatefulSet w successful"
    ]  # fmt: skip
    cluster.apply(STATEFULSETS, "w", replicas=1)
    cluster.drain()
    cluster.delete(STATEFULSETS, "w", policy="Background")
    cluster.drain()
    assert cluster.names(CLAIMS) == ["data-w-0", "data-w-1"]


def test_claims_go_with_the_set_or_with_its_pods_when_it_says_so():
    cluster = make()
    policy = {"whenDeleted": "Delete", "whenScaled": "Delete"}
    cluster.create(STATEFULSETS, claims_set(persistentVolumeClaimRetentionPolicy=policy))
    cluster.drain()
    assert cluster.get(CLAIMS, "data-w-0")["metadata"]["ownerReferences"][0]["kind"] == "StatefulSet"
    cluster.apply(STATEFULSETS, "w", replicas=1)
    cluster.drain()
    assert cluster.names(CLAIMS) == ["data-w-0"]
    cluster.delete(STATEFULSETS, "w", policy="Background")
    cluster.drain()
    assert (cluster.names(CLAIMS), cluster.names(VOLUMES)) == ([], [])


def test_a_class_may_have_its_volumes_kept():
    cluster = make()
    cluster.create(STORAGECLASSES, {
        "metadata": {"name": "kept"}, "provisioner": "kubedyno.io/disk", "reclaimPolicy": "Retain",
    })  # fmt: skip
    cluster.create(CLAIMS, claim(storageClassName="kept"))
    cluster.drain()
    assert phase(cluster) == "Bound"
    cluster.delete(CLAIMS, "data")
    cluster.drain()
    assert [v["status"]["phase"] for v in cluster.all(VOLUMES)] == ["Released"]


@pytest.mark.parametrize(("asked", "words"), [
    ({"size": "2Gi"}, "requested PV is too small"),
    ({"storageClassName": "other"}, "storageClassName does not match"),
    ({"accessModes": ["ReadWriteMany"]}, "incompatible accessMode"),
    ({"volumeMode": "Block"}, "incompatible volumeMode"),
])  # fmt: skip
def test_a_volume_that_is_asked_for_must_fit(asked, words):
    cluster = make()
    cluster.create(VOLUMES, volume())
    cluster.create(CLAIMS, claim(**{"storageClassName": "", "volumeName": "v", **asked}))
    cluster.drain()
    assert phase(cluster) == "Pending"
    assert cluster.events("PersistentVolumeClaim", "VolumeMismatch") == [
        f'Cannot bind to requested volume "v": {words}'
    ]


def test_a_volume_of_somebody_else_is_told():
    cluster = make()
    cluster.create(VOLUMES, volume(claimRef={"namespace": NS, "name": "other"}))
    cluster.create(CLAIMS, claim(storageClassName="", volumeName="v"))
    cluster.drain()
    assert phase(cluster) == "Pending"
    assert cluster.events("PersistentVolumeClaim", "FailedBinding") == [
        'volume "v" already bound to a different claim.'
    ]
    cluster.delete(VOLUMES, "v")
    cluster.drain()
    cluster.create(VOLUMES, volume())
    cluster.drain()
    assert phase(cluster) == "Bound"


def test_a_pod_that_waits_for_its_node_is_named():
    cluster = make(kubelet=False)
    cluster.create(CLAIMS, claim())
    cluster.create(PODS, user("p"))
    cluster.create(PODS, user("q"))
    cluster.drain()
    cluster.advance(16)
    assert cluster.events("PersistentVolumeClaim", "WaitForPodScheduled")[-1] == "waiting for pod p,q to be scheduled"


def test_a_claim_that_grows_waits_for_its_provisioner():
    cluster = make()
    cluster.create(CLAIMS, claim(storageClassName="fast"))
    cluster.drain()
    cluster.apply(CLAIMS, "data", resources={"requests": {"storage": "3Gi"}})
    cluster.drain()
    assert cluster.events("PersistentVolumeClaim", "ExternalExpanding") == [
        "waiting for an external controller to expand this PVC"
    ]
    status = cluster.get(CLAIMS, "data")["status"]
    assert [c["type"] for c in status["conditions"]] == ["Resizing"]
    assert status["allocatedResourceStatuses"] == {"storage": "ControllerResizeInProgress"}
    cluster.advance(5)
    status = cluster.get(CLAIMS, "data")["status"]
    assert [c["type"] for c in status["conditions"]] == ["FileSystemResizePending"]
    assert status["allocatedResourceStatuses"] == {"storage": "NodeResizePending"}
    assert status["capacity"] != {"storage": "3Gi"}
    cluster.create(PODS, user("p"))
    cluster.advance(5)
    status = cluster.get(CLAIMS, "data")["status"]
    assert status["capacity"] == {"storage": "3Gi"}
    assert not {"conditions", "allocatedResources", "allocatedResourceStatuses"} & status.keys()


def test_a_block_volume_grows_without_a_node():
    cluster = make()
    cluster.create(CLAIMS, claim(storageClassName="fast", volumeMode="Block"))
    cluster.drain()
    cluster.apply(CLAIMS, "data", resources={"requests": {"storage": "3Gi"}})
    cluster.advance(5)
    assert cluster.get(CLAIMS, "data")["status"]["capacity"] == {"storage": "3Gi"}
    assert len(cluster.events("PersistentVolumeClaim", "VolumeResizeSuccessful")) == 1
