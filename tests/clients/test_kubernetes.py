"""The Python client `kubernetes` on a real cluster: what people write with it."""

import threading
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from clients.conftest import eventually
from clients.manifests import GROUP, SCRIPT, definition, deployment, pod

kubernetes = pytest.importorskip("kubernetes", reason="Python's Kubernetes client is not installed here")
from kubernetes import client, config, dynamic, utils, watch  # noqa: E402
from kubernetes.client.exceptions import ApiException  # noqa: E402
from kubernetes.leaderelection import electionconfig, leaderelection  # noqa: E402
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock  # noqa: E402
from kubernetes.stream import portforward, stream  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
WAIT_S = 20


@pytest.fixture
def api(kubeconfig):
    with config.new_client_from_config(str(kubeconfig)) as made:
        yield made


def seen(resource_list, true, **how):
    """Watch until something is true of an object, and return it."""
    watcher = watch.Watch()
    for event in watcher.stream(resource_list, timeout_seconds=WAIT_S, **how):
        if true(event):
            watcher.stop()
            return event["object"]
    pytest.fail("it never came to that")
    return None


def test_a_deployment_is_created_watched_patched_scaled_and_deleted(api, namespace):
    apps, core = client.AppsV1Api(api), client.CoreV1Api(api)
    made = apps.create_namespaced_deployment(namespace, deployment("web", 2))
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    seen(apps.list_namespaced_deployment, lambda e: e["object"].status.ready_replicas == 2, namespace=namespace)
    assert {p.status.phase for p in core.list_namespaced_pod(namespace, label_selector="app=web").items} == {"Running"}
    # A list of patches is a JSON patch, anything else a strategic one.
    patched = apps.patch_namespaced_deployment("web", namespace, {"metadata": {"labels": {"tier": "front"}}})
    assert patched.metadata.labels == {"tier": "front"}
    operations = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "nginx:1.28"}]
    patched = apps.patch_namespaced_deployment("web", namespace, operations)
    assert patched.spec.template.spec.containers[0].image == "nginx:1.28"
    scaled = apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    assert (scaled.kind, scaled.spec.replicas) == ("Scale", 3)
    apps.delete_namespaced_deployment("web", namespace, propagation_policy="Foreground")
    eventually(lambda: not core.list_namespaced_pod(namespace).items)


def test_what_was_read_is_changed_and_written_back_unless_somebody_was_faster(api, namespace):
    core = client.CoreV1Api(api)
    core.create_namespaced_pod(namespace, pod("web"))
    seen(core.list_namespaced_pod, lambda e: e["object"].status.phase == "Running", namespace=namespace)
    read, stale = (core.read_namespaced_pod("web", namespace) for _ in range(2))
    read.metadata.labels = {"x": "y"}
    written = core.replace_namespaced_pod("web", namespace, read)
    assert written.metadata.labels == {"x": "y"}
    assert written.status.start_time == read.status.start_time
    with pytest.raises(ApiException) as refused:
        core.replace_namespaced_pod("web", namespace, stale)
    assert (refused.value.status, refused.value.reason) == (409, "Conflict")


def test_a_watch_goes_on_where_it_ended(api, namespace):
    core = client.CoreV1Api(api)
    first = core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}})
    version = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.patch_namespaced_config_map("a", namespace, {"data": {"x": "1"}})
    core.delete_namespaced_config_map("a", namespace)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "b"}})
    events = []
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, namespace, resource_version=version,
                                timeout_seconds=WAIT_S):  # fmt: skip
        events.append((event["type"], event["object"].metadata.name))
        if event["object"].metadata.name == "b":
            watcher.stop()
    assert events == [("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "b")]
    assert int(watcher.resource_version) > int(first.metadata.resource_version)


def test_pages_of_a_list_are_one_list(api, namespace):
    core = client.CoreV1Api(api)
    for number in range(5):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"c{number}", "labels": {"of": "pages"}}})
    names, token, left = [], None, []
    while token != "":
        page = core.list_namespaced_config_map(namespace, limit=2, _continue=token, label_selector="of=pages")
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue or ""
        left.append(page.metadata.remaining_item_count)
    assert names == [f"c{number}" for number in range(5)]
    assert len(left) == 3


def test_a_manifest_is_created_from_yaml(api, namespace, tmp_path):
    path = tmp_path / "all.yaml"
    path.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n"
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n"
        "spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: busybox}]}}}\n"
    )
    utils.create_from_yaml(api, str(path), namespace=namespace)
    batch = client.BatchV1Api(api)
    done = seen(batch.list_namespaced_job, lambda e: e["object"].status.succeeded == 1, namespace=namespace)
    assert done.metadata.name == "j"
    with pytest.raises(utils.FailToCreateError, match="AlreadyExists"):
        utils.create_from_yaml(api, str(path), namespace=namespace)


