"""The Python client `lightkube` on a real cluster: what people write with it."""

import pytest

from clients.manifests import GROUP, SCRIPT, definition, deployment, pod

pytest.importorskip("lightkube.codecs", reason="lightkube is not installed here, only its models")
from lightkube import ApiError, AsyncClient, Client, KubeConfig, codecs
from lightkube.generic_resource import create_namespaced_resource, load_in_cluster_generic_resources
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod
from lightkube.types import CascadeType, PatchType

from kubedyno.base import aio

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def client(kubeconfig, namespace):
    config = KubeConfig.from_file(str(kubeconfig))
    return Client(config=config, namespace=namespace, field_manager="lightkube-test")


def test_objects_are_applied_waited_for_and_deleted(client):
    web = codecs.from_dict(deployment("web", 2))
    applied = client.apply(web)
    assert applied.metadata.managedFields[0].operation == "Apply"
    client.wait(Deployment, "web", for_conditions=["Available"])
    assert [p.status.phase for p in client.list(Pod, labels={"app": "web"})] == ["Running", "Running"]
    patched = client.patch(Deployment, "web", {"metadata": {"labels": {"a": "b"}}}, patch_type=PatchType.MERGE)
    assert patched.metadata.labels == {"a": "b"}
    operations = [{"op": "add", "path": "/metadata/labels/c", "value": "d"}]
    assert client.patch(Deployment, "web", operations, patch_type=PatchType.JSON).metadata.labels == {
        "a": "b",
        "c": "d",
    }
    scale = client.get(Deployment.Scale, "web")
    scale.spec.replicas = 1
    assert client.replace(scale, "web").spec.replicas == 1
    client.delete(Deployment, "web", cascade=CascadeType.FOREGROUND)
    with pytest.raises(ApiError) as refused:
        client.patch(Deployment, "other", {"metadata": {"labels": {}}})
    assert refused.value.status.code == 404


def test_two_managers_conflict_and_one_may_force(client, namespace):
    client.apply(codecs.from_dict(deployment("web", 1)))
    other = codecs.from_dict(deployment("web", 2))
    with pytest.raises(ApiError) as refused:
        client.apply(other, field_manager="other")
    assert refused.value.status.code == 409
    assert client.apply(other, field_manager="other", force=True).spec.replicas == 2


def test_a_watch_begins_where_a_list_was(client):
    client.create(ConfigMap(metadata=ObjectMeta(name="a")))
    listed = client.list(ConfigMap, fields={"metadata.name": "a"})
    names = [item.metadata.name for item in listed]
    client.create(ConfigMap(metadata=ObjectMeta(name="b")))
    client.delete(ConfigMap, "a")
    found = []
    for operation, item in client.watch(ConfigMap, resource_version=listed.resourceVersion, server_timeout=10):
        found.append((operation, item.metadata.name))
        if operation == "DELETED":
            break
    assert (names, found) == (["a"], [("ADDED", "b"), ("DELETED", "a")])


def test_a_definition_becomes_a_generic_resource(client, kubeconfig, namespace):
    client.apply(codecs.from_dict(definition("Lamp")))
    client.wait(CustomResourceDefinition, f"lamps.{GROUP}", for_conditions=["Established"])
    Lamp = create_namespaced_resource(GROUP, "v1", "Lamp", "lamps")  # noqa: N806 - a class
    made = client.create(Lamp(metadata={"name": "l"}, spec={"color": "green"}))
    assert made.spec == {"color": "green", "size": 1}
    status = client.patch(Lamp.Status, "l", {"status": {"lit": True}}, patch_type=PatchType.MERGE)
    assert status.status == {"lit": True}
    assert [lamp.metadata.name for lamp in client.list(Lamp)] == ["l"]
    load_in_cluster_generic_resources(client)
    client.delete(Lamp, "l")
    client.delete(CustomResourceDefinition, f"lamps.{GROUP}")


def test_many_clients_at_once_read_logs_and_wait(kubeconfig, namespace):
    async def scene():
        client = AsyncClient(config=KubeConfig.from_file(str(kubeconfig)), namespace=namespace)
        await client.create(codecs.from_dict(pod("web", **{"kubedyno.io/exec": SCRIPT})))
        await client.wait(Pod, "web", for_conditions=["Ready"])
        lines = [line async for line in client.log("web")]
        assert lines == ["one\n", "two\n", "three\n"]
        assert [p.metadata.name async for p in client.list(Pod)] == ["web"]
        await client.delete(Pod, "web", grace_period=0)

    aio.run(scene())
