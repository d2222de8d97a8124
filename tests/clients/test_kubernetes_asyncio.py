"""The Python client `kubernetes_asyncio` on a real cluster: what people write with it."""

import asyncio

import pytest

from clients.manifests import GROUP, SCRIPT, definition, deployment, pod
from kubedyno.base import aio

kubernetes_asyncio = pytest.importorskip("kubernetes_asyncio", reason="kubernetes_asyncio is not installed here")
from kubernetes_asyncio import client, config, dynamic, watch  # noqa: E402
from kubernetes_asyncio.client.exceptions import ApiException  # noqa: E402
from kubernetes_asyncio.stream import WsApiClient  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
WAIT_S = 20


@pytest.fixture
def play(kubeconfig):
    """Run a coroutine function with a client of the cluster."""

    def run(scene):
        async def played():
            settings = client.Configuration()
            await config.load_kube_config(str(kubeconfig), client_configuration=settings)
            async with aio.timeout(60), client.ApiClient(settings) as api:
                await scene(api, settings)

        aio.run(played())

    return run


async def until(listing, true, **how):
    """Watch until something is true of an object."""
    async with watch.Watch().stream(listing, timeout_seconds=WAIT_S, **how) as events:
        async for event in events:
            if true(event):
                return event["object"]
    return pytest.fail("it never came to that")


def test_fifty_pods_at_once_are_created_watched_and_deleted(play, namespace):
    async def scene(api, _):
        core = client.CoreV1Api(api)
        await asyncio.gather(*(core.create_namespaced_pod(namespace, pod(f"p{i}")) for i in range(50)))
        running = set()

        def all_run(event):
            if event["object"].status.phase == "Running":
                running.add(event["object"].metadata.name)
            return len(running) == 50

        await until(core.list_namespaced_pod, all_run, namespace=namespace)
        await core.delete_collection_namespaced_pod(namespace, grace_period_seconds=0)
        assert (await core.list_namespaced_pod(namespace)).items == []

    play(scene)


def test_a_deployment_is_patched_and_a_stale_one_refused(play, namespace):
    async def scene(api, _):
        apps = client.AppsV1Api(api)
        await apps.create_namespaced_deployment(namespace, deployment("web", 1))
        patched = await apps.patch_namespaced_deployment(
            "web", namespace, {"spec": {"replicas": 2}}, _content_type="application/merge-patch+json"
        )
        assert patched.spec.replicas == 2
        patched.metadata.resource_version = "1"
        with pytest.raises(ApiException) as refused:
            await apps.replace_namespaced_deployment("web", namespace, patched)
        assert refused.value.status == 409
        applied = await apps.patch_namespaced_deployment(
            "web", namespace, deployment("web", 3), field_manager="one", force=True,
            _content_type="application/apply-patch+yaml",
        )  # fmt: skip
        assert applied.spec.replicas == 3
        await until(
            apps.list_namespaced_deployment, lambda e: e["object"].status.ready_replicas == 3, namespace=namespace
        )

    play(scene)


def test_commands_and_logs_of_a_pod(play, namespace):
    async def scene(api, settings):
        core = client.CoreV1Api(api)
        await core.create_namespaced_pod(namespace, pod("web", **{"kubedyno.io/exec": SCRIPT}))
        await until(core.list_namespaced_pod, lambda e: e["object"].status.phase == "Running", namespace=namespace)
        async with WsApiClient(settings) as sockets:
            said = await client.CoreV1Api(sockets).connect_get_namespaced_pod_exec(
                "web", namespace, command=["echo", "hi"], stdout=True, stderr=True, stdin=False, tty=False
            )
        assert said == "said\n"
        assert await core.read_namespaced_pod_log("web", namespace, tail_lines=2) == "two\nthree\n"

    play(scene)


def test_custom_resources_of_a_new_definition(play, namespace):
    async def scene(api, _):
        extensions = client.ApiextensionsV1Api(api)
        await extensions.create_custom_resource_definition(definition("Valve"))
        name = f"valves.{GROUP}"
        is_there = lambda e: any(c.type == "Established" for c in e["object"].status.conditions or [])  # noqa: E731
        await until(extensions.list_custom_resource_definition, is_there, field_selector=f"metadata.name={name}")
        custom, where = client.CustomObjectsApi(api), (GROUP, "v1", namespace, "valves")
        body = {"apiVersion": f"{GROUP}/v1", "kind": "Valve", "metadata": {"name": "v"}}
        await custom.create_namespaced_custom_object(*where, body)
        resource = await (await dynamic.DynamicClient(api)).resources.get(api_version=f"{GROUP}/v1", kind="Valve")
        patched = await resource.patch(
            body={"spec": {"size": 2}}, name="v", namespace=namespace, content_type="application/merge-patch+json"
        )
        assert patched.spec.size == 2
        await extensions.delete_custom_resource_definition(name)

    play(scene)
