"""Nonsense at the API: junk in the place of every member of recorded objects, and bytes changed at random.

Whatever comes is answered, by nothing that the log has a traceback of: an exception that nobody expected would be one.
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubedyno.kube import protobuf, yaml
from unit.cluster.apiserver.harness import NS, Api

GOLDEN = Path(__file__).parents[3] / "golden" / "registry"
JUNK: list[Any] = [
    None, True, -1, 1.5, 2**63, 2**70, 1e300, "", "a" * 300, "\0", "é/…", "-1", [], {}, [None], [[]], [{}],
    {"": None}, {"a": {}}, ["a", "a"],
]  # fmt: skip
# Bytes that mean something to one of the parsers.
TOKENS = [
    b"{", b"}", b"[", b"]", b":", b"- ", b"&a ", b"*a", b"!!", b"!!python/object:x ", b"\n", b"\0", b"\xff", b"|\n",
    b"? ", b"<<: *a", b"%YAML 9.9\n", b"---\n", b'"', b"'", b"1e999", b"NaN", b"\\u0000", b"\\ud800", b"[[" * 500,
    b'{"a":' * 500, b"2026-13-45", b"0x1g", b"\x80" * 11, b"\x08\xff\xff\xff\xff\x0f",
]  # fmt: skip
QUICK = settings(max_examples=400, derandomize=True, suppress_health_check=list(HealthCheck))
POD = {
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "c", "image": "nginx", "ports": [{"containerPort": 1}]}]},
}
PARTS: list[tuple[str, str, str, Any]] = [
    ("POST", f"/api/v1/namespaces/{NS}/pods/p/binding", "application/json",
     {"kind": "Binding", "apiVersion": "v1", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}),
    ("POST", f"/api/v1/namespaces/{NS}/pods/p/eviction", "application/json",
     {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "p"}, "deleteOptions": {"dryRun": ["All"]}}),
    ("POST", f"/api/v1/namespaces/{NS}/serviceaccounts/default/token", "application/json",
     {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
      "spec": {"audiences": ["a"], "expirationSeconds": 3600, "boundObjectRef": {"kind": "Pod", "name": "p"}}}),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", "application/json",
     {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
      "spec": {"user": "u", "groups": ["g"], "resourceAttributes": {"verb": "get"}, "extra": {"a": ["b"]}}}),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", "application/json",
     {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": "abc", "audiences": ["a"]}}),
    ("DELETE", f"/api/v1/namespaces/{NS}/pods/p", "application/json",
     {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "x"}, "propagationPolicy": "Orphan"}),
    ("PATCH", f"/api/v1/namespaces/{NS}/pods/p", "application/merge-patch+json", POD),
    ("PATCH", f"/api/v1/namespaces/{NS}/pods/p", "application/strategic-merge-patch+json",
     {**POD, "metadata": {"finalizers": ["a/b"], "labels": {"a": "b"}}}),
    ("PATCH", f"/api/v1/namespaces/{NS}/pods/p", "application/apply-patch+yaml",
     {"apiVersion": "v1", "kind": "Pod", **POD}),
    ("PATCH", f"/api/v1/namespaces/{NS}/pods/p", "application/json-patch+json",
     [{"op": "add", "path": "/metadata/labels/x", "value": "y"}, {"op": "move", "from": "/spec", "path": "/a"}]),
    ("PUT", f"/api/v1/namespaces/{NS}/pods/p/status", "application/json",
     {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p"}, "status": {"conditions": [{"type": "Ready"}]}}),
]  # fmt: skip


def recorded() -> list[tuple[str, Any]]:
    """Return (group/version/plural, object) of recorded creations, good and bad."""
    lines = [
        line for name in ("defaulting", "validation") for line in (GOLDEN / f"{name}.jsonl").read_text().splitlines()
    ]
    return [(row["api"], row["body"]) for row in map(json.loads, lines)]


def targets(api: Api) -> dict[str, tuple[str, str, str]]:
    """Return group/version/plural → (path, apiVersion, kind)."""
    found = {}
    for kind in api.registry.kinds.values():
        resource = kind.resource
        base = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.api_version}"
        inside = f"/namespaces/{NS}" if resource.namespaced else ""
        found[f"{resource.api_version}/{resource.plural}"] = (
            f"{base}{inside}/{resource.plural}?dryRun=All",
            resource.api_version,
            resource.kind,
        )
    return found


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from paths(value[key], (*above, key))


def put(value: Any, path: tuple[Any, ...], junk: Any) -> Any:
    if not path:
        return junk
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], junk)
    return copy


@pytest.fixture
def tracebacks(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test that something unexpected was logged in."""
    caplog.set_level(logging.WARNING)
    yield
    logged = [record for record in caplog.get_records("call") if record.exc_info]
    assert not logged, [f"{record.getMessage()}: {record.exc_info}" for record in logged[:3]]


