import asyncio
import logging
import time
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from kubedyno.base import aio
from kubedyno.base.times import epoch_of
from kubedyno.cluster.apiserver import reads
from kubedyno.cluster.apiserver.server import LIMITS
from kubedyno.kube import protobuf
from kubedyno.kube.resources import CONFIGMAPS, NAMESPACES
from unit.cluster.apiserver.harness import NS, Api, running

CMS = f"/api/v1/namespaces/{NS}/configmaps"
PODS_PATH = f"/api/v1/namespaces/{NS}/pods"
DEPLOYMENTS_PATH = f"/apis/apps/v1/namespaces/{NS}/deployments"
MERGE = {"content-type": "application/merge-patch+json"}


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "nginx:1"}]}}
    return {
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec},
    }


def pod(name: str = "p", **parts: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c", "image": "nginx:1"}], **parts.pop("spec", {})}
    return {"metadata": {"name": name, **parts}, "spec": spec}


def test_times_are_the_same_in_any_zone_and_written_as_go_does(api):
    made = api.call("POST", CMS, {"metadata": {"name": "a"}}).json
    created = made["metadata"]["creationTimestamp"]
    made["metadata"]["creationTimestamp"] = created.replace("Z", "+00:00")
    made["data"] = {"x": "1"}
    answer = api.call("PUT", f"{CMS}/a", made)
    assert (answer.status, answer.json["metadata"]["creationTimestamp"]) == (200, created)
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{NS}/leases"
    renewed = {"renewTime": "2026-01-01T02:00:00.000001+01:00"}
    lease = api.call("POST", leases, {"metadata": {"name": "l"}, "spec": renewed})
    assert lease.json["spec"]["renewTime"] == "2026-01-01T01:00:00.000001Z"
    refused = api.call("POST", leases, {"metadata": {"name": "m"}, "spec": {"renewTime": "2026-01-01T02:00:00Z"}})
    assert refused.status == 400
    assert 'cannot parse "Z" as ".000000"' in refused.json["message"]
    impossible = {"metadata": {"name": "b", "creationTimestamp": "2026-13-01T00:00:00+01:00"}}
    assert api.call("POST", CMS, impossible).status == 400


def warned(api, names):
    body = {"metadata": {"name": "w"}, **dict.fromkeys(names, 1)}
    answer = api.call("POST", f"{CMS}?dryRun=All", body)
    assert answer.status == 201
    return [value for name, value in answer.headers if name == "Warning"]


def test_warnings_have_an_end(api):
    assert len(warned(api, [f"x{n}" for n in range(100)])) == 100
    # Too many: what does not fit in 4096 characters is left out.
    assert 150 < len(warned(api, [f"x{n:05}" for n in range(1000)])) < 250
    # Too long: all are cut.
    long = warned(api, ["y" * 5000, "z" * 5000])
    assert [len(text) for text in long] == [len('299 - ""') + 256 + 1] * 2


def test_a_warning_holds_no_line_break(api):
    assert warned(api, ["a\r\nSet-Cookie: b", "c"]) == ['299 - "unknown field \\"c\\""']


# --- what no machine holds ---


@pytest.mark.parametrize("digits", ["9" * 5000, "²"])
def test_a_revision_or_limit_that_is_no_number_of_64_bits_is_the_clients_fault(api, digits):
    why = "value out of range" if len(digits) > 1 else "invalid syntax"
    text = quote(digits)
    for path in (f"{CMS}?resourceVersion={text}", f"{CMS}?limit={text}", f"{CMS}?timeoutSeconds={text}"):
        answer = api.call("GET", path)
        assert (answer.status, why in answer.json["message"]) == (400, True), path
    # The real server forgets to wrap these.
    for path in (f"{CMS}?watch=true&resourceVersion={text}", f"/api/v1/namespaces/{NS}?resourceVersion={text}"):
        answer = api.call("GET", path)
        assert (answer.status, why in answer.json["message"]) == (500, True), path
        assert answer.json.get("reason", "") == ""
    stored = api.call("POST", CMS, {"metadata": {"name": "known"}}).json
    stored["metadata"]["resourceVersion"] = digits
    answer = api.call("PUT", f"{CMS}/known", stored)
    assert (answer.status, why in answer.json["message"]) == (500, True)


def test_of_many_owners_each_is_kept_once_in_no_more_than_the_time_of_the_list(api):
    owners = [{"apiVersion": "v1", "kind": "X", "name": "a", "uid": f"u{i}"} for i in range(10_000)]
    again = dict(reversed(owners[7].items()))
    began_s = time.process_time()
    made = api.call("POST", CMS, {"metadata": {"name": "owned", "ownerReferences": [*owners, again]}})
    assert time.process_time() - began_s < 2
    assert made.json["metadata"]["ownerReferences"] == owners
    assert any("duplicate UID(s) observed: u7" in value for name, value in made.headers if name == "Warning")


def long_lists() -> list[tuple[str, dict[str, Any], str]]:
    """Return paths, objects with a list of many items of which the last one is there twice, and where that is told."""
    many = [*range(1, 100_001), 100_000]
    codes = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": many}}
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    job = {"metadata": {"name": "j"}, "spec": {"template": template, "podFailurePolicy": {"rules": [codes]}}}
    zones = [{"key": "zone", "values": [f"v{number}" for number in many]}]
    storage = {"metadata": {"name": "s"}, "provisioner": "p", "allowedTopologies": [{"matchLabelExpressions": zones}]}
    return [
        (f"/apis/batch/v1/namespaces/{NS}/jobs", job, "onExitCodes.values[100000]"),
        ("/apis/storage.k8s.io/v1/storageclasses", storage, "values[100000]"),
    ]


@pytest.mark.parametrize(("path", "body", "where"), long_lists())
def test_what_is_there_twice_is_found_in_no_more_than_the_time_of_the_list(api, path, body, where):
    began_s = time.process_time()
    answer = api.call("POST", path, body)
    assert time.process_time() - began_s < 5
    assert answer.status == 422
    assert any(cause["field"].endswith(where) for cause in answer.json["details"]["causes"])


@pytest.mark.parametrize("ordered", [False, True])
def test_long_lists_are_merged_in_no_more_than_their_time(api, ordered):
    owners = [{"apiVersion": "v1", "kind": "X", "name": "a", "uid": f"u{i}"} for i in range(10_000)]
    finalizers = [f"a.b/f{i}" for i in range(20_000)]
    assert api.call("POST", CMS, {"metadata": {"name": "c", "ownerReferences": owners[1:]}}).status == 201
    patch: dict[str, Any] = {"ownerReferences": owners, "finalizers": [*finalizers, finalizers[0]]}
    if ordered:
        patch["$setElementOrder/ownerReferences"] = [{"uid": owner["uid"]} for owner in owners]
    began_s = time.process_time()
    answer = api.call(
        "PATCH", f"{CMS}/c", {"metadata": patch}, {"content-type": "application/strategic-merge-patch+json"}
    )
    assert time.process_time() - began_s < 6
    assert answer.status == 200
    assert (answer.json["metadata"]["ownerReferences"], len(answer.json["metadata"]["finalizers"])) == (owners, 20_001)
    taken = {"$deleteFromPrimitiveList/finalizers": finalizers}
    answer = api.call(
        "PATCH", f"{CMS}/c", {"metadata": taken}, {"content-type": "application/strategic-merge-patch+json"}
    )
    assert "finalizers" not in answer.json["metadata"]
    assert time.process_time() - began_s < 12


def test_an_object_that_is_nested_too_deeply_is_the_clients_fault(api):
    body = b'{"metadata":{"name":"deep","annotations":%b%b}}' % (b"[" * 400, b"]" * 400)
    answer = api.call("POST", CMS, body)
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
    assert "nested too deeply" in answer.json["message"]


# --- who asks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/version", "/healthz", "/livez", "/readyz"])
def test_anybody_may_read_version_and_health(api, path):
    api.server.paths.health.ready = True
    assert api.call("GET", path, token=None).status == 200


@pytest.mark.parametrize("path", ["/api", "/apis", "/openapi/v2", "/metrics", "/", "/kubedyno/nodes", CMS, "/nosuch"])
def test_nobody_in_particular_may_read_nothing_else(api, path):
    answer = api.call("GET", path, token=None)
    assert (answer.status, answer.json["reason"]) == (403, "Forbidden")
    assert not api.controlled


def test_wrong_credentials_are_not_no_credentials(api):
    assert api.call("GET", "/version", token="wrong").status == 401


def test_control_is_asked_for_its_paths_only_and_told_who_asks(api):
    api.call("GET", "/kubedyno/nodes")
    api.call("GET", "/kubedyn")
    assert api.controlled == ["admin /kubedyno/nodes"]


def test_readiness_follows_the_flag(api):
    assert api.call("GET", "/readyz").status == 500
    assert api.call("GET", "/livez").status == 200
    api.server.paths.health.ready = True
    assert (api.call("GET", "/readyz").status, api.call("GET", "/readyz").body) == (200, b"ok")


# --- paths that name nothing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/nosuch", "404 page not found\n"),
        ("/apis/nosuch.io/v1", "404 page not found\n"),
        ("/apis/nosuch.io/v1/namespaces/x/things/y", "404 page not found\n"),
        ("/openapi/nosuch", "404 page not found\n"),
    ],
)
def test_unknown_paths_are_answered_in_text(api, path, text):
    answer = api.call("GET", path)
    assert (answer.status, answer.media, answer.body.decode()) == (404, "text/plain; charset=utf-8", text)


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/nosuch",
        "/apis/apps/v1/namespaces/ns/nosuch/x",
        f"{PODS_PATH}/p/nosuch",
        f"{CMS}/a/status",
        "/api/v1/namespaces/ns/nodes",
    ],
)
def test_unknown_resources_of_known_groups_are_answered_as_a_status(api, path):
    answer = api.call("GET", path)
    assert (answer.status, answer.json["message"]) == (404, "the server could not find the requested resource")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", CMS), ("PATCH", CMS), ("POST", f"{CMS}/a"), ("POST", "/api/v1/configmaps"),
        ("DELETE", "/api/v1/configmaps"), ("DELETE", "/api/v1/namespaces"), ("OPTIONS", CMS), ("HEAD", CMS),
        ("GET", f"{PODS_PATH}/p/binding"), ("DELETE", f"{PODS_PATH}/p/status"), ("POST", "/version"),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
    ],
)  # fmt: skip
def test_methods_that_a_path_does_not_have_are_405(api, method, path):
    answer = api.call(method, path, {})
    assert (answer.status, answer.json["reason"]) == (405, "MethodNotAllowed")


