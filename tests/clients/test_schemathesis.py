"""Requests that schemathesis makes of our own OpenAPI documents: right ones, and wrong ones of every sort.

Whatever comes, the answer is one that the documents or the API's conventions know: no 500, no traceback, nothing that
hangs, a Status with its code where it is no. The cluster is one of its own, as its nodes and namespaces may go.
"""

import json
import os
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from clients.conftest import kubectl
from kubedyno.kube import yaml
from kubedyno.lab import embedded
from kubedyno.lab.settings import cluster_settings

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed here")
import http.client  # noqa: E402

import requests  # noqa: E402

# As many Warning headers come as unknown fields go.
http.client._MAXHEADERS = 1000

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
NAME, NAMESPACE = "fuzz", "fuzzed"
PATHS = ("api/v1", "apis/apps/v1", "apis/batch/v1", "apis/networking.k8s.io/v1", "apis/rbac.authorization.k8s.io/v1",
         "apis/policy/v1", "apis/autoscaling/v2", "apis/storage.k8s.io/v1", "apis/coordination.k8s.io/v1",
         "apis/apiextensions.k8s.io/v1", "apis/discovery.k8s.io/v1", "apis/admissionregistration.k8s.io/v1",
         "apis/certificates.k8s.io/v1", "apis/scheduling.k8s.io/v1")  # fmt: skip
# Answers that the real server's documents leave out, and its conventions name.
REFUSALS = {400, 403, 404, 405, 406, 409, 410, 413, 415, 422, 429}
# What the requests are aimed at, all of one name.
OBJECTS = (
    "run a --image=nginx", "create deployment a --image=nginx", "create configmap a", "create service clusterip a --tcp=80",
    "create secret generic a", "create job a --image=busybox", "create role a --verb=get --resource=pods", "create sa a",
    "create ingress a --rule=x/*=a:80", "create pdb a --selector=a=b --min-available=1", "create quota a",
    "create cronjob a --image=busybox --schedule=@daily", "create clusterrole a --verb=get --resource=pods",
    "create rolebinding a --clusterrole=a --user=a", "create priorityclass a --value=1",
)  # fmt: skip
# It returns these errors as they are, as which they are 500.
REAL_500 = (
    "resourceVersion: Invalid value", "target.name: Required value", "list element types are not identical",
    "does not contain declared merge key",
)  # fmt: skip
EXAMPLES = int(os.environ.get("KUBEDYNO_FUZZ_EXAMPLES", "400"))
LIMIT_S = 10


@dataclass
class Server:
    """The cluster, a session with its credentials, and its log."""

    url: str
    session: requests.Session
    log: Path

    def document(self, path: str) -> dict[str, Any]:
        return dict(self.session.get(f"{self.url}/openapi/v3/{path}", timeout=LIMIT_S).json())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    before = os.environ.get("KUBEDYNO_HOME")
    os.environ["KUBEDYNO_HOME"] = str(tmp_path_factory.mktemp("fuzz"))
    made, _ = cluster_settings(name=NAME, speed=0.0, idle_timeout="10m")
    try:
        kubeconfig = embedded.up(made).kubeconfig
        kubectl(kubeconfig, "create", "namespace", NAMESPACE)
        for words in OBJECTS:
            kubectl(kubeconfig, "-n", NAMESPACE, *words.split())
        config = yaml.load(kubeconfig.read_text())
        session = requests.Session()
        authority = kubeconfig.parent / "ca.pem"
        authority.write_bytes(b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]))
        session.trust_env, session.verify = False, str(authority)
        session.headers["Authorization"] = f"Bearer {config['users'][0]['user']['token']}"
        log = kubeconfig.parent / "log"
        yield Server(config["clusters"][0]["cluster"]["server"], session, log)
    finally:
        embedded.down(NAME)
        if before is None:
            del os.environ["KUBEDYNO_HOME"]
        else:
            os.environ["KUBEDYNO_HOME"] = before


def tame(case: Any) -> None:
    """Aim a request at what is there, and have it end."""
    path, query = case.path_parameters, case.query
    if "namespace" in path:
        path["namespace"] = NAMESPACE
    if "name" in path:
        path["name"] = "a"
    query.pop("follow", None)
    if "watch" in query or "/watch/" in case.operation.path:
        query["timeoutSeconds"] = 1


