"""componentstatuses and bindings, requests for certificates, and the resize of a pod: parts that few clients know."""

import base64

import pytest

from kubedyno.cluster.settings import ClusterSettings
from unit.cluster.apiserver.harness import ADMIN, NS, TOKEN, Api

MERGE = {"authorization": f"Bearer {TOKEN}", "content-type": "application/merge-patch+json"}
STRATEGIC = {**MERGE, "content-type": "application/strategic-merge-patch+json"}
PODS = f"/api/v1/namespaces/{NS}/pods"
CSRS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
CSR = base64.b64encode(b"-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n").decode()


def test_components_are_healthy_while_they_answer(api: Api):
    answer = api.call("GET", "/api/v1/componentstatuses")
    assert answer.json["kind"] == "ComponentStatusList"
    assert [item["metadata"]["name"] for item in answer.json["items"]] == ["scheduler", "controller-manager", "etcd-0"]
    assert answer.header("warning") == ['299 - "v1 ComponentStatus is deprecated in v1.19+"']
    one = api.call("GET", "/api/v1/componentstatuses/etcd-0").json
    assert one["conditions"] == [{"type": "Healthy", "status": "True", "message": "ok"}]
    assert api.call("GET", "/api/v1/componentstatuses/none").status == 404
    chosen = api.call("GET", "/api/v1/componentstatuses?fieldSelector=metadata.name%3Dscheduler").json
    assert len(chosen["items"]) == 1
    table = {"authorization": f"Bearer {TOKEN}", "accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    rows = api.call("GET", "/api/v1/componentstatuses", headers=table).json["rows"]
    assert rows[0]["cells"] == ["scheduler", "Healthy", "ok", ""]


def test_a_binding_in_its_collection_binds_the_pod_that_it_names(api: Api):
    api.call("POST", PODS, {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    path = f"/api/v1/namespaces/{NS}/bindings"
    target = {"kind": "Node", "name": "n1"}
    assert api.call("POST", path, {"metadata": {"name": "none"}, "target": target}).status == 404
    assert api.call("POST", path, {"metadata": {"name": "p"}, "target": target}).status == 201
    assert api.call("GET", f"{PODS}/p").json["spec"]["nodeName"] == "n1"


# --- certificates --------------------------------------------------------------------------------------------------


def add_csr(api: Api, **spec) -> None:
    spec = {"request": CSR, "signerName": "example.com/x", "usages": ["client auth"], **spec}
    assert api.call("POST", CSRS, {"metadata": {"name": "r"}, "spec": spec}).status == 201


def decide(api: Api, *kinds: str, sub: str = "approval"):
    conditions = [{"type": kind, "status": "True", "reason": "r", "message": "m"} for kind in kinds]
    return api.call("PATCH", f"{CSRS}/r/{sub}", {"status": {"conditions": conditions}}, MERGE)


def test_a_request_for_a_certificate_says_who_asked(api: Api):
    add_csr(api, username="somebody else")
    spec = api.call("GET", f"{CSRS}/r").json["spec"]
    assert (spec["username"], spec["groups"]) == (ADMIN.name, list(ADMIN.groups))


def test_an_approval_sets_conditions_and_their_times_alone(api: Api):
    add_csr(api)
    body = {
        "spec": {"signerName": "other.com/x"},
        "status": {"certificate": "eA==", "conditions": [{"type": "Approved", "status": "True"}]},
    }
    answer = api.call("PATCH", f"{CSRS}/r/approval", body, MERGE)
    assert answer.status == 200
    (condition,) = answer.json["status"]["conditions"]
    assert condition["lastUpdateTime"] == condition["lastTransitionTime"] != ""
    assert "certificate" not in answer.json["status"]
    assert answer.json["spec"]["signerName"] == "example.com/x"


def test_a_decision_stays(api: Api):
    add_csr(api)
    assert decide(api, "Approved").status == 200
    answer = decide(api)
    assert 'updates may not remove a condition of type \\"Approved\\"' in answer.body.decode()
    assert "mutually exclusive" in decide(api, "Approved", "Denied").body.decode()


def test_a_write_of_the_status_decides_nothing(api: Api):
    add_csr(api)
    assert decide(api, "Approved", sub="status").status == 200
    assert "conditions" not in api.call("GET", f"{CSRS}/r").json["status"]
    assert 'updates may not add a condition of type \\"Failed\\"' in decide(api, "Failed").body.decode()
    assert decide(api, "Failed", sub="status").status == 200


# --- resize ----------------------------------------------------------------------------------------------------------


def amounts(cpu="100m", memory="64Mi", limit="200m"):
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": limit, "memory": "128Mi"}}


def add_pod(api: Api, **spec) -> None:
    second = {"name": "d", "image": "i", "resources": {"requests": {"memory": "1Mi"}}}
    containers = [{"name": "c", "image": "i", "resources": amounts()}, second]
    pod = {"metadata": {"name": "p"}, "spec": {"containers": containers, **spec}}
    assert api.call("POST", PODS, pod).status == 201


def resize(api: Api, spec):
    return api.call("PATCH", f"{PODS}/p/resize", {"spec": spec}, STRATEGIC)


def test_a_resize_changes_amounts_and_nothing_else(api: Api):
    add_pod(api)
    before = api.call("GET", f"{PODS}/p").json
    answer = resize(
        api, {"containers": [{"name": "c", "image": "other", "resources": amounts("150m")}], "hostname": "h"}
    )
    assert answer.status == 200
    spec = answer.json["spec"]
    assert spec["containers"][0] == {**before["spec"]["containers"][0], "resources": amounts("150m")}
    assert "hostname" not in spec
    assert answer.json["metadata"]["generation"] == 2
    assert api.call("GET", f"{PODS}/p/resize").json["spec"] == spec


SIDECAR = {"name": "i", "image": "i", "restartPolicy": "Always", "resources": amounts()}
INIT = {"name": "i", "image": "i", "resources": amounts()}


@pytest.mark.parametrize(
    ("extra", "spec", "message"),
    [
        ({}, {"containers": [{"name": "d", "resources": {"requests": None}}]}, "resource requests cannot be removed"),
        ({}, {"containers": [{"name": "c", "resources": {"limits": {"cpu": None}}}]}, "resource limits cannot be removed"),
        (
            {},
            {"containers": [{"name": "c", "resources": {"limits": {"ephemeral-storage": "1Gi"}}}]},
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            {},
            {"containers": [{"name": "c", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]},
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        ({}, {"containers": [{"name": "c", "resources": {"requests": {"cpu": "300m"}}}]}, "must be less than or equal to cpu limit"),
        ({}, {"containers": [{"name": "e", "image": "i"}]}, "containers may not be added or removed on resize"),
        (
            {"initContainers": [INIT]},
            {"initContainers": [{"name": "i", "resources": amounts("150m")}]},
            "resources for non-sidecar init containers are immutable",
        ),
        (
            {"os": {"name": "windows"}},
            {"containers": [{"name": "c", "resources": amounts("150m")}]},
            "windows pods cannot be resized",
        ),
    ],
)  # fmt: skip
def test_what_a_resize_may_not_do_is_told_in_the_real_words(api: Api, extra, spec, message):
    add_pod(api, **extra)
    answer = resize(api, spec)
    assert answer.status == 422
    assert message in answer.json["message"]


def test_a_resize_renames_nothing_and_keeps_the_quality_of_service(api: Api):
    add_pod(api)
    pod = api.call("GET", f"{PODS}/p").json
    pod["spec"]["containers"].reverse()
    answer = api.call("PUT", f"{PODS}/p/resize", pod)
    text = "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"
    assert text in answer.json["message"]
    api.call("POST", PODS, {"metadata": {"name": "q"}, "spec": {"containers": [{"name": "c", "image": "i"}]}})
    body = {"spec": {"containers": [{"name": "c", "resources": amounts()}]}}
    answer = api.call("PATCH", f"{PODS}/q/resize", body, STRATEGIC)
    assert (
        'spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing'
        in answer.json["message"]
    )


MEMORY = {"memory": "1Gi"}


@pytest.mark.parametrize(
    ("version", "policy", "had", "verb"),
    [
        ("1.33", "NotRequired", MEMORY, "decreased"), ("1.33", "NotRequired", {}, "added"),
        ("1.33", "RestartContainer", MEMORY, ""), ("1.34", "NotRequired", MEMORY, ""),
    ],
)  # fmt: skip
def test_before_1_34_memory_is_not_taken_from_a_container_that_goes_on(version, policy, had, verb):
    api = Api(settings=ClusterSettings(version=version))
    container = {
        "name": "c", "image": "i", "resources": {"limits": {"cpu": "1", **had}, "requests": {"cpu": "100m", "memory": "1Mi"}},
        "resizePolicy": [{"resourceName": "memory", "restartPolicy": policy}],
    }  # fmt: skip
    assert api.call("POST", PODS, {"metadata": {"name": "p"}, "spec": {"containers": [container]}}).status == 201
    answer = resize(api, {"containers": [{"name": "c", "resources": {"limits": {"memory": "700Mi"}}}]})
    text = f"spec.containers[0].resources.limits[memory]: Forbidden: memory limits cannot be {verb} unless resizePolicy is "
    assert answer.status == (422 if verb else 200)
    assert not verb or text + "RestartContainer" in answer.json["message"]


def test_a_sidecar_is_resized_too(api: Api):
    add_pod(api, initContainers=[SIDECAR])
    answer = resize(api, {"initContainers": [{"name": "i", "resources": amounts("150m")}]})
    assert answer.json["spec"]["initContainers"][0]["resources"] == amounts("150m")


def test_the_row_of_a_finished_pod_says_that_it_is(api: Api):
    table = {"authorization": f"Bearer {TOKEN}", "accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    rows = {}
    for phase in ("Running", "Succeeded", "Failed"):
        name = phase.lower()
        pod = {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        assert api.call("POST", PODS, pod).status == 201
        assert api.call("PATCH", f"{PODS}/{name}/status", {"status": {"phase": phase}}, MERGE).status == 200
        (rows[phase],) = api.call("GET", f"{PODS}/{name}", headers=table).json["rows"]
    assert "conditions" not in rows["Running"]
    said = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    for phase, message in said.items():
        condition = {"type": "Completed", "status": "True", "reason": phase, "message": message}
        assert rows[phase]["conditions"] == [condition]