# --- faults ------------------------------------------------------------------------------------------------------


def test_a_fault_of_ours_is_a_500_with_its_traceback_in_the_log_and_the_server_goes_on(api, monkeypatch, caplog):
    def broken(*_arguments: Any, **_named: Any) -> Any:
        raise ZeroDivisionError("by nothing")

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(api.registry, "create", broken)
        answer = api.call("POST", CMS, {"metadata": {"name": "a"}})
    assert (answer.status, answer.json["reason"]) == (500, "InternalError")
    assert answer.json["message"] == "Internal error occurred: by nothing"
    assert "ZeroDivisionError" in caplog.text
    assert api.call("POST", CMS, {"metadata": {"name": "a"}}).status == 201


def test_a_fault_while_a_collection_is_deleted_is_answered(monkeypatch, caplog):
    async def scene() -> None:
        async with running() as api:
            for i in range(100):
                api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"cm-{i}"}})
            calls = iter(range(50))

            def failing(*arguments: Any) -> Any:
                next(calls)
                return delete(*arguments)

            delete = api.registry.delete
            monkeypatch.setattr(api.registry, "delete", failing)
            answer = api.call("DELETE", CMS)
            await aio.wait_for(answer.done.wait(), 60)
            assert (answer.status, answer.json["reason"]) == (500, "InternalError")

    aio.run(scene())
    assert "StopIteration" in caplog.text