def test_the_dynamic_client_applies_and_sees_conflicts(api, namespace):
    found = dynamic.DynamicClient(api)
    resource = found.resources.get(api_version="apps/v1", kind="Deployment")
    applied = resource.server_side_apply(body=deployment("web", 2), namespace=namespace, field_manager="one")
    assert applied.spec.replicas == 2
    with pytest.raises(ApiException) as refused:
        resource.server_side_apply(body=deployment("web", 3), namespace=namespace, field_manager="two")
    assert refused.value.status == 409
    cause = orjson.loads(refused.value.body)["details"]["causes"][0]
    assert (cause["message"], cause["field"]) == ('conflict with "one"', ".spec.replicas")
    forced = resource.server_side_apply(
        body=deployment("web", 3), namespace=namespace, field_manager="two", force_conflicts=True
    )
    entries = forced.metadata.managedFields
    # Beside them its controller's, which owns of the status.
    owners = {entry.manager: entry.fieldsV1.to_dict().get("f:spec", {}) for entry in entries}
    assert "f:replicas" in owners["two"]
    assert "f:replicas" not in owners["one"]
    assert [item.metadata.name for item in resource.get(namespace=namespace, label_selector="app!=x").items] == ["web"]


def test_custom_resources_of_a_new_definition(api, namespace):
    extensions = client.ApiextensionsV1Api(api)
    extensions.create_custom_resource_definition(definition("Gadget"))
    name = f"gadgets.{GROUP}"

    def established(event):
        conditions = event["object"].status.conditions or []
        return any(c.type == "Established" and c.status == "True" for c in conditions)

    seen(extensions.list_custom_resource_definition, established, field_selector=f"metadata.name={name}")
    where = (GROUP, "v1", namespace, "gadgets")
    custom = client.CustomObjectsApi(api)
    body = {"apiVersion": f"{GROUP}/v1", "kind": "Gadget", "metadata": {"name": "g"}, "spec": {"color": "red"}}
    assert custom.create_namespaced_custom_object(*where, body)["spec"] == {"color": "red", "size": 1}
    patched = custom.patch_namespaced_custom_object(*where, "g", {"spec": {"size": 4}})
    assert (patched["spec"]["size"], patched["metadata"]["generation"]) == (4, 2)
    status = custom.patch_namespaced_custom_object_status(*where, "g", {"status": {"size": 4}, "spec": {"size": 9}})
    assert (status["status"], status["spec"]["size"]) == ({"size": 4}, 4)
    assert custom.get_namespaced_custom_object_scale(*where, "g")["status"]["replicas"] == 4
    with pytest.raises(ApiException) as refused:
        custom.patch_namespaced_custom_object(*where, "g", {"spec": {"size": 0}})
    assert refused.value.status == 422
    assert len(custom.list_namespaced_custom_object(*where)["items"]) == 1
    custom.delete_namespaced_custom_object(*where, "g")
    resource = dynamic.DynamicClient(api).resources.get(api_version=f"{GROUP}/v1", kind="Gadget")
    assert resource.get(namespace=namespace).items == []
    extensions.delete_custom_resource_definition(name)


def test_commands_logs_and_ports_of_a_pod(api, namespace):
    core = client.CoreV1Api(api)
    core.create_namespaced_pod(namespace, pod("web", **{"kubedyno.io/exec": SCRIPT}))
    seen(core.list_namespaced_pod, lambda e: e["object"].status.phase == "Running", namespace=namespace)
    streams = {"stderr": True, "stdin": False, "stdout": True, "tty": False}
    connect = core.connect_get_namespaced_pod_exec
    assert stream(connect, "web", namespace, command=["echo", "hi"], **streams) == "said\n"
    session = stream(
        core.connect_get_namespaced_pod_exec, "web", namespace, command=["sh", "-c", "x"], _preload_content=False,
        **streams,
    )  # fmt: skip
    session.run_forever(timeout=10)
    assert (session.returncode, session.read_stderr()) == (3, "no\n")
    assert core.read_namespaced_pod_log("web", namespace) == "one\ntwo\nthree\n"
    assert core.read_namespaced_pod_log("web", namespace, tail_lines=1) == "three\n"
    with pytest.raises(ApiException) as refused:
        core.read_namespaced_pod_log("web", namespace, previous=True)
    assert refused.value.status == 400
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, "web", namespace, ports="80")
    socket = forwarded.socket(80)
    socket.settimeout(10)
    socket.sendall(b"GET / HTTP/1.0\r\n\r\n")
    data = b""
    while piece := socket.recv(1000):
        data += piece
    assert data.endswith(b"hey")


