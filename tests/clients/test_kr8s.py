"""The Python client `kr8s` on a real cluster: what people write with it."""

import gc

import pytest

from clients.manifests import GROUP, SCRIPT, definition, deployment, pod

kr8s = pytest.importorskip("kr8s", reason="kr8s is not installed here")
import httpx  # noqa: E402
from kr8s._async_utils import as_sync_func  # noqa: E402
from kr8s.objects import ConfigMap, CustomResourceDefinition, Deployment, Pod, Service, new_class  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def api(kubeconfig, namespace):
    made = kr8s.api(kubeconfig=str(kubeconfig), namespace=namespace)
    yield made
    # It has no way to be closed.
    as_sync_func(made._session.aclose)()
    gc.collect()


def test_a_deployment_is_made_scaled_waited_for_and_deleted(api, namespace):
    web = Deployment({**deployment("web", 1), "metadata": {"name": "web", "namespace": namespace}}, api=api)
    web.create()
    web.wait("condition=Available", timeout=90)
    web.scale(3)
    web.refresh()
    assert web.replicas == 3
    web.patch({"metadata": {"labels": {"a": "b"}}})
    web.label({"c": "d"})
    web.annotate({"note": "hi"})
    assert web.labels == {"a": "b", "c": "d"}
    assert {p.status.phase for p in web.pods()} <= {"Running", "Pending"}
    assert web.exists()
    web.delete(propagation_policy="Foreground")
    web.wait("delete", timeout=90)
    assert not web.exists()


def test_lists_and_watches(api, namespace):
    for name in ("a", "b"):
        ConfigMap({"metadata": {"name": name, "namespace": namespace, "labels": {"of": "kr8s"}}}, api=api).create()
    assert [c.name for c in api.get("configmaps", label_selector="of=kr8s", namespace=namespace)] == ["a", "b"]
    found = []
    for kind, item in api.watch("configmaps", label_selector={"of": "kr8s"}, namespace=namespace):
        found.append((kind, item.name))
        if found[-1] == ("ADDED", "b"):
            item.delete()
        if kind == "DELETED":
            break
    assert found == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "b")]


def test_commands_logs_and_ports_of_a_pod(api, namespace):
    body = pod("web", **{"kubedyno.io/exec": SCRIPT})
    body["metadata"] |= {"namespace": namespace, "labels": {"app": "web"}}
    body["spec"]["containers"][0]["ports"] = [{"containerPort": 80}]
    web = Pod(body, api=api)
    web.create()
    web.wait("condition=Ready", timeout=90)
    assert web.ready()
    assert web.exec(["echo", "hi"]).stdout == b"said\n"
    failed = web.exec(["sh", "-c", "x"], check=False)
    assert (failed.returncode, failed.stderr) == (3, b"no\n")
    assert list(web.logs()) == ["one", "two", "three"]
    with web.portforward(remote_port=80) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=10).text == "hey"
    service = Service(
        {
            "metadata": {"name": "web", "namespace": namespace},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        },
        api=api,
    )
    service.create()
    assert [p.name for p in service.ready_pods()] == ["web"]


def test_custom_resources_of_a_new_definition(api, namespace):
    crd = CustomResourceDefinition(definition("Clock"), api=api)
    crd.create()
    crd.wait("condition=Established", timeout=90)
    Clock = new_class(kind="Clock", version=f"{GROUP}/v1", namespaced=True, plural="clocks")  # noqa: N806 - a class
    clock = Clock({"metadata": {"name": "c", "namespace": namespace}, "spec": {"size": 2}}, api=api)
    clock.create()
    clock.patch({"status": {"at": "noon"}}, subresource="status")
    assert clock.status.at == "noon"
    assert [item.spec.size for item in api.get(f"clocks.{GROUP}", namespace=namespace)] == [2]
    with pytest.raises(kr8s.ServerError, match="greater than or equal to 1"):
        clock.patch({"spec": {"size": 0}})
    clock.delete()
    crd.delete()


def test_who_and_what_is_there(api):
    assert api.version()["gitVersion"].startswith("v1.")
    assert api.whoami() == "kubernetes-admin"
    assert {"pods", "deployments"} <= {resource["name"] for resource in api.api_resources()}