# --- bodies ------------------------------------------------------------------------------------------------------


def test_an_object_may_come_as_json_yaml_or_protobuf(api):
    document = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "pb", "labels": {"a": "b"}}}
    media = {"content-type": "application/vnd.kubernetes.protobuf"}
    assert (
        api.call("POST", "/api/v1/namespaces", protobuf.encode(document), media).json["metadata"]["labels"]["a"] == "b"
    )
    yaml = b"kind: Namespace\napiVersion: v1\nmetadata: {name: from-yaml, labels: {a: 'yes'}}\n"
    answer = api.call("POST", "/api/v1/namespaces", yaml, {"content-type": "application/yaml; charset=utf-8"})
    assert answer.json["metadata"]["labels"]["a"] == "yes"
    assert api.call("POST", "/api/v1/namespaces", {**document, "metadata": {"name": "j"}}).status == 201


@pytest.mark.parametrize("media", ["application/vnd.kubernetes.protobuf", "application/yaml", "application/json"])
def test_bodies_that_are_none_are_400(api, media):
    answer = api.call("POST", CMS, b"\xff{[", {"content-type": media})
    assert (answer.status, answer.json["reason"]) == (400, "BadRequest")


def test_members_that_are_there_twice_are_warned_of_or_refused(api):
    body = b'{"metadata":{"name":"a"},"data":{"x":"1","x":"2"}}'
    warned = api.call("POST", f"{CMS}?dryRun=All", body)
    assert warned.header("warning") == ['299 - "duplicate field \\"data.x\\""']
    assert api.call("POST", f"{CMS}?dryRun=All&fieldValidation=Ignore", body).header("warning") == []
    strict = api.call("POST", f"{CMS}?dryRun=All&fieldValidation=Strict", body)
    assert (strict.status, 'duplicate field "data.x"' in strict.json["message"]) == (400, True)
    # White space is no reason to suspect anything.
    assert api.call("POST", f"{CMS}?dryRun=All", b'{ "metadata": {"name": "a"} }\n').header("warning") == []


def test_delete_options_may_come_as_protobuf(api):
    api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": "a"}})
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"}
    media = {"content-type": "application/vnd.kubernetes.protobuf"}
    answer = api.call("DELETE", f"{CMS}/a", protobuf.encode(options), media)
    assert answer.json["metadata"]["finalizers"] == ["foregroundDeletion"]


APPLY = {"content-type": "application/apply-patch+yaml"}
APPLIED = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '1'}\n"


def test_an_apply_creates_and_then_changes(api):
    answer = api.call("PATCH", f"{CMS}/a?fieldManager=x", APPLIED, APPLY)
    assert (answer.status, answer.json["data"]) == (201, {"x": "1"})
    answer = api.call("PATCH", f"{CMS}/a?fieldManager=x", APPLIED.replace(b"x: '1'", b"z: '2'"), APPLY)
    assert (answer.status, answer.json["data"]) == (200, {"z": "2"})


