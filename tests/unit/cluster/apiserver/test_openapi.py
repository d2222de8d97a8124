"""The OpenAPI documents: paths, operation ids and parameters as the real server names them, in v3, v2 and protobuf."""

import re

import orjson
import pytest

from kubedyno.cluster.apiserver.openapiproto import CONTENT_TYPE, MEDIA
from unit.cluster.apiserver.harness import Api

APPS = "/apis/apps/v1/namespaces/{namespace}/deployments"


def fields(message: bytes) -> dict[int, list[bytes | int]]:
    """Return a protobuf message's fields by number."""
    found: dict[int, list[bytes | int]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = varint()
        size = varint()
        if key & 7 == 2:
            found.setdefault(key >> 3, []).append(message[at : at + size])
            at += size
        else:
            found.setdefault(key >> 3, []).append(size)
    return found


def named(message: bytes) -> tuple[str, bytes]:
    pair = fields(message)
    return pair[1][0].decode(), pair[2][0]


@pytest.mark.parametrize(
    ("path", "method", "operation", "action"),
    [
        ("/apis/apps/v1/deployments", "get", "listAppsV1DeploymentForAllNamespaces", "list"),
        (APPS, "get", "listAppsV1NamespacedDeployment", "list"),
        (APPS, "post", "createAppsV1NamespacedDeployment", "post"),
        (APPS, "delete", "deleteAppsV1CollectionNamespacedDeployment", "deletecollection"),
        (f"{APPS}/{{name}}", "put", "replaceAppsV1NamespacedDeployment", "put"),
        (f"{APPS}/{{name}}/scale", "get", "readAppsV1NamespacedDeploymentScale", "get"),
    ],
)
def test_operations_are_named_as_the_real_servers(api: Api, path, method, operation, action):
    found = api.call("GET", "/openapi/v3/apis/apps/v1").json["paths"][path][method]
    assert (found["operationId"], found["x-kubernetes-action"]) == (operation, action)


def test_a_scale_is_described_as_what_it_is(api: Api):
    document = api.call("GET", "/openapi/v3/apis/apps/v1").json
    patch = document["paths"][f"{APPS}/{{name}}/scale"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}
    assert "fieldValidation" in {parameter["name"] for parameter in patch["parameters"]}
    answer = patch["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert answer.removeprefix("#/components/schemas/") in document["components"]["schemas"]


def test_lists_are_answered_with_lists_and_deletions_with_a_status(api: Api):
    item = api.call("GET", "/openapi/v3/apis/apps/v1").json["paths"][APPS]
    listed = item["get"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert listed == "#/components/schemas/io.k8s.api.apps.v1.DeploymentList"
    deleted = item["delete"]["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert deleted == "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.Status"


def test_entering_a_pod_is_to_connect(api: Api):
    paths = api.call("GET", "/openapi/v3/api/v1").json["paths"]
    entered = paths["/api/v1/namespaces/{namespace}/pods/{name}/exec"]
    assert entered["post"]["operationId"] == "connectCoreV1PostNamespacedPodExec"
    assert entered["get"]["x-kubernetes-action"] == "connect"


@pytest.mark.parametrize("path", ["/openapi/v2", "/openapi/v3/api/v1", "/openapi/v3/apis/rbac.authorization.k8s.io/v1"])
def test_every_reference_leads_somewhere_and_ids_are_unique(api: Api, path):
    document = api.call("GET", path).json
    schemas = document["definitions"] if "definitions" in document else document["components"]["schemas"]
    lead = "#/definitions/" if "definitions" in document else "#/components/schemas/"
    text = orjson.dumps(document).decode()
    references = set(re.findall(r'"\$ref":"([^"]*)"', text))
    shared = {f"#/parameters/{name}" for name in document.get("parameters", ())}
    assert references <= {f"{lead}{name}" for name in schemas} | shared
    assert shared <= references
    ids = re.findall(r'"operationId":"([^"]*)"', text)
    assert len(ids) == len(set(ids)) > 5


def test_go_clients_get_v2_as_protobuf_with_the_same_paths_and_definitions(api: Api):
    answer = api.call("GET", "/openapi/v2", headers={"accept": MEDIA})
    assert (answer.status, answer.media) == (200, CONTENT_TYPE)
    plain = api.call("GET", "/openapi/v2").json
    document = fields(answer.body)
    assert document[1] == [b"2.0"]
    paths = dict(named(pair) for pair in fields(document[8][0])[2])
    definitions = dict(named(pair) for pair in fields(document[9][0])[1])
    assert (set(paths), set(definitions)) == (set(plain["paths"]), set(plain["definitions"]))
    deployment = fields(definitions["io.k8s.api.apps.v1.Deployment"])
    properties = dict(named(pair) for pair in fields(deployment[25][0])[1])
    assert set(properties) == {"apiVersion", "kind", "metadata", "spec", "status"}
    extensions = dict(named(pair) for pair in deployment[31])
    about = orjson.loads(fields(extensions["x-kubernetes-group-version-kind"])[2][0])
    assert about == [{"group": "apps", "kind": "Deployment", "version": "v1"}]
    patched = fields(fields(paths[f"{APPS}/{{name}}"])[8][0])
    assert patched[5] == [b"patchAppsV1NamespacedDeployment"]
    assert len(patched[8]) == len(plain["paths"][f"{APPS}/{{name}}"]["patch"]["parameters"])