def is_the_real_servers_500(answer: requests.Response) -> bool:
    """Say whether an answer is one of the few that the real server gives with code 500 and no reason."""
    return answer.status_code == 500 and any(text in answer.text for text in REAL_500)


def check(case: Any, answer: requests.Response) -> None:
    """Hold an answer against the document and the API's conventions."""
    about = f"{case.method} {case.formatted_path}: {answer.status_code} {answer.text[:500]}"
    documented = {int(code) for code in case.operation.definition.raw["responses"] if code.isdigit()}
    # What a proxy did not reach, and lists that are to be newer than everything, which are refused after a while.
    excused = answer.status_code == 503 and case.operation.path.removesuffix("/{path}").endswith("/proxy")
    excused |= answer.status_code == 504 and "Too large resource version" in answer.text
    excused |= is_the_real_servers_500(answer)
    assert answer.status_code in documented | REFUSALS or excused, about
    media = answer.headers["content-type"][0].partition(";")[0]
    if case.method == "HEAD":
        assert not answer.content, about
    elif answer.status_code >= 400 and media == "application/json":
        status = answer.json()
        assert (status["kind"], status["code"]) == ("Status", answer.status_code), about
        assert status["message"], about
    elif answer.status_code < 300:
        content = case.operation.definition.raw["responses"][str(answer.status_code)].get("content", {})
        assert {media, "*/*"} & {name.partition(";")[0] for name in content}, about


def test_whatever_the_documents_allow_or_forbid_is_answered_as_the_conventions_say(server):
    operations = []
    for path in PATHS:
        schema = schemathesis.openapi.from_dict(server.document(path))
        operations += [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 300
    # Streams need an upgrade; its refusals are tested where they are made.
    entered = ("/exec", "/attach", "/portforward")
    chosen = [operation for operation in operations if not operation.path.endswith(entered)]

    @given(st.sampled_from(chosen).flatmap(lambda operation: operation.as_strategy()))
    @settings(max_examples=EXAMPLES, derandomize=True, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    def answered(case):
        tame(case)
        wanted = {"Authorization": server.session.headers["Authorization"]}
        answer = case.call(
            base_url=server.url, session=server.session, headers=wanted, verify=server.session.verify, timeout=LIMIT_S
        )
        check(case, answer)

    answered()
    assert server.session.get(f"{server.url}/livez", timeout=LIMIT_S).text == "ok"
    assert "Traceback" not in server.log.read_text()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
BODIES = {
    "pods": {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "x", "resources": {}}]}},
    "services": {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}},
    "configmaps": {"metadata": {"name": "a", "labels": {"a": "b"}}, "data": {"x": "y"}},
}


@st.composite
def spoiled(draw):
    """Return a resource and an object of it with one value in it replaced by anything."""
    plural = draw(st.sampled_from(sorted(BODIES)))
    body = orjson.loads(orjson.dumps(BODIES[plural]))
    places = []

    def walk(value, path):
        places.append(path)
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            walk(value[key], (*path, key))

    walk(body, ())
    path = draw(st.sampled_from(places))
    anything = draw(JSON)
    if not path:
        return plural, anything
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = anything
    return plural, body


@given(
    spoiled(), st.sampled_from(["POST", "PUT", "merge-patch+json", "strategic-merge-patch+json", "apply-patch+yaml"])
)
@settings(max_examples=EXAMPLES // 2, derandomize=True, database=None, phases=[Phase.generate],
          suppress_health_check=list(HealthCheck))  # fmt: skip
def test_an_object_with_anything_in_any_place_is_taken_or_refused(server, made, how):
    plural, body = made
    collection = f"{server.url}/api/v1/namespaces/{NAMESPACE}/{plural}"
    method = how if how.isupper() else "PATCH"
    media = "application/json" if how.isupper() else f"application/{how}"
    answer = server.session.request(
        method,
        collection if how == "POST" else f"{collection}/a",
        params={"fieldManager": "fuzz", "dryRun": "All"},
        data=json.dumps(body),
        headers={"content-type": media},
        timeout=LIMIT_S,
    )
    refused = answer.status_code in REFUSALS or is_the_real_servers_500(answer)
    assert answer.status_code in {200, 201} or refused, f"{how} {plural} {body}: {answer.text[:500]}"
    assert answer.json()["kind"] in {"Status", "Pod", "Service", "ConfigMap"}