@pytest.mark.parametrize(
    ("query", "body", "status", "text"),
    [
        ("", APPLIED, 422, "fieldManager: Required value: is required for apply patch"),
        ("?fieldManager=x", b"[1]", 400, "cannot unmarshal array into Go value of type map[string]interface {}"),
        ("?fieldManager=x", b"a: [", 400, "error decoding YAML: "),
        ("?fieldManager=x", APPLIED.replace(b"ConfigMap", b"Secret"), 400, "invalid object type: /v1, Kind=Secret"),
        ("?fieldManager=x", b"kind: ConfigMap", 400, "invalid object type: /, Kind=ConfigMap"),
        ("?fieldManager=x", APPLIED.replace(b"{name: a}", b"[a]"), 500, ".metadata: expected map, got"),
        ("?fieldManager=x&fieldValidation=Strict", APPLIED + b"data: {}\n", 400, "error strict decoding YAML: "),
    ],
)
def test_an_apply_that_is_none_is_refused(api, query, body, status, text):
    answer = api.call("PATCH", f"{CMS}/a{query}", body, APPLY)
    assert answer.status == status
    assert text in answer.json["message"]


def test_members_that_an_apply_has_twice_are_warned_of(api):
    answer = api.call("PATCH", f"{CMS}/a?fieldManager=x", APPLIED + b"data: {z: '1'}\n", APPLY)
    assert (answer.status, answer.json["data"]) == (201, {"z": "1"})
    assert "already set in map" in dict(answer.headers)["Warning"]


def test_who_names_no_manager_is_known_by_the_user_agent(api):
    body = b'{"metadata":{"name":"a"},"data":{"x":"1"}}'
    headers = {"content-type": "application/json", "user-agent": "some\ttool/1.0 (linux)"}
    answer = api.call("POST", CMS, body, headers)
    assert [entry["manager"] for entry in answer.json["metadata"]["managedFields"]] == ["sometool"]


# --- lists -------------------------------------------------------------------------------------------------------


def fill(api: Api, count: int) -> None:
    for i in range(count):
        api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"cm-{i:04}", "labels": {"odd": str(i % 2)}}})


def pages(api: Api, query: str, between: Any = None) -> tuple[list[str], set[str]]:
    names, revisions, token = [], set(), ""
    while True:
        page = api.call("GET", f"{CMS}?{query}" + (f"&continue={token}" if token else "")).json
        names += [item["metadata"]["name"] for item in page["items"]]
        revisions.add(page["metadata"]["resourceVersion"])
        token = page["metadata"].get("continue", "")
        if not token:
            return names, revisions
        if between is not None:
            between()


def test_pages_are_of_one_revision_whatever_happens_between_them(api):
    fill(api, 10)
    count = iter(range(100))

    def meddle() -> None:
        api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"cm-0000-{next(count)}"}})
        api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"cm-0009-{next(count)}"}})

    names, revisions = pages(api, "limit=3", meddle)
    assert names == [f"cm-{i:04}" for i in range(10)]
    assert revisions == {"12"}


def test_pages_of_a_selection_are_full_and_say_no_remainder(api):
    fill(api, 10)
    first = api.call("GET", f"{CMS}?limit=3&labelSelector=odd%3D1").json
    assert [item["metadata"]["name"] for item in first["items"]] == ["cm-0001", "cm-0003", "cm-0005"]
    assert "remainingItemCount" not in first["metadata"]
    assert pages(api, "limit=2&labelSelector=odd%3D1")[0] == [f"cm-{i:04}" for i in range(1, 10, 2)]
    assert api.call("GET", f"{CMS}?limit=3").json["metadata"]["remainingItemCount"] == 7


def test_pages_of_all_namespaces_go_on_across_them(api):
    fill(api, 3)
    api.registry.create(NAMESPACES, "", {"metadata": {"name": "other"}})
    for name in "ab":
        api.registry.create(CONFIGMAPS, "other", {"metadata": {"name": name}})
    names, token = [], ""
    while True:
        page = api.call("GET", f"/api/v1/configmaps?limit=2&continue={token}").json
        names += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue", "")
        if not token:
            break
    assert names == ["cm-0000", "cm-0001", "cm-0002", "a", "b"]


def test_an_exact_revision_shows_what_was_there_then(api):
    fill(api, 2)
    api.registry.delete(CONFIGMAPS, NS, "cm-0000")
    old = api.call("GET", f"{CMS}?resourceVersion=4&resourceVersionMatch=Exact").json
    assert [item["metadata"]["name"] for item in old["items"]] == ["cm-0000", "cm-0001"]
    assert old["metadata"]["resourceVersion"] == "4"
    assert len(api.call("GET", f"{CMS}?resourceVersion=4").json["items"]) == 1
    assert len(api.call("GET", f"{CMS}?resourceVersion=4&resourceVersionMatch=NotOlderThan").json["items"]) == 1


def test_a_continue_token_of_a_compacted_revision_brings_one_that_goes_on(api):
    fill(api, 4)
    token = api.call("GET", f"{CMS}?limit=2").json["metadata"]["continue"]
    table = api.store.table(CONFIGMAPS)
    api.registry.delete(CONFIGMAPS, NS, "cm-0002")
    fill_more = [api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"x-{i}"}}) for i in range(3)]
    api.clock.now_s += 1000
    api.store.db.compact()
    api.clock.now_s += 1000
    while api.store.db.compact():
        pass
    assert table.floor > fill_more[0].revision - 2
    gone = api.call("GET", f"{CMS}?limit=2&continue={token}")
    assert (gone.status, gone.json["reason"]) == (410, "Expired")
    rest = api.call("GET", f"{CMS}?continue={gone.json['metadata']['continue']}").json
    assert [item["metadata"]["name"] for item in rest["items"]] == ["cm-0003", "x-0", "x-1", "x-2"]