def ask(api: Api, method: str, target: str, body: Any, media: str = "application/json") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = api.call(method, target, data, {"content-type": media})
    assert answer.status, (method, target, data)
    # Some recorded refusals are 500s too, with other words.
    assert b"Internal error occurred" not in answer.body, (method, target, data, answer.body)


@pytest.mark.usefixtures("tracebacks")
def test_junk_in_the_place_of_any_member_of_an_object_is_answered() -> None:
    api = Api()
    where = targets(api)
    seen = set()
    for name, obj in recorded():
        if name not in where or not isinstance(obj, dict):
            continue
        for path in paths(obj):
            shape = (name, tuple("[]" if isinstance(part, int) else part for part in path))
            if shape in seen:
                continue
            seen.add(shape)
            for junk in JUNK:
                ask(api, "POST", where[name][0], put(obj, path, junk))
    assert len(seen) > 1000


@pytest.mark.usefixtures("tracebacks")
@pytest.mark.parametrize(("method", "target", "media", "body"), PARTS)
def test_junk_in_the_place_of_any_member_of_another_body_is_answered(
    method: str, target: str, media: str, body: Any
) -> None:
    api = Api()
    ask(api, "POST", f"/api/v1/namespaces/{NS}/pods", POD)
    query = "?dryRun=All&fieldManager=f&force=true" if method == "PATCH" and "apply" in media else "?dryRun=All"
    for path in paths(body):
        for junk in JUNK:
            ask(api, method, target + query, put(body, path, junk), media)


EDITS = st.lists(
    st.tuples(st.integers(0, 1 << 16), st.integers(0, 24), st.sampled_from(TOKENS) | st.binary(max_size=4)),
    min_size=1,
    max_size=4,
)


def damaged(data: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for where, gone, come in edits:
        at = where % (len(data) + 1)
        data = data[:at] + come + data[at + gone :]
    return data


@pytest.mark.usefixtures("tracebacks")
@pytest.mark.parametrize("form", ["json", "yaml", "protobuf"])
def test_damaged_bytes_of_a_body_are_answered(form: str) -> None:
    api = Api()
    where = targets(api)
    bodies: list[tuple[str, bytes]] = []
    for name, obj in recorded()[:175]:
        if name in where:
            target, api_version, kind = where[name]
            document = {"apiVersion": api_version, "kind": kind, **obj}
            encode = {"json": orjson.dumps, "yaml": lambda d: yaml.dump(d).encode(), "protobuf": protobuf.encode}[form]
            bodies.append((target, encode(document)))
    media = "application/vnd.kubernetes.protobuf" if form == "protobuf" else f"application/{form}"

    @QUICK
    @given(st.sampled_from(bodies), EDITS)
    def check(one: tuple[str, bytes], edits: list[tuple[int, int, bytes]]) -> None:
        ask(api, "POST", one[0], damaged(one[1], edits), media)

    check()


ODD = [
    "", "-1", "0", "9" * 30, "abc", "%00", "%ff", "%", "&", "=", "a=b", "a in (b", "!a", ",", "metadata.name=x", "true",
    "é", "a" * 2000, "W10=", "*/*", "application/*", "application/json;q=x", "application/json;as=Table;v=v2;g=x",
    "Bearer ", "Basic YQ==", "gzip",
]  # fmt: skip


@pytest.mark.usefixtures("tracebacks")
def test_odd_parameters_and_headers_are_answered() -> None:
    api = Api()
    ask(api, "POST", f"/api/v1/namespaces/{NS}/pods", POD)
    pods = f"/api/v1/namespaces/{NS}/pods"
    for value in ODD:
        for name in (
            "limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector", "pretty",
            "dryRun", "fieldManager", "fieldValidation", "propagationPolicy", "gracePeriodSeconds", "includeObject",
            "tailLines", "sinceSeconds", "sinceTime", "limitBytes", "container", "force",
        ):  # fmt: skip
            for target in (pods, f"{pods}/p", f"{pods}/p/log", "/apis", "/livez", "/openapi/v3"):
                ask(api, "GET", f"{target}?{name}={value}", b"")
            ask(api, "DELETE", f"/api/v1/namespaces/{NS}/configmaps?{name}={value}", b"")
        for name in ("accept", "content-type", "authorization", "impersonate-user", "impersonate-extra-a", "upgrade"):
            for target in (pods, "/apis"):
                answer = api.call("GET", target, b"", {name: value})
                assert answer.status < 500