def test_an_eviction_respects_the_budget(api, namespace):
    core, policy = client.CoreV1Api(api), client.PolicyV1Api(api)
    client.AppsV1Api(api).create_namespaced_deployment(namespace, deployment("web", 1))
    seen(core.list_namespaced_pod, lambda e: e["object"].status.phase == "Running", namespace=namespace)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    policy.create_namespaced_pod_disruption_budget(namespace, {"metadata": {"name": "web"}, "spec": spec})
    budgets = policy.list_namespaced_pod_disruption_budget
    seen(budgets, lambda e: e["object"].status and e["object"].status.expected_pods == 1, namespace=namespace)
    name = core.list_namespaced_pod(namespace).items[0].metadata.name
    eviction = client.V1Eviction(metadata=client.V1ObjectMeta(name=name, namespace=namespace))
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_pod_eviction(name, namespace, eviction)
    assert refused.value.status == 429
    policy.delete_namespaced_pod_disruption_budget("web", namespace)
    core.create_namespaced_pod_eviction(name, namespace, eviction)
    eventually(lambda: name not in {item.metadata.name for item in core.list_namespaced_pod(namespace).items})


def test_a_token_of_a_service_account_opens_what_its_role_allows(api, namespace, kubeconfig):
    core = client.CoreV1Api(api)
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "bot"}})
    spec = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=3600))
    token = core.create_namespaced_service_account_token("bot", namespace, spec).status
    assert token.expiration_timestamp - datetime.now(UTC) > timedelta(minutes=55)
    own = client.Configuration()
    own.host, own.ssl_ca_cert = api.configuration.host, api.configuration.ssl_ca_cert
    own.api_key = {"authorization": f"Bearer {token.token}"}
    bot = client.ApiClient(own)
    with pytest.raises(ApiException) as refused:
        client.CoreV1Api(bot).list_namespaced_pod(namespace)
    assert refused.value.status == 403
    rbac = client.RbacAuthorizationV1Api(api)
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "r"}, "rules": rules})
    binding = {
        "metadata": {"name": "r"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "bot", "namespace": namespace}],
    }
    rbac.create_namespaced_role_binding(namespace, binding)
    assert client.CoreV1Api(bot).list_namespaced_pod(namespace).items == []
    review = client.AuthenticationV1Api(bot).create_self_subject_review(client.V1SelfSubjectReview())
    assert review.status.user_info.username == f"system:serviceaccount:{namespace}:bot"


def test_one_of_two_candidates_leads_and_the_other_takes_over(kubeconfig, namespace):
    config.load_kube_config(str(kubeconfig))

    def candidate(name):
        return leaderelection.LeaderElection(
            electionconfig.Config(
                LeaseLock("lock", namespace, name), lease_duration=3, renew_deadline=2, retry_period=1,
                onstarted_leading=print, onstopped_leading=None,
            )
        )  # fmt: skip

    def holder():
        return client.CoordinationV1Api().read_namespaced_lease("lock", namespace).spec.holder_identity

    first, second = candidate("a"), candidate("b")
    assert first.try_acquire_or_renew()
    assert not second.try_acquire_or_renew()
    assert first.try_acquire_or_renew()
    assert holder() == "a"
    # The first renews no more.
    assert second.acquire()
    assert holder() == "b"
    assert not first.try_acquire_or_renew()


def test_an_informer_like_loop_keeps_a_true_copy(api, namespace):
    core = client.CoreV1Api(api)
    copy: dict[str, str] = {}
    listed = core.list_namespaced_config_map(namespace)
    copy |= {item.metadata.name: item.metadata.resource_version for item in listed.items}
    ready = threading.Event()

    def follow():
        watcher = watch.Watch()
        ready.set()
        for event in watcher.stream(core.list_namespaced_config_map, namespace, timeout_seconds=WAIT_S,
                                    resource_version=listed.metadata.resource_version,
                                    allow_watch_bookmarks=True):  # fmt: skip
            if event["type"] == "BOOKMARK":
                continue
            metadata = event["object"].metadata
            if event["type"] == "DELETED":
                copy.pop(metadata.name)
            else:
                copy[metadata.name] = metadata.resource_version
            if metadata.name == "last":
                watcher.stop()

    thread = threading.Thread(target=follow)
    thread.start()
    ready.wait(WAIT_S)
    for number in range(30):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"c{number}"}})
        if number % 3 == 0:
            core.patch_namespaced_config_map(f"c{number}", namespace, {"data": {"n": str(number)}})
        if number % 5 == 0:
            core.delete_namespaced_config_map(f"c{number}", namespace)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "last"}})
    thread.join(WAIT_S)
    there = core.list_namespaced_config_map(namespace).items
    assert copy == {item.metadata.name: item.metadata.resource_version for item in there}