def test_a_long_list_is_written_in_pieces_as_it_is_read():
    async def scene() -> None:
        async with running() as api:
            filler = {"x": "y" * 1000}
            for i in range(2000):
                api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"cm-{i:04}"}, "data": filler})
            answer = api.call("GET", CMS)
            answer.buffered = reads.AHEAD_BYTES + 1
            for _ in range(10):
                await asyncio.sleep(0)
            # The client reads nothing: one piece waits for it, and no more is made.
            assert len(answer.pieces) == 1
            assert reads.PIECE_BYTES <= len(answer.body) < reads.PIECE_BYTES + 100_000
            api.registry.delete(CONFIGMAPS, NS, "cm-1999")
            answer.buffered = 0
            answer.read.set()
            await aio.wait_for(answer.done.wait(), 60)
            assert max(map(len, answer.pieces)) < reads.PIECE_BYTES + 100_000
            listed = orjson.loads(answer.body)
            assert [item["metadata"]["name"] for item in listed["items"]] == [f"cm-{i:04}" for i in range(2000)]
            assert listed["kind"] == "ConfigMapList"

    aio.run(scene())


@pytest.mark.parametrize("count", [1, 10, 11, 35])
@pytest.mark.parametrize(
    "kind", ["", ";as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", ";as=Table;v=v1;g=meta.k8s.io"]
)
@pytest.mark.parametrize("media", ["application/yaml", "application/json"])
def test_a_list_for_readers_is_the_same_in_pieces(media: str, kind: str, count: int, monkeypatch) -> None:
    async def scene() -> None:
        async with running() as api:
            for i in range(count):
                text = f"{i}: a line that is so long that it has to be folded, as YAML does beyond so many columns\nitems: []\n"
                api.registry.create(
                    CONFIGMAPS, NS, {"metadata": {"name": f"cm-{i:02}"}, "data": {"items": text, "b": "[]"}}
                )
            bodies = []
            for most in (10, 1000):
                monkeypatch.setattr(reads, "TEXTS_A_STEP", most)
                answer = api.call("GET", f"{CMS}?pretty=true", headers={"accept": media + kind})
                assert answer.status == 200
                await aio.wait_for(answer.done.wait(), 60)
                bodies.append((answer.media, answer.body))
                assert (len(answer.pieces) == 1) == (count <= most)
            assert bodies[0] == bodies[1]

    aio.run(scene())


@pytest.mark.parametrize(
    "query", ["labelSelector=a%3D1", "labelSelector=a%3D1&limit=4", "fieldSelector=metadata.name!%3Dcm-3"]
)
def test_what_is_selected_is_looked_for_in_steps_and_as_of_one_revision(query: str, monkeypatch) -> None:
    async def scene() -> None:
        async with running() as api:
            for i in range(30):
                labels = {"a": str(i % 2)}
                api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"cm-{i}", "labels": labels}})
            whole = api.call("GET", f"{CMS}?{query}").json
            monkeypatch.setattr(reads, "CANDIDATES_A_STEP", 4)
            answer = api.call("GET", f"{CMS}?{query}")
            gone = api.call("GET", f"{CMS}?{query}")
            assert answer.status == 0
            gone.closed = True
            # Whatever comes or goes meanwhile.
            api.registry.delete(CONFIGMAPS, NS, "cm-9")
            api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": "cm-99", "labels": {"a": "1"}}})
            await aio.wait_for(answer.done.wait(), 60)
            assert answer.json == whole
            assert len(whole["items"]) in {4, 15, 29}
            assert gone.status == 0

    aio.run(scene())


def test_a_list_whose_client_goes_is_given_up():
    async def scene() -> None:
        async with running() as api:
            for i in range(2000):
                api.registry.create(CONFIGMAPS, NS, {"metadata": {"name": f"cm-{i:04}"}, "data": {"x": "y" * 1000}})
            answer = api.call("GET", CMS)
            answer.closed = True
            for _ in range(50):
                await asyncio.sleep(0)
            assert not answer.pieces

    aio.run(scene())


# --- writes ------------------------------------------------------------------------------------------------------


def test_an_unacceptable_answer_prevents_the_write(api):
    assert api.call("POST", CMS, {"metadata": {"name": "a"}}, {"accept": "text/html"}).status == 406
    assert api.call("GET", f"{CMS}/a").status == 404


def test_put_creates_what_says_so(api):
    path = f"/apis/coordination.k8s.io/v1/namespaces/{NS}/leases/l"
    lease = {"metadata": {"name": "l"}, "spec": {"holderIdentity": "me"}}
    made = api.call("PUT", path, lease)
    assert made.status == 201
    # It is not replaced whatever it has become meanwhile.
    assert api.call("PUT", path, lease).status == 422
    assert api.call("PUT", path, made.json).status == 200


def test_a_collection_is_deleted_in_steps_and_answered_as_it_was():
    async def scene() -> None:
        async with running() as api:
            fill(api, 200)
            answer = api.call("DELETE", f"{CMS}?labelSelector=odd%3D1")
            await aio.wait_for(answer.done.wait(), 60)
            assert len(answer.json["items"]) == 100
            left = api.call("GET", f"{CMS}?labelSelector=odd%3D0&limit=500")
            await aio.wait_for(left.done.wait(), 60)
            assert len(left.json["items"]) == 100
            assert api.call("GET", f"{CMS}?labelSelector=odd%3D1").json["items"] == []

    aio.run(scene())


def test_status_is_a_part_of_its_own(api):
    api.call("POST", DEPLOYMENTS_PATH, deployment())
    patched = api.call(
        "PATCH", f"{DEPLOYMENTS_PATH}/d/status", {"status": {"replicas": 3}, "spec": {"replicas": 9}}, MERGE
    )
    assert (patched.json["status"]["replicas"], patched.json["spec"]["replicas"]) == (3, 1)
    assert api.call("GET", f"{DEPLOYMENTS_PATH}/d/status").json == patched.json


def test_finalize_lets_a_namespace_go(api):
    api.call("DELETE", f"/api/v1/namespaces/{NS}")
    namespace = api.call("GET", f"/api/v1/namespaces/{NS}").json
    assert namespace["status"]["phase"] == "Terminating"
    answer = api.call("PUT", f"/api/v1/namespaces/{NS}/finalize", {**namespace, "spec": {"finalizers": []}})
    assert answer.status == 200
    assert api.call("GET", f"/api/v1/namespaces/{NS}").status == 404


# --- parts -------------------------------------------------------------------------------------------------------


def test_scale_is_read_and_written(api):
    api.call("POST", DEPLOYMENTS_PATH, deployment(replicas=2))
    scale = api.call("GET", f"{DEPLOYMENTS_PATH}/d/scale").json
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "a=b"})
    scale["spec"]["replicas"] = 5
    assert api.call("PUT", f"{DEPLOYMENTS_PATH}/d/scale", scale).json["spec"] == {"replicas": 5}
    assert api.call("PUT", f"{DEPLOYMENTS_PATH}/d/scale", scale).status == 409
    assert api.call("PATCH", f"{DEPLOYMENTS_PATH}/d/scale", {"spec": {"replicas": 0}}, MERGE).json["spec"] == {}
    assert api.call("GET", f"{DEPLOYMENTS_PATH}/d").json["spec"]["replicas"] == 0
    assert api.call("GET", f"{DEPLOYMENTS_PATH}/d").json["metadata"]["generation"] == 3


def test_an_eviction_deletes(api):
    api.call("POST", PODS_PATH, pod())
    eviction = {"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 0}}
    assert api.call("POST", f"{PODS_PATH}/p/eviction?dryRun=All", eviction).status == 201
    assert api.call("GET", f"{PODS_PATH}/p").status == 200
    answer = api.call("POST", f"{PODS_PATH}/p/eviction", eviction)
    assert (answer.status, answer.json["status"]) == (201, "Success")
    assert api.call("GET", f"{PODS_PATH}/p").status == 404


def test_a_binding_assigns(api):
    api.call("POST", PODS_PATH, pod())
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    assert api.call("POST", f"{PODS_PATH}/p/binding", binding).status == 201
    assert api.call("GET", f"{PODS_PATH}/p").json["spec"]["nodeName"] == "n"


def running_pod(api: Api, **parts: Any) -> None:
    api.call("POST", PODS_PATH, pod(**parts))
    state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
    statuses = [{"name": "c", "state": state, "ready": True, "restartCount": 0, "image": "nginx:1", "imageID": ""}]
    status = {"phase": "Running", "containerStatuses": statuses}
    assert api.call("PATCH", f"{PODS_PATH}/p/status", {"status": status}, MERGE).status == 200


def test_a_running_container_has_a_log(api):
    running_pod(api)
    answer = api.call("GET", f"{PODS_PATH}/p/log")
    assert (answer.media, answer.body) == ("text/plain", b"container c started from image nginx:1\n")
    stamped = api.call("GET", f"{PODS_PATH}/p/log?timestamps=true&container=c").body
    assert stamped == b"2026-01-01T00:00:00Z container c started from image nginx:1\n"


def test_a_pod_may_say_what_its_log_is(api):
    running_pod(api, annotations={"kubedyno.io/log": "one\ntwo\nthree"})
    assert api.call("GET", f"{PODS_PATH}/p/log?tailLines=2").body == b"two\nthree\n"
    assert api.call("GET", f"{PODS_PATH}/p/log?limitBytes=5").body == b"one\nt"
    assert api.call("GET", f"{PODS_PATH}/p/log?tailLines=x").status == 400


def test_a_log_may_be_asked_for_since_some_seconds(api):
    running_pod(api)
    age_s = int(api.registry.clock.now() - epoch_of("2026-01-01T00:00:00Z"))
    assert api.call("GET", f"{PODS_PATH}/p/log?sinceSeconds={age_s + 60}").body
    assert api.call("GET", f"{PODS_PATH}/p/log?sinceSeconds={age_s - 60}").body == b""
    assert api.call("GET", f"{PODS_PATH}/p/log?sinceSeconds=0").status == 400


def test_a_previous_log_is_that_of_the_run_before_the_last_restart(api):
    running_pod(api)
    refused = api.call("GET", f"{PODS_PATH}/p/log?previous=true")
    assert refused.status == 400
    assert refused.json["message"] == 'previous terminated container "c" in pod "p" not found'
    ended = {"startedAt": "2025-12-31T00:00:00Z", "finishedAt": "2025-12-31T01:00:00Z", "exitCode": 1}
    statuses = api.call("GET", f"{PODS_PATH}/p").json["status"]["containerStatuses"]
    statuses[0] |= {"lastState": {"terminated": ended}, "restartCount": 1}
    patch = {"status": {"containerStatuses": statuses}}
    assert api.call("PATCH", f"{PODS_PATH}/p/status", patch, MERGE).status == 200
    log = api.call("GET", f"{PODS_PATH}/p/log?previous=true&timestamps=true").body
    assert log == b"2025-12-31T00:00:00Z container c started from image nginx:1\n"


def test_a_followed_log_ends_with_its_container():
    async def scene() -> None:
        async with running() as api:
            running_pod(api)
            first, second, left = (api.call("GET", f"{PODS_PATH}/p/log?follow=true") for _ in range(3))
            await asyncio.sleep(0)
            api.call("PATCH", f"{PODS_PATH}/p", {"metadata": {"labels": {"x": "y"}}}, MERGE)
            for _ in range(10):
                await asyncio.sleep(0)
            assert not first.done.is_set()
            assert left.on_close is not None
            left.on_close()
            api.call("DELETE", f"{PODS_PATH}/p?gracePeriodSeconds=0")
            for answer in (first, second):
                await aio.wait_for(answer.done.wait(), 60)
                assert answer.body == b"container c started from image nginx:1\n"

    aio.run(scene())


def test_logs_that_are_not_there_say_why(api):
    two = [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]
    api.call("POST", PODS_PATH, pod(spec={"containers": two, "nodeName": "n"}))
    unnamed = api.call("GET", f"{PODS_PATH}/p/log")
    assert unnamed.json["message"] == "a container name must be specified for pod p, choose one of: [a b]"
    waiting = api.call("GET", f"{PODS_PATH}/p/log?container=a")
    assert waiting.json["message"] == 'container "a" in pod "p" is waiting to start: ContainerCreating'
    assert api.call("GET", f"{PODS_PATH}/p/log?container=z").json["message"] == "container z is not valid for pod p"
    assert api.call("GET", f"{PODS_PATH}/q/log").status == 404


# --- documents -----------------------------------------------------------------------------------------------------


def test_documents_are_not_sent_to_who_has_them(api):
    for path, accept in (
        ("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"),
        ("/openapi/v2", "application/json"),
        ("/openapi/v3/apis/apps/v1", "application/json"),
    ):
        first = api.call("GET", path, headers={"accept": accept})
        (etag,) = first.header("etag")
        second = api.call("GET", path, headers={"accept": accept, "if-none-match": etag})
        assert (first.status, second.status, second.body) == (200, 304, b"")


def test_the_openapi_index_leads_to_documents_that_may_be_kept_for_ever(api):
    url = api.call("GET", "/openapi/v3").json["paths"]["apis/apps/v1"]["serverRelativeURL"]
    answer = api.call("GET", url)
    assert answer.header("cache-control") == ["public, immutable"]
    assert "io.k8s.api.apps.v1.Deployment" in answer.json["components"]["schemas"]
    path = url.partition("?")[0]
    moved = api.call("GET", f"{path}?hash=OLD")
    assert (moved.status, moved.header("location")) == (301, [url])


def test_every_verb_that_discovery_names_is_served(api):
    """What is listed acts: nothing answers 404 or 405."""
    for group_version in ("/api/v1", "/apis/apps/v1", "/apis/events.k8s.io/v1", "/apis/authorization.k8s.io/v1"):
        for entry in api.call("GET", group_version).json["resources"]:
            plural, _, part = entry["name"].partition("/")
            scope = f"/namespaces/{NS}" if entry["namespaced"] else ""
            one = f"{group_version}{scope}/{plural}/x" + (f"/{part}" if part else "")
            every = f"{group_version}{scope}/{plural}"
            for verb in entry["verbs"]:
                if verb in {"list", "watch", "deletecollection"} or (verb == "create" and not part):
                    method = {"list": "GET", "watch": "GET", "create": "POST", "deletecollection": "DELETE"}[verb]
                    if verb != "watch":
                        assert api.call(method, every, {}).status not in {404, 405}, (verb, every)
                else:
                    method = {"get": "GET", "update": "PUT", "patch": "PATCH", "delete": "DELETE", "create": "POST"}[
                        verb
                    ]
                    answer = api.call(method, one, {"metadata": {"name": "x"}}, MERGE if verb == "patch" else None)
                    assert answer.status != 405, (verb, one)
                    # The object is not there, the resource is.
                    assert "could not find the requested resource" not in str(answer.json), (verb, one)


def test_metrics_count_what_was_answered(api):
    api.call("POST", CMS, {"metadata": {"name": "a"}})
    api.call("POST", CMS, {"metadata": {"name": "a"}})
    api.call("GET", f"{CMS}/b")
    text = api.call("GET", "/metrics").body.decode()
    line = (
        'apiserver_request_total{code="%d",component="apiserver",dry_run="",group="",resource="configmaps",scope="%s",'
        'subresource="",verb="%s",version="v1"} 1'
    )
    for code, verb, scope in ((201, "POST", "resource"), (409, "POST", "resource"), (404, "GET", "resource")):
        assert line % (code, scope, verb) in text


def test_reviews_say_what_is_so(api):
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert api.call("POST", path, {"spec": {"resourceAttributes": {"verb": "create"}}}).json["status"] == {
        "allowed": True
    }
    who = api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}).json
    assert who["status"]["userInfo"]["username"] == "admin"
    token = api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "no"}}).json
    assert token["status"] == {"user": {}, "error": "invalid bearer token"}
    known = api.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "t0ken"}}).json
    assert known["status"]["authenticated"] is True


def test_half_a_list_is_never_taken_for_a_whole_one(monkeypatch, caplog):
    async def scene() -> None:
        async with running() as api:
            fill(api, 200)
            kind = api.registry.kind(CONFIGMAPS)
            cells = kind.cells
            left = iter(range(100))
            monkeypatch.setattr(kind, "cells", lambda *args: (next(left), cells(*args))[1], raising=False)
            answer = api.call("GET", CMS, headers={"accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
            await aio.wait_for(answer.done.wait(), 60)
            assert answer.aborted

    aio.run(scene())
    assert "StopIteration" in caplog.text


def test_the_limits_come_with_a_status():
    media, body = LIMITS.too_large
    assert (media, orjson.loads(body)["message"]) == (
        "application/json",
        "Request entity too large: limit is 3145728",
    )


def test_a_deprecated_kind_is_warned_of_with_every_verb(api):
    text = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    path = f"/api/v1/namespaces/{NS}/endpoints"
    apply = {"content-type": "application/apply-patch+yaml"}
    whole = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a"}}
    for method, target, body, headers in (
        ("POST", path, {"metadata": {"name": "e"}}, {}), ("GET", path, None, {}), ("GET", f"{path}/e", None, {}),
        ("GET", f"{path}/none", None, {}), ("PATCH", f"{path}/a?fieldManager=m", whole, apply),
        ("DELETE", f"{path}/e", None, {}), ("DELETE", path, None, {}),
    ):  # fmt: skip
        assert api.call(method, target, body, headers).header("warning") == [text], (method, target)
    assert not api.call("GET", f"/api/v1/namespaces/{NS}/configmaps").header("warning")


_TYPE_META = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[]", f"json: cannot unmarshal array into Go value of type {_TYPE_META} (5b5d)"),
        (b'"a"', f"json: cannot unmarshal string into Go value of type {_TYPE_META} (226122)"),
        (b"7", f"json: cannot unmarshal number into Go value of type {_TYPE_META} (37)"),
        (b"{bad", "invalid character 'b' looking for beginning of object key string ({bad)"),
        (b"x" * 40, f"invalid character 'x' looking for beginning of value ({'78' * 30} ...)"),
    ],
)
def test_a_body_without_a_type_is_told_as_go_reads_it(api, body, why):
    answer = api.call("POST", CMS, body)
    said = f"the object provided is unrecognized (must be of type ConfigMap): couldn't get version/kind; json parse error: {why}"
    assert (answer.status, answer.json["message"]) == (400, said)


def test_null_is_an_object_in_which_nothing_is_set(api):
    answer = api.call("POST", CMS, b"null")
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")


def test_bytes_that_are_no_utf8_are_replaced(api):
    body = b'{"metadata":{"name":"a"},"data":{"x":"\xff"}}'
    assert api.call("POST", CMS, body).json["data"] == {"x": "\N{REPLACEMENT CHARACTER}"}


def test_a_deletion_whose_body_is_no_options_deletes_nothing(api):
    api.call("POST", CMS, {"metadata": {"name": "a"}})
    answer = api.call("DELETE", f"{CMS}/a", {"kind": "Pod", "apiVersion": "v1"})
    assert answer.status == 400
    assert answer.json["message"].startswith('no kind "Pod" is registered for version "v1"')
    assert api.call("GET", f"{CMS}/a").status == 200


def test_checks_may_be_left_out(api):
    api.server.ready = False
    assert api.call("GET", "/readyz?exclude=ping").status == 500
    answer = api.call("GET", "/readyz?exclude=informer-sync&exclude=zz&verbose")
    lines = answer.body.decode().splitlines()
    assert (answer.status, lines[0], lines[4]) == (200, "[+]ping ok", "[+]informer-sync excluded: ok")
    assert lines[-2:] == [
        'warn: some health checks cannot be excluded: no matches for "zz"',
        "readyz check passed",
    ]
